"""What a SELECT and the catalog say of a key, as each server parses it: one row for each value, no null."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import LiteralString

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from meshcache_pg import facts
from meshcache_pg.database import execute_ddl
from meshcache_pg.key_proof import KeyProof
from tests.fixtures.fix_db import Database, Server

TABLES: LiteralString = """
create table customer (id integer primary key, mail varchar(80) unique, city text, boss integer);
create table orders (id bigint primary key, customer_id integer not null, status text, placed date not null);
create table line (
    order_id bigint, place integer, product text not null, kind text not null, doc jsonb not null,
    primary key (order_id, place), unique (order_id, kind)
);
create table loose (k integer not null, x integer, y integer not null);
create table late (k integer not null, x integer, constraint late_k unique (k) deferrable);
create table parent (k integer primary key, x integer not null);
create table child () inherits (parent);
create table parted (k integer not null, x integer, primary key (k)) partition by range (k);
create view open_orders as select * from orders where status = 'open';
create view totals as select l.order_id, count(*) as n from line as l group by l.order_id;
"""

UNIQUE = "unique"
SET = "set"

# The SELECT, its key, and which of the two follows.
SHAPES: dict[str, tuple[str, str, set[str]]] = {
    "primary key": ("select id, city from customer", "id", {UNIQUE, SET}),
    "unique column that may be null": ("select mail, city from customer", "mail", {UNIQUE}),
    "and that is asked to be set": (
        "select mail from customer where mail is not null and id > 3",
        "mail",
        {UNIQUE, SET},
    ),
    "or is compared": ("select mail from customer where mail = 'x'", "mail", {UNIQUE, SET}),
    "or is one of a list": ("select mail from customer where mail in ('x', 'y')", "mail", {UNIQUE, SET}),
    "not any value of a list": ("select mail from customer where mail <> all ('{}')", "mail", {UNIQUE}),
    "set in one case of two": (
        "select mail from customer where mail is not null or id = 1",
        "mail",
        {UNIQUE},
    ),
    "no key": ("select k, x from loose", "k", {SET}),
    "key that is checked late": ("select k, x from late", "k", {SET}),
    "part of a key": ("select order_id, place from line", "order_id", {SET}),
    "whole of a key": ("select order_id, place from line", "order_id, place", {UNIQUE, SET}),
    "rest of a key is a constant": (
        "select order_id, product from line where kind = 'main'",
        "order_id",
        {UNIQUE, SET},
    ),
    "cast that leaves the value": ("select mail::text as m from customer", "m", {UNIQUE}),
    "cast that changes it": ("select id::text as k from customer", "k", {SET}),
    "expression": ("select lower(mail) as m from customer", "m", set()),
    "expression that is asked to be set": (
        "select lower(mail) as m from customer where lower(mail) is not null",
        "m",
        {SET},
    ),
    "another expression is": (
        "select doc ->> 'a' as m from line where doc ->> 'b' is not null",
        "m",
        set(),
    ),
    "expression of what is set": ("select upper(product) as p from line", "p", {SET}),
    "function that may return null": ("select to_char(placed, 'YYYY') as y from orders", "y", set()),
    "coalesce": ("select coalesce(city, 'none') as c from customer", "c", {SET}),
    "case without else": ("select case when id > 1 then 'a' end as c from customer", "c", set()),
    "case with else": ("select case when id > 1 then 'a' else 'b' end as c from customer", "c", {SET}),
    "join to one": (
        "select o.id, c.city from orders o join customer c on c.id = o.customer_id",
        "id",
        {UNIQUE, SET},
    ),
    "join to many": ("select c.id from customer c join orders o on o.customer_id = c.id", "id", {SET}),
    "left join to one": (
        "select o.id, c.city from orders o left join customer c on c.id = o.customer_id",
        "id",
        {UNIQUE, SET},
    ),
    "left join with a constant": (
        "select o.id, l.product from orders o left join line l on l.order_id = o.id and l.kind = 'main'",
        "id",
        {UNIQUE, SET},
    ),
    "constant of the side that stays": (
        "select l.order_id from line l left join customer c on c.id = l.place and l.kind = 'main'",
        "order_id",
        {SET},
    ),
    "key of what a left join may leave out": (
        "select c.id from orders o left join customer c on c.id = o.customer_id",
        "id",
        set(),
    ),
    "the same, asked to be set": (
        "select c.id, c.mail from customer c left join orders o on o.id = c.boss where c.id is not null",
        "id",
        {UNIQUE, SET},
    ),
    "right join": (
        "select o.id, c.city from customer c right join orders o on c.id = o.customer_id",
        "id",
        {UNIQUE, SET},
    ),
    "full join": ("select id from customer full join orders using (id)", "id", set()),
    "cross join": ("select c.id, o.id as o from customer c, orders o", "id", {SET}),
    "cross join by both keys": ("select c.id, o.id as o from customer c, orders o", "id, o", {UNIQUE, SET}),
    "group by the key": ("select customer_id, count(*) from orders group by 1", "customer_id", {UNIQUE, SET}),
    "group by more": (
        "select customer_id, status, count(*) from orders group by 1, 2",
        "customer_id",
        {SET},
    ),
    "group by what may be null": ("select city, count(*) from customer group by 1", "city", {UNIQUE}),
    "having it set": (
        "select city, count(*) from customer group by 1 having city is not null",
        "city",
        {UNIQUE, SET},
    ),
    "group by what follows from the key": (
        "select o.id, c.city, count(*) from orders o join customer c on c.id = o.customer_id group by 1, 2",
        "id",
        {UNIQUE, SET},
    ),
    "rollup": ("select customer_id, count(*) from orders group by rollup (1)", "customer_id", set()),
    "one row in all": ("select count(*) as n from orders", "n", {UNIQUE, SET}),
    "distinct": ("select distinct k, y from loose", "k, y", {UNIQUE, SET}),
    "distinct of more": ("select distinct k, y from loose", "k", {SET}),
    "distinct on": ("select distinct on (k) k, x from loose order by k, x", "k", {UNIQUE, SET}),
    "distinct on another": ("select distinct on (x) k, x from loose order by x", "k", {SET}),
    "union": ("select k from loose union select id from customer", "k", {UNIQUE, SET}),
    "union all": ("select k from loose union all select id from customer", "k", {SET}),
    "except": ("select k, x from loose except select 1, 2", "k, x", {UNIQUE}),
    "lateral aggregate": (
        "select c.id, t.n from customer c cross join lateral"
        " (select count(*) as n from orders o where o.customer_id = c.id) as t",
        "id",
        {UNIQUE, SET},
    ),
    "lateral limit 1": (
        "select c.id, t.id as last from customer c left join lateral"
        " (select o.id from orders o where o.customer_id = c.id order by o.placed limit 1) as t on true",
        "id",
        {UNIQUE, SET},
    ),
    "lateral limit 2": (
        "select c.id, t.id as last from customer c left join lateral"
        " (select o.id from orders o where o.customer_id = c.id order by o.placed limit 2) as t on true",
        "id",
        {SET},
    ),
    "lateral by its own key": (
        "select o.id, t.city from orders o left join lateral"
        " (select c.city from customer c where c.id = o.customer_id) as t on true",
        "id",
        {UNIQUE, SET},
    ),
    "view": (
        "select o.id, t.n from open_orders o left join totals t on t.order_id = o.id",
        "id",
        {UNIQUE, SET},
    ),
    "view to many": ("select o.id from open_orders o join line l on l.order_id = o.id", "id", {SET}),
    "cte": (
        "with o as (select * from orders) select o.id, c.city from o join customer c on c.id = o.customer_id",
        "id",
        {UNIQUE, SET},
    ),
    "recursion": (
        "with recursive t as (select id from customer union all select c.id from customer c, t"
        " where c.boss = t.id) select id from t",
        "id",
        set(),
    ),
    "exists and in": (
        "select c.id from customer c where exists (select from orders o where o.customer_id = c.id)"
        " and c.id in (select x from loose)",
        "id",
        {UNIQUE, SET},
    ),
    "one value of a sub-query": ("select (select max(k) from loose) as k", "k", {UNIQUE}),
    "rows of an array": (
        "select l.order_id, l.place, e.n from line l,"
        " jsonb_array_elements(l.doc) with ordinality as e (v, n)",
        "order_id, place, n",
        {UNIQUE, SET},
    ),
    "rows of an array by their value": (
        "select l.order_id, l.place, e.v from line l, jsonb_array_elements(l.doc) as e (v)",
        "order_id, place, v",
        {SET},
    ),
    "texts of an array": (
        "select l.order_id, l.place, e.v from line l, jsonb_array_elements_text(l.doc) as e (v)",
        "order_id, place, v",
        set(),
    ),
    "rows in the select list": ("select id, generate_series(1, 2) as n from customer", "id", {SET}),
    "inheritance": ("select k, x from parent", "k", {SET}),
    "partitions": ("select k, x from parted", "k", {UNIQUE, SET}),
    "self join": (
        "select a.id, b.city from customer a left join customer b on b.id = a.boss",
        "id",
        {UNIQUE, SET},
    ),
    "row number": (
        "select r.n, r.k from (select k, row_number() over (order by k) as n from loose) as r",
        "n",
        {SET},
    ),
}


@pytest.fixture(scope="module")
def tables(server: Server) -> Iterator[Connection]:
    with ExitStack() as opened:
        server.create_database("key_proofs")
        opened.callback(server.drop_database, "key_proofs")
        connection = opened.enter_context(Database(server, "key_proofs", opened).engine().connect())
        execute_ddl(connection, TABLES)
        connection.commit()
        yield connection


def proof(connection: Connection, select: str, key: str) -> KeyProof:
    """The proof for a SELECT, of which nothing is kept."""
    savepoint = connection.begin_nested()
    try:
        execute_ddl(connection, f"create view tried as {select}")
        oid: int = connection.execute(text("select 'tried'::regclass::oid::bigint")).scalar_one()
        return KeyProof(oid, key.split(", "), facts.read(connection, oid))
    finally:
        savepoint.rollback()


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_known_of_a_key(tables: Connection, shape: str) -> None:
    select, key, expected = SHAPES[shape]
    found = proof(tables, select, key)
    said = {word for word, holds in ((UNIQUE, found.is_unique()), (SET, not found.nullable())) if holds}
    assert said == expected


def test_a_child_that_does_without_a_constraint_of_its_parent(tables: Connection, server: Server) -> None:
    savepoint = tables.begin_nested()
    drop = "alter table child alter column x drop not null"
    try:
        if server.major < 18:
            execute_ddl(tables, drop)
            assert proof(tables, "select k, x from parent", "k, x").nullable() == ["x"]
        else:
            with pytest.raises(DBAPIError, match="inherited"):
                execute_ddl(tables, drop)
    finally:
        savepoint.rollback()
