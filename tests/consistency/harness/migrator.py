"""The application's own administration: TRUNCATE and partitions, while nobody compares in a snapshot."""

import psycopg
from psycopg.pq import TransactionStatus

from tests.consistency.harness.site import Site
from tests.consistency.harness.trouble import OF_THE_APPLICATION, is_lost, names_the_cache, state_of
from tests.consistency.harness.worker import LEVELS, Worker
from tests.consistency.harness.writers import AppFailed


class Migrator(Worker):
    """One such transaction after the other, some of them taken back; keeps the tables in size, too."""

    role = "migrate"

    def __init__(self, site: Site, number: int = 0) -> None:
        super().__init__(site, number)
        self._hook = site.options.subject.hook(site)

    def run(self) -> None:
        try:
            super().run()
        finally:
            self._hook.close()

    def turn(self, connection: psycopg.Connection) -> None:
        self.pause(self.site.options.migration_seconds)
        if not self.site.options.migrations or self.chance(0.5):
            self._transaction(connection, trim=True)
            return
        with self.site.gate.exclusive(self.site.stop.is_set) as alone:
            if alone:
                self._transaction(connection, trim=False)

    def _transaction(self, connection: psycopg.Connection, *, trim: bool) -> None:
        entry = self.site.ledger.begin(-1 - self.number)
        workload = self.site.workload
        step = workload.trim(self.random) if trim else workload.migration(self.random)
        self.doing = step.name
        self.note(f"{step.name} …")
        committed = False
        level = "read committed" if trim else self.random.choice(LEVELS)
        try:
            connection.isolation_level = psycopg.IsolationLevel[level.upper().replace(" ", "_")]
            with connection.transaction(force_rollback=self.chance(0.2)) as transaction:
                connection.execute("set local lock_timeout = '400ms'")
                step.run(connection)
                self.site.ledger.write(connection, entry)
                self._hook.ending(connection)
            committed = not transaction.force_rollback
        except psycopg.Error as error:
            if is_lost(error):
                raise
            state = state_of(error)
            self.note(f"{step.name}: {state} {error.diag.message_primary}")
            self.site.tally.add("errors of migrations", f"{state} {step.name}")
            if self.site.options.subject.exact and (
                not isinstance(error, (*OF_THE_APPLICATION, psycopg.errors.ObjectInUse))
                or (names_the_cache(error) and state not in ("40001", "57014"))
            ):
                told = f"{error.diag.message_detail or ''} {error.diag.context or ''}"
                raise AppFailed(f"{step.name}: {state} {error} {told}") from error
        else:
            self.note(f"{step.name}: {'committed' if committed else 'rolled back'}")
            self.site.tally.add("migrations", f"{step.name}: {'committed' if committed else 'rolled back'}")
        finally:
            self._hook.ended(committed=committed)
        if committed:
            self.site.ledger.committed(entry)
        elif connection.info.transaction_status == TransactionStatus.IDLE:
            self.site.ledger.undone(entry)
