"""The psycopg connection under a SQLAlchemy one, and one SELECT that cannot hurt the caller's transaction.

A hit is short enough for cursors, formats and savepoints to be a good part of it: here they are made once per
connection, and sent in one round trip.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

import psycopg
from psycopg.pq import Format, TransactionStatus
from psycopg.rows import tuple_row
from sqlalchemy import Connection

_SAVEPOINT: Final = "savepoint meshcache_read"
_RELEASE: Final = "release savepoint meshcache_read"
_ROLLBACK: Final = "rollback to savepoint meshcache_read"

# Lists of column types that one process keeps.
_KEPT: Final = 1024

# Types that psycopg reads faster in the binary format, and as the same values. Of others (an enum, a domain,
# a type of an extension) it may know the text alone; a real has more digits in binary.
_BINARY_TYPES: Final = frozenset(
    (
        "bigint",
        "boolean",
        "bytea",
        "character varying",
        "date",
        "double precision",
        "integer",
        "json",
        "jsonb",
        "numeric",
        "smallint",
        "text",
        "timestamp with time zone",
        "timestamp without time zone",
        "uuid",
    )
)
_PSYCOPG: Final = ("psycopg", "psycopg_binary", "psycopg_c")


def driver(connection: Connection) -> psycopg.Connection[Any]:
    """The psycopg connection under a SQLAlchemy one, in the transaction that SQLAlchemy knows about."""
    raw = connection.connection.driver_connection
    if not isinstance(raw, psycopg.Connection):
        raise TypeError("meshcache reads through SQLAlchemy with the psycopg driver: postgresql+psycopg://")
    if not raw.autocommit and not connection.in_transaction():
        connection.begin()
    return raw


class _Cursors(NamedTuple):
    """Of one connection: making one costs a fifth of a hit. Rows are fetched before it is used again."""

    text: psycopg.Cursor[Any]
    binary: psycopg.Cursor[Any]
    savepoints: psycopg.Cursor[Any]


_known_cursors: WeakKeyDictionary[psycopg.Connection[Any], _Cursors] = WeakKeyDictionary()


def _cursors(raw: psycopg.Connection[Any]) -> _Cursors:
    found = _known_cursors.get(raw)
    if found is None:
        found = _known_cursors[raw] = _Cursors(
            raw.cursor(row_factory=tuple_row),
            raw.cursor(row_factory=tuple_row, binary=_has_own_loaders(raw)),
            raw.cursor(),
        )
    return found


def _has_own_loaders(raw: psycopg.Connection[Any]) -> bool:
    """Whether psycopg makes the values; who wants others may have said so for the text format alone."""
    for name in _BINARY_TYPES:
        loader = raw.adapters.get_loader(raw.adapters.types[name].oid, Format.TEXT)
        if loader is None or loader.__module__.split(".")[0] not in _PSYCOPG:
            return False
    return True


@lru_cache(_KEPT)
def is_binary(column_types: tuple[str, ...]) -> bool:
    """Whether rows with these columns, typed as the server prints types, are read in the binary format."""
    # The length of a varchar and the precision of a numeric do not matter.
    return bool(column_types) and all(one.split("(")[0] in _BINARY_TYPES for one in column_types)


def run(
    raw: psycopg.Connection[Any], statement: str, values: Sequence[Any], *, binary: bool = False
) -> tuple[psycopg.Cursor[Any], list[tuple[Any, ...]]]:
    """Execute one SELECT; inside a transaction under a savepoint, which a failure returns to."""
    cursors = _cursors(raw)
    cursor = cursors.binary if binary else cursors.text
    status = raw.pgconn.transaction_status
    # In a transaction that failed before there is nothing to protect: the server says so itself.
    if (raw.autocommit and status == TransactionStatus.IDLE) or status == TransactionStatus.INERROR:
        cursor.execute(statement, values)
    else:
        _run_guarded(raw, cursor, cursors.savepoints, statement, values)
    return cursor, cursor.fetchall()


def _run_guarded(
    raw: psycopg.Connection[Any],
    cursor: psycopg.Cursor[Any],
    savepoints: psycopg.Cursor[Any],
    statement: str,
    values: Sequence[Any],
) -> None:
    # Never prepared: psycopg would count a statement as prepared whose turn in the pipeline never came.
    try:
        if psycopg.Pipeline.is_supported():
            with raw.pipeline():
                savepoints.execute(_SAVEPOINT, prepare=False)
                cursor.execute(statement, values)
                savepoints.execute(_RELEASE, prepare=False)
        else:
            savepoints.execute(_SAVEPOINT, prepare=False)
            cursor.execute(statement, values)
            savepoints.execute(_RELEASE, prepare=False)
    except psycopg.Error:
        if not raw.closed and raw.info.transaction_status == TransactionStatus.INERROR:
            raw.execute(_ROLLBACK, prepare=False)
            raw.execute(_RELEASE, prepare=False)
        raise
