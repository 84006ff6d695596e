"""Random tables: several schemas, every kind of key, partitions, inheritance children, foreign keys with
their actions, types of the application's own, and names that need quotes.

Whatever a table looks like, four roles of its columns are known: `id`, `x` and `y` (numbers from 1 to 4, or
null, unless the key is a text or a uuid) and `v` (a letter), so that everything can be joined with everything
and nearly everything meets.
"""

from dataclasses import dataclass, field
from random import Random

# Kinds of columns; those of one kind can be compared without a cast.
NUMBER, DECIMAL, TEXT, UUID, MOOD, ARRAY, DOC, PAIR = range(8)

TYPES = """
create schema app;
create schema "Über uns";
create type app.mood as enum ('sad', 'ok', 'happy');
create domain app.small as integer check (value between -99 and 99);
create domain "Über uns"."Wort" as text;
create type app.pair as (n integer, "Größe" text);
"""

_SCHEMAS = ("public", "app", "Über uns")
_TABLES = ("item", "Größe", "two words", "select", "Orders", 'a"b', "größe", "x", "line", "Ünit 2")
_COLUMNS = ("id", "x", "y", "v", "Größe", "two words", "select", "Order", "größe", 'a"b', "group", "n", "Ä")
_NUMBERS = ("integer", "integer", "integer", "bigint", "smallint", "app.small")
_TEXTS = ("text", "text", "varchar(5)", '"Über uns"."Wort"', 'text collate "C"')
_KEYS = ("simple", "simple", "composite", "text", "uuid", "none")
_ACTIONS = (
    "on delete cascade on update cascade",
    "on delete set null on update cascade",
    "on delete cascade",
)


def quoted(name: str) -> str:
    """A name as SQL takes it in any case."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True, slots=True)
class Column:
    """A column by its quoted name."""

    name: str
    kind: int
    type: str
    nullable: bool = True


@dataclass(slots=True)
class Table:
    """One table; `columns` by role, `extra` those that only some have; `unique` is the role of a key of one
    column.
    """

    name: str
    columns: dict[str, Column]
    extra: list[Column]
    unique: list[str]
    shape: str
    schema: str
    # Tables that a statement aimed at this one may change, too.
    cascades: set[str] = field(default_factory=set)
    children: list[str] = field(default_factory=list)
    # Whether it has a unique key that is not checked at once: ON CONFLICT does not work then.
    late: bool = False

    @property
    def all(self) -> list[Column]:
        """Every column."""
        return [*self.columns.values(), *self.extra]


@dataclass(slots=True)
class Schema:
    """The tables of one seed, and the statements that make them."""

    tables: list[Table]
    statements: list[str]

    def touched(self, name: str) -> set[str]:
        """The tables that a statement aimed at this one may change."""
        found, waiting = set(), [name]
        by_name = {table.name: table for table in self.tables}
        while waiting:
            here = waiting.pop()
            if here not in found:
                found.add(here)
                waiting += by_name[here].cascades
        return found


class _Maker:
    def __init__(self, random: Random, *, collation: str | None) -> None:
        self._random = random
        self._texts = (*_TEXTS, f"text collate {collation}") if collation else _TEXTS
        self._tables: list[Table] = []
        self._statements: list[str] = [TYPES]

    def schema(self) -> Schema:
        """Five or six tables: one with each of the commonest keys, the others as they come."""
        keys = ["simple", "simple", "composite", "none", self._random.choice(_KEYS)]
        shapes = ["plain", "plain", "plain", "plain", self._random.choice(("plain", "partitioned"))]
        if self._random.random() < 0.6:
            keys.append(self._random.choice(("text", "uuid", "simple")))
            shapes.append(self._random.choice(("inherited", "plain")))
        names = self._random.sample(_TABLES, len(keys))
        for name, key, shape in zip(names, keys, shapes, strict=True):
            self._table(name, key, shape)
        return Schema(self._tables, self._statements)

    def _column(self, name: str, kind: int, *, nullable: bool = True) -> Column:
        types: dict[int, tuple[str, ...]] = {
            NUMBER: _NUMBERS,
            TEXT: self._texts,
            UUID: ("uuid",),
            DECIMAL: ("numeric",),
            MOOD: ("app.mood",),
            ARRAY: ("integer[]",),
            DOC: ("jsonb",),
            PAIR: ("app.pair",),
        }
        return Column(quoted(name), kind, self._random.choice(types[kind]), nullable)

    def _table(self, name: str, key: str, shape: str) -> None:
        random = self._random
        schema = random.choice(_SCHEMAS)
        names = random.sample(_COLUMNS, 8)
        if random.random() < 0.5:
            names[:4] = ["id", "x", "y", "v"]
            names[4:] = random.sample([n for n in _COLUMNS if n not in names[:4]], 4)
        kind = {"text": TEXT, "uuid": UUID}.get(key, NUMBER)
        moving = shape == "partitioned" or key == "composite"
        columns = {
            "id": self._column(names[0], kind, nullable=key == "none" and shape != "partitioned"),
            "x": self._column(names[1], NUMBER, nullable=not moving),
            "y": self._column(names[2], NUMBER),
            "v": self._column(names[3], TEXT),
        }
        kinds = random.sample((DECIMAL, MOOD, ARRAY, DOC, PAIR), random.choice((1, 2, 2, 3)))
        extra = [self._column(n, k) for n, k in zip(names[4:], kinds, strict=False)]
        table = Table(
            f"{quoted(schema)}.{quoted(name)}", columns, extra, [], shape if shape != "plain" else key, schema
        )
        lines = [f"{c.name} {c.type}{'' if c.nullable else ' not null'}" for c in table.all]
        lines += self._constraints(table, key, shape)
        by = f" partition by list ({columns['x'].name})" if shape == "partitioned" else ""
        self._statements.append(f"create table {table.name} ({', '.join(lines)}){by}")
        if shape == "partitioned":
            self._partitions(table, name)
        elif shape == "inherited":
            child = f"{quoted(schema)}.{quoted(name + ' child')}"
            key_of = f", primary key ({columns['id'].name})"
            self._statements.append(f"create table {child} (z integer{key_of}) inherits ({table.name})")
            table.children.append(child)
        if random.random() < 0.2:
            self._statements.append(f"create index on {table.name} ({columns['y'].name})")
        self._tables.append(table)

    def _constraints(self, table: Table, key: str, shape: str) -> list[str]:
        random, columns = self._random, table.columns
        x, y = columns["x"].name, columns["y"].name
        found = []
        if shape == "partitioned":
            if key == "composite":
                found.append(f"primary key ({columns['id'].name}, {x})")
            return found
        if key == "composite":
            found.append(f"primary key ({columns['id'].name}, {x})")
        elif key != "none":
            found.append(f"primary key ({columns['id'].name})")
            if shape == "plain":
                table.unique.append("id")
        if shape == "plain" and random.random() < 0.25:
            late = random.random() < 0.3
            found.append(f"unique ({x}){' deferrable' if late else ''}")
            table.late = late
            if not late:
                table.unique.append("x")
        targets = [t for t in self._tables if t.shape == "simple" and t.unique]
        if targets and random.random() < 0.6:
            target = random.choice(targets)
            found.append(
                f"foreign key ({y}) references {target.name} ({target.columns['id'].name})"
                f" {random.choice(_ACTIONS)}{random.choice(('', '', ' deferrable initially deferred'))}"
            )
            target.cascades.add(table.name)
        return found

    def _partitions(self, table: Table, name: str) -> None:
        schema = quoted(table.schema)
        first, rest = f"{schema}.{quoted(name + ' 1')}", f"{schema}.{quoted(name + ' rest')}"
        self._statements += [
            f"create table {first} partition of {table.name} for values in (1, 2)",
            f"create table {rest} partition of {table.name} default",
        ]
        table.children += [first, rest]


def make(random: Random, *, collation: str | None = None) -> Schema:
    """The schema of a seed. `collation` is one that takes different strings for equal, if there is one."""
    return _Maker(random, collation=collation).schema()
