"""What each of the contenders has to do."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol
from uuid import UUID

from sqlalchemy import Engine

from benchmarks.contenders.application import Change
from meshcache_pg.cache import MeshCache
from meshcache_pg.meshhook import WorkflowDefinition


class Stage(Protocol):
    """A database with the sample application in it and the pack applied, as the demo's stage is."""

    @property
    def engine(self) -> Engine: ...

    @property
    def cache(self) -> MeshCache: ...

    @property
    def dsn(self) -> str: ...


class Client(Protocol):
    """One reader or writer with connections of its own, for use in one thread."""

    @property
    def hits(self) -> int:
        """Reads for which the source was not asked."""

    def read(self, key: UUID) -> WorkflowDefinition | None:
        """The workflow definition, however this way of caching gets it."""

    def write(self, change: Change) -> None:
        """Make and commit the change, and do what this way of caching asks of who writes."""

    def close(self) -> None:
        """Close the connections."""


class Contender(Protocol):
    """One way to cache."""

    title: str

    def set_up(self, stage: Stage, keys: Sequence[UUID]) -> None:
        """Make what it keeps, in a schema or a server of its own; `keys` are what clients will ask for."""

    def client(self) -> Client:
        """A new one."""

    def at_work(self) -> AbstractContextManager[None]:
        """Whatever runs beside readers and writers; when the block is left, all of it has arrived."""
        return nullcontext()

    def tear_down(self) -> None:
        """Leave nothing behind, also if `set_up` came only halfway or was never called."""
