"""Who answers reads: what a run is about. Everything else of the harness is the same for all subjects."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psycopg

    from tests.consistency.harness.site import Site
    from tests.consistency.harness.worker import Worker
    from tests.consistency.harness.workload import Step


class Hook:
    """What one writer tells the subject; this one does not listen. Errors of a hook are the application's."""

    def wrote(self, step: "Step") -> None:
        """Called within the writer's transaction after each of its statements that succeeded."""

    def ending(self, connection: "psycopg.Connection") -> None:
        """Called within the writer's transaction as its last statement before `commit` or `prepare`."""

    def ended(self, *, committed: bool) -> None:
        """Called after the transaction has ended; a prepared one ends when it was resolved, elsewhere."""

    def close(self) -> None:
        """The writer has ended."""


class Subject:
    """No cache at all: the application alone, as a measure for what is the application's own."""

    name = "source"
    # Whether a difference ends the run, and an error of a writer that it would not have otherwise.
    exact = True
    # What the server names when a lock or an error has to do with the subject.
    words: tuple[str, ...] = ()
    # Whether definitions may be changed while the site works.
    changes = False

    def is_named_in(self, text: str) -> bool:
        """Whether a message of the server has to do with the subject."""
        return any(word in text for word in self.words)

    def install(self, site: "Site") -> None:
        """Put into the site's database whatever is needed; called once, before anybody works."""

    def workers(self, site: "Site") -> Sequence["Worker"]:
        """Readers, fillers and all other threads of the subject."""
        del site
        return ()

    def hook(self, site: "Site") -> Hook:
        """One for each writer."""
        del site
        return Hook()

    def settle(self, site: "Site") -> None:
        """Called when all workers have ended: compare everything once more."""
