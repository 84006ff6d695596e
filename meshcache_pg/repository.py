"""Reads through the cache in the caller's transaction: the one place of the hit, miss and fallback rules.

A read is one round trip, but for the first miss in a while, which is two. What may be wrong with the cache
(not installed, dropped, no rights, a standby) must neither reach the caller nor leave its transaction
aborted: inside a transaction the read is wrapped in a savepoint, sent in the same round trip, and if it fails
for such a reason the definition's own SELECT answers. Nothing here writes.
"""

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any, Final

import psycopg
from psycopg import errors
from sqlalchemy import Connection

from meshcache_pg import statements
from meshcache_pg.answers import Origin, Read, Rows
from meshcache_pg.driver import driver, is_binary, run, run_together
from meshcache_pg.errors import InvalidKey
from meshcache_pg.exchange import Answer, Question
from meshcache_pg.statements import Shape, Target

# The cache is not there, not whole, not ours to read, or on a standby (PostgreSQL reports a read of an
# UNLOGGED table during recovery as feature_not_supported, an unpopulated materialized view as
# object_not_in_prerequisite_state), or somebody drops or replaces its tables at this moment.
UNUSABLE: Final = (
    errors.UndefinedTable,
    errors.UndefinedFunction,
    errors.UndefinedColumn,
    errors.InvalidSchemaName,
    errors.InsufficientPrivilege,
    errors.FeatureNotSupported,
    errors.WrongObjectType,
    errors.DatatypeMismatch,
    errors.ObjectNotInPrerequisiteState,
    errors.LockNotAvailable,
    errors.DeadlockDetected,
    # "cache lookup failed for function": dropped between two of its calls in one statement.
    errors.InternalError_,
)
_WRONG_KEY: Final = (
    errors.InvalidTextRepresentation,
    errors.NumericValueOutOfRange,
    errors.InvalidDatetimeFormat,
    errors.DatetimeFieldOverflow,
    errors.CannotCoerce,
)


# The short statements, which find hits alone, are in vain when a row is missing or marks are pending; so they
# are left out for a while.
_BUSY_SECONDS: Final = 1.0
_missing_until: dict[Target, float] = {}
_busy_until: dict[Target, float] = {}


def _wrong_key(
    target: Target, error: psycopg.Error, also: tuple[type[psycopg.Error], ...] = ()
) -> InvalidKey | None:
    """What is said of a value that the view's columns cannot have; None where something else is wrong."""
    # Without an SQLSTATE it was psycopg that could not turn the value into a parameter.
    unadapted = isinstance(error, (psycopg.ProgrammingError, psycopg.DataError)) and error.sqlstate is None
    if not isinstance(error, _WRONG_KEY + also) and not unadapted:
        return None
    message = error.diag.message_primary or str(error)
    return InvalidKey(f"{target.name}: {message}", hint=f"Its key is ({', '.join(target.key)}).")


def _from_cache(
    raw: psycopg.Connection[Any], target: Target, statement: str, values: Sequence[Any]
) -> Answer | None:
    """What a statement that asks the cache returns; None where the cache cannot be used."""
    try:
        return run(raw, statement, values, binary=is_binary(raw, target.column_types))
    except UNUSABLE:
        return None
    except psycopg.Error as error:
        if (wrong := _wrong_key(target, error)) is None:
            raise
        raise wrong from error


def _from_source(raw: psycopg.Connection[Any], target: Target, shape: Shape, values: Sequence[Any]) -> Read:
    """What the definition's own SELECT returns."""
    try:
        answer = run(raw, statements.from_source(target, shape), values)
    except psycopg.Error as error:
        # Without the columns' types the server may find no "=" between a column and the value given for it.
        if (wrong := _wrong_key(target, error, (errors.UndefinedFunction,))) is None:
            raise
        raise wrong from error
    return Read(tuple(statements.columns_of(answer.columns)), answer.rows, usable=False)


def _check_key(target: Target, key: Sequence[Any]) -> None:
    if len(key) != len(target.key):
        raise InvalidKey(
            f"{target.name}: {len(key)} key values given", hint=f"Its key is ({', '.join(target.key)})."
        )


def hit(connection: Connection, target: Target, key: Sequence[Any]) -> tuple[Any, ...] | None:
    """The cached row of one key, with its age in seconds at the end, if it is fresh in the caller's snapshot
    and all reads of this view were hits for a while; else None, and `get` knows more. An empty tuple where
    what is known of the view does not fit what the database has.

    Hits are most of all reads, and what this does beside its round trip is what they cost.
    """
    if (
        not target.has_hits
        or len(key) != len(target.key)
        or (_missing_until and _missing_until.get(target, 0.0) > monotonic())
    ):
        return None
    raw = driver(connection)
    if raw.prepare_threshold is None:
        return None
    # A loader of the caller's for jsonb need not be one for json.
    texts = bool(target.json_text) and is_binary(raw, target.column_types)
    answer = _from_cache(raw, target, statements.hit(target, json_text=texts), key)
    if answer is None:
        return ()
    if answer.rows:
        return answer.rows[0]
    _missing_until[target] = monotonic() + _BUSY_SECONDS
    return None


def get(connection: Connection, target: Target, key: Sequence[Any], *, versioned: bool = False) -> Read:
    """One row by key in the caller's transaction and snapshot; no rows where the source has none."""
    _check_key(target, key)
    raw = driver(connection)
    answer: Answer | None = None
    if versioned and target.has_hits:
        answer = _from_cache(raw, target, statements.by_key_versioned(target), (*key, *key))
    elif target.has_hits and raw.prepare_threshold is None:
        answer = _from_cache(raw, target, statements.by_function(target), key)
    elif target.has_hits:
        answer = _from_cache(raw, target, statements.by_key(target), (*key, *key))
        if answer is not None and not _is_hit(target, answer.rows):
            _missing_until[target] = monotonic() + _BUSY_SECONDS
    elif target.installed:
        answer = _from_cache(raw, target, statements.listing(target, statements.key_shape(target)), key)
    if answer is None:
        return _from_source(raw, target, statements.key_shape(target), key)
    return Read(target.columns, answer.rows, usable=True, result=answer.result if versioned else None)


def _is_hit(target: Target, rows: Rows) -> bool:
    return bool(rows) and rows[0][len(target.columns) + 1] == Origin.HIT


def get_many(
    connection: Connection, target: Target, keys: Sequence[Sequence[Any]], *, versioned: bool = False
) -> Read:
    """Rows of many keys in one round trip; a key that the source does not have brings no row.

    `Read.positions` says which of `keys` each row belongs to. Without the cache it is one round trip per key.
    """
    for key in keys:
        _check_key(target, key)
    raw = driver(connection)
    if not keys:
        return Read(target.columns, (), usable=True)
    if target.has_hits:
        arrays = [list(column) for column in zip(*keys, strict=True)]
        ask = statements.by_keys_versioned if versioned else statements.by_keys
        answer = _from_cache(raw, target, ask(target), arrays)
        if answer is not None:
            positions = tuple(row[-1] - 1 for row in answer.rows)
            result = answer.result if versioned else None
            return Read(target.columns, answer.rows, usable=True, positions=positions, result=result)
    answers = [get(connection, target, key) for key in keys]
    return Read(
        answers[0].columns,
        [row for answer in answers for row in answer.rows],
        usable=any(answer.usable for answer in answers),
        positions=tuple(n for n, answer in enumerate(answers) for _ in answer.rows),
    )


def still_hits(
    connection: Connection, target: Target, keys: Sequence[Sequence[Any]], versions: Sequence[str]
) -> set[int]:
    """Which of `keys`, by their positions from 0, have a row that may be served now and has the version that
    is given for it. One round trip; what hinders it is raised as psycopg's error.
    """
    arrays = [list(column) for column in zip(*keys, strict=True)]
    answer = run(driver(connection), statements.still_hits(target), [*arrays, list(versions)])
    return {position - 1 for (position,) in answer.rows}


class _Wanted:
    """A list as it is asked for: its shape, the values compared, these with limit and offset behind them."""

    def __init__(
        self,
        target: Target,
        where: Mapping[str, Any],
        order_by: Sequence[str],
        limit: int | None,
        offset: int,
    ) -> None:
        if (limit is not None and limit < 0) or offset < 0:
            raise InvalidKey(f"{target.name}: limit and offset cannot be negative")
        self.shape = Shape(
            equal=tuple(column for column, value in where.items() if value is not None),
            null=tuple(column for column, value in where.items() if value is None),
            order_by=tuple(order_by),
            limit=limit is not None,
            offset=bool(offset),
        )
        self.values = [value for value in where.values() if value is not None]
        self.plain = [*self.values, *(number for number in (limit, offset or None) if number is not None)]


def _may_be_quiet(target: Target) -> bool:
    return target.coverage == "complete" and _busy_until.get(target, 0.0) < monotonic()


def list_rows(
    connection: Connection,
    target: Target,
    where: Mapping[str, Any],
    *,
    order_by: Sequence[str] = (),
    limit: int | None = None,
    offset: int = 0,
    quiet: bool = True,
) -> Read:
    """Rows whose columns equal `where` (None: is null), from the live view in the caller's snapshot.

    A list of a complete view is one round trip while nothing is pending, and two at the first that meets
    a mark; also one where the caller knows that it is not `quiet`.
    """
    raw = driver(connection)
    wanted = _Wanted(target, where, order_by, limit, offset)
    shape, values, plain = wanted.shape, wanted.values, wanted.plain
    if not target.installed:
        return _from_source(raw, target, shape, plain)
    may_be_quiet = _may_be_quiet(target)
    if may_be_quiet and quiet:
        answer = _from_cache(raw, target, statements.quiet_listing(target, shape), plain)
        if answer is None:
            return _from_source(raw, target, shape, plain)
        if answer.rows:
            return Read(target.columns, answer.rows, usable=True, all_hits=True)
    cached = statements.list_values(target, values, limit, offset)
    answer = _from_cache(raw, target, statements.listing(target, shape), cached)
    if answer is None:
        return _from_source(raw, target, shape, plain)
    if may_be_quiet and answer.rows:
        _busy_until[target] = monotonic() + _BUSY_SECONDS
    return Read(target.columns, answer.rows, usable=True)


def key_question(connection: Connection, target: Target, key: Sequence[Any]) -> Question | None:
    """What `get` asks for one key, to be asked together with others; None where it has to be asked alone."""
    if not target.has_hits or len(key) != len(target.key):
        return None
    raw = driver(connection)
    binary = is_binary(raw, target.column_types)
    if raw.prepare_threshold is None:
        return Question(statements.by_function(target), key, binary)
    return Question(statements.by_key(target), (*key, *key), binary)


def quiet_question(
    connection: Connection,
    target: Target,
    where: Mapping[str, Any],
    *,
    order_by: Sequence[str] = (),
    limit: int | None = None,
    offset: int = 0,
) -> Question | None:
    """The same of a list; rows in the answer are all hits, and none say nothing."""
    wanted = _Wanted(target, where, order_by, limit, offset)
    if not target.installed or not _may_be_quiet(target):
        return None
    binary = is_binary(driver(connection), target.column_types)
    return Question(statements.quiet_listing(target, wanted.shape), wanted.plain, binary)


def ask_together(connection: Connection, questions: Sequence[Question]) -> list[Answer] | None:
    """The answers in one round trip; None where each has to be asked alone, and what is wrong shows then."""
    try:
        return run_together(driver(connection), questions)
    except UNUSABLE + _WRONG_KEY:
        return None
    except psycopg.Error as error:
        # Without an SQLSTATE, unless the connection is lost, a value could not be turned into a parameter.
        if error.sqlstate is None and not isinstance(error, psycopg.OperationalError):
            return None
        raise


def load_target(connection: Connection, name: str) -> Target | None:
    """A cached view as the catalog describes it; None where there is none or it may not be read."""
    statement = (
        "select v.name, v.kind, v.key_columns, v.coverage, v.columns, v.column_types, v.source_sql, "
        "v.tenant_column, v.json_text from meshcache.cached_view as v where v.name = %s"
    )
    try:
        rows = run(driver(connection), statement, [name]).rows
    except UNUSABLE:
        return None
    if not rows:
        return None
    name, kind, key, coverage, columns, types, source_sql, tenant, texts = rows[0]
    return Target(
        name, kind, tuple(key), coverage, tuple(columns), tuple(types), source_sql, tenant, tuple(texts)
    )
