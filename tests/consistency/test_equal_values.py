"""Values that are equal to "=" and look different to a reader."""

from typing import LiteralString

import pytest
from psycopg import errors, sql

from tests.consistency.checker import exact
from tests.consistency.through import through
from tests.fixtures.fix_cache import set_up
from tests.fixtures.fix_db import Database

VALUES: dict[str, tuple[LiteralString, LiteralString, LiteralString]] = {
    "numeric": ("numeric", "1.0", "1.00"),
    "jsonb": ("jsonb", '{"a": 1.0}', '{"a": 1.00}'),
    "float": ("double precision", "0", "-0"),
    "char": ("character(3)", "a", "a  "),
    "interval": ("interval", "1 day", "24 hours"),
    "timetz": ("timetz", "12:00+00", "13:00+01"),
}


@pytest.mark.parametrize("name", list(VALUES))
@pytest.mark.parametrize("coverage", ["complete", "on_demand"])
def test_values_that_are_equal_and_look_different(fresh: Database, coverage: str, name: str) -> None:
    type_name, first, second = VALUES[name]
    connection = fresh.connect()
    connection.execute("create table item (id integer primary key, v " + type_name + ")")
    cast = sql.SQL(type_name)
    connection.execute(sql.SQL("insert into item values (1, %s::text::{}), (2, null)").format(cast), (first,))
    set_up(
        fresh,
        "select 1",
        """
-- name: card
-- key: id
-- coverage: COVERAGE
-- depends: item(id) = (id) columns (id, v)
select i.id, i.v from item as i
""".replace("COVERAGE", coverage),
        """
-- name: by_value
-- key: v
-- coverage: on_demand
-- depends: item(v) = (v) columns (id, v)
select distinct on (i.v) i.v, i.id from item as i where i.v is not null order by i.v, i.id
""",
    )
    assert exact(connection).origins["hit"] == 3
    connection.execute(sql.SQL("update item set v = %s::text::{} where id = 1").format(cast), (second,))
    exact(connection)
    connection.execute("select meshcache.by_value_fill(array_agg(v)) from item")
    exact(connection)
    connection.execute(sql.SQL("insert into item values (0, %s::text::{})").format(cast), (first,))
    exact(connection)


def test_a_collation_that_takes_two_spellings_for_one(fresh: Database) -> None:
    connection = fresh.connect()
    try:
        connection.execute(
            "create collation folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
        )
    except errors.FeatureNotSupported:
        pytest.skip("this server is built without ICU")
    set_up(
        fresh,
        """
        create table item (
            id integer primary key, name text collate folded, note text collate folded,
            short character varying(9) collate folded
        );
        insert into item values (1, 'Foo', 'a', 'x'), (2, 'bar', 'b', 'y');
        """,
        """
-- name: by_name
-- key: name
-- coverage: complete
-- depends: item(name) = (name)
select distinct on (i.name) i.name, i.id, i.note, i.short
from item as i where i.name is not null order by i.name, i.id desc
""",
    )
    through(
        connection,
        "update item set name = 'FOO' where id = 1",
        "insert into item values (3, 'foo', 'c')",
        "update item set note = 'B' where id = 2",
        "update item set short = 'Y' where id = 2",
        "update item set note = 'd' where id = 3",
        "delete from item where name = 'FoO'",
    )


def test_what_matters_to_several_views_is_marked_for_those_alone(fresh: Database) -> None:
    """Columns of types that are compared by value and of types that are compared as stored."""
    connection = fresh.connect()
    set_up(
        fresh,
        """
        create table item (
            id uuid primary key, owner integer, place text, size numeric, at timestamptz, tags text[],
            length character varying(9), note jsonb, other date
        );
        insert into item (id, owner, place, size)
        select gen_random_uuid(), n, 'p' || n, n from generate_series(1, 3) as n;
        """,
        """
-- name: card
-- key: id
-- coverage: complete
select i.id, i.owner, i.place, i.size, i.at, i.length from item as i
""",
        """
-- name: by_owner
-- key: owner
-- coverage: complete
select i.owner, sum(i.size) as size, max(i.at) as at, max(i.tags::text) as tags
from item as i where i.owner is not null group by i.owner
""",
        """
-- name: by_place
-- key: place
-- coverage: complete
select i.place, sum(i.size) as size, max(i.note::text) as note
from item as i where i.place is not null group by i.place
""",
    )
    tables: dict[str, str] = dict(
        connection.execute(
            "select array_to_string(m.columns, ','), 'mark_' || m.id from meshcache.mark_table as m"
        ).fetchall()
    )
    for change, wanted in (
        ("owner = 7", {"id": 1, "owner": 2}),
        ("owner = null", {"id": 1, "owner": 1}),
        ("place = 'q'", {"id": 1, "place": 2}),
        ("size = 1.00", {"id": 1, "place": 1}),
        ("at = '2020-01-01'", {"id": 1}),
        ("tags = '{a}'", {}),
        ("owner = 8, tags = '{b}'", {"id": 1, "owner": 1}),
        ("tags = '{c}'", {"owner": 1}),
        ("length = 'x'", {"id": 1}),
        ("note = '{}'", {"place": 1}),
        ("other = '2020-01-01'", {}),
        ("id = gen_random_uuid()", {"id": 2}),
    ):
        connection.execute("call meshcache.sweep()")
        statement = sql.SQL("update item set {} where place in ('p1', 'q')").format(sql.SQL(change))
        assert connection.execute(statement).rowcount == 1
        found = {
            columns: connection.execute(
                sql.SQL("select count(*) from {}").format(sql.Identifier("meshcache", table))
            ).fetchall()[0][0]
            for columns, table in tables.items()
        }
        assert {c: n for c, n in found.items() if n} == wanted, change
        exact(connection)


@pytest.mark.parametrize("role", ["origin", "replica"])
@pytest.mark.parametrize("target", ["item", "item_1"])
def test_a_column_of_another_type_that_only_a_function_reads(fresh: Database, target: str, role: str) -> None:
    """The server keeps the type of what a view reads, not of what the text of a function says."""
    connection = set_up(
        fresh,
        """
        create table owner (id integer primary key);
        create table item (
            id integer, kind integer default 1, price integer, owner integer, primary key (id, kind)
        ) partition by list (kind);
        create table item_1 partition of item for values in (1);
        insert into owner values (1), (2);
        insert into item values (1, 1, 1, 1), (2, 1, 1, 2);
        create function prices(p_owner integer) returns text language plpgsql stable as $$
        begin
            return (select string_agg(i.price::text, ' ' order by i.id) from public.item as i
            where floor(i.owner) = p_owner);
        end
        $$;
        """,
        """
-- name: card
-- key: id
-- coverage: complete
-- allow: functions
-- depends: owner(id) = (id)
-- depends: item(owner) = (id) columns (id, owner, price)
select o.id, prices(o.id) as prices from owner as o
""",
    )
    assert exact(connection).origins["hit"] == 2
    changes: tuple[LiteralString, ...] = (
        "update {} set price = 1.00 where id = 1",
        "update {} set owner = 1.4 where id = 2",
        "update {} set owner = 1.6, price = 1.0 where id = 2",
        "insert into {} (id, price, owner) values (3, 3, 1.7)",
        "delete from {} where id = 3",
    )
    connection.execute("alter table item alter column price type numeric, alter column owner type numeric")
    for change in changes:
        connection.execute("call meshcache.sweep()")
        connection.execute(sql.SQL("set session_replication_role = {}").format(sql.SQL(role)))
        connection.execute(sql.SQL(change).format(sql.Identifier(target)))
        connection.execute("reset session_replication_role")
        exact(connection)
