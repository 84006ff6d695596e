"""What goes wrong: servers, backends and clients that are killed in the middle of something, connections
that are cut, statements that are cancelled. Runs in the main thread, which alone owns the server.
"""

import os
import re
import signal
from collections.abc import Sequence
from random import Random

import psycopg

from meshcache_pg.embedded import PrivateServer
from meshcache_pg.embedded.reaper import wait_until
from meshcache_pg.errors import EmbeddedServerError
from tests.consistency.harness.ledger import LostWrites
from tests.consistency.harness.site import Site, Stopped
from tests.consistency.harness.trouble import is_lost
from tests.consistency.harness.victim import ROLES, Victim

# Whoever is to be caught in the middle of something gets this long to begin with it.
_CATCH_SECONDS = 1.0

_ROLES = (
    "write",
    "write",
    "fill",
    "sweep",
    "refresh",
    "apply",
    "library",
    "read",
    "ask",
    "migrate",
    "resolve",
)

KINDS = {
    "kill -9 of the server": 5,
    "immediate stop": 3,
    "kill -9 of a backend": 4,
    "kill -9 of a client": 3,
    "connection cut": 3,
    "statement cancelled": 2,
    "clean restart": 1,
}
CRASHES = ("kill -9 of the server", "immediate stop", "kill -9 of a backend")

_FILE_EXISTS = re.compile(r"FATAL:  could not create file .*: File exists")

_BUSY = """
select a.pid from pg_stat_activity as a
where a.datname = %s and a.application_name = %s and a.state <> 'idle' and a.pid <> pg_backend_pid()
"""


class Pace:
    """When faults are due: one in `mean_seconds` of the run, also for the time that making databases and
    settling accounts take of it, but never two at once.
    """

    def __init__(self, seed: str, began: float, mean_seconds: float) -> None:
        self._random = Random(f"{seed} pace")  # noqa: S311
        self._began, self._mean = began, mean_seconds
        self._number = 0
        self._next = began + self._mean * self._random.uniform(0.5, 1.5)

    def is_due(self, now: float) -> bool:
        """Whether it is time."""
        return now >= self._next

    def was_done(self, now: float) -> None:
        """The server has been back since `now`."""
        self._number += 1
        planned = self._began + self._mean * (self._number + self._random.uniform(0.5, 1.5))
        self._next = max(planned, now + self._mean / 2)


class Faults:
    """One after the other, on the server of all sites."""

    def __init__(self, server: PrivateServer, seed: str) -> None:
        self._server = server
        self._random = Random(f"{seed} faults")  # noqa: S311
        self._victims = 0

    def strike(self, sites: Sequence[Site], kind: str | None = None) -> None:
        """Do one thing, and see whether nothing that was acknowledged is lost."""
        if kind is None:
            kind = self._random.choices(list(KINDS), list(KINDS.values()))[0]
        site = self._random.choice(sites)
        try:
            if kind == "kill -9 of a client":
                self._kill_client(next((s for s in sites if s.workload.name == "meshhook"), None))
            else:
                role, pid = self._catch(site)
                what = f"{kind}, in the middle of: {role if pid else 'nothing'}"
                self._do(kind, sites, pid)
                site.tally.add("faults", what)
            site.tally.add("faults by kind", kind)
            for one in sites:
                self._verify(one)
        except Stopped:
            return
        except LostWrites as error:
            site.fail("lost write", kind, error)

    def _catch(self, site: Site) -> tuple[str, int | None]:
        """Wait until a session of some role is at work; its process id."""
        role = self._random.choice(_ROLES)
        found: list[int] = []

        def busy() -> bool:
            found.extend(pid for (pid,) in connection.execute(_BUSY, (site.name, f"mc {role}")))
            return bool(found) or site.stop.is_set()

        try:
            with site.connect("fault") as connection:
                wait_until(busy, _CATCH_SECONDS)
        except psycopg.Error as error:
            if not is_lost(error):
                raise
        return role, self._random.choice(found) if found else None

    def _do(self, kind: str, sites: Sequence[Site], pid: int | None) -> None:
        for site in sites:
            site.note("fault", f"{kind} {pid or ''}")
            site.crashes += kind in CRASHES
        if kind == "kill -9 of the server":
            self._server.kill()
            self._start(sites[0])
        elif kind == "immediate stop":
            self._server.halt("immediate")
            self._start(sites[0])
        elif kind == "clean restart":
            self._server.restart("fast")
        elif kind == "kill -9 of a backend":
            self._kill_backend(sites[0], pid)
        elif pid is not None:
            call = (
                "select pg_terminate_backend(%s)"
                if kind == "connection cut"
                else "select pg_cancel_backend(%s)"
            )
            with sites[0].connect("fault") as connection:
                connection.execute(call, (pid,))

    def _start(self, site: Site) -> None:
        """Start it again; twice where it meets PostgreSQL's bug #17731, as an administrator would."""
        try:
            self._server.start()
        except EmbeddedServerError:
            # Many who want to connect have said so in the log since.
            if not _FILE_EXISTS.search(self._server.log_tail(1000)):
                raise
            site.tally.add("faults", "a second start, for PostgreSQL's bug #17731")
            self._server.start()

    def _kill_backend(self, site: Site, pid: int | None) -> None:
        with site.connect("fault") as connection:
            # It takes all others along, also the one that watches.
            try:
                os.kill(pid if pid is not None else connection.info.backend_pid, signal.SIGKILL)
            except ProcessLookupError:
                # It has ended by itself in the meantime; the one that watches will do.
                os.kill(connection.info.backend_pid, signal.SIGKILL)
            watching = connection

            def gone() -> bool:
                try:
                    watching.execute("select")
                except psycopg.OperationalError:
                    return True
                return False

            wait_until(gone, 30)
        wait_until(lambda: self._takes_connections() or not self._server.is_running, 30)
        if not self._server.is_running:
            self._start(site)

    def _takes_connections(self) -> bool:
        try:
            psycopg.connect(self._server.dsn(), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _kill_client(self, site: Site | None) -> None:
        if site is None or site.options.subject.name != "cache":
            return
        role = self._random.choice([r for r in ROLES if r != "apply" or not site.options.plants])
        self._victims += 1
        victim = Victim(site, role, 1000 + self._victims)
        try:
            if victim.go():
                if role == "apply":
                    # Nobody else may change definitions, and whatever it was at is done again afterwards.
                    with site.changing(leaves_whole=False):
                        site.pause(self._random.uniform(0.2, 2))
                        victim.kill()
                else:
                    site.pause(self._random.uniform(0.2, 1.5))
        finally:
            victim.kill()
        site.note("fault", f"killed a client: {role}")
        site.tally.add("faults", f"kill -9 of a client, in the middle of: {role}")

    def _verify(self, site: Site) -> None:
        while True:
            try:
                with site.connect("fault") as connection:
                    site.tally.add("ledger", "entries found again", site.ledger.verify(connection))
                    site.tally.add("ledger", "verifications")
                    return
            except psycopg.Error as error:
                if not is_lost(error):
                    raise
