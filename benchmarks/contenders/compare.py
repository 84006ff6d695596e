"""All contenders that this machine has programs for, as one table."""

from collections.abc import Iterator
from contextlib import ExitStack
from random import Random
from typing import Final
from uuid import UUID

from benchmarks import programs
from benchmarks.bench import Bench, Result, Table
from benchmarks.contenders import application, speed, staleness
from benchmarks.contenders.contender import Contender, Stage
from benchmarks.contenders.django_cache import DjangoCache
from benchmarks.contenders.dogpile_region import DogpileRegion
from benchmarks.contenders.matview import MaterializedView
from benchmarks.contenders.memcached_aside import MemcachedAside
from benchmarks.contenders.meshcache import Meshcache
from benchmarks.contenders.redis_aside import RedisAside
from benchmarks.contenders.source import Floor, Source
from benchmarks.contenders.speed import Popularity, Times
from benchmarks.contenders.staleness import READERS, WRITERS, Counts
from benchmarks.contenders.twin import Twin
from benchmarks.contenders.write_through import WriteThrough

KEYS: Final = 1_000

# The name of their table.
TABLE: Final = "contenders"

_COLUMNS: Final = (
    "contender",
    "p50 µs",
    "p95 µs",
    "p99 µs",
    "reads beside writes",
    "hit ratio",
    "write share",
    "stale per million",
    "wrong at rest",
)
# Where there is nothing to count.
_NONE: Final = "-"


def run(bench: Bench, stage: Stage) -> Iterator[Result]:
    """The table, and how the times are spread. Leaves the stage's rows as they were."""
    popularity = Popularity(_keys(bench, stage))
    with application.json_by_orjson(), ExitStack() as servers:
        contenders = _contenders(bench, servers)
        # The table that it reads is filled by the one before.
        floor = Floor()
        bench.say(f"contenders: times of {len(contenders)}")
        times = speed.measure(bench, stage, [*contenders, floor], popularity)
        bench.say("contenders: reads beside writes")
        servers.callback(application.undo, stage.dsn)
        counts = staleness.measure(bench, stage, contenders, popularity)
    yield _table(times, counts, len(popularity.keys))
    yield speed.plot(times)


def _contenders(bench: Bench, servers: ExitStack) -> list[Contender]:
    """The source is the first."""
    contenders: list[Contender] = [Source(), Meshcache()]
    if redis := programs.find(bench, "redis-server"):
        socket = servers.enter_context(programs.redis_server(redis))
        contenders += [RedisAside(socket), DogpileRegion(socket)]
    if memcached := programs.find(bench, "memcached"):
        contenders.append(MemcachedAside(servers.enter_context(programs.memcached(memcached))))
    return [*contenders, DjangoCache(), Twin(), WriteThrough(), MaterializedView()]


def _keys(bench: Bench, stage: Stage) -> list[UUID]:
    with application.connect(stage.dsn) as connection:
        found = connection.execute("select d.id from workflow_definitions as d order by d.id").fetchall()
    keys = [row[0] for row in found]
    return Random(bench.seed).sample(keys, min(len(keys), bench.rows(KEYS, at_least=20)))


def _table(times: dict[str, Times], counts: dict[str, Counts], keys: int) -> Table:
    rows = [_row(title, one, counts.get(title)) for title, one in times.items()]
    reads = min(one.reads for one in times.values())
    retries = sum(one.retries for one in counts.values())
    note = (
        f"One row of workflow_definition by key out of {keys}, the popular ones more often (1/rank). Times: "
        f"nobody writes, all is cached, {reads} reads each in turns, medians of the repetitions. The rest: "
        f"{READERS} readers and {WRITERS} writers in threads, each contender alone, the sum of all "
        "repetitions; a read is stale if it is older than what was committed before it began. Wrong at rest: "
        "of the keys compared when all have stopped. Everybody connects by Unix sockets, reads outside of "
        "transactions and decodes JSON with orjson; Django and dogpile.cache pickle. All writes pay for "
        f"meshcache's triggers. {retries} writes were tried again after a deadlock. The source answers this "
        "read by two primary keys, so no table can be much faster: what is compared is what each way costs."
    )
    exact = [f"{title} {one.bound_per_million:.0f}" for title, one in counts.items() if one.stale == 0]
    if exact:
        note += (
            " Where none was stale, there are with 95 % confidence fewer per million than (rule of three): "
            f"{', '.join(exact)}."
        )
    return Table(TABLE, "The same row by key, cached in the usual ways", _COLUMNS, rows, note)


def _row(title: str, times: Times, counts: Counts | None) -> list[str | float | int]:
    begin: list[str | float | int] = [title, *(times.microseconds(part) for part in (0.5, 0.95, 0.99))]
    if counts is None:
        return [*begin, *(_NONE for _ in _COLUMNS[len(begin) :])]
    return [
        *begin,
        counts.reads,
        round(counts.hit_ratio, 3),
        round(counts.write_share, 3),
        round(counts.stale_per_million),
        f"{counts.wrong} of {counts.at_rest}",
    ]
