"""A key that is none, or stops being one. Whatever the cache does then, it serves no row that the source does
not have, leaves none out, and the application's write is none of its business.
"""

from typing import LiteralString

import psycopg
import pytest

from meshcache_pg import MeshCache
from meshcache_pg.errors import DefinitionError
from meshcache_pg.settings import Settings
from tests.consistency.checker import Checker
from tests.fixtures.fix_cache import apply_definitions, refresh, set_up
from tests.fixtures.fix_db import Database
from tests.fixtures.fix_shop import define

TABLES: LiteralString = """
create table person (id integer primary key, mail text, town text not null, name text, auth_token text);
insert into person
select n, 'p' || n, 'town ' || n % 3, 'name ' || n, 'hush ' || n % 2 from generate_series(1, 9) as n;
"""

BY_MAIL = """
-- name: by_mail
-- key: mail
-- coverage: COVERAGE
select p.mail, p.name from person as p where p.mail is not null
"""

BY_TOWN = """
-- name: by_town
-- key: town
-- coverage: complete
select p.town, count(*) as persons from person as p group by p.town
"""


def swept(connection: psycopg.Connection) -> dict[str, str]:
    """Sweep; returns what the sweep found wrong."""
    row = connection.execute("call meshcache.sweep()").fetchone()
    assert row is not None
    assert row[0]["state"] == "done"
    differences: dict[str, str] = row[0]["differences"]
    return differences


@pytest.mark.parametrize("coverage", ["complete", "on_demand"])
def test_two_rows_that_get_one_key_are_both_served(fresh: Database, coverage: str) -> None:
    connection = set_up(fresh, TABLES, BY_MAIL.replace("COVERAGE", coverage))
    checker = Checker.of(connection)
    checker.assert_exact(connection)
    connection.execute("update person set mail = 'p1' where id in (2, 3)")
    checker.assert_exact(connection)
    # Whoever misses it fills it: there is nothing that could be cached.
    filled = connection.execute("select meshcache.by_mail_fill(array['p1', 'p2', 'p4'])").fetchone()
    assert filled is not None
    checker.assert_exact(connection)
    differences = swept(connection)
    assert ("by_mail" in differences) is (coverage == "complete")
    connection.execute("select meshcache.by_mail_fill(array['p1', 'p4'])")
    checker.assert_exact(connection)
    rows = connection.execute("select g.name, g._origin from meshcache.by_mail_get('p1') as g").fetchall()
    assert sorted(name for name, _ in rows) == ["name 1", "name 2", "name 3"]
    assert {origin for _, origin in rows} <= {"miss", "bypass"}
    # As soon as it is a key again, it is cached again.
    connection.execute("update person set mail = 'p' || id")
    assert swept(connection) == {}
    refresh(connection, "by_mail")
    checker.origins.clear()
    checker.assert_exact(connection)
    assert checker.origins["by_mail hit"] == 9


def test_python_gives_one_of_two_rows_and_never_as_a_hit(fresh: Database) -> None:
    connection = set_up(fresh, TABLES, BY_MAIL.replace("COVERAGE", "on_demand"))
    connection.execute("update person set mail = 'p1' where id = 2")
    with MeshCache(fresh.dsn) as cache, fresh.engine().connect() as reader:
        for _ in range(2):
            one = cache.view("by_mail", reader).get("p1")
            assert one.origin in {"stale", "miss"}
            assert one.unwrap()["name"] in ("name 1", "name 2")
            many = cache.view("by_mail", reader).get_many(["p1", "p4"])
            assert many["p1"].origin != "hit"
            assert many["p4"].unwrap()["name"] == "name 4"


def test_stats_and_plan_show_what_is_wrong_by_now(fresh: Database) -> None:
    definition = BY_MAIL.replace("COVERAGE", "complete")
    connection = set_up(fresh, TABLES, definition)
    connection.execute("update person set mail = 'p1' where id = 2")
    swept(connection)
    with MeshCache(fresh.dsn) as cache:
        (state,) = cache.stats()
        assert not state.populated
        assert state.problem is not None
        (step,) = cache.plan(define(definition))
        assert (step.action, step.remark) == ("keep", "more than one row of its SELECT has the key (p1)")
        connection.execute("update person set mail = 'p2' where id = 2")
        swept(connection)
        (state,) = cache.stats()
        assert (state.populated, state.problem) == (True, None)
        (step,) = cache.plan(define(definition))
        assert step.remark is None


@pytest.mark.parametrize("coverage", ["complete", "on_demand"])
def test_keys_that_are_not_unique_are_refused_with_their_values(fresh: Database, coverage: str) -> None:
    connection = fresh.connect()
    connection.execute(TABLES)
    connection.execute("update person set mail = 'p1' where id in (2, 3)")
    with pytest.raises(DefinitionError, match=r"more than one row .* the key \(p1\)") as refused:
        apply_definitions(fresh, BY_MAIL.replace("COVERAGE", coverage))
    assert refused.value.hint
    assert connection.execute("table meshcache.cached_view").fetchall() == []
    assert connection.execute("table meshcache.source_table").fetchall() == []


def test_keys_that_are_secrets_are_not_shown(fresh: Database) -> None:
    fresh.connect().execute(TABLES)
    definition = (
        "-- name: by_token\n-- key: token\n-- allow_secret: person.auth_token\n"
        "select p.auth_token as token, p.name from person as p"
    )
    with pytest.raises(DefinitionError, match=r"the key \(…\), \(…\)") as refused:
        apply_definitions(fresh, definition)
    assert "hush" not in f"{refused.value} {refused.value.hint}"


def test_a_rollup_whose_key_is_not_unique(fresh: Database) -> None:
    fresh.connect().execute(TABLES)
    with pytest.raises(DefinitionError, match=r"more than one row .*\(town [012]\)"):
        apply_definitions(
            fresh, "-- name: towns\n-- kind: rollup\n-- key: town\nselect p.town, p.name from person as p"
        )


def test_a_check_that_takes_too_long_is_given_up(fresh: Database) -> None:
    connection = fresh.connect()
    # A key that takes a second for each row.
    connection.execute(
        TABLES + "create function slow(n integer) returns integer language plpgsql immutable as"
        " 'begin perform pg_sleep(1); return n; end'"
    )
    declared = define(
        "-- name: slow_one\n-- key: k\n-- flush: person\n"
        "select slow(p.id) as k, p.name from person as p where slow(p.id) is not null"
    )
    with MeshCache(fresh.dsn, settings=Settings(key_check_seconds=0.2)) as cache:
        (planned,) = cache.plan(declared)
        (applied,) = cache.apply(declared)
    assert planned.remark == applied.remark
    assert applied.remark is not None
    assert "not found out within 0.2 s" in applied.remark
    assert connection.execute("select v.name, v.key_proved from meshcache.cached_view as v").fetchall() == [
        ("slow_one", False)
    ]


@pytest.mark.parametrize(("key", "is_asked"), [("id", False), ("id, x", False), ("x", True)])
def test_the_data_are_asked_for_what_is_not_proved_alone(fresh: Database, key: str, is_asked: bool) -> None:
    fresh.connect().execute(
        TABLES + "create function broken(t text) returns text language plpgsql immutable as"
        " 'begin raise exception ''asked''; end'"
    )
    definition = (
        f"-- name: one\n-- key: {key}\n-- flush: person\n"
        "select p.id, coalesce(broken(p.town), '') as x from person as p"
    )
    if is_asked:
        with pytest.raises(DefinitionError, match="one: asked"):
            apply_definitions(fresh, definition)
    else:
        apply_definitions(fresh, definition)


@pytest.mark.parametrize(
    ("nullable", "coverage", "refusal"),
    [
        ("p.mail", "complete", "the key column k may be null, and a complete view"),
        ("nullif(p.id, 3)", "complete", "the key column k may be null, and a complete view"),
        ("case when p.id <> 3 then p.mail end", "on_demand", r"is null in a row of its SELECT: \(null\)"),
    ],
)
def test_a_key_that_may_be_null_is_refused(
    fresh: Database, nullable: str, coverage: str, refusal: str
) -> None:
    fresh.connect().execute(TABLES)
    with pytest.raises(DefinitionError, match=refusal) as refused:
        apply_definitions(
            fresh,
            f"-- name: one\n-- key: k\n-- coverage: {coverage}\n-- flush: person\n"
            f"select {nullable} as k, p.name from person as p",
        )
    assert "is not null" in (refused.value.hint or "")


def test_a_null_that_comes_later_is_not_cached_and_not_lost(fresh: Database) -> None:
    definition = "-- name: one\n-- key: mail\nselect p.mail, p.name from person as p"
    connection = set_up(fresh, TABLES, definition)
    connection.execute("insert into person values (20, null, 'x', 'nobody')")
    # The checker compares `_get` by the keys that it finds, and a null can be asked for by nobody.
    live = connection.execute("select count(*), count(mail) from meshcache.one").fetchone()
    assert live == (10, 9)
    assert connection.execute("select * from meshcache.one_get(null)").fetchall() == []
    refresh(connection, "one")
    assert swept(connection) == {}
    assert connection.execute("select g._origin from meshcache.one_get('p1') as g").fetchone() == ("hit",)


def test_a_constraint_that_is_dropped_later(fresh: Database) -> None:
    connection = set_up(fresh, TABLES, BY_TOWN)
    checker = Checker.of(connection)
    connection.execute("alter table person alter column town drop not null")
    connection.execute("insert into person values (20, 'x', null, 'nobody')")
    # `_get` by null gives nothing, neither here nor in the source: only lists can be compared.
    lists = "select v::text from {} as v order by 1"
    for _ in range(2):
        live, source = (
            connection.execute(
                psycopg.sql.SQL(lists).format(psycopg.sql.Identifier("meshcache", name))
            ).fetchall()
            for name in ("by_town", "by_town_source")
        )
        assert live == source
        assert len(live) == 4
        assert "by_town" in swept(connection)
    connection.execute("delete from person where id = 20")
    assert swept(connection) == {}
    checker.assert_exact(connection)
    assert checker.origins["by_town hit"] == 3
