"""What column an expression is: through the aliases of joins, the grouping of newer servers, and casts that
leave the value as it is.
"""

from dataclasses import dataclass

from meshcache_pg.nodes import Node
from meshcache_pg.scopes import GROUP, JOIN, Rel, Scope

# A column of an occurrence, or of what a query in FROM returns.
Place = tuple[Rel, int]


@dataclass(frozen=True, slots=True)
class Reference:
    """A column as an expression names it, with the type and the collation that it has there."""

    rel: Rel
    column: int
    type: int
    collation: int

    @property
    def place(self) -> Place:
        """Without type and collation."""
        return (self.rel, self.column)


def plain(scope: Scope, node: Node | None) -> Reference | None:
    """The column that an expression is, through joins, grouping and casts that leave the value alone."""
    while node is not None and node.label == "RELABELTYPE":
        node = node.node("arg")
    if node is None or node.label != "VAR":
        return None
    home = scope.up(node.number("varlevelsup"))
    number, index = node.number("varattno"), node.number("varno")
    if home is None or number <= 0:
        return None
    entry = home.entry(index)
    aliases = {JOIN: "joinaliasvars", GROUP: "groupexprs"}.get(entry.number("rtekind"))
    if aliases:
        return plain(home, entry.items(aliases)[number - 1])
    if index not in home.rels:
        return None
    return Reference(home.rels[index], number, node.number("vartype"), node.number("varcollid"))


def merged(scope: Scope, node: Node | None) -> tuple[Reference, ...]:
    """The column that an expression is, or the two that a full join with USING merges into one."""
    one = plain(scope, node)
    if one:
        return (one,)
    while node is not None and node.label in ("RELABELTYPE", "VAR"):
        if node.label == "RELABELTYPE":
            node = node.node("arg")
            continue
        home = scope.up(node.number("varlevelsup"))
        entry = home.entry(node.number("varno")) if home else None
        aliases = {JOIN: "joinaliasvars", GROUP: "groupexprs"}.get(entry.number("rtekind") if entry else -1)
        if home is None or entry is None or not aliases or node.number("varattno") <= 0:
            return ()
        scope, node = home, entry.items(aliases)[node.number("varattno") - 1]
    if node is None or node.label != "COALESCEEXPR":
        return ()
    both = tuple(plain(scope, argument) for argument in node.items("args"))
    return tuple(r for r in both if r) if len(both) == 2 and all(both) else ()


def exposed(node: Node | None) -> tuple[int, int]:
    """Type and collation of an expression that is a column or a merge of two."""
    if node is None:
        return 0, 0
    for type_, collation in (
        ("vartype", "varcollid"),
        ("resulttype", "resultcollid"),
        ("coalescetype", "coalescecollid"),
    ):
        if node.has(type_):
            return node.number(type_), node.number(collation)
    return 0, 0


def output(scope: Scope, column: int) -> Reference | None:
    """An output column of a query with its type, whatever expression it is."""
    for target in scope.outputs():
        if target.number("resno") == column and scope.outer is not None:
            type_, collation = exposed(target.node("expr"))
            if type_:
                return Reference(scope.outer, column, type_, collation)
    return None
