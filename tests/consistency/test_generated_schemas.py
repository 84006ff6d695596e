"""The same as test_generated.py over schemas that are generated, too; and whether that finds a mistake in any
of the rules by which dependencies are derived.
"""

from collections.abc import Callable
from random import SystemRandom

import pytest

from tests.consistency.checker import NotExact
from tests.consistency.generate.plants import KINDS, RULES
from tests.consistency.generate.running import Size, Tally, run
from tests.fixtures.fix_db import Database

# Every one of these has to be in views that were accepted.
_SHAPES = """
    view; security_invoker; a CTE used twice; recursive CTE; sub-select; scalar sub-query; correlated
    sub-query; lateral; exists; not exists; in; not in; join; left join; right join; full join; self join;
    the same table several times; group by; distinct on; having; window; union; except; intersect; using;
    natural; cast; expression as key; set-returning function over a column; order by and limit; grouping
    sets; filter; ordered-set aggregate; array column; composite column; quoted identifiers; non-ASCII
    identifiers; tables in several schemas; inheritance; partitions; two columns compared
"""
SHAPES = frozenset(" ".join(_SHAPES.split()).split("; "))
KEYS = frozenset(("simple", "composite", "text", "uuid", "none", "partitioned", "inherited"))

GATE = Size(views=6, writes=60)
WHOLE = Size(views=12, writes=120)
SMALL = Size(views=6, writes=120)

# Mistakes that a seed finds at once, among those that the slow tests look for with many.
QUICK = {"linked": 1, "LIMIT is transparent": 1}


@pytest.mark.parametrize("seed", [1])
def test_views_over_a_generated_schema_are_exact(fresh: Database, seed: int) -> None:
    tally = run(fresh, seed, GATE)
    assert tally.pairs >= 250
    assert set(tally.kinds) >= {"key", "carried", "linked"}
    assert tally.origins["hit"] > tally.origins["stale"] > 0


@pytest.mark.slow
def test_twenty_thousand_pairs_are_exact(fresh_databases: Callable[[], Database]) -> None:
    """Fixed seeds, then random ones, until there are enough pairs and every shape was met."""
    whole = Tally()
    random = SystemRandom()
    number = 0
    while whole.pairs < 20_000 or not set(whole.shapes) >= SHAPES or not set(whole.tables) >= KEYS:
        assert number < 100, f"not met: {SHAPES - set(whole.shapes)}, {KEYS - set(whole.tables)}"
        seed = number if number < 10 else random.randrange(2**32)
        whole.add(run(fresh_databases(), seed, WHOLE))
        number += 1
    assert set(whole.kinds) == {"key", "carried", "linked", "flush"}


def _found(fresh_databases: Callable[[], Database], name: str, seeds: range) -> bool:
    for seed in seeds:
        try:
            run(fresh_databases(), seed, SMALL, {**KINDS, **RULES}[name])
        except NotExact:
            return True
    return False


@pytest.mark.parametrize("name", QUICK)
def test_a_planted_mistake_is_found(fresh_databases: Callable[[], Database], name: str) -> None:
    assert _found(fresh_databases, name, range(QUICK[name], QUICK[name] + 1))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*KINDS, *RULES])
def test_every_planted_mistake_is_found(fresh_databases: Callable[[], Database], name: str) -> None:
    assert _found(fresh_databases, name, range(20))
