"""A dogpile.cache region on Redis: get_or_create under its lock, delete after the commit.

The lock keeps several readers from computing the same value at once; a writer does not take it. Values are
pickles, as that backend makes them unless told otherwise.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from dogpile.cache import make_region
from redis import Redis

from benchmarks.contenders.application import Change, Lookup, connect
from benchmarks.contenders.aside import TTL_SECONDS
from benchmarks.contenders.contender import Client, Contender, Stage
from meshcache_pg.meshhook import WorkflowDefinition

# Not the database of the other contender on the same server.
_DATABASE = 1


class DogpileClient:
    """A region and a connection to the source."""

    def __init__(self, dsn: str, url: str) -> None:
        self._created = 0
        self._reads = 0
        self._connection = connect(dsn)
        self._source = Lookup(self._connection)
        self._region = make_region().configure(
            "dogpile.cache.redis",
            expiration_time=TTL_SECONDS,
            # As its documentation has it for several processes: the lock is in Redis, too.
            arguments={"url": url, "distributed_lock": True, "thread_local_lock": False},
        )

    @property
    def hits(self) -> int:
        """Reads for which nothing was created."""
        return self._reads - self._created

    def read(self, key: UUID) -> WorkflowDefinition | None:
        self._reads += 1
        row: WorkflowDefinition | None = self._region.get_or_create(
            str(key), self._create, creator_args=((key,), {})
        )
        return row

    def _create(self, key: UUID) -> WorkflowDefinition | None:
        self._created += 1
        return self._source(key)

    def write(self, change: Change) -> None:
        with self._connection.transaction():
            touched = change.apply(self._connection)
        self._region.delete_multi([str(key) for key in touched])

    def close(self) -> None:
        self._connection.close()
        # The region has no way to close what its backend has opened.
        backend: Any = self._region.actual_backend
        backend.writer_client.close()


class DogpileRegion(Contender):
    """On the second database of a Redis."""

    title = "dogpile.cache on Redis"

    def __init__(self, socket: Path) -> None:
        self._url = f"unix://{socket}?db={_DATABASE}"
        self._dsn = ""

    def set_up(self, stage: Stage, keys: Sequence[UUID]) -> None:
        del keys
        self._dsn = stage.dsn

    def client(self) -> Client:
        return DogpileClient(self._dsn, self._url)

    def tear_down(self) -> None:
        with Redis.from_url(self._url) as redis:
            redis.flushdb()
