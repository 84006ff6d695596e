"""Partitioned source tables: statements fire the triggers of the table that they name and of no other,
and nothing at all fires when partitions come and go. Readers compare the partitions themselves.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import LiteralString
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from tests.fixtures.fix_db import Database
from tests.fixtures.fix_shop import KEYS, SHOP, Shop, check, scalar, wait_for_lock
from tests.fixtures.fix_templates import Clone, Templates

EVENTS: LiteralString = """
create table accounts (id integer primary key, name text not null);
create table events (
    id integer not null, account_id integer not null, month integer not null, kind text not null,
    unique (month, kind, id)
) partition by range (month);
create table events_1 partition of events for values from (1) to (2);
create table events_2 partition of events for values from (2) to (3);
create table events_3 partition of events for values from (3) to (4) partition by list (kind);
create table events_3_a partition of events_3 for values in ('a');
create table events_3_b partition of events_3 for values in ('b');
insert into accounts select n, 'account ' || n from generate_series(1, 5) as n;
insert into events
select n, 1 + n % 5, 1 + n % 3, case when n % 2 = 0 then 'a' else 'b' end from generate_series(1, 60) as n;
"""

ACTIVITY = """
-- What an account did.
-- name: activity
-- key: id
-- coverage: complete
-- depends: accounts(id) = (id)
-- depends: events(account_id) = (id)
select a.id, a.name, (select count(*) from events as e where e.account_id = a.id) as event_count,
    (select string_agg(e.kind, '' order by e.month, e.id) from events as e where e.account_id = a.id) as kinds
from accounts as a
"""
ASKED = ACTIVITY.replace("name: activity", "name: asked").replace("complete", "on_demand")

VIEWS = ("activity", "asked")
HIT = {view: {"hit"} for view in VIEWS}
BYPASS = {view: {"bypass"} for view in VIEWS}


def _fill(database: Database) -> None:
    with Shop(database.dsn) as shop:
        shop.run(EVENTS)
        shop.apply(ACTIVITY, ASKED)
        shop.refresh(*VIEWS)


@pytest.fixture
def parts(bare: str, templates: Templates, clone: Clone, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """A filled cache over a table with partitions and sub-partitions."""
    for view in VIEWS:
        monkeypatch.setitem(KEYS, view, "id")
    with Shop(clone(templates.of("parts", _fill, bare)).dsn) as shop:
        assert shop.origins(*VIEWS) == HIT
        yield shop


def mended(shop: Shop) -> None:
    """After a sweep the cache is in use again, and right under writes aimed at every partition."""
    shop.check(*VIEWS)
    shop.sweep()
    shop.check(*VIEWS)
    shop.refresh(*VIEWS)
    assert shop.origins(*VIEWS) == HIT
    leaves = shop.rows("select relid::regclass::text from pg_partition_tree('events') where isleaf")
    for (leaf,) in leaves:
        with shop.connect() as connection:
            name = sql.SQL(leaf)
            connection.execute(sql.SQL("update {} set kind = kind").format(name))
            connection.execute(sql.SQL("update {} set account_id = 1 + account_id % 5").format(name))
            check(connection, *VIEWS)
            connection.execute(sql.SQL("delete from {} where id % 7 = 0").format(name))
            check(connection, *VIEWS)
    shop.sweep()
    assert shop.sweep()["differences"] == {}
    shop.check(*VIEWS)


WRITES: tuple[LiteralString, ...] = (
    "insert into events values (100, 1, 1, 'a')",
    "insert into events_1 values (101, 2, 1, 'a')",
    "insert into events_3 values (102, 3, 3, 'b')",
    "insert into events_3_b values (103, 4, 3, 'b')",
    "update events set kind = 'b' where month = 3 and id < 30",
    "update events_2 set account_id = 5",
    "update events set month = 2 where month = 1 and id < 20",
    "update events_3_a set account_id = 1",
    "delete from events_3 where id % 3 = 0",
    "truncate events_3_a",
    "truncate events_1",
    "truncate events",
)


def test_statements_aimed_at_any_level(parts: Shop) -> None:
    for statement in WRITES:
        parts.run(statement)
        parts.check(*VIEWS)
        parts.refresh(*VIEWS, mode="stale")
        parts.check(*VIEWS)
    parts.run(EVENTS[EVENTS.index("insert into events") :])
    mended(parts)


def test_rows_copied_into_a_partition(parts: Shop) -> None:
    with parts.connect() as connection:
        for target in ("events", "events_2", "events_3_b"):
            with connection.cursor().copy(
                sql.SQL("copy {} from stdin").format(sql.Identifier(target))
            ) as copy:
                for number in range(1500):
                    copy.write_row((5000 + number, 1 + number % 5, 3 if "3" in target else 2, "b")) if (
                        target != "events"
                    ) else copy.write_row((9000 + number, 1 + number % 5, 1, "a"))
            check(connection, *VIEWS)
    mended(parts)


CHANGES: dict[str, tuple[LiteralString, ...]] = {
    "a new partition": ("create table events_4 partition of events for values from (4) to (5)",),
    "a new sub-partition": ("create table events_3_c partition of events_3 for values in ('c')",),
    "a default partition": ("create table events_d partition of events default",),
    "an attached table with rows": (
        "create table events_4 (like events including all)",
        "insert into events_4 values (400, 1, 4, 'a'), (401, 2, 4, 'b')",
        "alter table events attach partition events_4 for values from (4) to (5)",
    ),
    "an attached tree": (
        "create table events_4 (like events including all) partition by list (kind)",
        "create table events_4_a partition of events_4 for values in ('a')",
        "insert into events_4 values (400, 1, 4, 'a')",
        "alter table events attach partition events_4 for values from (4) to (5)",
    ),
    "a detached partition": ("alter table events detach partition events_2",),
    "a detached tree": ("alter table events detach partition events_3",),
    "a detached sub-partition": ("alter table events_3 detach partition events_3_a",),
    "a dropped partition": ("drop table events_2",),
    "a dropped tree": ("drop table events_3",),
    "one dropped, another in its place": (
        "drop table events_2",
        "create table events_2 partition of events for values from (2) to (3)",
    ),
    "swapped for a table with other rows": (
        "create table new_2 (like events including all)",
        "insert into new_2 values (500, 5, 2, 'n')",
        """
        begin; alter table events detach partition events_2;
        alter table events attach partition new_2 for values from (2) to (3); commit
        """,
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_readers_see_that_partitions_changed(parts: Shop, what: str) -> None:
    for statement in CHANGES[what]:
        parts.run(statement)
        parts.check(*VIEWS)
    assert parts.origins(*VIEWS) == BYPASS
    parts.run("update accounts set name = 'meanwhile' where id = 1", "delete from events where id % 9 = 0")
    parts.check(*VIEWS)
    # Nothing may be filled before the triggers are there.
    assert parts.value("select meshcache.asked_fill(array[1, 2])") == 0
    mended(parts)


def test_the_new_rows_of_a_new_partition(parts: Shop) -> None:
    parts.run(
        "create table events_4 partition of events for values from (4) to (5)",
        "insert into events_4 values (400, 1, 4, 'a')",
        "insert into events values (401, 2, 4, 'a')",
    )
    parts.check(*VIEWS)
    assert parts.sweep()["differences"] == {"events": "partitions changed"}
    parts.run("insert into events_4 values (402, 3, 4, 'a')")
    parts.check(*VIEWS)
    mended(parts)


def test_seen_inside_the_transaction_that_changes_them(parts: Shop) -> None:
    with parts.connect(autocommit=False) as connection:
        connection.execute("alter table events detach partition events_2")
        check(connection, *VIEWS)
        connection.execute("drop table events_1")
        check(connection, *VIEWS)
        connection.rollback()
    assert parts.origins(*VIEWS) == HIT


def test_a_snapshot_from_before(parts: Shop) -> None:
    old = parts.connect(autocommit=False, options=r"-c default_transaction_isolation=repeatable\ read")
    check(old, *VIEWS)
    parts.run("create table new_4 (like events including all)", "insert into new_4 values (400, 1, 4, 'a')")
    # ATTACH needs no lock that a reader of the parent holds back.
    parts.run("alter table events attach partition new_4 for values from (4) to (5)")
    check(old, *VIEWS)
    parts.sweep()
    check(old, *VIEWS)
    parts.refresh(*VIEWS)
    check(old, *VIEWS)
    old.rollback()
    mended(parts)


def test_detached_concurrently(parts: Shop) -> None:
    if parts.value("select current_setting('server_version_num')::integer") < 140000:
        pytest.skip("DETACH CONCURRENTLY came with PostgreSQL 14")
    parts.run("alter table events detach partition events_2 concurrently")
    assert parts.origins(*VIEWS) == BYPASS
    mended(parts)


def test_a_concurrent_detach_that_hangs_halfway(parts: Shop) -> None:
    if parts.value("select current_setting('server_version_num')::integer") < 140000:
        pytest.skip("DETACH CONCURRENTLY came with PostgreSQL 14")
    holder = parts.connect(autocommit=False)
    holder.execute("select count(*) from events")
    detacher = parts.connect()
    with ThreadPoolExecutor(1) as pool:
        detaching = pool.submit(detacher.execute, "alter table events detach partition events_2 concurrently")
        wait_for_lock(parts, detacher)
        # New snapshots do not see its rows, those from before do.
        parts.check(*VIEWS)
        check(holder, *VIEWS)
        parts.run("insert into events_2 values (777, 1, 2, 'a')")
        parts.check(*VIEWS)
        detacher.cancel()
        with pytest.raises(psycopg.errors.QueryCanceled):
            detaching.result()
    holder.rollback()
    parts.check(*VIEWS)
    parts.run("update events_2 set account_id = 1")
    parts.check(*VIEWS)
    # Halfway is nowhere: until it is decided, the source answers.
    parts.sweep()
    assert parts.origins(*VIEWS) == BYPASS
    parts.check(*VIEWS)
    parts.run("alter table events detach partition events_2 finalize")
    mended(parts)


@pytest.mark.parametrize(
    "meanwhile",
    [
        "update events_2 set account_id = 1 + account_id % 5",
        "delete from events_2",
        "insert into events_2 values (777, 1, 2, 'a')",
        "truncate events_2",
        pytest.param(
            "begin; set local session_replication_role = replica; update events_2 set kind = 'r'; commit",
            id="as a replica",
        ),
    ],
)
def test_written_while_detached_and_attached_again_between_two_sweeps(
    parts: Shop, meanwhile: LiteralString
) -> None:
    parts.run("alter table events detach partition events_2", meanwhile)
    parts.check(*VIEWS)
    parts.run("alter table events attach partition events_2 for values from (2) to (3)")
    parts.check(*VIEWS)
    parts.sweep()
    mended(parts)


def test_written_by_a_replica_session(parts: Shop) -> None:
    for statement in (
        "update events set account_id = 3 where id = 5",
        "update events_3_b set account_id = 3 where id = 5",
        "update events set month = 2 where id = 6",
        "delete from events where id = 10",
        "insert into events values (999, 1, 3, 'a')",
        "truncate events_1",
    ):
        with parts.connect(autocommit=False) as connection:
            connection.execute("set local session_replication_role = replica")
            connection.execute(sql.SQL(statement))
            check(connection, *VIEWS)
            connection.commit()
        parts.check(*VIEWS)
        parts.refresh(*VIEWS, mode="stale")
    mended(parts)


def test_applying_again_mends_as_a_sweep_does(parts: Shop) -> None:
    parts.run(*CHANGES["an attached table with rows"])
    steps = parts.plan(ACTIVITY, ASKED)
    assert ("repair", "events") in {(step.action, step.name) for step in steps}
    parts.apply(ACTIVITY, ASKED)
    parts.check(*VIEWS)
    mended(parts)


def test_applying_again_does_not_cover_up_what_no_trigger_saw(shop: Shop) -> None:
    shop.run(
        "alter table orders disable trigger user",
        "update orders set status = 'unseen' where id = 1",
        "alter table orders enable trigger user",
    )
    shop.apply(*SHOP)
    shop.check()


def test_compiled_statements_see_the_same(parts: Shop) -> None:
    # The servers of the tests do not compile; statements on partitions that look large are those that would.
    with parts.connect(options="-c jit=on -c jit_above_cost=0") as connection:
        check(connection, *VIEWS)
        connection.execute("update events set account_id = 1 + account_id % 5 where id < 20")
        check(connection, *VIEWS)
        connection.execute("alter table events detach partition events_2")
        check(connection, *VIEWS)


def test_inheritance_children(bare_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KEYS, "activity", "id")
    bare_shop.run(
        "create table accounts (id integer primary key, name text not null)",
        "create table events (id integer, account_id integer, month integer, kind text)",
        "create table old_events (archived_at timestamptz) inherits (events)",
        "insert into accounts values (1, 'one'), (2, 'two')",
        "insert into old_events values (1, 1, 1, 'a')",
    )
    bare_shop.apply(ACTIVITY)
    bare_shop.refresh("activity")
    statements: tuple[LiteralString, ...] = (
        "insert into old_events values (2, 1, 1, 'b')",
        "update events set account_id = 2",
        "update only old_events set kind = 'c'",
        "create table older_events () inherits (old_events)",
        "insert into older_events values (3, 1, 1, 'd')",
        "alter table older_events no inherit old_events",
        "delete from older_events",
        "truncate events",
    )
    for statement in statements:
        bare_shop.run(statement)
        bare_shop.check("activity")
        bare_shop.sweep()
        bare_shop.check("activity")


def test_a_table_that_gets_its_first_inheritance_child(shop: Shop) -> None:
    shop.run(
        "create table more_lines () inherits (order_lines)",
        "insert into more_lines values (9999, 1, 'x', 5, 100)",
    )
    shop.check()
    shop.sweep()
    shop.check()
    shop.run(
        "create table yet_more () inherits (more_lines)", "insert into yet_more values (9998, 1, 'x', 5, 100)"
    )
    shop.check()


def test_a_table_that_becomes_a_partition(shop: Shop) -> None:
    shop.run(
        "create table all_lines (like order_lines) partition by range (id)",
        "alter table all_lines attach partition order_lines for values from (minvalue) to (maxvalue)",
        "update all_lines set quantity = 77 where order_id = 1",
    )
    shop.check()
    shop.sweep()
    shop.run("update all_lines set quantity = 78 where order_id = 1")
    shop.check()


@pytest.fixture
def owner(parts: Shop) -> Iterator[str]:
    """A role that will own the partitioned table, and no right on the cache."""
    name = f"owner_{uuid4().hex[:12]}"
    role = sql.Identifier(name)
    with parts.connect() as connection:
        connection.execute(
            sql.SQL("create role {r}; grant create, usage on schema public to {r}").format(r=role)
        )
    yield name
    with parts.connect() as connection:
        connection.execute(sql.SQL("drop owned by {r} cascade; drop role {r}").format(r=role))


def test_the_tables_owner_goes_on_making_partitions(parts: Shop, owner: str) -> None:
    with parts.connect() as connection:
        role = sql.Identifier(owner)
        for (name,) in parts.rows("select relid::regclass::text from pg_partition_tree('events')"):
            connection.execute(sql.SQL("alter table {} owner to {}").format(sql.Identifier(name), role))
        parts.apply(ACTIVITY, ASKED)
        connection.execute(sql.SQL("set session authorization {}").format(role))
        connection.execute("create table events_4 partition of events for values from (4) to (5)")
        connection.execute("create table events_5 (like events including all)")
        connection.execute("alter table events attach partition events_5 for values from (5) to (6)")
        connection.execute("insert into events values (1000, 1, 4, 'a'), (1001, 1, 5, 'a')")
    mended(parts)


def test_a_sweep_that_finds_a_new_partition_busy(parts: Shop) -> None:
    parts.run("create table events_4 partition of events for values from (4) to (5)")
    application = parts.connect(autocommit=False)
    application.execute("insert into events_4 values (400, 1, 4, 'a')")
    swept = parts.sweep()
    assert swept["differences"] == {"events": "partitions changed, table busy"}
    parts.check(*VIEWS)
    application.commit()
    parts.check(*VIEWS)
    assert scalar(parts.connect(), "call meshcache.sweep()")["differences"] == {
        "events": "partitions changed"
    }
    mended(parts)


def test_two_who_mend_at_once(parts: Shop) -> None:
    parts.run("create table events_4 partition of events for values from (4) to (5)")
    mend: LiteralString = (
        "select meshcache._sync_triggers(s.id) from meshcache.source_table as s"
        " where s.relation = 'events'::regclass"
    )
    first, second = parts.connect(autocommit=False), parts.connect()
    assert scalar(first, mend) > 0
    with ThreadPoolExecutor(1) as pool:
        mending = pool.submit(scalar, second, mend)
        wait_for_lock(parts, second)
        first.commit()
        assert mending.result() == 0
    mended(parts)
