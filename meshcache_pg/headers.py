"""The values of header lines: durations, names, columns, indexes and dependencies as they are written in a
definition.
"""

import re
from dataclasses import dataclass
from datetime import timedelta

from meshcache_pg.errors import DefinitionError

_DURATION = re.compile(r"(\d+)(ms|s|m|h|d)")
_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_ALLOWED = frozenset(("session", "row_security", "clock", "functions"))
_IDENT = r'(?:"(?:[^"]|"")+"|[^\W\d][\w$]*)'
_TABLE = rf"{_IDENT}(?:\.{_IDENT})?"
_TABLES = re.compile(rf"{_TABLE}(?:\s*,\s*{_TABLE})*\Z")
_DOTTED = rf"{_IDENT}(?:\.{_IDENT}){{1,2}}"
_DOTTED_LIST = re.compile(rf"{_DOTTED}(?:\s*,\s*{_DOTTED})*\Z")
_COLUMNS = rf"\(\s*({_IDENT}(?:\s*,\s*{_IDENT})*)\s*\)"
_DEPENDS = re.compile(
    rf"({_IDENT}(?:\.{_IDENT})?)\s*(?:{_COLUMNS}\s*((?:via\s+.+?)?)\s*=\s*{_COLUMNS}|(flush))"
    rf"(?:\s+columns\s+{_COLUMNS})?\Z",
    re.IGNORECASE,
)
_INDEX_TERM = re.compile(
    rf"({_IDENT})(?:\s+(asc|desc))?(?:\s+nulls\s+(first|last))?\Z",
    re.IGNORECASE,
)
_LINK = re.compile(
    rf"via\s+({_IDENT}(?:\.{_IDENT})?)\s*\(\s*({_IDENT})\s*->\s*({_IDENT})\s*\)\s*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Link:
    """A step from a marked value towards the key: look it up in `from_column`, go on with `to_column`."""

    table: str
    from_column: str
    to_column: str


@dataclass(frozen=True, slots=True)
class Depends:
    """One declared dependency: rows of `table` whose `columns`, through `links`, equal `view_columns`.

    `matter` are the columns whose change is of interest; None means all. A flush has no columns: any change
    of the table makes every row stale. Table names are as written, quoted or not, and are resolved by the
    search_path.
    """

    table: str
    columns: tuple[str, ...] = ()
    view_columns: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()
    matter: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class IndexTerm:
    """One column of an index; `nulls_first` None is PostgreSQL's default for the direction."""

    column: str
    descending: bool = False
    nulls_first: bool | None = None


def parse_duration(value: str, where: str) -> timedelta:
    """`1h30m`, `90s`, `250ms`, `7d`: positive, units in that spelling."""
    found = _DURATION.findall(value)
    if not found or "".join(a + b for a, b in found) != value.replace(" ", ""):
        raise DefinitionError(
            f"{where}: {value!r} is no duration", hint="Write it like 30s, 15m, 1h30m or 7d."
        )
    total = sum((timedelta(**{_UNITS[unit]: int(number)}) for number, unit in found), timedelta())
    if total <= timedelta():
        raise DefinitionError(f"{where}: the duration {value!r} is not positive")
    return total


def names(value: str) -> tuple[str, ...]:
    """Split `a, "B c"` into names as the catalog has them: unquoted ones are folded to lowercase."""
    found = re.findall(_IDENT, value)
    return tuple(n[1:-1].replace('""', '"') if n.startswith('"') else n.lower() for n in found)


def tables(value: str, where: str) -> tuple[str, ...]:
    """Split `a, s."B c"` into table names as they are written."""
    if not _TABLES.match(value):
        raise DefinitionError(
            f"{where}: cannot read the tables {value!r}", hint="Write -- flush: table, schema.table"
        )
    return tuple(re.findall(_TABLE, value))


def qualified_columns(value: str, where: str) -> tuple[tuple[str, ...], ...]:
    """Split `a.x, s.b."Y"` into columns, each by its names."""
    if not _DOTTED_LIST.match(value):
        raise DefinitionError(
            f"{where}: cannot read the columns {value!r}", hint="Write -- allow_secret: table.column"
        )
    return tuple(names(match[0]) for match in re.finditer(_DOTTED, value))


def allowed(value: str, where: str) -> frozenset[str]:
    """What is meant although it is refused otherwise."""
    found = frozenset(names(value))
    if found - _ALLOWED:
        raise DefinitionError(
            f"{where}: allow cannot be {', '.join(sorted(found - _ALLOWED))}",
            hint=f"It is one or more of: {', '.join(sorted(_ALLOWED))}.",
        )
    return found


def dependency(value: str, where: str) -> Depends:
    """One `depends` line; the forms are those of the reference."""
    match = _DEPENDS.match(value)
    if not match:
        raise DefinitionError(
            f"{where}: cannot read the dependency {value!r}",
            hint="Write `table(column) = (view_column) columns (a, b)`, "
            "`table(column) via link(a -> b) = (view_column)`, or `table flush`.",
        )
    table, columns, via, view_columns, _flush, matter = match.groups()
    links = tuple(Link(link_table, *names(a), *names(b)) for link_table, a, b in _LINK.findall(via or ""))
    if via and _LINK.sub("", via).strip():
        raise DefinitionError(f"{where}: cannot read the links {via!r}", hint="Write `via table(a -> b)`.")
    wanted, given = names(view_columns or ""), names(columns or "")
    if len(wanted) != len(given) or (links and len(given) != 1):
        raise DefinitionError(
            f"{where}: {value!r} pairs {len(given)} with {len(wanted)} columns",
            hint="Both sides need the same number; a linked dependency has one.",
        )
    return Depends(table, given, wanted, links, names(matter) if matter else None)


def index(value: str, where: str) -> tuple[IndexTerm, ...]:
    """Split `a, b desc nulls last` into the columns of an index."""
    terms: list[IndexTerm] = []
    for written in value.split(","):
        match = _INDEX_TERM.match(written.strip())
        if not match:
            raise DefinitionError(
                f"{where}: cannot read the index {value!r}",
                hint="Write output columns with their order: `-- index: project_id, created_at desc`.",
            )
        column, direction, nulls = match.groups()
        terms.append(
            IndexTerm(
                names(column)[0],
                (direction or "").lower() == "desc",
                None if nulls is None else nulls.lower() == "first",
            )
        )
    return tuple(terms)
