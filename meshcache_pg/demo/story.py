"""What happens to cached rows when the application writes, rolls back, and when the server is killed.

Every answer is compared with the source's in the same snapshot before it is shown.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from meshcache_pg.answers import Listing, Origin
from meshcache_pg.demo.cases import Case, cases
from meshcache_pg.demo.reads import source_read
from meshcache_pg.demo.report import Tick
from meshcache_pg.demo.stage import Stage
from meshcache_pg.health import Verification
from meshcache_pg.meshhook import RunState, WorkflowCard, WorkflowDefinition, pack, sample


@dataclass(frozen=True, slots=True)
class Seen:
    """One answer: who asked what, where it came from, what it said, and whether the source says the same."""

    who: str
    read: str
    origin: Origin
    value: str
    equal: bool


@dataclass(frozen=True, slots=True)
class Crash:
    """`cold` before anything was filled again, `warm` afterwards; times in seconds."""

    restart_seconds: float
    cold: list[Seen]
    refresh_seconds: dict[str, float]
    sweep_seconds: float
    read_seconds: float
    warm: list[Seen]


@dataclass(frozen=True, slots=True)
class Subject:
    """The workflow that the story is about."""

    slug: str
    workflow_id: UUID
    project_id: UUID


class _Reader:
    """One connection and how it sees things."""

    def __init__(self, stage: Stage, connection: Connection, who: str) -> None:
        self._connection = connection
        self._who = who
        self._cases: dict[str, Case] = {}
        for case in cases(stage.cache, connection):
            self._cases.setdefault(case.view, case)

    def ask(self, view: str, *key: Any, who: str | None = None) -> Seen:
        """Ask the cache, then the source."""
        case = self._cases[view]
        # In the writer's transaction both statements see its own writes, and nobody else writes here.
        own = not self._connection.in_transaction()
        if own:
            self._connection.execute(text("set transaction isolation level repeatable read"))
        answer = case.cached(*key)
        wanted = source_read(self._connection, case)(*key)
        if own:
            self._connection.rollback()
        return Seen(who or self._who, view, answer.origin, _gist(answer), tuple(answer.rows) == wanted)


def _gist(answer: Listing[Any]) -> str:
    """What is worth saying of an answer."""
    first = answer[0] if len(answer) else None
    if isinstance(first, RunState):
        return f"{first.status}, {_counted(first.event_count, 'event')}"
    if isinstance(first, WorkflowCard):
        runs = sum(card.run_count for card in answer)
        return f"{_counted(runs, 'run')}; {answer.cached} of {len(answer)} cached"
    if isinstance(first, WorkflowDefinition):
        return f'"{first.name}"'
    return _counted(len(answer), "row")


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def subject(stage: Stage) -> Subject:
    """A published workflow in a project of everyday size."""
    with stage.engine.begin() as connection:
        row = connection.execute(text(_SUBJECT)).one()
    return Subject(*row)


def write(stage: Stage, about: Subject) -> list[Seen]:
    """A webhook starts a run, a worker ends it: seen by the writer, and by others before and after."""
    seen = []
    with stage.engine.connect() as inside, stage.engine.connect() as outside:
        writer, other = _Reader(stage, inside, "writer"), _Reader(stage, outside, "others")
        run_id = sample.receive_webhook(inside, about.slug)
        inside.commit()
        seen += [other.ask("run_state", run_id, who="others, first"), other.ask("run_state", run_id)]
        sample.start_step(inside, run_id, "http_call_2")
        sample.record_attempt(inside, run_id, "http_call_2")
        sample.complete_run(inside, run_id)
        seen += [writer.ask("run_state", run_id, who="writer, uncommitted"), other.ask("run_state", run_id)]
        seen += [writer.ask("workflow_card", about.project_id, who="writer, uncommitted")]
        inside.commit()
        seen += [other.ask("run_state", run_id, who="others, committed"), other.ask("run_state", run_id)]
        seen += [other.ask("workflow_card", about.project_id)]
    return seen


def roll_back(stage: Stage, about: Subject) -> list[Seen]:
    """A workflow is renamed, and then it is not."""
    with stage.engine.connect() as connection:
        writer = _Reader(stage, connection, "writer")
        before = writer.ask("workflow_definition", about.workflow_id, who="before")
        sample.rename_workflow(connection, about.workflow_id, "Renamed in vain")
        within = writer.ask("workflow_definition", about.workflow_id, who="after the update")
        connection.rollback()
        after = writer.ask("workflow_definition", about.workflow_id, who="after the rollback")
    return [before, within, after]


def crash(stage: Stage, about: Subject, read_again: Callable[[], object], tick: Tick) -> Crash:
    """Kill every process of the server with SIGKILL, start it again, and read: first cold, then warm.

    `read_again` is what fills the views that are filled by their readers.
    """
    stage.server.kill()
    begin = time.perf_counter()
    stage.server.start()
    restarted = time.perf_counter() - begin
    stage.reconnect()
    with stage.engine.connect() as connection:
        cold = list(_round(_Reader(stage, connection, "cold"), about))
    refreshed = {}
    complete = [one.name for one in pack() if one.coverage == "complete"]
    for done, name in enumerate(complete):
        tick("refresh", done, len(complete))
        begin = time.perf_counter()
        stage.cache.refresh(name, "all")
        refreshed[name] = time.perf_counter() - begin
    begin = time.perf_counter()
    stage.cache.sweep()
    swept = time.perf_counter() - begin
    begin = time.perf_counter()
    read_again()
    read = time.perf_counter() - begin
    with stage.engine.connect() as connection:
        # The key of the cold round need not be among those.
        list(_round(_Reader(stage, connection, "first"), about))
        warm = list(_round(_Reader(stage, connection, "warm"), about))
    return Crash(restarted, cold, refreshed, swept, read, warm)


def _round(reader: _Reader, about: Subject) -> Iterator[Seen]:
    yield reader.ask("workflow_card", about.project_id)
    yield reader.ask("run_card", about.project_id)
    yield reader.ask("webhook_route", about.slug)
    yield reader.ask("workflow_definition", about.workflow_id)


def verify(stage: Stage, tick: Tick) -> list[Verification]:
    """Compare everything that is cached with its source; rollups may lag, so there is nothing to compare."""
    found = []
    views = [one.name for one in pack() if one.kind == "cached_view"]
    for done, name in enumerate(views):
        tick("verify", done, len(views))
        found.append(stage.cache.verify(name))
    return found


_SUBJECT = """
    select d.slug, d.id, d.project_id
    from workflow_definitions as d
    where d.status = 'published'
        -- The one that its webhook starts: not every slug belongs to one workflow.
        and not exists (select from workflow_definitions as o where o.slug = d.slug and o.id <> d.id)
        and jsonb_array_length(d.definition -> 'nodes') > 4
    order by (select count(*) from workflow_runs as r where r.workflow_id = d.id) desc, d.id
    limit 1
"""
