"""Ways through a SELECT: from a column of a table that it reads to the columns that a cached row has.

A step goes from a column to one that it is restricted to (equalities.py), out of a query through a column
that it returns, into a query whose column it is, or, as a link, to another column of the same row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from meshcache_pg.equalities import Equalities
from meshcache_pg.nodes import Node
from meshcache_pg.references import Place, plain
from meshcache_pg.scopes import Facts, Rel, Relation, Scope, ScopeBuilder

# What a way may end at: columns of the key, then also others that the SELECT returns, then any that it could.
KEY, RETURNED, ADDED = range(3)
CARRY: Final = (KEY, RETURNED, ADDED)

# Clauses by which a SELECT over one table is more than its rows.
_MORE_THAN_ROWS: Final = (
    *("setOperations", "limitCount", "limitOffset", "groupClause", "groupingSets", "havingQual"),
    *("distinctClause", "windowClause", "cteList"),
)


@dataclass(frozen=True, slots=True)
class Step:
    """Look a value up in one column of a table, and go on with another of the same row. `rel` is the
    occurrence that this stands for.
    """

    relation: Relation
    from_column: str
    to_column: str
    rel: Rel = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class End:
    """Where a way ends: at a column of the view, or at one that is to be carried; with the links and the
    words of the way.
    """

    column: str
    is_key: bool
    words: str
    links: tuple[Step, ...] = ()
    carry: Place | None = None


@dataclass(frozen=True, slots=True)
class Lookup:
    """A SELECT that returns one row of one table by a unique key of it; `computed`: not only its columns."""

    relation: Relation
    columns: tuple[str, ...]
    computed: bool


@dataclass(slots=True)
class _Search:
    """One search for ways from an occurrence: at which columns they may end, and what was found so far, with
    how many links left.
    """

    start: Rel
    carry: int
    tried: dict[tuple[Place, bool, bool], tuple[int, list[End]]] = field(default_factory=dict)


def table(rel: Rel) -> Relation:
    """The table of an occurrence."""
    if rel.relation is None:
        raise AssertionError(f"{rel.name} is no table")
    return rel.relation


class Ways:
    """One view taken apart. `key` are output columns of it."""

    def __init__(self, oid: int, key: Sequence[str], facts: Facts) -> None:
        builder = ScopeBuilder(facts)
        self._top = Rel(Scope(Node("QUERY")), 1, "")
        self._scope = builder.view(oid, self._top)
        self._top.inner = self._scope
        self.occurrences = builder.occurrences
        self._equal = Equalities(facts)
        for scope in builder.scopes:
            self._equal.add(scope)
        self._names = {t.number("resno"): t.string("resname") for t in self._scope.outputs()}
        self._key = frozenset(key)
        self._single: dict[Rel, bool] = {}

    def starts(self, rel: Rel) -> list[int]:
        """The columns of an occurrence that can be marked and that lead anywhere."""
        relation = table(rel)
        return [n for n in relation.columns if n not in relation.virtual and self._next((rel, n))]

    def find(self, place: Place, links: int, carry: int) -> list[End]:
        """A way from a column to the view's columns; several where values come from several arms of a UNION
        (all of them count), none where none is found.
        """
        return self._way(place, visible=False, loose=False, links=links, search=_Search(place[0], carry))

    def _way(self, place: Place, *, visible: bool, loose: bool, links: int, search: _Search) -> list[End]:
        rel, number = place
        if rel is self._top:
            name = self._names.get(number, "")
            return [End(name, is_key=True, words=f"{name} of the key")] if name in self._key else []
        state = (place, visible, loose)
        before = search.tried.get(state)
        # A way that was found with more links to spend may have more of them than are left here.
        if before and before[0] >= links and all(len(end.links) <= links for end in before[1]):
            return before[1]
        search.tried[state] = (links, [])
        found = self._search(place, visible=visible, loose=loose, links=links, search=search)
        search.tried[state] = (links, found)
        return found

    def _search(self, place: Place, *, visible: bool, loose: bool, links: int, search: _Search) -> list[End]:
        rel, number = place
        # A column of the occurrence that the way starts at is no end: it is missing until there is a row.
        if visible and rel is not search.start and (end := self._carry(place, search.carry)):
            return _said(place, [end])
        # Without a further link first.
        for left in range(2 if links else 1):
            for to, is_visible, is_loose in self._steps(place, loose=loose):
                ends = self._way(
                    to, visible=is_visible, loose=is_loose, links=links if left else 0, search=search
                )
                if ends:
                    return _said(place, ends)
        # The row that has changed cannot be looked up: it may be gone.
        for other in self._linked(place, loose=loose) if links and rel is not search.start else ():
            ends = self._way((rel, other), visible=False, loose=False, links=links - 1, search=search)
            if ends:
                relation = table(rel)
                step = Step(relation, relation.columns[number], relation.columns[other], rel)
                words = f"{relation.text}.{step.from_column} of the row whose"
                return [
                    End(e.column, e.is_key, f"{words} {e.words}", (step, *e.links), e.carry) for e in ends
                ]
        inward = [
            self._way(to, visible=False, loose=loose, links=links, search=search)
            for to in self._equal.inward(place)
        ]
        return [end for ends in inward for end in ends] if all(inward) else []

    def _next(self, place: Place) -> list[tuple[Place, bool]]:
        """Where a column's value leads without a link, and whether it is visible there."""
        return [(to, visible) for to, visible, _ in self._steps(place, loose=False)]

    def _steps(self, place: Place, *, loose: bool) -> Iterator[tuple[Place, bool, bool]]:
        """The same, and whether a null may have come along: UNION and the like take two of them for equal,
        and a condition lets none through.
        """
        scope = place[0].scope
        if scope.outer is not None:
            is_loose = loose or scope.query.has("setOperations")
            for number in self._equal.outward(place):
                yield (scope.outer, number), False, is_loose
        for edge in self._equal.edges.get(place, []):
            yield edge.to, edge.visible, False

    def _linked(self, place: Place, *, loose: bool) -> list[int]:
        """The columns of the same row that a link can go on with; not from a null, which it does not find."""
        rel, number = place
        if rel.relation is None or loose:
            return []
        return [n for n in rel.relation.columns if n != number and self._next((rel, n))]

    def _returned(self, place: Place) -> str | None:
        """The output column that is this column."""
        for target in self._scope.outputs():
            reference = plain(self._scope, target.node("expr"))
            if reference and reference.place == place:
                return target.string("resname")
        return None

    def _carry(self, place: Place, carry: int) -> End | None:
        """The end of a way at a column that a cached row carries, or can carry."""
        if carry == KEY or place[0].relation is None or self._loose(place[0]):
            return None
        name = self._returned(place)
        if name is not None:
            return End(name, is_key=False, words=f"column {name}")
        if carry != ADDED or self._sealed():
            return None
        return End("", is_key=False, words="a column carried along", carry=place)

    def _loose(self, rel: Rel) -> str:
        """Why a cached row cannot carry a column of an occurrence; empty if it can."""
        name = rel.relation.text if rel.relation else rel.name
        if rel.scope is not self._scope:
            return (
                f"{name} is read in a sub-query, and a cached row carries columns of the outermost FROM only"
            )
        if not self._is_single(rel):
            return f"a key can have several rows of {name}"
        if self._scope.query.has("distinctClause") and rel.scope.nulled_by.get(rel.index):
            # Of several joined rows one is kept, and it need not be one that has this column.
            return f"DISTINCT keeps one of several joined rows of {name}"
        return ""

    def _sealed(self) -> str:
        """The clause beside which no column can be added to the SELECT; empty if there is none."""
        clauses = {
            "distinctClause": "DISTINCT",
            "groupClause": "GROUP BY",
            "setOperations": "UNION and the like",
            "limitCount": "LIMIT",
        }
        return next((words for clause, words in clauses.items() if self._scope.query.has(clause)), "")

    def _is_single(self, rel: Rel) -> bool:
        """Whether at most one row of an occurrence can belong to a key: a unique key of it follows from the
        view's key.
        """
        if rel not in self._single:
            self._single[rel] = False
            self._single[rel] = any(
                all(self._determined((rel, number), set()) for number in unique)
                for unique in table(rel).unique
            )
        return self._single[rel]

    def _determined(self, place: Place, seen: set[Place]) -> bool:
        """Whether a column has one value per key."""
        if place in seen:
            return False
        seen.add(place)
        for (rel, number), _ in self._next(place):
            if rel is self._top:
                found = self._names.get(number) in self._key
            else:
                single = rel.scope is self._scope and rel.relation is not None and self._is_single(rel)
                found = single or self._determined((rel, number), seen)
            if found:
                return True
        return False

    def holds(self, rel: Rel, column: str, links: Sequence[tuple[int, str, str]], view_column: str) -> bool:
        """Whether a dependency as somebody declared it is one of the ways: links are (oid, from, to).

        That a carried column has one value per key is taken on trust here: the key has at most one row.
        """
        relation = table(rel)
        numbers = {name: number for number, name in relation.columns.items()}
        here = set(self._reach((rel, numbers[column]), loose=False))
        for oid, from_column, to_column in links:
            ahead: set[tuple[Place, bool, bool]] = set()
            for (at, number), _, loose in here:
                is_linked = at.relation is not None and at is not rel and at.relation.oid == oid
                if is_linked and not loose and table(at).columns[number] == from_column:
                    columns = {name: n for n, name in table(at).columns.items()}
                    ahead |= set(self._reach((at, columns[to_column]), loose=False))
            here = ahead
        return any(
            self._names.get(place[1]) == view_column
            if place[0] is self._top and view_column in self._key
            else visible and place[0].scope is self._scope and view_column in self._all_returned(place)
            for place, visible, _ in here
        )

    def _all_returned(self, place: Place) -> set[str]:
        return {
            target.string("resname")
            for target in self._scope.outputs()
            if (reference := plain(self._scope, target.node("expr"))) and reference.place == place
        }

    def _reach(self, place: Place, *, loose: bool) -> Iterator[tuple[Place, bool, bool]]:
        """Every column that has the value of this one, without a link; whether it is visible there; whether a
        null may have come along.
        """
        seen: set[tuple[Place, bool, bool]] = set()
        waiting = [(place, False, loose)]
        while waiting:
            here = waiting.pop()
            if here in seen:
                continue
            seen.add(here)
            yield here
            if here[0][0] is self._top:
                continue
            waiting += self._steps(here[0], loose=here[2])
            inward = self._equal.inward(here[0])
            if len(inward) == 1:
                waiting.append((inward[0], False, here[2]))

    def hindrance(self, rel: Rel, links: Sequence[Step]) -> str:
        """What stands in the way of a finer kind: of `carried`, where there are links, else of `key`."""
        reached = [found for number in self.starts(rel) for found in self._reach((rel, number), loose=False)]
        barriers = dict.fromkeys(
            f"{barrier} keeps {_column(place)} from leading to the key"
            for place, _, _ in reached
            if place[0].relation is not None and (barrier := self._equal.barrier(place))
        )
        if not links:
            return next(iter(barriers), "") or "no equality leads on from there to the key"
        for place, visible, _ in reached:
            if place[0] is rel or place[0].relation != links[0].relation:
                continue
            if loose := self._loose(place[0]):
                return loose
            if not visible:
                return f"an outer join may leave {links[0].relation.text} out"
            if sealed := self._sealed():
                return f"beside {sealed} no column can be carried along"
        return next(iter(barriers), "") or "nothing that a cached row can carry equals it"

    def lookup(self) -> "Lookup | None":
        """The table of which each key is one row, if the SELECT is nothing but that row."""
        scope, computed = self._scope, False
        while True:
            query = scope.query
            if len(scope.rels) != 1 or scope.sublinks or scope.opaque or any(map(query.has, _MORE_THAN_ROWS)):
                return None
            if query.flag("hasAggs") or query.flag("hasTargetSRFs"):
                return None
            computed = computed or any(
                plain(scope, target.node("expr")) is None and not _is_constant(target.node("expr"))
                for target in scope.outputs()
            )
            (rel,) = scope.rels.values()
            if rel.relation is not None:
                break
            if rel.inner is None:
                return None
            scope = rel.inner
        for unique in rel.relation.unique:
            if all(self._determined((rel, number), set()) for number in unique):
                columns = tuple(rel.relation.columns[n] for n in sorted(unique))
                return Lookup(rel.relation, columns, computed)
        return None

    def obstacle(self, rel: Rel) -> str:
        """The clause that stands in the way from a table to the key, as far as it can be told."""
        scope: Scope | None = rel.scope
        clauses = {
            "limitCount": "LIMIT",
            "limitOffset": "OFFSET",
            "groupingSets": "GROUPING SETS, ROLLUP or CUBE",
            "windowClause": "a window function that is not partitioned by what leads to the key",
            "setOperations": "an arm of UNION, INTERSECT or EXCEPT that does not lead to the key",
        }
        while scope is not None:
            if scope.opaque:
                return "WITH RECURSIVE"
            for clause, words in clauses.items():
                if scope.query.has(clause):
                    return words
            if scope.query.flag("hasDistinctOn"):
                return "DISTINCT ON something else than what leads to the key"
            scope = scope.outer.scope if scope.outer is not None and scope.outer is not self._top else None
        if not self.starts(rel):
            return "no condition that a column of it equals a column of another table or of the key"
        return "no equality of plain columns that leads on to the key"


def _column(place: Place) -> str:
    relation = table(place[0])
    return f"{relation.text}.{relation.columns[place[1]]}"


def _is_constant(node: Node | None) -> bool:
    return node is not None and node.label == "CONST"


def _said(place: Place, ends: list[End]) -> list[End]:
    """The ways with the place before them in words."""
    if place[0].relation is None:
        return ends
    word = _column(place)
    return [End(e.column, e.is_key, f"{word} = {e.words}", e.links, e.carry) for e in ends]
