"""What only looks: statistics, and the comparison of what is cached with its source, of all rows or of a
few keys.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql
from sqlalchemy import Connection, text

from meshcache_pg.database import translated
from meshcache_pg.errors import DefinitionError
from meshcache_pg.sql import Identifier, query
from meshcache_pg.sql import text as sql_text
from meshcache_pg.statements import Target

# More differences than this say nothing that these do not.
SHOWN_DIFFERENCES = 20

# The values of a key's columns, as the server writes them.
Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ViewStats:
    """One line of `stats`. `hit_ratio` is None before the first counted read; ages are in seconds.

    `problem` is why the last sweep could not fill the view, such as two rows of one key.
    For a rollup `oldest_filled_at` and `refreshed_at` are its last refresh: by how much it lags.
    """

    name: str
    kind: str
    coverage: str | None
    populated: bool
    rows: int
    bytes: int
    hits: int
    misses: int
    stale: int
    bypassed: int
    fills: int
    hit_ratio: float | None
    pending_marks: int
    expired: int
    oldest_filled_at: datetime | None
    refreshed_at: datetime | None
    problem: str | None
    oldest_age_seconds: float | None


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` found for one view: rows compared, how many of them were served by the cache, how many
    differ.
    """

    name: str
    compared: int
    cached: int
    different: int
    differences: Sequence[Mapping[str, Any]]

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return self.different == 0


def stats(connection: Connection) -> list[ViewStats]:
    """Size, counted reads, pending marks and age of every view. Counts rows: its cost grows with the
    cache.
    """
    with translated():
        return [ViewStats(**row) for row in connection.execute(text(query("health", "stats"))).mappings()]


def verify(
    connection: Connection, target: Target, *, share: float = 1.0, shown: int = SHOWN_DIFFERENCES
) -> Verification:
    """Compare what the cache serves with the source, in one statement and so in one snapshot.

    `share` (0 to 1) compares a random part. Takes no locks that anybody waits for.
    """
    statement = sql.SQL("select {}(%s::double precision, %s::integer)").format(
        Identifier("meshcache", f"_{target.name}_verify").sql
    )
    with translated():
        found = connection.exec_driver_sql(sql_text(statement), (share, shown)).scalar_one()
    return Verification(
        target.name, found["compared"], found["cached"], found["different"], found["differences"]
    )


def limit(connection: Connection, *, statement_ms: int, lock_ms: int) -> None:
    """Let the caller's transaction neither write, nor run or wait for longer than this, until it ends."""
    connection.execute(
        text(query("health", "limits")), {"statement_ms": str(statement_ms), "lock_ms": str(lock_ms)}
    )


def refuse_rollup(name: str, kind: str) -> None:
    """Raise DefinitionError for what is allowed to differ from its source."""
    if kind == "rollup":
        raise DefinitionError(
            f"{name} is a rollup: it is as old as its last refresh, there is nothing to compare",
            hint=f"meshcache refresh {name}",
        )


def pick(connection: Connection, target: Target, where: str, most: int) -> list[Key]:
    """At most so many keys of a view, as text: `marked`, `cached` or `uncached` ones."""
    statement = sql.SQL("select k from {}(%s::text, %s::integer) as k").format(
        Identifier("meshcache", f"_{target.name}_pick").sql
    )
    return [tuple(keys) for keys in connection.exec_driver_sql(sql_text(statement), (where, most)).scalars()]


def compare(
    connection: Connection,
    target: Target,
    keys: Sequence[Key],
    *,
    values: bool = False,
    shown: int = SHOWN_DIFFERENCES,
) -> dict[str, Any]:
    """Ask the source and every way to read the cache for these keys, in one statement and so one snapshot.

    With `values` a difference has the values of the columns that differ. Takes no locks that anybody waits
    for.
    """
    arrays = [list(column) for column in zip(*keys, strict=True)]
    statement = sql.SQL("select {}({}, %s::boolean, %s::integer)").format(
        Identifier("meshcache", f"_{target.name}_compare").sql,
        sql.SQL(", ").join([sql.SQL("%s::text[]")] * len(target.key)),
    )
    found: dict[str, Any] = connection.exec_driver_sql(
        sql_text(statement), (*arrays, values, shown)
    ).scalar_one()
    return found
