"""Our cache as the subject: read by SQL, through the repository and through PgBouncer."""

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from sqlalchemy import Connection

from meshcache_pg import MeshCache, catalog, migrate
from meshcache_pg.answers import Result
from meshcache_pg.definition import Definition
from tests.consistency.checker import Checker, NotExact
from tests.consistency.harness.answers import Answer, AnswersReader, Key, Row
from tests.consistency.harness.changer import Changer
from tests.consistency.harness.comparing import WrongRow, evidence
from tests.consistency.harness.definer import Definer
from tests.consistency.harness.keepers import Filler, Refresher, Sweeper
from tests.consistency.harness.readers import SqlReader
from tests.consistency.harness.site import Site
from tests.consistency.harness.subject import Subject
from tests.consistency.harness.worker import Worker


class Repository:
    """The Python API as an application uses it: misses are filled, on connections of the cache."""

    in_snapshot = True

    def __init__(self, site: Site) -> None:
        self._engine = site.engine("library")
        self._cache = MeshCache(own_engine=self._engine)

    def get(self, connection: Connection, view: Definition, key: Key) -> Answer:
        result = self._cache.view(view, connection).get(*key)
        return _answer(result)

    def get_many(self, connection: Connection, view: Definition, keys: Sequence[Key]) -> Mapping[Key, Answer]:
        results = self._cache.view(view, connection).get_many(keys)
        return {key: _answer(result) for key, result in results.items()}

    def list(
        self, connection: Connection, view: Definition, where: Mapping[str, Any]
    ) -> tuple[Sequence[Row], str]:
        found = self._cache.view(view, connection).list(**where)
        return found.rows, found.origin

    def close(self) -> None:
        self._engine.dispose()


class Cached(Subject):
    """meshcache on a site."""

    name = "cache"
    changes = True

    def install(self, site: Site) -> None:
        engine = site.engine("apply")
        try:
            with engine.begin() as connection:
                migrate.upgrade(connection)
            site.workload.choose(site.dsn)
            with engine.begin() as connection:
                catalog.apply(connection, catalog.plan(connection, list(site.workload.definitions)))
        finally:
            engine.dispose()
        with site.connect("apply") as connection:
            for plant in site.options.plants:
                plant(connection)

    def workers(self, site: Site) -> Sequence[Worker]:
        found: list[Worker] = [
            SqlReader(site, 0),
            SqlReader(site, 1),
            self._asker(site, 0, "repository"),
            Filler(site, 0),
            Refresher(site),
            Sweeper(site, 0),
            Sweeper(site, 1),
        ]
        if site.workload.name == "meshhook":
            found += [SqlReader(site, 3), SqlReader(site, 4)]
            found += [Filler(site, 1), self._asker(site, 1, "repository")]
            if site.pooled_dsn:
                found += [SqlReader(site, 2, pooled=True), self._asker(site, 2, "repository via pgbouncer")]
        if site.options.administrators:
            found.append(Changer(site))
            found += [Definer(site, number) for number in range(1, site.options.administrators)]
        return found

    def _asker(self, site: Site, number: int, through: str) -> AnswersReader:
        pooled = through.endswith("pgbouncer")
        views = list(site.workload.definitions)
        return AnswersReader(site, Repository(site), views, number, through=through, pooled=pooled)

    def settle(self, site: Site) -> None:
        with site.connect("sweep") as connection:
            if site.options.administrators:
                with MeshCache(own_engine=site.engine("apply")) as cache:
                    if not site.whole:
                        cache.apply(list(site.workload.definitions))
                    # What nobody has applied again who had lost it.
                    cache.resume()
            sweep_to_the_end(connection)
            checker = Checker.of(connection)
            for view in checker.views:
                connection.execute("call meshcache.refresh(%s, null, 'all', 5)", (view,))
            for view in checker.views:
                try:
                    checker.assert_exact(connection, view)
                except NotExact as error:
                    raise WrongRow(f"at the end of the round: {error}", evidence(connection, view)) from error
            site.tally.add("rounds", "hits at their ends", checker.origins["hit"])
            site.tally.add("rounds", "other answers at their ends", checker.origins["bypass"])
            site.tally.take(checker, checker.views)


def sweep_to_the_end(connection: psycopg.Connection) -> None:
    """With nobody at work: sweep until nothing is left to do, which must not take long."""
    for again in range(20):
        row = connection.execute("call meshcache.sweep()").fetchone()
        if row is not None and row[0]["state"] == "done":
            break
        assert again < 19, f"nobody is there any more, and the sweep does not end: {row}"


def _answer(result: Result[Row]) -> Answer:
    return Answer(result.unwrap() if result else None, result.origin)
