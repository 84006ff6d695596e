"""Who may do what: the application writes with rights on its own tables alone, readers read what they
were granted, nobody borrows the rights of the cache's owner.
"""

from collections.abc import Iterator
from typing import LiteralString
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from meshcache_pg import catalog, migrate
from meshcache_pg.errors import DefinitionError, MissingRight
from tests.fixtures.fix_shop import ORDER_CARD, ROWS, SHOP, TABLES, Shop, define, scalar


def make_role(shop: Shop, what: str) -> str:
    name = f"{what}_{uuid4().hex[:12]}"
    with shop.connect() as connection:
        connection.execute(sql.SQL("create role {}").format(sql.Identifier(name)))
    return name


def drop_role(shop: Shop, name: str) -> None:
    with shop.connect() as connection:
        role = sql.Identifier(name)
        connection.execute(sql.SQL("reassign owned by {} to current_user").format(role))
        connection.execute(sql.SQL("drop owned by {} cascade").format(role))
        connection.execute(sql.SQL("drop role {}").format(role))


@pytest.fixture
def app(bare_shop: Shop) -> Iterator[str]:
    """A role with the usual rights on the application's tables and none on the cache."""
    name = make_role(bare_shop, "app")
    with bare_shop.connect() as connection:
        connection.execute(
            sql.SQL(
                "grant select, insert, update, delete, truncate on all tables in schema public to {}"
            ).format(sql.Identifier(name))
        )
    yield name
    drop_role(bare_shop, name)


@pytest.fixture
def reader(bare_shop: Shop) -> Iterator[str]:
    """A role without any right."""
    name = make_role(bare_shop, "reader")
    yield name
    drop_role(bare_shop, name)


def become(shop: Shop, role: str, **options: bool) -> psycopg.Connection:
    connection = shop.connect(**options)
    connection.execute(sql.SQL("set session authorization {}").format(sql.Identifier(role)))
    connection.commit()
    return connection


WRITES: tuple[LiteralString, ...] = (
    "update customers set name = 'by the application' where id < 4",
    "insert into orders (id, customer_id) select n, 1 from generate_series(2000, 4000) as n",
    "insert into customers (id, name) values (1, 'again') on conflict (id) do update set name = 'conflict'",
    "update orders set id = 5000 where id = 2000",
    "delete from orders where id > 3000",
    "delete from customers where id = 10",
)


def test_the_application_needs_no_right_on_the_cache(shop: Shop, app: str) -> None:
    with become(shop, app) as connection:
        for statement in WRITES:
            connection.execute(statement)
            shop.check()
        with connection.cursor().copy("copy order_lines from stdin") as copy:
            for number in range(2000):
                copy.write_row((10_000 + number, 1, "copied", 1, "2.50"))
        shop.check()
        connection.execute("truncate order_lines")
        shop.check()
        connection.execute("truncate customers cascade")
        shop.check()
        for query in (
            "select * from meshcache.order_card",
            "select * from meshcache_data.order_card",
            "select * from meshcache.order_card_get(1)",
            "select meshcache.invalidate('order_card')",
            "call meshcache.sweep()",
            "insert into meshcache.wildcard_mark (source_id) values (1)",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(sql.SQL(query))


def test_two_phase_and_savepoints_of_the_application(shop: Shop, app: str) -> None:
    with become(shop, app, autocommit=False) as connection:
        connection.execute(WRITES[0])
        connection.execute("savepoint here")
        connection.execute(WRITES[1])
        connection.execute("rollback to savepoint here")
        connection.execute(WRITES[2])
        connection.commit()
    shop.check()


def test_names_in_pg_temp_or_in_the_search_path_are_not_taken(shop: Shop, app: str) -> None:
    tables = [row[0] for row in shop.rows("select id from meshcache.mark_table")]
    with shop.connect() as connection:
        connection.execute(
            sql.SQL("create schema evil; grant usage, create on schema evil to {}").format(
                sql.Identifier(app)
            )
        )
    with become(shop, app) as connection:
        for name in [
            *(f"mark_{number}" for number in tables),
            "wildcard_mark",
            "source_table",
            "epoch",
            "view_state",
        ]:
            for schema in ("pg_temp", "evil"):
                connection.execute(
                    sql.SQL(
                        "create table {} (id integer, order_id integer, city text, source_id integer)"
                    ).format(sql.Identifier(schema, name))
                )
        for schema in ("pg_temp", "evil"):
            connection.execute(
                sql.SQL(
                    """
                    create function {s}.set_config(text, text, boolean) returns text
                    language sql as 'select null::text';
                    create function {s}.current_setting(text, boolean) returns text
                    language sql as 'select null::text';
                    create function {s}.substr(text, integer) returns text
                    language sql as 'select null::text';
                    create function {s}.concat(variadic text[]) returns text
                    language sql as 'select null::text';
                    create function {s}.pg_current_xact_id() returns xid8
                    language sql as $$ select '3'::xid8 $$;
                    create function {s}.equal(integer, integer) returns boolean language sql as 'select true';
                    create operator {s}.= (leftarg = integer, rightarg = integer, procedure = {s}.equal);
                    """
                ).format(s=sql.Identifier(schema))
            )
        for schema in ("pg_temp", "evil"):
            # When nothing is declared any more that is to have the type of this name.
            domain = sql.SQL("create domain {}.text as pg_catalog.int4")
            connection.execute(domain.format(sql.Identifier(schema)))
        connection.execute("set search_path = evil, pg_temp, public, pg_catalog")
        noted = scalar(
            connection,
            "update public.customers set name = 'evil' where name = 'customer 3'"
            " returning pg_catalog.current_setting('meshcache.writing', true)",
        )
        assert noted == "+"
        connection.execute("insert into public.orders (id, customer_id) values (2000, 3)")
        connection.execute("delete from public.order_lines where id between 50 and 50")
        assert scalar(connection, "select pg_catalog.current_setting('meshcache.writing', true)") in (
            None,
            "",
        )
    shop.check()
    assert shop.origins("customer_page") == {"customer_page": {"hit", "stale"}}
    shop.sweep()
    shop.check()


def test_a_view_of_the_application_on_a_live_view_needs_no_other_right(shop: Shop, reader: str) -> None:
    with shop.connect() as connection:
        connection.execute("create view cards as select * from meshcache.order_card")
        connection.execute(sql.SQL("grant select on cards to {}").format(sql.Identifier(reader)))
    with become(shop, reader) as connection:
        assert scalar(connection, "select count(*) from cards where customer_id = 3") > 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select meshcache._order_card_usable()")
    shop.run("drop view cards")


def test_nothing_in_the_schema_is_open_to_everybody(shop: Shop) -> None:
    functions = shop.rows(
        """
        select p.oid::regprocedure::text from pg_proc as p
        cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) as a
        where p.pronamespace = 'meshcache'::regnamespace and a.grantee = 0
        """
    )
    # Called by the views with the rights of their reader, and by nobody else: that takes USAGE on the schema.
    assert {name for (name,) in functions} == {
        "meshcache._order_card_usable()",
        "meshcache._order_card_quiet()",
        "meshcache._customer_page_usable()",
        "meshcache._city_list_usable()",
        "meshcache._city_list_quiet()",
        "meshcache._era()",
    }
    relations = shop.rows(
        """
        select c.oid::regclass::text from pg_class as c cross join lateral aclexplode(c.relacl) as a
        where c.relnamespace in ('meshcache'::regnamespace, 'meshcache_data'::regnamespace) and a.grantee = 0
        """
    )
    assert relations == []
    schemas = shop.rows(
        """
        select n.nspname from pg_namespace as n cross join lateral aclexplode(n.nspacl) as a
        where n.nspname like 'meshcache%' and a.grantee = 0
        """
    )
    assert schemas == []


def test_every_function_with_the_owners_rights_has_a_pinned_search_path(shop: Shop) -> None:
    found = shop.rows(
        """
        select p.oid::regprocedure::text, p.proconfig from pg_proc as p
        where p.pronamespace = 'meshcache'::regnamespace and p.prosecdef
        """
    )
    assert len(found) > 20
    assert {
        name for name, config in found if "search_path=pg_catalog, pg_temp" not in (config or [])
    } == set()


def test_functions_without_them_are_pinned_too_unless_they_commit_or_are_in_every_write(shop: Shop) -> None:
    found = shop.rows(
        """
        select p.proname from pg_proc as p
        where p.pronamespace = 'meshcache'::regnamespace and p.prokind = 'f'
            and not coalesce('search_path=pg_catalog, pg_temp' = any(p.proconfig), false)
        """
    )
    # What the guard says it says in full, which is shown above.
    assert found == [("_guard",)]


def granted(reader: str) -> list[str]:
    return [text.replace("-- key:", f"-- grant: {reader}\n-- key:") for text in SHOP]


def test_a_granted_reader_reads_and_fills(bare_shop: Shop, reader: str) -> None:
    bare_shop.apply(*granted(reader))
    bare_shop.warm()
    with become(bare_shop, reader) as connection:
        for view in ("order_card", "customer_page", "sku_sales", "order_card_rows", "order_card_source"):
            assert connection.execute(
                sql.SQL("select * from meshcache.{}").format(sql.Identifier(view))
            ).fetchall()
        assert scalar(connection, "select _origin from meshcache.order_card_get(1)") == "hit"
        assert scalar(connection, "select _origin from meshcache.customer_page_get(1)") == "hit"
        connection.execute("select meshcache.customer_page_invalidate(1)")
        assert scalar(connection, "select _origin from meshcache.customer_page_get(1)") == "stale"
        assert scalar(connection, "select meshcache.customer_page_fill(array[1])") == 1
        assert scalar(connection, "select _origin from meshcache.customer_page_get(1)") == "hit"
        for query in (
            "select * from orders",
            "select * from meshcache_data.order_card",
            "delete from meshcache_data.order_card",
            "select meshcache._order_card_refresh()",
            "select meshcache.invalidate('order_card')",
            "call meshcache.refresh('order_card')",
            "call meshcache.sweep()",
            "update meshcache.customer_page set name = 'written through'",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(sql.SQL(query))


def test_a_granted_reader_reads_when_the_data_is_gone(bare_shop: Shop, reader: str) -> None:
    bare_shop.apply(*granted(reader))
    bare_shop.warm()
    bare_shop.run("drop schema meshcache_data cascade")
    with become(bare_shop, reader) as connection:
        assert scalar(connection, "select _origin from meshcache.order_card_get(1)") == "bypass"
    bare_shop.apply(*granted(reader))
    bare_shop.warm()
    with become(bare_shop, reader) as connection:
        assert scalar(connection, "select _origin from meshcache.order_card_get(1)") == "hit"
        assert connection.execute("select * from meshcache.order_card").fetchall()


def test_a_grant_that_is_taken_out_of_the_definition_is_taken_away(bare_shop: Shop, reader: str) -> None:
    bare_shop.apply(*granted(reader))
    bare_shop.apply(*SHOP)
    with become(bare_shop, reader) as connection:
        for query in ("select * from meshcache.order_card", "select * from meshcache.order_card_get(1)"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(sql.SQL(query))


def test_an_unknown_reader_is_named(bare_shop: Shop) -> None:
    with pytest.raises(DefinitionError, match="nobody_here"):
        bare_shop.apply(ORDER_CARD.replace("-- key:", "-- grant: nobody_here\n-- key:"))


def test_an_owner_without_superuser_rights_does_it_all(bare_shop: Shop) -> None:
    owner = make_role(bare_shop, "owner")
    try:
        with bare_shop.connect() as connection:
            database = scalar(connection, "select current_database()")
            connection.execute(
                "drop schema meshcache, meshcache_data cascade; drop table customers, orders, order_lines"
            )
            connection.execute(
                sql.SQL(
                    "grant create on database {} to {owner}; grant all on schema public to {owner}"
                ).format(sql.Identifier(database), owner=sql.Identifier(owner))
            )
        with become(bare_shop, owner) as connection:
            connection.execute(TABLES + ROWS)
        engine = bare_shop.engine()
        with engine.begin() as connection:
            connection.exec_driver_sql(f'set session authorization "{owner}"')
            migrate.upgrade(connection)
            catalog.apply(connection, catalog.plan(connection, define(*SHOP)))
            connection.exec_driver_sql("reset session authorization")
        with become(bare_shop, owner) as connection:
            for view in ("order_card", "customer_page", "city_list", "sku_sales"):
                assert scalar(connection, "call meshcache.refresh(%s, null, 'all')", view)["state"] == "done"
            connection.execute("update customers set name = 'owned' where id = 1")
            connection.execute("truncate order_lines")
            swept = scalar(connection, "call meshcache.sweep()")
            assert (swept["state"], swept["differences"]) == ("done", {})
            connection.execute("drop schema meshcache_data cascade")
            assert scalar(connection, "call meshcache.sweep()")["state"] == "done"
        bare_shop.apply(*SHOP)
        bare_shop.check()
    finally:
        drop_role(bare_shop, owner)


def test_who_does_not_own_the_tables_is_told(bare_shop: Shop, app: str) -> None:
    with bare_shop.connect() as connection:
        connection.execute(
            sql.SQL(
                "grant all on schema meshcache, meshcache_data to {r};"
                "grant all on all tables in schema meshcache to {r};"
                "grant all on all functions in schema meshcache to {r}"
            ).format(r=sql.Identifier(app))
        )
    with bare_shop.engine().begin() as connection:
        connection.exec_driver_sql(f'set session authorization "{app}"')
        with pytest.raises(MissingRight) as refused:
            catalog.apply(connection, catalog.plan(connection, define(ORDER_CARD)))
        assert refused.value.hint
        connection.rollback()


def test_a_sweeper_that_owns_nothing_but_may_execute_says_so(shop: Shop, app: str) -> None:
    with become(shop, app) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("call meshcache.sweep()")
    shop.check()
