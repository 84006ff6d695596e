"""Finds out whether a definition is in order: the half of `apply` that only looks, and may take its time.

All it leaves is a view of the SELECT under a name of its own, in the caller's transaction; nothing that
readers use is locked meanwhile.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from meshcache_pg import calls, confidential, facts, keys, session, underlying
from meshcache_pg.conditions import Column, ResolvedDependency
from meshcache_pg.database import DEPENDENTS_HINT, execute_ddl, primary_message, qualified_names
from meshcache_pg.definition import Definition
from meshcache_pg.deriving import check_declared, check_flushes, complete
from meshcache_pg.errors import DefinitionError, PlanRefused
from meshcache_pg.placing import CORE, new
from meshcache_pg.resolve import (
    check_equalities,
    check_readable,
    resolve,
    source_columns,
    table_columns,
)
from meshcache_pg.settings import Settings
from meshcache_pg.sql import Identifier, query
from meshcache_pg.sql import text as sql_text
from meshcache_pg.underlying import NOTHING, Underlying


@dataclass(frozen=True, slots=True)
class Prepared:
    """A definition that was found to be in order, with its SELECT as a view of the name `source`, which
    `install` puts in its place. `rests` is what else than the rows of tables its answer follows from,
    `remark` what could not be found out about it.
    """

    definition: Definition
    oid: int
    source: Identifier
    source_sql: str
    columns: Sequence[Column]
    dependencies: Sequence[ResolvedDependency] = ()
    hidden: tuple[str, ...] = ()
    rests: Underlying = NOTHING
    key_proved: bool = True
    remark: str | None = None


def prepare(
    connection: Connection,
    definition: Definition,
    settings: Settings,
    *,
    check_data: bool = True,
    source: Identifier | None = None,
) -> Prepared:
    """Find out whether a definition is in order, before anything that exists is touched: nobody waits for
    what takes long here. With `check_data`, a key that cannot be proved is looked for in the data. `source`
    is another name for the view, where it will not be installed.
    """
    try:
        source = source or Identifier(CORE, new(f"{definition.name}_source"))
        execute_ddl(connection, f"create view {sql_text(source.sql)} as {definition.query}")
        oid = connection.scalar(
            text("select cast(cast(:name as regclass) as oid)::bigint"), {"name": sql_text(source.sql)}
        )
        columns = source_columns(connection, definition, oid)
        with qualified_names(connection):
            canonical: str = connection.execute(
                text(query("install", "source_sql")), {"oid": oid}
            ).scalar_one()
        begun = Prepared(definition, oid, source, canonical.rstrip().rstrip(";"), columns)
        whole = _check_content(connection, definition, oid, settings)
        if definition.kind == "cached_view":
            begun = _prepare_view(connection, begun, whole)
        return _with_key(connection, begun, settings, check_data=check_data)
    except DBAPIError as error:
        raise definition_error(definition, error) from error


def _prepare_view(connection: Connection, begun: Prepared, whole: Collection[int]) -> Prepared:
    """Find the dependencies; of the tables `whole` every column matters."""
    definition, oid, columns = begun.definition, begun.oid, begun.columns
    hidden: tuple[str, ...] = ()
    if definition.depends:
        dependencies = resolve(connection, definition)
        check_declared(connection, definition, oid, dependencies)
    else:
        derived = complete(connection, definition, begun.source, oid)
        oid, hidden = derived.oid, derived.hidden
        dependencies = resolve(connection, derived.definition)
        check_flushes(connection, definition, derived.found)
        columns = list(table_columns(connection, oid).values())
    check_readable(connection, definition, oid, dependencies)
    check_equalities(connection, definition, columns, dependencies)
    dependencies = [replace(d, matter=None) if d.source_id in whole else d for d in dependencies]
    return replace(
        begun,
        oid=oid,
        columns=columns,
        dependencies=dependencies,
        hidden=hidden,
        rests=underlying.find(connection, oid).reading(_read_by_functions(definition, dependencies)),
    )


def _read_by_functions(definition: Definition, dependencies: Sequence[ResolvedDependency]) -> Collection[int]:
    """The tables that the functions of a definition may read. What they read of them only its author knows,
    and the server lets anybody change it.
    """
    return {d.source_id for d in dependencies} if "functions" in definition.allow else ()


def _with_key(connection: Connection, begun: Prepared, settings: Settings, *, check_data: bool) -> Prepared:
    definition = begun.definition
    doubts = keys.not_proved(connection, definition, begun.oid)
    remark = None
    if check_data:
        remark = keys.check_data(connection, definition, begun.source, settings, doubts)
    return replace(begun, key_proved=not doubts, remark=remark)


def _check_content(
    connection: Connection, definition: Definition, oid: int, settings: Settings
) -> Collection[int]:
    """Refuse what may not be copied, or is not the same for everybody; returns the tables that are read by
    whole rows, of which every column matters.
    """
    views = facts.trees(connection, oid)
    trees = list(views.values())
    judged = calls.check(connection, definition, trees)
    session.check(connection, definition, views, judged)
    confidential.check(connection, definition, oid, trees, settings)
    return facts.read_whole(trees)


def definition_error(definition: Definition, error: DBAPIError) -> Exception:
    """What the server says of a SELECT or a key is the user's to mend; anything else stays what it is."""
    state = getattr(error.orig, "sqlstate", None) or ""
    # 42: syntax and names, 0A: not supported, 22/21: data, 23: constraint, P0: raised by a function. Locks
    # (55) and the like are not about the definition.
    if state == "2BP01":
        return PlanRefused(f"{definition.name}: {primary_message(error)[0]}", hint=DEPENDENTS_HINT)
    if state[:2] in {"42", "0A", "22", "21", "23", "P0"} and state != "42501":
        message, hint = primary_message(error)
        if state == "42P16":
            hint = "Correct the definition's SELECT: temporary tables and views cannot be sources."
        return DefinitionError(
            f"{definition.name}: {message}", hint=hint or "Correct the definition's SELECT."
        )
    return error
