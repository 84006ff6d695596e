"""One schedule of writers on the same few rows, and what became of each of its steps."""

import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import LiteralString

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus

from tests.consistency.stepping import Stepped
from tests.fixtures.fix_shop import KEYS, Shop, origin, scalar

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
                shared = any(blockers[index] & (blockers[other] | {other}) for other in self.waiting)
                self.waiting.add(index)
                if shared and not self._circle():
                    # Both would wake up, and who is first is the machine's choice.
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
