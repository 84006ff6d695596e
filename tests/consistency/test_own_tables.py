"""Tables of every shape, each with the dependencies that fit it: composite keys, names, links, flushes."""

from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql

from tests.consistency.checker import exact
from tests.consistency.through import through
from tests.fixtures.fix_cache import refresh, set_up, sweep
from tests.fixtures.fix_db import Database


@pytest.mark.parametrize("coverage", ["complete", "on_demand"])
def test_a_key_of_two_columns(fresh: Database, coverage: str) -> None:
    connection = set_up(
        fresh,
        """
        create table room (house integer, number text, size numeric, primary key (house, number));
        create table stay (house integer, number text, guest text, nights integer);
        insert into room select h, n::text, h * n from generate_series(1, 3) as h, generate_series(1, 3) as n;
        insert into stay
        select 1 + n % 3, (1 + n % 2)::text, 'guest ' || n, n from generate_series(1, 6) as n;
        """,
        """
-- name: room_card
-- key: house, number
-- coverage: COVERAGE
-- depends: room(house, number) = (house, number)
-- depends: stay(house, number) = (house, number) columns (house, number, nights)
select r.house, r.number, r.size, s.stays, s.nights
from room as r
cross join lateral (
    select count(*) as stays, sum(t.nights) as nights
    from stay as t where (t.house, t.number) = (r.house, r.number)
) as s
""".replace("COVERAGE", coverage),
    )
    through(
        connection,
        "update room set size = size + 0.00 where house = 1",
        "update room set size = 7 where house = 2",
        "update room set number = '9' where (house, number) = (1, '1')",
        "insert into room values (4, '1', 1.0), (4, '2', 1.00)",
        # stay has no primary key: old and new rows cannot be paired
        "update stay set nights = nights + 1 where guest = 'guest 1'",
        "update stay set house = 3, number = '3' where guest = 'guest 2'",
        "insert into stay values (4, '1', 'new', 1), (null, '1', 'nowhere', 1), (4, null, 'nowhere', 1)",
        "update stay set house = 4, number = '2' where guest = 'nowhere'",
        "delete from stay where nights > 3",
        "delete from room where house = 1",
        "truncate stay",
    )


def test_names_and_keys_with_quotes_and_umlauts(fresh: Database) -> None:
    connection = set_up(
        fresh,
        """
        create schema "Ünï";
        create table "Ünï"."tabelle 'Ä'" (
            "the ""key"" x" text primary key,
            c text, s text, h text, m text, t text, x text, xid text, old text, found text
        );
        insert into "Ünï"."tabelle 'Ä'" ("the ""key"" x", c)
        values
            (e'it''s "quoted" \\\\ %s :x {} ü', 'a'), ('', 'b'), (' ', null), ('(1,2)', 'c'),
            (e'two\\nlines', 'd');
        """,
        """
-- name: umlaut
-- key: Der Schlüssel
-- coverage: complete
-- depends: "Ünï"."tabelle 'Ä'"("the ""key"" x") = ("Der Schlüssel")
select t."the ""key"" x" as "Der Schlüssel", t.c, t.s, t.h, t.m, t.t, t.x, t.xid, t.old, t.found
from "Ünï"."tabelle 'Ä'" as t
""".replace("-- key: Der Schlüssel", '-- key: "Der Schlüssel"'),
    )
    through(
        connection,
        """update "Ünï"."tabelle 'Ä'" set c = 'new' where "the ""key"" x" like 'it%'""",
        """update "Ünï"."tabelle 'Ä'" set "the ""key"" x" = "the ""key"" x" || ''''  where true""",
        """insert into "Ünï"."tabelle 'Ä'" values ('$$', 'e')""",
        """delete from "Ünï"."tabelle 'Ä'" where c is null""",
    )


@pytest.mark.parametrize("coverage", ["complete", "on_demand"])
def test_a_linked_dependency(fresh: Database, coverage: str) -> None:
    connection = set_up(
        fresh,
        """
        create table flow (id integer primary key, name text);
        create table run (
            id integer primary key, flow_id integer references flow on delete cascade on update cascade
        );
        create table step (
            id integer primary key, run_id integer references run on delete cascade on update cascade,
            status text
        );
        insert into flow select n, 'flow ' || n from generate_series(1, 3) as n;
        insert into run select n, 1 + n % 3 from generate_series(1, 6) as n;
        insert into step select n, 1 + n % 6, 'open' from generate_series(1, 18) as n;
        """,
        """
-- name: flow_card
-- key: id
-- coverage: COVERAGE
-- depends: flow(id) = (id) columns (id, name)
-- depends: run(flow_id) = (id) columns (id, flow_id)
-- depends: step(run_id) via run(id -> flow_id) = (id) columns (run_id, status)
select f.id, f.name, s.steps, s.done
from flow as f
cross join lateral (
    select count(*) as steps, count(*) filter (where t.status = 'done') as done
    from run as r inner join step as t on t.run_id = r.id where r.flow_id = f.id
) as s
""".replace("COVERAGE", coverage),
    )
    through(
        connection,
        "update step set status = 'done' where id = 1",
        "update run set flow_id = 2 where id = 1",
        "with r as (update run set flow_id = 3 where id = 2)"
        " update step set status = 'done' where run_id = 2",
        "update step set run_id = 4 where run_id = 1",
        "update run set id = id + 100 where id = 3",
        "with r as (insert into run values (50, 1) returning id)"
        " insert into step select 100, id, 'done' from r",
        "delete from run where id = 4",
        "update flow set id = 30 where id = 3",
        "delete from flow where id = 30",
    )


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_linked_row_that_moves_while_its_step_changes(fresh: Database, end: LiteralString) -> None:
    connection = set_up(
        fresh,
        """
        create table run (id integer primary key, flow_id integer);
        create table step (id integer primary key, run_id integer, status text);
        insert into run values (1, 1), (2, 2);
        insert into step values (1, 1, 'open'), (2, 2, 'open');
        """,
        """
-- name: flow_card
-- key: flow_id
-- coverage: complete
-- depends: run(flow_id) = (flow_id) columns (id, flow_id)
-- depends: step(run_id) via run(id -> flow_id) = (flow_id) columns (id, run_id, status)
select r.flow_id, count(*) as runs, string_agg(t.status, ',' order by t.id) as steps
from run as r left join step as t on t.run_id = r.id where r.flow_id is not null group by r.flow_id
""",
    )
    mover, changer = fresh.connect(), fresh.connect()
    mover.execute("begin")
    mover.execute("update run set flow_id = 2 where id = 1")
    changer.execute("begin isolation level repeatable read")
    changer.execute("update step set status = 'done' where id = 1")
    exact(mover)
    exact(changer)
    mover.execute(end)
    exact(connection)
    exact(changer)
    refresh(connection, "flow_card", mode="stale")
    exact(connection)
    changer.execute("commit")
    exact(connection)
    assert sweep(connection) == "done"
    assert exact(connection).origins["hit"]


@pytest.mark.parametrize("coverage", ["complete", "on_demand"])
def test_a_flush_dependency(fresh: Database, coverage: str) -> None:
    connection = set_up(
        fresh,
        """
        create table item (id integer primary key, price numeric);
        create table rate (name text, factor numeric);
        insert into item select n, n from generate_series(1, 3) as n;
        insert into rate values ('a', 1.5);
        """,
        """
-- name: priced
-- key: id
-- coverage: COVERAGE
-- depends: item(id) = (id)
-- depends: rate flush
select i.id, i.price * (select sum(r.factor) from rate as r) as price from item as i
""".replace("COVERAGE", coverage),
        """
-- name: plain
-- key: id
-- coverage: complete
-- depends: item(id) = (id)
select i.id, i.price from item as i
""",
    )
    through(
        connection,
        "update item set price = 9 where id = 1",
        "insert into item values (4, 4)",
        "truncate item",
    )
    connection.execute("insert into item values (1, 1)")
    for statement in (
        "insert into rate values ('b', 2)",
        "update rate set factor = 3",
        "delete from rate",
        "truncate rate",
    ):
        refresh(connection, "priced", "plain")
        connection.execute(statement)
        origins = exact(connection).origins
        assert not origins["priced hit"]
        assert origins["plain hit"]


def test_expiry(fresh: Database) -> None:
    connection = set_up(
        fresh,
        "create table item (id integer primary key, name text); insert into item values (1, 'a'), (2, 'b')",
        *(
            """
-- name: NAME
-- key: id
-- coverage: COVERAGE
-- ttl: 1h
-- depends: item(id) = (id)
select i.id, i.name from item as i
""".replace("NAME", name).replace("COVERAGE", coverage)
            for name, coverage in (("whole", "complete"), ("asked", "on_demand"))
        ),
    )
    origins = exact(connection).origins
    assert (origins["whole hit"], origins["asked hit"]) == (2, 2)
    # As if an hour had passed for one of them: still right, but no longer served.
    for table in ("whole", "asked"):
        connection.execute(
            sql.SQL("update {} set _expires_at = statement_timestamp() where id = 1").format(
                sql.Identifier("meshcache_data", table)
            )
        )
    origins = exact(connection).origins
    assert (origins["whole hit"], origins["asked hit"]) == (1, 0 + origins["asked hit"])
    assert connection.execute("select _origin from meshcache.whole_get(1)").fetchall() == [("stale",)]
    assert connection.execute(
        "select count(*), count(*) filter (where _origin = 'hit') from meshcache.whole_rows"
    ).fetchall() == [(2, 1)]
    assert sweep(connection) == "done"
    assert exact(connection).origins["whole hit"] == 2


def origin(connection: psycopg.Connection, statement: LiteralString) -> Any:
    """The only value of the only row."""
    rows = connection.execute(statement).fetchall()
    assert len(rows) == 1
    return rows[0][0]


def test_a_table_whose_columns_have_the_names_of_our_aliases(fresh: Database) -> None:
    connection = set_up(
        fresh,
        """
        create table item (id integer primary key, n text, o text, p text, x text, c text, s text, m text);
        insert into item (id, n, o) values (1, 'n', 'o'), (2, null, null);
        """,
        """
-- name: card
-- key: id
-- coverage: complete
-- depends: item(id) = (id)
select i.id, i.n, i.o, i.p, i.x, i.c, i.s, i.m from item as i
""",
    )
    through(
        connection,
        "update item set n = 'new'",
        "update item set o = null, p = 'p'",
        "update item set id = id + 10",
    )
    assert origin(connection, "select _origin from meshcache.card_get(11)") == "hit"
