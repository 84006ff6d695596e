"""Written schedules, each aimed at one mistake of tests.consistency.plants: with the mistake in the cache the
comparison at its end must find a wrong row, and without it none.

Some last only an instant in a server at work. There the SELECT of a view stands still in the middle, for
whichever session says so, until a lock is given back.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import LiteralString

import psycopg

from meshcache_pg import catalog
from meshcache_pg.definition import parse
from meshcache_pg.embedded import PrivateServer
from meshcache_pg.errors import LockBusy
from tests.consistency.checker import NotExact
from tests.consistency.waiting import waiting
from tests.fixtures.fix_cache import apply_definitions, migrate_database, refresh, sweep
from tests.fixtures.fix_db import Database
from tests.fixtures.fix_embedded import eventually

# Compares the views that are named, or all of them, over a connection that has just come.
Check = Callable[..., None]
Schedule = Callable[[Database, Check], None]

TABLES: LiteralString = """
create table owner (id integer primary key, name text not null);
create table box (id integer primary key, label text not null);
create table item (
    id integer primary key, owner_id integer not null references owner on delete cascade,
    box_id integer not null, name text not null, amount numeric not null default 1.0
);
create table event (id integer not null, item_id integer not null, month integer not null)
partition by list (month);
create table event_1 partition of event for values in (1);
create table bell (id integer primary key, rings integer not null);
insert into owner values (1, 'one'), (2, 'two');
insert into box values (1, 'first'), (2, 'second');
insert into item values (1, 1, 1, 'item'), (2, 1, 1, 'item'), (3, 2, 2, 'item');
insert into event values (1, 1, 1), (2, 1, 1), (3, 2, 1);
insert into bell values (1, 1);
create function stand_still(p_where text, p_id integer) returns integer
language plpgsql immutable set lock_timeout = 0 as $$
begin
    if current_setting('test.stand_still_in', true) = p_where then
        perform pg_advisory_lock_shared(4711, ascii(p_where));
        perform pg_advisory_unlock_shared(4711, ascii(p_where));
    end if;
    return p_id;
end
$$;
"""

CARD = """
-- name: card
-- key: id
-- coverage: on_demand
select i.id, i.owner_id, i.name, i.amount, o.name as owner_name, stand_still('f', i.id) as stood
from item as i inner join owner as o on o.id = i.owner_id
"""
WHOLE = CARD.replace("name: card", "name: whole").replace("on_demand", "complete")
BOXED = """
-- name: boxed
-- key: id
-- coverage: on_demand
select b.id, b.label, (select count(*) from item as i where i.box_id = b.id) as items from box as b
"""
ONLY_POSITIVE = BOXED.replace("i.box_id = b.id", "i.box_id = b.id and i.amount > 0")
LOGGED = """
-- name: logged
-- key: id
-- coverage: on_demand
select i.id, (select count(*) from event as e where e.item_id = i.id) as events from item as i
"""
ONLY_IN_A_BOX = LOGGED + "where i.box_id > 0"
FOR_A_WHILE = """
-- name: for_a_while
-- key: id
-- coverage: on_demand
-- ttl: 1s
select i.id, i.name from item as i
"""
# The sweep takes the views by their ids: here it stands still when all others are resolved.
LAST = """
-- name: last
-- key: id
-- coverage: complete
select b.id, b.rings, stand_still('z', b.id) as stood from bell as b
"""

_WAITS: LiteralString = """
select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
"""

FILL: LiteralString = "select meshcache.card_fill(array[1, 2, 3])"


def build(database: Database) -> None:
    """Tables and cached views that hold every key, in an empty database."""
    migrate_database(database)
    with database.connect() as connection:
        connection.execute(TABLES)
        apply_definitions(database, CARD, WHOLE, BOXED, LOGGED, FOR_A_WHILE)
        apply_definitions(database, LAST)
        warm(connection)


def warm(connection: psycopg.Connection) -> None:
    """Every cached view holds every key."""
    refresh(connection, "card", "whole", "boxed", "logged", "for_a_while", "last")


@contextmanager
def standing_still(
    database: Database, door: LiteralString, connection: psycopg.Connection, statement: LiteralString
) -> Iterator[None]:
    """A statement that stops in the SELECT of a view while the block runs, and goes on after it."""
    holder = database.connect()
    holder.execute("select pg_advisory_lock(4711, ascii(%s))", (door,))
    connection.execute("select set_config('test.stand_still_in', %s, false)", (door,))
    with waiting(connection, statement, holder):
        yield
        holder.execute("select pg_advisory_unlock(4711, ascii(%s))", (door,))
    connection.execute("select set_config('test.stand_still_in', '', false)")


def plain_update(database: Database, check: Check) -> None:
    database.connect().execute("update item set name = 'new' where id = 1")
    check()


def an_item_in_another_box(database: Database, check: Check) -> None:
    database.connect().execute("update item set box_id = 2 where id = 1")
    check()


def an_equal_number(database: Database, check: Check) -> None:
    database.connect().execute("update item set amount = 1.00 where id = 1")
    check()


def many_values_at_once(database: Database, check: Check) -> None:
    database.connect().execute("insert into item select n, 1, 1, 'many' from generate_series(10, 1100) as n")
    check()


def cascade(database: Database, check: Check) -> None:
    database.connect().execute("delete from owner where id = 2")
    check()


def truncate(database: Database, check: Check) -> None:
    database.connect().execute("truncate box")
    check()


def write_as_replica(database: Database, check: Check) -> None:
    connection = database.connect()
    connection.execute("set session_replication_role = replica")
    connection.execute("update item set name = 'replicated' where id = 1")
    check()


def read_inside_a_statement(database: Database, check: Check) -> None:
    connection = database.connect()
    connection.execute("create table log (same boolean)")
    connection.execute(
        "create function look() returns trigger language plpgsql as $$ begin"
        " insert into log select g.name = s.name from meshcache.card_get(new.id) as g"
        " inner join meshcache.card_source as s on s.id = g.id; return null; end $$;"
        " create trigger look after update on item for each row execute function look()"
    )
    connection.execute("update item set name = 'new'")
    if connection.execute("select from log where not same").fetchone() is not None:
        raise NotExact("card_get is not what its source is: an AFTER trigger read an old row")
    check()


def partition_with_rows(database: Database, check: Check) -> None:
    connection = database.connect()
    connection.execute("create table event_2 (like event)")
    connection.execute("insert into event_2 values (4, 1, 2)")
    connection.execute("alter table event attach partition event_2 for values in (2)")
    check()


def child_and_parent(database: Database, check: Check) -> None:
    inserter, renamer, filler = database.connect(), database.connect(), database.connect()
    inserter.execute("begin")
    inserter.execute("insert into item values (4, 1, 1, 'concurrent')")
    renamer.execute("begin")
    renamer.execute("update owner set name = 'renamed'")
    inserter.execute("commit")
    filler.execute("select meshcache.card_fill(array[4])")
    renamer.execute("commit")
    check()


def write_around_a_fill(database: Database, check: Check) -> None:
    connection, other = database.connect(), database.connect()
    connection.execute("begin")
    connection.execute("select pg_current_xact_id()")
    # The fill's own xid is now below the end of its snapshot and not among the running ones.
    other.execute("select pg_current_xact_id()")
    connection.execute(FILL)
    connection.execute("update item set name = 'new' where id = 1")
    connection.execute("commit")
    check()


def fill_in_an_old_snapshot(database: Database, check: Check) -> None:
    caller, writer = database.connect(), database.connect()
    caller.execute("begin isolation level repeatable read")
    caller.execute("select from item")
    writer.execute("update item set name = 'new' where id = 1")
    sweep(writer)
    caller.execute(FILL)
    caller.execute("commit")
    check()


def slow_fill_across_a_sweep(database: Database, check: Check) -> None:
    filler, writer, sweeper = database.connect(), database.connect(), database.connect()
    # It has its snapshot and not yet its xid, so that nothing but the barrier knows of it.
    with standing_still(database, "f", filler, FILL):
        writer.execute("update item set name = 'new' where id = 1")
        sweep(sweeper)
    check()


def slow_fill_across_a_refresh(database: Database, check: Check) -> None:
    filler, writer, other = database.connect(), database.connect(), database.connect()
    with standing_still(database, "f", filler, "select meshcache.whole_fill(array[1])"):
        writer.execute("update item set name = 'new' where id = 1")
        other.execute("call meshcache.refresh('whole', null, 'all', 0)")
    check()


def slow_fill_of_a_removed_key(database: Database, check: Check) -> None:
    """What a refresh contained no mark asks for any more: a row that comes after it would stay for good."""
    filler, writer, other = database.connect(), database.connect(), database.connect()
    with standing_still(database, "f", filler, "select meshcache.whole_fill(array[1])"):
        writer.execute("delete from item where id = 1")
        other.execute("call meshcache.refresh('whole', null, 'all', 0)")
    sweep(other)
    check()


def commit_inside_a_sweep(database: Database, check: Check) -> None:
    _end_inside_a_sweep(database, "commit")
    check()


def commit_prepared_inside_a_sweep(database: Database, check: Check) -> None:
    _end_inside_a_sweep(database, "commit prepared 'writer'", prepare="prepare transaction 'writer'")
    check()


def _end_inside_a_sweep(database: Database, end: LiteralString, prepare: LiteralString = "") -> None:
    writer, sweeper, other = database.connect(), database.connect(), database.connect()
    writer.execute("begin")
    writer.execute("update item set name = 'new' where id = 1")
    if prepare:
        writer.execute(prepare)
    other.execute("update bell set rings = rings + 1")
    # What it has resolved, it resolved without the writer.
    with standing_still(database, "z", sweeper, "call meshcache.sweep()"):
        writer.execute(end)


def write_and_sweep(database: Database, check: Check) -> None:
    connection = database.connect()
    connection.execute("update item set name = 'new', box_id = 2 where id = 1")
    assert sweep(connection) == "done"
    check()


def definitions_changed_at_once(database: Database, check: Check) -> None:
    """Both change what the triggers of one table have to note, the second while it waits for the first."""
    observer = database.connect()
    for _ in range(9):
        try:
            _two_apply(database, observer)
            break
        except LockBusy:
            # It waits half a second at most, and on a busy machine the commit may come later.
            apply_definitions(database, BOXED)
    warm(observer)
    observer.execute("update item set amount = -1 where id = 1")
    check()


def _two_apply(database: Database, observer: psycopg.Connection) -> None:
    engine = database.engine()
    with ThreadPoolExecutor(1) as pool:
        with engine.begin() as connection:
            catalog.apply(connection, catalog.plan(connection, [parse(ONLY_POSITIVE, "boxed")]))
            other = pool.submit(apply_definitions, database, ONLY_IN_A_BOX)
            eventually(
                lambda: other.done() or observer.execute(_WAITS).fetchone() is not None, "the other one waits"
            )
        engine.dispose()
        other.result()


def crash(database: Database, check: Check) -> None:
    assert isinstance(database.server, PrivateServer)
    database.server.kill()
    database.server.start()
    check()


def prepared_across_a_crash(database: Database, check: Check) -> None:
    assert isinstance(database.server, PrivateServer)
    writer = database.connect()
    writer.execute("begin")
    writer.execute("update item set name = 'new' where id = 1")
    writer.execute("prepare transaction 'writer'")
    database.server.kill()
    database.server.start()
    other = database.connect()
    other.execute("call meshcache.open_cache()")
    other.execute(FILL)
    other.execute("commit prepared 'writer'")
    check()


def expired(database: Database, check: Check) -> None:
    connection = database.connect()
    # Nothing fires and nothing notices: what a time to live is for.
    connection.execute("select meshcache.for_a_while_fill(array[1])")
    connection.execute("alter table item disable trigger all")
    connection.execute("update item set name = 'unseen' where id = 1")

    def is_over() -> bool:
        row = connection.execute(
            "select c._expires_at < clock_timestamp() from meshcache_data.for_a_while as c where c.id = 1"
        ).fetchone()
        return row == (True,)

    eventually(is_over, "the row has expired")
    check("for_a_while")


def write_after_a_restore(database: Database, check: Check) -> None:
    """`database` was restored from a dump of a cluster whose transaction ids were further on."""
    database.connect().execute("update item set name = 'new', box_id = 2 where id = 1")
    check()
