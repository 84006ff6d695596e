"""The servers and databases that benchmarks run on: the sample application once with the cache and once
without, from the same rows, and empty databases for benchmarks with tables of their own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from benchmarks.bench import Bench
from meshcache_pg.demo.stage import (
    DATABASE,
    SERVER_SETTINGS,
    Stage,
    apply_pack,
    connected,
    fill,
    load_data,
    settle,
)
from meshcache_pg.embedded import Installation, PrivateServer
from meshcache_pg.embedded.databases import create_database, drop_database
from meshcache_pg.meshhook.sample import Size

# The sample application without any cache.
PLAIN = "plain"

# Writes are measured as a server in production makes them: nothing is acknowledged before it is on the disk.
SETTINGS = SERVER_SETTINGS | {
    "fsync": "on",
    "synchronous_commit": "on",
    "shared_buffers": "1GB",
    "max_wal_size": "16GB",
    "checkpoint_timeout": "1h",
}


@dataclass(frozen=True, slots=True)
class House:
    """What a run of the benchmarks has: the stage with the pack applied and filled, and the plain twin."""

    stage: Stage

    @property
    def server(self) -> PrivateServer:
        """That everything runs on."""
        return self.stage.server

    @property
    def plain_dsn(self) -> str:
        """The same application without the cache."""
        return self.server.dsn(PLAIN)

    @contextmanager
    def database(self, name: str, template: str | None = None) -> Iterator[str]:
        """An empty database, or a copy of one that nobody is connected to, for as long as the block lasts."""
        create_database(self.server.dsn(), name, template)
        try:
            yield self.server.dsn(name)
        finally:
            drop_database(self.server.dsn(), name)


def _size(bench: Bench) -> Size:
    if bench.smoke:
        return Size.small()
    return Size(
        projects=bench.rows(1_000),
        workflows=bench.rows(20_000, at_least=2_000),
        runs=bench.rows(200_000, at_least=20_000),
        events_per_run=5.0,
    )


@contextmanager
def house(bench: Bench, installation: Installation | None = None) -> Iterator[House]:
    """Start the server, load both databases, and remove everything at the end."""
    with PrivateServer(installation, settings=SETTINGS) as server, connected(server) as stage:
        bench.say(f"loading the sample application on PostgreSQL {server.installation.version}")
        load_data(stage, _size(bench), bench.seed, _quietly)
        # Nobody may be connected to what is copied.
        stage.reconnect()
        create_database(server.dsn(), PLAIN, DATABASE)
        bench.say("applying and filling the pack")
        apply_pack(stage)
        for _ in fill(stage, _quietly):
            pass
        settle(stage, _quietly)
        with psycopg.connect(server.dsn(PLAIN), autocommit=True) as plain:
            plain.execute("vacuum (analyze)")
        yield House(stage)


def _quietly(_stage: str, _done: int, _total: int) -> None:
    return
