"""What a reader does for the next ones when it has its answer: fill what it missed, open a cache that it
found closed, write counters. In short transactions of the cache's own; nothing here raises or waits for long.
"""

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from meshcache_pg import maintenance
from meshcache_pg.errors import MeshcacheError
from meshcache_pg.filling import Budget, Counts
from meshcache_pg.settings import Settings
from meshcache_pg.statements import Target

logger = logging.getLogger("meshcache_pg")

# How long a process remembers that it has just tried to open a closed cache.
RETRY_SECONDS = 5.0

# Fills of one process at a time: a burst of misses must not become a burst of connections.
CONCURRENT_FILLS = 2


class AfterReads:
    """Of one process; `engine` makes connections of the cache's own, `counts` are what was read since the
    last flush.
    """

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._settings = settings
        self._fills = engine.execution_options(isolation_level="READ COMMITTED")
        self._autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._budget = Budget(settings.fills_per_second)
        self.counts = Counts(settings.flush_seconds)
        self._open_tried = float("-inf")
        self._lock = threading.Lock()
        self._fillers = threading.BoundedSemaphore(CONCURRENT_FILLS)

    def fill(self, target: Target, keys: Sequence[Sequence[Any]]) -> None:
        """Fill what was missed, unless there are too many fills already."""
        if not self._settings.fill or not self._fillers.acquire(blocking=False):
            return
        try:
            if not self._budget.take():
                return
            with self._fills.begin() as connection:
                filled = maintenance.fill(
                    connection,
                    target,
                    keys,
                    statement_ms=self._settings.fill_timeout_ms,
                    lock_ms=self._settings.lock_timeout_ms,
                )
        except (DBAPIError, PoolTimeout) as error:
            logger.debug("%s: not filled: %s", target.name, error)
            return
        finally:
            self._fillers.release()
        self.counts.add_fills(target.name, filled)

    def reopen(self) -> None:
        """After a crash nobody fills before the cache is opened; a reader that notices it may as well do
        it.
        """
        with self._lock:
            if not self._settings.fill or time.monotonic() < self._open_tried + RETRY_SECONDS:
                return
            self._open_tried = time.monotonic()
        try:
            with self._autocommit.connect() as connection:
                maintenance.open_cache(connection, lock_ms=self._settings.lock_timeout_ms)
        except (MeshcacheError, DBAPIError, PoolTimeout) as error:
            logger.debug("the cache could not be opened: %s", error)

    def flush(self) -> None:
        """Write the counters to the database; what cannot be written is kept for the next time."""
        drained = self.counts.drain()
        if not drained:
            return
        try:
            with self._fills.begin() as connection:
                maintenance.add_counts(
                    connection,
                    drained,
                    statement_ms=self._settings.fill_timeout_ms,
                    lock_ms=self._settings.lock_timeout_ms,
                )
        except (DBAPIError, PoolTimeout) as error:
            logger.debug("counters not flushed: %s", error)
            self.counts.restore(drained)
