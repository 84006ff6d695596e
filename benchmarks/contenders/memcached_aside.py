"""Cache-aside on memcached: get and orjson, else SELECT and set; delete after the commit. The client is
pymemcache, over a Unix socket.
"""

from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from pymemcache.client.base import Client as Memcache

from benchmarks.contenders import documents
from benchmarks.contenders.aside import TTL_SECONDS, AsideClient
from benchmarks.contenders.contender import Client, Contender, Stage
from meshcache_pg.meshhook import WorkflowDefinition


class MemcachedClient(AsideClient):
    """One connection to each side."""

    def __init__(self, dsn: str, socket: Path) -> None:
        super().__init__(dsn)
        # Without a reply a delete might come after a reader that begins when the write has returned.
        self._memcache = Memcache(str(socket), default_noreply=False)

    def load(self, key: UUID) -> WorkflowDefinition | None:
        document = self._memcache.get(str(key))
        return None if document is None else documents.decode(document)

    def store(self, row: WorkflowDefinition) -> None:
        self._memcache.set(str(row.id), documents.encode(row), expire=TTL_SECONDS)

    def drop(self, keys: Sequence[UUID]) -> None:
        self._memcache.delete_many([str(key) for key in keys])

    def close(self) -> None:
        super().close()
        self._memcache.close()


class MemcachedAside(Contender):
    """On a memcached that is nobody else's."""

    title = "memcached, cache-aside"

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._dsn = ""

    def set_up(self, stage: Stage, keys: Sequence[UUID]) -> None:
        del keys
        self._dsn = stage.dsn

    def client(self) -> Client:
        return MemcachedClient(self._dsn, self._socket)

    def tear_down(self) -> None:
        memcache = Memcache(str(self._socket), default_noreply=False)
        memcache.flush_all()
        memcache.close()
