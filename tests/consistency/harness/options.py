"""What a run is asked to do, and on which servers."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psycopg

from meshcache_pg.embedded import Installation, find_installations

if TYPE_CHECKING:
    from tests.consistency.harness.subject import Subject

Plant = Callable[[psycopg.Connection], None]


def _default_subject() -> "Subject":
    from tests.consistency.harness.cached import Cached

    return Cached()


@dataclass(frozen=True)
class Options:
    """One run on one server. It ends after `seconds`; or, with `reads`, in its first round, once that many
    reads were compared, `hits` of them hits, and all of `strikes` were done, however long that takes.
    """

    seed: int
    seconds: float = 120
    reads: int | None = None
    hits: int = 0
    # So many rounds of `round_seconds` each, whatever else it takes, instead of `seconds`.
    rounds: int | None = None
    # Faults by their names in faults.KINDS, spread over the reads; without `reads` they come at random.
    strikes: tuple[str, ...] = ()
    # A round's database grows and shrinks at random; a new one keeps its size near what it was made for, and
    # takes a quarter of a minute to make.
    round_seconds: float = 180
    workloads: tuple[str, ...] = ("meshhook", "generated")
    subject: "Subject" = field(default_factory=_default_subject)
    plants: tuple[Plant, ...] = ()
    pooler: bool = True
    faults: bool = True
    # Whether there are TRUNCATE and partition DDL, and prepared transactions.
    migrations: bool = True
    two_phase: bool = True
    # How many change definitions; to do that at all mends most of what is planted.
    administrators: int = 2
    # Of the server, beside those that every run has.
    settings: Mapping[str, str] = field(default_factory=dict)
    # In how long a time of the run there is one fault, on average.
    fault_seconds: float = 12
    # And between two pieces of the application's own administration.
    migration_seconds: float = 1.2
    # And before each change that an administrator makes.
    change_seconds: float = 0.8


def chosen(majors: str | None) -> list[Installation] | None:
    """The installations of majors given as 15,18, or all; None, and a message, if one is missing."""
    found = {one.major: one for one in find_installations()}
    wanted = [int(major) for major in majors.split(",")] if majors else sorted(found)
    if not wanted or any(major not in found for major in wanted):
        there = ", ".join(map(str, found)) or "none"
        sys.stderr.write(f"error: PostgreSQL {majors or 'of any major'} is asked for; found here: {there}\n")
        return None
    return [found[major] for major in wanted]
