"""Dependencies that were derived are right: for SELECTs and writes that nobody thought of, the cache says
after each statement what the SELECT says. And rules that are wrong are found out.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random, SystemRandom

import psycopg
import pytest
from sqlalchemy import Engine

from meshcache_pg import catalog, deriving
from meshcache_pg.definition import parse
from meshcache_pg.dependencies import Derivation, Found, derive
from meshcache_pg.errors import DefinitionError
from meshcache_pg.scopes import Facts
from tests.consistency import generated
from tests.consistency.checker import Checker, NotExact
from tests.fixtures.fix_cache import sweep
from tests.fixtures.fix_db import Database

VIEWS, WRITES = 10, 25


@dataclass
class Tally:
    """What a run has shown."""

    pairs: int = 0
    refused: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    origins: Counter[str] = field(default_factory=Counter)


def _apply(engine: Engine, text: str) -> bool:
    with engine.connect() as connection:
        try:
            catalog.apply(connection, catalog.plan(connection, [parse(text, "generated")]))
        except DefinitionError:
            connection.rollback()
            return False
        connection.commit()
        return True


def _fill(connection: psycopg.Connection, name: str) -> None:
    connection.execute("call meshcache.refresh(%s, null, 'all')", (name,))


def _write(connection: psycopg.Connection, statement: str) -> bool:
    """Execute one statement; some break a unique key, and change nothing."""
    try:
        with connection.transaction():
            connection.execute(statement.encode())
    except psycopg.errors.UniqueViolation:
        return False
    return True


def run(database: Database, seed: int) -> Tally:
    """Definitions of one seed, under its writes. Raises NotExact, with the seed and the view's definition."""
    random, tally = Random(seed), Tally()  # noqa: S311
    connection, engine = database.connect(), database.engine()
    connection.execute(generated.TABLES)
    for _ in range(60):
        _write(connection, generated.insert(random))
    selects = generated.Selects(random)
    texts: dict[str, str] = {}
    while len(texts) < VIEWS:
        name = f"g{len(texts)}"
        text = selects.definition(name)
        if _apply(engine, text):
            texts[name] = text
            _fill(connection, name)
        else:
            tally.refused += 1
    on_demand = [name for name, text in texts.items() if "coverage: on_demand" in text]
    for (kind,) in connection.execute("select d.kind from meshcache.dependency as d").fetchall():
        tally.kinds[kind] += 1
    checker = Checker.of(connection)

    def check(statement: str) -> None:
        for name, text in texts.items():
            tally.pairs += 1
            try:
                checker.assert_exact(connection, name)
            except NotExact as error:
                raise NotExact(f"seed {seed}, after: {statement}\n{text}\n{error}") from error

    written = 0
    while written < WRITES:
        statements = [generated.write(random) for _ in range(random.choice((1, 1, 1, 2, 3)))]
        with connection.transaction(force_rollback=random.random() < 0.1):
            for statement in statements:
                if _write(connection, statement):
                    check(statement)
                    written += 1
        check("; ".join(statements))
        assert sweep(connection) == "done"
        for name in on_demand:
            _fill(connection, name)
    tally.origins = checker.origins
    engine.dispose()
    return tally


@pytest.mark.parametrize("seed", [1, 2])
def test_generated_views_are_exact(fresh: Database, seed: int) -> None:
    tally = run(fresh, seed)
    assert tally.pairs >= VIEWS * WRITES
    assert set(tally.kinds) >= {"key", "carried", "linked"}
    assert tally.origins["hit"] > tally.origins["stale"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("number", range(40))
def test_views_of_random_seeds_are_exact(fresh: Database, number: int) -> None:
    seed = SystemRandom().randrange(2**32)
    tally = run(fresh, seed)
    assert tally.pairs >= VIEWS * WRITES, (number, seed)


Plant = Callable[[pytest.MonkeyPatch], None]


def _wrong(kind: str) -> Plant:
    """Let every dependency of a kind mark another column than the one that leads to the key."""

    def other(found: Found) -> Found:
        if found.kind != kind:
            return found
        column = "y" if "y" not in found.columns else "x"
        if kind == "flush":
            return replace(found, kind="key", columns=(column,), view_columns=("",))
        return replace(found, columns=(column,) * len(found.columns[:1]), view_columns=found.view_columns[:1])

    def planted(oid: int, key: Sequence[str], facts: Facts, *, add: bool = True) -> Derivation:
        derivation = derive(oid, key, facts, add=add)
        found = tuple(other(one) for one in derivation.found)
        named = tuple(replace(f, view_columns=(key[0],)) if f.view_columns == ("",) else f for f in found)
        return replace(derivation, found=named)

    return lambda patch: patch.setattr(deriving, "derive", planted)


# Each with a seed that finds it.
PLANTS = {"key": 1, "carried": 1, "linked": 2, "flush": 1}


@pytest.mark.parametrize("kind", PLANTS)
def test_a_wrong_dependency_is_found(fresh: Database, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    _wrong(kind)(monkeypatch)
    with pytest.raises(NotExact):
        run(fresh, PLANTS[kind])
