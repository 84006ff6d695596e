"""Whoever drops meshcache_data loses nothing: writers and readers by key go on, apply and refresh bring
it back.
"""

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import psycopg
import pytest

from tests.fixtures.fix_shop import SHOP, VIEWS, Shop, get, origin, wait_for_lock

DROP = "drop schema meshcache_data cascade"

# Seconds, after each transaction: threads that never rest leave the one that brings the cache back no time.
PAUSE = 0.001


def drop_data(shop: Shop) -> None:
    """What an administrator does who is not in a hurry: each attempt waits a moment and then makes way."""
    with psycopg.connect(shop.dsn, autocommit=True, options="-c lock_timeout=200ms") as connection:
        while True:
            try:
                connection.execute(DROP)
            except psycopg.errors.LockNotAvailable:
                continue
            return


def write_until(stop: threading.Event, shop: Shop, worker: int) -> int:
    """Transactions over all tables, on keys that no other writer touches; returns how many were committed."""
    done = 0
    with psycopg.connect(shop.dsn) as connection:
        while not stop.is_set():
            order = 1000 + worker * 100_000 + done
            connection.execute("update customers set name = name || '.' where id = %s", (worker,))
            connection.execute("insert into orders (id, customer_id) values (%s, %s)", (order, worker))
            connection.execute("insert into order_lines values (%s, %s, 'sku', 1, 2.5)", (order, order))
            connection.execute("savepoint here")
            connection.execute("delete from order_lines where order_id = %s", (order - 5,))
            connection.execute("rollback to savepoint here")
            if done % 20 == 19:
                connection.execute("delete from orders where id > 1000 and customer_id = %s", (worker,))
            if done % 3:
                connection.commit()
            else:
                connection.rollback()
            done += 1
            stop.wait(PAUSE)
    return done


def read_until(stop: threading.Event, shop: Shop) -> set[str]:
    """Reads by key, several to a transaction; returns where the rows came from."""
    seen = set()
    with psycopg.connect(shop.dsn) as connection:
        while not stop.is_set():
            stop.wait(PAUSE)
            for key in range(1, 11):
                for view in ("order_card", "customer_page"):
                    row = get(connection, view, key)
                    assert row is not None
                    assert row[0] == key
                    seen.add(row[-2])
            connection.commit()
    return seen


def test_dropped_under_load_and_brought_back(shop: Shop) -> None:
    stop = threading.Event()
    with ThreadPoolExecutor(4) as pool:
        running: list[Future[int] | Future[set[str]]] = [
            pool.submit(write_until, stop, shop, 1),
            pool.submit(write_until, stop, shop, 2),
            pool.submit(read_until, stop, shop),
            pool.submit(read_until, stop, shop),
        ]
        try:
            for _ in range(3):
                drop_data(shop)
                assert {s.action for s in shop.plan(*SHOP)} == {"repair"}
                while True:
                    try:
                        shop.apply(*SHOP)
                        break
                    except Exception as error:
                        if getattr(error, "exit_code", 0) != 5:
                            raise
                shop.refresh()
                shop.check()
        finally:
            stop.set()
    for future in running:
        assert future.result()
    shop.refresh()
    shop.check()
    assert shop.origins() == {view: {"hit"} for view in VIEWS}


def test_readers_by_key_get_the_source_while_it_is_gone(shop: Shop) -> None:
    with shop.connect() as connection:
        assert origin(connection, "order_card", 1) == "hit"
        shop.run(DROP)
        for view in VIEWS[:2]:
            assert origin(connection, view, 1) == "bypass"
        connection.execute("update customers set name = 'new' where id = 1")
        row = get(connection, "customer_page", 1)
        assert row is not None
        assert row[1] == "new"
    assert shop.origins() == {view: {"bypass"} for view in VIEWS}


def test_a_transaction_goes_on_after_the_drop(shop: Shop) -> None:
    writer = shop.connect(autocommit=False)
    writer.execute("update orders set status = 'paid' where id = 1")
    shop.run(DROP)
    writer.execute("update order_lines set quantity = quantity + 1 where order_id = 1")
    assert origin(writer, "order_card", 1) == "bypass"
    writer.commit()
    shop.apply(*SHOP)
    shop.refresh()
    shop.check()


def test_sweep_before_apply_does_no_harm(shop: Shop) -> None:
    shop.run(DROP)
    assert shop.sweep()["state"] == "done"
    assert {s.action for s in shop.plan(*SHOP)} == {"repair"}
    shop.apply(*SHOP)
    assert shop.sweep()["state"] == "done"
    assert shop.origins("order_card", "city_list") == {"order_card": {"hit"}, "city_list": {"hit"}}
    shop.check()


def test_refresh_before_apply_says_what_to_do(shop: Shop) -> None:
    shop.run(DROP)
    with pytest.raises(psycopg.Error, match="apply"):
        shop.refresh("order_card")


def test_a_fill_of_what_is_gone_fails_alone(shop: Shop) -> None:
    shop.run(DROP)
    assert shop.value("select meshcache.customer_page_fill(array[1])") == 0


def test_a_reader_that_meets_the_drop_in_a_deadlock_gets_the_source(shop: Shop) -> None:
    # The drop locks table after table. A reader that holds one of them and asks for another waits for
    # the drop, which waits for the reader; when the server's choice falls on the reader, the source has
    # to answer.
    reader = shop.connect(autocommit=False, options="-c deadlock_timeout=10ms")
    assert origin(reader, "order_card", 1) == "hit"
    dropper = shop.connect(options="-c deadlock_timeout=60s")
    with ThreadPoolExecutor(1) as pool:
        dropping = pool.submit(dropper.execute, DROP)
        wait_for_lock(shop, dropper)
        try:
            assert origin(reader, "customer_page", 1) == "bypass"
        finally:
            reader.rollback()
            dropping.result()


def test_a_reader_whose_patience_ends_behind_the_drop_gets_the_source(shop: Shop) -> None:
    holder = shop.connect(autocommit=False)
    assert origin(holder, "order_card", 1) == "hit"
    dropper = shop.connect()
    reader = shop.connect(options="-c lock_timeout=50ms")
    with ThreadPoolExecutor(1) as pool:
        dropping = pool.submit(dropper.execute, DROP)
        wait_for_lock(shop, dropper)
        try:
            assert origin(reader, "customer_page", 1) == "bypass"
            assert origin(reader, "order_card", 1) == "bypass"
        finally:
            holder.rollback()
            dropping.result()
