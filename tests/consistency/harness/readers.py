"""Readers by SQL: each way to read a view against its source in one statement, in snapshots short or long."""

from typing import LiteralString

import psycopg
from psycopg import errors, sql

from tests.consistency.harness.comparing import Away, Eye
from tests.consistency.harness.site import Site
from tests.consistency.harness.trouble import is_lost, state_of
from tests.consistency.harness.worker import LEVELS, Worker

# How long a snapshot is kept: mostly short, now and then over many writes, sweeps and changed definitions.
_SHORT_SECONDS, _LONG_SECONDS = 0.3, 5.0

# What a reader that asks for its own timeout gets, or one that takes part in a conflict of others.
_OF_A_READER = (errors.QueryCanceled, errors.SerializationFailure)


class SqlReader(Worker):
    """A connection that compares; with `pooled` it is PgBouncer's, a new server at each transaction."""

    role = "read"

    def __init__(self, site: Site, number: int = 0, *, pooled: bool = False) -> None:
        super().__init__(site, number)
        self._pooled = pooled
        self._through = "pgbouncer" if pooled else "sql"
        self._eye = Eye(self)

    def connect(self) -> psycopg.Connection:
        return self.site.connect(self.role, pooled=self._pooled)

    def turn(self, connection: psycopg.Connection) -> None:
        self._eye.open(connection)
        level = self.random.choice(LEVELS)
        try:
            # PgBouncer may give each statement alone to another server; the checker prepares before it asks.
            if level == "read committed" and not self._pooled and self.chance(0.5):
                self._statement(connection)
            else:
                self._transaction(connection, level)
        except Away:
            connection.rollback()
        except _OF_A_READER as error:
            if is_lost(error):
                raise
            connection.rollback()
            self.site.tally.add("errors of readers", state_of(error))
        self.pause(0.01)

    def _statement(self, connection: psycopg.Connection) -> None:
        with self.site.gate.shared(2) as inside:
            if inside:
                self._eye.look(connection, through=self._through, level="a statement alone")

    def _transaction(self, connection: psycopg.Connection, level: LiteralString) -> None:
        with self.site.gate.shared(2) as inside:
            if not inside:
                return
            mode: LiteralString = self.random.choice(("", "", " read only"))
            connection.execute(sql.SQL("begin isolation level {}{}").format(sql.SQL(level), sql.SQL(mode)))
            if self.chance(0.03):
                connection.execute("set local statement_timeout = '15ms'")
            seconds = _LONG_SECONDS if self.chance(0.12) else _SHORT_SECONDS
            self._look_for(connection, level, self.random.uniform(0, seconds))
            connection.execute("commit")

    def _look_for(self, connection: psycopg.Connection, level: str, seconds: float) -> None:
        """Look again and again until the time has passed, or somebody waits for the snapshot to end."""
        left = seconds
        while True:
            views = self.random.choice((1, 2, 3))
            self._eye.look(connection, views=views, through=self._through, level=level)
            if left <= 0 or self.site.gate.wanted:
                return
            wait = self.random.uniform(0, 0.06)
            self.site.pause(wait)
            left -= wait
