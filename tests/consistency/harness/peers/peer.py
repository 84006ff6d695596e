"""What all peers have in common: readers that compare, and a last look when all has come to rest."""

from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar, LiteralString, Protocol

import psycopg
from psycopg import sql

from tests.consistency.harness.answers import KEYS_AT_ONCE
from tests.consistency.harness.comparing import WrongRow
from tests.consistency.harness.peers.workload import VIEWS, PlainView
from tests.consistency.harness.site import Site
from tests.consistency.harness.subject import Subject
from tests.consistency.harness.trouble import is_lost, state_of
from tests.consistency.harness.worker import Worker

READERS = 3
# A time to live as many applications set it: the bound on what nobody invalidates.
TTL_SECONDS = 300

# A row as text, or None where there is none.
Image = str | None
# The row and whether the cache gave it; "miss" is an answer of the source.
Answer = tuple[Image, str]

# Looks between two looks at which keys there are.
_LOOKS_WITH_THE_SAME_KEYS = 30
_IMAGES: LiteralString = (
    "select {key}::text, to_jsonb(s)::text from {table} as s where {key} = any (%s::{type}[])"
)
_KEYS: LiteralString = "select {key}::text from {table} as s"


class Client(Protocol):
    """What one reader asks; not shared between threads."""

    # Whether `ask` answers from the snapshot of the connection's transaction.
    in_snapshot: bool

    def ask(
        self, connection: psycopg.Connection, view: PlainView, keys: Sequence[str]
    ) -> Mapping[str, Answer]:
        """An answer for each key. Not in snapshot: on a connection in autocommit, misses are stored, too."""
        ...

    def after(self, view: PlainView) -> None:
        """After the reader's transaction: store what was missed, where that has not been done."""

    def held(self, connection: psycopg.Connection, view: PlainView) -> Collection[str]:
        """The keys that the cache holds."""
        ...

    def close(self) -> None:
        """The reader has ended."""


def images(
    connection: psycopg.Connection, view: PlainView, keys: Sequence[str], table: sql.Identifier | None = None
) -> dict[str, Image]:
    """Rows of the source, or of a table with its columns, by key; absent keys are not in it."""
    query = sql.SQL(_IMAGES).format(
        key=view.key_name, table=table or view.source, type=sql.SQL(view.key_type)
    )
    return dict(connection.execute(query, (list(keys),)).fetchall())


def all_keys(
    connection: psycopg.Connection, view: PlainView, table: sql.Identifier | None = None
) -> list[str]:
    """Every key of the source, or of a table with its columns."""
    query = sql.SQL(_KEYS).format(key=view.key_name, table=table or view.source)
    return [key for (key,) in connection.execute(query)]


def judge(answer: Image, before: Image, after: Image) -> str:
    """ "right", "different", or "undecided" where the row was being changed while the cache was asked."""
    if answer in (before, after):
        return "right"
    return "different" if before == after else "undecided"


class Peer(Subject):
    """Base: a subject whose readers are PeerReaders."""

    exact = False
    # For the table that people read.
    title: ClassVar[str]

    def client(self, site: Site) -> Client:
        """One for each reader."""
        raise NotImplementedError

    def come_to_rest(self, site: Site) -> None:
        """Nobody writes any more: let everything arrive that is under way."""

    def workers(self, site: Site) -> Sequence[Worker]:
        return [PeerReader(site, number, self.client(site)) for number in range(READERS)]

    def settle(self, site: Site) -> None:
        self.come_to_rest(site)
        client = self.client(site)
        try:
            with site.connect("settle") as connection:
                for view in VIEWS:
                    # What the source has lost may still be in the cache.
                    keys = sorted({*all_keys(connection, view), *client.held(connection, view)})
                    look(site, client, connection, view, keys, group="at rest")
        finally:
            client.close()


def look(
    site: Site,
    client: Client,
    connection: psycopg.Connection,
    view: PlainView,
    keys: Sequence[str],
    *,
    group: str = "reads",
) -> None:
    """Ask for the keys, compare, count. Raises WrongRow at a difference if the subject says it is exact."""
    if client.in_snapshot:
        with connection.transaction():
            connection.execute("set transaction isolation level repeatable read, read only")
            answers = client.ask(connection, view, keys)
            before = after = images(connection, view, keys)
    else:
        before = images(connection, view, keys)
        answers = client.ask(connection, view, keys)
        after = images(connection, view, keys)
    for key in keys:
        answer, origin = answers[key]
        verdict = judge(answer, before.get(key), after.get(key))
        site.tally.add(group, origin)
        if verdict == "right":
            continue
        site.tally.add(group, verdict)
        site.tally.add("by view", f"{view.name} {verdict}, {group}")
        if site.options.subject.exact:
            raise WrongRow(f"{view.name} {key}: {origin} {answer}\nsource: {before.get(key)}", "")
    if group == "reads":
        site.tally.add("compared", "reads", len(keys))
        site.tally.add("compared", "rows", sum(answers[key][0] is not None for key in keys))


class PeerReader(Worker):
    """Asks for a few keys of one view at a time, some of them much more often than others."""

    role = "ask"

    def __init__(self, site: Site, number: int, client: Client) -> None:
        super().__init__(site, number)
        self._client = client
        self._keys: dict[str, list[str]] = {}
        self._looks = 0

    def run(self) -> None:
        try:
            super().run()
        finally:
            self._client.close()

    def turn(self, connection: psycopg.Connection) -> None:
        if self._looks % _LOOKS_WITH_THE_SAME_KEYS == 0:
            self._keys = {view.name: sorted(all_keys(connection, view)) for view in VIEWS}
        self._looks += 1
        view = self.random.choice(VIEWS)
        known = self._keys[view.name]
        if not known:
            return
        # The square of a uniform number: a quarter of the keys gets half of the reads.
        keys = sorted({known[int(len(known) * self.random.random() ** 2)] for _ in range(KEYS_AT_ONCE)})
        self.doing = f"asking for {view.name}"
        look(self.site, self._client, connection, view, keys)
        self.doing = f"storing {view.name}"
        try:
            self._client.after(view)
        except psycopg.Error as error:
            if is_lost(error):
                raise
            self.site.tally.add("errors of readers", f"{state_of(error)} when filling")
        self.pause(0.005)
