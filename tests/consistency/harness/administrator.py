"""What those have in common who change the cached views themselves, through the Python API."""

from collections.abc import Callable

from meshcache_pg import MeshCache
from meshcache_pg.errors import LockBusy, MeshcacheError
from tests.consistency.harness.site import Site, Stopped
from tests.consistency.harness.trouble import OF_MAINTENANCE, driver_error, is_lost, state_of
from tests.consistency.harness.worker import Worker


class Administrator(Worker):
    """Base: a change may find the cache busy, and may be cut off; then nothing of it is there."""

    role = "apply"

    def __init__(self, site: Site, number: int = 0) -> None:
        super().__init__(site, number)
        self._engine = site.engine(self.role)
        self.cache = MeshCache(own_engine=self._engine)

    def run(self) -> None:
        try:
            super().run()
        finally:
            self._engine.dispose()

    def attempt(self, name: str, work: Callable[[], None]) -> bool:
        """Do something that may be busy or cut off; whether it was done."""
        self.doing = name
        outcome = "done"
        try:
            work()
        except LockBusy:
            outcome = "busy"
        except Exception as error:
            if isinstance(error, Stopped) or is_lost(error) or not self.may_be_cut_off_by(error):
                raise
            outcome = state_of(error)
        self.note(f"{name}: {outcome}")
        self.site.tally.add("changes of the cache", f"{name}: {outcome}")
        return outcome == "done"

    def may_be_cut_off_by(self, error: Exception) -> bool:
        """Whether an error means that somebody else went first, and no more than that."""
        found = driver_error(error)
        return isinstance(found, OF_MAINTENANCE) or (isinstance(error, MeshcacheError) and found is not None)
