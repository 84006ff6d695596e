"""A bank whose transactions are played in every order of their steps, through the cache or on the source."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import LiteralString

import psycopg
from psycopg import errors, sql

from tests.fixtures.fix_cache import refresh, sweep
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
