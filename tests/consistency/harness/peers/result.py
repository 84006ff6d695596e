"""The table that a comparison of the peers ends with: one line for each, as Markdown and as JSON."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

from tests.consistency.harness.report import WAITS_FOR_THE_SUBJECT, Report

# Concurrency that an application has to repeat a transaction for, or gives up waiting.
_STATES = ("40001", "40P01", "55P03")


@dataclass(frozen=True)
class Line:
    """What one peer has shown."""

    name: str
    title: str
    seconds: float
    reads: int
    hits: int
    stale: int
    # The row was being changed while a cache outside the database was asked, and the answer was neither.
    undecided: int
    # Keys asked for when all had come to rest, and those of them that were wrong.
    at_rest: int
    stale_at_rest: int
    transactions: int
    # Of writers, by SQLSTATE: all of them, and those that were raised within the peer's own statements.
    errors: dict[str, int]
    own_errors: dict[str, int]
    # Seconds, by what the server logs; waits shorter than its deadlock_timeout are not in it.
    longest_wait: float
    longest_wait_of: str
    by_view: dict[str, int]
    failures: tuple[str, ...]

    @property
    def stale_per_million(self) -> str:
        """In a million reads; of none, what that says (the rule of three, 95 %)."""
        if not self.reads:
            return "nothing was read"
        if self.stale:
            return f"{self.stale / self.reads * 1e6:,.0f}"
        return f"0 (< {ceil(3e6 / self.reads):,})"

    def retries(self, errors: Mapping[str, int]) -> str:
        """40001 and 40P01 of writers among some errors, in a thousand transactions."""
        found = errors["40001"] + errors["40P01"]
        return f"{found / max(1, self.transactions) * 1000:.1f}" if found else "0"

    def as_json(self) -> dict[str, Any]:
        """For other programs."""
        return asdict(self) | {"stale_per_million": self.stale / max(1, self.reads) * 1e6}


def line(name: str, title: str, report: Report) -> Line:
    """Of the report of a run."""
    count = report.tally.group
    reads, rest = count("reads"), count("at rest")
    errors, own = count("errors of writers"), count("errors of writers in the subject")
    wait, of = report.tally.maxima().get(WAITS_FOR_THE_SUBJECT, (0.0, ""))
    return Line(
        name=name,
        title=title,
        seconds=round(report.seconds, 1),
        reads=report.reads,
        hits=report.hits,
        stale=reads["different"],
        undecided=reads["undecided"],
        at_rest=sum(rest.values()) - rest["different"] - rest["undecided"],
        stale_at_rest=rest["different"],
        transactions=sum(count("transactions").values()),
        errors={state: errors[state] for state in _STATES},
        own_errors={state: own[state] for state in _STATES},
        longest_wait=wait,
        longest_wait_of=of,
        by_view=dict(count("by view")),
        failures=tuple(f"{failure.kind}: {failure.text}" for failure in report.failures),
    )


_HEAD = (
    "| cache | reads | hits | stale reads per million | stale at rest | retries per 1,000 transactions"
    " | of those in its own statements | longest lock wait it adds |\n|---|---|---|---|---|---|---|---|"
)


def as_markdown(lines: Iterable[Line]) -> str:
    """The table, without a line's end at the end."""
    return "\n".join([_HEAD, *(_row(one) for one in lines)])


def _row(one: Line) -> str:
    cells = [
        one.title,
        f"{one.reads:,}",
        f"{one.hits / max(1, one.reads):.0%}",
        one.stale_per_million,
        f"{one.stale_at_rest:,} of {one.at_rest:,} keys",
        one.retries(one.errors),
        one.retries(one.own_errors),
        f"{one.longest_wait:.2f} s" if one.longest_wait else "none seen",
    ]
    return f"| {' | '.join(cells)} |"


def notes(lines: Sequence[Line]) -> list[str]:
    """What the table has no column for."""
    found = [f"{one.title}: {one.undecided:,} reads undecided, not counted" for one in lines if one.undecided]
    found += [
        f"{one.title}: {one.own_errors['55P03']:,} statements of writers gave up waiting for it"
        for one in lines
        if one.own_errors["55P03"]
    ]
    return found + [f"FAILED: {one.title}: {text}" for one in lines for text in one.failures]
