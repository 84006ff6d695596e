"""MeshHook's repositories: typed rows, equal to those of the application's own queries whatever the cache is.

Every method is asked in every way there is to reach the database, with the cache whole, stale, forbidden and
absent, and what it says is compared with the query that the application makes for the same page or worker.
"""

import dataclasses
import typing
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from meshcache_pg import MeshCache, Origin, Settings, parse
from meshcache_pg.answers import Listing, Result
from meshcache_pg.errors import DefinitionError, InvalidKey
from meshcache_pg.meshhook import (
    NodeConfig,
    NodeConfigRepository,
    QueueStats,
    RunCard,
    RunDetail,
    RunRepository,
    RunState,
    StatsRepository,
    WebhookRoute,
    WorkflowCard,
    WorkflowDefinition,
    WorkflowRepository,
    WorkflowStats,
    definition,
    pack,
    sample,
)
from tests.fixtures.fix_db import Database
from tests.fixtures.fix_meshhook import add_sample
from tests.fixtures.fix_templates import Templates

ROWS: dict[str, type[Any]] = {
    "webhook_route": WebhookRoute,
    "workflow_card": WorkflowCard,
    "workflow_definition": WorkflowDefinition,
    "node_config": NodeConfig,
    "run_card": RunCard,
    "run_state": RunState,
    "run_detail": RunDetail,
    "workflow_stats": WorkflowStats,
    "queue_stats": QueueStats,
}

Where = Connection | Session


@dataclass(frozen=True)
class Keys:
    """What the reads ask for: a workflow with runs, and one of its runs with events."""

    slug: str
    workflow_id: UUID
    project_id: UUID
    node_id: str
    run_id: UUID


@dataclass(frozen=True)
class Mesh:
    """The application's database with the pack applied and filled."""

    db: Database
    engine: Engine
    cache: MeshCache
    keys: Keys


@dataclass(frozen=True)
class Read:
    """One method, and the application's own query for the same: columns that both have, compared in order."""

    name: str
    ask: Callable[[MeshCache, Where, Keys], Result[Any] | Listing[Any]]
    query: str
    rollup: bool = False

    def rows(self, cache: MeshCache, where: Where, keys: Keys) -> list[Any]:
        return in_rows(self.ask(cache, where, keys))


def in_rows(answer: Result[Any] | Listing[Any]) -> list[Any]:
    if isinstance(answer, Listing):
        return list(answer)
    return [answer.unwrap()] if answer else []


READS = (
    Read(
        "by_slug",
        lambda c, w, k: WorkflowRepository(c, w).by_slug(k.slug),
        """
        select id as workflow_id, project_id from workflow_definitions
        where slug = :slug order by version desc limit 1
        """,
    ),
    Read(
        "cards",
        lambda c, w, k: WorkflowRepository(c, w).cards(k.project_id),
        """
        select
            id, slug, version, name, description, status, user_id, created_at, updated_at,
            jsonb_array_length(definition -> 'nodes') as node_count,
            (select count(*) from workflow_runs r where r.workflow_id = w.id) as run_count,
            (select max(created_at) from workflow_runs r where r.workflow_id = w.id) as last_run_at,
            (
                select count(*) from workflow_runs r where r.workflow_id = w.id and r.status = 'failed'
            ) as failed_count
        from workflows as w where project_id = :project_id order by updated_at desc, id
        """,
    ),
    Read(
        "cards, second page",
        lambda c, w, k: WorkflowRepository(c, w).cards(k.project_id, limit=2, offset=1),
        """
        select id, name from workflows where project_id = :project_id
        order by updated_at desc, id limit 2 offset 1
        """,
    ),
    Read(
        "card",
        lambda c, w, k: WorkflowRepository(c, w).card(k.workflow_id),
        "select id, name, status, updated_at from workflows where id = :workflow_id",
    ),
    Read(
        "get",
        lambda c, w, k: WorkflowRepository(c, w).get(k.workflow_id),
        """
        select w.*, p.name as project_name from workflows as w join projects as p on p.id = w.project_id
        where w.id = :workflow_id
        """,
    ),
    Read(
        "node config",
        lambda c, w, k: NodeConfigRepository(c, w).get(k.workflow_id, k.node_id),
        """
        select
            w.id as workflow_id, n ->> 'id' as node_id, n ->> 'type' as node_type,
            n #> '{data,config}' as config
        from workflows as w, jsonb_array_elements(w.definition -> 'nodes') as n
        where w.id = :workflow_id and n ->> 'id' = :node_id
        """,
    ),
    Read(
        "recent",
        lambda c, w, k: RunRepository(c, w).recent(k.project_id, limit=7),
        """
        select
            r.id, r.project_id, r.workflow_id, r.status, r.started_at, r.finished_at, r.created_at,
            r.updated_at, w.slug as workflow_slug, w.name as workflow_name
        from workflow_runs as r join workflow_definitions as w on w.id = r.workflow_id
        where r.project_id = :project_id order by r.created_at desc, r.id desc limit 7
        """,
    ),
    Read(
        "for_workflow",
        lambda c, w, k: RunRepository(c, w).for_workflow(k.workflow_id, limit=None),
        """
        select id, status from workflow_runs where workflow_id = :workflow_id
        order by created_at desc, id desc
        """,
    ),
    Read(
        "run card",
        lambda c, w, k: RunRepository(c, w).card(k.run_id),
        "select id, workflow_id, status, finished_at from workflow_runs where id = :run_id",
    ),
    Read(
        "state",
        lambda c, w, k: RunRepository(c, w).state(k.run_id),
        """
        select
            r.id as run_id, r.status,
            (select count(*) from workflow_events e where e.run_id = r.id) as event_count,
            (
                select id from workflow_events e where e.run_id = r.id order by ts desc, id desc limit 1
            ) as last_event_id
        from workflow_runs as r where r.id = :run_id
        """,
    ),
    Read(
        "detail",
        lambda c, w, k: RunRepository(c, w).detail(k.run_id),
        """
        select
            r.id as run_id, r.status, r.finished_at, w.slug as workflow_slug,
            (select count(*) from workflow_events e where e.run_id = r.id) as event_count
        from workflow_runs as r join workflow_definitions as w on w.id = r.workflow_id where r.id = :run_id
        """,
    ),
    Read(
        "workflow stats",
        lambda c, w, k: StatsRepository(c, w).workflows(workflow_id=k.workflow_id),
        """
        select workflow_id, date_trunc('hour', created_at, 'UTC') as hour, count(*) as run_count
        from workflow_runs where workflow_id = :workflow_id group by 1, 2 order by 2 desc
        """,
        rollup=True,
    ),
    Read(
        "queue stats",
        lambda c, w, _: StatsRepository(c, w).queues(queue_name="workflow_jobs", limit=5),
        """
        select queue_name, date_trunc('hour', enqueued_at, 'UTC') as hour, count(*) as job_count
        from job_tracking where queue_name = 'workflow_jobs' group by 1, 2 order by 2 desc limit 5
        """,
        rollup=True,
    ),
)
EXACT = tuple(read for read in READS if not read.rollup)
each_read = pytest.mark.parametrize("read", READS, ids=lambda read: read.name)
each_exact_read = pytest.mark.parametrize("read", EXACT, ids=lambda read: read.name)


def wanted(where: Where, read: Read, keys: Keys) -> list[dict[str, Any]]:
    """The application's own answer, in the same transaction."""
    connection = where.connection() if isinstance(where, Session) else where
    found = connection.execute(text(read.query), dataclasses.asdict(keys)).mappings()
    return [dict(row) for row in found]


def check(mesh: Mesh, where: Where, read: Read, *, cache: MeshCache | None = None) -> Origin:
    """Ask, compare what both have, see that the transaction is alive; returns the origin."""
    answer = read.ask(cache or mesh.cache, where, mesh.keys)
    expected = wanted(where, read, mesh.keys)
    rows = in_rows(answer)
    assert [
        {name: getattr(row, name) for name in own} for row, own in zip(rows, expected, strict=True)
    ] == expected
    assert expected, "nothing was compared"
    return answer.origin


def make_cache(dsn: str) -> MeshCache:
    """A cache of its own process, so to say: nothing is remembered from another one."""
    return MeshCache(
        dsn, settings=Settings(dsn=dsn, fill=True, fill_timeout_ms=20_000, lock_timeout_ms=5_000)
    )


def build(templates: Templates, opened: ExitStack, *, cached: bool = True) -> Mesh:
    """A database with the application and its data and, if wanted, with the pack applied and filled."""
    template = templates.of("mesh", add_sample)
    if cached:
        template = templates.of("cached mesh", _add_cache, template)
    name = f"mesh_{uuid.uuid4().hex[:16]}"
    templates.server.create_database(name, template)
    # Last in, first out: connections close before the database goes.
    opened.callback(templates.server.drop_database, name)
    db = Database(templates.server, name, opened)
    engine = db.engine()
    with engine.begin() as connection:
        keys = Keys(*connection.execute(text(KEYS)).one())
    cache = opened.enter_context(make_cache(db.dsn))
    if cached:
        # The template may be older than the rollups are allowed to become.
        for one in pack():
            if one.kind == "rollup":
                cache.refresh(one.name, "all")
    return Mesh(db, engine, cache, keys)


def _add_cache(db: Database) -> None:
    with make_cache(db.dsn) as cache:
        cache.migrate()
        cache.apply(pack())
        for one in pack():
            cache.refresh(one.name, "all")


# A workflow that alone has its slug, and its newest run that has events.
KEYS = """
    select w.slug, w.id, w.project_id, w.definition #>> '{nodes,1,id}', r.id
    from workflow_runs as r
    inner join workflow_definitions as w on w.id = r.workflow_id
    where exists (select from workflow_events as e where e.run_id = r.id)
        and (select count(*) from workflow_definitions as o where o.slug = w.slug) = 1
        and (select count(*) from workflow_definitions as o where o.project_id = w.project_id) > 3
    order by r.created_at desc, r.id
    limit 1
"""


@pytest.fixture(scope="session")
def mesh(templates: Templates) -> Iterator[Mesh]:
    """Shared by tests that leave everything as it was."""
    with ExitStack() as opened:
        yield build(templates, opened)


@pytest.fixture
def own_mesh(templates: Templates) -> Iterator[Mesh]:
    """For tests that commit or break something."""
    with ExitStack() as opened:
        yield build(templates, opened)


@pytest.fixture
def bare_mesh(templates: Templates) -> Iterator[Mesh]:
    """The application alone: the cache was never installed."""
    with ExitStack() as opened:
        yield build(templates, opened, cached=False)


def update_all(where: Where, keys: Keys) -> None:
    """Change something that each exact read shows, and commit nothing."""
    connection = where.connection() if isinstance(where, Session) else where
    for statement in (
        "update projects set name = name || '!' where id = :project_id",
        "update workflows set name = name || '!' where id = :workflow_id",
        "update workflow_definitions set version = version + 1 where id = :workflow_id",
        """
        update workflow_definitions
        set definition = jsonb_set(definition, '{nodes,1,data,label}', '"changed"')
        where id = :workflow_id
        """,
        "update workflow_runs set status = 'paused' where id = :run_id",
        "insert into workflow_events (run_id, type, payload) values (:run_id, 'run_paused', '{}')",
    ):
        connection.execute(text(statement), dataclasses.asdict(keys))


def alive(connection: Connection) -> bool:
    return bool(connection.execute(text("select 1")).scalar_one() == 1)


# What the rows are


def test_every_definition_has_a_row_type() -> None:
    assert ROWS.keys() == {one.name for one in pack()}
    assert definition("run_state").key == ("run_id",)


@pytest.mark.parametrize("name", ROWS)
def test_fields_are_the_columns(mesh: Mesh, name: str) -> None:
    row_type = ROWS[name]
    with mesh.db.connect() as connection:
        cursor = connection.execute(
            sql.SQL("select * from meshcache.{} limit 0").format(sql.Identifier(name))
        )
        columns = [(column.name, column.type_code) for column in cursor.description or ()]
    fields = [field.name for field in dataclasses.fields(row_type)]
    assert fields == [name for name, _ in columns]
    hints = typing.get_type_hints(row_type)
    for column, oid in columns:
        assert any(known in str(hints[column]) for known in TYPES[oid]), (column, oid, hints[column])


# Type of the server (as its OID) to how the annotation reads.
TYPES = {
    2950: ("UUID",),
    25: ("str",),
    23: ("int",),
    20: ("int",),
    1184: ("datetime",),
    3802: ("Mapping", "Sequence"),
}


@each_read
def test_values_are_of_the_annotated_types(mesh: Mesh, read: Read) -> None:
    with mesh.engine.connect() as connection:
        row = read.rows(mesh.cache, connection, mesh.keys)[0]
    for name, hint in typing.get_type_hints(type(row)).items():
        kinds = [
            typing.get_origin(kind) or kind
            for kind in (typing.get_args(hint) if "|" in str(hint) else (hint,))
        ]
        assert isinstance(getattr(row, name), tuple(kinds)), (name, hint)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(row, dataclasses.fields(row)[0].name, None)
    assert not hasattr(row, "__dict__")


# What they say


@each_read
def test_a_hit_is_what_the_application_reads(mesh: Mesh, read: Read) -> None:
    with mesh.engine.connect() as connection:
        check(mesh, connection, read)
        assert check(mesh, connection, read) == Origin.HIT
        answer = read.ask(mesh.cache, connection, mesh.keys)
        assert answer.age is not None


@pytest.mark.parametrize("isolation", ["AUTOCOMMIT", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_every_isolation_level(mesh: Mesh, isolation: Any) -> None:
    with mesh.engine.connect().execution_options(isolation_level=isolation) as connection:
        for read in READS:
            assert check(mesh, connection, read) == Origin.HIT, read.name


def test_read_only_transaction(mesh: Mesh) -> None:
    with mesh.engine.connect() as connection:
        connection.execute(text("set transaction read only"))
        for read in READS:
            assert check(mesh, connection, read) == Origin.HIT, read.name


def test_a_session(mesh: Mesh) -> None:
    with Session(mesh.engine) as session:
        for read in READS:
            assert check(mesh, session, read) == Origin.HIT, read.name
        # Then it has another connection, which a repository that was made before has to find.
        workflows = WorkflowRepository(mesh.cache, session)
        session.commit()
        assert workflows.get(mesh.keys.workflow_id).origin == Origin.HIT


def test_own_writes_are_seen_and_only_here(mesh: Mesh) -> None:
    with mesh.engine.connect() as writer, mesh.engine.connect() as other:
        before = {read.name: read.rows(mesh.cache, other, mesh.keys) for read in EXACT}
        other.rollback()
        update_all(writer, mesh.keys)
        for read in EXACT:
            assert check(mesh, writer, read) == Origin.STALE, read.name
            assert check(mesh, other, read) == Origin.HIT, read.name
            assert read.rows(mesh.cache, other, mesh.keys) == before[read.name]
        writer.rollback()
        for read in EXACT:
            assert check(mesh, writer, read) == Origin.HIT, read.name
            assert read.rows(mesh.cache, writer, mesh.keys) == before[read.name]


def test_what_a_savepoint_undoes_is_undone_here(mesh: Mesh) -> None:
    with mesh.engine.connect() as connection:
        savepoint = connection.begin_nested()
        update_all(connection, mesh.keys)
        savepoint.rollback()
        for read in EXACT:
            assert check(mesh, connection, read) == Origin.HIT, read.name


def test_a_session_is_flushed_first(mesh: Mesh) -> None:
    class Base(DeclarativeBase):
        pass

    class Project(Base):
        __tablename__ = "projects"
        id: Mapped[UUID] = mapped_column(primary_key=True)
        name: Mapped[str]

    with Session(mesh.engine) as session:
        workflows = WorkflowRepository(mesh.cache, session)
        project = session.get_one(Project, mesh.keys.project_id)
        project.name = "Flushed"
        assert workflows.get(mesh.keys.workflow_id).unwrap().project_name == "Flushed"
        project.name = "Not yet"
        with session.no_autoflush:
            assert workflows.get(mesh.keys.workflow_id).unwrap().project_name == "Flushed"
        session.rollback()


def test_an_old_snapshot_stays_old(own_mesh: Mesh) -> None:
    with own_mesh.engine.connect().execution_options(isolation_level="REPEATABLE READ") as old:
        before = {read.name: read.rows(own_mesh.cache, old, own_mesh.keys) for read in EXACT}
        with own_mesh.engine.begin() as writer:
            update_all(writer, own_mesh.keys)
        with own_mesh.engine.connect() as new:
            for read in EXACT:
                check(own_mesh, new, read)
                assert (
                    read.rows(own_mesh.cache, new, own_mesh.keys) != before[read.name]
                    or read.name in UNCHANGED
                )
        for read in EXACT:
            check(own_mesh, old, read)
            assert read.rows(own_mesh.cache, old, own_mesh.keys) == before[read.name], read.name


# Nothing of these rows is among what update_all changes.
UNCHANGED = ("cards, second page",)


# From miss to hit


@each_exact_read
def test_stale_rows_are_filled_by_their_reader(mesh: Mesh, read: Read) -> None:
    view = mesh.cache.installed()
    with mesh.engine.connect() as connection:
        for name in view:
            if view[name].kind == "cached_view":
                mesh.cache.invalidate(name)
        assert check(mesh, connection, read) in (Origin.STALE, Origin.BYPASS)
    for name in view:
        mesh.cache.refresh(name, "all")
    with mesh.engine.connect() as connection:
        assert check(mesh, connection, read) == Origin.HIT


def test_a_miss_is_filled_and_then_a_hit(own_mesh: Mesh) -> None:
    with own_mesh.engine.connect() as connection:
        run_id = sample.start_run(connection, own_mesh.keys.workflow_id)
        connection.commit()
        runs = RunRepository(own_mesh.cache, connection)
        for ask in (runs.state, runs.detail):
            assert [ask(run_id).origin, ask(run_id).origin] == [Origin.MISS, Origin.HIT]
        connection.rollback()
        sample.complete_run(connection, run_id)
        connection.commit()
        for ask in (runs.state, runs.detail):
            assert [ask(run_id).origin, ask(run_id).origin] == [Origin.STALE, Origin.HIT]
            assert ask(run_id).unwrap().status == "succeeded"


def test_nothing_is_filled_for_who_has_written(own_mesh: Mesh) -> None:
    with own_mesh.engine.connect() as connection:
        run_id = sample.start_run(connection, own_mesh.keys.workflow_id)
        connection.commit()
        runs = RunRepository(own_mesh.cache, connection)
        sample.rename_workflow(connection, own_mesh.keys.workflow_id, "Renamed")
        assert [runs.state(run_id).origin, runs.state(run_id).origin] == [Origin.MISS, Origin.MISS]
        connection.rollback()
        assert [runs.state(run_id).origin, runs.state(run_id).origin] == [Origin.MISS, Origin.HIT]


def test_filters_and_pages(mesh: Mesh) -> None:
    with mesh.engine.connect() as connection:
        workflows, runs = WorkflowRepository(mesh.cache, connection), RunRepository(mesh.cache, connection)
        stats = StatsRepository(mesh.cache, connection)
        everything = workflows.cards(mesh.keys.project_id)
        pages = [
            workflows.cards(mesh.keys.project_id, limit=1, offset=n).rows for n in range(len(everything))
        ]
        assert tuple(row for page in pages for row in page) == everything.rows
        assert len(runs.recent(mesh.keys.project_id, limit=0)) == 0
        assert {row.project_id for row in stats.workflows(project_id=mesh.keys.project_id)} == {
            mesh.keys.project_id
        }
        assert len({row.workflow_id for row in stats.workflows()}) > 1
        hours = [row.hour for row in stats.queues()]
        assert hours == sorted(hours, reverse=True)
        assert len(workflows.cards(uuid.uuid4())) == 0
        with pytest.raises(InvalidKey):
            runs.recent(mesh.keys.project_id, limit=-1)
        assert alive(connection)


# Many keys


def test_get_many_keeps_the_order_and_names_what_is_missing(mesh: Mesh) -> None:
    missing = uuid.uuid4()
    with mesh.engine.connect() as connection:
        ids: Sequence[UUID] = connection.scalars(
            text("select id from workflow_definitions order by md5(id::text) limit 5")
        ).all()
        asked = [ids[0], missing, *ids[1:], ids[0]]
        found = WorkflowRepository(mesh.cache, connection).get_many(asked)
        assert list(found) == list(dict.fromkeys(asked))
        assert not found[missing]
        assert [found[id_].unwrap().id for id_ in ids] == list(ids)
        assert {found[id_].origin for id_ in ids} == {Origin.HIT}
        states = RunRepository(mesh.cache, connection).states([missing, mesh.keys.run_id])
        assert [bool(one) for one in states.values()] == [False, True]
        nodes = NodeConfigRepository(mesh.cache, connection).get_many(
            [(mesh.keys.workflow_id, "nowhere"), (mesh.keys.workflow_id, mesh.keys.node_id)]
        )
        assert [bool(one) for one in nodes.values()] == [False, True]
        assert WorkflowRepository(mesh.cache, connection).get_many([]) == {}


def test_get_many_without_the_cache(bare_mesh: Mesh) -> None:
    missing = uuid.uuid4()
    with bare_mesh.engine.connect() as connection:
        runs = RunRepository(bare_mesh.cache, connection)
        found = runs.states([missing, bare_mesh.keys.run_id])
        assert [(bool(one), one.origin) for one in found.values()] == [
            (False, Origin.BYPASS),
            (True, Origin.BYPASS),
        ]


# What is not there


def test_missing_rows(mesh: Mesh) -> None:
    nobody = uuid.uuid4()
    with mesh.engine.connect() as connection:
        workflows, runs = WorkflowRepository(mesh.cache, connection), RunRepository(mesh.cache, connection)
        nodes = NodeConfigRepository(mesh.cache, connection)
        answers: list[Result[Any]] = [
            workflows.get(nobody),
            workflows.card(nobody),
            workflows.by_slug("no such slug"),
            runs.card(nobody),
            runs.state(nobody),
            runs.detail(nobody),
            nodes.get(mesh.keys.workflow_id, "nowhere"),
        ]
        assert not any(answers)
        with pytest.raises(LookupError):
            answers[0].unwrap()


@pytest.mark.parametrize("cached", [True, False], ids=["applied", "not applied"])
def test_a_wrong_key_is_refused_and_the_transaction_lives(mesh: Mesh, bare_mesh: Mesh, cached: bool) -> None:
    here = mesh if cached else bare_mesh
    wrong: Any = "no uuid"
    with here.engine.connect() as connection:
        sample.rename_workflow(connection, here.keys.workflow_id, "Still here")
        workflows, runs = WorkflowRepository(here.cache, connection), RunRepository(here.cache, connection)
        stats = StatsRepository(here.cache, connection)
        asks: list[Callable[[], object]] = [
            lambda: workflows.get(wrong),
            lambda: workflows.get_many([here.keys.workflow_id, wrong]),
            lambda: workflows.cards(wrong),
            lambda: runs.state(wrong),
            lambda: runs.recent(wrong),
            lambda: stats.workflows(project_id=wrong),
        ]
        for ask in asks:
            with pytest.raises(InvalidKey):
                ask()
        assert workflows.get(here.keys.workflow_id).unwrap().name == "Still here"
        connection.rollback()


def test_a_failed_transaction_gets_the_servers_error(mesh: Mesh) -> None:
    with mesh.engine.connect() as connection:
        workflows = WorkflowRepository(mesh.cache, connection)
        assert workflows.get(mesh.keys.workflow_id)
        with pytest.raises(DBAPIError):
            connection.execute(text("select 1 / 0"))
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            workflows.get(mesh.keys.workflow_id)
        connection.rollback()
        assert workflows.get(mesh.keys.workflow_id).origin == Origin.HIT


# Without the cache


def test_nothing_installed(bare_mesh: Mesh) -> None:
    with bare_mesh.engine.connect() as connection:
        for read in READS:
            assert check(bare_mesh, connection, read) == Origin.BYPASS, read.name
        update_all(connection, bare_mesh.keys)
        for read in EXACT:
            assert check(bare_mesh, connection, read) == Origin.BYPASS, read.name
    with Session(bare_mesh.engine) as session:
        for read in READS:
            assert check(bare_mesh, session, read) == Origin.BYPASS, read.name


def test_after_drop_schema_of_the_data(own_mesh: Mesh) -> None:
    with own_mesh.engine.connect() as connection:
        for read in READS:
            assert check(own_mesh, connection, read) == Origin.HIT, read.name
    with own_mesh.db.connect() as admin:
        admin.execute("drop schema meshcache_data cascade")
    for cache in (own_mesh.cache, make_cache(own_mesh.db.dsn)):
        with own_mesh.engine.connect() as connection:
            update_all(connection, own_mesh.keys)
            for read in EXACT:
                assert check(own_mesh, connection, read, cache=cache) == Origin.BYPASS, read.name
            connection.rollback()
            for read in READS:
                assert check(own_mesh, connection, read, cache=cache) == Origin.BYPASS, read.name


def test_after_uninstall(own_mesh: Mesh) -> None:
    with own_mesh.engine.connect() as connection:
        for read in READS:
            check(own_mesh, connection, read)
        connection.rollback()
        with make_cache(own_mesh.db.dsn) as cache:
            cache.uninstall()
        for read in READS:
            assert check(own_mesh, connection, read) == Origin.BYPASS, read.name


@pytest.fixture
def stranger(mesh: Mesh) -> Iterator[Mesh]:
    """The same database as a role that may read the application's tables, and nothing of the cache."""
    role = sql.Identifier(f"stranger_{uuid.uuid4().hex[:12]}")
    admin = mesh.db.connect()
    admin.execute(sql.SQL("create role {}").format(role))
    admin.execute(sql.SQL("grant select on all tables in schema public to {}").format(role))
    engine = mesh.db.engine()

    def become(connection: psycopg.Connection, _record: object) -> None:
        connection.execute(sql.SQL("set session authorization {}").format(role))
        connection.commit()

    event.listen(engine, "connect", become)
    yield dataclasses.replace(mesh, engine=engine, cache=MeshCache(own_engine=engine, settings=Settings()))
    engine.dispose()
    admin.execute(sql.SQL("drop owned by {}").format(role))
    admin.execute(sql.SQL("drop role {}").format(role))


@pytest.mark.parametrize("isolation", ["AUTOCOMMIT", "READ COMMITTED", "REPEATABLE READ"])
def test_without_rights(stranger: Mesh, isolation: Any) -> None:
    with stranger.engine.connect().execution_options(isolation_level=isolation) as connection:
        for read in READS:
            assert check(stranger, connection, read) == Origin.BYPASS, read.name
        assert alive(connection)


def test_a_known_view_that_is_forbidden_here(mesh: Mesh, stranger: Mesh) -> None:
    # This process knows how to ask the view; the server refuses, and the source answers.
    with stranger.engine.connect() as connection:
        for read in READS:
            assert check(mesh, connection, read) == Origin.BYPASS, read.name
        assert alive(connection)


def test_columns_of_another_version_are_named(own_mesh: Mesh) -> None:
    older = definition("webhook_route").text.replace(",\n    d.version as version", "")
    own_mesh.cache.apply([parse(older, "older")])
    with own_mesh.engine.connect() as connection:
        with pytest.raises(DefinitionError, match="webhook_route is applied with other columns"):
            WorkflowRepository(own_mesh.cache, connection).by_slug(own_mesh.keys.slug)
        assert alive(connection)
