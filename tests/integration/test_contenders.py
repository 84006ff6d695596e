"""The comparison with other ways to cache: its measurement can fail, and meshcache passes it."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from uuid import UUID

import orjson
import psycopg
import pytest
from sqlalchemy import Engine

from benchmarks import programs
from benchmarks.bench import Bench, Plot, Table
from benchmarks.contenders import speed, staleness
from benchmarks.contenders.application import (
    Change,
    Lookup,
    committed,
    connect,
    is_older,
    json_by_orjson,
    undo,
)
from benchmarks.contenders.aside import AsideClient
from benchmarks.contenders.compare import run
from benchmarks.contenders.contender import Client, Contender, Stage
from benchmarks.contenders.meshcache import Meshcache
from benchmarks.contenders.redis_aside import redis_reader
from benchmarks.contenders.source import Source
from benchmarks.contenders.speed import Popularity
from meshcache_pg.cache import MeshCache
from meshcache_pg.meshhook import WorkflowDefinition
from meshcache_pg.settings import Settings
from tests.fixtures.fix_db import Database

pytestmark = pytest.mark.newest_major

WITHOUT_SERVERS = {
    "source query, prepared",
    "meshcache, repository",
    "Django's database cache",
    "logged twin, kept by the application",
    "write-through triggers, by hand",
    "materialized view, refreshed every second",
    "floor: cache table by primary key, never checked",
}
BY_SERVER = {
    "redis-server": {"Redis, cache-aside", "dogpile.cache on Redis"},
    "memcached": {"memcached, cache-aside"},
}

_ROWS = """
    select d.id, d.definition, p.name
    from workflow_definitions as d inner join projects as p on p.id = d.project_id order by d.id
"""


@dataclass
class StageOfTest:
    """What the comparison needs of a stage."""

    engine: Engine
    cache: MeshCache
    dsn: str


@pytest.fixture
def stage(installed: Database) -> Iterator[StageOfTest]:
    settings = Settings(dsn=installed.dsn, fill=True, fills_per_second=1000.0)
    with MeshCache(installed.dsn, settings=settings) as cache:
        yield StageOfTest(installed.engine(), cache, installed.dsn)


@pytest.fixture
def connection(stage: StageOfTest) -> Iterator[psycopg.Connection]:
    with connect(stage.dsn) as opened:
        yield opened


@pytest.fixture
def keys(connection: psycopg.Connection) -> list[UUID]:
    return [row[0] for row in connection.execute("select d.id from workflow_definitions as d order by d.id")]


class NeverClient(AsideClient):
    """Drops nothing."""

    def __init__(self, dsn: str, cached: dict[UUID, WorkflowDefinition]) -> None:
        super().__init__(dsn)
        self._cached = cached

    def load(self, key: UUID) -> WorkflowDefinition | None:
        return self._cached.get(key)

    def store(self, row: WorkflowDefinition) -> None:
        self._cached[row.id] = row

    def drop(self, keys: Sequence[UUID]) -> None:
        del keys


class Never(Contender):
    """A cache that never invalidates."""

    title = "never"

    def __init__(self) -> None:
        self.cached: dict[UUID, WorkflowDefinition] = {}

    def set_up(self, stage: Stage, keys: Sequence[UUID]) -> None:
        del keys
        self._dsn = stage.dsn

    def client(self) -> Client:
        return NeverClient(self._dsn, self.cached)

    def tear_down(self) -> None:
        self.cached.clear()


def test_one_that_never_invalidates_is_found_stale(stage: StageOfTest, keys: list[UUID]) -> None:
    found = staleness.race(stage, Never(), Popularity(keys), 0, "1")
    assert found.hits == found.reads
    assert found.stale > 0
    assert found.at_rest == len(keys)
    assert found.wrong > 0


def test_meshcache_is_exact(stage: StageOfTest, keys: list[UUID]) -> None:
    found = staleness.race(stage, Meshcache(), Popularity(keys), 0, "1")
    assert found.writes >= staleness.FEWEST_WRITES
    assert found.hits > 0
    assert (found.stale, found.wrong) == (0, 0)


@pytest.mark.parametrize("renames", [False, True], ids=["edit", "new name of the project"])
def test_a_row_from_before_a_commit_is_older_and_one_from_after_it_is_not(
    stage: StageOfTest, connection: psycopg.Connection, keys: list[UUID], *, renames: bool
) -> None:
    source = Lookup(connection)
    before = source(keys[0])
    with connect(stage.dsn) as writing, writing.transaction():
        assert keys[0] in Change(keys[0], renames).apply(writing)
        while_open = committed(connection, keys[0])
    after = source(keys[0])
    assert before is not None
    assert after is not None
    assert not is_older(before, while_open)
    assert is_older(before, committed(connection, keys[0]))
    assert not is_older(after, committed(connection, keys[0]))
    undo(stage.dsn)
    restored = source(keys[0])
    assert restored is not None
    assert replace(restored, updated_at=before.updated_at) == before


def test_one_that_returns_other_rows_is_not_measured(stage: StageOfTest, keys: list[UUID]) -> None:
    never = Never()
    with connect(stage.dsn) as opened:
        rows = {key: Lookup(opened)(keys[0]) for key in keys}
    never.cached.update({key: row for key, row in rows.items() if row is not None})
    with pytest.raises(speed.WrongRowError, match="never"):
        speed.measure(Bench(smoke=True), stage, [Source(), never], Popularity(keys))


@pytest.mark.parametrize("has_servers", [True, False], ids=["with servers", "without servers"])
def test_a_smoke_run_has_a_row_for_each_contender_and_leaves_nothing_behind(
    stage: StageOfTest, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, *, has_servers: bool
) -> None:
    rows = connection.execute(_ROWS).fetchall()

    def not_here(name: str, *_: object, **__: object) -> programs.Program:
        raise programs.NotFoundError(f"{name} is not installed")

    if not has_servers:
        monkeypatch.setattr(programs, "locate", not_here)
    bench = Bench(smoke=True, say=lambda _: None)
    table, plot = run(bench, stage)
    assert isinstance(table, Table)
    assert isinstance(plot, Plot)
    expected = set(WITHOUT_SERVERS)
    for name, titles in BY_SERVER.items():
        if f"{name} is not installed" not in bench.left_out:
            expected |= titles
    assert {row[0] for row in table.rows} == expected == set(plot.series)
    assert all(len(row) == len(table.columns) for row in table.rows)
    ours = dict(zip(table.columns, table.rows[1], strict=True))
    assert ours["contender"] == "meshcache, repository"
    assert (ours["stale per million"], str(ours["wrong at rest"])[:4]) == (0, "0 of")
    assert _left_behind(connection) == []
    assert connection.execute(_ROWS).fetchall() == rows


def test_redis_returns_the_document_with_all_columns(
    connection: psycopg.Connection, keys: list[UUID]
) -> None:
    found = programs.find(Bench(smoke=True, say=lambda _: None), "redis-server")
    if found is None:
        pytest.skip("redis-server is not installed")
    row = Lookup(connection)(keys[0])
    assert row is not None
    with ExitStack() as stack:
        socket = stack.enter_context(programs.redis_server(found))
        read = stack.enter_context(redis_reader(socket, orjson.loads, [row]))
        document = read(keys[0])
        assert read(keys[1]) is None
    assert document is not None
    assert document["id"] == str(row.id)
    assert document["definition"] == row.definition
    assert len(document) == len(row.__slots__)


def test_json_is_decoded_by_the_driver_again_afterwards(connection: psycopg.Connection) -> None:
    huge = "select '123456789012345678901234567890'::jsonb"
    with json_by_orjson():
        # Which makes a float of what is too large.
        assert connection.execute(huge).fetchone() == (1.2345678901234568e29,)
    assert connection.execute(huge).fetchone() == (123456789012345678901234567890,)


def _left_behind(connection: psycopg.Connection) -> list[str]:
    return [
        row[0]
        for row in connection.execute("""
            select n.nspname::text from pg_namespace as n where n.nspname like 'bench%'
            union all
            select t.tgname::text from pg_trigger as t where t.tgname like 'bench%'
        """)
    ]
