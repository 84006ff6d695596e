"""A statement that waits for a lock while the schedule goes on."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import LiteralString

import psycopg

from tests.fixtures.fix_embedded import eventually


@contextmanager
def waiting(
    connection: psycopg.Connection, statement: LiteralString, observer: psycopg.Connection
) -> Iterator[None]:
    """Run a statement that has to wait for a lock; the block runs while it waits, it ends after the block."""
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(connection.execute, statement)

        def waits() -> bool:
            row = observer.execute(
                "select from pg_stat_activity where pid = %s and wait_event_type = 'Lock'",
                (connection.info.backend_pid,),
            ).fetchone()
            return row is not None or running.done()

        eventually(waits, "the other connection waits for a lock")
        assert not running.done(), "it did not have to wait"
        yield
        running.result()
