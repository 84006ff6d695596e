"""Tables that consist of tables: writes aimed at any of them, and partitions that come and go."""

from typing import LiteralString

import pytest

from tests.consistency.checker import exact
from tests.consistency.through import through
from tests.consistency.waiting import waiting
from tests.fixtures.fix_cache import refresh, set_up, sweep
from tests.fixtures.fix_db import Database


def test_inheritance_children(fresh: Database) -> None:
    connection = set_up(
        fresh,
        """
        create table item (id integer primary key, name text);
        create table special (extra text) inherits (item);
        create table very_special (more text) inherits (special);
        insert into item values (1, 'item');
        insert into special values (1, 'same id', 'x'), (2, 'special', 'y');
        insert into very_special values (3, 'very', 'z', 'zz');
        """,
        """
-- name: card
-- key: id
-- coverage: complete
-- depends: item(id) = (id) columns (id, name)
select i.id, count(*) as n, string_agg(i.name, ',' order by i.name) as names from item as i group by i.id
""",
    )
    through(
        connection,
        "update item set name = name || '!'",
        "update special set name = 'aimed at the child' where id = 2",
        "insert into very_special values (4, 'new', 'z', 'zz')",
        "update only item set id = 5",
        "delete from special where id = 1",
        "truncate very_special",
        "truncate item",
    )


PARTITIONED: LiteralString = """
create table event (id integer, day integer, run_id integer, name text, primary key (id, day))
    partition by range (day);
create table event_1 partition of event for values from (1) to (10);
create table event_2 partition of event for values from (10) to (20) partition by list (day);
create table event_2_10 partition of event_2 for values in (10);
create table event_2_11 (name text, gone text, run_id integer, id integer not null, day integer not null);
alter table event_2_11 drop column gone;
alter table event_2 attach partition event_2_11 for values in (11);
insert into event
select n, 1 + n % 12, 1 + n % 4, 'event ' || n from generate_series(1, 40) as n where n % 12 < 11;
"""

RUN_LOG = """
-- name: run_log
-- key: run_id
-- coverage: {coverage}
-- depends: event(run_id) = (run_id)
select e.run_id, count(*) as n, string_agg(e.name, ',' order by e.id, e.day) as names
from event as e where e.run_id is not null group by e.run_id
"""


@pytest.mark.parametrize("coverage", ["complete", "on_demand"])
def test_writes_to_partitions(fresh: Database, coverage: str) -> None:
    connection = set_up(fresh, PARTITIONED, RUN_LOG.format(coverage=coverage))
    through(
        connection,
        "update event set name = name || '!' where run_id = 1",
        "update event_2_11 set name = 'aimed at the leaf'",
        "update event_2 set name = 'aimed at the middle'",
        "update event set day = 11 where id in (1, 2)",
        "update event_2 set day = 21 - day where id > 20",
        "update event set day = 12 - day, run_id = 9 where day = 1",
        "insert into event_2_10 (id, day, run_id, name) values (100, 10, 1, 'leaf')",
        "insert into event values (101, 11, 10, 'parent') on conflict (id, day) do update set name = 'again'",
        "insert into event values (101, 11, 10, 'x') on conflict (id, day) do update set name = 'again'",
        "delete from event_1 where run_id = 2",
        "truncate event_2_10",
        "truncate event_2",
        "truncate event",
    )


@pytest.mark.parametrize("coverage", ["complete", "on_demand"])
def test_a_row_that_does_not_arrive_in_its_partition(fresh: Database, coverage: str) -> None:
    """Then an UPDATE has an old row and no new one: one of two is not the only row of the statement."""
    connection = set_up(
        fresh,
        PARTITIONED
        + """
        create function refuse() returns trigger language plpgsql as 'begin return null; end';
        create trigger refuse before insert on event_2_11 for each row when (new.run_id <> 2)
            execute function refuse();
        """,
        RUN_LOG.format(coverage=coverage),
    )
    through(
        connection,
        "update event set day = 11 where id = 3",
        "update event set day = 11 where id in (1, 2)",
        "update event set day = 11, name = 'arrives' where id = 13",
        "update event set day = 11 where id = 123456",
    )
    assert connection.execute("select count(*) from event where id in (1, 2, 3, 13)").fetchone() == (2,)


@pytest.mark.parametrize("coverage", ["complete", "on_demand"])
def test_partitions_that_come_and_go(fresh: Database, coverage: str) -> None:
    connection = set_up(fresh, PARTITIONED, RUN_LOG.format(coverage=coverage))
    for swept in (False, True):
        for statement in (
            "create table event_3 partition of event for values from (20) to (30)",
            "insert into event_3 values (200, 20, 1, 'aimed at the new one')",
            "update event_3 set run_id = 2",
            "alter table event_2 detach partition event_2_11",
            "update event_2_11 set name = 'while detached'",
            "alter table event_2 attach partition event_2_11 for values in (11)",
            "alter table event detach partition event_2",
            "alter table event attach partition event_2 for values from (10) to (20)",
            "drop table event_3",
            "create table event_3 (like event)",
            "insert into event_3 values (201, 21, 3, 'before it is attached')",
            "alter table event attach partition event_3 for values from (20) to (30)",
            "update event_3 set name = 'after'",
            "alter table event detach partition event_3",
            "drop table event_3",
        ):
            connection.execute(statement)
            exact(connection)
            if swept:
                assert sweep(connection) == "done"
                exact(connection)
                refresh(connection, "run_log")
                assert exact(connection).origins["hit"]


def test_the_first_partition_comes_later(fresh: Database) -> None:
    connection = set_up(
        fresh,
        """
        create table event (id integer, day integer, run_id integer, name text, primary key (id, day))
            partition by list (day);
        create table event_1 partition of event for values in (1, 2) partition by list (day);
        """,
        RUN_LOG.format(coverage="complete"),
    )
    connection.execute("create table event_1_1 partition of event_1 for values in (1)")
    connection.execute("insert into event_1_1 values (1, 1, 1, 'aimed at it')")
    exact(connection)


def test_partitions_that_change_during_a_resolve_do_not_empty_the_view(fresh: Database) -> None:
    connection = set_up(fresh, PARTITIONED, RUN_LOG.format(coverage="complete"))
    sweeper, owner = fresh.connect(), fresh.connect()
    owner.execute("begin")
    owner.execute("lock table event")
    owner.execute("create table event_3 partition of event for values from (20) to (30)")
    with waiting(sweeper, "select meshcache._run_log_resolve(true)", connection):
        owner.execute("commit")
    owner.execute("drop table event_3")
    exact(connection)


def test_two_who_mend_the_triggers_of_a_new_partition(fresh: Database) -> None:
    connection = set_up(fresh, PARTITIONED, RUN_LOG.format(coverage="complete"))
    first, second = fresh.connect(), fresh.connect()
    connection.execute("create table event_3 partition of event for values from (20) to (30)")
    mend: LiteralString = "select meshcache._check_source(s.id) from meshcache.source_table as s"
    first.execute("begin")
    assert first.execute(mend).fetchone() == ("partitions changed",)
    # It has looked for what is missing before it gets the lock on the table.
    with waiting(second, mend, connection):
        first.execute("commit")
    assert connection.execute(mend).fetchone() == (None,)
    refresh(connection, "run_log")
    connection.execute("insert into event_3 values (200, 20, 1, 'new')")
    assert exact(connection).origins["stale"] == 1
