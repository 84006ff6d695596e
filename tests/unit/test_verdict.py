"""The verdict on a cached view, from figures."""

import pytest

from meshcache_pg.measure_reads import ListRead, Reads
from meshcache_pg.measure_writes import Added
from meshcache_pg.scopes import Relation
from meshcache_pg.timing import word
from meshcache_pg.verdict import Counted, judge
from meshcache_pg.ways import Lookup

ORDERS = Relation(1, "public", "orders", "r", {1: "id"})


def reads(
    source_ms: float, hit_ms: float, miss_ms: float | None = None, listed: float | None = None
) -> Reads:
    tenant = ListRead("shop_id", 50, listed, 1.0) if listed else None
    return Reads("cache", 20, source_ms, hit_ms, miss_ms or source_ms, tenant)


@pytest.mark.parametrize(
    ("factor", "expected"),
    [(5.0, "pays"), (4.9, "helps"), (1.25, "helps"), (1.24, "no gain"), (0.8, "no gain"), (0.79, "costs")],
)
def test_what_a_factor_is_called(factor: float, expected: str) -> None:
    assert word(factor) == expected
    found = judge(None, reads(factor, 1.0), None, [])
    assert (found.word, found.factor) == (expected, factor)


def test_an_index_probe_gains_nothing_whatever_the_clock_says() -> None:
    plain = Lookup(ORDERS, ("id",), computed=False)
    for source_ms in (0.1, 1.0, 100.0):
        assert judge(plain, reads(source_ms, 1.0), None, []).word == "no gain"
    computed = Lookup(ORDERS, ("id",), computed=True)
    assert judge(computed, None, None, []).word == "no gain"
    assert judge(computed, reads(0.1, 1.0), None, []).word == "no gain"
    # What is computed from the row may be worth keeping, and only a clock knows.
    assert judge(computed, reads(2.0, 1.0), None, []).word == "helps"


def test_the_better_of_key_and_list_decides() -> None:
    better = judge(None, reads(1.0, 1.0, listed=10.0), None, [])
    assert (better.word, better.factor) == ("pays", 10.0)
    assert "lists by shop_id are 10.0 times as fast" in better.reason
    worse = judge(None, reads(2.0, 1.0, listed=1.0), None, [])
    assert (worse.word, worse.factor) == ("helps", 2.0)


def test_counted_misses_and_marks_are_paid_for() -> None:
    measured = reads(10.0, 1.0, 11.0)
    assert judge(None, measured, None, []).word == "pays"
    half = judge(None, measured, Counted(500, 500, 0), [])
    assert half.factor == pytest.approx(10 / 6)
    assert "50% of 1,000 counted reads were hits" in half.reason
    # A few reads say nothing.
    assert judge(None, measured, Counted(0, 99, 0), []).factor == 10.0
    # Two marks per read, at 2 ms each: an update that leaves none is not what they cost.
    added = [Added("insert", 0, 2000), Added("update", 0, 9000), Added("delete", 0, 2000)]
    written = judge(None, measured, Counted(1000, 0, 2000), added)
    assert written.factor == pytest.approx(10 / 5)
    assert "writes outnumber them: 2,000 marks" in written.reason


def test_without_figures_there_is_no_word_unless_the_source_is_too_slow_for_any() -> None:
    assert judge(None, None, None, []).word is None
    assert judge(None, None, None, [], slow_source=True).word == "pays"
