"""One schema by four ways: the runner, the printed script, Alembic online and Alembic offline."""

import io
import re
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine

from meshcache_pg import migrate
from meshcache_pg.errors import NotInstalled
from tests.fixtures.fix_db import Database

ROOT = Path(__file__).parents[2]

_OBJECTS = """
select 'column', a.attrelid::regclass::text, a.attname, format_type(a.atttypid, a.atttypmod) || a.attnotnull
from pg_attribute a join pg_class c on c.oid = a.attrelid
where c.relnamespace in (select oid from pg_namespace where nspname like 'meshcache%') and a.attnum > 0
union all
select 'function', p.oid::regprocedure::text, coalesce(p.proacl::text, 'public'), md5(p.prosrc)
from pg_proc p where p.pronamespace = 'meshcache'::regnamespace
union all
select 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid)
from pg_constraint where connamespace in (select oid from pg_namespace where nspname like 'meshcache%')
union all
select 'version', version_num, '', '' from meshcache.schema_version
union all
select 'routine', name, content_hash, '' from meshcache.routine
order by 1, 2, 3, 4
"""


def objects(connection: psycopg.Connection) -> list[tuple[object, ...]]:
    return connection.execute(_OBJECTS).fetchall()


def alembic_config(output: io.StringIO | None = None) -> Config:
    config = Config(toml_file=ROOT / "pyproject.toml")
    if output is not None:
        config.output_buffer = output
    return config


def upgraded(engine: Engine) -> list[str]:
    with engine.begin() as connection:
        return migrate.upgrade(connection)


@pytest.fixture
def reference(db: Database) -> list[tuple[object, ...]]:
    """What the runner makes; the schema is dropped again, so that the test can make it in another way."""
    upgraded(db.engine())
    connection = db.connect()
    found = objects(connection)
    connection.execute("drop schema meshcache_data, meshcache cascade")
    return found


def test_the_runner_is_idempotent(db: Database) -> None:
    engine = db.engine()
    assert upgraded(engine)[0] == "0001_catalog"
    before = objects(db.connect())
    assert upgraded(engine) == []
    assert objects(db.connect()) == before


def test_the_printed_script_makes_the_same(db: Database, reference: list[tuple[object, ...]]) -> None:
    connection = db.connect()
    result = connection.pgconn.exec_(migrate.script().encode())
    assert not result.error_message
    assert objects(connection) == reference
    assert upgraded(db.engine()) == []


def test_alembic_makes_the_same_and_can_go_back(
    db: Database, reference: list[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESHCACHE_DSN", db.dsn)
    command.upgrade(alembic_config(), "head")
    connection = db.connect()
    assert objects(connection) == reference
    assert upgraded(db.engine()) == []

    command.downgrade(alembic_config(), "base")
    assert connection.execute("select count(*) from meshcache.schema_version").fetchall() == [(0,)]
    assert connection.execute("select to_regclass('meshcache.cached_view') is null").fetchall() == [(True,)]

    assert upgraded(db.engine())[0] == "0001_catalog"
    assert objects(connection) == reference


def test_alembic_offline_prints_the_script(
    db: Database, reference: list[tuple[object, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    command.upgrade(alembic_config(), "head", sql=True)
    printed = capsys.readouterr().out
    connection = db.connect()
    assert not connection.pgconn.exec_(printed.encode()).error_message
    assert objects(connection) == reference


def test_a_changed_routine_is_run_again(db: Database) -> None:
    engine = db.engine()
    upgraded(engine)
    connection = db.connect()
    connection.execute("update meshcache.routine set content_hash = 'old' where name like '010%'")
    with engine.connect() as reader, pytest.raises(NotInstalled) as refused:
        migrate.require(reader)
    assert refused.value.hint == "Run: meshcache migrate"
    assert upgraded(engine) == ["010_data_schema.sql"]


def test_a_failing_migration_leaves_nothing(db: Database) -> None:
    connection = db.connect()
    # The name of a table of the catalog is taken, by somebody who came first.
    connection.execute("create schema meshcache")
    connection.execute("create table meshcache.dependency (mine integer)")
    with pytest.raises(Exception, match="dependency"):
        upgraded(db.engine())
    left = connection.execute(
        "select relname from pg_class where relnamespace = 'meshcache'::regnamespace"
    ).fetchall()
    assert left == [("dependency",)]


def test_every_migration_has_both_halves_and_a_revision() -> None:
    revisions = {path.stem for path in (ROOT / "alembic" / "versions").glob("*.py")}
    files = {path.name for path in (ROOT / "sql" / "migrations").glob("*.sql")}
    assert files == {f"{name}.{half}.sql" for name in revisions for half in ("up", "down")}
    assert all(re.match(r"\d{4}_[a-z_]+\Z", name) for name in revisions)
