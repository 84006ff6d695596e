"""Reads of several views in one round trip."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, Engine, create_engine, text

from meshcache_pg import MISSING, Later, MeshCache, Origin, Settings, parse, repository
from meshcache_pg.database import parse_url
from meshcache_pg.errors import DefinitionError, InvalidKey
from tests.fixtures.fix_shop import ORDER_CARD, Shop
from tests.fixtures.fix_wire import Wire


@dataclass(frozen=True, slots=True)
class Page:
    id: int
    name: str
    city: str | None
    order_count: int
    spent: Decimal | None


@pytest.fixture
def engine(shop: Shop) -> Iterator[Engine]:
    engine = create_engine(parse_url(shop.dsn))
    yield engine
    engine.dispose()


@pytest.fixture
def wire(engine: Engine, tmp_path: Path) -> Wire:
    return Wire(engine, tmp_path)


@pytest.fixture
def cache(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[MeshCache]:
    """Everything is cached, and nothing of an earlier test is remembered."""
    monkeypatch.setattr(repository, "_missing_until", {})
    monkeypatch.setattr(repository, "_busy_until", {})
    shop.refresh()
    with MeshCache(shop.dsn, settings=Settings(fill=False)) as cache:
        yield cache


def read(cache: MeshCache, connection: Connection) -> tuple[Any, ...]:
    """A page of three views, read in one block, as their values and origins."""
    with cache.together(connection) as reads:
        cards = reads.view("order_card")
        customer = reads.view("customer_page").get_later(3)
        orders = cards.list_later(customer_id=3, order_by=("-id",), limit=3)
        first, second = cards.get_later(3), cards.get_later(23)
        nobody = reads.view("customer_page").get_later(4711)
    answers = (customer.answer, first.answer, second.answer, nobody.answer)
    return (
        *((a.value, a.origin) for a in answers),
        tuple(orders.answer),
        orders.answer.origin,
    )


def alone(cache: MeshCache, connection: Connection) -> tuple[Any, ...]:
    """The same, one after the other."""
    cards, pages = cache.view("order_card", connection), cache.view("customer_page", connection)
    answers = (pages.get(3), cards.get(3), cards.get(23), pages.get(4711))
    orders = cards.list(customer_id=3, order_by=("-id",), limit=3)
    return (*((a.value, a.origin) for a in answers), tuple(orders), orders.origin)


@pytest.mark.parametrize("level", ["AUTOCOMMIT", "READ COMMITTED", "SERIALIZABLE"])
@pytest.mark.parametrize("threshold", [None, 0, 5])
def test_several_views_take_one_round_trip(
    cache: MeshCache, engine: Engine, wire: Wire, level: str, threshold: int | None
) -> None:
    with engine.connect().execution_options(isolation_level=level) as connection:
        raw: Any = connection.connection.driver_connection
        raw.prepare_threshold = threshold
        wanted = alone(cache, connection)
        for _ in range(9):
            wire.trips()
            assert read(cache, connection) == wanted
            assert wire.trips() == 1
            connection.commit()
    origins = [origin for _, origin in wanted[:4]]
    assert origins == [Origin.HIT, Origin.HIT, Origin.HIT, Origin.MISS]
    assert wanted[-1] == Origin.HIT


def test_what_is_pending_is_answered_as_it_is(cache: MeshCache, engine: Engine, shop: Shop) -> None:
    with engine.begin() as connection:
        connection.execute(text("update orders set status = 'own' where id in (3, 23)"))
        connection.execute(text("update customers set name = 'Own' where id = 3"))
        customer, *_, orders, origin = read(cache, connection)
        assert (customer[0]["name"], customer[1]) == ("Own", Origin.STALE)
        assert origin in (Origin.STALE, Origin.HIT)
        assert read(cache, connection) == alone(cache, connection)
        connection.rollback()
    shop.run("delete from orders where customer_id = 3")
    with engine.connect() as connection:
        *_, orders, origin = read(cache, connection)
        assert orders == ()
        assert read(cache, connection) == alone(cache, connection)


def test_rows_get_their_type_and_are_counted(cache: MeshCache, engine: Engine) -> None:
    with engine.connect() as connection:
        cache.counts.drain()
        with cache.together(connection) as reads:
            page = reads.view("customer_page", Page).get_later(5)
            cards = reads.view("order_card").list_later(customer_id=5, limit=2)
            with pytest.raises(LookupError, match="after the block"):
                page.answer.unwrap()
        assert page.answer.unwrap().id == 5
        assert len(cards.answer) == 2
        counted = {str(one["name"]): one["hit"] for one in cache.counts.drain()}
        assert counted == {"customer_page": 1, "order_card": 1}


def test_an_error_in_the_block_sends_nothing(cache: MeshCache, engine: Engine, wire: Wire) -> None:
    with engine.connect() as connection:
        cache.view("customer_page", connection).get(1)
        wire.trips()
        found: list[Later[Any]] = []

        def fail() -> None:
            with cache.together(connection) as reads:
                found.append(reads.view("customer_page").get_later(3))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert wire.trips() == 0
        with pytest.raises(LookupError):
            found[0].answer.unwrap()
        with cache.together(connection):
            pass
        assert wire.trips() == 0


@pytest.mark.parametrize("key", ["three", object(), 2**70])
def test_a_wrong_key_leaves_the_transaction_usable(cache: MeshCache, engine: Engine, key: Any) -> None:
    with engine.begin() as connection:
        connection.execute(text("update customers set name = 'Own' where id = 3"))
        found: list[Later[Any]] = []

        def ask() -> None:
            with cache.together(connection) as reads:
                found.extend(reads.view("customer_page").get_later(one) for one in (3, key))

        with pytest.raises(InvalidKey):
            ask()
        assert found[0].answer.unwrap()["name"] == "Own"
        assert read(cache, connection)[0][0]["name"] == "Own"
        with pytest.raises(InvalidKey), cache.together(connection) as reads:
            reads.view("customer_page").get_later(1, 2)
        with pytest.raises(InvalidKey), cache.together(connection) as reads:
            reads.view("order_card").list_later(limit=-1)
        with pytest.raises(DefinitionError), cache.together(connection) as reads:
            reads.view("order_card").list_later(colour=1)
        assert connection.scalar(text("select name from customers where id = 3")) == "Own"


def test_without_the_cache_the_source_answers(cache: MeshCache, engine: Engine, shop: Shop) -> None:
    definition = parse(ORDER_CARD, "order_card")
    with engine.connect() as connection:
        wanted = read(cache, connection)
        connection.commit()
        shop.run("drop table meshcache_data.order_card cascade")
        for _ in range(2):
            found = read(cache, connection)
            assert found[:1] == wanted[:1]
            with cache.together(connection) as reads:
                first = reads.view(definition).get_later(3)
                orders = reads.view(definition).list_later(customer_id=3, order_by=("-id",), limit=3)
            assert (first.answer.value, first.answer.origin) == (wanted[1][0], Origin.BYPASS)
            assert (tuple(orders.answer), orders.answer.origin) == (wanted[-2], Origin.BYPASS)


def test_statements_that_others_have_prepared_or_deallocated(cache: MeshCache, engine: Engine) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        raw: Any = connection.connection.driver_connection
        raw.prepare_threshold = 0
        wanted = read(cache, connection)
        raw.execute("deallocate all")
        assert read(cache, connection) == wanted
        # What was prepared is not known any more, as behind a pooler.
        del raw._meshcache_session
        assert read(cache, connection) == wanted
        assert read(cache, connection) == wanted


def test_in_a_pipeline_of_the_callers_each_is_asked_alone(cache: MeshCache, engine: Engine) -> None:
    with engine.connect() as connection:
        wanted = alone(cache, connection)
        raw: Any = connection.connection.driver_connection
        assert isinstance(raw, psycopg.Connection)
        with raw.pipeline():
            assert read(cache, connection) == wanted


def test_a_rollup_is_among_them(cache: MeshCache, engine: Engine) -> None:
    with engine.connect() as connection:
        with cache.together(connection) as reads:
            sales = reads.view("sku_sales").get_later("sku 1")
            nothing = reads.view("sku_sales").get_later("no such")
        assert sales.answer.unwrap() == cache.view("sku_sales", connection).get("sku 1").unwrap()
        assert nothing.answer.value is MISSING
