"""The checker's own test: with a rule of the protocol broken it must find a wrong row, and without that none.

Where the cache has two rules against one flaw, both are broken; either of them alone is enough.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from meshcache_pg.embedded import Installation, PrivateServer
from tests.consistency import directed, plants
from tests.consistency.harness.options import Plant
from tests.consistency.planted import PLANTED, Planted, play, restored
from tests.fixtures.fix_db import Database, start_server
from tests.fixtures.fix_templates import Clone, Seeds, Templates

EXPLANATION = Path(__file__).parents[2] / "docs" / "explanation" / "consistency.md"

QUIET = [one for one in PLANTED if not one.crashes and not one.restored]
CRASHES = [one for one in PLANTED if one.crashes]
RESTORED = [one for one in PLANTED if one.restored]
# Some mistakes have their schedule in common, and some a rule.
SCHEDULES = {one.schedule: one for one in QUIET}.values()
ALONE = {
    (one.schedule, plant): (one, plant) for one in QUIET if len(one.plants) > 1 for plant in one.plants
}.values()


def by_name(value: object) -> str | None:
    """How a parameter is called."""
    if isinstance(value, Planted):
        return value.name
    return getattr(value, "__name__", None)


@pytest.fixture
def ready(templates: Templates, clone: Clone) -> Database:
    """The tables of the written schedules, and every cached view warm."""
    return clone(templates.of("planted", directed.build))


@contextmanager
def to_crash(installation: Installation, seeds: Seeds) -> Iterator[Database]:
    """The same on a server of its own."""

    def build(server: PrivateServer) -> None:
        server.create_database("planted")
        with ExitStack() as opened:
            directed.build(Database(server, "planted", opened))

    with start_server(installation, seed=seeds.of("planted", build)) as server, ExitStack() as opened:
        yield Database(server, "planted", opened)


@pytest.mark.parametrize("planted", SCHEDULES, ids=lambda one: one.schedule.__name__)
def test_a_schedule_finds_nothing_in_the_cache_as_it_is(ready: Database, planted: Planted) -> None:
    assert play(planted, ready, ()) is None


@pytest.mark.parametrize("planted", QUIET, ids=by_name)
def test_a_mistake_is_found(ready: Database, planted: Planted) -> None:
    assert play(planted, ready, planted.plants) is not None


@pytest.mark.parametrize(("planted", "plant"), ALONE, ids=by_name)
def test_either_of_two_rules_is_enough(ready: Database, planted: Planted, plant: Plant) -> None:
    assert play(planted, ready, (plant,)) is None


@pytest.mark.parametrize("planted", CRASHES, ids=by_name)
@pytest.mark.parametrize("broken", [False, True], ids=["whole", "broken"])
def test_a_mistake_is_found_after_a_crash(
    installation: Installation, seeds: Seeds, planted: Planted, broken: bool
) -> None:
    with to_crash(installation, seeds) as database:
        found = play(planted, database, planted.plants if broken else ())
        assert (found is not None) == broken


@pytest.mark.parametrize("planted", RESTORED, ids=by_name)
def test_a_mistake_is_found_after_a_restore(
    installation: Installation, seeds: Seeds, planted: Planted
) -> None:
    with to_crash(installation, seeds) as database, restored(database, seeds.of("empty")) as copy:
        assert play(planted, copy, ()) is None
        # Nobody has opened the cache: everything that was brought along is still there.
        assert play(planted, copy, planted.plants) is not None


@pytest.mark.newest_major
def test_a_patch_without_its_text_is_an_error(ready: Database) -> None:
    connection = ready.connect()
    # What is patched already is no longer there.
    for plant in (plants.no_barrier, plants.expired_rows_served, plants.no_truncate_trigger):
        plant(connection)
        with pytest.raises(AssertionError, match="any more"):
            plant(connection)


def test_the_rules_are_explained() -> None:
    headings = [line.lstrip("# ") for line in EXPLANATION.read_text("utf-8").splitlines() if line[:1] == "#"]
    rules = {planted.rule for planted in PLANTED if planted.rule}
    assert not {rule for rule in rules if not any(heading.startswith(rule) for heading in headings)}
