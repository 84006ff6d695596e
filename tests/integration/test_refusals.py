"""What cannot be cached is refused: which definition, what is wrong with it, what to do, and nothing is
left behind.
"""

from typing import LiteralString

import pytest
from psycopg import sql

from meshcache_pg import definition, maintenance
from meshcache_pg.errors import DefinitionError, MeshcacheError
from tests.fixtures.fix_shop import Shop, define

GOOD = """
-- name: card
-- key: id
-- coverage: complete
-- depends: customers(id) = (id)
select c.id, c.name from customers as c
"""


def test_the_good_one_is_good(bare_shop: Shop) -> None:
    bare_shop.apply(GOOD)
    bare_shop.refresh("card")


# What is changed in the good one, and a word that the message has to say.
TEXTS: dict[str, tuple[str, str, str]] = {
    "unknown header": ("-- key: id", "-- key: id\n-- keys: id", "keys"),
    "header given twice": ("-- key: id", "-- key: id\n-- key: name", "key"),
    "header without value": ("-- key: id", "-- key:", "key"),
    "bad name": ("name: card", "name: Card-1", "Card-1"),
    "reserved name": ("name: card", "name: mark_1", "mark_1"),
    "reserved suffix": ("name: card", "name: card_get", "card_get"),
    "name of the catalog": ("name: card", "name: sweep", "sweep"),
    "too long name": ("name: card", "name: " + "c" * 49, "ccc"),
    "no key": ("-- key: id\n", "", "key"),
    "key named twice": ("-- key: id", "-- key: id, id", "key"),
    "unreadable tables to flush": ("depends: customers(id) = (id)", "flush: customers id", "customers id"),
    "unreadable dependency": ("customers(id) = (id)", "customers id = id", "customers id = id"),
    "unequal sides": ("customers(id) = (id)", "customers(id, name) = (id)", "pairs"),
    "no select": ("select c.id, c.name from customers as c", "", "SELECT"),
    "bad coverage": ("coverage: complete", "coverage: most", "most"),
    "bad duration": ("-- key: id", "-- key: id\n-- ttl: soon", "soon"),
    "refresh of a cached view": ("-- key: id", "-- key: id\n-- refresh_every: 5m", "refresh_every"),
}


@pytest.mark.parametrize("what", TEXTS)
def test_refused_as_it_is_read(what: str) -> None:
    old, new, word = TEXTS[what]
    assert old in GOOD
    with pytest.raises(DefinitionError, match=word) as refused:
        define(GOOD.replace(old, new))
    assert "definition 1" in str(refused.value)


SETUP: LiteralString = """
create view some_view as select * from customers;
create materialized view some_matview as select * from customers;
create table parted (id integer, name text) partition by range (id);
create table parted_1 partition of parted for values from (0) to (10);
create table parent (id integer, name text);
create table child () inherits (parent);
create table documents (id integer, body json, shape point, name text);
create unlogged table scratch (id integer primary key, name text);
create sequence numbers;
create foreign data wrapper nowhere;
create server nowhere foreign data wrapper nowhere;
create foreign table far_away (id integer, name text) server nowhere;
create foreign table parted_far partition of parted for values from (10) to (20) server nowhere;
"""

HEADER = "-- name: card\n-- key: id\n-- coverage: complete\n"

# Definition, the words that its refusal has to have.
REFUSED: dict[str, tuple[str, list[str]]] = {
    "missing table in depends": (GOOD.replace("depends: customers", "depends: nobody"), ["nobody"]),
    "missing table in the SELECT": (GOOD.replace("from customers", "from nobody"), ["nobody"]),
    "missing column in the SELECT": (GOOD.replace("c.name", "c.nothing"), ["nothing"]),
    "missing marked column": (GOOD.replace("customers(id)", "customers(nothing)"), ["nothing"]),
    "missing matter column": (GOOD.replace("= (id)", "= (id) columns (id, nothing)"), ["nothing"]),
    "missing view column": (GOOD.replace("= (id)", "= (nothing)"), ["nothing"]),
    "missing link": (
        GOOD.replace("-- coverage", "-- depends: orders(id) via nobody(id -> id) = (id)\n-- coverage"),
        ["nobody"],
    ),
    "link that is no dependency": (
        GOOD.replace("c.name", "(select count(*) from order_lines) as n").replace(
            "-- coverage",
            "-- depends: order_lines(order_id) via orders(id -> customer_id) = (id)\n-- coverage",
        ),
        ["orders"],
    ),
    "view": (GOOD.replace("customers", "some_view"), ["some_view", "view"]),
    "materialized view": (GOOD.replace("customers", "some_matview"), ["some_matview", "materialized"]),
    "foreign table": (GOOD.replace("customers", "far_away"), ["far_away", "foreign"]),
    "foreign partition": (GOOD.replace("customers", "parted"), ["parted", "foreign"]),
    "partition": (GOOD.replace("customers", "parted_1"), ["parted_1", "partition"]),
    "inheritance child": (GOOD.replace("customers", "child"), ["child", "inheritance"]),
    "sequence": (GOOD.replace("depends: customers", "depends: numbers"), ["numbers", "sequence"]),
    "system catalog": (
        GOOD.replace("key: id", "key: oid")
        .replace("customers(id) = (id)", "pg_catalog.pg_class(oid) = (oid)")
        .replace("c.id, c.name from customers", "c.oid, c.relname from pg_catalog.pg_class"),
        ["pg_class", "system catalog"],
    ),
    "system catalog in the SELECT": (
        GOOD.replace("c.name", "(select count(*) from pg_catalog.pg_class) as n"),
        ["pg_class"],
    ),
    "the cache's own table": (GOOD.replace("customers", "meshcache.cached_view"), ["meshcache.cached_view"]),
    "uncovered table": (GOOD.replace("c.name", "(select count(*) from orders) as n"), ["orders", "depends"]),
    "uncovered table behind a view": (
        GOOD.replace("c.name", "(select count(*) from some_orders) as n"),
        ["orders", "depends"],
    ),
    "uncovered column": (GOOD.replace("= (id)", "= (id) columns (id, city)"), ["name"]),
    "key column that is not there": (GOOD.replace("key: id", "key: number"), ["number", "key"]),
    "tenant column that is not there": (
        GOOD.replace("-- key", "-- tenant: shop\n-- key"),
        ["shop", "tenant"],
    ),
    "json key": (
        HEADER.replace("key: id", "key: body")
        + "-- depends: documents(id) = (id)\nselect d.id, d.body from documents as d",
        ["json"],
    ),
    "point key": (
        HEADER.replace("key: id", "key: shape")
        + "-- depends: documents(id) = (id)\nselect d.id, d.shape from documents as d",
        ["point"],
    ),
    "json mark": (
        HEADER + "-- depends: documents(body) = (body)\nselect d.id, d.body from documents as d",
        ["documents(body)", "documents(id) = (id)"],
    ),
    "pseudo-type": (GOOD.replace("c.name", "row(c.id, c.name) as pair"), ["pair", "record"]),
    "reserved column": (GOOD.replace("c.name", "c.name as _origin"), ["_origin", "reserved"]),
    "bookkeeping column": (GOOD.replace("c.name", "c.name as _filled_at"), ["_filled_at", "reserved"]),
    "system column": (GOOD.replace("c.name", "c.name as xmin"), ["xmin"]),
    "two columns of one name": (GOOD.replace("c.name", "c.name, c.city as name"), ["name"]),
    "syntax error": (GOOD.replace("select c.id", "select c.id,,"), ["syntax"]),
    "two statements": (GOOD + "; drop table customers", ["card"]),
    "a write": (
        GOOD.replace("select c.id, c.name from customers as c", "delete from customers returning id"),
        ["card"],
    ),
    "select into": (GOOD.replace("from customers", "into stolen from customers"), ["card"]),
    "parameters": (GOOD.replace("from customers as c", "from customers as c where c.id = $1"), ["card"]),
    "types of both sides that cannot be compared": (
        GOOD.replace("customers(id)", "customers(name)"),
        ["card"],
    ),
    "rollup without its key": (
        "-- name: card\n-- kind: rollup\n-- key: nothing\n-- refresh_every: 1m\nselect id from customers",
        ["nothing"],
    ),
}

NAMES = """
select n.nspname || '.' || c.relname from pg_class as c inner join pg_namespace as n on n.oid = c.relnamespace
where n.nspname in ('public', 'meshcache', 'meshcache_data')
union all select tgname from pg_trigger where not tgisinternal
union all select proname from pg_proc where pronamespace = 'meshcache'::regnamespace
union all select name from meshcache.cached_view
order by 1
"""


@pytest.mark.parametrize("what", REFUSED)
def test_refused_by_what_the_database_says(bare_shop: Shop, what: str) -> None:
    bare_shop.run(SETUP, "create view some_orders as select o.id from orders as o")
    before = bare_shop.rows(NAMES)
    text, words = REFUSED[what]
    with pytest.raises(MeshcacheError) as refused:
        bare_shop.apply(text)
    said = f"{refused.value}"
    assert "card" in said
    assert not [word for word in words if word not in said], said
    assert refused.value.hint
    assert bare_shop.rows(NAMES) == before


def test_a_temporary_table(bare_shop: Shop) -> None:
    from meshcache_pg import catalog

    with bare_shop.engine().begin() as connection:
        connection.exec_driver_sql("create temporary table passing (id integer, name text)")
        with pytest.raises(DefinitionError, match="temporary"):
            catalog.apply(connection, catalog.plan(connection, define(GOOD.replace("customers", "passing"))))
        connection.rollback()


def test_names_at_the_limit_work(bare_shop: Shop) -> None:
    name = "c" * definition.MAX_NAME_BYTES
    column = "k" * 63
    bare_shop.apply(
        GOOD.replace("name: card", f"name: {name}")
        .replace("key: id", f"key: {column}")
        .replace("= (id)", f"= ({column})")
        .replace("c.id,", f"c.id as {column},")
    )
    bare_shop.refresh(name)
    with bare_shop.connect() as connection:
        get = sql.SQL("select _origin from {}(1)").format(sql.Identifier("meshcache", f"{name}_get"))
        row = connection.execute(get).fetchone()
    assert row == ("hit",)


def test_names_that_need_quotes_work(bare_shop: Shop) -> None:
    bare_shop.run(
        'create table "Order ""Lines""" ("Id" integer primary key, "na me" text)',
        'insert into "Order ""Lines""" values (1, \'one\')',
    )
    bare_shop.apply(
        '-- name: quoted\n-- key: "Id"\n-- coverage: complete\n-- depends: "Order ""Lines"""("Id") = ("Id")\n'
        'select q."Id", q."na me" from "Order ""Lines""" as q'
    )
    bare_shop.refresh("quoted")
    bare_shop.run('update "Order ""Lines""" set "na me" = \'two\'')
    assert bare_shop.value('select "na me" from meshcache.quoted_get(1)') == "two"
    bare_shop.sweep()
    assert bare_shop.value('select "na me" from meshcache.quoted_get(1)') == "two"


@pytest.mark.parametrize("coverage", ["complete", "on_demand"])
@pytest.mark.parametrize("what", ["duplicate", "null"])
def test_keys_that_are_no_keys_are_found_by_the_refresh(bare_shop: Shop, coverage: str, what: str) -> None:
    expression = "1" if what == "duplicate" else "nullif(c.id, 3)"
    bare_shop.apply(GOOD.replace("c.id,", f"{expression} as id,").replace("complete", coverage))
    engine = bare_shop.engine().execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection, pytest.raises(DefinitionError) as refused:
        maintenance.refresh(connection, "card", "all")
    assert str(refused.value).startswith("card: ")
    assert refused.value.hint
    assert bare_shop.value("select count(*) from meshcache.card") == 10


def test_a_broken_view_does_not_hold_back_the_others(bare_shop: Shop) -> None:
    other = GOOD.replace("name: card", "name: other")
    doubled = GOOD.replace(
        "c.id, c.name from customers as c",
        "c.id, c.name from customers as c, generate_series(1, c.id % 2 + 1)",
    )
    bare_shop.apply(other, doubled)
    bare_shop.refresh("other")
    bare_shop.run("update customers set name = 'x' where id = 2")
    swept = bare_shop.sweep()
    assert swept["state"] == "done"
    assert "card" in swept["differences"]
    assert bare_shop.value("select _origin from meshcache.other_get(2)") == "hit"
    assert bare_shop.value("select count(*) from meshcache.card") == bare_shop.value(
        "select count(*) from meshcache.card_source"
    )
