"""One schema with its cached views while an application writes to it: a comparison follows each write."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import LiteralString

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from tests.consistency.checker import Checker
from tests.fixtures.fix_cache import refresh, sweep
from tests.fixtures.fix_queries import Answers

_TARGET = re.compile(r"(insert into|update) (\S+)")

# What a view's source returns, and whether a mark is there for the view: in one of its tables, for all of
# such a table, or for the view as a whole.
_STATE: LiteralString = """
select {name}, q.rows, q.image, {marked} or exists (
    select from meshcache.wildcard_mark as w where w.source_id in (-{view}, {tables})
)
from (
    select count(*) as rows, coalesce(md5(string_agg(s::text, '|' order by s::text)), '') as image
    from {source} as s
) as q
"""


@dataclass(frozen=True)
class State:
    """What one view's source returns to a transaction, how many rows and which, and whether marks are there
    that may concern the view.
    """

    rows: int
    image: str
    marked: bool


@dataclass
class Life:
    """One schema with its cached views, while an application writes to it."""

    writer: psycopg.Connection
    reader: psycopg.Connection
    answers: Answers
    checker: Checker = field(init=False)
    # As the last comparison found them, with everything cached that can be.
    states: dict[str, State] = field(init=False)
    # What may have been cached anew since it was compared.
    renewed: set[str] = field(init=False)
    # The tables a write to which has changed what the view returns.
    changed_by: dict[str, set[str]] = field(init=False)
    _query: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.checker = Checker.of(self.reader)
        refresh(self.reader, *self.checker.views)
        self._query = _states(self.reader).as_bytes(self.reader)
        self.states = self._states(self.reader)
        self.renewed = set(self.checker.views)
        self.changed_by = {name: set() for name in self.checker.views}

    def _states(self, connection: psycopg.Connection) -> dict[str, State]:
        return {
            name: State(rows, image, marked)
            for name, rows, image, marked in connection.execute(self._query, prepare=True)
        }

    def write(self, statement: str, *views: str) -> None:
        """Make one statement and compare each view with its source: as the transaction sees them while it is
        open, as others see them afterwards. Then whatever is stale is cached again.

        A view that was found exact with every key cached is so still where its source returns the same rows
        and no mark is there; reading it again would take most of the time of these tests.
        """
        self.writer.execute(statement.encode())
        if self.writer.info.transaction_status != TransactionStatus.IDLE:
            self._compare(self.writer, views)
            return
        compared = self._compare(self.reader, views)
        moved = [name for name in compared if not self._all_cached(name)]
        before = self.states
        if moved:
            sweep(self.reader)
            refresh(self.reader, *(n for n in moved if self.checker.origins[f"{n} stale"] or self._asked(n)))
            self.states = self._states(self.reader)
        # A sweep goes through all views that have marks.
        self.renewed = set(compared) if moved else set()
        target = _TARGET.match(statement)
        for name in moved:
            if self.states[name].image != before[name].image and target:
                self.changed_by[name].add(target[2].replace('"', ""))

    def _compare(self, connection: psycopg.Connection, views: tuple[str, ...]) -> list[str]:
        """Compare what may read otherwise than before; returns what that was."""
        now = self._states(connection)
        touched = [
            name
            for name in views or self.checker.views
            if name in self.renewed or now[name].marked or now[name].image != self.states[name].image
        ]
        self.checker.origins = Counter()
        if touched:
            self.checker.assert_exact(connection, *touched)
        return touched

    def live(self, statements: Iterable[str], *views: str) -> None:
        """Make one statement after the other."""
        for statement in statements:
            self.write(statement, *views)

    def _asked(self, view: str) -> bool:
        return self.answers.by_name[view].definition.coverage == "on_demand"

    def _all_cached(self, view: str) -> bool:
        hits = self.checker.origins[f"{view} hit"]
        other = sum(self.checker.origins[f"{view} {origin}"] for origin in ("stale", "miss", "bypass"))
        return hits == self.states[view].rows and not other


def _states(connection: psycopg.Connection) -> sql.Composed:
    """One statement for all views of a database."""
    found = connection.execute(
        "select v.id, v.name, array_agg(distinct d.source_id),"
        " array_agg(distinct d.mark_id) filter (where d.mark_id is not null)"
        " from meshcache.cached_view as v join meshcache.dependency as d on d.view_id = v.id"
        " where v.kind = 'cached_view' group by v.id, v.name"
    ).fetchall()
    states = [
        sql.SQL(_STATE).format(
            name=name,
            view=view,
            tables=sql.SQL(", ").join(tables),
            marked=_any_of([sql.Identifier("meshcache", f"mark_{mark}") for mark in marks or ()]),
            source=sql.Identifier("meshcache", f"{name}_source"),
        )
        for view, name, tables, marks in found
    ]
    return sql.SQL(" union all ").join(states)


def _any_of(tables: list[sql.Identifier]) -> sql.Composed:
    return sql.SQL(" or ").join(
        [sql.SQL("false"), *(sql.SQL("exists (select from {})").format(table) for table in tables)]
    )
