"""Who changes definitions does so alone: the triggers of a table and its mark tables are those of all its
views.
"""

from concurrent.futures import ThreadPoolExecutor

import pytest
from psycopg import sql
from sqlalchemy import Connection, event

from meshcache_pg import catalog
from meshcache_pg.errors import ConfigurationError, LockBusy
from tests.fixtures.fix_embedded import eventually
from tests.fixtures.fix_shop import CITY_LIST, CUSTOMER_PAGE, ORDER_CARD, Shop, define

ORDER_PAGE = ORDER_CARD.replace("order_card", "order_page")

NAME_LIST = """
-- name: name_list
-- key: name
-- coverage: complete
-- depends: customers(name) = (name) columns (city, name)
select c.name, count(*) as customer_count, min(c.city) as first_city from customers as c group by c.name
"""

WAITING = """
select exists (
    select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
)
"""


def check_written(shop: Shop, *views: str) -> None:
    """Fill, write to every source table, and compare the live views with their sources."""
    for view in views:
        shop.run(f"call meshcache.refresh('{view}')")
    shop.run(
        "update customers set city = 'Kiel', name = 'somebody' where id = 1",
        "update orders set status = 'paid' where id = 2",
        "delete from order_lines where order_id = 3",
    )
    for view in views:
        live, source = (sql.Identifier("meshcache", name) for name in (view, f"{view}_source"))
        differ = "(table {0} except table {1}) union all (table {1} except table {0})"
        with shop.connect() as reader:
            assert reader.execute(sql.SQL(differ).format(live, source)).fetchall() == []


def apply(connection: Connection, *texts: str, prune: bool = False) -> None:
    catalog.apply(connection, catalog.plan(connection, define(*texts), prune=prune))


def test_two_that_watch_a_table_keep_each_others_marks(bare_shop: Shop) -> None:
    """The trigger functions of a table serve all its views, also one that is applied while another waits."""
    bare_shop.apply(CUSTOMER_PAGE)
    with ThreadPoolExecutor(1) as pool, bare_shop.engine().begin() as connection:
        apply(connection, CITY_LIST)
        applied = pool.submit(bare_shop.apply, NAME_LIST)
        eventually(lambda: applied.done() or bare_shop.value(WAITING), "the other apply waits")
        connection.commit()
        try:
            applied.result()
        except LockBusy:
            # On a busy machine the wait may have come to its end before.
            bare_shop.apply(NAME_LIST)
    check_written(bare_shop, "city_list", "name_list")


@pytest.mark.parametrize("beside", [(), (CITY_LIST,)], ids=["the last one", "one of two"])
def test_what_is_about_to_be_needed_is_not_taken_away(bare_shop: Shop, beside: tuple[str, ...]) -> None:
    """A mark table that is found, and given up by its last view before the new one is there."""
    bare_shop.apply(ORDER_CARD, *beside)
    refused: list[LockBusy] = []

    def drop_meanwhile(*found: object) -> None:
        if "insert into meshcache.cached_view" in str(found[2]) and not refused:
            with pytest.raises(LockBusy, match="another transaction is changing definitions") as error:
                bare_shop.apply(*beside, prune=True)
            refused.append(error.value)

    with bare_shop.engine().begin() as connection:
        event.listen(connection, "before_cursor_execute", drop_meanwhile)
        apply(connection, ORDER_PAGE)
    assert refused
    bare_shop.apply(ORDER_PAGE, *beside, prune=True)
    check_written(bare_shop, "order_page")


def test_a_transaction_that_changed_definitions_keeps_others_from_it_until_it_ends(bare_shop: Shop) -> None:
    """Also where they have no table in common."""
    bare_shop.run("create table alone (id integer primary key)")
    alone = "-- name: alone\n-- key: id\nselect id from alone"
    bare_shop.apply(ORDER_CARD)
    with bare_shop.engine().begin() as connection:
        catalog.suspend(connection, ["orders"])
        with pytest.raises(LockBusy, match="another transaction is changing definitions"):
            bare_shop.apply(alone)
        catalog.resume(connection)
    bare_shop.apply(alone)
    check_written(bare_shop, "order_card")


def test_what_was_added_while_suspend_waited_is_suspended_too(bare_shop: Shop) -> None:
    for _ in range(9):
        bare_shop.apply(CUSTOMER_PAGE, prune=True)
        try:
            assert suspend_beside_an_apply(bare_shop) == ["city_list", "customer_page"]
            break
        except LockBusy:
            # On a busy machine the wait may have come to its end before.
            continue
    bare_shop.run("alter table customers rename column city to town")


def suspend_beside_an_apply(shop: Shop) -> list[str]:
    def suspend() -> list[str]:
        with shop.engine().begin() as connection:
            return catalog.suspend(connection, ["customers"])

    with ThreadPoolExecutor(1) as pool:
        with shop.engine().begin() as connection:
            apply(connection, CITY_LIST)
            suspended = pool.submit(suspend)
            eventually(lambda: suspended.done() or shop.value(WAITING), "suspend waits")
        return suspended.result()


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_definitions_are_changed_under_read_committed(bare_shop: Shop, level: str) -> None:
    """An older snapshot would not have what another has added meanwhile."""
    bare_shop.apply(ORDER_CARD)
    engine = bare_shop.engine().execution_options(isolation_level=level)
    with pytest.raises(ConfigurationError, match=level), engine.begin() as connection:
        apply(connection, CITY_LIST)
    with pytest.raises(ConfigurationError, match=level), engine.begin() as connection:
        catalog.suspend(connection, ["orders"])
    bare_shop.refresh("order_card")
    bare_shop.check("order_card")


def test_a_source_that_is_dropped_while_it_is_looked_at(shop: Shop) -> None:
    """Who was busy with a table when a sweep wanted to mend it had perhaps just dropped its last view."""
    shop.run(
        "create table spare (id integer)",
        "insert into meshcache.source_table (relation) values ('spare')",
        """
        create or replace function meshcache._try_check_source(p_source_id integer) returns text
        language plpgsql as $$
        begin
            delete from meshcache.source_table as s
            where s.id = p_source_id and s.relation = 'spare'::regclass;
            return case when found then 'partitions changed, table busy' end;
        end $$
        """,
    )
    assert shop.value("select count(*) from meshcache.source_table where relation = 'spare'::regclass") == 1
    report = shop.sweep()
    assert shop.value("select count(*) from meshcache.source_table where relation = 'spare'::regclass") == 0
    assert (report["state"], report["differences"]) == ("done", {})
    shop.check()
