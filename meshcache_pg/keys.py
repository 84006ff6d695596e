"""Whether the key of a definition is one: proved from its SELECT and the catalog where that is possible, and
else looked for in the data, for a bounded time.

A key that is only unique today is accepted: the cache never holds a row of a key that has two, and empties a
complete view that gets them. A null is different, for no mark can ask for it: of a complete view it has to be
proved that there is none.
"""

import re
from collections.abc import Mapping, Sequence
from time import monotonic
from types import MappingProxyType
from typing import Any, Final, Literal

from psycopg import sql
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from meshcache_pg import confidential, facts
from meshcache_pg.definition import Definition
from meshcache_pg.errors import DefinitionError
from meshcache_pg.key_proof import KeyProof
from meshcache_pg.scopes import Refused
from meshcache_pg.settings import Settings
from meshcache_pg.sql import Identifier, compose
from meshcache_pg.sql import text as sql_text

# What may be wrong with a key.
Part = Literal["duplicate", "null"]

# Enough to see what is wrong.
_SHOWN = 3
_WORDS: Final[Mapping[Part, tuple[str, str]]] = MappingProxyType(
    {
        "duplicate": (
            "more than one row of its SELECT has the key",
            "Add columns to the key, aggregate, or leave one row of each with distinct on.",
        ),
        "null": (
            "a key column is null in a row of its SELECT:",
            "Leave such rows out: where … is not null.",
        ),
    }
)
_CANCELLED = "57014"
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*\Z")


def not_proved(connection: Connection, definition: Definition, oid: int) -> list[Part]:
    """What tables and SELECT do not rule out: two rows of one key, or a null in it. Raises DefinitionError
    where a complete view may have the latter.
    """
    try:
        proof = KeyProof(oid, definition.key, facts.read(connection, oid))
    except Refused:
        # What cannot be taken apart has declared dependencies, and nothing is known of its key.
        nullable, is_unique = list(definition.key), False
    else:
        nullable, is_unique = proof.nullable(), proof.is_unique()
    if nullable and definition.coverage == "complete":
        column = nullable[0] if _PLAIN.match(nullable[0]) else f'"{nullable[0]}"'
        raise DefinitionError(
            f"{definition.name}: the key column {column} may be null, and a complete view would lose such"
            " rows from its lists",
            hint=f"Leave them out (where {column} is not null), declare the table's column not null, or use"
            " -- coverage: on_demand",
        )
    found: list[Part] = [] if is_unique else ["duplicate"]
    # The rows of a rollup are not looked up by its key.
    return found + (["null"] if nullable and definition.kind == "cached_view" else [])


def check_data(
    connection: Connection,
    definition: Definition,
    source: Identifier,
    settings: Settings,
    parts: Sequence[Part] = ("duplicate", "null"),
) -> str | None:
    """Look for keys that have two rows, or a null, in the data of this moment. Takes no lock that anybody
    waits for, and no longer than MESHCACHE_KEY_CHECK_SECONDS.

    Returns a remark where that was too short. Raises DefinitionError with the keys where there are any.
    """
    for part in parts:
        what, hint = _WORDS[part]
        started = monotonic()
        try:
            found = _ask(connection, definition, source, part, settings)
        except DBAPIError as error:
            is_late = monotonic() - started > settings.key_check_seconds * 0.9
            if getattr(error.orig, "sqlstate", None) != _CANCELLED or not is_late:
                raise
            return (
                f"whether its key is unique was not found out within {settings.key_check_seconds:g} s;"
                " rows of a key that is not are never cached"
            )
        if found:
            keys = ", ".join(_shown(definition, row, settings) for row in found)
            raise DefinitionError(f"{definition.name}: {what} {keys}", hint=hint)
    return None


def _ask(
    connection: Connection, definition: Definition, source: Identifier, part: str, settings: Settings
) -> list[tuple[Any, ...]]:
    """Rows of the key's values as text."""
    keys = [sql.Identifier("s", name) for name in definition.key]
    statement = compose(
        "check_keys",
        part,
        texts=sql.SQL(", ").join(sql.SQL("{}::text").format(key) for key in keys),
        keys=sql.SQL(", ").join(keys),
        some_null=sql.SQL(" or ").join(sql.SQL("{} is null").format(key) for key in keys),
        none_null=sql.SQL(" and ").join(sql.SQL("{} is not null").format(key) for key in keys),
        source=source.sql,
        shown=sql.Literal(_SHOWN),
    )
    before = connection.scalar(text("select current_setting('statement_timeout')"))
    savepoint = connection.begin_nested()
    try:
        set_timeout = text("select set_config('statement_timeout', :value, true)")
        connection.execute(set_timeout, {"value": f"{settings.key_check_seconds * 1000:.0f}ms"})
        found = connection.exec_driver_sql(
            sql_text(statement), execution_options={"no_parameters": True}
        ).all()
        connection.execute(set_timeout, {"value": before})
    except DBAPIError:
        savepoint.rollback()
        raise
    savepoint.commit()
    return [tuple(row) for row in found]


def _shown(definition: Definition, row: tuple[Any, ...], settings: Settings) -> str:
    """The values of a key for a message, but none that looks like a secret."""
    values = [
        "null"
        if value is None
        else "…"
        # Under which name a column that is one comes out cannot be told.
        if definition.allow_secret or confidential.looks_secret(name, settings)
        else str(value)
        for name, value in zip(definition.key, row, strict=True)
    ]
    return f"({', '.join(values)})"
