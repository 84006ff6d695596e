"""Django's database cache in a table of the same database; delete after the commit.

Values are pickles in base64, as it stores them. Its defaults otherwise, except for room for all keys (it
keeps 300) and a connection that stays open.
"""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import django
from django.conf import settings
from django.core.cache.backends.db import DatabaseCache
from django.core.management import call_command
from django.db import connections
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from benchmarks.contenders.application import connect
from benchmarks.contenders.aside import TTL_SECONDS, AsideClient
from benchmarks.contenders.contender import Client, Contender, Stage
from meshcache_pg.meshhook import WorkflowDefinition

_SCHEMA: Final = "bench_django"
_TABLE: Final = "cache"
_ROOM: Final = 1_000_000


class DjangoClient(AsideClient):
    """Django's connection belongs to the thread."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn)
        self._cache = DatabaseCache(_TABLE, {"TIMEOUT": TTL_SECONDS, "OPTIONS": {"MAX_ENTRIES": _ROOM}})

    def load(self, key: UUID) -> WorkflowDefinition | None:
        row: WorkflowDefinition | None = self._cache.get(str(key))
        return row

    def store(self, row: WorkflowDefinition) -> None:
        self._cache.set(str(row.id), row)

    def drop(self, keys: Sequence[UUID]) -> None:
        self._cache.delete_many([str(key) for key in keys])

    def close(self) -> None:
        super().close()
        _disconnect()


class DjangoCache(Contender):
    """In a schema of its own, which its connections have as their search_path."""

    title = "Django's database cache"

    def __init__(self) -> None:
        self._dsn = ""

    def set_up(self, stage: Stage, keys: Sequence[UUID]) -> None:
        del keys
        self._dsn = stage.dsn
        with connect(self._dsn) as connection:
            connection.execute(sql.SQL("create schema {}").format(sql.Identifier(_SCHEMA)))
        _configure(self._dsn)
        call_command("createcachetable", verbosity=0)
        _disconnect()

    def client(self) -> Client:
        return DjangoClient(self._dsn)

    def tear_down(self) -> None:
        if self._dsn:
            with connect(self._dsn) as connection:
                connection.execute(
                    sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(_SCHEMA))
                )


def _configure(dsn: str) -> None:
    found = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value is not None}
    database: dict[str, Any] = {
        "ENGINE": "django.db.backends.postgresql",
        **{name.upper(): found.pop(name, "") for name in ("host", "port", "user", "password")},
        "NAME": found.pop("dbname"),
        "CONN_MAX_AGE": None,
        "OPTIONS": found | {"options": f"{found.get('options', '')} -c search_path={_SCHEMA}"},
    }
    if not settings.configured:
        cache = {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": _TABLE}
        settings.configure(
            USE_TZ=True, LOGGING_CONFIG=None, DATABASES={"default": database}, CACHES={"default": cache}
        )
        django.setup()
    # A process is configured once, but may see several stages.
    connections.settings.update(connections.configure_settings({"default": database}))


def _disconnect() -> None:
    """Close this thread's connection, and forget it with the database that it was made for."""
    connections["default"].close()
    del connections["default"]
