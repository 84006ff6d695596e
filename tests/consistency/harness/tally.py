"""Counts of a run, from all threads. A count has a group and a name: ("reads", "hit")."""

import threading
from collections import Counter
from collections.abc import Iterable

from tests.consistency.checker import Checker


class Tally:
    """Counters and largest values, safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, Counter[str]] = {}
        self._largest: dict[str, tuple[float, str]] = {}

    def add(self, group: str, name: str, times: int = 1) -> None:
        """Count."""
        with self._lock:
            self._counts.setdefault(group, Counter())[name] += times

    def largest(self, name: str, value: float, what: str) -> None:
        """Keep the largest value with a word on where it was seen."""
        with self._lock:
            if value > self._largest.get(name, (0.0, ""))[0]:
                self._largest[name] = (value, what)

    def take(self, checker: Checker, views: Iterable[str]) -> None:
        """Move what a checker has counted here."""
        origins, compared = checker.origins, checker.compared
        with self._lock:
            reads = self._counts.setdefault("reads", Counter())
            by_view = self._counts.setdefault("by view", Counter())
            for name, count in compared.items():
                self._counts.setdefault("compared", Counter())[name] += count
            for name, count in origins.items():
                (by_view if " " in name else reads)[name] += count
            for view in views:
                by_view[f"{view} compared"] += 1
        origins.clear()
        compared.clear()

    def group(self, group: str) -> Counter[str]:
        """A copy of one group."""
        with self._lock:
            return Counter(self._counts.get(group, ()))

    def groups(self) -> dict[str, dict[str, int]]:
        """A copy of everything, in the order of names."""
        with self._lock:
            return {group: dict(sorted(names.items())) for group, names in sorted(self._counts.items())}

    def maxima(self) -> dict[str, tuple[float, str]]:
        """A copy of the largest values."""
        with self._lock:
            return dict(self._largest)

    def merge(self, other: "Tally") -> None:
        """Add everything that another tally has counted."""
        for group, names in other.groups().items():
            for name, count in names.items():
                self.add(group, name, count)
        for name, (value, what) in other.maxima().items():
            self.largest(name, value, what)
