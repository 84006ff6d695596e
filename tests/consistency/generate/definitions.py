"""Random definitions of cached views: a key, one row for each of its values, and around it whatever
relations.py makes.
"""

from dataclasses import dataclass
from random import Random

from tests.consistency.generate.cards import aggregate, cards, key_name
from tests.consistency.generate.queries import MAKERS
from tests.consistency.generate.relations import BY_VALUE, Relation, Relations, order
from tests.consistency.generate.schemas import ARRAY, DOC, Column, Schema, Table, quoted


@dataclass(frozen=True, slots=True)
class Made:
    """A definition, with the tables that it reads and the shapes that it has."""

    name: str
    text: str
    tables: frozenset[str]
    shapes: frozenset[str]
    complete: bool


class Definitions:
    """Makes definitions and views over one schema; the seed decides."""

    def __init__(self, random: Random, schema: Schema) -> None:
        self._random = random
        self._schema = schema
        self.views: list[Relation] = []
        self._relations = Relations(random, schema, self.views, MAKERS)

    def view(self, name: str, *, invoker: bool) -> tuple[str, Relation]:
        """A view, of the server from whose rights it is read by (`invoker` asks for those of the reader)."""
        self._relations = Relations(self._random, self._schema, self.views, MAKERS)
        made = self._relations.relation(2)
        while not made.text.startswith("("):
            made = self._relations.relation(2)
        rights = " with (security_invoker)" if invoker else ""
        text = f"create view {name}{rights} as {made.text[1:-1]}"
        return text, Relation(name, made.columns, tables=frozenset(self._relations.tables))

    def make(self, name: str, *, flush: bool) -> Made:
        """A definition of a cached view; with `flush`, any change of a table may make every row stale."""
        self._relations = relations = Relations(self._random, self._schema, self.views, MAKERS)
        tops = (
            [self._card] * 6
            + [self._groups] * 4
            + [self._chain] * 4
            + [self._distinct_on, self._distinct, self._combined, self._twice, self._elements]
            + [self._expression, self._parts, self._recursive]
        )
        key, select = self._random.choice(tops)()
        coverage = self._random.choice(("complete", "complete", "on_demand"))
        tables = ", ".join(t.name for t in self._schema.tables)
        head = f"-- name: {name}\n-- key: {key}\n-- coverage: {coverage}\n"
        head += f"-- flush: {tables}\n" if flush else ""
        if any(ord(c) > 127 for c in select):
            relations.shapes.add("non-ASCII identifiers")
        if '"' in select:
            relations.shapes.add("quoted identifiers")
        return Made(
            name,
            head + select,
            frozenset(relations.tables),
            frozenset(relations.shapes),
            coverage == "complete",
        )

    def _depth(self) -> int:
        return self._random.choice((0, 0, 1, 1, 2))

    def _card(self) -> tuple[str, str]:
        return cards(self._relations)

    def _groups(self) -> tuple[str, str]:
        """Aggregates over joins."""
        random, relations = self._random, self._relations
        relations.shapes.add("group by")
        first = relations.use(relations.relation(self._depth()))
        second, source = first, first.text
        if random.random() < 0.8:
            second = relations.use(relations.relation(self._depth()))
            join = random.choice(("join", "left join", "right join", "full join"))
            relations.shapes.add(join)
            if first.relation.text == second.relation.text:
                relations.shapes.add("self join")
            n, m = relations.number(first), relations.number(second)
            on = f"{n} = {m}" if join == "full join" else relations.equal(first, second)
            if join != "full join" and random.random() < 0.3:
                on += f" and {second['y']} > 1"
            source = f"{first.text} {join} {second.text} on {on}"
            if join == "join" and random.random() < 0.3:
                source = f"{first.text}, {second.text}"
                on = f" and {on}"
            else:
                on = ""
        else:
            on = ""
        keys = list(dict.fromkeys(use[r] for use in (first, second) for r in relations.numbers(use)))
        keys = random.sample(keys, random.choice((1, 1, 2)))
        names = [quoted(n) for n in random.sample(("k", "Größe", "two words", "select"), len(keys))]
        known = " and ".join(f"{key} is not null" for key in keys) + on
        if random.random() < 0.3:
            known += f" and {relations.filter(first)}"
        outputs = [f"{key} as {name}" for key, name in zip(keys, names, strict=True)]
        outputs += [f"{aggregate(relations, first)} as n", f"{aggregate(relations, second)} as s"]
        having = ""
        if random.random() < 0.3:
            relations.shapes.add("having")
            having = " having count(*) > 1"
        group = f" group by {', '.join(keys)}{having}"
        return ", ".join(names), f"select {', '.join(outputs)} from {source} where {known}{group}"

    def _chain(self) -> tuple[str, str]:
        """What hangs under something that hangs under the key: by joins, or by conditions in sub-queries."""
        random, relations = self._random, self._relations
        tables = [t for t in self._schema.tables if "id" in t.unique]
        q = relations.use(relations.of(random.choice(tables)))
        one, two = (relations.use(relations.relation(random.choice((0, 0, 0, 1)))) for _ in range(2))
        key, found = key_name(self._random), aggregate(relations, two)
        first, second = relations.equal(one, q), relations.equal(two, one)
        what = random.randrange(3)
        if what == 0:
            relations.shapes.update(("group by", "left join"))
            third = f" left join {two.text} on {second}"
            return key, (
                f"select {q['id']} as {key}, {found} as n from {q.text}"
                f" left join {one.text} on {first}{third} group by {q['id']}"
            )
        relations.shapes.update(("correlated sub-query", "exists" if what == 1 else "in"))
        inside = (
            f"exists (select from {one.text} where {second} and {first})"
            if what == 1
            else f"{two[random.choice(relations.numbers(two))]} in"
            f" (select {relations.number(one)} from {one.text} where {first})"
        )
        return (
            key,
            f"select {q['id']} as {key}, (select {found} from {two.text} where {inside}) as n from {q.text}",
        )

    def _distinct_on(self) -> tuple[str, str]:
        """The first row of each key, of one relation or of two that are joined."""
        relations, random = self._relations, self._random
        relations.shapes.add("distinct on")
        q = relations.use(relations.relation(self._depth()))
        n, key = relations.number(q), key_name(random)
        source, by, last = q.text, order(q, BY_VALUE), q["v"]
        if random.random() < 0.5:
            other = relations.use(relations.relation(random.choice((0, 0, 1))))
            join = random.choice(("join", "left join"))
            relations.shapes.add(join)
            source += f" {join} {other.text} on {relations.equal(other, q)}"
            by, last = f"{order(other, BY_VALUE)}, {by}", other["v"]
        return key, (
            f"select distinct on ({n}) {n} as {key}, {q['y']} as y1, {last} as v1 from {source}"
            f" where {n} is not null order by {n}, {by}"
        )

    def _distinct(self) -> tuple[str, str]:
        q = self._relations.use(self._relations.relation(self._depth()))
        n, key = self._relations.number(q), key_name(self._random)
        return key, f"select distinct {n} as {key} from {q.text} where {n} is not null"

    def _combined(self) -> tuple[str, str]:
        relations = self._relations
        one, other = (relations.use(relations.relation(self._depth())) for _ in range(2))
        n, m, key = relations.number(one), relations.number(other), key_name(self._random)
        what = self._random.choice(("union", "intersect", "except"))
        relations.shapes.add(what)
        return key, (
            f"select {n} as {key} from {one.text} where {n} is not null"
            f" {what} select {m} from {other.text} where {m} is not null"
        )

    def _twice(self) -> tuple[str, str]:
        """A CTE that is read twice, or more often."""
        relations, key = self._relations, key_name(self._random)
        relations.shapes.add("a CTE used twice")
        body = relations.relation(self._depth())
        text = f"select * from {body.text} as b"
        cte = Relation("w", body.columns)
        relations.ctes.append(cte)
        q, s = relations.use(cte), relations.use(cte)
        n, m = relations.number(q), relations.number(s)
        where = f"{n} is not null" + (f" and {relations.filter(q)}" if self._random.random() < 0.3 else "")
        materialized = self._random.choice(("", "", "materialized ", "not materialized "))
        return key, (
            f"with w as {materialized}({text}) select {n} as {key}, count(*) as n,"
            f" (select {aggregate(relations, s)} from {s.text} where {m} = {n}) as o"
            f" from {q.text} where {where} group by {n}"
        )

    def _elements(self) -> tuple[str, str]:
        """A row for each element of an array or a document."""
        relations, random = self._relations, self._random
        tables = [t for t in self._schema.tables if t.unique and _plural(t)]
        if not tables:
            return self._card()
        relations.shapes.add("set-returning function over a column")
        table = random.choice(tables)
        q = relations.use(relations.of(table))
        column = random.choice(_plural(table))
        other = relations.use(relations.relation(1))
        if column.kind == ARRAY:
            relations.shapes.add("array column")
        name, key, e = f"{q.alias}.{column.name}", key_name(self._random), relations.alias()
        call, value = (
            (f"unnest({name})", f"{e}.e")
            if column.kind == ARRAY
            else (f"jsonb_array_elements({name} -> 'of')", f"({e}.e)::integer")
        )
        by = ", ".join((q[table.unique[0]], value))
        return f"{key}, e", (
            f"select {q[table.unique[0]]} as {key}, {value} as e, {aggregate(relations, other)} as o"
            f" from {q.text} cross join lateral {call} as {e} (e)"
            f" left join {other.text} on {relations.number(other)} = {value}"
            f" where {q[table.unique[0]]} is not null and {value} is not null group by {by}"
        )

    def _expression(self) -> tuple[str, str]:
        """A key that is an expression."""
        relations = self._relations
        relations.shapes.add("expression as key")
        q = relations.use(relations.relation(1))
        key = key_name(self._random)
        n = f"{relations.number(q)} % 2"
        return key, (
            f"select {n} as {key}, {aggregate(relations, q)} as n from {q.text}"
            f" where {n} is not null group by {n}"
        )

    def _parts(self) -> tuple[str, str]:
        """Window functions and LIMIT above all."""
        relations, random = self._relations, self._random
        tables = [t for t in self._schema.tables if "id" in t.unique]
        q = relations.use(relations.of(random.choice(tables)))
        key, n = key_name(self._random), relations.number(q)
        if random.random() < 0.5:
            relations.shapes.add("order by and limit")
            by = order(q, BY_VALUE)
            return key, f"select {q['id']} as {key}, {q['v']} as v from {q.text} order by {by} limit 2"
        relations.shapes.add("window")
        by = random.choice((q["id"], n, n))
        return key, (
            f"select {q['id']} as {key}, count(*) over (partition by {by}) as n,"
            f" sum({q['y']}) over (partition by {by} order by {order(q, BY_VALUE)}) as s from {q.text}"
        )

    def _recursive(self) -> tuple[str, str]:
        relations = self._relations
        relations.shapes.add("recursive CTE")
        one, other = (relations.use(relations.plain()) for _ in range(2))
        key = key_name(self._random)
        n, a, b = relations.number(one), relations.number(other), relations.number(other)
        return key, (
            f"with recursive r (n) as (select {n}::integer from {one.text} union"
            f" select {b}::integer from r join {other.text} on {a} = r.n)"
            f" select r.n as {key}, (select count(*) from {one.text} where {n} = r.n) as c"
            f" from r where r.n is not null"
        )


def _plural(table: Table) -> list[Column]:
    return [c for c in table.extra if c.kind in (ARRAY, DOC)]
