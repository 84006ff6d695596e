"""Random writes: everything that changes rows, aimed at few values, so that most of them meet something."""

from random import Random

from tests.consistency.generate.schemas import (
    ARRAY,
    DECIMAL,
    DOC,
    MOOD,
    NUMBER,
    PAIR,
    TEXT,
    UUID,
    Column,
    Schema,
    Table,
)

# Few, so that rows meet; more than any LIMIT lets through.
_WIDE = 4


def value(random: Random, column: Column) -> str:
    """A value for a column; null now and then where it may be."""
    if column.nullable and random.random() < 0.15:
        return "null"
    number = random.randint(1, _WIDE)
    letter = random.choice("abAc")
    return {
        NUMBER: str(number),
        TEXT: f"'{letter}'",
        UUID: f"'00000000-0000-0000-0000-00000000000{number}'",
        DECIMAL: random.choice((f"{number}", f"{number}.0", f"{number}.4")),
        MOOD: f"'{random.choice(('sad', 'ok', 'happy'))}'",
        ARRAY: random.choice(("'{}'", f"array[{number}]", f"array[{number}, {number % _WIDE + 1}]")),
        DOC: f'\'{{"n": {number}, "v": "{letter}", "of": [{number}, {number % 2 + 1}]}}\'',
        PAIR: f"row({number}, '{letter}')::app.pair",
    }[column.kind]


def insert(random: Random, table: Table, into: str | None = None) -> str:
    """A row, if there is room for it."""
    names = ", ".join(c.name for c in table.all)
    rows = ", ".join(
        f"({', '.join(value(random, c) for c in table.all)})" for _ in range(random.choice((1, 1, 1, 2)))
    )
    conflict = "" if table.late else " on conflict do nothing"
    return f"insert into {into or table.name} ({names}) values {rows}{conflict}"


def _where(random: Random, table: Table) -> str:
    columns = random.sample([table.columns[role] for role in ("id", "x", "y", "v")], random.choice((1, 1, 2)))
    return " and ".join(
        f"{c.name} = {value(random, Column(c.name, c.kind, c.type, nullable=False))}" for c in columns
    )


def _update(random: Random, table: Table) -> str:
    columns = random.sample(table.all, random.choice((1, 1, 1, 2)))
    sets = ", ".join(f"{c.name} = {value(random, c)}" for c in columns)
    return f"update {table.name} set {sets} where {_where(random, table)}"


def _merge(random: Random, table: Table) -> str:
    c = table.columns
    return (
        f"merge into {table.name} as t using (values ({value(random, c['x'])}::integer)) as s (n)"
        f" on t.{c['x'].name} = s.n and t.{_where(random, table)}"
        f" when matched and t.{c['y'].name} = 1 then delete"
        f" when matched then update set {c['y'].name} = {value(random, c['y'])}"
    )


def _conflict(random: Random, table: Table) -> str:
    """INSERT … ON CONFLICT DO UPDATE by the primary key, if there is one of one column."""
    if "id" not in table.unique or table.late:
        return _update(random, table)
    names = ", ".join(c.name for c in table.all)
    values = ", ".join(value(random, c) for c in table.all)
    y, v = table.columns["y"].name, table.columns["v"].name
    return (
        f"insert into {table.name} ({names}) values ({values}) on conflict ({table.columns['id'].name})"
        f" do update set {y} = excluded.{y}, {v} = excluded.{v}"
    )


def _move(random: Random, schema: Schema, table: Table) -> str:
    """Rows of one table that become rows of another, in one statement."""
    other = random.choice(schema.tables)
    x, y = other.columns["x"].name, other.columns["y"].name
    mine = table.columns
    return (
        f"with gone as (delete from {table.name} where {_where(random, table)} returning {mine['y'].name})"
        f" update {other.name} set {y} = {value(random, other.columns['y'])}"
        f" where {x} in (select g.{mine['y'].name} from gone as g)"
    )


def write(random: Random, schema: Schema, table: Table) -> tuple[str, set[str]]:
    """A statement that changes a table, and the tables that it may change."""
    what = random.randrange(40)
    touched = schema.touched(table.name)
    if what < 12:
        into = random.choice(table.children) if table.children and random.random() < 0.4 else None
        return insert(random, table, into), touched
    if what < 27:
        return _update(random, table), touched
    if what < 32:
        return f"delete from {table.name} where {_where(random, table)}", touched
    if what < 34:
        return _merge(random, table), touched
    if what < 36:
        return _conflict(random, table), touched
    if what < 38:
        return _move(random, schema, table), {t.name for t in schema.tables}
    y = table.columns["y"].name
    return (
        random.choice(
            (
                f"truncate {table.name} cascade",
                f"update {table.name} set {y} = {y} % {_WIDE} + 1",
                f"delete from {table.name}",
            )
        ),
        touched,
    )
