"""What the triggers cost the application's writes: the same pgbench scripts against the database with all
views of the pack attached and against its twin without a cache, in turns.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import Any, Final

import psycopg

from benchmarks import pgbench
from benchmarks.bench import Bar, Bench, Goal, Result, Table, median
from benchmarks.stage import PLAIN, House

CLIENTS: Final = 4
# Rows of the statement that inserts many at once.
BULK: Final = 100_000
# Transactions whose WAL is counted: of one client with one seed, so that both sides write the same pages.
WAL_TRANSACTIONS: Final = 2_000

# pgbench knows numbers alone: what the scripts write is found by one. The same in both databases.
_PREPARE: Final = """
    create table bench_run as
    select (row_number() over (order by r.id))::integer as n, r.id, r.workflow_id, r.project_id
    from workflow_runs as r;
    alter table bench_run add primary key (n);
    create table bench_project as
    select (row_number() over (order by p.id))::integer as n, p.id from projects as p;
    alter table bench_project add primary key (n);
    analyze bench_run, bench_project
"""
_CLEAN: Final = "drop table bench_run, bench_project"


@dataclass(frozen=True, slots=True)
class Write:
    """One kind of write; without a goal it is only in the table."""

    name: str
    script: str
    goal: Goal | None = None


WRITES: Final = (
    Write(
        "insert a run",
        """
\\set n random(1, :runs)
insert into workflow_runs (project_id, workflow_id, status)
select b.project_id, b.workflow_id, 'running' from bench_run as b where b.n = :n;
""",
        Goal(0.85, at_least=True),
    ),
    Write(
        "update a run's status",
        """
\\set n random(1, :runs)
update workflow_runs set status = 'succeeded', finished_at = now()
where id = (select b.id from bench_run as b where b.n = :n);
""",
        Goal(0.85, at_least=True),
    ),
    Write(
        "insert an event",
        """
\\set n random(1, :runs)
insert into workflow_events (run_id, type, payload)
select b.id, 'step_succeeded', '{"node": {"id": "n1", "type": "http_call"}, "attempt": 1, "next": "n2"}'
from bench_run as b where b.n = :n;
""",
        Goal(0.85, at_least=True),
    ),
    # Two views read this table, and neither this column.
    Write(
        "an update that matters to no view",
        """
\\set n random(1, :projects)
update projects set owner = gen_random_uuid()
where id = (select b.id from bench_project as b where b.n = :n);
""",
        Goal(0.98, at_least=True),
    ),
    Write(
        "rename a project",
        """
\\set n random(1, :projects)
update projects set name = 'renamed ' || :n where id = (select b.id from bench_project as b where b.n = :n);
""",
    ),
)
_OF_WAL: Final = ("full_page_writes", "autovacuum")
_BULK_INSERT: Final = """
    insert into workflow_runs (project_id, workflow_id, status)
    select b.project_id, b.workflow_id, 'running'
    from bench_run as b cross join generate_series(1, %s) where b.n <= %s
"""
# The triggers of the cache as they are, without what they do: nobody who watches statements pays less.
_EMPTY: Final = """
    create function bench_nothing() returns trigger language plpgsql as $$ begin return null; end $$
"""
_TRIGGERS: Final = """
    select pg_get_triggerdef(t.oid) from pg_trigger as t inner join pg_proc as p on p.oid = t.tgfoid
    where p.pronamespace = 'meshcache'::regnamespace and not t.tgisinternal and t.tgparentid = 0
    order by t.oid
"""
_CALLS: Final = re.compile(r"EXECUTE FUNCTION \S+\(.*\)$")
_HOT: Final = """
    select coalesce(sum(s.n_tup_upd), 0)::bigint, coalesce(sum(s.n_tup_hot_upd), 0)::bigint
    from pg_stat_user_tables as s where s.schemaname = 'public'
"""


def run(bench: Bench, house: House) -> Iterator[Result]:
    """The bars of writers."""
    with house.database("empty_triggers", PLAIN) as floor_dsn:
        _execute(floor_dsn, _EMPTY)
        for trigger in _rows(house.stage.dsn, _TRIGGERS):
            _execute(floor_dsn, _CALLS.sub("EXECUTE FUNCTION bench_nothing()", trigger[0]))
        yield from _run(bench, house, floor_dsn)


def _run(bench: Bench, house: House, floor_dsn: str) -> Iterator[Result]:
    sides = (house.plain_dsn, house.stage.dsn)
    for dsn in (*sides, floor_dsn):
        _execute(dsn, _PREPARE)
    variables = {
        "runs": int(_row(house.plain_dsn, "select count(*) from bench_run")[0]),
        "projects": int(_row(house.plain_dsn, "select count(*) from bench_project")[0]),
    }
    rows: list[tuple[str | float, ...]] = []
    for write in WRITES:
        load = pgbench.Load(write.script, clients=CLIENTS, variables=variables, seed=bench.seed)
        before = [_row(dsn, _HOT) for dsn in sides]
        without, with_cache, floor = pgbench.in_turns(
            [partial(pgbench.throughput, dsn, load, bench.seconds(8)) for dsn in (*sides, floor_dsn)],
            bench.repetitions,
        )
        hot = [_hot_share(old, _row(dsn, _HOT)) for old, dsn in zip(before, sides, strict=True)]
        with _records_alone(house.plain_dsn):
            log = [
                median(found)
                for found in pgbench.in_turns(
                    [partial(_wal, bench, dsn, load) for dsn in sides], bench.repetitions
                )
            ]
        ratio = pgbench.ratio(with_cache, without)
        rows.append(
            (
                write.name,
                *(round(median(one)) for one in (without, with_cache)),
                round(ratio, 3),
                round(pgbench.ratio(floor, without), 3),
                *(round(one) for one in log),
                round(log[1] / log[0], 3),
                *hot,
            )
        )
        if write.goal is not None:
            rates = (
                f"{median(with_cache):,.0f} against {median(without):,.0f} a second;"
                f" {pgbench.ratio(floor, without):.2f} with the same triggers that do nothing"
            )
            yield Bar(f"write throughput with all nine views: {write.name}", ratio, write.goal, rates)
            yield Bar(f"WAL per transaction: {write.name}", log[1] / log[0], Goal(1.05))
    yield _bulk(bench, sides, variables["runs"])
    yield Table(
        "writers",
        f"Writes by pgbench, {CLIENTS} clients, prepared, synchronous_commit on",
        (
            "write",
            "per second without",
            "with",
            "ratio",
            "triggers that do nothing",
            "WAL bytes without",
            "with",
            "ratio",
            "HOT without",
            "with",
        ),
        rows,
        "Mark tables are UNLOGGED: they add no WAL of their own. WAL is counted without autovacuum, and "
        "without images of pages, of which there are as many as pages not written to since a checkpoint.",
    )
    for dsn in sides:
        _execute(dsn, _CLEAN)


@contextmanager
def _records_alone(dsn: str) -> Iterator[None]:
    """Let nothing but records of transactions be in the WAL: page images depend on what happened before."""
    for setting in _OF_WAL:
        _execute(dsn, f"alter system set {setting} = off")
    _execute(dsn, "select pg_reload_conf()")
    try:
        yield
    finally:
        for setting in _OF_WAL:
            _execute(dsn, f"alter system reset {setting}")
        _execute(dsn, "select pg_reload_conf()")


def _wal(bench: Bench, dsn: str, load: pgbench.Load) -> float:
    """Bytes of WAL per transaction."""
    # Whoever does this has read the configuration before.
    _execute(dsn, "checkpoint")
    wanted = bench.rows(WAL_TRANSACTIONS)
    begin = _row(dsn, "select pg_current_wal_insert_lsn()")[0]
    pgbench.complete(dsn, replace(load, clients=1), wanted)
    return float(_row(dsn, f"select pg_current_wal_insert_lsn() - '{begin}'::pg_lsn")[0]) / wanted


def _bulk(bench: Bench, sides: tuple[str, str], runs: int) -> Bar:
    wanted = bench.rows(BULK, at_least=1_000)
    few = min(runs, wanted)

    def seconds(dsn: str) -> float:
        with psycopg.connect(dsn) as connection:
            begin = perf_counter()
            connection.execute(_BULK_INSERT, (wanted // few, few))
            took = perf_counter() - begin
            connection.rollback()
        return took

    without, with_cache = pgbench.in_turns([partial(seconds, dsn) for dsn in sides], bench.repetitions)
    return Bar(
        f"insert of {wanted // few * few:,} runs in one statement, time",
        pgbench.ratio(with_cache, without),
        Goal(1.3),
        f"{median(with_cache):.2f} s against {median(without):.2f} s",
    )


def _hot_share(before: tuple[Any, ...], after: tuple[Any, ...]) -> str:
    updated, hot = (int(new - old) for old, new in zip(before, after, strict=True))
    return f"{hot / updated:.0%}" if updated else "-"


def _execute(dsn: str, statements: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statements.encode())


def _rows(dsn: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        return connection.execute(statement.encode()).fetchall()


def _row(dsn: str, statement: str) -> tuple[Any, ...]:
    rows = _rows(dsn, statement)
    if not rows:
        raise RuntimeError(f"no row: {statement}")
    return rows[0]
