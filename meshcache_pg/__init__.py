"""meshcache-pg: a cache inside PostgreSQL whose rows are exactly what their source query returns in the same
snapshot.

The names are imported when they are first used: `meshcache --help` must not wait for SQLAlchemy and Alembic.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshcache_pg.answers import MISSING, Listing, Origin, Result
    from meshcache_pg.bound_view import BoundView
    from meshcache_pg.cache import MeshCache
    from meshcache_pg.catalog import suspended
    from meshcache_pg.definition import Definition, load, parse
    from meshcache_pg.near import NearCounts, NearView
    from meshcache_pg.settings import Settings
    from meshcache_pg.together import Later, LaterView, Together

__version__ = "0.1.0"

__all__ = [
    "MISSING",
    "BoundView",
    "Definition",
    "Later",
    "LaterView",
    "Listing",
    "MeshCache",
    "NearCounts",
    "NearView",
    "Origin",
    "Result",
    "Settings",
    "Together",
    "__version__",
    "load",
    "parse",
    "suspended",
]

_HOMES = {
    "BoundView": "bound_view",
    "MeshCache": "cache",
    "Definition": "definition",
    "load": "definition",
    "parse": "definition",
    "NearCounts": "near",
    "NearView": "near",
    "MISSING": "answers",
    "Listing": "answers",
    "Origin": "answers",
    "Result": "answers",
    "Settings": "settings",
    "suspended": "catalog",
    "Later": "together",
    "LaterView": "together",
    "Together": "together",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
