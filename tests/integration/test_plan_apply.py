"""What plan says and what apply does: all of it or nothing, twice is once, nobody waits long, nothing is
left behind.
"""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql

from meshcache_pg import MeshCache, catalog
from meshcache_pg.embedded import Installation
from meshcache_pg.errors import DefinitionError, LockBusy, MeshcacheError
from tests.fixtures.fix_db import Database
from tests.fixtures.fix_shop import (
    CITY_LIST,
    CUSTOMER_PAGE,
    ORDER_CARD,
    ROWS,
    SHOP,
    SKU_SALES,
    TABLES,
    VIEWS,
    Shop,
    check,
    define,
    get,
    origin,
    scalar,
)

HIT = {view: {"hit"} for view in VIEWS}

# Every row of the catalogs that DDL changes, with the transaction that wrote it: nothing may have been
# rewritten.
SNAPSHOT = """
select 'class', oid, xmin::text, relname::text from pg_class
where relnamespace in (select oid from pg_namespace
    where nspname in ('public', 'meshcache', 'meshcache_data'))
union all select 'trigger', oid, xmin::text, tgname from pg_trigger
union all select 'proc', oid, xmin::text, proname from pg_proc where pronamespace = 'meshcache'::regnamespace
union all select 'rewrite', oid, xmin::text, rulename from pg_rewrite where oid > 16384
union all select 'view', v.id, v.xmin::text, v.name from meshcache.cached_view as v
union all select 'dependency', d.position, d.xmin::text, d.kind from meshcache.dependency as d
union all select 'source', s.id, s.xmin::text, s.relation::text from meshcache.source_table as s
union all select 'mark', m.id, m.xmin::text, null from meshcache.mark_table as m
order by 1, 2, 3, 4
"""

# The same by name alone: nothing may have come or gone.
NAMES = """
select n.nspname || '.' || c.relname as name
from pg_class as c inner join pg_namespace as n on n.oid = c.relnamespace
where n.nspname in ('public', 'meshcache', 'meshcache_data')
union all select tgrelid::regclass || ' ' || tgname from pg_trigger where not tgisinternal
union all select oid::regprocedure::text from pg_proc where pronamespace = 'meshcache'::regnamespace
union all select 'view ' || name || definition_hash from meshcache.cached_view
union all select 'mark ' || id || columns::text from meshcache.mark_table
union all select 'source ' || relation::text from meshcache.source_table
order by 1
"""


# The same cached views without what they say about order lines.
ORDER_HEAD = """
-- name: order_card
-- key: id
-- coverage: complete
-- tenant: customer_id
-- depends: orders(id) = (id) columns (id, customer_id, status)
-- depends: customers(id) = (customer_id) columns (id, name)
select o.id, o.customer_id, c.name as customer_name, o.status
from orders as o inner join customers as c on c.id = o.customer_id
"""
CUSTOMER_HEAD = """
-- name: customer_page
-- key: id
-- coverage: on_demand
-- depends: customers(id) = (id) columns (id, name, city)
select c.id, c.name, c.city from customers as c
"""


def actions(shop: Shop, *texts: str, prune: bool = False) -> dict[str, str]:
    return {step.name: step.action for step in shop.plan(*texts, prune=prune)}


def test_what_is_new(bare_shop: Shop) -> None:
    assert set(actions(bare_shop, *SHOP).values()) == {"create"}
    before = bare_shop.rows(NAMES)
    with bare_shop.engine().begin() as connection:
        catalog.check(connection, catalog.plan(connection, define(*SHOP)))
    assert bare_shop.rows(NAMES) == before
    bare_shop.apply(*SHOP)
    assert set(actions(bare_shop, *SHOP).values()) == {"keep"}


def test_applied_twice_is_applied_once(shop: Shop) -> None:
    before = shop.rows(SNAPSHOT)
    shop.apply(*SHOP)
    assert shop.rows(SNAPSHOT) == before
    assert shop.origins() == HIT


def test_white_space_at_line_ends_is_no_change(shop: Shop) -> None:
    assert set(actions(shop, *(text.replace("\n", "  \n") + "\n\n" for text in SHOP)).values()) == {"keep"}


def test_a_changed_definition_is_replaced_alone(shop: Shop) -> None:
    changed = ORDER_CARD.replace("o.status,", "upper(o.status) as status,")
    steps = {step.name: step for step in shop.plan(changed, *SHOP[1:])}
    assert {name: step.action for name, step in steps.items()} == {
        "order_card": "replace",
        "customer_page": "keep",
        "city_list": "keep",
        "sku_sales": "keep",
    }
    assert steps["order_card"].reason == "changed: query"
    shop.apply(changed, *SHOP[1:])
    assert shop.origins() == HIT | {"order_card": {"bypass"}}
    shop.check()
    shop.refresh("order_card")
    assert shop.value("select status from meshcache.order_card_get(1)") == "OPEN"
    shop.check()


def test_what_is_no_longer_declared_is_kept_or_pruned(shop: Shop) -> None:
    assert actions(shop, ORDER_CARD)["city_list"] == "keep"
    shop.apply(ORDER_CARD)
    assert shop.origins() == HIT
    assert actions(shop, ORDER_CARD, prune=True) == {
        "order_card": "keep",
        "customer_page": "drop",
        "city_list": "drop",
        "sku_sales": "drop",
    }
    shop.apply(ORDER_CARD, prune=True)
    assert shop.rows("select name from meshcache.cached_view") == [("order_card",)]
    shop.run("update customers set city = 'Ulm', name = 'x'", "delete from orders where id = 3")
    shop.check("order_card")


@pytest.mark.parametrize(
    "missing",
    [
        "drop table meshcache_data.order_card cascade",
        "drop function meshcache.order_card_get(integer)",
        "drop function meshcache._order_card_resolve(boolean)",
        "drop view meshcache.order_card",
        "drop view meshcache.order_card_rows cascade",
        "drop view meshcache.order_card_quiet",
        "drop view meshcache.customer_page_fresh",
        "drop schema meshcache_data cascade",
        "drop trigger meshcache_1_mark_update on orders",
        "alter table orders disable trigger user",
        "drop table meshcache_data.view_state cascade",
        "drop table meshcache_data.epoch cascade",
        "drop table meshcache.mark_of_customers cascade",
        (
            "create or replace function meshcache._mark_1_insert() returns trigger language plpgsql"
            " as 'begin return null; end'"
        ),
    ],
)
def test_what_is_missing_is_repaired(shop: Shop, missing: str) -> None:
    if "drop trigger" in missing:
        name = shop.value(
            "select tgname from pg_trigger where tgrelid = 'orders'::regclass and tgname like '%mark_update'"
        )
        missing = missing.replace("meshcache_1_mark_update", name)
    if "mark_of_customers" in missing:
        name = shop.value(
            "select 'mark_' || max(m.id) from meshcache.mark_table as m"
            " inner join meshcache.source_table as s on s.id = m.source_id"
            " where s.relation = 'customers'::regclass"
        )
        missing = missing.replace("mark_of_customers", name)
    with shop.connect() as connection:
        connection.execute(missing.encode())
    assert "repair" in actions(shop, *SHOP).values()
    shop.run("update orders set status = 'unseen' where id = 2")
    shop.apply(*SHOP)
    assert set(actions(shop, *SHOP).values()) == {"keep"}
    shop.check()
    shop.warm()
    shop.run(
        "update orders set status = 'seen' where id = 1", "update customers set name = 'seen' where id = 1"
    )
    shop.check()
    shop.sweep()
    shop.check()


BROKEN = """
-- name: zz_broken
-- key: id
-- depends: customers(id) = (id)
select id, nothing_of_the_kind from customers
"""


def test_one_that_fails_takes_the_others_along(bare_shop: Shop) -> None:
    before = bare_shop.rows(NAMES)
    with pytest.raises(DefinitionError, match="nothing_of_the_kind"):
        bare_shop.apply(*SHOP, BROKEN)
    assert bare_shop.rows(NAMES) == before
    bare_shop.run("update orders set status = 'x' where id = 1")


def test_one_that_fails_leaves_the_installed_ones_as_they_were(shop: Shop) -> None:
    before = shop.rows(SNAPSHOT)
    changed = ORDER_CARD.replace("o.status,", "upper(o.status) as status,")
    with pytest.raises(DefinitionError):
        shop.apply(changed, *SHOP[1:], BROKEN)
    assert shop.rows(SNAPSHOT) == before
    assert shop.origins() == HIT
    shop.check()


def test_replaced_while_it_is_read_and_written(shop: Shop) -> None:
    stop = Event()

    def read() -> int:
        done = 0
        with psycopg.connect(shop.dsn) as connection:
            while not stop.is_set():
                for key in range(1, 6):
                    row = get(connection, "order_card", key)
                    assert row is not None
                    assert row[0] == key
                    done += 1
                connection.commit()
        return done

    def write() -> int:
        done = 0
        with psycopg.connect(shop.dsn) as connection:
            while not stop.is_set():
                connection.execute("update orders set status = status || '.' where id = %s", (1 + done % 50,))
                connection.execute("update customers set name = name || '.' where id = %s", (1 + done % 10,))
                connection.commit()
                done += 1
        return done

    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(read), pool.submit(write), pool.submit(read)]
        try:
            for number in range(4):
                changed = ORDER_CARD.replace("o.status,", f"o.status || '{number}' as status,")
                while True:
                    try:
                        shop.apply(changed, *SHOP[1:])
                        break
                    except LockBusy:
                        continue
                shop.refresh("order_card")
        finally:
            stop.set()
    assert all(future.result() for future in running)
    shop.warm()
    shop.check()


def test_dependencies_that_nobody_needs_go(shop: Shop) -> None:
    marks: LiteralString = """
    select s.relation::text, m.columns
    from meshcache.mark_table as m inner join meshcache.source_table as s on s.id = m.source_id
    """
    triggers = "select count(*) from pg_trigger where tgrelid = %s::regclass and tgname like 'meshcache%%'"
    assert ("order_lines", ["order_id"]) in shop.rows(marks)
    shop.apply(ORDER_HEAD, CUSTOMER_HEAD)
    assert shop.rows(triggers, "order_lines") == [(0,)]
    assert ("order_lines", ["order_id"]) not in shop.rows(marks)
    present = {
        row[0] for row in shop.rows("select relname::text from pg_class where relname ~ '^mark_[0-9]+$'")
    }
    assert present == {f"mark_{row[0]}" for row in shop.rows("select id from meshcache.mark_table")}
    shop.refresh("order_card", "customer_page")
    shop.run("update order_lines set quantity = 9", "update orders set status = 'new' where id = 4")
    shop.check()
    shop.apply(*SHOP)
    shop.warm()
    shop.run("update order_lines set quantity = 8", "update orders set status = 'newer' where id = 4")
    shop.check()


def test_more_columns_of_a_table_that_is_already_watched(shop: Shop) -> None:
    # Same mark table, more columns that matter: the trigger function changes, the triggers do not.
    noted = (
        ORDER_CARD.replace("columns (id, customer_id, status)", "columns (id, customer_id, status, note)")
        .replace("name: order_card", "name: order_note")
        .replace("o.status,", "o.status, o.note,")
    )
    shop.run("update orders set note = 'unwatched' where id = 1")
    assert origin(shop.connect(), "order_card", 1) == "hit"
    shop.apply(*SHOP, noted)
    shop.refresh("order_note")
    shop.run("update orders set note = 'watched' where id = 1")
    assert shop.value("select note from meshcache.order_note_get(1)") == "watched"
    assert shop.value("select note from meshcache.order_note where id = 1") == "watched"
    shop.check()


def test_coverage_and_key_may_change(shop: Shop) -> None:
    on_demand = ORDER_CARD.replace("coverage: complete", "coverage: on_demand")
    shop.apply(on_demand, *SHOP[1:])
    assert shop.value("select to_regclass('meshcache.order_card_rows')") is None
    shop.check()
    shop.refresh("order_card")
    assert shop.origins("order_card") == {"order_card": {"hit"}}
    complete = CUSTOMER_PAGE.replace("coverage: on_demand", "coverage: complete")
    shop.apply(ORDER_CARD, complete, *SHOP[2:])
    shop.check()
    shop.warm()
    shop.run("update customers set name = 'seen'", "delete from order_lines where id < 20")
    shop.check()
    two = ORDER_CARD.replace("-- key: id", "-- key: customer_id, id")
    shop.apply(two, *SHOP[1:])
    assert shop.rows("select * from meshcache.order_card_get(2, 1)")
    assert not shop.rows("select * from meshcache.order_card_get(3, 1)")
    shop.refresh("order_card")
    shop.run("update orders set customer_id = 3, status = 'moved' where id = 1")
    assert not shop.rows("select * from meshcache.order_card_get(2, 1)")
    assert shop.value("select status from meshcache.order_card_get(3, 1)") == "moved"
    shop.sweep()
    assert not shop.rows("select * from meshcache.order_card_get(2, 1)")
    assert shop.value("select _origin from meshcache.order_card_get(3, 1)") == "hit"


def test_a_cached_view_may_become_a_rollup_and_back(shop: Shop) -> None:
    rollup = """
    -- name: city_list
    -- kind: rollup
    -- key: city
    -- refresh_every: 1m
    select c.city, count(*) as customer_count, min(c.name) as first_name from customers as c group by c.city
    """.replace("    ", "")
    shop.apply(rollup)
    shop.refresh("city_list")
    assert shop.rows("select city from meshcache.city_list") == [("Bonn",)]
    shop.apply(CITY_LIST)
    shop.refresh("city_list")
    shop.check()


def test_a_long_writer_makes_apply_give_up_and_leave_nothing(bare_shop: Shop) -> None:
    before = bare_shop.rows(NAMES)
    writer = bare_shop.connect(autocommit=False)
    writer.execute("update orders set status = 'open for long' where id = 1")
    with pytest.raises(LockBusy) as busy:
        bare_shop.apply(*SHOP)
    assert busy.value.hint
    assert bare_shop.rows(NAMES) == before
    writer.execute("update order_lines set quantity = 2 where id = 1")
    writer.commit()
    bare_shop.apply(*SHOP)
    bare_shop.warm()


def test_a_long_reader_does_not_hold_back_a_first_apply(bare_shop: Shop) -> None:
    reader = bare_shop.connect(autocommit=False)
    reader.execute("select count(*) from orders, customers, order_lines")
    bare_shop.apply(*SHOP)
    bare_shop.warm()


def test_a_long_reader_of_the_cache_makes_replace_give_up(shop: Shop) -> None:
    reader = shop.connect(autocommit=False)
    assert origin(reader, "order_card", 1) == "hit"
    before = shop.rows(SNAPSHOT)
    with pytest.raises(LockBusy):
        shop.apply(ORDER_CARD.replace("o.status,", "upper(o.status) as status,"))
    assert shop.rows(SNAPSHOT) == before
    check(reader)


def test_a_prepared_statement_survives_a_replacement(shop: Shop) -> None:
    reader = shop.connect(prepare_threshold=0)
    for _ in range(3):
        assert origin(reader, "order_card", 1) == "hit"
    shop.apply(ORDER_CARD.replace("-- One order", "-- An order"))
    for _ in range(3):
        assert origin(reader, "order_card", 1) == "bypass"
    shop.refresh("order_card")
    assert origin(reader, "order_card", 1) == "hit"


@pytest.mark.parametrize("first_time", [True, False])
def test_two_who_apply_at_once(bare_shop: Shop, first_time: bool) -> None:
    texts: tuple[str, ...] = SHOP
    if not first_time:
        bare_shop.apply(*SHOP)
        bare_shop.warm()
        texts = tuple(text.replace("select", "select /* again */", 1) for text in SHOP)
    start = Barrier(3)

    def one() -> str:
        start.wait()
        try:
            bare_shop.apply(*texts)
        except LockBusy:
            return "busy"
        return "done"

    with ThreadPoolExecutor(3) as pool:
        outcomes = [future.result() for future in [pool.submit(one) for _ in range(3)]]
    assert "done" in outcomes
    assert set(actions(bare_shop, *texts).values()) == {"keep"}
    bare_shop.warm()
    bare_shop.check()


def test_apply_while_a_sweep_and_a_refresh_run(shop: Shop) -> None:
    stop = Event()

    def maintain(statement: str) -> int:
        done = 0
        with shop.connect() as connection:
            while not stop.is_set():
                connection.execute(statement.encode())
                done += 1
        return done

    with ThreadPoolExecutor(2) as pool:
        running = [
            pool.submit(maintain, "call meshcache.sweep()"),
            pool.submit(maintain, "call meshcache.refresh('city_list', null, 'all')"),
        ]
        try:
            for number in range(6):
                shop.run(
                    "update customers set name = name || '.'", "update order_lines set quantity = 1 + id % 3"
                )
                changed = ORDER_CARD.replace("o.status,", f"o.status || '{number}' as status,")
                texts = (changed, CUSTOMER_PAGE, CITY_LIST) if number % 2 else (changed, CITY_LIST)
                while True:
                    try:
                        shop.apply(*texts, prune=True)
                        break
                    except LockBusy:
                        continue
                shop.check("order_card", "city_list")
        finally:
            stop.set()
    assert all(future.result() for future in running)
    shop.apply(*SHOP)
    shop.warm()
    shop.check()


def test_the_last_one_dropped_leaves_no_trigger(shop: Shop) -> None:
    for name in (*VIEWS, "sku_sales"):
        with shop.engine().begin() as connection:
            catalog.drop(connection, name)
    assert shop.rows("select tgname from pg_trigger where not tgisinternal") == []
    for table in ("cached_view", "source_table", "mark_table", "dependency"):
        assert (
            scalar(shop.connect(), sql.SQL("select count(*) from meshcache.{}").format(sql.Identifier(table)))
            == 0
        )
    assert shop.rows("select relname from pg_class where relname ~ '^mark_[0-9]'") == []
    left = shop.rows(
        """
        select proname::text from pg_proc
        where pronamespace = 'meshcache'::regnamespace and proname ~ 'order_card|_mark_[0-9]'
        """
    )
    assert left == []
    shop.run("update orders set status = 'free' where id = 1", "truncate order_lines")
    with pytest.raises(MeshcacheError, match="order_card"), shop.engine().begin() as connection:
        catalog.drop(connection, "order_card")


def test_a_view_of_the_users_own_on_the_live_view(shop: Shop) -> None:
    shop.run("create view mine as select * from meshcache.order_card")
    changed = ORDER_CARD.replace("-- One order", "-- An order")
    with pytest.raises(MeshcacheError, match="mine") as refused:
        shop.apply(changed, *SHOP[1:])
    assert refused.value.hint
    assert shop.rows("select count(*) from mine") == [(50,)]
    with pytest.raises(MeshcacheError, match="mine"), shop.engine().begin() as connection:
        catalog.drop(connection, "order_card")


def schema_of(installation: Installation, dsn: str) -> list[str]:
    program = installation.program("pg_dump")
    if not Path(program).exists():
        pytest.skip(f"{installation} has no pg_dump")
    done = subprocess.run([program, "--schema-only", "-d", dsn], capture_output=True, text=True, check=True)
    # Newer minor versions guard psql with a random word.
    return [line for line in done.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))]


@pytest.mark.parametrize("how", ["uninstall", "drop schema"])
def test_nothing_is_left(db: Database, installation: Installation, how: str) -> None:
    with Shop(db.dsn) as shop:
        shop.run(TABLES + ROWS)
        before = schema_of(installation, db.dsn)
        shop.run("drop table order_lines, orders, customers")
        shop.build()
        shop.apply(*SHOP)
        shop.warm()
        assert schema_of(installation, db.dsn) != before
        if how == "uninstall":
            with MeshCache(shop.dsn) as cache:
                cache.uninstall()
        else:
            shop.run("drop schema meshcache_data, meshcache cascade")
        assert schema_of(installation, db.dsn) == before
        shop.run("update orders set status = 'free' where id = 1", "truncate customers cascade")


def rename(shop: Shop, statement: str, *writes: str) -> None:
    with shop.connect() as connection:
        connection.execute(statement.encode())
        for write in writes:
            connection.execute(write.encode())
            check(connection)


@pytest.mark.parametrize(
    ("change", "write"),
    [
        (
            "alter table orders rename customer_id to buyer_id",
            "insert into orders (id, buyer_id) values (700, 1)",
        ),
        ("alter table orders rename status to state", "update orders set state = 'x' where id = 1"),
        (
            "alter table order_lines rename id to line_id",
            "update order_lines set quantity = 5 where line_id = 1",
        ),
        ("alter table order_lines drop column id", "update order_lines set quantity = 5 where order_id = 1"),
        (
            "alter table order_lines drop constraint order_lines_pkey",
            "update order_lines set quantity = 5 where id = 1",
        ),
        ("alter table orders rename to purchases", "update purchases set status = 'x' where id = 1"),
        ("alter table orders add column more text default 'x'", "update orders set more = 'y' where id = 1"),
        (
            "alter table order_lines drop column sku cascade",
            "update order_lines set quantity = 5 where id = 1",
        ),
    ],
)
def test_the_applications_own_migrations_do_not_break_its_writes(shop: Shop, change: str, write: str) -> None:
    rename(
        shop,
        change,
        write,
        "delete from order_lines where order_id = 3",
        "delete from customers where id = 2",
    )
    shop.sweep()
    shop.check()


def test_a_column_that_a_view_reads_is_dropped_with_cascade(shop: Shop) -> None:
    shop.run(
        "alter table order_lines drop column price cascade",
        "update order_lines set quantity = 5 where id = 1",
        "delete from orders where id = 2",
    )
    assert actions(shop, *SHOP)["order_card"] == "repair"
    with pytest.raises(DefinitionError, match="price"):
        shop.apply(*SHOP)


def test_a_table_replaced_by_another_of_its_name_is_noticed(shop: Shop) -> None:
    shop.run(
        "begin; alter table orders rename to orders_old; create table orders (like orders_old including all);"
        " insert into orders select * from orders_old; commit",
        "update orders set status = 'swapped' where id = 1",
    )
    assert set(actions(shop, ORDER_CARD, CUSTOMER_PAGE, SKU_SALES).values()) != {"keep"}


def extension(shop: Shop, name: str) -> None:
    if not shop.rows("select from pg_available_extensions where name = %s", name):
        pytest.skip(f"this server has no extension {name}")
    with shop.connect() as connection:
        connection.execute(sql.SQL("create extension {}").format(sql.Identifier(name)))


# Two tables that are joined by an equality of their own: 'abc' and 'ABC' are equal.
JOINED = """
-- name: joined
-- key: k
-- coverage: complete
-- depends: a(k) = (k)
-- depends: b(k) = (k)
select a.k, b.w from a inner join b on b.k = a.k
"""


@pytest.mark.parametrize("kind", ["citext", "collation"])
def test_marks_are_compared_as_the_select_compares(bare_shop: Shop, kind: str) -> None:
    if kind == "citext":
        extension(bare_shop, "citext")
        bare_shop.run("create table a (k citext primary key)", "create table b (k citext unique, w text)")
    else:
        try:
            bare_shop.run(
                "create collation ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
            )
        except psycopg.errors.FeatureNotSupported as error:
            pytest.skip(f"{error}")
        bare_shop.run(
            "create table a (k text primary key)", "create table b (k text collate ci unique, w text)"
        )
    bare_shop.run("insert into a values ('abc')", "insert into b values ('ABC', 'old')")
    asked = JOINED.replace("joined", "asked").replace("complete", "on_demand")
    bare_shop.apply(JOINED, asked)
    bare_shop.refresh("joined", "asked")
    bare_shop.run("update b set w = 'new'")
    queries: tuple[LiteralString, ...] = (
        "select w from meshcache.joined",
        "select w from meshcache.joined_get('abc')",
        "select w from meshcache.asked_get('abc')",
    )
    for _ in range(2):
        assert [bare_shop.value(query) for query in queries] == ["new"] * 3
        bare_shop.sweep()


MIXED = """
-- name: mixed
-- key: email
-- coverage: on_demand
-- depends: account(email) = (email)
-- depends: person(email) = (email)
select a.email, a.owner, (select min(p.city) from person as p where p.email = a.email) as city
from account as a
"""


@pytest.mark.parametrize("side", ["(email)", "via account(email -> owner) = (owner)"])
def test_marks_of_another_equality_than_the_views_are_refused(bare_shop: Shop, side: str) -> None:
    """Of 'Foo' and 'foo' a trigger notes one, and to a text that may be the wrong one."""
    extension(bare_shop, "citext")
    bare_shop.run(
        "create table person (email citext, city text)",
        "create table account (email text primary key, owner integer unique)",
    )
    declared = (
        MIXED if side == "(email)" else MIXED.replace("person(email) = (email)", f"person(email) {side}")
    )
    with pytest.raises(DefinitionError, match=r"person\.email is .*citext") as refused:
        bare_shop.apply(declared)
    assert "is text: what is equal" in str(refused.value)
    assert bare_shop.rows("select from meshcache.cached_view") == []


def test_a_key_whose_equality_is_in_no_searched_schema(bare_shop: Shop) -> None:
    extension(bare_shop, "ltree")
    bare_shop.run("create table a (k ltree primary key, w text)", "insert into a values ('x.y', 'old')")
    bare_shop.apply("-- name: tree\n-- key: k\n-- depends: a(k) = (k)\nselect k, w from a")
    bare_shop.refresh("tree")
    assert bare_shop.value("select _origin from meshcache.tree_get('x.y')") == "hit"
    bare_shop.run("update a set w = 'new'")
    assert bare_shop.value("select w from meshcache.tree_get('x.y')") == "new"


def test_a_view_that_only_a_flush_keeps_honest(bare_shop: Shop) -> None:
    flushed = CITY_LIST.replace("customers(city) = (city) columns (city, name)", "customers flush")
    bare_shop.apply(flushed)
    bare_shop.refresh("city_list")
    assert bare_shop.origins("city_list") == {"city_list": {"hit"}}
    bare_shop.run("update customers set city = 'Ulm' where id = 1")
    bare_shop.check("city_list")
    bare_shop.sweep()
    bare_shop.check("city_list")
    assert bare_shop.origins("city_list") == {"city_list": {"hit"}}
