"""Finds what the answer of a SELECT follows from beside the rows of tables: functions and views of the
application, the columns of a row that is read whole (`to_jsonb(t)`) or by a function, expressions of
generated columns, the labels of an enumeration that is turned into text. No trigger fires when one of them
changes, so readers compare their versions in the catalog.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import Connection, text

from meshcache_pg import facts, session
from meshcache_pg.sql import query

_WHOLE_ROW = re.compile(r":varattno 0 ")
_RELATIONS = re.compile(r":relid (\d+)")


def _q(name: str) -> str:
    return query("underlying", name)


@dataclass(frozen=True, slots=True)
class Underlying:
    """Oids of all that a view rests on: of functions, of relations (views, composite types, the tables of
    generated columns, of rows read whole, and those that functions read), and of enumerations.
    """

    functions: frozenset[int]
    relations: frozenset[int]
    labels: frozenset[int]

    def reading(self, tables: Collection[int]) -> "Underlying":
        """The same with the columns of these tables."""
        return replace(self, relations=self.relations.union(tables))

    @property
    def objects(self) -> list[int]:
        """All of them."""
        return sorted(self.functions | self.relations | self.labels)

    @property
    def kinds(self) -> list[str]:
        """Of which there are any."""
        named = {"functions": self.functions, "relations": self.relations, "labels": self.labels}
        return [name for name, oids in named.items() if oids]


NOTHING: Final = Underlying(frozenset(), frozenset(), frozenset())


def find(connection: Connection, oid: int) -> Underlying:
    """What the view with this oid rests on."""
    views = facts.trees(connection, oid)
    trees = list(views.values())
    objects = connection.execute(text(_q("objects")), {"oid": oid}).all()
    functions = {row.oid for row in objects if row.is_function}
    relations = {row.oid for row in objects if not row.is_function}
    read = {tree: {int(n) for n in _RELATIONS.findall(tree)} for tree in trees}
    for tree in trees:
        if _WHOLE_ROW.search(tree):
            # Of which of them is not worth knowing.
            relations |= read[tree]
    types = connection.execute(text(_q("types")), {"relations": sorted(set().union(*read.values()))}).all()
    labels: set[int] = set()
    names = {row.oid: row.name for row in types}
    if types and (functions or session.becomes_text(connection, views, names)):
        relations |= {row.object for row in types if row.is_composite}
        labels = {row.object for row in types if not row.is_composite}
    return Underlying(frozenset(functions), frozenset(relations - {oid}), frozenset(labels))


def changed(connection: Connection, view_id: int) -> bool:
    """Whether one of them is no longer what it was."""
    found: bool = connection.execute(text(_q("changed")), {"view_id": view_id}).scalar_one()
    return found
