"""`python -m tests.consistency.harness.planting`: does the harness find what it is there to find? Plants each
known mistake in a throwaway install and prints how it was found and how long that took.

Every mistake has a written schedule (tests.consistency.directed), which is also run on the cache as it is
and must find nothing there. Most are left to the random load of the harness, too, until it meets a wrong
row. The others take a moment that random load does not have, or too rarely.
"""

import argparse
import json
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import SystemRandom
from typing import Any

from meshcache_pg.embedded import Installation, PrivateServer
from tests.consistency import directed
from tests.consistency.harness.options import Options, Plant, chosen
from tests.consistency.harness.run import run
from tests.consistency.harness.trouble import quiet_logs
from tests.consistency.planted import PLANTED, Aim, Planted, play, restored
from tests.fixtures.fix_db import Database, start_server

# Of what noticed a mistake, in characters: a reader in Python shows the row, too.
_LONGEST = 160


@dataclass(frozen=True)
class Found:
    """What noticed a mistake, and after how many seconds of work."""

    seconds: float
    by: str


@dataclass
class Row:
    """What became of one mistake. `load` says what random load it was left to, if it was."""

    name: str
    rule: str
    schedule: str
    directed: Found | None = None
    load: str = ""
    random: Found | None = None
    problems: list[str] = field(default_factory=list)


@dataclass
class Place:
    """A server of one major, with a warm database that all others are copies of."""

    server: PrivateServer

    def __post_init__(self) -> None:
        self._build()

    def _build(self) -> None:
        self.server.drop_database("planted")
        self.server.create_database("planted")
        with ExitStack() as opened:
            directed.build(Database(self.server, "planted", opened))

    @contextmanager
    def copy(self, *, crashes: bool) -> Iterator[Database]:
        """A copy for one schedule. One that crashes the server takes the rows of all databases along."""
        name = f"planted_{uuid.uuid4().hex[:12]}"
        self.server.create_database(name, "planted")
        with ExitStack() as opened:
            opened.callback(self.server.drop_database, name)
            yield Database(self.server, name, opened)
        if crashes:
            self._build()


def trial(planted: Planted, place: Place, random_seconds: float, seed: int) -> Row:
    """One mistake on one major; `random_seconds` of 0 leave random load out."""
    row = Row(planted.name, planted.rule, planted.schedule.__name__)
    unbroken, _ = _directed(planted, place, ())
    if unbroken is not None:
        row.problems.append(f"the schedule finds something in the cache as it is: {unbroken}")
    for plant in planted.plants if len(planted.plants) > 1 else ():
        alone, _ = _directed(planted, place, (plant,))
        if alone is not None:
            row.problems.append(f"{plant.__name__} alone is found, too: {alone}")
    by, seconds = _directed(planted, place, planted.plants)
    if by is None:
        row.problems.append("not found by its schedule")
    else:
        row.directed = Found(seconds, by)
    if planted.random is not None and random_seconds:
        row.load = planted.random.load
        row.random, ended = at_random(planted, place.server.installation, random_seconds, seed)
        if row.random is None:
            row.problems.append(f"not found by {random_seconds:g} s of random load {ended}".rstrip())
    return row


def _directed(planted: Planted, place: Place, mistakes: Sequence[Plant]) -> tuple[str | None, float]:
    """What the schedule notices, and how long it took to get there."""
    with place.copy(crashes=planted.crashes) as database, ExitStack() as opened:
        where = opened.enter_context(restored(database)) if planted.restored else database
        began = time.monotonic()
        found = play(planted, where, mistakes)
        return (_first_line(str(found)) if found is not None else None), time.monotonic() - began


def at_random(
    planted: Planted, installation: Installation, budget: float, seed: int
) -> tuple[Found | None, str]:
    """What the harness's own load finds within `budget` seconds, and how a run ended that found nothing.

    One that somebody fails in before anybody compares is followed by another, with the next seed.
    """
    aim = planted.random or Aim()
    spent, ended = 0.0, ""
    until = time.monotonic() + budget
    while (left := until - time.monotonic()) > 0:
        options = Options(
            seed=seed,
            seconds=left,
            round_seconds=left,
            workloads=("meshhook",),
            plants=planted.plants,
            administrators=aim.administrators,
            change_seconds=aim.change_seconds,
            pooler=False,
            faults=aim.faults,
            fault_seconds=4,
            migration_seconds=aim.migration_seconds,
        )
        report = run(options, installation)
        for failure in report.failures:
            if failure.kind in aim.finds:
                return Found(spent + failure.after_seconds, _first_line(failure.text)), ""
        if report.failures:
            spent += report.failures[0].after_seconds
            first = f"{report.failures[0].kind}, {_first_line(report.failures[0].text)}"
            ended = f"(a run ended with: {first})"
        seed += 1
    return None, ended


def _first_line(text: str) -> str:
    line = text.split("\n", 1)[0]
    line = line.removeprefix("NotExact: ").removeprefix("WrongRow: ")
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} …"


def as_text(rows: Sequence[Row]) -> str:
    """The table."""
    titles = ("mistake", "rule", "random load", "found in", "schedule", "found in", "noticed by")
    cells = [
        titles,
        *(
            (
                *(row.name, row.rule or "-", row.load or "-", _random_cell(row)),
                *(row.schedule, _cell(row.directed), _by(row)),
            )
            for row in rows
        ),
    ]
    widths = [max(len(line[n]) for line in cells) for n in range(len(titles) - 1)]
    lines = []
    for line in cells:
        shown = [text.ljust(width) for text, width in zip(line, widths, strict=False)]
        lines.append("  ".join([*shown, line[-1]]))
    lines.insert(1, "  ".join("-" * width for width in [*widths, len(titles[-1])]))
    return "\n".join(lines)


def _random_cell(row: Row) -> str:
    return _cell(row.random) if row.load else "-"


def _cell(found: Found | None) -> str:
    return f"{found.seconds:.2f} s" if found is not None else "NOT FOUND"


def _by(row: Row) -> str:
    found = row.random or row.directed
    return found.by if found is not None else ""


def main() -> int:
    """The command."""
    arguments = _arguments()
    quiet_logs()
    installations = chosen(arguments.pg)
    if installations is None:
        return 2
    seed = arguments.seed if arguments.seed is not None else SystemRandom().randrange(2**32)
    wanted = [one for one in PLANTED if arguments.only in one.name]
    reports: list[dict[str, Any]] = []
    for installation in installations:
        sys.stderr.write(f"PostgreSQL {installation.version}, seed {seed}\n")
        with start_server(installation) as server:
            place = Place(server)
            rows = [_told(trial(planted, place, arguments.seconds, seed)) for planted in wanted]
        problems = [f"{row.name}: {problem}" for row in rows for problem in row.problems]
        good = sum(not row.problems for row in rows)
        head = (
            f"\nPostgreSQL {installation.version}, seed {seed}, {arguments.seconds:g} s each:"
            f" {good} of {len(rows)} mistakes were found in every way that is shown"
        )
        sys.stdout.write("\n".join([head, "", as_text(rows), *problems, ""]))
        sys.stdout.flush()
        reports.append(
            {
                "schema_version": 1,
                "postgresql": installation.version,
                "seed": seed,
                "budget_seconds": arguments.seconds,
                "mistakes": [asdict(row) for row in rows],
            }
        )
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(reports, indent=1) + "\n", "utf-8")
    return 1 if any(row["problems"] for report in reports for row in report["mistakes"]) else 0


def _told(row: Row) -> Row:
    sys.stderr.write(f"  {row.name}: {_random_cell(row)} by random load, {_cell(row.directed)} by schedule\n")
    sys.stderr.flush()
    return row


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.consistency.harness.planting", description=__doc__)
    parser.add_argument(
        "--seconds",
        type=float,
        default=180,
        help="how long random load may take to find a mistake, 0 to leave it out (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, help="of all random choices; the default is a new one, and printed"
    )
    parser.add_argument("--pg", help="majors, such as 15,18 (default: all that are found)")
    parser.add_argument("--json", metavar="FILE", help="write the tables there, too")
    parser.add_argument("--only", metavar="TEXT", default="", help="mistakes with this in their names")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
