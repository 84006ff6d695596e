"""plan, apply, create and drop: the database becomes what the files say, and nobody is surprised."""

import sys
from io import StringIO
from pathlib import Path

import pytest

from tests.fixtures.fix_cli import RunCli
from tests.fixtures.fix_shop import Shop

NAMES = ["city_list", "customer_page", "order_card", "sku_sales"]
CREATE = [
    *(
        "create",
        "open_orders",
        "--key",
        "id",
        "--coverage",
        "complete",
        "--tenant",
        "customer_id",
        "--ttl",
        "1h",
    ),
    *("--depends", "orders(id) = (id) columns (id, customer_id, status)", "--description", "Orders by id."),
    *("--query", "select id, customer_id from orders where status = 'open'"),
]


def installed(cli: RunCli) -> list[str]:
    return [view["name"] for view in cli("list", "--json").data["views"]]


def test_plan_and_dry_run_say_what_apply_would_do_and_change_nothing(cli: RunCli, views: Path) -> None:
    for answer in (cli("plan", str(views)), cli("apply", "-n", str(views))):
        assert answer.code == 0
        assert [line[:2] for line in answer.lines] == [
            ["action", "name"],
            *(["create", name] for name in NAMES),
        ]
        assert answer.err == "4 changes, 0 unchanged\n"
    assert installed(cli) == []


def test_plan_check_exits_4_while_something_would_change(cli: RunCli, views: Path) -> None:
    planned = cli("plan", "--check", "--json", str(views))
    assert planned.code == 4
    assert planned.data["changes"] == 4
    assert [step["action"] for step in planned.data["steps"]] == ["create"] * 4
    assert cli("-q", "apply", "--no-fill", str(views)).code == 0
    again = cli("plan", "--check", str(views))
    assert (again.code, again.out, again.err) == (0, "", "0 changes, 4 unchanged\n")


def test_apply_fills_what_is_complete_and_the_rollups(cli: RunCli, views: Path) -> None:
    answer = cli("apply", str(views), "--json")
    assert answer.code == 0
    assert [(one["name"], one["rows"]) for one in answer.data["filled"]] == [
        ("city_list", 1),
        ("order_card", 50),
        ("sku_sales", None),
    ]
    assert answer.err.splitlines()[-1] == "filled sku_sales"
    assert cli("get", "order_card", "1", "--json").data["origin"] == "hit"
    again = cli("apply", str(views), "--json")
    assert (again.data["filled"], again.err) == ([], "nothing to do: 4 views unchanged\n")


def test_apply_without_fill_leaves_views_to_the_sweep(cli: RunCli, views: Path) -> None:
    answer = cli("apply", "--quiet", "--no-fill", str(views))
    assert (answer.code, answer.out, answer.err) == (0, "", "")
    assert cli("get", "order_card", "1", "--json").data["origin"] != "hit"


def test_apply_replaces_what_changed_and_prunes_when_told_to(cli: RunCli, views: Path, shop: Shop) -> None:
    changed = views / "city_list.sql"
    changed.write_text(changed.read_text().replace("-- key: city", "-- key: city\n-- ttl: 1h"))
    (views / "order_card.sql").unlink()
    kept = cli("apply", "-n", str(views))
    assert kept.lines[1][:2] == ["replace", "city_list"]
    assert "not declared here, kept: order_card (--prune would drop them)" in kept.err
    answer = cli("apply", "--prune", str(views), "--json")
    actions = {step["name"]: step["action"] for step in answer.data["steps"]}
    assert actions == {
        "city_list": "replace",
        "customer_page": "keep",
        "order_card": "drop",
        "sku_sales": "keep",
    }
    assert installed(cli) == ["city_list", "customer_page", "sku_sales"]
    assert shop.value("select count(*) from meshcache.city_list") == 1


def test_definition_that_the_server_refuses_is_one_clear_error(cli: RunCli, views: Path) -> None:
    (views / "city_list.sql").write_text(
        "-- key: id\n-- depends: nowhere(id) = (id)\nselect id from nowhere\n"
    )
    for verb in ("plan", "apply"):
        answer = cli(verb, str(views))
        assert (answer.code, answer.out) == (1, "")
        assert answer.err.splitlines()[0] == 'error: city_list: relation "nowhere" does not exist'
    assert installed(cli) == []


def test_table_that_others_hold_is_exit_5_and_nothing_has_changed(
    cli: RunCli, views: Path, bare_shop: Shop
) -> None:
    with bare_shop.connect(autocommit=False) as writer:
        writer.execute("lock table orders in access exclusive mode")
        answer = cli("sql", "apply", str(views), "--json")
        assert answer.code == 5
        assert answer.data["error"]["exit_code"] == 5
        assert answer.err.splitlines()[1].startswith("hint: ")
    assert installed(cli) == []


def test_create_declares_without_a_file(cli: RunCli) -> None:
    tried = cli(*CREATE, "--dry-run", "--json").data
    assert (tried["dry_run"], tried["filled"], installed(cli)) == (True, [], [])
    answer = cli(*CREATE)
    assert (answer.code, answer.out) == (0, "")
    assert answer.err.splitlines()[1] == "filled open_orders: 50 rows"
    shown = cli("show", "open_orders", "--json").data
    assert shown["view"]["ttl_seconds"] == 3600
    assert shown["view"]["tenant"] == "customer_id"
    assert shown["definition"].splitlines()[0] == "-- Orders by id."


def test_what_create_declared_is_what_a_file_with_that_text_declares(cli: RunCli, tmp_path: Path) -> None:
    cli(*CREATE)
    file = tmp_path / "open_orders.sql"
    file.write_text(cli("show", "open_orders", "--json").data["definition"])
    assert cli("plan", "--check", str(file)).code == 0


def test_create_makes_rollups_and_reads_the_select_from_a_file_or_stdin(
    cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = "select status, count(*) as orders from orders group by status"
    file = tmp_path / "query.sql"
    file.write_text(query)
    assert cli("create", "a", "--key", "status", "--refresh-every", "5m", "--query-file", str(file)).code == 0
    monkeypatch.setattr(sys, "stdin", StringIO(query))
    assert cli("create", "b", "--key", "status", "--rollup", "--query-file", "-").code == 0
    assert [line[:2] for line in cli("list").lines[1:]] == [["a", "rollup"], ["b", "rollup"]]
    assert cli("get", "b", "open", "--json").data["row"] == {"status": "open", "orders": 50}


def test_create_needs_a_select_and_a_key_alone(cli: RunCli, tmp_path: Path, bare_shop: Shop) -> None:
    bare_shop.run("alter table customers add api_token text, add since timestamptz default now()")
    file = tmp_path / "query.sql"
    file.write_text(
        "-- Who they are.\nselect c.id, c.city, c.api_token, c.since::text as since from customers as c;\n"
    )
    argv = [
        "create",
        "who",
        "--key",
        "id",
        "--query-file",
        str(file),
        "--coverage",
        "complete",
        "--ttl",
        "1h",
    ]
    argv += ["--tenant", "city"]
    assert "settings" in cli(*argv).err
    assert "api_token looks like a secret" in cli(*argv, "--allow", "session").err
    made = cli(*argv, "--allow", "session", "--allow-secret", "customers.api_token", "--json")
    assert made.code == 0, made.err
    assert [step["remark"] for step in made.data["steps"]] == [None]
    view = cli("list", "--json").data["views"][0]
    assert (view["allowed"], view["secrets"]) == (["session"], ["customers.api_token"])
    assert view["key_proved"] is True
    assert "who copies what looks like a secret: customers.api_token" in cli("list").err
    assert "who is allowed: session" in cli("list").err
    shown = cli("show", "who").lines
    assert ["allowed", "session"] in shown
    assert ["secrets", "customers.api_token"] in shown
    file.write_text("-- name: who\n-- key: id\nselect c.id from customers as c")
    refused = cli(*argv, "--replace")
    assert (refused.code, refused.err.splitlines()[0]) == (2, "error: the SELECT has headers of a definition")


def test_a_key_that_is_none_any_more_is_a_warning(cli: RunCli, tmp_path: Path, bare_shop: Shop) -> None:
    file = tmp_path / "by_name.sql"
    file.write_text("-- key: name\n-- coverage: complete\nselect c.name, c.id from customers as c\n")
    assert cli("apply", str(file)).code == 0
    assert ["key", "name", "(not", "proved)"] in cli("show", "by_name").lines
    bare_shop.run("update customers set name = 'customer 1' where id = 2")
    cli("sweep")
    said = "warning: by_name: more than one row of its SELECT has the key (customer 1)"
    assert said in cli("plan", str(file)).err
    assert "warning: by_name cannot be filled: " in cli("stats").err
    refused = cli("create", "again", "--key", "name", "--query", "select c.name, c.id from customers as c")
    assert (refused.code, refused.err.splitlines()[0]) == (
        1,
        said.replace("warning: by_name", "error: again"),
    )


def test_create_does_not_replace_by_accident(cli: RunCli) -> None:
    cli(*CREATE)
    answer = cli(*CREATE[:-1], "select id, customer_id from orders")
    assert answer.code == 1
    assert answer.err == "error: open_orders is there already\nhint: Add --replace, or drop it first.\n"
    assert cli(*CREATE[:-1], "select id, customer_id from orders", "--replace").code == 0


def test_drop_needs_a_yes(cli: RunCli, shop: Shop) -> None:
    answer = cli("drop", "order_card")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.endswith("hint: Add --yes.\n")
    assert cli("drop", "order_card", "--dry-run").out == "drop order_card\n"
    assert "order_card" in installed(cli)
    dropped = cli("drop", "order_card", "--yes", "--json")
    assert (dropped.code, dropped.data["dropped"]) == (0, "order_card")
    assert installed(cli) == ["city_list", "customer_page", "sku_sales"]
    assert shop.value("select count(*) from orders") == 50


@pytest.mark.parametrize(
    "argv", ["drop nope --yes", "show nope", "get nope 1", "refresh nope", "invalidate nope 1", "verify nope"]
)
def test_name_that_is_not_there_comes_with_those_that_are(cli: RunCli, shop: Shop, argv: str) -> None:
    shop.check()
    answer = cli(*argv.split())
    assert answer.code == 1
    assert answer.err == (
        "error: no cached view or rollup is named 'nope'\n"
        "hint: There are: city_list, customer_page, order_card, sku_sales.\n"
    )
