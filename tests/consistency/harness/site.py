"""One database at work: the application, the subject, everybody's threads, and the first failure."""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import NullPool

from meshcache_pg.database import parse_url
from tests.consistency.harness.gate import Gate
from tests.consistency.harness.ledger import Ledger
from tests.consistency.harness.options import Options
from tests.consistency.harness.tally import Tally
from tests.consistency.harness.trouble import is_lost
from tests.consistency.harness.workload import Workload

# A server of this size is back after a fraction of a second; this is for one that never comes back.
PATIENCE_SECONDS = 60

# A SELECT made at random may take minutes over the few thousand rows that there are at most: an error that is
# counted. Who has to come to an end takes as long as it takes.
_LONGEST_STATEMENT = "10s"
_HURRIED = ("read", "write")


class Stopped(Exception):
    """The round is over."""


@dataclass(frozen=True)
class Failure:
    """Something that must never happen."""

    kind: str
    site: str
    who: str
    text: str
    after_seconds: float
    evidence: str = ""


@dataclass
class Site:
    """The database `dsn` of a round. `pooled_dsn` leads to it through PgBouncer."""

    name: str
    dsn: str
    major: int
    workload: Workload
    options: Options
    seed: str
    tally: Tally
    pooled_dsn: str | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    gate: Gate = field(default_factory=Gate)
    ledger: Ledger = field(default_factory=Ledger)
    failures: list[Failure] = field(default_factory=list)
    recent: deque[str] = field(default_factory=lambda: deque(maxlen=400))
    # Odd while somebody changes the cached views themselves.
    generation: int = 0
    # How often the server went down.
    crashes: int = 0
    # Whether every cached view is whole, so that a sweep can be expected to bring hits back.
    whole: bool = True
    _changing: threading.Lock = field(default_factory=threading.Lock, repr=False)
    began: float = field(default_factory=time.monotonic)

    def connect(self, role: str, *, pooled: bool = False, **options: Any) -> psycopg.Connection:
        """A connection in autocommit, as soon as the server takes one. Raises Stopped when the round ends
        before that.
        """
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            self.go_on()
            try:
                if pooled and self.pooled_dsn:
                    # A name in the startup packet would be one more parameter for PgBouncer to track.
                    return psycopg.connect(
                        self.pooled_dsn, autocommit=True, prepare_threshold=None, **options
                    )
                if role in _HURRIED:
                    options.setdefault("options", f"-c statement_timeout={_LONGEST_STATEMENT}")
                return psycopg.connect(self.dsn, autocommit=True, application_name=f"mc {role}", **options)
            except psycopg.OperationalError as error:
                if not is_lost(error) or time.monotonic() > until:
                    raise
            self.stop.wait(0.02)

    def engine(self, role: str, *, pooled: bool = False) -> Engine:
        """A SQLAlchemy engine without a pool, so that every connection is a new one."""
        threshold: dict[str, Any] = {"application_name": f"mc {role}"}
        if pooled and self.pooled_dsn:
            threshold = {"prepare_threshold": None}
        where = self.pooled_dsn if pooled and self.pooled_dsn else self.dsn
        return create_engine(parse_url(where), poolclass=NullPool, connect_args=threshold)

    def go_on(self) -> None:
        """Raise Stopped when the round is over."""
        if self.stop.is_set():
            raise Stopped

    def pause(self, seconds: float) -> None:
        """Let time pass, as an application does between statements."""
        if self.stop.wait(seconds):
            raise Stopped

    def note(self, who: str, what: str) -> None:
        """Remember a step for the report of a failure."""
        self.recent.append(f"{time.monotonic() - self.began:9.4f} {who}: {what}")

    def fail(self, kind: str, who: str, error: BaseException | str, evidence: str = "") -> None:
        """Something that must never happen has happened; the round ends."""
        text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        self.failures.append(Failure(kind, self.name, who, text, time.monotonic() - self.began, evidence))
        self.stop.set()

    @contextmanager
    def changing(self, *, leaves_whole: bool) -> Iterator[None]:
        """Around every change of the cached views themselves; `whole` is false until one leaves them so."""
        with self._changing:
            self.generation += 1
            self.whole = False
            try:
                yield
                self.whole = leaves_whole
            finally:
                self.generation += 1

    def has_changed_since(self, generation: int) -> bool:
        """Whether a cached view may have been away at some time since `generation` was read."""
        return bool(generation % 2) or generation != self.generation or not self.whole

    @property
    def random_seed(self) -> str:
        """What the seeds of all workers begin with."""
        return f"{self.seed} {self.name}"
