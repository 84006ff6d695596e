"""The few things that every module does with a connection in the same way: DDL text, error translation,
versions.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Connection, Engine, create_engine, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from meshcache_pg.errors import (
    ConfigurationError,
    ConnectionFailed,
    LockBusy,
    MeshcacheError,
    MissingRight,
    NotInstalled,
    PlanRefused,
    UnsupportedServer,
    from_sqlstate,
)

MINIMUM_SERVER = 130000
DEPENDENTS_HINT = "Drop or change first what reads the cached view (a view of your own)."


def execute_ddl(connection: Connection, statement: str) -> None:
    """Run SQL text as it stands: without this option `%` and `:word` in it would be taken for parameters."""
    connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def execute_all(connection: Connection, statements: Iterable[str]) -> None:
    """The same for several statements, in one round trip: each one costs others time while locks are held."""
    together = ";\n".join(statements)
    if together:
        execute_ddl(connection, together)


def primary_message(error: DBAPIError) -> tuple[str, str | None]:
    """The server's own message and hint, without SQLAlchemy's statement and link."""
    diag = getattr(error.orig, "diag", None)
    message = getattr(diag, "message_primary", None) or str(error.orig).strip()
    if getattr(error.orig, "sqlstate", None) == "2BP01" and diag is not None and diag.message_detail:
        # Which object it is that depends stands in the detail alone.
        message = f"{message} ({diag.message_detail.splitlines()[0]})"
    hint = getattr(diag, "message_hint", None)
    return message, hint


def translate(error: DBAPIError) -> MeshcacheError | None:
    """The error of ours that a driver error stands for; None when it should pass as it is."""
    message, hint = primary_message(error)
    state = getattr(error.orig, "sqlstate", None) or ""
    ours = from_sqlstate(state, message, hint=hint)
    if ours:
        return ours
    if state == "42501":
        return MissingRight(
            message, hint=hint or "Run this as the role that owns the tables and ran migrate."
        )
    if state == "2BP01":
        return PlanRefused(message, hint=DEPENDENTS_HINT)
    if state in ("55P03", "40P01", "57014"):
        return LockBusy(message, hint=hint or "Somebody holds a lock for long; try again when it is gone.")
    if state in ("3F000", "42P01", "42883") and "meshcache" in message:
        return NotInstalled(message, hint="Run: meshcache migrate")
    if isinstance(error, OperationalError) and (
        error.connection_invalidated or not state or state[:2] in ("08", "28", "3D", "53", "57")
    ):
        return ConnectionFailed(
            message, hint=hint or "Check the DSN: --dsn, MESHCACHE_DSN, DATABASE_URL or libpq's PG*."
        )
    return None


@contextmanager
def translated() -> Iterator[None]:
    """Raise driver errors inside the block as errors of this package where they mean something to a user."""
    try:
        yield
    except DBAPIError as error:
        ours = translate(error)
        if ours is None:
            raise
        raise ours from error


@contextmanager
def qualified_names(connection: Connection) -> Iterator[None]:
    """Let the server print every name outside of pg_catalog with its schema, inside the block."""
    before = connection.exec_driver_sql("select current_setting('search_path')").scalar_one()
    connection.exec_driver_sql("select set_config('search_path', 'pg_catalog', true)")
    yield
    connection.exec_driver_sql("select set_config('search_path', %s, true)", (before,))


def parse_url(dsn: str) -> URL:
    """A DSN as users write it (postgres://, postgresql://, libpq's key=value, or '') as a SQLAlchemy URL for
    psycopg.
    """
    if "://" not in dsn:
        return URL.create("postgresql+psycopg", query={}) if not dsn.strip() else _from_conninfo(dsn)
    try:
        url = make_url(dsn)
    except ArgumentError as error:
        raise ConfigurationError(
            "the DSN cannot be read", hint="Write postgresql://user@host:port/database"
        ) from error
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise ConfigurationError(
            f"{url.drivername!r} is not PostgreSQL", hint="Write postgresql://user@host:port/database"
        )
    if url.drivername not in ("postgresql", "postgres", "postgresql+psycopg"):
        raise ConfigurationError(
            f"the driver of {url.drivername!r} is not supported", hint="Use postgresql+psycopg://"
        )
    return url.set(drivername="postgresql+psycopg")


def _from_conninfo(dsn: str) -> URL:
    try:
        parts: dict[str, Any] = dict(conninfo_to_dict(dsn))
    except psycopg.ProgrammingError as error:
        raise ConfigurationError(
            "the DSN cannot be read", hint="Write postgresql://user@host:port/database, or libpq's key=value."
        ) from error
    return URL.create("postgresql+psycopg", query={k: str(v) for k, v in parts.items()})


def make_engine(dsn: str, *, application_name: str) -> Engine:
    """An engine of ours, never the application's. Connections are made when they are first needed."""
    return create_engine(
        parse_url(dsn), pool_size=2, max_overflow=10, connect_args={"application_name": application_name}
    )


def check_server(connection: Connection) -> int:
    """The server's version number; raises UnsupportedServer below PostgreSQL 13."""
    number = int(connection.exec_driver_sql("show server_version_num").scalar_one())
    if number < MINIMUM_SERVER:
        version = connection.exec_driver_sql("show server_version").scalar_one()
        raise UnsupportedServer(
            f"this server is PostgreSQL {version}",
            hint="meshcache needs 13 or later (pg_current_snapshot, xid8).",
        )
    return number
