"""The application's transaction manager: ends prepared transactions, also those from before a crash."""

import psycopg
from psycopg import sql

from tests.consistency.harness.trouble import OF_THE_APPLICATION, is_lost
from tests.consistency.harness.worker import Worker

# What was just prepared is left alone for a while: that is when it can be in the way.
_OLDEST = 6


class Resolver(Worker):
    """Ends the oldest of too many prepared transactions, or any one now and then."""

    role = "resolve"

    def turn(self, connection: psycopg.Connection) -> None:
        found = prepared(connection)
        if len(found) > _OLDEST or (found and self.chance(0.2)):
            gid = found[0] if len(found) > _OLDEST else self.random.choice(found)
            self.resolve(connection, gid)
        self.pause(0.2)

    def resolve(self, connection: psycopg.Connection, gid: str) -> None:
        """Commit or roll back one of them, and tell the ledger."""
        writer, seq = map(int, gid.split()[-2:])
        how = self.random.choice(("commit", "commit", "rollback"))
        self.doing = f"{how} prepared"
        # Whatever is lost from here on leaves the entry open: nobody knows.
        try:
            connection.execute(sql.SQL("{} prepared {}").format(sql.SQL(how), sql.Literal(gid)))
        except psycopg.errors.UndefinedObject:
            return
        except psycopg.errors.ObjectNotInPrerequisiteState:
            # It is still being prepared, in a session whose client is gone.
            return
        except OF_THE_APPLICATION as error:
            if is_lost(error):
                raise
            return
        self.note(f"{how} prepared {gid}")
        self.site.tally.add("prepared transactions", f"{how} prepared")
        if how == "commit":
            self.site.ledger.committed((writer, seq))
        else:
            self.site.ledger.undone((writer, seq))


def prepared(connection: psycopg.Connection) -> list[str]:
    """Prepared transactions of this database, the oldest first."""
    return [
        gid
        for (gid,) in connection.execute(
            "select p.gid from pg_prepared_xacts as p where p.database = current_database()"
            " order by p.prepared"
        )
    ]
