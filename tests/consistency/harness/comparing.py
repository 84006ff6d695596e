"""One look by SQL: some views, the checker's statement, and what is known about a difference if there is."""

from typing import TYPE_CHECKING

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

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


def compare(
    worker: "Worker",
    connection: psycopg.Connection,
    checker: Checker,
    *,
    views: int = 1,
    through: str,
    level: str,
) -> Checker:
    """Compare some views; returns the checker to go on with. Raises WrongRow.

    Inside a transaction that a changed view has aborted it raises Away.
    """
    site = worker.site
    generation = site.generation
    names = worker.random.sample(sorted(checker.views), min(views, len(checker.views)))
    try:
        for name in names:
            worker.doing = f"comparing {name} {through}"
            checker.assert_exact(connection, name)
    except NotExact as error:
        site.tally.take(checker, names)
        text = f"{through}, {level}: {error}"
        raise WrongRow(text, evidence(connection, worker.doing.split()[1])) from error
    except AWAY as error:
        changed = generation % 2 or site.generation != generation
        # A writer whose view is not there now has its own rollback to do.
        if not changed and site.whole and state_of(error) not in ("55P03", "40P01"):
            raise
        site.tally.add("reads by SQL of a view that was being changed", state_of(error))
        if connection.info.transaction_status != TransactionStatus.IDLE:
            raise Away from error
        return Checker.of(connection)
    site.tally.take(checker, names)
    site.tally.add("compared statements", f"{through}, {level}", len(names))
    return checker


def evidence(connection: psycopg.Connection, view: str) -> str:
    """What the database holds of a view and its marks, as the reader sees it now."""
    lines = []
    for what, query in (
        (
            "snapshot",
            sql.SQL("select pg_current_snapshot(), pg_current_xact_id_if_assigned(), pg_backend_pid()"),
        ),
        (
            "cached",
            sql.SQL("select c.xmin, c.* from {} as c limit 60").format(
                sql.Identifier("meshcache_data", view)
            ),
        ),
        ("epoch", sql.SQL("select e.xmin, e.* from meshcache_data.epoch as e")),
        ("state", sql.SQL("select s.xmin, s.* from meshcache_data.view_state as s")),
        ("wildcards", sql.SQL("select w.* from meshcache.wildcard_mark as w")),
        ("sources", sql.SQL("select s.* from meshcache.source_table as s")),
    ):
        lines += [f"{what}: {row}" for row in _rows(connection, query)]
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
