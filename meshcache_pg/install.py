"""Turns resolved definitions into objects in the database and back into nothing: the DDL side of `apply` and
`drop`.

Everything here runs in the caller's one transaction. DDL waits for locks and makes others wait behind it, so
what others use is locked first, before anything that takes time, and with little patience (patience.py); a
caller whose attempt was cut short tries again.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, LiteralString

from psycopg import sql
from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import DBAPIError

from meshcache_pg import render_marks, underlying
from meshcache_pg.conditions import Column, ResolvedDependency
from meshcache_pg.database import execute_all, execute_ddl, translated
from meshcache_pg.definition import Definition
from meshcache_pg.errors import LockBusy, NotInstalled
from meshcache_pg.marked import MarkedSource, MarkTable
from meshcache_pg.patience import Patience
from meshcache_pg.preparing import Prepared, definition_error
from meshcache_pg.render import (
    CORE,
    DATA,
    VIEWS,
    ViewRenderer,
    common_grants,
    condition_functions,
    index_columns,
    view_functions,
)
from meshcache_pg.resolve import table_columns
from meshcache_pg.sql import made_by, query
from meshcache_pg.sql import text as sql_text


def _q(name: str) -> str:
    return query("install", name)


def begin(connection: Connection) -> Patience:
    """Start the DDL transaction: bounded waits, and the data schema in place."""
    patience = Patience(connection)
    connection.execute(text(_q("ensure_data")))
    return patience


@dataclass(frozen=True, slots=True)
class Ready:
    """A definition with its dependencies in the catalog's ids and its mark tables in place: all that can be
    done before anything that others use is locked.
    """

    prepared: Prepared
    server: int
    dependencies: Sequence[ResolvedDependency]
    strict: Sequence[Sequence[str]]


def make_ready(connection: Connection, prepared: Prepared) -> Ready:
    """Create what a definition needs beside its own objects, which others may have in common with it."""
    is_complete = prepared.definition.coverage == "complete"
    with translated():
        server = connection.scalar(text("select current_setting('server_version_num')::integer"))
        return Ready(
            prepared,
            server or 0,
            [_with_marks(connection, found) for found in prepared.dependencies],
            [
                _strict(connection, found) if is_complete and found.kind == "key" else []
                for found in prepared.dependencies
            ],
        )


def install(connection: Connection, ready: Ready) -> None:
    """Create one cached view or rollup, whose former objects are dropped already. Marks and triggers follow
    in `sync_sources`. In few round trips: readers wait meanwhile.
    """
    prepared = ready.prepared
    definition = prepared.definition
    try:
        view_id, generation = _register(connection, prepared)
        source = sql.Identifier(f"{definition.name}_source")
        rename = sql_text(sql.SQL("alter view {} rename to {}").format(prepared.source.sql, source))
        if definition.kind == "rollup":
            execute_all(connection, [rename, *_rollup(definition)])
            return
        _note_dependencies(connection, view_id, ready)
        underlying.note(connection, view_id, prepared.rests.objects)
        renderer = ViewRenderer(
            view_id,
            definition,
            prepared.columns,
            ready.dependencies,
            ready.server,
            generation=generation,
            hidden=prepared.hidden,
            rests=prepared.rests.kinds,
        )
        execute_all(
            connection,
            [
                rename,
                *renderer.statements(),
                _revoke(view_functions(definition.name)),
                *renderer.grants(),
            ],
        )
    except DBAPIError as error:
        raise definition_error(definition, error) from error


def _register(connection: Connection, prepared: Prepared) -> tuple[int, int]:
    """Write the catalog's row; returns its id and generation."""
    definition = prepared.definition
    shown = [c for c in prepared.columns if c.name not in prepared.hidden]
    row = connection.execute(
        text(_q("insert_view")),
        {
            "name": definition.name,
            "kind": definition.kind,
            "definition": definition.text,
            "definition_hash": definition.content_hash,
            "source_sql": prepared.source_sql,
            "key_columns": list(definition.key),
            "key_proved": prepared.key_proved,
            "columns": [c.name for c in shown],
            "column_types": [c.type for c in shown],
            "json_text": list(definition.json_text),
            "coverage": definition.coverage if definition.kind == "cached_view" else None,
            "tenant_column": definition.tenant,
            "ttl": definition.ttl,
            "refresh_every": definition.refresh_every,
            "readers": list(definition.readers),
            "made_by": made_by(),
        },
    ).one()
    return row.id, row.generation


def _rollup(definition: Definition) -> Iterator[str]:
    view, matview, source = (
        sql.Identifier(CORE, definition.name),
        sql.Identifier(DATA, definition.name),
        sql.Identifier(CORE, f"{definition.name}_source"),
    )
    keys = sql.SQL(", ").join(sql.Identifier(k) for k in definition.key)
    comment = sql.Literal(definition.description or "Rollup.")
    statements = [
        sql.SQL("create materialized view {} as select * from {} with no data").format(matview, source),
        # What REFRESH ... CONCURRENTLY asks for.
        sql.SQL("create unique index on {} ({})").format(matview, keys),
        *(
            sql.SQL("create index on {} ({})").format(matview, index_columns(index))
            for index in definition.all_indexes()
        ),
        sql.SQL("create view {} as select * from {}").format(view, matview),
        sql.SQL("comment on view {} is {}").format(view, comment),
    ]
    for reader in definition.readers:
        statements.append(sql.SQL("grant select on {} to {}").format(view, sql.Identifier(reader)))
    yield from map(sql_text, statements)
    yield from common_grants(definition.readers)


def _strict(connection: Connection, found: ResolvedDependency) -> list[str]:
    """The marked columns that are not null: of a key that is one only because they are, a null among them
    would be a row that no mark finds.
    """
    columns = table_columns(connection, found.source_id)
    return [name for name in found.columns if columns[name].not_null]


def _with_marks(connection: Connection, found: ResolvedDependency) -> ResolvedDependency:
    """One dependency with the ids of its source and its mark table, which are made where they are new."""
    source_id: int = _kept(
        connection.execute(text(_q("ensure_source")), {"oid": found.source_id}).one_or_none(), found
    ).id
    mark_id: int | None = None
    if found.columns:
        named = {"source_id": source_id, "columns": list(found.columns)}
        row = _kept(connection.execute(text(_q("ensure_mark")), named).one_or_none(), found)
        mark_id = row.id
        if row.is_new:
            columns = table_columns(connection, found.source_id)
            marked = [columns[name] for name in found.columns]
            execute_all(connection, render_marks.mark_table(row.id, marked))
            connection.execute(text(_q("reserve_pages")), {"mark_table": f"meshcache.mark_{row.id}"})
    return replace(found, source_id=source_id, mark_id=mark_id)


def _kept(row: Row[Any] | None, found: ResolvedDependency) -> Row[Any]:
    if row is None:
        raise LockBusy(
            f"another process is taking away what notes changes of {found.relation.schema}.{found.relation.name}",
            hint="Nobody needed it any more at that moment; try again.",
        )
    return row


def _note_dependencies(connection: Connection, view_id: int, ready: Ready) -> None:
    rows = [
        {
            "view_id": view_id,
            "position": position,
            "source_id": found.source_id,
            "source_name": sql_text(found.relation.sql),
            "mark_id": found.mark_id,
            "kind": found.kind,
            "view_columns": list(found.view_columns),
            "links": json.dumps(
                [
                    {"table": sql_text(link.table.sql), "from": link.from_column, "to": link.to_column}
                    for link in found.links
                ]
            ),
            "matter": list(found.matter) if found.matter is not None else None,
            "strict": list(strict),
            "has_children": found.has_children,
        }
        for position, (found, strict) in enumerate(zip(ready.dependencies, ready.strict, strict=True))
    ]
    if rows:
        connection.execute(text(_q("insert_dependency")), rows)


def _revoke(names: Sequence[str]) -> str:
    # Without arguments, because no two functions of ours have one name.
    functions = sql.SQL(", ").join(sql.Identifier(CORE, name) for name in names)
    return sql_text(sql.SQL("revoke execute on function {} from public").format(functions))


def _drop_functions(names: Sequence[str]) -> str:
    functions = sql.SQL(", ").join(sql.Identifier(CORE, name) for name in names)
    return sql_text(sql.SQL("drop function if exists {}").format(functions))


def drop_objects(connection: Connection, names: Sequence[str], patience: Patience) -> None:
    """Drop what definitions became, where it is there; their catalog rows and sources stay. To be done for
    all of them before the first one is created: creating takes time, and dropping has to wait for locks.
    """
    if not names:
        return
    of_view = {name: (name, *(f"{name}_{part}" for part in VIEWS)) for name in names}
    asked = [one for name in names for one in (*of_view[name], f"{name}_source")]
    there = {(row.kind, row.name) for row in connection.execute(text(_q("there")), {"names": asked})}
    statements: dict[str, str | None] = {}

    def drop(kind: LiteralString, schema: str, name: str) -> None:
        relation = sql_text(sql.Identifier(schema, name))
        statements[f"drop {kind} {relation}"] = relation

    for name in names:
        for view in of_view[name]:
            if ("v", view) in there:
                drop("view", CORE, view)
        # After the views, which call some of them: whoever reads the views is waited for there.
        statements[_drop_functions([*view_functions(name), *condition_functions(name)])] = None
        if ("r", name) in there:
            drop("table", DATA, name)
        if ("m", name) in there:
            drop("materialized view", DATA, name)
        if ("v", f"{name}_source") in there:
            drop("view", CORE, f"{name}_source")
    patience.run(statements)
    connection.execute(text(_q("forget_state")), {"names": list(names)})


def forget(connection: Connection, name: str) -> None:
    """Take the catalog row of a cached view or rollup away, whose objects are dropped already."""
    connection.execute(text(_q("delete_view")), {"name": name})


def sync_sources(connection: Connection, source_ids: Iterable[int], patience: Patience) -> None:
    """Bring mark tables, trigger functions and triggers of source tables to what the catalog asks for.

    Locks each table whose triggers or trigger functions change in SHARE ROW EXCLUSIVE mode until commit: a
    statement that began under the old triggers has then ended, and the next one sees the new ones. Without
    that, a writer that still runs the old function could leave out a mark that a new view depends on.
    """
    unused_sources, unused_marks = _take_unused(connection)
    work = []
    for source_id in sorted({*source_ids, *(row.source_id for row in unused_marks)}):
        state = connection.execute(text(_q("source_state")), {"source_id": source_id}).one()
        if not state.used and source_id not in unused_sources:
            # Another apply is about to read it again, and will see to it.
            continue
        functions = (
            _functions(connection, source_id, state.oid, state.flush) if state.used and state.present else []
        )
        if state.used and _is_current(connection, source_id, functions):
            continue
        work.append((source_id, state, functions))
    # One order for everybody who locks several tables.
    for _, state, _ in sorted(work, key=lambda w: w[1].oid):
        if state.present:
            patience.lock(f"lock table {state.name} in share row exclusive mode")
    for source_id, state, functions in work:
        if state.used and state.present:
            execute_all(connection, [*functions, _revoke(render_marks.function_names(source_id))])
            connection.execute(text(_q("sync_triggers")), {"source_id": source_id})
        elif not state.used:
            connection.execute(text(_q("drop_triggers")), {"source_id": source_id})
            execute_ddl(connection, _drop_functions(render_marks.function_names(source_id)))
    mark_tables = [f"meshcache.mark_{int(row.id)}" for row in unused_marks]
    patience.run({f"drop table if exists {mark_table}": mark_table for mark_table in mark_tables})
    for row in unused_marks:
        connection.execute(text(_q("delete_mark")), {"id": row.id})
    for source_id, state, _ in work:
        if not state.used:
            connection.execute(text(_q("delete_source")), {"id": source_id})


def _take_unused(connection: Connection) -> tuple[set[int], Sequence[Row[tuple[int, int]]]]:
    """The source tables and mark tables that no view reads any more; what another apply is about to read
    again stays, and is found by the next one.
    """
    sources = connection.scalars(text(_q("lock_unused_sources"))).all()
    marks = connection.scalars(text(_q("lock_unused_marks"))).all()
    # Somebody may have begun to read one, and have committed, between snapshot and lock.
    unused = connection.scalars(text(_q("unused_sources")), {"ids": sources}).all()
    unused_marks = connection.execute(
        text(_q("unused_marks")), {"ids": marks, "unused_sources": unused}
    ).all()
    return set(unused), unused_marks


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


def uninstall(connection: Connection) -> None:
    """Remove all of the cache: triggers, views, functions, both schemas. Needs: the installing role.

    Locks every source table in ACCESS EXCLUSIVE mode until commit, in one order and with bounded waits. A
    view of the application's own that reads a cached view is a reason to stop, with its name, not to drop it
    too.
    """
    patience = Patience(connection)
    if not connection.scalar(text("select to_regclass('meshcache.cached_view') is not null")):
        raise NotInstalled("there is nothing to uninstall: this database has no meshcache schema")
    with translated():
        tables = connection.scalars(text(_q("watched_tables"))).all()
        patience.run({f"lock table {table} in access exclusive mode": table for table in tables})
        for source_id in connection.scalars(text("select id from meshcache.source_table order by id")).all():
            connection.execute(text(_q("drop_triggers")), {"source_id": source_id})
        names = connection.scalars(text("select name from meshcache.cached_view order by name")).all()
        drop_objects(connection, names, patience)
        execute_ddl(connection, "drop schema if exists meshcache_data cascade")
        execute_ddl(connection, "drop schema meshcache cascade")
