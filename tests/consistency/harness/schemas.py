"""Generated schemas as a workload: SELECTs that nobody thought of, new ones in each round."""

from random import Random
from typing import LiteralString

import psycopg
from psycopg import sql
from sqlalchemy import Engine, create_engine

from meshcache_pg import catalog, definition
from meshcache_pg.database import parse_url
from meshcache_pg.definition import Definition
from meshcache_pg.errors import DefinitionError
from tests.consistency import generated
from tests.consistency.harness import ledger
from tests.consistency.harness.workload import Step, statement

VIEWS = 8
OTHERS = 3

_MORE: dict[str, LiteralString] = {
    "merge": """
        merge into b using (
            select d.id, max(d.x) as x, max(d.v) as v from d where d.id is not null group by d.id
        ) as s on b.id = s.id
        when matched and s.x = 1 then delete
        when matched then update set y = s.x, v = s.v
        when not matched then insert (id, y, v) values (s.id, s.x, s.v)""",
    "insert or update": """
        insert into a (id, x, y, v) select n, n, n, 'c' from generate_series(1, 4) as n
        on conflict (id) do update set x = excluded.y, v = excluded.v || a.v""",
    "move in one statement": """
        with gone as (delete from d where y = 2 returning id, x, y, v)
        insert into c (id, x, y, v)
        select g.id, coalesce(g.x, 1), g.y, g.v from gone as g where g.id is not null
        on conflict do nothing""",
    "more than the limit": """
        with new as (
            insert into d (id, x, y, v) select n, n, n, 'z' from generate_series(1001, 2100) as n returning id
        )
        select count(*) from new""",
    "more than the limit in a partition": """
        insert into p (id, x, y, v) select n, n, 1, 'z' from generate_series(1001, 2100) as n
        on conflict do nothing""",
    "shift all keys": "update c set id = id + 1",
}
_TRIM: tuple[LiteralString, ...] = (
    "delete from d where id > 1000 or ctid not in (select q.ctid from d as q order by q.id limit 40)",
    "delete from p where id > 1000",
    "delete from c where id > 12",
)


class Generated:
    """The tables of tests.consistency.generated; `seed` chooses the SELECTs."""

    name = "generated"
    tables = ("a", "b", "c", "d", "p", "ledger")

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self.definitions: list[Definition] = []
        self.variants: list[Definition] = []
        self._others: list[str] = []

    def create(self, dsn: str) -> None:
        random = Random(f"{self._seed} rows")  # noqa: S311
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(generated.TABLES)
            connection.execute(ledger.TABLES)
            for _ in range(60):
                try:
                    connection.execute(generated.insert(random).encode())
                except psycopg.errors.UniqueViolation:
                    continue

    def choose(self, dsn: str) -> None:
        selects = generated.Selects(Random(f"{self._seed} selects"))  # noqa: S311
        engine = create_engine(parse_url(dsn))
        self.definitions = [definition.parse(ledger.DEFINITION, "ledger_total")]
        while len(self.definitions) <= VIEWS:
            text = selects.definition(f"g{len(self.definitions)}")
            found = definition.parse(text, "generated")
            if not _is_accepted(engine, found):
                continue
            self.definitions.append(found)
            variant = definition.parse(_other_coverage(text), "generated")
            if _is_accepted(engine, variant):
                self.variants.append(variant)
        while len(self._others) < OTHERS:
            text = selects.definition("other")
            if _is_accepted(engine, definition.parse(text, "generated")):
                self._others.append(text)
        engine.dispose()

    def other(self, random: Random, name: str) -> Definition:
        return _named(random.choice(self._others), name)

    def keys(self, view: Definition) -> LiteralString | None:
        del view
        return None

    def step(self, random: Random, major: int) -> Step:
        chance = random.random()
        if chance < 0.12:
            name = random.choice(list(_MORE))
            if name != "merge" or major >= 15:
                return statement(name, _MORE[name])
        if chance < 0.18:
            return Step("copy", lambda connection: _copy(connection, random))
        while True:
            text = generated.write(random)
            # Not MVCC: that is what `migration` is for.
            if not text.startswith("truncate"):
                return statement(" ".join(text.split()[:3]), text.encode())

    def trim(self, random: Random) -> Step:
        rows = [generated.insert(random).encode() for _ in range(6)]

        def run(connection: psycopg.Connection) -> int:
            done = sum(connection.execute(text).rowcount for text in _TRIM)
            return done + sum(connection.execute(row).rowcount for row in rows)

        return Step("keep the size", run)

    def migration(self, random: Random) -> Step:
        which = random.randrange(5)
        if which <= 1:
            table = random.choice(("a", "b", "c", "d", "p", "p_1", "p_2"))
            return statement("truncate", sql.SQL("truncate {}").format(sql.Identifier(table)))
        if which == 2:
            return Step("detach a partition", _detach)
        if which == 3:
            return Step("attach a partition", _attach)
        return Step("create and drop a partition", _spare)


def _is_accepted(engine: Engine, found: Definition) -> bool:
    with engine.connect() as connection:
        try:
            catalog.check(connection, catalog.plan(connection, [found]))
        except DefinitionError:
            return False
        finally:
            connection.rollback()
    return True


def _named(text: str, name: str) -> Definition:
    before = "-- name: other\n"
    assert before in text
    return definition.parse(text.replace(before, f"-- name: {name}\n"), "generated")


def _copy(connection: psycopg.Connection, random: Random) -> int:
    with connection.cursor().copy("copy d (id, x, y, v) from stdin") as copy:
        for _ in range(3):
            copy.write_row(
                (random.randint(1, 4), random.randint(1, 4), random.randint(1, 4), random.choice("abc"))
            )
    return 3


def _is_partition(connection: psycopg.Connection, name: str) -> bool:
    row = connection.execute(
        "select from pg_inherits as i where i.inhrelid = to_regclass(%s)", (name,)
    ).fetchone()
    return row is not None


def _detach(connection: psycopg.Connection) -> int:
    if not _is_partition(connection, "p_1"):
        return 0
    connection.execute("alter table p detach partition p_1")
    return 1


def _attach(connection: psycopg.Connection) -> int:
    if _is_partition(connection, "p_1"):
        return 0
    # What was written meanwhile went to the default partition, and would not fit any more.
    rows = connection.execute("delete from p where x in (1, 2)").rowcount
    connection.execute("alter table p attach partition p_1 for values in (1, 2)")
    return rows


def _spare(connection: psycopg.Connection) -> int:
    if _is_partition(connection, "p_9"):
        return connection.execute("drop table p_9").rowcount
    connection.execute("create table p_9 partition of p for values in (9)")
    return connection.execute("insert into p values (3, 9, 3, 'n'), (4, 9, null, 'n')").rowcount


def _other_coverage(text: str) -> str:
    have, want = "-- coverage: complete", "-- coverage: on_demand"
    if have not in text:
        have, want = want, have
    return text.replace(have, want)
