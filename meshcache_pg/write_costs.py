"""What a statement on each source table of one view does because of it, as far as the catalog tells:
triggers, marks, and who else would need them anyway.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from meshcache_pg.conditions import ResolvedDependency
from meshcache_pg.measure_writes import Added, merged
from meshcache_pg.render_marks import WILDCARD_LIMIT
from meshcache_pg.sql import Identifier, query


@dataclass(frozen=True, slots=True)
class MarkUse:
    """One mark table that a view reads: its name once it exists, and who else reads it."""

    columns: tuple[str, ...]
    name: str | None
    shared_with: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WriteCost:
    """What a statement on one source table does because of a view.

    `triggers` fire per statement, for ordinary sessions; they are named once there are any, and `other_views`
    need them as well. `marks_per_row` is the most that an insert or delete, and an update, leave for one row;
    `marks_per_statement` the most that a statement leaves. `unrelated_update` is what an update leaves that
    changes no column that matters. `measured` is empty where it was not.
    """

    table: str
    triggers: tuple[str, ...]
    other_views: tuple[str, ...]
    partitions: int
    marks: tuple[MarkUse, ...]
    flush: bool
    marks_per_row: int
    marks_per_updated_row: int
    marks_per_statement: int
    unrelated_update: str
    measured: tuple[Added, ...] = ()


def shown(table: Identifier) -> str:
    """A table as messages name it."""
    return table.name if table.schema == "public" else f"{table.schema}.{table.name}"


def by_source(dependencies: Sequence[ResolvedDependency]) -> dict[int, list[ResolvedDependency]]:
    """Dependencies by the oid of their table."""
    found: dict[int, list[ResolvedDependency]] = {}
    for one in dependencies:
        found.setdefault(one.source_id, []).append(one)
    return found


def costs(connection: Connection, name: str, dependencies: Sequence[ResolvedDependency]) -> list[WriteCost]:
    """What the dependencies of a view (`source_id` being oids) cost, table by table."""
    grouped = by_source(dependencies)
    given = {"oids": list(grouped), "name": name}
    sources = {row.oid: row for row in connection.execute(text(query("write_costs", "sources")), given)}
    marks = {
        (row.oid, tuple(row.columns)): row
        for row in connection.execute(text(query("write_costs", "marks")), given)
    }
    return [
        _write_cost(own, sources[oid], [(columns, marks.get((oid, columns))) for columns in merged(own)])
        for oid, own in grouped.items()
    ]


def _write_cost(
    own: Sequence[ResolvedDependency], source: Any, marks: Sequence[tuple[tuple[str, ...], Any]]
) -> WriteCost:
    flush = any(not one.columns for one in own)
    number = len(marks)
    return WriteCost(
        table=shown(own[0].relation),
        triggers=tuple(
            f"meshcache_{source.id}_{kind}_{event}"
            for event in ("insert", "update", "delete")
            for kind in ("guard", "mark")
        )
        if source.id is not None
        else (),
        other_views=tuple(source.other_views),
        partitions=source.members,
        marks=tuple(
            MarkUse(columns, f"meshcache.mark_{row.id}", tuple(row.other_views))
            if row is not None
            else MarkUse(columns, None, ())
            for columns, row in marks
        ),
        flush=flush,
        marks_per_row=number + flush,
        marks_per_updated_row=2 * number + flush,
        marks_per_statement=WILDCARD_LIMIT * number + flush,
        unrelated_update=_unrelated(own, flush, source.has_primary_key),
    )


def _unrelated(own: Sequence[ResolvedDependency], flush: bool, has_primary_key: bool) -> str:
    """What an update leaves that changes no column that matters: without a primary key old and new rows
    cannot be paired, and so not be compared.
    """
    if flush:
        return "all rows stale"
    if any(one.matter is None for one in own):
        return "every column matters"
    return "no mark" if has_primary_key else "marks, for want of a primary key"
