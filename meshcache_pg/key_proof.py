"""What a SELECT and the catalog say of a key: that each value of it has at most one row, and that no column
of it is null.

Both are proofs, so "no" means "not known". Of two rows that agree on the key, all tables that both have a row
of are shown to have the same one; where an outer join leaves a table out, it does so in both, because the
rest is the same. A full join is left alone.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeAlias

from meshcache_pg.equalities import Equalities
from meshcache_pg.nodes import BYTES, Node, Value
from meshcache_pg.references import Place, plain
from meshcache_pg.scopes import FULL, GROUP, INNER, JOIN, LEFT, RIGHT, Facts, Rel, Scope, ScopeBuilder

_IS_NOT_NULL: Final = 1
_FUNCTION: Final = 3
_NOTHING: Final = 8
# LIMIT 1, on machines of either byte order.
_ONE: Final = ("[ 1 0 0 0 0 0 0 0 ]", "[ 0 0 0 0 0 0 0 1 ]")
_AND: Final = "and"
# Where an expression stands in the text, or that it is null in some rows: not which expression it is.
_POSITIONS: Final = frozenset(("location", "varnosyn", "varattnosyn", "varnullingrels"))
# Expressions that hand a value on; the argument decides whether there is one.
_THROUGH: Final = ("RELABELTYPE", "COERCEVIAIO", "COERCETODOMAIN")
_CALLS: Final = {"FUNCEXPR": "funcid", "OPEXPR": "opfuncid", "WINDOWFUNC": "winfnoid", "AGGREF": "aggfnoid"}

# An expression without its places in the text, to be compared with others of the same query.
Form: TypeAlias = "tuple[Form, ...] | str | None"

Known: TypeAlias = Callable[[Place], bool]


class KeyProof:
    """One view with its key. Raises Refused for a SELECT that cannot be taken apart."""

    def __init__(self, oid: int, key: Sequence[str], facts: Facts) -> None:
        builder = ScopeBuilder(facts)
        top = Rel(Scope(Node("QUERY")), 1, "")
        self._scope = builder.view(oid, top)
        top.inner = self._scope
        self._facts = facts
        self._equal = Equalities(facts)
        for scope in builder.scopes:
            self._equal.add(scope)
        numbers = {t.string("resname"): t.number("resno") for t in self._scope.outputs()}
        self._key = {name: numbers[name] for name in key}

    def is_unique(self) -> bool:
        """Whether no two rows have the same key."""
        return self._one_row(self._scope, frozenset(self._key.values()), lambda _: False)

    def nullable(self) -> list[str]:
        """The columns of the key that may be null, as far as is known."""
        return [name for name, number in self._key.items() if not self._output_is_set(self._scope, number)]

    # One row for each key

    def _one_row(self, scope: Scope, fixed: frozenset[int], outside: Known) -> bool:
        """Whether a query has at most one row for given values of the output columns `fixed`; `outside` are
        columns around it that have one value then.
        """
        query = scope.query
        if scope.opaque:
            return False
        if query.has("setOperations"):
            is_set = all(not node.flag("all") for node in _operations(query.node("setOperations")))
            return is_set and fixed >= {t.number("resno") for t in scope.outputs()}
        is_grouped = query.has("groupClause") or query.has("groupingSets")
        if _is_one(query.node("limitCount")) or (
            query.flag("hasAggs") and not is_grouped and not query.flag("hasTargetSRFs")
        ):
            return True
        known, single = self._follow(scope, fixed, outside)
        if self._are_known(scope, query.items("distinctClause"), fixed, known):
            return True
        if query.flag("hasTargetSRFs") or query.has("groupingSets"):
            return False
        if is_grouped:
            return self._are_known(scope, query.items("groupClause"), fixed, known)
        tree = query.node("jointree")
        kinds = {node.number("jointype") for node in _joins(tree)}
        return kinds <= {INNER, LEFT, RIGHT} and single >= _in_from(scope)

    def _follow(self, scope: Scope, fixed: frozenset[int], outside: Known) -> tuple[Known, set[Rel]]:
        """Which columns have one value, and which relations one row, for given values of output columns."""
        places = set(self._constants(scope))
        for number in fixed if scope.outer is not None else ():
            inward = self._equal.inward((scope.outer, number)) if scope.outer else []
            if len(inward) == 1:
                places.add(inward[0])
        single: set[Rel] = set()

        def known(place: Place) -> bool:
            rel = place[0]
            return place in places or rel in single or (rel.scope is not scope and outside(place))

        edges = [(p, e) for p, e in self._equal.edges.items() if p[0].scope is scope and p[0].index > 0]
        rels = _in_from(scope)
        size = -1
        while size != len(places) + len(single):
            size = len(places) + len(single)
            places |= {place for place, found in edges if any(known(edge.to) for edge in found)}
            single |= {rel for rel in rels - single if self._is_single(rel, known)}
        return known, single

    def _is_single(self, rel: Rel, known: Known) -> bool:
        """Whether at most one row of a relation is left, given columns that have one value."""
        if rel.relation is not None:
            return any(all(known((rel, n)) for n in unique) for unique in rel.relation.unique)
        if rel.inner is not None:
            outputs = frozenset(t.number("resno") for t in rel.inner.outputs())
            return self._one_row(rel.inner, frozenset(n for n in outputs if known((rel, n))), known)
        entry = rel.scope.entry(rel.index)
        if entry.number("rtekind") != _FUNCTION:
            return entry.number("rtekind") == _NOTHING
        if entry.flag("funcordinality") and known((rel, _width(entry))):
            return True
        calls = [f.node("funcexpr") for f in entry.items("functions")]
        return all(call is not None and not call.flag("funcretset") for call in calls)

    def _are_known(self, scope: Scope, clauses: Sequence[Node], fixed: frozenset[int], known: Known) -> bool:
        """Whether all that is grouped by has one value; false where nothing is."""
        targets = {t.number("ressortgroupref"): t for t in scope.query.items("targetList")}

        def has_one(clause: Node) -> bool:
            target = targets[clause.number("tleSortGroupRef")]
            if target.number("resno") in fixed:
                return True
            reference = plain(scope, target.node("expr"))
            return reference is not None and known(reference.place)

        return bool(clauses) and all(has_one(clause) for clause in clauses)

    def _constants(self, scope: Scope) -> Iterator[Place]:
        """Columns that a condition gives one value, in all rows in which their table has one."""
        for quals, thinned in _tests(scope):
            for test in _conjuncts([quals]):
                sides = test.items("args") if test.label == "OPEXPR" else []
                for one, other in (sides, sides[::-1]) if len(sides) == 2 else ():
                    reference = plain(scope, one)
                    families = self._facts.equality.get(test.number("opno"), frozenset())
                    if (
                        reference is not None
                        and other.label == "CONST"
                        and reference.rel in thinned
                        and self._facts.families.get(reference.type) in families
                    ):
                        yield reference.place

    # No nulls

    def _output_is_set(self, scope: Scope, number: int) -> bool:
        """Whether an output column is never null."""
        if scope.opaque:
            return False
        operations = scope.query.node("setOperations")
        if operations is not None:
            arms = [scope.rels[n.number("rtindex")] for n in _leaves(operations)]
            return all(arm.inner is not None and self._output_is_set(arm.inner, number) for arm in arms)
        target = next((t for t in scope.outputs() if t.number("resno") == number), None)
        return target is not None and self._is_set(scope, target.node("expr"))

    def _is_set(self, scope: Scope, node: Node | None) -> bool:
        """Whether an expression is never null in the rows that a query returns."""
        node = _resolved(scope, node)
        if node is None:
            return False
        if _form(scope, node) in set(self._conditions(scope)):
            return True
        # A grouping set has nulls for what it does not group by.
        return not scope.query.has("groupingSets") and self._has_value(scope, node)

    def _has_value(self, scope: Scope, node: Node) -> bool:
        """The same of an expression that nothing was tested about."""
        parts = node.items("args")
        if node.label == "CASEEXPR":
            results = [*(when.node("result") for when in parts), node.node("defresult")]
            return all(self._is_set(scope, result) for result in results)
        if node.label in _CALLS:
            is_total = node.number(_CALLS[node.label]) in self._facts.total and not node.flag("funcretset")
            # Aggregates and window functions count rows, whatever these have.
            is_call = node.label in ("FUNCEXPR", "OPEXPR")
            return is_total and (not is_call or all(self._is_set(scope, part) for part in parts))
        if node.label in ("COALESCEEXPR", "MINMAXEXPR"):
            return any(self._is_set(scope, part) for part in parts)
        if node.label == "VAR":
            return self._column_is_set(scope, node)
        if node.label in _THROUGH:
            return self._is_set(scope, node.node("arg"))
        return node.label == "CONST" and not node.flag("constisnull")

    def _column_is_set(self, scope: Scope, node: Node) -> bool:
        index, number = node.number("varno"), node.number("varattno")
        rel = scope.rels.get(index)
        if node.number("varlevelsup") or rel is None or scope.nulled_by.get(index):
            return False
        if rel.relation is not None:
            return number in rel.relation.not_null
        if rel.inner is not None:
            return self._output_is_set(rel.inner, number)
        entry = scope.entry(index)
        if entry.number("rtekind") != _FUNCTION:
            return False
        if entry.flag("funcordinality") and number == _width(entry):
            return True
        calls = [f.node("funcexpr") for f in entry.items("functions")]
        # Of several functions the shorter ones are filled up with nulls.
        return len(calls) == 1 and calls[0] is not None and calls[0].number("funcid") in self._facts.total

    def _conditions(self, scope: Scope) -> Iterator[Form]:
        """What every row that a query returns was tested not to be null, or compared as equal."""
        for test in [*_conjuncts(_where(scope)), *_conjuncts([scope.query.node("havingQual")])]:
            if test.label == "NULLTEST":
                if test.number("nulltesttype") == _IS_NOT_NULL and not test.flag("argisrow"):
                    yield _form(scope, test.node("arg"))
            elif test.number("opno") in self._facts.equality:
                sides = test.items("args")
                if test.label == "OPEXPR":
                    yield from (_form(scope, side) for side in sides)
                elif test.label == "SCALARARRAYOPEXPR" and test.flag("useOr"):
                    yield _form(scope, sides[0])


def _is_one(limit: Node | None) -> bool:
    """Whether a LIMIT is 1, which the server writes as a cast of it."""
    while limit is not None and limit.label == "FUNCEXPR" and len(limit.items("args")) == 1:
        limit = limit.items("args")[0]
    return limit is not None and limit.string(BYTES) in _ONE


def _operations(node: Node | None) -> Iterator[Node]:
    """The set operations of a query, at any depth."""
    if node is not None and node.label == "SETOPERATIONSTMT":
        yield node
        yield from _operations(node.node("larg"))
        yield from _operations(node.node("rarg"))


def _leaves(operations: Node) -> Iterator[Node]:
    """The arms that rows come from: of EXCEPT and INTERSECT the left one."""
    if operations.label == "RANGETBLREF":
        yield operations
        return
    left, right = operations.node("larg"), operations.node("rarg")
    if left is not None:
        yield from _leaves(left)
    if right is not None and operations.number("op") == 1:
        yield from _leaves(right)


def _joins(node: Node | None) -> Iterator[Node]:
    """The joins of a FROM."""
    waiting = [node] if node is not None else []
    while waiting:
        one = waiting.pop()
        if one.label == "JOINEXPR":
            yield one
            waiting += [arm for arm in (one.node("larg"), one.node("rarg")) if arm]
        waiting += one.items("fromlist")


def _tests(scope: Scope) -> Iterator[tuple[Node | None, set[Rel]]]:
    """The conditions of FROM and WHERE, each with the relations of which it leaves only rows that pass it."""
    tree = scope.query.node("jointree")
    if tree is None or scope.opaque:
        return
    yield tree.node("quals"), _in_from(scope)
    for join in _joins(tree):
        sides = {INNER: ("larg", "rarg"), LEFT: ("rarg",), RIGHT: ("larg",)}.get(join.number("jointype"), ())
        arms = [arm for arm in map(join.node, sides) if arm is not None]
        yield join.node("quals"), {scope.rels[index] for arm in arms for index in _indexes(arm)}


def _indexes(node: Node) -> Iterator[int]:
    """The places in the range table of what stands below a node of FROM."""
    if node.label == "RANGETBLREF":
        yield node.number("rtindex")
    for arm in (node.node("larg"), node.node("rarg"), *node.items("fromlist")):
        if arm is not None:
            yield from _indexes(arm)


def _in_from(scope: Scope) -> set[Rel]:
    return {rel for index, rel in scope.rels.items() if index in scope.inside}


def _where(scope: Scope) -> list[Node | None]:
    """The conditions that must hold for every row of FROM, with outer joins around them or not."""
    tree = scope.query.node("jointree")
    found = [tree.node("quals")] if tree is not None else []
    waiting = tree.items("fromlist") if tree is not None else []
    while waiting:
        node = waiting.pop()
        if node.label == "FROMEXPR":
            found.append(node.node("quals"))
            waiting += node.items("fromlist")
        elif node.label == "JOINEXPR":
            kind = node.number("jointype")
            if kind == INNER:
                found.append(node.node("quals"))
            # What an outer join may leave out need not hold.
            kept = {INNER: ("larg", "rarg"), LEFT: ("larg",), RIGHT: ("rarg",), FULL: ()}.get(kind, ())
            waiting += [arm for arm in map(node.node, kept) if arm is not None]
    return found


def _conjuncts(conditions: Sequence[Node | None]) -> Iterator[Node]:
    """The tests that must all be true."""
    for node in conditions:
        if node is not None and node.label == "BOOLEXPR" and node.string("boolop") == _AND:
            yield from _conjuncts(node.items("args"))
        elif node is not None:
            yield node


def _width(entry: Node) -> int:
    """How many columns an entry of FROM has; the last one is its ordinality."""
    alias = entry.node("eref")
    names = alias.fields.get("colnames") if alias is not None else None
    return len(names) if isinstance(names, list) else 0


def _resolved(scope: Scope, node: Node | None) -> Node | None:
    """An expression, through the aliases of joins and the grouping of newer servers."""
    while node is not None and node.label == "VAR" and not node.number("varlevelsup"):
        entry = scope.entry(node.number("varno")) if node.number("varno") > 0 else None
        aliases = {JOIN: "joinaliasvars", GROUP: "groupexprs"}.get(entry.number("rtekind") if entry else -1)
        if entry is None or aliases is None or node.number("varattno") <= 0:
            break
        node = entry.items(aliases)[node.number("varattno") - 1]
    return node


def _form(scope: Scope, value: Value) -> Form:
    """An expression without its places in the text."""
    if isinstance(value, Node):
        node = _resolved(scope, value)
        while node is not None and node.label == "RELABELTYPE":
            node = _resolved(scope, node.node("arg"))
        if node is None:
            return None
        if node.label == "SUBLINK":
            # Equal to no other, not even to itself in another place.
            return (node.label, str(id(node)))
        fields = sorted((n, v) for n, v in node.fields.items() if n not in _POSITIONS)
        return (node.label, *((name, _form(scope, inner)) for name, inner in fields))
    if isinstance(value, list):
        return tuple(_form(scope, item) for item in value)
    return value
