"""A materialized view, refreshed concurrently on a schedule: never waited for, and as old as its refresh."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql

from benchmarks.contenders.application import QUERY, connect
from benchmarks.contenders.tables import KeptTable

# Or as often as it can, where a refresh takes longer.
EVERY_SECONDS: Final = 1.0

_CREATE: Final[LiteralString] = """
create materialized view {table} as select s.* from {query} as s;
create unique index on {table} (id)
"""


class MaterializedView(KeptTable):
    """Refreshed in a thread of its own while others write."""

    title = "materialized view, refreshed every second"
    schema = "bench_matview"

    def create(self, connection: psycopg.Connection[Any]) -> None:
        connection.execute(sql.SQL(_CREATE).format(table=self.table, query=QUERY))

    @contextmanager
    def at_work(self) -> Iterator[None]:
        ends = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            schedule = pool.submit(self._refresh_until, ends)
            try:
                yield
            finally:
                ends.set()
        schedule.result()

    def _refresh_until(self, ends: threading.Event) -> None:
        with connect(self._dsn) as connection:
            statement = sql.SQL("refresh materialized view concurrently {}").format(self.table)
            is_last = False
            while not is_last:
                # The one that begins after the end sees all that was written.
                is_last = ends.is_set()
                begin = time.monotonic()
                connection.execute(statement)
                if not is_last:
                    ends.wait(max(0.0, EVERY_SECONDS - (time.monotonic() - begin)))
