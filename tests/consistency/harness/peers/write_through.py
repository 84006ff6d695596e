"""Write-through by trigger: the writer computes the rows that it touches anew and stores them."""

from typing import LiteralString

from psycopg import sql

from tests.consistency.harness.peers.lookups import create_schema, create_triggers
from tests.consistency.harness.peers.peer import Peer
from tests.consistency.harness.peers.table import TableClient, cache_table, create_tables
from tests.consistency.harness.peers.workload import VIEWS, PlainView
from tests.consistency.harness.site import Site

_STORE: LiteralString = """
delete from {table} as t
where t.{key} = any (keys) and not exists (select from {source} as s where s.{key} = t.{key});
insert into {table} as t select s.* from {source} as s where s.{key} = any (keys) order by s.{key}
on conflict ({key}) do update set {assignments}
"""


class WriteThrough(Peer):
    """Every row is there from the beginning; readers ask nobody else."""

    name = "write-through"
    title = "write-through trigger"
    words = ("peer.",)

    def install(self, site: Site) -> None:
        with site.connect("apply") as connection, connection.transaction():
            create_schema(connection)
            create_tables(connection)
            columns = {one.name: self._columns(site, one) for one in VIEWS}
            create_triggers(connection, lambda view: _store(view, columns[view.name]))
            for view in VIEWS:
                fill = sql.SQL("insert into {} select s.* from {} as s")
                connection.execute(fill.format(cache_table(view), view.source))

    def _columns(self, site: Site, view: PlainView) -> list[str]:
        with site.connect("apply") as connection:
            cursor = connection.execute(sql.SQL("select s.* from {} as s limit 0").format(view.source))
            return [column.name for column in cursor.description or ()]

    def client(self, site: Site) -> TableClient:
        del site
        return TableClient()


def _store(view: PlainView, columns: list[str]) -> sql.Composed:
    assignments = sql.SQL(", ").join(
        sql.SQL("{0} = excluded.{0}").format(sql.Identifier(column)) for column in columns
    )
    return sql.SQL(_STORE).format(
        table=cache_table(view), key=view.key_name, source=view.source, assignments=assignments
    )
