"""A client in a process of its own, to be killed: one worker of the harness on a site that another process
made. Told what to do in one line of JSON; says "ready", waits for a line, and then writes what happens to its
ledger's entries, so that nothing acknowledged is forgotten with it.
"""

import json
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from tests.consistency.harness.changer import Changer
from tests.consistency.harness.keepers import Filler, Refresher, Sweeper
from tests.consistency.harness.ledger import Entry, Ledger
from tests.consistency.harness.meshhook import MeshHook
from tests.consistency.harness.options import Options
from tests.consistency.harness.site import Site
from tests.consistency.harness.subject import Subject
from tests.consistency.harness.tally import Tally
from tests.consistency.harness.worker import Worker
from tests.consistency.harness.writers import Writer

ROLES: dict[str, type[Worker]] = {
    "write": Writer,
    "fill": Filler,
    "refresh": Refresher,
    "sweep": Sweeper,
    "apply": Changer,
}


@dataclass(frozen=True)
class Order:
    """What a victim has to know."""

    role: str
    number: int
    name: str
    dsn: str
    major: int
    seed: str


class _Telling(Ledger):
    def committed(self, entry: Entry) -> None:
        _say("committed", entry)

    def undone(self, entry: Entry) -> None:
        _say("undone", entry)


def _say(word: str, what: object) -> None:
    sys.stdout.write(json.dumps([word, what]) + "\n")
    sys.stdout.flush()


class Victim:
    """The other side: starts such a process, lets it go, kills it, and hears what it had to say."""

    def __init__(self, site: Site, role: str, number: int) -> None:
        self._site = site
        self.role = role
        order = Order(role, number, site.name, site.dsn, site.major, f"{site.seed} victim {number}")
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, json.dumps(asdict(order))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Retries, lost connections: what it fails with is told in its own words.
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._ready = threading.Event()
        self._reader.start()

    def go(self) -> bool:
        """Let it begin; False if it did not come up before the round ended."""
        while not self._ready.wait(0.05):
            if self._site.stop.is_set() or self._process.poll() is not None:
                return False
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return True

    def kill(self) -> None:
        """SIGKILL, and then all that it had said."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                word, what = json.loads(line)
            except ValueError:
                # Cut off in the middle of a word; nobody was told.
                continue
            if word == "ready":
                self._ready.set()
            elif word == "failed":
                self._site.fail("error", f"a {self.role} client of its own", what)
            elif word == "committed":
                self._site.ledger.committed((what[0], what[1]))
            else:
                self._site.ledger.undone((what[0], what[1]))


def main() -> None:
    """Run one worker until somebody kills this process, or its standard input ends."""
    order = Order(**json.loads(sys.argv[1]))
    workload = MeshHook()
    workload.join(order.dsn)
    # It does not compare: the gate that keeps TRUNCATE away from snapshots is in the other process.
    options = Options(seed=0, subject=Subject())
    site = Site(order.name, order.dsn, order.major, workload, options, order.seed, Tally(), ledger=_Telling())
    # Somebody else changes the views, too: errors of that are none of ours.
    site.generation, site.whole = 1, order.role != "apply"
    worker = ROLES[order.role](site, order.number)
    worker.random = Random(order.seed)  # noqa: S311
    _say("ready", order.role)
    if not sys.stdin.readline():
        return
    worker.start()
    sys.stdin.readline()
    site.stop.set()
    worker.join()
    for failure in site.failures:
        _say("failed", f"{failure.kind}: {failure.text}\n{failure.evidence}")


if __name__ == "__main__":
    main()
