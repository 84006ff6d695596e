"""What fires and what does not: every line of the matrix is done to a warm cache. What was called, what was
left, and where reads come from is compared with what the line says; the page has the same lines.
"""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql

from meshcache_pg.embedded import Installation, PrivateServer
from meshcache_pg.sql import trusted
from tests.consistency.matrix_stage import (
    Calls,
    Stage,
    count_functions,
    difference,
    fired,
    play,
    play_and_roll_back,
    step,
    warm_again,
)
from tests.consistency.what_fires import Case, sections, tables, views
from tests.fixtures.fix_cache import apply_definitions, migrate_database, refresh, set_up
from tests.fixtures.fix_db import TEST_SETTINGS, Database, Server
from tests.fixtures.fix_docs import ROOT
from tests.fixtures.fix_embedded import eventually
from tests.fixtures.fix_templates import Clone

PAGE = ROOT / "docs" / "reference" / "what-fires.md"
SECTIONS = sections()
CASES = {case.change: case for cases in SECTIONS.values() for case in cases}
# The oldest PostgreSQL that is supported.
OLDEST = 13


@pytest.fixture(scope="session")
def _theatre(server: Server) -> Iterator[str]:
    name = f"template_matrix_{uuid.uuid4().hex[:8]}"
    server.create_database(name)
    with ExitStack() as opened:
        opened.callback(server.drop_database, name)
        with ExitStack() as building:
            database = Database(server, name, building)
            migrate_database(database)
            set_up(database, trusted(tables()), *views())
        yield name


@pytest.fixture(scope="session")
def shared(server: Server, _theatre: str) -> Iterator[Stage]:
    """One for all cases that are rolled back."""
    name = f"test_{uuid.uuid4().hex[:16]}"
    server.create_database(name, _theatre)
    with ExitStack() as opened:
        opened.callback(server.drop_database, name)
        made = Stage.of(Database(server, name, opened))
        count_functions(made)
        yield made


@pytest.fixture
def stage(clone: Clone, _theatre: str) -> Callable[[Case], Stage]:
    def make(case: Case) -> Stage:
        database = clone(_theatre)
        for block in case.preparation:
            if block.verb == "apply":
                apply_definitions(database, block.text)
            else:
                database.connect().execute(trusted(block.text))
        made = Stage.of(database)
        if case.preparation:
            made.sweep()
            refresh(made.reader, *made.checker.views)
            assert made.seen(made.reader, case) == "cache"
        count_functions(made)
        return made

    return make


HERE = [case for case in CASES.values() if case.how != "applied"]
APPLIED = [case for case in CASES.values() if case.how == "applied"]


# Whoever rolls back leaves the database to the next one, which is ten times as fast as making another.
ROLLED_BACK = [
    case for case in HERE if case.how == "transaction" and not case.preparation and case.inside != "wrong"
]
# What the schedules and test_definitions_change.py have, too, is for the slow tests.
SLOW = [
    case
    for case in HERE
    if case in ROLLED_BACK or case.how == "prepared" or "apply" in {b.verb for b in case.preparation}
]
COMMITTED = [pytest.param(case, id=case.change, marks=[pytest.mark.slow] * (case in SLOW)) for case in HERE]


@pytest.mark.parametrize("case", ROLLED_BACK, ids=lambda case: case.change)
def test_what_fires_before_a_rollback(case: Case, server: Server, shared: Stage) -> None:
    if server.major < case.since:
        pytest.skip(f"PostgreSQL {case.since} is the first that has it")
    assert play_and_roll_back(shared, case) == case


def test_nothing_is_left_of_what_was_rolled_back(shared: Stage) -> None:
    assert shared.seen(shared.reader, CASES["NOTIFY"]) == "cache"


@pytest.mark.parametrize("case", COMMITTED)
def test_what_fires(case: Case, server: Server, stage: Callable[[Case], Stage]) -> None:
    if server.major < case.since:
        pytest.skip(f"PostgreSQL {case.since} is the first that has it")
    made = stage(case)
    assert play(made, case) == case
    if case.cover != "marks":
        warm_again(made, case)


def test_what_fires_on_a_subscriber(installation: Installation) -> None:
    with (
        PrivateServer(installation, settings=TEST_SETTINGS | {"wal_level": "logical"}) as server,
        ExitStack() as opened,
    ):
        for name in ("publisher", "subscriber"):
            server.create_database(name)
        there = Database(server, "publisher", opened).connect()
        there.execute(trusted(tables()))
        there.execute(
            "create publication changes for table loan, event with (publish_via_partition_root = true)"
        )
        # Made here, because CREATE SUBSCRIPTION would wait for its own transaction on the same server.
        there.execute("select pg_create_logical_replication_slot('changes', 'pgoutput')")
        subscriber = Database(server, "subscriber", opened)
        subscriber.connect().execute("alter database subscriber set track_functions = 'all'")
        migrate_database(subscriber)
        set_up(subscriber, trusted(tables() + "truncate loan, event;"), *views())
        stage = Stage.of(subscriber)
        for case in sorted(APPLIED, key=lambda case: bool(case.steps)):
            calls, marks = stage.calls(), stage.marks(stage.reader)
            if case.steps:
                for one in case.steps:
                    step(there, one)
            else:
                subscribe(stage.writer, server.dsn("publisher"))
            wait_for_the_subscriber(there, stage.writer)
            # A worker tells the statistics what it called a little later.
            eventually(partial(fires, stage, calls, case.fires), f"{case.change}: {case.fires}")
            left, after = difference(marks, stage.marks(stage.reader)), stage.seen(stage.reader, case)
            found = replace(case, marks=left, after="source" if "*" in left else after)
            assert found == case
            assert stage.sweep() == {}
            refresh(stage.reader, *stage.checker.views)
        stage.writer.execute("drop subscription changes")


def fires(stage: Stage, calls: Calls, wanted: str) -> bool:
    return fired(stage, calls) == wanted


def subscribe(connection: psycopg.Connection, dsn: str) -> None:
    connection.execute(
        sql.SQL(
            "create subscription changes connection {} publication changes with (create_slot = false)"
        ).format(sql.Literal(dsn))
    )

    def ready() -> bool:
        row = connection.execute(
            "select count(*) = 2 from pg_subscription_rel as r where r.srsubstate = 'r'"
        ).fetchone()
        return row == (True,)

    eventually(ready, "both tables are copied")


def wait_for_the_subscriber(publisher: psycopg.Connection, subscriber: psycopg.Connection) -> None:
    row = publisher.execute("select pg_current_wal_lsn()::text").fetchone()
    assert row is not None

    def applied() -> bool:
        there = subscriber.execute(
            "select bool_and(s.latest_end_lsn >= %s::pg_lsn)"
            " from pg_stat_subscription as s where s.relid is null",
            row,
        ).fetchone()
        return there == (True,)

    eventually(applied, "the subscriber has it")


# What PostgreSQL itself does not keep from an older snapshot: the statement, and how the source looks then.
NOT_MVCC: dict[str, tuple[LiteralString, LiteralString]] = {
    "truncate loan": ("select count(*) from loan", "select count(*) from meshcache.loan_card"),
    "create or replace function loud(text) returns text immutable language sql as 'select null::text'": (
        "select count(title) from meshcache.doc_loud_source",
        "select count(title) from meshcache.doc_loud",
    ),
}


@pytest.mark.parametrize("change", list(NOT_MVCC), ids=["TRUNCATE", "REPLACE of a function"])
def test_an_older_snapshot_keeps_the_cached_rows_where_the_source_forgets(
    stage: Callable[[Case], Stage], change: LiteralString
) -> None:
    source, cached = NOT_MVCC[change]
    made = stage(CASES["NOTIFY"])
    before = made.reader.execute(source).fetchone()
    made.reader.execute("begin isolation level repeatable read")
    made.reader.execute("select from land")
    made.writer.execute(change)
    assert made.reader.execute(source).fetchone() == (0,)
    assert made.reader.execute(cached).fetchone() == before
    made.reader.execute("commit")
    assert made.reader.execute(cached).fetchone() == (0,)
    assert made.seen(made.reader, CASES["NOTIFY"]) != "wrong"


def line(case: Case) -> str:
    """What the page says of a case."""
    kept = {"cache": "cache", "rows": "rows: source", "source": "source", "wrong": "**old rows**", "": ""}
    since = f" ({case.since}+)" if case.since > OLDEST else ""
    cells = (
        case.change + since, case.fires or "nothing", f"`{case.marks}`" if case.marks else "none",
        kept[case.inside], kept[case.after], case.cover,
    )  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def test_the_page_says_what_is_true() -> None:
    found: dict[str, list[str]] = {}
    name = ""
    for row in PAGE.read_text(encoding="utf-8").splitlines():
        if row.startswith("## "):
            name = row.removeprefix("## ")
        elif row.startswith("| ") and not row.startswith("| what happens"):
            found.setdefault(name, []).append(row)
    wanted = {name: [line(case) for case in cases] for name, cases in SECTIONS.items()}
    assert {name: found.get(name) for name in wanted} == wanted


def test_how_many_there_are_and_for_which_majors() -> None:
    assert len(CASES) == sum(len(cases) for cases in SECTIONS.values())
    assert f"each of these {len(CASES)} things" in PAGE.read_text(encoding="utf-8")
    assert {case.since for case in CASES.values() if case.since > OLDEST} == {14, 15, 17, 18}
