"""The MeshHook application as a workload: the writes of tests.consistency.writes, and what they leave out."""

import uuid
from random import Random
from typing import LiteralString

import psycopg
from psycopg import sql
from sqlalchemy import create_engine

from meshcache_pg import definition
from meshcache_pg.database import parse_url
from meshcache_pg.definition import Definition
from meshcache_pg.meshhook.sample import Size, generate, install_schema
from meshcache_pg.sql import read, sql_dir
from tests.consistency import writes
from tests.consistency.harness import ledger
from tests.consistency.harness.workload import Parameters, Step, statement
from tests.consistency.schedule import KEYS

# Few keys, so that concurrent transactions meet; enough of them that a look compares hundreds of rows.
SIZE = Size(projects=3, workflows=16, runs=120, events_per_run=3, months=2, event_months=2)

# From here on nothing is added by the application itself: room for partitions that come and go.
_SPARE_YEAR = 2031

_TRIM: dict[str, LiteralString] = {
    "delete the runs that are too many": """
        delete from workflow_runs as r using (
            select o.id from workflow_runs as o order by o.created_at desc, o.id offset 150
        ) as old where r.id = old.id""",
    "delete the workflows that are too many": """
        delete from workflow_definitions as d using (
            select o.id from workflow_definitions as o order by o.created_at desc, o.id offset 20
        ) as old where d.id = old.id""",
    "delete the projects that are too many": """
        delete from projects as p using (
            select o.id from projects as o order by o.created_at desc, o.id offset 4
        ) as old where p.id = old.id""",
    "delete the events that are too many": """
        delete from workflow_events as e using (
            select o.id from workflow_events as o order by o.id desc offset 700
        ) as old where e.id = old.id""",
    "new projects": """
        insert into projects (owner, name)
        select gen_random_uuid(), 'new ' || n from generate_series(1, 3) as n
        where (select count(*) from projects) < 3""",
    "new workflows": """
        insert into workflow_definitions (project_id, slug, name, definition)
        select p.id, 'new-' || n, 'new', '{"nodes": [{"id": "n1"}, {"id": "n2"}]}'
        from projects as p cross join generate_series(1, 4) as n
        where (select count(*) from workflow_definitions) < 12
        on conflict do nothing""",
    "new runs": """
        insert into workflow_runs (project_id, workflow_id, status)
        select d.project_id, d.id, 'running'
        from workflow_definitions as d cross join generate_series(1, 8) as n
        where (select count(*) from workflow_runs) < 100""",
}

# What the pack does not ask: each of them needs marks of columns of its own.
_OTHERS = (
    """
-- key: project_id, status
-- coverage: complete
select r.project_id, r.status, count(*) as run_count, max(r.started_at) as last_start
from workflow_runs as r group by r.project_id, r.status
""",
    """
-- key: name
-- coverage: complete
select d.name, count(*) as run_count from workflow_definitions as d
inner join workflow_runs as r on r.workflow_id = d.id group by d.name
""",
    """
-- key: type
select e.type, count(*) as event_count, max(e.ts) as last_ts from workflow_events as e group by e.type
""",
    """
-- key: name
-- coverage: complete
select p.name, count(*) as project_count from projects as p group by p.name
""",
)


class MeshHook:
    """Two months of events, so that there are partitions; the pack is what is cached."""

    name = "meshhook"
    tables = ("projects", "workflow_definitions", "workflow_runs", "workflow_events", "ledger")

    def __init__(self, *, calls_cache: bool = True) -> None:
        self._rare = {
            name: text for name, text in writes.RARE.items() if calls_cache or "meshcache." not in text
        }
        pack = [one for one in definition.load([sql_dir() / "meshhook"]) if one.kind == "cached_view"]
        self.definitions: list[Definition] = [*pack, definition.parse(ledger.DEFINITION, "ledger_total")]
        self.variants = [_wider_run_card(), *(_other_coverage(one) for one in pack)]
        self._partitions: list[str] = []

    def create(self, dsn: str) -> None:
        engine = create_engine(parse_url(dsn))
        with engine.begin() as connection:
            install_schema(connection)
            generate(connection, SIZE)
        engine.dispose()
        with psycopg.connect(dsn, autocommit=True) as raw:
            raw.execute(writes.HELPERS)
            raw.execute(writes.SMALLER)
            raw.execute(ledger.TABLES)
        self.join(dsn)

    def join(self, dsn: str) -> None:
        """Look at tables that another process has made."""
        with psycopg.connect(dsn, autocommit=True) as raw:
            self._partitions = [
                name
                for (name,) in raw.execute(
                    "select c.relname from pg_inherits as i inner join pg_class as c on c.oid = i.inhrelid"
                    " where i.inhparent = 'workflow_events'::regclass and c.relname not like '%spare%'"
                    " order by c.relname"
                )
            ]

    def choose(self, dsn: str) -> None:
        """The pack is always the same."""

    def other(self, random: Random, name: str) -> Definition:
        return definition.parse(f"-- name: {name}{random.choice(_OTHERS)}", "others of the harness")

    def keys(self, view: Definition) -> LiteralString | None:
        return KEYS.get(view.name)

    def step(self, random: Random, major: int) -> Step:
        values = _parameters(random)
        chance = random.random()
        if chance < 0.06:
            return statement(*_one(random, self._rare), values)
        if chance < 0.075:
            return self._bulk(values)
        if chance < 0.12:
            return self._as_replica(random, values)
        if chance < 0.18 and major >= 15:
            return statement(*_one(random, writes.MERGES), values)
        if chance < 0.24:
            return Step("copy", _copy)
        if chance < 0.31:
            return self._to_a_partition(random, values)
        return statement(*_one(random, writes.COMMON), values)

    def trim(self, random: Random) -> Step:
        # All of them: with none of them due it is a transaction that changes nothing, and that is fine.
        names = list(_TRIM)
        random.shuffle(names)

        def run(connection: psycopg.Connection) -> int:
            return sum(connection.execute(_TRIM[name]).rowcount for name in names)

        return Step("keep the size", run)

    def migration(self, random: Random) -> Step:
        spare = f"workflow_events_spare_{random.randint(1, 3)}"
        which = random.randrange(6)
        if which == 0:
            table = random.choice(["workflow_events", *self._partitions])
            return statement("truncate", sql.SQL("truncate {}").format(sql.Identifier(table)))
        if which == 1:
            return statement("truncate in cascade", "truncate workflow_runs cascade")
        if which <= 3:
            return Step("create and attach a partition", lambda c: _attach(c, spare))
        if which == 4:
            return Step("detach a partition", lambda c: _detach(c, spare))
        return statement("drop a partition", sql.SQL("drop table if exists {}").format(sql.Identifier(spare)))

    def _bulk(self, values: Parameters) -> Step:
        def run(connection: psycopg.Connection) -> int:
            rows = sum(connection.execute(text, values).rowcount for text in writes.BULK.values())
            # Most of the time in the same transaction: all readers would compare them all.
            if values["b"] % 8:
                connection.execute(writes.BULK_END)
            return rows

        return Step("more than the limit", run)

    def _as_replica(self, random: Random, values: Parameters) -> Step:
        name, text = _one(random, writes.AS_REPLICA)

        def run(connection: psycopg.Connection) -> int:
            connection.execute("set local session_replication_role = replica")
            rows = connection.execute(text, values).rowcount
            connection.execute("set local session_replication_role = origin")
            return rows

        return Step(f"{name}, as replica", run)

    def _to_a_partition(self, random: Random, values: Parameters) -> Step:
        name, text = _one(
            random,
            {
                "delete from a partition": "delete from {} where run_id = pick_run(%(a)s)",
                "update a partition": "update {} set payload = jsonb_build_object('attempt', %(b)s)",
                "move between runs of a partition": (
                    "update {} set run_id = pick_run(%(a)s) where id %% 2 = 0 and pick_run(%(a)s) is not null"
                ),
            },
        )
        partition = sql.Identifier(random.choice(self._partitions))
        return statement(name, sql.SQL(text).format(partition), values)


def _one(random: Random, among: dict[str, LiteralString]) -> tuple[str, LiteralString]:
    name = random.choice(list(among))
    return name, among[name]


def _parameters(random: Random) -> Parameters:
    return {
        "a": random.randrange(1000),
        "b": random.randrange(1000),
        "t": f"word{random.randrange(5)}",
        "id": uuid.UUID(int=random.getrandbits(128)),
    }


def _copy(connection: psycopg.Connection) -> int:
    runs = connection.execute("select id from workflow_runs order by id limit 3").fetchall()
    with connection.cursor().copy("copy workflow_events (run_id, type, payload) from stdin") as copy:
        for (run,) in runs:
            copy.write_row((run, "copied", "{}"))
    return len(runs)


def _attach(connection: psycopg.Connection, name: str) -> int:
    """A partition that arrives with rows in it."""
    month = int(name.rsplit("_", 1)[1])
    partition = sql.Identifier(name)
    connection.execute(
        sql.SQL("create table if not exists {} (like workflow_events including all)").format(partition)
    )
    rows = connection.execute(
        sql.SQL(
            "insert into {} (run_id, ts, type, payload)"
            " select r.id, {}::timestamptz, 'attached', '{{}}' from workflow_runs as r limit 5"
        ).format(partition, sql.Literal(f"{_SPARE_YEAR}-0{month}-15"))
    ).rowcount
    attached = connection.execute(
        "select c.relispartition from pg_class as c where c.oid = %s::regclass", (name,)
    ).fetchone()
    if attached == (False,):
        connection.execute(
            sql.SQL("alter table workflow_events attach partition {} for values from ({}) to ({})").format(
                partition,
                sql.Literal(f"{_SPARE_YEAR}-0{month}-01"),
                sql.Literal(f"{_SPARE_YEAR}-0{month + 1}-01"),
            )
        )
    return rows


def _detach(connection: psycopg.Connection, name: str) -> int:
    attached = connection.execute(
        "select from pg_inherits as i where i.inhrelid = to_regclass(%s)", (name,)
    ).fetchone()
    if attached is None:
        return 0
    partition = sql.Identifier(name)
    connection.execute(sql.SQL("alter table workflow_events detach partition {}").format(partition))
    return 1


def _wider_run_card() -> Definition:
    before = read("meshhook/run_card.sql")
    column = "r.started_at as started_at,"
    assert column in before
    return definition.parse(before.replace(column, f"{column} length(d.name) as width,"), "run_card.sql")


def _other_coverage(view: Definition) -> Definition:
    text = read(f"meshhook/{view.name}.sql")
    have, want = "-- coverage: complete", "-- coverage: on_demand"
    if have not in text:
        have, want = want, have
    assert have in text
    return definition.parse(text.replace(have, want), f"{view.name}.sql")
