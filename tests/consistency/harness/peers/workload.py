"""What the application does while the peers are compared: MeshHook's writes, without those that need more
than a trigger by the book or an application's own knowledge to be seen.
"""

from dataclasses import dataclass
from random import Random
from typing import LiteralString

import psycopg
from psycopg import sql

from tests.consistency import writes
from tests.consistency.harness.meshhook import MeshHook
from tests.consistency.harness.workload import Step

# The views as an application has them without any cache.
SOURCE_SCHEMA = "plain"


@dataclass(frozen=True)
class PlainView:
    """One of the cached views. Its source is the view of that name in SOURCE_SCHEMA; keys are text here."""

    name: str
    key: str
    key_type: LiteralString

    @property
    def source(self) -> sql.Identifier:
        """The view in SOURCE_SCHEMA."""
        return sql.Identifier(SOURCE_SCHEMA, self.name)

    @property
    def key_name(self) -> sql.Identifier:
        """The key's column."""
        return sql.Identifier(self.key)


# A join, an aggregate over children, both over three tables, and a row that every transaction changes.
VIEWS = (
    PlainView("run_card", "id", "uuid"),
    PlainView("run_state", "run_id", "uuid"),
    PlainView("workflow_card", "id", "uuid"),
    PlainView("ledger_total", "writer", "integer"),
)

# Statement triggers of a partitioned table do not fire for its partitions, and no usual trigger fires in a
# replica session; `invalidate` is ours alone.
_LEFT_OUT = frozenset(
    {
        "delete from a partition",
        "update a partition",
        "move between runs of a partition",
        "invalidate",
        "invalidate a view",
        "invalidate a table",
        *(f"{name}, as replica" for name in writes.AS_REPLICA),
    }
)

# These change all rows of a table, or add projects that push old ones out, with all that they have. As often
# as elsewhere in the harness, hardly a row would stay cached.
_OF_ALL_ROWS = frozenset(
    {
        "change every run",
        "create a project",
        "delete a project",
        "insert events of many runs",
        "shift the keys of all events",
        "touch events without a change",
        "a statement that a block takes back",
        "more than the limit",
        "merge",
    }
)
_KEPT_OF_THEM = 0.1


class PeersWorkload(MeshHook):
    """The same for every peer."""

    name = "peers"

    def __init__(self) -> None:
        super().__init__()
        names = {view.name for view in VIEWS}
        self.definitions = [one for one in self.definitions if one.name in names]
        self.variants = []

    def create(self, dsn: str) -> None:
        super().create(dsn)
        with psycopg.connect(dsn, autocommit=True) as raw:
            raw.execute(sql.SQL("create schema {}").format(sql.Identifier(SOURCE_SCHEMA)))
            for one in self.definitions:
                # The definition's own SELECT, which no parameter is bound to.
                query = sql.SQL("create view {} as ").format(sql.Identifier(SOURCE_SCHEMA, one.name))
                raw.execute(query.as_bytes(raw) + one.query.encode())

    def step(self, random: Random, major: int) -> Step:
        while True:
            step = super().step(random, major)
            if step.name not in _LEFT_OUT and (
                step.name not in _OF_ALL_ROWS or random.random() < _KEPT_OF_THEM
            ):
                return step
