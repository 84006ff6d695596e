"""What the demo plays on: a private server, the application's data in it, and the pack applied and filled."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Engine, text

from meshcache_pg.cache import MeshCache
from meshcache_pg.database import make_engine
from meshcache_pg.demo.report import Tick
from meshcache_pg.embedded import PrivateServer, find_installation
from meshcache_pg.embedded.databases import create_database
from meshcache_pg.meshhook import pack
from meshcache_pg.meshhook.sample import Size, generate, install_schema
from meshcache_pg.settings import Settings
from meshcache_pg.sql import read

DATABASE = "meshhook"

# Nothing here favours the cache: memory to sort and aggregate in, costs of an SSD (so that the source gets
# its index scans), and no compiling of plans, which would only cost the source time.
SERVER_SETTINGS = {
    "shared_buffers": "256MB",
    "work_mem": "64MB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "4GB",
    # See settle(): autovacuum would do the same, but while we measure.
    "autovacuum_naptime": "10min",
    "random_page_cost": "1.1",
    "jit": "off",
}


@dataclass
class Stage:
    """The running server, the application's engine and the cache of its database."""

    server: PrivateServer
    engine: Engine
    cache: MeshCache

    @property
    def dsn(self) -> str:
        """Where the data is."""
        return self.server.dsn(DATABASE)

    def reconnect(self) -> None:
        """Begin anew, as a process of the application does after its server was gone."""
        self.engine.dispose()
        self.cache.close()
        self.engine, self.cache = _connect(self.dsn)


def make_server(major: int | None, data_dir: Path | None) -> PrivateServer:
    """A server that is not started yet."""
    installation = find_installation(major) if major else None
    # What is loaded and thrown away again need not survive a power cut.
    settings = SERVER_SETTINGS if data_dir else SERVER_SETTINGS | {"fsync": "off"}
    return PrivateServer(installation, data_dir=data_dir, settings=settings)


@contextmanager
def connected(server: PrivateServer) -> Iterator[Stage]:
    """The stage on a running server; its connections are closed with the block."""
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        found = connection.execute("select 1 from pg_database where datname = %s", (DATABASE,)).fetchone()
    if found is None:
        create_database(server.dsn(), DATABASE)
    stage = Stage(server, *_connect(server.dsn(DATABASE)))
    try:
        yield stage
    finally:
        stage.cache.close()
        stage.engine.dispose()


def _connect(dsn: str) -> tuple[Engine, MeshCache]:
    # Values of their own: whatever the environment sets is for another database.
    settings = Settings(
        dsn=dsn, fill=True, fills_per_second=1000.0, fill_timeout_ms=5000, lock_timeout_ms=100
    )
    return make_engine(dsn, application_name="demo"), MeshCache(dsn, settings=settings)


def load_data(stage: Stage, size: Size, seed: int, tick: Tick) -> bool:
    """Create and fill the application's tables; False when an earlier demo has left them in the directory."""
    with stage.engine.begin() as connection:
        if connection.scalar(text("select to_regclass('workflow_events')")) is not None:
            return False
        install_schema(connection)
        generate(connection, size, seed, progress=tick)
        connection.exec_driver_sql(read("meshhook/app/long_runs.sql"), None, {"no_parameters": True})
    with stage.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        tick("analyze", 0, 1)
        connection.exec_driver_sql("analyze")
        tick("analyze", 1, 1)
    return True


def apply_pack(stage: Stage) -> int:
    """Install the cache and the pack; returns the number of views and rollups."""
    stage.cache.migrate()
    stage.cache.apply(pack())
    return len(pack())


def fill(stage: Stage, tick: Tick) -> Iterator[tuple[str, int | None]]:
    """Fill what is kept completely, and refresh the rollups; yields name and rows as each is done."""
    for definition in pack():
        if definition.coverage != "on_demand":
            tick(definition.name, 0, 1)
            yield definition.name, stage.cache.refresh(definition.name, "all")
            tick(definition.name, 1, 1)


def settle(stage: Stage, tick: Tick) -> None:
    """Vacuum and analyze the tables of both sides, as a server has long done when it is busy with reads: the
    source gets its index-only scans, and nothing else goes on while we measure.
    """
    with stage.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        tables = connection.execute(text(_TABLES)).all()
        for done, (schema, table) in enumerate(tables):
            tick("vacuum", done, len(tables))
            statement = sql.SQL("vacuum (analyze) {}").format(sql.Identifier(schema, table))
            connection.exec_driver_sql(statement.as_string())
        connection.exec_driver_sql("checkpoint")


def counts(stage: Stage) -> dict[str, Any]:
    """How many rows the application's tables have."""
    with stage.engine.begin() as connection:
        row = connection.execute(text(_COUNTS)).mappings().one()
    return dict(row)


_TABLES = """
    select n.nspname, c.relname
    from pg_class as c inner join pg_namespace as n on n.oid = c.relnamespace
    where n.nspname in ('public', 'meshcache_data') and c.relkind in ('r', 'm')
    order by 1, 2
"""

_COUNTS = """
    select
        (select count(*) from projects) as projects,
        (select count(*) from workflow_definitions) as workflows,
        (select count(*) from workflow_runs) as runs,
        (select count(*) from workflow_events) as events,
        (select count(*) from job_tracking) as jobs
"""
