"""All orders of a writer's, a fill's and a sweep's steps: 4,200 in twelve variants, 50,400 runs.

The gate takes every 331st of them, so that all variants and all kinds of fill are among them. That it can
fail is shown on the same selection, with one rule of the protocol broken at a time.
"""

from math import factorial

import pytest

from tests.consistency import plants
from tests.consistency.checker import NotExact
from tests.consistency.harness.options import Plant
from tests.consistency.interleavings import FILLS, VARIANTS, Run, orders, runs
from tests.consistency.stage import Stage
from tests.fixtures.fix_db import Database

ALL = runs()
# A prime, so that no variant and no kind of fill is left out.
SELECTED = ALL[::331]
# Also a prime: each part has all variants, and meets all outcomes.
PARTS = 41


@pytest.fixture
def two_phase(fresh: Database) -> Database:
    """A database whose server takes PREPARE TRANSACTION."""
    row = fresh.connect().execute("select current_setting('max_prepared_transactions')::integer").fetchone()
    if row == (0,):
        pytest.skip("the given server has max_prepared_transactions = 0")
    return fresh


def play(database: Database, selected: list[Run]) -> Stage:
    """All of them on one database; they have to meet what they are there to meet."""
    stage = Stage(database)
    stage.run_all(selected)
    assert stage.done["runs"] == len(selected)
    for outcome in (
        "sweep done in step 3",
        "sweep gives way in step 2",
        "sweep waits for a fill",
        "fill keys: 2",
        "fill whole: 3",
        "fill keys and a write: 2",
        # Refused: it would not know its own marks from the fill's.
        "fill a write first: 0",
    ):
        assert stage.done[outcome], f"no run with the outcome: {outcome}"
    waits = {outcome for outcome in stage.done if outcome.startswith("sweep waits for ")}
    assert waits == {"sweep waits for a fill"}
    for view in ("card", "page"):
        assert stage.checker.origins[f"{view} hit"] > 10 * len(selected)
        assert stage.checker.origins[f"{view} stale"] > len(selected)
    return stage


@pytest.mark.newest_major
def test_they_are_all_there() -> None:
    found = list(orders())
    assert len(set(found)) == len(found) == factorial(10) // (factorial(4) * factorial(3) * factorial(3))
    assert len(ALL) == len(found) * len(VARIANTS) == 50_400
    assert {(run.variant, run.fill, run.is_cold) for run in SELECTED} == {
        (variant, fill, cold) for variant in VARIANTS for fill in FILLS for cold in (False, True)
    }


def test_no_read_differs_in_a_selection_of_all_orders(two_phase: Database) -> None:
    play(two_phase, SELECTED)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_no_read_differs_in_any_order(two_phase: Database, part: int) -> None:
    play(two_phase, ALL[part::PARTS])


@pytest.mark.parametrize(
    "mistakes",
    [
        pytest.param((plants.no_barrier, plants.no_refresh_lock), id="no barrier"),
        pytest.param((plants.no_horizon,), id="no horizon"),
        pytest.param((plants.fills_after_writes, plants.own_marks_not_told), id="no own marks"),
    ],
)
def test_a_broken_rule_is_found_by_the_selection(two_phase: Database, mistakes: tuple[Plant, ...]) -> None:
    stage = Stage(two_phase)
    for plant in mistakes:
        plant(stage.control)
    with pytest.raises(NotExact, match="is not what its source is"):
        stage.run_all(SELECTED)
