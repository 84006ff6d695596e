"""Transactions of the application: every level, every ending, left open for a while, taken back in part."""

from contextlib import nullcontext
from typing import LiteralString

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from tests.consistency.harness.comparing import Away, Eye
from tests.consistency.harness.ledger import Entry
from tests.consistency.harness.site import Site, Stopped
from tests.consistency.harness.trouble import AWAY, OF_THE_APPLICATION, is_lost, names_the_cache, state_of
from tests.consistency.harness.worker import LEVELS, Worker
from tests.consistency.harness.workload import Step

# Timeouts of the application itself, in milliseconds; it has none most of the time. A lock_timeout much
# shorter than this also meets the server's own locks, such as that of a table that grows by a page.
_TIMEOUTS: dict[LiteralString, tuple[int, ...]] = {
    "statement_timeout": (5, 20, 100),
    "lock_timeout": (50, 200),
}
# Nobody may wait for ever for another writer: three of them would stand still.
_PATIENCE: LiteralString = "set lock_timeout = '900ms'"


class AppFailed(AssertionError):
    """A statement of the application failed in a way that only the cache can have caused."""


class Writer(Worker):
    """One connection of the application."""

    role = "write"

    def __init__(self, site: Site, number: int = 0) -> None:
        super().__init__(site, number)
        self._hook = site.options.subject.hook(site)
        self._eye = Eye(self) if site.options.subject.changes else None
        self._savepoints = 0

    def work(self, connection: psycopg.Connection) -> None:
        connection.execute(_PATIENCE)
        super().work(connection)

    def turn(self, connection: psycopg.Connection) -> None:
        if self._eye is not None:
            self._eye.open(connection)
        entry = self.site.ledger.begin(self.number)
        level = self.random.choice(LEVELS)
        holds = level != "read committed" and self.chance(0.4)
        outcome = "undone"
        try:
            if holds:
                with self.site.gate.shared(1) as inside:
                    outcome = self._transaction(connection, entry, level, looks=inside)
            else:
                outcome = self._transaction(connection, entry, level, looks=level == "read committed")
        except BaseException as error:
            outcome = "unknown" if self.doing in ("commit", "prepare transaction") else "undone"
            if not isinstance(error, Stopped) and not is_lost(error):
                raise
            if isinstance(error, Stopped) and not connection.closed:
                connection.rollback()
            raise
        finally:
            # Prepared: whoever resolves it knows how it ended.
            if outcome == "undone":
                self.site.ledger.undone(entry)
            elif outcome == "committed":
                self.site.ledger.committed(entry)
            self._hook.ended(committed=outcome == "committed")
            self.site.tally.add("transactions", f"{level}: {outcome}")
        self.pause(0.01)

    def _transaction(
        self, connection: psycopg.Connection, entry: Entry, level: LiteralString, *, looks: bool
    ) -> str:
        self.doing, self._savepoints = "begin", 0
        connection.execute(sql.SQL("begin isolation level {}").format(sql.SQL(level)))
        self.note(f"begin {level}")
        if self.chance(0.06):
            which = self.random.choice(list(_TIMEOUTS))
            timeout = sql.Literal(f"{self.random.choice(_TIMEOUTS[which])}ms")
            connection.execute(sql.SQL("set local {} = {}").format(sql.SQL(which), timeout))
        for _ in range(min(12, 1 + int(self.random.expovariate(0.5)))):
            self._act(connection)
            if connection.info.transaction_status == TransactionStatus.IDLE:
                return "undone"
            if looks and self.chance(0.12):
                self._look(connection, level)
            if connection.info.transaction_status == TransactionStatus.INERROR and not self._take_back(
                connection
            ):
                return "undone"
            # Left open: a little most of the time, for long now and then.
            self.pause(0.6 if self.chance(0.05) else 0.01)
        return self._end(connection, entry)

    def _act(self, connection: psycopg.Connection) -> None:
        if self.chance(0.15):
            self._savepoints += 1
            connection.execute(sql.SQL("savepoint {}").format(self._savepoint()))
        elif self._savepoints and self.chance(0.15):
            self._take_back(connection)
        else:
            self._try(connection, self.site.workload.step(self.random, self.site.major))

    def _try(self, connection: psycopg.Connection, step: Step) -> None:
        self.doing = step.name
        try:
            rows = step.run(connection)
        except psycopg.Error as error:
            if is_lost(error):
                raise
            self._account(error, step.name)
        else:
            self.note(f"{step.name}: {rows} rows")
            self.site.tally.add("writes", step.name)
            self._hook.wrote(step)

    def _account(self, error: psycopg.Error, what: str) -> None:
        """Count an error of the application; raise AppFailed if it is not one that it has without a cache."""
        state = state_of(error)
        self.note(f"{what}: {state} {error.diag.message_primary}")
        self.site.tally.add("errors of writers", state)
        self.site.tally.add("errors of writers by statement", f"{state} {what}")
        # What it asks of a cached view that is being changed.
        if what.startswith("invalidate") and (isinstance(error, AWAY) or state.startswith("MC")):
            return
        own_timeout = state in ("57014", "40001")
        if not isinstance(error, OF_THE_APPLICATION) or (names_the_cache(error) and not own_timeout):
            told = f"{error.diag.message_detail or ''} {error.diag.context or ''}"
            raise AppFailed(f"{what}: {state} {error} {told}")

    def _look(self, connection: psycopg.Connection, level: str) -> None:
        """Compare in the middle of the transaction, its own writes included."""
        if self._eye is None or connection.info.transaction_status != TransactionStatus.INTRANS:
            return
        self.doing = "a look within the transaction"
        # At the other levels the gate is held for the whole transaction, as its snapshot is.
        alone = self.site.gate.shared(0.5) if level == "read committed" else nullcontext(enter_result=True)
        with alone as inside:
            if not inside:
                return
            try:
                self._eye.look(connection, through="own transaction", level=level)
            except Away:
                # Aborted like any other transaction that fails; a statement of the application's own would
                # not have read by SQL from a view that is being dropped.
                return
            except psycopg.Error as error:
                if is_lost(error) or not isinstance(error, OF_THE_APPLICATION):
                    raise
                self.site.tally.add("errors of readers", f"{state_of(error)} in a writer's transaction")

    def _take_back(self, connection: psycopg.Connection) -> bool:
        """Return to a savepoint if there is one, else roll back; whether the transaction goes on."""
        if self._savepoints and self.chance(0.8):
            self.doing = "rollback to savepoint"
            connection.execute(sql.SQL("rollback to savepoint {}").format(self._savepoint()))
            self._savepoints -= 1
            self.note(self.doing)
            return True
        self.doing = "rollback"
        connection.execute("rollback")
        self.note(self.doing)
        return False

    def _end(self, connection: psycopg.Connection, entry: Entry) -> str:
        how = self.random.choices(("commit", "rollback", "prepare transaction"), (0.75, 0.13, 0.12))[0]
        try:
            if how == "rollback":
                connection.execute("rollback")
                return "undone"
            self.doing = "ledger"
            self.site.ledger.write(connection, entry)
            self.doing = how
            if how == "commit":
                connection.execute("commit")
            else:
                gid = sql.Literal(f"{self.site.name} {entry[0]} {entry[1]}")
                connection.execute(sql.SQL("prepare transaction {}").format(gid))
        except psycopg.Error as error:
            if is_lost(error):
                raise
            self._account(error, f"at the end ({self.doing})")
            if connection.info.transaction_status != TransactionStatus.IDLE:
                connection.execute("rollback")
            self.doing = "after the end"
            return "undone"
        self.note(f"{how} {entry}")
        return "committed" if how == "commit" else "prepared"

    def _savepoint(self) -> sql.Identifier:
        return sql.Identifier(f"s{self._savepoints}")
