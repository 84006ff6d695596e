"""What the harness says of a wait: whose lock it is, and who has it."""

from typing import LiteralString

import pytest

from tests.consistency.harness import monitor
from tests.consistency.harness.meshhook import MeshHook
from tests.consistency.harness.options import Options
from tests.consistency.harness.site import Site
from tests.consistency.harness.tally import Tally
from tests.consistency.waiting import waiting
from tests.fixtures.fix_db import Database

WRITE = "update t set v = v + 1 where id = 1"
CASES: dict[str, tuple[str, LiteralString, str, LiteralString, str, str]] = {
    "a row that apply wrote": ("apply", WRITE, "write", WRITE, monitor.OF_THE_CACHE, "transactionid"),
    "a row of another writer": ("write", WRITE, "write", WRITE, monitor.OF_THE_APPLICATION, "transactionid"),
    "a table that gets triggers": (
        "apply",
        "lock table t in share row exclusive mode",
        "write",
        WRITE,
        monitor.OF_ITS_DDL,
        "relation public.t",
    ),
    "what is being replaced": (
        "apply",
        "lock table meshcache.cached_view in access exclusive mode",
        "read",
        "table meshcache.cached_view",
        monitor.OF_APPLY,
        "relation meshcache.cached_view",
    ),
    "a lock of the sweep": (
        "sweep",
        "select pg_advisory_xact_lock(meshcache._lock_class('fill'), 1)",
        "fill",
        "select pg_advisory_xact_lock(meshcache._lock_class('fill'), 1)",
        monitor.OF_THE_CACHE,
        "advisory",
    ),
}


def look(database: Database) -> Tally:
    """What one look at the locks of a database adds up to."""
    site = Site(
        "site", database.dsn, database.server.major, MeshHook(calls_cache=True), Options(seed=1), "1", Tally()
    )
    monitor.Monitor(site).turn(database.connect())
    return site.tally


@pytest.mark.parametrize("case", CASES)
def test_a_wait_is_told_by_what_it_is_for(fresh: Database, case: str) -> None:
    holder, hold, waiter, wait, whose, lock = CASES[case]
    observer = fresh.connect()
    observer.execute("create table t (id integer primary key, v integer); insert into t values (1, 0)")
    holding = fresh.connect(autocommit=False, application_name=f"mc {holder}")
    holding.execute(hold)
    with waiting(fresh.connect(application_name=f"mc {waiter}"), wait, observer):
        tally = look(fresh)
        holding.rollback()
    name = f"{waiter} waits for {whose}"
    assert tally.group("lock waits seen") == {name: 1}
    [(kind, (seconds, what))] = tally.maxima().items()
    assert kind == name
    assert seconds > 0
    assert f"Lock on {lock}, held by mc {holder}: {wait}" in what


def test_a_prepared_transaction_is_the_applications(fresh: Database) -> None:
    observer = fresh.connect()
    observer.execute("create table t (id integer primary key, v integer); insert into t values (1, 0)")
    observer.execute("begin")
    observer.execute(WRITE)
    observer.execute("prepare transaction 'wait'")
    with waiting(fresh.connect(application_name="mc write"), WRITE, observer):
        tally = look(fresh)
        observer.execute("rollback prepared 'wait'")
    [(kind, (_, what))] = tally.maxima().items()
    assert kind == "write waits for a lock of the application"
    assert f"ShareLock on transactionid, held by a prepared transaction: {WRITE}" in what


def test_who_waits_for_a_row_after_another_waits_for_that_one(fresh: Database) -> None:
    """The first in line has a lock on the place of the row, and waits for the transaction that wrote it."""
    observer = fresh.connect()
    observer.execute("create table t (id integer primary key, v integer); insert into t values (1, 0)")
    holding = fresh.connect(autocommit=False, application_name="mc write")
    holding.execute(WRITE)
    first, second = (fresh.connect(application_name=f"mc {role}") for role in ("resolve", "migrate"))
    with waiting(first, WRITE, observer), waiting(second, WRITE, observer):
        tally = look(fresh)
        holding.rollback()
    of_the_application = {f"{role} waits for {monitor.OF_THE_APPLICATION}" for role in ("resolve", "migrate")}
    assert tally.group("lock waits seen").keys() == of_the_application
    told = {name.split()[0]: what for name, (_, what) in tally.maxima().items()}
    assert "ShareLock on transactionid, held by mc write:" in told["resolve"]
    assert "ExclusiveLock on tuple public.t, held by mc resolve:" in told["migrate"]
