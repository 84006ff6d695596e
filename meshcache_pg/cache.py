"""MeshCache: an engine, settings and the functions below it. The application keeps its own connections and
transactions; this object owns only the small pool in which fills, counters and maintenance run, each in short
transactions of its own.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Self, TypeVar, overload

import stamina
from sqlalchemy import Connection, Engine
from sqlalchemy.orm import Session

from meshcache_pg import catalog, explain, health, install, live_check, maintenance, migrate, repository
from meshcache_pg.after_reads import AfterReads
from meshcache_pg.answers import Read
from meshcache_pg.bound_view import BoundView
from meshcache_pg.catalog import InstalledView, Step
from meshcache_pg.database import make_engine, translated
from meshcache_pg.definition import Definition
from meshcache_pg.errors import DefinitionError, LockBusy
from meshcache_pg.explain import Explanation
from meshcache_pg.filling import Counts
from meshcache_pg.making import Make, Row
from meshcache_pg.near import NearView
from meshcache_pg.settings import Settings, load
from meshcache_pg.statements import Target
from meshcache_pg.together import Together

T = TypeVar("T")

# How long a process remembers that a view is not installed.
RETRY_SECONDS = 5.0


def engine_from_settings(settings: Settings | None = None) -> Engine:
    """A new engine for the configured database; the caller disposes of it."""
    return make_engine((settings or load()).effective_dsn, application_name="meshcache")


class MeshCache:
    """The cache of one database.

    `where` is the application's Engine, a URL, or None for MESHCACHE_DSN, DATABASE_URL and libpq's PG*. An
    Engine is used for its URL alone; where that is not enough to connect (a custom creator), give
    `own_engine`: it must make psycopg connections and is used with a pool of its own choosing. Thread-safe.
    """

    def __init__(
        self,
        where: Engine | str | None = None,
        *,
        settings: Settings | None = None,
        own_engine: Engine | None = None,
    ) -> None:
        self.settings = settings or load()
        if own_engine is None:
            dsn = where if isinstance(where, str) else self.settings.effective_dsn
            if isinstance(where, Engine):
                dsn = where.url.render_as_string(hide_password=False)
            own_engine = make_engine(dsn, application_name="meshcache")
            self._owned: Engine | None = own_engine
        else:
            self._owned = None
        self._engine = own_engine
        self._fills = own_engine.execution_options(isolation_level="READ COMMITTED")
        self._autocommit = own_engine.execution_options(isolation_level="AUTOCOMMIT")
        self._targets: dict[str, Target] = {}
        self._absent: dict[str, float] = {}
        self._after = AfterReads(own_engine, self.settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Flush the counters and close the connections."""
        self.flush()
        if self._owned is not None:
            self._owned.dispose()

    def after_fork(self) -> None:
        """In a child process: the connections of the pool are the parent's, and so is what was counted; who
        holds a lock there will not release it here.
        """
        self._engine.dispose(close=False)
        self._after = AfterReads(self._engine, self.settings)

    @property
    def counts(self) -> Counts:
        """What this process counted since the last flush."""
        return self._after.counts

    @overload
    def view(self, view: str | Definition, where: Connection | Session) -> BoundView[Row]: ...

    @overload
    def view(self, view: str | Definition, where: Connection | Session, make: Make[T]) -> BoundView[T]: ...

    def view(
        self, view: str | Definition, where: Connection | Session, make: Make[Any] = dict
    ) -> BoundView[Any]:
        """One cached view (or rollup) for reads on the caller's Connection or Session.

        `make` says what a row becomes: a dataclass that has the view's columns as its fields, or whatever a
        function makes of the row as a dict. Without it, rows are dicts.

        Given a Definition, reads work before it is applied and without any right on the cache: its SELECT
        answers.
        """
        connection = where.connection() if isinstance(where, Session) else where
        return BoundView(self, view, connection, make)

    @overload
    def near(
        self,
        view: str | Definition,
        *,
        max_staleness: timedelta | float | str,
        max_entries: int = ...,
        max_bytes: int = ...,
    ) -> NearView[Row]: ...

    @overload
    def near(
        self,
        view: str | Definition,
        make: Make[T],
        *,
        max_staleness: timedelta | float | str,
        max_entries: int = ...,
        max_bytes: int = ...,
    ) -> NearView[T]: ...

    def near(
        self,
        view: str | Definition,
        make: Make[Any] = dict,
        *,
        max_staleness: timedelta | float | str,
        max_entries: int = 1000,
        max_bytes: int = 64 * 2**20,
    ) -> NearView[Any]:
        """Rows of one cached view kept in this process, each exact at most `max_staleness` ago: a duration,
        seconds, or text such as 500ms. Never for reads that decide something or must see their own writes.

        `view` and `make` are as for `view`. At most `max_entries` rows are kept, and `max_bytes` of them as
        they came from the server; as Python's values they take several times that. Nothing is asked before
        the first read. Raises ConfigurationError for limits that are none, DefinitionError for a rollup, of
        which the catalog may know only at the first read.
        """
        return NearView(
            self, view, make, max_staleness=max_staleness, max_entries=max_entries, max_bytes=max_bytes
        )

    def together(self, where: Connection | Session) -> Together:
        """A block whose reads go to the database in one round trip when it ends, on the caller's Connection
        or Session.

        Each is answered as by `BoundView`, under READ COMMITTED and outside of transactions in a snapshot of
        its own, and what the cache cannot answer at once is read after it, one by one.
        """
        return Together(self, where.connection() if isinstance(where, Session) else where)

    def target(self, connection: Connection, view: str | Definition) -> Target:
        """What is known of a view, from this process's memory or from the catalog by the caller's
        connection.
        """
        name = view if isinstance(view, str) else view.name
        known = self._targets.get(name)
        if known is not None:
            return known
        if self._absent.get(name, 0.0) < time.monotonic():
            found = repository.load_target(connection, name)
            if found is not None and (isinstance(view, str) or tuple(view.key) == found.key):
                self._targets[name] = found
                return found
            self._absent[name] = time.monotonic() + RETRY_SECONDS
        if isinstance(view, str):
            raise DefinitionError(
                f"no cached view named {name!r} can be read here",
                hint="Apply it (meshcache apply PATH) and grant it, or pass its Definition.",
            )
        return Target(name, view.kind, view.key, view.coverage, (), (), view.query)

    def forget(self, name: str) -> None:
        """Drop what this process remembers of a view: it did not fit what the database has."""
        self._targets.pop(name, None)

    def after_read(
        self, target: Target, read: Read, missed: Sequence[Sequence[Any]], *, closed: bool
    ) -> None:
        """Fill what a read did not find, open a cache that it found `closed`, flush counters that are due.
        Never raises, never waits for long.
        """
        if not read.usable:
            self.forget(target.name)
        elif missed and not read.wrote:
            self._after.fill(target, missed)
        elif closed:
            self._after.reopen()
        if self.counts.is_due:
            self.flush()

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A connection in a READ COMMITTED transaction of our own, committed at the end of the block."""
        with translated(), self._fills.begin() as connection:
            yield connection

    @contextmanager
    def autocommit(self) -> Iterator[Connection]:
        """A connection of our own on which each statement is a transaction, for procedures that commit."""
        with translated(), self._autocommit.connect() as connection:
            yield connection

    def migrate(self) -> list[str]:
        """Install or upgrade schema meshcache in one transaction; returns what was run, [] when nothing
        was.
        """
        with self.begin() as connection:
            return migrate.upgrade(connection)

    def plan(self, definitions: Sequence[Definition], *, prune: bool = False) -> list[Step]:
        """What `apply` would do; with refused definitions it raises what `apply` would raise. Changes
        nothing.
        """
        with self.begin() as connection:
            steps = catalog.plan(connection, definitions, prune=prune)
        found: list[Step] = []

        def attempt(connection: Connection) -> None:
            found[:] = catalog.check(connection, steps, self.settings)

        self._retried(attempt)
        return found

    def apply(self, definitions: Sequence[Definition], *, prune: bool = False) -> list[Step]:
        """Bring the database to what is declared, in one transaction; returns the steps that were taken.

        Raises LockBusy after several attempts when a source table stays locked, and then nothing has changed.
        """
        taken: list[Step] = []

        def attempt(connection: Connection) -> None:
            steps = catalog.plan(connection, definitions, prune=prune)
            taken[:] = catalog.apply(connection, steps, self.settings)

        self._retried(attempt)
        for step in taken:
            self.forget(step.name)
        # What reads by key alone is filled by its readers: for them the cache has to be open.
        with self.autocommit() as connection:
            maintenance.open_cache(connection)
        return taken

    def explain(self, view: str | Definition, *, measure: bool = True) -> Explanation:
        """What makes the rows of a view stale and why, what that costs writers, what its reads take, and
        whether it is worth it; changes nothing. See explain.explain.
        """
        with translated(), self._fills.connect() as connection:
            return explain.explain(connection, view, measure=measure, settings=self.settings)

    def drop(self, name: str) -> None:
        """Drop one cached view or rollup."""
        self._retried(lambda connection: catalog.drop(connection, name))
        self.forget(name)

    def readers(self, tables: Sequence[str]) -> list[str]:
        """The cached views and rollups that read any of these tables."""
        with self.begin() as connection:
            return catalog.readers(connection, tables)

    def unfinished(self, definitions: Sequence[Definition] = ()) -> list[Definition]:
        """What `resume` would apply."""
        with self.begin() as connection:
            return catalog.unfinished(connection, definitions)

    def suspend(self, tables: Sequence[str]) -> list[str]:
        """Take away what reads these tables, before the application changes them; see catalog.suspend."""
        taken: list[str] = []

        def attempt(connection: Connection) -> None:
            taken[:] = catalog.suspend(connection, tables)

        self._retried(attempt)
        for name in taken:
            self.forget(name)
        return taken

    def resume(self, definitions: Sequence[Definition] = ()) -> list[Step]:
        """Apply what was suspended, as it was declared or as it is declared now; see catalog.resume."""
        taken: list[Step] = []

        def attempt(connection: Connection) -> None:
            taken[:] = catalog.resume(connection, definitions)

        self._retried(attempt)
        for step in taken:
            self.forget(step.name)
        return taken

    def uninstall(self) -> None:
        """Remove everything of the cache from the database, triggers first; the application's objects
        stay.
        """
        self._retried(install.uninstall)
        self._targets.clear()

    def _retried(self, work: Callable[[Connection], None]) -> None:
        """DDL in our own transaction; cut short by a lock, it is tried again after a pause that grows."""
        for attempt in stamina.retry_context(
            on=LockBusy, attempts=6, timeout=20, wait_initial=0.1, wait_max=2
        ):
            with attempt, self.begin() as connection:
                work(connection)

    def installed(self) -> dict[str, InstalledView]:
        """All cached views and rollups by name."""
        with self.begin() as connection:
            return catalog.installed(connection)

    def refresh(self, name: str, mode: maintenance.Mode = "stale", *, max_seconds: float = 600) -> int | None:
        """Bring one cached view up to date, or refresh a rollup; see maintenance.refresh."""
        with self.autocommit() as connection:
            return maintenance.refresh(connection, name, mode, max_seconds)

    def due_rollups(self) -> list[str]:
        """Rollups whose interval has passed."""
        with self.begin() as connection:
            return maintenance.due_rollups(connection)

    def sweep(self, *, max_seconds: float | None = None) -> maintenance.SweepReport:
        """Resolve pending marks and expired rows; see maintenance.sweep."""
        with self.autocommit() as connection:
            return maintenance.sweep(connection, max_seconds)

    def invalidate(self, name: str, *, key: Sequence[Any] | None = None, tenant: Any = None) -> None:
        """Make a row, a tenant's rows or a whole view stale, in a transaction of our own."""
        with self.begin() as connection:
            maintenance.invalidate(connection, self.target(connection, name), key=key, tenant=tenant)

    def stats(self) -> list[health.ViewStats]:
        """Statistics of all views; flushes this process's counters first."""
        self.flush()
        with self.begin() as connection:
            return health.stats(connection)

    def verify(self, name: str, *, share: float = 1.0) -> health.Verification:
        """Compare what is cached with the source; see health.verify."""
        with self.begin() as connection:
            return health.verify(connection, self.target(connection, name), share=share)

    def verify_live(
        self,
        names: Sequence[str] = (),
        *,
        seconds: float | None = None,
        reads: int | None = None,
        rate: float = live_check.DEFAULT_RATE,
        repair: bool = False,
        values: bool = False,
        progress: Callable[[live_check.LiveReport], None] | None = None,
    ) -> live_check.LiveReport:
        """Compare keys of cached views (all, without names) with the source beside the application's load, at
        most `rate` a second, until `seconds` have passed or `reads` keys are compared (without either for a
        minute).

        `repair` makes wrong rows stale; `values` reports the values that differ. Interrupted, what was found
        so far is what `progress` was given last. Raises LockBusy when nothing could be compared for locks or
        slow statements.
        """
        with self.begin() as connection:
            targets = [self.target(connection, name) for name in names or self._cached_views(connection)]
        check = live_check.LiveCheck(
            self.begin,
            targets,
            rate=rate,
            values=values,
            repair=(lambda target, key: self.invalidate(target.name, key=key)) if repair else None,
        )
        limit = self.settings.timeout_seconds if reads is not None else live_check.DEFAULT_SECONDS
        return check.run(
            seconds=limit if seconds is None else seconds,
            reads=reads,
            wait_for_keys=seconds is not None,
            progress=progress,
        )

    def _cached_views(self, connection: Connection) -> list[str]:
        return [view.name for view in catalog.installed(connection).values() if view.kind != "rollup"]

    def flush(self) -> None:
        """Write the counters to the database; what cannot be written is kept for the next time."""
        self._after.flush()
