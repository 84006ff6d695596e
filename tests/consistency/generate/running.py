"""One run: the schema and the views of a seed, under its writes, compared after each of them."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from meshcache_pg import catalog, deriving, facts
from meshcache_pg.database import execute_ddl
from meshcache_pg.definition import parse
from meshcache_pg.errors import DefinitionError
from tests.consistency.checker import Checker, NotExact
from tests.consistency.generate import schemas, writes
from tests.consistency.generate.definitions import Definitions, Made
from tests.consistency.generate.plants import MATTER, RULES, Plant
from tests.fixtures.fix_cache import sweep
from tests.fixtures.fix_db import Database

# What a write may break without being a mistake of ours.
_REFUSED_WRITES = (
    psycopg.errors.IntegrityError,
    psycopg.errors.CardinalityViolation,
    psycopg.errors.FeatureNotSupported,
    # TRUNCATE, with checks of deferred constraints still to come.
    psycopg.errors.ObjectInUse,
)


class SelectFails(Exception):
    """A SELECT compares two implicit collations: the server accepts it, and refuses to execute it as soon as
    there are rows to compare.
    """


@dataclass
class Tally:
    """What runs have shown. A pair is a cached view and a write to a table that it reads."""

    pairs: int = 0
    views: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    shapes: Counter[str] = field(default_factory=Counter)
    tables: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    origins: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Tally") -> None:
        """Take in another run."""
        self.pairs += other.pairs
        self.views += other.views
        for name in ("refused", "shapes", "tables", "kinds", "origins"):
            getattr(self, name).update(getattr(other, name))


@dataclass(frozen=True)
class Size:
    """How much a seed does."""

    views: int = 8
    writes: int = 40
    rows: int = 30
    tries: int = 400


class Run:
    """One seed in one database, which is fresh and has the cache's schema."""

    def __init__(self, database: Database, seed: int, size: Size) -> None:
        self._seed, self._size = seed, size
        self._random = Random(seed)  # noqa: S311
        self._connection, self._engine = database.connect(), database.engine()
        self._made: dict[str, Made] = {}
        self.tally = Tally()
        version = self._connection.info.server_version
        self._schema = schemas.make(self._random, collation=_collation(self._connection))
        for statement in self._schema.statements:
            self._connection.execute(statement.encode())
        self._definitions = Definitions(self._random, self._schema)
        for number in range(4):
            name = f'{self._random.choice(("app", "public"))}."view {number}"'
            statement, relation = self._definitions.view(
                name, invoker=version >= 150000 and self._random.random() < 0.4
            )
            if self._write(statement):
                self._definitions.views.append(relation)
                if "security_invoker" in statement:
                    self.tally.shapes["security_invoker"] += 1
        for table in self._schema.tables:
            self.tally.tables[table.shape] += 1
        for number in range(size.rows):
            table = self._schema.tables[number % len(self._schema.tables)]
            self._write(writes.insert(self._random, table))

    def _write(self, statement: str) -> bool:
        """Execute one statement; some break a constraint, and change nothing."""
        try:
            with self._connection.transaction():
                self._connection.execute(statement.encode())
        except (*_REFUSED_WRITES, psycopg.errors.ProgrammingError):
            return False
        return True

    def define(self, plant: Plant | None = None) -> None:
        """Make and fill views until there are enough, or too many were tried; with a mistake planted only
        those whose dependencies it changes.
        """
        for _ in range(self._size.tries):
            if len(self._made) >= self._size.views:
                break
            name = f"g{len(self._made)}"
            made = self._definitions.make(name, flush=self._random.random() < 0.25)
            if plant is not None and not self._changed_by(plant, made):
                continue
            with pytest.MonkeyPatch.context() as patch:
                if plant is not None:
                    plant(patch)
                problem = self._apply(made)
            if problem is not None:
                self.tally.refused[problem] += 1
                continue
            self._made[name] = made
            self.tally.views += 1
            self.tally.shapes.update(made.shapes)
            self._fill(name)

    def _changed_by(self, plant: Plant, made: Made) -> bool:
        """Whether a planted mistake gives a definition other dependencies."""
        definition = parse(made.text, "generated")
        with self._engine.connect() as connection:
            try:
                execute_ddl(connection, f"create view public.candidate as {definition.query}")
            except DBAPIError:
                return False
            oid: int = connection.scalar(text("select cast('public.candidate'::regclass as oid)::bigint"))
            read = facts.read(connection, oid)
            connection.rollback()
        found = []
        for planted in (False, True):
            with pytest.MonkeyPatch.context() as patch:
                if planted:
                    plant(patch)
                try:
                    derive = deriving.derive  # type: ignore[attr-defined]  # where a plant may replace it
                    found.append([f.text for f in derive(oid, definition.key, read).found])
                except DefinitionError:
                    return False
        # A mistake in which columns matter shows nowhere else.
        return found[0] != found[1] or plant is RULES[MATTER]

    def _apply(self, made: Made) -> str | None:
        """Apply a definition; the reason where it is refused."""
        with self._engine.connect() as connection:
            try:
                catalog.apply(connection, catalog.plan(connection, [parse(made.text, "generated")]))
            except DefinitionError as error:
                connection.rollback()
                return _reason(str(error))
            except DBAPIError as error:
                connection.rollback()
                return f"invalid: {str(error.orig).splitlines()[0]}"
            connection.commit()
            return None

    def _fill(self, name: str) -> None:
        with self._or_fails_by_itself():
            self._connection.execute("call meshcache.refresh(%s, null, 'all')", (name,))

    def write(self) -> Tally:
        """Write, and compare after each statement, each rollback and each commit. Raises NotExact with the
        seed, the writes and the definition.
        """
        random, connection = self._random, self._connection
        for (kind,) in connection.execute("select d.kind from meshcache.dependency as d").fetchall():
            self.tally.kinds[kind] += 1
        checker = Checker.of(connection)
        done: list[str] = []

        def check(touched: set[str]) -> None:
            for name, made in self._made.items():
                if made.tables & touched:
                    try:
                        with self._or_fails_by_itself(), connection.transaction():
                            checker.assert_exact(connection, name)
                        self.tally.pairs += 1
                    except NotExact as error:
                        story = "\n".join(done[-8:])
                        raise NotExact(f"seed {self._seed}, after:\n{story}\n{made.text}\n{error}") from error

        read = [t for t in self._schema.tables if any(t.name in m.tables for m in self._made.values())]
        written = 0
        while read and written < self._size.writes:
            touched: set[str] = set()
            try:
                with connection.transaction(force_rollback=random.random() < 0.1):
                    for _ in range(random.choice((1, 1, 1, 2, 3))):
                        statement, tables = writes.write(random, self._schema, random.choice(read))
                        done.append(statement)
                        written += 1
                        if random.random() < 0.1:
                            with connection.transaction(force_rollback=True):
                                if self._write(statement):
                                    check(tables)
                            done.append("-- rolled back to the savepoint")
                            check(tables)
                        elif self._write(statement):
                            touched |= tables
                            check(tables)
            except psycopg.errors.ForeignKeyViolation:
                done.append("-- the commit failed")
            done.append("-- and the end of the transaction")
            check(touched)
            assert sweep(connection) == "done"
            for made in self._made.values():
                if not made.complete and made.tables & touched:
                    self._fill(made.name)
        self.tally.origins = checker.origins
        return self.tally

    @contextmanager
    def _or_fails_by_itself(self) -> Iterator[None]:
        """Around what reads a source; raises SelectFails where one of the SELECTs fails without any cache."""
        try:
            yield
        except psycopg.errors.IndeterminateCollation as error:
            for name in self._made:
                source = sql.Identifier("meshcache", f"{name}_source")
                # A table takes all columns; a count might leave out the one that fails.
                take = sql.SQL("create temporary table one on commit drop as select * from {}").format(source)
                try:
                    with self._connection.transaction(force_rollback=True):
                        self._connection.execute(take)
                except psycopg.errors.IndeterminateCollation:
                    raise SelectFails from error
            raise

    def close(self) -> None:
        """Leave the database."""
        self._connection.close()
        self._engine.dispose()


def run(database: Database, seed: int, size: Size, plant: Plant | None = None) -> Tally:
    """Definitions of one seed, under its writes. Raises NotExact where the cache is wrong."""
    one = Run(database, seed, size)
    try:
        one.define(plant)
        return one.write()
    except SelectFails:
        return one.tally
    finally:
        one.close()


def _collation(connection: psycopg.Connection) -> str | None:
    """A collation that takes different strings for equal, where the server can have one."""
    try:
        with connection.transaction():
            connection.execute(
                "create collation public.any_case"
                " (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
            )
    except psycopg.Error:
        return None
    return "public.any_case"


def _reason(message: str) -> str:
    """A refusal without the names in it."""
    for known in (
        "cannot be followed",
        "cannot be cached",
        "not unique",
        "may be null",
        "cannot be marked",
        "depends on the session",
        "is no output column",
    ):
        if known in message:
            return known if known != "cannot be followed" else f"{known}: {message.rsplit(': ', 1)[-1]}"
    return message
