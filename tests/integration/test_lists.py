"""Lists through the repository: what they answer, where it comes from, and by which plan."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, text

from meshcache_pg import MeshCache, repository, statements
from meshcache_pg.answers import Origin
from meshcache_pg.errors import DefinitionError
from meshcache_pg.statements import Shape, Target
from tests.fixtures.fix_shop import CITY_LIST, ORDER_CARD, SHOP, SKU_SALES, Shop

ORDERED = ORDER_CARD.replace("-- tenant:", "-- index: customer_id, status, id desc\n-- tenant:")

# Lists of one customer, of all orders in a status and of everything; from the first row and from later ones.
LISTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"customer_id": 3}, {"order_by": ("status", "-id")}),
    ({"customer_id": 3}, {"order_by": ("status", "-id"), "limit": 2}),
    ({"customer_id": 3}, {"order_by": ("status", "-id"), "limit": 2, "offset": 2}),
    ({"customer_id": 3}, {"order_by": ("id",), "limit": 0}),
    ({"customer_id": 3}, {"order_by": ("id",), "limit": 10, "offset": 4}),
    ({"customer_id": 99}, {"order_by": ("id",), "limit": 2}),
    ({"status": "open"}, {"order_by": ("-total", "id"), "limit": 7}),
    ({"total": None}, {"order_by": ("id",), "limit": 3}),
    ({}, {"order_by": ("-id",), "limit": 3, "offset": 1}),
    ({}, {"order_by": ("id",)}),
]


@pytest.fixture
def reader(shop: Shop) -> Iterator[Connection]:
    """A connection of the application, in a transaction of its own for each statement."""
    with shop.engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection


@pytest.fixture
def target(reader: Connection) -> Iterator[Target]:
    found = repository.load_target(reader, "order_card")
    assert found is not None
    forget(found)
    yield found
    forget(found)


def forget(target: Target) -> None:
    """Let the next list believe that nothing is pending."""
    repository._busy_until.pop(target, None)


def check_lists(connection: Connection, target: Target) -> set[Origin]:
    """Every list twice (the second does without the short statement after a mark), prepared and not, against
    the source.
    """
    origins: set[Origin] = set()
    for where, options in LISTS:
        source = statements.from_source(
            target,
            Shape(
                tuple(c for c, v in where.items() if v is not None),
                tuple(c for c, v in where.items() if v is None),
                options.get("order_by", ()),
                "limit" in options,
                bool(options.get("offset")),
            ),
        )
        values = [v for v in where.values() if v is not None]
        values += [options[n] for n in ("limit", "offset") if n in options]
        raw = connection.connection.driver_connection
        assert isinstance(raw, psycopg.Connection)
        wanted = [row[:-3] for row in raw.execute(source.encode(), values).fetchall()]
        threshold = raw.prepare_threshold
        for given in (threshold, None):
            raw.prepare_threshold = given
            forget(target)
            for _ in range(2):
                read = repository.list_rows(connection, target, where, **options)
                assert [row[: len(read.columns)] for row in read.rows] == wanted, (where, options, given)
                origins |= set(read.origins)
        raw.prepare_threshold = threshold
    return origins


def test_lists_are_right_in_every_state(shop: Shop, reader: Connection, target: Target) -> None:
    assert check_lists(reader, target) == {Origin.HIT}
    shop.run(
        "update orders set status = 'paid' where id in (2, 12)",
        "update orders set customer_id = 3 where id = 7",
        "insert into orders (id, customer_id) values (900, 3)",
        "delete from orders where id = 22",
        "update order_lines set quantity = quantity + 1 where order_id < 5",
    )
    assert check_lists(reader, target) == {Origin.HIT, Origin.STALE}
    shop.sweep()
    assert check_lists(reader, target) == {Origin.HIT}
    shop.run("truncate order_lines")
    assert check_lists(reader, target) == {Origin.BYPASS}
    shop.refresh("order_card")
    assert check_lists(reader, target) == {Origin.HIT}
    shop.run("delete from meshcache_data.epoch", "delete from meshcache_data.view_state")
    assert check_lists(reader, target) == {Origin.BYPASS}


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_lists_in_the_writers_transaction_and_in_older_snapshots(
    shop: Shop, target: Target, level: str
) -> None:
    with (
        shop.engine().connect().execution_options(isolation_level=level) as writer,
        shop.engine().connect().execution_options(isolation_level="REPEATABLE READ") as older,
    ):
        assert check_lists(older, target) == {Origin.HIT}
        writer.execute(text("update orders set status = 'sent' where customer_id = 3"))
        assert Origin.STALE in check_lists(writer, target)
        writer.execute(text("savepoint before"))
        writer.execute(text("delete from orders where customer_id = 3"))
        check_lists(writer, target)
        writer.execute(text("rollback to savepoint before"))
        check_lists(writer, target)
        writer.commit()
        assert check_lists(older, target) == {Origin.HIT}
        shop.sweep()
        check_lists(older, target)
        assert check_lists(writer, target) == {Origin.HIT}


def test_a_row_that_a_fill_stored_before_it_wrote_is_not_quiet(shop: Shop, target: Target) -> None:
    with shop.engine().connect() as connection:
        connection.execute(text("select meshcache.order_card_fill(array[2])"))
        connection.execute(text("update orders set status = 'after' where id = 2"))
        assert Origin.STALE in check_lists(connection, target)


def test_the_first_rows_are_read_by_the_index_and_no_more(shop: Shop, reader: Connection) -> None:
    shop.apply(ORDERED, *SHOP[1:])
    shop.run(
        "insert into customers (id, name) values (500, 'large')",
        "insert into orders (id, customer_id) select n, 500 from generate_series(1001, 21000) as n",
        "analyze",
    )
    shop.refresh("order_card")
    target = repository.load_target(reader, "order_card")
    assert target is not None
    shape = Shape(("customer_id",), (), ("status", "-id"), limit=True)
    for pending in (False, True):
        if pending:
            shop.run("update orders set status = 'a' where id in (1002, 3)")
        for statement, values in (
            (statements.quiet_listing(target, shape), [500, 5]),
            (statements.listing(target, shape), statements.list_values(target, [500], 5, 0)),
        ):
            raw = reader.connection.driver_connection
            assert isinstance(raw, psycopg.Connection)
            cursor = psycopg.ClientCursor(raw)
            plan = cursor.execute(
                f"explain (analyze, timing off, format json) {cursor.mogrify(statement, values)}".encode()
            ).fetchone()
            assert plan is not None
            read = {
                node["Relation Name"]: node["Actual Rows"] * node["Actual Loops"]
                for node in nodes(plan[0][0]["Plan"])
                if "Relation Name" in node and node["Actual Loops"]
            }
            assert read.get("order_card", 0) <= 10, (pending, read)
            assert read.get("orders", 0) <= 10, (pending, read)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def test_indexes_of_tables_and_rollups(shop: Shop) -> None:
    sales = SKU_SALES.replace("-- refresh_every", "-- index: quantity desc nulls last, sku\n-- refresh_every")
    cities = CITY_LIST.replace(
        "-- coverage", "-- index: customer_count desc\n-- index: first_name\n-- coverage"
    )
    shop.apply(ORDERED, SHOP[1], cities, sales)
    found = {
        definition.partition(" USING btree ")[2]
        for (definition,) in shop.rows("select indexdef from pg_indexes where schemaname = 'meshcache_data'")
    }
    assert {
        "(customer_id, status, id DESC)",
        "(customer_count DESC)",
        "(first_name)",
        "(quantity DESC NULLS LAST, sku)",
    } <= found
    assert "(customer_id)" not in found


def test_an_index_on_no_column_of_the_select(bare_shop: Shop) -> None:
    with pytest.raises(DefinitionError, match="index column 'price' is no output column"):
        bare_shop.apply(ORDER_CARD.replace("-- tenant:", "-- index: price\n-- tenant:"))


def test_an_answer_by_the_short_statement_counts_as_hits(shop: Shop) -> None:
    with (
        MeshCache(shop.dsn) as cache,
        shop.engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
    ):
        listing = cache.view("order_card", connection).list(customer_id=3, order_by=("id",), limit=3)
        assert (listing.origin, listing.cached, len(listing)) == (Origin.HIT, 3, 3)
        assert listing.age is not None
