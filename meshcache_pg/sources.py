"""Source tables: which of them are watched, and by what. Mark tables, trigger functions and triggers are made
where a definition needs them, and taken away where none does any more.

All of this is shared by all views, so whoever changes it does so alone (`install.take_turn`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from psycopg import sql
from sqlalchemy import Connection, text
from sqlalchemy.engine import Row

from meshcache_pg import render_marks
from meshcache_pg.conditions import Column, ResolvedDependency
from meshcache_pg.database import execute_all, execute_ddl
from meshcache_pg.errors import DefinitionError
from meshcache_pg.marked import MarkedSource, MarkTable
from meshcache_pg.patience import Patience
from meshcache_pg.placing import CORE
from meshcache_pg.resolve import columns_of_tables, table_columns
from meshcache_pg.sql import query
from meshcache_pg.sql import text as sql_text


def _q(name: str) -> str:
    return query("install", name)


def strict_columns(connection: Connection, found: ResolvedDependency) -> list[str]:
    """The marked columns that are not null: of a key that is one only because they are, a null among them
    would be a row that no mark finds.
    """
    columns = table_columns(connection, found.source_id)
    return [name for name in found.columns if columns[name].not_null]


def with_marks(connection: Connection, found: ResolvedDependency) -> ResolvedDependency:
    """One dependency with the ids of its source and its mark table, which are made where they are new.

    Raises DefinitionError where there is a mark table of the types that the columns had before.
    """
    source_id: int = connection.execute(text(_q("ensure_source")), {"oid": found.source_id}).scalar_one()
    mark_id: int | None = None
    if found.columns:
        row = connection.execute(
            text(_q("ensure_mark")), {"source_id": source_id, "columns": list(found.columns)}
        ).one()
        mark_id = row.id
        columns = table_columns(connection, found.source_id)
        marked = [columns[name] for name in found.columns]
        if row.oid is None:
            execute_all(connection, render_marks.mark_table(row.id, marked))
            connection.execute(text(_q("reserve_pages")), {"mark_table": f"meshcache.mark_{row.id}"})
        else:
            _check_types(found, marked, table_columns(connection, row.oid))
    return replace(found, source_id=source_id, mark_id=mark_id)


def _check_types(found: ResolvedDependency, marked: Sequence[Column], of_marks: Mapping[str, Column]) -> None:
    """Refuse a mark table that cannot hold the values any more. Others may still read it: it is made anew
    when none of them does.
    """
    table = f"{found.relation.schema}.{found.relation.name}"
    for column in marked:
        before = of_marks[column.name].type if column.name in of_marks else "gone"
        if column.type != before:
            raise DefinitionError(
                f"{table}.{column.name} is {column.type}, and its marks are {before}",
                hint=f"Run meshcache suspend {table}, then meshcache resume, in one maintenance window.",
            )


@dataclass(frozen=True, slots=True)
class Work:
    """What has to change around source tables: those whose triggers or trigger functions are others than the
    catalog asks for, the functions by their ids, and the mark tables that nobody needs any more.
    """

    states: Sequence[Row[Any]]
    functions: Mapping[int, Sequence[str]]
    unused: Sequence[int]


def find_work(connection: Connection) -> Work:
    """Compare mark tables, trigger functions and triggers of all source tables with what the catalog asks
    for. Locks nothing.
    """
    unused = connection.scalars(text(_q("unused_marks"))).all()
    states = connection.execute(text(_q("source_states"))).all()
    functions = _functions(connection, [state for state in states if state.used and state.present])
    present = _function_bodies(connection, functions)
    return Work(
        [
            state
            for state in states
            if not (state.used and state.present and state.is_watched)
            or not _is_current(functions[state.id], render_marks.function_names(state.id), present)
        ],
        functions,
        unused,
    )


def outdated(connection: Connection) -> list[str]:
    """The source tables whose trigger functions are not those that would be made now, as after a column was
    given another type. Locks nothing.
    """
    return [state.name for state in find_work(connection).states if state.used and state.present]


def carry_out(connection: Connection, work: Work, patience: Patience) -> None:
    """Change what `find_work` found.

    Locks each table whose triggers or trigger functions change in SHARE ROW EXCLUSIVE mode until commit: a
    statement that began under the old triggers has then ended, and the next one sees the new ones. Without
    that, a writer that still runs the old function could leave out a mark that a new view depends on.
    """
    # One order for everybody who locks several tables.
    for state in sorted(work.states, key=lambda one: one.oid):
        if state.present:
            patience.lock(f"lock table {state.name} in share row exclusive mode")
    for state in work.states:
        names = render_marks.function_names(state.id)
        if state.used and state.present:
            execute_all(connection, [*work.functions[state.id], revoke(names)])
            connection.execute(text(_q("sync_triggers")), {"source_id": state.id})
        elif not state.used:
            connection.execute(text(_q("drop_triggers")), {"source_id": state.id})
            execute_ddl(connection, drop_functions(names))
    mark_tables = [f"meshcache.mark_{int(mark_id)}" for mark_id in work.unused]
    patience.run({f"drop table if exists {mark_table}": mark_table for mark_table in mark_tables})
    for mark_id in work.unused:
        connection.execute(text(_q("delete_mark")), {"id": mark_id})
    for state in work.states:
        if not state.used:
            connection.execute(text(_q("delete_source")), {"id": state.id})


def _functions(connection: Connection, states: Sequence[Row[Any]]) -> dict[int, Sequence[str]]:
    """The statements that create the trigger functions of source tables, by the ids of these."""
    oids = [state.oid for state in states]
    columns = columns_of_tables(connection, oids)
    keys = primary_keys(connection, oids)
    marks: dict[int, list[MarkTable]] = {state.id: [] for state in states}
    oid_of = {state.id: state.oid for state in states}
    rows = connection.execute(text(_q("source_marks")), {"source_ids": list(marks)}).all()
    of_marks = columns_of_tables(connection, [row.oid for row in rows if row.oid is not None])
    for row in rows:
        of_table = columns[oid_of[row.source_id]]
        # A column that was renamed or dropped since: its name makes the function leave wildcards, which is
        # right until the view is replaced; a function without it would leave nothing. So does one that has
        # another type than its marks.
        marked, matter = (
            tuple(types.get(name, Column(name, "text")) for name in names)
            for types, names in ((of_marks.get(row.oid, of_table), row.columns), (of_table, row.matter or ()))
        )
        marks[row.source_id].append(
            MarkTable(row.id, marked, matter if row.matter is not None else None, frozenset(row.strict))
        )
    return {
        state.id: render_marks.functions(
            MarkedSource(
                state.id,
                tuple(marks[state.id]),
                tuple(columns[state.oid][name] for name in keys[state.oid]),
                tuple(state.flush),
            )
        )
        for state in states
    }


def primary_keys(connection: Connection, oids: Sequence[int]) -> dict[int, list[str]]:
    """The columns of the primary keys of tables in order, none where a table has no such key."""
    found: dict[int, list[str]] = {oid: [] for oid in oids}
    for row in connection.execute(text(_q("primary_keys")), {"oids": list(oids)}):
        found[row.relation].append(row.name)
    return found


def _function_bodies(connection: Connection, source_ids: Iterable[int]) -> dict[str, str]:
    names = [name for source_id in source_ids for name in render_marks.function_names(source_id)]
    rows = connection.execute(text(_q("function_bodies")), {"names": names})
    return {row.name: row.body for row in rows}


def _is_current(statements: Sequence[str], names: Sequence[str], present: Mapping[str, str]) -> bool:
    """Whether the functions of these names have the bodies that the statements would give them."""
    return all(
        name in present and present[name] in statement
        for name, statement in zip(names, statements, strict=True)
    )


def revoke(names: Sequence[str]) -> str:
    """The statement that takes functions of schema meshcache away from everybody."""
    # Without arguments, because no two functions of ours have one name.
    functions = sql.SQL(", ").join(sql.Identifier(CORE, name) for name in names)
    return sql_text(sql.SQL("revoke execute on function {} from public").format(functions))


def drop_functions(names: Sequence[str]) -> str:
    """The statement that drops functions of schema meshcache, where they are there."""
    functions = sql.SQL(", ").join(sql.Identifier(CORE, name) for name in names)
    return sql_text(sql.SQL("drop function if exists {}").format(functions))
