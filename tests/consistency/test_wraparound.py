"""Transaction ids over the end of 32 bits: the protocol compares 64-bit ids, and a row's `xmin` has 32.

A throwaway cluster is led there by pg_resetwal in three leaps, each shorter than half the circle and each
after everything was frozen, as the years would do it.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from meshcache_pg.embedded import Installation, PrivateServer
from tests.fixtures.fix_db import TEST_SETTINGS
from tests.fixtures.fix_shop import SHOP, VIEWS, Shop, origin, scalar
from tests.integration.test_restore import burn_to, counter

# First ids of pages of pg_xact, which the server then makes itself.
LEAPS = (1_500_020_736, 3_000_008_704)
LAST_PAGE = 2**32 - 2**15
EPOCH = 5
HIT = {view: {"hit"} for view in VIEWS}


@pytest.fixture
def server(installation: Installation, open_dir: Path) -> Iterator[PrivateServer]:
    """A cluster whose data outlives a stop."""
    if not os.access(installation.program("pg_resetwal"), os.X_OK):
        pytest.skip(f"{installation} has no pg_resetwal")
    settings = TEST_SETTINGS | {"autovacuum": "off"}
    with PrivateServer(installation, data_dir=open_dir / "data", settings=settings) as server:
        yield server


def freeze(server: PrivateServer) -> None:
    """Every row of every database is older than all ids."""
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        names = [name for (name,) in connection.execute("select datname from pg_database")]
        for name in names:
            connection.execute(
                sql.SQL("alter database {} with allow_connections true").format(sql.Identifier(name))
            )
    for name in names:
        with psycopg.connect(server.dsn(name), autocommit=True) as connection:
            connection.execute("vacuum (freeze)")


def leap(server: PrivateServer, xid: int, epoch: int) -> Shop:
    """Freeze, stop, set the next transaction id, start; UNLOGGED tables stay, as at any clean restart."""
    freeze(server)
    server.stop()
    owner = server.data_dir.stat()
    done = subprocess.run(
        [
            server.installation.program("pg_resetwal"),
            f"--next-transaction-id={xid}",
            f"--epoch={epoch}",
            str(server.data_dir),
        ],
        # The server runs as another user than root.
        user=owner.st_uid,
        group=owner.st_gid,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    server.start()
    assert counter(server) >= epoch * 2**32 + xid
    return Shop(server.dsn("shop"))


def fill_page(shop: Shop, *keys: int) -> int:
    filled: int = shop.value("select meshcache.customer_page_fill(%s::integer[])", list(keys))
    return filled


def test_a_cache_that_is_older_than_the_circle_of_ids(server: PrivateServer) -> None:
    server.create_database("shop")
    with Shop(server.dsn("shop")) as shop:
        shop.build()
        shop.apply(*SHOP)
        shop.warm()
        epoch = shop.value("select id from meshcache_data.epoch")
        stored = shop.rows("select id, _filled_by from meshcache_data.customer_page order by id")
    for xid in LEAPS:
        with leap(server, xid, 0) as shop:
            assert shop.origins() == HIT
            shop.run("update customers set name = name || '.' where id = 1")
            shop.check()
            assert shop.value("select name from meshcache.customer_page_get(1)").endswith(".")
            assert shop.sweep()["state"] == "done"
            assert fill_page(shop, 1) == 1
            assert shop.origins() == HIT
            shop.check()
    with leap(server, LAST_PAGE, EPOCH) as shop:
        assert shop.origins() == HIT
        over_the_end(shop, server)
        # It was never opened anew, and what nobody wrote to is still what was filled before the first leap.
        assert shop.value("select id from meshcache_data.epoch") == epoch
        kept = shop.rows("select id, _filled_by from meshcache_data.customer_page where id = 10")
        assert kept == [stored[-1]]
        with shop.connect() as connection:
            assert origin(connection, "customer_page", 10) == "hit"


def over_the_end(shop: Shop, server: PrivateServer) -> None:
    """Writes, fills and sweeps with ids on both sides, some of them in one another's snapshots."""
    end = (EPOCH + 1) * 2**32
    burn_to(server, end - 40)
    fill_page(shop, 1, 2, 3, 4)
    before, after = shop.connect(autocommit=False), shop.connect(autocommit=False)
    before.execute("update customers set name = 'from before the end' where id = 2")
    assert scalar(before, "select pg_current_xact_id()::text::bigint") < end
    old = shop.connect(autocommit=False)
    old.execute("set transaction isolation level repeatable read")
    assert origin(old, "customer_page", 1) == "hit"
    number = 0
    while counter(server) < end + 40:
        number += 1
        shop.run("update customers set name = name || ',' where id = 1")
        with shop.connect() as connection:
            assert origin(connection, "customer_page", 1) == "stale"
            assert scalar(connection, "select meshcache.customer_page_fill(array[1])") == 1
            assert origin(connection, "customer_page", 1) == "hit"
            assert origin(connection, "customer_page", 2) == "hit"
        shop.check()
        if number % 5 == 0:
            # The open transaction from before the end keeps the horizon there.
            assert shop.sweep()["state"] == "done"
            shop.check()
    after.execute("update customers set name = 'from after the end' where id = 3")
    assert scalar(after, "select pg_current_xact_id()::text::bigint") > end
    assert fill_page(shop, 2, 3) == 2
    before.commit()
    after.commit()
    assert shop.rows(
        "select g.name, g._origin from generate_series(2, 3) as n, meshcache.customer_page_get(n) as g"
    ) == [("from before the end", "stale"), ("from after the end", "stale")]
    assert origin(old, "customer_page", 1) == "hit"
    assert scalar(old, "select name from meshcache.customer_page_get(2)") == "customer 2"
    old.commit()
    shop.check()
    assert shop.sweep()["state"] == "done"
    shop.run("vacuum (freeze)")
    # What the sweep left is what nobody wrote to after its fill.
    assert shop.value("select array_agg(id order by id) from meshcache.customer_page_hits") == [
        1,
        *range(4, 11),
    ]
    shop.check()
    assert fill_page(shop, 1, 2, 3) == 3
    assert shop.origins() == HIT


def test_rows_and_state_of_the_last_epoch_are_not_taken_for_their_own(server: PrivateServer) -> None:
    # A copy of a row, as a restore makes it, has another xmin than its fill: on the other side of the end,
    # and when it is frozen.
    server.create_database("shop")
    with Shop(server.dsn("shop")) as shop:
        shop.build()
        shop.apply(*SHOP)
    leap(server, LEAPS[0], 0)
    leap(server, LEAPS[1], 0)
    with leap(server, LAST_PAGE, 0) as shop:
        shop.warm()
        burn_to(server, 2**32 + 10)
        shop.run(
            "create table copied as select * from meshcache_data.customer_page",
            "update copied set name = 'copied'",
            "delete from meshcache_data.customer_page",
            "insert into meshcache_data.customer_page select * from copied",
        )
        assert shop.origins("customer_page") == {"customer_page": {"stale"}}
        shop.check()
        shop.run("vacuum (freeze) meshcache_data.customer_page")
        assert shop.origins("customer_page") == {"customer_page": {"stale"}}
        shop.run(
            "create table stated as select * from meshcache_data.view_state",
            "delete from meshcache_data.view_state",
            "insert into meshcache_data.view_state select * from stated",
        )
        assert shop.origins("order_card") == {"order_card": {"bypass"}}
        shop.run(
            "create table opened as select * from meshcache_data.epoch",
            "delete from meshcache_data.epoch",
            "insert into meshcache_data.epoch select * from opened",
        )
        assert fill_page(shop, 1) == 0
        assert shop.sweep()["state"] == "done"
        shop.warm()
        shop.check()
