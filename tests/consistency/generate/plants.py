"""Mistakes to plant in the derivation of dependencies, one for each of its rules: what the generator is worth
is whether it finds them.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from meshcache_pg import deriving, equalities, preparing, references, scopes, ways
from meshcache_pg.dependencies import Derivation, Found, derive
from meshcache_pg.equalities import Equalities
from meshcache_pg.nodes import Node
from meshcache_pg.references import Reference

Plant = Callable[[pytest.MonkeyPatch], None]


def _without(patch: pytest.MonkeyPatch, *parts: str) -> None:
    """Let parts of a query not be there for the derivation."""
    has, items, flag = Node.has, Node.items, Node.flag
    patch.setattr(Node, "has", lambda node, part: part not in parts and has(node, part))
    patch.setattr(Node, "items", lambda node, part: [] if part in parts else items(node, part))
    patch.setattr(Node, "flag", lambda node, part: part not in parts and flag(node, part))


def _limit(patch: pytest.MonkeyPatch) -> None:
    _without(patch, "limitCount", "limitOffset")


def _window(patch: pytest.MonkeyPatch) -> None:
    _without(patch, "windowClause")


def _distinct_on(patch: pytest.MonkeyPatch) -> None:
    _without(patch, "hasDistinctOn")


def _groups(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Equalities, "_groups_by", lambda *_: True)


def _nullable_side(patch: pytest.MonkeyPatch) -> None:
    """ON of an outer join thins out the side that it keeps, too."""
    number = Node.number
    outer = (scopes.LEFT, scopes.RIGHT)

    def inner(node: Node, part: str) -> int:
        found = number(node, part)
        return scopes.INNER if part == "jointype" and found in outer else found

    patch.setattr(Node, "number", inner)


def _or(patch: pytest.MonkeyPatch) -> None:
    string = Node.string

    def read(node: Node, part: str) -> str:
        found = string(node, part)
        return "and" if part == "boolop" and found == "or" else found

    patch.setattr(Node, "string", read)


def _cast(patch: pytest.MonkeyPatch) -> None:
    """A cast, or any function of one argument, leaves the value as it is."""
    plain = references.plain

    def through(scope: scopes.Scope, node: Node | None) -> Reference | None:
        found = plain(scope, node)
        if found or node is None or node.label not in ("FUNCEXPR", "OPEXPR"):
            return found
        under = through(scope, node.items("args")[0])
        type_ = node.number("funcresulttype") or node.number("opresulttype")
        return replace(under, type=type_) if under else None

    for module in (references, equalities, ways):
        patch.setattr(module, "plain", through)


def null_looked_up(patch: pytest.MonkeyPatch) -> None:
    """A link may go on from a null that UNION, INTERSECT or EXCEPT has taken for equal to another.

    Not among RULES: a few seeds do not meet it, test_found.py has its schedule.
    """
    steps = ways.Ways._steps

    def strict(self: ways.Ways, place: Any, *, loose: bool) -> Any:
        del loose
        return [(to, visible, False) for to, visible, _ in steps(self, place, loose=False)]

    patch.setattr(ways.Ways, "_steps", strict)


def _second_arm(patch: pytest.MonkeyPatch) -> None:
    """Of UNION only the first arm is looked at."""
    builder = scopes.ScopeBuilder._fill

    def fill(self: scopes.ScopeBuilder, scope: scopes.Scope) -> None:
        before = len(self.occurrences)
        builder(self, scope)
        if scope.query.has("setOperations"):
            first = equalities._feeding(scope.query.node("setOperations") or scope.query)[0]
            kept = [r for r in self.occurrences[before:] if _below(r, scope.rels[first])]
            self.occurrences[before:] = kept

    patch.setattr(scopes.ScopeBuilder, "_fill", fill)
    patch.setattr(preparing, "check_readable", lambda *_: None)


def _below(rel: scopes.Rel, top: scopes.Rel) -> bool:
    here: scopes.Rel | None = rel
    while here is not None and here is not top:
        here = here.scope.outer
    return here is top


def _view(patch: pytest.MonkeyPatch) -> None:
    """The last table of each view is forgotten."""
    view = scopes.ScopeBuilder.view

    def opened(self: scopes.ScopeBuilder, oid: int, outer: scopes.Rel | None = None) -> scopes.Scope:
        before = len(self.occurrences)
        scope = view(self, oid, outer)
        # The outermost scope is the cached view itself, and has no name.
        if len(self.occurrences) > before and outer is not None and outer.name:
            self.occurrences.pop()
        return scope

    patch.setattr(scopes.ScopeBuilder, "view", opened)
    patch.setattr(preparing, "check_readable", lambda *_: None)


def _matter(patch: pytest.MonkeyPatch) -> None:
    """One of the columns that matter does not."""
    read = deriving._columns_read

    def fewer(*given: Any) -> Mapping[int, tuple[str, ...]]:
        return {oid: columns[:-1] for oid, columns in read(*given).items()}

    patch.setattr(deriving, "_columns_read", fewer)
    patch.setattr(preparing, "check_readable", lambda *_: None)


MATTER = "one column less matters"

RULES: dict[str, Plant] = {
    "LIMIT is transparent": _limit,
    "a window is transparent": _window,
    "DISTINCT ON is transparent": _distinct_on,
    "GROUP BY another column is transparent": _groups,
    "an outer join is an inner one": _nullable_side,
    "OR is AND": _or,
    "a cast is an equality": _cast,
    "UNION has one arm": _second_arm,
    "a view has one table less": _view,
    MATTER: _matter,
}


def _wrong(kind: str) -> Plant:
    """Every dependency of a kind marks another column than the one that leads to the key."""

    def other(found: Found, key: str) -> Found:
        if found.kind != kind:
            return found
        names = [n for n in found.relation.columns.values() if n not in found.columns]
        # The second one is not the key, and of a type that is like the key's.
        column = tuple(names[1:2])
        if kind == "flush":
            return replace(found, kind="key", columns=column, view_columns=(key,))
        return replace(found, columns=column, view_columns=found.view_columns[:1])

    def plant(patch: pytest.MonkeyPatch) -> None:
        def planted(oid: int, key: Any, facts: Any, *, add: bool = True) -> Derivation:
            derivation = derive(oid, key, facts, add=add)
            return replace(derivation, found=tuple(other(one, key[0]) for one in derivation.found))

        patch.setattr(deriving, "derive", planted)

    return plant


KINDS: dict[str, Plant] = {kind: _wrong(kind) for kind in ("key", "carried", "linked", "flush")}
