"""Finds what the answer of a SELECT follows from beside the rows of tables: functions and views of the
application, the columns of a row that is read whole (`to_jsonb(t)`), expressions of generated columns, the
labels of an enumeration that is turned into text. No trigger fires when one of them changes, so readers
compare their versions in the catalog.
"""

import re
from collections.abc import Sequence

from sqlalchemy import Connection, text

from meshcache_pg import facts, session
from meshcache_pg.sql import query

_WHOLE_ROW = re.compile(r":varattno 0 ")
_RELATIONS = re.compile(r":relid (\d+)")


def _q(name: str) -> str:
    return query("underlying", name)


def find(connection: Connection, oid: int) -> list[int]:
    """The oids of all that the view rests on, in no order; of generated columns and rows read whole that of
    their table.
    """
    trees = list(facts.trees(connection, oid).values())
    objects = connection.execute(text(_q("objects")), {"oid": oid}).all()
    found = {row.oid for row in objects}
    relations = {tree: {int(n) for n in _RELATIONS.findall(tree)} for tree in trees}
    for tree in trees:
        if _WHOLE_ROW.search(tree):
            # Of which of them is not worth knowing.
            found |= relations[tree]
    types = connection.execute(text(_q("types")), {"relations": sorted(set().union(*relations.values()))})
    changing = types.all()
    if changing and (
        any(row.is_function for row in objects)
        or session.becomes_text(connection, trees, {row.oid: row.name for row in changing})
    ):
        found |= {row.object for row in changing}
    return sorted(found - {oid})


def note(connection: Connection, view_id: int, objects: Sequence[int]) -> None:
    """Keep the present versions of these for readers to compare with."""
    connection.execute(text(_q("note")), {"view_id": view_id, "objects": list(objects)})


def changed(connection: Connection, view_id: int) -> bool:
    """Whether one of them is no longer what it was."""
    found: bool = connection.execute(text(_q("changed")), {"view_id": view_id}).scalar_one()
    return found
