"""A read or a sweep that has begun when a cached view is replaced or dropped, and ends when it has been."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import text

from meshcache_pg import MeshCache, catalog
from meshcache_pg.database import translated
from meshcache_pg.errors import LockBusy
from meshcache_pg.patience import Patience
from meshcache_pg.sql import trusted
from tests.fixtures.fix_embedded import eventually
from tests.fixtures.fix_shop import (
    CITY_LIST,
    CUSTOMER_PAGE,
    ORDER_CARD,
    Shop,
    check,
    define,
    scalar,
    wait_for_lock,
    waits,
)

# The columns stay, so that the first key is answered by the function that is there by then.
CHANGED = CUSTOMER_PAGE.replace("-- key: id", "-- key: id\n-- ttl: 1h")


def test_many_keys_of_a_view_that_is_replaced_meanwhile(shop: Shop) -> None:
    keys = [1, 2, 3]
    with (
        MeshCache(own_engine=shop.engine()) as cache,
        shop.engine().connect() as applying,
        shop.engine().connect() as reading,
        ThreadPoolExecutor(1) as pool,
    ):
        before = cache.view("customer_page", reading).get_many(keys)
        assert {result.origin for result in before.values()} == {"hit"}
        reading.commit()
        catalog.apply(applying, catalog.plan(applying, define(CHANGED)))
        # The function that reads one key waits in its first call, and is gone for the second.
        raw = reading.connection.driver_connection
        assert isinstance(raw, psycopg.Connection)
        answer = pool.submit(cache.view("customer_page", reading).get_many, keys)
        wait_for_lock(shop, raw)
        applying.commit()
        after = answer.result()
        assert {key: after[key].value for key in keys} == {key: before[key].value for key in keys}


WIDER = {
    "customer_page": CUSTOMER_PAGE.replace("c.city,", "c.city, upper(c.name) as loud,"),
    "order_card": ORDER_CARD.replace("o.status,", "o.status, upper(c.name) as loud,"),
}
WRITERS: dict[str, LiteralString] = {
    "fill": "select meshcache.{view}_fill(array[1, 2, 3])",
    "refresh all": "call meshcache.refresh('{view}', null, 'all', 0)",
    "refresh stale": "call meshcache.refresh('{view}', null, 'stale', 0)",
    "sweep": "call meshcache.sweep(null, 0)",
}


@pytest.mark.parametrize("how", ["replaced", "made anew"])
@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("view", WIDER)
def test_what_fills_a_view_that_is_replaced_meanwhile(shop: Shop, view: str, writer: str, how: str) -> None:
    # It has begun by the old definition, and finds the new table under the name of the old one.
    filling = shop.connect(options="-c lock_timeout=30s")
    statement = sql.SQL(WRITERS[writer]).format(view=sql.SQL(trusted(view)))
    shop.run("update customers set city = 'Ulm' where id = 2", "update order_lines set quantity = 7")
    with shop.engine().connect() as applying, ThreadPoolExecutor(1) as pool:
        if how == "made anew":
            # Under another id, with locks and generations of its own.
            catalog.drop(applying, view)
        catalog.apply(applying, catalog.plan(applying, define(WIDER[view])))
        doing = pool.submit(filling.execute, statement)
        wait_for_lock(shop, filling)
        applying.commit()
        # Told that it is busy, or that what it was to call is gone.
        with suppress(psycopg.errors.UndefinedFunction):
            doing.result()
    shop.check(view)
    shop.refresh(view)
    assert shop.origins(view) == {view: {"hit"}}
    shop.check()


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize("how", ["replaced", "suspended"])
def test_a_list_in_a_snapshot_from_before(shop: Shop, level: str, how: str) -> None:
    # The old snapshot still sees that the old table was complete, and nothing of what is in the new one.
    with (
        MeshCache(own_engine=shop.engine()) as cache,
        shop.engine().connect().execution_options(isolation_level=level) as reading,
    ):
        cities = cache.view("city_list", reading)
        before = [dict(row) for row in cities.list(order_by=["city"])]
        assert before
        reading.rollback()
        # The snapshot is taken, and no lock that anybody would wait for.
        reading.execute(text("select pg_current_snapshot()"))
        with shop.engine().begin() as other:
            if how == "replaced":
                catalog.apply(
                    other, catalog.plan(other, define(CITY_LIST.replace("-- key", "-- ttl: 1h\n-- key")))
                )
            else:
                catalog.suspend(other, ["customers"])
        if how == "suspended":
            with shop.engine().begin() as other:
                catalog.resume(other)
        for refreshed in (False, True):
            if refreshed:
                shop.refresh("city_list")
            found = cities.list(order_by=["city"])
            assert [dict(row) for row in found] == before
            raw = reading.connection.driver_connection
            assert isinstance(raw, psycopg.Connection)
            check(raw, "city_list")


def test_a_reader_of_two_lists_is_never_the_one_that_a_deadlock_ends(shop: Shop) -> None:
    # apply has replaced the first view and is held up at the second, while a reader of the third waits for
    # the first; then apply comes to the third. The server looks for a circle 200 ms after the reader began
    # to wait.
    with shop.connect() as connection:
        name = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("alter database {} set deadlock_timeout = '200ms'").format(name))
    reader, other = shop.connect(autocommit=False), shop.connect(autocommit=False)
    assert reader.execute("select from meshcache.customer_page").fetchall()
    assert other.execute("select from meshcache.city_list").fetchall()
    with shop.engine().connect() as applying, ThreadPoolExecutor(2) as pool:
        changed = [
            text.replace("-- key", "-- ttl: 1h\n-- key") for text in (ORDER_CARD, CITY_LIST, CUSTOMER_PAGE)
        ]
        steps = catalog.plan(applying, define(*changed))
        raw = applying.connection.driver_connection
        assert isinstance(raw, psycopg.Connection)
        changing = pool.submit(catalog.apply, applying, steps)
        wait_for_lock(shop, raw)
        reading = pool.submit(reader.execute, "select from meshcache.order_card")
        # Unless apply has given up already.
        eventually(lambda: waits(shop, reader) or reading.done(), "the reader waits for the first view")
        other.rollback()
        with suppress(LockBusy):
            changing.result()
            applying.rollback()
        assert reading.result().fetchall()
    reader.commit()
    shop.check()


def test_what_is_in_use_when_the_time_is_up_is_not_waited_for(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshcache_pg.patience._SHARE", 0)
    reader = shop.connect(autocommit=False)
    reader.execute("select from meshcache.city_list")
    with shop.engine().connect() as applying:
        views = ("meshcache.order_card", "meshcache.city_list")
        with pytest.raises(LockBusy, match="city_list is in use, and there is no time"), translated():
            Patience(applying).run({f"drop view {view}": view for view in views})
        applying.rollback()
    shop.check()


# One takes mark tables along that nobody else reads; the other reads the same marks as another view.
@pytest.mark.parametrize("view", ["customer_page", "city_twin"])
def test_a_sweep_of_a_view_that_is_dropped_meanwhile(shop: Shop, view: str) -> None:
    shop.apply(CITY_LIST.replace("city_list", "city_twin"))
    sweeper = shop.connect()
    shop.run("update orders set status = 'paid' where id = 1")
    with shop.engine().connect() as dropping, ThreadPoolExecutor(1) as pool:
        catalog.drop(dropping, view)
        sweeping = pool.submit(scalar, sweeper, "call meshcache.sweep()")
        wait_for_lock(shop, sweeper)
        dropping.commit()
        assert sweeping.result()["state"] in ("done", "busy")
    assert shop.sweep()["state"] == "done"
    shop.check("order_card", "city_list")


def test_what_a_reader_does_for_the_cache_does_not_wait_for_apply(shop: Shop) -> None:
    with (
        MeshCache(own_engine=shop.engine()) as cache,
        shop.engine().connect() as applying,
        shop.engine().connect() as reading,
        ThreadPoolExecutor(1) as pool,
    ):
        cache.view("customer_page", reading).get(1)
        cache.flush()
        cache.view("customer_page", reading).get(1)
        reading.rollback()
        # As after a crash.
        shop.run("delete from meshcache_data.epoch")
        catalog.apply(applying, catalog.plan(applying, define(CHANGED)))
        flushing = pool.submit(cache.flush)
        eventually(flushing.done, "the counters are flushed or kept")
        assert cache.counts.drain()
        # Another view: what is replaced can only be waited for.
        opening = pool.submit(cache.view("order_card", reading).list)
        eventually(opening.done, "the reader has tried to open the cache")
        applying.commit()
    assert shop.sweep()["state"] == "done"
    shop.check()


def test_the_cache_is_opened_while_a_view_is_dropped(shop: Shop) -> None:
    opener = shop.connect()
    # As after a crash.
    shop.run("delete from meshcache_data.epoch")
    with shop.engine().connect() as dropping, ThreadPoolExecutor(1) as pool:
        catalog.drop(dropping, "customer_page")
        opening = pool.submit(opener.execute, "call meshcache.open_cache()")
        wait_for_lock(shop, opener)
        dropping.commit()
        opening.result()
    assert scalar(opener, "select meshcache._is_open()")
    assert shop.sweep()["state"] == "done"
    shop.check("order_card", "city_list")
