"""How often the read is wrong while others write: two readers, two writers, one contender at a time.

Before each read the reader asks the source what is committed, on another connection. What is read afterwards
begins later, so it has to be at least as new: a row with a smaller number is stale, and there is nothing to
interpret. When all have stopped, every key is compared with the source: what is wrong then stays wrong until
somebody writes again or its time to live is over.
"""

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Final
from uuid import UUID

from psycopg import errors

from benchmarks.bench import Bench
from benchmarks.contenders.application import Change, Lookup, committed, connect, is_older
from benchmarks.contenders.contender import Client, Contender, Stage
from benchmarks.contenders.speed import Popularity

READERS: Final = 2
WRITERS: Final = 2

# Of one contender in one repetition.
SECONDS: Final = 6.0
# However short that is, so that there is something to be wrong about.
FEWEST_WRITES: Final = 20

# One write in twenty reads and writes; one in five of them renames a project.
READS_PER_WRITE: Final = 19
RENAMES: Final = 0.2

# Threads take turns as if they were processes: at Python's 5 ms a reader would hardly ever be overtaken.
_SWITCH_SECONDS: Final = 0.0005
# How long a writer looks for its turn before it looks whether all is over.
_TURN_SECONDS: Final = 0.05


@dataclass(slots=True)
class Counts:
    """Of one contender; the sum of all repetitions."""

    reads: int = 0
    hits: int = 0
    stale: int = 0
    writes: int = 0
    # Writes that PostgreSQL wanted to have again.
    retries: int = 0
    # Keys that were compared at rest, in all repetitions, and those of them that were wrong.
    at_rest: int = 0
    wrong: int = 0

    def add(self, other: "Counts") -> None:
        """Take its numbers in."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def hit_ratio(self) -> float:
        """Of the reads."""
        return self.hits / max(1, self.reads)

    @property
    def write_share(self) -> float:
        """Of reads and writes."""
        return self.writes / max(1, self.reads + self.writes)

    @property
    def stale_per_million(self) -> float:
        """Of the reads."""
        return self.stale * 1e6 / max(1, self.reads)

    @property
    def bound_per_million(self) -> float:
        """If none of the reads was stale: with 95 % confidence fewer than this (the rule of three)."""
        return 3e6 / max(1, self.reads)


@dataclass
class Race:
    """What readers and writers of one run share."""

    dsn: str
    contender: Contender
    popularity: Popularity
    ends_at: float
    stops: threading.Event = field(default_factory=threading.Event)
    turns: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    total: Counts = field(default_factory=Counts)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_over(self) -> bool:
        """Time has passed and something was written; or somebody has failed."""
        enough = time.monotonic() > self.ends_at and self.total.writes >= FEWEST_WRITES
        return enough or self.stops.is_set()

    def count(self, counts: Counts) -> None:
        """Add what one thread has done."""
        with self.lock:
            self.total.add(counts)


def measure(
    bench: Bench, stage: Stage, contenders: Sequence[Contender], popularity: Popularity
) -> dict[str, Counts]:
    """Counts by title: in each repetition all of them in turn, each alone in the database."""
    found = {contender.title: Counts() for contender in contenders}
    for n in range(bench.repetitions):
        for contender in contenders:
            counts = race(stage, contender, popularity, bench.seconds(SECONDS), f"{bench.seed} {n}")
            found[contender.title].add(counts)
    return found


def race(stage: Stage, contender: Contender, popularity: Popularity, seconds: float, seed: str) -> Counts:
    """One run of one contender: set up, warm, raced, compared at rest, torn down."""
    try:
        contender.set_up(stage, popularity.keys)
        with closing(contender.client()) as client:
            for key in popularity.keys:
                client.read(key)
        run = Race(stage.dsn, contender, popularity, time.monotonic() + seconds)
        with contender.at_work(), _short_turns():
            _run_all(run, seed)
        run.count(_at_rest(stage, contender, popularity.keys))
        return run.total
    finally:
        contender.tear_down()


def _run_all(run: Race, seed: str) -> None:
    with ThreadPoolExecutor(READERS + WRITERS) as pool:
        jobs = [pool.submit(_read, run, Random(f"{seed} reader {n}")) for n in range(READERS)]
        jobs += [pool.submit(_write, run, Random(f"{seed} writer {n}")) for n in range(WRITERS)]
    for job in jobs:
        job.result()


def _read(run: Race, random: Random) -> None:
    counts = Counts()
    try:
        with closing(run.contender.client()) as client, connect(run.dsn) as asking:
            while not run.is_over:
                (key,) = run.popularity.draw(random, 1)
                before = committed(asking, key)
                row = client.read(key)
                counts.reads += 1
                counts.stale += row is None or is_older(row, before)
                if counts.reads % READS_PER_WRITE == 0:
                    run.turns.release()
            counts.hits = client.hits
    finally:
        run.stops.set()
    run.count(counts)


def _write(run: Race, random: Random) -> None:
    try:
        with closing(run.contender.client()) as client:
            while not run.is_over:
                if run.turns.acquire(timeout=_TURN_SECONDS):
                    (key,) = run.popularity.draw(random, 1)
                    change = Change(key, renames_project=random.random() < RENAMES)
                    run.count(Counts(writes=1, retries=_write_once(client, change)))
    finally:
        run.stops.set()


def _write_once(client: Client, change: Change) -> int:
    """Write until it is done; returns how often it had to be tried again."""
    retries = 0
    while True:
        try:
            client.write(change)
        except (errors.DeadlockDetected, errors.SerializationFailure):
            retries += 1
        else:
            return retries


def _at_rest(stage: Stage, contender: Contender, keys: Sequence[UUID]) -> Counts:
    with closing(contender.client()) as client, connect(stage.dsn) as connection:
        source = Lookup(connection)
        return Counts(at_rest=len(keys), wrong=sum(client.read(key) != source(key) for key in keys))


@contextmanager
def _short_turns() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
