"""A private PostgreSQL for the demo and the tests, from this machine's programs or the wheel's."""

from meshcache_pg.embedded.installations import Installation, find_installation, find_installations
from meshcache_pg.embedded.server import PrivateServer

__all__ = ["Installation", "PrivateServer", "find_installation", "find_installations"]
