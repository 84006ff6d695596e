"""A short run of the consistency harness, and what it says of a cache with a broken rule."""

import pytest

from meshcache_pg.embedded import Installation
from tests.consistency import plants
from tests.consistency.harness.options import Options
from tests.consistency.harness.planting import at_random
from tests.consistency.harness.report import Report
from tests.consistency.harness.run import run
from tests.consistency.planted import PLANTED, Planted

STRIKES = ("kill -9 of the server", "kill -9 of a client", "connection cut", "kill -9 of a backend")


def _assert_nothing_found(report: Report) -> None:
    assert not report.failures, report.as_text()


def test_nothing_is_wrong_under_concurrency_and_faults(installation: Installation) -> None:
    report = run(Options(seed=1, reads=4000, hits=300, strikes=STRIKES), installation)
    _assert_nothing_found(report)
    assert report.rows > report.reads >= 4000
    assert report.crashes == 2
    # Without them the run would have shown nothing.
    assert report.hits >= 300
    counts = report.tally.group("ledger")
    assert counts["verifications"] >= len(STRIKES)
    assert counts["entries at the ends of rounds"] > 0


@pytest.mark.slow
def test_five_minutes_find_nothing(installation: Installation) -> None:
    report = run(Options(seed=2, seconds=300), installation)
    _assert_nothing_found(report)
    assert report.crashes > 5
    assert report.hits > report.reads * 0.3


@pytest.mark.newest_major
def test_a_broken_rule_is_found(installation: Installation) -> None:
    options = Options(
        seed=3,
        reads=200_000,
        workloads=("meshhook",),
        plants=(plants.no_marks,),
        administrators=0,
        faults=False,
        pooler=False,
    )
    report = run(options, installation)
    assert report.unequal
    failure = next(failure for failure in report.failures if failure.kind == "wrong row")
    assert failure.evidence


AIMED = [planted for planted in PLANTED if planted.random is not None]


@pytest.mark.slow
@pytest.mark.parametrize("planted", AIMED, ids=lambda one: one.name)
def test_random_load_finds_a_mistake(installation: Installation, planted: Planted) -> None:
    found, ended = at_random(planted, installation, 180, seed=4)
    assert found is not None, ended
