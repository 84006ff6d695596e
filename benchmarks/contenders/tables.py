"""What those have in common that keep all rows in a relation of their own, in the same database."""

from collections.abc import Sequence
from typing import Any, Final, LiteralString
from uuid import UUID

import psycopg
from psycopg import sql

from benchmarks.contenders.application import COLUMNS, QUERY, connect
from benchmarks.contenders.contender import Client, Contender, Stage
from benchmarks.contenders.source import SelectClient

_ASSIGNMENTS: Final = sql.SQL(", ").join(
    sql.SQL("{0} = excluded.{0}").format(sql.Identifier(column)) for column in COLUMNS
)

# In the order of keys, so that two writers meet in the same order.
_STORE: Final[LiteralString] = """
insert into {table} as t select s.* from {query} as s where {condition} order by s.id
on conflict (id) do update set {assignments}
"""
_CREATE_TABLE: Final[LiteralString] = """
create table {table} as select s.* from {query} as s;
alter table {table} add primary key (id)
"""


class KeptTable(Contender):
    """A logged table with every row of the source, read by its primary key."""

    schema: str

    def __init__(self) -> None:
        self._dsn = ""

    @property
    def table(self) -> sql.Identifier:
        """Where the rows are."""
        return sql.Identifier(self.schema, "workflow_definition")

    def set_up(self, stage: Stage, keys: Sequence[UUID]) -> None:
        del keys
        self._dsn = stage.dsn
        with connect(self._dsn) as connection:
            with connection.transaction():
                connection.execute(sql.SQL("create schema {}").format(sql.Identifier(self.schema)))
                self.create(connection)
            connection.execute(sql.SQL("vacuum (analyze) {}").format(self.table))

    def create(self, connection: psycopg.Connection[Any]) -> None:
        """Make and fill the table, in the caller's transaction."""
        connection.execute(sql.SQL(_CREATE_TABLE).format(table=self.table, query=QUERY))

    def store(self, condition: sql.SQL) -> sql.Composed:
        """A statement that stores what the source has now of the rows `s` that meet a condition."""
        return sql.SQL(_STORE).format(
            table=self.table, query=QUERY, condition=condition, assignments=_ASSIGNMENTS
        )

    def client(self) -> Client:
        return SelectClient(self._dsn, self.table, is_cache=True)

    def tear_down(self) -> None:
        if self._dsn:
            with connect(self._dsn) as connection:
                # Triggers of the application's tables go with their functions.
                connection.execute(
                    sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(self.schema))
                )
