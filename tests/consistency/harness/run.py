"""One run on one server: rounds with a database for each workload, faults in between, a report."""

import platform
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import psycopg

import meshcache_pg
from meshcache_pg.embedded import Installation, PrivateServer
from tests.consistency.checker import NotExact
from tests.consistency.harness.faults import Faults, Pace
from tests.consistency.harness.ledger import LostWrites
from tests.consistency.harness.meshhook import MeshHook
from tests.consistency.harness.migrator import Migrator
from tests.consistency.harness.monitor import CLIENTS, Monitor
from tests.consistency.harness.options import Options
from tests.consistency.harness.peers.workload import PeersWorkload
from tests.consistency.harness.pooler import find_pooler, pooled_dsn, pooler, pooler_version
from tests.consistency.harness.report import LONGEST_WAIT_SECONDS, WAITS_FOR_THE_SUBJECT, Report
from tests.consistency.harness.resolver import Resolver, prepared
from tests.consistency.harness.schemas import Generated
from tests.consistency.harness.serverlog import PREFIX, ServerLog, deadlock_with_the_cache, long_wait
from tests.consistency.harness.site import Failure, Site
from tests.consistency.harness.tally import Tally
from tests.consistency.harness.worker import Worker
from tests.consistency.harness.workload import Workload
from tests.consistency.harness.writers import Writer

# Processes are killed, machines are not: what the system has been given is safe without fsync.
SETTINGS = {
    "fsync": "off",
    "max_prepared_transactions": "40",
    "max_connections": "120",
    "log_lock_waits": "on",
    # The default: whoever waits longer than the bar is in the log.
    "deadlock_timeout": "1s",
    "log_line_prefix": PREFIX,
    "jit": "off",
    # Locks of SERIALIZABLE readers over thousands of rows.
    "max_pred_locks_per_transaction": "256",
}

Talk = Callable[[str], None]


def run(options: Options, installation: Installation, talk: Talk = lambda _: None) -> Report:
    """Run on a server of its own, to the end or to the first failure."""
    versions = {"postgresql": installation.version, "python": platform.python_version()}
    versions |= {"psycopg": psycopg.__version__, "meshcache-pg": meshcache_pg.__version__}
    report = Report(options.seed, options.subject.name, versions)
    began = time.monotonic()
    pace = Pace(str(options.seed), began, options.fault_seconds)
    with ExitStack() as stack:
        server = stack.enter_context(PrivateServer(installation, settings=SETTINGS | dict(options.settings)))
        program = find_pooler() if options.pooler else None
        directory = None
        if program is not None:
            versions["pgbouncer"] = pooler_version(program)
            directory = stack.enter_context(pooler(program, server.dsn()))
        else:
            report.left_out.append("reads through PgBouncer: no program pgbouncer was found")
        log = ServerLog(server.data_dir / "server.log")
        while not report.failures and not _is_done(options, report, time.monotonic() - began):
            report.rounds += 1
            _Round(
                options, server, report, pooler_directory=directory, log=log, began=began, pace=pace
            ).play()
            report.seconds = time.monotonic() - began
            talk(report.line())
        if report.failures:
            report.log_tail = server.log_tail(60)
    wait, what = report.longest_wait()
    if wait > LONGEST_WAIT_SECONDS:
        report.failures.append(
            Failure("long wait", "", "", f"{wait:.2f} s for a lock of the cache: {what}", 0)
        )
    return report


def _workload(name: str, seed: str, *, calls_cache: bool) -> Workload:
    if name == "generated":
        return Generated(seed)
    return PeersWorkload() if name == "peers" else MeshHook(calls_cache=calls_cache)


def _is_done(options: Options, report: Report, seconds: float) -> bool:
    if options.reads is not None:
        return report.rounds == 1
    return report.rounds >= options.rounds if options.rounds else seconds >= options.seconds


def _hits(sites: Sequence[Site]) -> int:
    return sum(site.tally.group("reads")["hit"] for site in sites)


class _Round:
    """New databases, everybody at work, and the settling of accounts."""

    def __init__(
        self,
        options: Options,
        server: PrivateServer,
        report: Report,
        *,
        pooler_directory: str | None,
        log: ServerLog,
        began: float,
        pace: Pace,
    ) -> None:
        self._options, self._server, self._report, self._log = options, server, report, log
        self._pooler, self._began, self._pace = pooler_directory, began, pace
        self._seed = f"{options.seed} round {report.rounds}"
        self._faults = Faults(server, self._seed)

    def play(self) -> None:
        sites = [self._make(name) for name in self._options.workloads]
        try:
            workers = [worker for site in sites for worker in self._workers(site)]
            for worker in workers:
                worker.start()
            self._watch(sites)
            for site in sites:
                site.stop.set()
            for worker in workers:
                worker.join()
            for site in sites:
                if not any(s.failures for s in sites):
                    self._settle(site)
        finally:
            for site in sites:
                self._report.failures += site.failures
                self._report.tally.merge(site.tally)
                if site.failures:
                    self._report.recent += list(site.recent)
        self._read_log()
        if not self._report.failures:
            for site in sites:
                self._server.drop_database(site.name)

    def _make(self, workload_name: str) -> Site:
        workload = _workload(workload_name, self._seed, calls_cache=self._options.subject.changes)
        name = f"{workload_name}_{uuid.uuid4().hex[:12]}"
        dsn = self._server.create_database(name)
        workload.create(dsn)
        site = Site(
            name, dsn, self._server.major, workload, self._options, f"{self._seed} {workload_name}", Tally()
        )
        if self._pooler is not None:
            site.pooled_dsn = pooled_dsn(self._pooler, name)
        self._options.subject.install(site)
        site.began = time.monotonic()
        return site

    def _workers(self, site: Site) -> Sequence[Worker]:
        writers = 2 if site.workload.name == "generated" else 4
        return [
            *(Writer(site, number) for number in range(writers)),
            Migrator(site),
            Resolver(site),
            Monitor(site),
            *self._options.subject.workers(site),
        ]

    def _watch(self, sites: Sequence[Site]) -> None:
        """Let them work, with faults in between, until the round is over."""
        began = time.monotonic()
        struck = 0
        while not any(site.stop.is_set() for site in sites):
            now = time.monotonic()
            if self._options.reads is not None:
                reads = sum(site.tally.group("compared")["reads"] for site in sites)
                strikes = self._options.strikes
                if struck < len(strikes):
                    if reads >= self._options.reads * (struck + 1) / (len(strikes) + 1):
                        self._faults.strike(sites, strikes[struck])
                        struck += 1
                elif reads >= self._options.reads and _hits(sites) >= self._options.hits:
                    return
            elif now - began >= self._options.round_seconds or self._is_time_over(now):
                return
            elif self._options.faults and self._pace.is_due(now):
                self._faults.strike(sites)
                self._pace.was_done(time.monotonic())
            sites[0].stop.wait(0.05)

    def _is_time_over(self, now: float) -> bool:
        return self._options.rounds is None and now - self._began >= self._options.seconds

    def _settle(self, site: Site) -> None:
        """With nobody at work: end what is prepared, compare everything, look for what was committed."""
        site.stop.clear()
        try:
            resolver = Resolver(site)
            with site.connect("settle") as connection:
                for gid in prepared(connection):
                    resolver.resolve(connection, gid)
                self._options.subject.settle(site)
                site.tally.add("ledger", "entries at the ends of rounds", site.ledger.verify(connection))
        except NotExact as error:
            site.fail("wrong row", "settling", error, getattr(error, "evidence", ""))
        except (LostWrites, AssertionError) as error:
            site.fail("settling", "settling", error)

    def _read_log(self) -> None:
        for message in self._log.news():
            waited = long_wait(message)
            if waited is not None:
                role = message.role.removeprefix("mc ") or "pgbouncer"
                self._report.tally.largest(f"{role} waits, says the server", *waited)
                if role in CLIENTS and self._options.subject.is_named_in(message.whole):
                    self._report.tally.add("waits for the subject, says the server", role)
                    self._report.tally.largest(WAITS_FOR_THE_SUBJECT, waited[0], f"{role}: {waited[1]}")
            if deadlock_with_the_cache(message):
                text = f"{message.role}: {message.whole}"
                self._report.failures.append(Failure("deadlock with the cache", "", message.role, text, 0))
