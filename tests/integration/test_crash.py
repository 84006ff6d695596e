"""Crashes: UNLOGGED rows and marks are gone together, so readers get the source until maintenance has
been there.
"""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql

from meshcache_pg import MeshCache
from tests.fixtures.fix_embedded import eventually
from tests.fixtures.fix_shop import (
    SHOP,
    VIEWS,
    CrashShop,
    Shop,
    check,
    define,
    origin,
    scalar,
    wait_for_lock,
)

BYPASS = {view: {"bypass"} for view in VIEWS}
HIT = {view: {"hit"} for view in VIEWS}
CRASHES = pytest.mark.parametrize("how", ["kill", "immediate"])
PREPARING = {"max_prepared_transactions": "10"}


def fill_page(connection: psycopg.Connection, key: int = 1) -> int:
    filled: int = scalar(connection, "select meshcache.customer_page_fill(array[%s::integer])", key)
    return filled


def row_origins(shop: CrashShop) -> set[str]:
    return {row[0] for row in shop.rows("select distinct _origin from meshcache.order_card_rows")}


@CRASHES
def test_cold_is_the_source_and_a_sweep_warms_it(crash_shop: CrashShop, how: str) -> None:
    crash_shop.run("update orders set status = 'paid' where id < 10")
    crash_shop.crash(how)
    assert crash_shop.origins() == BYPASS
    assert row_origins(crash_shop) == {"bypass"}
    crash_shop.check()
    crash_shop.run("update customers set name = 'after' where id = 1", "delete from orders where id = 7")
    crash_shop.check()
    assert crash_shop.sweep()["state"] == "done"
    crash_shop.check()
    # Complete views come back by themselves, the others with whoever asks.
    assert crash_shop.origins() == {"order_card": {"hit"}, "customer_page": {"miss"}, "city_list": {"hit"}}
    with crash_shop.connect() as connection:
        assert fill_page(connection) == 1
        assert origin(connection, "customer_page", 1) == "hit"
    crash_shop.check()


@CRASHES
def test_refresh_warms_it(crash_shop: CrashShop, how: str) -> None:
    crash_shop.crash(how)
    crash_shop.refresh(mode="stale")
    assert crash_shop.origins("order_card", "city_list") == {"order_card": {"hit"}, "city_list": {"hit"}}
    crash_shop.warm()
    crash_shop.check()


def test_a_clean_restart_keeps_it_warm(crash_shop: CrashShop) -> None:
    crash_shop.run("update orders set status = 'paid' where id = 1")
    crash_shop.server.restart("fast")
    assert crash_shop.origins("city_list", "customer_page") == {
        "city_list": {"hit"},
        "customer_page": {"hit"},
    }
    assert crash_shop.origins("order_card") == {"order_card": {"hit", "stale"}}
    crash_shop.check()


def test_fills_are_refused_while_it_is_closed(crash_shop: CrashShop) -> None:
    crash_shop.crash("kill")
    with crash_shop.connect() as connection:
        assert fill_page(connection) == 0
        assert scalar(connection, "select meshcache._order_card_refresh()") is None
        connection.execute("call meshcache.open_cache()")
        assert fill_page(connection) == 1
        assert origin(connection, "customer_page", 1) == "hit"


def test_every_wipe_has_an_epoch_of_its_own(crash_shop: CrashShop) -> None:
    epochs = set()
    for how in ("kill", "immediate", "kill"):
        epochs.add(crash_shop.value("select id from meshcache_data.epoch"))
        crash_shop.crash(how)
        assert crash_shop.rows("select id from meshcache_data.epoch") == []
        crash_shop.run("call meshcache.open_cache()")
    epochs.add(crash_shop.value("select id from meshcache_data.epoch"))
    assert len(epochs) == 4


@pytest.mark.parametrize("what", ["refresh", "sweep", "fill", "rollup"])
def test_killed_in_the_middle_of_maintenance(crash_shop: CrashShop, what: str) -> None:
    # Maintenance stands in the middle because what it has to write or to read is locked.
    statements = {
        "refresh": "call meshcache.refresh('order_card', null, 'all')",
        "sweep": "call meshcache.sweep()",
        "fill": "select meshcache.customer_page_fill(array[1, 2, 3])",
        "rollup": "call meshcache.refresh('sku_sales')",
    }
    locks = {
        "refresh": "lock table meshcache_data.view_state in share mode",
        "sweep": "lock table meshcache_data.order_card in share mode",
        "fill": "lock table meshcache_data.customer_page in share mode",
        "rollup": "lock table meshcache.rollup_refresh in share mode",
    }
    crash_shop.run("update order_lines set quantity = quantity + 1 where id % 3 = 0")
    holder, worker = crash_shop.connect(autocommit=False), crash_shop.connect()
    holder.execute(sql.SQL(locks[what]))
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(worker.execute, sql.SQL(statements[what]))
        wait_for_lock(crash_shop, worker)
        crash_shop.server.kill()
        with pytest.raises(psycopg.OperationalError):
            working.result()
    crash_shop.server.start()
    assert crash_shop.origins() == BYPASS
    crash_shop.check()
    crash_shop.sweep()
    crash_shop.warm()
    crash_shop.check()


def test_killed_again_and_again_while_it_warms_up(crash_shop: CrashShop) -> None:
    def maintain() -> None:
        # Until the server is killed; nothing else may go wrong.
        with suppress(psycopg.OperationalError), crash_shop.connect() as connection:
            while True:
                connection.execute("call meshcache.sweep()")
                connection.execute("call meshcache.refresh('order_card', null, 'all')")
                fill_page(connection)

    for number in range(4):
        with ThreadPoolExecutor(1) as pool:
            maintaining = pool.submit(maintain)
            for key in range(number * 5):
                with crash_shop.connect() as connection:
                    connection.execute("update orders set status = status || '.' where id = %s", (key,))
            crash_shop.server.kill()
            maintaining.result()
        crash_shop.server.start()
        crash_shop.check()
    crash_shop.warm()
    crash_shop.check()


def test_one_killed_backend_empties_the_cache_too(crash_shop: CrashShop) -> None:
    # The server restarts itself: the same postmaster with the same start time, and every UNLOGGED table
    # empty.
    started = "select pg_postmaster_start_time()"
    before = crash_shop.value(started)

    def is_back() -> bool:
        try:
            return bool(crash_shop.value("select count(*) = 0 from meshcache_data.epoch"))
        except psycopg.OperationalError:
            return False

    os.kill(crash_shop.connect().info.backend_pid, signal.SIGKILL)
    eventually(is_back, "the server recovers from a killed backend")
    assert crash_shop.value(started) == before
    assert crash_shop.origins() == BYPASS
    crash_shop.check()
    crash_shop.warm()


@CRASHES
@pytest.mark.parametrize("end", ["commit prepared 'w'", "rollback prepared 'w'"])
def test_a_prepared_write_across_a_crash_holds_back_fills(crash_shop: CrashShop, how: str, end: str) -> None:
    crash_shop.server.settings |= PREPARING
    crash_shop.server.restart("fast")
    writer = crash_shop.connect(autocommit=False)
    writer.execute("update customers set name = 'prepared' where id = 1")
    writer.execute(
        "update order_lines set quantity = 99 where order_id in (select id from orders where customer_id = 1)"
    )
    writer.execute("insert into orders (id, customer_id) values (777, 1)")
    writer.execute("prepare transaction 'w'")
    crash_shop.crash(how)
    crash_shop.run("call meshcache.open_cache()")
    with crash_shop.connect() as connection:
        # Its marks are gone: what would be filled now would be served after its commit.
        assert fill_page(connection) == 0
        for view in VIEWS:
            refresh = sql.SQL("select meshcache.{}()").format(sql.Identifier(f"_{view}_refresh"))
            assert scalar(connection, refresh) is None
        refreshed = scalar(connection, "call meshcache.refresh('order_card', null, 'all', 0)")
        assert refreshed == {"state": "busy"}
        assert scalar(connection, "call meshcache.sweep()")["state"] == "done"
        assert all("hit" not in found for found in crash_shop.origins().values())
        # Opening once more, and transactions that came later, must not open the way either.
        connection.execute("call meshcache.open_cache()")
        connection.execute("update customers set city = 'Köln' where id = 2")
        assert fill_page(connection) == 0
        assert fill_page(connection, 2) == 0
        crash_shop.check()
        connection.execute(sql.SQL(end))
        crash_shop.check()
        assert fill_page(connection) == 1
        assert fill_page(connection, 2) == 1
        assert origin(connection, "customer_page", 1) == "hit"
        crash_shop.check()
    crash_shop.warm()
    crash_shop.check()
    expected = "prepared" if end.startswith("commit") else "customer 1"
    assert crash_shop.value("select name from meshcache.customer_page_get(1)") == expected


def test_a_prepared_write_that_commits_between_the_two_halves_of_opening(crash_shop: CrashShop) -> None:
    crash_shop.server.settings |= PREPARING
    crash_shop.server.restart("fast")
    writer = crash_shop.connect(autocommit=False)
    writer.execute("update customers set name = 'prepared' where id = 1")
    writer.execute("prepare transaction 'w'")
    crash_shop.crash("kill")
    with crash_shop.connect() as opener, crash_shop.connect() as other:
        assert scalar(opener, "select meshcache._purge()")
        with opener.transaction():
            assert scalar(opener, "select meshcache._open()")
            other.execute("commit prepared 'w'")
        assert fill_page(other) == 1
        crash_shop.check()
    crash_shop.warm()
    crash_shop.check()


def test_a_prepared_write_over_a_clean_restart_keeps_its_marks(crash_shop: CrashShop) -> None:
    crash_shop.server.settings |= PREPARING
    crash_shop.server.restart("fast")
    writer = crash_shop.connect(autocommit=False)
    writer.execute("update customers set name = 'prepared' where id = 1")
    writer.execute("prepare transaction 'w'")
    crash_shop.server.restart("fast")
    with crash_shop.connect() as connection:
        assert origin(connection, "customer_page", 1) == "hit"
        crash_shop.sweep()
        # A fill beside it is allowed: its mark is there and will count when it commits.
        assert fill_page(connection) == 1
        connection.execute("commit prepared 'w'")
        assert origin(connection, "customer_page", 1) == "stale"
        check(connection)
    crash_shop.sweep()
    crash_shop.check()


def test_a_transaction_open_while_the_cache_opens_holds_back_fills(crash_shop: CrashShop) -> None:
    crash_shop.crash("kill")
    writer = crash_shop.connect(autocommit=False)
    writer.execute("update customers set name = 'open' where id = 1")
    with crash_shop.connect() as connection:
        connection.execute("call meshcache.open_cache()")
        assert fill_page(connection) == 0
        writer.commit()
        assert fill_page(connection) == 1
        check(connection)


def test_many_openers_at_once_open_it_once(crash_shop: CrashShop) -> None:
    crash_shop.crash("kill")

    def open_it() -> None:
        with crash_shop.connect() as connection:
            connection.execute("call meshcache.open_cache()")

    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(open_it) for _ in range(12)]:
            done.result()
    assert crash_shop.value("select count(*) from meshcache_data.epoch") == 1
    crash_shop.warm()
    assert crash_shop.origins() == HIT


@pytest.mark.parametrize("call", ["call meshcache.open_cache()", "call meshcache.sweep()"])
def test_the_data_schema_is_made_by_another_one_at_the_same_moment(shop: Shop, call: LiteralString) -> None:
    making, other = shop.connect(autocommit=False), shop.connect(options="-c lock_timeout=20s")
    shop.run("drop schema meshcache_data cascade")
    making.execute("select meshcache._ensure_data()")
    other.execute(call)
    making.commit()
    with MeshCache(own_engine=shop.engine()) as cache, ThreadPoolExecutor(1) as pool:
        making.execute("drop schema meshcache_data cascade")
        making.commit()
        making.execute("select meshcache._ensure_data()")
        applying = pool.submit(cache.apply, define(*SHOP))
        eventually(
            lambda: shop.value("select exists (select from pg_locks as l where not l.granted)"),
            "apply waits for who makes it",
        )
        making.commit()
        applying.result()
    shop.warm()
    shop.check()


# Stops whoever asks for it at the moment in which it takes the lock of those who open the cache, its snapshot
# taken already.
HALT: LiteralString = """
create or replace function meshcache._lock_class(p_what text) returns integer language plpgsql volatile as $$
begin
    if p_what = 'open' and current_setting('test.halt', true) = {moment} then
        perform pg_advisory_xact_lock(7);
    end if;
    return hashtext(p_what);
end
$$
"""


@pytest.mark.parametrize("moment", ["first", "second"])
def test_the_cache_is_opened_by_another_one_at_the_same_moment(shop: Shop, moment: str) -> None:
    # Of the two halves of opening, the one that is halted; a row that nobody filled since would show a purge.
    halt, opener, other = shop.connect(), shop.connect(), shop.connect()
    halted = {"first": "meshcache._purge()", "second": "meshcache._open()"}[moment]
    halt.execute(sql.SQL(HALT).format(moment=moment))
    shop.run("delete from meshcache_data.epoch")
    if moment == "second":
        other.execute("select meshcache._purge()")
    halt.execute("select pg_advisory_lock(7)")
    opener.execute(sql.SQL("set test.halt = {}").format(moment))
    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(scalar, opener, f"select {halted}")
        wait_for_lock(shop, opener)
        other.execute("call meshcache.open_cache()")
        assert fill_page(other) == 1
        halt.execute("select pg_advisory_unlock(7)")
        assert opening.result() is False
    assert scalar(other, "select meshcache._is_open()")
    assert origin(other, "customer_page", 1) == "hit"
    shop.check()
