"""The application's transactions never wait for each other, or for maintenance, on account of the cache.
Every writer here has a lock_timeout: a wait is an error, so that nothing has to be timed.
"""

from itertools import permutations
from typing import LiteralString

import psycopg
import pytest

from tests.fixtures.fix_shop import SHOP, Shop, check, origin, scalar

# All of them change what order 1 of customer 2 looks like, on rows of their own.
TOUCH_ORDER_1: dict[str, LiteralString] = {
    "customer": "update customers set name = name || '.' where id = 2",
    "order": "update orders set status = 'paid' where id = 1",
    "another order": "update orders set status = 'paid' where id = 11",
    "line": "update order_lines set quantity = quantity + 1 where id = 50",
    "another line": "update order_lines set quantity = quantity + 1 where id = 100",
    "deleted line": "delete from order_lines where id = 150",
    "new line": "insert into order_lines values (1001, 1, 'new', 1, 1)",
    "another new line": "insert into order_lines values (1002, 1, 'new', 1, 1)",
}

EVERYTHING: tuple[LiteralString, ...] = (
    *TOUCH_ORDER_1.values(),
    "insert into customers (id, name) values (900, 'new')",
    "insert into orders (id, customer_id) values (900, 900)",
    "update orders set customer_id = 3 where id = 12",
    "update orders set id = 901 where id = 900",
    "update customers set name = upper(name)",
    "insert into customers (id, name) values (1, 'x') on conflict (id) do update set name = excluded.name",
    """
    with moved as (update order_lines set order_id = 2 where id = 5 returning id)
    update order_lines set sku = 'moved' where id in (select id + 1 from moved)
    """,
    "delete from customers where id = 900",
    "delete from orders where id % 5 = 4",
)

# What write-through caches look like when they are written by hand.
WRITE_THROUGH: LiteralString = """
create table order_totals (
    order_id integer primary key, customer_id integer, customer_name text, status text, total numeric
);
insert into order_totals
select
    o.id, c.id, c.name, o.status,
    (select sum(l.quantity * l.price) from order_lines as l where l.order_id = o.id)
from orders as o inner join customers as c on c.id = o.customer_id;
create function through() returns trigger language plpgsql as $$
begin
    if tg_table_name = 'customers' then
        update order_totals set customer_name = new.name where customer_id = new.id;
    elsif tg_table_name = 'orders' then
        update order_totals set status = new.status where order_id = new.id;
    elsif tg_op = 'DELETE' then
        update order_totals set total = total - old.quantity * old.price where order_id = old.order_id;
    else
        update order_totals set total = total + new.quantity * new.price where order_id = new.order_id;
    end if;
    return null;
end
$$;
create trigger through after update on customers for each row execute function through();
create trigger through after update on orders for each row execute function through();
create trigger through after insert or update or delete on order_lines
for each row execute function through();
"""


def writer(shop: Shop, isolation: str = "read committed") -> psycopg.Connection:
    quoted = isolation.replace(" ", r"\ ")
    return shop.connect(
        autocommit=False,
        # Of tables this small the server would rather read all: then SERIALIZABLE writers depend on each
        # other without a cache, too.
        options=f"-c lock_timeout=50ms -c default_transaction_isolation={quoted} -c enable_seqscan=off",
    )


PAIRS = [
    (first, second)
    for first, second in permutations(TOUCH_ORDER_1, 2)
    # The rows of a cached row meet; "another" twice adds nothing.
    if not (first.startswith("another") and second.startswith("another"))
]


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_writers_of_one_cached_row_never_meet(shop: Shop, isolation: str) -> None:
    # As autovacuum may at any time.
    shop.run("analyze")
    one, other = writer(shop, isolation), writer(shop, isolation)
    for first, second in PAIRS:
        one.execute(TOUCH_ORDER_1[first])
        other.execute(TOUCH_ORDER_1[second])
        one.rollback()
        other.rollback()
    for first, second in PAIRS:
        if "line" in first and "new" not in second:
            one.execute(TOUCH_ORDER_1[first])
            other.execute(TOUCH_ORDER_1[second])
            other.commit()
            one.commit()
            shop.check()
            shop.run("delete from order_lines where id > 1000")


def test_opposite_orders_do_not_deadlock(shop: Shop) -> None:
    one, other = writer(shop), writer(shop)
    one.execute("update order_lines set quantity = 7 where id = 50")
    other.execute("update order_lines set quantity = 7 where id = 51")
    one.execute("update order_lines set quantity = 7 where id = 101")
    other.execute("update order_lines set quantity = 7 where id = 100")
    one.execute("update customers set name = 'one' where id = 3")
    other.execute("update customers set name = 'other' where id = 2")
    other.commit()
    one.commit()
    shop.check()


def test_writers_of_a_hand_written_write_through_cache_do_meet(bare_shop: Shop) -> None:
    bare_shop.run(WRITE_THROUGH)
    for first, second in (
        ("line", "another line"),
        ("customer", "order"),
        ("line", "customer"),
        ("new line", "order"),
    ):
        one, other = writer(bare_shop), writer(bare_shop)
        one.execute(TOUCH_ORDER_1[first])
        with pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute(TOUCH_ORDER_1[second])
        one.rollback()
        other.rollback()


def test_all_rows_at_once_need_no_lock_per_row(shop: Shop) -> None:
    shop.run("insert into customers (id, name) select n, 'many' from generate_series(1000, 50000) as n")
    with shop.connect(autocommit=False) as connection:
        connection.execute("update customers set name = name || '.'")
        locks = scalar(
            connection, "select count(*) from pg_locks where pid = pg_backend_pid() and locktype = 'advisory'"
        )
        assert locks == 0
        connection.execute("delete from customers where id > 5000")
    shop.check()


MAINTENANCE: dict[str, LiteralString] = {
    "fill": "select meshcache.customer_page_fill(array[1, 2, 3, 900])",
    "refresh of a complete view": "select meshcache._order_card_refresh()",
    "refresh of an on-demand view": "select meshcache._customer_page_refresh()",
    "resolve": "select meshcache._order_card_resolve(true)",
    "resolve by the sweep": "select meshcache._customer_page_resolve(false)",
    "barrier": "select meshcache._barrier(1), meshcache._barrier(2), meshcache._barrier(3)",
    "deleted marks": "select meshcache._delete_marks(pg_snapshot_xmin(pg_current_snapshot()))",
    "comparison of triggers": "select meshcache._check_source(id) from meshcache.source_table",
    "verify": "select meshcache._order_card_verify(1, 10), meshcache._customer_page_verify(1, 10)",
    "live comparison": "select meshcache._order_card_compare(array['1'], false, 5),"
    " meshcache._customer_page_compare(array['1'], false, 5),"
    " meshcache._order_card_pick('marked', 5), meshcache._customer_page_pick('uncached', 5)",
    "invalidation": "select meshcache.invalidate('order_card'), meshcache.order_card_invalidate(1)",
    "invalidation of a table": "select meshcache.invalidate_source('orders')",
    "rollup": "refresh materialized view concurrently meshcache_data.sku_sales",
    "opening": "select meshcache._purge(), meshcache._open()",
}


@pytest.mark.parametrize("what", MAINTENANCE)
def test_no_writer_waits_for_maintenance_that_is_left_open(shop: Shop, what: str) -> None:
    if what == "opening":
        shop.run("delete from meshcache_data.epoch")
    shop.run(
        "update customers set name = 'pending' where id < 5", "update order_lines set price = 1 where id < 20"
    )
    maintainer, application = shop.connect(autocommit=False), writer(shop)
    maintainer.execute(MAINTENANCE[what])
    for statement in EVERYTHING:
        application.execute(statement)
    for view in ("order_card", "customer_page"):
        assert origin(application, view, 1) in {"stale", "bypass", "miss"}
    application.commit()
    shop.check()
    maintainer.commit()
    shop.check()
    shop.sweep()
    shop.check()


def test_maintenance_does_not_wait_for_writers(shop: Shop) -> None:
    application = shop.connect(autocommit=False)
    for statement in EVERYTHING:
        application.execute(statement)
    with shop.connect(options="-c lock_timeout=50ms") as connection:
        assert scalar(connection, "select meshcache.customer_page_fill(array[1, 2])") == 2
        assert scalar(connection, "call meshcache.sweep()")["state"] == "done"
        for view in ("order_card", "customer_page", "city_list"):
            assert scalar(connection, "call meshcache.refresh(%s, null, 'all')", view)["state"] == "done"
        shop.check()
        assert origin(connection, "customer_page", 1) == "hit"
        application.commit()
        assert origin(connection, "customer_page", 1) == "stale"
        shop.check()


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_an_open_reader_holds_back_nobody(shop: Shop, isolation: str) -> None:
    reader = writer(shop, isolation)
    seen = [origin(reader, "order_card", 1), origin(reader, "customer_page", 2)]
    assert seen == ["hit", "hit"]
    application = writer(shop)
    for statement in EVERYTHING:
        application.execute(statement)
    application.commit()
    with shop.connect(options="-c lock_timeout=50ms") as connection:
        assert scalar(connection, "call meshcache.sweep()")["state"] == "done"
        assert scalar(connection, "select meshcache.customer_page_fill(array[1, 2])") == 2
        assert scalar(connection, "call meshcache.refresh('order_card', null, 'all')")["state"] == "done"
        assert origin(connection, "order_card", 1) == "hit"
    shop.check()
    # What the reader sees is still its own snapshot where it has one.
    check(reader)


def test_fills_do_not_wait_for_fills(shop: Shop) -> None:
    shop.run("delete from meshcache_data.customer_page")
    first = shop.connect(autocommit=False)
    assert scalar(first, "select meshcache.customer_page_fill(array[1, 2])") == 2
    with shop.connect(options="-c lock_timeout=50ms") as second:
        assert scalar(second, "select meshcache.customer_page_fill(array[1, 2])") == 0
        assert scalar(second, "select meshcache.customer_page_fill(array[2, 3])") == 1
        assert scalar(second, "select meshcache._customer_page_refresh()") is None
    first.commit()
    shop.check()
    assert shop.origins("customer_page") == {"customer_page": {"hit", "miss"}}


def test_a_sweep_gives_way_to_a_fill_that_stays_open(shop: Shop) -> None:
    filler = shop.connect(autocommit=False)
    assert scalar(filler, "select meshcache.customer_page_fill(array[1])") == 1
    shop.run("update customers set name = 'marked' where id = 1")
    assert shop.sweep()["state"] == "busy"
    filler.commit()
    shop.check()
    assert shop.sweep()["state"] == "done"
    shop.check()


def test_sweeps_do_not_wait_for_sweeps(shop: Shop) -> None:
    sweeper = shop.connect(autocommit=False)
    sweeper.execute("select pg_advisory_xact_lock(meshcache._lock_class('sweep'), 0)")
    with shop.connect(options="-c lock_timeout=50ms") as connection:
        assert scalar(connection, "call meshcache.sweep()")["state"] == "busy"
    sweeper.rollback()
    assert shop.sweep()["state"] == "done"


def test_an_advisory_lock_of_the_application_on_our_numbers_stops_fills_only(shop: Shop) -> None:
    holder = shop.connect()
    holder.execute(
        "select pg_advisory_lock(meshcache._lock_class(what), n)"
        " from unnest(array['fill', 'refresh', 'open', 'sweep']) as what, generate_series(0, 5) as n"
    )
    application = writer(shop)
    for statement in EVERYTHING:
        application.execute(statement)
    application.commit()
    with shop.connect(options="-c lock_timeout=50ms") as connection:
        assert scalar(connection, "select meshcache.customer_page_fill(array[1])") == 0
        assert scalar(connection, "call meshcache.sweep()")["state"] == "busy"
    shop.check()
    holder.close()
    shop.apply(*SHOP)
    assert shop.sweep()["state"] == "done"
    shop.check()
