"""Refuses a SELECT whose answer depends on the settings of the session that asks: the time zone, the style of
dates, the locale. A cached row is one answer for everybody.

The server says which functions are not immutable, but not which of them are harmless here: `to_jsonb` is, of
a number, and is not of a moment. Casts through text have no function at all. So the arguments are looked at.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, text

from meshcache_pg import facts
from meshcache_pg.definition import Definition
from meshcache_pg.errors import DefinitionError
from meshcache_pg.nodes import Node, Value, expressions, parse
from meshcache_pg.sql import query

_FUNCTIONS = re.compile(r":(?:funcid|opfuncid|winfnoid|aggfnoid) (\d+)")
_CALLS: Final = {"FUNCEXPR": "funcid", "OPEXPR": "opfuncid", "WINDOWFUNC": "winfnoid", "AGGREF": "aggfnoid"}
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
    whose text depends on settings as (name, in JSON, too).
    """

    functions: Mapping[int, tuple[str, bool, bool]]
    types: Mapping[int, tuple[str, bool]]


def check(connection: Connection, definition: Definition, oid: int) -> None:
    """Raise DefinitionError where the SELECT depends on the session, unless the definition allows that."""
    if "session" in definition.allow:
        return
    trees = list(facts.trees(connection, oid).values())
    types = connection.execute(text(query("session", "types")))
    known = _Catalog(_functions(connection, trees), {row.oid: (row.name, row.in_json) for row in types})
    found = sorted({words for tree in trees for words in _dependent(parse(tree), known)})
    if found:
        raise DefinitionError(
            f"{definition.name}: the SELECT has {', '.join(found)}, which depends on the session's settings",
            hint="Say what is meant (at time zone 'UTC', to_char), or that it is meant: -- allow: session",
        )


def becomes_text(connection: Connection, trees: Sequence[str], types: Mapping[int, str]) -> bool:
    """Whether the parsed queries turn a value of one of these types (oid and name) into text or JSON."""
    functions = {oid: found for oid, found in _functions(connection, trees).items() if found[1]}
    known = _Catalog(functions, {oid: (name, True) for oid, name in types.items()})
    return any(True for tree in trees for _ in _dependent(parse(tree), known))


def _functions(connection: Connection, trees: Iterable[str]) -> dict[int, tuple[str, bool, bool]]:
    called = sorted({int(number) for tree in trees for number in _FUNCTIONS.findall(tree)})
    rows = connection.execute(text(query("session", "stable_functions")), {"oids": called})
    return {row.oid: (row.name, row.polymorphic, row.writes_json) for row in rows}


def _dependent(queries: Iterable[Node], known: _Catalog) -> Iterator[str]:
    everything = list(_everything(queries))
    outputs = [node for node in everything if node.label == "TARGETENTRY"]
    for node in everything:
        if node.label == "COERCEVIAIO":
            for type_ in (_type(node.node("arg")), node.number("resulttype")):
                if type_ in known.types:
                    yield f"a cast of {known.types[type_][0]} through text"
        elif node.label == "JSONCONSTRUCTOREXPR":
            yield from _arguments("a JSON constructor", node, known, outputs, in_json=True)
        elif node.label in _CALLS and (called := known.functions.get(node.number(_CALLS[node.label]))):
            name, polymorphic, writes_json = called
            if polymorphic:
                yield from _arguments(name, node, known, outputs, in_json=writes_json)
            else:
                yield name


def _arguments(
    name: str, node: Node, known: _Catalog, outputs: Iterable[Node], *, in_json: bool
) -> Iterator[str]:
    """A call that turns any type into text is as good as its arguments."""
    # What an aggregate only sorts by is among its arguments, too.
    waiting = [argument for argument in node.items("args") if not argument.flag("resjunk")]
    while waiting:
        argument = waiting.pop()
        inner = argument.node("expr") if argument.label == "TARGETENTRY" else None
        type_ = _type(inner or argument)
        if argument.label == "ROWEXPR":
            waiting += argument.items("args")
        elif type_ == _RECORD:
            # The row of some sub-query: of which one does not matter much.
            waiting += [o for o in outputs if _type(o.node("expr")) != _RECORD]
        elif type_ in known.types and (known.types[type_][1] or not in_json):
            yield f"{name} of {known.types[type_][0]}"


def _type(node: Node | None) -> int:
    """The type of an expression; 0 for a boolean."""
    if node is None:
        return 0
    if node.label == "SUBLINK":
        subselect = node.node("subselect")
        outputs = subselect.items("targetList") if subselect else []
        return _type(outputs[0].node("expr")) if outputs else 0
    return next((node.number(name) for name in _TYPE_FIELDS if node.has(name)), 0)


def _everything(queries: Iterable[Node]) -> Iterator[Node]:
    """Every node, those in queries inside of queries too."""
    waiting: list[Value] = list(queries)
    while waiting:
        value = waiting.pop()
        for node in expressions(*value.fields.values()) if isinstance(value, Node) else ():
            yield node
            if node.label == "QUERY":
                waiting.append(node)
