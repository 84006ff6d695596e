"""Written schedules, one rule each: the interleavings that random ones rarely hit, a statement at a time."""

from contextlib import ExitStack
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import errors, sql

from meshcache_pg.embedded import Installation, PrivateServer
from tests.consistency.checker import exact
from tests.fixtures.fix_cache import PACK, apply_definitions, migrate_database, refresh, set_up, sweep
from tests.fixtures.fix_db import TEST_SETTINGS, Database

SHOP: LiteralString = """
create table customer (id integer primary key, name text not null, city text);
create table purchase (
    id integer primary key, customer_id integer references customer on delete cascade on update cascade,
    amount numeric not null default 1.0
);
insert into customer select n, 'customer ' || n, 'Bonn' from generate_series(1, 4) as n;
insert into purchase select n, 1 + n % 4 from generate_series(1, 8) as n;
"""

# Every key is cached; customer is a carried dependency, by purchase.customer_id.
PURCHASE_CARD = """
-- name: purchase_card
-- key: id
-- coverage: complete
-- depends: purchase(id) = (id)
-- depends: customer(id) = (customer_id) columns (id, name)
select p.id, p.customer_id, p.amount, c.name
from purchase as p left join customer as c on c.id = p.customer_id
"""

# Asked keys only; purchase is marked by the key.
CUSTOMER_PAGE = """
-- name: customer_page
-- key: id
-- coverage: on_demand
-- depends: customer(id) = (id) columns (id, name, city)
-- depends: purchase(customer_id) = (id) columns (customer_id, amount)
select
    c.id, c.name, c.city, (select sum(p.amount) from purchase as p where p.customer_id = c.id) as total
from customer as c
"""


@pytest.fixture
def shop(fresh: Database) -> Database:
    """Both views hold every key."""
    set_up(fresh, SHOP, PURCHASE_CARD, CUSTOMER_PAGE).close()
    return fresh


def one(connection: psycopg.Connection, statement: LiteralString, *parameters: object) -> Any:
    """The first value of the only row; None when there is no row."""
    row = connection.execute(statement, parameters).fetchone()
    return None if row is None else row[0]


def page(connection: psycopg.Connection, key: int) -> tuple[Any, ...] | None:
    """Name, total and origin of a customer as the cache gives them."""
    return connection.execute(
        "select name, total::text, _origin from meshcache.customer_page_get(%s)", (key,)
    ).fetchone()


def fill(connection: psycopg.Connection, key: int) -> int:
    filled: int = one(connection, "select meshcache.customer_page_fill(array[%s]::integer[])", key)
    return filled


def marks(connection: psycopg.Connection) -> int:
    """How many marks are pending, of all tables."""
    names = [
        "wildcard_mark",
        *(f"mark_{number}" for (number,) in connection.execute("select m.id from meshcache.mark_table as m")),
    ]
    counts = [
        connection.execute(
            sql.SQL("select count(*) from {}").format(sql.Identifier("meshcache", name))
        ).fetchone()
        for name in names
    ]
    return sum(count[0] for count in counts if count)


def test_a_warm_cache_serves_hits(shop: Database) -> None:
    origins = exact(shop.connect()).origins
    assert origins["purchase_card hit"] == 8
    assert origins["customer_page hit"] == 4


def test_fill_between_a_write_and_its_commit_is_stale_after_the_commit(shop: Database) -> None:
    writer, reader = shop.connect(), shop.connect()
    writer.execute("begin")
    writer.execute("update customer set name = 'new' where id = 1")
    assert fill(reader, 1) == 1
    assert page(reader, 1) == ("customer 1", "2.0", "hit")
    writer.execute("commit")
    assert page(reader, 1) == ("new", "2.0", "stale")
    exact(reader)


def test_fill_whose_snapshot_is_older_than_a_commit_is_stale(shop: Database) -> None:
    filler, writer, reader = shop.connect(), shop.connect(), shop.connect()
    filler.execute("begin")
    assert fill(filler, 1) == 1
    writer.execute("update customer set name = 'new' where id = 1")
    filler.execute("commit")
    assert page(reader, 1) == ("new", "2.0", "stale")
    exact(reader)


def test_a_transaction_that_fills_and_then_writes_reads_its_own_write(shop: Database) -> None:
    writer, reader = shop.connect(), shop.connect()
    writer.execute("begin")
    assert fill(writer, 1) == 1
    assert page(writer, 1) == ("customer 1", "2.0", "hit")
    writer.execute("update customer set name = 'new' where id = 1")
    assert page(writer, 1) == ("new", "2.0", "stale")
    assert page(reader, 1) == ("customer 1", "2.0", "hit")
    writer.execute("commit")
    assert page(reader, 1) == ("new", "2.0", "stale")
    exact(reader)


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_no_fill_under_an_old_snapshot_and_none_after_a_write(shop: Database, level: LiteralString) -> None:
    other = shop.connect()
    other.execute("begin isolation level " + level)
    assert fill(other, 1) == 0
    other.execute("rollback")
    other.execute("begin")
    other.execute("update customer set city = 'Ulm' where id = 2")
    assert fill(other, 1) == 0
    other.execute("rollback")
    exact(other)


def test_rollback_to_a_savepoint_takes_the_marks_along(shop: Database) -> None:
    writer = shop.connect()
    writer.execute("begin")
    writer.execute("savepoint a")
    writer.execute("update customer set name = 'taken back' where id = 1")
    assert page(writer, 1) == ("taken back", "2.0", "stale")
    writer.execute("rollback to savepoint a")
    assert page(writer, 1) == ("customer 1", "2.0", "hit")
    writer.execute("update customer set name = 'kept' where id = 1")
    writer.execute("savepoint b")
    writer.execute("update customer set name = 'taken back' where id = 1")
    writer.execute("rollback to savepoint b")
    assert page(writer, 1) == ("kept", "2.0", "stale")
    writer.execute("commit")
    exact(shop.connect())


def test_a_child_inserted_while_its_parent_is_renamed(shop: Database) -> None:
    inserter, renamer, filler = shop.connect(), shop.connect(), shop.connect()
    inserter.execute("begin")
    inserter.execute("insert into purchase values (100, 1)")
    renamer.execute("begin")
    renamer.execute("update customer set name = 'renamed' where id = 1")
    inserter.execute("commit")
    refresh(filler, "purchase_card", mode="stale")
    assert one(filler, "select _origin from meshcache.purchase_card_get(100)") == "hit"
    renamer.execute("commit")
    assert one(filler, "select name from meshcache.purchase_card_get(100)") == "renamed"
    exact(filler)
    sweep(filler)
    assert exact(filler).origins["purchase_card hit"] == 9


def test_a_parent_that_appears_later(shop: Database) -> None:
    # Without a foreign key a carried value may lead nowhere, for a while.
    connection = shop.connect()
    connection.execute("alter table purchase drop constraint purchase_customer_id_fkey")
    connection.execute("insert into purchase values (100, 77), (101, null)")
    sweep(connection)
    assert exact(connection).origins["purchase_card hit"] == 10
    connection.execute("insert into customer values (77, 'late')")
    assert one(connection, "select name from meshcache.purchase_card_get(100)") == "late"
    assert one(connection, "select _origin from meshcache.purchase_card_get(101)") == "hit"
    exact(connection)


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_a_reader_whose_snapshot_is_older_than_fills_and_sweeps(shop: Database, level: LiteralString) -> None:
    reader, writer = shop.connect(), shop.connect()
    reader.execute("begin isolation level " + level)
    assert page(reader, 1) == ("customer 1", "2.0", "hit")
    for number in range(3):
        writer.execute("update customer set name = %s where id = 1", (f"new {number}",))
        writer.execute("insert into purchase values (%s, 1)", (100 + number,))
        exact(reader)
        fill(writer, 1)
        exact(reader)
        assert sweep(writer) == "done"
        exact(reader)
        refresh(writer, "purchase_card", "customer_page")
        exact(reader)
        assert page(reader, 1) is not None
        assert page(reader, 1)[:2] == ("customer 1", "2.0")  # type: ignore[index]
    assert marks(writer) == 0
    reader.execute("commit")
    assert page(reader, 1) == ("new 2", "5.0", "hit")
    exact(reader)


def test_the_sweep_waits_for_a_fill_that_began_before_a_write(shop: Database) -> None:
    filler, writer, reader = shop.connect(), shop.connect(), shop.connect()
    filler.execute("begin")
    assert fill(filler, 1) == 1
    writer.execute("update customer set name = 'new' where id = 1")
    assert sweep(writer) == "busy"
    assert marks(writer) > 0
    filler.execute("commit")
    assert page(reader, 1) == ("new", "2.0", "stale")
    assert sweep(writer) == "done"
    assert marks(writer) == 0
    assert page(reader, 1) == ("new", "2.0", "miss")
    exact(reader)


def test_the_sweep_keeps_the_marks_of_open_transactions(shop: Database) -> None:
    writer, other, reader = shop.connect(), shop.connect(), shop.connect()
    writer.execute("begin")
    writer.execute("update customer set name = 'open' where id = 1")
    other.execute("update customer set name = 'committed' where id = 2")
    assert sweep(reader) == "done"
    assert fill(reader, 1) == 1
    assert fill(reader, 2) == 1
    writer.execute("commit")
    assert page(reader, 1) == ("open", "2.0", "stale")
    assert page(reader, 2) == ("committed", "2.0", "hit")
    exact(reader)


def test_more_values_than_the_limit_leave_a_wildcard(shop: Database) -> None:
    connection = shop.connect()
    connection.execute("insert into customer select n, 'bulk', null from generate_series(1000, 2100) as n")
    assert one(connection, "select count(*) from meshcache.wildcard_mark") == 1
    assert exact(connection).origins["hit"] == 0
    connection.execute("update customer set name = 'all'")
    assert page(connection, 1) == ("all", "2.0", "stale")
    exact(connection)
    assert sweep(connection) == "done"
    assert marks(connection) == 0
    assert exact(connection).origins["purchase_card hit"] == 8


def test_closing_a_view_while_it_is_filled_does_not_lose_rows(shop: Database) -> None:
    closer, filler, reader = shop.connect(), shop.connect(), shop.connect()
    # As a resolve leaves it when an older transaction than the epoch keeps it from filling.
    reader.execute("delete from meshcache_data.view_state")
    filler.execute("begin")
    filler.execute("select meshcache._purchase_card_refresh()")
    close: LiteralString = (
        "select meshcache._close_view((select id from meshcache.cached_view where name = 'purchase_card'))"
    )
    assert one(closer, close) is False
    filler.execute("commit")
    assert exact(reader).origins["purchase_card hit"] == 8
    assert one(closer, close) is True
    assert exact(reader).origins["purchase_card bypass"] == 8


def test_prepared_transactions_keep_their_marks(installation: Installation) -> None:
    settings = TEST_SETTINGS | {"max_prepared_transactions": "4"}
    with PrivateServer(installation, settings=settings) as server, ExitStack() as opened:
        server.create_database("shop")
        database = Database(server, "shop", opened)
        migrate_database(database)
        connection, writer = set_up(database, SHOP, PURCHASE_CARD, CUSTOMER_PAGE), database.connect()
        for key, end in ((1, "commit"), (2, "rollback")):
            writer.execute("begin")
            writer.execute("update customer set name = 'prepared' where id = %s", (key,))
            writer.execute("prepare transaction '" + end + "'")
        for _ in range(2):
            assert sweep(connection) == "done"
            refresh(connection, "purchase_card", "customer_page")
            assert exact(connection).origins["hit"] == 12
        connection.execute("commit prepared 'commit'")
        assert page(connection, 1) == ("prepared", "2.0", "stale")
        exact(connection)
        connection.execute("rollback prepared 'rollback'")
        assert page(connection, 2) == ("customer 2", "2.0", "hit")
        exact(connection)
        assert sweep(connection) == "done"
        assert marks(connection) == 0
        exact(connection)


def test_a_writer_that_is_open_while_a_view_is_applied(fresh: Database) -> None:
    connection = set_up(fresh, SHOP, PURCHASE_CARD)
    writer = fresh.connect()
    writer.execute("begin")
    # city matters to no view yet, so this leaves no mark.
    writer.execute("update customer set city = 'Ulm' where id = 1")
    with pytest.raises(Exception, match="lock"):
        apply_definitions(fresh, PURCHASE_CARD, CUSTOMER_PAGE)
    writer.execute("commit")
    apply_definitions(fresh, PURCHASE_CARD, CUSTOMER_PAGE)
    assert fill(connection, 1) == 1
    writer.execute("update customer set city = 'Jena' where id = 1")
    assert page(connection, 1) == ("customer 1", "2.0", "stale")
    exact(connection)


def both_commit(first: psycopg.Connection, second: psycopg.Connection, statement: LiteralString) -> None:
    """The second transaction's write, and then both ends."""
    second.execute(statement)
    first.execute("commit")
    second.execute("commit")


@pytest.mark.parametrize("cached", [True, False], ids=["hits", "source"])
def test_write_skew_is_found_when_all_reads_are_hits(shop: Database, cached: bool) -> None:
    # Each takes a purchase away because the other customer still has some: only one of them may.
    first, second = shop.connect(), shop.connect()
    for connection, other in ((first, 2), (second, 1)):
        connection.execute("begin isolation level serializable")
        if cached:
            assert page(connection, other) == (f"customer {other}", "2.0", "hit")
        else:
            assert (
                one(connection, "select total from meshcache.customer_page_source where id = %s", other) == 2
            )
    first.execute("update purchase set amount = 0 where customer_id = 1")
    with pytest.raises(errors.SerializationFailure):
        both_commit(first, second, "update purchase set amount = 0 where customer_id = 2")
    second.execute("rollback")
    exact(first)


def test_write_skew_is_found_after_a_sweep_took_the_marks(shop: Database) -> None:
    first, second, sweeper = shop.connect(), shop.connect(), shop.connect()
    second.execute("begin isolation level serializable")
    assert page(second, 3) == ("customer 3", "2.0", "hit")
    first.execute("begin isolation level serializable")
    assert page(first, 2) == ("customer 2", "2.0", "hit")
    first.execute("update purchase set amount = 0 where customer_id = 1")
    first.execute("commit")
    assert sweep(sweeper) == "done"
    assert fill(sweeper, 1) == 1

    def read_and_commit() -> None:
        # An older row than the one in the cache, by a snapshot older than the mark that is gone.
        assert page(second, 1) is not None
        second.execute("update purchase set amount = 0 where customer_id = 2")
        second.execute("commit")

    with pytest.raises(errors.SerializationFailure):
        read_and_commit()
    second.execute("rollback")
    exact(first)


def test_the_list_of_a_complete_view_meets_an_insert(shop: Database) -> None:
    # A phantom: each adds a purchase if the list has eight.
    first, second = shop.connect(), shop.connect()
    for connection in (first, second):
        connection.execute("begin isolation level serializable")
        assert one(connection, "select count(*) from meshcache.purchase_card") == 8
    first.execute("insert into purchase values (100, 1)")
    with pytest.raises(errors.SerializationFailure):
        both_commit(first, second, "insert into purchase values (101, 2)")
    second.execute("rollback")
    exact(first)


def test_the_pack_is_exact_when_warm(warm: Database) -> None:
    checker = exact(warm.connect())
    assert all(checker.origins[f"{view} hit"] for view in PACK)
    assert not checker.origins["bypass"]
