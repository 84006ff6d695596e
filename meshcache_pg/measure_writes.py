"""What the triggers of one cached view add to a statement on one of its source tables, measured without
touching the table: on temporary copies of its shape and of a few of its rows, one of them with the triggers,
in the caller's transaction, which is rolled back.

The copies live in memory and have neither the application's triggers nor its foreign keys nor WAL, so what a
statement takes there is less than what it takes on the table. What the triggers add is the same.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from psycopg import sql
from psycopg.rows import tuple_row
from sqlalchemy import Connection, text

from meshcache_pg import render_marks
from meshcache_pg.conditions import Column, ResolvedDependency
from meshcache_pg.database import execute_ddl
from meshcache_pg.marked import MarkedSource, MarkTable
from meshcache_pg.resolve import table_columns
from meshcache_pg.sources import primary_keys
from meshcache_pg.sql import Identifier, query, trusted
from meshcache_pg.sql import text as sql_text

ROWS: Final = 40
WARM_UP: Final = 8

# Functions and mark tables of the copies are named by the backend that makes them: nobody else does, and
# nobody waits for a name. Ids of the catalog are far below.
_IDS: Final = 2_000_000_000
_MARKS: Final = 32

_PLAIN, _MARKED, _HELD = (Identifier("pg_temp", f"meshcache_{name}") for name in ("plain", "marked", "held"))
_STATEMENTS: Final = ("insert", "update", "delete")


@dataclass(frozen=True, slots=True)
class Added:
    """One kind of statement on one row: medians in microseconds without and with the triggers. The update
    sets a column to what it was.
    """

    statement: str
    without_us: float
    with_us: float

    @property
    def added_us(self) -> float:
        """What the triggers add; a clock's noise never makes it negative."""
        return max(self.with_us - self.without_us, 0.0)


def measure(connection: Connection, dependencies: Sequence[ResolvedDependency]) -> list[Added]:
    """What the dependencies of one view on one table (`source_id` is its oid) add to statements on it; []
    where the table has no rows.

    Locks: ACCESS SHARE on the table. Needs a transaction that will be rolled back, and CREATE on schema
    meshcache, as `apply` does.
    """
    oid, source = dependencies[0].source_id, dependencies[0].relation
    columns = connection.scalars(text(query("measure_writes", "columns")), {"oid": oid}).all()
    # An empty list of columns cannot be written, and a table without a column cannot be read by a view.
    names = sql.SQL(", ").join(sql.SQL(trusted(name)) for name in columns)
    for copy in (_PLAIN, _MARKED):
        shape = sql.SQL("create temporary table {} (like {} including indexes including generated)")
        execute_ddl(connection, sql_text(shape.format(copy.sql, source.sql)))
    held = sql.SQL("create temporary table {} as select {} from {} limit {}")
    execute_ddl(connection, sql_text(held.format(_HELD.sql, names, source.sql, sql.Literal(ROWS))))
    _add_triggers(connection, oid, dependencies)
    raw: Any = connection.connection.driver_connection
    cursor = raw.cursor(row_factory=tuple_row)
    places = [row[0] for row in cursor.execute(sql_text(sql.SQL("select ctid from {}").format(_HELD.sql)))]
    taken: dict[tuple[Identifier, str], list[float]] = {}
    for number in range(WARM_UP + ROWS if places else 0):
        for copy in (_PLAIN, _MARKED):
            times = _write(cursor, copy, names, str(columns[0]), places[number % len(places)])
            for statement, seconds in zip(_STATEMENTS, times, strict=True):
                if number >= WARM_UP:
                    taken.setdefault((copy, statement), []).append(seconds * 1e6)
    return [
        Added(
            statement,
            statistics.median(taken[_PLAIN, statement]),
            statistics.median(taken[_MARKED, statement]),
        )
        for statement in _STATEMENTS
        if taken
    ]


def _write(cursor: Any, copy: Identifier, names: sql.Composed, column: str, place: Any) -> list[float]:
    """Insert one held row, update it with its own value, delete it; the seconds that each took."""
    same = sql.SQL(trusted(column))
    insert = sql.SQL("insert into {} ({}) select {} from {} where ctid = %s returning ctid")
    update = sql.SQL("update {} set {} = {} where ctid = %s returning ctid")
    delete = sql.SQL("delete from {} where ctid = %s returning ctid")
    taken = []
    for statement in (
        insert.format(copy.sql, names, names, _HELD.sql),
        update.format(copy.sql, same, same),
        delete.format(copy.sql),
    ):
        begin = time.perf_counter()
        place = cursor.execute(statement, (place,), prepare=True).fetchone()[0]
        taken.append(time.perf_counter() - begin)
    return taken


def _add_triggers(connection: Connection, oid: int, dependencies: Sequence[ResolvedDependency]) -> None:
    pid = connection.scalar(text("select pg_backend_pid()"))
    number = _IDS + int(pid or 0) * _MARKS
    columns = table_columns(connection, oid)
    marks = [
        MarkTable(
            number + place,
            tuple(columns[name] for name in marked),
            tuple(columns[name] for name in matter) if matter is not None else None,
        )
        for place, (marked, matter) in enumerate(merged(dependencies).items())
    ]
    keys: tuple[Column, ...] = tuple(columns[name] for name in primary_keys(connection, [oid])[oid])
    flush = (number,) if any(not d.columns for d in dependencies) else ()
    for mark in marks:
        for statement in render_marks.mark_table(mark.id, mark.columns):
            execute_ddl(connection, statement)
    functions = render_marks.functions(MarkedSource(number, tuple(marks), keys, flush))
    for _, statement in zip(_STATEMENTS, functions, strict=False):
        execute_ddl(connection, statement)
    found = connection.scalars(
        text(query("measure_writes", "triggers")), {"name": _MARKED.name, "id": number}
    )
    for statement in found.all():
        execute_ddl(connection, statement)


def merged(
    dependencies: Sequence[ResolvedDependency],
) -> dict[tuple[str, ...], tuple[str, ...] | None]:
    """The marked columns of each mark table, with the columns that matter to any of these; None for all."""
    found: dict[tuple[str, ...], tuple[str, ...] | None] = {}
    for one in dependencies:
        if one.columns:
            before = found.get(one.columns, ())
            both = None if before is None or one.matter is None else tuple(sorted({*before, *one.matter}))
            found[one.columns] = both
    return found
