"""What writes to the cache: fill, refresh, invalidate, sweep, counters. Each function says what its
connection must be: procedures commit between their steps and need autocommit, marks belong in the caller's
transaction.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from psycopg import sql
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from meshcache_pg.database import translated
from meshcache_pg.errors import DefinitionError, InvalidKey, LockBusy
from meshcache_pg.sql import Identifier, query
from meshcache_pg.sql import text as sql_text
from meshcache_pg.statements import Target

Mode = Literal["stale", "all"]

# What one sweep step resolves; chosen so that a step holds its locks for tens of milliseconds.
SWEEP_BATCH = 5000


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What one sweep did. `state` is done, busy (another one, or a long fill) or out of time; all three are
    safe.
    """

    state: str
    rows: int
    marks: int
    differences: Mapping[str, str]


def fill(
    connection: Connection, target: Target, keys: Sequence[Sequence[Any]], *, statement_ms: int, lock_ms: int
) -> int:
    """Fill some keys; returns how many were. The connection must be at the start of a READ COMMITTED
    transaction of its own, which the caller commits at once. At most 100 keys are taken; keys that others
    fill are left to them.
    """
    connection.execute(
        text(query("maintenance", "fill_timeouts")), {"statement_ms": statement_ms, "lock_ms": lock_ms}
    )
    statement = sql.SQL("select {}({})").format(
        Identifier("meshcache", f"{target.name}_fill").sql,
        sql.SQL(", ").join(sql.SQL("%s::{}[]").format(target.type_of(k)) for k in target.key),
    )
    arrays = tuple(list(column) for column in zip(*keys, strict=True))
    filled: int = connection.exec_driver_sql(sql_text(statement), arrays).scalar_one()
    return filled


def refresh(connection: Connection, name: str, mode: Mode = "stale", max_seconds: float = 600) -> int | None:
    """Bring one cached view up to date (`stale`), fill all its keys (`all`), or refresh a rollup.

    Needs: an autocommit connection of the installing role. Returns the rows written, None for a rollup.
    Raises LockBusy when others held the view for `max_seconds`, or a transaction from before the cache was
    opened is still open.
    """
    with translated():
        try:
            row = connection.execute(
                text(query("maintenance", "refresh")),
                {"name": name, "mode": mode, "max_seconds": max_seconds},
            ).one()
        except DBAPIError as error:
            raise _key_error(name, error) from error
    result = row[0]
    if result["state"] != "done":
        raise LockBusy(
            f"{name} could not be refreshed within {max_seconds:g} s",
            hint="Another refresh or sweep works on it, or a transaction (also a prepared one, see "
            "pg_prepared_xacts) is older than the opened cache.",
        )
    rows: int | None = result.get("rows")
    return rows


def _key_error(name: str, error: DBAPIError) -> Exception:
    """A key that is not unique or null is the definition's fault, and the server's message names neither."""
    state = getattr(error.orig, "sqlstate", None)
    if state in ("21000", "23505"):
        return DefinitionError(
            f"{name}: two rows of its SELECT have the same key", hint="Add columns to the key, or aggregate."
        )
    if state == "23502":
        return DefinitionError(
            f"{name}: a key column of its SELECT is null", hint="Leave such rows out: where … is not null."
        )
    return error


def sweep(connection: Connection, max_seconds: float | None = None, batch: int = SWEEP_BATCH) -> SweepReport:
    """Resolve pending marks and expired rows. Needs: an autocommit connection of the installing role."""
    with translated():
        row = connection.execute(
            text(query("maintenance", "sweep")), {"max_seconds": max_seconds, "batch": batch}
        ).one()
    result = row[0]
    return SweepReport(
        result["state"], result.get("rows", 0), result.get("marks", 0), result.get("differences", {})
    )


def open_cache(connection: Connection, *, lock_ms: int | None = None) -> None:
    """Open the cache after a crash or a restore. Needs: an autocommit connection of the installing role.

    With `lock_ms` no wait for a lock is longer: LockBusy. Somebody may be applying definitions.
    """
    with translated():
        if lock_ms is None:
            connection.execute(text(query("maintenance", "open_cache")))
            return
        before = connection.scalar(text("select current_setting('lock_timeout')"))
        connection.execute(text(query("maintenance", "lock_timeout")), {"timeout": f"{lock_ms}ms"})
        try:
            connection.execute(text(query("maintenance", "open_cache")))
        finally:
            if not connection.invalidated:
                connection.execute(text(query("maintenance", "lock_timeout")), {"timeout": before})


def due_rollups(connection: Connection) -> list[str]:
    """Names of rollups whose interval has passed."""
    with translated():
        return list(connection.scalars(text(query("maintenance", "due_rollups"))))


def invalidate(
    connection: Connection, target: Target, *, key: Sequence[Any] | None = None, tenant: Any = None
) -> None:
    """Make one row, a tenant's rows or the whole view stale, in the caller's transaction: it becomes visible,
    or is undone, with it. Raises InvalidKey for a key of another length, DefinitionError for a rollup.
    """
    if target.kind == "rollup":
        raise DefinitionError(
            f"{target.name} is a rollup: its rows do not become stale, they are as old as its last refresh",
            hint=f"meshcache refresh {target.name}",
        )
    if key is not None and len(key) != len(target.key):
        raise InvalidKey(
            f"{target.name}: {len(key)} key values given", hint=f"Its key is ({', '.join(target.key)})."
        )
    with translated():
        if key is not None:
            statement = sql.SQL("select {}({})").format(
                Identifier("meshcache", f"{target.name}_invalidate").sql,
                sql.SQL(", ").join(sql.SQL("%s::{}").format(target.type_of(k)) for k in target.key),
            )
            connection.exec_driver_sql(sql_text(statement), tuple(key))
        elif tenant is not None:
            if target.tenant is None:
                raise DefinitionError(
                    f"{target.name} has no tenant column",
                    hint="Declare it: -- tenant: column, and apply again.",
                )
            statement = sql.SQL("select count({}({})) from {} as c where c.{} = %s::{}").format(
                Identifier("meshcache", f"{target.name}_invalidate").sql,
                sql.SQL(", ").join(sql.Identifier("c", k) for k in target.key),
                Identifier("meshcache_data", target.name).sql,
                sql.Identifier(target.tenant),
                target.type_of(target.tenant),
            )
            connection.exec_driver_sql(sql_text(statement), (tenant,))
        else:
            connection.execute(text(query("maintenance", "invalidate")), {"name": target.name})


def add_counts(
    connection: Connection, counts: Sequence[Mapping[str, object]], *, statement_ms: int, lock_ms: int
) -> None:
    """Add reads and fills counted by this process. The limits hold for the rest of the transaction: somebody
    may be replacing one of the views.
    """
    connection.execute(
        text(query("maintenance", "fill_timeouts")), {"statement_ms": statement_ms, "lock_ms": lock_ms}
    )
    connection.execute(text(query("maintenance", "add_counts")), {"counts": json.dumps(list(counts))})
