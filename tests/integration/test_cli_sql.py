"""The SQL twins print what their verbs would run: whoever runs it gets what the verb would have done."""

from pathlib import Path

import psycopg
import pytest

from meshcache_pg import catalog
from tests.fixtures.fix_cli import RunCli
from tests.fixtures.fix_db import Database
from tests.fixtures.fix_shop import SHOP, VIEWS, Shop, define


def run_script(dsn: str, text: str) -> None:
    """Like psql without its own commands: the whole text, statement after statement."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(text.encode())


def test_sql_migrate_installs_without_the_command(db: Database, run_cli: RunCli) -> None:
    printed = run_cli("sql", "migrate", "-d", "host=none.invalid")
    assert (printed.code, printed.err) == (0, "")
    run_script(db.dsn, printed.out)
    assert run_cli("-d", db.dsn, "migrate").err == "nothing to do: the schema is current\n"


def test_sql_apply_is_what_apply_does_and_printing_it_does_nothing(
    cli: RunCli, bare_shop: Shop, views: Path
) -> None:
    # Ids that are not the first ones: what a replaced or a failed attempt leaves behind.
    bare_shop.apply(SHOP[0])
    with bare_shop.connect(autocommit=False) as connection:
        connection.execute(
            "select nextval('meshcache.mark_table_id_seq'), nextval('meshcache.source_table_id_seq')"
        )
    printed = cli("sql", "apply", str(views))
    assert printed.code == 0
    assert printed.out.startswith("-- Made for this very database")
    assert "select c.oid::bigint" not in printed.out, "what only reads is not part of it"
    assert [line[0] for line in cli("list").lines] == ["name", "order_card"]
    run_script(bare_shop.dsn, printed.out)
    assert cli("plan", "--check", str(views)).code == 0
    bare_shop.refresh()
    bare_shop.check()
    assert bare_shop.origins() == {view: {"hit"} for view in VIEWS}
    bare_shop.run("update customers set city = 'Ulm' where id = 1", "delete from orders where id = 3")
    bare_shop.check()
    bare_shop.apply("-- name: later\n-- key: id\n-- depends: customers(id) = (id)\nselect id from customers")
    bare_shop.check()


def test_sql_apply_replaces_and_prunes(cli: RunCli, shop: Shop, views: Path) -> None:
    (views / "order_card.sql").unlink()
    city_list = views / "city_list.sql"
    city_list.write_text(city_list.read_text().replace("-- key: city", "-- key: city\n-- ttl: 1h"))
    run_script(shop.dsn, cli("sql", "apply", "--prune", str(views)).out)
    assert cli("plan", "--check", "--prune", str(views)).code == 0
    shop.refresh("city_list", "customer_page")
    shop.check("city_list", "customer_page")


def test_sql_apply_stops_when_the_catalog_has_changed_since(
    cli: RunCli, bare_shop: Shop, views: Path
) -> None:
    printed = cli("sql", "apply", str(views)).out
    bare_shop.apply(SHOP[2])
    with pytest.raises(psycopg.errors.RaiseException, match="changed since this script was printed"):
        run_script(bare_shop.dsn, printed)
    assert [line[0] for line in cli("list").lines] == ["name", define(SHOP[2])[0].name]


def test_sql_apply_waits_for_whoever_changes_definitions(cli: RunCli, bare_shop: Shop, views: Path) -> None:
    """They have no table in common, and the catalog looks as it did: nothing else would keep them apart."""
    bare_shop.apply(SHOP[0])
    bare_shop.run("create table alone (id integer primary key)")
    (views / "alone.sql").write_text("-- name: alone\n-- key: id\nselect id from alone")
    printed = cli("sql", "apply", str(views / "alone.sql")).out
    with bare_shop.engine().connect() as connection:
        catalog.suspend(connection, ["orders"])
        with pytest.raises(psycopg.Error, match="another transaction is changing definitions") as error:
            run_script(bare_shop.dsn, printed)
        assert error.value.sqlstate == "MC007"
        connection.rollback()
    run_script(bare_shop.dsn, printed)
    assert [line[0] for line in cli("list").lines] == ["name", "alone", "order_card"]


def test_sql_apply_stops_when_a_view_was_changed_and_changed_back(
    cli: RunCli, shop: Shop, views: Path
) -> None:
    # Of what the script creates, fills would take themselves for those of an older definition.
    city_list = views / "city_list.sql"
    before = city_list.read_text()
    city_list.write_text(before.replace("-- key: city", "-- key: city\n-- ttl: 1h"))
    printed = cli("sql", "apply", str(views)).out
    shop.apply(city_list.read_text())
    shop.apply(before)
    with pytest.raises(psycopg.errors.RaiseException, match="changed since this script was printed"):
        run_script(shop.dsn, printed)


def test_sql_apply_of_what_is_applied_is_nothing(cli: RunCli, shop: Shop, views: Path) -> None:
    printed = cli("sql", "apply", str(views))
    assert (printed.code, printed.err) == (0, "nothing to do: the database is as declared\n")
    run_script(shop.dsn, printed.out)


def test_sql_refresh_and_sweep_are_calls_that_need_no_database(run_cli: RunCli, shop: Shop) -> None:
    shop.run("update orders set status = 'paid' where id = 1")
    printed = run_cli("sql", "refresh", "order_card", "--all-keys", "--max-time", "5")
    assert printed.out.splitlines()[-1] == "call meshcache.refresh('order_card', null, 'all', 5.0);"
    run_script(shop.dsn, printed.out)
    shop.run("update orders set status = 'sent' where id = 1")
    run_script(shop.dsn, run_cli("sql", "sweep").out)
    assert shop.origins("order_card") == {"order_card": {"hit"}}
    assert "'it''s %s'" in run_cli("sql", "refresh", "it's %s").out


@pytest.mark.parametrize(
    ("argv", "stale"), [(["1"], 1), (["--tenant", "3"], 5), (["--all"], 50)], ids=["key", "tenant", "all"]
)
def test_sql_invalidate(cli: RunCli, shop: Shop, argv: list[str], stale: int) -> None:
    printed = cli("sql", "invalidate", "order_card", *argv, "--json")
    assert shop.origins("order_card") == {"order_card": {"hit"}}
    run_script(shop.dsn, printed.data["sql"])
    fresh = shop.value("select count(*) from meshcache.order_card_rows where _origin = 'hit'")
    assert fresh == 50 - stale
    shop.check("order_card")


def test_sql_uninstall(cli: RunCli, shop: Shop) -> None:
    printed = cli("sql", "uninstall")
    shop.check()
    run_script(shop.dsn, printed.out)
    assert cli("list").err.startswith("error: this database has no meshcache schema")
    assert shop.value("select count(*) from pg_trigger where not tgisinternal") == 0
