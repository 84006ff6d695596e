"""What was acknowledged to the application must be there, and what was taken back must not: an account kept
outside the database, beside one inside it that each transaction writes to.

`ledger` is also a source table of a cached view, `ledger_twin` is not: whatever the cache's triggers did to
one of them would show as a difference.
"""

import threading
from typing import LiteralString

import psycopg

TABLES: LiteralString = """
create table ledger (writer integer, seq bigint, amount integer not null, primary key (writer, seq));
create table ledger_twin (writer integer, seq bigint, amount integer not null, primary key (writer, seq))
"""

# A view that every transaction of the run makes stale.
DEFINITION = """
-- name: ledger_total
-- key: writer
-- coverage: complete
select l.writer, count(*) as entries, sum(l.amount) as amount, max(l.seq) as last_seq
from ledger as l group by l.writer
"""

_WRITE: LiteralString = """
with entry as (
    insert into ledger (writer, seq, amount) values (%(writer)s, %(seq)s, %(amount)s)
    returning writer, seq, amount
)
insert into ledger_twin select e.writer, e.seq, e.amount from entry as e
"""

_DIFFERENT: LiteralString = """
(select l.* from ledger as l except all select t.* from ledger_twin as t)
union all
(select t.* from ledger_twin as t except all select l.* from ledger as l)
"""

Entry = tuple[int, int]


class LostWrites(AssertionError):
    """The database does not have what it acknowledged, or has what was taken back."""


class Ledger:
    """The account outside. An entry that is in neither set is under way, or nobody knows how it ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: dict[int, int] = {}
        self._committed: set[Entry] = set()
        self._undone: set[Entry] = set()

    def begin(self, writer: int) -> Entry:
        """A new entry, under way."""
        with self._lock:
            seq = self._last[writer] = self._last.get(writer, 0) + 1
            return writer, seq

    def write(self, connection: psycopg.Connection, entry: Entry) -> None:
        """Write the entry in the transaction that it stands for."""
        writer, seq = entry
        connection.execute(_WRITE, {"writer": writer, "seq": seq, "amount": seq % 97})

    def committed(self, entry: Entry) -> None:
        """The server has acknowledged it."""
        with self._lock:
            self._committed.add(entry)

    def undone(self, entry: Entry) -> None:
        """It can never have been committed."""
        with self._lock:
            self._undone.add(entry)

    def verify(self, connection: psycopg.Connection) -> int:
        """Compare with the database; returns how many acknowledged entries were found, raises LostWrites."""
        with self._lock:
            committed, undone = set(self._committed), set(self._undone)
        with connection.transaction():
            connection.execute("set transaction isolation level repeatable read")
            there = {(w, s) for w, s in connection.execute("select l.writer, l.seq from ledger as l")}
            different = connection.execute(_DIFFERENT).fetchall()
        if different:
            raise LostWrites(f"ledger and its twin differ: {different[:8]}")
        if lost := committed - there:
            raise LostWrites(f"{len(lost)} acknowledged transactions are gone: {sorted(lost)[:8]}")
        if back := undone & there:
            raise LostWrites(f"{len(back)} transactions that were rolled back are there: {sorted(back)[:8]}")
        return len(committed)
