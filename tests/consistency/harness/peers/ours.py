"""meshcache under the readers of the peers: by key in SQL, misses filled afterwards, sweeps beside it."""

from collections.abc import Collection, Mapping, Sequence
from typing import LiteralString

import psycopg
from psycopg import sql

from tests.consistency.harness.cached import Cached, sweep_to_the_end
from tests.consistency.harness.keepers import Sweeper
from tests.consistency.harness.peers.peer import Answer, Peer, all_keys
from tests.consistency.harness.peers.workload import PlainView
from tests.consistency.harness.site import Site
from tests.consistency.harness.worker import Worker

_GET: LiteralString = """
select k.key, (to_jsonb(g) - '_origin' - '_filled_at')::text, g._origin
from unnest(%s::text[]) as k (key) cross join lateral {get}(k.key::{type}) as g
"""


class OurClient:
    """Asks `_get`, fills by `_fill` on a connection of its own."""

    in_snapshot = True

    def __init__(self, site: Site) -> None:
        self._site = site
        self._connection: psycopg.Connection | None = None
        self._missed: list[str] = []

    def ask(
        self, connection: psycopg.Connection, view: PlainView, keys: Sequence[str]
    ) -> Mapping[str, Answer]:
        query = sql.SQL(_GET).format(
            get=sql.Identifier("meshcache", f"{view.name}_get"), type=sql.SQL(view.key_type)
        )
        found = {key: (row, origin) for key, row, origin in connection.execute(query, (list(keys),))}
        answers: dict[str, Answer] = {key: found.get(key, (None, "none")) for key in keys}
        # Stale rows are the sweep's business.
        self._missed = [key for key in keys if answers[key][1] == "miss"]
        return answers

    def after(self, view: PlainView) -> None:
        if not self._missed:
            return
        if self._connection is None:
            self._connection = self._site.connect("fill")
        query = sql.SQL("select {}(%s::{}[])").format(
            sql.Identifier("meshcache", f"{view.name}_fill"), sql.SQL(view.key_type)
        )
        self._connection.execute(query, (self._missed,))

    def held(self, connection: psycopg.Connection, view: PlainView) -> Collection[str]:
        return all_keys(connection, view, sql.Identifier("meshcache_data", view.name))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


class Ours(Peer):
    """What must be right: the first wrong row ends the run."""

    name = "meshcache"
    title = "meshcache"
    exact = True
    words = ("meshcache", "mark_")

    def install(self, site: Site) -> None:
        Cached().install(site)
        self.come_to_rest(site)

    def workers(self, site: Site) -> Sequence[Worker]:
        return [Sweeper(site), *super().workers(site)]

    def come_to_rest(self, site: Site) -> None:
        with site.connect("sweep") as connection:
            sweep_to_the_end(connection)

    def client(self, site: Site) -> OurClient:
        return OurClient(site)
