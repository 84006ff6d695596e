"""What caching one view comes to, before or after it is applied: what makes its rows stale and why, what that
costs each writer, what reads take with and without it, and whether it is worth it.

Nothing is changed: all of it happens in transactions that are rolled back, a view that is not applied exists
in them as a temporary view, and the application's tables are locked in ACCESS SHARE alone, as by any SELECT.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, text

from meshcache_pg import catalog, facts, measure_reads, measure_writes, preparing
from meshcache_pg.catalog import InstalledView
from meshcache_pg.conditions import ResolvedDependency, ResolvedLink
from meshcache_pg.database import translated
from meshcache_pg.definition import Definition, parse
from meshcache_pg.dependencies import Derivation, Found, derive
from meshcache_pg.headers import names
from meshcache_pg.measure_reads import NotMeasured, Reads, SlowSource
from meshcache_pg.measure_writes import Added
from meshcache_pg.patience import LONGEST_MS
from meshcache_pg.scopes import Refused
from meshcache_pg.settings import Settings, load
from meshcache_pg.sql import Identifier, query
from meshcache_pg.statements import Target
from meshcache_pg.verdict import Counted, Verdict, judge
from meshcache_pg.write_costs import WriteCost, by_source, costs, shown

_TEMPORARY = Identifier("pg_temp", "meshcache_explained")


@dataclass(frozen=True, slots=True)
class Dependency:
    """One line of the dependency table. `matter` is None where every column does, `via` the links in words.

    `why` is the way from a row of the table to the key; `hindrance` what kept it from a finer kind, empty
    where there is none.
    """

    table: str
    kind: str
    columns: tuple[str, ...]
    view_columns: tuple[str, ...]
    via: tuple[str, ...]
    matter: tuple[str, ...] | None
    declared: bool
    why: str
    hindrance: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that `explain` finds. `state` is `applied`, `changed` (another definition of that name is),
    `damaged` (objects are missing, or it is suspended) or `not applied`; `not_measured` has the reasons for
    missing figures.
    """

    name: str
    kind: str
    coverage: str | None
    key: tuple[str, ...]
    state: str
    dependencies: tuple[Dependency, ...]
    writes: tuple[WriteCost, ...]
    reads: Reads | None
    counted: Counted | None
    verdict: Verdict
    not_measured: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Subject:
    """A view with its source view, which for one that is not applied is a temporary one."""

    definition: Definition
    state: str
    source: Identifier
    target: Target
    dependencies: Sequence[ResolvedDependency]
    derivation: Derivation | None


def explain(
    connection: Connection,
    view: str | Definition,
    *,
    measure: bool = True,
    settings: Settings | None = None,
) -> Explanation:
    """Explain an installed view by name, or a definition. Without `measure` only the catalog is read.

    Needs a connection without an open transaction; whatever is done on it is rolled back. Locks: ACCESS SHARE
    on the tables of the SELECT. Raises DefinitionError and MissingRight where `plan` does.
    """
    with translated():
        try:
            return _explain(connection, view, settings or load(), measure)
        finally:
            connection.rollback()


def _explain(
    connection: Connection, view: str | Definition, settings: Settings, measure: bool
) -> Explanation:
    # Behind a migration that holds a table: no longer than the migration would wait for us.
    connection.execute(text("select set_config('lock_timeout', :t, true)"), {"t": f"{LONGEST_MS}ms"})
    subject = _subject(connection, view, settings, measure=measure)
    definition = subject.definition
    dependencies = [_dependency(subject, one) for one in subject.dependencies]
    writes = costs(connection, definition.name, subject.dependencies)
    counted = _counted(connection, subject)
    reads: Reads | None = None
    reasons: list[str] = []
    slow = False
    if measure:
        measure_reads.limit(connection)
        writes, reasons = _measure_writes(connection, subject, writes)
        try:
            reads = _measure_reads(connection, subject)
        except NotMeasured as error:
            slow = isinstance(error, SlowSource)
            reasons.append(str(error))
    lookup = subject.derivation.lookup if subject.derivation else None
    return Explanation(
        definition.name,
        definition.kind,
        definition.coverage,
        definition.key,
        subject.state,
        tuple(dependencies),
        tuple(writes),
        reads,
        counted,
        judge(lookup, reads, counted, [a for w in writes for a in w.measured], slow_source=slow),
        tuple(reasons),
    )


def _subject(
    connection: Connection, view: str | Definition, settings: Settings, *, measure: bool
) -> _Subject:
    found: InstalledView | None
    if isinstance(view, str):
        found = there = catalog.find(connection, view)
        definition = parse(there.definition, view)
    else:
        found, definition = catalog.installed(connection).get(view.name), view
    state = _state(found, definition)
    if found is not None and state == "applied":
        return _applied(connection, definition, found)
    return _temporary(connection, definition, state, settings, check_data=measure)


def _state(found: InstalledView | None, definition: Definition) -> str:
    if found is None:
        return "not applied"
    if found.definition_hash != definition.content_hash:
        return "changed"
    return "applied" if found.whole else "damaged"


def _applied(connection: Connection, definition: Definition, there: InstalledView) -> _Subject:
    source = Identifier("meshcache", f"{there.name}_source")
    target = Target(
        there.name,
        there.kind,
        there.key_columns,
        there.coverage,
        there.columns,
        there.column_types,
        there.source_sql,
        there.tenant_column,
        there.json_text,
    )
    rows = connection.execute(text(query("explain", "dependencies")), {"name": there.name}).all()
    dependencies = [
        ResolvedDependency(
            source_id=row.oid,
            relation=Identifier(row.schema, row.name),
            kind=row.kind,
            mark_id=row.mark_id,
            columns=tuple(row.columns or ()),
            view_columns=tuple(row.view_columns),
            links=tuple(
                ResolvedLink(Identifier(*names(link["table"])), link["from"], link["to"])
                for link in row.links
            ),
            matter=tuple(row.matter) if row.matter is not None else None,
            has_children=row.has_children,
        )
        for row in rows
    ]
    oid: int | None = connection.scalar(
        text(query("catalog", "table_oid")), {"name": f'meshcache."{there.name}_source"'}
    )
    derivation = _derivation(connection, definition, oid) if oid is not None else None
    return _Subject(definition, "applied", source, target, dependencies, derivation)


def _temporary(
    connection: Connection, definition: Definition, state: str, settings: Settings, *, check_data: bool
) -> _Subject:
    """The source view as a temporary one: nobody else sees its name, so nobody waits for it."""
    found = preparing.prepare(connection, definition, settings, check_data=check_data, source=_TEMPORARY)
    columns = [column for column in found.columns if column.name not in found.hidden]
    target = Target(
        definition.name,
        definition.kind,
        definition.key,
        definition.coverage,
        tuple(column.name for column in columns),
        tuple(column.type for column in columns),
        definition.query,
        definition.tenant,
        definition.json_text,
    )
    derivation = _derivation(connection, definition, found.oid)
    return _Subject(definition, state, _TEMPORARY, target, found.dependencies, derivation)


def _derivation(connection: Connection, definition: Definition, oid: int) -> Derivation | None:
    """What follows from the SELECT, also beside declared lines; None where nothing can be derived."""
    try:
        return derive(oid, definition.key, facts.read(connection, oid), add=bool(definition.depends))
    except Refused:
        return None


def _dependency(subject: _Subject, one: ResolvedDependency) -> Dependency:
    declared = bool(subject.definition.depends)
    same = [f for f in subject.derivation.found if _same(f, one)] if subject.derivation else []
    other = (
        [f for f in subject.derivation.found if f.relation.oid == one.source_id] if subject.derivation else []
    )
    why = same[0].why if same else "as it was applied; apply it again to derive it anew"
    if declared:
        why = "declared in a depends line"
        if not same and other:
            why += f"; from the SELECT follows {', '.join(f.text for f in other)}"
    return Dependency(
        table=shown(one.relation),
        kind=one.kind,
        columns=one.columns,
        view_columns=one.view_columns,
        via=tuple(f"{shown(k.table)}({k.from_column} -> {k.to_column})" for k in one.links),
        matter=one.matter if one.columns else None,
        declared=declared,
        why=why,
        hindrance=same[0].hindrance if same and not declared else "",
    )


def _same(found: Found, one: ResolvedDependency) -> bool:
    links = [(s.relation.schema, s.relation.name, s.from_column, s.to_column) for s in found.links]
    return (found.relation.oid, found.columns, found.view_columns, links) == (
        one.source_id,
        one.columns,
        one.view_columns,
        [(k.table.schema, k.table.name, k.from_column, k.to_column) for k in one.links],
    )


def _measure_writes(
    connection: Connection, subject: _Subject, writes: Sequence[WriteCost]
) -> tuple[list[WriteCost], list[str]]:
    """The same with figures, and the tables without."""
    measured, reasons = [], []
    for cost, own in zip(writes, by_source(subject.dependencies).values(), strict=True):
        added: list[Added] = []
        savepoint = connection.begin_nested()
        try:
            with measure_reads.explained():
                added = measure_writes.measure(connection, own)
            if not added:
                reasons.append(f"writes of {cost.table}: it has no rows")
        except NotMeasured as error:
            reasons.append(f"writes of {cost.table}: {error}")
        finally:
            savepoint.rollback()
        measured.append(replace(cost, measured=tuple(added)))
    return measured, reasons


def _measure_reads(connection: Connection, subject: _Subject) -> Reads:
    """From the cache where there is one with rows in it, else from a throwaway."""
    if subject.state == "applied":
        try:
            return measure_reads.cached(connection, subject.target, _order(subject.definition))
        except SlowSource:
            raise
        except NotMeasured:
            connection.rollback()
            measure_reads.limit(connection)
    return measure_reads.throwaway(connection, subject.target, subject.source, subject.dependencies)


def _order(definition: Definition) -> tuple[str, ...]:
    """The order of a tenant's list: that of a declared index on it, else of the key."""
    for index in definition.indexes:
        if index[0].column == definition.tenant and len(index) > 1:
            return tuple(f"-{term.column}" if term.descending else term.column for term in index[1:])
    return definition.key


def _counted(connection: Connection, subject: _Subject) -> Counted | None:
    """What was counted since it was applied; None where nothing was."""
    if subject.state != "applied" or not connection.scalar(text(query("explain", "has_counters"))):
        return None
    row = connection.execute(
        text(query("explain", "counted")), {"name": subject.definition.name}
    ).one_or_none()
    return Counted(row.hits, row.others, row.marks) if row is not None else None
