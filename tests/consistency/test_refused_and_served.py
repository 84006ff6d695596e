"""SELECTs whose rows no trigger could keep right are refused; what is let through is kept right."""

from typing import LiteralString

import pytest

from meshcache_pg.errors import DefinitionError
from tests.consistency.checker import Checker
from tests.fixtures.fix_cache import set_up, sweep
from tests.fixtures.fix_db import Database

ITEMS: LiteralString = """
create table item (id integer primary key, name text, changed timestamptz default '2020-01-01 00:00+00');
insert into item select n, 'item ' || n from generate_series(1, 3) as n;
create table other (x integer);
insert into other values (1);
create function largest() returns integer language sql stable as 'select max(x) from public.other';
"""


BY_NUMBER = "select i.n, count(*) as c from item as i group by i.n"


CARD = """
-- name: card
-- key: id
-- coverage: complete
-- depends: item(id) = (id) columns (COLUMNS)
select SELECT from item as i
"""


def card(columns: str, select: str) -> str:
    """A definition with these columns in its depends line and in its SELECT."""
    return CARD.replace("COLUMNS", columns).replace("SELECT", select)


def kept_right_or_refused(
    database: Database, tables: LiteralString, definition: str, change: LiteralString
) -> None:
    """Either `apply` says no, or the change is seen."""
    try:
        connection = set_up(database, tables, definition)
    except DefinitionError:
        return
    checker = Checker.of(connection)
    checker.assert_exact(connection)
    assert checker.origins["hit"]
    connection.execute(change)
    checker.assert_exact(connection)
    assert sweep(connection) == "done"
    checker.assert_exact(connection)


@pytest.mark.parametrize(
    ("columns", "select", "change"),
    [
        pytest.param("id", "i.id, to_jsonb(i) as doc", "update item set name = 'new'", id="whole row"),
        pytest.param("id", "i.id, i.xmin::text as x", "update item set name = 'new'", id="system column"),
        pytest.param("id", "i.id, now() as x", "select pg_sleep(0.001)", id="now"),
        pytest.param("id", "i.id, random() as x", "select 1", id="random"),
        pytest.param(
            "id",
            "i.id, current_setting('application_name') as x",
            "set application_name = 'other'",
            id="setting",
        ),
        pytest.param(
            "id",
            "i.id, largest() as x",
            "insert into other values (7)",
            id="function that reads a table",
        ),
        pytest.param(
            "id, changed",
            "i.id, i.changed::text as x",
            "set timezone = 'Asia/Tokyo'",
            id="text of a moment",
        ),
    ],
)
def test_a_select_that_depends_on_more_than_its_columns(
    fresh: Database, columns: str, select: str, change: LiteralString
) -> None:
    kept_right_or_refused(fresh, ITEMS, card(columns, select), change)


@pytest.mark.parametrize("columns", ["id, g", "id, n, g"])
@pytest.mark.parametrize("kind", ["stored", "virtual"])
def test_generated_columns(fresh: Database, kind: LiteralString, columns: str) -> None:
    if kind == "virtual" and fresh.server.major < 18:
        pytest.skip("virtual generated columns came with PostgreSQL 18")
    fresh.connect().execute(
        "create table item (id integer primary key, n integer, g integer generated always as (n * 2) "
        + kind
        + ")"
    )
    kept_right_or_refused(
        fresh,
        "insert into item values (1, 1)",
        card(columns, "i.id, i.g"),
        "update item set n = 5",
    )


@pytest.mark.parametrize("coverage", ["complete", "on_demand"])
def test_a_null_in_the_key(fresh: Database, coverage: str) -> None:
    # No row of a cache table can have it; that must be said, not be left out.
    with pytest.raises(Exception, match=r"null"):
        set_up(
            fresh,
            "create table item (id integer primary key, n integer);"
            " insert into item values (1, 1), (2, null)",
            f"-- name: card\n-- key: n\n-- coverage: {coverage}\n-- depends: item(n) = (n) columns (id, n)\n"
            + BY_NUMBER,
        )
    assert fresh.connect().execute("select to_regclass('meshcache.card')").fetchone() == (None,)


def test_a_long_key_does_not_fail_the_writer(fresh: Database) -> None:
    connection = set_up(
        fresh,
        "create table item (id integer primary key, name text); insert into item values (1, 'short')",
        "-- name: card\n-- key: name\n-- coverage: on_demand\n"
        "-- depends: item(name) = (name) columns (id, name)\n"
        "select i.name, count(*) as c from item as i group by i.name",
    )
    checker = Checker.of(connection)
    checker.assert_exact(connection)
    assert checker.origins["hit"] == 1
    connection.execute(
        "insert into item select 2, string_agg(md5(n::text), '') from generate_series(1, 400) as n"
    )
    checker.assert_exact(connection)
    connection.execute("update item set name = name || '!'")
    checker.assert_exact(connection)
    connection.execute("delete from item where id = 2")
    checker.assert_exact(connection)


@pytest.mark.parametrize(
    ("type_name", "first", "second"), [("citext", "Foo", "foo"), ("ltree", "a.b", "a.c")]
)
def test_types_of_extensions(fresh: Database, type_name: LiteralString, first: str, second: str) -> None:
    connection = fresh.connect()
    connection.execute("create extension " + type_name)
    connection.execute("create table item (id " + type_name + ", name text, primary key (id, name))")
    connection.execute("insert into item values (%s, 'a')", (first,))
    set_up(
        fresh,
        "select 1",
        "-- name: card\n-- key: id\n-- coverage: complete\n-- depends: item(id) = (id)\n"
        "select distinct on (i.id) i.id, i.name from item as i order by i.id, i.name desc",
    )

    def right() -> str:
        # The checker has no absent key of such a type.
        rows = connection.execute(
            "select g.name is not distinct from s.name, g._origin from item as i"
            " cross join lateral meshcache.card_get(i.id) as g"
            " left join meshcache.card_source as s on s.id = i.id"
        ).fetchall()
        assert rows
        assert all(same for same, _ in rows)
        lists = connection.execute(
            "(table meshcache.card except all table meshcache.card_source)"
            " union all (table meshcache.card_source except all table meshcache.card)"
        ).fetchall()
        assert lists == []
        origin: str = rows[0][1]
        return origin

    assert right() == "hit"
    connection.execute("update item set name = 'b'")
    assert right() == "stale"
    assert sweep(connection) == "done"
    assert right() == "hit"
    connection.execute("insert into item values (%s, 'z')", (second,))
    right()
    assert sweep(connection) == "done"
    assert right() == "hit"


def test_invalidating_no_key_does_nothing(fresh: Database) -> None:
    connection = set_up(fresh, ITEMS, card("id, name", "i.id, i.name"))
    connection.execute("select meshcache.card_invalidate(null)")
    checker = Checker.of(connection)
    checker.assert_exact(connection)
    assert checker.origins["hit"] == 3


@pytest.mark.parametrize("swept", [False, True])
def test_inheritance_children_that_come_later(fresh: Database, swept: bool) -> None:
    connection = set_up(
        fresh,
        ITEMS,
        "-- name: card\n-- key: id\n-- coverage: complete\n-- depends: item(id) = (id) columns (id, name)\n"
        "select i.id, count(*) as n, min(i.name) as name from item as i group by i.id",
    )
    checker = Checker.of(connection)
    statements: tuple[LiteralString, ...] = (
        "create table child () inherits (item)",
        "insert into child values (1, 'a')",
        "create table grandchild () inherits (child)",
        "insert into grandchild values (2, 'b')",
        "update grandchild set name = 'c'",
        "drop table child cascade",
    )
    for statement in statements:
        connection.execute(statement)
        checker.assert_exact(connection)
        if swept:
            assert sweep(connection) == "done"
            checker.assert_exact(connection)


def test_a_child_of_two_parents(fresh: Database) -> None:
    connection = set_up(
        fresh,
        """
        create table item (id integer primary key, name text);
        create table l () inherits (item);
        create table r () inherits (item);
        create table b () inherits (l, r);
        insert into item values (1, 'a');
        insert into b values (2, 'b');
        """,
        card("id, name", "i.id, i.name"),
    )
    checker = Checker.of(connection)
    checker.assert_exact(connection)
    assert checker.origins["hit"] == 2
    connection.execute("update r set name = 'c'")
    checker.assert_exact(connection)
    assert checker.origins["stale"] == 1


def test_renamed_columns(fresh: Database) -> None:
    connection = set_up(fresh, ITEMS, card("id, name", "i.id, i.name"))
    checker = Checker.of(connection)
    checker.assert_exact(connection)
    statements: tuple[LiteralString, ...] = (
        "alter table item rename column name to title",
        "update item set title = 'new'",
        "alter table item rename column id to number",
        "update item set number = number + 10",
        "insert into item values (1, 'again')",
        "delete from item where number > 11",
    )
    for statement in statements:
        connection.execute(statement)
        checker.assert_exact(connection)
