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
        create table item (id integer primary key, name text collate folded, note text);
        insert into item values (1, 'Foo', 'a'), (2, 'bar', 'b');
        """,
        """
-- name: by_name
-- key: name
-- coverage: complete
-- depends: item(name) = (name)
select distinct on (i.name) i.name, i.id, i.note
from item as i where i.name is not null order by i.name, i.id desc
""",
    )
    through(
        connection,
        "update item set name = 'FOO' where id = 1",
        "insert into item values (3, 'foo', 'c')",
        "update item set note = 'd' where id = 3",
        "delete from item where name = 'FoO'",
    )
