"""How a read by key is asked: hits by a statement that finds hits alone, the rest by one that reaches the
source as well, and without prepared statements by the function, whose plans are kept.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import orjson
import psycopg
import pytest
from psycopg.types.json import set_json_loads
from sqlalchemy import Connection

from meshcache_pg import MISSING, MeshCache, Origin, Settings, exchange, repository, statements
from meshcache_pg.driver import driver, is_binary, run
from tests.fixtures.fix_shop import Shop

VIEW = "customer_page"
QUIET = Settings(fill=False)


class Asked:
    """The statements that reads send, by what they are."""

    def __init__(self, cache: MeshCache, connection: Connection) -> None:
        target = cache.target(connection, VIEW)
        self._names = {
            statements.hit(target): "hit",
            statements.by_key(target): "by key",
            statements.by_function(target): "function",
        }
        self._seen: list[str] = []

    def run(self, raw: psycopg.Connection[Any], statement: str, values: Sequence[Any], **how: Any) -> Any:
        self._seen.append(self._names.get(statement, "other"))
        return run(raw, statement, values, **how)

    def taken(self) -> list[str]:
        """Since the last time."""
        seen, self._seen = self._seen, []
        return seen


@contextmanager
def reading(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[MeshCache, Connection, Asked]]:
    """With one connection; no read of an earlier test counts."""
    monkeypatch.setattr(repository, "_missing_until", {})
    with (
        MeshCache(shop.dsn, settings=QUIET) as cache,
        shop.engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
    ):
        asked = Asked(cache, connection)
        monkeypatch.setattr(repository, "run", asked.run)
        yield cache, connection, asked


def test_a_hit_is_one_statement_that_finds_hits_alone(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.refresh(VIEW)
    with reading(shop, monkeypatch) as (cache, connection, asked):
        view = cache.view(VIEW, connection)
        result = view.get(1)
        assert result.origin == Origin.HIT
        assert result.age is not None
        assert asked.taken() == ["hit"]
        assert {**view.get_many([1])[1].unwrap()} == {**result.unwrap()}


def test_after_a_miss_the_statement_with_the_source_comes_first(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.refresh(VIEW)
    shop.run("update customers set name = 'renamed' where id = 2")
    with reading(shop, monkeypatch) as (cache, connection, asked):
        view = cache.view(VIEW, connection)
        assert view.get(2).unwrap()["name"] == "renamed"
        assert asked.taken() == ["hit", "by key"]
        assert view.get(2).origin == Origin.STALE
        assert asked.taken() == ["by key"]
        # A hit is one as well while that lasts.
        assert view.get(1).origin == Origin.HIT
        assert asked.taken() == ["by key"]
        monkeypatch.setattr(repository, "monotonic", lambda: 1e12)
        assert view.get(1).origin == Origin.HIT
        assert asked.taken() == ["hit"]


def test_a_key_that_the_source_does_not_have_is_a_miss_as_well(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.refresh(VIEW)
    with reading(shop, monkeypatch) as (cache, connection, asked):
        view = cache.view(VIEW, connection)
        for expected in (["hit", "by key"], ["by key"]):
            assert view.get(123_456).value is MISSING
            assert asked.taken() == expected


def test_what_is_not_prepared_asks_the_function(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.refresh(VIEW)
    with reading(shop, monkeypatch) as (cache, connection, asked):
        driver(connection).prepare_threshold = None
        view = cache.view(VIEW, connection)
        assert view.get(1).origin == Origin.HIT
        assert view.get(123_456).value is MISSING
        assert asked.taken() == ["function", "function"]


def test_a_function_that_reads_json_keeps_the_binary_format(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with reading(shop, monkeypatch) as (cache, connection, _):
        raw = driver(connection)
        set_json_loads(orjson.loads, raw)
        assert is_binary(raw, ("jsonb", "json", "integer"))
        assert exchange.ask(raw, "select %s::jsonb", ('{"n": 1}',), binary=True).rows == [({"n": 1},)]
        set_json_loads(lambda text: ("mine", text), raw)
        kept = exchange.ask(raw, "select %s::jsonb", ('{"n": 1}',), binary=False).rows
        assert kept[0][0][0] == "mine"
        assert cache.target(connection, VIEW).has_hits
