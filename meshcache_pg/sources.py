"""Source tables: which of them are watched, and by what. Mark tables, trigger functions and triggers are made
where a definition needs them, and taken away where none does any more.

All of this is shared by all views, so whoever changes it does so alone (`install.take_turn`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from psycopg import sql
from sqlalchemy import Connection, text

from meshcache_pg import render_marks
from meshcache_pg.conditions import Column, ResolvedDependency
from meshcache_pg.database import execute_all, execute_ddl
from meshcache_pg.marked import MarkedSource, MarkTable
from meshcache_pg.patience import Patience
from meshcache_pg.render import CORE
from meshcache_pg.resolve import table_columns
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
    """One dependency with the ids of its source and its mark table, which are made where they are new."""
    source_id: int = connection.execute(text(_q("ensure_source")), {"oid": found.source_id}).scalar_one()
    mark_id: int | None = None
    if found.columns:
        row = connection.execute(
            text(_q("ensure_mark")), {"source_id": source_id, "columns": list(found.columns)}
        ).one()
        mark_id = row.id
        if row.is_new:
            columns = table_columns(connection, found.source_id)
            marked = [columns[name] for name in found.columns]
            execute_all(connection, render_marks.mark_table(row.id, marked))
            connection.execute(text(_q("reserve_pages")), {"mark_table": f"meshcache.mark_{row.id}"})
    return replace(found, source_id=source_id, mark_id=mark_id)


def sync(connection: Connection, source_ids: Iterable[int], patience: Patience) -> None:
    """Bring mark tables, trigger functions and triggers of source tables to what the catalog asks for.

    Locks each table whose triggers or trigger functions change in SHARE ROW EXCLUSIVE mode until commit: a
    statement that began under the old triggers has then ended, and the next one sees the new ones. Without
    that, a writer that still runs the old function could leave out a mark that a new view depends on.
    """
    unused = connection.execute(text(_q("unused_marks"))).all()
    work = []
    for source_id in sorted({*source_ids, *(row.source_id for row in unused)}):
        state = connection.execute(text(_q("source_state")), {"source_id": source_id}).one()
        functions = (
            _functions(connection, source_id, state.oid, state.flush) if state.used and state.present else []
        )
        if _is_current(connection, source_id, functions) and state.used:
            continue
        work.append((source_id, state, functions))
    # One order for everybody who locks several tables.
    for _, state, _ in sorted(work, key=lambda w: w[1].oid):
        if state.present:
            patience.lock(f"lock table {state.name} in share row exclusive mode")
    for source_id, state, functions in work:
        if state.used and state.present:
            execute_all(connection, [*functions, revoke(render_marks.function_names(source_id))])
            connection.execute(text(_q("sync_triggers")), {"source_id": source_id})
        elif not state.used:
            connection.execute(text(_q("drop_triggers")), {"source_id": source_id})
            execute_ddl(connection, drop_functions(render_marks.function_names(source_id)))
    mark_tables = [f"meshcache.mark_{int(row.id)}" for row in unused]
    patience.run({f"drop table if exists {mark_table}": mark_table for mark_table in mark_tables})
    for row in unused:
        connection.execute(text(_q("delete_mark")), {"id": row.id})
    for source_id, state, _ in work:
        if not state.used:
            connection.execute(text(_q("delete_source")), {"id": source_id})


def _functions(connection: Connection, source_id: int, oid: int, flush: Sequence[int]) -> list[str]:
    """The statements that create the trigger functions of one source table."""
    columns = table_columns(connection, oid)
    marks = [
        MarkTable(
            row.id,
            # A column that was renamed or dropped since: its name makes the function leave wildcards,
            # which is right until the view is replaced; a function without it would leave nothing.
            tuple(columns.get(c, Column(c, "text")) for c in row.columns),
            tuple(row.matter) if row.matter is not None else None,
            frozenset(row.strict),
        )
        for row in connection.execute(text(_q("source_marks")), {"source_id": source_id})
    ]
    keys = tuple(columns[name] for name in primary_key(connection, oid))
    return list(render_marks.functions(MarkedSource(source_id, tuple(marks), keys, tuple(flush))))


def primary_key(connection: Connection, oid: int) -> Sequence[str]:
    """The columns of a table's primary key in order."""
    return connection.scalars(text(_q("primary_key")), {"oid": oid}).all()


def _is_current(connection: Connection, source_id: int, functions: Sequence[str]) -> bool:
    """Whether triggers, partitions and the bodies of the trigger functions are already as they should be."""
    if connection.scalar(text(_q("missing_triggers")), {"source_id": source_id}):
        return False
    if not connection.scalar(text(_q("same_children")), {"source_id": source_id}):
        return False
    for name, statement in zip(render_marks.function_names(source_id), functions, strict=False):
        body = connection.scalar(text(_q("function_definition")), {"name": name})
        if body is None or body not in statement:
            return False
    return bool(functions)


def revoke(names: Sequence[str]) -> str:
    """The statement that takes functions of schema meshcache away from everybody."""
    # Without arguments, because no two functions of ours have one name.
    functions = sql.SQL(", ").join(sql.Identifier(CORE, name) for name in names)
    return sql_text(sql.SQL("revoke execute on function {} from public").format(functions))


def drop_functions(names: Sequence[str]) -> str:
    """The statement that drops functions of schema meshcache, where they are there."""
    functions = sql.SQL(", ").join(sql.Identifier(CORE, name) for name in names)
    return sql_text(sql.SQL("drop function if exists {}").format(functions))
