"""Fills and refreshes against the plain SQL that does the same work."""

from collections.abc import Iterator
from time import perf_counter
from typing import Any, Final

import psycopg
from psycopg import sql

from benchmarks.bench import Bar, Bench, Goal, Result, Table, median
from benchmarks.stage import House
from meshcache_pg.meshhook import definition
from meshcache_pg.sql import trusted
from meshcache_pg.timing import batches

# Views that are filled as a whole, and one that is filled on demand.
VIEWS: Final = ("run_card", "workflow_card", "webhook_route", "workflow_definition")
# The one whose refresh is compared with that of a materialized view: the largest that is kept complete.
REFRESHED: Final = "run_card"
CHANGED: Final = 0.01

# As an application writes: many statements, each of a few rows.
_CHANGE: Final = """
    update workflow_runs set status = 'succeeded', finished_at = now()
    where id = any(%s)
"""
_CHOOSE: Final = "select r.id from workflow_runs as r where mod(hashtext(r.id::text || %s), 100) = 0"
PER_STATEMENT: Final = 50


def run(bench: Bench, house: House) -> Iterator[Result]:
    """The bars of fills and refreshes."""
    rows: list[tuple[str | float, ...]] = []
    with psycopg.connect(house.stage.dsn, autocommit=True) as connection:
        for view in VIEWS:
            plain: list[float] = []
            inserted: list[float] = []
            filled: list[float] = []
            for _ in range(bench.repetitions):
                plain.append(_create(connection, view))
                inserted.append(_insert(connection, view))
                filled.append(_fill(connection, view))
            ratio, floor = (median(filled) / median(other) for other in (plain, inserted))
            for what, other, found in (
                ("create unlogged table as", plain, ratio),
                ("insert into one with the same indexes", inserted, floor),
            ):
                rows.append((f"fill {view}", what, *_cells(other, filled), round(found, 2)))
            yield Bar(
                f"fill of the whole of {view}, against create unlogged table as",
                ratio,
                Goal(1.3),
                f"{floor:.2f} of an INSERT into an unlogged table that has the same indexes",
            )
        plain, refreshed, swept, marked = _refreshes(bench, connection)
        for name, cache in (("refresh", refreshed), ("sweep", swept)):
            factor = median(plain) / median(cache)
            rows.append(
                (
                    f"{name} {REFRESHED}, {CHANGED:.0%} changed",
                    "refresh materialized view concurrently",
                    *_cells(plain, cache),
                    round(1 / factor, 3),
                )
            )
            if name == "refresh":
                yield Bar(
                    f"{name} after {CHANGED:.0%} of rows changed: times faster than "
                    "REFRESH MATERIALIZED VIEW CONCURRENTLY",
                    factor,
                    Goal(20, at_least=True),
                    f"{marked:,} rows changed",
                )
    yield Table(
        "fills",
        "Fills, refreshes and sweeps, in seconds",
        ("what", "against", "the other", "meshcache", "ratio"),
        rows,
        "The table that is created gets the primary key that the cache table has.",
    )


def _cells(plain: list[float], cache: list[float]) -> tuple[float, float]:
    return round(median(plain), 4), round(median(cache), 4)


def _timed(connection: psycopg.Connection[Any], statement: sql.Composed) -> float:
    begin = perf_counter()
    connection.execute(statement)
    return perf_counter() - begin


def _create(connection: psycopg.Connection[Any], view: str) -> float:
    one = definition(view)
    connection.execute("checkpoint")
    took = _timed(
        connection,
        sql.SQL("create unlogged table bench_fill as {}").format(sql.SQL(trusted(one.query))),
    ) + _timed(
        connection,
        sql.SQL("alter table bench_fill add primary key ({})").format(
            sql.SQL(", ").join(map(sql.Identifier, one.key))
        ),
    )
    connection.execute("drop table bench_fill")
    return took


def _insert(connection: psycopg.Connection[Any], view: str) -> float:
    """The same rows into a table that is what the cache table is, with nothing asked and nothing checked."""
    connection.execute(
        sql.SQL("create unlogged table bench_fill (like {} including all) with (fillfactor = 80)").format(
            sql.Identifier("meshcache_data", view)
        )
    )
    connection.execute("checkpoint")
    took = _timed(
        connection,
        sql.SQL(
            "insert into bench_fill select s.*, m.snapshot, m.xid, now()"
            " from (select pg_current_snapshot() as snapshot, pg_current_xact_id() as xid offset 0) as m"
            " cross join {} as s"
        ).format(sql.Identifier("meshcache", f"{view}_source")),
    )
    connection.execute("drop table bench_fill")
    return took


def _fill(connection: psycopg.Connection[Any], view: str) -> float:
    """A whole fill into the empty table: as after applying, or after a crash."""
    connection.execute(sql.SQL("truncate {}").format(sql.Identifier("meshcache_data", view)))
    connection.execute("checkpoint")
    return _refresh(connection, view, "all")


def _refresh(connection: psycopg.Connection[Any], view: str, mode: str) -> float:
    return _timed(
        connection,
        sql.SQL("call meshcache.refresh({}, p_mode => {}, p_max_seconds => 600)").format(
            sql.Literal(view), sql.Literal(mode)
        ),
    )


def _refreshes(
    bench: Bench, connection: psycopg.Connection[Any]
) -> tuple[list[float], list[float], list[float], int]:
    one = definition(REFRESHED)
    connection.execute(
        sql.SQL("create materialized view bench_view as {}").format(sql.SQL(trusted(one.query)))
    )
    connection.execute(
        sql.SQL("create unique index on bench_view ({})").format(
            sql.SQL(", ").join(map(sql.Identifier, one.key))
        )
    )
    for table in ("bench_view", "workflow_runs", "meshcache_data.run_card"):
        connection.execute(sql.SQL("vacuum (analyze) {}").format(sql.Identifier(*table.split("."))))
    plain: list[float] = []
    refreshed: list[float] = []
    swept: list[float] = []
    marked = 0
    for turn in range(2 * bench.repetitions):
        runs = [row[0] for row in connection.execute(_CHOOSE, (str(turn),))]
        marked = len(runs)
        for few in batches(runs, PER_STATEMENT):
            connection.execute(_CHANGE, (few,))
        if turn % 2:
            refreshed.append(_refresh(connection, REFRESHED, "stale"))
            plain.append(
                _timed(
                    connection,
                    sql.SQL("refresh materialized view concurrently {}").format(sql.Identifier("bench_view")),
                )
            )
        else:
            swept.append(_timed(connection, sql.SQL("call meshcache.sweep()").format()))
    connection.execute("drop materialized view bench_view")
    return plain, refreshed, swept, marked
