"""The ten chapters of the demo in their order, and the figures that come out of them."""

import dataclasses
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.text import Text

from meshcache_pg.demo import reads, stage, story
from meshcache_pg.demo.report import Report, yes
from meshcache_pg.demo.stage import Stage
from meshcache_pg.errors import ConfigurationError, DriftFound
from meshcache_pg.meshhook.sample import Size

# A year of runs, and events of this month only, as where old partitions are dropped. More runs than
# Size.demo() has: whether a list with run counts needs a cache is decided by busy projects.
_SIZES = {
    "demo": Size(projects=1_000, workflows=20_000, runs=800_000, events_per_run=1.2, event_months=1),
    "small": Size.small(),
}

_COLORS = {"pays": "green", "helps": "green", "no gain": "yellow", "costs": "red"}


@dataclass(frozen=True, slots=True)
class Options:
    """What can be chosen. `pairs`: how often each read is asked of both sides; `pg`: the server's major."""

    size: Size
    seed: int = 1
    pairs: int = 300
    pg: int | None = None
    data_dir: Path | None = None
    keep: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """All figures, ready for JSON, and whether every answer was right."""

    figures: dict[str, Any]
    correct: bool

    @property
    def exit_code(self) -> int:
        """0, or that of a difference between cache and source."""
        return 0 if self.correct else DriftFound.exit_code


def parse_size(value: str) -> Size:
    """`demo`, `small`, or numbers: projects,workflows,runs,events per run. Raises ConfigurationError."""
    if value in _SIZES:
        return _SIZES[value]
    try:
        projects, workflows, runs, events = value.split(",")
        return Size(int(projects), int(workflows), int(runs), float(events))
    except ValueError:
        raise ConfigurationError(
            f"{value!r} is no size",
            hint="Say demo, small, or four numbers: projects,workflows,runs,events per run.",
        ) from None


@contextmanager
def show(options: Options, report: Report) -> Iterator[Outcome]:
    """Run the whole demo. The server is up within the block; after it all that is temporary is gone."""
    play = _Play(options, report)
    with play.server, stage.connected(play.server) as on:
        yield play.run(on)


class _Play:
    def __init__(self, options: Options, report: Report) -> None:
        self._options = options
        self._report = report
        self._chapter = 0
        self._begin = time.perf_counter()
        self._figures: dict[str, Any] = {}
        self.server = stage.make_server(options.pg, options.data_dir)
        self._title(f"A private PostgreSQL {self.server.version}")

    def run(self, on: Stage) -> Outcome:
        self._figures |= {"postgresql": self.server.version, "dsn": on.dsn if self._options.keep else None}
        self._note(f"Started in {self._seconds('server', time.perf_counter() - self._begin)}.")
        self._data(on)
        self._pack(on)
        correct = self._reads(on)
        about = story.subject(on)
        correct &= self._told("write", "A run starts and ends", story.write(on, about))
        correct &= self._told("rollback", "A write that is rolled back", story.roll_back(on, about))
        correct &= self._crash(on, about)
        correct &= self._verify(on)
        self._stats(on)
        total = time.perf_counter() - self._begin
        self._figures |= {
            "correct": correct,
            "seconds": self._figures["seconds"] | {"total": round(total, 1)},
        }
        self._next(on, correct, total)
        return Outcome(self._figures, correct)

    def _title(self, title: str) -> None:
        self._chapter += 1
        self._report.chapter(self._chapter, title)

    def _note(self, text: str | Text) -> None:
        self._report.line(text)

    def _seconds(self, what: str, seconds: float) -> str:
        self._figures.setdefault("seconds", {})[what] = round(seconds, 3)
        return f"{seconds:.1f} s"

    def _data(self, on: Stage) -> None:
        self._title("The application: MeshHook's tables and data")
        with self._report.timed() as timed, self._report.progress() as tick:
            fresh = stage.load_data(on, self._options.size, self._options.seed, tick)
        size = self._figures["size"] = stage.counts(on)
        rows = ", ".join(f"{number:,} {name}" for name, number in size.items())
        how = "Generated in" if fresh else "Found in the data directory, in"
        self._note(f"{rows}. {how} {self._seconds('data', timed.seconds)}.")

    def _pack(self, on: Stage) -> None:
        self._title("The cache: the pack for MeshHook, applied and filled")
        with self._report.timed() as applied:
            number = stage.apply_pack(on)
        with self._report.timed() as filled, self._report.progress() as tick:
            fills = dict(stage.fill(on, tick))
        self._figures["fills"] = [{"view": name, "rows": rows} for name, rows in fills.items()]
        with self._report.timed() as warmed:
            keys = reads.warm(on, self._options.pairs, self._options.seed)
        with self._report.progress() as tick:
            stage.settle(on, tick)
        self._note(
            f"{number} cached views and rollups applied in {self._seconds('apply', applied.seconds)}. "
            f"Those kept completely: {sum(rows or 0 for rows in fills.values()):,} rows filled in "
            f"{self._seconds('fill', filled.seconds)}. Those filled on demand: {keys:,} keys read once, in "
            f"{self._seconds('warm', warmed.seconds)}."
        )

    def _reads(self, on: Stage) -> bool:
        self._title("Hot reads: well-indexed source against cache")
        self._note(
            "The same connection, snapshot, driver and dataclass for both; medians (p50) of pairs of "
            "reads, keys by popularity."
        )
        with self._report.timed() as timed, self._report.progress() as tick:
            measured = list(reads.measure(on, self._options.pairs, self._options.seed, tick))
        self._seconds("reads", timed.seconds)
        self._figures["reads"] = [_as_data(one) for one in measured]
        self._report.table(
            ("view", "read", "rows", "source", "cache", "ratio", "equal", "verdict"),
            [_row(one) for one in measured],
            right=("rows", "source", "cache", "ratio"),
        )
        self._note(
            f"Milliseconds. {sum(one.pairs for one in measured):,} pairs compared. Where the source finds "
            "its answer by one index, as with short logs and single rows, there is nothing to gain."
        )
        return all(one.equal for one in measured)

    def _told(self, figure: str, title: str, seen: Sequence[story.Seen]) -> bool:
        self._title(title)
        self._seen(seen)
        self._figures[figure] = [dataclasses.asdict(one) for one in seen]
        return all(one.equal for one in seen)

    def _seen(self, seen: Sequence[story.Seen]) -> None:
        self._report.table(
            ("who", "read", "origin", "answer", "equal"),
            [(one.who, one.read, one.origin.value, one.value, yes(one.equal)) for one in seen],
        )

    def _crash(self, on: Stage, about: story.Subject) -> bool:
        self._title("kill -9: every process of the server at once")
        with self._report.progress() as tick:
            found = story.crash(
                on, about, lambda: reads.warm(on, self._options.pairs, self._options.seed), tick
            )
        self._note(
            f"Up again after {found.restart_seconds:.1f} s; the cache is empty, so the source answers:"
        )
        self._seen(found.cold)
        refreshed = ", ".join(f"{name} in {seconds:.1f} s" for name, seconds in found.refresh_seconds.items())
        self._note(
            f"Filled: {refreshed}; swept in {found.sweep_seconds:.1f} s; keys of the others read again in "
            f"{found.read_seconds:.1f} s. Warm:"
        )
        self._seen(found.warm)
        self._figures["crash"] = dataclasses.asdict(found)
        return all(one.equal for one in (*found.cold, *found.warm))

    def _verify(self, on: Stage) -> bool:
        self._title("Verify: everything that is cached against its source")
        with self._report.timed() as timed, self._report.progress() as tick:
            found = story.verify(on, tick)
        self._figures["verify"] = [dataclasses.asdict(one) | {"equal": one.equal} for one in found]
        self._report.table(
            ("view", "compared", "from cache", "different", "equal"),
            [
                (one.name, f"{one.compared:,}", f"{one.cached:,}", str(one.different), yes(one.equal))
                for one in found
            ],
            right=("compared", "from cache", "different"),
        )
        self._note(f"Each in one snapshot; {self._seconds('verify', timed.seconds)}.")
        return all(one.equal for one in found)

    def _stats(self, on: Stage) -> None:
        self._title("Stats since the crash")
        found = on.cache.stats()
        self._figures["stats"] = [dataclasses.asdict(one) for one in found]
        self._report.table(
            ("view", "rows", "MB", "hit", "miss", "stale", "bypass", "fills"),
            [
                (
                    one.name,
                    f"{one.rows:,}",
                    f"{one.bytes / 2**20:.1f}",
                    *(f"{number:,}" for number in (one.hits, one.misses, one.stale, one.bypassed, one.fills)),
                )
                for one in found
            ],
            right=("rows", "MB", "hit", "miss", "stale", "bypass", "fills"),
        )

    def _next(self, on: Stage, correct: bool, total: float) -> None:
        self._title("What to try next")
        if self._options.keep:
            commands = [f"export MESHCACHE_DSN='{on.dsn}'", "meshcache stats", "meshcache show run_state"]
        else:
            commands = [
                "meshcache demo --keep",
                "meshcache -d postgresql://localhost/app migrate",
                "meshcache plan views/",
                "meshcache --help",
            ]
        self._figures["next"] = commands
        for command in commands:
            self._report.literal(command)
        if self._options.keep:
            self._note("The server runs until you press Ctrl-C here.")
        word = Text("Every answer was equal to the source's", style="green")
        if not correct:
            word = Text("Some answers were NOT equal to the source's", style="bold red")
        self._report.line()
        self._note(Text.assemble(word, f"; {total:.0f} s in all."))


def _as_data(one: reads.Measured) -> dict[str, Any]:
    data = dataclasses.asdict(one) | {
        "factor": round(one.factor, 2),
        "equal": one.equal,
        "verdict": one.verdict,
    }
    return data | {"source_ms": round(one.source_ms, 4), "cache_ms": round(one.cache_ms, 4)}


def _row(one: reads.Measured) -> tuple[str | Text, ...]:
    return (
        one.view,
        one.case,
        f"{one.rows:,.0f}",
        f"{one.source_ms:,.2f}",
        f"{one.cache_ms:,.2f}",
        f"{one.factor:,.1f}x",
        yes(one.equal),
        Text(one.verdict, style=_COLORS[one.verdict]),
    )
