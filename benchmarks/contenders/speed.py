"""How long the read takes when everything is cached and nobody writes: all contenders in turns."""

from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Final
from uuid import UUID

from benchmarks.bench import Bench, Plot, median, percentile
from benchmarks.contenders.contender import Client, Contender, Stage
from meshcache_pg.timing import in_turns

# Of all repetitions together, and of all contenders together.
SECONDS: Final = 15.0
READS: Final = 60_000

_PARTS: Final = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)


class WrongRowError(Exception):
    """A contender that returns other rows than the source does is not worth measuring."""


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds, the median over all repetitions of each percentile in _PARTS; `reads` in each repetition."""

    percentiles: dict[float, float]
    reads: int

    def microseconds(self, part: float) -> float:
        """Of one percentile."""
        return round(self.percentiles[part] * 1e6, 1)


class Popularity:
    """The first key is asked for twice as often as the second, three times as often as the third ..."""

    def __init__(self, keys: Sequence[UUID]) -> None:
        self.keys = keys
        self._weights = list(accumulate(1 / rank for rank in range(1, len(keys) + 1)))

    def draw(self, random: Random, count: int) -> list[UUID]:
        """So many keys."""
        return random.choices(self.keys, cum_weights=self._weights, k=count)


def measure(
    bench: Bench, stage: Stage, contenders: Sequence[Contender], popularity: Popularity
) -> dict[str, Times]:
    """Times by title. The first contender has to be the source."""
    keys = popularity.keys
    with ExitStack() as stack:
        clients: list[Client] = []
        for contender in contenders:
            stack.callback(contender.tear_down)
            contender.set_up(stage, keys)
            clients.append(stack.enter_context(closing(contender.client())))
        _warm(contenders, clients, keys)
        runs = [_run(bench, clients, popularity, n) for n in range(bench.repetitions)]
    return {
        contender.title: Times(
            {part: median([percentile(run[n], part) for run in runs]) for part in _PARTS},
            len(runs[0][n]),
        )
        for n, contender in enumerate(contenders)
    }


def plot(times: dict[str, Times]) -> Plot:
    """Which part of the reads is done after how long."""
    return Plot(
        "contenders_times",
        "The same row by key: reads that are done within a time",
        "µs",
        "% of the reads",
        {
            title: [(seconds * 1e6, part * 100) for part, seconds in one.percentiles.items()]
            for title, one in times.items()
        },
        log_x=True,
    )


def _run(bench: Bench, clients: Sequence[Client], popularity: Popularity, n: int) -> list[list[float]]:
    draw = popularity.draw(Random(f"{bench.seed} {n}"), bench.rows(READS, at_least=200))
    seconds: list[list[float]] = [[] for _ in clients]
    blocks = in_turns(
        [client.read for client in clients], [(key,) for key in draw], seconds=bench.seconds(SECONDS)
    )
    for block in blocks:
        for times, answers in zip(seconds, block, strict=True):
            times += [took for _, took in answers]
    return seconds


def _warm(contenders: Sequence[Contender], clients: Sequence[Client], keys: Sequence[UUID]) -> None:
    """Read everything once, and once more to see that what is cached is what the source has."""
    for _ in range(2):
        for key in keys:
            wanted = clients[0].read(key)
            for contender, client in zip(contenders, clients, strict=True):
                if client.read(key) != wanted:
                    raise WrongRowError(f"{contender.title}: not what the source has of {key}")
