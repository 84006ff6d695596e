"""jsonb columns of which the text is cached as well: hits by key read it, and nobody can tell."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, LiteralString

import orjson
import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import JsonbBinaryLoader, set_json_loads
from sqlalchemy import Connection

from meshcache_pg import MeshCache, Origin, Settings, repository, statements
from meshcache_pg.driver import driver, run
from meshcache_pg.errors import DefinitionError
from tests.fixtures.fix_cache import apply_definitions, refresh, set_up, sweep
from tests.fixtures.fix_db import Database
from tests.fixtures.fix_shop import define

TABLES: LiteralString = """
create table page (id integer primary key, body jsonb, note text, "Extra" jsonb not null default '{}');
insert into page (id, body, note) values
(1, '{"b": 1.00, "a": [1, null, "ü\\n\\u0001"], "long": 12345678901234567890.5}', 'one'),
(2, 'null', 'JSON null'),
(3, null, 'SQL null'),
(4, '"text"', 'four'),
(5, jsonb_build_object('words', (select jsonb_agg(md5(n::text)) from generate_series(1, 2000) as n)), 'long');
"""
PAGE = """
-- name: page
-- key: id
-- coverage: {coverage}
-- json_text: body, "Extra"
select p.id, p.body, p.note, p."Extra" from page as p
"""
QUIET = Settings(fill=False)


class Sent:
    """The statements that reads send."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.texts: list[str] = []
        monkeypatch.setattr(repository, "run", self)
        monkeypatch.setattr(repository, "_missing_until", {})

    def __call__(self, raw: psycopg.Connection[Any], statement: str, values: Any, **how: Any) -> Any:
        self.texts.append(statement)
        return run(raw, statement, values, **how)

    def taken(self) -> list[str]:
        """Since the last time."""
        seen, self.texts = self.texts, []
        return seen


@contextmanager
def reading(database: Database) -> Iterator[tuple[MeshCache, Connection]]:
    """Reads on one connection, where nothing is filled."""
    engine = database.engine().execution_options(isolation_level="AUTOCOMMIT")
    with MeshCache(database.engine(), settings=QUIET) as cache, engine.connect() as connection:
        yield cache, connection


def source(database: psycopg.Connection, key: int) -> tuple[Any, ...] | None:
    """The row as psycopg reads it from the source."""
    return database.execute('select id, body, note, "Extra" from page where id = %s', (key,)).fetchone()


def assert_hits_are_exact(database: psycopg.Connection, cache: MeshCache, connection: Connection) -> None:
    """Of every key, also of what the two columns of the cache table say."""
    for (key,) in database.execute("select p.id from page as p").fetchall():
        result = cache.view("page", connection).get(key)
        assert result.origin == Origin.HIT
        assert tuple(result.unwrap().values()) == source(database, key)
    differ = database.execute("""
        select count(*) from meshcache_data.page as c
        where (c.body::text, c."Extra"::text) is distinct from (c._json_1::text, c._json_2::text)
        """).fetchone()
    assert differ == (0,)


@pytest.mark.parametrize("coverage", ["complete", "on_demand"])
def test_a_hit_reads_the_text_and_returns_the_same(
    fresh: Database, coverage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = set_up(fresh, TABLES, PAGE.format(coverage=coverage))
    sent = Sent(monkeypatch)
    with reading(fresh) as (cache, connection):
        assert_hits_are_exact(database, cache, connection)
        hit = statements.hit(cache.target(connection, "page"), json_text=True)
        assert '"g"."_json_1", "g"."note", "g"."_json_2"' in hit
        assert set(sent.taken()[1:]) == {hit}
        database.execute("update page set body = jsonb_build_object('now', id) where id <> 4")
        database.execute("""update page set "Extra" = '[1.50]'""")
        assert sweep(database) == "done"
        refresh(database, "page")
        assert_hits_are_exact(database, cache, connection)
        assert cache.view("page", connection).get(1).unwrap()["body"] == {"now": 1}


def test_clients_by_sql_have_jsonb(fresh: Database) -> None:
    database = set_up(fresh, TABLES, PAGE.format(coverage="complete"))
    for relation in ("page", "page_hit", "page_hits", "page_rows"):
        types = database.execute(
            sql.SQL(
                'select distinct pg_typeof(g.body)::text, pg_typeof(g."Extra")::text from {} as g'
            ).format(sql.Identifier("meshcache", relation))
        ).fetchall()
        assert types == [("jsonb", "jsonb")], relation
    row = database.execute("select pg_typeof(g.body)::text from meshcache.page_get(1) as g").fetchone()
    assert row == ("jsonb",)


def test_a_function_that_reads_json_reads_the_text(fresh: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(fresh, TABLES, PAGE.format(coverage="complete"))
    sent = Sent(monkeypatch)
    with reading(fresh) as (cache, connection):
        set_json_loads(orjson.loads, driver(connection))
        assert cache.view("page", connection).get(1).unwrap()["body"]["a"] == [1, None, "ü\n\u0001"]
        assert '"_json_1"' in sent.taken()[-1]


def test_who_wants_no_values_gets_the_bytes_that_were_sent(
    fresh: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(fresh, TABLES, PAGE.format(coverage="complete"))
    sent = Sent(monkeypatch)
    with reading(fresh) as (cache, connection):
        set_json_loads(lambda data: data, driver(connection))
        found = cache.view("page", connection).get(1).unwrap()
        assert "_json_1" in sent.taken()[-1]
        assert type(found["body"]) is bytes
        assert orjson.loads(found["body"])["a"] == [1, None, "ü\n\x01"]
        (listed,) = cache.view("page", connection).list(id=1)
        assert listed["body"] == found["body"]


def test_a_loader_for_jsonb_alone_gets_jsonb(fresh: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(fresh, TABLES, PAGE.format(coverage="complete"))
    sent = Sent(monkeypatch)
    with reading(fresh) as (cache, connection):
        raw = driver(connection)

        class Mine(JsonbBinaryLoader):
            _loads = staticmethod(lambda data: ("mine", data))

        raw.adapters.register_loader("jsonb", Mine)
        result = cache.view("page", connection).get(4)
        assert result.origin == Origin.HIT
        assert '"_json_1"' not in sent.taken()[-1]


def test_a_view_that_is_applied_anew_without_it(fresh: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process remembers of the view does not fit once, and is looked up anew."""
    database = set_up(fresh, TABLES, PAGE.format(coverage="complete"))
    sent = Sent(monkeypatch)
    with reading(fresh) as (cache, connection):
        view = cache.view("page", connection)
        assert view.get(1).origin == Origin.HIT
        apply_definitions(fresh, PAGE.format(coverage="complete").replace("-- json_text:", "--"))
        refresh(database, "page")
        sent.taken()
        assert view.get(1).unwrap()["note"] == "one"
        assert len(sent.taken()) == 2
        assert view.get(1).origin == Origin.HIT
        catalog, hit = sent.taken()
        assert "cached_view" in catalog
        assert "_json_" not in hit


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("nothing", "json_text column 'nothing' is no output column"),
        ("note", "json_text column 'note' has the type text"),
        ("body, body", "a json_text column is named twice"),
    ],
)
def test_what_cannot_be_kept_as_text_is_refused(fresh: Database, line: str, says: str) -> None:
    fresh.connect().execute(TABLES)
    text = PAGE.format(coverage="complete").replace('body, "Extra"\n', f"{line}\n")
    with pytest.raises(DefinitionError, match=says):
        apply_definitions(fresh, text)


def test_a_rollup_has_none() -> None:
    text = PAGE.format(coverage="complete").replace("-- coverage: complete", "-- kind: rollup")
    with pytest.raises(DefinitionError, match="a rollup has no json_text"):
        define(text)
