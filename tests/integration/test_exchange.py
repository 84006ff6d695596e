"""One SELECT over libpq: what it leaves behind in the transaction, among prepared statements, on the wire."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import errors
from psycopg.pq import TransactionStatus

from meshcache_pg import driver, exchange
from tests.fixtures.fix_db import Database
from tests.fixtures.fix_embedded import eventually

ONE = "select %s::integer as n"
IDLE, INTRANS = TransactionStatus.IDLE, TransactionStatus.INTRANS


@pytest.fixture
def raw(db: Database) -> Iterator[psycopg.Connection[Any]]:
    connection = psycopg.connect(db.dsn)
    yield connection
    connection.close()


def ask(raw: psycopg.Connection[Any], statement: str, *values: object, binary: bool = False) -> list[Any]:
    assert exchange.is_possible(raw)
    return exchange.ask(raw, statement, values, binary=binary).rows


def status(raw: psycopg.Connection[Any]) -> TransactionStatus:
    return TransactionStatus(raw.pgconn.transaction_status)


def prepared(raw: psycopg.Connection[Any]) -> list[str]:
    """Statements that are prepared on the server, by text."""
    found = raw.execute("select statement from pg_prepared_statements order by 1", prepare=False)
    return [text for (text,) in found]


def value(raw: psycopg.Connection[Any], query: LiteralString) -> Any:
    row = raw.execute(query, prepare=False).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize("binary", [False, True])
def test_values_go_and_come(raw: psycopg.Connection[Any], binary: bool) -> None:
    values = (7, "ü %", date(2024, 2, 29), Decimal("1.50"), None, [1, None, 3])
    query = (
        'select %s::bigint as number, %s::text as "100 %% wörds", '
        "%s::date, %s::numeric, %s::uuid, %s::integer[]"
    )
    answer = exchange.ask(raw, query, values, binary=binary)
    assert answer.rows == [values]
    assert answer.columns[:2] == ("number", "100 % wörds")
    assert exchange.ask(raw, "select", (), binary=binary).rows == [()]


def test_a_moment_with_a_zone_keeps_it(raw: psycopg.Connection[Any]) -> None:
    raw.execute("set timezone = 'Asia/Kathmandu'")
    moment = datetime(2024, 3, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    one = "select %s::timestamp, %s::timestamptz, %s::date, %s::time, (%s::timestamp[])[1]"
    values = (moment, moment, moment, moment.timetz(), [moment])
    wanted = raw.execute(one.encode(), values).fetchone()
    assert wanted is not None
    assert wanted[0].isoformat() == "2024-03-01T15:45:00"
    raw.prepare_threshold = 1
    for _ in range(4):
        assert ask(raw, one, *values) == [wanted]
        # The same text for values of other types.
        assert ask(raw, one, *("2024-03-01 12:00",) * 3, "12:00", ["2024-03-01 12:00"])


@pytest.mark.parametrize("key", [1.5, Decimal("1.5"), True, date(2024, 1, 1)])
def test_a_value_of_another_kind_is_not_made_to_fit(raw: psycopg.Connection[Any], key: object) -> None:
    with pytest.raises((errors.InvalidTextRepresentation, errors.CannotCoerce)):
        ask(raw, ONE, key)


def test_in_a_pipeline_of_the_caller_psycopg_asks(raw: psycopg.Connection[Any]) -> None:
    for autocommit in (False, True):
        raw.autocommit = autocommit
        with raw.pipeline():
            assert driver.run(raw, ONE, [1]).rows == [(1,)]
            assert driver.run(raw, 'select 2 as "größe"', []).columns == ("größe",)
        assert status(raw) == (IDLE if autocommit else INTRANS)
        raw.rollback()


def test_in_a_failed_transaction_the_server_says_so(raw: psycopg.Connection[Any]) -> None:
    with pytest.raises(errors.UndefinedTable):
        raw.execute("select from nothing")
    with pytest.raises(errors.InFailedSqlTransaction):
        driver.run(raw, ONE, [1])


def test_the_encoding_of_the_client(raw: psycopg.Connection[Any]) -> None:
    raw.execute("set client_encoding = 'LATIN1'")
    answer = exchange.ask(raw, 'select %s::text as "größe"', ("ü",), binary=False)
    assert (answer.columns, answer.rows) == (("größe",), [("ü",)])


@pytest.mark.parametrize("level", psycopg.IsolationLevel)
def test_a_transaction_begins_as_psycopg_would_begin_it(
    raw: psycopg.Connection[Any], level: psycopg.IsolationLevel
) -> None:
    raw.isolation_level, raw.read_only, raw.deferrable = level, True, True
    assert ask(raw, ONE, 1) == [(1,)]
    assert status(raw) == INTRANS
    assert value(raw, "show transaction_isolation") == level.name.replace("_", " ").lower()
    assert value(raw, "show transaction_read_only") == "on"
    assert value(raw, "show transaction_deferrable") == "on"


@pytest.mark.parametrize("way", ["the exchange", "psycopg", "a pipeline of the caller's"])
def test_a_savepoint_that_is_cut_off_is_what_failed(
    raw: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """As by a timeout, which may come at any command: there is nothing to go back to then, and the caller
    has to hear of the timeout.
    """
    monkeypatch.setattr(exchange, "_SAVEPOINT", exchange._say(b"select 1 / 0"))
    monkeypatch.setattr(driver, "_SAVEPOINT", "select 1 / 0")
    monkeypatch.setattr(exchange, "_HAS_PIPELINES", way == "the exchange")
    raw.execute("create temporary table seen (n integer)")
    with pytest.raises(errors.DivisionByZero), raw.pipeline() if "caller" in way else nullcontext():
        driver.run(raw, ONE, [1])
    assert status(raw) == TransactionStatus.INERROR
    raw.rollback()
    monkeypatch.undo()
    assert driver.run(raw, ONE, [1]).rows == [(1,)]


def test_a_failure_that_psycopg_asks_for_leaves_the_transaction_too(
    raw: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "_HAS_PIPELINES", False)
    raw.execute("create temporary table seen (n integer)")
    for _ in range(2):
        with pytest.raises(errors.DivisionByZero):
            driver.run(raw, "select 1 / %s::integer", [0])
        assert status(raw) == INTRANS
    assert driver.run(raw, "select n from seen", []).rows == []
    with pytest.raises(errors.InvalidSavepointSpecification):
        raw.execute("release savepoint meshcache_read")


def test_without_a_transaction(raw: psycopg.Connection[Any]) -> None:
    raw.autocommit = True
    assert ask(raw, ONE, 1) == [(1,)]
    with pytest.raises(errors.UndefinedTable):
        ask(raw, "select from nothing")
    assert status(raw) == IDLE
    assert ask(raw, ONE, 2) == [(2,)]


def test_a_failure_leaves_the_transaction_as_it_was(raw: psycopg.Connection[Any]) -> None:
    raw.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    with pytest.raises(errors.UndefinedTable):
        ask(raw, "select from nothing")
    assert status(raw) == IDLE
    raw.execute("create temporary table seen (n integer)")
    raw.execute("savepoint own")
    raw.execute("insert into seen values (1)")
    for _ in range(10):
        with pytest.raises(errors.DivisionByZero, match="division by zero"):
            ask(raw, "select 1 / %s::integer", 0)
    assert status(raw) == INTRANS
    assert ask(raw, "select n from seen") == [(1,)]
    raw.execute("rollback to savepoint own")
    assert ask(raw, "select n from seen") == []
    # Nothing of its own is left.
    with pytest.raises(errors.InvalidSavepointSpecification):
        raw.execute("release savepoint meshcache_read")
    assert not exchange.is_possible(raw)


def test_prepared_after_as_many_times_as_psycopg_does_it(raw: psycopg.Connection[Any]) -> None:
    assert raw.prepare_threshold is not None
    for n in range(raw.prepare_threshold):
        assert ask(raw, ONE, n) == [(n,)]
    assert prepared(raw) == []
    assert ask(raw, ONE, 8) == [(8,)]
    assert prepared(raw) == ["select $1::integer as n"]
    raw.prepare_threshold = None
    assert ask(
        raw,
        "select 'never'",
    ) == [("never",)]
    raw.prepare_threshold = 0
    assert ask(raw, "select 'at once'") == [("at once",)]
    assert prepared(raw) == ["select $1::integer as n", "select 'at once'"]


def test_the_least_recently_used_one_makes_room(raw: psycopg.Connection[Any]) -> None:
    raw.prepare_threshold, raw.prepared_max = 0, 2
    for text in ("select 1", "select 2", "select 1", "select 3"):
        ask(raw, text)
    assert prepared(raw) == ["select 1", "select 3"]
    # It is gone already when it is its turn.
    raw.execute("deallocate all")
    ask(raw, "select 4")
    assert status(raw) == INTRANS
    assert ask(raw, "select 1") == [(1,)]


@pytest.mark.parametrize("autocommit", [False, True])
def test_prepared_again_after_all_were_deallocated(raw: psycopg.Connection[Any], autocommit: bool) -> None:
    raw.autocommit, raw.prepare_threshold = autocommit, 0
    for _ in range(3):
        assert ask(raw, ONE, 1) == [(1,)]
        assert ask(raw, "select 2") == [(2,)]
        raw.execute("deallocate all")
    assert ask(raw, ONE, 1) == [(1,)]
    assert prepared(raw) == ["select $1::integer as n"]


def forget(raw: psycopg.Connection[Any]) -> None:
    delattr(raw, exchange._ATTRIBUTE)


def test_prepared_by_somebody_else(raw: psycopg.Connection[Any]) -> None:
    # As behind a pooler: the same server connection, another client that knows nothing of it.
    raw.prepare_threshold = 0
    ask(raw, ONE, 1)
    forget(raw)
    assert ask(raw, ONE, 2) == [(2,)]
    forget(raw)
    raw.execute("select 'psycopg has one to deallocate as well'", prepare=True)
    assert ask(raw, ONE, 3) == [(3,)]
    assert ask(raw, ONE, 4) == [(4,)]
    assert status(raw) == INTRANS


def test_columns_that_change_after_it_was_prepared(raw: psycopg.Connection[Any]) -> None:
    raw.autocommit, raw.prepare_threshold = True, 0
    raw.execute("create temporary table t as select 1 as n")
    for column in ("a", "b"):
        assert ask(raw, "select * from t")
        raw.execute(f"alter table t add column {column} text default '{column}'")
        raw.execute("begin")
        assert ask(raw, "select * from t")[0][-1] == column
        assert status(raw) == INTRANS
        raw.execute("commit")
    assert ask(raw, "select * from t") == [(1, "a", "b")]


def test_not_in_a_pipeline_or_a_failed_transaction_of_the_caller(raw: psycopg.Connection[Any]) -> None:
    with raw.pipeline():
        assert not exchange.is_possible(raw)
    with pytest.raises(errors.UndefinedTable):
        raw.execute("select from nothing")
    assert not exchange.is_possible(raw)
    raw.rollback()
    assert ask(raw, ONE, 1) == [(1,)]


def test_a_server_that_hangs_up_says_why(raw: psycopg.Connection[Any], db: Database) -> None:
    with pytest.raises(errors.AdminShutdown):
        ask(raw, "select pg_terminate_backend(pg_backend_pid())")
    assert raw.closed
    with psycopg.connect(db.dsn) as other:
        assert ask(other, ONE, 1) == [(1,)]


def test_an_interrupted_read_leaves_the_connection_usable(raw: psycopg.Connection[Any], db: Database) -> None:
    pid = raw.info.backend_pid
    ask(raw, ONE, 1)

    def interrupt() -> None:
        with psycopg.connect(db.dsn, autocommit=True) as watching:
            query = "select exists (select from pg_stat_activity where pid = %s and wait_event = 'PgSleep')"

            def sleeps() -> bool:
                row = watching.execute(query, (pid,)).fetchone()
                return row == (True,)

            eventually(sleeps, "the read is under way")
        os.kill(os.getpid(), signal.SIGINT)

    other = threading.Thread(target=interrupt)
    other.start()
    with pytest.raises(KeyboardInterrupt):
        ask(raw, "select pg_sleep(60)")
    other.join()
    raw.rollback()
    assert ask(raw, ONE, 2) == [(2,)]
