"""A near cache: rows of one cached view in the memory of this process, for reads that may be a little old.

It needs nothing of the writers. A row is handed out only if the database said, at most `max_staleness` ago,
that it is what the source has; the time counts from before the question was sent, so that the answer cannot
be older than it looks. When a row is asked for whose time is up, one statement asks about all rows that were
used since they were asked about last: are they still hits, and the same? Those that are stay, without being
sent again.

Repositories never read here. This is the one place in which an answer may not be exact.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar
from weakref import WeakSet

from meshcache_pg.answers import Result
from meshcache_pg.definition import Definition
from meshcache_pg.errors import ConfigurationError, DefinitionError
from meshcache_pg.headers import parse_duration
from meshcache_pg.making import Make
from meshcache_pg.near_entries import Entries, Entry, Key
from meshcache_pg.near_reads import FAILURES, Reader

if TYPE_CHECKING:
    from meshcache_pg.cache import MeshCache

T = TypeVar("T")
logger = logging.getLogger("meshcache_pg")

# What one validation asks about: a probe takes the server some microseconds, and somebody waits for it.
BATCH: Final = 1000

# Goes on while the machine sleeps, unlike time.monotonic on Linux.
CLOCK: Final = partial(time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass(frozen=True, slots=True)
class NearCounts:
    """What a near cache did so far, in rows: `hits` it answered from memory, `misses` it read from the
    database; `validated` were found unchanged when their time was up, `dropped` were found changed or gone,
    `evicted` had to make room. `entries` and `bytes` are what it holds now.
    """

    hits: int
    misses: int
    validated: int
    dropped: int
    evicted: int
    entries: int
    bytes: int


def seconds_of(max_staleness: timedelta | float | str) -> float:
    """A duration, seconds, or text such as 500ms as seconds; raises ConfigurationError unless it is more
    than 0 and has an end.
    """
    try:
        given = parse_duration(max_staleness, "") if isinstance(max_staleness, str) else max_staleness
        seconds = given.total_seconds() if isinstance(given, timedelta) else float(given)
    except (DefinitionError, TypeError, ValueError):
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ConfigurationError(
            f"max_staleness cannot be {max_staleness!r}",
            hint="Give a timedelta, seconds, or text like 500ms.",
        )
    return seconds


class NearView(Generic[T]):
    """Reads by key of one cached view that are exact at most `max_staleness` ago; made by `MeshCache.near`.

    Never for a read that decides something, or that must see what its caller has written: it is no part of
    any transaction. A row that is in memory is answered without the database (`Origin.NEAR`); all others are
    read on a connection of the cache, with its rights. Values are shared by all that ask: they must not be
    changed, nor anything in them. Thread-safe.
    """

    def __init__(
        self,
        cache: MeshCache,
        view: str | Definition,
        make: Make[T],
        *,
        max_staleness: timedelta | float | str,
        max_entries: int,
        max_bytes: int,
        clock: Callable[[], float] = CLOCK,
    ) -> None:
        if max_entries < 1 or max_bytes < 1:
            raise ConfigurationError("max_entries and max_bytes of a near cache must be 1 or more")
        self._cache = cache
        self._reader = Reader(cache, view, make, clock)
        self._bound = seconds_of(max_staleness)
        self._clock = clock
        self._entries: Entries[T] = Entries(max_entries, max_bytes)
        self._find = self._entries.find
        self._tick = self._entries.tick
        self._misses = self._validated = self._dropped = self._failures = 0
        self._make_locks()
        _all.add(self)

    def _make_locks(self) -> None:
        # Of the table; nobody waits for anything while he has it.
        self._lock = threading.Lock()
        # Of the one that validates.
        self._turn = threading.Lock()
        # Reads under way: the keys of each that may be kept when it comes back.
        self._flights: dict[int, set[Key]] = {}

    def get(self, *key: Any) -> Result[T]:
        """The row with this key as it was at most `max_staleness` before the call, or MISSING where the
        source has none.

        `Result.origin` is NEAR of a row from memory, whose `age` is not known, and else what a BoundView
        would say. Raises what reads raise: InvalidKey, DefinitionError, ConnectionFailed, psycopg's errors.
        """
        try:
            entry = self._find(key)
        except TypeError:
            # What cannot be hashed cannot be kept.
            return self._reader.read([key]).results[0]
        if entry is not None and entry.until >= self._clock() and entry.types == [*map(type, key)]:
            entry.used = self._tick()
            return entry.result
        return self._resolve([key])[key]

    def get_many(self, keys: Iterable[Any]) -> dict[Any, Result[T]]:
        """Rows of many keys as a dict in the order of `keys`, MISSING ones included; at most one validation,
        and one round trip for what is not in memory.

        A key of one column may be given bare, one of several columns is a tuple.
        """
        tuples = {key: key if isinstance(key, tuple) else (key,) for key in keys}
        found = self._served(tuples.values())
        if any(key not in found for key in tuples.values()):
            found |= self._resolve([key for key in tuples.values() if key not in found])
        return {key: found[one] for key, one in tuples.items()}

    def invalidate(self, *key: Any) -> None:
        """Forget one row, here: who asks for it from now on gets what the database has now.

        Other processes, and the cache in the database, learn nothing of it.
        """
        with self._lock:
            self._entries.remove(key)
            for flight in self._flights.values():
                flight.discard(key)

    def clear(self) -> None:
        """Forget all rows, here."""
        with self._lock:
            self._entries.clear()
            for flight in self._flights.values():
                flight.clear()

    @property
    def counts(self) -> NearCounts:
        """What was done so far."""
        with self._lock:
            return NearCounts(
                self._entries.hits,
                self._misses,
                self._validated,
                self._dropped,
                self._entries.evicted,
                len(self._entries),
                self._entries.bytes,
            )

    def _served(self, keys: Iterable[Key]) -> dict[Key, Result[T]]:
        """What memory may answer now."""
        found: dict[Key, Result[T]] = {}
        for key in keys:
            entry = self._find(key)
            if entry is not None and entry.until >= self._clock() and entry.fits(key):
                entry.used = self._tick()
                found[key] = entry.result
        return found

    def _resolve(self, keys: Sequence[Key]) -> dict[Key, Result[T]]:
        """Keys that memory could not answer: by a validation of what it has, and by reading the rest."""
        found: dict[Key, Result[T]] = {}
        failures = self._failures
        if self._want(keys):
            with self._turn:
                # Somebody may have validated these while we waited; or have found that it cannot be done.
                found = self._served(keys)
                if failures == self._failures and self._want(keys, found):
                    self._validate(keys)
                    found |= self._served(key for key in keys if key not in found)
        missing = [key for key in keys if key not in found]
        if missing:
            found.update(zip(missing, self._read(missing), strict=True))
        return found

    def _want(self, keys: Sequence[Key], found: Iterable[Key] = ()) -> bool:
        """Whether some of these that are not found have entries; marks them as used, so that whoever
        validates next asks about them.
        """
        with self._lock:
            entries = [
                entry
                for key in keys
                if key not in found and (entry := self._find(key)) is not None and entry.fits(key)
            ]
            for entry in entries:
                self._entries.want(entry)
        return bool(entries)

    def _validate(self, keys: Sequence[Key]) -> None:
        """Ask once about these and about all that were used since they were asked about last."""
        with self._lock:
            asked = [(*one, one[1].used) for one in self._entries.to_validate(keys, BATCH).items()]
        try:
            since, same = self._reader.unchanged([entry for _, entry, _ in asked])
        except FAILURES as error:
            logger.debug("near rows not validated: %s", error)
            self._failures += 1
            return
        until = since + self._bound
        with self._lock:
            self._validated += len(same)
            for key, entry, used in asked:
                if entry in same:
                    entry.until = max(entry.until, until)
                    entry.checked = used
                elif self._find(key) is entry:
                    self._entries.remove(key)
                    self._dropped += 1

    def _read(self, keys: Sequence[Key]) -> list[Result[T]]:
        """Read keys as a BoundView does, and keep those that were hits."""
        flight = set(keys)
        with self._lock:
            self._flights[id(flight)] = flight
            self._misses += len(keys)
        try:
            answers = self._reader.read(keys)
            until = answers.since + self._bound
            with self._lock:
                for place, key in enumerate(keys):
                    if key in flight:
                        self._keep(key, answers.entries.get(place), until)
        finally:
            with self._lock:
                del self._flights[id(flight)]
        return answers.results

    def _keep(self, key: Key, entry: Entry[T] | None, until: float) -> None:
        """What was read just now is kept, or takes the place of nothing: then what is there is outdated."""
        if entry is not None:
            entry.until = until
            self._entries.put(key, entry)
            return
        known = self._find(key)
        if known is not None and known.until < until:
            self._entries.remove(key)

    def after_fork(self) -> None:
        """In a child process: nobody holds the locks here, and nothing is under way. Rows are as old as they
        are there; unless somebody was busy with them when the process was copied.
        """
        if self._lock.locked():
            self._entries.clear()
        self._make_locks()
        self._cache.after_fork()


# Weak: nobody has to close a near cache.
_all: WeakSet[NearView[Any]] = WeakSet()


def _after_fork() -> None:
    for view in list(_all):
        view.after_fork()


os.register_at_fork(after_in_child=_after_fork)
