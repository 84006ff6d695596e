"""Delete by trigger: writers delete what they touch from the cache table, readers fill what they miss."""

from collections.abc import Mapping, Sequence
from typing import LiteralString

import psycopg
from psycopg import sql

from tests.consistency.harness.peers.lookups import create_schema, create_triggers
from tests.consistency.harness.peers.peer import Answer, Peer, images
from tests.consistency.harness.peers.table import TableClient, cache_table, create_tables
from tests.consistency.harness.peers.workload import PlainView
from tests.consistency.harness.site import Site

_FILL: LiteralString = """
insert into {table} select s.* from {source} as s where s.{key} = any (%s::{type}[]) order by s.{key}
on conflict ({key}) do nothing
"""


class FillingClient(TableClient):
    """Fills on a connection of its own, so that a read-only or long transaction of the reader is no matter.
    The row is computed when it is stored, not when it was missed.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._connection: psycopg.Connection | None = None
        self._missed: list[str] = []

    def ask(
        self, connection: psycopg.Connection, view: PlainView, keys: Sequence[str]
    ) -> Mapping[str, Answer]:
        found = images(connection, view, keys, cache_table(view))
        self._missed = [key for key in keys if key not in found]
        source = images(connection, view, self._missed) if self._missed else {}
        return {key: (found[key], "hit") if key in found else (source.get(key), "miss") for key in keys}

    def after(self, view: PlainView) -> None:
        if not self._missed:
            return
        if self._connection is None:
            self._connection = self._site.connect("fill")
        query = sql.SQL(_FILL).format(
            table=cache_table(view), source=view.source, key=view.key_name, type=sql.SQL(view.key_type)
        )
        self._connection.execute(query, (self._missed,))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


class DeleteByTrigger(Peer):
    """Nothing is cached until somebody asks."""

    name = "delete-by-trigger"
    title = "delete by trigger"
    words = ("peer.",)

    def install(self, site: Site) -> None:
        with site.connect("apply") as connection, connection.transaction():
            create_schema(connection)
            create_tables(connection)
            create_triggers(
                connection,
                lambda view: sql.SQL("delete from {} as t where t.{} = any (keys)").format(
                    cache_table(view), view.key_name
                ),
            )

    def client(self, site: Site) -> FillingClient:
        return FillingClient(site)
