"""What a mark trigger does for a statement that wrote one row, as SQL text: most statements of an application
do, and pay for each query that a trigger function makes.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from psycopg import sql

from meshcache_pg.conditions import joined
from meshcache_pg.marked import MarkTable, image, names, unmarkable
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
    versions = _VERSIONS[event]
    targets: list[sql.Composable] = []
    values: list[sql.Composable] = []
    variables: list[sql.Composable] = []
    for mark in marks:
        for version in versions:
            for number, column in enumerate(mark.columns):
                value = _value(mark, version, number)
                targets.append(value)
                values.append(sql.Identifier(version, column.name))
                variables.append(
                    compose(
                        "mark_functions",
                        "row_variable",
                        value=value,
                        type=sql.SQL(trusted(column.type)),
                    )
                )
        if event == "update":
            targets.append(_differs(mark))
            values.append(_images_differ(mark))
            variables.append(compose("mark_functions", "differs_variable", differs=_differs(mark)))
    return {
        "row_variables": sql.SQL("\n").join(variables),
        "one_row": compose(
            "mark_functions",
            "one_row",
            targets=sql.SQL(", ").join(targets),
            values=sql.SQL(", ").join(values),
            unmarkable=joined([_unmarkable(mark, event) for mark in marks], " or "),
            rows=_ROWS[event],
        )
        if marks
        else sql.SQL("null;"),
        "may_be_unpaired": sql.Literal(event == "update"),
        "row_writes": sql.SQL("\n").join(_writes(marks, event)) if marks else sql.SQL("null;"),
    }


def _unmarkable(mark: MarkTable, event: str) -> sql.Composed:
    found = joined(
        [
            unmarkable(mark, [_value(mark, version, n) for n in range(len(mark.columns))])
            for version in _VERSIONS[event]
        ],
        " or ",
    )
    return sql.SQL("{} and ({})").format(_differs(mark), found) if event == "update" else found


def _value(mark: MarkTable, version: str, number: int) -> sql.Identifier:
    return sql.Identifier(f"v_{version}_{mark.id}_{number}")


def _differs(mark: MarkTable) -> sql.Identifier:
    return sql.Identifier(f"v_differs_{mark.id}")


def _images_differ(mark: MarkTable) -> sql.Composed:
    return compose(
        "mark_functions", "differs", o_image=image("o", mark.matter), n_image=image("n", mark.matter)
    )


def _writes(marks: Sequence[MarkTable], event: str) -> Iterator[sql.Composed]:
    for mark in marks:
        written: list[sql.Composable] = []
        for version in reversed(_VERSIONS[event]):
            mine = [_value(mark, version, n) for n in range(len(mark.columns))]
            conditions: list[sql.Composable] = [
                sql.SQL("{} is not null").format(value)
                for value, column in zip(mine, mark.columns, strict=True)
                if column.name not in mark.strict
            ]
            if event == "update":
                conditions.insert(0, _differs(mark))
            if written:
                # By their images: a type's own "=" may be in a schema that nobody searches here.
                conditions.append(
                    compose(
                        "mark_functions",
                        "differs",
                        o_image=sql.SQL("row({})::record").format(sql.SQL(", ").join(mine)),
                        n_image=sql.SQL("row({})::record").format(sql.SQL(", ").join(written)),
                    )
                )
            written = list(mine)
            yield compose(
                "mark_functions",
                "row_write",
                condition=joined(conditions or [sql.SQL("true")]),
                mark_table=sql.Identifier(f"mark_{mark.id}"),
                columns=names(mark.columns),
                values=sql.SQL(", ").join(mine),
            )
