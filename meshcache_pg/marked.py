"""What is marked of a source table, and how its values are spoken of in SQL: what both kinds of mark triggers
share.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from psycopg import sql

from meshcache_pg.conditions import Column, columns_of, joined
from meshcache_pg.sql import compose, trusted

# A btree row has at most 2,704 bytes (a third of a page, PostgreSQL manual, 11.2), and a mark has an xid
# beside its value.
LONGEST_VALUE_BYTES: Final = 2000

# Of types that are never as long nobody has to ask.
_SHORT: Final = frozenset(
    ("bigint", "boolean", "date", "integer", "smallint", "timestamp with time zone", "uuid")
)


# Types whose "=" compares what is stored, each of them a few bytes.
_PLAIN: Final = _SHORT | {"timestamp without time zone"}
_VARCHAR: Final = re.compile(r"character varying(\(\d+\))?")


@dataclass(frozen=True, slots=True)
class MarkTable:
    """One mark table of a source table: its columns with types, and the columns that matter to anybody.

    A null in one of the `strict` columns says that a constraint is gone which somebody relied on.
    """

    id: int
    columns: tuple[Column, ...]
    matter: tuple[Column, ...] | None
    strict: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class MarkedSource:
    """What the triggers of one source table have to do. Any change makes the views of `flush` (ids) stale
    as a whole.
    """

    id: int
    marks: tuple[MarkTable, ...]
    primary_key: tuple[Column, ...]
    flush: tuple[int, ...]


def names(columns: Sequence[Column]) -> sql.Composed:
    """Their names, in a list."""
    return sql.SQL(", ").join(sql.Identifier(c.name) for c in columns)


def of(alias: str, columns: Sequence[Column]) -> sql.Composed:
    """The same of one row."""
    return columns_of(alias, [c.name for c in columns])


def known(alias: str, columns: Sequence[Column], strict: frozenset[str] = frozenset()) -> sql.Composed:
    """A null equals no key, so it needs no mark; one in a strict column is not passed over."""
    tests = [
        sql.SQL("{} is not null").format(sql.Identifier(alias, c.name))
        for c in columns
        if c.name not in strict
    ]
    return joined(tests or [sql.SQL("true")])


def unmarkable(mark: MarkTable, values: Sequence[sql.Composable]) -> sql.Composed:
    """Whether the values of a row, one for each column, cannot be marked: a null where somebody relies on
    there being none, or what no index row has room for.
    """
    both = list(zip(mark.columns, values, strict=True))
    nulls = [sql.SQL("{} is null").format(value) for column, value in both if column.name in mark.strict]
    sizes = [
        sql.SQL("pg_column_size({}) > {}").format(value, sql.Literal(LONGEST_VALUE_BYTES))
        for column, value in both
        if column.type not in _SHORT
    ]
    return joined(nulls + sizes or [sql.SQL("false")], " or ")


def identifiers(alias: str, columns: Sequence[Column]) -> list[sql.Identifier]:
    """The columns of one row, one by one."""
    return [sql.Identifier(alias, c.name) for c in columns]


def rows_differ(matter: Sequence[Column] | None) -> sql.Composed:
    """Whether the old row `o` and the new row `n` differ in the columns that matter; None for all."""
    if matter is not None:
        return differ([(c, sql.Identifier("o", c.name), sql.Identifier("n", c.name)) for c in matter])
    # An alias alone would mean a column of that name.
    images = {f"{alias}_image": sql.SQL("({}.*)::record").format(sql.Identifier(alias)) for alias in "on"}
    return compose("mark_functions", "differ", **images)


def as_declared(marks: Sequence[MarkTable], row: str) -> sql.Composed:
    """That the columns of a row still have the types that its functions were made for: not a condition, but
    something that is understood of no other type. Columns that are compared as records may have any type.
    """
    relied = [c for mark in marks for c in (*mark.columns, *filter(_by_value, mark.matter or ()))]
    same = [
        compose("mark_functions", "same_type", value=sql.Identifier(row, name), type=sql.SQL(trusted(type_)))
        for name, type_ in dict.fromkeys((column.name, column.type) for column in relied)
    ]
    return compose("mark_functions", "as_declared", same=joined(same))


def _is_text(column: Column) -> bool:
    return column.type == "text" or _VARCHAR.fullmatch(column.type) is not None


def _by_value(column: Column) -> bool:
    return column.type in _PLAIN or _is_text(column)


def differ(values: Sequence[tuple[Column, sql.Composable, sql.Composable]]) -> sql.Composed:
    """Whether the old and the new value of any of these columns differ as they are stored, however its type
    compares them.
    """
    tests: list[sql.Composed] = []
    images: list[tuple[sql.Composable, sql.Composable]] = []
    for column, old, new in values:
        if column.type in _PLAIN:
            tests.append(compose("mark_functions", "value_differs", o_value=old, n_value=new))
        elif _is_text(column):
            # Of whatever collation the column is: some take different texts for equal.
            o_text, n_text = (sql.SQL('{}::text collate "C"').format(value) for value in (old, new))
            tests.append(compose("mark_functions", "value_differs", o_value=o_text, n_value=n_text))
        else:
            images.append((old, new))
    if images:
        # `row(...)` alone would compare column by column.
        o_image, n_image = (
            sql.SQL("row({})::record").format(joined(side, ", ")) for side in zip(*images, strict=True)
        )
        tests.append(compose("mark_functions", "differ", o_image=o_image, n_image=n_image))
    return joined(tests or [sql.Composed([sql.SQL("false")])], " or ")
