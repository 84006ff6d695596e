"""Copies: a dump carries cached rows and marks into another cluster, whose transaction ids mean
something else. What came that way is never served; opening throws it away.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from meshcache_pg.embedded import Installation, PrivateServer
from tests.fixtures.fix_db import Database, start_server
from tests.fixtures.fix_shop import SHOP, VIEWS, CrashShop, Shop, origin, scalar
from tests.fixtures.fix_templates import Seeds

WAYS = ["plain", "plain in one transaction", "custom", "custom with --clean"]
OLD = {view: {"bypass"} for view in VIEWS}


@pytest.fixture
def elsewhere(installation: Installation, seeds: Seeds) -> Iterator[PrivateServer]:
    """A second cluster, with an empty database to restore to."""
    with start_server(installation, seed=seeds.of("empty")) as server:
        server.create_database("shop")
        yield server


def run(installation: Installation, program: str, *arguments: str) -> None:
    """One of PostgreSQL's client programs; its warnings are errors."""
    path = installation.program(program)
    if not os.access(path, os.X_OK):
        pytest.skip(f"{installation} has no {program}")
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def dump(shop: CrashShop, file: Path, how: str, *options: str) -> None:
    form = "p" if how.startswith("plain") else "c"
    run(shop.server.installation, "pg_dump", "-F", form, "-f", str(file), *options, "-d", shop.dsn)


def restore(server: PrivateServer, file: Path, how: str, dbname: str = "shop") -> Shop:
    dsn = server.dsn(dbname)
    if how.startswith("plain"):
        options = ["-1"] if "one transaction" in how else []
        run(
            server.installation,
            "psql",
            "-X",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            *options,
            "-f",
            str(file),
            "-o",
            os.devnull,
            "-d",
            dsn,
        )
    else:
        options = ["--clean", "--if-exists"] if "--clean" in how else []
        run(server.installation, "pg_restore", "--exit-on-error", *options, "-d", dsn, str(file))
    return Shop(dsn)


def counter(server: PrivateServer) -> int:
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        return int(scalar(connection, "select pg_snapshot_xmax(pg_current_snapshot())::text"))


def burn_to(server: PrivateServer, xid: int) -> None:
    """Use up transaction ids until `xid` is the next one; at once where it is in the past."""
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute("create table if not exists burnt (n integer)")
        while (missing := xid - counter(server)) > 0:
            if missing > 10:
                # Subtransactions: far faster than as many transactions. The block itself uses up one more.
                connection.execute(
                    sql.SQL(
                        "do $$ begin for n in 1..{} loop begin insert into burnt values (n);"
                        " exception when division_by_zero then end; end loop; end $$"
                    ).format(sql.Literal(missing - 5))
                )
            else:
                connection.execute("select pg_current_xact_id()")


def write_a_little(shop: Shop) -> None:
    shop.run(
        "update customers set name = name || ' (new)' where id in (1, 2)",
        "update order_lines set quantity = quantity + 1 where id % 10 = 3",
        "delete from orders where id = 11",
        "insert into orders (id, customer_id) select max(id) + 1, 3 from orders",
    )


def see_it_through(shop: Shop) -> None:
    """Never a restored row as a hit; right before and after writes; warm again after maintenance."""
    with shop:
        assert shop.origins() == OLD
        assert shop.rows("select distinct _origin from meshcache.order_card_rows") == [("bypass",)]
        shop.check()
        write_a_little(shop)
        assert shop.origins() == OLD
        shop.check()
        shop.sweep()
        assert "hit" not in shop.origins("customer_page")["customer_page"]
        shop.check()
        write_a_little_more = "update customers set name = 'more' where id = 4"
        shop.run(write_a_little_more)
        shop.check()
        shop.sweep()
        shop.warm()
        shop.check()
        assert {step.action for step in shop.plan(*SHOP)} == {"keep"}


@pytest.fixture
def dirty_shop(crash_shop: CrashShop) -> CrashShop:
    """Warm, with marks pending and old fills beside new ones."""
    crash_shop.run(
        "update customers set name = 'pending' where id = 3", "update orders set status = 'paid' where id < 5"
    )
    return crash_shop


@pytest.mark.parametrize("how", WAYS)
def test_restored_rows_are_never_served(
    dirty_shop: CrashShop, elsewhere: PrivateServer, open_dir: Path, how: str
) -> None:
    dump(dirty_shop, open_dir / "dump", how)
    see_it_through(restore(elsewhere, open_dir / "dump", how))


@pytest.mark.parametrize("lag", [-5000, -40, 0, 40, 5000])
def test_wherever_the_xid_counter_of_the_new_cluster_stands(
    dirty_shop: CrashShop, elsewhere: PrivateServer, open_dir: Path, lag: int
) -> None:
    # Restored xids are then in the future of the counter (negative), around it, or in its past.
    burn_to(dirty_shop.server, counter(elsewhere) + 10_000)
    dirty_shop.warm()
    write_a_little(dirty_shop)
    dump(dirty_shop, open_dir / "dump", "plain")
    burn_to(elsewhere, counter(dirty_shop.server) + lag)
    see_it_through(restore(elsewhere, open_dir / "dump", "plain"))


def test_the_counter_walks_over_the_restored_xids(
    dirty_shop: CrashShop, elsewhere: PrivateServer, open_dir: Path
) -> None:
    # Writers of the new cluster get the very xids that restored marks and rows carry.
    burn_to(dirty_shop.server, counter(elsewhere) + 2000)
    dirty_shop.warm()
    for number in range(1, 30):
        with dirty_shop.connect() as connection:
            connection.execute(
                "update customers set note = 'x', name = 'old' where id = %s", (1 + number % 10,)
            )
    dump(dirty_shop, open_dir / "dump", "plain")
    last = counter(dirty_shop.server)
    with restore(elsewhere, open_dir / "dump", "plain") as shop:
        burn_to(elsewhere, last - 60)
        number = 0
        while counter(elsewhere) < last + 20:
            number += 1
            with shop.connect() as connection:
                connection.execute(
                    "update customers set name = %s where id = %s", (f"n{number}", 1 + number % 10)
                )
                if number % 7 == 0:
                    shop.check()
                if number == 20:
                    connection.execute("call meshcache.open_cache()")
                if number > 20:
                    connection.execute(
                        "select meshcache.customer_page_fill(array[%s::integer])", (1 + number % 10,)
                    )
        shop.check()
        shop.sweep()
        shop.warm()
        shop.check()


def test_a_writer_that_has_the_xid_of_a_restored_mark_while_the_cache_opens(
    dirty_shop: CrashShop, elsewhere: PrivateServer, open_dir: Path
) -> None:
    burn_to(dirty_shop.server, counter(elsewhere) + 1000)
    xid = dirty_shop.value(
        "with written as (update customers set name = 'marked' where id = 1 returning 1)"
        " select pg_current_xact_id()::text::bigint from written"
    )
    dump(dirty_shop, open_dir / "dump", "plain")
    with restore(elsewhere, open_dir / "dump", "plain") as shop:
        burn_to(elsewhere, xid)
        writer = shop.connect(autocommit=False)
        assert scalar(writer, "select pg_current_xact_id()::text::bigint") == xid
        # The mark is there already, under this very xid, so none is written.
        writer.execute("update customers set name = 'unmarked' where id = 1")
        with shop.connect() as connection:
            connection.execute("call meshcache.open_cache()")
            assert scalar(connection, "select meshcache.customer_page_fill(array[1])") == 0
            writer.commit()
            assert scalar(connection, "select meshcache.customer_page_fill(array[1])") == 1
            assert origin(connection, "customer_page", 1) == "hit"
        shop.check()
        shop.warm()
        shop.check()


def test_a_copy_of_a_copy_with_the_same_oids_and_xids(
    dirty_shop: CrashShop, elsewhere: PrivateServer, seeds: Seeds, open_dir: Path
) -> None:
    # Two clusters made by the same steps give the same oids; here the xids are brought together too,
    # once for each of the transactions that the restore uses.
    dump(dirty_shop, open_dir / "first", "plain")
    with restore(elsewhere, open_dir / "first", "plain") as shop:
        shop.sweep()
        shop.warm()
        stored = shop.value(
            "select written_as::text::integer from meshcache_data.view_state where view_id = 1"
        )
    first = CrashShop(elsewhere.dsn("shop"), server=elsewhere)
    dump(first, open_dir / "second", "plain")
    with start_server(elsewhere.installation, seed=seeds.of("empty")) as third:
        third.create_database("shop")
        restored = restore(third, open_dir / "second", "plain")
        used = restored.value("select xmin::text::integer from meshcache_data.view_state where view_id = 1")
    for offset in (-1, 0, 1):
        with start_server(elsewhere.installation, seed=seeds.of("empty")) as third:
            third.create_database("shop")
            burn_to(third, counter(third) + stored - used + offset)
            with restore(third, open_dir / "second", "plain") as restored:
                restored.check()
                write_a_little(restored)
                restored.check()
                restored.sweep()
                restored.check()
                restored.warm()
                restored.check()


def test_data_alone_restored_over_a_cache_that_is_in_use(crash_shop: CrashShop, open_dir: Path) -> None:
    dump(crash_shop, open_dir / "dump", "custom")
    write_a_little(crash_shop)
    crash_shop.warm()
    restore(crash_shop.server, open_dir / "dump", "custom with --clean")
    assert "hit" not in set().union(*crash_shop.origins().values())
    crash_shop.check()
    write_a_little(crash_shop)
    crash_shop.check()
    crash_shop.sweep()
    crash_shop.warm()
    crash_shop.check()


def test_without_unlogged_data(dirty_shop: CrashShop, elsewhere: PrivateServer, open_dir: Path) -> None:
    dump(dirty_shop, open_dir / "dump", "plain", "--no-unlogged-table-data")
    see_it_through(restore(elsewhere, open_dir / "dump", "plain"))


def test_a_rollup_is_restored_filled(dirty_shop: CrashShop, elsewhere: PrivateServer, open_dir: Path) -> None:
    dump(dirty_shop, open_dir / "dump", "custom")
    with restore(elsewhere, open_dir / "dump", "custom") as shop:
        query = "select * from meshcache.sku_sales order by sku"
        assert shop.rows(query) == dirty_shop.rows(query) != []
        shop.run("update order_lines set quantity = 50 where id = 1")
        shop.refresh("sku_sales")
        assert shop.rows(query) == shop.rows("select * from meshcache.sku_sales_source order by sku")


@pytest.mark.parametrize("populated", [True, False])
def test_a_rollup_that_was_never_refreshed(
    crash_shop: CrashShop, elsewhere: PrivateServer, open_dir: Path, populated: bool
) -> None:
    crash_shop.apply(*SHOP[:3], SHOP[3].replace("l.sku, sum", "l.sku, count(*) as lines, sum"))
    if populated:
        crash_shop.refresh("sku_sales")
    dump(crash_shop, open_dir / "dump", "plain")
    with restore(elsewhere, open_dir / "dump", "plain") as shop:
        shop.refresh("sku_sales")
        query = "select * from meshcache.sku_sales order by sku"
        assert shop.rows(query) == shop.rows("select * from meshcache.sku_sales_source order by sku")


def test_the_copy_of_a_database_in_the_same_cluster(db: Database) -> None:
    copy = f"{db.name}_copy"
    with Shop(db.dsn) as shop:
        shop.build()
        shop.apply(*SHOP)
        shop.warm()
        shop.run("update customers set name = 'pending' where id = 3")
    db.server.create_database(copy, db.name)
    try:
        with Shop(db.server.dsn(copy)) as copied:
            copied.check()
            write_a_little(copied)
            copied.check()
            shop.check()
            write_a_little(shop)
            shop.run("update customers set name = 'only here' where id = 5")
            copied.check()
            copied.sweep()
            copied.warm()
            copied.check()
            shop.check()
    finally:
        db.server.drop_database(copy)
