"""The hot reads of the pack, each asked of source and cache in turn, in one snapshot, and compared.

Both answers come over the same connection, from prepared statements, through the same driver and in the same
format, and become the same dataclass in the same way. The source has every index that its query can use. The
cache is asked through its repositories, so that all they cost (the savepoint around each read, where the
answer came from) is on its side.
"""

import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row
from sqlalchemy import Connection, text

from meshcache_pg.answers import Origin
from meshcache_pg.bound_view import BoundView
from meshcache_pg.demo.cases import Case, cases
from meshcache_pg.demo.report import Tick
from meshcache_pg.demo.stage import Stage
from meshcache_pg.making import Row, maker
from meshcache_pg.meshhook import definition
from meshcache_pg.sql import trusted
from meshcache_pg.timing import batches, in_turns, word

# A slow source must not hold up the demo.
SECONDS_PER_CASE = 4.0

# More than one fill takes would be left to the next reader.
KEYS_PER_FILL = 100


@dataclass(frozen=True, slots=True)
class Measured:
    """One case: medians in milliseconds and of the number of rows; pairs that were equal, and hits."""

    view: str
    case: str
    heavy: bool
    pairs: int
    keys: int
    rows: float
    source_ms: float
    cache_ms: float
    equal_pairs: int
    hits: int

    @property
    def factor(self) -> float:
        """How many times faster the cache is; below 1 it is slower."""
        return self.source_ms / self.cache_ms

    @property
    def equal(self) -> bool:
        """Whether every pair had the same rows."""
        return self.equal_pairs == self.pairs

    @property
    def verdict(self) -> str:
        """What the factor means."""
        return word(self.factor)


def warm(stage: Stage, pairs: int, seed: int) -> int:
    """Read every key of the measurement once, as the application's first readers do: then the views that fill
    on demand have them. Returns the number of different keys.
    """
    read = 0
    with stage.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for case in cases(stage.cache, connection):
            if definition(case.view).coverage == "on_demand":
                view: BoundView[Row] = stage.cache.view(definition(case.view), connection)
                for keys in batches(dict.fromkeys(_choose(connection, case, pairs, seed)), KEYS_PER_FILL):
                    read += len(view.get_many(keys))
    return read


def measure(stage: Stage, pairs: int, seed: int, tick: Tick) -> Iterator[Measured]:
    """Measure every case, all in one REPEATABLE READ transaction, and so in one snapshot."""
    with stage.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        connection.execute(text("set transaction read only"))
        found = cases(stage.cache, connection)
        for done, case in enumerate(found):
            tick("reads", done, len(found))
            keys = _choose(connection, case, pairs, seed)
            if keys:
                yield _compare(connection, case, keys)
        connection.rollback()


def _choose(connection: Connection, case: Case, pairs: int, seed: int) -> list[tuple[Any, ...]]:
    """Keys as the application asks for them, popular ones more often; the same seed gives the same keys."""
    found = [tuple(row) for row in connection.execute(text(case.popularity))]
    if not found:
        return []
    draw = random.Random(f"{seed} {case.view} {case.title}")  # noqa: S311 - a sample, no secret
    return draw.choices([row[:-1] for row in found], [float(row[-1]) for row in found], k=pairs)


def _compare(connection: Connection, case: Case, keys: Sequence[tuple[Any, ...]]) -> Measured:
    source = source_read(connection, case)
    source_s: list[float] = []
    cache_s: list[float] = []
    rows: list[int] = []
    equal = hits = 0
    for wanted, cached in in_turns((source, case.cached), keys, seconds=SECONDS_PER_CASE):
        source_s += [seconds for _, seconds in wanted]
        cache_s += [seconds for _, seconds in cached]
        rows += [len(answer) for answer, _ in wanted]
        equal += sum(tuple(a) == tuple(b) for (a, _), (b, _) in zip(wanted, cached, strict=True))
        hits += sum(answer.origin == Origin.HIT for answer, _ in cached)
    return Measured(
        case.view,
        case.title,
        case.heavy,
        len(rows),
        len(set(keys[: len(rows)])),
        statistics.median(rows),
        statistics.median(source_s) * 1000,
        statistics.median(cache_s) * 1000,
        equal,
        hits,
    )


def source_read(
    connection: Connection, case: Case, *, prepare: bool = True
) -> Callable[..., tuple[Any, ...]]:
    """The definition's own SELECT by the case's key, as an application would write it without a cache."""
    query = definition(case.view).query.replace("%", "%%")
    statement = sql.SQL("select s.* from ({}\n) as s {}").format(sql.SQL(trusted(query)), sql.SQL(case.where))
    sent = statement.as_bytes()

    def ask(*key: Any) -> tuple[Any, ...]:
        raw = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
        cursor = raw.cursor(row_factory=tuple_row, binary=True).execute(sent, key, prepare=prepare)
        make = maker(case.view, case.row_type, tuple(column.name for column in cursor.description or ()))
        return tuple(make(row) for row in cursor.fetchall())

    return ask
