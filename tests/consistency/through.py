"""Leads a warm cache through a list of writes, with a look at it at every turn."""

from typing import LiteralString

import psycopg

from tests.consistency.checker import Checker, exact
from tests.fixtures.fix_cache import refresh, sweep


def through(connection: psycopg.Connection, *statements: LiteralString) -> None:
    """Warm, then exact after each statement: within its transaction, after it, and after a sweep."""
    assert exact(connection).origins["hit"]
    stale = 0
    for statement in statements:
        connection.execute("begin")
        connection.execute(statement)
        stale += exact(connection).origins["stale"]
        connection.execute("rollback")
        exact(connection)
        connection.execute(statement)
        exact(connection)
        assert sweep(connection) == "done"
        exact(connection)
        for view in Checker.of(connection).views:
            refresh(connection, view)
        origins = exact(connection).origins
        assert origins["hit"] or not origins
    assert stale
