"""Which mistake breaks which rule, and what must find it: a written schedule, and mostly random load, too."""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString

from meshcache_pg.embedded import PrivateServer
from tests.consistency import directed, plants
from tests.consistency.checker import Checker, NotExact
from tests.consistency.harness.options import Options, Plant
from tests.fixtures.fix_db import Database, start_server


@dataclass(frozen=True)
class Aim:
    """How a random run has to be, to come upon a mistake soon; `load` says it in the table. `finds` are the
    kinds of failures of which one must come.
    """

    load: str = "as it is"
    faults: bool = False
    migration_seconds: float = Options.migration_seconds
    administrators: int = 0
    change_seconds: float = Options.change_seconds
    finds: tuple[str, ...] = ("wrong row",)


@dataclass(frozen=True)
class Planted:
    """One mistake. `plants` has more than one function where the cache has two rules against one flaw: then
    each of them alone does no harm, which the tests show, too. `rule` is what a heading of
    docs/explanation/consistency.md begins with; a time to live has none.
    """

    name: str
    rule: str
    plants: tuple[Plant, ...]
    schedule: directed.Schedule
    # None: random load has no such moment, or too rarely.
    random: Aim | None = None
    crashes: bool = False
    restored: bool = False


CRASHING = Aim("with crashes", faults=True)
MIGRATING = Aim("more migrations", migration_seconds=0.1)
# Who finds a mark table gone is refused, which comes long before somebody reads a row that lost its mark.
DEFINING = Aim("6 administrators", administrators=6, change_seconds=0.1, finds=("wrong row", "error"))

MARKS, LATE, OWN = "1. Each change leaves its marks", "3. Resolve late", "4. A fill's own marks count"
LOCKS, ALONE, NEWER, BARRIER = (
    "5. A fill takes its snapshot after its locks",
    "6. One at a time",
    "7. A newer row stays",
    "8. The barrier",
)
HORIZON, ALL_VIEWS, COMPLETE = "9. The horizon", "10. All views first", "Complete views"
TOGETHER, EPOCH = "11. Marks, rows and what says", "12. The epoch"
CATALOG, TURNS = "13. Readers compare what no trigger tells", "15. Definitions change one after the other"

PLANTED = (
    Planted("a statement leaves no mark", MARKS, (plants.no_marks,), directed.plain_update, Aim()),
    Planted(
        "the new value is marked, the old one not",
        MARKS,
        (plants.only_new_values,),
        directed.an_item_in_another_box,
        Aim(),
    ),
    Planted(
        "equal values are taken for unchanged",
        MARKS,
        (plants.equal_values_unmarked,),
        directed.an_equal_number,
    ),
    Planted(
        "too many values, and no wildcard",
        MARKS,
        (plants.no_wildcard_over_the_limit,),
        directed.many_values_at_once,
        Aim(),
    ),
    Planted("no marks in a cascade", MARKS, (plants.no_marks_in_a_cascade,), directed.cascade, Aim()),
    Planted("no TRUNCATE trigger", MARKS, (plants.no_truncate_trigger,), directed.truncate, MIGRATING),
    Planted(
        "no trigger for replica sessions",
        MARKS,
        (plants.no_replica_trigger,),
        directed.write_as_replica,
        Aim(),
    ),
    Planted("look-up at write time", LATE, (plants.lookup_at_write_time,), directed.child_and_parent),
    Planted("no guard inside a statement", MARKS, (plants.no_guard,), directed.read_inside_a_statement),
    Planted(
        "fills after writes, own marks not told",
        OWN,
        (plants.fills_after_writes, plants.own_marks_not_told),
        directed.write_around_a_fill,
    ),
    Planted(
        "fills in the caller's old snapshot",
        LOCKS,
        (plants.fills_in_old_snapshots,),
        directed.fill_in_an_old_snapshot,
    ),
    Planted(
        "an older fill replaces a newer row",
        NEWER,
        (plants.older_replaces_newer, plants.no_refresh_lock),
        directed.slow_fill_across_a_refresh,
    ),
    Planted(
        "a key is filled while its view is rewritten",
        ALONE,
        (plants.no_refresh_lock,),
        directed.slow_fill_of_a_removed_key,
    ),
    Planted(
        "the sweep does not wait for fills",
        BARRIER,
        (plants.no_barrier, plants.no_refresh_lock),
        directed.slow_fill_across_a_sweep,
    ),
    Planted(
        "fills take no lock",
        BARRIER,
        (plants.no_fill_lock, plants.no_refresh_lock),
        directed.slow_fill_across_a_sweep,
    ),
    Planted(
        "marks of open transactions deleted",
        HORIZON,
        (plants.no_horizon,),
        directed.commit_inside_a_sweep,
        Aim(),
    ),
    Planted(
        "marks of prepared transactions deleted",
        HORIZON,
        (plants.no_horizon,),
        directed.commit_prepared_inside_a_sweep,
    ),
    Planted(
        "marks deleted before all views are resolved",
        ALL_VIEWS,
        (plants.marks_deleted_too_early,),
        directed.write_and_sweep,
        Aim(),
    ),
    Planted(
        "a list that does not look for marks",
        COMPLETE,
        (plants.quiet_without_a_look,),
        directed.plain_update,
        Aim(),
    ),
    Planted(
        '"empty" taken for "complete"',
        TOGETHER,
        (plants.empty_is_complete,),
        directed.crash,
        CRASHING,
        crashes=True,
    ),
    Planted(
        "no horizon of the epoch",
        EPOCH,
        (plants.no_epoch_horizon,),
        directed.prepared_across_a_crash,
        CRASHING,
        crashes=True,
    ),
    Planted(
        "restored rows trusted",
        TOGETHER,
        (plants.restored_rows_trusted,),
        directed.write_after_a_restore,
        restored=True,
    ),
    Planted(
        "partitions not compared",
        CATALOG,
        (plants.partitions_not_compared,),
        directed.partition_with_rows,
        MIGRATING,
    ),
    Planted(
        "definitions changed by two at once",
        TURNS,
        (plants.no_turns,),
        directed.definitions_changed_at_once,
        DEFINING,
    ),
    Planted("expired rows served", "", (plants.expired_rows_served,), directed.expired),
)


def play(planted: Planted, database: Database, mistakes: Sequence[Plant]) -> NotExact | None:
    """Plant some mistakes in a warm database and run the schedule; what it found, None for nothing.

    A schedule with a crash wants a server that nobody else is on, one about restored rows wants `restored`.
    """
    with database.connect() as connection:
        checker = Checker.of(connection)
        checker.assert_exact(connection)
        if not planted.restored:
            cold = {view for view in checker.views if not checker.origins[f"{view} hit"]}
            assert cold <= {"for_a_while"}, f"not warm: {cold}"
        for plant in mistakes:
            plant(connection)

    def check(*views: str) -> None:
        with database.connect() as reader:
            checker.assert_exact(reader, *views)

    try:
        planted.schedule(database, check)
    except NotExact as error:
        return error
    return None


@contextmanager
def restored(database: Database, seed: Path | None = None) -> Iterator[Database]:
    """A dump of the database in another cluster, whose transaction ids are far behind.

    `seed` is what that cluster begins with, as PrivateServer has it.
    """
    assert isinstance(database.server, PrivateServer)
    installation = database.server.installation
    with database.connect() as connection:
        connection.execute(_BURN)
        directed.warm(connection)
    with ExitStack() as opened:
        server = opened.enter_context(start_server(installation, seed=seed))
        dsn = server.create_database("copy")
        directory = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        dump = str(directory / "dump")
        for program, *arguments in (
            ("pg_dump", "-f", dump, "-d", database.dsn),
            ("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", dump, "-o", os.devnull, "-d", dsn),
        ):
            subprocess.run([installation.program(program), *arguments], check=True)
        copy = Database(server, "copy", opened)
        ahead, behind = (_next_xid(one) for one in (database, copy))
        assert ahead > behind + 100, (ahead, behind)
        yield copy


# Subtransactions use up ids far faster than transactions do.
_BURN: LiteralString = """
create table burnt (n integer);
do $$ begin
    for n in 1..3000 loop
        begin
            insert into burnt values (n);
        exception when division_by_zero then null;
        end;
    end loop;
end $$
"""


def _next_xid(database: Database) -> int:
    with database.connect() as connection:
        row = connection.execute("select pg_snapshot_xmax(pg_current_snapshot())::text::bigint").fetchone()
    assert row is not None
    number: int = row[0]
    return number
