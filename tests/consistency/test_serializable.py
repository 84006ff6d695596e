"""SERIALIZABLE through the cache: to PostgreSQL's conflict detection a hit is a read of the source.

Every order of two or three transactions is stepped one statement at a time, once with all reads answered by
the cache and once by the source. What committed must be equivalent to some serial order: what was read is
compared with all of them. REPEATABLE READ, which promises less, shows that the orders can tell.

A transaction may fail without need: PostgreSQL notes reads by index page. The orders of two transactions
that have no key in common show how often it does, on tables that are large enough for the source to be
precise.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations, product
from typing import LiteralString

import psycopg
import pytest
from psycopg import errors, sql

from tests.fixtures.fix_cache import apply_definitions, refresh, sweep
from tests.fixtures.fix_db import Database

# Far more than a page holds: the two keys share no page of the source, whose own reads would meet there.
ROWS = 3000
KEYS = (100, 2900)

TABLES: LiteralString = """
create table holder (id integer primary key, name text not null);
create table branch (id integer primary key, amount integer not null);
create table account (
    id integer primary key, holder_id integer not null, branch_id integer not null, amount integer not null
);
create index on account (holder_id);
create table entry (id integer primary key, account_id integer not null, amount integer not null);
create index on entry (account_id);
insert into holder select n, 'holder ' || n from generate_series(1, 3000) as n;
insert into branch select n, 0 from generate_series(1, 3000) as n;
insert into account select n, n, n, 0 from generate_series(1, 3000) as n;
insert into entry select n, n, 0 from generate_series(1, 3000) as n;
analyze;
"""

DEFINITIONS = (
    """
-- name: by_key
-- key: id
select h.id, (select sum(a.amount) from account as a where a.holder_id = h.id) as amount from holder as h
""",
    """
-- name: carried
-- key: id
select a.id, b.amount from account as a inner join branch as b on b.id = a.branch_id
""",
    """
-- name: linked
-- key: id
select h.id, (
    select sum(e.amount) from account as a inner join entry as e on e.account_id = a.id
    where a.holder_id = h.id
    ) as amount
from holder as h
""",
    """
-- name: listed
-- key: id
-- coverage: complete
-- tenant: holder_id
select a.id, a.holder_id, a.amount from account as a
""",
)

# What a change of each view's value is; they all start from nothing, at every key.
WRITES: dict[str, LiteralString] = {
    "by_key": "update account set amount = %s where holder_id = %s",
    "carried": "update branch set amount = %s where id = %s",
    "linked": "update entry set amount = %s where account_id = %s",
    "listed": "update account set amount = %s where id = %s",
}
SOURCE_READS: dict[str, LiteralString] = {
    view: "select amount from meshcache.{} where id = %s".replace("{}", f"{view}_source")
    for view in ("by_key", "carried", "linked")
} | {"listed": "select amount from meshcache.listed_source where holder_id = %s"}

# What to do (read, write or end), and to which of KEYS. The steps of a transaction keep their order.
Step = tuple[str, int]
Script = Mapping[str, Sequence[Step]]

WRITE_SKEW: Script = {
    "first": (("read", 0), ("write", 1), ("end", 0)),
    "second": (("read", 1), ("write", 0), ("end", 0)),
}
# Fekete, O'Neil, O'Neil 2004: without the one that only reads, first and second would be serializable.
READ_ONLY: Script = {
    "first": (("read", 1), ("write", 1), ("end", 0)),
    "second": (("read", 0), ("read", 1), ("write", 0), ("end", 0)),
    "reader": (("read", 0), ("read", 1), ("end", 0)),
}
DISJOINT: Script = {
    "first": (("read", 0), ("write", 0), ("end", 0)),
    "second": (("read", 1), ("write", 1), ("end", 0)),
}


def orders(left: Mapping[str, int]) -> Iterator[tuple[str, ...]]:
    """All orders in which transactions with so many steps can go."""
    if not any(left.values()):
        yield ()
    for name, steps in left.items():
        if steps:
            for rest in orders({**left, name: steps - 1}):
                yield (name, *rest)


@dataclass
class Bank:
    """The database, the way to read it, and what came of the orders that were played on it."""

    database: Database
    view: str
    cached: bool
    level: LiteralString = "serializable"
    seqscan: bool = False
    sweeps: bool = False
    done: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.control = self.database.connect()
        options = "-c lock_timeout=5s -c jit=off"
        if self.seqscan:
            options += " -c enable_indexscan=off -c enable_bitmapscan=off -c enable_indexonlyscan=off"
        self.connections = [self.database.connect(options=options) for _ in range(3)]
        self.amount = 0

    def read(self, connection: psycopg.Connection, key: int) -> int:
        """The amount of a key; through the cache it must be a hit."""
        if not self.cached:
            row = connection.execute(SOURCE_READS[self.view], (key,)).fetchone()
        elif self.view != "listed":
            row = connection.execute(
                sql.SQL("select amount, _origin from {}(%s)").format(
                    sql.Identifier("meshcache", f"{self.view}_get")
                ),
                (key,),
            ).fetchone()
        else:
            quiet = "select amount, 'hit' from meshcache.listed_quiet where holder_id = %s"
            row = connection.execute(sql.SQL(quiet), (key,)).fetchone()
            self.done["quiet" if row else "not quiet"] += 1
            row = (
                row
                or connection.execute(
                    "select amount, _origin from meshcache.listed_rows where holder_id = %s", (key,)
                ).fetchone()
            )
        assert row is not None
        if self.cached:
            assert row[1] == "hit"
            self.done["hits"] += 1
        value: int = row[0]
        return value

    def warm(self) -> None:
        """Both keys are hits for whoever comes now."""
        if self.sweeps:
            assert sweep(self.control) == "done"
        elif self.view == "listed":
            refresh(self.control, "listed", mode="stale")
        else:
            self.control.execute(
                sql.SQL("select {}(%s::integer[])").format(sql.Identifier("meshcache", f"{self.view}_fill")),
                (list(KEYS),),
            )

    def close(self) -> None:
        for connection in (self.control, *self.connections):
            connection.close()

    def play(self, script: Script, order: Sequence[str]) -> bool:
        """One order; returns whether nobody failed. What committed is found to be serializable or counted."""
        before = {}
        for position, key in enumerate(KEYS):
            self.amount += 1
            self.control.execute(WRITES[self.view], (self.amount, key))
            before[position] = self.amount
        self.warm()
        connections = dict(zip(script, self.connections, strict=False))
        at = dict.fromkeys(script, 0)
        history: dict[str, list[tuple[str, int, int]]] = {name: [] for name in script}
        failed = set()
        for name in order:
            what, position = script[name][at[name]]
            connection = connections[name]
            at[name] += 1
            if name in failed:
                continue
            try:
                if at[name] == 1:
                    connection.execute(sql.SQL("begin isolation level {}").format(sql.SQL(self.level)))
                if what == "read":
                    history[name].append((what, position, self.read(connection, KEYS[position])))
                elif what == "write":
                    self.amount += 1
                    connection.execute(WRITES[self.view], (self.amount, KEYS[position]))
                    history[name].append((what, position, self.amount))
                else:
                    connection.execute("commit")
            except errors.SerializationFailure:
                failed.add(name)
                connection.execute("rollback")
            if what == "end":
                self.warm()
        committed = {name: steps for name, steps in history.items() if name not in failed}
        self.done["orders"] += 1
        self.done["failed"] += len(failed)
        if not serializable(committed, before):
            self.done["anomalies"] += 1
        return not failed


def serializable(history: Mapping[str, list[tuple[str, int, int]]], before: dict[int, int]) -> bool:
    """Whether the transactions, one after the other in some order, would read what they have read."""

    def fits(order: Sequence[str]) -> bool:
        values = dict(before)
        for name in order:
            for what, position, value in history[name]:
                if what == "write":
                    values[position] = value
                elif values[position] != value:
                    return False
        return True

    return any(fits(order) for order in permutations(history))


def all_orders(script: Script) -> list[tuple[str, ...]]:
    return list(orders({name: len(steps) for name, steps in script.items()}))


@pytest.fixture
def bank(fresh: Database) -> Database:
    """Nothing is cached yet but the complete view."""
    connection = fresh.connect()
    connection.execute(TABLES)
    apply_definitions(fresh, *DEFINITIONS)
    refresh(connection, "listed")
    for (number,) in connection.execute("select m.id from meshcache.mark_table as m").fetchall():
        # It gives pages of an index back, at a moment that nobody chooses.
        connection.execute(
            sql.SQL("alter table {} set (autovacuum_enabled = off)").format(
                sql.Identifier("meshcache", f"mark_{number}")
            )
        )
    return fresh


def many_marks(connection: psycopg.Connection) -> None:
    """Thousands of pending marks of other keys, below the number that makes one wildcard of them."""
    for start in range(200, 2700, 500):
        for table, column in (("account", "id"), ("branch", "id"), ("entry", "id")):
            connection.execute(
                sql.SQL("update {} set amount = amount + 1 where {} between %s and %s").format(
                    sql.Identifier(table), sql.Identifier(column)
                ),
                (start, start + 499),
            )
    row = connection.execute("select count(*) from meshcache.wildcard_mark").fetchone()
    assert row == (0,)


def prepare(connection: psycopg.Connection, marks: str) -> None:
    """`new`: no mark was ever written. `swept`, `vacuumed`: many were. `many`: they are pending."""
    if marks == "new":
        return
    many_marks(connection)
    if marks != "many":
        assert sweep(connection) == "done"
    if marks == "vacuumed":
        connection.execute("vacuum (freeze, analyze)")


def assert_found_as_on_the_source(database: Database, view: str, *, seqscan: bool) -> None:
    source, cached = (Bank(database, view, way, seqscan=seqscan) for way in (False, True))
    for order in all_orders(WRITE_SKEW):
        assert cached.play(WRITE_SKEW, order) == source.play(WRITE_SKEW, order), order
    assert source.done["anomalies"] == cached.done["anomalies"] == 0
    # All but the two in which one transaction follows the other.
    assert cached.done["failed"] == 18
    assert cached.done["hits"] == 40
    source.close()
    cached.close()


@pytest.mark.parametrize("marks", ["new", "many"])
def test_write_skew_is_found_wherever_it_is_found_on_the_source(bank: Database, marks: str) -> None:
    prepare(bank.connect(), marks)
    for view in WRITES:
        assert_found_as_on_the_source(bank, view, seqscan=False)


@pytest.mark.slow
@pytest.mark.parametrize("seqscan", [False, True], ids=["index", "seqscan"])
@pytest.mark.parametrize("marks", ["new", "swept", "vacuumed", "many"])
def test_write_skew_is_found_whatever_the_marks_and_the_plan(
    bank: Database, marks: str, seqscan: bool
) -> None:
    prepare(bank.connect(), marks)
    for view in WRITES:
        assert_found_as_on_the_source(bank, view, seqscan=seqscan)


def test_write_skew_is_found_in_a_quiet_list(bank: Database) -> None:
    # Nothing is pending when both look, so that one look stands for that at every mark.
    cached = Bank(bank, "listed", cached=True, sweeps=True)
    order = ("first", "second", "first", "second", "first", "second")
    assert not cached.play(WRITE_SKEW, order)
    assert cached.done["quiet"] == 2
    assert cached.done["failed"] == 1


def test_repeatable_read_lets_write_skew_pass(bank: Database) -> None:
    for view, cached in product(WRITES, (False, True)):
        weaker = Bank(bank, view, cached, level="repeatable read")
        for order in all_orders(WRITE_SKEW):
            assert weaker.play(WRITE_SKEW, order)
        assert weaker.done["anomalies"] == 18
        weaker.close()


# The order of the paper: the reader sees the first's write and not the second's, which came before it.
CLASSIC = ("second", "second", "first", "first", "first", "reader", "reader", "reader", "second", "second")


def test_the_read_only_anomaly_is_found(bank: Database) -> None:
    for view, cached in product(WRITES, (False, True)):
        strict = Bank(bank, view, cached)
        assert not strict.play(READ_ONLY, CLASSIC)
        assert (strict.done["failed"], strict.done["anomalies"]) == (1, 0)
        weaker = Bank(bank, view, cached, level="repeatable read")
        assert weaker.play(READ_ONLY, CLASSIC)
        assert weaker.done["anomalies"] == 1
        strict.close()
        weaker.close()


def assert_none_passes(database: Database, view: str, chosen: Sequence[Sequence[str]]) -> None:
    source, cached = Bank(database, view, cached=False), Bank(database, view, cached=True)
    for order in chosen:
        fine = cached.play(READ_ONLY, order)
        assert source.play(READ_ONLY, order) or not fine, order
    assert source.done["anomalies"] == cached.done["anomalies"] == 0
    assert 0 < source.done["failed"] < len(chosen)


def test_the_read_only_anomaly_is_found_in_a_selection_of_all_orders(bank: Database) -> None:
    assert_none_passes(bank, "by_key", all_orders(READ_ONLY)[::61])


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("view", WRITES)
def test_the_read_only_anomaly_is_found_in_all_orders(bank: Database, view: str, part: int) -> None:
    assert_none_passes(bank, view, all_orders(READ_ONLY)[part::4])


def test_keys_that_have_nothing_in_common_do_not_fail_once_marks_were_many(bank: Database) -> None:
    # Until it is vacuumed, the index of the marks keeps its pages, and with them the keys apart.
    prepare(bank.connect(), "swept")
    for view, cached in product(("by_key", "carried"), (False, True)):
        both = Bank(bank, view, cached)
        for order in all_orders(DISJOINT):
            assert both.play(DISJOINT, order)
        both.close()


def test_keys_that_have_nothing_in_common_may_fail_in_a_small_table_of_marks(bank: Database) -> None:
    # As they do on any small table: all its keys are on one page of its index. No anomaly is the price.
    for view in WRITES:
        source, cached = Bank(bank, view, cached=False), Bank(bank, view, cached=True)
        for order in all_orders(DISJOINT):
            assert source.play(DISJOINT, order)
            cached.play(DISJOINT, order)
        assert cached.done["failed"] > 0
        assert cached.done["anomalies"] == 0
