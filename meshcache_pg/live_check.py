"""`verify --live`: compares a few keys at a time with the source, beside the application's load, for a chosen
time or number of reads. It must be able to run in production, so it is bounded in every direction: short
read-only transactions with timeouts of their own, a few pages of a table per round, and a rate.
"""

import random
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from meshcache_pg.errors import LockBusy
from meshcache_pg.health import SHOWN_DIFFERENCES, Key, compare, limit, pick, refuse_rollup
from meshcache_pg.statements import Target

Begin = Callable[[], AbstractContextManager[Connection]]

DEFAULT_SECONDS: Final = 60.0
DEFAULT_RATE: Final = 50.0

# Keys of one statement: enough to share its start-up, few enough for a statement of milliseconds.
MOST_KEYS: Final = 20

# What one statement may take, and wait for a lock that somebody else's DDL holds.
STATEMENT_MS: Final = 2000
LOCK_MS: Final = 200

# Where keys come from, in turns: a wrong row shows among the recently written ones first.
PICKS: Final = ("marked", "cached", "marked", "cached", "uncached")

# So many keys of a view that had a mark are asked for again: the sweep has filled them anew since.
REMEMBERED_KEYS: Final = 500

# The server's answer to a choice of keys that this view has no way to: a value that does not fit the key's
# type, a type that cannot be compared.
_CANNOT_PICK: Final = ("22", "42")


@dataclass(frozen=True, slots=True)
class LiveDifference:
    """A key for which the cache gave another answer than the source, in the snapshot `snapshot`.

    Each of `answers` has `reader` (hits, get, live), `problem`, `columns` (the names of those that differ)
    and, if they were asked for, `values` (by column, `cache` and `source`). `filled_in`, `filled_by` and
    `filled_at` are of the cached row, `marks` those that concern it, each with `in_fill`: whether the fill
    had seen its transaction. `repaired` is None where no repair was asked for.
    """

    name: str
    key: Mapping[str, Any]
    answers: Sequence[Mapping[str, Any]]
    snapshot: str
    filled_in: str | None
    filled_by: str | None
    filled_at: str | None
    marks: Sequence[Mapping[str, Any]]
    repaired: bool | None = None


@dataclass(frozen=True, slots=True)
class LiveCounts:
    """Compared reads of one view by the origin that `_get` told (`absent`: no such row), and those that
    differed.
    """

    name: str
    compared: int = 0
    hits: int = 0
    stale: int = 0
    misses: int = 0
    bypassed: int = 0
    absent: int = 0
    different: int = 0


@dataclass(frozen=True, slots=True)
class LiveReport:
    """What a comparison has found so far. `ended` is `reads`, `time`, `no keys`, or None while it goes on.

    `skipped` counts rounds that were given up because they took too long or met a lock; `left_out` has, by
    view, where no more keys are taken from, because looking for them takes too long there or is impossible.
    """

    seconds: float
    ended: Literal["reads", "time", "no keys"] | None
    views: Sequence[LiveCounts]
    differences: Sequence[LiveDifference]
    skipped: int
    left_out: Mapping[str, Sequence[str]]

    def total(self, count: str) -> int:
        """One of the counts of LiveCounts, over all views."""
        return sum(getattr(view, count) for view in self.views)

    @property
    def equal(self) -> bool:
        """Whether no read differed."""
        return not self.total("different")

    @property
    def bound(self) -> float | None:
        """The share of wrong answers among reads like these that is excluded with 95 % confidence (3 / N);
        None where nothing was compared, or something differed.
        """
        return _rule_of_three(self, "compared")

    @property
    def hit_bound(self) -> float | None:
        """The same among hits alone: the other answers come from the source itself."""
        return _rule_of_three(self, "hits")


def _rule_of_three(report: LiveReport, count: str) -> float | None:
    number = report.total(count)
    return min(1.0, 3 / number) if number and report.equal else None


@dataclass(slots=True)
class _Watched:
    """One view, and what was learnt about asking it."""

    target: Target
    most_keys: int = MOST_KEYS
    counts: Counter[str] = field(default_factory=Counter)
    left_out: list[str] = field(default_factory=list)
    marked: deque[Key] = field(default_factory=lambda: deque(maxlen=REMEMBERED_KEYS))
    turn: int = 0


class LiveCheck:
    """One comparison of some views. `begin` gives a connection in a READ COMMITTED transaction of its own,
    with driver errors translated; `repair` makes the row of a key stale, in another transaction.
    """

    def __init__(
        self,
        begin: Begin,
        targets: Sequence[Target],
        *,
        rate: float = DEFAULT_RATE,
        values: bool = False,
        repair: Callable[[Target, Key], None] | None = None,
    ) -> None:
        for target in targets:
            refuse_rollup(target.name, target.kind)
        self._begin = begin
        self._views = [_Watched(target) for target in targets]
        self._rate = rate
        self._values = values
        self._repair = repair
        self._differences: dict[tuple[str, Key], LiveDifference] = {}
        self._skipped = 0
        self._started = time.monotonic()
        self._ended: Literal["reads", "time", "no keys"] | None = None
        # Half a second's share of the rate, so that a low one is spread out too.
        self._batch = max(1, min(MOST_KEYS, int(rate / 2)))

    def report(self) -> LiveReport:
        """What was found so far."""
        return LiveReport(
            seconds=time.monotonic() - self._started,
            ended=self._ended,
            views=[
                LiveCounts(
                    view.target.name,
                    compared=view.counts["compared"],
                    hits=view.counts["hit"],
                    stale=view.counts["stale"],
                    misses=view.counts["miss"],
                    bypassed=view.counts["bypass"],
                    absent=view.counts["absent"],
                    different=view.counts["different"],
                )
                for view in self._views
            ],
            differences=list(self._differences.values()),
            skipped=self._skipped,
            left_out={view.target.name: list(view.left_out) for view in self._views if view.left_out},
        )

    def run(
        self,
        *,
        seconds: float,
        reads: int | None = None,
        wait_for_keys: bool = True,
        progress: Callable[[LiveReport], None] | None = None,
    ) -> LiveReport:
        """Compare until `seconds` have passed or `reads` keys are compared, or, unless `wait_for_keys`, no
        view has a key. Calls `progress` after each round. Raises LockBusy when every round met a lock or
        took too long.
        """
        self._started = time.monotonic()
        until = self._started + seconds
        left = reads
        due = self._started
        while self._ended is None:
            found = 0
            for view in self._views:
                number = self._round(view, self._batch if left is None else min(self._batch, left))
                found += number
                left = None if left is None else left - number
                if left == 0:
                    self._ended = "reads"
                if progress is not None:
                    progress(self.report())
                # An empty round has a price, too.
                due = max(due, time.monotonic() - 1) + max(number, 1) / self._rate
                time.sleep(max(0.0, min(due, until) - time.monotonic()))
                if self._ended is None and time.monotonic() >= until:
                    self._ended = "time"
                if self._ended is not None:
                    break
            if not found and not self._skipped and not wait_for_keys and self._ended is None:
                self._ended = "no keys"
        report = self.report()
        if self._skipped and not report.total("compared"):
            raise LockBusy(
                f"nothing was compared: {self._skipped} of {self._skipped} rounds took longer than"
                f" {STATEMENT_MS / 1000:g} s or met a lock",
                hint="Look for a lock on the tables in pg_locks, and for a SELECT that is slow for one key.",
            )
        return report

    def _round(self, view: _Watched, most: int) -> int:
        """Compare at most so many keys of one view; returns how many were."""
        try:
            keys = self._choose(view, min(most, view.most_keys))
            if not keys:
                return 0
            with self._limited() as connection:
                found = compare(connection, view.target, keys, values=self._values)
        except LockBusy as error:
            self._skipped += 1
            if _state(error.__cause__) == "57014":
                view.most_keys = max(1, view.most_keys // 2)
            return 0
        view.counts.update(found["origins"])
        view.counts["compared"] += found["compared"]
        view.counts["different"] += found["different"]
        for one in found["differences"]:
            self._note(view.target, found["snapshot"], one)
        number: int = found["compared"]
        return number

    def _choose(self, view: _Watched, most: int) -> list[Key]:
        """Different keys from marks, the cache and the source in turns, as far as these have any."""
        chosen: dict[Key, None] = {}
        offered = {name: iter(self._offered(view, name, most)) for name in dict.fromkeys(PICKS)}
        dry = 0
        while len(chosen) < most and dry < len(PICKS):
            name = PICKS[view.turn % len(PICKS)]
            view.turn += 1
            key = next((k for k in offered[name] if k not in chosen), None)
            dry = 0 if key is not None else dry + 1
            if key is not None:
                chosen[key] = None
        return list(chosen)

    def _offered(self, view: _Watched, name: str, most: int) -> list[Key]:
        keys = self._picked(view, name, most)
        if name == "marked":
            again = random.sample(view.marked, min(most, len(view.marked)))
            view.marked.extend(key for key in keys if key not in view.marked)
            keys += again
        random.shuffle(keys)
        return keys

    def _picked(self, view: _Watched, name: str, most: int) -> list[Key]:
        if name in view.left_out:
            return []
        try:
            with self._limited() as connection:
                return pick(connection, view.target, name, most)
        except LockBusy as error:
            if _state(error.__cause__) != "57014":
                raise
        except DBAPIError as error:
            if not _state(error).startswith(_CANNOT_PICK):
                raise
        view.left_out.append(name)
        return []

    @contextmanager
    def _limited(self) -> Iterator[Connection]:
        """A transaction that can neither write nor take long."""
        with self._begin() as connection:
            limit(connection, statement_ms=STATEMENT_MS, lock_ms=LOCK_MS)
            yield connection

    def _note(self, target: Target, snapshot: str, found: Mapping[str, Any]) -> None:
        key: Key = tuple(found["key_text"])
        if (target.name, key) in self._differences or len(self._differences) >= SHOWN_DIFFERENCES:
            known = self._differences.get((target.name, key))
            # It was repaired and is wrong again.
            if self._repair is not None and (known is None or known.repaired):
                self._repaired(target, key)
            return
        self._differences[target.name, key] = LiveDifference(
            target.name,
            found["key"],
            [self._answer(answer) for answer in found["answers"]],
            snapshot,
            found["filled_in"],
            found["filled_by"],
            found["filled_at"],
            found["marks"],
            self._repaired(target, key) if self._repair is not None else None,
        )

    def _answer(self, found: Mapping[str, Any]) -> dict[str, Any]:
        columns = found["columns"] or {}
        answer = {"reader": found["reader"], "problem": found["problem"], "columns": list(columns)}
        return answer | ({"values": columns} if self._values else {})

    def _repaired(self, target: Target, key: Key) -> bool:
        """Make the row stale, and see whether that was enough."""
        if self._repair is None:
            return False
        self._repair(target, key)
        try:
            with self._limited() as connection:
                return not compare(connection, target, [key])["different"]
        except LockBusy:
            return False


def _state(error: BaseException | None) -> str:
    return getattr(getattr(error, "orig", None), "sqlstate", None) or ""
