"""Materialized views, refreshed concurrently on a schedule: readers never wait, and are as old as that."""

from collections.abc import Sequence
from typing import LiteralString

import psycopg
from psycopg import sql

from tests.consistency.harness.peers.lookups import create_schema
from tests.consistency.harness.peers.peer import Peer
from tests.consistency.harness.peers.table import TableClient, cache_table
from tests.consistency.harness.peers.workload import VIEWS
from tests.consistency.harness.site import Site
from tests.consistency.harness.worker import Worker

EVERY_SECONDS = 1.0

_CREATE: LiteralString = """
create materialized view {table} as select s.* from {source} as s;
create unique index on {table} ({key})
"""


class Schedule(Worker):
    """Refreshes all of them, then waits."""

    role = "refresh"

    def turn(self, connection: psycopg.Connection) -> None:
        self.doing = "refreshing"
        refresh(connection)
        self.site.pause(EVERY_SECONDS)


def refresh(connection: psycopg.Connection) -> None:
    """All materialized views, one after the other."""
    for view in VIEWS:
        query = sql.SQL("refresh materialized view concurrently {}").format(cache_table(view))
        connection.execute(query)


class MaterializedView(Peer):
    """Readers ask the materialized view and nobody else."""

    name = "matview"
    title = f"materialized view, refreshed every {EVERY_SECONDS:.0f} s"
    words = ("peer.",)

    def install(self, site: Site) -> None:
        with site.connect("apply") as connection, connection.transaction():
            create_schema(connection)
            for view in VIEWS:
                query = sql.SQL(_CREATE).format(
                    table=cache_table(view), source=view.source, key=view.key_name
                )
                connection.execute(query)

    def workers(self, site: Site) -> Sequence[Worker]:
        return [Schedule(site), *super().workers(site)]

    def come_to_rest(self, site: Site) -> None:
        # The schedule goes on when nobody writes any more.
        with site.connect("refresh") as connection:
            refresh(connection)

    def client(self, site: Site) -> TableClient:
        del site
        return TableClient()
