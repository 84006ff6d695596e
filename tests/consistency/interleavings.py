"""Every order of the steps of a writer, a fill and a sweep: 10!/(4! 3! 3!) = 4,200.

The writer has four steps:

1. `begin` at its isolation level, and its snapshot;
2. the first write, the rename of an owner; with a savepoint, the second one too, behind the savepoint;
3. the second write, an item that gets another owner; with a savepoint, `rollback to` takes it back. A
   writer that ends in two phases is then prepared;
4. `commit`, or `commit prepared`.

The fill has three, and is the product's own function. Where it stands still between the first and the
second, it does so inside its one statement, its snapshot taken and its row not yet stored: the SELECT of
the view calls a function of the application that waits for a lock of the test.

1. `begin`, and the call up to there;
2. the rest of the call: the rows are stored in a transaction that stays open;
3. `commit`.

The sweep has three, and is one `call meshcache.sweep()`. It stands still in the work on two other cached
views, one with a lower id than all others and one with a higher, whose SELECTs wait as the fill's does and
which the test makes stale before every run:

1. comparison of triggers, barriers, horizon: up to the first view that is resolved;
2. every view that matters here is resolved, each in its transaction: up to the last view;
3. the marks are deleted.

Where the sweep waits for a fill that is open (its barrier), the run goes on without it. The steps that it
owes follow when it is released.

After each step the cache is compared with the source in the snapshot of everybody who is able to read: the
writer, the fill's transaction, a reader that has just come, and one that came at some point and stays, at
REPEATABLE READ or SERIALIZABLE. The writer has a lock_timeout and nobody else's step can end meanwhile, so
that waiting for anything would be an error.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import LiteralString

STEPS = {"W": 4, "F": 3, "S": 3}

# What the fill does: asked keys, with or without a write of its own in the transaction; the whole of a
# complete view; and a call that has to be refused, because its transaction has an id already.
FILLS = ("keys", "whole", "keys and a write", "a write first")


@dataclass(frozen=True)
class Variant:
    """How the writer and the reader that stays go about it."""

    level: LiteralString
    two_phase: bool
    savepoint: bool

    @property
    def reader(self) -> LiteralString:
        return "serializable" if self.level == "serializable" else "repeatable read"


VARIANTS = tuple(
    Variant(level, two_phase, savepoint)
    for level, two_phase, savepoint in product(
        ("read committed", "repeatable read", "serializable"), (False, True), (False, True)
    )
)


def orders(left: dict[str, int] | None = None) -> Iterator[str]:
    """All orders of the steps, as words: WWFSFWSFWS is one."""
    left = STEPS if left is None else left
    if not any(left.values()):
        yield ""
    for who, steps in left.items():
        if steps:
            for rest in orders(left | {who: steps - 1}):
                yield who + rest


@dataclass(frozen=True)
class Run:
    """One order in one variant. Each order meets each kind of fill once at each isolation level."""

    number: int
    order: str
    variant: Variant

    @property
    def fill(self) -> str:
        return FILLS[(self.number + VARIANTS.index(self.variant)) % len(FILLS)]

    @property
    def reader_comes(self) -> int:
        """Before which step the reader that stays takes its snapshot."""
        return (self.number + VARIANTS.index(self.variant)) % 7

    @property
    def is_cold(self) -> bool:
        """Whether one of the keys that the fill is asked for is not cached."""
        return self.number // len(FILLS) % 2 == 1


def runs() -> list[Run]:
    """All of them: 4,200 orders in twelve variants."""
    return [Run(number, order, variant) for number, order in enumerate(orders()) for variant in VARIANTS]
