"""`verify --live`: it finds a wrong row and names it, and finds none where there is none, whoever writes."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
import pytest

from meshcache_pg import MeshCache, health
from meshcache_pg.errors import DefinitionError, LockBusy
from meshcache_pg.live_check import LiveReport
from tests.fixtures.fix_cli import RunCli, StartCli
from tests.fixtures.fix_shop import VIEWS, Shop

# So many reads of a view with 50 keys, in rounds of 20 different ones: that none of them is a given one
# happens once in 10^11 runs.
MANY = "1000"
UNHURRIED = ("--rate", "1000000")

SPOIL: LiteralString = "update meshcache_data.order_card set status = 'spoilt' where id = 7"
UNMARKED: tuple[LiteralString, ...] = (
    "alter table orders disable trigger user",
    "update orders set status = 'unmarked' where id = 8",
    "alter table orders enable trigger user",
)


@pytest.fixture
def cache(shop: Shop) -> Iterator[MeshCache]:
    with MeshCache(shop.dsn) as cache:
        yield cache


def compared(cache: MeshCache, view: str, *keys: str, values: bool = False) -> dict[str, Any]:
    """What the comparison of some keys says, in a transaction as the check has them."""
    with cache.begin() as connection:
        health.limit(connection, statement_ms=60_000, lock_ms=60_000)
        target = cache.target(connection, view)
        return health.compare(connection, target, [(key,) for key in keys], values=values)


def picked(cache: MeshCache, view: str, where: str) -> set[str]:
    with cache.begin() as connection:
        target = cache.target(connection, view)
        return {key for (key,) in health.pick(connection, target, where, 1000)}


def test_every_way_to_read_is_compared_in_one_snapshot(shop: Shop, cache: MeshCache) -> None:
    honest = compared(cache, "order_card", "7", "8", "999")
    assert (honest["compared"], honest["different"], honest["differences"]) == (3, 0, [])
    assert honest["origins"] == {"hit": 2, "absent": 1}
    shop.run(SPOIL, "update customers set name = 'seen' where id = 3")
    found = compared(cache, "order_card", "7", "8", values=True)
    assert found["different"] == 1
    (difference,) = found["differences"]
    pair = {"cache": "spoilt", "source": "open"}
    assert difference["key"] == {"id": 7}
    assert difference["key_text"] == ["7"]
    assert [(a["reader"], a["problem"], a["columns"]) for a in difference["answers"]] == [
        (reader, "differs", {"status": pair}) for reader in ("get", "hits", "live")
    ]
    silent = compared(cache, "order_card", "7")
    assert silent["differences"][0]["answers"][0]["columns"] == {"status": None}
    # For a wrong row with a mark the fill has to have seen it.
    shop.run("update orders set status = 'marked' where id = 6")
    shop.refresh("order_card", mode="stale")
    shop.run("update meshcache_data.order_card set status = 'spoilt' where id = 6")
    (difference,) = compared(cache, "order_card", "6")["differences"]
    (mark,) = difference["marks"]
    assert (mark["source"], mark["columns"], mark["in_fill"]) == ("public.orders", ["id"], True)
    assert mark["xid"].isdigit()
    assert difference["filled_by"].isdigit()
    shop.run("delete from meshcache_data.order_card where id = 10")
    (missing,) = compared(cache, "order_card", "9", "10")["differences"]
    assert [(a["reader"], a["problem"]) for a in missing["answers"]] == [("live", "missing in the cache")]
    shop.run(
        "alter table order_lines disable trigger user",
        "alter table orders disable trigger user",
        "delete from order_lines where order_id = 9",
        "delete from orders where id = 9",
        "alter table orders enable trigger user",
        "alter table order_lines enable trigger user",
    )
    (surplus,) = compared(cache, "order_card", "9")["differences"]
    assert {a["problem"] for a in surplus["answers"]} == {"not in the source"}
    assert [a["reader"] for a in surplus["answers"]] == ["get", "hits", "live"]


def test_keys_come_from_marks_the_cache_and_the_source(shop: Shop, cache: MeshCache) -> None:
    assert picked(cache, "order_card", "marked") == set()
    assert picked(cache, "order_card", "cached") == {str(n) for n in range(1, 51)}
    assert picked(cache, "order_card", "uncached") == set()
    shop.run(
        "update customers set name = 'carried' where id = 3",
        "update order_lines set price = 99 where order_id = 20",
        "insert into orders (id, customer_id) values (51, 1)",
        "delete from meshcache_data.customer_page where id = 4",
    )
    carried = {str(n) for n in range(2, 51, 10)}
    assert picked(cache, "order_card", "marked") == carried | {"20", "51"}
    # Line 20 leads to its customer through the order, the new order to its own.
    assert picked(cache, "customer_page", "marked") == {"3", "10", "1"} - {"10"} | {
        str(shop.value("select customer_id from orders where id = 20"))
    }
    assert picked(cache, "customer_page", "uncached") == {"4"}
    assert picked(cache, "order_card", "uncached") == {"51"}


def test_a_wrong_row_is_found_named_and_repaired(cli: RunCli, shop: Shop) -> None:
    shop.run(SPOIL, *UNMARKED)
    # The same triggers as before, so that the rows are served.
    assert shop.origins("order_card") == {"order_card": {"hit"}}
    found = cli("verify", "order_card", "--live", "--reads", MANY, *UNHURRIED)
    assert found.code == 4
    assert found.lines[1][:2] == ["order_card", "1,000"]
    for key in (7, 8):
        assert f"warning: order_card (id={key}): differs in status (get, hits, live); snapshot " in found.err
    assert "spoilt" not in found.err
    assert "unmarked" not in found.err
    repaired = cli("verify", "order_card", "--live", "--reads", MANY, *UNHURRIED, "--repair", "-v", "--json")
    assert repaired.code == 4
    assert (repaired.data["equal"], repaired.data["bound"], repaired.data["hit_bound"]) == (False, None, None)
    differences = {one["key"]["id"]: one for one in repaired.data["differences"]}
    assert {key: one["repaired"] for key, one in differences.items()} == {7: True, 8: True}
    values = {key: one["answers"][0]["values"]["status"] for key, one in differences.items()}
    assert values == {7: {"cache": "spoilt", "source": "open"}, 8: {"cache": "open", "source": "unmarked"}}
    shop.check()
    assert cli("verify", "--live", "--reads", MANY, *UNHURRIED, "-q").code == 0


@pytest.mark.parametrize("reads", [600, pytest.param(3000, marks=pytest.mark.slow)])
def test_nothing_is_found_beside_a_writer(cli: RunCli, shop: Shop, reads: int) -> None:
    with writing(shop) as written:
        answer = cli("verify", "--live", "--reads", str(reads), *UNHURRIED, "--json")
    assert written() > 0
    data = answer.data
    assert (answer.code, data["equal"], data["ended"], data["differences"]) == (0, True, "reads", [])
    assert data["compared"] == reads == sum(view["compared"] for view in data["views"])
    assert data["hits"] > 0
    assert data["stale"] + data["misses"] > 0
    origins = ("hits", "stale", "misses", "bypassed", "absent")
    assert sum(data[origin] for origin in origins) == data["compared"]
    assert data["bound"] == 3 / reads
    assert data["hit_bound"] == 3 / data["hits"]
    assert {view["name"] for view in data["views"]} == set(VIEWS)


@contextmanager
def writing(shop: Shop) -> Iterator[Callable[[], int]]:
    """Somebody writes, sweeps and fills all the while; gives how often."""
    ended = threading.Event()
    rounds = 0

    def write() -> None:
        nonlocal rounds
        with psycopg.connect(shop.dsn, autocommit=True) as connection:
            while not ended.is_set():
                n = rounds % 50 + 1
                connection.execute("update orders set status = %s where id = %s", (f"s{rounds}", n))
                connection.execute("update customers set name = %s where id = %s", (f"c{rounds}", n % 10))
                with connection.transaction():
                    connection.execute("update order_lines set price = price + 1 where order_id = %s", (n,))
                    connection.execute("delete from orders where id = 52")
                    connection.execute("insert into orders (id, customer_id) values (52, %s)", (n % 10 + 1,))
                if rounds % 5 == 0:
                    connection.execute("call meshcache.sweep()")
                connection.execute("select meshcache.customer_page_fill(array[%s::integer])", (n % 10,))
                rounds += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield lambda: rounds
    finally:
        ended.set()
        thread.join()


def test_what_is_printed_of_an_honest_cache(cli: RunCli, shop: Shop) -> None:
    answer = cli("verify", "order_card", "--live", "--reads", "300", *UNHURRIED)
    assert answer.code == 0
    assert answer.lines == [
        ["name", "compared", "hits", "stale", "misses", "bypassed", "absent", "different"],
        ["order_card", "300", "300", "0", "0", "0", "0", "0"],
    ]
    assert answer.err == (
        "0 of 300 reads differ: with 95 % confidence less than 1 % of such reads are wrong,"
        " of the 300 hits less than 1 %\n"
    )
    quiet = cli("verify", "--live", "--reads", "20", *UNHURRIED, "-q")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
    data = cli("verify", "--live", "--seconds", "0", "--json").data
    assert data["ended"] == "time"
    assert data["compared"] > 0
    # A closed cache is compared as well: its answers come from the source.
    shop.run("delete from meshcache_data.view_state", "delete from meshcache_data.epoch")
    closed = cli("verify", "--live", "--reads", "30", *UNHURRIED)
    assert closed.code == 0
    assert "there was no hit among them" in closed.err
    shop.run("truncate customers cascade")
    assert shop.sweep()["state"] == "done"
    empty = cli("verify", "--live", "--reads", "10", *UNHURRIED)
    assert (empty.code, {line[1] for line in empty.lines[1:]}) == (0, {"0"})
    assert "no view has a key" in empty.err


class Clock:
    """Time that passes while somebody sleeps, and not otherwise."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_it_is_bounded_and_in_nobodys_way(
    shop: Shop, cache: MeshCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DefinitionError, match="sku_sales is a rollup"):
        cache.verify_live(["sku_sales"], reads=1)
    seen: list[LiveReport] = []
    report = cache.verify_live(["order_card"], reads=50, rate=1e6, progress=seen.append)
    assert [one.total("compared") for one in seen] == [20, 40, 50]
    assert (report.total("compared"), report.bound, report.ended) == (50, 3 / 50, "reads")
    # Nothing is written, and a lock is not waited for.
    with cache.begin() as connection:
        health.limit(connection, statement_ms=1000, lock_ms=100)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.connection.driver_connection.execute("delete from orders")  # type: ignore[union-attr]
        connection.rollback()
    with shop.connect(autocommit=False) as other:
        other.execute("lock table customers in access exclusive mode")
        with pytest.raises(LockBusy, match="nothing was compared"):
            cache.verify_live(["city_list"], seconds=0)
        other.rollback()
    assert cache.verify_live(["city_list"], reads=2, rate=1e6).equal
    # A number of keys a second, and a time.
    clock = Clock()
    monkeypatch.setattr("meshcache_pg.live_check.time", clock)
    assert cache.verify_live(["order_card"], reads=20, rate=4).seconds == pytest.approx(5)
    report = cache.verify_live(rate=4, seconds=30)
    assert (report.ended, report.seconds) == ("time", 30)
    assert report.total("compared") <= 4 * 30
    # Without a time or a number it is a minute.
    assert cache.verify_live(["city_list"], rate=0.1).seconds == 60


def test_interrupted_it_tells_what_it_has(start_cli: StartCli, shop: Shop) -> None:
    ours, theirs = os.openpty()
    command = ("verify", "order_card", "--live", "--rate", "2", "-d", shop.dsn)
    with start_cli(*command, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        while b"1 read" not in shown:
            shown += os.read(ours, 4096)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 130
    name, number, *_ = out.splitlines()[1].split()
    assert name == "order_card"
    assert int(number) > 0


@pytest.mark.parametrize(
    "argv",
    [("--reads", "5"), ("--seconds", "5"), ("--rate", "5"), ("--live", "--sample", "0.5")],
    ids=" ".join,
)
def test_options_that_do_not_go_together(cli: RunCli, argv: tuple[str, ...]) -> None:
    answer = cli("verify", *argv)
    assert answer.code == 2
    assert "--live" in answer.err
