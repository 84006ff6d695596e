"""A hit and a near hit against what people would use instead: redis-py with hiredis, GET over a Unix socket
and orjson, of the same documents.
"""

from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any, Final
from uuid import UUID

import orjson

from benchmarks import programs
from benchmarks.bench import Bar, Bench, Goal, Result, Table, median
from benchmarks.clock import compare
from benchmarks.contenders import application
from benchmarks.contenders.redis_aside import redis_reader
from benchmarks.hits import KEYS, VIEW, chosen
from benchmarks.stage import House
from meshcache_pg.meshhook import WorkflowDefinition, WorkflowRepository

# A near hit takes less time than to look at the clock: so many are timed together.
AT_ONCE: Final = 200
STALENESS_SECONDS: Final = 60.0


def run(bench: Bench, house: House) -> Iterator[Result]:
    """The bars against Redis; left out where there is none."""
    redis = programs.find(bench, "redis-server")
    if redis is None:
        return
    cache = house.stage.cache
    cache.refresh(VIEW, "all")
    near = cache.near(VIEW, WorkflowDefinition, max_staleness=STALENESS_SECONDS, max_entries=KEYS)
    with (
        application.json_by_orjson(),
        programs.redis_server(redis) as socket,
        house.stage.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
    ):
        keys = chosen(bench, connection)
        repository = WorkflowRepository(cache, connection)
        rows = [repository.get(key).unwrap() for key in keys]
        with redis_reader(socket, orjson.loads, rows) as get:
            ways: dict[str, Callable[..., Any]] = {"repository": repository.get, "redis": get}
            times = compare(bench, ways, [(key,) for key in keys], seconds=12)
            near_us = _near(bench, near.get, keys)
    cells: list[tuple[str | float, ...]] = [
        (name, *times[way].cells)
        for way, name in (("repository", "repository"), ("redis", "Redis, GET and orjson"))
    ]
    yield Table(
        "against_redis",
        "A document of workflow_definition by key, in microseconds",
        ("way", "p50", "p95", "p99"),
        [*cells, ("near cache", round(near_us, 3), "-", "-")],
        "Redis and PostgreSQL over Unix sockets. Redis returns a dict, the others a dataclass. What a near "
        f"cache returns may be old, here by up to {STALENESS_SECONDS:g} s; a repository's hit may not.",
    )
    yield Bar(
        "hit through the repository, p50, against redis-py GET and orjson",
        times["repository"].p50 / times["redis"].p50,
        Goal(1.0),
    )
    yield Bar(
        "near-cache hit against redis-py GET and orjson: times faster",
        times["redis"].p50 / near_us,
        Goal(50, at_least=True),
    )


def _near(bench: Bench, get: Callable[[UUID], Any], keys: list[UUID]) -> float:
    """Microseconds of one hit, the median of many rounds."""
    for key in keys:
        get(key)
    asked = [keys[n % len(keys)] for n in range(AT_ONCE)]
    rounds: list[float] = []
    end = perf_counter() + bench.seconds(3)
    while perf_counter() < end:
        begin = perf_counter()
        for key in asked:
            get(key)
        rounds.append((perf_counter() - begin) / AT_ONCE * 1e6)
    if get(keys[0]).origin != "near":
        raise RuntimeError("no near hit")
    return median(rounds)
