"""Changes of what a SELECT rests on beside the rows of its tables: functions, views, rows read whole,
generated columns, labels, foreign partitions. No trigger fires for any of them.
"""

from itertools import cycle
from typing import LiteralString

import psycopg
import pytest

from meshcache_pg import catalog, definition
from tests.consistency.checker import exact
from tests.fixtures.fix_cache import apply_definitions, refresh, set_up
from tests.fixtures.fix_db import Database

TABLES: LiteralString = """
create type mood as enum ('glad', 'sad');
create type place as (town text, street text);
create table item (id integer primary key, name text, note text, mood mood, place place);
insert into item select n, 'item ' || n, 'note ' || n, 'glad'::mood, ('Bonn', 'Ring')::place
from generate_series(1, 3) as n;
create table other (id integer primary key, name text);
insert into other select n, 'other ' || n from generate_series(1, 3) as n;
create view shown as select i.id, i.name from item as i;
create view shown_too as select s.id, s.name from shown as s;
create function called(text) returns text immutable language sql as $$ select $1 || '!' $$;
create function calling(text) returns text immutable language plpgsql as $$ begin return $1 || '?'; end $$;
create function joined(text, text) returns text immutable language sql as $$ select $1 || $2 $$;
create operator <+> (leftarg = text, rightarg = text, function = joined);
create aggregate last_of(text) (sfunc = joined, stype = text, initcond = '');
"""

VIEWS = {
    "row": "select i.id, to_jsonb(i) as image from item as i",
    "known": "select i.id, i is null as unknown, (i.*)::text as image from item as i",
    "rows": "select i.id, (select jsonb_agg(o) from other as o where o.id = i.id) as others from item as i",
    "view": "select s.id, s.name from shown as s",
    "view of a view": "select s.id, s.name from shown_too as s",
    "function": "select i.id, called(i.name) as name from item as i",
    "plpgsql": "select i.id, calling(i.name) as name from item as i",
    "operator": "select i.id, i.name <+> i.note as name from item as i",
    "aggregate": "select i.id, last_of(o.name order by o.name) as names"
    " from item as i inner join other as o on o.id = i.id group by i.id",
    "label": "select i.id, i.mood::text as mood from item as i",
    "labels in JSON": "select i.id, jsonb_build_object('moods', array[i.mood]) as moods from item as i",
    "attribute": "select i.id, i.place::text as place from item as i",
    "stored": "select g.id, g.twice from generated as g",
    "virtual": "select g.id, g.twice from generated as g",
}

# What the SELECT is, what changes it, and what a sweep says.
CHANGES: dict[str, tuple[str, LiteralString, str]] = {
    "a column is added": ("row", "alter table item add column more integer default 5", "mended"),
    "a column is dropped": ("row", "alter table item drop column note", "mended"),
    "a column is renamed": ("row", "alter table item rename column note to remark", "mended"),
    "a column is computed anew": (
        "row",
        "alter table item alter column note type text using 'new ' || note",
        "mended",
    ),
    "a column without a value is added": ("known", "alter table item add column more integer", "mended"),
    "a column is added to a row of another table": (
        "rows",
        "alter table other add column more integer default 5",
        "mended",
    ),
    "a view is replaced": (
        "view",
        "create or replace view shown as select o.id, o.name from other as o",
        "replaced",
    ),
    "a view below a view is replaced": (
        "view of a view",
        "create or replace view shown as select i.id, i.note as name from item as i",
        "replaced",
    ),
    "a function is replaced": (
        "function",
        "create or replace function called(text) returns text immutable language sql as 'select $1 || 2'",
        "mended",
    ),
    "a plpgsql function is replaced": (
        "plpgsql",
        """create or replace function calling(text) returns text immutable language plpgsql
        as $$ begin return $1 || '??'; end $$""",
        "mended",
    ),
    "the function of an operator is replaced": (
        "operator",
        "create or replace function joined(text, text) returns text immutable language sql as 'select $2'",
        "mended",
    ),
    "the function of an aggregate is replaced": (
        "aggregate",
        """create or replace function joined(text, text) returns text immutable language sql
        as $$ select $2 || $1 || '+' $$""",
        "mended",
    ),
    "a label is renamed": ("label", "alter type mood rename value 'glad' to 'happy'", "mended"),
    "a label in JSON is renamed": (
        "labels in JSON",
        "alter type mood rename value 'glad' to 'happy'",
        "mended",
    ),
    "an attribute is added": ("attribute", "alter type place add attribute floor integer", "mended"),
    "the expression of a stored column": (
        "stored",
        "alter table generated alter column twice set expression as (three(a))",
        "mended",
    ),
    "the expression of a virtual column": (
        "virtual",
        "alter table generated alter column twice set expression as (a * 3)",
        "mended",
    ),
}
NEEDS = {"stored": 17, "virtual": 18}
GENERATED: LiteralString = """
create function three(integer) returns integer immutable language sql as 'select 3 * $1';
create table generated (id integer primary key, a integer, twice integer generated always as (a * 2) {kind});
insert into generated (id, a) values (1, 1), (2, 2);
"""


def card(view: str, coverage: str) -> str:
    return f"-- name: card\n-- key: id\n-- coverage: {coverage}\n{VIEWS[view]}"


def made(database: Database, view: str, coverage: str) -> psycopg.Connection:
    tables = TABLES
    if view in NEEDS:
        if database.server.major < NEEDS[view]:
            pytest.skip(f"PostgreSQL {NEEDS[view]} is the first with SET EXPRESSION of {view} columns")
        tables += GENERATED.replace("{kind}", view)
    return set_up(database, tables, card(view, coverage))


def image(connection: psycopg.Connection) -> list[tuple[str]]:
    return connection.execute("select s::text from meshcache.card_source as s order by s.id").fetchall()


# Where another one goes the same way.
SLOW = {
    "a column is dropped",
    "a column is renamed",
    "a column without a value is added",
    "a view below a view is replaced",
    "a plpgsql function is replaced",
    "a label in JSON is renamed",
}


# Coverages in turns: what compares is the same text in both.
@pytest.mark.parametrize(
    ("change", "coverage"),
    [
        pytest.param(change, coverage, marks=[pytest.mark.slow] * (change in SLOW))
        for change, coverage in zip(CHANGES, cycle(("complete", "on_demand")), strict=False)
    ],
)
def test_a_change_is_seen_at_once_and_mended(fresh: Database, change: str, coverage: str) -> None:
    view, statement, after = CHANGES[change]
    connection, other = made(fresh, view, coverage), fresh.connect()
    assert set(exact(connection).origins) == {"hit", "card hit"} | (
        {"quiet", "card quiet"} if coverage == "complete" else set()
    )
    before = image(connection)
    connection.execute("begin")
    connection.execute(statement)
    # Whoever makes the change is the first to see it.
    assert not exact(connection).origins["hit"]
    connection.execute("rollback")
    assert exact(other).origins["hit"]
    connection.execute(statement)
    assert image(connection) != before, "the change makes no difference"
    assert not exact(other).origins["hit"]
    row = connection.execute("call meshcache.sweep()").fetchone()
    assert row is not None
    if after == "replaced":
        assert row[0]["differences"] == {"card": "a view that it reads was replaced"}
        # It may read other tables now, and does here: only a new derivation knows.
        connection.execute("update other set name = 'unwatched'")
        refresh_fails(connection)
        assert not exact(connection).origins["hit"]
        apply_definitions(fresh, card(view, coverage))
    else:
        assert row[0]["differences"] == {"card": "what it rests on changed"}
    refresh(connection, "card")
    assert exact(other).origins["hit"]
    row = connection.execute("call meshcache.sweep()").fetchone()
    assert row is not None
    assert row[0]["differences"] == {}
    assert exact(other).origins["hit"]


def refresh_fails(connection: psycopg.Connection) -> None:
    row = connection.execute("call meshcache.refresh('card', null, 'stale', 0)").fetchone()
    assert row is not None
    assert row[0]["state"] == "busy" or not row[0]["rows"]


def test_a_plan_says_that_a_function_was_replaced(fresh: Database) -> None:
    connection = made(fresh, "function", "complete")
    connection.execute(CHANGES["a function is replaced"][1])
    with fresh.engine().begin() as engine:
        found = catalog.plan(engine, [definition.parse(card("function", "complete"), "card.sql")])
        catalog.apply(engine, found)
    assert [(step.action, step.reason) for step in found] == [
        ("repair", "a view, function or type that it rests on was changed")
    ]
    refresh(connection, "card")
    assert exact(connection).origins["hit"]


def test_what_a_dump_brought_along_is_not_believed(fresh: Database) -> None:
    connection = made(fresh, "function", "complete")
    # As pg_restore leaves it: other oids, other versions, and a row that says where they were true.
    connection.execute("update meshcache.cached_view set rests_on = '{1}', rests_on_in = 'elsewhere'")
    for _ in range(2):
        assert not exact(connection).origins["hit"]
        row = connection.execute("call meshcache.sweep()").fetchone()
        assert row is not None
        assert row[0]["differences"] == {"card": "what it rests on was noted in another database"}
    apply_definitions(fresh, card("function", "complete"))
    refresh(connection, "card")
    assert exact(connection).origins["hit"]
    connection.execute(CHANGES["a function is replaced"][1])
    assert not exact(connection).origins["hit"]


def test_what_rests_on_rows_alone_compares_nothing(fresh: Database) -> None:
    connection = set_up(
        fresh, TABLES, "-- name: card\n-- key: id\nselect i.id, i.name, i.mood, i.place from item as i"
    )
    row = connection.execute("select rests_on, rests_on_as from meshcache.cached_view").fetchone()
    assert row == ([], [])
    connection.execute("alter table item add column more integer default 5")
    connection.execute("alter type mood rename value 'glad' to 'happy'")
    connection.execute("alter type place add attribute floor integer")
    assert exact(connection).origins["hit"] == 3


FOREIGN: LiteralString = """
create extension postgres_fdw;
create table part (id integer, item integer) partition by list (id);
create table part_1 partition of part for values in (1);
insert into part values (1, 1);
create table far (id integer, item integer);
"""


def test_a_foreign_partition_that_comes_later(fresh: Database) -> None:
    connection = set_up(
        fresh,
        FOREIGN,
        "-- name: card\n-- key: item\n-- coverage: complete\n"
        "select p.item, count(*) as n from part as p where p.item is not null group by p.item",
    )
    info = connection.info
    connection.execute(
        f"create server near foreign data wrapper postgres_fdw"
        f" options (host '{info.host}', port '{info.port}', dbname '{info.dbname}')"
    )
    connection.execute(f"create user mapping for current_user server near options (user '{info.user}')")
    connection.execute(
        "create foreign table part_2 partition of part for values in (2)"
        " server near options (table_name 'far')"
    )
    assert not exact(connection).origins["hit"]
    for _ in range(2):
        row = connection.execute("call meshcache.sweep()").fetchone()
        assert row is not None
        assert row[0]["differences"] == {"part": "has a foreign partition"}
        # Written where nobody sees it, and written through the parent: the application must not notice.
        connection.execute("insert into far values (2, 7)")
        connection.execute("insert into part values (2, 8), (1, 1)")
        connection.execute("update part set item = item + 1")
        assert not exact(connection).origins["hit"]
    connection.execute("drop foreign table part_2")
    assert not exact(connection).origins["hit"]
    row = connection.execute("call meshcache.sweep()").fetchone()
    assert row is not None
    assert row[0]["differences"] == {"part": "partitions changed"}
    assert exact(connection).origins["hit"]
    connection.execute("update part set item = 9")
    assert exact(connection).origins["miss"]
