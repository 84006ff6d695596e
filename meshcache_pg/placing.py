"""The names of what a definition becomes. New objects are made while those that they replace are in use, so
each has a name of its own until it takes over the one that readers know: only then somebody waits, and
renaming takes a tenth of the time of making.
"""

from collections.abc import Collection, Iterator
from itertools import count
from typing import LiteralString

from psycopg import sql

from meshcache_pg.definition import Definition
from meshcache_pg.sql import text

DATA = "meshcache_data"
CORE = "meshcache"

# What a cached view has beside its live view and its source, in the order to drop them; those that are not
# complete have the last four alone.
VIEWS = ("rows", "bypass", "stale", "quiet", "outdated", "fresh", "hits", "hit")

LONGEST_NAME = 63


def new(name: str) -> str:
    """What an object is called until it takes its place; no name of a definition has a dot."""
    return f"{name}.new"


class Relations:
    """The names of the table and the views of one cached view, without a schema: those that readers know, or
    (`made`) those under which they are made.
    """

    def __init__(self, name: str, *, made: bool = False) -> None:
        def named(part: str = "") -> sql.Identifier:
            return sql.Identifier(new(name + part) if made else name + part)

        # The table is in DATA, the live view of the same name in CORE.
        self.name = named()
        self.source = named("_source")
        self.hit = named("_hit")
        self.hits = named("_hits")
        self.fresh = named("_fresh")
        self.quiet = named("_quiet")
        self.stale = named("_stale")
        self.outdated = named("_outdated")
        self.bypass = named("_bypass")
        self.rows = named("_rows")


def parts(definition: Definition) -> list[str]:
    """The views of a definition beside the live view, by the ends of their names."""
    if definition.kind == "rollup":
        return ["source"]
    return ["source", *(VIEWS if definition.coverage == "complete" else VIEWS[-4:])]


def condition_functions(name: str) -> list[str]:
    """Names of the functions that the views of one cached view call, whoever reads them."""
    return [f"_{name}_{what}" for what in ("usable", "quiet")]


def made_index(name: str, number: int) -> sql.Identifier:
    """What an index of a definition's table is made as; number 0 is the key's."""
    return sql.Identifier(f"{new(name)}_{number}")


def renames(definition: Definition, taken: set[str]) -> Iterator[str]:
    """The statements that put everything in its place once the former objects are gone. `taken` has the names
    of the other relations in DATA, and gets those of the indexes, which are called what the server would call
    them.
    """
    name, is_rollup = definition.name, definition.kind == "rollup"
    table: LiteralString = "materialized view" if is_rollup else "table"
    yield _rename(table, sql.Identifier(DATA, new(name)), name)
    key = "_".join([name, *definition.key]) if is_rollup else name
    indexes = [(key, "_idx" if is_rollup else "_pkey")]
    indexes += [("_".join([name, *(t.column for t in index)]), "_idx") for index in definition.all_indexes()]
    for number, (stem, ending) in enumerate(indexes):
        index = _free(stem, ending, taken)
        taken.add(index)
        yield _rename("index", sql.SQL("{}.{}").format(sql.Identifier(DATA), made_index(name, number)), index)
    for view in (name, *(f"{name}_{part}" for part in parts(definition))):
        yield _rename("view", sql.Identifier(CORE, new(view)), view)
    if not is_rollup:
        # The second is there for complete views alone.
        for function in condition_functions(name)[: 2 if definition.coverage == "complete" else 1]:
            yield _rename("function", sql.Identifier(CORE, new(function)), function)


def _rename(kind: LiteralString, made: sql.Composable, name: str) -> str:
    return text(sql.SQL("alter " + kind + " {} rename to {}").format(made, sql.Identifier(name)))


def _free(stem: str, ending: str, taken: Collection[str]) -> str:
    """The first of these names, with a number where it has to be, that nothing else has."""
    for number in count():
        end = f"{ending}{number or ''}"
        name = stem.encode()[: LONGEST_NAME - len(end)].decode(errors="ignore") + end
        if name not in taken:
            return name
    raise AssertionError("there is always another number")
