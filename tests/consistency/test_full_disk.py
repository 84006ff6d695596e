"""A disk that is full for the cache: a write whose mark finds no room fails whole, as any write on a full
disk.

The disk is as full as it has to be for one connection: its server process may make no file longer than the
marks' table is now. Extending a table then fails where it would for want of space.
"""

import shutil
import subprocess
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql

from meshcache_pg.embedded import PrivateServer
from tests.fixtures.fix_shop import SHOP, CrashShop, check, origin, scalar

pytestmark = pytest.mark.skipif(
    shutil.which("prlimit") is None, reason="needs prlimit, to limit the files of a running process"
)

# The server writes its log of changes in files of 16 MB, which have to fit.
MEGABYTES = 17
MARKED: LiteralString = (
    "select m.id from meshcache.mark_table as m inner join meshcache.source_table as s on s.id = m.source_id"
    " where s.relation = 'customers'::regclass and m.columns = '{id}'"
)


def limit_files(connection: psycopg.Connection, size: int | str) -> None:
    """The longest file that the server process of a connection may write; or `unlimited`."""
    process = connection.info.backend_pid
    owner = Path(f"/proc/{process}").stat()
    subprocess.run(
        ["prlimit", "--pid", str(process), f"--fsize={size}:"],
        # A process may limit those of its own user.
        user=owner.st_uid,
        group=owner.st_gid,
        cwd="/",
        check=True,
    )


def fill_up(shop: CrashShop) -> int:
    """Make a table of marks large and full; returns its size."""
    table = sql.Identifier("meshcache", f"mark_{shop.value(MARKED)}")
    with shop.connect() as connection:
        # Marks of values that no row has.
        connection.execute(
            sql.SQL("insert into {} (id) select -n from generate_series(1, 450000) as n").format(table)
        )
        size: int = scalar(
            connection, sql.SQL("select pg_relation_size({})").format(sql.Literal(table.as_string()))
        )
    assert size > MEGABYTES * 2**20
    return size


def write_until_full(connection: psycopg.Connection) -> int:
    """Rename customers 1,000 at a time until it fails; returns how often it went well."""
    for number in range(100):
        connection.execute("update customers set name = %s where id > 1000", (f"name {number}",))
        connection.commit()
    return 100


def test_a_write_whose_mark_finds_no_room_fails_whole(cluster: PrivateServer) -> None:
    cluster.create_database("shop")
    with CrashShop(cluster.dsn("shop"), server=cluster) as shop:
        shop.build()
        shop.run(
            "insert into customers (id, name) select n, 'many' from generate_series(1001, 1900) as n",
            # Room for what the source itself writes.
            "alter table customers set (autovacuum_enabled = off)",
        )
        shop.apply(*SHOP)
        size = fill_up(shop)
        shop.warm()
        writer = shop.connect(autocommit=False)
        limit_files(writer, size)
        with pytest.raises(psycopg.DatabaseError, match="could not extend file"):
            write_until_full(writer)
        writer.rollback()
        # No part of it stays, everybody else goes on, and every read is right.
        assert shop.value("select count(distinct name) from customers where id > 1000") == 1
        shop.check()
        shop.run("update customers set name = 'by another' where id = 1")
        with shop.connect() as connection:
            assert origin(connection, "customer_page", 1) == "stale"
            assert origin(connection, "customer_page", 2) == "hit"
        # What writes to no such table goes on in the connection that has no room, reads as well.
        writer.execute("update customers set note = 'matters to no view' where id = 2")
        writer.commit()
        check(writer)
        writer.commit()
        limit_files(writer, "unlimited")
        writer.execute("update customers set name = 'there is room' where id > 1000")
        writer.commit()
        shop.check()
        assert shop.sweep()["state"] == "done"
        shop.warm()
        shop.check()
