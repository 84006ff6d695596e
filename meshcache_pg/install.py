"""Turns resolved definitions into objects in the database and back into nothing: the DDL side of `apply` and
`drop`.

Everything here runs in the caller's one transaction. DDL waits for locks and makes others wait behind it, so
what others use is locked first, before anything that takes time, and with little patience (patience.py); a
caller whose attempt was cut short tries again.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import LiteralString

from psycopg import sql
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from meshcache_pg import sources
from meshcache_pg.conditions import ResolvedDependency
from meshcache_pg.database import execute_all, execute_ddl, translated
from meshcache_pg.definition import Definition
from meshcache_pg.errors import NotInstalled
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
from meshcache_pg.sql import made_by, query
from meshcache_pg.sql import text as sql_text


def _q(name: str) -> str:
    return query("install", name)


def begin(connection: Connection) -> Patience:
    """Start the DDL transaction: bounded waits, and the data schema in place."""
    patience = Patience(connection)
    connection.execute(text(_q("ensure_data")))
    return patience


def take_turn(connection: Connection) -> None:
    """Be the only one that changes definitions until the transaction ends. To be called before anything that
    others use is locked. Raises LockBusy when somebody else does so for long, ConfigurationError under
    another isolation level than READ COMMITTED.
    """
    with translated():
        connection.execute(text(_q("take_turn")))


# The id of a view in the catalog, and which of its definitions this is.
Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Ready:
    """A definition with its dependencies in the catalog's ids and its mark tables in place: all that can be
    done before anything that others use is locked.
    """

    prepared: Prepared
    server: int
    dependencies: Sequence[ResolvedDependency]
    strict: Sequence[Sequence[str]]
    # What creates the objects of a view that has this place.
    place: Place | None
    statements: Sequence[str]


def make_ready(connection: Connection, prepared: Prepared) -> Ready:
    """Create what a definition needs beside its own objects, which others may have in common with it."""
    definition = prepared.definition
    is_complete = definition.coverage == "complete"
    with translated():
        server = connection.scalar(text("select current_setting('server_version_num')::integer")) or 0
        dependencies = [sources.with_marks(connection, found) for found in prepared.dependencies]
        strict = [
            sources.strict_columns(connection, found) if is_complete and found.kind == "key" else []
            for found in prepared.dependencies
        ]
        row = connection.execute(text(_q("next_place")), {"name": definition.name}).one_or_none()
    place = None if row is None else (row.id, row.generation)
    statements = _statements(prepared, server, dependencies, place) if place else []
    return Ready(prepared, server, dependencies, strict, place, statements)


def install(connection: Connection, ready: Ready) -> None:
    """Create one cached view or rollup, whose former objects are dropped already. Marks and triggers follow
    in `sources.sync`. In few round trips: readers wait meanwhile.
    """
    prepared = ready.prepared
    try:
        place = _register(connection, prepared)
        if prepared.definition.kind != "rollup":
            _note_dependencies(connection, place[0], ready)
        # Of a new view, which nobody waits for, the place is known only now.
        statements = (
            ready.statements
            if place == ready.place
            else _statements(prepared, ready.server, ready.dependencies, place)
        )
        execute_all(connection, statements)
    except DBAPIError as error:
        raise definition_error(prepared.definition, error) from error


def _statements(
    prepared: Prepared, server: int, dependencies: Sequence[ResolvedDependency], place: Place
) -> list[str]:
    """What creates all objects of a cached view or rollup."""
    definition = prepared.definition
    source = sql.Identifier(f"{definition.name}_source")
    rename = sql_text(sql.SQL("alter view {} rename to {}").format(prepared.source.sql, source))
    if definition.kind == "rollup":
        return [rename, *_rollup(definition)]
    view_id, generation = place
    renderer = ViewRenderer(
        view_id,
        definition,
        prepared.columns,
        dependencies,
        server,
        generation=generation,
        hidden=prepared.hidden,
        rests=prepared.rests.kinds,
    )
    return [
        rename,
        *renderer.statements(),
        sources.revoke(view_functions(definition.name)),
        *renderer.grants(),
    ]


def _register(connection: Connection, prepared: Prepared) -> Place:
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
            "rests_on": prepared.rests.objects,
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
        statements[sources.drop_functions([*view_functions(name), *condition_functions(name)])] = None
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
