"""Random SELECTs and random writes over a few small tables, the same for the same seed.

Every relation that a SELECT is made of has the columns id, x, y (numbers from 1 to 4, or null) and v (a
letter), so that anything can be joined with anything, and nearly everything meets. A SELECT has no order that
the data leaves open, and one row for each key.
"""

from collections.abc import Callable
from random import Random
from typing import LiteralString

TABLES: LiteralString = """
create table a (id integer primary key, x integer, y integer, v text);
create table b (id integer primary key, x integer unique, y integer, v text);
create table c (id integer not null, x integer not null, y integer, v text, primary key (id, x));
create table d (id integer, x integer, y integer, v text);
create table p (id integer not null, x integer not null, y integer, v text) partition by list (x);
create table p_1 partition of p for values in (1, 2);
create table p_2 partition of p default;
create view some_a as select * from a where a.y is distinct from 2;
create view per_x as select max(d.id) as id, d.x, count(*)::integer as y, max(d.v) as v from d group by d.x;
create view pairs as select b.id, a.x, b.y, a.v from b left join a on a.id = b.y;
"""

_TABLES = ("a", "b", "c", "d", "p")
_VIEWS = ("some_a", "per_x", "pairs")
_NUMBERS = ("id", "x", "y")
_UNIQUE = ("a", "b")


class Selects:
    """Makes SELECTs; the seed decides."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._aliases = 0

    def definition(self, name: str) -> str:
        """A definition of a cached view. Few may flush: a flush hides what else is wrong."""
        make = self._random.choice(
            (self._cards, self._cards, self._cards, self._groups, self._groups, self._rest)
        )
        key, select = make()
        coverage = self._random.choice(("complete", "complete", "on_demand"))
        flush = f"-- flush: {', '.join(_TABLES)}\n" if self._random.random() < 0.1 else ""
        return f"-- name: {name}\n-- key: {key}\n-- coverage: {coverage}\n{flush}{select}"

    def _alias(self) -> str:
        self._aliases += 1
        return f"t{self._aliases}"

    def _number(self) -> str:
        return self._random.choice(_NUMBERS)

    def _cards(self) -> tuple[str, str]:
        """A table by its primary key, with what belongs to each row."""
        q = self._alias()
        aliases, joins, outputs = [q], [], [f"{q}.id as k", f"{q}.v as v"]
        if self._random.random() < 0.5:
            outputs.append(f"{q}.x as x")
        for number in range(self._random.randint(1, 3)):
            alias, near = self._alias(), self._random.choice(aliases)
            kind = self._random.randrange(4)
            on = f"{near}.{self._number()}"
            if kind <= 1:
                # At most one row: a join by a unique column, possibly with more conditions.
                table = self._random.choice(_UNIQUE)
                column = "x" if table == "b" and self._random.random() < 0.3 else "id"
                more = self._random.choice(("", "", f" and {alias}.y > 1", f" and {alias}.y = {q}.x"))
                join = self._random.choice(("left join", "left join", "join"))
                joins.append(f"{join} {table} as {alias} on {alias}.{column} = {on}{more}")
                outputs.append(f"{alias}.{self._random.choice(('v', 'y'))} as o{number}")
                aliases.append(alias)
            elif kind == 2:
                joins.append(
                    f"left join lateral (select s.y, s.v from {self._relation(1)} as s"
                    f" where s.{self._number()} = {on} order by s.y, s.v limit 1) as {alias} on true"
                )
                outputs.append(f"{alias}.v as o{number}")
            else:
                value = self._random.choice(
                    ("count(*)", "sum(s.y)", "max(s.v)", "string_agg(s.v, ',' order by s.v)")
                )
                match = self._matches("s", near)
                outputs.append(f"(select {value} from {self._relation(2)} as s where {match}) as o{number}")
        where = f" where {self._filter(self._random.choice(aliases))}" if self._random.random() < 0.4 else ""
        table = self._random.choice((*_UNIQUE, "some_a"))
        return "k", f"select {', '.join(outputs)} from {table} as {q} {' '.join(joins)}{where}"

    def _groups(self) -> tuple[str, str]:
        """Aggregates over joins."""
        first, second = self._alias(), self._alias()
        join = self._random.choice(("join", "left join", "right join", "full join"))
        source = f"{self._relation(2)} as {first}"
        if self._random.random() < 0.8:
            condition = f"{first}.{self._number()} = {second}.{self._number()}"
            if join != "full join" and self._random.random() < 0.3:
                condition += f" and {second}.y > 1"
            source += f" {join} {self._relation(2)} as {second} on {condition}"
        else:
            second = first
        keys = self._random.sample([f"{one}.{n}" for one in {first, second} for n in _NUMBERS], 2)
        keys = keys[: self._random.choice((1, 1, 2))]
        known = " and ".join(f"{key} is not null" for key in keys)
        if self._random.random() < 0.3:
            known += f" and {self._filter(first)}"
        outputs = [f"{key} as k{number}" for number, key in enumerate(keys)]
        outputs += [
            f"count(*) as n, sum({second}.y) as s",
            f"string_agg({first}.v, ',' order by {first}.v) as v",
        ]
        names = ", ".join(f"k{number}" for number in range(len(keys)))
        having = self._random.choice(("", "", " having count(*) > 1"))
        return (
            names,
            f"select {', '.join(outputs)} from {source} where {known} group by {', '.join(keys)}{having}",
        )

    def _rest(self) -> tuple[str, str]:
        """DISTINCT ON, DISTINCT, UNION and CTEs at the top."""
        q, n, other = self._alias(), self._number(), self._number()
        relation = self._relation(2)
        return self._random.choice(
            (
                (
                    "k",
                    f"select distinct on ({q}.{n}) {q}.{n} as k, {q}.y, {q}.v from {relation} as {q}"
                    f" where {q}.{n} is not null order by {q}.{n}, {q}.y, {q}.v",
                ),
                ("k", f"select distinct {q}.{n} as k from {relation} as {q} where {q}.{n} is not null"),
                (
                    "k",
                    f"select {q}.{n} as k from {relation} as {q} where {q}.{n} is not null"
                    f" {self._random.choice(('union', 'intersect', 'except'))}"
                    f" select s.{other} from {self._relation(1)} as s where s.{other} is not null",
                ),
                (
                    "k",
                    f"with w as (select * from {relation} as r) select {q}.{n} as k, count(*) as n,"
                    f" (select count(*) from w as s where s.{self._number()} = {q}.{n}) as o"
                    f" from w as {q} where {q}.{n} is not null group by {q}.{n}",
                ),
            )
        )

    def _matches(self, inner: str, outer: str) -> str:
        condition = f"{inner}.{self._number()} = {outer}.{self._number()}"
        more = self._random.randrange(8)
        if more == 0:
            return f"({condition} or {inner}.y = 3)"
        if more == 1:
            return f"({condition} and {inner}.y = 3 or {condition} and {inner}.v = 'a')"
        return f"{condition} and {self._filter(inner, 1)}" if more == 2 else condition

    def _filter(self, alias: str, depth: int = 2) -> str:
        """A condition on rows of one relation."""
        n, s = self._number(), self._alias()
        relation = self._relation(depth - 1)
        inner = f"select {s}.{self._number()} from {relation} as {s}"
        match = f"{s}.{self._number()} = {alias}.{n}"
        return self._random.choice(
            (
                f"{alias}.{n} > 1",
                f"{alias}.{n} in ({inner})",
                f"{alias}.{n} in ({inner} where {s}.y = {alias}.x)",
                f"{alias}.{n} not in ({inner} where {s}.y is not null)",
                f"exists (select from {relation} as {s} where {match})",
                f"not exists (select from {relation} as {s} where {match})",
                f"({alias}.{n} in ({inner}) or {alias}.y = 1)",
            )
        )

    def _relation(self, depth: int) -> str:
        """Something in FROM with the columns id, x, y and v; its alias follows."""
        if depth <= 0 or self._random.random() < 0.4:
            return self._random.choice((*_TABLES, *_TABLES, *_VIEWS))
        q, r, n = self._alias(), self._alias(), self._number()
        columns = f"{q}.id, {q}.x, {q}.y, {q}.v"
        make: Callable[[], str] = self._random.choice(
            (
                lambda: (
                    f"(select {columns} from {self._relation(depth - 1)} as {q}"
                    f" where {self._filter(q, depth - 1)})"
                ),
                lambda: (
                    f"(select max({q}.id) as id, {q}.x, sum({q}.y)::integer as y, max({q}.v) as v"
                    f" from {self._relation(depth - 1)} as {q} group by {q}.x)"
                ),
                lambda: (
                    f"(select distinct on ({q}.{n}) {columns} from {self._relation(depth - 1)} as {q}"
                    f" order by {q}.{n}, 1, 2, 3, 4)"
                ),
                lambda: (
                    f"(select {q}.id, {q}.x, rank() over (partition by {q}.{n} order by {q}.y)::integer as y,"
                    f" {q}.v from {self._relation(depth - 1)} as {q})"
                ),
                lambda: (
                    f"(select {columns} from {self._relation(depth - 1)} as {q} order by 1, 2, 3, 4 limit 3)"
                ),
                lambda: (
                    f"(select {columns} from {self._relation(depth - 1)} as {q}"
                    f" {self._random.choice(('union', 'union all', 'except', 'intersect'))}"
                    f" select {r}.y, {r}.x, {r}.id, {r}.v from {self._relation(depth - 1)} as {r})"
                ),
                lambda: (
                    f"(select {q}.id, {r}.x, {q}.y, {r}.v from {self._relation(depth - 1)} as {q}"
                    f" {self._random.choice(('join', 'left join', 'right join', 'full join'))}"
                    f" {self._relation(depth - 1)} as {r} on {q}.{n} = {r}.{self._number()})"
                ),
                lambda: (
                    f"(select {n}, {q}.{'x' if n == 'id' else 'id'} as {'x' if n == 'id' else 'id'},"
                    f" {r}.{'y' if n != 'y' else 'x'} as {'y' if n != 'y' else 'x'}, {r}.v"
                    f" from {self._relation(depth - 1)} as {q}"
                    f" full join {self._relation(depth - 1)} as {r} using ({n}))"
                ),
            )
        )
        return make()


def insert(random: Random) -> str:
    """A row for one table, if there is room for it."""
    table = random.choice(_TABLES)
    values = (
        f"{random.randint(1, 4)}, {_value(random, table)}, {random.choice('1234')}, '{random.choice('abc')}'"
    )
    return f"insert into {table} values ({values}) on conflict do nothing"


def _value(random: Random, table: str) -> str:
    return random.choice(("1", "2", "3", "4") if table in ("c", "p") else ("1", "2", "3", "4", "null"))


def write(random: Random) -> str:
    """A statement that changes one table."""
    table = random.choice(_TABLES)
    column, where = random.choice(_NUMBERS), f"{random.choice(_NUMBERS)} = {random.randint(1, 4)}"
    value = str(random.randint(1, 4)) if column == "id" else _value(random, table)
    what = random.randrange(24)
    if what < 10:
        return insert(random)
    if what < 19:
        return f"update {table} set {column} = {value} where {where}"
    if what == 19:
        return f"update {table} set v = '{random.choice('abc')}' where {where}"
    if what < 23:
        return f"delete from {table} where {where}"
    return random.choice((f"truncate {table}", f"update {table} set y = y % 4 + 1", f"delete from {table}"))
