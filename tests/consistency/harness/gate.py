"""TRUNCATE and partition DDL are not MVCC in PostgreSQL: a snapshot from before them sees an empty or another
source. So nobody may hold a snapshot for comparing across one; and that is all that is kept apart.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Gate:
    """Shared by whoever holds a snapshot to compare in, exclusive for what no snapshot protects."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._closed = False
        self._wanted = 0

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for the snapshots to end; a long one had better end early."""
        return self._wanted > 0

    @contextmanager
    def shared(self, timeout: float) -> Iterator[bool]:
        """Be inside for the length of the block; False, and not inside, when that took too long."""
        entered = self._enter(timeout)
        try:
            yield entered
        finally:
            if entered:
                self._leave()

    def _enter(self, timeout: float) -> bool:
        with self._changed:
            if not self._changed.wait_for(lambda: not self._closed and not self._wanted, timeout):
                return False
            self._inside += 1
            return True

    def _leave(self) -> None:
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    @contextmanager
    def exclusive(self, give_up: Callable[[], bool]) -> Iterator[bool]:
        """Be alone for the length of the block; False when `give_up` came true before that."""
        with self._changed:
            self._wanted += 1
            try:
                while self._closed or self._inside:
                    self._changed.wait(0.1)
                    if give_up():
                        break
                alone = not (self._closed or self._inside)
                self._closed = self._closed or alone
            finally:
                self._wanted -= 1
                self._changed.notify_all()
        try:
            yield alone
        finally:
            if alone:
                with self._changed:
                    self._closed = False
                    self._changed.notify_all()
