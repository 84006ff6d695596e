"""Readers that get single answers, through a library or another system, and ask the source in the same
transaction whether they are right.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg
from psycopg.rows import dict_row
from sqlalchemy import Connection, text

from meshcache_pg.definition import Definition
from tests.consistency.harness.comparing import WrongRow, evidence
from tests.consistency.harness.site import Site
from tests.consistency.harness.trouble import is_lost, state_of
from tests.consistency.harness.worker import LEVELS, Worker

Row = Mapping[str, Any]
Key = tuple[Any, ...]

KEYS_AT_ONCE = 12
# What a reader meets in SERIALIZABLE, or by its own timeout.
_OF_A_READER = ("40001", "57014")


@dataclass(frozen=True)
class Answer:
    """A row, or None where there is none, and where it came from ("hit", "miss", …)."""

    row: Row | None
    origin: str


class Answers(Protocol):
    """Whoever is asked. `connection` is the reader's, in its transaction; use it or leave it."""

    # Whether answers are those of the reader's snapshot. Otherwise the source is asked before and after, and
    # an answer is right if it was true at one of the two moments.
    in_snapshot: bool

    def get(self, connection: Connection, view: Definition, key: Key) -> Answer:
        """One row by key."""
        ...

    def get_many(self, connection: Connection, view: Definition, keys: Sequence[Key]) -> Mapping[Key, Answer]:
        """Rows of many keys; each of `keys` has an answer."""
        ...

    def list(
        self, connection: Connection, view: Definition, where: Mapping[str, Any]
    ) -> tuple[Sequence[Row], str]:
        """All rows whose columns equal `where`, in any order, and where they came from."""
        ...

    def close(self) -> None:
        """The reader ends, or has lost its connection."""


class AnswersReader(Worker):
    """Asks, compares, counts. Lists are asked for by the tenant, where the view has one, or whole."""

    role = "ask"

    def __init__(
        self,
        site: Site,
        answers: Answers,
        views: Sequence[Definition],
        number: int = 0,
        *,
        through: str,
        pooled: bool = False,
    ) -> None:
        super().__init__(site, number)
        self._answers, self._views, self._through = answers, views, through
        self._engine = site.engine(self.role, pooled=pooled)
        # What each source returns to the transaction at hand, where that is always the same.
        self._sources: dict[str, list[dict[str, Any]]] = {}

    def run(self) -> None:
        try:
            super().run()
        finally:
            self._answers.close()
            self._engine.dispose()

    def connect(self) -> psycopg.Connection:
        # Only to find out that the server is there: the engine makes the connections that are read on.
        return self.site.connect(self.role)

    def turn(self, connection: psycopg.Connection) -> None:
        del connection
        while True:
            self.site.go_on()
            level = self.random.choice(LEVELS[1:])
            # Out of a transaction's snapshot it makes no difference what the level is.
            with self.site.gate.shared(2) as inside, self._engine.connect() as reading:
                if not inside:
                    continue
                try:
                    self._transaction(reading, level)
                except Exception as error:
                    state = state_of(error)
                    if is_lost(error) or state not in _OF_A_READER:
                        raise
                    self.site.tally.add("errors of readers", state)
            self.pause(0.01)

    def _transaction(self, connection: Connection, level: str) -> None:
        connection.execution_options(isolation_level=level.upper())
        self._sources.clear()
        with connection.begin():
            if self.chance(0.03):
                connection.execute(text("set local statement_timeout = '15ms'"))
            seconds = 4.0 if self.chance(0.1) else 0.2
            left = self.random.uniform(0, seconds)
            while True:
                for _ in range(3):
                    self._look(connection, level)
                if left <= 0 or self.site.gate.wanted:
                    return
                wait = self.random.uniform(0, 0.1)
                self.site.pause(wait)
                left -= wait

    def _look(self, connection: Connection, level: str) -> None:
        view = self.random.choice(self._views)
        kind = self.random.choice(("get", "get many", "list"))
        self.doing = f"{kind} {view.name} {self._through}"
        if kind == "list":
            self._compare_list(connection, view, level)
        else:
            self._compare_keys(connection, view, level, 1 if kind == "get" else KEYS_AT_ONCE)
        self.site.tally.add("compared statements", f"{self._through}, {level}")
        self.site.tally.add("by view", f"{view.name} compared")

    def _compare_keys(self, connection: Connection, view: Definition, level: str, number: int) -> None:
        before = self._source(connection, view)
        keys = sorted({tuple(row[k] for k in view.key) for row in before}, key=repr)
        keys = self.random.sample(keys, min(number, len(keys)))
        if not keys:
            return
        if number == 1:
            got: Mapping[Key, Answer] = {keys[0]: self._answers.get(connection, view, keys[0])}
        else:
            got = self._answers.get_many(connection, view, keys)
        now = _by_key(view, before)
        later = now if self._answers.in_snapshot else _by_key(view, self._source(connection, view))
        for key in keys:
            answer = got[key]
            self.site.tally.add("reads", answer.origin)
            self.site.tally.add("by view", f"{view.name} {answer.origin}")
            if _image(answer.row, before) not in (
                _image(now.get(key), before),
                _image(later.get(key), before),
            ):
                self._differs(connection, view, level, f"key {key}: {answer}\nsource: {now.get(key)}")
        self.site.tally.add("compared", "reads", len(keys))
        self.site.tally.add("compared", "rows", sum(answer.row is not None for answer in got.values()))

    def _compare_list(self, connection: Connection, view: Definition, level: str) -> None:
        before = self._source(connection, view)
        where: dict[str, Any] = {}
        if view.tenant and before and self.chance(0.6):
            where = {view.tenant: self.random.choice(before)[view.tenant]}
        rows, origin = self._answers.list(connection, view, where)
        sources = [before] if self._answers.in_snapshot else [before, self._source(connection, view)]
        wanted = [
            sorted(
                _image(row, before)
                for row in source
                if all(row[column] == value for column, value in where.items())
            )
            for source in sources
        ]
        got = sorted(_image(row, before) for row in rows)
        self.site.tally.add("reads", f"list {origin}")
        self.site.tally.add("compared", "reads")
        self.site.tally.add("compared", "rows", len(rows))
        if got not in wanted:
            extra = [row for row in got if row not in wanted[0]]
            missing = [row for row in wanted[0] if row not in got]
            text = f"list where {where}, {origin}\nonly in the answer: {extra[:5]}\nmissing: {missing[:5]}"
            self._differs(connection, view, level, text)

    def _differs(self, connection: Connection, view: Definition, level: str, text: str) -> None:
        self.site.tally.add("reads", "different")
        if self.site.options.subject.exact:
            raw = _driver(connection)
            raise WrongRow(f"{view.name} {self._through}, {level}: {text}", evidence(raw, view.name))

    def _source(self, connection: Connection, view: Definition) -> list[dict[str, Any]]:
        if self._answers.in_snapshot and view.name in self._sources:
            return self._sources[view.name]
        query: Any = f"select * from ({view.query}\n) as q"  # noqa: S608 - the definition's own SELECT
        with _driver(connection).cursor(row_factory=dict_row) as cursor:
            self._sources[view.name] = cursor.execute(query).fetchall()
        return self._sources[view.name]


def _image(row: Row | None, source: Sequence[Row]) -> str:
    """A row as text: 1.0 and 1.00 are equal and different. A definition that is changed at the moment may
    bring more columns than the source has here.
    """
    if row is None:
        return "no row"
    return repr({column: row[column] for column in (source[0] if source else row)})


def _by_key(view: Definition, rows: Sequence[dict[str, Any]]) -> dict[Key, dict[str, Any]]:
    return {tuple(row[k] for k in view.key): row for row in rows}


def _driver(connection: Connection) -> psycopg.Connection[Any]:
    raw = connection.connection.driver_connection
    assert isinstance(raw, psycopg.Connection)
    return raw
