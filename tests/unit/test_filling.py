"""The budget of fills and the counters, with a clock that the test moves."""

from meshcache_pg.answers import Origin
from meshcache_pg.filling import Budget, Counts


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_budget_lets_one_second_of_fills_through_and_then_the_rate() -> None:
    clock = Clock()
    budget = Budget(3, clock)
    assert [budget.take() for _ in range(4)] == [True, True, True, False]
    clock.now += 0.34
    assert [budget.take() for _ in range(2)] == [True, False]
    clock.now += 3600
    assert [budget.take() for _ in range(4)] == [True, True, True, False]


def test_a_rate_below_one_per_second_still_fills() -> None:
    clock = Clock()
    budget = Budget(0.5, clock)
    assert [budget.take(), budget.take()] == [True, False]
    clock.now += 2
    assert [budget.take(), budget.take()] == [True, False]


def test_counts_are_drained_once_and_can_be_given_back() -> None:
    clock = Clock()
    counts = Counts(10, clock)
    dues = [counts.is_due]
    counts.add("card", Origin.HIT, 3)
    counts.add("card", Origin.STALE)
    counts.add_fills("card", 2)
    dues.append(counts.is_due)
    clock.now += 10
    dues.append(counts.is_due)
    assert dues == [False, False, True]
    drained = counts.drain()
    assert drained == [{"name": "card", "hit": 3, "miss": 0, "stale": 1, "bypass": 0, "fills": 2}]
    assert counts.drain() == []
    counts.restore(drained)
    counts.add("card", Origin.HIT)
    assert counts.drain() == [{"name": "card", "hit": 4, "miss": 0, "stale": 1, "bypass": 0, "fills": 2}]
