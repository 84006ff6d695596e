"""Checks a definition against the catalog: do its tables, columns and key exist, may they be cached, is every
table that the SELECT reads covered? What passes here can only be stale where the user declared a wrong
dependency.
"""

import re
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.engine import Row

from meshcache_pg.conditions import Column, ResolvedDependency, ResolvedLink
from meshcache_pg.database import qualified_names
from meshcache_pg.definition import Definition
from meshcache_pg.errors import DefinitionError, MissingRight
from meshcache_pg.headers import Depends
from meshcache_pg.sql import Identifier, query

_BOOKKEEPING = re.compile(
    r"_(filled_in|filled_by|filled_at|expires_at|origin|version|row|of_key|carried_\d+|json_\d+)\Z"
)
_KINDS = {
    "v": "is a view: declare the tables that it reads",
    "m": "is a materialized view, whose changes no trigger sees: read its tables instead",
    "f": "is a foreign table, whose changes no trigger here sees",
    "S": "is a sequence",
}


def table_columns(connection: Connection, oid: int) -> dict[str, Column]:
    """The columns of a table or view by name, in order, their types as any search_path understands them."""
    return columns_of_tables(connection, [oid])[oid]


def columns_of_tables(connection: Connection, oids: Sequence[int]) -> dict[int, dict[str, Column]]:
    """The same of several, by their oids."""
    found: dict[int, dict[str, Column]] = {oid: {} for oid in oids}
    for row in _column_rows(connection, oids):
        found[row.relation][row.name] = _column(row)
    return found


def _column_rows(connection: Connection, oids: Sequence[int]) -> Sequence[Row[Any]]:
    with qualified_names(connection):
        return connection.execute(text(query("install", "columns")), {"oids": list(oids)}).all()


def _column(row: Row[Any]) -> Column:
    operator = (row.operator_schema, row.operator_name)
    return Column(row.name, row.type, operator, row.collation, row.is_not_null)


def source_columns(connection: Connection, definition: Definition, oid: int) -> list[Column]:
    """The output columns of the source view; raises DefinitionError where they cannot be cached or lack the
    key.
    """
    name = definition.name
    rows = _column_rows(connection, [oid])
    for row in rows:
        if _BOOKKEEPING.match(row.name):
            raise DefinitionError(
                f"{name}: the output column {row.name!r} has a reserved name", hint="Rename it: AS …"
            )
        if row.is_pseudo:
            raise DefinitionError(
                f"{name}: the output column {row.name!r} has the type {row.type}, which no table can hold",
                hint="Cast it to a type of its own.",
            )
        if row.is_plural and row.name in definition.key:
            raise DefinitionError(
                f"{name}: the key column {row.name!r} has the type {row.type}",
                hint="A key cannot be of an array or composite type; take a column of it.",
            )
    have = {row.name for row in rows}
    for what, wanted in (
        ("key", definition.key),
        ("tenant", (definition.tenant,) if definition.tenant else ()),
        ("index", tuple(term.column for index in definition.indexes for term in index)),
        ("depends", tuple(c for d in definition.depends for c in d.view_columns)),
        ("json_text", definition.json_text),
    ):
        for column in wanted:
            if column not in have:
                raise DefinitionError(
                    f"{name}: the {what} column {column!r} is no output column of the SELECT",
                    hint=f"It has: {', '.join(row.name for row in rows)}.",
                )
    for row in rows:
        if row.name in definition.json_text and row.type != "jsonb":
            raise DefinitionError(
                f"{name}: the json_text column {row.name!r} has the type {row.type}",
                hint="Only of jsonb is there a text to keep; leave the column out of the line.",
            )
    return [_column(row) for row in rows]


def _table(connection: Connection, definition: Definition, written: str) -> Row[Any]:
    """The catalog's facts of a table as written in a definition; raises where it cannot be a source table."""
    row = connection.execute(text(query("install", "relation")), {"name": written}).one_or_none()
    where = f"{definition.name}: the table {written}"
    if row is None:
        raise DefinitionError(f"{where} does not exist", hint="Qualify it, or set the search_path.")
    if row.kind in _KINDS:
        raise DefinitionError(
            f"{where} {_KINDS[row.kind]}", hint="A source is an ordinary or a partitioned table."
        )
    if row.persistence == "t":
        raise DefinitionError(
            f"{where} is temporary", hint="Other sessions do not see it; it cannot be cached."
        )
    if row.schema in ("pg_catalog", "information_schema"):
        raise DefinitionError(f"{where} is a system catalog", hint="System catalogs carry no triggers.")
    if row.schema in ("meshcache", "meshcache_data"):
        raise DefinitionError(
            f"{where} belongs to the cache", hint="Declare the tables that it is made from."
        )
    if row.is_child:
        raise DefinitionError(
            f"{where} is a partition or an inheritance child",
            hint="Statements aimed at its parent would not fire its triggers; declare the parent.",
        )
    if row.has_foreign_children:
        raise DefinitionError(
            f"{where} has a foreign table among its partitions", hint="No trigger sees its changes."
        )
    if not row.owned:
        raise MissingRight(
            f"{where} belongs to another role",
            hint="Installing triggers needs its owner, or a member of that role.",
        )
    return row


def _check_columns(
    connection: Connection, definition: Definition, oid: int, table: str, columns: tuple[str, ...]
) -> None:
    have = [r.name for r in _column_rows(connection, [oid])]
    for column in columns:
        if column not in have:
            raise DefinitionError(
                f"{definition.name}: the table {table} has no column {column!r}",
                hint=f"It has: {', '.join(have)}.",
            )


def _matter(
    connection: Connection, definition: Definition, oid: int, depends: Depends
) -> tuple[str, ...] | None:
    """The columns whose change leaves a mark; None for all. Refuses columns that cannot be marked.

    A virtual generated column (PostgreSQL 18) is null in a trigger's transition tables: it cannot be
    marked, and where it matters every column has to, the ones it is computed from among them.
    """
    rows = {r.name: r for r in _column_rows(connection, [oid])}
    for column in depends.columns:
        if rows[column].is_virtual or rows[column].is_plural:
            kind = "a virtual generated column" if rows[column].is_virtual else f"of type {rows[column].type}"
            raise DefinitionError(
                f"{definition.name}: {depends.table}.{column} is {kind} and cannot be marked",
                hint="Name another column that leads to the same rows, or declare the table with flush.",
            )
    if depends.matter is None or any(rows[column].is_virtual for column in depends.matter):
        return None
    return tuple(sorted({*depends.matter, *depends.columns}))


def _resolve_one(connection: Connection, definition: Definition, depends: Depends) -> ResolvedDependency:
    row = _table(connection, definition, depends.table)
    _check_columns(connection, definition, row.oid, depends.table, depends.columns + (depends.matter or ()))
    matter = _matter(connection, definition, row.oid, depends)
    links = []
    for link in depends.links:
        linked = _table(connection, definition, link.table)
        _check_columns(connection, definition, linked.oid, link.table, (link.from_column, link.to_column))
        links.append(ResolvedLink(Identifier(linked.schema, linked.name), link.from_column, link.to_column))
    if not depends.columns:
        kind = "flush"
    elif links:
        kind = "linked"
    else:
        kind = "key" if set(depends.view_columns) <= set(definition.key) else "carried"
    return ResolvedDependency(
        source_id=row.oid,
        relation=Identifier(row.schema, row.name),
        kind=kind,
        mark_id=None,
        columns=depends.columns,
        view_columns=depends.view_columns,
        links=tuple(links),
        matter=matter,
        has_children=row.has_children,
    )


def resolve(connection: Connection, definition: Definition) -> list[ResolvedDependency]:
    """The declared dependencies with tables and columns looked up; `source_id` is still the table's oid."""
    found = [_resolve_one(connection, definition, depends) for depends in definition.depends]
    for dependency in found:
        # A link is read when a mark is resolved, so a moved link must leave a mark of its own.
        for link in dependency.links:
            if not any(d.relation == link.table for d in found):
                raise DefinitionError(
                    f"{definition.name}: {link.table.schema}.{link.table.name} is a link, but no dependency",
                    hint="Add a depends line for it: what it links may move.",
                )
    return found


def check_equalities(
    connection: Connection,
    definition: Definition,
    columns: Sequence[Column],
    dependencies: Sequence[ResolvedDependency],
) -> None:
    """Refuse a dependency whose marked values are compared by another equality than their own: a trigger
    notes equal values once, and to the view, or to the link, the one that it noted may be another value.
    """
    shown = {column.name: column for column in columns}
    tables = {d.relation: d.source_id for d in dependencies}
    for found in dependencies:
        marked = table_columns(connection, found.source_id)
        for name, view_column in zip(found.columns, found.view_columns, strict=True):
            other, where = shown[view_column], f"the output column {view_column}"
            if found.links:
                link = found.links[0]
                other = table_columns(connection, tables[link.table])[link.from_column]
                where = f"{link.table.name}.{link.from_column}"
            if marked[name].operator != other.operator:
                raise DefinitionError(
                    f"{definition.name}: {found.relation.name}.{name} is {marked[name].type}, and {where} is"
                    f" {other.type}: what is equal for the one is not for the other",
                    hint="Return or link the column as it is, or declare the table with flush.",
                )


def check_readable(
    connection: Connection, definition: Definition, oid: int, dependencies: list[ResolvedDependency]
) -> None:
    """Refuse a definition whose SELECT reads a table or a column that no dependency covers.

    Rests on pg_depend, where the server itself notes what a view reads (PostgreSQL manual, 52.18): a
    forgotten `depends` line would be a row that stays stale for ever.
    """
    covered: dict[str, set[str] | None] = {}
    for dependency in dependencies:
        key = f"{dependency.relation.schema}.{dependency.relation.name}"
        before = covered.get(key, set())
        covered[key] = (
            None if before is None or dependency.matter is None else before | set(dependency.matter)
        )
    for row in connection.execute(text(query("install", "read_by_view")), {"oid": oid}):
        if row.kind == "v" and row.schema not in ("pg_catalog", "information_schema"):
            continue
        if row.kind == "c":
            # A field of a composite type: the type has no rows.
            continue
        if row.kind not in ("r", "p"):
            raise DefinitionError(
                f"{definition.name}: {row.name} {_KINDS.get(row.kind, 'cannot be cached')}",
                hint="A source is an ordinary or a partitioned table.",
            )
        found = connection.execute(text(query("install", "relation_of")), {"oid": row.oid}).one()
        if found.schema in ("pg_catalog", "information_schema", "meshcache", "meshcache_data"):
            raise DefinitionError(
                f"{definition.name}: the SELECT reads {row.name}, which no trigger can watch",
                hint="System catalogs and the cache's own tables cannot be sources.",
            )
        if row.system_column:
            raise DefinitionError(
                f"{definition.name}: the SELECT reads a system column of {row.name}",
                hint="ctid, xmin, tableoid and the like change without the row; they cannot be cached.",
            )
        key = f"{found.schema}.{found.name}"
        if key not in covered:
            raise DefinitionError(
                f"{definition.name}: the SELECT reads {row.name}, but no depends line names it",
                hint=f"Add: -- depends: {row.name}(column) = (view_column)",
            )
        columns = covered[key]
        missing = [] if columns is None else [c for c in row.columns if c not in columns]
        if missing:
            raise DefinitionError(
                f"{definition.name}: the SELECT reads {row.name}.{missing[0]}, which no depends line covers",
                hint=f"Add {', '.join(missing)} to its columns (…), or leave columns (…) away.",
            )
