"""`python -m benchmarks`: run the groups of benchmarks, print the table of bars, write the results.

Exit code 0 when everything ran, whatever the figures; 1 with `--check` when a bar is not met.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from rich.console import Console
from rich.table import Table as Grid

from benchmarks import against_redis, fills, growth, hits, pooled, report, sources, storage, writers
from benchmarks.bench import Bar, Bench, Result, Table
from benchmarks.contenders import compare
from benchmarks.machine import describe
from benchmarks.stage import House, house
from meshcache_pg.embedded.installations import find_installation

GROUPS: Final[Mapping[str, Callable[[Bench, House], Iterator[Result]]]] = {
    "hits": hits.run,
    "redis": against_redis.run,
    "storage": storage.run,
    "sources": sources.run,
    "pooled": pooled.run,
    "fills": fills.run,
    "writers": writers.run,
    "growth": growth.run,
    "contenders": lambda bench, house: compare.run(bench, house.stage),
}
# Of all groups at full effort, on two cores.
FULL_MINUTES: Final = 30.0


def main() -> int:
    """The command."""
    arguments = _arguments()
    bench = Bench(
        effort=min(1.0, arguments.minutes / FULL_MINUTES), smoke=arguments.smoke, seed=arguments.seed
    )
    begin = time.monotonic()
    results: list[Result] = []
    with house(bench, find_installation(arguments.pg) if arguments.pg else None) as place:
        about = describe(place.server.dsn())
        for name in arguments.only:
            started = time.monotonic()
            bench.say(f"{name}: begins")
            for result in GROUPS[name](bench, place):
                results.append(result)
                if isinstance(result, Bar) and not bench.smoke:
                    bench.say(f"  {'met   ' if result.met else 'not met'} {result.bar}: {result.figure:.2f}")
            bench.say(f"{name}: done in {time.monotonic() - started:.0f} s")
    about |= {
        "date": datetime.now(UTC).date().isoformat(),
        "minutes": round((time.monotonic() - begin) / 60, 1),
        "effort": round(bench.effort, 3),
        "seed": bench.seed,
    }
    bars = [one for one in results if isinstance(one, Bar)]
    if bench.smoke:
        print(f"{len(results)} results of {len(arguments.only)} groups; a smoke run has no figures")
        return 0
    for table in results:
        # How fast each is, and beside it how often it hit, what was written, and how often it was wrong.
        if isinstance(table, Table) and table.name == compare.TABLE:
            _print(table)
    _print(report.bar_table(bars))
    print(report.about_line(about))
    for reason in bench.left_out:
        print(f"left out: {reason}")
    if set(arguments.only) != set(GROUPS):
        print("not written: results and documentation are of runs of all groups")
    elif arguments.write:
        report.write(about, results, bench.left_out)
        print(f"written: {report.LATEST.relative_to(report.ROOT)}, {report.PAGE.relative_to(report.ROOT)}")
    return 1 if arguments.check and not all(one.met for one in bars) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--minutes", type=float, default=FULL_MINUTES, help="about (default: %(default)g)")
    parser.add_argument("--only", type=_groups, default=list(GROUPS), help=f"of {','.join(GROUPS)}")
    parser.add_argument("--pg", type=int, help="PostgreSQL major (default: the newest that is found)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--smoke", action="store_true", help="show that everything works, without figures")
    parser.add_argument("--check", action="store_true", help="exit 1 when a bar is not met")
    parser.add_argument(
        "--no-write", dest="write", action="store_false", help="leave results and documentation as they are"
    )
    return parser.parse_args()


def _groups(value: str) -> list[str]:
    names = [name.strip() for name in value.split(",")]
    unknown = [name for name in names if name not in GROUPS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no group {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    return names


def _print(table: Table) -> None:
    grid = Grid(*table.columns, box=None)
    for row in table.rows:
        grid.add_row(*(str(cell) for cell in row))
    Console().print(grid)


if __name__ == "__main__":
    sys.exit(main())
