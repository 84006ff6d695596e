"""migrate, refresh, invalidate, sweep and uninstall: what cron runs, and what must not happen by accident."""

import pytest

from tests.fixtures.fix_cli import RunCli
from tests.fixtures.fix_db import Database
from tests.fixtures.fix_shop import Shop, get

HOLD_SWEEP = "select pg_advisory_lock(meshcache._lock_class('sweep'), 0)"


def origin(shop: Shop, key: int) -> str:
    with shop.connect() as connection:
        row = get(connection, "order_card", key)
    assert row is not None
    found: str = row[-2]
    return found


def test_migrate(db: Database, run_cli: RunCli) -> None:
    tried = run_cli("-d", db.dsn, "migrate", "--dry-run")
    assert (tried.code, tried.err) == (0, "")
    assert tried.out.startswith("0001_catalog\n")
    assert run_cli("-d", db.dsn, "list").code == 1
    done = run_cli("-d", db.dsn, "migrate", "--json")
    assert (done.code, done.data["dry_run"]) == (0, False)
    assert done.data["ran"] == tried.out.splitlines()
    again = run_cli("migrate", "-d", db.dsn)
    assert (again.code, again.out, again.err) == (0, "", "nothing to do: the schema is current\n")
    assert run_cli("-d", db.dsn, "list", "-q").code == 0


@pytest.mark.parametrize(
    "argv",
    [
        "list",
        "stats",
        "sweep",
        "show a",
        "get a 1",
        "refresh --all",
        "refresh --due",
        "verify",
        "plan --meshhook",
        "invalidate a 1",
        "drop a --yes",
        "create a --key b --query c --rollup",
    ],
)
def test_database_without_the_schema_leads_to_migrate(db: Database, run_cli: RunCli, argv: str) -> None:
    answer = run_cli("-d", db.dsn, *argv.split(), "--json")
    assert answer.code == 1
    assert answer.data["error"]["hint"] == "Run: meshcache migrate"
    assert answer.err.splitlines()[1] == "hint: Run: meshcache migrate"


def test_refresh_of_names_fills_what_is_stale_or_everything(cli: RunCli, shop: Shop) -> None:
    shop.run("update orders set status = 'paid' where id in (1, 2)")
    answer = cli("refresh", "order_card", "--json")
    assert answer.code == 0
    assert (answer.data["state"], answer.data["busy"], answer.data["left"]) == ("done", [], [])
    assert [(one["name"], one["rows"]) for one in answer.data["refreshed"]] == [("order_card", 2)]
    assert answer.err == "refreshed order_card: 2 rows\n"
    every = cli("-q", "refresh", "order_card", "city_list", "--all-keys", "--json")
    assert [one["rows"] for one in every.data["refreshed"]] == [50, 1]
    assert every.err == ""


def test_refresh_all_and_due_choose_for_themselves(cli: RunCli, shop: Shop) -> None:
    shop.refresh()
    assert cli("refresh", "--all", "-n").out.split() == [
        "city_list",
        "customer_page",
        "order_card",
        "sku_sales",
    ]
    due = cli("refresh", "--due")
    assert (due.code, due.out, due.err) == (0, "", "nothing is due\n")
    shop.run("update meshcache.rollup_refresh set refreshed_at = refreshed_at - interval '1 day'")
    assert cli("refresh", "--due", "-n", "--json").data["left"] == ["sku_sales"]
    shop.run("update order_lines set quantity = 1000 where sku = 'sku 1'")
    assert cli("refresh", "--due", "--quiet").err == ""
    assert cli("get", "sku_sales", "sku 1", "--json").data["row"]["quantity"] >= 1000
    assert len(cli("refresh", "--all", "--json").data["refreshed"]) == 4


def test_refresh_out_of_time_leaves_the_rest_and_is_no_failure(cli: RunCli, shop: Shop) -> None:
    shop.check()
    answer = cli("refresh", "--all", "--max-time", "0", "--json")
    assert answer.code == 0
    assert answer.data["state"] == "out of time"
    assert [one["name"] for one in answer.data["refreshed"]] == ["city_list"]
    assert answer.data["left"] == ["customer_page", "order_card", "sku_sales"]
    assert "left for the next run" in answer.err


def test_refresh_of_a_view_that_others_hold_is_exit_5_after_the_others(cli: RunCli, shop: Shop) -> None:
    with shop.connect(autocommit=False) as other:
        other.execute("refresh materialized view meshcache_data.sku_sales")
        answer = cli("refresh", "sku_sales", "city_list", "--json")
    assert (answer.code, answer.data["state"], answer.data["busy"]) == (5, "busy", ["sku_sales"])
    assert [one["name"] for one in answer.data["refreshed"]] == ["city_list"]
    assert answer.err.startswith("error: ")


def test_invalidate_one_row_a_tenant_or_all(cli: RunCli, shop: Shop) -> None:
    tried = cli("invalidate", "order_card", "1", "--dry-run")
    assert (tried.out, origin(shop, 1)) == ("invalidate the row (1) of order_card\n", "hit")
    answer = cli("invalidate", "order_card", "1")
    assert (answer.code, answer.out, answer.err) == (0, "", "stale: the row (1) of order_card\n")
    assert (origin(shop, 1), origin(shop, 2)) == ("stale", "hit")
    # Order 2 is customer 3's.
    assert cli("invalidate", "order_card", "--tenant", "3", "--json").data["tenant"] == "3"
    assert (origin(shop, 2), origin(shop, 3)) == ("stale", "hit")
    assert cli("invalidate", "order_card", "--all", "-q").err == ""
    assert origin(shop, 3) != "hit"


@pytest.mark.parametrize(
    ("argv", "error", "hint"),
    [
        ("order_card 1 2", "2 key values given", "Its key is (id)."),
        ("order_card one", 'invalid input syntax for type integer: "one"', "A value that was given"),
        ("customer_page --tenant 3", "customer_page has no tenant column", "Declare it"),
        ("sku_sales --all", "sku_sales is a rollup", "meshcache refresh sku_sales"),
    ],
)
def test_invalidate_of_what_cannot_be(cli: RunCli, shop: Shop, argv: str, error: str, hint: str) -> None:
    shop.check()
    answer = cli("invalidate", *argv.split())
    assert answer.code == 1
    first, second = answer.err.splitlines()
    assert error in first
    assert hint in second


def test_sweep(cli: RunCli, shop: Shop) -> None:
    shop.check()
    cli("invalidate", "order_card", "1")
    tried = cli("sweep", "--dry-run")
    assert ["order_card", "1", "0"] in tried.lines
    assert {"name": "order_card", "pending_marks": 1, "expired": 0} in cli("sweep", "-n", "--json").data[
        "views"
    ]
    answer = cli("sweep")
    assert (answer.code, answer.out) == (0, "")
    assert answer.err.startswith("1 mark resolved, 1 row filled")
    data = cli("sweep", "--max-time", "50", "--json").data
    assert (data["state"], data["marks"], data["differences"]) == ("done", 0, {})
    quiet = cli("sweep", "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


def test_sweep_beside_another_one_is_exit_5(cli: RunCli, shop: Shop) -> None:
    with shop.connect() as other:
        other.execute(HOLD_SWEEP)
        answer = cli("sweep", "--quiet")
        assert (answer.code, answer.out) == (5, "")
        assert answer.err.startswith("error: another sweep")
        assert cli("sweep", "--json").data["state"] == "busy"
    assert cli("sweep").code == 0


def test_sweep_says_which_triggers_are_damaged_even_when_quiet(cli: RunCli, shop: Shop) -> None:
    shop.run("alter table orders disable trigger user")
    answer = cli("sweep", "--quiet")
    assert answer.code == 4
    assert answer.err.startswith("warning: orders: triggers missing or disabled")
    assert "orders" in cli("sweep", "--json").data["differences"]


def test_uninstall_needs_a_yes(cli: RunCli, shop: Shop) -> None:
    assert cli("uninstall").code == 2
    tried = cli("uninstall", "-n")
    assert tried.lines[0] == ["drop", "city_list"]
    assert cli("uninstall", "-n", "--json").data["views"] == [
        "city_list",
        "customer_page",
        "order_card",
        "sku_sales",
    ]
    assert cli("list").code == 0
    answer = cli("uninstall", "--yes", "--json")
    assert (answer.code, answer.data["schemas"]) == (0, ["meshcache", "meshcache_data"])
    assert shop.value("select count(*) from pg_trigger where not tgisinternal") == 0
    assert shop.value("select count(*) from orders") == 50
    assert cli("uninstall", "--yes").err.startswith("error: there is nothing to uninstall")
