"""Cache-aside: look in the cache, else ask the source and store; whoever writes deletes after its commit.

Between a reader's SELECT and its storing somebody may commit and delete: then the reader stores what is old,
and it stays until the next write or the end of its time to live.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from benchmarks.contenders.application import Change, Lookup, connect
from meshcache_pg.meshhook import WorkflowDefinition

TTL_SECONDS: Final = 86_400


class AsideClient(ABC):
    """All but the cache itself."""

    def __init__(self, dsn: str) -> None:
        self.hits = 0
        self._connection = connect(dsn)
        self._source = Lookup(self._connection)

    @abstractmethod
    def load(self, key: UUID) -> WorkflowDefinition | None:
        """What is cached."""

    @abstractmethod
    def store(self, row: WorkflowDefinition) -> None:
        """Cache it for TTL_SECONDS."""

    @abstractmethod
    def drop(self, keys: Sequence[UUID]) -> None:
        """Return when it is sure that none of them is cached any more."""

    def read(self, key: UUID) -> WorkflowDefinition | None:
        row = self.load(key)
        if row is not None:
            self.hits += 1
            return row
        row = self._source(key)
        if row is not None:
            self.store(row)
        return row

    def write(self, change: Change) -> None:
        with self._connection.transaction():
            touched = change.apply(self._connection)
        self.drop(touched)

    def close(self) -> None:
        self._connection.close()
