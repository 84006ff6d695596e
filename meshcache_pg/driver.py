"""The psycopg connection under a SQLAlchemy one, and one SELECT on it that cannot hurt the caller's
transaction.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import lru_cache
from typing import Any, Final

import psycopg
from psycopg import errors
from psycopg.abc import Loader
from psycopg.pq import Format, TransactionStatus
from psycopg.rows import tuple_row
from psycopg.types.json import JsonbBinaryLoader, JsonBinaryLoader, JsonbLoader, JsonLoader
from sqlalchemy import Connection

from meshcache_pg import exchange

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
_JSON_LOADERS: Final = ((JsonLoader, JsonBinaryLoader), (JsonbLoader, JsonbBinaryLoader))


def driver(connection: Connection) -> psycopg.Connection[Any]:
    """The psycopg connection under a SQLAlchemy one, in the transaction that SQLAlchemy knows about."""
    raw = connection.connection.driver_connection
    if not isinstance(raw, psycopg.Connection):
        raise TypeError("meshcache reads through SQLAlchemy with the psycopg driver: postgresql+psycopg://")
    if not raw.autocommit and not connection.in_transaction():
        connection.begin()
    return raw


@lru_cache(_KEPT)
def _is_binary(column_types: tuple[str, ...]) -> bool:
    # The length of a varchar and the precision of a numeric do not matter.
    return bool(column_types) and all(one.split("(")[0] in _BINARY_TYPES for one in column_types)


def is_binary(raw: psycopg.Connection[Any], column_types: tuple[str, ...]) -> bool:
    """Whether rows with these columns, typed as the server prints types, are read in the binary format."""
    if not _is_binary(column_types):
        return False
    session = exchange.session_of(raw)
    if session.has_usual_loaders is None:
        session.has_usual_loaders = _has_usual_loaders(raw)
    return session.has_usual_loaders


def _has_usual_loaders(raw: psycopg.Connection[Any]) -> bool:
    """Whether psycopg makes the values; who wants others may have said so for the text format alone."""
    for name in _BINARY_TYPES:
        oid = raw.adapters.types[name].oid
        loaders = (raw.adapters.get_loader(oid, Format.TEXT), raw.adapters.get_loader(oid, Format.BINARY))
        if not (_are_psycopgs(loaders) or _are_of_one_function(loaders)):
            return False
    # A hit may have the text of a jsonb column as json.
    json, jsonb = (
        raw.adapters.get_loader(raw.adapters.types[name].oid, Format.BINARY) for name in ("json", "jsonb")
    )
    return vars(json).get("_loads") is vars(jsonb).get("_loads")


def _are_psycopgs(loaders: tuple[type[Loader] | None, ...]) -> bool:
    return all(one is not None and one.__module__.split(".")[0] in _PSYCOPG for one in loaders)


def _are_of_one_function(loaders: tuple[type[Loader] | None, ...]) -> bool:
    """Whether set_json_loads() made them: psycopg's own, but for the function that reads JSON."""
    bases = tuple(one.__base__ for one in loaders if one is not None)
    functions = [vars(one).get("_loads") for one in loaders if one is not None]
    return (
        bases in _JSON_LOADERS and functions[0] is not None and all(one is functions[0] for one in functions)
    )


def run(
    raw: psycopg.Connection[Any], statement: str, values: Sequence[Any], *, binary: bool = False
) -> exchange.Answer:
    """Execute one SELECT that leaves the transaction as it was if it fails."""
    if exchange.is_possible(raw):
        return exchange.ask(raw, statement, values, binary=binary)
    with raw.cursor(row_factory=tuple_row, binary=binary) as cursor:
        status = raw.info.transaction_status
        # In a transaction that failed before there is nothing to protect: the server says so itself.
        if (raw.autocommit and status == TransactionStatus.IDLE) or status == TransactionStatus.INERROR:
            cursor.execute(statement, values)
        else:
            _run_guarded(raw, cursor, statement, values)
        rows = cursor.fetchall()
        if cursor.pgresult is None:
            raise psycopg.InterfaceError("a SELECT without a result")
        return exchange.Answer(rows, cursor.pgresult, raw.info.encoding)


def run_together(
    raw: psycopg.Connection[Any], questions: Sequence[exchange.Question]
) -> list[exchange.Answer] | None:
    """Execute several SELECTs in one round trip; None where that is not possible now, or where one of them is
    prepared otherwise than was thought. If one fails, the transaction is as it was.
    """
    if not questions or not exchange.is_possible(raw):
        return None
    try:
        return exchange.ask_together(raw, questions)
    except (errors.DuplicatePreparedStatement, errors.InvalidSqlStatementName):
        return None


def _run_guarded(
    raw: psycopg.Connection[Any], cursor: psycopg.Cursor[Any], statement: str, values: Sequence[Any]
) -> None:
    # Never prepared: psycopg would count a statement as prepared whose turn in the pipeline never came.
    savepoint: psycopg.Cursor[Any] | None = None
    try:
        with raw.pipeline() if psycopg.Pipeline.is_supported() else nullcontext():
            savepoint = raw.execute(_SAVEPOINT, prepare=False)
            cursor.execute(statement, values)
            raw.execute(_RELEASE, prepare=False)
    except psycopg.Error:
        # A timeout may cut off the savepoint, too: then there is nothing to go back to.
        is_there = savepoint is not None and savepoint.statusmessage is not None
        if is_there and not raw.closed and raw.info.transaction_status == TransactionStatus.INERROR:
            raw.execute(_ROLLBACK, prepare=False)
            raw.execute(_RELEASE, prepare=False)
        raise
