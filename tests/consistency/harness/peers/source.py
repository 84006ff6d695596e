"""No cache: the measure for what is the application's own, and a check of the checker."""

from collections.abc import Collection, Mapping, Sequence

import psycopg

from tests.consistency.harness.peers.peer import Answer, Peer, images
from tests.consistency.harness.peers.workload import PlainView
from tests.consistency.harness.site import Site


class SourceClient:
    """Asks the source, outside of any snapshot."""

    in_snapshot = False

    def ask(
        self, connection: psycopg.Connection, view: PlainView, keys: Sequence[str]
    ) -> Mapping[str, Answer]:
        found = images(connection, view, keys)
        return {key: (found.get(key), "miss") for key in keys}

    def after(self, view: PlainView) -> None:
        """Nothing is stored."""

    def held(self, connection: psycopg.Connection, view: PlainView) -> Collection[str]:
        del connection, view
        return ()

    def close(self) -> None:
        """It has nothing of its own."""


class Source(Peer):
    """The application alone."""

    name = "source"
    title = "no cache"

    def client(self, site: Site) -> SourceClient:
        del site
        return SourceClient()
