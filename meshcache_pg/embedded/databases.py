"""Creates and drops databases on a server: a private one, or the one that tests are given."""

import psycopg
from psycopg import sql


def create_database(dsn: str, name: str, template: str | None = None, strategy: str | None = None) -> None:
    """Create a database on the server that `dsn` leads to; nobody may be connected to `template`.

    `strategy`: of the copy, as CREATE DATABASE knows it since PostgreSQL 15; None is the server's default.
    """
    statement = sql.SQL("create database {}").format(sql.Identifier(name))
    if template is not None:
        statement += sql.SQL(" template {}").format(sql.Identifier(template))
    if strategy is not None:
        statement += sql.SQL(" strategy {}").format(sql.Literal(strategy))
    _execute(dsn, statement)


def drop_database(dsn: str, name: str) -> None:
    """Drop a database, ending whatever is connected to it; fine when it does not exist."""
    _execute(dsn, sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


def set_password(dsn: str, user: str, password: str) -> None:
    """Give a role its password; the server and its log get to see only the SCRAM verifier."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        verifier = connection.pgconn.encrypt_password(password.encode(), user.encode(), b"scram-sha-256")
        connection.execute(
            sql.SQL("alter role {} password {}").format(sql.Identifier(user), sql.Literal(verifier.decode()))
        )


def _execute(dsn: str, statement: sql.Composed) -> None:
    # Neither statement may run inside a transaction.
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statement)
