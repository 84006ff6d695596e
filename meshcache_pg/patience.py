"""How long a transaction that changes cached views may wait for a lock.

It takes several, and from the first one on others may wait behind it. Were it then to wait for what one of
those holds, the server would end one of the two after deadlock_timeout, and it must never be the
application's transaction. So from the first lock on all waits together stay below that time: whoever began to
wait for us later than that finds no circle when its time has come. When the time is up (many views, or a busy
machine) nobody is waited for: what is free is taken, what is not ends the attempt.
"""

import time
from collections.abc import Mapping

from sqlalchemy import Connection, text

from meshcache_pg.database import execute_all, execute_ddl
from meshcache_pg.sql import query

# Of the first wait, while nobody can be waiting for us yet; and of all, should deadlock_timeout be long.
LONGEST_MS = 500

# Of deadlock_timeout, for all waits after the first lock. On a busy machine it takes time until a wait that
# is allowed begins, and until it is known that a lock is there.
_SHARE = 0.6

# Writers come and go: with less than this a table that is written all the time could never be had. Whoever
# has written to it and waits for a list of ours might find a circle, if its time comes within these.
FOR_WRITERS_MS = 100


class Patience:
    """Of one DDL transaction; made at its beginning."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        timeout_ms = connection.scalar(
            text("select setting::integer from pg_settings where name = 'deadlock_timeout'")
        )
        self._all_ms = _SHARE * (timeout_ms or 1000)
        self._since: float | None = None
        execute_ddl(connection, _wait_at_most(min(LONGEST_MS, self._all_ms)))

    def lock(self, statement: str) -> None:
        """Run a LOCK TABLE that keeps writers out. Raises what the driver raises after a wait that is too
        long.
        """
        begin = time.monotonic()
        wait = max(FOR_WRITERS_MS, min(LONGEST_MS, self._left_ms()))
        execute_all(self._connection, [_wait_at_most(wait), statement])
        self._has_begun(begin)

    def run(self, statements: Mapping[str, str | None]) -> None:
        """Run DDL that takes locks on what others use, all of it in one round trip: each statement with the
        relation that it takes all for itself, if it is one; all names are qualified. Raises what the driver
        raises after a wait that is too long, or instead of one.
        """
        if not statements:
            return
        begin = time.monotonic()
        self._connection.execute(
            text(query("install", "run_in_time")),
            {
                "statements": list(statements),
                "relations": list(statements.values()),
                "left": int(self._left_ms()),
                "longest": LONGEST_MS,
            },
        )
        # Nobody waits for a function that is dropped.
        if any(statements.values()):
            self._has_begun(begin)

    def _left_ms(self) -> float:
        if self._since is None:
            return self._all_ms
        return self._all_ms - (time.monotonic() - self._since) * 1000

    def _has_begun(self, begin: float) -> None:
        if self._since is None:
            # When in all this the first lock was taken nobody knows.
            self._since = begin


def _wait_at_most(milliseconds: float) -> str:
    return f"set local lock_timeout = {max(1, int(milliseconds))}"
