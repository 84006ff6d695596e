"""What a near cache asks the database: rows by key with their versions, and whether rows that it has are
still the same. On connections of the cache, each statement on its own, so that no snapshot is older than the
question; a caller's transaction may have begun an hour ago.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar
from uuid import UUID

import psycopg
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from meshcache_pg import repository
from meshcache_pg.answers import MISSING, Origin, Read, Result
from meshcache_pg.definition import Definition
from meshcache_pg.errors import ConnectionFailed, DefinitionError, MeshcacheError
from meshcache_pg.making import Make, maker
from meshcache_pg.near_entries import Entry, Key
from meshcache_pg.statements import Target

if TYPE_CHECKING:
    from meshcache_pg.cache import MeshCache

T = TypeVar("T")
A = TypeVar("A")

# What may keep a question from its answer.
FAILURES: Final = (psycopg.Error, SQLAlchemyError, MeshcacheError)

# Connections that wait in the cache's pool, two of them, may have been lost with the server that they led to;
# then comes one that is made for the question.
ATTEMPTS: Final = 3

# Of which a text is always the same value.
_SAME_BY_TEXT: Final = (str, int, float, Decimal, UUID)

_FILLED_AFTER: Final = (Origin.MISS, Origin.STALE)


@dataclass(frozen=True, slots=True)
class Answers(Generic[T]):
    """Of one read: a result for each key in order, and entries for those that were hits, by their places.
    `since` is what the clock showed before it was sent.
    """

    since: float
    results: list[Result[T]]
    entries: dict[int, Entry[T]]


class Reader(Generic[T]):
    """Questions about one cached view. They raise what reads raise, and ConnectionFailed where there is no
    connection; of a rollup DefinitionError.
    """

    def __init__(
        self, cache: MeshCache, view: str | Definition, make: Make[T], clock: Callable[[], float]
    ) -> None:
        if isinstance(view, Definition):
            _refuse_rollup(view.name, view.kind)
        self._cache = cache
        self._view = view
        self._make = make
        self._clock = clock

    def _target(self, connection: Connection) -> Target:
        target = self._cache.target(connection, self._view)
        _refuse_rollup(target.name, target.kind)
        return target

    def unchanged(self, entries: Sequence[Entry[T]]) -> tuple[float, set[Entry[T]]]:
        """Those of the entries that are what a read would find now, in one round trip; and what the clock
        showed before.
        """

        def ask(connection: Connection) -> tuple[float, set[Entry[T]]]:
            target = self._target(connection)
            # By another definition the rows are others, and maybe the columns of the key.
            mine = [entry for entry in entries if entry.target == target]
            since = self._clock()
            if not mine:
                return since, set()
            keys, versions = [one.key for one in mine], [one.version for one in mine]
            found = repository.still_hits(connection, target, keys, versions)
            return since, {mine[position] for position in found}

        return self._on_connection(ask)

    def read(self, keys: Sequence[Key]) -> Answers[T]:
        """Rows of these keys in one round trip, as a BoundView reads them: counted, and filled where they
        were missing.
        """

        def ask(connection: Connection) -> tuple[Target, float, Read]:
            target = self._target(connection)
            since = self._clock()
            if len(keys) == 1:
                return target, since, repository.get(connection, target, keys[0], versioned=True)
            return target, since, repository.get_many(connection, target, keys, versioned=True)

        target, since, read = self._on_connection(ask)
        nothing: Result[T] = Result(MISSING, Origin.MISS if read.usable else Origin.BYPASS)
        results = [nothing] * len(keys)
        entries: dict[int, Entry[T]] = {}
        make = maker(target.name, self._make, read.columns)
        places = read.positions or [0] * len(read.rows)
        for number, (place, row, version) in enumerate(zip(places, read.rows, read.versions, strict=True)):
            if results[place] is not nothing:
                # The source has a second row of this key.
                continue
            value = make(row)
            results[place] = Result(value, read.origin_of(row), read.age_of(row))
            of_row = tuple(row[read.columns.index(column)] for column in target.key)
            if version is not None and not _moves(keys[place], of_row):
                entries[place] = Entry(
                    Result(value, Origin.NEAR),
                    target=target,
                    key=of_row,
                    types=[type(part) for part in keys[place]],
                    version=version,
                    size=read.bytes_of(number),
                )
        for result in results:
            self._cache.counts.add(target.name, result.origin)
        missed = [
            key
            for key, result in zip(keys, results, strict=True)
            if result and result.origin in _FILLED_AFTER
        ]
        bypassed = any(result.origin == Origin.BYPASS for result in results)
        self._cache.after_read(target, read, missed, closed=bool(read.rows) and bypassed)
        return Answers(since, results, entries)

    def _on_connection(self, ask: Callable[[Connection], A]) -> A:
        """Ask on a connection of the cache; of one that was lost, once more on another."""
        lost: psycopg.OperationalError | None = None
        for _ in range(ATTEMPTS):
            with self._cache.autocommit() as connection:
                raw: Any = connection.connection.driver_connection
                try:
                    return ask(connection)
                except psycopg.OperationalError as error:
                    if not raw.closed:
                        raise
                    connection.invalidate(error)
                    lost = error
        raise ConnectionFailed(f"the connection is lost: {lost}", hint="Is the server up?") from lost


def _moves(asked: Key, of_row: Key) -> bool:
    """Whether a key may be that of another row another time, as the text `today` may where it is a date."""
    return any(
        isinstance(one, str) and not isinstance(other, _SAME_BY_TEXT)
        for one, other in zip(asked, of_row, strict=True)
    )


def _refuse_rollup(name: str, kind: str) -> None:
    if kind == "rollup":
        raise DefinitionError(
            f"{name} is a rollup, of which no near cache is made: its rows have no versions",
            hint="Keep what you read of it for as long as it may lag: that is what its interval says.",
        )
