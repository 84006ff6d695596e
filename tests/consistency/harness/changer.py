"""Cached views that are changed, dropped, suspended, invalidated, robbed of their data, with all at work."""

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import text

from meshcache_pg.definition import Definition
from tests.consistency.harness.administrator import Administrator
from tests.consistency.harness.site import Site


class Changer(Administrator):
    """The administrator of the cache; what it breaks or loses it applies again."""

    def __init__(self, site: Site, number: int = 0) -> None:
        super().__init__(site, number)
        self._connection: psycopg.Connection | None = None

    def work(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        super().work(connection)

    def turn(self, connection: psycopg.Connection) -> None:
        del connection
        if not self.site.whole:
            self.attempt("apply all again", self._apply_all)
        else:
            self.pause(self.site.options.change_seconds)
            name, work = self.random.choice(
                (
                    ("apply a changed definition", self._apply_changed),
                    ("apply a changed definition", self._apply_changed),
                    ("drop and create", self._drop),
                    ("suspend and resume", self._suspend),
                    ("drop the data schema", self._drop_data),
                    ("invalidate a view", self._invalidate),
                    ("invalidate a view", self._invalidate),
                    ("invalidate a tenant", self._invalidate_tenant),
                    ("invalidate a key", self._invalidate_key),
                    ("invalidate a table", self._invalidate_source),
                )
            )
            self.attempt(name, work)

    def _apply_all(self) -> None:
        with self.site.changing(leaves_whole=True):
            self.cache.apply(list(self.site.workload.definitions))

    def _apply_changed(self) -> None:
        with self.site.changing(leaves_whole=True):
            self.cache.apply([self.random.choice(self.site.workload.variants)])
        self.pause(0.5)
        if self.chance(0.7):
            self._apply_all()

    def _drop(self) -> None:
        view = self.random.choice(self.site.workload.definitions)
        with self.site.changing(leaves_whole=False):
            self.cache.drop(view.name)
        self.pause(0.2)
        self._apply_all()

    def _suspend(self) -> None:
        table = self.random.choice(self.site.workload.tables)
        with self.site.changing(leaves_whole=False):
            self.cache.suspend([table])
        self.pause(0.2)
        with self.site.changing(leaves_whole=True):
            self.cache.resume()

    def _drop_data(self) -> None:
        with self.site.changing(leaves_whole=False), self.cache.begin() as connection:
            connection.execute(text("set local lock_timeout = '300ms'"))
            connection.execute(text("drop schema meshcache_data cascade"))
        self.pause(0.3)
        self._apply_all()

    def _invalidate(self) -> None:
        self.cache.invalidate(self.random.choice(self.site.workload.definitions).name)

    def _invalidate_tenant(self) -> None:
        views = [view for view in self.site.workload.definitions if view.tenant]
        if views:
            view = self.random.choice(views)
            row = self._one_of(view, [view.tenant])
            if row is not None and row[0] is not None:
                self.cache.invalidate(view.name, tenant=row[0])

    def _invalidate_key(self) -> None:
        view = self.random.choice(self.site.workload.definitions)
        row = self._one_of(view, view.key)
        if row is not None:
            self.cache.invalidate(view.name, key=row)

    def _one_of(self, view: Definition, columns: Sequence[str | None]) -> tuple[Any, ...] | None:
        assert self._connection is not None
        names = sql.SQL(", ").join(sql.Identifier(column) for column in columns if column)
        live = sql.Identifier("meshcache", view.name)
        return self._connection.execute(sql.SQL("select {} from {} limit 1").format(names, live)).fetchone()

    def _invalidate_source(self) -> None:
        assert self._connection is not None
        tables = self._connection.execute(
            "select s.relation::text from meshcache.source_table as s"
        ).fetchall()
        self._connection.execute(
            "select meshcache.invalidate_source(%s::regclass)", self.random.choice(sorted(tables))
        )
