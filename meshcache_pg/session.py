"""Refuses a SELECT whose answer depends on the settings of the session that asks: the time zone, the style of
dates, the locale. A cached row is one answer for everybody.

The server says which functions are not immutable, but not which of them are harmless here: `to_jsonb` is, of
a number, and is not of a moment. Casts through text have no function at all. So the arguments are looked at.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, text

from meshcache_pg.calls import FUNCTIONS
from meshcache_pg.definition import Definition
from meshcache_pg.errors import DefinitionError
from meshcache_pg.nodes import Node, Value, everything, parse
from meshcache_pg.sql import query

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


def check(
    connection: Connection, definition: Definition, trees: Sequence[str], judged: frozenset[int]
) -> None:
    """Raise DefinitionError where the SELECT depends on the session, unless the definition allows that.

    `trees` are the parsed views of facts.trees, `judged` functions that were looked at already.
    """
    if "session" in definition.allow:
        return
    types = connection.execute(text(query("session", "types")))
    known = _Catalog(
        _functions(connection, trees, judged), {row.oid: (row.name, row.in_json) for row in types}
    )
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


def _functions(
    connection: Connection, trees: Iterable[str], judged: frozenset[int] = frozenset()
) -> dict[int, tuple[str, bool, bool]]:
    called = sorted({int(number) for tree in trees for number in FUNCTIONS.findall(tree)} - judged)
    rows = connection.execute(text(query("session", "stable_functions")), {"oids": called})
    return {row.oid: (row.name, row.polymorphic, row.writes_json) for row in rows}


def _dependent(queries: Sequence[Node], known: _Catalog) -> Iterator[str]:
    nodes = list(everything(queries))
    records = dict(_records(queries))
    everywhere = [node for node in nodes if node.label == "TARGETENTRY"]
    for node in nodes:
        if node.label == "COERCEVIAIO":
            for type_ in (_type(node.node("arg")), node.number("resulttype")):
                if type_ in known.types:
                    yield f"a cast of {known.types[type_][0]} through text"
            continue
        if node.label == "JSONCONSTRUCTOREXPR":
            name, polymorphic, writes_json = "a JSON constructor", True, True
        elif node.label in _CALLS and (called := known.functions.get(node.number(_CALLS[node.label]))):
            name, polymorphic, writes_json = called
        else:
            continue
        if not polymorphic:
            yield name
            continue
        for argument in _arguments(node, records, everywhere):
            type_ = _type(argument)
            if type_ in known.types and (known.types[type_][1] or not writes_json):
                yield f"{name} of {known.types[type_][0]}"


def _arguments(call: Node, records: Mapping[int, list[Node]], everywhere: Sequence[Node]) -> Iterator[Node]:
    """What a call that turns any type into text is given, rows of it by their columns."""
    # What an aggregate only sorts by is among its arguments, too.
    waiting = [argument for argument in call.items("args") if not argument.flag("resjunk")]
    seen: set[int] = set()
    while waiting:
        argument = waiting.pop()
        if argument.label == "TARGETENTRY":
            argument = argument.node("expr") or argument
        if id(argument) in seen:
            continue
        seen.add(id(argument))
        if argument.label == "ROWEXPR":
            waiting += argument.items("args")
        elif _type(argument) == _RECORD:
            # Where it is not known which sub-query's row it is, it may be any.
            waiting += records.get(id(argument), everywhere)
        else:
            yield argument


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
