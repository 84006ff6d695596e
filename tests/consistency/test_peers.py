"""The ways of keeping a cache that `make consistency-peers` compares: each is made right, none is excused."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import psycopg
import pytest

from meshcache_pg.embedded import Installation
from tests.consistency.harness.comparing import WrongRow
from tests.consistency.harness.peers.__main__ import NAMES, options_for
from tests.consistency.harness.peers.delete_trigger import DeleteByTrigger
from tests.consistency.harness.peers.matview import MaterializedView
from tests.consistency.harness.peers.notify import Notify
from tests.consistency.harness.peers.ours import Ours
from tests.consistency.harness.peers.peer import Client, Peer, all_keys, judge, look
from tests.consistency.harness.peers.redis_aside import RedisAside
from tests.consistency.harness.peers.redis_server import NOT_FOUND, find_redis, redis_server
from tests.consistency.harness.peers.result import as_markdown, line
from tests.consistency.harness.peers.source import Source
from tests.consistency.harness.peers.workload import VIEWS, PeersWorkload
from tests.consistency.harness.peers.write_through import WriteThrough
from tests.consistency.harness.report import Report
from tests.consistency.harness.run import run
from tests.consistency.harness.site import Site
from tests.consistency.harness.tally import Tally
from tests.fixtures.fix_db import Database
from tests.fixtures.fix_templates import Clone, Templates

_BY_NAME: dict[str, Callable[[], Peer]] = {
    peer.name: peer for peer in (Source, Ours, DeleteByTrigger, WriteThrough, Notify, MaterializedView)
}
RUN_CARD = VIEWS[0]

# One write for each view, the parents of a join among them.
WRITES = (
    "update workflow_definitions set name = 'renamed'",
    "update workflow_runs set status = 'paused'",
    "insert into workflow_events (run_id, type, payload) select id, 'step_started', '{}' from workflow_runs",
    "update projects set name = 'renamed'",
    "insert into ledger (writer, seq, amount) values (1, 2, 3)",
    "delete from workflow_runs where id = (select min(id::text)::uuid from workflow_runs)",
)


@dataclass
class Trial:
    """One peer on a database, without anybody at work."""

    peer: Peer
    site: Site
    client: Client
    reader: psycopg.Connection

    def read_all(self, group: str = "reads") -> dict[str, int]:
        """Every key of every view; the counts so far."""
        for view in VIEWS:
            keys = all_keys(self.reader, view)
            look(self.site, self.client, self.reader, view, keys, group=group)
            self.client.after(view)
        return self.site.tally.group(group)

    def write(self, *statements: str, key: str | None = None) -> None:
        """One transaction, as the harness's writers make it; `%(key)s` stands for the key."""
        hook = self.peer.hook(self.site)
        with self.site.connect("write") as connection:
            with connection.transaction():
                for statement in statements:
                    connection.execute(statement.encode(), {"key": key})
                hook.ending(connection)
            hook.ended(committed=True)
        hook.close()


@pytest.fixture
def begin(templates: Templates, clone: Clone) -> Iterator[Callable[[str], Trial]]:
    """Installs the peer of that name; skips, and says so, what cannot be had here."""

    def build(database: Database) -> None:
        PeersWorkload().create(database.dsn)

    with ExitStack() as opened:

        def make(name: str) -> Trial:
            if name == RedisAside.name:
                program = find_redis()
                if program is None:
                    pytest.skip(f"{name}: {NOT_FOUND}")
                peer: Peer = RedisAside(opened.enter_context(redis_server(program)))
            else:
                peer = _BY_NAME[name]()
            database = clone(templates.of("peers", build))
            workload = PeersWorkload()
            workload.join(database.dsn)
            options = options_for(peer, 1, 1)
            site = Site("peers", database.dsn, database.server.major, workload, options, "peers", Tally())
            peer.install(site)
            client = peer.client(site)
            opened.callback(client.close)
            return Trial(peer, site, client, opened.enter_context(site.connect("ask")))

        yield make


@pytest.mark.parametrize("name", NAMES)
def test_a_cache_follows_what_is_written_and_a_planted_row_is_counted(
    name: str, begin: Callable[[str], Trial]
) -> None:
    trial = begin(name)
    trial.read_all()
    before = trial.site.tally.group("reads")["hit"]
    counts = trial.read_all()
    assert (counts["hit"] - before > 100) == (name != Source.name)

    trial.write(*WRITES)
    trial.peer.come_to_rest(trial.site)
    counts = trial.read_all("after a write")
    assert counts["hit"] + counts["miss"] + counts["stale"] > 100
    assert not counts["different"]
    assert not counts["undecided"]
    trial.read_all()

    # Behind the back of all triggers but ours; of our cache the row itself is changed.
    key = all_keys(trial.reader, RUN_CARD)[0]
    if name == Ours.name:
        trial.write("update meshcache_data.run_card set status = 'wrong' where id = %(key)s", key=key)
        with pytest.raises(WrongRow, match="wrong"):
            trial.read_all("planted")
        return
    trial.write(
        "set local session_replication_role = replica",
        "update workflow_runs set status = 'failed' where id = %(key)s",
        key=key,
    )
    # Of the three views that show the status of a run.
    wrong = 0 if name == Source.name else 3
    assert trial.read_all("planted")["different"] == wrong
    trial.peer.settle(trial.site)
    at_rest = trial.site.tally.group("at rest")
    assert at_rest["different"] == (0 if name == MaterializedView.name else wrong)
    assert at_rest["hit"] + at_rest["miss"] > 100


@pytest.mark.newest_major
@pytest.mark.parametrize("name", [DeleteByTrigger.name, pytest.param(Ours.name, marks=pytest.mark.slow)])
def test_a_fill_beside_an_open_writer(name: str, begin: Callable[[str], Trial]) -> None:
    trial = begin(name)
    if name == Ours.name:
        # As cold as the other one.
        trial.write("select meshcache.invalidate('run_card')")
    with trial.site.connect("write") as writer:
        with writer.transaction():
            writer.execute("update workflow_runs set status = 'failed'")
            trial.read_all()
        trial.peer.settle(trial.site)
    at_rest = trial.site.tally.group("at rest")
    assert at_rest["hit"] > 100
    # The old rows were stored after the trigger had looked for them: nobody will ever delete them.
    assert (at_rest["different"] > 100) == (name == DeleteByTrigger.name)


@pytest.mark.parametrize(
    ("answer", "before", "after", "verdict"),
    [
        ("old", "old", "old", "right"),
        ("old", "old", "new", "right"),
        ("new", "old", "new", "right"),
        ("older", "old", "old", "different"),
        (None, "old", "old", "different"),
        ("old", None, None, "different"),
        ("older", "old", "new", "undecided"),
        (None, None, None, "right"),
    ],
)
def test_what_counts_as_different(
    answer: str | None, before: str | None, after: str | None, verdict: str
) -> None:
    assert judge(answer, before, after) == verdict


def test_none_of_few_reads_says_little() -> None:
    report = Report(seed=1, subject="source", versions={})
    report.tally.add("compared", "reads", 3000)
    report.tally.add("reads", "hit", 1500)
    assert "| 3,000 | 50% | 0 (< 1,000) |" in as_markdown([line("source", "no cache", report)])
    report.tally.add("reads", "different", 3)
    assert "| 3,000 | 50% | 1,000 |" in as_markdown([line("source", "no cache", report)])


@pytest.mark.slow
@pytest.mark.newest_major
@pytest.mark.parametrize("name", NAMES)
def test_a_short_run(name: str, installation: Installation) -> None:
    with ExitStack() as opened:
        if name == RedisAside.name:
            program = find_redis()
            if program is None:
                pytest.skip(f"{name}: {NOT_FOUND}")
            peer: Peer = RedisAside(opened.enter_context(redis_server(program)))
        else:
            peer = _BY_NAME[name]()
        report = run(options_for(peer, 1, 10), installation)
    shown = line(peer.name, peer.title, report)
    assert not shown.failures, report.as_text()
    assert shown.reads > 100
    assert shown.transactions > 10
    assert shown.at_rest > 4
    assert not (peer.exact and shown.stale)
