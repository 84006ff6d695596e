"""A physical standby cannot read UNLOGGED tables: reads go to the source there, and after a promotion the
cache is cold, opens again and is right.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from psycopg import errors, sql
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from meshcache_pg import MeshCache, Origin
from meshcache_pg.database import parse_url
from meshcache_pg.embedded import PrivateServer
from tests.fixtures.fix_db import TEST_SETTINGS
from tests.fixtures.fix_embedded import eventually
from tests.fixtures.fix_shop import CrashShop, define, scalar


@contextmanager
def standby_of(shop: CrashShop) -> Iterator[CrashShop]:
    """The shop on a standby, made from a copy of its server, which is killed and stays down."""
    primary = shop.server
    copy = primary.data_dir.with_name(f"{primary.data_dir.name}-standby")
    primary.kill()
    shutil.copytree(primary.data_dir, copy, symlinks=True)
    owner = primary.data_dir.stat()
    for path in [copy, *copy.rglob("*")]:
        shutil.chown(path, owner.st_uid, owner.st_gid)
    (copy / "standby.signal").touch()
    shutil.chown(copy / "standby.signal", owner.st_uid, owner.st_gid)
    try:
        with (
            # A standby wants at least the settings of its primary.
            PrivateServer(primary.installation, data_dir=copy, settings=TEST_SETTINGS) as server,
            CrashShop(server.dsn("shop"), server=server) as standby,
        ):
            yield standby
    finally:
        shutil.rmtree(copy, ignore_errors=True)
        assert not Path(copy).exists()


@pytest.fixture
def standby(crash_shop: CrashShop) -> Iterator[CrashShop]:
    """The filled shop on a standby."""
    with standby_of(crash_shop) as shop:
        yield shop


def promote(shop: CrashShop) -> None:
    assert shop.value("select pg_promote()")
    eventually(lambda: not shop.value("select pg_is_in_recovery()"), "the standby is promoted")


def test_a_standby_answers_from_the_source(standby: CrashShop) -> None:
    connection = standby.connect()
    assert scalar(connection, "select pg_is_in_recovery()")
    assert standby.origins() == {
        "order_card": {"bypass"},
        "customer_page": {"bypass"},
        "city_list": {"bypass"},
    }
    for view, key in (("order_card", "id"), ("customer_page", "id"), ("city_list", "city")):
        wrong = connection.execute(
            sql.SQL(
                "select g.* from {source} as s cross join lateral {get}(s.{key}) as g "
                "where (to_jsonb(g) - '_origin' - '_filled_at') is distinct from to_jsonb(s)"
            ).format(
                source=sql.Identifier("meshcache", f"{view}_source"),
                get=sql.Identifier("meshcache", f"{view}_get"),
                key=sql.Identifier(key),
            )
        ).fetchall()
        assert wrong == []
    # The server itself refuses a statement that names an UNLOGGED table there; lists of a complete view do.
    with pytest.raises(errors.FeatureNotSupported):
        connection.execute("select * from meshcache.order_card")


def test_repositories_on_a_standby_leave_the_transaction_usable(standby: CrashShop) -> None:
    url = parse_url(standby.dsn)
    engine = create_engine(url, poolclass=NullPool)
    with MeshCache(engine) as cache, engine.connect() as connection:
        orders = cache.view("order_card", connection)
        assert orders.get(1).origin == Origin.BYPASS
        assert orders.get(-1).origin == Origin.BYPASS
        listed = orders.list(customer_id=2, order_by=["id"])
        assert listed.origin == Origin.BYPASS
        assert [row["id"] for row in listed] == list(
            connection.scalars(text("select id from orders where customer_id = 2 order by id"))
        )
        assert set(orders.get_many([1, 2, -1])) == {1, 2, -1}
        assert connection.scalar(text("select 1")) == 1
        near = cache.near("order_card", max_staleness="1h")
        assert [near.get(1).origin, near.get(1).origin] == [Origin.BYPASS] * 2
        assert {result.origin for result in near.get_many([1, 2, -1]).values()} == {Origin.BYPASS}
        assert near.counts.entries == 0
    engine.dispose()


def test_after_a_promotion_the_cache_is_cold_and_then_warm_again(standby: CrashShop) -> None:
    promote(standby)
    assert set.union(*standby.origins().values()) == {"bypass"}
    standby.check()
    standby.run("update orders set status = 'paid' where id <= 5")
    standby.check()
    assert standby.sweep()["state"] == "done"
    standby.warm()
    standby.run("update orders set status = 'sent' where id <= 5")
    standby.check()


def test_a_transaction_that_was_prepared_before_the_promotion(crash_shop: CrashShop) -> None:
    # It comes over with the WAL, its marks do not.
    with crash_shop.connect(autocommit=False) as writer:
        writer.execute("update customers set name = 'prepared' where id = 1")
        writer.execute("prepare transaction 'before'")
    with standby_of(crash_shop) as standby:
        promote(standby)
        fill: LiteralString = "select meshcache.customer_page_fill(array[1, 2])"
        for _ in range(2):
            assert standby.sweep()["state"] == "done"
            assert standby.value(fill) == 0
            assert "hit" not in set.union(*standby.origins().values())
            standby.check()
        standby.run("commit prepared 'before'")
        standby.check()
        assert standby.sweep()["state"] == "done"
        # Complete views are back by the sweep alone, the others by whoever asks.
        assert standby.origins("order_card", "city_list") == {"order_card": {"hit"}, "city_list": {"hit"}}
        assert standby.value(fill) == 2
        assert standby.value("select name from meshcache.customer_page_hits where id = 1") == "prepared"
        standby.warm()
        standby.check()


def test_a_definition_reads_on_a_standby_that_never_saw_it_applied(standby: CrashShop) -> None:
    (definition,) = define(
        "-- name: late\n-- key: id\n-- depends: orders(id) = (id)\nselect id, status from orders"
    )
    engine = create_engine(parse_url(standby.dsn), poolclass=NullPool)
    with MeshCache(engine) as cache, engine.connect() as connection:
        assert cache.view(definition, connection).get(3).unwrap()["id"] == 3
        check_source = connection.connection.driver_connection
        assert isinstance(check_source, psycopg.Connection)
    engine.dispose()
