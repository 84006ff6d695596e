"""What cannot be cached is refused: which definition, what is wrong with it, what to do, and nothing is
left behind.
"""

import re
from typing import LiteralString

import pytest
from psycopg import sql

from meshcache_pg import definition, maintenance
from meshcache_pg.errors import DefinitionError, MeshcacheError
from tests.fixtures.fix_shop import CrashShop, Shop, define

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
create table documents (id integer, body json not null, shape point not null, name text);
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
    "column of another name of ours": (GOOD.replace("c.name", "c.name as _row"), ["_row", "reserved"]),
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
        connection.exec_driver_sql("create temporary view passing_view as select * from customers")
        for name in ("passing", "passing_view"):
            savepoint = connection.begin_nested()
            with pytest.raises(DefinitionError, match="temporary") as refused:
                catalog.apply(connection, catalog.plan(connection, define(GOOD.replace("customers", name))))
            assert "cannot be sources" in (refused.value.hint or "")
            savepoint.rollback()
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
def test_keys_that_are_no_keys_any_more_are_found_by_the_refresh(bare_shop: Shop, coverage: str) -> None:
    bare_shop.apply(
        GOOD.replace("c.id,", "coalesce(length(c.note), c.id) as id,").replace("complete", coverage)
    )
    bare_shop.run("update customers set note = 'twelve chars' where id in (1, 2)")
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
        "c.id, c.name from customers as c, generate_series(1, length(c.city) - 3)",
    )
    bare_shop.apply(other, doubled)
    bare_shop.refresh("other")
    bare_shop.run("update customers set city = 'Bonn!' where id = 4")
    bare_shop.run("update customers set name = 'x' where id = 2")
    swept = bare_shop.sweep()
    assert swept["state"] == "done"
    assert "card" in swept["differences"]
    assert bare_shop.value("select _origin from meshcache.other_get(2)") == "hit"
    assert bare_shop.value("select count(*) from meshcache.card") == bare_shop.value(
        "select count(*) from meshcache.card_source"
    )


OBJECTS: LiteralString = """
create schema auth;
create function auth.uid() returns integer language sql stable as
    $$ select nullif(current_setting('request.jwt.claim.sub', true), '')::integer $$;
create function orders_of(n integer) returns bigint language sql stable set search_path = public as
    $$ select count(*) from orders where customer_id = n $$;
create function open_orders() returns setof orders language sql stable as
    $$ select * from orders where status = 'open' $$;
create function pure(n integer) returns integer language sql immutable as $$ select n + 1 $$;
create function moody(n integer) returns integer language sql volatile as $$ select n + 1 $$;
create function moody_sum(a integer, b integer) returns integer language sql volatile as $$ select a + b $$;
create aggregate moody_total(integer) (sfunc = moody_sum, stype = integer, initcond = '0');
create sequence numbers;
create temporary view passing as select c.id from customers as c;
create view guarded with (security_barrier) as select c.id, c.name from customers as c where c.id > 1;
"""

# What the SELECT has, and what it is really about.
ABOUT: dict[str, str] = {
    "now()": r"asks for the time, .*: now\(\)",
    "current_timestamp": "asks for the time",
    "current_date": "asks for the time, .*: current_date",
    "localtimestamp": "asks for the time, .*: localtimestamp",
    "statement_timestamp()": "asks for the time",
    "clock_timestamp()": "asks for the time",
    "timeofday()": "asks for the time",
    "age(timestamp '2020-01-01')": r"asks for the time, .*: age\(timestamp",
    "random()": r"draws by chance, .*: random\(\)",
    "gen_random_uuid()": "draws by chance",
    "current_user": "depends on the user that asks: current_user",
    "session_user": "depends on the user that asks: session_user",
    "has_table_privilege('orders', 'select')": "depends on the user that asks: has_table_privilege",
    "auth.uid()": r"depends on the user that asks: auth.uid\(\)",
    "current_setting('x.y', true)": "depends on the settings of the session that asks: current_setting",
    "current_schema": "depends on the settings of the session that asks: current_schema",
    "pg_backend_pid()": "depends on the connection that asks",
    "txid_current()": "depends on the transaction that asks",
    "pg_current_snapshot()": "depends on the transaction that asks",
    "nextval('numbers')": "asks a sequence",
    "(select last_value from numbers)": "numbers.* is a sequence",
    "pg_table_size('orders')": "asks for the state of the server",
    "query_to_xml('select 1', true, true, '')": "reads what its arguments name",
    "orders_of(c.id)": r"calls a function that may read tables, .*: orders_of\(integer\)",
    "(select count(*) from open_orders())": r"calls a function that may read tables, .*: open_orders\(\)",
    "moody(c.id)": r"calls a volatile function, .*: moody\(integer\)",
    "(select moody_total(o.id) from orders as o)": r"calls a volatile function, .*: moody_total\(integer\)",
    "(timestamptz '2020-01-01 00:00+00')::date": "depends on the session's settings",
    "(select count(*) from pg_catalog.pg_class)": "reads the system catalog pg_class",
    "(select count(*) from information_schema.tables)": "which no trigger can watch",
}


def test_what_a_refusal_is_about(bare_shop: Shop) -> None:
    bare_shop.run(OBJECTS)
    wrong = {}
    for expression, about in ABOUT.items():
        with pytest.raises(DefinitionError) as refused:
            bare_shop.apply(f"-- name: card\n-- key: id\nselect c.id, {expression} as x from customers as c")
        if not re.search(about, str(refused.value)) or not refused.value.hint:
            wrong[expression] = str(refused.value)
    assert wrong == {}


def test_what_is_harmless_is_accepted(bare_shop: Shop) -> None:
    bare_shop.run(OBJECTS)
    bare_shop.apply("-- name: card\n-- key: id\nselect g.id, pure(g.id) as x, g.name from guarded as g")
    bare_shop.refresh("card")
    bare_shop.run("update customers set name = 'new' where id = 2")
    assert bare_shop.value("select name from meshcache.card_get(2)") == "new"


def test_functions_that_read_tables_can_be_declared(bare_shop: Shop) -> None:
    bare_shop.run(OBJECTS)
    declared = (
        "-- name: card\n-- key: id\n-- allow: functions\n"
        "-- depends: customers(id) = (id)\n-- depends: orders(customer_id) = (id)\n"
        "select c.id, orders_of(c.id) as orders from customers as c"
    )
    with pytest.raises(DefinitionError, match="needs depends lines"):
        define(declared.replace("-- depends", "-- note that depends"))
    bare_shop.apply(declared)
    bare_shop.refresh("card")
    before = bare_shop.value("select orders from meshcache.card_get(2)")
    bare_shop.run("insert into orders (id, customer_id) values (100, 2)")
    assert bare_shop.value("select orders from meshcache.card_get(2)") == before + 1


def test_a_function_whose_body_is_known_shows_its_table(bare_shop: Shop) -> None:
    if bare_shop.value("select current_setting('server_version_num')::integer") < 140000:
        pytest.skip("functions have a parsed body since PostgreSQL 14")
    bare_shop.run(
        "create function sly() returns bigint language sql immutable"
        " begin atomic select count(*) from orders; end"
    )
    with pytest.raises(DefinitionError, match=r"may read tables, .*: sly\(\), which reads orders"):
        bare_shop.apply("-- name: card\n-- key: id\nselect c.id, sly() as x from customers as c")


def test_a_table_of_another_owner(bare_shop: Shop) -> None:
    role = sql.Identifier(f"owner_{bare_shop.value('select current_database()')}")
    with bare_shop.connect() as connection:
        connection.execute(sql.SQL("create role {0}").format(role))
        try:
            # Only a role that is no superuser is not also every other role.
            connection.execute(sql.SQL("grant all on schema public, meshcache to {0}").format(role))
            connection.execute(
                sql.SQL("grant all on all tables in schema public, meshcache to {0}").format(role)
            )
            connection.execute(sql.SQL("set role {0}").format(role))
            with bare_shop.engine().connect() as other:
                other.exec_driver_sql(sql.SQL("set role {0}").format(role).as_string(None))
                from meshcache_pg import catalog

                with pytest.raises(MeshcacheError) as refused:
                    catalog.apply(other, catalog.plan(other, define(GOOD)))
                assert refused.value.hint
                other.rollback()
        finally:
            connection.execute("reset role")
            connection.execute(sql.SQL("drop owned by {0}").format(role))
            connection.execute(sql.SQL("drop role {0}").format(role))


ROLLUP = "-- name: card\n-- kind: rollup\n-- key: id\n"


# The SELECT, what is said of it, and the header that lets it pass.
COPIES: list[tuple[str, str, str | None]] = [
    ("select c.id, now() as at from customers as c", "asks for the time", "allow: clock"),
    (
        "select c.id from customers as c where clock_timestamp() > '2020-01-01 00:00+00'",
        "asks for the time",
        "allow: clock",
    ),
    ("select c.id, random() as x from customers as c", "draws by chance", None),
    ("select c.id, current_user as x from customers as c", "depends on the user", None),
    ("select c.id, orders_of(c.id) as x from customers as c", "may read tables", "allow: functions"),
    (
        "select c.id, to_jsonb(c.since) as x from members as c",
        "depends on the session's settings",
        "allow: session",
    ),
    ("select c.id from hidden as c", "row-level security of hidden", "allow: row_security"),
    (
        "select c.id, c.api_token from members as c",
        "api_token looks like a secret",
        "allow_secret: members.api_token",
    ),
    (
        "select c.id, md5(c::text) as x from tokens as c",
        "looks like a secret",
        "allow_secret: tokens.id, tokens.value",
    ),
]


def test_rollups_are_copies_too(bare_shop: Shop) -> None:
    bare_shop.run(
        OBJECTS,
        "create table members (id integer primary key, since timestamptz, api_token text)",
        "create table hidden (id integer primary key)",
        "alter table hidden enable row level security",
        "create table tokens (id integer primary key, value text)",
    )
    for query, refusal, header in COPIES:
        with pytest.raises(DefinitionError, match=refusal) as refused:
            bare_shop.apply(ROLLUP + query)
        assert refused.value.hint
        if header is not None:
            assert header.split(":")[0] in refused.value.hint
            bare_shop.apply(f"{ROLLUP}-- {header}\n{query}")
            bare_shop.refresh("card")


def test_a_cached_view_cannot_have_the_clock() -> None:
    with pytest.raises(DefinitionError, match="cannot follow the clock") as refused:
        define(GOOD.replace("-- key: id", "-- key: id\n-- allow: clock"))
    assert "live view" in (refused.value.hint or "")


@pytest.mark.parametrize(
    "query",
    [
        "to_jsonb(a) as x",
        "a.*::text as x",
        "(select max(row_to_json(b)::text) from accounts as b where b.id = a.id) as x",
    ],
)
def test_a_secret_in_a_whole_row(bare_shop: Shop, query: str) -> None:
    bare_shop.run("create table accounts (id integer primary key, name text, password text)")
    definition = f"-- name: card\n-- key: id\nselect a.id, {query} from accounts as a"
    with pytest.raises(DefinitionError, match=r"accounts\.password looks like a secret"):
        bare_shop.apply(definition)
    bare_shop.apply(definition.replace("-- key", "-- allow_secret: accounts.password\n-- key"))


def test_which_names_are_secret_can_be_chosen(bare_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    bare_shop.run("create table accounts (id integer primary key, password text, iban text)")
    by_password, by_iban = (
        f"-- name: card\n-- key: id\nselect a.id, a.{column} from accounts as a"
        for column in ("password", "iban")
    )
    monkeypatch.setenv("MESHCACHE_SECRET_NAMES", "+*iban*")
    for refused in (by_password, by_iban):
        with pytest.raises(DefinitionError, match="looks like a secret"):
            bare_shop.apply(refused)
    monkeypatch.setenv("MESHCACHE_SECRET_NAMES", "*iban*")
    with pytest.raises(DefinitionError, match="looks like a secret"):
        bare_shop.apply(by_iban)
    bare_shop.apply(by_password)
    monkeypatch.setenv("MESHCACHE_SECRET_SCHEMAS", "public, auth")
    with pytest.raises(DefinitionError, match="id looks like a secret"):
        bare_shop.apply(by_password.replace("a.password", "1 as x"))


def test_an_unlogged_table_is_emptied_with_its_cache(crash_shop: CrashShop) -> None:
    crash_shop.run(
        "create unlogged table scratch (id integer primary key, name text)",
        "insert into scratch select n, 'name ' || n from generate_series(1, 5) as n",
    )
    crash_shop.apply(
        "-- name: scraps\n-- key: id\n-- coverage: complete\nselect s.id, s.name from scratch as s"
    )
    crash_shop.refresh("scraps")
    assert crash_shop.value("select count(*) from meshcache.scraps") == 5
    crash_shop.crash("kill")
    assert crash_shop.value("select count(*) from meshcache.scraps") == 0
    crash_shop.run("insert into scratch values (1, 'after')")
    crash_shop.refresh("scraps")
    assert crash_shop.rows("select g.name, g._origin from meshcache.scraps_get(1) as g") == [("after", "hit")]
