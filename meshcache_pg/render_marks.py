"""The mark tables and trigger functions of one source table as SQL text: the writers' side of render.py."""

from collections.abc import Iterator, Sequence

from psycopg import sql

from meshcache_pg.conditions import Column
from meshcache_pg.render import WILDCARD_LIMIT, MarkedSource, MarkTable
from meshcache_pg.sql import compose, text, trusted

_EVENTS = ("insert", "update", "delete")


def function_names(source_id: int) -> list[str]:
    """Trigger functions of a source table, in schema meshcache."""
    return [f"_mark_{source_id}_{event}" for event in (*_EVENTS, "row", "truncate")]


def mark_table(mark_id: int, columns: Sequence[Column]) -> str:
    """The statement that creates one mark table."""
    definitions = [
        sql.SQL("{} {} not null").format(sql.Identifier(c.name), sql.SQL(trusted(c.type))) for c in columns
    ]
    return text(
        compose(
            "mark_table",
            mark_table=sql.Identifier(f"mark_{mark_id}"),
            column_definitions=sql.SQL(", ").join(definitions),
            columns=_names(columns),
        )
    )


def functions(source: MarkedSource) -> Iterator[str]:
    """The trigger functions of one source table."""
    source_id, marks = source.id, source.marks
    views = sql.SQL(", ").join(sql.SQL("(-{})").format(sql.Literal(view_id)) for view_id in source.flush)
    wildcard = [compose("mark_functions", "row_flush", views=views)] if source.flush else []
    for event in _EVENTS:
        bodies = [_statement_mark(source_id, mark, event, source.primary_key) for mark in marks]
        if source.flush:
            rows = sql.Identifier("old_rows" if event == "delete" else "new_rows")
            bodies.append(compose("mark_functions", "flush", rows=rows, views=views))
        yield text(
            compose(
                "mark_functions",
                "function",
                function=sql.Identifier(f"_mark_{source_id}_{event}"),
                body=sql.SQL("\n").join(bodies),
            )
        )
    yield text(
        compose(
            "mark_functions",
            "row_function",
            function=sql.Identifier(f"_mark_{source_id}_row"),
            new_marks=sql.SQL("\n").join([*(_row_mark(mark, "new") for mark in marks), *wildcard]),
            old_marks=sql.SQL("\n").join([*(_row_mark(mark, "old") for mark in marks), *wildcard]),
        )
    )
    yield text(
        compose(
            "mark_functions",
            "truncate_function",
            function=sql.Identifier(f"_mark_{source_id}_truncate"),
            source_id=sql.Literal(source_id),
        )
    )


def _names(columns: Sequence[Column]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(c.name) for c in columns)


def _of(alias: str, columns: Sequence[Column]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(alias, c.name) for c in columns)


def _known(alias: str, columns: Sequence[Column]) -> sql.Composed:
    """A null equals no key, so it needs no mark."""
    return sql.SQL(" and ").join(
        sql.SQL("{} is not null").format(sql.Identifier(alias, c.name)) for c in columns
    )


def _row_mark(mark: MarkTable, row: str) -> sql.Composed:
    return compose(
        "mark_functions",
        "row_mark",
        mark_table=sql.Identifier(f"mark_{mark.id}"),
        columns=_names(mark.columns),
        values=_of(row, mark.columns),
        values_known=_known(row, mark.columns),
    )


def _image(alias: str, matter: Sequence[str] | None) -> sql.Composed:
    """The columns that matter as one record; `row(...)` alone would compare column by column."""
    if matter is None:
        return sql.SQL("{}::record").format(sql.Identifier(alias))
    return sql.SQL("row({})::record").format(sql.SQL(", ").join(sql.Identifier(alias, m) for m in matter))


def _touched(mark: MarkTable, event: str, primary_key: Sequence[str]) -> sql.Composed:
    """The rows of the statement whose marked values count."""
    names = {
        "n_columns": _of("n", mark.columns),
        "o_columns": _of("o", mark.columns),
    }
    if event == "insert":
        return compose("mark_functions", "touched_insert", n_columns=names["n_columns"])
    if event == "delete":
        return compose("mark_functions", "touched_delete", o_columns=names["o_columns"])
    if not primary_key:
        # Old and new versions of a row cannot be told to belong together.
        return compose("mark_functions", "touched_update_all", **names)
    return compose(
        "mark_functions",
        "touched_update_keyed",
        columns=_names(mark.columns),
        same_key=sql.SQL(" and ").join(
            sql.SQL("{} = {}").format(sql.Identifier("n", k), sql.Identifier("o", k)) for k in primary_key
        ),
        o_key=sql.Identifier("o", primary_key[0]),
        n_key=sql.Identifier("n", primary_key[0]),
        o_image=_image("o", mark.matter),
        n_image=_image("n", mark.matter),
        **names,
    )


def _statement_mark(source_id: int, mark: MarkTable, event: str, primary_key: Sequence[str]) -> sql.Composed:
    return compose(
        "mark_functions",
        "statement_mark",
        source_id=sql.Literal(source_id),
        mark_table=sql.Identifier(f"mark_{mark.id}"),
        columns=_names(mark.columns),
        x_columns=_of("x", mark.columns),
        x_known=_known("x", mark.columns),
        t_columns=_of("t", mark.columns),
        touched=_touched(mark, event, primary_key),
        limit=sql.Literal(WILDCARD_LIMIT),
    )
