"""Cache-aside on Redis: GET, else SELECT and SET with a time to live; DEL after the commit of whoever wrote.

Which keys a transaction has touched, an application knows from its own code, more or less. Here it knows it
perfectly: triggers write them down in a variable of the transaction, which is read before the commit.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import LiteralString

import psycopg
from psycopg import sql
from redis import Redis

from tests.consistency.harness.peers.lookups import create_schema, create_triggers
from tests.consistency.harness.peers.peer import TTL_SECONDS, Answer, Peer, images
from tests.consistency.harness.peers.workload import PlainView
from tests.consistency.harness.site import Site
from tests.consistency.harness.subject import Hook

_REMEMBER: LiteralString = """
perform set_config(
    'peer.touched',
    coalesce(current_setting('peer.touched', true), '')
    || (select string_agg({prefix} || k.key, ' ') || ' ' from unnest(keys) as k (key)),
    true
)
"""


class RedisClient:
    """One connection to Redis for each reader."""

    in_snapshot = False

    def __init__(self, socket: str) -> None:
        self._redis = Redis(unix_socket_path=socket, decode_responses=True)

    def ask(
        self, connection: psycopg.Connection, view: PlainView, keys: Sequence[str]
    ) -> Mapping[str, Answer]:
        stored = self._redis.mget([f"{view.name}:{key}" for key in keys])
        # The client decodes; its types do not know.
        answers: dict[str, Answer] = {
            key: (str(row), "hit") for key, row in zip(keys, stored, strict=True) if row is not None
        }
        missed = [key for key in keys if key not in answers]
        found = images(connection, view, missed) if missed else {}
        for key in missed:
            answers[key] = (found.get(key), "miss")
            row = found.get(key)
            if row is not None:
                self._redis.set(f"{view.name}:{key}", row, ex=TTL_SECONDS)
        return answers

    def after(self, view: PlainView) -> None:
        """All is done."""

    def held(self, connection: psycopg.Connection, view: PlainView) -> Collection[str]:
        del connection
        whole = f"{view.name}:"
        return [key.removeprefix(whole) for key in self._redis.scan_iter(match=f"{whole}*")]

    def close(self) -> None:
        self._redis.close()


class _DeleteAfterCommit(Hook):
    def __init__(self, socket: str) -> None:
        self._redis = Redis(unix_socket_path=socket, decode_responses=True)
        self._touched: list[str] = []

    def ending(self, connection: psycopg.Connection) -> None:
        row = connection.execute("select current_setting('peer.touched', true)").fetchone()
        self._touched = sorted(set(row[0].split())) if row and row[0] else []

    def ended(self, *, committed: bool) -> None:
        touched, self._touched = self._touched, []
        if committed and touched:
            self._redis.delete(*touched)

    def close(self) -> None:
        self._redis.close()


class RedisAside(Peer):
    """On the Redis behind `socket`, which holds nothing else."""

    name = "redis"
    title = "cache-aside on Redis, delete after commit"
    words = ("peer.",)

    def __init__(self, socket: str) -> None:
        self._socket = socket

    def install(self, site: Site) -> None:
        with Redis(unix_socket_path=self._socket) as redis:
            redis.flushdb()
        with site.connect("apply") as connection, connection.transaction():
            create_schema(connection)
            create_triggers(
                connection,
                lambda view: sql.SQL(_REMEMBER).format(prefix=sql.Literal(f"{view.name}:")),
            )

    def client(self, site: Site) -> RedisClient:
        del site
        return RedisClient(self._socket)

    def hook(self, site: Site) -> Hook:
        del site
        return _DeleteAfterCommit(self._socket)
