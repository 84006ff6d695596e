"""Refuses a SELECT whose answer depends on the settings of the session that asks: the time zone, the style of
dates, the locale. A cached row is one answer for everybody.

The server says which functions are not immutable, but not which of them are harmless here: `to_jsonb` is, of
a number, and is not of a moment. Casts through text have no function at all. So the arguments are looked at.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, text
from sqlalchemy.engine import Row

from meshcache_pg.definition import Definition
from meshcache_pg.errors import DefinitionError
from meshcache_pg.nodes import Node, Value, everything, parse
from meshcache_pg.sql import query

_FUNCTIONS = re.compile(
    r":(?:funcid|opfuncid|winfnoid|aggfnoid|startInRangeFunc|endInRangeFunc) (\d+)",
)
_COMPARISONS = re.compile(r":opnos \(o ([\d ]+)\)")
_CALLS: Final = {
    "FUNCEXPR": ("funcid",),
    "OPEXPR": ("opfuncid",),
    "DISTINCTEXPR": ("opfuncid",),
    "NULLIFEXPR": ("opfuncid",),
    "SCALARARRAYOPEXPR": ("opfuncid",),
    "WINDOWFUNC": ("winfnoid",),
    "AGGREF": ("aggfnoid",),
    "WINDOWCLAUSE": ("startInRangeFunc", "endInRangeFunc"),
}
_RECORD: Final = 2249
# Where nodes keep the type of their result; what has none of these is a boolean.
_TYPES = """
    vartype consttype funcresulttype opresulttype resulttype aggtype wintype casetype coalescetype minmaxtype
    array_typeid row_typeid paramtype refrestype refelemtype typeId typid
"""
_TYPE_FIELDS: Final = tuple(_TYPES.split())


@dataclass(frozen=True, slots=True)
class _Catalog:
    """What the server knows: stable built-in functions as (name, is polymorphic, writes JSON), and types
    whose text depends on settings as (name, in JSON, too); operators that are not immutable, types that
    others become without a cast that one sees, and whether a JSON path may make moments of text.
    """

    functions: Mapping[int, tuple[str, bool, bool]]
    types: Mapping[int, tuple[str, bool]]
    comparisons: Mapping[int, str]
    silent: Mapping[int, str]
    moments_in_paths: bool


@dataclass(frozen=True, slots=True)
class _Rows:
    """What rows of sub-queries consist of: by the node that refers to one, and of all of them."""

    known: Mapping[int, Sequence[Node]]
    all: Sequence[Node]


def check(
    connection: Connection, definition: Definition, views: Mapping[int, str], judged: frozenset[int]
) -> None:
    """Raise DefinitionError where the SELECT depends on the session, unless the definition allows that.

    `views` are the parsed views of facts.trees, `judged` functions that were looked at already.
    """
    if "session" in definition.allow:
        return
    trees = list(views.values())
    known = _known(connection, list(views), "".join(trees), judged)
    found = sorted({words for tree in trees for words in _dependent(parse(tree), known)})
    if found:
        raise DefinitionError(
            f"{definition.name}: the SELECT has {', '.join(found)}, which depends on the session's settings",
            hint="Say what is meant (at time zone 'UTC', to_char), or that it is meant: -- allow: session",
        )


def becomes_text(connection: Connection, views: Mapping[int, str], types: Mapping[int, str]) -> bool:
    """Whether the parsed views turn a value of one of these types (oid and name) into text or JSON."""
    trees = list(views.values())
    known = _known(connection, list(views), "".join(trees))
    known = _Catalog(
        functions={oid: found for oid, found in known.functions.items() if found[1]},
        types={oid: (name, True) for oid, name in types.items()},
        comparisons={},
        silent={},
        moments_in_paths=False,
    )
    return any(True for tree in trees for _ in _dependent(parse(tree), known))


def _known(
    connection: Connection, views: Sequence[int], trees: str, judged: frozenset[int] = frozenset()
) -> _Catalog:
    """Ask the server about what these trees name."""

    def ask(name: str, **given: object) -> Sequence[Row[Any]]:
        return connection.execute(text(query("session", name)), given).all()

    called = sorted({int(number) for number in _FUNCTIONS.findall(trees)} - judged)
    compared = sorted({int(n) for numbers in _COMPARISONS.findall(trees) for n in numbers.split()})
    return _Catalog(
        functions={
            row.oid: (row.name, row.polymorphic, row.writes_json)
            for row in ask("stable_functions", oids=called)
        },
        types={row.oid: (row.name, row.in_json) for row in ask("types")},
        comparisons={row.oid: row.name for row in ask("comparisons", oids=compared)},
        silent={row.oid: row.name for row in ask("silent_casts")},
        moments_in_paths="{JSONEXPR " in trees and ask("moments_in_paths", oids=views)[0][0],
    )


def _dependent(queries: Sequence[Node], known: _Catalog) -> Iterator[str]:
    # The queries themselves as well: they may be set operations.
    nodes = [*queries, *everything(queries)]
    rows = _Rows(dict(_records(queries)), [node for node in nodes if node.label == "TARGETENTRY"])
    for node in nodes:
        if node.label == "COERCEVIAIO":
            argument = node.node("arg")
            yield from _arguments("a cast through text", [argument] if argument else [], known, rows)
            if node.number("resulttype") in known.types:
                yield f"a cast through text to {known.types[node.number('resulttype')][0]}"
        elif node.label == "JSONCONSTRUCTOREXPR":
            yield from _arguments("a JSON constructor", node.items("args"), known, rows, in_json=True)
        elif node.label == "JSONEXPR":
            yield from _json_expression(node, known, rows)
        elif node.label == "ROWCOMPAREEXPR":
            yield from (known.comparisons[n] for n in node.numbers("opnos") if n in known.comparisons)
        elif node.label == "QUERY":
            yield from _combined(node, known)
        for field in _CALLS.get(node.label, ()):
            name, polymorphic, writes_json = known.functions.get(node.number(field), ("", True, False))
            if name and polymorphic:
                yield from _arguments(name, node.items("args"), known, rows, in_json=writes_json)
            elif name:
                yield name


def _json_expression(node: Node, known: _Catalog, rows: _Rows) -> Iterator[str]:
    """JSON_VALUE and its like turn text into any type, and compare moments in their paths."""
    path, returning = node.node("path_spec"), node.node("returning")
    passed = node.items("passing_values")
    yield from _arguments("a JSON path", passed, known, rows)
    if known.moments_in_paths or (path is not None and path.label != "CONST"):
        yield "a JSON path that may read moments"
    type_ = returning.number("typid") if returning else 0
    if type_ in known.types:
        yield f"a JSON path that returns {known.types[type_][0]}"


def _combined(query_: Node, known: _Catalog) -> Iterator[str]:
    """UNION and its like cast their arms to a common type, of which the stored tree says nothing."""
    entries = query_.items("rtable")
    waiting = [query_.node("setOperations")]
    while waiting:
        operation = waiting.pop()
        for side in ("larg", "rarg"):
            arm = operation.node(side) if operation else None
            if operation is None or arm is None:
                continue
            types = arm.numbers("colTypes")
            if arm.label == "RANGETBLREF":
                subquery = entries[arm.number("rtindex") - 1].node("subquery")
                outputs = subquery.items("targetList") if subquery else []
                types = [_type(o.node("expr")) for o in outputs if not o.flag("resjunk")]
            else:
                waiting.append(arm)
            for have, wanted in zip(types, operation.numbers("colTypes"), strict=True):
                if have != wanted and wanted in known.silent:
                    yield f"a set operation that casts to {known.silent[wanted]}"


def _arguments(
    name: str,
    arguments: Sequence[Node],
    known: _Catalog,
    rows: _Rows,
    *,
    in_json: bool = False,
) -> Iterator[str]:
    """A call that turns any type into text is as good as its arguments, and rows are as their columns."""
    # What an aggregate only sorts by is among its arguments, too.
    waiting = [argument for argument in arguments if not argument.flag("resjunk")]
    seen: set[int] = set()
    while waiting:
        argument = waiting.pop()
        if argument.label == "TARGETENTRY":
            argument = argument.node("expr") or argument
        if id(argument) in seen:
            continue
        seen.add(id(argument))
        type_ = _type(argument)
        if argument.label == "ROWEXPR":
            waiting += argument.items("args")
        elif type_ == _RECORD:
            # Where it is not known which sub-query's row it is, it may be any.
            waiting += rows.known.get(id(argument), rows.all)
        elif type_ in known.types and (known.types[type_][1] or not in_json):
            yield f"{name} of {known.types[type_][0]}"


def _records(queries: Iterable[Node]) -> Iterator[tuple[int, list[Node]]]:
    """The references to the whole row of a query in FROM, with what that query returns."""
    waiting: list[tuple[Value, tuple[Node, ...]]] = [(one, ()) for one in queries]
    while waiting:
        value, around = waiting.pop()
        if isinstance(value, list):
            waiting += [(inner, around) for inner in value]
        elif isinstance(value, Node):
            around = (*around, value) if value.label == "QUERY" else around
            waiting += [(inner, around) for inner in value.fields.values()]
            levels = value.number("varlevelsup")
            if value.label == "VAR" and not value.number("varattno") and levels < len(around):
                entry = around[-1 - levels].items("rtable")[value.number("varno") - 1]
                inner_query = entry.node("subquery")
                if inner_query is not None:
                    outputs = [t for t in inner_query.items("targetList") if not t.flag("resjunk")]
                    yield id(value), outputs


def _type(node: Node | None) -> int:
    """The type of an expression; 0 for a boolean."""
    if node is None:
        return 0
    if node.label == "SUBLINK":
        subselect = node.node("subselect")
        outputs = subselect.items("targetList") if subselect else []
        return _type(outputs[0].node("expr")) if outputs else 0
    return next((node.number(name) for name in _TYPE_FIELDS if node.has(name)), 0)
