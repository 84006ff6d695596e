"""The near cache: what it answers without the database, how little it asks to be allowed to, and that nothing
it answers is older than its bound.

Time is what the tests say it is: a clock that stands still until it is moved. Round trips are counted where
libpq sends them.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import NullPool, QueuePool

from meshcache_pg import MISSING, MeshCache, NearView, Origin, Settings
from meshcache_pg.database import parse_url
from meshcache_pg.errors import ConfigurationError, ConnectionFailed, DefinitionError, InvalidKey
from meshcache_pg.near import seconds_of
from tests.fixtures.fix_embedded import eventually
from tests.fixtures.fix_shop import (
    CUSTOMER_PAGE,
    ORDER_CARD,
    SHOP,
    SKU_SALES,
    CrashShop,
    Shop,
    define,
    in_threads,
)
from tests.fixtures.fix_wire import Wire

BOUND = 10
HIT, MISS, STALE, BYPASS, NEAR = Origin.HIT, Origin.MISS, Origin.STALE, Origin.BYPASS, Origin.NEAR

RENAME: LiteralString = "update customers set name = 'renamed' where id = 2"


class Clock:
    """Shows what the test says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine(shop: Shop) -> Iterator[Engine]:
    """As MeshCache makes one."""
    engine = create_engine(parse_url(shop.dsn), poolclass=QueuePool, pool_size=2, max_overflow=10)
    yield engine
    engine.dispose()


@pytest.fixture
def wire(engine: Engine, tmp_path: Path) -> Wire:
    return Wire(engine, tmp_path)


@pytest.fixture
def cache(engine: Engine) -> MeshCache:
    # Counters are flushed when a test asks for it.
    return MeshCache(own_engine=engine, settings=Settings(flush_seconds=3600))


def near_view(
    cache: MeshCache,
    clock: Callable[[], float],
    view: Any = "order_card",
    *,
    make: Any = dict,
    bound: float = BOUND,
    max_entries: int = 1000,
    max_bytes: int = 2**20,
) -> NearView[Any]:
    return NearView(
        cache, view, make, max_staleness=bound, max_entries=max_entries, max_bytes=max_bytes, clock=clock
    )


@pytest.fixture
def near(cache: MeshCache, clock: Clock) -> NearView[Any]:
    """Orders; order 1 is of customer 2."""
    return near_view(cache, clock)


def name(near: NearView[Any], order: int = 1) -> tuple[str, Origin]:
    """The name of an order's customer, and where it came from."""
    result = near.get(order)
    return result.unwrap()["customer_name"], result.origin


def kept(near: NearView[Any]) -> int:
    return near.counts.entries


def test_a_row_in_memory_is_answered_without_the_database(near: NearView[Any], wire: Wire) -> None:
    first = near.get(1)
    assert first.origin == HIT
    assert first.age is not None
    wire.trips()
    for _ in range(3):
        again = near.get(1)
        assert (again.value, again.origin, again.age) == (first.value, NEAR, None)
        assert near.get_many([1, (1,)]) == {1: again, (1,): again}
    assert wire.trips() == 0
    counts = near.counts
    assert (counts.hits, counts.misses, counts.validated, counts.dropped, counts.entries) == (9, 1, 0, 0, 1)
    assert near.counts == counts


def test_many_keys_take_one_round_trip(near: NearView[Any], wire: Wire) -> None:
    near.get(1)
    wire.trips()
    found = near.get_many([3, 1, 4711, 2, (5,)])
    assert wire.trips() == 1
    assert list(found) == [3, 1, 4711, 2, (5,)]
    assert [result.origin for result in found.values()] == [HIT, NEAR, MISS, HIT, HIT]
    assert found[4711].value is MISSING
    assert {key: result.unwrap()["id"] for key, result in found.items() if result} == {
        3: 3,
        1: 1,
        2: 2,
        (5,): 5,
    }
    assert [result.origin for result in near.get_many([1, 2, 3, 5]).values()] == [NEAR] * 4
    assert near.get_many([]) == {}
    assert wire.trips() == 0


def test_what_was_used_is_validated_together(near: NearView[Any], wire: Wire, clock: Clock) -> None:
    near.get_many(range(1, 41))
    near.get_many(range(1, 31))
    clock.now += BOUND + 0.01
    wire.trips()
    assert name(near, 35) == ("customer 6", NEAR)
    assert wire.trips() == 1
    # The one that was asked for, and those that were used since they were read.
    assert near.counts.validated == 31
    assert {near.get(order).origin for order in range(1, 31)} == {NEAR}
    assert wire.trips() == 0
    assert near.get(36).origin == NEAR
    assert wire.trips() == 1
    # In memory they are as old as their last validation, not their last use.
    clock.now += BOUND + 0.01
    near.get_many([1, 36])
    assert wire.trips() == 1
    assert near.counts.dropped == 0


def test_a_change_is_seen_when_the_time_is_up(
    near: NearView[Any], shop: Shop, wire: Wire, clock: Clock
) -> None:
    near.get_many([1, 2])
    assert name(near) == ("customer 2", NEAR)
    shop.run(RENAME)
    wire.trips()
    clock.now += BOUND
    assert name(near) == ("customer 2", NEAR)
    assert wire.trips() == 0
    clock.now += 0.01
    assert name(near) == ("renamed", STALE)
    # What was computed for the asker has no version yet; it was filled, and the next one is told it.
    assert kept(near) == 1
    assert name(near) == ("renamed", HIT)
    assert name(near) == ("renamed", NEAR)
    assert near.counts.dropped == 1


def test_an_uncommitted_change_is_none(near: NearView[Any], shop: Shop, clock: Clock) -> None:
    writer = shop.connect(autocommit=False)
    name(near)
    writer.execute(RENAME)
    clock.now += BOUND + 0.01
    assert name(near) == ("customer 2", NEAR)
    assert near.counts.validated == 1
    writer.commit()
    clock.now += BOUND
    assert name(near) == ("customer 2", NEAR)
    clock.now += 0.01
    assert name(near)[0] == "renamed"


@pytest.mark.parametrize(
    "change",
    [
        "delete from orders where id = 1",
        "truncate orders cascade",
        "delete from customers where id = 2",
    ],
)
def test_a_row_that_is_gone_is_gone(near: NearView[Any], shop: Shop, clock: Clock, change: Any) -> None:
    name(near)
    shop.run(change)
    assert name(near) == ("customer 2", NEAR)
    clock.now += BOUND + 0.01
    assert near.get(1).value is MISSING
    # What the source does not have is asked of it each time.
    assert kept(near) == 0
    shop.run(
        "insert into orders (id, customer_id) values (1, 3)",
        "insert into order_lines values (9001, 1, 'sku', 1, 2.5)",
    )
    assert name(near)[0] == "customer 3"


def test_the_same_content_filled_again_is_another_version(
    near: NearView[Any], shop: Shop, clock: Clock
) -> None:
    before = near.get(1).value
    versions = shop.rows("select h._version from meshcache.order_card_hits as h where h.id = 1")
    shop.refresh("order_card")
    assert shop.rows("select h._version from meshcache.order_card_hits as h where h.id = 1") != versions
    clock.now += BOUND + 0.01
    result = near.get(1)
    assert (result.value, result.origin, near.counts.dropped) == (before, HIT, 1)


def test_a_row_that_was_made_stale_is_not_renewed(
    near: NearView[Any], cache: MeshCache, clock: Clock
) -> None:
    name(near)
    cache.invalidate("order_card", key=[1])
    clock.now += BOUND + 0.01
    assert name(near) == ("customer 2", STALE)


def test_a_view_that_is_replaced(near: NearView[Any], shop: Shop, clock: Clock) -> None:
    near.get_many([1, 2])
    shop.apply(ORDER_CARD.replace("c.name as", "upper(c.name) as"), *SHOP[1:])
    shop.refresh("order_card")
    assert name(near) == ("customer 2", NEAR)
    clock.now += BOUND + 0.01
    assert name(near) == ("CUSTOMER 2", HIT)
    near.get(2)
    clock.now += BOUND + 0.01
    # Now with other columns: the first read learns that.
    shop.apply(ORDER_CARD.replace("o.status, ", "").replace("customer_id, status", "customer_id"), *SHOP[1:])
    shop.refresh("order_card")
    assert near.get(1).origin == BYPASS
    assert near.get(1).origin == HIT
    assert set(near.get(1).unwrap()) == {"id", "customer_id", "customer_name", "line_count", "total"}
    assert near.get(2).origin == HIT
    assert near.get(2).origin == NEAR


def test_a_view_with_another_key(near: NearView[Any], shop: Shop, clock: Clock) -> None:
    name(near)
    shop.apply(ORDER_CARD.replace("-- key: id", "-- key: id, customer_id"), *SHOP[1:])
    shop.refresh("order_card")
    clock.now += BOUND + 0.01
    near.get(1)
    assert near.get(1, 2).origin == HIT
    assert near.get(1, 2).origin == NEAR
    with pytest.raises(InvalidKey):
        near.get(1)


def test_a_view_that_is_dropped(cache: MeshCache, clock: Clock) -> None:
    by_name, declared = near_view(cache, clock), near_view(cache, clock, define(ORDER_CARD)[0])
    name(by_name)
    name(declared)
    cache.drop("order_card")
    clock.now += BOUND + 0.01
    with pytest.raises(DefinitionError, match="order_card"):
        by_name.get(1)
    assert name(declared) == ("customer 2", BYPASS)
    assert kept(declared) == 0


def test_a_view_that_is_not_there_yet(bare_shop: Shop, clock: Clock) -> None:
    with MeshCache(own_engine=bare_shop.engine(), settings=Settings()) as cache:
        near = near_view(cache, clock, define(ORDER_CARD)[0])
        assert [name(near), name(near)] == [("customer 2", BYPASS)] * 2
        assert [result.origin for result in near.get_many([1, 2]).values()] == [BYPASS] * 2
        assert kept(near) == 0
        with pytest.raises(DefinitionError, match="no cached view"):
            near_view(cache, clock).get(1)


def test_a_key_with_two_rows(bare_shop: Shop, clock: Clock) -> None:
    twice = define("-- name: twice\n-- key: city\nselect c.city, c.name from customers as c")[0]
    with (
        MeshCache(own_engine=bare_shop.engine(), settings=Settings()) as cache,
        bare_shop.engine().connect() as connection,
    ):
        bound = cache.view(twice, connection)
        assert near_view(cache, clock, twice).get("Bonn") == bound.get("Bonn")


def test_a_miss_is_filled_and_the_next_read_is_kept(cache: MeshCache, shop: Shop, clock: Clock) -> None:
    near = near_view(cache, clock, "customer_page")
    shop.run("delete from meshcache_data.customer_page")
    assert [near.get(3).origin for _ in range(3)] == [MISS, HIT, NEAR]
    assert [result.origin for result in near.get_many([3, 4, 5]).values()] == [NEAR, MISS, MISS]
    assert [result.origin for result in near.get_many([3, 4, 5]).values()] == [NEAR, HIT, HIT]


def test_counters_in_the_database_count_what_reached_it(near: NearView[Any], cache: MeshCache) -> None:
    for _ in range(5):
        near.get_many([1, 2])
    near.get(4711)
    cache.flush()
    with cache.begin() as connection:
        row = connection.exec_driver_sql(
            "select s.hits, s.misses, s.stale, s.bypassed from meshcache.stats() as s "
            "where s.name = 'order_card'"
        ).one()
    assert tuple(row) == (2, 1, 0, 0)


def test_what_is_invalidated_here_is_read_again(near: NearView[Any], shop: Shop) -> None:
    near.get_many([1, 2, 11])
    shop.run(RENAME)
    near.invalidate(1)
    near.invalidate(4711)
    assert name(near)[0] == "renamed"
    assert name(near, 11) == ("customer 2", NEAR)
    near.clear()
    assert kept(near) == near.counts.bytes == 0
    assert name(near, 11)[0] == "renamed"


@pytest.mark.parametrize("everything", [False, True])
def test_a_read_under_way_does_not_bring_back_what_is_invalidated(
    cache: MeshCache, clock: Clock, everything: bool
) -> None:
    meanwhile: list[Callable[[], None]] = []

    def make(row: Any) -> Any:
        # After the answer has come, before it is kept.
        for do in meanwhile:
            do()
        return row

    near = near_view(cache, clock, make=make)
    meanwhile.append(near.clear if everything else lambda: near.invalidate(1))
    assert near.get_many([1, 2])[1].origin == HIT
    meanwhile.clear()
    assert near.get(1).origin == HIT
    assert near.get(2).origin == (HIT if everything else NEAR)


def test_a_slower_read_does_not_replace_a_later_one(cache: MeshCache, shop: Shop, clock: Clock) -> None:
    meanwhile: list[Callable[[], object]] = []

    def make(row: Any) -> Any:
        while meanwhile:
            meanwhile.pop()()
        return row

    near = near_view(cache, clock, make=make)

    def later() -> None:
        shop.run(RENAME)
        clock.now += 1
        shop.refresh("order_card")
        assert name(near) == ("renamed", HIT)

    meanwhile.append(later)
    assert name(near) == ("customer 2", HIT)
    assert name(near) == ("renamed", NEAR)


def test_a_validation_does_not_drop_what_was_read_meanwhile(
    cache: MeshCache, shop: Shop, clock: Clock
) -> None:
    meanwhile: list[Callable[[], object]] = []

    def now() -> float:
        # Read last before the question is sent.
        if len(meanwhile) == 1:
            meanwhile.pop()()
        elif meanwhile:
            meanwhile.pop()
        return clock.now

    near = near_view(cache, now)

    def another_way() -> None:
        shop.run("update customers set name = 'renamed' where id = 3")
        near.invalidate(2)
        assert [near.get(2).origin for _ in range(2)] == [STALE, HIT]

    near.get_many([1, 2])
    near.get_many([1, 2])
    clock.now += BOUND + 0.01
    # Before that it looks twice whether it may serve what it has.
    meanwhile += [another_way, lambda: None, lambda: None]
    assert name(near) == ("customer 2", NEAR)
    assert name(near, 2) == ("renamed", NEAR)
    assert near.counts.validated == 1


def test_what_cannot_be_validated_is_read(near: NearView[Any], shop: Shop, clock: Clock) -> None:
    near.get_many([1, 2])
    shop.run("alter view meshcache.order_card_hits rename to elsewhere")
    clock.now += BOUND + 0.01
    assert name(near) == ("customer 2", BYPASS)
    # What was found to be no hit is out of the way.
    assert kept(near) == 1
    shop.run("alter view meshcache.elsewhere rename to order_card_hits")
    assert [near.get(order).origin for order in (1, 1, 2)] == [HIT, NEAR, NEAR]


def test_who_waited_for_a_validation_in_vain_reads(near: NearView[Any], shop: Shop, clock: Clock) -> None:
    near.get_many([1, 2])
    clock.now += BOUND + 0.01
    waiting = "from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    threads: list[int] = []

    def second() -> Origin:
        threads.append(threading.get_ident())
        return near.get(2).origin

    def in_line() -> bool:
        return bool(threads) and sys._current_frames()[threads[0]].f_code.co_name == "_resolve"

    with shop.connect(autocommit=False) as locker, ThreadPoolExecutor(2) as pool:
        locker.execute("lock table meshcache_data.order_card in access exclusive mode")
        one = pool.submit(lambda: near.get(1).origin)
        eventually(lambda: shop.value(f"select count(*) = 1 {waiting}"), "the first one asks")
        other = pool.submit(second)
        eventually(in_line, "the second one waits for the first")
        shop.run(f"select pg_cancel_backend(pid) {waiting}")
        eventually(lambda: shop.value(f"select count(*) = 2 {waiting}"), "both read")
        locker.rollback()
        assert [one.result(), other.result()] == [HIT, HIT]
    assert near.counts.validated == 0


def test_at_most_so_many_entries(cache: MeshCache, clock: Clock) -> None:
    near = near_view(cache, clock, max_entries=3)
    for order in (1, 2, 3):
        near.get(order)
    # All have been here once; the one that is used goes to the end of the queue.
    near.get(4)
    assert near.get(2).origin == NEAR
    near.get(5)
    assert (kept(near), near.counts.evicted) == (3, 2)
    assert near.get(2).origin == NEAR
    near.get_many(range(1, 51))
    assert (kept(near), near.counts.evicted) == (3, 2 + 47)


def test_at_most_so_many_bytes(cache: MeshCache, shop: Shop, clock: Clock) -> None:
    shop.run(
        "update customers set name = repeat('x', 1000)",
        "update customers set name = repeat('y', 5000) where id = 2",
    )
    shop.refresh("order_card")
    near = near_view(cache, clock, max_bytes=3500)
    near.get_many([2, 3, 4])
    counts = near.counts
    assert counts.entries == 3
    assert 3000 < counts.bytes < 3500
    near.get(5)
    assert (kept(near), near.counts.evicted) == (3, 1)
    # One that is larger than everything drives nobody out.
    assert [near.get(1).origin for _ in range(2)] == [HIT, HIT]
    assert (kept(near), near.counts.evicted) == (3, 1)
    near.clear()
    assert near.counts.bytes == 0


def test_two_bounds_side_by_side(cache: MeshCache, shop: Shop, clock: Clock) -> None:
    short, long = near_view(cache, clock, bound=2), near_view(cache, clock, bound=20)
    assert name(short)[0] == name(long)[0] == "customer 2"
    shop.run(RENAME)
    clock.now += 2.5
    assert (name(short)[0], name(long)) == ("renamed", ("customer 2", NEAR))
    clock.now += 17.5
    assert name(long) == ("customer 2", NEAR)
    clock.now += 0.5
    assert name(long)[0] == "renamed"


def test_an_answer_that_takes_longer_than_the_bound_is_too_old(
    cache: MeshCache, shop: Shop, wire: Wire
) -> None:
    # A round trip takes one; what counts is the time before it.
    near = near_view(cache, lambda: float(wire.all_trips()), bound=0.5)
    for _ in range(3):
        assert name(near) == ("customer 2", HIT)
    assert near.counts.validated == 2
    shop.run(RENAME)
    assert name(near) == ("renamed", STALE)


def test_keys_of_several_columns_and_of_text(cache: MeshCache, shop: Shop, clock: Clock) -> None:
    lines = """
-- name: line
-- key: order_id, sku
-- coverage: complete
select l.order_id, l.sku, count(*) as n from order_lines as l group by l.order_id, l.sku
"""
    shop.apply(*SHOP, lines)
    shop.refresh("line")
    near = near_view(cache, clock, "line")
    key = shop.rows("select l.order_id, l.sku from order_lines as l limit 1")[0]
    assert [near.get(*key).origin for _ in range(2)] == [HIT, NEAR]
    cities = near_view(cache, clock, "city_list")
    assert [cities.get("Bonn").origin for _ in range(2)] == [HIT, NEAR]
    clock.now += BOUND + 0.01
    assert [near.get_many([key])[key].origin, cities.get("Bonn").origin] == [NEAR, NEAR]
    with pytest.raises(InvalidKey):
        near.get(key[0])


def test_a_wrong_key_is_wrong_whatever_is_in_memory(near: NearView[Any]) -> None:
    name(near)
    for key in ((), (1, 2), ("one",), (True,), (1.0,), ([1],), (2**70,)):
        with pytest.raises(InvalidKey):
            near.get(*key)
    with pytest.raises(InvalidKey):
        near.get_many([1, "one"])
    assert name(near) == ("customer 2", NEAR)
    assert kept(near) == 1


def test_a_key_in_another_spelling_is_asked_for(near: NearView[Any], clock: Clock) -> None:
    assert [near.get(1).origin, near.get("1").origin, near.get("1").origin] == [HIT, HIT, NEAR]
    # Both are validated by the key that the row has.
    clock.now += BOUND + 0.01
    assert near.get(1).origin == near.get("1").origin == NEAR


def test_a_day_that_is_named_is_another_one_tomorrow(cache: MeshCache, shop: Shop, clock: Clock) -> None:
    shop.run(
        "create table visits (day date primary key, n integer)", "insert into visits values (current_date, 1)"
    )
    shop.apply(
        *SHOP, "-- name: visit\n-- key: day\n-- coverage: complete\nselect v.day, v.n from visits as v"
    )
    shop.refresh("visit")
    near = near_view(cache, clock, "visit")
    assert [near.get("today").origin for _ in range(2)] == [HIT, HIT]
    day = near.get("today").unwrap()["day"]
    assert [near.get(day).origin for _ in range(2)] == [HIT, NEAR]
    assert kept(near) == 1


def test_a_rollup_has_none(cache: MeshCache, clock: Clock) -> None:
    with pytest.raises(DefinitionError, match="rollup"):
        cache.near(define(SKU_SALES)[0], max_staleness=1)
    near = near_view(cache, clock, "sku_sales")
    with pytest.raises(DefinitionError, match="rollup"):
        near.get("sku 1")


@pytest.mark.parametrize(
    ("given", "seconds"), [("500ms", 0.5), ("1m30s", 90), (2, 2), (0.25, 0.25), (timedelta(minutes=1), 60)]
)
def test_how_a_bound_is_given(given: Any, seconds: float) -> None:
    assert seconds_of(given) == seconds


@pytest.mark.parametrize(
    "given", [0, -1, "0s", "soon", "", "1", None, float("inf"), float("nan"), timedelta(), timedelta(-1)]
)
def test_what_is_no_bound(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="max_staleness"):
        seconds_of(given)


def test_limits_that_are_none(cache: MeshCache) -> None:
    for limits in ({"max_entries": 0}, {"max_bytes": 0}):
        with pytest.raises(ConfigurationError):
            cache.near("order_card", max_staleness="1s", **limits)


def end_backends(shop: Shop) -> None:
    shop.run(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() "
        "and pid <> pg_backend_pid()"
    )


def test_connections_that_were_lost(
    near: NearView[Any], engine: Engine, shop: Shop, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with engine.connect(), engine.connect():
        # From here on two wait in the pool.
        name(near)
    end_backends(shop)
    assert name(near) == ("customer 2", NEAR)
    clock.now += BOUND + 0.01
    assert name(near) == ("customer 2", NEAR)
    assert near.counts.validated == 1
    end_backends(shop)
    assert name(near, 3) == ("customer 4", HIT)
    assert caplog.records == []


def test_a_server_that_is_down_and_comes_back(crash_shop: CrashShop, clock: Clock) -> None:
    with MeshCache(own_engine=crash_shop.engine(), settings=Settings()) as cache:
        near = near_view(cache, clock)
        near.get_many([1, 2])
        crash_shop.server.kill()
        assert name(near) == ("customer 2", NEAR)
        clock.now += BOUND + 0.01
        for _ in range(2):
            with pytest.raises(ConnectionFailed):
                near.get(1)
        crash_shop.server.start()
        # The rows are gone, and so is the time in which their versions meant anything.
        assert name(near) == ("customer 2", BYPASS)
        crash_shop.warm()
        near.get(1)
        assert near.get(2).origin == HIT
        assert near.counts.validated == 0


def test_a_clean_start_is_another_era(crash_shop: CrashShop, clock: Clock) -> None:
    with MeshCache(own_engine=crash_shop.engine(), settings=Settings()) as cache:
        near = near_view(cache, clock)
        name(near)
        crash_shop.server.restart("fast")
        clock.now += BOUND + 0.01
        assert name(near) == ("customer 2", HIT)
        assert (near.counts.validated, near.counts.dropped) == (0, 1)


def test_a_role_reads_what_it_was_granted(bare_shop: Shop, clock: Clock) -> None:
    role = f"near_{os.getpid()}_{threading.get_ident()}"
    names = sql.Identifier(role)
    with bare_shop.connect() as owner:
        owner.execute(sql.SQL("create role {}").format(names))
        try:
            bare_shop.apply(ORDER_CARD.replace("-- key:", f"-- grant: {role}\n-- key:"), CUSTOMER_PAGE)
            bare_shop.refresh("order_card", "customer_page")
            engine = create_engine(parse_url(bare_shop.dsn), poolclass=NullPool)

            @event.listens_for(engine, "connect")
            def become(raw: psycopg.Connection[Any], _record: object) -> None:
                raw.execute(sql.SQL("set session authorization {}").format(names))
                raw.commit()

            cache = MeshCache(own_engine=engine, settings=Settings(flush_seconds=3600))
            near = near_view(cache, clock)
            assert [name(near), name(near)] == [("customer 2", HIT), ("customer 2", NEAR)]
            clock.now += BOUND + 0.01
            assert name(near) == ("customer 2", NEAR)
            pages = near_view(cache, clock, define(CUSTOMER_PAGE)[0])
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                pages.get(1)
        finally:
            owner.execute(sql.SQL("drop owned by {0} cascade; drop role {0}").format(names))


def test_one_validates_for_all_that_wait(near: NearView[Any], wire: Wire, clock: Clock) -> None:
    orders = range(1, 9)
    for _ in range(2):
        near.get_many(orders)
    clock.now += BOUND + 0.01
    wire.trips()
    together = threading.Barrier(len(orders))

    def ask(order: int) -> Origin:
        together.wait()
        return near.get(order).origin

    assert in_threads([partial(ask, order) for order in orders]) == [NEAR] * len(orders)
    assert wire.trips() == 1
    assert near.counts.validated == len(orders)


def test_threads_beside_a_writer(cache: MeshCache, shop: Shop) -> None:
    """The clock shows n as soon as n is committed, so no answer may be below the clock less the bound."""
    clock, bound, last = Clock(), 3, 150
    clock.now = 0
    near = near_view(cache, clock, make=lambda row: int(row["customer_name"]), bound=bound, max_entries=4)
    shop.run("update customers set name = '0'")
    shop.refresh("order_card")

    def write() -> None:
        with shop.connect() as connection:
            for number in range(1, last + 1):
                connection.execute("update customers set name = %s", (str(number),))
                if number % 20 == 0:
                    connection.execute("call meshcache.sweep()")
                clock.now = number

    def read(seed: int) -> list[tuple[float, int]]:
        random, late = Random(seed), []  # noqa: S311
        while clock.now < last:
            since = clock.now
            keys = random.sample(range(1, 7), 2)
            found = [near.get(keys[0]), *near.get_many(keys).values()]
            late += [(since, one.unwrap()) for one in found if one.unwrap() < since - bound]
        return late

    assert in_threads([write, *(partial(read, seed) for seed in range(4))])[1:] == [[]] * 4
    assert near.counts.entries <= 4
    assert near.counts.hits > 0


def test_a_child_process_has_its_own_connections(
    near: NearView[Any], cache: MeshCache, shop: Shop, clock: Clock
) -> None:
    def backend() -> str:
        with cache.autocommit() as connection:
            return str(connection.exec_driver_sql("select pg_backend_pid()").scalar_one())

    near.get_many([1, 2])
    own = backend()
    turn = near._turn
    turn.acquire()
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        # Nothing of the test may go on here, whatever happens.
        try:
            # Who waits for a lock that nobody has waits for ever.
            signal.alarm(60)
            answers = [name(near), name(near, 3)]
            clock.now += BOUND + 0.01
            answers += [name(near)]
            said = [*(origin for _, origin in answers), "shared" if backend() == own else "own"]
            os.write(into, " ".join(said).encode())
        finally:
            os._exit(0)
    turn.release()
    os.close(into)
    os.waitpid(child, 0)
    with os.fdopen(out) as pipe:
        assert pipe.read() == "near hit near own"
    shop.run(RENAME)
    clock.now += BOUND + 0.01
    assert name(near)[0] == "renamed"


@pytest.mark.parametrize("seed", range(6))
def test_every_answer_was_right_within_the_bound(cache: MeshCache, shop: Shop, seed: int) -> None:
    """Random steps against a model: what each order's customer was called, and since when."""
    random, clock = Random(seed), Clock()  # noqa: S311
    views = [
        near_view(cache, clock, make=lambda row: row["customer_name"], bound=bound, max_entries=size)
        for bound, size in ((1, 100), (BOUND, 3), (30, 100))
    ]
    bounds = (1, BOUND, 30)
    keys = range(1, 6)
    # Order n is of customer n + 1.
    history: dict[int, list[tuple[float, object]]] = {
        order: [(float("-inf"), f"customer {order + 1}")] for order in keys
    }
    writer = shop.connect(autocommit=False)
    pending: dict[int, object] = {}
    origins: list[Origin] = []

    def check(near: NearView[Any], bound: float, order: int, result: Any) -> None:
        origins.append(result.origin)
        past = history[order]
        if result.origin != NEAR:
            assert result.value == past[-1][1]
            return
        first = max(n for n, (since, _) in enumerate(past) if since <= clock.now - bound)
        assert result.value in [value for _, value in past[first:]], (order, near.counts)

    for _ in range(400):
        what = random.choices(
            ("write", "delete", "commit", "rollback", "advance", "get", "many", "forget", "sweep", "refresh"),
            (10, 2, 12, 3, 15, 60, 15, 2, 2, 1),
        )[0]
        order = random.choice(keys)
        near, bound = random.choice(list(zip(views, bounds, strict=True)))
        if what == "write":
            # Back where it was, too: the same content may come again.
            value = f"name {random.randrange(3)}"
            if writer.execute("update customers set name = %s where id = %s", (value, order + 1)).rowcount:
                gone = pending.get(order, history[order][-1][1]) is MISSING
                pending[order] = MISSING if gone else value
        elif what == "delete":
            writer.execute("delete from orders where id = %s", (order,))
            pending[order] = MISSING
        elif what == "commit":
            writer.commit()
            for changed, now in pending.items():
                history[changed].append((clock.now, now))
            pending = {}
        elif what == "rollback":
            writer.rollback()
            pending = {}
        elif what == "advance":
            clock.now += random.choice((0.3, 0.7, 2, 11))
        elif what == "get":
            check(near, bound, order, near.get(order))
        elif what == "many":
            wanted = random.sample(keys, 3)
            for key, result in near.get_many(wanted).items():
                check(near, bound, key, result)
        elif what == "forget":
            near.invalidate(order)
        elif not pending:
            shop.sweep() if what == "sweep" else shop.refresh("order_card", mode="stale")
    writer.rollback()
    assert {HIT, STALE, NEAR} <= set(origins)
    assert sum(near.counts.validated for near in views) > 0
    assert sum(near.counts.dropped for near in views) > 0
