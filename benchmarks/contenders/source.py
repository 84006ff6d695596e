"""No cache: what every other contender is measured by; and the floor, below which no table can be read."""

from collections.abc import Sequence
from uuid import UUID

from psycopg import sql

from benchmarks.contenders.application import QUERY, Change, Lookup, connect
from benchmarks.contenders.contender import Client, Contender, Stage
from meshcache_pg.meshhook import WorkflowDefinition


class SelectClient:
    """Reads one relation; writes the source and nothing else."""

    def __init__(self, dsn: str, relation: sql.Composable, *, is_cache: bool) -> None:
        self.hits = 0
        self.connection = connect(dsn)
        self._is_cache = is_cache
        self._lookup = Lookup(self.connection, relation)

    def read(self, key: UUID) -> WorkflowDefinition | None:
        self.hits += self._is_cache
        return self._lookup(key)

    def write(self, change: Change) -> None:
        with self.connection.transaction():
            change.apply(self.connection)

    def close(self) -> None:
        self.connection.close()


class Source(Contender):
    """The SELECT itself, prepared: both of its tables by their primary keys."""

    title = "source query, prepared"

    def __init__(self) -> None:
        self._dsn = ""

    def set_up(self, stage: Stage, keys: Sequence[UUID]) -> None:
        del keys
        self._dsn = stage.dsn

    def client(self) -> Client:
        return SelectClient(self._dsn, QUERY, is_cache=False)

    def tear_down(self) -> None:
        """It has made nothing."""


class Floor(Source):
    """The table that meshcache keeps its rows in, by its primary key: whether they are fresh is not asked.

    For times only, and after meshcache has filled it.
    """

    title = "floor: cache table by primary key, never checked"

    def client(self) -> Client:
        return SelectClient(self._dsn, sql.Identifier("meshcache_data", "workflow_definition"), is_cache=True)
