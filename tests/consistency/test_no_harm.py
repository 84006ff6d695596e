"""The cache costs the application no wait, no deadlock and no 40001: the same schedules with and without it.

A schedule is a seed: several writers on the same few rows, at all isolation levels, who wait for each
other, run into deadlocks and lose against each other. It is stepped one statement at a time, and what
became of each step is written down. With the cache attached, three views depend on the same hot parent,
fills stay open, a reader stays open, sweeps and refreshes come in between: nothing of what the writers met
may be different.
"""

import random
import re
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import LiteralString

import psycopg
import pytest
from psycopg import errors
from psycopg.pq import TransactionStatus

from meshcache_pg.embedded import Installation, PrivateServer
from tests.consistency.stepping import Stepped
from tests.consistency.waiting import waiting
from tests.fixtures.fix_db import TEST_SETTINGS
from tests.fixtures.fix_embedded import eventually
from tests.fixtures.fix_shop import KEYS, SHOP, Shop, check, in_threads, origin, scalar

LEVELS = ("read committed", "repeatable read", "serializable")

# On customers 1 to 3 and what hangs under them: 2 of 3 statements meet somebody else's row sooner or later.
WRITES: tuple[LiteralString, ...] = (
    "update customers set name = name || '.' where id = {customer}",
    "update customers set note = 'matters to no view' where id = {customer}",
    "update orders set status = 'paid' where id = {order}",
    "update orders set customer_id = {customer} where id = {order}",
    "update order_lines set quantity = quantity % 5 + 1 where order_id = {order}",
    "insert into order_lines values ({new}, {order}, 'new', 1, 1)",
    "insert into orders (id, customer_id) values ({new}, {customer})",
    "insert into customers (id, name) values ({customer}, 'x') on conflict (id) do update set name = 'y'",
    "delete from order_lines where id = (select max(id) from order_lines where order_id = {order})",
    "delete from orders where id = {order} and id > 1000",
    "select sum(quantity) from order_lines where order_id = {order}",
    "select name from customers where id = {customer} for share",
)


# What a writer is logged to wait for. A file that grows is waited for with and without a cache.
WAIT = re.compile(r"writer: LOG:  process \d+ still waiting for (?:\w+) on (?!extension)(\w+)")


@dataclass
class Trace:
    """What became of every step of one schedule."""

    shop: Shop
    seed: int
    cached: bool
    steps: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)  # noqa: S311 - a schedule is no secret
        self.observer = self.shop.connect()
        # Small tables are read whole, and then SERIALIZABLE writers depend on everything. Circles are looked
        # for here: whom the server would choose, and when, is a matter of milliseconds.
        options = "-c enable_seqscan=off -c deadlock_timeout=1h"
        self.writers = [Stepped(self.shop.connect(options=options), self.observer) for _ in range(4)]
        self.filler, self.reader = self.shop.connect(autocommit=False), self.shop.connect()
        self.waiting: set[int] = set()

    def run(self, steps: int) -> "Trace":
        for number in range(steps):
            if self.cached:
                self._maintain(number)
            self._step(number)
            self._settle()
        # Those that wait go on when the others have ended.
        while any(w.connection.info.transaction_status != TransactionStatus.IDLE for w in self.writers):
            for writer in self.writers:
                if not writer.is_running:
                    self._end(writer, "rollback")
            self._settle()
        for connection in (self.observer, self.filler, self.reader, *(w.connection for w in self.writers)):
            connection.close()
        return self

    def _note(self, index: int, what: str) -> None:
        self.steps.append(f"writer {index}: {what}")
        self.counts[what] += 1

    def _step(self, number: int) -> None:
        index, draw = self.random.randrange(len(self.writers)), self.random.random()
        level, write = self.random.choice(LEVELS), self.random.choice(WRITES)
        values = {
            "customer": self.random.randint(1, 3),
            "order": self.random.choice((1, 2, 10, 11, 12, 20)),
            "new": 1001 + number,
        }
        writer = self.writers[index]
        if writer.is_running:
            return
        status = writer.connection.info.transaction_status
        if status == TransactionStatus.INERROR:
            self._end(writer, "rollback")
        elif status == TransactionStatus.IDLE:
            self._start(index, f"begin isolation level {level}")
        elif draw < 0.15:
            self._start(index, "commit")
        elif draw < 0.2:
            self._start(index, "rollback")
        else:
            self._start(index, write.format(**values))

    def _start(self, index: int, statement: str) -> None:
        self.steps.append(f"writer {index}: {statement}")
        try:
            if self.writers[index].start(statement) is not None:
                self._note(index, "waits")
                blockers = self._blockers()
                self.waiting.add(index)
                if any(blockers[index] & blockers[other] for other in self.waiting - {index}):
                    # Both would wake up at once, and which of them comes first is the machine's choice.
                    self._note(index, "gives up behind somebody who waits for the same")
                    self._cancel(self.writers[index])
                    self.waiting.remove(index)
        except psycopg.Error as error:
            self._note(index, type(error).__name__)

    def _settle(self) -> None:
        """Let everybody go on who can; of those who wait for each other, all give up."""
        while True:
            outcomes: dict[int, str] = {}
            looked_at = None
            # One that goes on may let another go on: until nobody does. Who was first is not written down.
            while looked_at != self.waiting:
                looked_at = set(self.waiting)
                for index in sorted(looked_at):
                    try:
                        if self.writers[index].look() is None:
                            outcomes[index] = "goes on"
                    except psycopg.Error as error:
                        outcomes[index] = type(error).__name__
                    if not self.writers[index].is_running:
                        self.waiting.remove(index)
            for index in sorted(outcomes):
                self._note(index, outcomes[index])
            circle = self._circle()
            if not circle:
                return
            self.steps.append(f"deadlock of {circle}")
            self.counts["deadlock"] += 1
            for index in circle:
                self._cancel(self.writers[index])
            self.waiting.difference_update(circle)

    def _cancel(self, writer: Stepped) -> None:
        self.observer.execute("select pg_cancel_backend(%s)", (writer.connection.info.backend_pid,))
        while writer.is_running:
            # It may get through before the cancellation gets to it.
            with suppress(errors.QueryCanceled):
                writer.look()
        self._end(writer, "rollback")

    def _blockers(self) -> dict[int, set[int]]:
        """For whom each writer waits at this moment."""
        pids = {writer.connection.info.backend_pid: index for index, writer in enumerate(self.writers)}
        return {
            pids[pid]: {pids[blocker] for blocker in blocking if blocker in pids}
            for pid, blocking in self.observer.execute(
                "select pid, pg_blocking_pids(pid) from unnest(%s::integer[]) as pid", (list(pids),)
            )
        }

    def _circle(self) -> list[int]:
        """Writers who wait for themselves, by way of others, at this moment."""
        reached = self._blockers()
        for _ in self.writers:
            for others in reached.values():
                others.update(*(reached[other] for other in others))
        return sorted(index for index, others in reached.items() if index in others)

    def _end(self, writer: Stepped, how: LiteralString) -> None:
        if writer.connection.info.transaction_status != TransactionStatus.IDLE:
            writer.connection.execute(how)

    def _maintain(self, number: int) -> None:
        """Whatever the cache does beside the application; nothing here draws from the schedule's numbers."""
        if number % 12 == 0:
            self.filler.commit()
            self.observer.execute("call meshcache.sweep()")
            self.observer.execute("call meshcache.refresh('order_card', null, 'all', 0)")
            self.observer.execute("call meshcache.refresh('city_list', null, 'stale', 0)")
        if number % 12 == 3:
            filled = scalar(self.filler, "select meshcache.customer_page_fill(array[1, 2, 3, 4])")
            self.counts["cache: filled"] += filled
        if number % 40 == 0:
            self.reader.execute("rollback")
            self.reader.execute("begin isolation level repeatable read")
        if number % 5 == 0:
            for view in KEYS:
                key = "Bonn" if view == "city_list" else 1
                self.counts[f"cache: {origin(self.reader, view, key)}"] += 1


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
