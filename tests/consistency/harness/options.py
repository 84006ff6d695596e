"""What a run is asked to do."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    from tests.consistency.harness.subject import Subject

Plant = Callable[[psycopg.Connection], None]


def _default_subject() -> "Subject":
    from tests.consistency.harness.cached import Cached

    return Cached()


@dataclass(frozen=True)
class Options:
    """One run on one server. It ends after `seconds`; or, with `reads`, in its first round, once that many
    reads were compared and all of `strikes` were done, however long that takes.
    """

    seed: int
    seconds: float = 120
    reads: int | None = None
    # Faults by their names in faults.KINDS, spread over the reads; without `reads` they come at random.
    strikes: tuple[str, ...] = ()
    # A round's database grows and shrinks at random; a new one keeps its size near what it was made for.
    round_seconds: float = 60
    workloads: tuple[str, ...] = ("meshhook", "generated")
    subject: "Subject" = field(default_factory=_default_subject)
    plants: tuple[Plant, ...] = ()
    pooler: bool = True
    faults: bool = True
    # How long on average between two faults.
    fault_seconds: float = 9
