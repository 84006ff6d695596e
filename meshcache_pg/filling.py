"""When to fill, and how often: the budget of transaction ids and the counters of one process. Knows no
database.
"""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable

from meshcache_pg.answers import Origin


class Budget:
    """A token bucket of one second's depth: `take` says whether one more fill fits the rate."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = per_second
        self._clock = clock
        self._tokens = max(1.0, per_second)
        self._since = clock()
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Use one token if there is one; never waits."""
        with self._lock:
            now = self._clock()
            self._tokens = min(max(1.0, self._rate), self._tokens + (now - self._since) * self._rate)
            self._since = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True


class Counts:
    """Reads by origin and fills per view, counted in the process so that a read never becomes a write."""

    def __init__(self, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = interval
        self._clock = clock
        self._due = clock() + interval
        self._lock = threading.Lock()
        self._counts: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def add(self, view: str, origin: Origin, times: int = 1) -> None:
        """Count reads."""
        with self._lock:
            self._counts[view][origin] += times

    def add_fills(self, view: str, times: int) -> None:
        """Count filled rows."""
        with self._lock:
            self._counts[view]["fills"] += times

    @property
    def is_due(self) -> bool:
        """Whether the interval has passed and there is something to flush."""
        return bool(self._counts) and self._clock() >= self._due

    def drain(self) -> list[dict[str, object]]:
        """Everything counted since the last time, and start again; put it back with `restore` if it cannot be
        kept.
        """
        with self._lock:
            counts, self._counts = self._counts, defaultdict(Counter)
            self._due = self._clock() + self._interval
        names = ("hit", "miss", "stale", "bypass", "fills")
        return [{"name": view, **{n: count[n] for n in names}} for view, count in sorted(counts.items())]

    def restore(self, drained: list[dict[str, object]]) -> None:
        """Give back what could not be flushed."""
        with self._lock:
            for line in drained:
                count = self._counts[str(line["name"])]
                for name, value in line.items():
                    if name != "name" and isinstance(value, int):
                        count[name] += value
