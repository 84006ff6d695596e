"""What a hit costs above the floor: a prepared primary-key SELECT of the same columns on the same
connection, and on the server the bare SELECT of the cache table.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final
from uuid import UUID

import orjson
import psycopg
from psycopg import sql
from psycopg.rows import tuple_row
from psycopg.types.json import set_json_loads
from sqlalchemy import Connection, text

from benchmarks import pgbench
from benchmarks.bench import Bar, Bench, Goal, Result, Table, median
from benchmarks.clock import Times, compare
from benchmarks.stage import House
from meshcache_pg.driver import driver
from meshcache_pg.meshhook import WorkflowRepository
from meshcache_pg.meshhook.rows import RunCard, WorkflowCard, WorkflowDefinition

VIEW: Final = "workflow_definition"
# Keys that are read, each cached.
KEYS: Final = 500

_OF_SIZE: Final = """
    select c.id from meshcache_data.workflow_definition as c
    where octet_length(c.definition::text) between 1500 and 15000
    order by md5(c.id::text) limit :wanted
"""


def run(bench: Bench, house: House) -> Iterator[Result]:
    """The bars of hits by key."""
    stage = house.stage
    stage.cache.refresh(VIEW, "all")
    with stage.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("vacuum (analyze) meshcache_data.workflow_definition"))
        keys = [(key,) for key in chosen(bench, connection)]
    rows: list[tuple[str | float, ...]] = []
    ratios: dict[str, float] = {}
    for name, level in (("autocommit", "AUTOCOMMIT"), ("in a transaction", "READ COMMITTED")):
        with stage.engine.connect().execution_options(isolation_level=level) as connection:
            times = _by_key(bench, house, connection, keys)
        ratios[name] = times["hit"].p50 / times["floor"].p50
        rows += [(what, name, *times[way].cells, times[way].reads) for way, what in _WAYS.items()]
    yield Table(
        "hits",
        "A hit of workflow_definition by key, in microseconds",
        ("way", "where", "p50", "p95", "p99", "reads"),
        rows,
        "Documents of 1.5 to 15 KB, decoded by orjson on all sides.",
    )
    for name, figure in ratios.items():
        yield Bar(
            f"hit through the repository, p50, against a prepared primary-key SELECT ({name})",
            figure,
            Goal(1.15),
        )
    yield _throughput(bench, house, keys)
    yield _page(bench, house, keys)


def chosen(bench: Bench, connection: Connection) -> list[UUID]:
    """Keys of documents of 1.5 to 15 KB that are cached."""
    return list(connection.scalars(text(_OF_SIZE), {"wanted": bench.rows(KEYS)}))


_WAYS: Final = {
    "floor": "prepared primary-key SELECT",
    "hit": "repository",
}


def _by_key(
    bench: Bench, house: House, connection: Connection, keys: list[tuple[Any, ...]]
) -> dict[str, Times]:
    raw = driver(connection)
    set_json_loads(orjson.loads, raw)
    repository = WorkflowRepository(house.stage.cache, connection)
    for key in keys:
        if not repository.get(*key).origin == "hit":
            raise RuntimeError(f"{VIEW} {key}: no hit")
    ways: dict[str, Callable[..., Any]] = {
        "floor": floor(house, raw, connection),
        "hit": repository.get,
    }
    return compare(bench, ways, keys, seconds=12)


def floor(house: House, raw: psycopg.Connection[Any], connection: Connection) -> Callable[..., Any]:
    """A primary-key SELECT of the cached columns, prepared, as psycopg's cursor sends it."""
    target = house.stage.cache.target(connection, VIEW)
    statement = (
        sql.SQL("select {} from {} where id = %s")
        .format(
            sql.SQL(", ").join(sql.Identifier(column) for column in target.columns),
            sql.Identifier("meshcache_data", VIEW),
        )
        .as_bytes()
    )
    cursor = raw.cursor(row_factory=tuple_row, binary=True)

    def ask(*key: Any) -> Any:
        return cursor.execute(statement, key, prepare=True).fetchone()

    return ask


def _page(bench: Bench, house: House, keys: list[tuple[Any, ...]]) -> Table:
    """What a page of one workflow shows, of three views: read one after the other, and together."""
    cache = house.stage.cache
    newest: dict[str, Any] = {"order_by": ("-created_at", "-id"), "limit": 20}
    views = (("workflow_definition", WorkflowDefinition), ("workflow_card", WorkflowCard))
    with house.stage.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        set_json_loads(orjson.loads, driver(connection))

        def alone(key: UUID) -> list[Any]:
            found: list[Any] = [cache.view(name, connection, row).get(key) for name, row in views]
            return [*found, cache.view("run_card", connection, RunCard).list(workflow_id=key, **newest)]

        def together(key: UUID) -> list[Any]:
            with cache.together(connection) as reads:
                found: list[Any] = [reads.view(name, row).get_later(key) for name, row in views]
                found.append(reads.view("run_card", RunCard).list_later(workflow_id=key, **newest))
            return [later.answer for later in found]

        # Which workflows have runs is a matter of chance, and a list of none asks twice.
        with_runs = [key for key in keys if alone(*key)[2].rows]
        for key in with_runs[:20]:
            *documents, runs = zip(alone(*key), together(*key), strict=True)
            if any(one.value != other.value for one, other in documents) or runs[0].rows != runs[1].rows:
                raise RuntimeError(f"{key}: read together it is something else")
        times = compare(bench, {"alone": alone, "together": together}, with_runs, seconds=6)
    return Table(
        "page",
        "A page of one workflow (document, card, the newest 20 runs), in microseconds",
        ("way", "p50", "p95", "p99", "pages"),
        [
            ("one read after the other", *times["alone"].cells, times["alone"].reads),
            ("in one round trip", *times["together"].cells, times["together"].reads),
        ],
        "Over a Unix socket, where a round trip is as short as it can be, outside a transaction.",
    )


def _throughput(bench: Bench, house: House, keys: list[tuple[Any, ...]]) -> Bar:
    """pgbench -M prepared with 4 clients: the function `_get` against the bare SELECT."""
    loads = [
        pgbench.Load("".join(statement.format(key) for (key,) in keys[:_PER_SCRIPT]), seed=bench.seed)
        for statement in (_BARE, _GET)
    ]
    bare, get = pgbench.in_turns(
        [partial(pgbench.throughput, house.stage.dsn, load, bench.seconds(8)) for load in loads],
        bench.repetitions,
    )
    per_script = len(keys[:_PER_SCRIPT])
    return Bar(
        "server throughput of _get (pgbench -M prepared, 4 clients) against the bare SELECT",
        pgbench.ratio(get, bare),
        Goal(0.85, at_least=True),
        f"{median(get) * per_script:,.0f} against {median(bare) * per_script:,.0f} reads a second",
    )


# pgbench knows no uuid: a script reads these keys one after the other, each by a statement of its own.
_PER_SCRIPT: Final = 50
_BARE: Final = "select * from meshcache_data.workflow_definition where id = '{}'::uuid;\n"
_GET: Final = "select * from meshcache.workflow_definition_get('{}'::uuid);\n"
