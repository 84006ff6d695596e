"""Which columns of which occurrence may be restricted to which values, without changing the rows of a key.

Everything here is one question about push-down: may the rows of an occurrence be thinned out to those whose
column equals a value of some other column, and the query still return the same? A WHERE clause may thin out
all that it stands over (what an outer join made null fails an equality); ON of an inner join both sides; ON
of an outer join only the side that it makes null; ON of a full join neither. What the rules do not allow is
not done: a missing equality means too many marks, a wrong one a stale row.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from meshcache_pg.nodes import Node
from meshcache_pg.references import Place, Reference, exposed, merged, output, plain
from meshcache_pg.scopes import (
    FULL,
    INNER,
    LEFT,
    RIGHT,
    Facts,
    Rel,
    Scope,
)

# SubLinkType, BoolExprType and ParamKind of the server.
_EXISTS: Final = 0
_ANY: Final = 2
_AND, _OR = "and", "or"
_OF_SUBLINK: Final = 2


@dataclass(frozen=True, slots=True)
class Edge:
    """A restriction: the place it starts from equals `to`. `visible` says that where it is computed, `to` has
    the value that it has above the whole FROM of its scope: no outer join makes it null later.
    """

    to: Place
    visible: bool


class Equalities:
    """The restrictions inside of scopes (`edges`), and those that go through the borders of a query."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self.edges: dict[Place, list[Edge]] = {}
        self._full: set[frozenset[Place]] = set()

    def add(self, scope: Scope) -> None:
        """Take in the conditions of one scope."""
        tree = scope.query.node("jointree")
        if tree is not None and not scope.opaque:
            self._tree(scope, tree)

    def _tree(self, scope: Scope, node: Node) -> set[Rel]:
        """The relations below a node of the join tree; its conditions are taken in."""
        if node.label == "RANGETBLREF":
            return {scope.rels[node.number("rtindex")]}
        if node.label == "FROMEXPR":
            rels = {rel for item in node.items("fromlist") for rel in self._tree(scope, item)}
            self._keep(self._conjunct(scope, node.node("quals"), rels, None))
            return rels
        left, right = (self._tree(scope, arm) for arm in (node.node("larg"), node.node("rarg")) if arm)
        kind = node.number("jointype")
        thinned = {INNER: left | right, LEFT: right, RIGHT: left}.get(kind, set())
        quals = node.node("quals")
        self._keep(self._conjunct(scope, quals, thinned, node.number("rtindex")))
        if kind == FULL:
            for one, other in self._pairs(scope, quals):
                if (one.rel in left) != (other.rel in left):
                    self._full.add(frozenset((one.place, other.place)))
        return left | right

    def _keep(self, found: "set[tuple[Place, Edge]]") -> None:
        for place, edge in sorted(
            found, key=lambda f: (f[0][0].index, f[0][1], f[1].to[0].index, f[1].to[1])
        ):
            self.edges.setdefault(place, []).append(edge)

    def _pairs(self, scope: Scope, node: Node | None) -> Iterator[tuple[Reference, Reference]]:
        """The equalities of plain columns that must hold for a condition to be true, of its top level."""
        if node is None:
            return
        if node.label == "BOOLEXPR" and node.string("boolop") == _AND:
            for argument in node.items("args"):
                yield from self._pairs(scope, argument)
        elif node.label == "OPEXPR":
            sides = [plain(scope, argument) for argument in node.items("args")]
            if len(sides) == 2 and sides[0] and sides[1] and self._comparable(node, sides[0], sides[1]):
                yield sides[0], sides[1]

    def _conjunct(
        self, scope: Scope, node: Node | None, thinned: set[Rel], position: int | None
    ) -> set[tuple[Place, Edge]]:
        """The restrictions of `thinned` that a condition, which must be true, allows."""
        if node is None:
            return set()
        if node.label == "BOOLEXPR" and node.string("boolop") in (_AND, _OR):
            arms = [self._conjunct(scope, arm, thinned, position) for arm in node.items("args")]
            return set.union(*arms) if node.string("boolop") == _AND else set.intersection(*arms)
        if node.label == "SUBLINK":
            return self._sublink(scope, node, thinned, position)
        found = set()
        for one, other in self._pairs(scope, node):
            for mine, theirs in ((one, other), (other, one)):
                if mine.rel in thinned:
                    found.add((mine.place, Edge(theirs.place, _visible(scope, position, theirs.rel))))
        return found

    def _sublink(
        self, scope: Scope, node: Node, thinned: set[Rel], position: int | None
    ) -> set[tuple[Place, Edge]]:
        """EXISTS and IN, where they must be true: what they ask for is a join."""
        rel = scope.sublinks[id(node)]
        inner, kind = rel.inner, node.number("subLinkType")
        if inner is None or kind not in (_EXISTS, _ANY):
            return set()
        found = set()
        if _is_join(inner):
            # Conditions on outer columns, too: a row for which nothing exists is not there.
            tree = inner.query.node("jointree")
            quals = tree.node("quals") if tree else None
            found |= self._conjunct(inner, quals, thinned, None)
        if kind == _ANY:
            for mine, column, operator in _tests(scope, node):
                returned = output(inner, column)
                if returned is None or not self._comparable(operator, mine, returned):
                    continue
                found.add(((rel, column), Edge(mine.place, _visible(scope, position, mine.rel))))
                if mine.rel in thinned:
                    found.add((mine.place, Edge((rel, column), visible=False)))
        return found

    def _comparable(self, operator: Node, one: Reference, other: Reference) -> bool:
        """Whether an operator is the equality by which marks of both columns are compared, too."""
        families = self._facts.equality.get(operator.number("opno"), frozenset())
        return (
            self._facts.families.get(one.type) in families
            and self._same(one.type, one.collation, other.type, other.collation)
            and (
                one.collation not in self._facts.nondeterministic
                or operator.number("inputcollid") == one.collation
            )
        )

    def _same(self, type_: int, collation: int, other_type: int, other_collation: int) -> bool:
        """Whether values of both types and collations are equal by the same rules."""
        family = self._facts.families.get(type_)
        return (
            family is not None
            and family == self._facts.families.get(other_type)
            and collation == other_collation
        )

    def outward(self, place: Place) -> list[int]:
        """The output columns of its query that a restriction of this column may come from."""
        rel, column = place
        scope = rel.scope
        if rel.index < 0 or _closed(scope):
            return []
        if scope.query.has("setOperations"):
            return [column] if self._typed(scope, rel, column) else []
        return [number for number, barrier in self._returned(place) if not barrier]

    def barrier(self, place: Place) -> str:
        """The clause that keeps restrictions of a column inside of its query; empty where none does."""
        scope = place[0].scope
        if scope.outer is None or place[0].index < 0:
            return ""
        if closed := _closed(scope):
            return closed
        if scope.query.has("setOperations"):
            return "" if self._typed(scope, *place) else "an arm of UNION and the like with another type"
        barriers = [barrier for _, barrier in self._returned(place)]
        return barriers[0] if barriers and all(barriers) else ""

    def _returned(self, place: Place) -> Iterator[tuple[int, str]]:
        """The output columns that are this column of FROM, each with what is between the two, if anything."""
        scope = place[0].scope
        for target in scope.outputs():
            references = merged(scope, target.node("expr"))
            places = frozenset(r.place for r in references)
            if place in places:
                yield target.number("resno"), self._between(scope, target, references, places)

    def _between(
        self, scope: Scope, target: Node, references: tuple[Reference, ...], places: frozenset[Place]
    ) -> str:
        """Why a condition on an output column is not one on these columns of FROM; empty if it is one."""
        if len(places) == 2 and places not in self._full:
            return "a full join"
        type_, collation = exposed(target.node("expr"))
        if any(r.rel.scope is not scope for r in references):
            return "a sub-query that returns a column from outside"
        if any(not self._same(type_, collation, r.type, r.collation) for r in references):
            return "a cast"
        query = scope.query
        groups: list[tuple[str, list[Node]]] = []
        if query.has("groupClause") or query.flag("hasAggs"):
            groups.append(("an aggregate that is not grouped by it", query.items("groupClause")))
        if query.flag("hasDistinctOn"):
            groups.append(("DISTINCT ON something else", query.items("distinctClause")))
        for window in query.items("windowClause"):
            groups.append(
                ("a window function that is not partitioned by it", window.items("partitionClause"))
            )
        for words, group in groups:
            if not any(self._groups_by(scope, clause, places, references[0].type) for clause in group):
                return words
        return ""

    def _groups_by(self, scope: Scope, clause: Node, places: frozenset[Place], type_: int) -> bool:
        families = self._facts.equality.get(clause.number("eqop"), frozenset())
        number = clause.number("tleSortGroupRef")
        for target in scope.query.items("targetList"):
            if target.number("ressortgroupref") == number:
                same = places == frozenset(r.place for r in merged(scope, target.node("expr")))
                return same and self._facts.families.get(type_) in families
        return False

    def _typed(self, scope: Scope, leaf: Rel, column: int) -> bool:
        """Whether an arm of UNION and the like has the type that the whole has in this column."""
        whole = scope.query.node("setOperations")
        returned = output(leaf.inner, column) if leaf.inner else None
        if whole is None or returned is None:
            return False
        types, collations = whole.numbers("colTypes"), whole.numbers("colCollations")
        return self._same(types[column - 1], collations[column - 1], returned.type, returned.collation)

    def inward(self, place: Place) -> list[Place]:
        """The columns whose values a column of a query in FROM has: all of them together; none if unknown."""
        rel, column = place
        scope = rel.inner
        if scope is None:
            return []
        operations = scope.query.node("setOperations")
        if operations is not None:
            leaves = [scope.rels[index] for index in _feeding(operations)]
            return (
                [(leaf, column) for leaf in leaves]
                if all(self._typed(scope, leaf, column) for leaf in leaves)
                else []
            )
        target = next((t for t in scope.outputs() if t.number("resno") == column), None)
        if target is None:
            return []
        references = merged(scope, target.node("expr"))
        type_, collation = exposed(target.node("expr"))
        if all(self._same(type_, collation, r.type, r.collation) for r in references):
            return [r.place for r in references]
        return []


def _tests(scope: Scope, sublink: Node) -> Iterator[tuple[Reference, int, Node]]:
    """The comparisons of IN: the outer column, the number of the inner one, the operator."""
    test = sublink.node("testexpr")
    if test is None:
        return
    both = test.items("args") if test.label == "BOOLEXPR" and test.string("boolop") == _AND else [test]
    for comparison in both:
        arguments = comparison.items("args")
        if comparison.label != "OPEXPR" or len(arguments) != 2:
            continue
        mine, parameter = plain(scope, arguments[0]), arguments[1]
        while parameter.label == "RELABELTYPE":
            parameter = parameter.node("arg") or parameter
        if mine and parameter.label == "PARAM" and parameter.number("paramkind") == _OF_SUBLINK:
            yield mine, parameter.number("paramid"), comparison


def _closed(scope: Scope) -> str:
    """The clause that lets no restriction into a query at all."""
    if scope.opaque:
        return "WITH RECURSIVE"
    clauses = {
        "limitCount": "LIMIT",
        "limitOffset": "OFFSET",
        "groupingSets": "GROUPING SETS, ROLLUP or CUBE",
    }
    return next((words for clause, words in clauses.items() if scope.query.has(clause)), "")


def _is_join(scope: Scope) -> bool:
    """Whether a sub-query returns a row exactly where its FROM and WHERE have one."""
    query = scope.query
    return (
        not scope.opaque
        and not any(
            query.has(part)
            for part in (
                "setOperations",
                "limitCount",
                "limitOffset",
                "groupClause",
                "groupingSets",
                "havingQual",
            )
        )
        and not query.flag("hasAggs")
        and not query.flag("hasTargetSRFs")
    )


def _feeding(operations: Node) -> list[int]:
    """The arms of UNION and the like that rows come from: of EXCEPT and INTERSECT the left one."""
    if operations.label == "RANGETBLREF":
        return [operations.number("rtindex")]
    left, right = operations.node("larg"), operations.node("rarg")
    found = _feeding(left) if left else []
    if operations.number("op") == 1 and right:
        found += _feeding(right)
    return found


def _visible(scope: Scope, position: int | None, rel: Rel) -> bool:
    """Whether a column of `rel`, seen from here, has the value that it has above the FROM of its scope."""
    here: Scope | None = scope
    while here is not None and here is not rel.scope:
        position, here = here.position, here.parent
    if here is None:
        return False
    around = here.inside.get(position, ()) if position is not None else ()
    return not here.nulled_by.get(rel.index, frozenset()) & frozenset(around)
