"""The sub-queries that relations.py nests: each makes one around a relation that is less deep."""

from collections.abc import Callable, Mapping
from typing import Final

from tests.consistency.generate.relations import ROLES, Relation, Relations, Use, letters, order
from tests.consistency.generate.schemas import ARRAY, DOC, NUMBER, Column, quoted

_NAMES = (("id", "x", "y", "v"), ("id", "x", "y", "v"), ("Größe", "two words", "select", "ß"))


def _query(made: Relations, outputs: Mapping[str, str], kinds: Mapping[str, int], rest: str) -> Relation:
    """A sub-query with names for what it returns."""
    names = dict(zip(ROLES, made.random.choice(_NAMES), strict=True))
    listed = ", ".join(f"{outputs[role]} as {quoted(names[role])}" for role in ROLES)
    columns = {role: Column(quoted(names[role]), kinds[role], "") for role in ROLES}
    return Relation(f"(select {listed} {rest})", columns)


def _start(made: Relations, depth: int, correlated: str) -> tuple[Use, dict[str, str], dict[str, int], str]:
    """Something below, its columns and their kinds, and a WHERE, which may say that it is correlated."""
    use = made.use(made.relation(depth - 1))
    where = f" where {made.number(use)} = {correlated}" if correlated else ""
    made.shapes.add("sub-select")
    return use, {r: use[r] for r in ROLES}, {r: use.kind(r) for r in ROLES}, where


def _filtered(made: Relations, depth: int, correlated: str) -> Relation:
    use, outputs, kinds, where = _start(made, depth, correlated)
    condition = made.filter(use, depth - 1)
    rest = f"{where} and {condition}" if where else f" where {condition}"
    return _query(made, outputs, kinds, f"from {use.text}{rest}")


def _grouped(made: Relations, depth: int, correlated: str) -> Relation:
    use, outputs, kinds, where = _start(made, depth, correlated)
    x, n = use[made.random.choice(made.numbers(use))], made.number(use)
    made.shapes.add("group by")
    outputs |= {"id": f"max({n})", "x": x, "y": f"count({use['y']})::integer", "v": letters(use)}
    having = ""
    if made.random.random() < 0.3:
        made.shapes.add("having")
        having = f" having {made.random.choice(('count(*) > 1', f'max({n}) > 1'))}"
    if made.random.random() < 0.3:
        made.shapes.add("filter")
        outputs["y"] = f"(count(*) filter (where {use['y']} > 1))::integer"
    kinds |= {"id": NUMBER, "x": NUMBER}
    rest = f"from {use.text}{where} group by {x}{having}"
    return _query(made, outputs, kinds, rest)


def _distinct(made: Relations, depth: int, correlated: str) -> Relation:
    use, outputs, kinds, where = _start(made, depth, correlated)
    n = made.number(use)
    made.shapes.add("distinct on")
    outputs = {"id": f"distinct on ({n}) {use['id']}", "x": use["x"], "y": use["y"], "v": use["v"]}
    rest = f"from {use.text}{where} order by {n}, {order(use)}"
    return _query(made, outputs, kinds, rest)


def _window(made: Relations, depth: int, correlated: str) -> Relation:
    use, outputs, kinds, where = _start(made, depth, correlated)
    made.shapes.add("window")
    n, m = made.number(use), made.number(use)
    call = made.random.choice(("rank()", "count(*)", f"sum({m})", f"max({m})"))
    outputs["y"] = f"({call} over (partition by {n} order by {use['y']}))::integer"
    return _query(made, outputs, kinds, f"from {use.text}{where}")


def _limited(made: Relations, depth: int, correlated: str) -> Relation:
    use, outputs, kinds, where = _start(made, depth, correlated)
    made.shapes.add("order by and limit")
    end = made.random.choice(("limit 1", "limit 1", "limit 2", "offset 1", "limit 1 offset 1"))
    rest = f"from {use.text}{where} order by {order(use)} {end}"
    return _query(made, outputs, kinds, rest)


def _combined(made: Relations, depth: int, correlated: str) -> Relation:
    use, _, kinds, where = _start(made, depth, correlated)
    other = made.use(made.relation(depth - 1))
    what = made.random.choice(("union", "union all", "except", "intersect"))
    made.shapes.add(what.split()[0])
    mine, theirs = made.numbers(use), made.numbers(other)
    outputs = {r: use[made.random.choice(mine)] for r in ("id", "x", "y")}
    second = [other[made.random.choice(theirs)] for _ in range(3)]
    texts = [f'{u["v"]}::text collate "C"' for u in (use, other)]
    kinds |= {"id": NUMBER}
    and_where = f" where {made.number(other)} = {correlated}" if correlated else ""
    return _query(
        made,
        outputs | {"v": texts[0]},
        kinds,
        f"from {use.text}{where} {what} select {', '.join(second)}, {texts[1]} from {other.text}{and_where}",
    )


def _joined(made: Relations, depth: int, correlated: str) -> Relation:
    use, outputs, kinds, where = _start(made, depth, correlated)
    other = made.use(made.relation(depth - 1))
    join = made.random.choice(("join", "left join", "right join", "full join"))
    on = f"{made.number(use)} = {made.number(other)}" if join == "full join" else made.equal(use, other)
    made.shapes.add(join)
    if use.relation.text == other.relation.text:
        made.shapes.add("self join")
    if join != "full join" and made.random.random() < 0.3:
        on += f" and {other['y']} > 1"
    role = made.random.choice(("x", "y", "id"))
    outputs |= {role: other[role], "v": other["v"]}
    kinds |= {role: other.kind(role)}
    rest = f"from {use.text} {join} {other.text} on {on}{where}"
    return _query(made, outputs, kinds, rest)


def _merged(made: Relations, depth: int, correlated: str) -> Relation:
    """USING and NATURAL: both sides get names that they share."""
    use, _, kinds, where = _start(made, depth, correlated)
    other = made.use(made.relation(depth - 1))
    one, two = made.alias(), made.alias()
    shared = quoted(made.random.choice(("k", "Größe", "two words")))
    join = made.random.choice(("join", "left join", "right join", "full join"))
    natural = made.random.random() < 0.4
    made.shapes.add("natural" if natural else "using")
    made.shapes.add(join)
    left = (
        f"(select {made.number(use)} as {shared}, {use['y']} as ya, {use['v']} as va from {use.text}{where})"
    )
    right = f"(select {made.number(other)} as {shared}, {other['x']} as xb from {other.text})"
    outputs = {"id": shared, "x": f"{two}.xb", "y": f"{one}.ya", "v": f"{one}.va"}
    kinds |= {"id": NUMBER}
    rest = f"from {left} as {one} {'natural ' if natural else ''}{join} {right} as {two}"
    rest += "" if natural else f" using ({shared})"
    return _query(made, outputs, kinds, rest)


def _sets(made: Relations, depth: int, correlated: str) -> Relation:
    use, outputs, kinds, where = _start(made, depth, correlated)
    made.shapes.add("grouping sets")
    x, y = (use[r] for r in ("x", "y"))
    by = made.random.choice((f"rollup ({x}, {y})", f"cube ({x}, {y})", f"grouping sets (({x}), ({y}), ())"))
    outputs |= {"id": "count(*)::integer", "v": letters(use)}
    rest = f"from {use.text}{where} group by {by}"
    return _query(made, outputs, kinds | {"id": NUMBER}, rest)


def _spread(made: Relations, depth: int, correlated: str) -> Relation:
    """One row for each element of an array or of a JSON document."""
    use = made.use(made.of(made.random.choice(made.schema.tables)))
    arrays = [c for c in use.relation.extra if c.kind in (ARRAY, DOC)]
    where = f" where {made.number(use)} = {correlated}" if correlated else ""
    kinds = {r: use.kind(r) for r in ROLES} | {"id": NUMBER}
    if not arrays:
        return _filtered(made, depth, correlated)
    made.shapes.add("set-returning function over a column")
    column, e = f"{use.alias}.{arrays[0].name}", made.alias()
    if arrays[0].kind == ARRAY:
        made.shapes.add("array column")
        call = f"unnest({column}) as {e} (e)"
        value = f"{e}.e"
    else:
        call = f"jsonb_array_elements({column} -> 'of') as {e} (e)"
        value = f"({e}.e)::integer"
    outputs = {"id": value, "x": use["x"], "y": use["y"], "v": use["v"]}
    rest = f"from {use.text} cross join lateral {call}{where}"
    return _query(made, outputs, kinds, rest)


def _measured(made: Relations, depth: int, correlated: str) -> Relation:
    """An ordered-set aggregate."""
    use, outputs, kinds, where = _start(made, depth, correlated)
    made.shapes.add("ordered-set aggregate")
    n, m = made.number(use), made.number(use)
    outputs |= {
        "id": f"(percentile_disc(0.5) within group (order by {m}))",
        "x": n,
        "y": "count(*)::integer",
        "v": letters(use),
    }
    kinds |= {"id": NUMBER, "x": NUMBER}
    rest = f"from {use.text}{where} group by {n}"
    return _query(made, outputs, kinds, rest)


MAKERS: Final[tuple[Callable[[Relations, int, str], Relation], ...]] = (
    _filtered,
    _filtered,
    _grouped,
    _distinct,
    _window,
    _limited,
    _limited,
    _combined,
    _joined,
    _joined,
    _merged,
    _sets,
    _spread,
    _measured,
)
