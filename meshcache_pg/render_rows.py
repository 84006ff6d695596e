"""What a mark trigger does for a statement that wrote one row, as SQL text: most statements of an application
do, and pay for each query that a trigger function makes.
"""

from collections.abc import Sequence
from typing import Final

from psycopg import sql

from meshcache_pg.conditions import Column, joined
from meshcache_pg.marked import MarkTable, as_declared, differ, names, rows_differ, unmarkable
from meshcache_pg.sql import compose, trusted

# The versions of the row that a statement has to tell, and where they are: only one old and one new row make
# one pair, and then they are the same row. Without a pair there may be one of them alone, when a row was to
# move to another partition and did not arrive.
_VERSIONS: Final = {"insert": ("n",), "delete": ("o",), "update": ("o", "n")}
_ROWS: Final = {
    "insert": sql.SQL("new_rows as n"),
    "delete": sql.SQL("old_rows as o"),
    "update": sql.SQL("old_rows as o cross join new_rows as n"),
}


def one_row(marks: Sequence[MarkTable], event: str) -> dict[str, sql.Composable]:
    """What the template of a trigger function has to be given for it."""
    read: list[tuple[sql.Composable, sql.Composable]] = []
    variables: list[sql.Composable] = []
    for mark in marks:
        for version in _VERSIONS[event]:
            for number, column in enumerate(mark.columns):
                value = _value(mark, version, number)
                read.append((value, sql.Identifier(version, column.name)))
                type_ = sql.SQL(trusted(column.type))
                variables.append(compose("mark_functions", "row_variable", value=value, type=type_))
    shares = _shares(marks) if event == "update" else {}
    for number, differs_at in enumerate(shares.values()):
        read.append((_differ(number), differs_at))
        variables.append(compose("mark_functions", "differ_variable", differ=_differ(number)))
    differs = {
        mark.id: joined([_differ(n) for n, share in enumerate(shares) if mark.id in share], " or ")
        for mark in marks
    }
    return {
        "row_variables": sql.SQL("\n").join(variables),
        "one_row": compose(
            "mark_functions",
            "one_row",
            targets=joined([target for target, _ in read], ", "),
            values=joined([value for _, value in read], ", "),
            rows=_ROWS[event],
            as_declared=as_declared(marks, _VERSIONS[event][0]),
        )
        if marks
        else sql.SQL("null;"),
        "no_pair": sql.Literal("many" if event == "update" else "none"),
        "row_unmarkable": joined(
            [_unmarkable(mark, event, differs[mark.id]) for mark in marks] or [sql.SQL("false")], " or "
        ),
        "row_writes": joined([_write(mark, event, differs[mark.id]) for mark in marks], "\n")
        if marks
        else sql.SQL("null;"),
    }


def _shares(marks: Sequence[MarkTable]) -> dict[frozenset[int], sql.Composable]:
    """Whether an update changed any of the columns that matter to the same mark tables, by the ids of these:
    what matters to several is compared once.
    """
    of_column: dict[Column, set[int]] = {}
    found: dict[frozenset[int], sql.Composable] = {}
    for mark in marks:
        if mark.matter is None:
            found[frozenset((mark.id,))] = rows_differ(None)
        for column in mark.matter or ():
            of_column.setdefault(column, set()).add(mark.id)
    together: dict[frozenset[int], list[Column]] = {}
    for column, ids in of_column.items():
        together.setdefault(frozenset(ids), []).append(column)
    for share, columns in together.items():
        found[share] = rows_differ(columns)
    return found


def _differ(number: int) -> sql.Identifier:
    """The variable for whether the columns of one share differ."""
    return sql.Identifier(f"v_differ_{number}")


def _value(mark: MarkTable, version: str, number: int) -> sql.Identifier:
    return sql.Identifier(f"v_{version}_{mark.id}_{number}")


def _values(mark: MarkTable, version: str) -> list[sql.Identifier]:
    return [_value(mark, version, number) for number in range(len(mark.columns))]


def _unmarkable(mark: MarkTable, event: str, differs: sql.Composed) -> sql.Composed:
    found = joined([unmarkable(mark, _values(mark, version)) for version in _VERSIONS[event]], " or ")
    return sql.SQL("({}) and ({})").format(differs, found) if event == "update" else found


def _write(mark: MarkTable, event: str, differs: sql.Composed) -> sql.Composed:
    """The mark of the row, of an updated one where something differs; then also that of the value before, if
    it was another.
    """
    if event != "update":
        return _insert(mark, _VERSIONS[event][0])
    columns = list(zip(mark.columns, _values(mark, "o"), _values(mark, "n"), strict=True))
    return _if(differs, _insert(mark, "n") + sql.SQL("\n") + _if(differ(columns), _insert(mark, "o")))


def _insert(mark: MarkTable, version: str) -> sql.Composed:
    values = _values(mark, version)
    insert = compose(
        "mark_functions",
        "row_write",
        mark_table=sql.Identifier(f"mark_{mark.id}"),
        columns=names(mark.columns),
        values=joined(values, ", "),
    )
    known = [
        sql.SQL("{} is not null").format(value)
        for value, column in zip(values, mark.columns, strict=True)
        if column.name not in mark.strict
    ]
    return _if(joined(known), insert) if known else insert


def _if(condition: sql.Composable, statements: sql.Composable) -> sql.Composed:
    return compose("mark_functions", "if", condition=condition, statements=statements)
