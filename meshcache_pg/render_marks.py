"""The mark tables and trigger functions of one source table as SQL text: the writers' side of render.py."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

from psycopg import sql

from meshcache_pg.conditions import Column, pairs
from meshcache_pg.marked import (
    MarkedSource,
    MarkTable,
    as_declared,
    identifiers,
    known,
    names,
    of,
    rows_differ,
    unmarkable,
)
from meshcache_pg.render_rows import one_row
from meshcache_pg.sql import compose, text, trusted

# More distinct values than this in one statement become one wildcard mark: a bulk load then costs its
# writer one row, and what it makes stale is so much that resolving it key by key would not pay.
WILDCARD_LIMIT = 1000

_EVENTS = ("insert", "update", "delete")


def function_names(source_id: int) -> list[str]:
    """Trigger functions of a source table, in schema meshcache."""
    return [f"_mark_{source_id}_{event}" for event in (*_EVENTS, "row", "truncate")]


def mark_table(mark_id: int, columns: Sequence[Column]) -> Iterator[str]:
    """The statements that create one mark table. Its values compare as the source column's do."""
    definitions = []
    for column in columns:
        collation = sql.SQL(trusted(f" collate {column.collation}" if column.collation else ""))
        definitions.append(
            sql.SQL("{} {}{}").format(sql.Identifier(column.name), sql.SQL(trusted(column.type)), collation)
        )
    name = sql.Identifier(f"mark_{mark_id}")
    yield text(
        compose("mark_table", "table", mark_table=name, column_definitions=sql.SQL(", ").join(definitions))
    )
    yield text(compose("mark_table", "index", mark_table=name, columns=names(columns)))


@lru_cache(maxsize=256)
def functions(source: MarkedSource) -> Sequence[str]:
    """The trigger functions of one source table, in the order of `function_names`.

    Every apply compares those of all source tables with what is there, and most are as they were.
    """
    return tuple(_functions(source))


def _functions(source: MarkedSource) -> Iterator[str]:
    views = sql.SQL(", ").join(sql.SQL("(-{})").format(sql.Literal(view_id)) for view_id in source.flush)
    wildcard = compose("mark_functions", "wildcard", source_id=sql.Literal(source.id))
    common = {
        "wildcard": wildcard,
        "variables": sql.SQL("\n").join(
            _variable(mark, number) for mark in source.marks for number in _numbers(mark)
        ),
        "writes": _lines(_write(mark) for mark in source.marks),
    }
    for event in _EVENTS:
        rows = sql.Identifier("old_rows" if event == "delete" else "new_rows")
        yield text(
            compose(
                "mark_functions",
                "function",
                function=sql.Identifier(f"_mark_{source.id}_{event}"),
                reads=_lines(_read(mark, event, source.primary_key) for mark in source.marks),
                **one_row(source.marks, event),
                flush=compose("mark_functions", "flush", rows=rows, views=views)
                if source.flush
                else sql.SQL(""),
                **common,
            )
        )
    yield text(
        compose(
            "mark_functions",
            "row_function",
            function=sql.Identifier(f"_mark_{source.id}_row"),
            new_reads=_lines(_row_read(mark, "new") for mark in source.marks),
            old_reads=_lines(_row_read(mark, "old") for mark in source.marks),
            flush=compose("mark_functions", "row_flush", views=views) if source.flush else sql.SQL(""),
            **common,
        )
    )
    yield text(
        compose(
            "mark_functions",
            "truncate_function",
            function=sql.Identifier(f"_mark_{source.id}_truncate"),
            wildcard=wildcard,
        )
    )


def _lines(parts: Iterator[sql.Composed]) -> sql.Composed:
    """Statements below each other; `null;` where there are none, for a block must not be empty."""
    found = list(parts)
    return sql.SQL("\n").join(found) if found else sql.Composed([sql.SQL("null;")])


def _numbers(mark: MarkTable) -> range:
    return range(len(mark.columns))


def _array(mark: MarkTable, number: int) -> sql.Identifier:
    """The variable that collects the values of one marked column."""
    return sql.Identifier(f"v_{mark.id}_{number}")


def _arrays(mark: MarkTable) -> sql.Composed:
    return sql.SQL(", ").join(_array(mark, n) for n in _numbers(mark))


def _variable(mark: MarkTable, number: int) -> sql.Composed:
    type_ = sql.SQL(trusted(mark.columns[number].type))
    return compose("mark_functions", "variable", array=_array(mark, number), type=type_)


def _write(mark: MarkTable) -> sql.Composed:
    return compose(
        "mark_functions",
        "write",
        mark_table=sql.Identifier(f"mark_{mark.id}"),
        columns=names(mark.columns),
        u_columns=of("u", mark.columns),
        u_known=known("u", mark.columns),
        arrays=_arrays(mark),
    )


def _row_read(mark: MarkTable, row: str) -> sql.Composed:
    reads = [
        compose(
            "mark_functions",
            "row_read",
            array=_array(mark, n),
            value=sql.Identifier(row, mark.columns[n].name),
        )
        for n in _numbers(mark)
    ]
    reads.append(
        compose(
            "mark_functions",
            "row_unmarkable",
            unmarkable=unmarkable(mark, identifiers(row, mark.columns)),
            as_declared=as_declared([replace(mark, matter=None)], row),
        )
    )
    return _lines(iter(reads))


def _touched(mark: MarkTable, event: str, primary_key: Sequence[Column]) -> sql.Composed:
    """The rows of the statement whose marked values count."""
    both = {"n_columns": of("n", mark.columns), "o_columns": of("o", mark.columns)}
    if event == "insert":
        return compose("mark_functions", "touched_insert", n_columns=both["n_columns"])
    if event == "delete":
        return compose("mark_functions", "touched_delete", o_columns=both["o_columns"])
    if not primary_key:
        # Old and new versions of a row cannot be told to belong together.
        return compose("mark_functions", "touched_update_all", **both)
    first = primary_key[0].name
    return compose(
        "mark_functions",
        "touched_update_keyed",
        columns=names(mark.columns),
        p_columns=of("p", mark.columns),
        same_key=pairs(lambda n: sql.Identifier("n", n), lambda n: sql.Identifier("o", n), primary_key),
        o_key=sql.Identifier("o", first),
        n_key=sql.Identifier("n", first),
        differ=rows_differ(mark.matter),
        **both,
    )


def _read(mark: MarkTable, event: str, primary_key: Sequence[Column]) -> sql.Composed:
    aggregates = [sql.SQL("array_agg({})").format(sql.Identifier("t", c.name)) for c in mark.columns]
    return compose(
        "mark_functions",
        "read",
        aggregates=sql.SQL(", ").join(aggregates),
        arrays=_arrays(mark),
        unmarkable=unmarkable(mark, identifiers("t", mark.columns)),
        x_columns=of("x", mark.columns),
        x_known=known("x", mark.columns, mark.strict),
        touched=_touched(mark, event, primary_key),
        limit=sql.Literal(WILDCARD_LIMIT),
    )
