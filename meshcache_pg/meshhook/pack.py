"""The definitions of the pack as this version of the package carries them; reading them needs no database."""

from functools import cache

from meshcache_pg.definition import Definition, load
from meshcache_pg.sql import sql_dir


@cache
def _by_name() -> dict[str, Definition]:
    return {definition.name: definition for definition in load([sql_dir() / "meshhook"])}


def pack() -> list[Definition]:
    """All cached views and rollups for MeshHook, ordered by name: what `MeshCache.apply` takes."""
    return list(_by_name().values())


def definition(name: str) -> Definition:
    """One of them by its name; raises KeyError for another name."""
    return _by_name()[name]
