"""Telling errors apart: those of the faults that the harness itself makes, and all others."""

import logging

import psycopg
from psycopg import errors
from sqlalchemy.exc import DBAPIError, PendingRollbackError, SQLAlchemyError

# The connection is gone, or is not to be had now. A server that is being killed says so in many ways.
_GONE = (
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.CannotConnectNow,
    errors.IdleInTransactionSessionTimeout,
)

# What a transaction of the application has to reckon with, cache or no cache: its own timeouts, concurrency
# that its isolation level does not allow, constraints, deadlocks, a partition that was dropped.
OF_THE_APPLICATION = (
    errors.QueryCanceled,
    errors.LockNotAvailable,
    errors.SerializationFailure,
    errors.DeadlockDetected,
    errors.UniqueViolation,
    errors.ForeignKeyViolation,
    errors.CheckViolation,
    errors.UndefinedTable,
)

# What a client meets that reads a live view by SQL in the moment in which it is dropped or made anew.
AWAY = (
    errors.UndefinedTable,
    errors.UndefinedFunction,
    errors.UndefinedColumn,
    errors.InvalidSchemaName,
    errors.FeatureNotSupported,
    errors.ObjectNotInPrerequisiteState,
    errors.LockNotAvailable,
    errors.DeadlockDetected,
    errors.InternalError_,
    errors.InvalidSqlStatementName,
    errors.WrongObjectType,
    errors.DatatypeMismatch,
)

# What maintenance is stopped by: the timeouts that its worker sets, and somebody with a stronger lock.
OF_MAINTENANCE = (errors.QueryCanceled, errors.LockNotAvailable, errors.DeadlockDetected)


def driver_error(error: BaseException) -> psycopg.Error | None:
    """The psycopg error in or under another one."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, psycopg.Error):
            return seen
        if isinstance(seen, DBAPIError) and isinstance(seen.orig, psycopg.Error):
            return seen.orig
        seen = seen.__cause__ or seen.__context__
    return None


def is_lost(error: BaseException) -> bool:
    """Whether an error means that the connection is gone."""
    if isinstance(error, PendingRollbackError):
        return True
    found = driver_error(error)
    if found is None:
        return isinstance(error, SQLAlchemyError) and "closed" in str(error).lower()
    if isinstance(found, _GONE):
        return True
    if isinstance(found, (psycopg.OperationalError, psycopg.InterfaceError)):
        return found.sqlstate is None or found.sqlstate.startswith("08")
    if isinstance(found, psycopg.InternalError) and found.sqlstate is None:
        # Two answers to one command: PgBouncer passes on what a server says as it stops, and adds its own.
        return True
    # PgBouncer says of a server that it lost while a client was in a transaction.
    return found.sqlstate == "08P01"


def state_of(error: BaseException) -> str:
    """The SQLSTATE, "lost" for a lost connection, or the class of anything else."""
    found = driver_error(error)
    if is_lost(error):
        return "lost"
    return (found.sqlstate if found is not None else None) or type(error).__name__


def names_the_cache(error: psycopg.Error) -> bool:
    """Whether the server mentions an object of the cache in what it says of an error."""
    diag = error.diag
    told = (diag.message_primary, diag.message_detail, diag.context, diag.schema_name, diag.internal_query)
    return any("meshcache" in text or "mark_" in text for text in told if text)


def quiet_logs() -> None:
    """Say nothing of retries after a lock and of lost connections: they happen here all the time."""
    for name in ("stamina", "psycopg", "sqlalchemy.pool"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
