"""list, show, get, stats and verify: what they find, for people and for programs."""

import pytest

from tests.fixtures.fix_cli import RunCli
from tests.fixtures.fix_shop import SHOP, Shop

# A row of the cache that its source does not have: what verify is there to find.
SPOIL = "update meshcache_data.order_card set status = 'spoilt' where id = 7"


def test_list(cli: RunCli, shop: Shop) -> None:
    assert cli("list").lines == [
        ["name", "kind", "key", "limit", "state"],
        ["city_list", "complete", "city", "ok"],
        ["customer_page", "on", "demand", "id", "ok"],
        ["order_card", "complete", "id", "ok"],
        ["sku_sales", "rollup", "sku", "every", "5m", "ok"],
    ]
    rollup = cli("--json", "list").data["views"][-1]
    assert (rollup["name"], rollup["kind"], rollup["refresh_every_seconds"]) == ("sku_sales", "rollup", 300.0)
    assert rollup["whole"] is True
    shop.run("drop function meshcache.order_card_get")
    damaged = cli("list")
    assert damaged.lines[3][-1] == "damaged"
    assert damaged.err.startswith("warning: ")


def test_list_of_nothing_says_how_to_go_on(cli: RunCli) -> None:
    answer = cli("list")
    assert (answer.code, answer.out) == (0, "")
    assert "meshcache apply" in answer.err
    assert cli("list", "-q").err == ""


def test_show(cli: RunCli, shop: Shop) -> None:
    answer = cli("show", "order_card")
    assert answer.code == 0
    assert ["tenant", "customer_id"] in answer.lines
    assert ["customer_name", "text"] in answer.lines
    assert ["order_lines", "key", "order_id", "id", "order_id,", "price,", "quantity"] in answer.lines
    assert answer.out.endswith("as l\n")
    data = cli("show", "customer_page", "--json").data
    assert data["columns"][0] == {"name": "id", "type": "integer"}
    assert [one["kind"] for one in data["dependencies"]] == ["key", "key", "linked"]
    assert data["stats"]["rows"] == len(shop.rows("select * from meshcache_data.customer_page"))


def test_get_prints_the_row_its_origin_and_its_age_and_fills_a_miss(cli: RunCli, bare_shop: Shop) -> None:
    bare_shop.apply(*SHOP)
    # Opens the cache, which nobody has done so far.
    cli("sweep")
    missed = cli("get", "customer_page", "3")
    assert (missed.code, missed.err) == (0, "miss\n")
    assert ["name", "customer", "3"] in missed.lines
    assert cli("get", "customer_page", "3").err.startswith("hit, ")
    data = cli("get", "customer_page", "3", "--json").data
    assert (data["found"], data["origin"], data["key"]) == (True, "hit", ["3"])
    assert data["age_seconds"] >= 0
    assert data["row"]["order_count"] == 5
    assert isinstance(data["row"]["spent"], str)


def test_get_of_no_row_is_exit_1(cli: RunCli, shop: Shop) -> None:
    shop.check()
    answer = cli("get", "order_card", "999")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err == "error: order_card has no row with the key (999)\n"
    data = cli("get", "order_card", "999", "--json").data
    assert (data["found"], data["row"]) == (False, None)


@pytest.mark.parametrize("key", [[], ["1", "2"], ["one"]])
def test_get_with_a_wrong_key_names_the_columns(cli: RunCli, shop: Shop, key: list[str]) -> None:
    shop.check()
    answer = cli("get", "order_card", *key)
    assert answer.code == 1
    assert answer.err.splitlines()[1] == "hint: Its key is (id)."


def test_stats(cli: RunCli, shop: Shop) -> None:
    shop.refresh()
    cli("get", "order_card", "1")
    heads, *lines = cli("stats").lines
    assert heads == ["name", "rows", "size", "reads", "hits", "marks", "expired", "oldest"]
    assert [line[:2] for line in lines][2] == ["order_card", "50"]
    (one,) = cli("stats", "order_card", "--json").data["views"]
    assert (one["rows"], one["populated"], one["hits"], one["hit_ratio"]) == (50, True, 1, 1.0)
    assert one["refreshed_at"].endswith(("Z", "+00:00"))


def test_verify_of_an_honest_cache(cli: RunCli, shop: Shop) -> None:
    shop.refresh()
    answer = cli("verify")
    assert (answer.code, answer.err) == (0, "")
    assert answer.lines[1:] == [
        ["city_list", "1", "1", "0"],
        ["customer_page", "10", "10", "0"],
        ["order_card", "50", "50", "0"],
    ]
    sampled = cli("verify", "order_card", "--sample", "0.5", "--json")
    assert sampled.code == 0
    assert sampled.data["views"][0]["compared"] <= 50


def test_verify_exits_4_with_the_difference_and_repairs_it(cli: RunCli, shop: Shop) -> None:
    shop.run(SPOIL)
    found = cli("verify", "order_card")
    assert found.code == 4
    assert found.lines[1] == ["order_card", "50", "50", "1"]
    assert "warning: order_card (id=7): differs" in found.err
    data = cli("verify", "--json").data
    assert (data["equal"], data["repaired"]) == (False, [])
    assert data["views"][2]["differences"] == [{"key": {"id": 7}, "problem": "differs"}]
    repaired = cli("verify", "--repair")
    assert repaired.code == 0
    assert "filled anew, and now equal: order_card" in repaired.err
    assert cli("verify").code == 0


def test_verify_of_a_rollup_has_nothing_to_compare(cli: RunCli, shop: Shop) -> None:
    shop.check()
    answer = cli("verify", "sku_sales")
    assert answer.code == 1
    assert answer.err.splitlines()[1] == "hint: meshcache refresh sku_sales"
