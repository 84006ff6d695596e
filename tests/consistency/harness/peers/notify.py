"""LISTEN/NOTIFY: triggers notify of the keys that a transaction touches, and a listener drops them from a
cache in the application's process. PostgreSQL delivers at commit, in the order of commits.
"""

import threading
import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import LiteralString

import psycopg
from psycopg import sql

from tests.consistency.harness.peers.lookups import create_schema, create_triggers
from tests.consistency.harness.peers.peer import TTL_SECONDS, Answer, Image, Peer, images
from tests.consistency.harness.peers.workload import PlainView
from tests.consistency.harness.site import Site
from tests.consistency.harness.worker import Worker

_CHANNEL = "peer"
_NOTIFY: LiteralString = "perform pg_notify({}, {} || k.key) from unnest(keys) as k (key)"
# How long the listener waits before it looks whether the round is over.
_LOOK_SECONDS = 0.1
# For a message that must come.
_PATIENCE_SECONDS = 60


class ProcessCache:
    """A dictionary with times to live; one for all threads of the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[str, tuple[Image, float]] = {}

    def get(self, key: str) -> Image:
        """The row, or None if it is not there or too old."""
        with self._lock:
            row, until = self._rows.get(key, (None, 0.0))
        return row if time.monotonic() < until else None

    def put(self, key: str, row: Image) -> None:
        """Store."""
        with self._lock:
            self._rows[key] = (row, time.monotonic() + TTL_SECONDS)

    def drop(self, key: str) -> None:
        """Forget."""
        with self._lock:
            self._rows.pop(key, None)

    def held(self) -> list[str]:
        """All of them."""
        with self._lock:
            return list(self._rows)


class ProcessClient:
    """Get, else SELECT and put."""

    in_snapshot = False

    def __init__(self, cache: ProcessCache) -> None:
        self._cache = cache

    def ask(
        self, connection: psycopg.Connection, view: PlainView, keys: Sequence[str]
    ) -> Mapping[str, Answer]:
        answers: dict[str, Answer] = {key: (self._cache.get(f"{view.name}:{key}"), "hit") for key in keys}
        missed = [key for key in keys if answers[key][0] is None]
        found = images(connection, view, missed) if missed else {}
        for key in missed:
            answers[key] = (found.get(key), "miss")
            if key in found:
                self._cache.put(f"{view.name}:{key}", found[key])
        return answers

    def after(self, view: PlainView) -> None:
        """All is done."""

    def held(self, connection: psycopg.Connection, view: PlainView) -> Collection[str]:
        del connection
        whole = f"{view.name}:"
        return [key.removeprefix(whole) for key in self._cache.held() if key.startswith(whole)]

    def close(self) -> None:
        """The cache is everybody's."""


class Notify(Peer):
    """The listener's connection is made before anybody works and is never cut here: nothing else is lost."""

    name = "notify"
    title = "LISTEN/NOTIFY, cache in the process"
    # The second is the lock that PostgreSQL takes at the commit of whoever has notified.
    words = ("peer.", "object 0 of class 1262")

    def __init__(self) -> None:
        self.cache = ProcessCache()
        self._listening: psycopg.Connection | None = None

    def install(self, site: Site) -> None:
        self.cache = ProcessCache()
        with site.connect("apply") as connection, connection.transaction():
            create_schema(connection)
            create_triggers(
                connection,
                lambda view: sql.SQL(_NOTIFY).format(sql.Literal(_CHANNEL), sql.Literal(f"{view.name}:")),
            )
        self._listening = site.connect("listen")
        self._listening.execute(sql.SQL("listen {}").format(sql.Identifier(_CHANNEL)))

    def workers(self, site: Site) -> Sequence[Worker]:
        assert self._listening is not None
        return [_Listener(site, self._listening, self.cache), *super().workers(site)]

    def come_to_rest(self, site: Site) -> None:
        """Read on to a message that was sent after all others."""
        assert self._listening is not None
        last = f"last:{uuid.uuid4()}"
        with site.connect("settle") as connection:
            connection.execute("select pg_notify(%s, %s)", (_CHANNEL, last))
        for notification in self._listening.notifies(timeout=_PATIENCE_SECONDS):
            if notification.payload == last:
                break
            self.cache.drop(notification.payload)
        else:
            raise AssertionError(f"no notification for {_PATIENCE_SECONDS} s")

    def settle(self, site: Site) -> None:
        super().settle(site)
        if self._listening is not None:
            self._listening.close()

    def client(self, site: Site) -> ProcessClient:
        del site
        return ProcessClient(self.cache)


class _Listener(Worker):
    role = "listen"

    def __init__(self, site: Site, listening: psycopg.Connection, cache: ProcessCache) -> None:
        super().__init__(site)
        self._listening, self._cache = listening, cache

    def run(self) -> None:
        # The connection outlives the worker: what is still under way is read when all have stopped.
        while not self.site.stop.is_set():
            for notification in self._listening.notifies(timeout=_LOOK_SECONDS):
                self._cache.drop(notification.payload)
