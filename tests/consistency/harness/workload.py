"""What an application does, whichever it is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, LiteralString, Protocol

import psycopg
from psycopg import sql

from meshcache_pg.definition import Definition

Parameters = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """One write: runs in the writer's transaction and returns the number of rows, where there is one."""

    name: str
    run: Callable[[psycopg.Connection], int]


def statement(
    name: str, text: LiteralString | sql.Composable | bytes, parameters: Parameters | None = None
) -> Step:
    """A step of one statement."""
    query = text.as_bytes() if isinstance(text, sql.Composable) else text
    return Step(name, lambda connection: connection.execute(query, parameters).rowcount)


class Workload(Protocol):
    """The application of one site. `random` of each method belongs to the worker that calls it."""

    name: str

    @property
    def definitions(self) -> Sequence[Definition]:
        """As they are applied at the beginning."""
        ...

    @property
    def variants(self) -> Sequence[Definition]:
        """Other forms of some of them."""
        ...

    @property
    def tables(self) -> Sequence[str]:
        """What to suspend, to invalidate and so on."""
        ...

    def create(self, dsn: str) -> None:
        """Make the tables and the rows."""

    def choose(self, dsn: str) -> None:
        """Choose the definitions; the cache's schema is there by now, if there is a cache."""

    def step(self, random: Random, major: int) -> Step:
        """One write that every snapshot protects."""
        ...

    def migration(self, random: Random) -> Step:
        """One write that no snapshot protects."""
        ...

    def trim(self, random: Random) -> Step:
        """One write that keeps the tables near the size that they were made with."""
        ...

    def other(self, random: Random, name: str) -> Definition:
        """A view on the same tables that somebody else declares, under a name of their own."""
        ...

    def keys(self, view: Definition) -> LiteralString | None:
        """A query for arrays of the key's columns, cheaper than the source view; None where there is none."""
        ...
