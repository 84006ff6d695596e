"""The checker's own test: with one rule of the protocol broken at a time it must find a wrong row.

Each schedule is first run on the cache as it is, where it finds nothing: it is the broken rule that it finds.
"""

from collections.abc import Callable
from contextlib import nullcontext

import psycopg
import pytest
from psycopg import sql

from tests.consistency.checker import Checker, NotExact
from tests.consistency.waiting import waiting
from tests.fixtures.fix_cache import replace_function, set_up, sweep
from tests.fixtures.fix_db import Database

TABLES = """
create table owner (id integer primary key, name text);
create table item (id integer primary key, owner_id integer, name text);
insert into owner values (1, 'owner');
insert into item values (1, 1, 'item'), (2, 1, 'item');
"""

CARD = """
-- name: card
-- key: id
-- coverage: on_demand
-- depends: item(id) = (id) columns (id, owner_id, name)
-- depends: owner(id) = (owner_id) columns (id, name)
select i.id, i.owner_id, i.name, o.name as owner_name
from item as i inner join owner as o on o.id = i.owner_id
"""

WHOLE = CARD.replace("name: card", "name: whole").replace("on_demand", "complete")

Check = Callable[[], None]
FILL = "select meshcache.card_fill(array[1, 2])"


def _source(connection: psycopg.Connection, table: str) -> int:
    row = connection.execute(
        "select s.id from meshcache.source_table as s where s.relation = %s::regclass", (table,)
    ).fetchone()
    assert row is not None
    number: int = row[0]
    return number


def no_marks(connection: psycopg.Connection) -> None:
    """An UPDATE of items leaves no mark."""
    name = f"_mark_{_source(connection, 'item')}_update"
    replace_function(connection, name, "limit 1000 + 1", "limit 0")


def plain_update(database: Database, check: Check) -> None:
    connection = database.connect()
    connection.execute("update item set name = 'new' where id = 1")
    check()


def no_truncate_trigger(connection: psycopg.Connection) -> None:
    """TRUNCATE leaves no wildcard."""
    number = _source(connection, "owner")
    connection.execute(f"alter table owner disable trigger meshcache_{number}_mark_truncate")


def truncate(database: Database, check: Check) -> None:
    connection = database.connect()
    connection.execute("truncate owner")
    check()


def no_own_marks(connection: psycopg.Connection) -> None:
    """A transaction that has written may fill, and its own marks count as known to the fill."""
    replace_function(connection, "_begin_fill", "pg_current_xact_id_if_assigned() is not null", "false")
    _change_views(connection, "(m.xid = c._filled_by) OR ", "")


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


def no_barrier(connection: psycopg.Connection) -> None:
    """The sweep does not wait for fills."""
    replace_function(
        connection,
        "_barrier",
        "perform pg_advisory_xact_lock(meshcache._lock_class('fill'), p_view_id);",
        "null;",
    )
    replace_function(connection, "_begin_fill", "elsif not", "elsif false and not")


def slow_fill_across_a_sweep(database: Database, check: Check) -> None:
    filler, writer, sweeper, holder = (database.connect() for _ in range(4))
    # A fill that has its snapshot and not yet its xid, so that nothing but the barrier knows of it.
    sweeper.execute(
        "create function slow(integer) returns boolean language plpgsql as $$ begin"
        " perform pg_advisory_lock_shared(4711); perform pg_advisory_unlock_shared(4711); return true; end $$"
    )
    _change_views(sweeper, ";", " where slow(i.id);", name="card_source")
    holder.execute("select pg_advisory_lock(4711)")
    with waiting(filler, FILL, holder):
        writer.execute("update item set name = 'new' where id = 1")
        sweep(sweeper)
        holder.execute("select pg_advisory_unlock(4711)")
    check()


def lookup_at_write_time(connection: psycopg.Connection) -> None:
    """A change of an owner marks the items that it has now, instead of itself."""
    number = _source(connection, "owner")
    mark = connection.execute(
        "select m.id from meshcache.mark_table as m"
        " inner join meshcache.source_table as s on s.id = m.source_id"
        " where s.relation = 'item'::regclass and m.columns = '{id}'"
    ).fetchone()
    assert mark is not None
    connection.execute(
        sql.SQL(
            "create or replace function {}() returns trigger language plpgsql security definer as $$ begin"
            " insert into {} (id) select i.id from public.item as i"
            " inner join new_rows as n on n.id = i.owner_id on conflict do nothing;"
            " perform set_config("
            "'meshcache.writing', substr(current_setting('meshcache.writing', true), 2), true);"
            " return null; end $$"
        ).format(
            sql.Identifier("meshcache", f"_mark_{number}_update"),
            sql.Identifier("meshcache", f"mark_{mark[0]}"),
        )
    )


def child_and_parent(database: Database, check: Check) -> None:
    inserter, renamer, filler = database.connect(), database.connect(), database.connect()
    inserter.execute("begin")
    inserter.execute("insert into item values (3, 1, 'concurrent')")
    renamer.execute("begin")
    renamer.execute("update owner set name = 'renamed'")
    inserter.execute("commit")
    filler.execute("select meshcache.card_fill(array[3])")
    renamer.execute("commit")
    check()


def no_guard(connection: psycopg.Connection) -> None:
    """Reads in the middle of a statement do not know that its marks are still to come."""
    number = _source(connection, "item")
    connection.execute(f"alter table item disable trigger meshcache_{number}_guard_update")


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
        raise NotExact("an AFTER trigger read an old row")
    check()


def quiet_without_a_look(connection: psycopg.Connection) -> None:
    """A list takes what is fresh for all there is."""
    connection.execute(
        "create or replace view meshcache.whole_quiet as select f.* from meshcache.whole_fresh as f"
    )


def _change_views(connection: psycopg.Connection, old: str, new: str, name: str = "card_%") -> None:
    """Replace a part of the SELECT of views of the cache."""
    found = 0
    for view, select in connection.execute(
        "select c.oid::regclass::text, pg_get_viewdef(c.oid) from pg_class as c"
        " where c.relnamespace = 'meshcache'::regnamespace and c.relkind = 'v' and c.relname like %s",
        (name,),
    ).fetchall():
        if old in select:
            found += 1
            statement = f"create or replace view {view} as {select.replace(old, new)}"
            connection.execute(statement)
    assert found, f"no view contains {old!r} any more"


BROKEN = {
    "a statement that leaves no mark": (no_marks, plain_update),
    "no truncate trigger": (no_truncate_trigger, truncate),
    "no test of the fill's own marks": (no_own_marks, write_around_a_fill),
    "no barrier": (no_barrier, slow_fill_across_a_sweep),
    "lookup at write time": (lookup_at_write_time, child_and_parent),
    "a list that does not look for marks": (quiet_without_a_look, plain_update),
    "no guard inside a statement": (no_guard, read_inside_a_statement),
}


@pytest.mark.parametrize("broken", [False, True], ids=["whole", "broken"])
@pytest.mark.parametrize("rule", list(BROKEN))
def test_the_checker_notices(fresh: Database, rule: str, broken: bool) -> None:
    break_it, schedule = BROKEN[rule]
    connection = set_up(fresh, TABLES, CARD, WHOLE)
    checker = Checker.of(connection)
    checker.assert_exact(connection)
    assert (checker.origins["hit"], checker.origins["quiet"]) == (4, 2)
    if broken:
        break_it(connection)
    with pytest.raises(NotExact) if broken else nullcontext():
        schedule(fresh, lambda: checker.assert_exact(fresh.connect()))
