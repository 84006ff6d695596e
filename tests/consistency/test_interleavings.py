"""All orders of a writer's, a fill's and a sweep's steps: 4,200 in twelve variants, 50,400 runs.

The gate takes every 331st of them, so that all variants and all kinds of fill are among them. That it can
fail is shown on the same selection, with one rule of the protocol broken at a time.
"""

from collections.abc import Callable
from math import factorial
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql

from tests.consistency.checker import NotExact
from tests.consistency.interleavings import FILLS, VARIANTS, Run, orders, runs
from tests.consistency.stage import Stage
from tests.fixtures.fix_cache import replace_function
from tests.fixtures.fix_db import Database

ALL = runs()
# A prime, so that no variant and no kind of fill is left out.
SELECTED = ALL[::331]
PER_CHUNK = 1200


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
@pytest.mark.parametrize("start", range(0, len(ALL), PER_CHUNK))
def test_no_read_differs_in_any_order(two_phase: Database, start: int) -> None:
    play(two_phase, ALL[start : start + PER_CHUNK])


def no_barrier(connection: psycopg.Connection) -> None:
    """The sweep does not wait for fills, and resolves while one is under way."""
    replace_function(
        connection,
        "_barrier",
        "perform pg_advisory_xact_lock(meshcache._lock_class('fill'), p_view_id);",
        "null;",
    )
    replace_function(connection, "_begin_fill", "elsif not", "elsif false and not")


def no_horizon(connection: psycopg.Connection) -> None:
    """The sweep deletes the marks that it sees, whenever they came."""
    replace_function(connection, "_delete_marks", "where m.xid < $1", "where m.xid < $1 or true")


def no_own_marks(connection: psycopg.Connection) -> None:
    """A transaction that has written may fill, and its own marks count as known to the fill."""
    replace_function(connection, "_begin_fill", "pg_current_xact_id_if_assigned() is not null", "false")
    change_views(connection, "(m.xid = c._filled_by) OR ")


def change_views(connection: psycopg.Connection, removed: LiteralString) -> None:
    """Take a part of a condition out of all views of the cache."""
    found = connection.execute(
        "select c.relname, replace(pg_get_viewdef(c.oid), %(removed)s, '') from pg_class as c"
        " where c.relnamespace = 'meshcache'::regnamespace and c.relkind = 'v'"
        " and pg_get_viewdef(c.oid) like '%%' || %(removed)s || '%%'",
        {"removed": removed},
    ).fetchall()
    assert found, f"no view contains {removed!r} any more"
    for name, select in found:
        connection.execute(
            sql.SQL("create or replace view {} as {}").format(
                sql.Identifier("meshcache", name), sql.SQL(select)
            )
        )


@pytest.mark.parametrize("break_it", [no_barrier, no_horizon, no_own_marks])
def test_a_broken_rule_is_found_by_the_selection(
    two_phase: Database, break_it: Callable[[psycopg.Connection], None]
) -> None:
    stage = Stage(two_phase)
    break_it(stage.control)
    with pytest.raises(NotExact, match="is not what its source is"):
        stage.run_all(SELECTED)
