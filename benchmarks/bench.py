"""The words of a benchmark: a bar with its goal, a table, a plot, and how long everything may take."""

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

# Medians of fewer runs than this prove nothing.
REPETITIONS: Final = 3


@dataclass(frozen=True, slots=True)
class Goal:
    """A ratio that a figure has to keep."""

    limit: float
    at_least: bool = False

    def is_met(self, figure: float) -> bool:
        """Whether it does."""
        return figure >= self.limit if self.at_least else figure <= self.limit

    def __str__(self) -> str:
        return f"{'at least' if self.at_least else 'at most'} {self.limit:g}"


@dataclass(frozen=True, slots=True)
class Bar:
    """One claim: a ratio, what it has to be, and what it was made of."""

    bar: str
    figure: float
    goal: Goal
    detail: str = ""

    @property
    def met(self) -> bool:
        """Whether it holds."""
        return self.goal.is_met(self.figure)

    def as_json(self) -> dict[str, Any]:
        """As results/latest.json has it."""
        return {
            "bar": self.bar,
            "figure": round(self.figure, 3),
            "goal": str(self.goal),
            "met": self.met,
            "detail": self.detail,
        }


@dataclass(frozen=True, slots=True)
class Table:
    """Figures that belong side by side, each row with as many cells as there are columns."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | int]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Plot:
    """Lines over a common axis; `series` gives points (x, y), both axes are logarithmic where said."""

    name: str
    title: str
    x_label: str
    y_label: str
    series: Mapping[str, Sequence[tuple[float, float]]]
    log_x: bool = False
    log_y: bool = False


Result = Bar | Table | Plot


@dataclass(frozen=True, slots=True)
class Bench:
    """How thorough a run is: `effort` 1 is the default of half an hour, 0.1 a tenth of the time and of the
    data; `smoke` only shows that everything works, and its figures mean nothing.
    """

    effort: float = 1.0
    smoke: bool = False
    seed: int = 1
    left_out: list[str] = field(default_factory=list)
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)

    @property
    def repetitions(self) -> int:
        """Runs whose median counts."""
        return 1 if self.smoke else REPETITIONS

    def seconds(self, normally: float) -> float:
        """How long one measurement may take that takes so many seconds at full effort."""
        return 0.05 if self.smoke else max(0.2, normally * min(1.0, self.effort))

    def rows(self, normally: int, *, at_least: int = 100) -> int:
        """How many rows stand for so many at full effort."""
        return at_least if self.smoke else max(at_least, int(normally * min(1.0, self.effort)))


def percentile(seconds: Sequence[float], part: float) -> float:
    """That of a sample, by the nearest rank; `part` is 0.5 for the median."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def median(figures: Sequence[float]) -> float:
    """The median."""
    return statistics.median(figures)
