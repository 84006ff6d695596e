"""Cards: a table by one of its keys, and for each row what is joined to it or computed for it."""

from random import Random

from tests.consistency.generate.relations import BY_VALUE, Relations, Use, order
from tests.consistency.generate.schemas import ARRAY, DOC, PAIR, Column, quoted

_KEYS = ("k", "k", "Größe", "two words", "select")


def key_name(random: Random) -> str:
    """A name for a key, quoted."""
    return quoted(random.choice(_KEYS))


def cards(relations: Relations) -> tuple[str, str]:
    """A table by its primary key, with what belongs to each row."""
    random = relations.random
    tables = [t for t in relations.schema.tables if t.unique or t.shape == "composite"]
    table = random.choice(tables)
    q = relations.use(relations.of(table))
    key = key_name(random)
    column = random.choice(table.unique) if table.unique else "id"
    keys, outputs = [key], [f"{q[column]} as {key}", f"{q['v']} as v"]
    if not table.unique:
        keys.append("kx")
        outputs.append(f"{q['x']} as kx")
    if random.random() < 0.5:
        outputs += [f"{q['x']} as x", f"{q['y']} as y"]
    if q.relation.extra and random.random() < 0.4:
        outputs.append(f"{_text_of(q, random.choice(q.relation.extra))} as extra")
    uses, joins = [q], []
    for number in range(random.randint(1, 3)):
        join, output, use = _beside(relations, random.choice(uses))
        joins.append(join)
        outputs.append(f"{output} as o{number}")
        if use is not None:
            uses.append(use)
    conditions = [f"{q[column]} is not null"] if column == "x" else []
    if random.random() < 0.35:
        conditions.append(relations.filter(random.choice(uses)))
    where = f" where {' and '.join(conditions)}" if conditions else ""
    return ", ".join(keys), f"select {', '.join(outputs)} from {q.text} {' '.join(joins)}{where}"


def _beside(relations: Relations, near: Use) -> tuple[str, str, Use | None]:
    """What is joined to each row of a card, or computed for it: at most one row."""
    random = relations.random
    what = random.randrange(8)
    if what <= 2 and (tables := [t for t in relations.schema.tables if t.unique]):
        table = random.choice(tables)
        use = relations.use(relations.of(table))
        role = random.choice(table.unique)
        same = [r for r in ("x", "y", "id", "v") if near.kind(r) == use.kind(role)]
        if same:
            join = random.choice(("left join", "left join", "join"))
            relations.shapes.add(join)
            if use.relation.text == near.relation.text:
                relations.shapes.add("self join")
            more = random.choice(("", "", f" and {use['y']} > 1", f" and {use['y']} = {near['x']}"))
            on = f"{use[role]} = {near[random.choice(same)]}{more}"
            return f"{join} {use.text} on {on}", use[random.choice(("v", "y"))], use
    if what <= 4:
        relations.shapes.add("lateral")
        inner = relations.use(
            relations.relation(random.choice((0, 1)), correlated=relations.number(near))
            if random.random() < 0.3
            else relations.relation(1)
        )
        alias = relations.alias()
        where = relations.equal(inner, near)
        text = (
            f"left join lateral (select {inner['y']} as y, {inner['v']} as v from {inner.text}"
            f" where {where} order by {order(inner, BY_VALUE)} limit 1) as {alias} on true"
        )
        relations.shapes.add("order by and limit")
        return text, f"{alias}.{random.choice(('y', 'v'))}", None
    relations.shapes.add("correlated sub-query" if what < 7 else "scalar sub-query")
    depth = random.choice((0, 1, 1, 2))
    inner = relations.use(relations.relation(depth))
    where = f" where {relations.equal(inner, near)}" if what < 7 else ""
    if where and random.random() < 0.4:
        where = f" where ({relations.equal(inner, near)} or {inner['y']} = 3)"
    return "", f"(select {aggregate(relations, inner)} from {inner.text}{where})", None


def aggregate(relations: Relations, use: Use) -> str:
    letters = f'{use["v"]}::text collate "C"'
    made = relations.random.choice(
        (
            "count(*)",
            f"sum({use['y']})",
            f"max({letters})",
            f"string_agg({letters}, ',' order by {letters})",
            f"array_agg({use['y']} order by {use['y']})",
            f"count(*) filter (where {use['y']} > 1)",
            f"percentile_disc(0.5) within group (order by {use['y']})",
            f"jsonb_agg({use['y']} order by {use['y']})",
        )
    )
    for part, shape in (("filter", "filter"), ("within", "ordered-set aggregate"), ("array", "array column")):
        if part in made:
            relations.shapes.add(shape)
    return made


def _text_of(use: Use, column: Column) -> str:
    """A text made of a column that only some tables have."""
    name = f"{use.alias}.{column.name}"
    return {
        DOC: f"{name} ->> 'v'",
        PAIR: f"({name}).n",
        ARRAY: f"{name}[1]",
    }.get(column.kind, name)
