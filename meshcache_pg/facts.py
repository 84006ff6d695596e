"""Reads what the derivation of dependencies has to know of the catalog, in a handful of queries."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.engine import Row

from meshcache_pg.scopes import Facts, Relation
from meshcache_pg.sql import query

_RELATIONS = re.compile(r":relid (\d+)")
_OPERATORS = re.compile(r":(?:opno|eqop) (\d+)")
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
        )
        for row in ask("relations", _RELATIONS)
    }
    return Facts(
        trees=parsed,
        relations=relations,
        families={row.oid: row.family for row in ask("families", _TYPES)},
        equality={row.oid: frozenset(row.families) for row in ask("equality", _OPERATORS)},
        nondeterministic=frozenset(connection.scalars(text(query("facts", "nondeterministic"))).all()),
    )
