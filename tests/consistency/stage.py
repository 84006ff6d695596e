"""Where the orders of interleavings.py are played: a database with two cached views, and five connections."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import LiteralString

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from tests.consistency.checker import Checker, NotExact
from tests.consistency.interleavings import STEPS, Run, Variant
from tests.consistency.stepping import Stepped
from tests.fixtures.fix_cache import apply_definitions, refresh
from tests.fixtures.fix_db import Database

TABLES: LiteralString = """
create table owner (id integer primary key, name text not null);
create table item (id integer primary key, owner_id integer not null, amount integer not null);
create table bell (id integer primary key, rings integer not null);
insert into owner values (1, 'one'), (2, 'two');
insert into item values (1, 1, 1), (2, 1, 2), (3, 2, 3);
insert into bell values (1, 1);
create function stand_still(p_where text, p_id integer) returns integer
language plpgsql immutable set lock_timeout = 0 as $$
begin
    if current_setting('test.stand_still_in', true) like '%' || p_where || '%' then
        perform pg_advisory_lock_shared(4711, ascii(p_where));
        perform pg_advisory_unlock_shared(4711, ascii(p_where));
    end if;
    return p_id;
end
$$;
"""

# Applied one after the other: a sweep takes the views by their ids.
FIRST = """
-- name: first
-- key: id
-- coverage: complete
select b.id, b.rings, stand_still('a', b.id) as stood from bell as b
"""

CARD = """
-- name: card
-- key: id
-- coverage: complete
select i.id, i.owner_id, i.amount, o.name, stand_still('f', i.id) as stood
from item as i inner join owner as o on o.id = i.owner_id
"""

PAGE = """
-- name: page
-- key: id
-- coverage: on_demand
select
    o.id, o.name, stand_still('f', o.id) as stood,
    (select sum(i.amount) from item as i where i.owner_id = o.id) as total
from owner as o
"""

LAST = FIRST.replace("name: first", "name: last").replace("'a'", "'z'")
VIEWS = ("card", "page")
DOORS = "faz"
CLASS = 4711


@dataclass
class Stage:
    """A database with two cached views that matter and five connections, used for one run after the other."""

    database: Database
    done: Counter[str] = field(default_factory=Counter)
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.control = self._connect()
        self.control.execute(TABLES)
        for definition in (FIRST, CARD, PAGE, LAST):
            apply_definitions(self.database, definition)
        refresh(self.control, "first", *VIEWS, "last")
        self.checker = Checker.of(self.control)
        self.writer, self.fresh, self.long = self._connect(), self._connect(), self._connect()
        self.writer.execute("set lock_timeout = '1s'")
        self.filler = Stepped(self._connect(), self.control)
        self.sweeper = Stepped(self._connect(), self.control)
        self.sweeper.connection.execute("set test.stand_still_in = 'az'")
        self.prepared = f"{self.database.name} writer"
        self.fill_locks = self.control.execute(
            "select meshcache._lock_class('fill'), v.id from meshcache.cached_view as v"
        ).fetchall()
        self.closed: set[str] = set()

    def _connect(self) -> psycopg.Connection:
        return self.database.connect(options="-c jit=off")

    def run_all(self, runs: Iterable[Run]) -> None:
        for run in runs:
            self.run(run)

    def run(self, run: Run) -> None:
        """One run; raises NotExact with what was done."""
        self.log = [f"{run.order} {run.variant}, fill: {run.fill}, {'cold' if run.is_cold else 'warm'}"]
        try:
            self._reset(run)
            self._play(run)
        except NotExact as error:
            raise NotExact("\n".join([str(error), *self.log])) from error

    def _reset(self, run: Run) -> None:
        """Everything warm, no marks pending but those that stop the sweep, every door closed."""
        state = self.control.execute("call meshcache.sweep()").fetchone()
        assert state is not None
        assert state[0]["state"] == "done", state
        filled = self.control.execute("select meshcache.page_fill(array[1, 2])").fetchone()
        assert filled == (2,)
        if run.is_cold:
            self.control.execute("delete from meshcache_data.page where id = 2")
        self.done["runs"] += 1
        self.control.execute("update bell set rings = rings + 1")
        for door in DOORS:
            if door not in self.closed:
                self.control.execute("select pg_advisory_lock(%s, %s)", (CLASS, ord(door)))
                self.closed.add(door)
        standing = "" if run.fill == "a write first" else "f"
        self.filler.connection.execute("select set_config('test.stand_still_in', %s, false)", (standing,))
        self.owed: list[int] = []

    def _play(self, run: Run) -> None:
        at = dict.fromkeys(STEPS, 0)
        for number, who in enumerate(run.order):
            if number == run.reader_comes:
                self._begin(self.long, run.variant.reader)
            at[who] += 1
            if who == "W":
                self._write(run.variant, at[who])
                self._note(f"writer {at[who]}")
            elif who == "F":
                self._note(f"fill {at[who]}: {self._fill(run.fill, at[who])}")
            else:
                self.owed.append(at[who])
            self._compare(whole=who == "F" or at[who] == STEPS[who])
            while self._sweep():
                self._compare(whole=True)
        assert not self.owed
        self.long.execute("commit")

    def _note(self, what: str) -> None:
        self.log.append(what)

    def _begin(self, connection: psycopg.Connection, level: LiteralString) -> None:
        connection.execute(sql.SQL("begin isolation level {}").format(sql.SQL(level)))

    def _write(self, variant: Variant, step: int) -> None:
        execute = self.writer.execute
        if step == 1:
            self._begin(self.writer, variant.level)
            execute("select name from owner where id = 2")
        elif step == 2:
            execute("update owner set name = 'name ' || %s where id = 1", (self.done["runs"],))
            if variant.savepoint:
                execute("savepoint a")
                execute("update item set owner_id = 3 - owner_id where id = 1")
        elif step == 3:
            if variant.savepoint:
                execute("rollback to savepoint a")
            else:
                execute("update item set owner_id = 3 - owner_id where id = 1")
            if variant.two_phase:
                execute(sql.SQL("prepare transaction {}").format(self.prepared))
        elif variant.two_phase:
            execute(sql.SQL("commit prepared {}").format(self.prepared))
        else:
            execute("commit")

    def _fill(self, kind: str, step: int) -> str:
        """One step of the fill; returns what came of it."""
        if step == 3:
            self.filler.connection.execute("commit")
            return "committed"
        call = (
            "select meshcache._card_refresh()"
            if kind == "whole"
            else "select meshcache.page_fill(array[1, 2])"
        )
        if step == 1:
            self.filler.connection.execute("begin")
            if kind == "a write first":
                self.filler.connection.execute("select pg_current_xact_id()")
                return "has an xid"
            return self._outcome(self.filler.start(call))
        if kind == "a write first":
            self.filler.start(call)
        else:
            self._open("f")
        waits = self.filler.look()
        assert waits is None, f"a fill waits for {waits}"
        if kind in ("keys and a write", "a write first"):
            self.filler.connection.execute("update item set amount = amount % 100 + 1 where id = 3")
        self.done[f"fill {kind}: {self.filler.value}"] += 1
        return f"{self.filler.value}"

    def _outcome(self, waits: object) -> str:
        if waits is None:
            return f"through at once, {self.filler.value}"
        assert waits == (CLASS, ord("f")), f"a fill waits for {waits}"
        return "stands still"

    def _sweep(self) -> bool:
        """A step that the sweep owes, if it can go on; returns whether it did."""
        if not self.owed:
            return False
        step = self.owed[0]
        if step == 1 and not self.sweeper.is_running:
            waits = self.sweeper.start("call meshcache.sweep()")
        else:
            if step > 1:
                self._open("a" if step == 2 else "z")
            waits = self.sweeper.look()
        door = {1: "a", 2: "z"}.get(step)
        if waits is not None and (door is None or waits != (CLASS, ord(door))):
            # A fill's lock, in the cache as it is.
            what = "a fill" if waits in self.fill_locks else f"{waits}"
            if f"sweep waits for {what}" not in self.log:
                self._note(f"sweep waits for {what}")
                self.done[f"sweep waits for {what}"] += 1
            return False
        self.owed.pop(0)
        if self.sweeper.is_running:
            self._note(f"sweep {step}")
        else:
            self._note(f"sweep {step}: {self.sweeper.value}")
            if self.sweeper.value is not None:
                state = "done" if '"state": "done"' in str(self.sweeper.value) else "gives way"
                self.done[f"sweep {state} in step {step}"] += 1
                self.sweeper.value = None
        return True

    def _open(self, door: str) -> None:
        if door in self.closed:
            self.control.execute("select pg_advisory_unlock(%s, %s)", (CLASS, ord(door)))
            self.closed.remove(door)

    def _compare(self, *, whole: bool) -> None:
        """Everybody's snapshot; with `whole` the reader that just came looks at the parts of lists too."""
        for name, connection in (
            ("writer", self.writer),
            ("fill", self.filler.connection),
            ("long reader", self.long),
            ("fresh reader", self.fresh),
        ):
            if connection is self.filler.connection and self.filler.is_running:
                continue
            if connection is self.fresh or connection.info.transaction_status == TransactionStatus.INTRANS:
                try:
                    self.done["comparisons"] += 1
                    if whole and connection is self.fresh:
                        self.checker.assert_exact(connection, *VIEWS)
                    else:
                        self.checker.assert_answers(connection, *VIEWS)
                except NotExact as error:
                    raise NotExact(f"{name}: {error}") from error
