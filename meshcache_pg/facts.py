"""Reads what the derivation of dependencies has to know of the catalog, in a handful of queries."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.engine import Row

from meshcache_pg.nodes import Node, everything, parse
from meshcache_pg.scopes import JOIN, RELATION, Facts, Relation
from meshcache_pg.sql import query

_RELATIONS = re.compile(r":relid (\d+)")
_OPERATORS = re.compile(r":(?:opno|eqop) (\d+)")
_FUNCTIONS = re.compile(r":(?:funcid|opfuncid|winfnoid|aggfnoid) (\d+)")
_TYPES = re.compile(r":(?:vartype|resulttype|coalescetype|colTypes) (?:\(o )?([\d ]+)")


def _numbers(pattern: re.Pattern[str], trees: Iterable[str]) -> list[int]:
    return sorted({int(n) for tree in trees for found in pattern.findall(tree) for n in found.split()})


def trees(connection: Connection, oid: int) -> dict[int, str]:
    """The parsed query of a view, and of every view that it reads, by oid."""
    rows = connection.execute(text(query("facts", "trees")), {"oid": oid}).all()
    return {row.oid: row.tree for row in rows}


def read(connection: Connection, oid: int) -> Facts:
    """The facts about one view and everything that it reads."""
    parsed = trees(connection, oid)

    def ask(name: str, pattern: re.Pattern[str]) -> Sequence[Row[Any]]:
        return connection.execute(
            text(query("facts", name)), {"oids": _numbers(pattern, parsed.values())}
        ).all()

    relations = {
        row.oid: Relation(
            oid=row.oid,
            schema=row.schema,
            name=row.name,
            kind=row.kind,
            columns={
                int(number): name for number, name in sorted(row.columns.items(), key=lambda c: int(c[0]))
            },
            unique=tuple(frozenset(key) for key in row.unique_keys),
            virtual=frozenset(row.virtual),
            not_null=frozenset(row.not_null),
        )
        for row in ask("relations", _RELATIONS)
    }
    return Facts(
        trees=parsed,
        relations=relations,
        families={row.oid: row.family for row in ask("families", _TYPES)},
        equality={row.oid: frozenset(row.families) for row in ask("equality", _OPERATORS)},
        nondeterministic=frozenset(connection.scalars(text(query("facts", "nondeterministic"))).all()),
        total=frozenset(row[0] for row in ask("total", _FUNCTIONS)),
    )


def read_whole(parsed: Iterable[str]) -> set[int]:
    """The tables whose rows are read as one value, as by to_jsonb(t): the server notes no column of them.

    Of a row that a join or a sub-query makes the columns are in the tree.
    """
    queries = [query_ for tree in parsed for query_ in parse(tree)]
    inner = [node for node in everything(queries) if node.label == "QUERY"]
    return {oid for one in (*queries, *inner) for oid in _whole_rows(one)}


def _whole_rows(query_: Node) -> Iterator[int]:
    """The tables in FROM of one query that it, or a query inside of it, reads whole."""
    entries = query_.items("rtable")
    for node, depth in _variables(query_):
        if node.number("varattno") or node.number("varlevelsup") != depth or node.number("varno") < 1:
            continue
        entry = entries[node.number("varno") - 1]
        found = entries if entry.number("rtekind") == JOIN else [entry]
        yield from (one.number("relid") for one in found if one.number("rtekind") == RELATION)


def _variables(query_: Node) -> Iterator[tuple[Node, int]]:
    """Every column reference below a query, with how many queries it is away from it."""
    waiting = [(value, 0) for value in query_.fields.values()]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, Node):
            if value.label == "VAR":
                yield value, depth
            inside = depth + 1 if value.label == "QUERY" else depth
            waiting += [(inner, inside) for inner in value.fields.values()]
        elif isinstance(value, list):
            waiting += [(inner, depth) for inner in value]
