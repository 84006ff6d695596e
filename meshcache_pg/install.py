"""Turns resolved definitions into objects in the database and back into nothing: the DDL side of `apply` and
`drop`.

Everything here runs in the caller's one transaction. DDL waits for locks and makes others wait behind it, so
what others use is locked first, before anything that takes time, and with little patience (patience.py); a
caller whose attempt was cut short tries again.
"""

import json
from collections.abc import Iterable, Sequence
from typing import LiteralString

from psycopg import sql
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from meshcache_pg import render_marks, underlying
from meshcache_pg.conditions import Column, ResolvedDependency
from meshcache_pg.database import execute_all, execute_ddl, translated
from meshcache_pg.definition import Definition
from meshcache_pg.errors import NotInstalled
from meshcache_pg.marked import MarkedSource, MarkTable
from meshcache_pg.patience import FOR_WRITERS_MS, Patience
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


def install(connection: Connection, prepared: Prepared) -> None:
    """Create one cached view or rollup, whose former objects are dropped already. Marks and triggers follow
    in `sync_sources`.
    """
    definition = prepared.definition
    try:
        view_id, generation = _register(connection, prepared)
        name = sql.Identifier(f"{definition.name}_source")
        rename = sql.SQL("alter view {} rename to {}").format(prepared.source.sql, name)
        execute_ddl(connection, sql_text(rename))
        if definition.kind == "rollup":
            _install_rollup(connection, definition)
            return
        is_complete = definition.coverage == "complete"
        stored = [
            _store(connection, view_id, n, d, is_complete=is_complete)
            for n, d in enumerate(prepared.dependencies)
        ]
        server = connection.scalar(text("select current_setting('server_version_num')::integer"))
        rests = underlying.find(connection, prepared.oid)
        underlying.note(connection, view_id, rests.objects)
        renderer = ViewRenderer(
            view_id,
            definition,
            prepared.columns,
            stored,
            server,
            generation=generation,
            hidden=prepared.hidden,
            rests=rests.kinds,
        )
        execute_all(connection, renderer.statements())
        _revoke(connection, view_functions(definition.name))
        execute_all(connection, renderer.grants())
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


def _install_rollup(connection: Connection, definition: Definition) -> None:
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
    execute_all(connection, map(sql_text, statements))
    execute_all(connection, common_grants(definition.readers))


def _strict(connection: Connection, found: ResolvedDependency) -> list[str]:
    """The marked columns that are not null: of a key that is one only because they are, a null among them
    would be a row that no mark finds.
    """
    columns = table_columns(connection, found.source_id)
    return [name for name in found.columns if columns[name].not_null]


def _store(
    connection: Connection, view_id: int, position: int, found: ResolvedDependency, *, is_complete: bool
) -> ResolvedDependency:
    """Write one dependency to the catalog, with its source and mark table; returns it with their ids."""
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
            for statement in render_marks.mark_table(row.id, marked):
                execute_ddl(connection, statement)
            connection.execute(text(_q("reserve_pages")), {"mark_table": f"meshcache.mark_{row.id}"})
    links = [
        {"table": sql_text(link.table.sql), "from": link.from_column, "to": link.to_column}
        for link in found.links
    ]
    connection.execute(
        text(_q("insert_dependency")),
        {
            "view_id": view_id,
            "position": position,
            "source_id": source_id,
            "source_name": sql_text(found.relation.sql),
            "mark_id": mark_id,
            "kind": found.kind,
            "view_columns": list(found.view_columns),
            "links": json.dumps(links),
            "matter": list(found.matter) if found.matter is not None else None,
            "strict": _strict(connection, found) if is_complete and found.kind == "key" else [],
            "has_children": found.has_children,
        },
    )
    return ResolvedDependency(
        source_id=source_id,
        relation=found.relation,
        kind=found.kind,
        mark_id=mark_id,
        columns=found.columns,
        view_columns=found.view_columns,
        links=found.links,
        matter=found.matter,
        has_children=found.has_children,
    )


def _revoke(connection: Connection, names: Sequence[str]) -> None:
    signatures = ", ".join(connection.scalars(text(_q("functions_of")), {"names": list(names)}))
    if signatures:
        execute_ddl(connection, f"revoke execute on function {signatures} from public")


def _drop_functions(connection: Connection, names: Sequence[str]) -> None:
    signatures = ", ".join(connection.scalars(text(_q("functions_of")), {"names": list(names)}))
    if signatures:
        execute_ddl(connection, f"drop function {signatures}")


def drop_objects(connection: Connection, name: str, patience: Patience) -> None:
    """Drop what one definition became, where it is there; its catalog row and its sources stay. To be done
    for all of them before the first one is created: creating takes time, and dropping has to wait for locks.
    """
    view_id = connection.scalar(text("select id from meshcache.cached_view where name = :n"), {"n": name})
    views = (name, *(f"{name}_{part}" for part in VIEWS), f"{name}_source")
    there = set(connection.scalars(text(_q("views_there")), {"names": list(views)}))
    *views_of_table, source = views
    for view in views_of_table:
        if view in there:
            _drop(patience, "view", sql.Identifier(CORE, view))
    # After the views, which call some of them: whoever reads the views is waited for there.
    names = [*view_functions(name), *condition_functions(name)]
    _drop_functions(connection, names)
    kind = connection.scalar(
        text("select c.relkind::text from pg_class c where c.oid = to_regclass(:n)"),
        {"n": sql_text(sql.Identifier(DATA, name))},
    )
    if kind:
        _drop(patience, "materialized view" if kind == "m" else "table", sql.Identifier(DATA, name))
    if source in there:
        _drop(patience, "view", sql.Identifier(CORE, source))
    if view_id is not None:
        for table in ("view_state", "counter"):
            connection.execute(
                text(
                    sql_text(
                        sql.SQL("delete from {} where view_id = :id").format(sql.Identifier(DATA, table))
                    )
                ),
                {"id": view_id},
            )
        connection.execute(text(_q("delete_dependencies")), {"view_id": view_id})


def _drop(patience: Patience, kind: LiteralString, relation: sql.Identifier) -> None:
    statement = sql.SQL("drop {} {}").format(sql.SQL(kind), relation)
    patience.run(sql_text(statement), sql_text(relation))


def forget(connection: Connection, name: str) -> None:
    """Take the catalog row of a cached view or rollup away, whose objects are dropped already."""
    connection.execute(text(_q("delete_view")), {"name": name})


def sync_sources(connection: Connection, source_ids: Iterable[int], patience: Patience) -> None:
    """Bring mark tables, trigger functions and triggers of source tables to what the catalog asks for.

    Locks each table whose triggers or trigger functions change in SHARE ROW EXCLUSIVE mode until commit: a
    statement that began under the old triggers has then ended, and the next one sees the new ones. Without
    that, a writer that still runs the old function could leave out a mark that a new view depends on.
    """
    unused = connection.execute(text(_q("unused_marks"))).all()
    touched = set(source_ids) | {row.source_id for row in unused}
    work = []
    for source_id in sorted(touched):
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
            patience.run(f"lock table {state.name} in share row exclusive mode", at_least_ms=FOR_WRITERS_MS)
    for source_id, state, functions in work:
        if state.used and state.present:
            execute_all(connection, functions)
            _revoke(connection, render_marks.function_names(source_id))
            connection.execute(text(_q("sync_triggers")), {"source_id": source_id})
        elif not state.used:
            connection.execute(text(_q("drop_triggers")), {"source_id": source_id})
            _drop_functions(connection, render_marks.function_names(source_id))
    for row in unused:
        mark_table = f"meshcache.mark_{int(row.id)}"
        patience.run(f"drop table if exists {mark_table}", mark_table)
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
        for table in connection.scalars(text(_q("watched_tables"))).all():
            patience.run(f"lock table {table} in access exclusive mode", table)
        for source_id in connection.scalars(text("select id from meshcache.source_table order by id")).all():
            connection.execute(text(_q("drop_triggers")), {"source_id": source_id})
        for name in connection.scalars(text("select name from meshcache.cached_view order by name")).all():
            drop_objects(connection, name, patience)
        execute_ddl(connection, "drop schema if exists meshcache_data cascade")
        execute_ddl(connection, "drop schema meshcache cascade")
