"""One look by SQL: some views, the checker's statement, and what is known about a difference if there is."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from tests.consistency.checker import Checker, NotExact
from tests.consistency.harness.trouble import AWAY, state_of

if TYPE_CHECKING:
    from tests.consistency.harness.worker import Worker


class WrongRow(NotExact):
    """A difference, with what the database holds of the view at that moment."""

    def __init__(self, text: str, evidence: str) -> None:
        super().__init__(text)
        self.evidence = evidence


class Away(Exception):
    """The view could not be read by SQL because it was being changed; the transaction may be aborted."""


class Eye:
    """What one worker compares with: the checker's statements for the definitions of a moment."""

    def __init__(self, worker: "Worker", views: Collection[str] | None = None) -> None:
        self._worker = worker
        # By default those of the workload; other views come and go as their owner likes.
        self._views = {d.name for d in worker.site.workload.definitions} if views is None else set(views)
        self._checker: Checker | None = None
        self._generation = -1

    def open(self, connection: psycopg.Connection) -> None:
        """Read what is applied, if it is not known. Outside a transaction: it would fix the snapshot."""
        if self._checker is None or self._generation != self._worker.site.generation:
            self._generation = self._worker.site.generation
            self._checker = Checker.of(connection, self._views)

    def look(
        self, connection: psycopg.Connection, *, views: int = 1, through: str, level: str
    ) -> Mapping[str, int]:
        """Compare some views; returns how many reads were answered from where. Raises WrongRow, and Away for
        a view that is being changed, which has aborted the transaction if there is one.
        """
        site, checker = self._worker.site, self._checker
        if checker is None:
            # Away in the middle of this transaction; the next one opens it again.
            return {}
        names = self._worker.random.sample(sorted(checker.views), min(views, len(checker.views)))
        name = ""
        try:
            for name in names:
                self._worker.doing = f"comparing {name} {through}"
                checker.assert_exact(connection, name)
        except NotExact as error:
            raise WrongRow(f"{through}, {level}: {error}", evidence(connection, name)) from error
        except AWAY as error:
            # Somebody who drops or replaces it may be chosen to go on.
            if not site.has_changed_since(self._generation) and state_of(error) not in ("55P03", "40P01"):
                raise
            self._checker = None
            site.tally.add("reads by SQL of a view that was being changed", state_of(error))
            raise Away from error
        finally:
            origins = Counter(checker.origins)
            site.tally.take(checker, names)
        site.tally.add("compared statements", f"{through}, {level}", len(names))
        return origins


def evidence(connection: psycopg.Connection, view: str) -> str:
    """What the database holds of a view and its marks, as the reader sees it now."""
    lines = []
    for what, query in (
        (
            "snapshot",
            sql.SQL("select pg_current_snapshot(), pg_current_xact_id_if_assigned(), pg_backend_pid()"),
        ),
        (
            "rows of the source",
            sql.SQL("select count(*) from {}").format(sql.Identifier("meshcache", f"{view}_source")),
        ),
        (
            "cached",
            sql.SQL("select c.xmin, c.* from {} as c limit 200").format(
                sql.Identifier("meshcache_data", view)
            ),
        ),
        ("epoch", sql.SQL("select e.xmin, e.* from meshcache_data.epoch as e")),
        ("state", sql.SQL("select s.xmin, s.* from meshcache_data.view_state as s")),
        ("wildcards", sql.SQL("select w.* from meshcache.wildcard_mark as w")),
        ("sources", sql.SQL("select s.* from meshcache.source_table as s")),
    ):
        lines += [f"{what}: {row}" for row in _rows(connection, query)]
    for schema, table, file in _rows(
        connection,
        sql.SQL(
            "select n.nspname, c.relname, pg_relation_filenode(c.oid)"
            " from meshcache.source_table as s inner join pg_class as c on c.oid = s.relation"
            " inner join pg_namespace as n on n.oid = c.relnamespace"
        ),
    ):
        count = sql.SQL("select count(*) from {}").format(sql.Identifier(str(schema), str(table)))
        lines.append(f"{table} in file {file}: {_rows(connection, count)} rows")
    for (number,) in _rows(connection, sql.SQL("select m.id from meshcache.mark_table as m")):
        table = sql.Identifier("meshcache", f"mark_{number}")
        found = _rows(
            connection, sql.SQL("select m.* from {} as m order by m.xid desc limit 30").format(table)
        )
        lines += [f"mark_{number}: {row}" for row in found]
    return "\n".join(lines)


def _rows(connection: psycopg.Connection, query: sql.SQL | sql.Composed) -> list[tuple[object, ...]]:
    try:
        with connection.transaction():
            return connection.execute(query).fetchall()
    except psycopg.Error as error:
        return [(f"not to be had: {error}",)]
