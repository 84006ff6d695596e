"""Turns resolved definitions into objects in the database and back into nothing: the DDL side of `apply` and
`drop`.

Everything here runs in the caller's one transaction. DDL waits for locks and makes others wait behind it, so
what is new is made first, under names of its own; only then is locked what others use, with little patience
(patience.py), dropped, and what is new put in its place. A caller whose attempt was cut short tries again.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import sql
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from meshcache_pg import placing, sources
from meshcache_pg.conditions import ResolvedDependency
from meshcache_pg.database import execute_all, execute_ddl, primary_message, translated
from meshcache_pg.definition import Definition
from meshcache_pg.errors import DefinitionError, NotInstalled
from meshcache_pg.patience import Patience
from meshcache_pg.placing import CORE, DATA, VIEWS, condition_functions, made_index, new
from meshcache_pg.preparing import Prepared, definition_error
from meshcache_pg.render import ViewRenderer, common_grants, index_columns, view_functions
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


@dataclass(frozen=True, slots=True)
class Ready:
    """What a definition becomes, made already under names of its own; `is_new` where the catalog had none of
    its name, and has one now.
    """

    prepared: Prepared
    is_new: bool


def make_ready(connection: Connection, prepared: Prepared) -> Ready:
    """Make everything that a definition needs and note what it depends on, beside what is there under its
    name: nobody waits for anything of this. Triggers are the matter of sources.py.
    """
    definition = prepared.definition
    try:
        server = connection.scalar(text("select current_setting('server_version_num')::integer")) or 0
        dependencies = [sources.with_marks(connection, found) for found in prepared.dependencies]
        place = connection.execute(text(_q("next_place")), {"name": definition.name}).one_or_none()
        is_new = place is None
        place = place or connection.execute(text(_q("insert_view")), _row(prepared)).one()
        if definition.kind == "rollup":
            execute_all(connection, _rollup(definition))
            return Ready(prepared, is_new)
        _note_dependencies(connection, place.id, prepared, dependencies)
        renderer = ViewRenderer(
            place.id,
            definition,
            prepared.columns,
            dependencies,
            server,
            generation=place.generation,
            hidden=prepared.hidden,
            rests=prepared.rests.kinds,
        )
        execute_all(
            connection,
            [
                *renderer.statements(),
                sources.revoke(view_functions(definition.name)),
                *renderer.grants(),
            ],
        )
    except DBAPIError as error:
        raise definition_error(definition, error) from error
    return Ready(prepared, is_new)


def put_in_place(connection: Connection, ready: Sequence[Ready], statements: Sequence[str]) -> None:
    """Give what was made its names, whose former objects are dropped already: `statements` are those of
    `renames`. In two round trips: readers wait meanwhile. Raises DefinitionError where somebody else has a
    name.
    """
    replaced = [_row(one.prepared) for one in ready if not one.is_new]
    if replaced:
        # Not before: a sweep may wait for this row while it has locked what had to be dropped.
        connection.execute(text(_q("insert_view")), replaced)
    try:
        execute_all(connection, statements)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != "42P07":
            raise
        raise DefinitionError(
            f"schema {CORE}: {primary_message(error)[0]}", hint="Choose another name, or rename what has it."
        ) from error


def renames(connection: Connection, ready: Sequence[Ready], dropped: Sequence[str]) -> list[str]:
    """The statements that give what was made its names once the objects of `dropped` are gone. Raises
    DefinitionError where a name is another one's.
    """
    names = [one.prepared.definition.name for one in ready]
    found = set(connection.scalars(text(_q("other_relations")), {"names": [*names, *dropped]}))
    for name in names:
        if name in found:
            raise DefinitionError(
                f"{name}: an index or a table in {DATA} has this name", hint="Choose another name."
            )
    taken = {*found, *names}
    return [statement for one in ready for statement in placing.renames(one.prepared.definition, taken)]


def _row(prepared: Prepared) -> dict[str, Any]:
    """The catalog's row."""
    definition = prepared.definition
    shown = [c for c in prepared.columns if c.name not in prepared.hidden]
    return {
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
    }


def _rollup(definition: Definition) -> Iterator[str]:
    name = definition.name
    view, matview, source = (
        sql.Identifier(CORE, new(name)),
        sql.Identifier(DATA, new(name)),
        sql.Identifier(CORE, new(f"{name}_source")),
    )
    keys = sql.SQL(", ").join(sql.Identifier(k) for k in definition.key)
    comment = sql.Literal(definition.description or "Rollup.")
    statements = [
        sql.SQL("create materialized view {} as select * from {} with no data").format(matview, source),
        # What REFRESH ... CONCURRENTLY asks for.
        sql.SQL("create unique index {} on {} ({})").format(made_index(name, 0), matview, keys),
        *(
            sql.SQL("create index {} on {} ({})").format(
                made_index(name, number), matview, index_columns(index)
            )
            for number, index in enumerate(definition.all_indexes(), 1)
        ),
        sql.SQL("create view {} as select * from {}").format(view, matview),
        sql.SQL("comment on view {} is {}").format(view, comment),
    ]
    for reader in definition.readers:
        statements.append(sql.SQL("grant select on {} to {}").format(view, sql.Identifier(reader)))
    yield from map(sql_text, statements)
    yield from common_grants(definition.readers)


def _note_dependencies(
    connection: Connection, view_id: int, prepared: Prepared, dependencies: Sequence[ResolvedDependency]
) -> None:
    """Write the catalog's rows; `dependencies` are those of `prepared` with the ids of the catalog."""
    is_complete = prepared.definition.coverage == "complete"
    strict = [
        sources.strict_columns(connection, found) if is_complete and found.kind == "key" else []
        for found in prepared.dependencies
    ]
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
            "strict": list(not_null),
            "has_children": found.has_children,
        }
        for position, (found, not_null) in enumerate(zip(dependencies, strict, strict=True))
    ]
    if rows:
        connection.execute(text(_q("insert_dependency")), rows)


def withdraw(connection: Connection, names: Sequence[str]) -> None:
    """The part of dropping definitions that nobody waits for: their functions, which others go on to call as
    they were until this transaction ends, and what they depend on.
    """
    functions = [function for name in names for function in view_functions(name)]
    if functions:
        execute_ddl(connection, sources.drop_functions(functions))
        connection.execute(text(_q("forget_dependencies")), {"names": list(names)})


def drop_objects(connection: Connection, names: Sequence[str], patience: Patience) -> None:
    """Drop the relations that definitions became, where they are there, after `withdraw`; their catalog rows
    and sources stay. For all of them at once: whoever reads them is waited for.
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
        # After the views, which call them: whoever reads the views is waited for there.
        statements[sources.drop_functions(condition_functions(name))] = None
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
