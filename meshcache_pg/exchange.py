"""One SELECT over libpq itself, in one round trip, which cannot hurt the caller's transaction.

A hit takes the server a few microseconds. The bookkeeping of psycopg's cursors in a pipeline took three times
as long as all the rest of a hit, so this speaks to `psycopg.pq` and leaves to psycopg what is psycopg's: how
to wait, what to do at Ctrl-C, which values become what.

A prepared statement's name is a digest of its text and of the types that were sent: the same name is the
same statement on whichever server a pooler leads to, and one that was deallocated behind our back is prepared
again.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import adapt, errors, generators
from psycopg.abc import PQGen, Transformer
from psycopg.adapt import PyFormat
from psycopg.pq import ConnStatus, ExecStatus, Format, PipelineStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult
from psycopg.waiting import Ready, Wait

from meshcache_pg.numbered import Statement, numbered, told

# What puts one message into the pipeline.
Send = Callable[[PGconn], object]


def _say(command: bytes) -> Send:
    return lambda pgconn: pgconn.send_query_params(command, None)


_SAVEPOINT: Final = _say(b"savepoint meshcache_read")
_RELEASE: Final = _say(b"release savepoint meshcache_read")
_BACK: Final = "rollback to savepoint meshcache_read; release savepoint meshcache_read"

# How often one read learns that a statement is prepared otherwise than it thought: by another client, which
# has made it and which has deallocated it.
_CORRECTIONS: Final = 2

# As if it had been executed so often that it has to be prepared, whatever the threshold is.
_AT_ONCE: Final = 1 << 30

# Texts of statements that one process keeps.
_KEPT: Final = 1024

_HAS_PIPELINES: Final = psycopg.Pipeline.is_supported()

# Where the connection object carries its Session: it lives as long, and nothing else has to be looked up.
_ATTRIBUTE: Final = "_meshcache_session"


class Question(NamedTuple):
    """A SELECT with one value for each `%s`, and the format of what it returns."""

    statement: str
    values: Sequence[Any]
    binary: bool


class _Bound(NamedTuple):
    """A question as it is sent, and who makes the values of its answer."""

    statement: Statement
    parameters: Sequence[Any] | None
    result_format: Format
    transformer: Transformer


class Answer(NamedTuple):
    """Rows, and what tells the names of their columns."""

    rows: list[tuple[Any, ...]]
    result: PGresult
    encoding: str

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        names = (self.result.fname(n) for n in range(self.result.nfields))
        return tuple((name or b"").decode(self.encoding) for name in names)


def is_possible(raw: psycopg.Connection[Any]) -> bool:
    """Whether `ask` can be used now: not in a transaction that has failed, not in a pipeline of the caller's,
    not with a libpq from before there were pipelines.
    """
    return (
        raw.pgconn.transaction_status in (TransactionStatus.IDLE, TransactionStatus.INTRANS)
        and raw.pgconn.pipeline_status == PipelineStatus.OFF
        and _HAS_PIPELINES
    )


def ask(raw: psycopg.Connection[Any], statement: str, values: Sequence[Any], *, binary: bool) -> Answer:
    """Execute a SELECT with one value for each `%s`; prepared as `Connection.prepare_threshold` says. Values
    are of the types that the server infers, from casts for instance, or fail: nothing is rounded to fit.

    Begins the transaction where psycopg would. A failure raises psycopg's error for it and leaves the
    transaction as it was, or not begun.
    """
    session = session_of(raw)
    bound = _bind(session, raw, statement, values, binary=binary)
    digest = bound.statement.digest
    result: PGresult | None = None
    corrected = 0
    while result is None:
        name, is_new = session.look_up(raw, digest)
        try:
            result = _ask(raw, bound, name, is_new=is_new)
        except errors.DatabaseError as error:
            corrected += 1
            if name is None or corrected > _CORRECTIONS or not session.correct(digest, error, is_new=is_new):
                raise
        else:
            if is_new:
                session.made(raw, digest)
    return _answer(session, bound, result)


def ask_together(raw: psycopg.Connection[Any], questions: Sequence[Question]) -> list[Answer]:
    """The answers of several SELECTs in one round trip, in their order. As `ask`, but that nothing is tried
    again where a statement is prepared otherwise than was thought.
    """
    session = session_of(raw)
    sends: list[Send] = []
    asked: list[tuple[int, _Bound]] = []
    new: set[bytes] = set()
    for question in questions:
        bound = _bind(session, raw, question.statement, question.values, binary=question.binary)
        digest = bound.statement.digest
        name: bytes | None = session.name(digest)
        if digest not in new:
            name, is_new = session.look_up(raw, digest)
            if name is not None and is_new:
                new.add(digest)
                sends.append(_prepares(name, bound.statement))
        asked.append((len(sends), bound))
        sends.append(_executes(name, bound))
    results = _run(raw, sends)
    for digest in new:
        session.made(raw, digest)
    return [_answer(session, bound, results[place]) for place, bound in asked]


def _bind(
    session: "Session", raw: psycopg.Connection[Any], statement: str, values: Sequence[Any], *, binary: bool
) -> _Bound:
    transformer = session.transformer(raw, binary=binary)
    parameters: Sequence[Any] | None = None
    types: tuple[int, ...] = ()
    if values:
        parameters = transformer.dump_sequence(values, _as_text(len(values)))
        types = told(transformer.types or ())
    text = numbered(statement, transformer.encoding, types)
    return _Bound(text, parameters, Format.BINARY if binary else Format.TEXT, transformer)


def _answer(session: "Session", bound: _Bound, result: PGresult) -> Answer:
    transformer = bound.transformer
    transformer.set_pgresult(result)
    rows = transformer.load_rows(0, result.ntuples, tuple)
    if bound.result_format == Format.BINARY:
        session.keep(transformer)
    return Answer(rows, result, transformer.encoding)


def _prepares(name: bytes, statement: Statement) -> Send:
    return lambda pgconn: pgconn.send_prepare(name, statement.text, statement.types)


def _executes(name: bytes | None, bound: _Bound) -> Send:
    statement, parameters, result_format, _ = bound
    if name is None:
        return lambda pgconn: pgconn.send_query_params(
            statement.text, parameters, statement.types, None, result_format
        )
    return lambda pgconn: pgconn.send_query_prepared(name, parameters, None, result_format)


@lru_cache(_KEPT)
def _as_text(values: int) -> list[PyFormat]:
    return [PyFormat.TEXT] * values


class Session:
    """What is known of one connection: whether psycopg makes its values (None: not yet asked), the statements
    that are prepared on it, by their digests, the least recently used first, and who made values last.
    """

    def __init__(self) -> None:
        self.has_usual_loaders: bool | None = None
        self._names: OrderedDict[bytes, bytes] = OrderedDict()
        self._seen: Counter[bytes] = Counter()
        self._outdated: Counter[bytes] = Counter()
        self._transformers: list[Transformer] = []
        self._made_for: tuple[bytes | None, bytes | None] = (None, None)

    def transformer(self, raw: psycopg.Connection[Any], *, binary: bool) -> Transformer:
        """Who turns values into parameters and columns into values. How to is found out once and takes longer
        than making a row; in the binary format it depends on these two settings of the session alone.
        """
        if not binary:
            return adapt.Transformer(raw)
        pgconn = raw.pgconn
        made_for = (pgconn.parameter_status(b"TimeZone"), pgconn.parameter_status(b"client_encoding"))
        if made_for != self._made_for:
            self._made_for = made_for
            self._transformers.clear()
        # Another thread may be about to take the last one.
        with suppress(IndexError):
            return self._transformers.pop()
        return adapt.Transformer(raw)

    def keep(self, transformer: Transformer) -> None:
        """For the next read, without the row that it made last."""
        transformer.set_pgresult(None)
        self._transformers.append(transformer)

    def look_up(self, raw: psycopg.Connection[Any], digest: bytes) -> tuple[bytes | None, bool]:
        """The name of the prepared statement, and whether it has to be prepared now; None for not at all."""
        threshold = raw.prepare_threshold
        if threshold is None:
            return None, False
        name = self._names.get(digest)
        if name is not None:
            self._names.move_to_end(digest)
            return name, False
        self._seen[digest] += 1
        if self._seen[digest] <= threshold:
            return None, False
        return self.name(digest), True

    def name(self, digest: bytes) -> bytes:
        """What it is called where it is prepared."""
        return b"meshcache_%d_%b" % (self._outdated[digest], digest)

    def made(self, raw: psycopg.Connection[Any], digest: bytes) -> None:
        """It was prepared just now; what are then too many are deallocated."""
        self._names[digest] = self.name(digest)
        del self._seen[digest]
        while raw.prepared_max is not None and len(self._names) > max(1, raw.prepared_max):
            _, oldest = self._names.popitem(last=False)
            # Unless it is gone already.
            with suppress(errors.InvalidSqlStatementName):
                _run(raw, (_say(b"deallocate " + oldest),))

    def correct(self, digest: bytes, error: psycopg.Error, *, is_new: bool) -> bool:
        """Learn from an error; False when it says nothing of the statement's being prepared."""
        if isinstance(error, errors.DuplicatePreparedStatement):
            # By another client of a pooler, on the same server.
            self._names[digest] = self.name(digest)
        elif isinstance(error, errors.InvalidSqlStatementName) and not is_new:
            # psycopg deallocates all of them at a rollback; a pooler may have gone to another server.
            self._seen.update(dict.fromkeys(self._names, _AT_ONCE))
            self._names.clear()
        elif isinstance(error, errors.FeatureNotSupported) and not is_new:
            # "Cached plan must not change result type". Whether it is there to be deallocated nobody knows.
            del self._names[digest]
            self._outdated[digest] += 1
            self._seen[digest] = _AT_ONCE
        else:
            return False
        return True


def session_of(raw: psycopg.Connection[Any]) -> Session:
    """What is known of this connection."""
    session: Session | None = getattr(raw, _ATTRIBUTE, None)
    if session is None:
        session = Session()
        setattr(raw, _ATTRIBUTE, session)
    return session


@lru_cache(_KEPT)
def _begin(level: int | None, read_only: bool | None, deferrable: bool | None) -> Send:
    """The command that psycopg begins a transaction with."""
    parts = [b"begin"]
    if level is not None:
        parts.append(b"isolation level " + psycopg.IsolationLevel(level).name.replace("_", " ").encode())
    if read_only is not None:
        parts.append(b"read only" if read_only else b"read write")
    if deferrable is not None:
        parts.append(b"deferrable" if deferrable else b"not deferrable")
    return _say(b" ".join(parts))


def _ask(raw: psycopg.Connection[Any], bound: _Bound, name: bytes | None, *, is_new: bool) -> PGresult:
    pgconn = raw.pgconn
    execute = _executes(name, bound)
    if raw.autocommit and pgconn.transaction_status == TransactionStatus.IDLE and not is_new:
        # There is nothing to protect, and a message alone needs no pipeline.
        with raw.lock:
            execute(pgconn)
            results: list[PGresult] = raw.wait(generators.execute(pgconn))
        result = results[0]
        if result.status == ExecStatus.FATAL_ERROR:
            raise errors.error_from_result(result, raw.info.encoding)
        return result
    if name is None or not is_new:
        return _run(raw, (execute,))[0]
    return _run(raw, (_prepares(name, bound.statement), execute))[1]


def _run(raw: psycopg.Connection[Any], sends: Sequence[Send]) -> list[PGresult]:
    """One round trip, with the transaction protected; returns the results of `sends`."""
    pgconn = raw.pgconn
    before: list[Send] = []
    after: list[Send] = []
    if pgconn.transaction_status == TransactionStatus.INTRANS:
        before, after = [_SAVEPOINT], [_RELEASE]
    elif not raw.autocommit:
        before = [_begin(raw.isolation_level, raw.read_only, raw.deferrable)]
    with raw.lock:
        pgconn.enter_pipeline_mode()
        try:
            for send in (*before, *sends, *after):
                send(pgconn)
            pgconn.pipeline_sync()
            results = raw.wait(_results(pgconn))
        finally:
            _leave_pipeline(pgconn)
    failed = next((one for one in results if one.status == ExecStatus.FATAL_ERROR), None)
    if failed is None:
        return results[len(before) : len(before) + len(sends)]
    # A timeout may cut off the savepoint, too: then there is nothing to go back to, and that is what failed.
    if pgconn.transaction_status == TransactionStatus.INERROR and not (after and failed is results[0]):
        raw.execute(_BACK if after else "rollback", prepare=False)
    raise errors.error_from_result(failed, raw.info.encoding)


def _results(pgconn: PGconn) -> PQGen[list[PGresult]]:
    """All results up to the end of the pipeline, for `Connection.wait`."""
    while pgconn.flush():
        if (yield Wait.RW) & Ready.R:
            pgconn.consume_input()
    found: list[PGresult] = []
    while True:
        while pgconn.is_busy():
            yield Wait.R
            try:
                pgconn.consume_input()
            except psycopg.OperationalError:
                # The server says why before it hangs up.
                if any(one.status == ExecStatus.FATAL_ERROR for one in found):
                    return found
                raise
        result = pgconn.get_result()
        if result is None:
            if pgconn.status != ConnStatus.OK:
                raise psycopg.OperationalError("the connection is lost")
        elif result.status == ExecStatus.PIPELINE_SYNC:
            return found
        else:
            found.append(result)


def _leave_pipeline(pgconn: PGconn) -> None:
    if pgconn.status != ConnStatus.OK:
        return
    try:
        pgconn.exit_pipeline_mode()
    except psycopg.OperationalError:
        # Interrupted while answers were on their way: nobody may take them for his.
        pgconn.finish()
        raise
