"""How hits, lists, writes, sweeps and refreshes change as the cache grows and as marks wait for a sweep."""

from collections.abc import Callable, Iterator, Sequence
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


@dataclass(frozen=True, slots=True)
class Measured:
    """At one size and one number of pending marks: seconds of every read or write."""

    rows: int
    pending: int
    hits: Sequence[float]
    lists: Sequence[float]
    writes: Sequence[float]


def run(bench: Bench, house: House) -> Iterator[Result]:
    """The bars of growth, a table and the plots."""
    found: list[Measured] = []
    work: list[tuple[str | float, ...]] = []
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
                work.append(("fill", rows, rows, round(perf_counter() - begin, 3)))
                found += _with_marks(bench, cache, dsn, rows, work)
    yield from _report(found, work)


def _load(dsn: str, rows: int) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(_LOAD.format(rows=rows, per_owner=PER_OWNER).encode())
        connection.execute("vacuum (analyze) item")
        connection.execute("analyze owner")


def _with_marks(
    bench: Bench, cache: MeshCache, dsn: str, rows: int, work: list[tuple[str | float, ...]]
) -> Iterator[Measured]:
    """One measurement per number of marks that are pending; a sweep resolves them after each."""
    engine = make_engine(dsn, application_name="benchmark")
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("vacuum (analyze) meshcache_data.bench_item"))
            connection.execute(text("checkpoint"))
            view = cache.view("bench_item", connection)
            for most in PENDING:
                marks = min(bench.rows(most, at_least=0), rows // 4)
                _write(connection, marks)
                yield _measured(bench, connection, view, rows, marks)
                begin = perf_counter()
                cache.sweep()
                work.append(("sweep", rows, marks, round(perf_counter() - begin, 3)))
            changed = min(bench.rows(1_000), rows // 4)
            _write(connection, changed)
            begin = perf_counter()
            cache.refresh("bench_item")
            work.append(("refresh", rows, changed, round(perf_counter() - begin, 3)))
    finally:
        engine.dispose()


def _write(connection: Connection, marks: int) -> None:
    """Change so many rows, the first ones, a few in each statement: each leaves its mark."""
    for first in range(1, marks + 1, PER_STATEMENT):
        connection.execute(
            text("update item set title = title || '!' where id between :first and :last"),
            {"first": first, "last": min(first + PER_STATEMENT - 1, marks)},
        )


def _measured(bench: Bench, connection: Connection, view: BoundView[Row], rows: int, marks: int) -> Measured:
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

    hits, lists = (
        [s for _ in range(bench.repetitions) for s in _repeat(bench, what)] for what in (hit, listed)
    )
    return Measured(rows, marks, hits, lists, _repeat(bench, write))


def _repeat(bench: Bench, what: Callable[[], None]) -> list[float]:
    for _ in range(20):
        what()
    end = perf_counter() + bench.seconds(2)
    found: list[float] = []
    while perf_counter() < end:
        begin = perf_counter()
        what()
        found.append(perf_counter() - begin)
    return found


def _report(found: Sequence[Measured], work: Sequence[Sequence[str | float]]) -> Iterator[Result]:
    kinds: dict[str, Callable[[Measured], Sequence[float]]] = {
        "hit": lambda one: one.hits,
        "list": lambda one: one.lists,
        "write": lambda one: one.writes,
    }
    yield Table(
        "growth",
        "Growth: microseconds by cached rows and pending marks",
        ("rows", "pending marks", *(f"{kind} {part}" for kind in kinds for part in ("p50", "p99"))),
        [
            (
                one.rows,
                one.pending,
                *(round(percentile(of(one), part) * 1e6, 1) for of in kinds.values() for part in (0.5, 0.99)),
            )
            for one in found
        ],
        f"Hits and lists (the newest {PAGE} of an owner's {PER_OWNER}) of rows that were not changed; "
        "writes are single-row updates of others, committed one by one.",
    )
    yield Table(
        "growth_work",
        "Growth: fills, sweeps and refreshes in seconds",
        ("what", "cached rows", "rows or marks to do", "seconds"),
        work,
    )
    for kind, of in kinds.items():
        yield Plot(
            f"growth_{kind}",
            f"{kind}: p50 by number of cached rows",
            "cached rows",
            "microseconds",
            {
                f"{pending:,} pending marks": [
                    (one.rows, percentile(of(one), 0.5) * 1e6)
                    for one in found
                    if found.index(one) % len(PENDING) == n
                ]
                for n, pending in enumerate(PENDING)
            },
            log_x=True,
        )
    quiet = [one for n, one in enumerate(found) if n % len(PENDING) == 0]
    yield Bar(
        f"p50 of a hit at {quiet[-1].rows:,} rows against {quiet[0].rows:,}",
        median(quiet[-1].hits) / median(quiet[0].hits),
        Goal(1.3),
    )
    most = found[len(PENDING) * 2 - 1]
    none = found[len(PENDING)]
    yield Bar(
        f"p50 of a hit at {most.pending:,} pending marks against none, {most.rows:,} rows",
        median(most.hits) / median(none.hits),
        Goal(1.3),
    )
