"""The cache costs the application no wait, no deadlock and no 40001: the same schedules with and without it.

A schedule is a seed: several writers on the same few rows, at all isolation levels, who wait for each
other, run into deadlocks and lose against each other. It is stepped one statement at a time, and what
became of each step is written down. With the cache attached, three views depend on the same hot parent,
fills stay open, a reader stays open, sweeps and refreshes come in between: nothing of what the writers met
may be different.
"""

import re
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import LiteralString

import psycopg
import pytest
from psycopg import errors

from meshcache_pg.embedded import Installation, PrivateServer
from tests.consistency.trace import LEVELS, Trace
from tests.consistency.waiting import waiting
from tests.fixtures.fix_db import TEST_SETTINGS
from tests.fixtures.fix_embedded import eventually
from tests.fixtures.fix_shop import SHOP, Shop, check, in_threads

# What a writer is logged to wait for. A file that grows is waited for with and without a cache.
WAIT = re.compile(r"writer: LOG:  process \d+ still waiting for (?:\w+) on (?!extension)(\w+)")


def compare(bare: Shop, attached: Shop, seed: int, steps: int) -> Counter[str]:
    """Both databases have the shop; one has the cache. Returns what the writers met."""
    without = Trace(bare, seed, cached=False).run(steps)
    attached_trace = Trace(attached, seed, cached=True).run(steps)
    for number, (one, other) in enumerate(zip(without.steps, attached_trace.steps, strict=False)):
        context = "\n".join(without.steps[max(0, number - 15) : number])
        assert one == other, f"seed {seed}: without the cache {one!r}, with it {other!r}, after\n{context}"
    assert without.steps == attached_trace.steps
    assert attached_trace.counts["cache: hit"] > 0
    assert attached_trace.counts["cache: filled"] > 0
    attached.check()
    return without.counts


def rows(shop: Shop) -> list[list[tuple[object, ...]]]:
    return [
        shop.rows("select * from customers order by id"),
        shop.rows("select * from orders order by id"),
        shop.rows("select * from order_lines order by id"),
    ]


def play(server: PrivateServer, seeds: range, steps: int) -> Counter[str]:
    """Every seed on one pair of databases, which stay alike; the writers have to meet each other."""
    met: Counter[str] = Counter()
    for name in ("bare", "attached"):
        server.create_database(name)
    with Shop(server.dsn("bare")) as bare, Shop(server.dsn("attached")) as attached:
        for shop in (bare, attached):
            shop.build()
            shop.run("analyze")
        attached.apply(*SHOP)
        attached.warm()
        for seed in seeds:
            met += compare(bare, attached, seed, steps)
        assert rows(bare) == rows(attached)
    assert met["waits"]
    assert met["SerializationFailure"]
    assert met["deadlock"]
    return met


def test_a_schedule_meets_the_same_with_and_without_the_cache(cluster: PrivateServer) -> None:
    play(cluster, range(1, 5), 250)


def taken_back(connection: psycopg.Connection) -> None:
    """A write whose pipeline ends with an error."""
    with suppress(errors.DivisionByZero), connection.pipeline():
        connection.execute("update customers set name = 'taken back' where id = 2")
        connection.execute("select 1 / 0")


def test_pipelined_and_prepared_statements_read_what_they_wrote(shop: Shop) -> None:
    # Nobody waits for an answer between the statements, and the plans of the reads are kept.
    read: LiteralString = "select customer_name, _origin from meshcache.order_card_get(%s)"
    write: LiteralString = "update customers set name = %s where id = 2"
    with shop.connect(options="-c lock_timeout=1s") as connection:
        for _ in range(10):
            assert connection.execute(read, (1,), prepare=True).fetchone() == ("customer 2", "hit")
        for number in range(10):
            with connection.pipeline():
                before = connection.execute(read, (1,), prepare=True)
                written = connection.execute(write, (f"name {number}",), prepare=True)
                after = connection.execute(read, (1,), prepare=True)
                other = connection.execute(read, (2,), prepare=True)
                assert before.fetchone() != after.fetchone() == (f"name {number}", "stale")
                assert written.rowcount == 1
                assert other.fetchone() == ("customer 3", "hit")
            shop.check()
            shop.refresh("order_card", mode="stale")
            assert connection.execute(read, (1,), prepare=True).fetchone() == (f"name {number}", "hit")
        taken_back(connection)
        assert connection.execute(read, (1,), prepare=True).fetchone() == ("name 9", "hit")


def log(server: PrivateServer) -> str:
    return server.log_tail(10**9)


@dataclass
class Load:
    """Writers in threads who never need the same row, under one parent whose name another one changes."""

    server: PrivateServer
    shop: Shop
    level: str
    rounds: int = 60

    def run(self, *, cached: bool) -> Counter[str]:
        """Errors by class and logged waits of the writers."""
        begin = len(log(self.server))
        self.errors: Counter[str] = Counter()
        done = threading.Event()

        def write_all() -> None:
            try:
                in_threads([partial(self._write, number) for number in range(5)])
            finally:
                done.set()

        jobs: list[Callable[[], object]] = [write_all]
        if cached:
            jobs += [partial(self._maintain, done), partial(self._read, done)]
        in_threads(jobs)
        waits = Counter(WAIT.findall(log(self.server)[begin:]))
        return self.errors + Counter({f"waits for {what}": count for what, count in waits.items()})

    def _write(self, number: int) -> None:
        options = "-c application_name=writer -c enable_seqscan=off"
        options += f" -c default_transaction_isolation={self.level}"
        own = 1 + 10 * number  # an order of customer 2
        with self.shop.connect(autocommit=False, options=options) as connection:
            for turn in range(self.rounds):
                try:
                    if number == 0:
                        connection.execute("update customers set name = name || '.' where id = 2")
                    else:
                        connection.execute("update orders set status = status || '.' where id = %s", (own,))
                        connection.execute(
                            "insert into order_lines values (%s, %s, 'new', 1, 1)",
                            (10_000 * number + turn, own),
                        )
                    connection.commit()
                except psycopg.Error as error:
                    self.errors[type(error).__name__] += 1
                    connection.rollback()

    def _maintain(self, done: threading.Event) -> None:
        with self.shop.connect() as connection:
            while not done.is_set():
                connection.execute("select meshcache.customer_page_fill(array[1, 2, 3])")
                connection.execute("call meshcache.sweep()")
                connection.execute("call meshcache.refresh('order_card', null, 'all', 0)")

    def _read(self, done: threading.Event) -> None:
        with self.shop.connect(autocommit=False) as old, self.shop.connect() as connection:
            old.execute("set transaction isolation level repeatable read")
            while not done.is_set():
                for reader in (old, connection):
                    check(reader)


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
def test_writers_of_one_parent_never_wait_under_load(installation: Installation, level: str) -> None:
    settings = TEST_SETTINGS | {"log_lock_waits": "on", "deadlock_timeout": "20ms", "log_line_prefix": "%a: "}
    with PrivateServer(installation, settings=settings) as server:
        for name in ("bare", "attached"):
            server.create_database(name)
        quoted = level.replace(" ", r"\ ")
        with Shop(server.dsn("bare")) as bare, Shop(server.dsn("attached")) as attached:
            for shop in (bare, attached):
                shop.build()
                shop.run("analyze")
            attached.apply(*SHOP)
            attached.warm()
            without = Load(server, bare, quoted).run(cached=False)
            with_it = Load(server, attached, quoted).run(cached=True)
            if level == "serializable":
                # Tables of a page each: they depend on each other already there.
                without.pop("SerializationFailure", None)
                with_it.pop("SerializationFailure", None)
            assert (without, with_it) == (Counter(), Counter())
            attached.check()
            see_a_real_wait(server, attached)


def see_a_real_wait(server: PrivateServer, shop: Shop) -> None:
    """Two writers of one row: what the test above would find, if there were such a thing."""
    first = shop.connect(autocommit=False)
    second = shop.connect(options="-c application_name=writer")
    first.execute("update customers set name = 'first' where id = 2")
    with waiting(second, "update customers set name = 'second' where id = 2", first):
        eventually(lambda: "transaction" in WAIT.findall(log(server)), "the wait is logged")
        first.commit()


@pytest.mark.slow
@pytest.mark.parametrize("start", range(100, 160, 10))
def test_many_schedules_meet_the_same_with_and_without_the_cache(cluster: PrivateServer, start: int) -> None:
    play(cluster, range(start, start + 10), 400)
