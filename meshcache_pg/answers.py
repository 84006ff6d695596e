"""What reads return: rows as the driver made them, and what their callers get of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, StrEnum
from operator import itemgetter
from typing import Any, Final, Generic, TypeVar

from psycopg.pq.abc import PGresult

T = TypeVar("T")
Rows = Sequence[tuple[Any, ...]]


class Missing(Enum):
    """The type of MISSING, so that a value of None stays a value."""

    MISSING = "missing"

    def __bool__(self) -> bool:
        return False


MISSING: Final = Missing.MISSING


class Origin(StrEnum):
    """Where an answer came from; all but NEAR are exact in the caller's snapshot."""

    HIT = "hit"  # a cached row that is fresh in this snapshot
    MISS = "miss"  # no cached row: the source answered
    STALE = "stale"  # a cached row that is not fresh: the source answered
    BYPASS = "bypass"  # the cache cannot be used at all: the source answered
    NEAR = "near"  # this process's memory: exact at most the `max_staleness` of its NearView ago


# Asking the class takes as long as making a small row.
_ORIGINS: Final = {origin.value: origin for origin in Origin}


@dataclass(frozen=True, slots=True)
class Result(Generic[T]):
    """One row by key. `value` is MISSING where the source has no such row; `age` is that of a hit's cached
    row, and None of a near hit, which is known to be within its bound and no more.
    """

    value: T | Missing
    origin: Origin
    age: timedelta | None = None

    def __bool__(self) -> bool:
        return self.value is not MISSING

    def unwrap(self) -> T:
        """The value; raises LookupError where there is none."""
        if isinstance(self.value, Missing):
            raise LookupError("the source has no row with this key")
        return self.value


@dataclass(frozen=True, slots=True)
class Listing(Sequence[T], Generic[T]):
    """Rows of one list read. `origin` is the least cached of its rows' origins, `cached` how many were hits,
    `age` that of the oldest cached row.
    """

    rows: tuple[T, ...]
    origin: Origin
    cached: int
    age: timedelta | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        return self.rows[index]

    def __iter__(self) -> Iterator[T]:
        return iter(self.rows)


@dataclass(slots=True)
class Read:
    """Rows as the driver returned them: the values of `columns`, then the age of a cached row; then, unless
    they are `all_hits`, where it came from and whether the caller's transaction has written; then the version
    of the cached row if the read is `versioned`.

    `usable`: whether the cache could be asked at all; `positions`: of a read of many keys, which key each row
    belongs to; `result` is the driver's own, of a versioned read.
    """

    columns: tuple[str, ...]
    rows: Rows
    usable: bool
    positions: tuple[int, ...] = ()
    all_hits: bool = False
    result: PGresult | None = None

    @property
    def origins(self) -> list[Origin]:
        """Of each row."""
        return [self.origin_of(row) for row in self.rows]

    def origin_of(self, row: tuple[Any, ...]) -> Origin:
        """Of one row."""
        return Origin.HIT if self.all_hits else _ORIGINS[row[len(self.columns) + 1]]

    def age_of(self, row: tuple[Any, ...]) -> timedelta | None:
        """Of one row; None unless it is a hit."""
        return age(row[len(self.columns)])

    @property
    def oldest(self) -> timedelta | None:
        """The greatest age of all rows."""
        ages = map(itemgetter(len(self.columns)), self.rows)
        known = ages if self.all_hits else (one for one in ages if one is not None)
        return age(max(known, default=None))

    @property
    def versions(self) -> list[str | None]:
        """Of each row: a text that no other content of its key has at any time; None unless it is a hit of a
        versioned read.
        """
        if self.result is None:
            return [None] * len(self.rows)
        place = len(self.columns) + 3
        return [row[place] for row in self.rows]

    def bytes_of(self, row: int) -> int:
        """How long the values of one row of a versioned read are as the server sent them."""
        if self.result is None:
            return 0
        values = (self.result.get_value(row, column) for column in range(len(self.columns)))
        return sum(len(value) for value in values if value is not None)

    @property
    def wrote(self) -> bool:
        """Whether the caller's transaction has written: then a fill would be wasted."""
        place = len(self.columns) + 2
        return not self.all_hits and any(row[place] for row in self.rows)


def age(seconds: float | None) -> timedelta | None:
    """Of a cached row, as the server computed it; None unless it is a hit."""
    return None if seconds is None else timedelta(seconds=seconds)
