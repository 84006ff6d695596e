"""Cached views whose definitions say nothing of dependencies: what is derived is applied, kept exact, and
compared with what others declare.
"""

from typing import LiteralString

import psycopg
import pytest

from meshcache_pg import catalog
from meshcache_pg.errors import DefinitionError
from tests.consistency.checker import Checker
from tests.fixtures.fix_cache import apply_definitions, refresh, set_up, sweep
from tests.fixtures.fix_db import Database
from tests.fixtures.fix_shop import define

TABLES: LiteralString = """
create table region (id integer primary key, name text, note text);
create table customer (id integer primary key, region_id integer, name text, note text);
create table orders (id integer primary key, customer_id integer, status text, note text);
create table line (id integer primary key, order_id integer, quantity integer, note text);
create table setting (id integer primary key, rate integer, note text);
insert into region select n, 'region ' || n from generate_series(1, 2) as n;
insert into customer select n, 1 + n % 2, 'customer ' || n from generate_series(1, 4) as n;
insert into orders select n, 1 + n % 4, 'open' from generate_series(1, 8) as n;
insert into line select n, 1 + n % 8, n from generate_series(1, 16) as n;
insert into setting values (1, 2);
"""

# Customer and region are carried by columns that the SELECT does not return, lines have the key.
CARD = """
-- name: card
-- key: id
-- coverage: COVERAGE
select
    o.id, o.status, c.name as customer, r.name as region,
    (select sum(l.quantity) from line as l where l.order_id = o.id) as quantity
from orders as o
left join customer as c on c.id = o.customer_id
left join region as r on r.id = c.region_id
"""

# Lines hang under orders, and a setting under nothing.
PAGE = """
-- name: page
-- key: id
-- coverage: COVERAGE
-- flush: setting
select c.id, c.name, count(l.id) * (select max(s.rate) from setting as s) as points
from customer as c
left join orders as o on o.customer_id = c.id
left join line as l on l.order_id = o.id
group by c.id
"""

# A statement, and whether it changes anything that the two views read.
WRITES: tuple[tuple[LiteralString, bool], ...] = (
    ("update line set note = 'x'", False),
    ("update orders set note = 'x'", False),
    ("update customer set note = 'x'", False),
    ("update region set note = 'x'", False),
    ("update line set quantity = quantity + 1 where id = 3", True),
    ("update line set order_id = 1 where id = 5", True),
    ("update orders set customer_id = 1 where id = 2", True),
    ("update orders set customer_id = null where id = 3", True),
    ("update customer set region_id = 1 where id = 1", True),
    ("update customer set id = 40 where id = 4", True),
    ("update region set name = 'new' where id = 2", True),
    ("delete from region where id = 1", True),
    ("insert into region values (1, 'again')", True),
    ("delete from customer where id = 2", True),
    ("insert into customer values (2, 1, 'again')", True),
    ("insert into orders values (9, 4, 'new')", True),
    ("update setting set note = 'x'", True),
    ("update setting set rate = 3", True),
    ("truncate line", True),
    ("delete from orders", True),
)


def marks(connection: psycopg.Connection) -> int:
    """How many marks there are, wildcards among them."""
    tables = connection.execute("select 'mark_' || m.id from meshcache.mark_table as m").fetchall()
    found = 0
    for (table,) in [*tables, ("wildcard_mark",)]:
        statement = psycopg.sql.SQL("select count(*) from {}").format(
            psycopg.sql.Identifier("meshcache", table)
        )
        row = connection.execute(statement).fetchone()
        assert row is not None
        found += row[0]
    return found


@pytest.mark.parametrize("coverage", ["complete", "on_demand"])
def test_derived_views_are_exact_and_marks_are_few(fresh: Database, coverage: str) -> None:
    connection = set_up(fresh, TABLES, CARD.replace("COVERAGE", coverage), PAGE.replace("COVERAGE", coverage))
    checker = Checker.of(connection)
    checker.assert_exact(connection)
    assert not any(origin.endswith(("miss", "stale", "bypass")) for origin in checker.origins)
    for statement, matters in WRITES:
        assert sweep(connection) == "done"
        before = marks(connection)
        connection.execute(statement)
        assert (marks(connection) > before) is matters, statement
        checker.assert_exact(connection)


def test_a_carried_column_is_seen_by_nobody(fresh: Database) -> None:
    connection = set_up(fresh, TABLES, CARD.replace("COVERAGE", "complete"))

    def columns(query: LiteralString) -> list[str]:
        return [c.name for c in connection.execute(query).description or ()]

    public = ["id", "status", "customer", "region", "quantity"]
    assert columns("table meshcache.card") == public
    assert columns("select * from meshcache.card_get(1)") == [*public, "_origin", "_filled_at"]
    assert columns("table meshcache.card_hit") == [*public, "_filled_at"]
    assert columns("table meshcache.card_hits") == [*public, "_filled_at", "_version"]
    assert columns("table meshcache.card_rows") == [*public, "_origin", "_filled_at"]
    assert columns("table meshcache_data.card")[:7] == [*public, "_carried_1", "_carried_2"]
    row = connection.execute("select columns, source_sql from meshcache.cached_view").fetchone()
    assert row is not None
    assert row[0] == public
    assert "_carried" not in row[1]


def test_what_was_derived_can_be_looked_up(fresh: Database) -> None:
    set_up(fresh, TABLES, CARD.replace("COVERAGE", "complete"), PAGE.replace("COVERAGE", "complete"))
    with fresh.engine().begin() as connection:
        found = {
            name: [
                (d["source_table"], d["kind"], d["columns"], d["matter_columns"])
                for d in catalog.dependencies(connection, catalog.find(connection, name))
            ]
            for name in ("card", "page")
        }
    assert found["card"] == [
        ("orders", "key", ["id"], ["customer_id", "id", "status"]),
        ("customer", "carried", ["id"], ["id", "name", "region_id"]),
        ("region", "carried", ["id"], ["id", "name"]),
        ("line", "key", ["order_id"], ["order_id", "quantity"]),
    ]
    assert [d[:3] for d in found["page"]] == [
        ("customer", "key", ["id"]),
        ("orders", "key", ["customer_id"]),
        ("line", "linked", ["order_id"]),
        ("setting", "flush", None),
    ]


def test_a_table_that_cannot_be_followed_is_refused(fresh: Database) -> None:
    fresh.connect().execute(TABLES)
    definition = PAGE.replace("COVERAGE", "complete").replace("-- flush: setting\n", "")
    with pytest.raises(DefinitionError, match="page: a change of setting cannot be followed") as refused:
        apply_definitions(fresh, definition)
    assert refused.value.hint
    assert "-- flush: setting" in refused.value.hint


@pytest.mark.parametrize(
    ("declared", "better"),
    [
        # The key of the view is not what a line has.
        ("line(id) = (id)", r"line\(order_id\) via orders\(id -> customer_id\) = \(id\)"),
        # One link too few.
        ("line(order_id) = (id)", r"line\(order_id\) via orders\(id -> customer_id\) = \(id\)"),
        ("line(order_id) via orders(id -> id) = (id)", r"via orders\(id -> customer_id\)"),
        # Two equations mark less than one of them.
        ("line(order_id, id) = (id, id)", r"line\(order_id\) via"),
    ],
)
def test_a_declared_dependency_that_says_too_little(fresh: Database, declared: str, better: str) -> None:
    fresh.connect().execute(TABLES)
    definition = PAGE.replace("COVERAGE", "complete").replace(
        "-- flush: setting",
        f"-- depends: customer(id) = (id)\n-- depends: orders(customer_id) = (id)\n-- depends: {declared}\n"
        "-- depends: setting flush",
    )
    with pytest.raises(DefinitionError, match=better) as refused:
        apply_definitions(fresh, definition)
    assert declared.split(" ", maxsplit=1)[0] in str(refused.value)
    assert refused.value.hint


def test_a_self_join_that_is_declared_once(fresh: Database) -> None:
    fresh.connect().execute("create table item (id integer primary key, parent_id integer, name text)")
    with pytest.raises(DefinitionError, match=r"item\(id\) = \(parent_id\)"):
        apply_definitions(
            fresh,
            "-- name: card\n-- key: id\n-- depends: item(id) = (id)\n"
            "select i.id, i.parent_id, p.name from item i left join item p on p.id = i.parent_id",
        )


@pytest.mark.parametrize(
    "declared", ["setting flush", "line flush", "line(order_id) via orders(id -> customer_id) = (id)"]
)
def test_a_declared_dependency_may_say_more(fresh: Database, declared: str) -> None:
    fresh.connect().execute(TABLES)
    lines = ["customer(id) = (id)", "orders(customer_id) = (id)", "setting flush", "line flush", declared]
    apply_definitions(
        fresh,
        PAGE.replace("COVERAGE", "complete").replace(
            "-- flush: setting", "\n".join(f"-- depends: {line}" for line in lines)
        ),
    )


def test_a_plan_after_tables_were_renamed(fresh: Database) -> None:
    connection = set_up(fresh, TABLES, CARD.replace("COVERAGE", "complete"))
    declared = define(CARD.replace("COVERAGE", "complete"))

    def plan() -> list[tuple[str, str]]:
        with fresh.engine().begin() as other:
            return [(step.action, step.name) for step in catalog.plan(other, declared)]

    assert plan() == [("keep", "card")]
    connection.execute("alter table customer rename to customer_before")
    assert plan() == [("repair", "card")]
    connection.execute("create table customer (like customer_before including all)")
    assert plan() == [("repair", "card")]
    apply_definitions(fresh, CARD.replace("COVERAGE", "complete"))
    assert plan() == [("keep", "card")]
    checker = Checker.of(connection)
    connection.execute("insert into customer values (1, 1, 'new')")
    checker.assert_exact(connection)


# With the order's key carried, the column of its second join is not needed any more.
TWICE = """
-- name: twice
-- key: id
-- flush: orders
select l.id, l.quantity, o.status, p.note
from line as l
left join orders as o on o.id = l.order_id
join orders as p on p.id = l.order_id and p.customer_id = l.quantity
"""


def test_the_search_path_is_the_callers_after_columns_that_cannot_be_carried(fresh: Database) -> None:
    fresh.connect().execute(TABLES)
    with fresh.engine().begin() as connection:
        found = define(TWICE, CARD.replace("COVERAGE", "complete"))
        catalog.apply(connection, catalog.plan(connection, found))
        assert connection.exec_driver_sql("show search_path").scalar_one() == '"$user", public'


def test_more_columns_of_one_table_are_carried_once(fresh: Database) -> None:
    connection = set_up(
        fresh,
        TABLES,
        "-- name: card\n-- key: id\n-- coverage: complete\nwith x as (select ' FROM (' as t)\n"
        "select o.id, c.name, d.name as other, (select t from x) from orders o"
        " join customer c on c.id = o.customer_id"
        " left join customer d on d.id = o.customer_id and d.region_id = 1",
    )
    checker = Checker.of(connection)
    row = connection.execute("select * from meshcache_data.card").description or ()
    assert [c.name for c in row if c.name.startswith("_carried")] == ["_carried_1"]
    connection.execute("update customer set region_id = 1")
    checker.assert_exact(connection)


def test_a_carried_column_that_cannot_be_named_is_looked_up(fresh: Database) -> None:
    # The alias of the join hides the names of its tables.
    connection = set_up(
        fresh,
        TABLES,
        "-- name: card\n-- key: id\n-- coverage: complete\n"
        "select j.id, j.name from (orders o (id, c) join customer k (cid, r, name, n) on cid = c) as j",
    )
    row = connection.execute(
        "select array_agg(d.kind order by d.position) from meshcache.dependency as d"
    ).fetchone()
    assert row == (["key", "linked"],)
    checker = Checker.of(connection)
    connection.execute("update customer set name = 'new' where id = 2")
    checker.assert_exact(connection)
    assert checker.origins["stale"]


MOMENTS: LiteralString = """
create table item (
    id integer primary key, at timestamptz, day date, span interval, raw bytea, name text, n numeric,
    ats timestamptz[], ranges tstzmultirange, object regclass, doc jsonb
);
create type pair as (at timestamptz, n integer);
create type dated as (day date);
create table pairs (id integer primary key, p pair);
"""


@pytest.mark.parametrize(
    "expression",
    [
        "i.at::text",
        "i.day::text",
        "i.span::text",
        "i.raw::text",
        "i.name::date",
        "i.ats::text",
        "'at ' || i.at",
        "concat('at ', i.day)",
        "format('%s', i.at)",
        "to_jsonb(i.at)",
        "to_jsonb(i.ats)",
        "to_jsonb(i)",
        "jsonb_build_object('at', i.at)",
        "(select jsonb_agg(x) from (select i.at) as x)",
        "row_to_json(row(i.id, i.at))",
        "array_to_string(i.ats, ', ')",
        "to_char(i.at, 'HH24')",
        "date_trunc('day', i.at)",
        "i.at::date",
        "i.at + interval '1 day'",
        "extract(hour from i.at)",
        "i.at > i.day",
        "to_tsvector(i.name)",
        "(select to_jsonb(p.p) from pairs as p where p.id = i.id)",
        "row(i.at)::text",
        "i.ranges::text",
        "i.object::text",
        "i.day is distinct from i.at",
        "i.day = any(i.ats)",
        "nullif(i.day, i.at)",
        "(i.day, i.id) < (i.at, i.id)",
        "count(*) over (partition by i.id order by i.at range interval '1 day' preceding)",
        "(select count(*) from (select i.day union select i.at) as u)",
        "(select count(*) from (select 'x', i.day::timestamp intersect all select 'x', i.at) as u)",
        "(jsonb_populate_record(null::dated, i.doc)).day",
    ],
)
def test_what_depends_on_the_session_is_refused(fresh: Database, expression: str) -> None:
    definition = f"-- name: card\n-- key: id\nselect i.id, {expression} as x from item as i"
    fresh.connect().execute(MOMENTS)
    with pytest.raises(DefinitionError, match="depends on the session's settings") as refused:
        apply_definitions(fresh, definition)
    assert refused.value.hint
    apply_definitions(fresh, definition.replace("-- key: id", "-- key: id\n-- allow: session"))


@pytest.mark.parametrize(
    "expression",
    [
        "json_value(i.doc, '$.a' returning date)",
        "json_value(i.doc, '$.a.timestamp_tz() < $.b.timestamp_tz()')",
        "json_exists(i.doc, '$.a ? (@ == $x)' passing i.at as x)",
        "(select t.a from json_table(i.doc, '$' columns (a timestamptz path '$.a')) as t)",
    ],
)
def test_json_paths_that_depend_on_the_session_are_refused(fresh: Database, expression: str) -> None:
    connection = fresh.connect()
    if connection.info.server_version < 170000:
        pytest.skip("JSON_VALUE and its like came with PostgreSQL 17")
    connection.execute(MOMENTS)
    with pytest.raises(DefinitionError, match="depends on the session's settings"):
        apply_definitions(fresh, f"-- name: card\n-- key: id\nselect i.id, {expression} as x from item as i")
    apply_definitions(
        fresh,
        "-- name: card\n-- key: id\n"
        "select i.id, json_value(i.doc, '$.a' returning integer) as x from item as i",
    )


@pytest.mark.parametrize(
    "expression",
    [
        "i.at",
        "i.at at time zone 'UTC'",
        "(i.at at time zone 'UTC')::date",
        "to_char(i.at at time zone 'UTC', 'HH24')",
        "date_trunc('day', i.at at time zone 'UTC')",
        "to_jsonb(i.day)",
        "jsonb_build_object('n', i.n, 'name', i.name, 'day', i.day)",
        "(select jsonb_agg(x) from (select i.id, i.name) as x)",
        "concat(i.name, i.id)",
        "i.name || i.id",
        "i.id::text",
        "i.n::text || i.name",
        "extract(epoch from i.span)",
        "array(select unnest(i.ats))",
        "i.id = any(array[i.n])",
        "(select count(*) from (select i.id union select i.n) as u)",
        "(select count(*) from (select i.day union select i.at at time zone 'UTC') as u)",
        "row(i.id, i.name)::text",
    ],
)
def test_what_is_the_same_for_every_session_is_not(fresh: Database, expression: str) -> None:
    fresh.connect().execute(MOMENTS)
    apply_definitions(
        fresh,
        f"-- name: card\n-- key: id\nselect i.id, {expression} as x from item as i",
    )


@pytest.mark.parametrize("operation", ["union", "union all", "intersect", "except"])
def test_a_set_operation_at_the_top_casts_silently(fresh: Database, operation: str) -> None:
    fresh.connect().execute(MOMENTS)
    with pytest.raises(DefinitionError, match="a set operation that casts to timestamp with time zone"):
        apply_definitions(
            fresh,
            f"-- name: card\n-- key: k\n-- flush: item\nselect i.day as k from item as i {operation}"  # noqa: S608
            " select i.at from item as i where i.id = 1",
        )


def test_a_field_of_a_composite_column_is_read(fresh: Database) -> None:
    connection = set_up(fresh, MOMENTS, "-- name: card\n-- key: id\nselect p.id, (p.p).n from pairs as p")
    connection.execute("insert into pairs values (1, row('2026-01-01', 5)), (2, null)")
    refresh(connection, "card")
    checker = Checker.of(connection)
    connection.execute("update pairs set p.n = 6 where id = 1")
    checker.assert_exact(connection)
    assert checker.origins["stale"]


def test_row_level_security_has_to_be_given_up_by_name(fresh: Database) -> None:
    definition = CARD.replace("COVERAGE", "complete")
    fresh.connect().execute(TABLES + "alter table customer enable row level security")
    with pytest.raises(DefinitionError, match="row-level security of customer") as refused:
        apply_definitions(fresh, definition)
    assert refused.value.hint
    apply_definitions(fresh, definition.replace("-- key: id", "-- key: id\n-- allow: row_security"))


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("account", "password_hash"),
        ("account", "ApiToken"),
        ("account", "my_api_key"),
        ("private_note", "body"),
        ("vault.thing", "body"),
    ],
)
def test_secrets_have_to_be_allowed_one_by_one(fresh: Database, table: str, column: str) -> None:
    connection = fresh.connect()
    connection.execute("create schema if not exists vault")
    quoted = psycopg.sql.Identifier(column)
    name = psycopg.sql.Identifier(*table.split("."))
    connection.execute(
        psycopg.sql.SQL("create table {} (id integer primary key, {} text, other text)").format(name, quoted)
    )
    whole = "password" not in column.lower() and "api" not in column.lower()
    allowed = [f'{table}."{column}"', *([f"{table}.id"] if whole else [])]
    definition = f'-- name: card\n-- key: id\nselect t.id, t."{column}" as x from {table} as t'
    with pytest.raises(DefinitionError, match="looks like a secret") as refused:
        apply_definitions(fresh, definition)
    assert refused.value.hint
    header = f"-- key: id\n-- allow_secret: {', '.join(allowed)}"
    apply_definitions(fresh, definition.replace("-- key: id", header))
