"""Alembic environment for those who run migrations by `alembic upgrade head`; `meshcache migrate` does
not need it.

The version table is meshcache.schema_version in both cases, so the two can be mixed. Offline mode prints
the SQL.
"""

import sys

from alembic import context

from meshcache_pg.cache import engine_from_settings
from meshcache_pg.migrate import SCHEMA, VERSION_TABLE, script, upgrade


def run_offline() -> None:
    """`alembic upgrade head --sql`: the script of a fresh installation, without a connection."""
    sys.stdout.write(script())


def run_online() -> None:
    """Run the revisions over a connection of our own, then the routines that changed."""
    engine = engine_from_settings()
    with engine.begin() as connection:
        connection.exec_driver_sql("create schema if not exists meshcache")
        context.configure(connection=connection, version_table=VERSION_TABLE, version_table_schema=SCHEMA)
        context.run_migrations()
        # A downgrade to base leaves nothing that routines could be run in.
        if connection.exec_driver_sql("select to_regclass('meshcache.routine') is not null").scalar():
            upgrade(connection)
    engine.dispose()


if context.is_offline_mode():
    run_offline()
else:
    run_online()
