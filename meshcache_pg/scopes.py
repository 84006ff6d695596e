"""The SELECT of a view as a tree of scopes: each query with the relations in its FROM, sub-queries, views and
CTEs opened up, so that every place where a table is read is one occurrence of its own.

A CTE that is read twice is two occurrences, and so is a view: what such a SELECT returns does not depend on
whether it is computed once or twice, because it may not call volatile functions.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from meshcache_pg.errors import DefinitionError
from meshcache_pg.nodes import Node, Value, expressions, parse

# RTEKind of the server. A kind that is not named here is refused: a later version may have it.
RELATION: Final = 0
SUBQUERY: Final = 1
JOIN: Final = 2
CTE: Final = 6
GROUP: Final = 9
_WITHOUT_TABLES: Final = {3: "a function", 4: "a table function", 5: "values", 8: "nothing"}

INNER, LEFT, FULL, RIGHT = range(4)


@dataclass(frozen=True, slots=True)
class Relation:
    """What the catalog knows of a relation: columns by number, which sets of them are unique, and which are
    never null.
    """

    oid: int
    schema: str
    name: str
    kind: str
    columns: Mapping[int, str] = field(hash=False)
    unique: tuple[frozenset[int], ...] = ()
    # Computed when read: their values are not there where marks are made.
    virtual: frozenset[int] = frozenset()
    not_null: frozenset[int] = frozenset()

    @property
    def text(self) -> str:
        """The name for messages."""
        return self.name if self.schema == "public" else f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the derivation has to know of the catalog, all by oid: the parsed views, the relations, the btree
    operator family that a type compares by, the families in which an operator is the immutable equality, the
    collations that take different strings for equal, and the functions that never return a null of their own.
    """

    trees: Mapping[int, str]
    relations: Mapping[int, Relation]
    families: Mapping[int, int]
    equality: Mapping[int, frozenset[int]]
    nondeterministic: frozenset[int] = frozenset()
    total: frozenset[int] = frozenset()


@dataclass(eq=False, slots=True)
class Rel:
    """One place where rows come from: a table (`relation`), a query (`inner`), or something without either.
    `index` is its place in the scope's range table, negative for a sub-query in an expression.
    """

    scope: "Scope"
    index: int
    name: str
    relation: Relation | None = None
    inner: "Scope | None" = None


@dataclass(eq=False, slots=True)
class Scope:
    """One query. `position` is where it stands in its parent: None above the whole FROM, else the index of a
    join or of a relation. `opaque` ones are only searched for tables.
    """

    query: Node
    parent: "Scope | None" = None
    position: int | None = None
    outer: Rel | None = None
    opaque: bool = False
    rels: dict[int, Rel] = field(default_factory=dict)
    sublinks: dict[int, Rel] = field(default_factory=dict)
    # For each relation and join: the joins that it stands in, and those of them that may make it null.
    inside: dict[int, tuple[int, ...]] = field(default_factory=dict)
    nulled_by: dict[int, frozenset[int]] = field(default_factory=dict)

    def up(self, levels: int) -> "Scope | None":
        """The scope this many levels further out."""
        scope: Scope | None = self
        for _ in range(levels):
            scope = scope.parent if scope else None
        return scope

    def entry(self, index: int) -> Node:
        """An entry of the range table."""
        return self.query.items("rtable")[index - 1]

    def outputs(self) -> list[Node]:
        """The target entries that the query returns, in order."""
        return [t for t in self.query.items("targetList") if not t.flag("resjunk")]


class Refused(DefinitionError):
    """A SELECT, or a part of one, whose dependencies cannot be derived."""


class ScopeBuilder:
    """Opens a view up; `occurrences` are the tables it reads, one for each place."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self.occurrences: list[Rel] = []
        self.scopes: list[Scope] = []

    def view(self, oid: int, outer: Rel | None = None) -> Scope:
        """The outermost scope of a view."""
        scope = Scope(
            parse(self._facts.trees[oid])[0], outer=outer, opaque=bool(outer and outer.scope.opaque)
        )
        self._fill(scope)
        return scope

    def _fill(self, scope: Scope) -> None:
        self.scopes.append(scope)
        query = scope.query
        if query.has("rowMarks"):
            raise Refused("the SELECT locks rows", hint="Leave FOR UPDATE or FOR SHARE away.")
        tree = query.node("jointree")
        if tree is not None:
            self._visit(scope, tree, (), frozenset())
        if query.has("setOperations"):
            for leaf in expressions(query.fields["setOperations"]):
                if leaf.label == "RANGETBLREF":
                    self._relation(scope, leaf.number("rtindex"))
        for position, value in _positions(scope):
            for node in expressions(value):
                if node.label == "SUBLINK":
                    self._sublink(scope, node, position)

    def _visit(self, scope: Scope, node: Node, inside: tuple[int, ...], nulled: frozenset[int]) -> None:
        """Note every relation and join below this one, with the joins around it."""
        if node.label == "FROMEXPR":
            for item in node.items("fromlist"):
                self._visit(scope, item, inside, nulled)
        elif node.label == "JOINEXPR":
            index = node.number("rtindex")
            kind = node.number("jointype")
            within = (*inside, index)
            scope.inside[index] = within
            for side, nulls in (("larg", (FULL, RIGHT)), ("rarg", (FULL, LEFT))):
                arm = node.node(side)
                if arm is not None:
                    self._visit(scope, arm, within, nulled | {index} if kind in nulls else nulled)
        elif node.label == "RANGETBLREF":
            index = node.number("rtindex")
            scope.inside[index] = inside
            scope.nulled_by[index] = nulled
            self._relation(scope, index)
        else:
            raise Refused(f"the SELECT has a {node.label} in FROM", hint="Declare -- depends: lines.")

    def _relation(self, scope: Scope, index: int) -> None:
        entry = scope.entry(index)
        kind = entry.number("rtekind")
        alias = entry.node("eref")
        rel = Rel(scope, index, alias.string("aliasname") if alias else "")
        scope.rels[index] = rel
        if entry.has("tablesample"):
            raise Refused("the SELECT reads a sample of a table", hint="Leave TABLESAMPLE away.")
        if kind == RELATION:
            oid = entry.number("relid")
            if oid in self._facts.trees:
                rel.inner = self.view(oid, rel)
            else:
                rel.relation = self._facts.relations[oid]
                self.occurrences.append(rel)
        elif kind == SUBQUERY:
            subquery = entry.node("subquery")
            if subquery is not None:
                rel.inner = Scope(subquery, scope, index, rel, scope.opaque)
                self._fill(rel.inner)
        elif kind == CTE:
            self._cte(scope, rel, entry)
        elif kind not in _WITHOUT_TABLES:
            raise Refused("the SELECT has something unknown in FROM", hint="Declare -- depends: lines.")

    def _cte(self, scope: Scope, rel: Rel, entry: Node) -> None:
        if entry.flag("self_reference"):
            return
        home = scope.up(entry.number("ctelevelsup"))
        for cte in home.query.items("cteList") if home else ():
            query = cte.node("ctequery")
            if cte.string("ctename") == entry.string("ctename") and query is not None:
                rel.inner = Scope(query, home, None, rel, scope.opaque or cte.flag("cterecursive"))
                self._fill(rel.inner)

    def _sublink(self, scope: Scope, node: Node, position: int | None) -> None:
        query = node.node("subselect")
        if query is None or id(node) in scope.sublinks:
            return
        rel = Rel(scope, -1 - len(scope.sublinks), "a sub-query")
        scope.sublinks[id(node)] = rel
        rel.inner = Scope(query, scope, position, rel, scope.opaque)
        self._fill(rel.inner)


def _positions(scope: Scope) -> Iterator[tuple[int | None, Value]]:
    """Everything in a query that can hold an expression, with where in FROM it is computed."""
    query = scope.query
    waiting = [query.node("jointree")]
    while waiting:
        node = waiting.pop()
        if node is None:
            continue
        if node.label == "JOINEXPR":
            yield node.number("rtindex"), node.fields.get("quals")
            waiting += [node.node("larg"), node.node("rarg")]
        elif node.label == "FROMEXPR":
            yield None, node.fields.get("quals")
            waiting += node.items("fromlist")
    for index, entry in enumerate(query.items("rtable"), 1):
        kind = entry.number("rtekind")
        if index in scope.rels:
            for name in ("functions", "values_lists", "tablefunc"):
                yield index, entry.fields.get(name)
        elif kind == GROUP:
            yield None, entry.fields.get("groupexprs")
    for name, value in query.fields.items():
        if name not in ("jointree", "rtable", "cteList", "setOperations"):
            yield None, value
