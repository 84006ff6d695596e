"""One cached view, bound to the caller's connection and to the type of its rows: what repositories are made
of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sqlalchemy import Connection

from meshcache_pg import repository
from meshcache_pg.answers import MISSING, Listing, Origin, Read, Result, age
from meshcache_pg.definition import Definition
from meshcache_pg.making import Make, maker
from meshcache_pg.statements import Target

if TYPE_CHECKING:
    from meshcache_pg.cache import MeshCache

T = TypeVar("T")

_FILLED_AFTER = (Origin.MISS, Origin.STALE)

# From least to most cached; a list is as cached as its least cached row.
_ORDER = (Origin.BYPASS, Origin.MISS, Origin.STALE, Origin.HIT)


class BoundView(Generic[T]):
    """Reads of one cached view in the caller's transaction and snapshot.

    Every method is exact at every isolation level, sees the transaction's own writes, never leaves it aborted
    on the cache's account, and takes one round trip on the caller's connection, the first miss in a while
    two. A miss is filled afterwards on a connection of the cache. Raises InvalidKey for keys and filters that
    the view cannot have.
    """

    def __init__(
        self, cache: MeshCache, view: str | Definition, connection: Connection, make: Make[T]
    ) -> None:
        self._cache = cache
        self._view = view
        self._connection = connection
        self._make = make

    def _target(self) -> Target:
        return self._cache.target(self._connection, self._view)

    def get(self, *key: Any) -> Result[T]:
        """The row with this key: `Result.value`, or MISSING where the source has none."""
        target = self._target()
        hit = repository.hit(self._connection, target, key)
        if hit:
            counts = self._cache.counts
            counts.add(target.name, Origin.HIT)
            if counts.is_due:
                self._cache.flush()
            return Result(maker(target.name, self._make, target.columns)(hit), Origin.HIT, age(hit[-1]))
        read = repository.get(self._connection, target, key)
        if hit is not None:
            # The view was applied anew: its hits have other columns now.
            self._cache.forget(target.name)
        return self._result(target, key, read)

    def _result(self, target: Target, key: Sequence[Any], read: Read) -> Result[T]:
        if not read.rows:
            origin = Origin.MISS if read.usable else Origin.BYPASS
            self._done(target, read, origin)
            return Result(MISSING, origin)
        row = read.rows[0]
        origin = read.origin_of(row)
        self._done(target, read, origin, missed=(key,) if origin in _FILLED_AFTER else ())
        return Result(maker(target.name, self._make, read.columns)(row), origin, read.age_of(row))

    def get_many(self, keys: Iterable[Any]) -> dict[Any, Result[T]]:
        """Rows of many keys in one round trip, as a dict in the order of `keys`, MISSING ones included.

        A key of one column may be given bare, one of several columns is a tuple.
        """
        target = self._target()
        wanted = list(dict.fromkeys(keys))
        tuples = [k if isinstance(k, tuple) else (k,) for k in wanted]
        read = repository.get_many(self._connection, target, tuples)
        nothing: Result[T] = Result(MISSING, Origin.MISS if read.usable else Origin.BYPASS)
        results = dict.fromkeys(wanted, nothing)
        make = maker(target.name, self._make, read.columns)
        for position, row in zip(read.positions, read.rows, strict=True):
            results[wanted[position]] = Result(make(row), read.origin_of(row), read.age_of(row))
        missed = [
            t
            for key, t in zip(wanted, tuples, strict=True)
            if results[key] and results[key].origin in _FILLED_AFTER
        ]
        self._done(target, read, *(r.origin for r in results.values()), missed=missed)
        return results

    def list(
        self, *, order_by: Sequence[str] = (), limit: int | None = None, offset: int = 0, **where: Any
    ) -> Listing[T]:
        """Rows whose columns equal `where` (None: is null), ordered by `order_by` (`-column` descends).

        Served from the cache where the view is complete and populated; a rollup answers as of its last
        refresh.
        """
        target = self._target()
        read = repository.list_rows(
            self._connection, target, where, order_by=order_by, limit=limit, offset=offset
        )
        return self._listing(target, read)

    def _listing(self, target: Target, read: Read) -> Listing[T]:
        origins = Counter({Origin.HIT: len(read.rows)}) if read.all_hits else Counter(read.origins)
        empty = Origin.HIT if read.usable and target.coverage == "complete" else Origin.BYPASS
        origin = next((o for o in _ORDER if o in origins), empty)
        self._done(target, read, origin)
        rows = tuple(map(maker(target.name, self._make, read.columns), read.rows))
        return Listing(rows, origin, origins[Origin.HIT], read.oldest)

    def _done(
        self, target: Target, read: Read, *origins: Origin, missed: Sequence[Sequence[Any]] = ()
    ) -> None:
        for origin in origins:
            self._cache.counts.add(target.name, origin)
        self._cache.after_read(target, read, missed, closed=bool(read.rows) and Origin.BYPASS in origins)
