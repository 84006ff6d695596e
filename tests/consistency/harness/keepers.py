"""What keeps the cache: fills by key, refreshes, sweeps; several at once, as careless cron would run them."""

from typing import Any, LiteralString

import psycopg
from psycopg import sql

from tests.consistency.harness.comparing import Away, Eye
from tests.consistency.harness.site import Site
from tests.consistency.harness.trouble import AWAY, OF_MAINTENANCE, is_lost, state_of
from tests.consistency.harness.worker import Worker

# Sweeps that ran to their end, with no old transaction in the way, until the cache must be in use again.
SWEEPS_TO_WARM = 5


class Keeper(Worker):
    """Base: maintenance may be cut off by its own timeouts, and by a view that is being changed."""

    pace_seconds = 0.05

    def turn(self, connection: psycopg.Connection) -> None:
        generation = self.site.generation
        timeout = "0"
        if self.chance(0.05):
            timeout = f"{self.random.choice((3, 15, 60))}ms"
        try:
            # Under the one of the last turn, which may be shorter than even this takes.
            connection.execute(sql.SQL("set statement_timeout = {}").format(sql.Literal(timeout)))
            self.keep(connection)
        except psycopg.Error as error:
            if is_lost(error):
                raise
            state = state_of(error)
            changed = self.site.has_changed_since(generation)
            # MC001, MC006: there is no such view, or no table of it.
            if not isinstance(error, OF_MAINTENANCE) and not (
                changed and (isinstance(error, AWAY) or state in ("MC001", "MC006"))
            ):
                raise
            self.site.tally.add("errors of maintenance", f"{self.role}: {state}")
            self.note(f"{self.doing}: {state} {error.diag.message_primary}")
        self.pause(self.pace_seconds)

    def keep(self, connection: psycopg.Connection) -> None:
        """One piece of maintenance."""
        raise NotImplementedError

    def _call(self, connection: psycopg.Connection, call: LiteralString, **parameters: Any) -> dict[str, Any]:
        row = connection.execute(call, parameters).fetchone()
        result: dict[str, Any] = row[0] if row and row[0] else {}
        self.site.tally.add("maintenance", f"{self.role}: {result.get('state', 'nothing')}")
        return result

    def _view(self) -> str:
        view = self.random.choice(self.site.workload.definitions)
        return view.name


class Filler(Keeper):
    """Fills a few keys of one view, as readers do after a miss."""

    role = "fill"
    pace_seconds = 0.02

    def keep(self, connection: psycopg.Connection) -> None:
        view = self.random.choice(self.site.workload.definitions)
        self.doing = f"fill {view.name}"
        query = self.site.workload.keys(view)
        if query is None:
            arrays = sql.SQL(", ").join(sql.SQL("array_agg({})").format(sql.Identifier(k)) for k in view.key)
            source = sql.Identifier("meshcache", f"{view.name}_source")
            row = connection.execute(sql.SQL("select {} from {}").format(arrays, source)).fetchone()
        else:
            row = connection.execute(query).fetchone()
        if row is None or not row[0]:
            return
        chosen = self.random.sample(range(len(row[0])), min(self.random.choice((1, 5, 40)), len(row[0])))
        values = [[array[n] for n in chosen] for array in row]
        call = sql.SQL("select {}({})").format(
            sql.Identifier("meshcache", f"{view.name}_fill"),
            sql.SQL(", ").join([sql.Placeholder()] * len(values)),
        )
        filled = connection.execute(call, values).fetchone()
        assert filled is not None
        self.site.tally.add("maintenance", "fill: done" if filled[0] else "fill: refused")
        self.note(f"fill {view.name}: {filled[0]} of {len(chosen)}")


class Refresher(Keeper):
    """Refreshes one view, what is stale or all of it."""

    role = "refresh"
    pace_seconds = 0.1

    def keep(self, connection: psycopg.Connection) -> None:
        view, mode = self._view(), self.random.choice(("stale", "stale", "all"))
        self.doing = f"refresh {view} {mode}"
        result = self._call(
            connection,
            "call meshcache.refresh(%(view)s, null, %(mode)s, %(seconds)s)",
            view=view,
            mode=mode,
            seconds=self.random.choice((0.0, 0.3)),
        )
        self.note(f"{self.doing}: {result}")


class Sweeper(Keeper):
    """Sweeps, and sees to it that hits come back after a crash with nothing but sweeps."""

    role = "sweep"
    pace_seconds = 0.3

    def __init__(self, site: Site, number: int = 0) -> None:
        super().__init__(site, number)
        self._eye = Eye(self)
        self._seen = (0, 0)
        self._sweeps = 0
        self._warm = True

    def keep(self, connection: psycopg.Connection) -> None:
        self.doing = "sweep"
        now = (self.site.crashes, self.site.generation)
        if now != self._seen:
            self._warm = self._warm and now[0] == self._seen[0]
            self._seen, self._sweeps = now, 0
        may_fill = self._may_fill(connection)
        batch = self.random.choice((3, 50, 5000))
        result = self._call(
            connection, "call meshcache.sweep(null, %(seconds)s, %(batch)s)", seconds=20, batch=batch
        )
        self.note(f"sweep of {batch}: {result}")
        if not self._warm and may_fill and result.get("state") == "done" and self.site.whole:
            self._look_for_hits(connection)

    def _may_fill(self, connection: psycopg.Connection) -> bool:
        """Whether no transaction is left that is older than the opened cache: until then it may not fill."""
        if connection.execute("select to_regclass('meshcache_data.epoch')").fetchone() == (None,):
            return False
        row = connection.execute(
            "select exists (select from meshcache_data.epoch as e"
            " where e.opened_by <= pg_snapshot_xmin(pg_current_snapshot()))"
        ).fetchone()
        return row == (True,)

    def _look_for_hits(self, connection: psycopg.Connection) -> None:
        self.doing = "looking for hits after a crash"
        self._sweeps += 1
        self._eye.open(connection)
        with self.site.gate.shared(5) as inside:
            if not inside:
                return
            try:
                seen = self._eye.look(
                    connection, views=99, through="after a crash", level="a statement alone"
                )
            except Away:
                return
        if seen["hit"]:
            self._warm = True
            self.site.tally.add("warm again after a crash", f"{self._sweeps} sweeps")
        elif self._sweeps >= SWEEPS_TO_WARM and self._seen == (self.site.crashes, self.site.generation):
            raise AssertionError(f"still cold after {self._sweeps} sweeps that were done")
