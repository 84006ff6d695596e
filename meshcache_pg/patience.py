"""How long a transaction that changes cached views may wait for a lock.

It takes several, and from the first one on others may wait behind it. Were it then to wait for what one of
those holds, the server would end one of the two after deadlock_timeout, and it must never be the
application's transaction. So from the first lock on all waits together stay below that time: whoever began to
wait for us later than that finds no circle when its time has come. When the time is up (many views, or a busy
machine) nobody is waited for: what is free is taken, what is not ends the attempt.
"""

import time

from sqlalchemy import Connection, text

from meshcache_pg.database import execute_ddl
from meshcache_pg.errors import LockBusy
from meshcache_pg.sql import query

# Of the first wait, while nobody can be waiting for us yet; and of all, should deadlock_timeout be long.
LONGEST_MS = 500

# Of deadlock_timeout, for all waits after the first lock. On a busy machine it takes time until a wait that
# is allowed begins, and until it is known that a lock is there.
_SHARE = 0.6

# What is left when the time is up: for somebody who came between the look at a lock and its taking.
_SHORTEST_MS = 1

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
        self._wait_at_most(min(LONGEST_MS, self._all_ms))

    def run(self, statement: str, relation: str | None = None, *, at_least_ms: float = _SHORTEST_MS) -> None:
        """Run DDL that takes a lock on something that others use, `relation` if it takes it all for itself.
        Raises what the driver raises after a wait that is too long, or LockBusy instead of one.
        """
        if self._since is not None:
            left = self._all_ms - (time.monotonic() - self._since) * 1000
            if left <= 0 and relation is not None and self._is_held(relation):
                raise LockBusy(
                    f"{relation} is in use, and there is no time left to wait for it", hint="Try again."
                )
            self._wait_at_most(max(at_least_ms, min(LONGEST_MS, left)))
        begin = time.monotonic()
        execute_ddl(self._connection, statement)
        if self._since is None:
            # When in all this the lock was taken nobody knows.
            self._since = begin

    def _is_held(self, relation: str) -> bool:
        held = self._connection.scalar(text(query("install", "is_held")), {"name": relation})
        return bool(held)

    def _wait_at_most(self, milliseconds: float) -> None:
        self._connection.execute(
            text("select set_config('lock_timeout', :t, true)"), {"t": f"{max(1, int(milliseconds))}ms"}
        )
