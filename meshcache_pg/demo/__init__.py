"""The demo: a private server, MeshHook's data, the pack, and what the cache does there, shown and checked."""

from meshcache_pg.demo.play import Options, Outcome, parse_size, show
from meshcache_pg.demo.report import Report

__all__ = ["Options", "Outcome", "Report", "parse_size", "show"]
