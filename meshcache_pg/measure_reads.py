"""What reads of one view take: from its source, from the cache (hit), and through the cache when there is no
fresh row (miss), asked in turns over one connection, for keys that the source has.

Of a view that is applied and holds rows the cache itself is read. Otherwise a throwaway is: a temporary table
of the same rows with the same key, where each read also looks into one mark table per dependency, as a hit
does.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import errors, sql
from psycopg.rows import tuple_row
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from meshcache_pg import repository, statements
from meshcache_pg.answers import Origin
from meshcache_pg.conditions import Column, ResolvedDependency, columns_of, pairs
from meshcache_pg.database import execute_ddl
from meshcache_pg.driver import driver, run
from meshcache_pg.patience import LONGEST_MS
from meshcache_pg.resolve import table_columns
from meshcache_pg.sql import Identifier, trusted
from meshcache_pg.sql import text as sql_text
from meshcache_pg.statements import Shape, Target
from meshcache_pg.timing import in_turns

# Keys to choose from, keys that are read, and how often each is.
SAMPLE, KEYS, TIMES = 200, 20, 3

# For all reads of one kind, and for one statement: a migration that needs a table for itself waits no longer.
SECONDS: Final = 2.0
STATEMENT_MS: Final = 5000

# The first page of a list.
LIST_ROWS: Final = 50

_ROWS = Identifier("pg_temp", "meshcache_rows")

Key = Sequence[Any]


@dataclass(frozen=True, slots=True)
class ListRead:
    """The first rows of one tenant, in the order of its index: medians in milliseconds and of the rows."""

    tenant: str
    rows: float
    source_ms: float
    hit_ms: float

    @property
    def factor(self) -> float:
        """How many times faster the cache is."""
        return self.source_ms / self.hit_ms


@dataclass(frozen=True, slots=True)
class Reads:
    """Medians in milliseconds of reads by key. `basis` is `cache`, or `throwaway` where a temporary table
    stood for the cache; a rollup has no miss.
    """

    basis: str
    keys: int
    source_ms: float
    hit_ms: float
    miss_ms: float | None
    list: ListRead | None = None

    @property
    def factor(self) -> float:
        """How many times faster a hit is than the source."""
        return self.source_ms / self.hit_ms


class NotMeasured(Exception):
    """Why there is no figure."""


class SlowSource(NotMeasured):
    """There is none because a single read of the source takes too long to be repeated."""


def limit(connection: Connection) -> None:
    """Cut short every further statement of the transaction, and its waits for locks sooner."""
    connection.execute(
        text("select set_config('statement_timeout', :t, true), set_config('lock_timeout', :l, true)"),
        {"t": f"{STATEMENT_MS}ms", "l": f"{LONGEST_MS}ms"},
    )


def cached(connection: Connection, target: Target, order_by: Sequence[str]) -> Reads:
    """Read an applied view. Needs a connection of its own: each block of reads is a READ ONLY transaction, so
    that no table stays locked in ACCESS SHARE for longer than a block.

    Raises NotMeasured where the cache holds no fresh row, or a statement takes too long.
    """
    connection.rollback()
    is_rollup = target.kind == "rollup"
    held = Identifier("meshcache", target.name if is_rollup else f"{target.name}_hits")
    _begin(connection)
    with explained():
        found = _sample(connection, held, target.key)
        if not found:
            raise NotMeasured("it holds no fresh row")
        keys = found
        if target.coverage == "complete":
            try:
                keys = _sample(connection, Identifier("meshcache", f"{target.name}_source"), target.key)
            except DBAPIError:
                # Too slow without a key: those that the cache holds are keys of the source as well.
                _begin(connection)
        reads = [_source(connection, target, statements.key_shape(target)), _hit(connection, target)]
        if not is_rollup:
            missed = statements.by_key_missed(target)
            reads.append(lambda *key: _ask(connection, missed, (*key, *key)))
        times = _measured(connection, reads, _spread(keys, KEYS) * TIMES, between=_begin)
        listed = _list(connection, target, order_by)
    return Reads("cache", min(len(keys), KEYS), times[0], times[1], None if is_rollup else times[2], listed)


def throwaway(
    connection: Connection, target: Target, source: Identifier, dependencies: Sequence[ResolvedDependency]
) -> Reads:
    """Read what would be cached from a temporary table. Needs a transaction that will be rolled back.

    Locks: ACCESS SHARE on the tables of the SELECT, until the transaction ends. Raises NotMeasured.
    """
    with explained():
        keys = _spread(_sample(connection, source, target.key), KEYS)
        if not keys:
            raise NotMeasured("the source has no row")
        ask_source = _source(connection, target, statements.key_shape(target))
        # Alone and first: whether it is too slow is known then.
        ask_source(*keys[0])
        _copy(connection, target, source, keys)
        tests = [_marks(connection, number, one) for number, one in enumerate(dependencies, 1) if one.columns]
        columns = sql.SQL(", ").join(sql.Identifier("c", c) for c in target.columns)
        hit = sql.SQL("select {} from {} as c where {}").format(
            columns, _ROWS.sql, sql.SQL(" and ").join([_wanted(target, "c"), *tests])
        )
        asked = sql.SQL("select {} from {} as c where {}").format(columns, source.sql, _wanted(target, "c"))
        either = sql.SQL("select * from (({} offset 1) union all ({})) as g limit 1").format(hit, asked)
        cached_sql, missed_sql = sql_text(hit), sql_text(either)
        reads: list[Callable[..., Any]] = [
            ask_source,
            lambda *key: _ask(connection, cached_sql, key),
        ]
        if target.kind != "rollup":
            reads.append(lambda *key: _ask(connection, missed_sql, (*key, *key)))
        times = _measured(connection, reads, keys * TIMES)
    return Reads("throwaway", len(keys), times[0], times[1], times[2] if len(times) > 2 else None)


def _begin(connection: Connection) -> None:
    # Not by a rollback, at which psycopg forgets its prepared statements; there is nothing to commit.
    connection.commit()
    connection.execute(text("set transaction read only"))
    limit(connection)


@contextmanager
def explained() -> Iterator[None]:
    """Raise NotMeasured for statements that were cut short, and for what the server refuses."""
    try:
        yield
    except (psycopg.Error, DBAPIError) as error:
        reason = getattr(error, "orig", error)
        if isinstance(reason, errors.QueryCanceled):
            raise NotMeasured(f"a statement took more than {STATEMENT_MS / 1000:g} s") from error
        message = reason.diag.message_primary if isinstance(reason, psycopg.Error) else None
        raise NotMeasured(message or str(reason)) from error


def _sample(connection: Connection, relation: Identifier, columns: Sequence[str]) -> list[Key]:
    statement = sql.SQL("select {} from {} as s limit {}").format(
        columns_of("s", columns), relation.sql, sql.Literal(SAMPLE)
    )
    return [tuple(row) for row in connection.exec_driver_sql(sql_text(statement))]


def _spread(found: Sequence[Key], number: int) -> list[Key]:
    """As many, taken from all over."""
    step = max(len(found) / number, 1)
    return [found[int(n * step)] for n in range(min(number, len(found)))]


def _wanted(target: Target, alias: str) -> sql.Composed:
    return sql.SQL(" and ").join(
        sql.SQL("{} = %s::{}").format(sql.Identifier(alias, k), target.type_of(k)) for k in target.key
    )


def _source(connection: Connection, target: Target, shape: Shape) -> Callable[..., list[Any]]:
    """The SELECT of the definition, as an application would ask it without a cache."""
    statement = statements.from_source(target, shape)
    raw: Any = connection.connection.driver_connection
    cursor = raw.cursor(row_factory=tuple_row)

    def ask(*values: Any) -> list[Any]:
        try:
            found: list[Any] = cursor.execute(statement, values, prepare=True).fetchall()
        except errors.QueryCanceled as error:
            raise SlowSource(f"a read of the source takes more than {STATEMENT_MS / 1000:g} s") from error
        return found

    return ask


def _ask(connection: Connection, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    """As the repositories ask: under a savepoint, in one round trip."""
    return run(driver(connection), statement, values).rows


def _hit(connection: Connection, target: Target) -> Callable[..., Any]:
    def ask(*key: Any) -> Origin | None:
        if repository.hit(connection, target, key):
            return Origin.HIT
        read = repository.get(connection, target, key)
        return read.origins[0] if read.rows else None

    return ask


def _measured(
    connection: Connection,
    reads: Sequence[Callable[..., Any]],
    keys: Sequence[Key],
    between: Callable[[Connection], None] | None = None,
) -> list[float]:
    """The median of each read in milliseconds. Where answers say that they are no hit, they do not count."""
    taken: list[list[float]] = [[] for _ in reads]
    for answers in in_turns(reads, keys, seconds=SECONDS):
        for times, block in zip(taken, answers, strict=True):
            times += [
                seconds
                for answer, seconds in block
                if not isinstance(answer, (Origin, type(None))) or answer == Origin.HIT
            ]
        if between is not None:
            between(connection)
    if not all(taken):
        raise NotMeasured("no read of it was a hit")
    return [statistics.median(times) * 1000 for times in taken]


def _list(connection: Connection, target: Target, order_by: Sequence[str]) -> ListRead | None:
    """The first rows of some tenants, where lists are served from the cache."""
    if target.tenant is None or (target.coverage != "complete" and target.kind != "rollup"):
        return None
    relation = Identifier("meshcache", target.name)
    sampled = [key for key in _sample(connection, relation, (target.tenant,)) if key[0] is not None]
    tenants = _spread(list(dict.fromkeys(sampled)), KEYS)
    if not tenants:
        return None
    shape = Shape(equal=(target.tenant,), order_by=tuple(order_by), limit=True)
    tenant = target.tenant
    rows: list[int] = []

    def ask(value: Any) -> Origin | None:
        read = repository.list_rows(connection, target, {tenant: value}, order_by=order_by, limit=LIST_ROWS)
        rows.append(len(read.rows))
        return next((origin for origin in read.origins if origin != Origin.HIT), Origin.HIT)

    source = _source(connection, target, shape)
    times = _measured(connection, [lambda v: source(v, LIST_ROWS), ask], tenants * TIMES, between=_begin)
    return ListRead(tenant, statistics.median(rows), times[0], times[1])


def _copy(connection: Connection, target: Target, source: Identifier, keys: Sequence[Key]) -> None:
    """A temporary table of the rows of some keys, with what a cached row has beside its columns."""
    head = sql.SQL(
        "select s.*, pg_current_snapshot() as _filled_in, pg_current_xact_id() as _filled_by from {} as s"
    ).format(source.sql)
    shape = sql.SQL("create temporary table {} as {} with no data").format(_ROWS.sql, head)
    execute_ddl(connection, sql_text(shape))
    add = sql_text(sql.SQL("insert into {} {} where {}").format(_ROWS.sql, head, _wanted(target, "s")))
    raw: Any = connection.connection.driver_connection
    for key in keys:
        raw.execute(add, key)
    names = sql.SQL(", ").join(sql.Identifier(k) for k in target.key)
    execute_ddl(connection, sql_text(sql.SQL("alter table {} add primary key ({})").format(_ROWS.sql, names)))


def _marks(connection: Connection, number: int, dependency: ResolvedDependency) -> sql.Composed:
    """An empty table in the shape of the mark table, and the test that no mark in it concerns the row."""
    table = Identifier("pg_temp", f"meshcache_marks_{number}")
    have = table_columns(connection, dependency.source_id)
    columns = [have[name] for name in dependency.columns]
    names = sql.SQL(", ").join(sql.Identifier(c.name) for c in columns)
    statement = sql.SQL("create temporary table {} ({}, xid xid8 not null, unique ({}, xid))").format(
        table.sql, sql.SQL(", ").join(_typed(c) for c in columns), names
    )
    execute_ddl(connection, sql_text(statement))
    matching = dict(zip(dependency.columns, dependency.view_columns, strict=True))
    match: sql.Composable = pairs(
        lambda n: sql.Identifier("m", n), lambda n: sql.Identifier("c", matching[n]), columns
    )
    if dependency.links:
        # While no mark is pending a linked dependency looks at the marks alone.
        match = sql.SQL("true")
    return sql.SQL(
        "not exists (select from {} as m where {} "
        "and (m.xid = c._filled_by or not pg_visible_in_snapshot(m.xid, c._filled_in)))"
    ).format(table.sql, match)


def _typed(column: Column) -> sql.Composed:
    collation = sql.SQL(trusted(f" collate {column.collation}" if column.collation else ""))
    return sql.SQL("{} {}{}").format(sql.Identifier(column.name), sql.SQL(trusted(column.type)), collation)
