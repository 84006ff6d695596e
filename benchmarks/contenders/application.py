"""The application that everybody caches for: its read, its two writes, and numbers that tell old from new.

Each write adds one to a number in the row that it changes: `revision` in the JSON document, or what stands
after " #" in the project's name. Row locks put the writes of one row in order, so a row with a smaller number
is older, whoever returns it.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, Final, LiteralString
from uuid import UUID

import orjson
import psycopg
from psycopg import sql
from psycopg.rows import tuple_row
from psycopg.types.json import set_json_loads

from meshcache_pg.making import maker
from meshcache_pg.meshhook import WorkflowDefinition, definition
from meshcache_pg.sql import trusted

COLUMNS: Final = tuple(field.name for field in fields(WorkflowDefinition))
# From the values of COLUMNS, in the way that is the fastest for such a class; the same for everybody.
made: Final = maker("workflow_definition", WorkflowDefinition, COLUMNS)

# The SELECT that is cached, as something to select from.
QUERY: Final = sql.SQL("({}\n)").format(
    sql.SQL(trusted(definition("workflow_definition").query.replace("%", "%%")))
)
_COLUMN_LIST: Final = sql.SQL(", ").join(sql.Identifier("s", column) for column in COLUMNS)

_EDIT: Final[LiteralString] = """
update workflow_definitions as d
set definition = jsonb_set(
    d.definition, '{revision}', to_jsonb(coalesce((d.definition ->> 'revision')::integer, 0) + 1)
)
where d.id = %s
returning d.id
"""
_RENAME: Final[LiteralString] = """
with renamed as (
    update projects as p
    set name = split_part(p.name, ' #', 1) || ' #'
        || coalesce(nullif(split_part(p.name, ' #', 2), '')::integer, 0) + 1
    where p.id = (select d.project_id from workflow_definitions as d where d.id = %s)
    returning p.id
)
select d.id
from workflow_definitions as d inner join renamed as r on r.id = d.project_id
order by d.id
"""
_COMMITTED: Final[LiteralString] = """
select
    coalesce((d.definition ->> 'revision')::integer, 0),
    coalesce(nullif(split_part(p.name, ' #', 2), '')::integer, 0)
from workflow_definitions as d inner join projects as p on p.id = d.project_id
where d.id = %s
"""
_UNDO: Final[tuple[LiteralString, ...]] = (
    "update workflow_definitions set definition = definition - 'revision' where definition ? 'revision'",
    "update projects set name = split_part(name, ' #', 1) where name like '% #%'",
    "vacuum (analyze) workflow_definitions, projects",
)

Numbers = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Change:
    """An edit of a workflow, or a new name for its project, which is in the rows of all its workflows."""

    key: UUID
    renames_project: bool = False

    def apply(self, connection: psycopg.Connection[Any]) -> list[UUID]:
        """Make it in the caller's transaction; returns whose rows are others now, in order."""
        statement = _RENAME if self.renames_project else _EDIT
        return [row[0] for row in connection.execute(statement, (self.key,), prepare=True).fetchall()]


class Lookup:
    """One row by key: a prepared SELECT from something with the columns of the view."""

    def __init__(self, connection: psycopg.Connection[Any], relation: sql.Composable = QUERY) -> None:
        # One cursor for all of them: another one for each read would cost time and change nothing.
        self._cursor = connection.cursor(row_factory=tuple_row, binary=True)
        statement = sql.SQL("select {} from {} as s where s.id = %s").format(_COLUMN_LIST, relation)
        self._statement = statement.as_bytes(connection)

    def __call__(self, key: UUID) -> WorkflowDefinition | None:
        row = self._cursor.execute(self._statement, (key,), prepare=True).fetchone()
        return None if row is None else made(row)


def connect(dsn: str) -> psycopg.Connection[Any]:
    """A connection that is in no transaction unless it is told to."""
    return psycopg.connect(dsn, autocommit=True, application_name="contenders")


@contextmanager
def json_by_orjson() -> Iterator[None]:
    """Inside the block psycopg decodes JSON with orjson, on all connections of this process."""
    # Not on single connections: there psycopg makes loaders of its own, and meshcache, which cannot know what
    # they do in the binary format, would read all in the text format.
    set_json_loads(orjson.loads)
    try:
        yield
    finally:
        set_json_loads(json.loads)


def committed(connection: psycopg.Connection[Any], key: UUID) -> Numbers:
    """The numbers of what is committed now: whoever begins to read later has to return no smaller ones."""
    row = connection.execute(_COMMITTED, (key,), prepare=True).fetchone()
    if row is None:
        raise LookupError(f"there is no workflow {key}")
    return row[0], row[1]


def is_older(row: WorkflowDefinition, than: Numbers) -> bool:
    """Whether a row is from before one of two writes."""
    _, _, renamed = row.project_name.partition(" #")
    return row.definition.get("revision", 0) < than[0] or int(renamed or 0) < than[1]


def undo(dsn: str) -> None:
    """Give all rows their content from before all changes, except that their updated_at is later."""
    with connect(dsn) as connection:
        for statement in _UNDO:
            connection.execute(statement)
