"""Gives a definition the dependencies that its SELECT has: those that were derived where it declares none,
and the comparison with them where it does.

What a cached row must carry and the SELECT does not return is added to the source view, in the text that the
server prints of it; then everything is derived anew from the view that this made, so that what is believed of
the added columns is what the server says of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from psycopg import sql
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from meshcache_pg import facts
from meshcache_pg.conditions import ResolvedDependency
from meshcache_pg.database import execute_ddl, qualified_names
from meshcache_pg.definition import Definition
from meshcache_pg.dependencies import Declared, Derivation, Found, Hidden, derive, weaker
from meshcache_pg.errors import DefinitionError
from meshcache_pg.headers import Depends, Link
from meshcache_pg.scopes import Refused, Relation
from meshcache_pg.sql import Identifier, query
from meshcache_pg.sql import text as sql_text


@dataclass(frozen=True, slots=True)
class Derived:
    """A definition with its derived dependencies, the source view that carries what they need, and the names
    of the added columns.
    """

    definition: Definition
    oid: int
    hidden: tuple[str, ...]
    found: tuple[Found, ...]


def complete(connection: Connection, definition: Definition, source: Identifier, oid: int) -> Derived:
    """Derive the dependencies of a definition without any; its source view may be made anew.

    Raises DefinitionError where a table has no way to the key and is not to be flushed.
    """
    try:
        read = facts.read(connection, oid)
        derivation = derive(oid, definition.key, read)
    except Refused as error:
        raise Refused(f"{definition.name}: {error}", hint=error.hint) from error
    if derivation.hidden:
        added = _with_columns(connection, source, oid, derivation, definition.key)
        if added is None:
            derivation = derive(oid, definition.key, read, add=False)
        else:
            oid, derivation = added
    hidden = tuple(dict.fromkeys(n for f in derivation.found for n in f.view_columns if _is_added(n)))
    columns = _columns_read(connection, oid)
    depends = tuple(_depends(found, columns) for found in derivation.found)
    return Derived(replace(definition, depends=depends), oid, hidden, derivation.found)


def check_flushes(connection: Connection, definition: Definition, found: Sequence[Found]) -> None:
    """Refuse a table that only a flush could keep right, unless the definition says that this is meant."""
    allowed = {
        connection.scalar(text("select cast(to_regclass(:name) as oid)::bigint"), {"name": name})
        for name in definition.flush
    }
    for one in found:
        if one.kind == "flush" and one.relation.oid not in allowed:
            table = one.relation.text
            raise DefinitionError(
                f"{definition.name}: a change of {table} cannot be followed to the rows that it concerns:"
                f" {one.why}",
                hint=f"Add -- flush: {table} if any change of it may make every row stale, or declare"
                " -- depends: lines.",
            )


def check_declared(
    connection: Connection, definition: Definition, oid: int, resolved: Sequence[ResolvedDependency]
) -> None:
    """Refuse a declared dependency that says less than the SELECT does."""
    read = facts.read(connection, oid)
    oids = {Identifier(r.schema, r.name): r.oid for r in read.relations.values()}
    declared = [
        Declared(
            d.source_id,
            d.columns,
            d.view_columns,
            tuple((oids.get(link.table, 0), link.from_column, link.to_column) for link in d.links),
            _said(depends),
        )
        for d, depends in zip(resolved, definition.depends, strict=True)
    ]
    try:
        found = weaker(oid, definition.key, read, declared)
    except Refused:
        # Nothing can be derived: the declaration is all there is.
        return
    if found is not None:
        said, derived = found
        raise DefinitionError(
            f"{definition.name}: the dependency {said.text} leaves out changes that matter: from the SELECT"
            f" follows {derived.text}, because {derived.why}",
            hint="Correct the line, or leave all depends lines away: they are derived then.",
        )


def _is_added(name: str) -> bool:
    return name.startswith("_carried_")


def _columns_read(connection: Connection, oid: int) -> dict[int, tuple[str, ...]]:
    """The columns that the view reads of each table, as the server notes them."""
    rows = connection.execute(text(query("install", "read_by_view")), {"oid": oid}).all()
    return {row.oid: tuple(row.columns) for row in rows}


def _depends(found: Found, columns: Mapping[int, tuple[str, ...]]) -> Depends:
    matter = None if found.kind == "flush" else columns.get(found.relation.oid)
    return Depends(
        table=_written(found.relation),
        columns=found.columns,
        view_columns=found.view_columns,
        links=tuple(Link(_written(s.relation), s.from_column, s.to_column) for s in found.links),
        matter=tuple(sorted({*matter, *found.columns})) if matter is not None else None,
    )


def _written(relation: Relation) -> str:
    return sql_text(sql.Identifier(relation.schema, relation.name))


def _said(depends: Depends) -> str:
    """A dependency as a definition would say it."""
    if not depends.columns:
        return f"{depends.table} flush"
    via = "".join(f" via {k.table}({k.from_column} -> {k.to_column})" for k in depends.links)
    view_columns = ", ".join(depends.view_columns)
    return f"{depends.table}({', '.join(depends.columns)}){via} = ({view_columns})"


def _with_columns(
    connection: Connection, source: Identifier, oid: int, wanted: Derivation, key: Sequence[str]
) -> tuple[int, Derivation] | None:
    """Make the source view anew with the columns that are to be carried; None where that does not work."""
    # Around the names, not inside: its rollback would bring back the search_path that they are printed under.
    savepoint = connection.begin_nested()
    with qualified_names(connection):
        before: str = connection.execute(text(query("install", "source_sql")), {"oid": oid}).scalar_one()
        statement = _insert(before, wanted.hidden)
        try:
            execute_ddl(connection, sql_text(sql.SQL("drop view {}").format(source.sql)))
            create = sql.SQL("create view {} as ").format(source.sql)
            execute_ddl(connection, sql_text(create) + statement)
        except DBAPIError:
            savepoint.rollback()
            return None
        name = sql_text(source.sql)
        new: int = connection.execute(
            text("select cast(cast(:name as regclass) as oid)::bigint"), {"name": name}
        ).scalar_one()
    derivation = derive(new, key, facts.read(connection, new), add=False)
    if [(f.relation, f.columns, f.view_columns) for f in derivation.found] != [
        (f.relation, f.columns, f.view_columns) for f in wanted.found
    ]:
        savepoint.rollback()
        return None
    savepoint.commit()
    return new, derivation


def _insert(statement: str, hidden: Sequence[Hidden]) -> str:
    """A SELECT as the server prints it, with columns at the end of its select list."""
    added = sql.SQL("").join(
        sql.SQL(", {} as {}").format(sql.Identifier(h.alias, h.column), sql.Identifier(h.name))
        for h in hidden
    )
    place = _outermost_from(statement)
    return f"{statement[:place]}{sql_text(added)} {statement[place:]}"


def _outermost_from(statement: str) -> int:
    """Where the FROM of the outermost SELECT begins; the server puts every expression with a FROM of its own
    into parentheses, and CTEs, too.
    """
    depth = position = 0
    while position < len(statement):
        character = statement[position]
        if character in "'\"":
            position = _closing(statement, position)
        elif character in "()":
            depth += 1 if character == "(" else -1
        elif depth == 0 and statement.startswith("FROM", position) and statement[position - 1].isspace():
            return position
        position += 1
    raise AssertionError("a SELECT without FROM has no column to carry")


def _closing(statement: str, opening: int) -> int:
    """Where a string or a quoted name ends; doubled quotes are two that touch."""
    escapes = statement[opening] == "'" and statement[opening - 1] in "Ee"
    position = opening + 1
    while statement[position] != statement[opening]:
        position += 2 if escapes and statement[position] == "\\" else 1
    return position
