"""A short run of the consistency harness, and what it says of a cache with a broken rule."""

import psycopg
import pytest

from meshcache_pg.embedded import Installation
from tests.consistency.harness.options import Options
from tests.consistency.harness.report import Report
from tests.consistency.harness.run import run
from tests.fixtures.fix_cache import replace_function

STRIKES = ("kill -9 of the server", "kill -9 of a client", "connection cut", "kill -9 of a backend")


def _assert_nothing_found(report: Report) -> None:
    assert not report.failures, report.as_text()


def test_nothing_is_wrong_under_concurrency_and_faults(installation: Installation) -> None:
    report = run(Options(seed=1, reads=4000, strikes=STRIKES), installation)
    _assert_nothing_found(report)
    assert report.rows > report.reads >= 4000
    assert report.crashes == 2
    # Without them the run would have shown nothing.
    assert report.hits > 300
    counts = report.tally.group("ledger")
    assert counts["verifications"] >= len(STRIKES)
    assert counts["entries at the ends of rounds"] > 0


@pytest.mark.slow
def test_five_minutes_find_nothing(installation: Installation) -> None:
    report = run(Options(seed=2, seconds=300), installation)
    _assert_nothing_found(report)
    assert report.crashes > 5
    assert report.hits > report.reads * 0.3


def no_marks_of_runs(connection: psycopg.Connection) -> None:
    """An UPDATE of runs leaves no mark."""
    row = connection.execute(
        "select s.id from meshcache.source_table as s where s.relation = 'workflow_runs'::regclass"
    ).fetchone()
    assert row is not None
    replace_function(connection, f"_mark_{row[0]}_update", "limit 1000 + 1", "limit 0")


@pytest.mark.newest_major
def test_a_broken_rule_is_found(installation: Installation) -> None:
    options = Options(
        seed=3, reads=200_000, workloads=("meshhook",), plants=(no_marks_of_runs,), faults=False, pooler=False
    )
    report = run(options, installation)
    assert report.unequal
    failure = next(failure for failure in report.failures if failure.kind == "wrong row")
    assert "run" in failure.text
    assert failure.evidence
