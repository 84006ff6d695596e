"""SERIALIZABLE through the cache: to PostgreSQL's conflict detection a hit is a read of the source.

Every order of two or three transactions is stepped one statement at a time, once with all reads answered by
the cache and once by the source. What committed must be equivalent to some serial order: what was read is
compared with all of them. REPEATABLE READ, which promises less, shows that the orders can tell.

A transaction may fail without need: PostgreSQL notes reads by index page. The orders of two transactions
that have no key in common show how often it does, on tables that are large enough for the source to be
precise.
"""

from collections.abc import Sequence
from itertools import product

import psycopg
import pytest
from psycopg import sql

from tests.consistency.bank import (
    DEFINITIONS,
    DISJOINT,
    READ_ONLY,
    TABLES,
    WRITE_SKEW,
    WRITES,
    Bank,
    all_orders,
)
from tests.fixtures.fix_cache import apply_definitions, refresh, sweep
from tests.fixtures.fix_db import Database


@pytest.fixture
def bank(fresh: Database) -> Database:
    """Nothing is cached yet but the complete view."""
    connection = fresh.connect()
    connection.execute(TABLES)
    apply_definitions(fresh, *DEFINITIONS)
    refresh(connection, "listed")
    for (number,) in connection.execute("select m.id from meshcache.mark_table as m").fetchall():
        # It gives pages of an index back, at a moment that nobody chooses.
        connection.execute(
            sql.SQL("alter table {} set (autovacuum_enabled = off)").format(
                sql.Identifier("meshcache", f"mark_{number}")
            )
        )
    return fresh


def many_marks(connection: psycopg.Connection) -> None:
    """Thousands of pending marks of other keys, below the number that makes one wildcard of them."""
    for start in range(200, 2700, 500):
        for table, column in (("account", "id"), ("branch", "id"), ("entry", "id")):
            connection.execute(
                sql.SQL("update {} set amount = amount + 1 where {} between %s and %s").format(
                    sql.Identifier(table), sql.Identifier(column)
                ),
                (start, start + 499),
            )
    row = connection.execute("select count(*) from meshcache.wildcard_mark").fetchone()
    assert row == (0,)


def prepare(connection: psycopg.Connection, marks: str) -> None:
    """`new`: no mark was ever written. `swept`, `vacuumed`: many were. `many`: they are pending."""
    if marks == "new":
        return
    many_marks(connection)
    if marks != "many":
        assert sweep(connection) == "done"
    if marks == "vacuumed":
        connection.execute("vacuum (freeze, analyze)")


def assert_found_as_on_the_source(database: Database, view: str, *, seqscan: bool) -> None:
    source, cached = (Bank(database, view, way, seqscan=seqscan) for way in (False, True))
    for order in all_orders(WRITE_SKEW):
        assert cached.play(WRITE_SKEW, order) == source.play(WRITE_SKEW, order), order
    assert source.done["anomalies"] == cached.done["anomalies"] == 0
    # All but the two in which one transaction follows the other.
    assert cached.done["failed"] == 18
    assert cached.done["hits"] == 40
    source.close()
    cached.close()


@pytest.mark.parametrize("marks", ["new", "many"])
def test_write_skew_is_found_wherever_it_is_found_on_the_source(bank: Database, marks: str) -> None:
    prepare(bank.connect(), marks)
    for view in WRITES:
        assert_found_as_on_the_source(bank, view, seqscan=False)


@pytest.mark.slow
@pytest.mark.parametrize("seqscan", [False, True], ids=["index", "seqscan"])
@pytest.mark.parametrize("marks", ["new", "swept", "vacuumed", "many"])
def test_write_skew_is_found_whatever_the_marks_and_the_plan(
    bank: Database, marks: str, seqscan: bool
) -> None:
    prepare(bank.connect(), marks)
    for view in WRITES:
        assert_found_as_on_the_source(bank, view, seqscan=seqscan)


def test_write_skew_is_found_in_a_quiet_list(bank: Database) -> None:
    # Nothing is pending when both look, so that one look stands for that at every mark.
    cached = Bank(bank, "listed", cached=True, sweeps=True)
    order = ("first", "second", "first", "second", "first", "second")
    assert not cached.play(WRITE_SKEW, order)
    assert cached.done["quiet"] == 2
    assert cached.done["failed"] == 1


def test_repeatable_read_lets_write_skew_pass(bank: Database) -> None:
    for view, cached in product(WRITES, (False, True)):
        weaker = Bank(bank, view, cached, level="repeatable read")
        for order in all_orders(WRITE_SKEW):
            assert weaker.play(WRITE_SKEW, order)
        assert weaker.done["anomalies"] == 18
        weaker.close()


# The order of the paper: the reader sees the first's write and not the second's, which came before it.
CLASSIC = ("second", "second", "first", "first", "first", "reader", "reader", "reader", "second", "second")


def test_the_read_only_anomaly_is_found(bank: Database) -> None:
    for view, cached in product(WRITES, (False, True)):
        strict = Bank(bank, view, cached)
        assert not strict.play(READ_ONLY, CLASSIC)
        assert (strict.done["failed"], strict.done["anomalies"]) == (1, 0)
        weaker = Bank(bank, view, cached, level="repeatable read")
        assert weaker.play(READ_ONLY, CLASSIC)
        assert weaker.done["anomalies"] == 1
        strict.close()
        weaker.close()


def assert_none_passes(database: Database, view: str, chosen: Sequence[Sequence[str]]) -> None:
    source, cached = Bank(database, view, cached=False), Bank(database, view, cached=True)
    for order in chosen:
        fine = cached.play(READ_ONLY, order)
        assert source.play(READ_ONLY, order) or not fine, order
    assert source.done["anomalies"] == cached.done["anomalies"] == 0
    assert 0 < source.done["failed"] < len(chosen)


def test_the_read_only_anomaly_is_found_in_a_selection_of_all_orders(bank: Database) -> None:
    assert_none_passes(bank, "by_key", all_orders(READ_ONLY)[::61])


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("view", WRITES)
def test_the_read_only_anomaly_is_found_in_all_orders(bank: Database, view: str, part: int) -> None:
    assert_none_passes(bank, view, all_orders(READ_ONLY)[part::4])


def test_keys_that_have_nothing_in_common_do_not_fail_once_marks_were_many(bank: Database) -> None:
    # Until it is vacuumed, the index of the marks keeps its pages, and with them the keys apart.
    prepare(bank.connect(), "swept")
    for view, cached in product(("by_key", "carried"), (False, True)):
        both = Bank(bank, view, cached)
        for order in all_orders(DISJOINT):
            assert both.play(DISJOINT, order)
        both.close()


def test_keys_that_have_nothing_in_common_may_fail_in_a_small_table_of_marks(bank: Database) -> None:
    # As they do on any small table: all its keys are on one page of its index. No anomaly is the price.
    for view in WRITES:
        source, cached = Bank(bank, view, cached=False), Bank(bank, view, cached=True)
        for order in all_orders(DISJOINT):
            assert source.play(DISJOINT, order)
            cached.play(DISJOINT, order)
        assert cached.done["failed"] > 0
        assert cached.done["anomalies"] == 0
