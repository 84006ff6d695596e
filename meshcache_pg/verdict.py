"""Whether a cached view is worth it: what the query is, what was measured and what was counted, in one word.

A SELECT that is one row of one table by a unique key is an index probe, and no clock is asked whether a
second probe is faster. Of anything else the medians decide: what a read takes from the source against what it
takes through the cache, given the share of hits, and what each read pays for the marks of writers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from meshcache_pg.measure_reads import Reads
from meshcache_pg.measure_writes import Added
from meshcache_pg.timing import GAINS, WORDS, word
from meshcache_pg.ways import Lookup

# Fewer say nothing about how a view is used.
ENOUGH_READS = 100


@dataclass(frozen=True, slots=True)
class Counted:
    """Reads that were counted, and marks that writers left in the mark tables of a view, about since it was
    applied.
    """

    hits: int
    others: int
    marks: int

    @property
    def reads(self) -> int:
        """All of them."""
        return self.hits + self.others


@dataclass(frozen=True, slots=True)
class Verdict:
    """`word` is one of timing.WORDS, or None where it takes a measurement to know. `factor` is how many times
    faster a read is with the cache, all in all; None where the query alone decides.
    """

    word: str | None
    reason: str
    factor: float | None = None


def judge(
    lookup: Lookup | None,
    reads: Reads | None,
    counted: Counted | None,
    added: Sequence[Added],
    *,
    slow_source: bool = False,
) -> Verdict:
    """The verdict on one view."""
    found = _measured(reads, counted, added) if reads is not None else None
    if lookup is not None:
        row = f"one row of {lookup.relation.text} by its unique key ({', '.join(lookup.columns)})"
        if not lookup.computed:
            return Verdict(
                "no gain", f"{row} is an index probe already: a cache adds to it and saves nothing"
            )
        if found is None or (found.factor or 0) < GAINS:
            return Verdict(
                "no gain", f"{row} is an index probe already, and what is computed from it is cheap"
            )
    if found is not None:
        return found
    if slow_source:
        return Verdict("pays", "a single read of the source takes too long to be repeated")
    return Verdict(None, "not measured")


def _measured(reads: Reads | None, counted: Counted | None, added: Sequence[Added]) -> Verdict | None:
    if reads is None:
        return None
    by_key, words = _by_key(reads, counted, added)
    verdict = Verdict(word(by_key), words, by_key)
    if reads.list is None or WORDS.index(word(reads.list.factor)) >= WORDS.index(word(by_key)):
        return verdict
    tenant = reads.list.tenant
    return Verdict(
        word(reads.list.factor),
        f"lists by {tenant} are {reads.list.factor:.1f} times as fast; by key: {words}",
        reads.list.factor,
    )


def _by_key(reads: Reads, counted: Counted | None, added: Sequence[Added]) -> tuple[float, str]:
    """How many times faster a read by key is, all in all, and why."""
    hit = f"a hit takes {reads.hit_ms:.2f} ms, the source {reads.source_ms:.2f} ms"
    if reads.basis == "throwaway":
        hit += " (estimated on a throwaway)"
    if counted is None or counted.reads < ENOUGH_READS:
        return reads.factor, hit
    share = counted.hits / counted.reads
    miss_ms = reads.miss_ms if reads.miss_ms is not None else reads.source_ms
    marks = counted.marks / counted.reads
    # An update does not count: the one that was measured leaves no mark.
    costs = [one.added_us for one in added if one.statement != "update"]
    mark_ms = sum(costs) / len(costs) / 1000 if costs else 0.0
    cost_ms = share * reads.hit_ms + (1 - share) * miss_ms + marks * mark_ms
    words = f"{hit}; {share:.0%} of {counted.reads:,} counted reads were hits"
    if counted.marks > counted.reads:
        words += f", and writes outnumber them: {counted.marks:,} marks"
    return reads.source_ms / cost_ms, words
