"""A table in the same database as the cache of a view, read in the reader's snapshot."""

from collections.abc import Collection, Mapping, Sequence
from typing import LiteralString

import psycopg
from psycopg import sql

from tests.consistency.harness.peers.lookups import SCHEMA
from tests.consistency.harness.peers.peer import Answer, all_keys, images
from tests.consistency.harness.peers.workload import VIEWS, PlainView

_CREATE: LiteralString = """
create unlogged table {table} as select s.* from {source} as s with no data;
alter table {table} add primary key ({key})
"""


def cache_table(view: PlainView) -> sql.Identifier:
    """Where the rows of a view are kept."""
    return sql.Identifier(SCHEMA, view.name)


def create_tables(connection: psycopg.Connection) -> None:
    """An empty one for each view, with its columns and its key."""
    for view in VIEWS:
        query = sql.SQL(_CREATE).format(table=cache_table(view), source=view.source, key=view.key_name)
        connection.execute(query)


class TableClient:
    """Reads the table and nothing else: for a cache that is meant to hold every row."""

    in_snapshot = True

    def ask(
        self, connection: psycopg.Connection, view: PlainView, keys: Sequence[str]
    ) -> Mapping[str, Answer]:
        found = images(connection, view, keys, cache_table(view))
        return {key: (found.get(key), "hit") for key in keys}

    def after(self, view: PlainView) -> None:
        """There are no misses."""

    def held(self, connection: psycopg.Connection, view: PlainView) -> Collection[str]:
        return all_keys(connection, view, cache_table(view))

    def close(self) -> None:
        """It has nothing of its own."""
