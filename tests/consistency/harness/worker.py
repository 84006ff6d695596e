"""A thread that does one thing for as long as the round lasts, and takes a lost connection as it comes."""

import threading
import traceback
from random import Random
from typing import ClassVar, LiteralString

import psycopg

from tests.consistency.checker import NotExact
from tests.consistency.harness.ledger import LostWrites
from tests.consistency.harness.site import Site, Stopped
from tests.consistency.harness.trouble import is_lost

LEVELS: tuple[LiteralString, ...] = ("read committed", "repeatable read", "serializable")


class Worker(threading.Thread):
    """Runs `work` again and again; `work` gets a fresh connection and uses it until it is lost."""

    role: ClassVar[str] = "work"

    def __init__(self, site: Site, number: int = 0) -> None:
        super().__init__(name=f"{self.role} {number}", daemon=True)
        self.site = site
        self.number = number
        self.random = Random(f"{site.random_seed} {self.name}")  # noqa: S311 - a schedule is no secret
        # What was under way when an error came.
        self.doing = ""

    def run(self) -> None:
        try:
            while not self.site.stop.is_set():
                self._once()
        except Stopped:
            pass
        except NotExact as error:
            self.site.fail("wrong row", self.name, error, getattr(error, "evidence", ""))
        except LostWrites as error:
            self.site.fail("lost write", self.name, error)
        except BaseException as error:  # noqa: BLE001 - nothing may end a worker unnoticed
            self.site.fail("error", self.name, f"{self.doing}: {error!r}\n{traceback.format_exc(limit=-6)}")

    def _once(self) -> None:
        try:
            with self.connect() as connection:
                self.work(connection)
        except (Stopped, NotExact):
            raise
        except Exception as error:
            if not is_lost(error):
                raise
            self.site.tally.add("lost connections", self.role)
            self.note(f"lost its connection in {self.doing}")

    def connect(self) -> psycopg.Connection:
        """The connection to work on."""
        return self.site.connect(self.role)

    def work(self, connection: psycopg.Connection) -> None:
        """Work until the round is over."""
        while True:
            self.site.go_on()
            self.turn(connection)

    def turn(self, connection: psycopg.Connection) -> None:
        """One piece of work."""
        raise NotImplementedError

    def note(self, what: str) -> None:
        """Remember a step for the report of a failure."""
        self.site.note(self.name, what)

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.random.random() < probability

    def pause(self, mean_seconds: float) -> None:
        """Let a random time pass."""
        self.site.pause(self.random.expovariate(1 / mean_seconds))
