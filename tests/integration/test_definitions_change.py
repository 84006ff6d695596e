"""Changes of what a SELECT rests on beside the rows of its tables: functions, views, rows read whole,
generated columns, labels, foreign partitions. No trigger fires for any of them.
"""

from itertools import cycle
from typing import LiteralString

import psycopg
import pytest

from meshcache_pg import catalog, definition
from meshcache_pg.errors import DefinitionError
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
create function noted(integer) returns text stable language plpgsql
as $$ begin return (select i.note from public.item as i where i.id = $1); end $$;
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
    "read by a function": "-- allow: functions\n-- depends: item(id) = (id) columns (id, note)\n"
    "select i.id, noted(i.id) as note from item as i",
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
    "a column that a function reads is computed anew": (
        "read by a function",
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


BY_CODE = """
-- name: card
-- key: id
-- allow: functions
-- depends: owner(id) = (id)
-- depends: item(code) = (code) columns (code, price)
select o.id, o.code, prices(o.code) as prices from owner as o
"""
ITEMS = """
-- name: items
-- key: owner
select i.owner, count(*) as n from item as i group by i.owner
"""


@pytest.fixture
def by_code(fresh: Database) -> psycopg.Connection:
    """A view that is told of changes by columns that the body of a function reads, and nothing else."""
    return set_up(
        fresh,
        """
        create table owner (id integer primary key, code varchar(4));
        create table item (id integer primary key, owner integer not null, code varchar(4), price integer);
        insert into owner values (1, 'a'), (2, 'b');
        insert into item values (1, 1, 'a', 1), (2, 2, 'b', 1);
        create function prices(p_code text) returns text stable language plpgsql as $$
        begin
            return (
                select string_agg(i.price::text, ' ' order by i.id)
                from public.item as i where i.code = p_code
            );
        end
        $$;
        """,
        BY_CODE,
    )


def steps(database: Database, *definitions: str) -> list[tuple[str, str, str]]:
    with database.engine().begin() as connection:
        found = catalog.plan(connection, [definition.parse(one, "card.sql") for one in definitions])
        return [(step.action, step.name, step.reason) for step in found]


def test_what_matters_gets_another_type(fresh: Database, by_code: psycopg.Connection) -> None:
    """Until the triggers are made anew each write makes all stale, which applying the same does."""
    by_code.execute("alter table item alter column price type numeric")
    assert steps(fresh, BY_CODE)[1:] == [
        ("repair", "item", "mark triggers are not as they would be made now")
    ]
    by_code.execute("update item set price = 1.00 where id = 1")
    exact(by_code)
    apply_definitions(fresh, BY_CODE)
    assert {action for action, _, _ in steps(fresh, BY_CODE)} == {"keep"}
    assert by_code.execute("call meshcache.sweep()").fetchone()
    refresh(by_code, "card")
    by_code.execute("update item set price = 1.0 where id = 1")
    origins = exact(by_code).origins
    assert origins["hit"] == 1
    assert origins["stale"] == 1


def test_what_is_marked_gets_another_type(fresh: Database, by_code: psycopg.Connection) -> None:
    """The mark table has no room for it, and whoever applies another view must not make triggers that try."""
    by_code.execute("alter table item alter column code type text")
    assert steps(fresh, BY_CODE)[0] == (
        "repair",
        "card",
        "item.code has another type than its marks",
    )
    apply_definitions(fresh, ITEMS)
    refresh(by_code, "items")
    for statement in (
        "insert into item values (3, 1, 'longer than four', 5), (4, 1, 'a', 6)",
        "update item set code = 'longer still' where id = 4",
        "insert into item values (5, 2, 'longer than both', 5)",
        "delete from item where id = 5",
    ):
        by_code.execute("call meshcache.sweep()")
        by_code.execute(statement)
        exact(by_code)
    with pytest.raises(
        DefinitionError, match=r"public\.item\.code is text, and its marks are character varying\(4\)"
    ) as refused:
        apply_definitions(fresh, BY_CODE)
    assert "meshcache suspend public.item" in (refused.value.hint or "")
    with fresh.engine().begin() as connection, catalog.suspended(connection, "item") as names:
        assert names == ["card", "items"]
    assert {action for action, _, _ in steps(fresh, BY_CODE, ITEMS)} == {"keep"}
    refresh(by_code, "card")
    by_code.execute("update item set price = 9 where code = 'longer than four'")
    assert exact(by_code).origins["hit"] == 2


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
