"""The model of the protocol in every interleaving: nobody is ever served a wrong row, and without its rules
somebody is. With `-s` it prints how many states there were, and the shortest way to each wrong row.
"""

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Final

import pytest

from tests.consistency.model.explorer import explore
from tests.consistency.model.protocol import RULES, World

ON_DEMAND: Final = (("v", False),)
COMPLETE: Final = (("v", True),)
BOTH: Final = (("v", False), ("w", True))
ALL: Final = frozenset(RULES)

FILL: Final = ("lock v", "snapshot", "store v", "commit")
FILL_ALL: Final = ("lock v all", "snapshot", "store v all", "commit")
OLD_SNAPSHOT: Final = ("snapshot", "lock v", "store v", "commit")
SWEEP: Final = ("barrier v", "resolve v", "delete")
SWEEP_ALL: Final = ("barrier v", "resolve v all", "delete")
RENAME: Final = ("write p", "commit")
ADD: Final = ("write c", "commit")
PREPARED: Final = ("write p", "prepare", "commit prepared")
SAVEPOINT: Final = ("write p", "savepoint", "write c", "write p", "undo", "commit")
FILL_AND_WRITE: Final = ("fill v", "write p", "commit")
WRITE_AND_FILL: Final = ("write p", "fill v", "write p", "commit")
CRASH: Final = ("crash", "open")
READER: Final = ("look", "end")

# What is run against each other, beside what fills and sweeps.
PROGRAMS: Final = (
    RENAME,
    ADD,
    PREPARED,
    SAVEPOINT,
    ("write p", "rollback"),
    FILL_AND_WRITE,
    WRITE_AND_FILL,
    FILL,
    CRASH,
    READER,
)

Views = tuple[tuple[str, bool], ...]

SHARED: Final = ("barrier v", "barrier w", "resolve v", "delete", "resolve w all", "delete")


@dataclass(frozen=True)
class Broken:
    """Rules that are switched off, and transactions between which that shows. `behind`: those of the rules
    that can be missing alone, because another one stands behind them.
    """

    off: frozenset[str]
    programs: tuple[tuple[str, ...], ...]
    views: Views = ON_DEMAND
    child_exists: bool = True
    behind: frozenset[str] = frozenset()

    def world(self, off: frozenset[str]) -> World:
        return World(ALL - off, self.programs, self.views, self.child_exists)


def _two(*rules: str) -> frozenset[str]:
    return frozenset(rules)


BROKEN: Final = {
    "no barrier": Broken(_two("barrier", "one at a time"), (FILL, RENAME, SWEEP), behind=_two("barrier")),
    "the sweep resolves beside a fill": Broken(_two("one at a time"), (FILL, RENAME, SWEEP)),
    "marks deleted without the horizon": Broken(_two("horizon"), (RENAME, FILL, SWEEP)),
    "lookup at write time": Broken(_two("late lookup"), (RENAME, ADD, FILL), child_exists=False),
    "no test of the fill's own marks, in a transaction that has written": Broken(
        _two("own marks", "fills alone"), (WRITE_AND_FILL, ADD), behind=_two("own marks", "fills alone")
    ),
    "a snapshot that is older than the lock": Broken(
        _two("snapshot after lock"), (OLD_SNAPSHOT, RENAME, SWEEP)
    ),
    "an older fill replaces a newer row": Broken(
        _two("newer stays", "one at a time"),
        (FILL, FILL_ALL, RENAME),
        COMPLETE,
        behind=_two("newer stays", "one at a time"),
    ),
    "no epoch guard, by key": Broken(_two("epoch"), (PREPARED, CRASH, FILL)),
    "no epoch guard, of a complete view": Broken(_two("epoch"), (PREPARED, CRASH, SWEEP_ALL), COMPLETE),
    "complete is kept over a wipe": Broken(_two("complete with its rows"), (CRASH, READER), COMPLETE),
    "marks deleted before all views are resolved": Broken(_two("all views first"), (RENAME, SHARED), BOTH),
}


def choices(programs: Sequence[tuple[str, ...]], size: int) -> Iterator[tuple[tuple[str, ...], ...]]:
    """Every choice of so many of them; one crash and one old snapshot at most."""
    for chosen in combinations_with_replacement(programs, size):
        if chosen.count(CRASH) < 2 and chosen.count(READER) < 2:
            yield chosen


def all_right(worlds: Iterable[World]) -> None:
    """Nobody is served a wrong row in any state of these worlds; prints how many there were."""
    started, states, steps, count = time.monotonic(), 0, 0, 0
    for world in worlds:
        found = explore(world)
        assert not found.wrong, f"{world.programs}: {found}"
        states, steps, count = states + found.states, steps + found.steps, count + 1
    seconds = time.monotonic() - started
    sys.stdout.write(f"{count} sets of transactions: {states:,} states, {steps:,} steps, {seconds:.1f} s\n")


def worlds(views: Views, size: int, always: tuple[tuple[str, ...], ...] = ()) -> Iterator[World]:
    """So many transactions beside those that are always there, with and without a row at the start."""
    own = (SWEEP,) if views == ON_DEMAND else (SWEEP_ALL, FILL_ALL)
    for chosen in choices((*PROGRAMS, *own), size):
        for child in (True, False):
            yield World(ALL, (*always, *chosen), views, child)


VIEWS = pytest.mark.parametrize("views", [ON_DEMAND, COMPLETE], ids=["on demand", "complete"])


@VIEWS
def test_two_transactions_in_every_order(views: Views) -> None:
    all_right(worlds(views, 2))


@pytest.mark.slow
@VIEWS
def test_three_transactions_in_every_order(views: Views) -> None:
    all_right(worlds(views, 3))


@pytest.mark.slow
@VIEWS
def test_a_sweep_a_fill_and_two_transactions_in_every_order(views: Views) -> None:
    all_right(worlds(views, 2, (FILL, SWEEP if views == ON_DEMAND else SWEEP_ALL)))


def test_two_views_that_share_their_marks() -> None:
    two = [(RENAME, SHARED), (RENAME, FILL, SHARED), (ADD, FILL, SHARED), (RENAME, READER, SHARED)]
    all_right(World(ALL, programs, BOTH) for programs in two)


@pytest.mark.parametrize("name", list(BROKEN))
def test_what_goes_wrong_without_a_rule(name: str) -> None:
    broken = BROKEN[name]
    all_right([broken.world(frozenset())])
    found = explore(broken.world(broken.off))
    sys.stdout.write(f"without {', '.join(sorted(broken.off))}: {found}\n")
    assert found.wrong
    all_right(broken.world(frozenset({rule})) for rule in broken.behind)
    for rule in broken.off - broken.behind:
        assert explore(broken.world(frozenset({rule}))).wrong


def test_every_rule_is_broken_once() -> None:
    assert frozenset().union(*(broken.off for broken in BROKEN.values())) == ALL
