"""How reads are compared by time, and what a factor between two of them is called: the demo and `explain`
say the same of the same figures.
"""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

T = TypeVar("T")

# Until all sides are prepared and the server has made up its mind about their plans.
WARM_UP: Final = 12

# A slow source must not hold up the rest: fewer rounds then, but never fewer than this.
FEWEST: Final = 3
SHORTEST_WARM_UP: Final = 1

# The sides take turns in blocks, unless one answer takes so long that a block would be all of the time. On a
# busy machine the system makes a process wait after it has worked for long: the next read would pay for that.
BLOCK: Final = 10
SLOW_SECONDS: Final = 0.1

# What a factor is worth saying.
PAYS, GAINS, COSTS = 5.0, 1.25, 0.8

# From the best to the worst.
WORDS: Final = ("pays", "helps", "no gain", "costs")

Timed = tuple[Any, float]


def word(factor: float) -> str:
    """What it means that something is `factor` times faster: one of WORDS."""
    if factor >= PAYS:
        return "pays"
    if factor >= GAINS:
        return "helps"
    return "costs" if factor < COSTS else "no gain"


def timed(read: Callable[..., Any], key: Sequence[Any]) -> Timed:
    """An answer, and how many seconds it took."""
    begin = time.perf_counter()
    answer = read(*key)
    return answer, time.perf_counter() - begin


def batches(keys: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most `size`."""
    left = iter(keys)
    while batch := list(itertools.islice(left, size)):
        yield batch


def in_turns(
    reads: Sequence[Callable[..., Any]], keys: Sequence[Sequence[Any]], *, seconds: float
) -> Iterator[list[list[Timed]]]:
    """Ask each read for all keys, block by block, in turns: for each block the timed answers of each read.

    The first read is the one that may be slow. Ends with the keys or after `seconds`, warm-up included, but
    not before FEWEST keys were asked for.
    """
    end = time.perf_counter() + seconds
    slow = False
    for n in range(WARM_UP):
        key = keys[n % len(keys)]
        slow = timed(reads[0], key)[1] > SLOW_SECONDS
        for read in reads[1:]:
            read(*key)
        if n + 1 >= SHORTEST_WARM_UP and time.perf_counter() > end:
            break
    done = 0
    for turn, block in enumerate(batches(keys, 1 if slow else BLOCK)):
        order = list(range(len(reads)))
        answers: list[list[Timed]] = [[] for _ in reads]
        for n in reversed(order) if turn % 2 else order:
            answers[n] = [timed(reads[n], key) for key in block]
        yield answers
        done += len(block)
        if done >= FEWEST and time.perf_counter() > end:
            return
