"""Random interleavings of several connections, stepped one statement at a time: a seed is a schedule.

After every step each connection that is able to read compares the cache with the source in its own
transaction. Nobody here ever waits long for a lock, because whoever holds it cannot go on meanwhile.
"""

import random
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import LiteralString

import psycopg
from psycopg import errors, sql
from psycopg.pq import TransactionStatus

from meshcache_pg import catalog, definition
from meshcache_pg.errors import LockBusy
from meshcache_pg.sql import read
from tests.consistency import writes
from tests.consistency.checker import Checker, NotExact
from tests.fixtures.fix_cache import PACK
from tests.fixtures.fix_db import Database

LEVELS: tuple[LiteralString, ...] = ("read committed", "repeatable read", "serializable")

# What the application itself has to reckon with under such a schedule, with or without a cache.
EXPECTED = (
    errors.LockNotAvailable,
    errors.SerializationFailure,
    errors.UniqueViolation,
    errors.ForeignKeyViolation,
    errors.CheckViolation,
)

KEYS: dict[LiteralString, LiteralString] = {
    "node_config": "select array_agg(workflow_id), array_agg(node_id) from meshcache.node_config_source",
    "run_card": "select array_agg(id) from workflow_runs",
    "run_detail": "select array_agg(id) from workflow_runs",
    "run_state": "select array_agg(id) from workflow_runs",
    "webhook_route": "select array_agg(slug) from workflow_definitions",
    "workflow_card": "select array_agg(id) from workflow_definitions",
    "workflow_definition": "select array_agg(id) from workflow_definitions",
}


@dataclass
class Session:
    """One connection with what the schedule knows of its transaction."""

    name: str
    connection: psycopg.Connection
    level: LiteralString = "read committed"
    savepoints: int = 0
    until: int = 0
    fills: bool = False

    @property
    def status(self) -> TransactionStatus:
        return self.connection.info.transaction_status

    @property
    def is_open(self) -> bool:
        return self.status in (TransactionStatus.INTRANS, TransactionStatus.INERROR)

    def begin(self, level: LiteralString) -> None:
        self.level, self.savepoints, self.fills = level, 0, False
        self.connection.execute(sql.SQL("begin isolation level {}").format(sql.SQL(level)))

    def end(self, how: LiteralString) -> None:
        self.savepoints, self.fills = 0, False
        self.connection.execute(how)


@dataclass
class Schedule:
    """Runs `steps` random steps on a database that has the MeshHook pack."""

    database: Database
    seed: int
    steps: int
    done: Counter[str] = field(default_factory=Counter)
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)  # noqa: S311 - a schedule is no secret
        self.admin = self.database.connect()
        self.admin.execute(writes.HELPERS)
        self.admin.execute(writes.SMALLER)
        self.major = self.admin.info.server_version // 10_000
        row = self.admin.execute("select current_setting('max_prepared_transactions')::integer").fetchone()
        self.two_phase = row is not None and row[0] > 0
        self.prepared: list[str] = []
        self.partitions = [
            r[0]
            for r in self.admin.execute(
                "select c.relname from pg_inherits as i inner join pg_class as c on c.oid = i.inhrelid"
                " where i.inhparent = 'workflow_events'::regclass order by c.relname"
            )
        ]
        self.writers = [Session(f"writer {n}", self._connect()) for n in range(3)]
        self.readers = [Session(f"reader {n}", self._connect()) for n in range(2)]
        self.filler = Session("filler", self._connect())
        self.checker = Checker.of(self.admin)
        self.widened = False
        self.acted = self.filler

    def _connect(self) -> psycopg.Connection:
        connection = self.database.connect()
        connection.execute("set lock_timeout = '20ms'")
        return connection

    @property
    def sessions(self) -> list[Session]:
        return [*self.writers, *self.readers, self.filler]

    def run(self) -> None:
        """All steps, then an orderly end; raises NotExact with the last steps."""
        try:
            for number in range(self.steps):
                self._step(number)
                self._look(number)
            self._end_all()
            self._check(self.filler)
        except NotExact as error:
            steps = "\n".join(self.log[-60:])
            raise NotExact(f"{error}\nseed {self.seed}, after these steps:\n{steps}") from error
        finally:
            for session in self.sessions:
                session.connection.close()
            for name in self.prepared:
                self.admin.execute(sql.SQL("rollback prepared {}").format(sql.Literal(name)))

    def _note(self, session: Session, what: str, outcome: str = "") -> None:
        self.done[what] += 1
        self.acted = session
        self.log.append(f"{len(self.log)} {session.name} ({session.level}): {what} {outcome}".rstrip())

    def _look(self, number: int) -> None:
        """Compare in every transaction, and in one of the sessions that have none open, because those all see
        the same. That one and whoever has just done something look at the parts of lists too.
        """
        idle = [session for session in self.sessions if not session.is_open]
        witness = idle[number % len(idle)]
        for session in self.sessions:
            if session in (witness, self.acted):
                self._check(session)
            elif session.is_open:
                self._check(session, whole=False)

    def _check(self, session: Session, *, whole: bool = True) -> None:
        if session.status == TransactionStatus.INERROR:
            return
        look = self.checker.assert_exact if whole else self.checker.assert_answers
        try:
            look(session.connection)
        except errors.SerializationFailure:
            self._note(session, "cannot be serialized while reading")
            session.end("rollback")
        except NotExact as error:
            raise NotExact(f"{session.name} ({session.level}): {error}") from error

    def _step(self, number: int) -> None:
        chance = self.random.random()
        if chance < 0.70:
            self._write(self.random.choice(self.writers))
        elif chance < 0.76:
            self._read(self.random.choice(self.readers), number)
        elif chance < 0.98:
            self._fill()
        elif chance < 0.99:
            self._truncate()
        else:
            self._apply()

    def _write(self, session: Session) -> None:
        if not session.is_open:
            session.begin(self.random.choice(LEVELS))
            self._note(session, "begin")
            if self.random.random() < 0.15:
                # A transaction may fill as long as it has not written; what it writes later must be seen.
                self._fill_keys(session)
            return
        if session.status == TransactionStatus.INERROR:
            self._take_back(session)
            return
        chance = self.random.random()
        if chance < 0.12:
            session.savepoints += 1
            self._note(session, "savepoint")
            session.connection.execute(sql.SQL("savepoint {}").format(_savepoint(session)))
        elif chance < 0.20 and session.savepoints:
            self._take_back(session)
        elif chance < 0.32:
            self._finish(session)
        else:
            self._one_write(session)

    def _one_write(self, session: Session) -> None:
        chance = self.random.random()
        if chance < 0.09:
            self._try(session, *self._pick(writes.RARE))
        elif chance < 0.10:
            # At once: so many keys in every check would take minutes. The wildcard that they leave stays.
            for name, statement in writes.BULK.items():
                self._try(session, name, statement)
            self._check(session)
            self._try(session, "take the bulk away", writes.BULK_END)
        elif chance < 0.16:
            name, statement = self._pick(writes.AS_REPLICA)
            self._try(session, "as replica", "set local session_replication_role = replica")
            self._try(session, name, statement)
            self._check(session)
            if session.status == TransactionStatus.INTRANS:
                self._try(session, "as origin", "set local session_replication_role = origin")
        elif chance < 0.22 and self.major >= 15:
            self._try(session, *self._pick(writes.MERGES))
        elif chance < 0.27:
            self._copy(session)
        elif chance < 0.34:
            self._write_to_partition(session)
        else:
            self._try(session, *self._pick(writes.COMMON))

    def _pick(self, among: dict[str, LiteralString]) -> tuple[str, LiteralString]:
        name = self.random.choice(list(among))
        return name, among[name]

    def _try(self, session: Session, name: str, statement: LiteralString | sql.Composed) -> None:
        if session.status == TransactionStatus.INERROR:
            return
        parameters = {
            "a": self.random.randrange(1000),
            "b": self.random.randrange(1000),
            "t": f"word{self.random.randrange(5)}",
            "id": uuid.UUID(int=self.random.getrandbits(128)),
        }
        try:
            count = session.connection.execute(statement, parameters).rowcount
        except EXPECTED as error:
            self._note(session, name, type(error).__name__)
        else:
            self._note(session, name, f"{count} rows")

    def _write_to_partition(self, session: Session) -> None:
        partition = sql.Identifier(self.random.choice(self.partitions))
        name, statement = self._pick(
            {
                "delete from a partition": "delete from {} where run_id = pick_run(%(a)s)",
                "update a partition": "update {} set payload = jsonb_build_object('attempt', %(b)s)",
                "move between runs of a partition": (
                    "update {} set run_id = pick_run(%(a)s) where id %% 2 = 0"
                ),
            }
        )
        self._try(session, name, sql.SQL(statement).format(partition))

    def _copy(self, session: Session) -> None:
        runs = session.connection.execute("select id from workflow_runs order by id limit 3").fetchall()
        try:
            with session.connection.cursor().copy(
                "copy workflow_events (run_id, type, payload) from stdin"
            ) as copy:
                for (run,) in runs:
                    copy.write_row((run, "copied", "{}"))
        except EXPECTED as error:
            self._note(session, "copy", type(error).__name__)
        else:
            self._note(session, "copy", f"{len(runs)} rows")

    def _take_back(self, session: Session) -> None:
        if session.savepoints and self.random.random() < 0.7:
            self._note(session, "rollback to savepoint")
            session.connection.execute(sql.SQL("rollback to savepoint {}").format(_savepoint(session)))
            session.savepoints -= 1
        else:
            self._note(session, "rollback")
            session.end("rollback")

    def _finish(self, session: Session) -> None:
        chance = self.random.random()
        try:
            if chance < 0.2:
                self._note(session, "rollback")
                session.end("rollback")
            elif chance < 0.4 and self.two_phase and not session.fills and len(self.prepared) < 3:
                name = f"{self.database.name} {len(self.log)}"
                self._note(session, "prepare transaction")
                session.end("prepare transaction '{}'".replace("{}", name))
                self.prepared.append(name)
            else:
                self._note(session, "commit")
                session.end("commit")
        except errors.SerializationFailure:
            self._note(session, "cannot be serialized at its end")

    def _read(self, session: Session, number: int) -> None:
        if session.is_open and number >= session.until:
            self._note(session, "end of a long read")
            session.end("rollback" if session.status == TransactionStatus.INERROR else "commit")
        elif not session.is_open:
            session.begin(self.random.choice(LEVELS[1:]))
            session.until = number + self.random.randrange(10, 60)
            self._note(session, "begin of a long read")

    def _fill(self) -> None:
        busy = any(session.fills for session in self.writers)
        chance = self.random.random()
        if chance < 0.45:
            self._fill_keys(self.filler)
        elif chance < 0.60:
            self._maintain("refresh what is stale", "call meshcache.refresh(%(view)s, null, 'stale', 0)")
        elif chance < 0.75:
            self._maintain("refresh all", "call meshcache.refresh(%(view)s, null, 'all', 0)")
        elif chance < 0.90 and not busy:
            self._maintain("sweep", "call meshcache.sweep(p_batch => 3)")
        elif self.prepared:
            name = self.prepared.pop(self.random.randrange(len(self.prepared)))
            how: LiteralString = self.random.choice(("commit prepared {}", "rollback prepared {}"))
            self._note(self.filler, how.removesuffix(" {}"))
            self.filler.connection.execute(sql.SQL(how).format(sql.Literal(name)))

    def _maintain(self, name: str, statement: LiteralString) -> None:
        view = self.random.choice(PACK)
        row = self.filler.connection.execute(statement, {"view": view}).fetchone()
        self._note(self.filler, name, f"{view} {row}")

    def _fill_keys(self, session: Session) -> None:
        view = self.random.choice(list(KEYS))
        try:
            row = session.connection.execute(KEYS[view]).fetchone()
            assert row is not None
            arrays = [[value for value in array or () if value is not None] for array in row]
            chosen = sorted(self.random.sample(range(len(arrays[0])), min(3, len(arrays[0]))))
            values = [[array[n] for n in chosen] for array in arrays]
            call = sql.SQL("select {}({})").format(
                sql.Identifier("meshcache", f"{view}_fill"),
                sql.SQL(", ").join([sql.Placeholder()] * len(values)),
            )
            filled = session.connection.execute(call, values).fetchone()
        except EXPECTED as error:
            self._note(session, "fill", f"{view} {type(error).__name__}")
        else:
            session.fills = session.is_open
            self._note(session, "fill", f"{view} {filled}")

    def _end_all(self) -> None:
        for session in self.sessions:
            if session.is_open:
                how: LiteralString = self.random.choice(("commit", "rollback"))
                self._note(session, f"must end: {how}")
                try:
                    session.end(how)
                except errors.SerializationFailure:
                    self._note(session, "cannot be serialized at its end")

    def _truncate(self) -> None:
        # Not MVCC in PostgreSQL: a snapshot from before it sees an empty table, so none may be open.
        self._end_all()
        session = self.random.choice(self.writers)
        session.begin(self.random.choice(LEVELS))
        table = sql.Identifier(self.random.choice(["workflow_events", *self.partitions]))
        self._try(session, "truncate", sql.SQL("truncate {}").format(table))
        self._check(session)
        if self.random.random() < 0.5:
            self._try(session, *self._pick(writes.COMMON))
            self._check(session)
        self._finish_truncate(session)

    def _finish_truncate(self, session: Session) -> None:
        how: LiteralString = self.random.choice(("commit", "rollback"))
        self._note(session, how)
        try:
            session.end(how)
        except errors.SerializationFailure:
            self._note(session, "cannot be serialized at its end")

    def _apply(self) -> None:
        """Replace a definition by one with another column, or back."""
        self._end_all()
        self.widened = not self.widened
        before = read("meshhook/run_card.sql")
        wider = before.replace(
            "r.started_at as started_at,", "r.started_at as started_at, length(d.name) as width,"
        )
        assert wider != before
        engine = self.database.engine()
        try:
            with engine.begin() as connection:
                found = [definition.parse(wider if self.widened else before, "run_card.sql")]
                catalog.apply(connection, catalog.plan(connection, found))
        except LockBusy:
            self.widened = not self.widened
            self._note(self.filler, "apply", "locked")
        else:
            self._note(self.filler, "apply", "wider" if self.widened else "as before")
        finally:
            engine.dispose()
        self.checker.views = Checker.of(self.admin).views


def _savepoint(session: Session) -> sql.Identifier:
    return sql.Identifier(f"s{session.savepoints}")
