"""A model of the protocol, small enough to be read: what transactions, snapshots, marks, cached rows and
locks are, and what a step of a writer, a fill, a sweep or a crash does to them. explorer.py takes
them in every order.

The source has a parent `p` and a child `c`, and the cached row of the child carries the parent's value, as an
order its customer's name. Each rule of docs/explanation/consistency.md is a condition that can be absent.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

RULES: Final = {
    "barrier": "the sweep waits until no fill from before is running",
    "horizon": "the sweep deletes only marks of transactions older than every open one",
    "all views first": "marks are deleted after every view that reads them was resolved",
    "late lookup": "a mark has the changed row's own key; readers find out whom it concerns",
    "own marks": "a mark of the fill's own transaction makes the row stale",
    "fills alone": "no fill in a transaction that has written",
    "snapshot after lock": "a fill takes its snapshot after its lock",
    "newer stays": "a fill does not replace a row of a newer snapshot",
    "one at a time": "a fill of all keys excludes fills by key, and two of one key each other",
    "epoch": "no fill while a transaction is open that is older than the opened cache",
    "complete with its rows": "what says that a view is complete is wiped together with its rows",
}

Item = str
# Who wrote the value, and which of that transaction's writes it was.
Written = tuple[int, int]
# The cached row: the child's value and the parent's; None is no row.
Value = tuple[Written, Written | None] | None
START: Final = 1


class Snapshot(NamedTuple):
    """As pg_current_snapshot(): below xmax everything is over but what was running."""

    xmin: int
    xmax: int
    running: frozenset[int]

    def has(self, xid: int) -> bool:
        """pg_visible_in_snapshot()."""
        return xid < self.xmax and xid not in self.running


class Mark(NamedTuple):
    """A mark; `dead` is the transaction that deleted it, 0 while nobody has."""

    item: Item
    xid: int
    dead: int = 0


class Row(NamedTuple):
    """A version of the cached row of one view."""

    view: str
    value: Value
    filled_in: Snapshot
    filled_by: int
    dead: int = 0


class Complete(NamedTuple):
    """The row that says that a view has every key."""

    view: str
    complete_in: Snapshot
    complete_by: int
    dead: int = 0


class Actor(NamedTuple):
    """Where somebody is in its program, and what it holds: `xid` 0 is none yet."""

    at: int = 0
    xid: int = 0
    writes: int = 0
    snapshot: Snapshot | None = None
    value: Value = None
    # The views whose fill lock and refresh lock it has; "!" after the latter's name is exclusive.
    locks: frozenset[str] = frozenset()
    horizon: int = 0
    saved: tuple[tuple[tuple[Item, tuple[Written, ...]], ...], frozenset[Mark]] | None = None


@dataclass(frozen=True)
class State:
    """Everything there is at one moment."""

    actors: tuple[Actor, ...]
    # By item: its versions in the order in which they were written.
    heap: tuple[tuple[Item, tuple[Written, ...]], ...]
    next_xid: int = START + 1
    latest: int = START
    # Of transactions that are not over: False is running, True is prepared.
    open: frozenset[tuple[int, bool]] = frozenset()
    marks: frozenset[Mark] = frozenset()
    rows: frozenset[Row] = frozenset()
    complete: frozenset[Complete] = frozenset()
    epoch: int = START

    def is_open(self, xid: int) -> bool:
        return (xid, False) in self.open or (xid, True) in self.open

    def snapshot(self, own: int = 0) -> Snapshot:
        xmax = self.latest + 1
        open_ = {xid for xid, _ in self.open if xid < xmax}
        xmin = min([xmax, *open_, *([own] if own else [])])
        return Snapshot(xmin, xmax, frozenset(open_ - {own}))

    def sees(self, snapshot: Snapshot, own: int, xid: int) -> bool:
        """Whether a row version of this transaction is visible (what was rolled back is not there at all)."""
        return xid == own or (snapshot.has(xid) and not self.is_open(xid))

    def live(self, snapshot: Snapshot, own: int, born: int, dead: int) -> bool:
        return self.sees(snapshot, own, born) and not (dead and self.sees(snapshot, own, dead))


@dataclass(frozen=True)
class World:
    """The rules that hold, the programs that run, and the views: name and whether it is complete."""

    rules: frozenset[str]
    programs: tuple[tuple[str, ...], ...]
    views: tuple[tuple[str, bool], ...] = (("v", False),)
    child_exists: bool = True

    def holds(self, rule: str) -> bool:
        return rule in self.rules

    def start(self) -> State:
        """Open, and every view filled."""
        heap = (("c", ((START, 0),) if self.child_exists else ()), ("p", ((START, 0),)))
        state = State(tuple(Actor() for _ in self.programs), heap)
        snapshot = state.snapshot()
        value = self.source(state, snapshot, 0)
        rows = {Row(name, value, snapshot, START) for name, _ in self.views if value}
        complete = {Complete(name, snapshot, START) for name, whole in self.views if whole}
        return replace(state, rows=frozenset(rows), complete=frozenset(complete))

    # What is read.

    def source(self, state: State, snapshot: Snapshot, own: int) -> Value:
        """What the source query returns."""
        seen = {
            item: next((v for v in reversed(versions) if state.sees(snapshot, own, v[0])), None)
            for item, versions in state.heap
        }
        return (seen["c"], seen["p"]) if seen["c"] else None

    def _pending(self, state: State, snapshot: Snapshot, own: int, since: Snapshot, by: int) -> bool:
        """Whether a mark is visible to this reader that was not to that fill."""
        return any(
            state.live(snapshot, own, mark.xid, mark.dead)
            and ((self.holds("own marks") and mark.xid == by) or not since.has(mark.xid))
            # Without the late lookup nobody compares the parent that the row carries.
            and (self.holds("late lookup") or mark.item == "c")
            for mark in state.marks
        )

    def fresh(self, state: State, view: str, snapshot: Snapshot, own: int) -> Row | None:
        """The cached row that may be served."""
        for row in state.rows:
            if (
                row.view == view
                and state.live(snapshot, own, row.filled_by, row.dead)
                and not self._pending(state, snapshot, own, row.filled_in, row.filled_by)
            ):
                return row
        return None

    def served(self, state: State, view: tuple[str, bool], snapshot: Snapshot, own: int) -> Value:
        """What a reader gets from the live view."""
        name, whole = view
        source = self.source(state, snapshot, own)
        if not whole:
            row = self.fresh(state, name, snapshot, own) if state.epoch else None
            return row.value if row else source
        for said in state.complete:
            if said.view == name and state.live(snapshot, own, said.complete_by, said.dead):
                row = self.fresh(state, name, snapshot, own)
                if row:
                    return row.value
                asked = self._pending(state, snapshot, own, said.complete_in, said.complete_by)
                return source if asked else None
        return source

    def wrong(self, state: State) -> str:
        """Who is served what differs from the source in its own snapshot; empty if nobody is."""
        readers = [("somebody", state.snapshot(), 0)]
        for number, actor in enumerate(state.actors):
            if actor.xid and (actor.xid, False) in state.open:
                readers.append((f"{self.name(number)} itself", state.snapshot(actor.xid), actor.xid))
            elif self.programs[number] == ("look", "end") and actor.snapshot:
                readers.append((f"{self.name(number)} in its snapshot", actor.snapshot, 0))
        for who, snapshot, own in readers:
            for view in self.views:
                source, served = self.source(state, snapshot, own), self.served(state, view, snapshot, own)
                if source != served:
                    return f"{who} is served {served} by {view[0]}; the source has {source}"
        return ""

    def name(self, number: int) -> str:
        return f"{number + 1}:{self.programs[number][0]}…"

    # What is done.

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        """Every step that somebody can take, with the state after it; who has to wait takes none."""
        for number, actor in enumerate(state.actors):
            program = self.programs[number]
            if actor.at >= len(program):
                continue
            op, _, argument = program[actor.at].partition(" ")
            after = getattr(self, f"_{op}")(state, number, actor, argument)
            if after is not None:
                yield f"{number + 1}: {program[actor.at]}", after

    def _next(self, state: State, number: int, actor: Actor, **changed: object) -> State:
        actors = list(state.actors)
        actors[number] = actor._replace(at=actor.at + 1)
        return replace(state, actors=tuple(actors), **changed)  # type: ignore[arg-type]

    def _give_up(self, state: State, number: int) -> State:
        actors = list(state.actors)
        actors[number] = Actor(at=len(self.programs[number]))
        return replace(state, actors=tuple(actors))

    def _assign(self, state: State, actor: Actor) -> tuple[State, Actor]:
        if actor.xid:
            return state, actor
        xid = state.next_xid
        opened = replace(state, next_xid=xid + 1, open=state.open | {(xid, False)})
        return opened, actor._replace(xid=xid)

    # Writers.

    def _write(self, state: State, number: int, actor: Actor, item: str) -> State | None:
        versions = dict(state.heap)[item]
        if versions and versions[-1][0] != actor.xid and state.is_open(versions[-1][0]):
            return None  # the row is locked
        snapshot = state.snapshot(actor.xid)
        state, actor = self._assign(state, actor)
        marked = item
        if not self.holds("late lookup"):
            # Whom does it concern? The child, if this statement sees one.
            marked = "c" if item == "c" or self.source(state, snapshot, actor.xid) else ""
        marks = state.marks | ({Mark(marked, actor.xid)} if marked else set())
        heap = dict(state.heap) | {item: (*versions, (actor.xid, actor.writes + 1))}
        actor = actor._replace(writes=actor.writes + 1)
        return self._next(state, number, actor, heap=tuple(sorted(heap.items())), marks=marks)

    def _savepoint(self, state: State, number: int, actor: Actor, _: str) -> State:
        return self._next(state, number, actor._replace(saved=(state.heap, state.marks)))

    def _undo(self, state: State, number: int, actor: Actor, _: str) -> State:
        """ROLLBACK TO SAVEPOINT: what this transaction did since goes, marks included."""
        assert actor.saved is not None
        heap, marks = dict(actor.saved[0]), actor.saved[1]
        return self._next(
            state,
            number,
            actor,
            heap=tuple(
                (i, tuple(v for v in versions if v[0] != actor.xid or v in heap[i]))
                for i, versions in state.heap
            ),
            marks=frozenset(m for m in state.marks if m.xid != actor.xid or m in marks),
        )

    def _prepare(self, state: State, number: int, actor: Actor, _: str) -> State:
        opened = state.open - {(actor.xid, False)} | {(actor.xid, True)}
        return self._next(state, number, actor._replace(locks=frozenset()), open=opened)

    def _commit(self, state: State, number: int, actor: Actor, _: str) -> State:
        over = {(actor.xid, False), (actor.xid, True)}
        latest = max(state.latest, actor.xid)
        return self._next(state, number, Actor(at=actor.at), open=state.open - over, latest=latest)

    def _rollback(self, state: State, number: int, actor: Actor, _: str) -> State:
        return self._commit(_without(state, {actor.xid}), number, actor, "")

    # Fills: "lock", "snapshot", "store", "commit"; or "fill", all but the last at once, in a transaction that
    # goes on.

    def _lock(self, state: State, number: int, actor: Actor, argument: str) -> State:
        view, _, whole = argument.partition(" ")
        if not state.epoch or (actor.snapshot and self.holds("snapshot after lock")):
            return self._give_up(state, number)
        others = [a.locks for n, a in enumerate(state.actors) if n != number]
        busy = any(
            view in locks and (whole or f"{view}!" in locks or f"{view}." in locks) for locks in others
        )
        if busy and self.holds("one at a time"):
            return self._give_up(state, number)
        return self._next(
            state, number, actor._replace(locks=frozenset({view, f"{view}!" if whole else f"{view}."}))
        )

    def _snapshot(self, state: State, number: int, actor: Actor, _: str) -> State:
        snapshot = state.snapshot(actor.xid)
        value = self.source(state, snapshot, actor.xid)
        if self.holds("epoch") and state.epoch > snapshot.xmin:
            return self._give_up(state, number)
        return self._next(state, number, actor._replace(snapshot=snapshot, value=value))

    def _store(self, state: State, number: int, actor: Actor, argument: str) -> State | None:
        view, _, whole = argument.partition(" ")
        snapshot = actor.snapshot
        assert snapshot is not None
        there = [r for r in state.rows if r.view == view and not r.dead]
        if any(r.filled_by != actor.xid and state.is_open(r.filled_by) for r in there):
            return None  # waits for the other's row
        state, actor = self._assign(state, actor)
        rows = set(state.rows)
        if actor.value or whole:
            for old in there:
                newer = old.filled_in.xmax > snapshot.xmax or old.filled_in.xmin > snapshot.xmin
                if newer and actor.value and self.holds("newer stays"):
                    actor = actor._replace(value=None)
                    continue
                rows.discard(old)
                if old.filled_by != actor.xid:
                    rows.add(old._replace(dead=actor.xid))
        if actor.value:
            rows.add(Row(view, actor.value, snapshot, actor.xid))
        complete = state.complete
        if whole:
            dead = {s: s._replace(dead=actor.xid) for s in complete if s.view == view and not s.dead}
            complete = (complete - set(dead)) | set(dead.values()) | {Complete(view, snapshot, actor.xid)}
        return self._next(state, number, actor, rows=frozenset(rows), complete=frozenset(complete))

    def _fill(self, state: State, number: int, actor: Actor, view: str) -> State | None:
        if actor.xid and self.holds("fills alone"):
            return self._next(state, number, actor)
        at = actor.at
        for step in (self._lock, self._snapshot, self._store):
            after = step(state, number, actor, view)
            if after is None or after.actors[number].at >= len(self.programs[number]):
                return after if after is None else self._next(state, number, actor)
            state, actor = after, after.actors[number]._replace(at=at)
        return self._next(state, number, actor)

    # The sweep: "barrier" for each view, "resolve" for each, "delete".

    def _barrier(self, state: State, number: int, actor: Actor, view: str) -> State | None:
        if self.holds("barrier") and any(view in other.locks for other in state.actors):
            return None
        xmin = state.snapshot().xmin
        return self._next(state, number, actor._replace(horizon=min(actor.horizon or xmin, xmin)))

    def _resolve(self, state: State, number: int, actor: Actor, argument: str) -> State:
        view, _, whole = argument.partition(" ")
        if any(view in other.locks for other in state.actors) and self.holds("one at a time"):
            return self._give_up(state, number)
        snapshot = state.snapshot()
        state, held = self._assign(state, actor)
        kept = self.fresh(state, view, snapshot, 0)
        value = self.source(state, snapshot, 0)
        rows, complete = set(), set(state.complete)
        for row in state.rows:
            gone = row.view == view and row != kept and not row.dead and not state.is_open(row.filled_by)
            rows.add(row._replace(dead=held.xid) if gone else row)
        if whole:
            said = [s for s in complete if s.view == view and not s.dead and not state.is_open(s.complete_by)]
            may_fill = bool(state.epoch) and (state.epoch <= snapshot.xmin or not self.holds("epoch"))
            if said and not kept and value:
                rows.add(Row(view, value, snapshot, held.xid))
            elif not said and may_fill:
                rows = {r._replace(dead=held.xid) if r == kept else r for r in rows}
                rows |= {Row(view, value, snapshot, held.xid)} if value else set()
                complete.add(Complete(view, snapshot, held.xid))
        done = replace(state, rows=frozenset(rows), complete=frozenset(complete))
        over = done.open - {(held.xid, False)}
        return self._next(done, number, actor, open=over, latest=max(done.latest, held.xid))

    def _delete(self, state: State, number: int, actor: Actor, _: str) -> State:
        if self.holds("all views first") and any("resolve" in op for op in self.programs[number][actor.at :]):
            return self._next(state, number, actor)
        seen = state.snapshot()
        state, held = self._assign(state, actor)
        marks = {
            m._replace(dead=held.xid)
            if not m.dead
            and state.sees(seen, 0, m.xid)
            and (m.xid < actor.horizon or not self.holds("horizon"))
            else m
            for m in state.marks
        }
        over = state.open - {(held.xid, False)}
        return self._next(
            state, number, actor, marks=frozenset(marks), open=over, latest=max(state.latest, held.xid)
        )

    # Crashes, and opening again.

    def _crash(self, state: State, number: int, actor: Actor, _: str) -> State:
        running = {xid for xid, prepared in state.open if not prepared}
        state = _without(state, running)
        actors = tuple(
            # Who has prepared goes on, who has not begun comes later; all other sessions are gone.
            a if not a.at or (a.xid, True) in state.open else Actor(at=len(p))
            for a, p in zip(state.actors, self.programs, strict=True)
        )
        wiped = replace(
            state,
            actors=actors,
            marks=frozenset(),
            rows=frozenset(),
            complete=frozenset() if self.holds("complete with its rows") else state.complete,
            epoch=0,
            open=frozenset(o for o in state.open if o[1]),
            latest=max([state.latest, *running]),
        )
        return self._next(wiped, number, actor)

    def _open(self, state: State, number: int, actor: Actor, _: str) -> State:
        xid = state.next_xid
        return self._next(state, number, actor, next_xid=xid + 1, latest=max(state.latest, xid), epoch=xid)

    # A reader that keeps its snapshot.

    def _look(self, state: State, number: int, actor: Actor, _: str) -> State:
        return self._next(state, number, actor._replace(snapshot=state.snapshot()))

    def _end(self, state: State, number: int, actor: Actor, _: str) -> State:
        return self._next(state, number, Actor(at=actor.at))


def _without(state: State, xids: set[int]) -> State:
    """As if these transactions had never been: what they wrote is gone, what they deleted is there."""

    def kept(versions: tuple[Written, ...]) -> tuple[Written, ...]:
        return tuple(v for v in versions if v[0] not in xids)

    def alive(dead: int) -> int:
        return 0 if dead in xids else dead

    return replace(
        state,
        heap=tuple((item, kept(versions)) for item, versions in state.heap),
        marks=frozenset(m._replace(dead=alive(m.dead)) for m in state.marks if m.xid not in xids),
        rows=frozenset(r._replace(dead=alive(r.dead)) for r in state.rows if r.filled_by not in xids),
        complete=frozenset(
            s._replace(dead=alive(s.dead)) for s in state.complete if s.complete_by not in xids
        ),
    )
