"""Random schedules of writers, fillers, readers, sweeps and changed definitions; every read is compared."""

import pytest

from tests.consistency.schedule import Schedule
from tests.fixtures.fix_cache import PACK
from tests.fixtures.fix_db import Database


def run(database: Database, seed: int, steps: int) -> None:
    schedule = Schedule(database, seed, steps)
    schedule.run()
    # A schedule in which nothing was served from the cache, or nothing went stale, would prove nothing.
    assert schedule.checker.origins["hit"] > steps
    assert schedule.checker.origins["stale"] > steps
    assert schedule.checker.origins["quiet"]
    assert all(schedule.checker.origins[f"{view} hit"] for view in PACK)


@pytest.mark.parametrize("seed", [1, 2])
def test_no_read_ever_differs_from_its_source(installed: Database, seed: int) -> None:
    run(installed, seed, 150)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 130))
def test_no_read_ever_differs_from_its_source_in_many_schedules(installed: Database, seed: int) -> None:
    run(installed, seed, 400)
