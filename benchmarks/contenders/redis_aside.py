"""Cache-aside on Redis: GET and orjson, else SELECT and SET; DEL after the commit.

The client is redis-py with hiredis, on one connection over a Unix socket.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from redis import Redis

from benchmarks.contenders import documents
from benchmarks.contenders.aside import TTL_SECONDS, AsideClient
from benchmarks.contenders.contender import Client, Contender, Stage
from meshcache_pg.meshhook import WorkflowDefinition

T = TypeVar("T")


def redis_client(socket: Path) -> Redis:
    """One connection: to take it from a pool for each command would only cost this side time."""
    return Redis(unix_socket_path=str(socket), single_connection_client=True)


@contextmanager
def redis_reader(
    socket: Path, decode: Callable[[Any], T], rows: Iterable[WorkflowDefinition]
) -> Iterator[Callable[[UUID], T | None]]:
    """Store rows as documents; yields GET by key with what `decode` makes of the bytes, such as orjson.loads.

    Nothing more than that: no dataclass, and no types that JSON does not have.
    """
    with redis_client(socket) as redis:
        for row in rows:
            redis.set(str(row.id), documents.encode(row))

        def read(key: UUID) -> T | None:
            document = redis.get(str(key))
            return None if document is None else decode(document)

        yield read


class RedisClient(AsideClient):
    """One connection to each side."""

    def __init__(self, dsn: str, socket: Path) -> None:
        super().__init__(dsn)
        self._redis = redis_client(socket)

    def load(self, key: UUID) -> WorkflowDefinition | None:
        document = self._redis.get(str(key))
        return None if document is None else documents.decode(document)

    def store(self, row: WorkflowDefinition) -> None:
        self._redis.set(str(row.id), documents.encode(row), ex=TTL_SECONDS)

    def drop(self, keys: Sequence[UUID]) -> None:
        if keys:
            self._redis.delete(*map(str, keys))

    def close(self) -> None:
        super().close()
        self._redis.close()


class RedisAside(Contender):
    """On the first database of a Redis that is nobody else's."""

    title = "Redis, cache-aside"

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._dsn = ""

    def set_up(self, stage: Stage, keys: Sequence[UUID]) -> None:
        del keys
        self._dsn = stage.dsn

    def client(self) -> Client:
        return RedisClient(self._dsn, self._socket)

    def tear_down(self) -> None:
        with redis_client(self._socket) as redis:
            redis.flushdb()
