"""Further administrators: what one writes into the triggers of a table must not lose what the other has."""

import psycopg

from meshcache_pg.definition import Definition
from tests.consistency.harness.administrator import Administrator
from tests.consistency.harness.comparing import Away, Eye
from tests.consistency.harness.site import Site
from tests.consistency.harness.trouble import AWAY, driver_error, state_of

# How often a view is compared while it is there, and how long between two times.
_LOOKS = 5
_PAUSE_SECONDS = 0.08


class Definer(Administrator):
    """Applies one view of its own after the other on the tables of all, compares each under load, and takes
    most of them back.

    Nobody else knows them, so they come and go without any arrangement with the `Changer`.
    """

    def __init__(self, site: Site, number: int) -> None:
        super().__init__(site, number)
        self._generation = 0

    def turn(self, connection: psycopg.Connection) -> None:
        # Less often than the first: after each of these changes everybody's statements are planned anew.
        self.pause(4 * self.site.options.change_seconds)
        self._generation = self.site.generation
        view = self.site.workload.other(self.random, f"other_{self.number}")
        if self.attempt("apply another view", lambda: self._apply(connection, view)):
            self._compare(connection, view)
            if self.chance(0.7):
                self.attempt("drop another view", lambda: self.cache.drop(view.name))

    def may_be_cut_off_by(self, error: Exception) -> bool:
        # MC001, MC006: there is no such view, or no table of it.
        away = isinstance(driver_error(error), AWAY) or state_of(error) in ("MC001", "MC006")
        return super().may_be_cut_off_by(error) or (away and self.site.has_changed_since(self._generation))

    def _apply(self, connection: psycopg.Connection, view: Definition) -> None:
        self.cache.apply([view])
        connection.execute("call meshcache.refresh(%s, null, 'all', 5)", (view.name,))

    def _compare(self, connection: psycopg.Connection, view: Definition) -> None:
        eye = Eye(self, [view.name])
        eye.open(connection)
        if self.site.has_changed_since(self._generation):
            # The schema of the data was dropped, or a table suspended: the view may be gone already, and the
            # eye knows only what has changed since it was opened.
            return
        for _ in range(_LOOKS):
            self.pause(_PAUSE_SECONDS)
            with self.site.gate.shared(2) as inside:
                if not inside:
                    return
                try:
                    eye.look(connection, through="sql, another view", level="a statement alone")
                except Away:
                    return
