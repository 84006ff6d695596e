"""Refuses to copy what not every reader of a cached view may see, unless the definition says that it is
meant: rows behind row-level security, and columns that look like secrets.
"""

from fnmatch import fnmatchcase
from typing import Final

from sqlalchemy import Connection, text

from meshcache_pg.definition import Definition
from meshcache_pg.errors import DefinitionError
from meshcache_pg.sql import query

SECRET: Final = ("*secret*", "*token*", "*password*", "*encrypted*", "*api_key*", "*private*")
SECRET_SCHEMAS: Final = frozenset(("auth", "vault", "pgsodium"))


def check(connection: Connection, definition: Definition, oid: int) -> None:
    """Raise DefinitionError where the SELECT reads what it may not copy unasked."""
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
    for row in read:
        table = row.name.rsplit(".", maxsplit=1)[-1].strip('"')
        for column in row.columns:
            allowed = {(table, column), (row.schema, table, column)} & set(definition.allow_secret)
            if not allowed and _is_secret(row.schema, table, column):
                raise DefinitionError(
                    f"{definition.name}: {table}.{column} looks like a secret, and the cache would copy it",
                    hint=f"Leave it away, or add -- allow_secret: {table}.{column}",
                )


def _is_secret(schema: str, table: str, column: str) -> bool:
    names = (table.lower(), column.lower())
    return schema in SECRET_SCHEMAS or any(fnmatchcase(name, like) for name in names for like in SECRET)
