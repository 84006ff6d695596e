"""Refuses to copy what not every reader of a cached view may see, unless the definition says that it is
meant: rows behind row-level security, and columns that look like secrets.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from sqlalchemy import Connection, text

from meshcache_pg import facts
from meshcache_pg.definition import Definition
from meshcache_pg.errors import DefinitionError
from meshcache_pg.settings import Settings
from meshcache_pg.sql import query


def check(
    connection: Connection, definition: Definition, oid: int, trees: Iterable[str], settings: Settings
) -> None:
    """Raise DefinitionError where the SELECT reads what it may not copy unasked. `trees` are the parsed views
    of facts.trees.
    """
    read = [
        row
        for row in connection.execute(text(query("install", "read_by_view")), {"oid": oid})
        if row.kind in ("r", "p")
    ]
    if "row_security" not in definition.allow:
        oids = [row.oid for row in read]
        for name in connection.scalars(text(query("confidential", "row_security")), {"oids": oids}):
            raise DefinitionError(
                f"{definition.name}: the row-level security of {name} would not hold for its readers",
                hint="Add -- allow: row_security if every reader may see every row of the SELECT.",
            )
    whole = facts.read_whole(trees)
    for row in read:
        table = row.name.rsplit(".", maxsplit=1)[-1].strip('"')
        columns = row.columns
        if row.oid in whole:
            columns = connection.scalars(text(query("confidential", "columns")), {"oid": row.oid}).all()
        for column in columns:
            allowed = {(table, column), (row.schema, table, column)} & set(definition.allow_secret)
            if not allowed and _is_secret(row.schema, table, column, settings):
                raise DefinitionError(
                    f"{definition.name}: {table}.{column} looks like a secret, and the cache would copy it",
                    hint=f"Leave it away, or add -- allow_secret: {table}.{column}",
                )


def looks_secret(name: str, settings: Settings) -> bool:
    """Whether the name of a table or column is one that a secret has."""
    return any(fnmatchcase(name.lower(), like.lower()) for like in settings.secret_names)


def _is_secret(schema: str, table: str, column: str, settings: Settings) -> bool:
    return (
        schema in settings.secret_schemas or looks_secret(table, settings) or looks_secret(column, settings)
    )
