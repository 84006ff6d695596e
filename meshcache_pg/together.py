"""Reads of several cached views in one round trip: what a page or a worker needs at once. They are noted in a
block and sent when it ends, in the caller's transaction, by psycopg's pipeline mode.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from sqlalchemy import Connection

from meshcache_pg import repository
from meshcache_pg.answers import Listing, Read, Result
from meshcache_pg.bound_view import BoundView
from meshcache_pg.definition import Definition
from meshcache_pg.exchange import Answer, Question
from meshcache_pg.making import Make, Row

if TYPE_CHECKING:
    from meshcache_pg.cache import MeshCache

T = TypeVar("T")
A = TypeVar("A")


class Later(Generic[A]):
    """An answer that is there when the block of its `Together` has ended."""

    def __init__(
        self, question: Question | None, of_answer: Callable[[Answer], A], alone: Callable[[], A]
    ) -> None:
        self.question = question
        self._of_answer = of_answer
        self._alone = alone
        self._found: list[A] = []

    @property
    def answer(self) -> A:
        """What the read returned; raises LookupError before it was sent."""
        if not self._found:
            raise LookupError("nothing was sent yet: the answer is there after the block")
        return self._found[0]

    def take(self, answer: Answer | None) -> None:
        """The answer of its question; None where it has to be asked alone."""
        self._found.append(self._alone() if answer is None else self._of_answer(answer))


class LaterView(BoundView[T]):
    """Reads of one cached view that are noted, not sent; `BoundView`'s own are sent at once, as always."""

    def __init__(
        self,
        cache: MeshCache,
        view: str | Definition,
        connection: Connection,
        make: Make[T],
        noted: list[Later[Any]],
    ) -> None:
        super().__init__(cache, view, connection, make)
        self._noted = noted

    def get_later(self, *key: Any) -> Later[Result[T]]:
        """As `get`."""
        target = self._target()

        def of_answer(answer: Answer) -> Result[T]:
            return self._result(target, key, Read(target.columns, answer.rows, usable=True))

        question = repository.key_question(self._connection, target, key)
        return self._note(Later(question, of_answer, lambda: self.get(*key)))

    def list_later(
        self, *, order_by: Sequence[str] = (), limit: int | None = None, offset: int = 0, **where: Any
    ) -> Later[Listing[T]]:
        """As `list`. Where marks are pending, or there are no such rows, it takes a round trip of its own."""
        target = self._target()

        def alone(*, quiet: bool) -> Listing[T]:
            read = repository.list_rows(
                self._connection,
                target,
                where,
                order_by=order_by,
                limit=limit,
                offset=offset,
                quiet=quiet,
            )
            return self._listing(target, read)

        def of_answer(answer: Answer) -> Listing[T]:
            if not answer.rows:
                return alone(quiet=False)
            return self._listing(target, Read(target.columns, answer.rows, usable=True, all_hits=True))

        question = repository.quiet_question(
            self._connection, target, where, order_by=order_by, limit=limit, offset=offset
        )
        return self._note(Later(question, of_answer, lambda: alone(quiet=True)))

    def _note(self, later: Later[A]) -> Later[A]:
        self._noted.append(later)
        return later


class Together:
    """A block whose reads are sent together when it ends without an error, in the caller's transaction and
    snapshot, and if they fail leave it as it was: see `MeshCache.together`.
    """

    def __init__(self, cache: MeshCache, connection: Connection) -> None:
        self._cache = cache
        self._connection = connection
        self._noted: list[Later[Any]] = []

    @overload
    def view(self, view: str | Definition) -> LaterView[Row]: ...

    @overload
    def view(self, view: str | Definition, make: Make[T]) -> LaterView[T]: ...

    def view(self, view: str | Definition, make: Make[Any] = dict) -> LaterView[Any]:
        """One cached view (or rollup), as `MeshCache.view` has it."""
        return LaterView(self._cache, view, self._connection, make, self._noted)

    def __enter__(self) -> Together:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        noted, self._noted = self._noted, []
        if kind is not None:
            return
        questions = [later.question for later in noted if later.question is not None]
        answers = iter(repository.ask_together(self._connection, questions) or ())
        for later in noted:
            later.take(None if later.question is None else next(answers, None))
