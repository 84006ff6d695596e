"""Which dependencies follow from a SELECT: one shape of query after the other, as each server parses it."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import LiteralString

import pytest
from sqlalchemy import Connection, text

from meshcache_pg import facts
from meshcache_pg.database import execute_ddl
from meshcache_pg.dependencies import Derivation, derive
from meshcache_pg.scopes import Refused
from tests.fixtures.fix_db import Database, Server

TABLES: LiteralString = """
create table region (id integer primary key, name text);
create table customer (id integer primary key, region_id integer, name text,
    mail varchar(80) unique, boss integer);
create table orders (id bigint primary key, customer_id integer not null, status text, placed timestamptz);
create table line (order_id bigint, place integer, product_id integer, quantity integer,
    primary key (order_id, place));
create table product (id integer primary key, code text unique, price numeric, parent_id integer, doc jsonb);
create table discount (product_id integer, rate numeric);
create table note (id integer primary key, subject text, about integer);
create table event (id bigint, day date, order_id bigint, primary key (id, day)) partition by range (day);
create table loose (k integer, x integer, y integer);
create table late (k integer, x integer, constraint late_k unique (k) deferrable);
create table partly (k integer, x integer);
create unique index on partly (k) where x > 0;
create table parent (k integer primary key, x integer);
create table child () inherits (parent);
create schema "Other";
create table "Other".orders (id bigint primary key, "Größe" text, "customer id" integer);
create view open_orders as select * from orders where status = 'open';
create view totals as
    select l.order_id, sum(l.quantity) as total from line as l group by l.order_id;
create view newest as select * from orders order by placed desc limit 5;
"""

# name: (key, SELECT, what follows; `+ alias.column` are columns that it adds)
SHAPES: dict[str, tuple[str, str, list[str]]] = {
    "one table": ("id", "select o.id, o.status from orders as o", ["orders(id) = (id)"]),
    "key under another name": ("number", "select o.id as number from orders as o", ["orders(id) = (number)"]),
    "key of two columns": (
        "order_id, place",
        "select l.* from line as l",
        ["line(order_id, place) = (order_id, place)"],
    ),
    "key that is not unique in the table": ("k", "select k, x from loose", ["loose(k) = (k)"]),
    "expression as key": ("k", "select lower(c.mail) as k, c.name from customer as c", ["customer flush"]),
    "cast that leaves the value": (
        "m",
        "select c.mail::text as m from customer as c",
        ["customer(mail) = (m)"],
    ),
    "cast that changes it": ("m", "select c.id::text as m from customer as c", ["customer flush"]),
    "inner join, returned": (
        "id",
        "select o.id, o.customer_id, c.name from orders as o join customer as c on c.id = o.customer_id",
        ["orders(id) = (id)", "customer(id) = (customer_id)"],
    ),
    "inner join, carried": (
        "id",
        "select o.id, c.name from orders as o join customer as c on c.id = o.customer_id",
        ["orders(id) = (id)", "customer(id) = (_carried_1)", "+ o.customer_id"],
    ),
    "left join": (
        "id",
        "select o.id, c.name from orders as o left join customer as c on c.id = o.customer_id",
        ["orders(id) = (id)", "customer(id) = (_carried_1)", "+ o.customer_id"],
    ),
    "left join that returns the other side's column": (
        "id",
        "select o.id, c.id as c from orders as o left join customer as c on c.id = o.customer_id",
        ["orders(id) = (id)", "customer(id) = (_carried_1)", "+ o.customer_id"],
    ),
    "right join": (
        "id",
        "select o.id, c.name from customer as c right join orders as o on c.id = o.customer_id",
        ["customer(id) = (_carried_1)", "orders(id) = (id)", "+ o.customer_id"],
    ),
    "two steps": (
        "id",
        (
            "select o.id, r.name from orders o left join customer c on c.id = o.customer_id"
            " left join region r on r.id = c.region_id"
        ),
        [
            "orders(id) = (id)",
            "customer(id) = (_carried_1)",
            "region(id) = (_carried_2)",
            "+ o.customer_id",
            "+ c.region_id",
        ],
    ),
    "two steps, the second inside of the nullable side": (
        "id",
        (
            "select o.id, r.name from orders o left join (customer c join region r on r.id = c.region_id)"
            " on c.id = o.customer_id"
        ),
        [
            "orders(id) = (id)",
            "customer(id) = (_carried_1)",
            "region(id) via customer(region_id -> id) = (_carried_1)",
            "+ o.customer_id",
        ],
    ),
    "left join that keeps the wrong side": (
        "id",
        "select o.id, c.name from customer as c left join orders as o on o.customer_id = c.id",
        ["customer flush", "orders(id) = (id)"],
    ),
    "where over a left join": (
        "id",
        "select o.id, c.name from customer as c left join orders as o on true where o.customer_id = c.id",
        ["customer(id) = (_carried_1)", "orders(id) = (id)", "+ o.customer_id"],
    ),
    "full join": (
        "id",
        "select o.id, c.name from orders as o full join customer as c on c.id = o.customer_id where o.id > 0",
        ["orders(id) = (id)", "customer flush"],
    ),
    "full join using": (
        "id",
        (
            "select id, o.status, c.name from (select id::integer as id, status from orders) as o"
            " full join customer as c using (id)"
        ),
        ["orders flush", "customer(id) = (id)"],
    ),
    "full join using of one type": (
        "id",
        "select id, n.subject, c.name from note as n full join customer as c using (id)",
        ["note(id) = (id)", "customer(id) = (id)"],
    ),
    "full join using, grouped": (
        "id",
        "select id, count(n.subject) from note as n full join customer as c using (id) group by id",
        ["note(id) = (id)", "customer(id) = (id)"],
    ),
    "natural join": (
        "id",
        "select id, subject, name from note natural join customer",
        ["note(id) = (id)", "customer(id) = (id)"],
    ),
    "self join": (
        "id",
        "select c.id, b.name as boss from customer c left join customer b on b.id = c.boss",
        ["customer(id) = (id)", "customer(id) = (_carried_1)", "+ c.boss"],
    ),
    "comma and where": (
        "id",
        "select o.id, c.name from orders o, customer c where c.id = o.customer_id and o.status = 'open'",
        ["orders(id) = (id)", "customer(id) = (_carried_1)", "+ o.customer_id"],
    ),
    "grouped": (
        "order_id",
        "select l.order_id, sum(l.quantity) as n from line as l group by l.order_id having count(*) > 1",
        ["line(order_id) = (order_id)"],
    ),
    "grouped over a join": (
        "id",
        (
            "select c.id, c.name, sum(l.quantity) as n from customer c left join orders o on"
            " o.customer_id = c.id"
            " left join line l on l.order_id = o.id group by c.id"
        ),
        [
            "customer(id) = (id)",
            "orders(customer_id) = (id)",
            "line(order_id) via orders(id -> customer_id) = (id)",
        ],
    ),
    "three links": (
        "id",
        (
            "select r.id, count(l.place) from region r left join customer c on c.region_id = r.id"
            " left join orders o on o.customer_id = c.id left join line l on l.order_id = o.id group by r.id"
        ),
        [
            "region(id) = (id)",
            "customer(region_id) = (id)",
            "orders(customer_id) via customer(id -> region_id) = (id)",
            "line(order_id) via orders(id -> customer_id) via customer(id -> region_id) = (id)",
        ],
    ),
    "rollup": (
        "order_id",
        "select l.order_id, count(*) from line l group by rollup (l.order_id)",
        ["line flush"],
    ),
    "grouped by an expression of the key": (
        "k",
        "select l.order_id + 1 as k, count(*) from line l group by l.order_id + 1",
        ["line flush"],
    ),
    "grouped, joined by another column": (
        "status",
        "select o.status, count(*) from orders o join customer c on c.id = o.customer_id group by o.status",
        [
            "orders(status) = (status)",
            "customer(id) via orders(customer_id -> status) = (status)",
        ],
    ),
    "aggregate without group by": ("n", "select max(l.order_id) as n from line as l", ["line flush"]),
    "distinct": ("status", "select distinct o.status from orders o", ["orders(status) = (status)"]),
    "distinct on": (
        "customer_id",
        (
            "select distinct on (o.customer_id) o.customer_id, o.id from orders o order by"
            " o.customer_id, o.placed"
        ),
        ["orders(customer_id) = (customer_id)"],
    ),
    "distinct on something else": (
        "id",
        "select distinct on (o.customer_id) o.id, o.customer_id from orders o order by o.customer_id, o.id",
        ["orders flush"],
    ),
    "window over the key": (
        "id",
        "select o.id, count(*) over (partition by o.id) as n from orders o",
        ["orders(id) = (id)"],
    ),
    "window over all": (
        "id",
        "select o.id, rank() over (order by o.placed) as r from orders o",
        ["orders flush"],
    ),
    "limit": ("id", "select o.id from orders o order by o.placed limit 3", ["orders flush"]),
    "scalar sub-query": (
        "id",
        "select c.id, (select count(*) from orders o where o.customer_id = c.id) as n from customer c",
        ["customer(id) = (id)", "orders(customer_id) = (id)"],
    ),
    "scalar sub-query with limit": (
        "id",
        (
            "select c.id, (select o.status from orders o where o.customer_id = c.id order by"
            " o.placed limit 1)"
            " from customer c"
        ),
        ["customer(id) = (id)", "orders(customer_id) = (id)"],
    ),
    "sub-query that is not correlated": (
        "id",
        "select c.id, (select count(*) from orders) as n from customer c",
        ["customer(id) = (id)", "orders flush"],
    ),
    "sub-query in a sub-query": (
        "id",
        (
            "select c.id, (select sum((select sum(l.quantity) from line l where l.order_id = o.id))"
            " from orders o where o.customer_id = c.id) as n from customer c"
        ),
        [
            "customer(id) = (id)",
            "orders(customer_id) = (id)",
            "line(order_id) via orders(id -> customer_id) = (id)",
        ],
    ),
    "array sub-query": (
        "id",
        "select c.id, array(select o.id from orders o where o.customer_id = c.id order by 1) from customer c",
        ["customer(id) = (id)", "orders(customer_id) = (id)"],
    ),
    "exists": (
        "id",
        "select c.id from customer c where exists (select from orders o where o.customer_id = c.id)",
        ["customer(id) = (id)", "orders(customer_id) = (id)"],
    ),
    "not exists": (
        "id",
        "select c.id from customer c where not exists (select from orders o where o.customer_id = c.id)",
        ["customer(id) = (id)", "orders(customer_id) = (id)"],
    ),
    "exists that leads": (
        "id",
        (
            "select c.id, (select count(*) from line l where exists (select from orders o where"
            " o.id = l.order_id"
            " and o.customer_id = c.id)) as n from customer c"
        ),
        [
            "customer(id) = (id)",
            "line(order_id) via orders(id -> customer_id) = (id)",
            "orders(customer_id) = (id)",
        ],
    ),
    "not exists that does not": (
        "id",
        (
            "select c.id, (select count(*) from line l where not exists (select from orders o"
            " where o.id = l.order_id and o.customer_id = c.id)) as n from customer c"
        ),
        ["customer(id) = (id)", "line flush", "orders(customer_id) = (id)"],
    ),
    "exists of an aggregate": (
        "id",
        (
            "select c.id, (select count(*) from line l where exists (select count(*) from orders o"
            " where o.id = l.order_id and o.customer_id = c.id)) as n from customer c"
        ),
        ["customer(id) = (id)", "line flush", "orders(customer_id) = (id)"],
    ),
    "in": (
        "id",
        "select c.id, c.name from customer c where c.id in (select o.customer_id from orders o)",
        ["customer(id) = (id)", "orders(customer_id) = (id)"],
    ),
    "in that leads": (
        "id",
        (
            "select c.id, (select count(*) from line l where l.order_id in (select o.id from orders o"
            " where o.customer_id = c.id)) as n from customer c"
        ),
        [
            "customer(id) = (id)",
            "line(order_id) via orders(id -> customer_id) = (id)",
            "orders(customer_id) = (id)",
        ],
    ),
    "in of two columns": (
        "id",
        "select c.id from customer c where (c.id, c.name) in (select o.customer_id, o.status from orders o)",
        ["customer(id) = (id)", "orders(customer_id) = (id)"],
    ),
    "not in": (
        "id",
        "select c.id from customer c where c.id not in (select o.customer_id from orders o)",
        ["customer(id) = (id)", "orders flush"],
    ),
    "in as a value": (
        "id",
        "select c.id, c.id in (select o.customer_id from orders o) as has from customer c",
        ["customer(id) = (id)", "orders flush"],
    ),
    "in with a limit": (
        "id",
        (
            "select c.id from customer c where c.id in (select o.customer_id from orders o order by"
            " o.id limit 9)"
        ),
        ["customer(id) = (id)", "orders flush"],
    ),
    "greater than all": (
        "id",
        "select c.id from customer c where c.id > all (select o.customer_id from orders o)",
        ["customer(id) = (id)", "orders flush"],
    ),
    "or": (
        "id",
        (
            "select c.id, (select count(*) from orders o where o.customer_id = c.id or o.status ="
            " 'x') from customer c"
        ),
        ["customer(id) = (id)", "orders flush"],
    ),
    "or of the same": (
        "id",
        (
            "select c.id, (select count(*) from orders o where (o.customer_id = c.id and o.status = 'x')"
            " or (o.status = 'y' and o.customer_id = c.id)) from customer c"
        ),
        ["customer(id) = (id)", "orders(customer_id) = (id)"],
    ),
    "lateral": (
        "id",
        (
            "select c.id, x.status from customer c left join lateral (select o.status from orders o"
            " where o.customer_id = c.id order by o.placed desc limit 1) as x on true"
        ),
        ["customer(id) = (id)", "orders(customer_id) = (id)"],
    ),
    "function over a column": (
        "id, e",
        "select p.id, e.e from product p cross join lateral jsonb_array_elements_text(p.doc) as e (e)",
        ["product(id) = (id)"],
    ),
    "join with what a function returns": (
        "id, e",
        (
            "select p.id, e.e, q.price from product p cross join lateral"
            " jsonb_array_elements_text(p.doc) as e (e)"
            " join product q on q.code = e.e"
        ),
        ["product(id) = (id)", "product(code) = (e)"],
    ),
    "sub-query in from": (
        "id",
        (
            "select c.id, t.n from customer c left join (select o.customer_id, count(*) as n from orders o"
            " group by o.customer_id) as t on t.customer_id = c.id"
        ),
        ["customer(id) = (id)", "orders(customer_id) = (id)"],
    ),
    "sub-query in from with limit": (
        "id",
        (
            "select c.id, t.id as o from customer c left join (select o.id, o.customer_id from orders o"
            " order by o.placed limit 3) as t on t.customer_id = c.id"
        ),
        ["customer(id) = (id)", "orders flush"],
    ),
    "sub-query in from with a window": (
        "id",
        (
            "select c.id, t.n from customer c left join (select o.customer_id, row_number() over"
            " (partition by o.customer_id order by o.id) as n from orders o) as t on"
            " t.customer_id = c.id and t.n = 1"
        ),
        ["customer(id) = (id)", "orders(customer_id) = (id)"],
    ),
    "cte": (
        "id",
        (
            "with t as (select o.customer_id, count(*) as n from orders o group by o.customer_id)"
            " select c.id, t.n from customer c left join t on t.customer_id = c.id"
        ),
        ["customer(id) = (id)", "orders(customer_id) = (id)"],
    ),
    "cte read twice": (
        "id",
        (
            "with t as materialized (select o.id, o.customer_id, o.status from orders o)"
            " select a.id, b.status from t as a left join t as b on b.customer_id = a.id"
        ),
        ["orders(id) = (id)", "orders(customer_id) = (id)"],
    ),
    "cte of a cte": (
        "id",
        (
            "with a as (select * from orders), b as (select customer_id, count(*) n from a"
            " group by customer_id)"
            " select c.id, b.n from customer c join b on b.customer_id = c.id"
        ),
        ["customer(id) = (id)", "orders(customer_id) = (id)"],
    ),
    "recursive": (
        "id",
        (
            "with recursive t as (select p.id, p.parent_id from product p union all select p.id, p.parent_id"
            " from product p join t on t.parent_id = p.id) select c.id, (select count(*) from t"
            " where t.id = c.id)"
            " from customer c"
        ),
        ["customer(id) = (id)", "product flush"],
    ),
    "view": ("id", "select id, status from open_orders", ["orders(id) = (id)"]),
    "view that groups": (
        "id",
        "select o.id, t.total from open_orders o left join totals t on t.order_id = o.id",
        ["orders(id) = (id)", "line(order_id) = (id)"],
    ),
    "view behind which another table hangs": (
        "id",
        "select o.id, c.name from open_orders o join customer c on c.id = o.customer_id",
        ["orders(id) = (id)", "customer(id) via orders(customer_id -> id) = (id)"],
    ),
    "view with a limit": (
        "id",
        "select c.id, n.id as o from customer c left join newest n on n.customer_id = c.id",
        ["customer(id) = (id)", "orders flush"],
    ),
    "union in which a row could be looked up by itself": (
        "id",
        (
            "select c.id, array_agg(t.y order by t.y) as n from customer c"
            " left join loose l on l.x = c.region_id"
            " left join (select k as id, k as x, x as y from late union select y, k, x from loose) as t"
            " on t.id = l.k group by c.id"
        ),
        [
            "customer(id) = (id)",
            "loose(x) via customer(region_id -> id) = (id)",
            "late(k) via loose(k -> x) via customer(region_id -> id) = (id)",
            "loose(y) via loose(k -> x) via customer(region_id -> id) = (id)",
        ],
    ),
    "union all": (
        "id",
        "select id, name from customer union all select id, subject from note",
        ["customer(id) = (id)", "note(id) = (id)"],
    ),
    "union of two widths": (
        "id",
        "select id, name from customer union all select id, status from orders",
        ["customer(id) = (id)", "orders(id) = (id)"],
    ),
    "union of two types": (
        "id",
        "select id, name from customer union all select price, code from product",
        ["customer flush", "product(price) = (id)"],
    ),
    "except": (
        "id",
        "select id from customer except select about from note",
        ["customer(id) = (id)", "note(about) = (id)"],
    ),
    "union in from, joined": (
        "id",
        (
            "select u.id, r.name from (select id, region_id from customer union all select id,"
            " about from note) u"
            " left join region r on r.id = u.region_id"
        ),
        [
            "customer(id) = (id)",
            "note(id) = (id)",
            "region(id) via customer(region_id -> id) = (id)",
            "region(id) via note(about -> id) = (id)",
        ],
    ),
    "union with a limit": (
        "id",
        "select id from customer union all select id from note order by 1 limit 5",
        ["customer flush", "note flush"],
    ),
    "join by an expression": (
        "id",
        "select n.id, c.name from note n left join customer c on lower(c.mail) = n.subject",
        ["note(id) = (id)", "customer flush"],
    ),
    "join of varchar with text": (
        "id",
        "select n.id, c.name from note n left join customer c on c.mail = n.subject",
        ["note(id) = (id)", "customer(mail) = (_carried_1)", "+ n.subject"],
    ),
    "join by a collation": (
        "id",
        'select n.id, c.name from note n left join customer c on c.mail = n.subject collate "C"',
        ["note(id) = (id)", "customer flush"],
    ),
    "no equality": (
        "id",
        "select n.id, (select count(*) from discount d where d.product_id > n.id) from note n",
        ["note(id) = (id)", "discount flush"],
    ),
    "is not distinct from": (
        "id",
        (
            "select n.id, (select count(*) from discount d where d.product_id is not distinct from"
            " n.about) from note n"
        ),
        ["note(id) = (id)", "discount flush"],
    ),
    "constant": (
        "id",
        "select n.id, (select sum(rate) from discount d where d.product_id = 7) from note n",
        ["note(id) = (id)", "discount flush"],
    ),
    "not unique: looked up": (
        "k",
        "select l.k, r.name from loose l left join region r on r.id = l.x",
        ["loose(k) = (k)", "region(id) via loose(x -> k) = (k)"],
    ),
    "unique later is not unique": (
        "k",
        "select l.k, r.name from late l left join region r on r.id = l.x",
        ["late(k) = (k)", "region(id) via late(x -> k) = (k)"],
    ),
    "unique in part is not unique": (
        "k",
        "select l.k, r.name from partly l left join region r on r.id = l.x",
        ["partly(k) = (k)", "region(id) via partly(x -> k) = (k)"],
    ),
    "unique without the children is not unique": (
        "k",
        "select l.k, r.name from parent l left join region r on r.id = l.x",
        ["parent(k) = (k)", "region(id) via parent(x -> k) = (k)"],
    ),
    "unique by two columns": (
        "order_id, place",
        "select l.order_id, l.place, p.price from line l join product p on p.id = l.product_id",
        [
            "line(order_id, place) = (order_id, place)",
            "product(id) = (_carried_1)",
            "+ l.product_id",
        ],
    ),
    "unique by two columns of which the key has one": (
        "order_id",
        (
            "select l.order_id, max(p.price) from line l join product p on p.id = l.product_id"
            " group by l.order_id"
        ),
        ["line(order_id) = (order_id)", "product(id) via line(product_id -> order_id) = (order_id)"],
    ),
    "partitioned": (
        "id",
        "select o.id, (select count(*) from event e where e.order_id = o.id) as n from orders o",
        ["orders(id) = (id)", "event(order_id) = (id)"],
    ),
    "names that need quotes": (
        "Größe",
        'select o."Größe", c.name from "Other".orders o left join customer c on c.id = o."customer id"',
        ["Other.orders(Größe) = (Größe)", "customer(id) via Other.orders(customer id -> Größe) = (Größe)"],
    ),
    "quotes and words in strings": (
        "id",
        (
            "select o.id, ' FROM ''(' as \"x FROM (\", e' FROM \\' (' as y, c.name from orders o"
            " join customer c on c.id = o.customer_id"
        ),
        ["orders(id) = (id)", "customer(id) = (_carried_1)", "+ o.customer_id"],
    ),
    "distinct on with a nullable joined table": (
        "id",
        (
            "select distinct on (o.id) o.id, c.region_id, r.name from orders o left join customer c"
            " on c.id = o.customer_id left join region r on r.id = c.region_id order by o.id, r.name"
        ),
        [
            "orders(id) = (id)",
            "customer(id) via orders(customer_id -> id) = (id)",
            "region(id) via customer(region_id -> id) via orders(customer_id -> id) = (id)",
        ],
    ),
    "the key only through the other table": (
        "code",
        "select p.code, d.rate from product p join discount d on d.product_id = p.id",
        ["product(code) = (code)", "discount(product_id) = (_carried_1)", "+ p.id"],
    ),
}

Try = tuple[Connection, str]


@pytest.fixture(scope="module")
def tables(server: Server) -> Iterator[Connection]:
    with ExitStack() as opened:
        name = "derived_dependencies"
        server.create_database(name)
        opened.callback(server.drop_database, name)
        connection = opened.enter_context(Database(server, name, opened).engine().connect())
        execute_ddl(connection, TABLES)
        connection.commit()
        yield connection


def derived(connection: Connection, key: str, select: str) -> Derivation:
    """What follows from a SELECT, of which nothing is kept."""
    savepoint = connection.begin_nested()
    try:
        execute_ddl(connection, f"create view tried as {select}")
        oid: int = connection.execute(text("select 'tried'::regclass::oid::bigint")).scalar_one()
        return derive(oid, key.split(", "), facts.read(connection, oid))
    finally:
        savepoint.rollback()


@pytest.mark.parametrize("shape", SHAPES)
def test_what_follows_from_a_select(tables: Connection, shape: str) -> None:
    key, select, expected = SHAPES[shape]
    found = derived(tables, key, select)
    added = [f"+ {h.alias}.{h.column}" for h in found.hidden]
    assert [f.text for f in found.found] + added == expected
    assert all(f.why for f in found.found)


@pytest.mark.parametrize(
    ("select", "word"),
    [
        ("select o.id from orders o for update", "locks"),
        ("select o.id from orders o tablesample system (10)", "sample"),
    ],
)
def test_what_is_no_function_of_the_tables(tables: Connection, select: str, word: str) -> None:
    with pytest.raises(Refused, match=word) as refused:
        derived(tables, "id", select)
    assert refused.value.hint


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ("limit", "LIMIT"),
        ("window over all", "window"),
        ("rollup", "ROLLUP"),
        ("recursive", "RECURSIVE"),
        ("no equality", "condition"),
        ("union of two types", "UNION"),
        ("distinct on something else", "DISTINCT ON"),
    ],
)
def test_a_flush_names_the_clause(tables: Connection, shape: str, words: str) -> None:
    key, select, _ = SHAPES[shape]
    flushes = [f for f in derived(tables, key, select).found if f.kind == "flush"]
    assert words in flushes[0].why
