"""Random things to select from: tables, views, and sub-queries of every shape, nested in each other.

A Relation is text for FROM and its columns by role. Sub-queries give their columns the names id, x, y and v
or quoted ones, and their order is never one that the data leaves open.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from tests.consistency.generate.schemas import (
    ARRAY,
    DECIMAL,
    MOOD,
    NUMBER,
    PAIR,
    TEXT,
    Column,
    Schema,
    Table,
    quoted,
)

ROLES = ("id", "x", "y", "v")
BY_VALUE = ("y", "v", "x", "id")


@dataclass(frozen=True, slots=True)
class Relation:
    """Something to select from. `tables` are the names of those that it reads."""

    text: str
    columns: Mapping[str, Column]
    extra: tuple[Column, ...] = ()
    unique: tuple[str, ...] = ()
    tables: frozenset[str] = frozenset()


@dataclass(slots=True)
class Use:
    """A relation under an alias."""

    alias: str
    relation: Relation

    def __getitem__(self, role: str) -> str:
        return f"{self.alias}.{self.relation.columns[role].name}"

    def kind(self, role: str) -> int:
        """The kind of a role's column."""
        return self.relation.columns[role].kind

    @property
    def text(self) -> str:
        """As it stands in FROM."""
        return f"{self.relation.text} as {self.alias}"


@dataclass
class Relations:
    """Makes relations, and notes which shapes and tables they have."""

    random: Random
    schema: Schema
    views: list[Relation]
    # What makes sub-queries: of these, as deep as this, correlated with this number from outside.
    makers: "Sequence[Callable[[Relations, int, str], Relation]]"
    shapes: set[str] = field(default_factory=set)
    tables: set[str] = field(default_factory=set)
    # Names of CTEs that may be read here.
    ctes: list[Relation] = field(default_factory=list)
    _aliases: int = 0

    def alias(self) -> str:
        """A new alias; one in four needs quotes."""
        self._aliases += 1
        return self.random.choice((f"t{self._aliases}",) * 3 + (quoted(f"Ä {self._aliases}"),))

    def use(self, relation: Relation) -> Use:
        """A relation in FROM."""
        return Use(self.alias(), relation)

    def of(self, table: Table) -> Relation:
        """A table; one that has children may be read without them."""
        if table.name in self.tables:
            self.shapes.add("the same table several times")
        schemas = {t.split(".")[0] for t in (*self.tables, table.name)}
        if len(schemas) > 1:
            self.shapes.add("tables in several schemas")
        if table.children:
            self.shapes.add("inheritance" if table.shape == "inherited" else "partitions")
        self.tables.add(table.name)
        only = table.shape == "inherited" and self.random.random() < 0.2
        return Relation(
            f"only {table.name}" if only else table.name,
            table.columns,
            tuple(table.extra),
            tuple(table.unique),
        )

    def plain(self) -> Relation:
        """A table, a view or a CTE."""
        chance = self.random.random()
        if self.ctes and chance < 0.3:
            return self.random.choice(self.ctes)
        if self.views and chance < 0.45:
            self.shapes.add("view")
            view = self.random.choice(self.views)
            self.tables |= view.tables
            return view
        return self.of(self.random.choice(self.schema.tables))

    def numbers(self, use: Use) -> list[str]:
        """The roles of a relation's numbers."""
        return [role for role in ("id", "x", "y") if use.kind(role) == NUMBER]

    def number(self, use: Use) -> str:
        """A column that is a number."""
        return use[self.random.choice(self.numbers(use))]

    def equal(self, one: Use, other: Use) -> str:
        """A condition that columns of both are equal; now and then through a cast, or by two columns."""
        random = self.random
        pairs = [(a, b) for a in ROLES for b in ROLES if one.kind(a) == other.kind(b)]
        numbers = [(a, b) for a, b in pairs if one.kind(a) == NUMBER]
        a, b = random.choice(numbers if random.random() < 0.8 else pairs)
        chance = random.random()
        decimal = [c for c in other.relation.extra if c.kind == DECIMAL]
        if chance < 0.12:
            self.shapes.add("cast")
            if decimal and random.random() < 0.7:
                return (
                    f"{one[a if one.kind(a) == NUMBER else 'x']} = {other.alias}.{decimal[0].name}::integer"
                )
            return f"left({one[a]}::text, 1) = {other[b]}::text"
        if chance < 0.17 and one.kind(a) == NUMBER:
            return f"{one[a]} = {other[b]} + 0"
        if chance < 0.22 and one.kind(a) == TEXT:
            return f'{one[a]} collate "C" = {other[b]} collate "C"'
        if chance < 0.3:
            self.shapes.add("two columns compared")
            return f"({one[a]}, {one['v']}::text) = ({other[b]}, {other['v']}::text)"
        return f"{one[a]} = {other[b]}"

    def filter(self, use: Use, depth: int = 1) -> str:
        """A condition on rows of one relation."""
        random, n = self.random, self.number(use)
        what = random.randrange(10)
        if what <= 1:
            return f"{n} > 1"
        if what == 2:
            moods = [c for c in use.relation.extra if c.kind == MOOD]
            return f"{use.alias}.{moods[0].name} > 'sad'" if moods else f"{use['v']} = 'a'"
        if what == 3:
            pairs = [c for c in use.relation.extra if c.kind == PAIR]
            if pairs:
                self.shapes.add("composite column")
                return f"({use.alias}.{pairs[0].name}).n = {n}"
            arrays = [c for c in use.relation.extra if c.kind == ARRAY]
            if arrays:
                self.shapes.add("array column")
                return f"{n} = any({use.alias}.{arrays[0].name})"
        inner = self.use(self.relation(depth - 1))
        match = self.equal(inner, use)
        number = self.number(inner)
        if what <= 5:
            self.shapes.add("in")
            where = random.choice(("", "", f" where {inner['y']} = {use['x']}", f" where {match}"))
            condition = f"{n} in (select {number} from {inner.text}{where})"
        elif what == 6:
            self.shapes.add("not in")
            return f"{n} not in (select {number} from {inner.text} where {number} is not null)"
        elif what <= 8:
            self.shapes.add("exists")
            condition = f"exists (select from {inner.text} where {match})"
        else:
            self.shapes.add("not exists")
            return f"not exists (select from {inner.text} where {match})"
        return f"({condition} or {use['y']} = 1)" if random.random() < 0.25 else condition

    def relation(self, depth: int, *, correlated: str = "") -> Relation:
        """A table or a view or, as deep as this, a sub-query. `correlated` is a number from outside, for a
        condition on an inner column.
        """
        if depth <= 0 or (not correlated and self.random.random() < 0.35):
            return self.plain()
        return self.random.choice(self.makers)(self, depth, correlated)


def letters(use: Use) -> str:
    """The last of a group's letters; of two that a collation takes for equal, always the same one."""
    return f'max({use["v"]}::text collate "C")'


def order(use: Use, roles: Sequence[str] = ROLES) -> str:
    """An order that leaves nothing open."""
    return ", ".join(f'{use[r]}::text collate "C"' if use.kind(r) == TEXT else use[r] for r in roles)
