"""A warm cache on which the cases of the trigger coverage matrix are played, and what is looked at then."""

from dataclasses import dataclass, replace

import psycopg
import pytest
from psycopg import errors, sql

from meshcache_pg.cli.keep import MENDED
from meshcache_pg.errors import MeshcacheError
from meshcache_pg.sql import trusted
from tests.consistency.checker import Checker, NotExact
from tests.consistency.what_fires import Block, Case, views
from tests.fixtures.fix_cache import apply_definitions, refresh
from tests.fixtures.fix_db import Database

Calls = dict[str, int]
Marks = dict[str, set[str]]


@dataclass
class Stage:
    """A warm cache in a database of its own; `writer` plays the case, `reader` is everybody else."""

    database: Database
    writer: psycopg.Connection
    reader: psycopg.Connection
    sources: dict[int, str]
    marked: dict[int, tuple[int, list[str]]]
    checker: Checker

    @classmethod
    def of(cls, database: Database) -> "Stage":
        connection = database.connect()
        sources = connection.execute(
            "select s.id, c.relname from meshcache.source_table as s join pg_class as c on c.oid = s.relation"
        ).fetchall()
        marked = connection.execute(
            "select m.id, m.source_id, m.columns from meshcache.mark_table as m"
        ).fetchall()
        by_id = {number: (source, list(columns)) for number, source, columns in marked}
        return cls(database, connection, database.connect(), dict(sources), by_id, Checker.of(connection))

    def calls(self) -> Calls:
        """How often each mark function was called: what is counted already and what is not yet."""
        rows = self.writer.execute(
            "select f.funcname, sum(f.calls)::integer from ("
            " select s.schemaname, s.funcname, s.calls from pg_stat_user_functions as s"
            " union all"
            " select x.schemaname, x.funcname, x.calls from pg_stat_xact_user_functions as x"
            ") as f where f.schemaname = 'meshcache' and f.funcname ~ '^_mark_[0-9]+_' group by f.funcname"
        ).fetchall()
        return dict(rows)

    def marks(self, connection: psycopg.Connection) -> Marks:
        """All marks that it sees, by what they are of: their values with transaction ids."""
        found: Marks = {}
        for number, (source, columns) in self.marked.items():
            label = f"{self.sources[source]}.{', '.join(columns)}"
            query = sql.SQL("select concat_ws(':', {}), m.xid::text from {} as m").format(
                sql.SQL(", ").join(sql.Identifier("m", c) for c in columns),
                sql.Identifier("meshcache", f"mark_{number}"),
            )
            found[label] = {f"{value}@{xid}" for value, xid in connection.execute(query)}
        for source, xid in connection.execute(
            "select w.source_id, w.xid::text from meshcache.wildcard_mark as w"
        ):
            table = self.sources.get(source, f"view {-source}")
            found.setdefault(f"{table} *", set()).add(f"@{xid}")
        return found

    def seen(self, connection: psycopg.Connection, case: Case) -> str:
        """Where reads of this connection come from: `cache`, `rows`, `source`, or `wrong`."""
        self.checker.origins.clear()
        try:
            self.checker.assert_exact(connection, *self.views(case))
        except NotExact:
            return "wrong"
        origins = self.checker.origins
        if origins["bypass"]:
            return "source"
        return "rows" if origins["stale"] or origins["miss"] else "cache"

    def views(self, case: Case) -> list[str]:
        """The views that are there after the change."""
        return [name for name in self.checker.views if name not in case.gone]

    def sweep(self) -> dict[str, str]:
        """Sweep, and return what differed."""
        row = self.reader.execute("call meshcache.sweep()").fetchone()
        assert row is not None
        assert row[0]["state"] == "done"
        differences: dict[str, str] = row[0]["differences"]
        return differences


def count_functions(stage: Stage) -> None:
    if stage.writer.execute("select current_setting('is_superuser')").fetchone() != ("on",):
        pytest.skip("needs a superuser: functions are counted by track_functions")
    stage.writer.execute("set track_functions = 'all'")
    for connection in (stage.writer, stage.reader):
        connection.execute("set plan_cache_mode = force_generic_plan")


def play(stage: Stage, case: Case) -> Case:
    """Do what the case says; returns it with what was found in the place of what it expects."""
    if case.how == "refused":
        with pytest.raises((errors.DependentObjectsStillExist, errors.FeatureNotSupported)):
            step(stage.writer, case.steps[0])
        return replace(
            case,
            fires="",
            marks="",
            inside="",
            after=stage.seen(stage.reader, case),
            cover="refused by PostgreSQL",
        )
    calls, marks, inside = stage.calls(), stage.marks(stage.reader), ""
    gid = sql.Literal(stage.database.name)
    if case.how != "alone":
        stage.writer.execute("begin")
    for one in case.steps:
        step(stage.writer, one)
    if case.how != "alone":
        inside = stage.seen(stage.writer, case)
        if case.how == "prepared":
            stage.writer.execute(sql.SQL("prepare transaction {}").format(gid))
        if not case.locks:
            assert stage.seen(stage.reader, case) == "cache"
        if case.how == "prepared":
            stage.writer.execute(sql.SQL("commit prepared {}").format(gid))
        else:
            stage.writer.execute("commit")
    called = fired(stage, calls)
    left = difference(marks, stage.marks(stage.reader))
    after = stage.seen(stage.reader, case)
    cover = mended(stage, case) if after == "wrong" else covered(stage.reader, case, left)
    inside, after = least(inside, left), least(after, left)
    return replace(case, fires=called, marks=left, inside=inside, after=after, cover=cover)


def play_and_roll_back(stage: Stage, case: Case) -> Case:
    """The same as far as its own transaction sees it; afterwards nothing has been."""
    calls, marks = stage.calls(), stage.marks(stage.writer)
    with stage.writer.transaction(force_rollback=True):
        for one in case.steps:
            step(stage.writer, one)
        left = difference(marks, stage.marks(stage.writer))
        inside = least(stage.seen(stage.writer, case), left)
        cover = covered(stage.writer, case, left)
    assert stage.marks(stage.writer) == marks
    return replace(case, fires=fired(stage, calls), marks=left, inside=inside, cover=cover)


def least(seen: str, left: str) -> str:
    """Rows that are gone, and whole tables that are empty now, leave no origin to be counted."""
    if seen in {"cache", "rows"} and left:
        return "source" if "*" in left else "rows"
    return seen


def step(connection: psycopg.Connection, block: Block) -> None:
    if block.verb == "do":
        connection.execute(trusted(block.text))
        return
    with connection.cursor().copy(trusted(f"copy {block.argument}")) as copy:
        if block.types:
            copy.set_types(block.types)
        for row in block.rows:
            copy.write_row(row)


def fired(stage: Stage, before: Calls) -> str:
    found = set()
    for function, calls in stage.calls().items():
        if calls > before.get(function, 0):
            _, _, number, event = function.split("_")
            found.add(f"{stage.sources[int(number)]} {event}")
    return ", ".join(sorted(found))


def difference(before: Marks, now: Marks) -> str:
    found = []
    for label, entries in sorted(now.items()):
        values = sorted(entry.partition("@")[0] for entry in entries - before.get(label, set()))
        if len(values) > 6:
            found.append(f"{label} ({len(values)} values)")
        elif values:
            found.append(f"{label} {', '.join(values)}".strip())
    return "; ".join(found)


def mended(stage: Stage, case: Case) -> str:
    """What makes wrong rows right: it is tried."""
    with stage.writer.transaction(force_rollback=True):
        stage.writer.execute(
            "select meshcache.invalidate_source(s.relation) from meshcache.source_table as s"
        )
        called = stage.seen(stage.writer, case) != "wrong"
    stage.sweep()
    swept = stage.seen(stage.reader, case) != "wrong"
    return " or ".join(["a call"] * called + ["the next sweep"] * swept)


def covered(connection: psycopg.Connection, case: Case, left: str) -> str:
    """What makes reads right, told by facts and not by the case."""
    compared = connection.execute(
        "select exists (select from meshcache.source_table as s join pg_class as c on c.oid = s.relation"
        "  where s.children is distinct from meshcache._members(s.relation) or c.relispartition"
        "   or (s.children = '{}' and c.relhassubclass)),"
        " exists (select from meshcache.cached_view as v"
        "  where v.rests_on_as is distinct from meshcache._rests_on_as(v.rests_on))"
    ).fetchone()
    if compared == (True, False):
        return "readers compare partitions"
    if compared == (False, True):
        return "readers compare definitions"
    assert compared == (False, False)
    if case.gone:
        return "its live views are gone"
    return "marks" if left else "nothing to cover"


def warm_again(stage: Stage, case: Case) -> None:
    """A sweep and a refresh later everything comes from the cache again, or else when the definitions are
    applied again; never is anything wrong.
    """
    drift = set(stage.sweep().values())
    if case.cover == "a call":
        # Nothing shows afterwards that it has been: this is why the call is documented.
        return
    assert stage.seen(stage.reader, case) != "wrong"
    if drift - set(MENDED) or case.cover == "readers compare partitions":
        own = [block.text for block in case.preparation if block.verb == "apply"]
        try:
            apply_definitions(stage.database, *views(), *own)
        except MeshcacheError:
            # The table is gone, or no source any more.
            assert drift & {"dropped", "attached to a partitioned table"}
            return
    refresh(stage.reader, *stage.views(case))
    assert stage.seen(stage.reader, case) == "cache"
