"""Clients that cannot prepare statements, because a pooler gives them another server at each transaction:
every statement is planned anew, the source's as well as the cache's.
"""

from collections.abc import Iterator
from typing import Final

import orjson
from psycopg.types.json import set_json_loads
from sqlalchemy import text

from benchmarks.bench import Bar, Bench, Goal, Result, Table
from benchmarks.clock import compare
from benchmarks.sources import keys_of, warm
from benchmarks.stage import House
from meshcache_pg.database import make_engine
from meshcache_pg.demo.cases import cases
from meshcache_pg.demo.reads import source_read
from meshcache_pg.demo.stage import DATABASE
from meshcache_pg.driver import driver
from tests.consistency.harness.pooler import find_pooler, pooled_dsn, pooler

# Of these the source's query is the read of a single row: nothing is claimed.
SINGLE_ROW: Final = frozenset(("webhook_route", "workflow_definition", "node_config"))


def run(bench: Bench, house: House) -> Iterator[Result]:
    """The bars of unprepared reads; left out where there is no pooler."""
    program = find_pooler()
    if program is None:
        bench.left_out.append("unprepared reads: no program pgbouncer was found")
        return
    warm(bench, house)
    rows: list[tuple[str | float, ...]] = []
    bars: list[Bar] = []
    with pooler(program, house.stage.dsn) as directory:
        engine = make_engine(pooled_dsn(directory, DATABASE), application_name="benchmark")
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            raw = driver(connection)
            raw.prepare_threshold = None
            set_json_loads(orjson.loads, raw)
            for case in cases(house.stage.cache, connection):
                found = [tuple(row) for row in connection.execute(text(case.popularity))]
                keys = keys_of(bench, case, found)
                if not keys:
                    continue
                ways = {"source": source_read(connection, case, prepare=False), "cache": case.cached}
                times = compare(bench, ways, keys, seconds=6)
                factor = times["source"].p50 / times["cache"].p50
                cells = (*times["source"].cells, *times["cache"].cells)
                rows.append((case.view, case.title, *cells, round(factor, 2)))
                if case.view not in SINGLE_ROW:
                    bars.append(
                        Bar(
                            f"unprepared through PgBouncer: {case.view} {case.title}, times faster",
                            factor,
                            Goal(1.0, at_least=True),
                        )
                    )
        engine.dispose()
    yield Table(
        "pooled",
        "Unprepared reads through PgBouncer in transaction mode, in microseconds",
        ("view", "case", "source p50", "p95", "p99", "cache p50", "p95", "p99", "times faster"),
        rows,
        "Every statement is parsed and planned at each read, on both sides.",
    )
    yield from bars
