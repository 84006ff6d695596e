"""Plans that reads must have: a hit by key is a handful of index probes however many marks are pending,
and a list of a complete view reads the cache by its index and the source only for what is stale.
Counted in blocks and in scans.
"""

import re
from collections.abc import Iterator
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql

from meshcache_pg import statements
from meshcache_pg.conditions import FEW_MARKS
from meshcache_pg.repository import load_target
from meshcache_pg.sql import trusted
from tests.fixtures.fix_db import Database
from tests.fixtures.fix_embedded import eventually
from tests.fixtures.fix_shop import ORDER_CARD, Shop, check, origin, scalar
from tests.fixtures.fix_templates import Clone, Templates

MARKS = 100_000

# A probe of each table costs a few blocks; one scan of the marks would be five hundred.
MAX_BLOCKS = 100

MORE_ROWS: LiteralString = """
insert into customers (id, name) select n, 'customer ' || n from generate_series(1001, 3000) as n;
insert into orders (id, customer_id) select n, 1001 + n % 2000 from generate_series(1001, 21000) as n;
insert into order_lines (id, order_id, sku, quantity, price)
select n, 1001 + n % 20000, 'sku ' || n % 7, 1 + n % 3, n % 11 from generate_series(1001, 61000) as n;
analyze customers, orders, order_lines;
"""


def _grow(database: Database) -> None:
    with Shop(database.dsn) as shop:
        shop.run(MORE_ROWS)
        shop.sweep()
        shop.refresh()


@pytest.fixture
def big_shop(filled: str, templates: Templates, clone: Clone) -> Iterator[Shop]:
    """A filled shop in which a scan of everything shows."""
    with Shop(clone(templates.of("big shop", _grow, filled)).dsn) as shop:
        yield shop


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def explain(connection: psycopg.Connection, statement: sql.Composable) -> dict[str, Any]:
    """The plan with what really happened."""
    explained = connection.execute(
        sql.SQL("explain (analyze, buffers, timing off, format json) {}").format(statement)
    ).fetchone()
    assert explained is not None
    plan: dict[str, Any] = explained[0][0]["Plan"]
    return plan


def scans(plan: dict[str, Any]) -> list[tuple[str, str]]:
    """Sequential scans that were carried out, as (kind, relation), but for those that only look whether
    there are few marks.
    """
    return [
        (node["Node Type"], node["Relation Name"])
        for node in nodes(plan)
        if node["Node Type"] == "Seq Scan"
        and node["Actual Loops"] > 0
        and not (node["Relation Name"].startswith("mark_") and node["Actual Rows"] <= FEW_MARKS + 1)
    ]


def large(found: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Without the tables that have one row, or one row per source table, view or relation."""
    few = {"view_state", "epoch", "wildcard_mark", "source_table", "pg_class"}
    return [scan for scan in found if scan[1] not in few]


def of_the_application(found: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those of source and cache tables: a list may read all pending marks, but never all rows."""
    return [scan for scan in found if scan[1] in {"customers", "orders", "order_lines", "order_card"}]


def rows_of(plan: dict[str, Any], relation: str) -> float:
    """How many rows a plan read of one table."""
    found = [node for node in nodes(plan) if node.get("Relation Name") == relation]
    return sum(float(node["Actual Rows"]) * int(node["Actual Loops"]) for node in found)


def blocks(plan: dict[str, Any]) -> int:
    return int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"])


def hit_statement(connection: psycopg.Connection, view: str) -> sql.SQL:
    """What `_get` runs first; the connection gets the settings that the function has."""
    row = connection.execute(
        "select prosrc, coalesce(proconfig, '{}') from pg_proc where proname = %s", (f"{view}_get",)
    ).fetchone()
    assert row is not None
    for setting in row[1]:
        connection.execute("select set_config(%s, %s, false)", setting.split("=", 1))
    found = re.search(r"return query\s+(select .*?);", row[0], re.DOTALL)
    assert found
    return sql.SQL(found[1])


def add_marks(shop: Shop, count: int = MARKS) -> None:
    """Many values, of one transaction that has ended, none of them of a key that is read here."""
    with shop.connect() as connection:
        marks = connection.execute(
            """
            select m.id, m.columns[1], format_type(a.atttypid, null)
            from meshcache.mark_table as m
            inner join meshcache.source_table as s on s.id = m.source_id
            inner join pg_attribute as a on a.attrelid = s.relation and a.attname = m.columns[1]
            """
        ).fetchall()
        assert marks
        for number, column, kind in marks:
            connection.execute(
                sql.SQL(
                    "insert into {} ({}) select (n + 1000000)::{} from generate_series(1, {}) as n"
                ).format(mark_table(number), sql.Identifier(column), sql.SQL(kind), sql.Literal(count))
            )


def mark_table(number: int) -> sql.Identifier:
    return sql.Identifier("meshcache", f"mark_{number}")


def mark_tables(shop: Shop) -> list[sql.Identifier]:
    return [mark_table(row[0]) for row in shop.rows("select id from meshcache.mark_table")]


@pytest.mark.parametrize(
    ("made", "view"),
    [
        ("never analysed", "order_card"),
        ("analysed when full", "order_card"),
        ("analysed when full", "customer_page"),
        ("never analysed", "customer_page"),
        ("vacuumed while empty", "order_card"),
        ("vacuumed while empty", "customer_page"),
        ("vacuumed after a sweep", "order_card"),
        ("vacuumed after a sweep", "customer_page"),
    ],
)
def test_a_hit_stays_a_probe_with_many_marks_pending(big_shop: Shop, view: str, made: str) -> None:
    reader = big_shop.connect()
    reader.execute("set plan_cache_mode = force_generic_plan")
    if made == "vacuumed while empty":
        for table in mark_tables(big_shop):
            reader.execute(sql.SQL("vacuum analyze {}").format(table))
        reader.execute("vacuum analyze meshcache.wildcard_mark")
    if made == "vacuumed after a sweep":
        # What autovacuum meets: pages that held marks, and no rows any more.
        add_marks(big_shop, 6000)
        big_shop.sweep()
        for table in mark_tables(big_shop):
            reader.execute(sql.SQL("vacuum analyze {}").format(table))
    if made == "analysed when full":
        add_marks(big_shop)
        for table in mark_tables(big_shop):
            reader.execute(sql.SQL("analyze {}").format(table))
    reader.execute(sql.SQL("prepare hit (integer) as {}").format(hit_statement(reader, view)))
    run = sql.SQL("execute hit (5)")
    before = explain(reader, run)
    assert before["Actual Rows"] == 1
    if made != "analysed when full":
        # The plan of this session was made while there were none.
        add_marks(big_shop)
    # After an autovacuum a function of the view plans its statement anew, which reads the catalogs.
    plan = min((explain(reader, run) for _ in range(3)), key=blocks)
    assert plan["Actual Rows"] == 1
    assert large(scans(plan)) == []
    assert blocks(plan) < MAX_BLOCKS
    assert (
        scalar(reader, sql.SQL("select _origin from meshcache.{}(5)").format(sql.Identifier(f"{view}_get")))
        == "hit"
    )


@pytest.mark.parametrize("view", ["order_card", "customer_page"])
def test_rows_held_elsewhere_are_validated_by_a_probe_each(big_shop: Shop, view: str) -> None:
    keys = list(range(1001, 1101))
    with big_shop.engine().connect() as connection:
        target = load_target(connection, view)
    assert target is not None
    reader = big_shop.connect()
    version = scalar(
        reader, sql.SQL("select _version from {} limit 1").format(sql.Identifier("meshcache", f"{view}_hits"))
    )
    statement = sql.SQL(trusted(statements.still_hits(target).replace("%s", "{}"))).format(
        sql.Literal(keys), sql.Literal([version] * len(keys))
    )
    reader.execute(sql.SQL("prepare validate as {}").format(statement))
    add_marks(big_shop)
    for analysed in (False, True):
        if analysed:
            for table in mark_tables(big_shop):
                reader.execute(sql.SQL("analyze {}").format(table))
        plan = explain(reader, sql.SQL("execute validate"))
        assert plan["Actual Rows"] == len(keys)
        assert large(scans(plan)) == []
        assert blocks(plan) < MAX_BLOCKS * len(keys)


@pytest.mark.parametrize("pending", [0, FEW_MARKS + 1])
def test_a_linked_mark_is_found_from_either_end(big_shop: Shop, pending: int) -> None:
    with big_shop.connect() as connection:
        assert origin(connection, "customer_page", 5) == "hit"
        add_marks(big_shop, pending)
        assert origin(connection, "customer_page", 5) == "hit"
        big_shop.run(
            "update order_lines set quantity = quantity + 1"
            " where id = (select min(l.id) from order_lines as l"
            " inner join orders as o on o.id = l.order_id where o.customer_id = 5)"
        )
        assert origin(connection, "customer_page", 5) == "stale"
        assert origin(connection, "customer_page", 6) == "hit"
        check(connection, "customer_page")


@pytest.mark.parametrize("lost", ["wiped", "vacuum full"])
def test_a_mark_table_gets_its_pages_back(big_shop: Shop, lost: str) -> None:
    tables = mark_tables(big_shop)
    with big_shop.connect() as connection:
        for table in tables:
            connection.execute(sql.SQL("vacuum full {}").format(table))
            assert scalar(connection, "select pg_relation_size(%s::regclass)", table.as_string()) == 0
        if lost == "wiped":
            connection.execute("delete from meshcache_data.epoch")
            connection.execute("call meshcache.open_cache()")
        else:
            connection.execute("call meshcache.sweep()")
        for table in tables:
            assert scalar(connection, "select pg_relation_size(%s::regclass)", table.as_string()) > 100_000
            assert scalar(connection, sql.SQL("select count(*) from {}").format(table)) == 0


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
def test_what_is_stale_is_reached_by_its_keys(big_shop: Shop, mode: LiteralString) -> None:
    # A customer with many orders: in the order of the list, or by the customer, all of them would be read.
    big_shop.run(
        "insert into orders (id, customer_id) select n, 7 from generate_series(30001, 42000) as n",
        "analyze orders",
    )
    big_shop.sweep()
    big_shop.run("update orders set status = 'paid' where id in (1001, 3001, 30001)")
    reader = big_shop.connect()
    reader.execute(sql.SQL("set plan_cache_mode = {}").format(sql.SQL(mode)))
    reader.execute(
        "prepare list (integer, bigint) as select * from meshcache.order_card_stale"
        " where customer_id = $1 order by id desc limit $2"
    )
    plan = explain(reader, sql.SQL("execute list (7, 50)"))
    assert plan["Actual Rows"] == 1
    assert rows_of(plan, "orders") <= 3
    assert of_the_application(scans(plan)) == []


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
def test_a_list_by_tenant_reads_the_tenants_rows(big_shop: Shop, mode: LiteralString) -> None:
    reader = big_shop.connect()
    reader.execute(sql.SQL("set plan_cache_mode = {}").format(sql.SQL(mode)))
    reader.execute("prepare list (integer) as select * from meshcache.order_card where customer_id = $1")
    big_shop.run(
        "update orders set status = 'paid' where id in (1001, 3001)",
        "update customers set name = 'stale' where id = 1500",
        "insert into order_lines (id, order_id, sku, quantity, price) values (900000, 1777, 'new', 1, 1)",
        "insert into orders (id, customer_id) values (900000, 1002)",
    )
    # Customer 1002 has two stale orders and a new one, 1500 is stale altogether, 1600 is not.
    for customer, expected in ((1002, 11), (1500, 10), (1600, 10)):
        plan = explain(reader, sql.SQL("execute list ({})").format(sql.Literal(customer)))
        assert plan["Actual Rows"] == expected
        assert of_the_application(scans(plan)) == []
        indexes = {node.get("Index Name") for node in nodes(plan) if node["Actual Loops"] > 0}
        assert "order_card_customer_id_idx" in indexes
        assert blocks(plan) < 1000
    big_shop.check("order_card")


def test_the_three_branches_of_a_live_view_are_switched_once(big_shop: Shop) -> None:
    with big_shop.connect() as connection:
        query = sql.SQL("select * from meshcache.order_card where customer_id = 1600")
        plan = explain(connection, query)
        filters = [node for node in nodes(plan) if "One-Time Filter" in node]
        assert len(filters) >= 3
        assert (rows_of(plan, "orders"), rows_of(plan, "order_card")) == (0, 10)
        connection.execute("delete from meshcache_data.view_state")
        plan = explain(connection, query)
        assert (rows_of(plan, "orders"), rows_of(plan, "order_card")) == (10, 0)
        assert of_the_application(scans(plan)) == []


def test_a_key_of_the_live_view_is_a_probe_too(big_shop: Shop) -> None:
    with big_shop.connect() as connection:
        add_marks(big_shop)
        plan = explain(connection, sql.SQL("select * from meshcache.order_card where id = 5000"))
        assert plan["Actual Rows"] == 1
        assert of_the_application(scans(plan)) == []


@pytest.mark.parametrize("view", ["order_card", "customer_page"])
def test_a_fill_by_key_probes_the_source(big_shop: Shop, view: str) -> None:
    scanned: LiteralString = """
    select coalesce(sum(seq_tup_read), 0) from pg_stat_xact_user_tables
    where relname in ('orders', 'order_lines')
    """
    with big_shop.connect(autocommit=False) as connection:
        fill = sql.SQL("select meshcache.{}(array[5, 1001, 1002])").format(sql.Identifier(f"{view}_fill"))
        assert scalar(connection, fill) == 3
        assert scalar(connection, scanned) == 0


@pytest.mark.slow
@pytest.mark.parametrize("view", ["order_card", "customer_page"])
def test_a_round_of_the_live_check_scans_no_large_table(big_shop: Shop, view: str) -> None:
    big_shop.run(
        "update customers set city = 'Köln' where id between 2000 and 2400",
        "update customers set name = 'marked' where id between 2000 and 2400",
        "delete from meshcache_data.customer_page where id % 2 = 0",
        "insert into orders (id, customer_id) select n, 2001 from generate_series(30001, 31000) as n",
    )
    pick, compare = (sql.Identifier("meshcache", f"_{view}_{what}") for what in ("pick", "compare"))
    with big_shop.connect(autocommit=False) as connection:
        for where in ("marked", "cached", "uncached"):
            # From the sixth call on the plan is the one that is kept.
            for _ in range(7):
                chosen = sql.SQL("select k[1] from {}({}, 20) as k").format(pick, where)
                keys = [key for (key,) in connection.execute(chosen)]
                # What is new in the source lies in few of its many pages.
                assert keys or (view, where) == ("order_card", "uncached")
                compared = sql.SQL("select {}({}::text[], false, 20)").format(compare, keys)
                assert scalar(connection, compared)["compared"] == len(keys)
        # Of this transaction, and so of nobody else. The customers are few enough to be joined as a whole.
        scanned = connection.execute(
            "select relname, seq_tup_read from pg_stat_xact_user_tables where seq_tup_read > 0"
            " and relname in ('orders', 'order_lines', 'order_card', 'customer_page')"
        ).fetchall()
    assert scanned == []


# Rows of it are found by the customer that they carry, and no index leads there.
ORDER_PAGE = ORDER_CARD.replace("order_card", "order_page").replace("-- tenant: customer_id\n", "")


@pytest.mark.parametrize("view", ["customer_page", "order_card", "order_page"])
@pytest.mark.parametrize("again", [False, True], ids=["sweep", "refresh"])
def test_a_sweep_reads_a_table_once_whatever_is_known_of_it(big_shop: Shop, view: str, again: bool) -> None:
    big_shop.apply(ORDER_PAGE)
    table = sql.Identifier("meshcache_data", view)
    with big_shop.connect() as connection:
        # Filled after autovacuum was there: that there is no row in many pages is what the planner knows.
        connection.execute("call meshcache.refresh(%s, p_mode => 'all')", (view,))
        connection.execute(sql.SQL("delete from {}").format(table))
        connection.execute(sql.SQL("vacuum analyze {}").format(table))
        connection.execute("call meshcache.refresh(%s, p_mode => 'all')", (view,))
        rows = scalar(connection, sql.SQL("select count(*) from {}").format(table))
        assert rows > 1000
    big_shop.run(
        "update customers set name = name || '!' where id between 1001 and 1100",
        "update order_lines set quantity = quantity + 1 where order_id between 1001 and 1300",
        "delete from orders where id between 1201 and 1210",
    )
    with big_shop.connect(autocommit=False) as connection:
        # So that what is read again and again fails instead of lasting for hours.
        connection.execute("set statement_timeout = '60s'")
        resolve = sql.SQL("select meshcache.{}({})").format(sql.Identifier(f"_{view}_resolve"), again)
        assert scalar(connection, resolve) > 100
        read = scalar(
            connection,
            "select seq_tup_read + coalesce(idx_tup_fetch, 0) from pg_stat_xact_user_tables"
            " where relid = %s::regclass",
            table.as_string(),
        )
        assert read < 3 * rows
        outdated = sql.Identifier("meshcache", f"{view}_outdated")
        left = sql.SQL("select count(*) from {}").format(outdated)
        assert scalar(connection, left) == 0


@pytest.mark.parametrize("view", ["order_card", "order_page"])
def test_many_marks_are_probed(big_shop: Shop, view: str) -> None:
    """Rather than put into a list that memory has room for or not."""
    big_shop.apply(ORDER_PAGE)
    big_shop.refresh("order_page")
    add_marks(big_shop)
    with big_shop.connect() as connection:
        for table in mark_tables(big_shop):
            connection.execute(sql.SQL("analyze {}").format(table))
        connection.execute("set work_mem = '64kB'")
        connection.execute("set statement_timeout = '60s'")
        query = sql.SQL("select * from {}").format(sql.Identifier("meshcache", f"{view}_outdated"))
        plan = explain(connection, query)
    assert plan["Actual Rows"] == 0
    for node in nodes(plan):
        assert float(node["Actual Rows"]) * int(node["Actual Loops"]) < 3 * MARKS, node


def test_marks_are_resolved_once_and_deleted_in_steps(big_shop: Shop) -> None:
    with big_shop.connect(options="-c track_functions=pl") as connection:
        for number in range(1001, 1041):
            connection.execute("update customers set name = 'new' where id = %s", (number,))
        marks = sweeps = 0
        # One by its key and one by its city each; they stay while an older transaction is open, which may be
        # one of the server's own.
        while marks < 80 and sweeps < 1000:
            marks += scalar(connection, "call meshcache.sweep(p_batch => 3)")["marks"]
            sweeps += 1
    assert marks == 80
    calls: LiteralString = "select calls from pg_stat_user_functions where funcname = %s"
    # The server counts them when the session has ended.
    eventually(lambda: bool(big_shop.rows(calls, "_delete_marks")), "the calls are counted")
    assert big_shop.value(calls, "_delete_marks") >= 10
    assert big_shop.value(calls, "_order_card_resolve") == sweeps
    big_shop.check()
