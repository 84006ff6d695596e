"""How hits, lists, writes, sweeps and refreshes change as the cache grows and as marks wait for a sweep."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from time import perf_counter
from typing import Final

import psycopg
from sqlalchemy import Connection, text

from benchmarks.bench import Bar, Bench, Goal, Plot, Result, Table, median, percentile
from benchmarks.stage import House
from meshcache_pg import MeshCache
from meshcache_pg.bound_view import BoundView
from meshcache_pg.database import make_engine
from meshcache_pg.definition import parse
from meshcache_pg.making import Row

SIZES: Final = (10_000, 1_000_000, 10_000_000)
PENDING: Final = (0, 1_000, 100_000)
# Rows of one owner, of which a list shows the newest.
PER_OWNER: Final = 200
PAGE: Final = 50
# Marks of one statement that are not yet replaced by one that stands for all.
PER_STATEMENT: Final = 500

_VIEW: Final = """
-- name: bench_item
-- key: id
-- coverage: complete
-- index: owner_id, updated_at desc, id
select i.id as id, i.owner_id as owner_id, o.name as owner_name, i.title as title, i.updated_at as updated_at
from item as i
inner join owner as o on o.id = i.owner_id
"""
_LOAD: Final = """
    create table owner (id integer primary key, name text not null);
    create table item (
        id bigint primary key, owner_id integer not null, title text not null, updated_at timestamptz not null
    );
    insert into owner select n, 'owner ' || n from generate_series(0, {rows} / {per_owner}) as n;
    insert into item
    select n, n / {per_owner}, 'item number ' || n, timestamptz '2025-01-01' + n * interval '1 second'
    from generate_series(1, {rows}) as n;
    create index on item (owner_id, updated_at desc, id)
"""

_NOTES: Final = {
    "growth": (
        f"Hits and lists (the newest {PAGE} of an owner's {PER_OWNER}) of rows that were not changed; writes "
        "are single-row updates of others, committed one by one."
    ),
    "growth_upkeep": (
        "A sweep takes all marks away, a refresh recomputes what they make stale; each begins with as many "
        "marks as its row says. Where few of them have the time, p99 is the longest."
    ),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """At one size and one number of pending marks: seconds of each read, write, sweep and refresh."""

    rows: int
    pending: int
    times: Mapping[str, Sequence[float]]

    def cells(self, kind: str, unit: float, digits: int) -> tuple[float, float]:
        """p50 and p99 of one kind."""
        p50, p99 = (round(percentile(self.times[kind], part) / unit, digits) for part in (0.5, 0.99))
        return p50, p99


def run(bench: Bench, house: House) -> Iterator[Result]:
    """The bars of growth, a table and the plots."""
    found: list[Measured] = []
    fills: list[tuple[int, float]] = []
    sizes = [bench.rows(size, at_least=1_000 * 4**n) for n, size in enumerate(SIZES)]
    for rows in sizes:
        bench.say(f"growth: {rows:,} rows")
        with house.database("growth") as dsn:
            _load(dsn, rows)
            with MeshCache(dsn) as cache:
                cache.migrate()
                cache.apply([parse(_VIEW, "the benchmark")])
                begin = perf_counter()
                cache.refresh("bench_item", "all")
                fills.append((rows, round(perf_counter() - begin, 3)))
                found += _with_marks(bench, cache, dsn, rows)
    yield from _report(found, fills)


def _load(dsn: str, rows: int) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(_LOAD.format(rows=rows, per_owner=PER_OWNER).encode())
        connection.execute("vacuum (analyze) item")
        connection.execute("analyze owner")


def _with_marks(bench: Bench, cache: MeshCache, dsn: str, rows: int) -> Iterator[Measured]:
    """One measurement per number of marks that are pending."""
    engine = make_engine(dsn, application_name="benchmark")
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("vacuum (analyze) meshcache_data.bench_item"))
            connection.execute(text("checkpoint"))
            view = cache.view("bench_item", connection)
            for most in PENDING:
                marks = min(bench.rows(most, at_least=0), rows // 4)
                _write(connection, marks)
                times = _reads_and_writes(bench, connection, view, rows, marks)
                # The writes that were timed left marks of their own.
                cache.sweep()
                yield Measured(rows, marks, times | _upkeep(bench, cache, connection, marks))
    finally:
        engine.dispose()


def _upkeep(bench: Bench, cache: MeshCache, connection: Connection, marks: int) -> dict[str, list[float]]:
    """Sweeps and refreshes, each of as many marks."""

    def marked() -> None:
        cache.sweep()
        _write(connection, marks)

    return {
        "sweep": _repeat(bench, cache.sweep, before=marked, at_least=bench.repetitions),
        "refresh": _repeat(
            bench, lambda: cache.refresh("bench_item"), before=marked, at_least=bench.repetitions
        ),
    }


def _write(connection: Connection, marks: int) -> None:
    """Change so many rows, the first ones, a few in each statement: each leaves its mark."""
    for first in range(1, marks + 1, PER_STATEMENT):
        connection.execute(
            text("update item set title = title || '!' where id between :first and :last"),
            {"first": first, "last": min(first + PER_STATEMENT - 1, marks)},
        )


def _reads_and_writes(
    bench: Bench, connection: Connection, view: BoundView[Row], rows: int, marks: int
) -> dict[str, list[float]]:
    draw = Random(f"{bench.seed} {rows} {marks}")
    # Not of the rows that were changed: those are not hits.
    first = rows // 4 + PER_OWNER

    def key() -> int:
        return draw.randint(first, rows)

    def hit() -> None:
        if view.get(key()).origin != "hit":
            raise RuntimeError("no hit")

    def listed() -> None:
        view.list(owner_id=key() // PER_OWNER, order_by=("-updated_at", "id"), limit=PAGE)

    def write() -> None:
        connection.execute(
            text("update item set title = title || '.' where id = :id"), {"id": draw.randint(1, rows // 4)}
        )

    # Writes last: their marks are not among those that the reads are measured with.
    hits, lists = (
        [s for _ in range(bench.repetitions) for s in _repeat(bench, what, warm=20)] for what in (hit, listed)
    )
    return {"hit": hits, "list": lists, "write": _repeat(bench, write, warm=20)}


def _repeat(
    bench: Bench,
    what: Callable[[], object],
    *,
    before: Callable[[], None] = lambda: None,
    at_least: int = 1,
    warm: int = 0,
) -> list[float]:
    """Seconds that it took, each time; what comes before is not counted, nor are the first `warm` times."""
    for _ in range(warm):
        what()
    end = perf_counter() + bench.seconds(2)
    found: list[float] = []
    while len(found) < at_least or perf_counter() < end:
        before()
        begin = perf_counter()
        what()
        found.append(perf_counter() - begin)
    return found


def _report(found: Sequence[Measured], fills: Sequence[tuple[int, float]]) -> Iterator[Result]:
    # A small table has room for fewer marks: it is not among the points of those that have room for all.
    most = [max(one.pending for one in found[at :: len(PENDING)]) for at in range(len(PENDING))]
    for name, title, kinds, unit, digits in (
        ("growth", "microseconds", ("hit", "list", "write"), 1e-6, 1),
        ("growth_upkeep", "milliseconds", ("sweep", "refresh"), 1e-3, 1),
    ):
        yield Table(
            name,
            f"Growth: {title} by cached rows and pending marks",
            ("rows", "pending marks", *(f"{kind} {part}" for kind in kinds for part in ("p50", "p99"))),
            [
                (one.rows, one.pending, *(cell for kind in kinds for cell in one.cells(kind, unit, digits)))
                for one in found
            ],
            _NOTES[name],
        )
        for kind in kinds:
            yield Plot(
                f"growth_{kind}",
                f"{kind}: p50 and p99 by number of cached rows",
                "cached rows",
                title,
                {
                    f"{part}, {pending:,} marks": [
                        (one.rows, one.cells(kind, unit, digits)[n])
                        for one in found
                        if one.pending == pending
                    ]
                    for n, part in enumerate(("p50", "p99"))
                    for pending in most
                },
                log_x=True,
                log_y=True,
            )
    yield Table("growth_fill", "Growth: fills in seconds", ("cached rows", "seconds"), fills)
    quiet = found[:: len(PENDING)]
    yield Bar(
        f"p50 of a hit at {quiet[-1].rows:,} rows against {quiet[0].rows:,}",
        median(quiet[-1].times["hit"]) / median(quiet[0].times["hit"]),
        Goal(1.3),
    )
    marked = found[len(PENDING) * 2 - 1]
    none = found[len(PENDING)]
    yield Bar(
        f"p50 of a hit at {marked.pending:,} pending marks against none, {marked.rows:,} rows",
        median(marked.times["hit"]) / median(none.times["hit"]),
        Goal(1.3),
    )
