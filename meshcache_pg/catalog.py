"""What is declared against what is installed: list, plan, apply, drop. All of it works on the caller's
connection and in the caller's transaction; nothing is committed here.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, text

from meshcache_pg import install, keys, preparing, sources, underlying
from meshcache_pg.database import translated
from meshcache_pg.definition import Definition, parse
from meshcache_pg.errors import DefinitionError
from meshcache_pg.migrate import current, require
from meshcache_pg.settings import Settings, load
from meshcache_pg.sql import Identifier, made_by, query

Action = Literal["create", "replace", "repair", "drop", "keep"]


@dataclass(frozen=True, slots=True)
class InstalledView:
    """One row of the catalog. `whole` is False when an object of it is missing (a dropped schema, table or
    function), `key_proved` when only the data say that its key is unique.
    """

    id: int
    name: str
    kind: str
    definition: str
    definition_hash: str
    source_sql: str
    key_columns: tuple[str, ...]
    key_proved: bool
    columns: tuple[str, ...]
    column_types: tuple[str, ...]
    json_text: tuple[str, ...]
    coverage: str | None
    tenant_column: str | None
    ttl: timedelta | None
    refresh_every: timedelta | None
    readers: tuple[str, ...]
    made_by: str
    applied_at: datetime
    whole: bool

    @property
    def secrets(self) -> tuple[str, ...]:
        """Columns that look like secrets and that its definition allows to copy."""
        return tuple(".".join(column) for column in parse(self.definition, self.name).allow_secret)

    @property
    def allowed(self) -> tuple[str, ...]:
        """What else its definition allows although it is refused otherwise."""
        return tuple(sorted(parse(self.definition, self.name).allow))


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a plan: what happens to which cached view, and why. A remark is no reason not to do it."""

    action: Action
    name: str
    reason: str
    definition: Definition | None = None
    remark: str | None = None


def installed(connection: Connection) -> dict[str, InstalledView]:
    """All cached views and rollups by name. Raises NotInstalled."""
    with translated():
        require(connection)
        found = {}
        for row in connection.execute(text(query("catalog", "views"))).mappings():
            values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}
            found[row["name"]] = InstalledView(**values)
        return found


def find(connection: Connection, name: str) -> InstalledView:
    """One cached view or rollup; raises DefinitionError naming those that exist."""
    views = installed(connection)
    if name not in views:
        raise DefinitionError(
            f"no cached view or rollup is named {name!r}",
            hint=f"There are: {', '.join(views)}." if views else "None is installed: meshcache apply PATH",
        )
    return views[name]


def dependencies(connection: Connection, view: InstalledView) -> list[dict[str, Any]]:
    """The dependencies of one cached view, in the order of its definition."""
    rows = connection.execute(text(query("catalog", "dependencies")), {"view_id": view.id}).mappings()
    return [dict(row) for row in rows]


def plan(connection: Connection, definitions: Sequence[Definition], *, prune: bool = False) -> list[Step]:
    """What `apply` would do. With `prune`, installed views that are not among `definitions` are dropped."""
    have = installed(connection)
    steps = []
    for definition in definitions:
        view = have.get(definition.name)
        if view is None:
            steps.append(Step("create", definition.name, f"{definition.kind} is new", definition))
        elif view.definition_hash != definition.content_hash:
            steps.append(Step("replace", definition.name, _changes(view, definition), definition))
        elif view.made_by != made_by():
            steps.append(Step("replace", definition.name, "made by another version of meshcache", definition))
        elif not view.whole:
            steps.append(Step("repair", definition.name, "objects of it are missing", definition))
        elif _moved(connection, view, definition):
            steps.append(
                Step("repair", definition.name, "a source table was renamed, or made anew", definition)
            )
        elif connection.scalar(text(query("install", "unguarded_sources")), {"view_id": view.id}):
            reason = "a source table has become part of a partition or inheritance tree"
            steps.append(Step("repair", definition.name, reason, definition))
        elif retyped := connection.execute(
            text(query("install", "retyped_marks")), {"view_id": view.id}
        ).one_or_none():
            reason = f"{retyped.source_table}.{retyped.name} has another type than its marks"
            steps.append(Step("repair", definition.name, reason, definition))
        elif underlying.changed(connection, view.id):
            reason = "a view, function or type that it rests on was changed"
            steps.append(Step("repair", definition.name, reason, definition))
        else:
            steps.append(Step("keep", definition.name, "unchanged", definition))
    names = {d.name for d in definitions}
    for name in have:
        if name not in names:
            drop = Step("drop", name, "no longer declared")
            steps.append(
                drop if prune else Step("keep", name, "not among these definitions (--prune would drop it)")
            )
    with translated():
        damaged = connection.scalars(text(query("catalog", "damaged_sources"))).all()
        outdated = set(sources.outdated(connection)) - set(damaged)
    steps += [Step("repair", name, "mark triggers or partitions are not as installed") for name in damaged]
    steps += [
        Step("repair", name, "mark triggers are not as they would be made now") for name in sorted(outdated)
    ]
    return steps


def _moved(connection: Connection, view: InstalledView, definition: Definition) -> bool:
    """Whether the definition's table names lead elsewhere than when it was applied."""
    if definition.kind == "rollup":
        return False
    names = [*definition.flush, *(d.table for d in definition.depends)]
    names += [link.table for d in definition.depends for link in d.links]
    moved: bool = connection.scalar(
        text(query("install", "moved_names")), {"names": names, "view_id": view.id}
    )
    return moved


def _changes(view: InstalledView, definition: Definition) -> str:
    before = parse(view.definition, view.name)
    fields = (
        "kind",
        "key",
        "coverage",
        "tenant",
        "ttl",
        "refresh_every",
        "depends",
        "indexes",
        "flush",
        "allow",
        "allow_secret",
        "readers",
        "query",
    )
    changed = [field for field in fields if getattr(before, field) != getattr(definition, field)]
    return f"changed: {', '.join(changed)}" if changed else "changed: comments"


def apply(
    connection: Connection,
    steps: Sequence[Step],
    settings: Settings | None = None,
    *,
    check_data: bool = True,
) -> list[Step]:
    """Carry out a plan in the caller's transaction; all or nothing. Returns the steps with their remarks.

    Needs: ownership of the source tables, READ COMMITTED. Locks: an advisory lock, so that one transaction at
    a time changes definitions; SHARE ROW EXCLUSIVE on source tables whose triggers change, ACCESS EXCLUSIVE
    on the cache's own objects that are replaced; no wait is longer than half a second, and all together are
    shorter than deadlock_timeout (LockBusy). What takes long, such as the look for keys that are not unique
    (`check_data`), is done before any of them is taken. `settings` are those of the environment.
    """
    with translated():
        require(connection)
        if all(step.action == "keep" for step in steps):
            return list(steps)
        rules = settings or load()
        patience = install.begin(connection)
        prepared = {
            number: preparing.prepare(connection, step.definition, rules, check_data=check_data)
            for number, step in enumerate(steps)
            if step.definition is not None and step.action not in ("keep", "drop")
        }
        install.take_turn(connection)
        dropped = [step.name for step in steps if step.action == "drop"]
        changed = [*dropped, *(one.definition.name for one in prepared.values())]
        install.withdraw(connection, changed)
        ready = [install.make_ready(connection, one) for one in prepared.values()]
        renames = install.renames(connection, ready, dropped)
        work = sources.find_work(connection)
        # From here on others may wait until this transaction ends.
        install.drop_objects(connection, changed, patience)
        install.put_in_place(connection, ready, renames)
        for name in dropped:
            install.forget(connection, name)
        sources.carry_out(connection, work, patience)
    return [
        replace(step, remark=prepared[number].remark) if number in prepared else step
        for number, step in enumerate(steps)
    ]


def check(connection: Connection, steps: Sequence[Step], settings: Settings | None = None) -> list[Step]:
    """Find out whether the server accepts a plan, without keeping anything: it is carried out and rolled
    back. Returns the steps with their remarks, one on what is kept but has no unique key any more.
    """
    rules = settings or load()
    savepoint = connection.begin_nested()
    try:
        found = apply(connection, steps, rules)
    finally:
        savepoint.rollback()
    doubtful = {view.name for view in installed(connection).values() if view.whole and not view.key_proved}
    return [
        replace(step, remark=_doubt(connection, step.definition, rules))
        if step.definition is not None and step.action == "keep" and step.name in doubtful
        else step
        for step in found
    ]


def _doubt(connection: Connection, definition: Definition, settings: Settings) -> str | None:
    """What is wrong by now with the key of an installed view."""
    source = Identifier("meshcache", f"{definition.name}_source")
    try:
        return keys.check_data(connection, definition, source, settings)
    except DefinitionError as error:
        return str(error).removeprefix(f"{definition.name}: ")


def readers(connection: Connection, tables: Sequence[str]) -> list[str]:
    """The cached views and rollups that read any of these tables. Raises DefinitionError for an unknown
    table.
    """
    with translated():
        require(connection)
        found: set[str] = set()
        for table in tables:
            oid = connection.scalar(text(query("catalog", "table_oid")), {"name": table})
            if oid is None:
                raise DefinitionError(
                    f"there is no table {table}", hint="Qualify it with its schema, or set the search_path."
                )
            found.update(connection.scalars(text(query("catalog", "readers_of")), {"oid": oid}))
    return sorted(found)


def suspend(connection: Connection, tables: Sequence[str]) -> list[str]:
    """Take away whatever reads these tables, so that the application may rename, retype or drop their
    columns; returns the names of the cached views and rollups. Their definitions stay in the catalog for
    `resume`.

    Until then the Python repositories read the source; their live views and `_get` are not there, so do both
    in the transaction of the change where SQL clients read them. Locks and errors as for `apply`.
    """
    names = readers(connection, tables)
    with translated():
        if names:
            patience = install.begin(connection)
            install.take_turn(connection)
            # Whoever had the turn before may have added one.
            names = readers(connection, tables)
            install.withdraw(connection, names)
            work = sources.find_work(connection)
            install.drop_objects(connection, names, patience)
            sources.carry_out(connection, work, patience)
    return names


def unfinished(connection: Connection, definitions: Sequence[Definition] = ()) -> list[Definition]:
    """What is suspended or has lost objects otherwise, as it was declared, and these definitions."""
    changed = {d.name for d in definitions}
    left = [v for v in installed(connection).values() if not v.whole and v.name not in changed]
    return [*(parse(v.definition, v.name) for v in left), *definitions]


def resume(connection: Connection, definitions: Sequence[Definition] = ()) -> list[Step]:
    """Apply what was suspended (or has lost objects otherwise), as it was declared or as `definitions`
    declare it now. They are cold afterwards.

    Raises DefinitionError where the old declaration does not fit the tables any more. Locks as for `apply`.
    """
    return _apply_changes(connection, unfinished(connection, definitions))


def _apply_changes(connection: Connection, definitions: Sequence[Definition]) -> list[Step]:
    steps = [step for step in plan(connection, definitions) if step.action != "keep" and step.definition]
    # The application's migration may wait for this with its tables locked.
    return apply(connection, steps, check_data=False)


@contextmanager
def suspended(
    connection: Connection, *tables: str, definitions: Sequence[Definition] = ()
) -> Iterator[list[str]]:
    """`suspend` before and `resume` after a block that changes these tables, in the caller's transaction:
    nobody else ever sees the cache without them. For an application's own migrations; does nothing where the
    cache is not installed.
    """
    if current(connection) is None:
        yield []
        return
    # The waits of the caller's own statements are the caller's business.
    patience = connection.scalar(text("select current_setting('lock_timeout')"))
    names = suspend(connection, tables)
    _set_lock_timeout(connection, patience)
    yield names
    changed = {d.name for d in definitions}
    # Only these: what was broken before is no reason for this transaction to fail.
    left = [d for d in unfinished(connection) if d.name in names and d.name not in changed]
    _apply_changes(connection, [*left, *definitions])
    _set_lock_timeout(connection, patience)


def _set_lock_timeout(connection: Connection, value: str) -> None:
    connection.execute(text("select set_config('lock_timeout', :value, true)"), {"value": value})


def drop(connection: Connection, name: str) -> None:
    """Drop one cached view or rollup, its cache, and marks and triggers that nobody else needs."""
    find(connection, name)
    apply(connection, [Step("drop", name, "asked for")])
