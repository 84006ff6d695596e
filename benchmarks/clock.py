"""Times several ways of reading the same keys, in turns, so that the noise of a machine hits all alike."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.bench import Bench, median, percentile
from meshcache_pg.timing import in_turns


@dataclass(frozen=True, slots=True)
class Times:
    """Of one way of reading, in microseconds: medians over repetitions; `reads` is how many there were."""

    p50: float
    p95: float
    p99: float
    reads: int

    @property
    def cells(self) -> tuple[float, float, float]:
        """For a table."""
        return round(self.p50, 1), round(self.p95, 1), round(self.p99, 1)


def compare(
    bench: Bench,
    ways: Mapping[str, Callable[..., Any]],
    keys: Sequence[Sequence[Any]],
    *,
    seconds: float,
) -> dict[str, Times]:
    """Read the keys by each way for so many seconds, all ways and repetitions together at full effort."""
    names = list(ways)
    samples: dict[str, list[list[float]]] = {name: [] for name in names}
    share = bench.seconds(seconds) / bench.repetitions
    for turn in range(bench.repetitions):
        # Every repetition with other keys first, so that it is not the same ones at the same moments.
        rotated = [*keys[turn * 7 % len(keys) :], *keys[: turn * 7 % len(keys)]]
        times: dict[str, list[float]] = {name: [] for name in names}
        for answers in in_turns([ways[name] for name in names], _again(rotated), seconds=share):
            for name, block in zip(names, answers, strict=True):
                times[name] += [one for _, one in block]
        for name in names:
            samples[name].append(times[name])
    return {name: _times(samples[name]) for name in names}


def _again(keys: Sequence[Sequence[Any]]) -> Sequence[Sequence[Any]]:
    """Enough of them that the clock ends the measurement, and not the keys."""
    return [*keys] * (1 + 200_000 // len(keys))


def _times(samples: Sequence[Sequence[float]]) -> Times:
    def part(of: float) -> float:
        return median([percentile(sample, of) for sample in samples]) * 1e6

    return Times(part(0.5), part(0.95), part(0.99), sum(len(sample) for sample in samples))
