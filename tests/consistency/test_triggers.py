"""The application's own code that reads through the cache in the middle of a write: it sees what is there."""

from typing import LiteralString

import psycopg
import pytest

from tests.consistency.checker import Checker
from tests.fixtures.fix_cache import set_up
from tests.fixtures.fix_db import Database

TABLES: LiteralString = """
create table owner (id integer primary key);
create table item (
    id integer primary key, owner_id integer references owner on delete cascade on update cascade,
    name text not null, note text
);
create table part (
    id integer primary key, item_id integer references item on delete cascade on update cascade, name text
);
insert into owner values (1), (2);
insert into item select n, 1 + n % 2, 'item ' || n from generate_series(1, 4) as n;
insert into part select n, 1 + n % 4, 'part ' || n from generate_series(1, 8) as n;

create table log (id bigserial primary key, moment text, cached text, direct text, origin text);
create function look(p_moment text) returns void language plpgsql as $$
begin
    insert into log (moment, cached, direct, origin)
    select p_moment, row(g.id, g.name, g.parts)::text, row(s.id, s.name, s.parts)::text, g._origin
    from generate_series(1, 5) as n
    left join lateral meshcache.card_get(n) as g on true
    left join meshcache.card_source as s on s.id = n;
    insert into log (moment, cached, direct)
    select p_moment || ' list', (select string_agg(v::text, ' ' order by v.id) from meshcache.card as v),
        (select string_agg(s::text, ' ' order by s.id) from meshcache.card_source as s);
end $$;
create function look_on() returns trigger language plpgsql as $$
begin
    perform look(tg_name);
    return coalesce(new, old);
end $$;
"""

CARD = """
-- name: card
-- key: id
-- coverage: {coverage}
-- depends: item(id) = (id) columns (id, name)
-- depends: part(item_id) = (id) columns (id, item_id, name)
select
    i.id, i.name,
    (select string_agg(p.name, ',' order by p.id) from part as p where p.item_id = i.id) as parts
from item as i
"""

# Names before and after those of the mark triggers, which fire in alphabetical order.
TRIGGERS: LiteralString = """
create trigger {prefix}_before_row before insert or update or delete on {table}
    for each row execute function look_on();
create trigger {prefix}_after_row after insert or update or delete on {table}
    for each row execute function look_on();
create trigger {prefix}_before before insert or update or delete on {table} execute function look_on();
create trigger {prefix}_after after insert or update or delete on {table} execute function look_on();
create constraint trigger {prefix}_deferred after insert or update or delete on {table}
    deferrable initially deferred for each row execute function look_on();
create trigger {prefix}_truncate_before before truncate on {table} execute function look_on();
create trigger {prefix}_truncate_after after truncate on {table} execute function look_on();
"""

WRITES: dict[str, LiteralString] = {
    "insert": "insert into item values (5, 1, 'five')",
    "update": "update item set name = name || '!'",
    "update of the key": "update item set id = id + 10 where id = 2",
    "delete with a cascade": "delete from item where id = 2",
    "delete with two cascades": "delete from owner where id = 1",
    "child moved": "update part set item_id = 1 + item_id % 4",
    "insert or update": (
        "insert into item values (1, 1, 'again'), (5, 1, 'five')"
        " on conflict (id) do update set name = excluded.name"
    ),
    "writable CTE": """
        with i as (update item set name = 'parent' where id < 3 returning id),
        p as (delete from part where item_id = 3)
        update part set name = 'child' from i where item_id = i.id""",
    "truncate": "truncate item, part",
    "two statements": "do $$ begin update item set name = 'a'; update part set name = 'b'; end $$",
    "a block that fails": """
        do $$ begin
            begin
                update item set name = 'lost';
                raise exception 'taken back';
            exception when raise_exception then
                perform look('after the block');
            end;
            update part set name = 'kept';
        end $$""",
}


def looked_alike(connection: psycopg.Connection) -> dict[str, int]:
    """Whatever was read in the middle is what the source gave there; returns how often, by origin."""
    wrong = connection.execute(
        "select moment, cached, direct, origin from log where cached is distinct from direct order by id"
    ).fetchall()
    assert wrong == []
    rows = connection.execute(
        "select coalesce(origin, 'none'), count(*)::integer from log group by 1"
    ).fetchall()
    return dict(rows)


def install(database: Database, coverage: str) -> psycopg.Connection:
    connection = set_up(database, TABLES, CARD.format(coverage=coverage))
    for table in ("item", "part"):
        for prefix in ("a", "z"):
            connection.execute(TRIGGERS.replace("{table}", table).replace("{prefix}", prefix))
    return connection


@pytest.mark.parametrize("write", list(WRITES))
@pytest.mark.parametrize("coverage", ["complete", "on_demand"])
def test_triggers_that_read_through_the_cache(fresh: Database, coverage: str, write: str) -> None:
    connection = install(fresh, coverage)
    checker = Checker.of(connection)
    checker.assert_exact(connection)
    assert checker.origins["hit"] == 4
    connection.execute("begin")
    connection.execute(WRITES[write])
    checker.assert_exact(connection)
    connection.execute("commit")
    assert looked_alike(connection)
    # After the statement the cache is in use again, not only after the transaction.
    checker.assert_exact(connection)
    connection.execute("begin")
    connection.execute("update item set note = 'matters to nobody'")
    before = checker.origins["hit"]
    connection.execute("insert into item values (50, 2, 'other')")
    connection.execute("truncate log")
    checker.assert_exact(connection)
    if write not in (
        "truncate",
        "two statements",
        "update",
        "child moved",
        "writable CTE",
        "a block that fails",
    ):
        assert checker.origins["hit"] > before
    connection.execute("rollback")


@pytest.mark.parametrize("coverage", ["complete", "on_demand"])
def test_a_function_in_an_update_that_reads_through_the_cache(fresh: Database, coverage: str) -> None:
    connection = set_up(fresh, TABLES, CARD.format(coverage=coverage))
    connection.execute(
        "create function named(n integer) returns text language plpgsql volatile as $$"
        " begin perform look('in the update'); return 'seen ' || n; end $$"
    )
    connection.execute("update item set name = named(id)")
    connection.execute("insert into part select 100 + n, n, named(n) from generate_series(1, 3) as n")
    connection.execute("select named(1)")
    assert looked_alike(connection)["stale"]
    Checker.of(connection).assert_exact(connection)


def test_a_trigger_that_writes_back(fresh: Database) -> None:
    connection = set_up(fresh, TABLES, CARD.format(coverage="complete"))
    connection.execute(
        "create function write_back() returns trigger language plpgsql as $$ begin"
        " update item set name = new.name || ' has ' || new.id where id = new.item_id;"
        " perform look('nested'); return null; end $$;"
        " create trigger b after insert or update on part for each row execute function write_back()"
    )
    connection.execute("update part set name = 'x' where id < 4")
    connection.execute("insert into part values (100, 1, 'y'), (101, 2, 'z')")
    assert looked_alike(connection)
    Checker.of(connection).assert_exact(connection)


def test_a_cursor_keeps_to_its_snapshot(fresh: Database) -> None:
    connection, other = set_up(fresh, TABLES, CARD.format(coverage="complete")), fresh.connect()
    connection.execute("begin")
    connection.execute("declare c cursor for select id, name from meshcache.card order by id")
    first = connection.execute("fetch 1 from c").fetchall()
    connection.execute("update item set name = 'mine' where id > 2")
    other.execute("insert into item values (50, 1, 'theirs')")
    rest = connection.execute("fetch all from c").fetchall()
    assert [*first, *rest] == [(n, f"item {n}") for n in range(1, 5)]
    connection.execute("commit")
    Checker.of(connection).assert_exact(connection)


@pytest.mark.parametrize("coverage", ["complete", "on_demand"])
def test_replica_mode(fresh: Database, coverage: str) -> None:
    connection, reader = set_up(fresh, TABLES, CARD.format(coverage=coverage)), fresh.connect()
    checker = Checker.of(connection)
    connection.execute("set session_replication_role = replica")
    for statement in (
        "update item set name = 'applied' where id = 1",
        "insert into item values (5, 1, 'five')",
        "insert into part values (100, 2, 'new')",
        "update part set item_id = 4 where id = 2",
        "delete from part where id = 3",
        "update item set id = 40 where id = 4",
    ):
        connection.execute("begin")
        connection.execute(statement)
        checker.assert_exact(connection)
        connection.execute("set local session_replication_role = origin")
        checker.assert_exact(connection)
        checker.assert_exact(reader)
        connection.execute("commit")
        checker.assert_exact(reader)
    assert checker.origins["hit"]
    assert checker.origins["stale"]
    connection.execute("truncate part")
    checker.assert_exact(reader)
