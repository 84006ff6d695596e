"""The reads of the pack against the queries they replace: well indexed, prepared, without row-level security,
over the same connection and made into the same dataclasses.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import orjson
from psycopg import sql
from psycopg.types.json import set_json_loads
from sqlalchemy import Connection, text

from benchmarks.bench import Bar, Bench, Goal, Result, Table
from benchmarks.clock import Times, compare
from benchmarks.stage import House
from meshcache_pg.bound_view import BoundView
from meshcache_pg.demo.cases import Case, cases
from meshcache_pg.demo.reads import KEYS_PER_FILL, source_read
from meshcache_pg.driver import driver
from meshcache_pg.making import Row
from meshcache_pg.meshhook import definition
from meshcache_pg.timing import batches

# Keys per case, popular ones more often.
KEYS: Final = 300

# What each must at least reach: (view, title of the case) as the demo has them.
GOALS: Final = {
    ("workflow_card", "of a project"): ("workflow_card list of one project with its counts", 10.0),
    ("run_detail", "under way"): ("run_detail by key, a run under way", 5.0),
    ("run_state", "under way"): ("run_state by key, a run under way", 5.0),
    ("run_card", "newest 50"): ("run_card list, a plain join", 1.5),
    ("webhook_route", "by slug"): ("webhook_route by slug", 1.5),
}


def run(bench: Bench, house: House) -> Iterator[Result]:
    """A table of all cases, and the bars of some."""
    warm(bench, house)
    rows: list[tuple[str | float, ...]] = []
    bars: list[Bar] = []
    engine = house.stage.engine
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        connection.execute(text("set transaction read only"))
        set_json_loads(orjson.loads, driver(connection))
        for case in cases(house.stage.cache, connection):
            keys = _keys(bench, connection, case)
            if not keys:
                bench.left_out.append(f"{case.view} {case.title}: the sample has no such rows")
                continue
            source = source_read(connection, case)
            _check(case, source, keys[: len(keys) // 10 + 1])
            times = compare(bench, {"source": source, "cache": case.cached}, keys, seconds=9)
            factor = times["source"].p50 / times["cache"].p50
            rows.append((case.view, case.title, *_cells(times), round(factor, 2)))
            if (case.view, case.title) in GOALS:
                name, least = GOALS[case.view, case.title]
                bars.append(Bar(f"{name}: times faster than the source", factor, Goal(least, at_least=True)))
        connection.rollback()
    yield Table(
        "sources",
        "Reads of the pack through the repositories against the source, in microseconds",
        ("view", "case", "source p50", "p95", "p99", "cache p50", "p95", "p99", "times faster"),
        rows,
        "In one REPEATABLE READ transaction, so that each read of the cache pays for its savepoint. "
        "Every answer was compared first; all reads of the cache were hits.",
    )
    yield from bars


def _cells(times: dict[str, Times]) -> tuple[float, ...]:
    return (*times["source"].cells, *times["cache"].cells)


def _check(case: Case, source: Callable[..., Any], keys: list[tuple[Any, ...]]) -> None:
    for key in keys:
        answer = case.cached(*key)
        if tuple(source(*key)) != tuple(answer):
            raise RuntimeError(f"{case.view} {key}: source and cache differ")
        if answer.origin != "hit":
            raise RuntimeError(f"{case.view} {key}: {answer.origin}, no hit")


def keys_of(bench: Bench, case: Case, popular: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Keys as the application asks for them, of `popular` ones that have a weight at their end."""
    if not popular:
        return []
    draw = random.Random(f"{bench.seed} {case.view} {case.title}")
    weights = [float(row[-1]) for row in popular]
    return draw.choices([row[:-1] for row in popular], weights, k=bench.rows(KEYS))


def _keys(bench: Bench, connection: Connection, case: Case) -> list[tuple[Any, ...]]:
    return keys_of(bench, case, [tuple(row) for row in connection.execute(text(case.popularity))])


def warm(bench: Bench, house: House) -> None:
    """Let what fills on demand have the keys that will be read."""
    stage = house.stage
    with stage.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for case in cases(stage.cache, connection):
            if definition(case.view).coverage != "on_demand":
                continue
            view: BoundView[Row] = stage.cache.view(definition(case.view), connection)
            for keys in batches(dict.fromkeys(_keys(bench, connection, case)), KEYS_PER_FILL):
                view.get_many(keys)
            vacuum = sql.SQL("vacuum (analyze) {}").format(sql.Identifier("meshcache_data", case.view))
            connection.exec_driver_sql(vacuum.as_string())
