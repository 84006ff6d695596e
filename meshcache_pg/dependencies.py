"""From the SELECT of a cached view, as the server understood it, to its dependencies: for each table it
reads, which column to mark, how a mark finds the rows that it makes stale, and why that is all of them.

The claim that each derived dependency rests on: for every key, the SELECT gives the same rows if the table
is thinned out, at this place of the query, to the rows that the dependency leads to. So a change of any
other row cannot matter. equalities.py knows the single steps, ways.py puts them together; here the best way
of each table is chosen:

- to columns of the key (kind `key`),
- to a column of a table that has at most one row per key, which the cached row can carry (`carried`),
- through other tables that lead there themselves, looked up when somebody reads (`linked`),
- none: any change of the table is one of every row (`flush`), which the definition has to allow.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from meshcache_pg.references import Place
from meshcache_pg.scopes import Facts, Rel, Relation
from meshcache_pg.ways import ADDED, CARRY, End, Lookup, Step, Ways, table

# Each link is a join that readers of the view do for every pending mark; longer ways are not worth it.
MAX_LINKS = 4


@dataclass(frozen=True, slots=True)
class Hidden:
    """A column that the cached row has to carry and the SELECT does not return: `alias.column` in FROM."""

    name: str
    alias: str
    column: str


@dataclass(frozen=True, slots=True)
class Found:
    """One derived dependency. A flush has no columns. `why` says it in words, and `hindrance` why it is not
    of a finer kind: empty for `key`, there is none; for a flush it is `why`.
    """

    relation: Relation
    kind: str
    columns: tuple[str, ...]
    view_columns: tuple[str, ...]
    links: tuple[Step, ...]
    why: str
    hindrance: str = ""

    @property
    def text(self) -> str:
        """As a definition would say it."""
        if self.kind == "flush":
            return f"{self.relation.text} flush"
        via = "".join(f" via {k.relation.text}({k.from_column} -> {k.to_column})" for k in self.links)
        left, right = ", ".join(self.columns), ", ".join(self.view_columns)
        return f"{self.relation.text}({left}){via} = ({right})"


@dataclass(frozen=True, slots=True)
class Derivation:
    """The dependencies of one SELECT, and the columns to add to it so that cached rows carry them; `lookup`
    if the SELECT is nothing but one row of one table.
    """

    found: tuple[Found, ...]
    hidden: tuple[Hidden, ...]
    lookup: Lookup | None = None


@dataclass(frozen=True, slots=True)
class Declared:
    """A dependency as a definition declares it, its tables known: links are (oid, from, to)."""

    oid: int
    columns: tuple[str, ...]
    view_columns: tuple[str, ...]
    links: tuple[tuple[int, str, str], ...]
    text: str


def derive(oid: int, key: Sequence[str], facts: Facts, *, add: bool = True) -> Derivation:
    """Every dependency of a view; a table without a way to the key comes as a flush. With `add`, columns that
    the SELECT does not return may be asked for.
    """
    return _Chooser(Ways(oid, key, facts), add=add).derivation()


def weaker(
    oid: int, key: Sequence[str], facts: Facts, declared: Sequence[Declared]
) -> tuple[Declared, Found] | None:
    """A declared dependency that says less than the SELECT does, with the one that it falls short of.

    A table for which nothing can be derived is left to the declaration.
    """
    ways = Ways(oid, key, facts)
    chooser = _Chooser(ways, add=True)
    for rel in ways.occurrences:
        own = [d for d in declared if d.oid == table(rel).oid]
        found = list(chooser.best(rel))
        if not own or len(found) != 1 or found[0].kind == "flush":
            continue
        if not any(
            all(ways.holds(rel, c, d.links, v) for c, v in zip(d.columns, d.view_columns, strict=True))
            for d in own
        ):
            return own[0], found[0]
    return None


class _Chooser:
    """Chooses among the ways of each occurrence."""

    def __init__(self, ways: Ways, *, add: bool) -> None:
        self._ways = ways
        self._carry = CARRY if add else CARRY[:ADDED]
        self._hidden: dict[Place, Hidden] = {}

    def derivation(self) -> Derivation:
        found: dict[tuple[object, ...], Found] = {}
        best = {rel: list(self.best(rel)) for rel in self._ways.occurrences}
        for rel in best:
            for one in self._grounded(rel, best):
                found.setdefault((one.relation.oid, one.columns, one.view_columns, one.links), one)
        flushed = {f.relation.oid for f in found.values() if f.kind == "flush"}
        # A flush says it all: marks beside it would be written for nothing.
        kept = [f for f in found.values() if f.kind == "flush" or f.relation.oid not in flushed]
        used = {name for f in kept for name in f.view_columns}
        hidden = tuple(h for h in self._hidden.values() if h.name in used)
        return Derivation(tuple(kept), hidden, self._ways.lookup())

    def _grounded(self, rel: Rel, best: Mapping[Rel, Sequence[Found]]) -> Sequence[Found]:
        """The dependencies of one occurrence, or a flush where a row that they are looked up by might go
        without a mark that finds the key: each link has to be an occurrence that is nearer to the key itself.
        """
        for one in best[rel]:
            for left, step in enumerate(reversed(one.links)):
                if any(len(f.links) > left for f in best[step.rel]):
                    why = f"the way to the key through {step.relation.text} goes in a circle"
                    return [Found(table(rel), "flush", (), (), (), why)]
        return best[rel]

    def best(self, rel: Rel) -> Iterator[Found]:
        """The dependencies of one occurrence: one, or one for each arm of a UNION that it hangs under."""
        relation, starts = table(rel), self._ways.starts(rel)
        for carry in self._carry:
            ways = {n: self._ways.find((rel, n), 0, carry) for n in starts}
            direct = {n: ends[0] for n, ends in ways.items() if len(ends) == 1}
            if direct:
                yield self._direct(rel, _enough(relation, direct))
                return
        for links in range(MAX_LINKS + 1):
            for carry in self._carry:
                for number in starts:
                    ends = self._ways.find((rel, number), links, carry)
                    if ends:
                        yield from (self._of(rel, number, end) for end in ends)
                        return
        obstacle = self._ways.obstacle(rel)
        yield Found(relation, "flush", (), (), (), obstacle, obstacle)

    def _of(self, rel: Rel, number: int, end: End) -> Found:
        if not end.links:
            return self._direct(rel, {number: end})
        relation, column = table(rel), self._column(end)
        hindrance = self._ways.hindrance(rel, end.links)
        return Found(
            relation, "linked", (relation.columns[number],), (column,), end.links, end.words, hindrance
        )

    def _direct(self, rel: Rel, ends: dict[int, End]) -> Found:
        relation, is_key = table(rel), all(end.is_key for end in ends.values())
        return Found(
            relation,
            "key" if is_key else "carried",
            tuple(relation.columns[n] for n in ends),
            tuple(self._column(end) for end in ends.values()),
            (),
            " and ".join(end.words for end in ends.values()),
            "" if is_key else self._ways.hindrance(rel, ()),
        )

    def _column(self, end: End) -> str:
        """The view's column at the end of a way; one that has to be added gets its name here."""
        if end.carry is None:
            return end.column
        if end.carry not in self._hidden:
            rel, number = end.carry
            name = f"_carried_{len(self._hidden) + 1}"
            self._hidden[end.carry] = Hidden(name, rel.name, table(rel).columns[number])
        return self._hidden[end.carry].name


def _enough(relation: Relation, ends: dict[int, End]) -> dict[int, End]:
    """Of several columns that lead to the view those that are needed: one that is unique is."""
    for number, end in ends.items():
        if frozenset((number,)) in relation.unique:
            return {number: end}
    return ends
