"""A twin: a logged table beside the source, which the application writes in the same transaction.

Two transactions that change different rows of the source and the same row of the twin do not see each other:
the one that comes second stores what it has read before the first one committed.
"""

from psycopg import sql

from benchmarks.contenders.application import Change
from benchmarks.contenders.contender import Client
from benchmarks.contenders.source import SelectClient
from benchmarks.contenders.tables import KeptTable


class TwinClient(SelectClient):
    """Stores what it has changed before it commits."""

    def __init__(self, dsn: str, table: sql.Identifier, store: sql.Composed) -> None:
        super().__init__(dsn, table, is_cache=True)
        self._store = store

    def write(self, change: Change) -> None:
        with self.connection.transaction():
            touched = change.apply(self.connection)
            self.connection.execute(self._store, (touched,), prepare=True)


class Twin(KeptTable):
    """Kept by the application's code."""

    title = "logged twin, kept by the application"
    schema = "bench_twin"

    def client(self) -> Client:
        return TwinClient(self._dsn, self.table, self.store(sql.SQL("s.id = any (%s)")))
