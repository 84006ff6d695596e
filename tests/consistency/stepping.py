"""Statements that may have to wait, without a thread: sent, looked at, taken up again when they are through.

Where a statement stands is asked of the server's lock table, never guessed from the time that it takes.
"""

import select
from dataclasses import dataclass, field

import psycopg
from psycopg.pq import ExecStatus

from tests.fixtures.fix_embedded import DEADLINE_SECONDS

# (lock class, number) of an advisory lock that is waited for; locks of other kinds go by their type.
Lock = tuple[int, int] | str

# Between two looks at the lock table. A statement that is through ends the wait at once.
_LOOK_AGAIN_SECONDS = 0.0005


@dataclass
class Stepped:
    """One connection whose current statement may be waiting for a lock.

    `observer` is another connection that is never in the middle of a statement.
    """

    connection: psycopg.Connection
    observer: psycopg.Connection
    value: object = None
    _running: bool = field(default=False, repr=False)

    @property
    def is_running(self) -> bool:
        return self._running

    def start(self, statement: str) -> Lock | None:
        """Send a statement; returns what it waits for, or None when it is through. Errors are raised."""
        assert not self._running
        self.connection.pgconn.send_query(statement.encode())
        while self.connection.pgconn.flush():
            pass
        self._running, self.value = True, None
        return self.look()

    def look(self) -> Lock | None:
        """The lock that the statement waits for by now, or None when it is through; `value` is then the
        first value of its last row.
        """
        if not self._running:
            return None
        pgconn = self.connection.pgconn
        for _ in range(int(DEADLINE_SECONDS / _LOOK_AGAIN_SECONDS)):
            select.select([pgconn.socket], [], [], _LOOK_AGAIN_SECONDS)
            pgconn.consume_input()
            if not pgconn.is_busy():
                self._take()
                return None
            found = self.observer.execute(
                "select l.locktype, l.classid::bigint, l.objid::bigint from pg_locks as l"
                " where l.pid = %s and not l.granted",
                (pgconn.backend_pid,),
            ).fetchone()
            if found is not None:
                return (found[1], found[2]) if found[0] == "advisory" else str(found[0])
        raise AssertionError("the statement neither ends nor waits for a lock")

    def _take(self) -> None:
        pgconn = self.connection.pgconn
        self._running = False
        failed: psycopg.Error | None = None
        while (result := pgconn.get_result()) is not None:
            if result.status == ExecStatus.FATAL_ERROR:
                failed = psycopg.errors.error_from_result(result)
            elif result.status == ExecStatus.TUPLES_OK and result.ntuples:
                value = result.get_value(result.ntuples - 1, 0)
                self.value = None if value is None else value.decode()
        if failed is not None:
            raise failed
