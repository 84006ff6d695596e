"""The verb explain, for people and for programs."""

from pathlib import Path
from typing import Any

import pytest

from meshcache_pg import measure_reads, timing
from tests.fixtures.fix_cli import RunCli
from tests.fixtures.fix_shop import SHOP, Shop

REFUSED = "-- name: refused\n-- key: id\nselect o.id, now() as at from orders as o"

# What programs may rely on: the fields of each object.
FIELDS: dict[str, set[str]] = {
    "views": {
        *("name", "kind", "coverage", "key", "state", "dependencies", "writes", "reads", "counted"),
        *("verdict", "reason", "factor", "not_measured"),
    },
    "dependencies": {
        *("table", "kind", "columns", "view_columns", "via", "matter", "declared", "why", "hindrance"),
    },
    "writes": {
        *("table", "triggers", "other_views", "partitions", "marks", "flush", "marks_per_row"),
        *("marks_per_updated_row", "marks_per_statement", "unrelated_update", "measured"),
    },
    "marks": {"columns", "name", "shared_with"},
    "measured": {"statement", "without_us", "with_us", "added_us"},
    "reads": {"basis", "keys", "source_ms", "hit_ms", "miss_ms", "list"},
    "list": {"tenant", "rows", "source_ms", "hit_ms"},
    "counted": {"hits", "others", "marks"},
}


@pytest.fixture(autouse=True)
def _few_repetitions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure_reads, "TIMES", 1)
    monkeypatch.setattr(timing, "WARM_UP", 2)


def check(name: str, value: Any) -> None:
    """Every object has exactly its fields."""
    if isinstance(value, list):
        for one in value:
            check(name, one)
    elif isinstance(value, dict):
        assert set(value) == FIELDS[name]
        for field, one in value.items():
            if field in FIELDS:
                check(field, one)


def test_explain_of_applied_views(cli: RunCli, shop: Shop) -> None:
    shop.check()
    cli("get", "order_card", "3")
    answer = cli("explain", "order_card", "sku_sales", "--json")
    assert answer.code == 0
    card, rollup = answer.data["views"]
    check("views", [card, rollup])
    assert card["reads"]["list"]["tenant"] == "customer_id"
    assert card["counted"]["hits"] == 1
    assert {one["declared"] for one in card["dependencies"]} == {True}
    assert card["verdict"] in ("pays", "helps", "no gain", "costs")
    assert (rollup["dependencies"], rollup["reads"]["basis"]) == ([], "cache")
    assert answer.data["refused"] == []


def test_explain_for_people(cli: RunCli, shop: Shop) -> None:
    shop.check()
    answer = cli("explain", "customer_page", "--no-measure")
    assert (answer.code, answer.err) == (0, "")
    assert answer.lines[0] == ["customer_page:", "on", "demand,", "key", "id,", "applied"]
    assert ["order_lines", "linked", "order_id", "orders(id", "->", "customer_id),", "id",
            "order_id,", "price,", "quantity"] in answer.lines  # fmt: skip
    assert "customers: declared in a depends line" in answer.out
    assert "verdict: unknown: not measured\n" in answer.out


def test_explain_of_files_and_folders(cli: RunCli, bare_shop: Shop, views: Path) -> None:
    assert bare_shop.rows("select * from meshcache.cached_view") == []
    (views / "by_hand.sql").write_text(REFUSED, encoding="utf-8")
    answer = cli("explain", str(views), "--no-measure", "--json")
    assert answer.code == 1
    assert [one["name"] for one in answer.data["views"]] == sorted(
        ["city_list", "customer_page", "order_card", "sku_sales"]
    )
    assert {one["state"] for one in answer.data["views"]} == {"not applied"}
    (refused,) = answer.data["refused"]
    assert refused["name"] == "refused"
    assert "now()" in refused["message"]
    assert answer.err.splitlines()[0] == f"error: {refused['message']}"


def test_a_refused_definition_is_exit_1_as_for_plan(cli: RunCli, bare_shop: Shop, tmp_path: Path) -> None:
    assert bare_shop.rows("select * from meshcache.cached_view") == []
    file = tmp_path / "refused.sql"
    file.write_text(REFUSED, encoding="utf-8")
    explained, planned = cli("explain", str(file)), cli("plan", str(file))
    assert (explained.code, explained.out, explained.err) == (planned.code, planned.out, planned.err)
    assert explained.code == 1
    assert cli("explain", str(file), "--json").data == cli("plan", str(file), "--json").data
    missing = cli("explain", "no/such.sql")
    assert (missing.code, missing.err.splitlines()[0]) == (1, "error: no/such.sql: no such file or folder")


def test_a_damaged_view_is_explained_from_its_definition(cli: RunCli, bare_shop: Shop) -> None:
    bare_shop.apply(*SHOP)
    assert cli("suspend", "order_lines").code == 0
    (one,) = cli("explain", "order_card", "--no-measure", "--json").data["views"]
    assert one["state"] == "damaged"
    assert [d["table"] for d in one["dependencies"]] == ["orders", "customers", "order_lines"]
