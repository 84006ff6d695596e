"""A MeshHook-shaped application in any empty schema: its tables, realistic data of any size, and its writes.

The demo, the tests and the benchmarks need a source that looks like the real one without having it. All of
this uses the caller's connection and transaction, and the first schema of its search_path.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, Self
from uuid import UUID

from sqlalchemy import Connection, TextClause, text

from meshcache_pg.errors import ConfigurationError, MeshcacheError
from meshcache_pg.sql import entries, read

Progress = Callable[[str, int, int], None]
FinalStatus = Literal["succeeded", "failed", "canceled"]

DEFAULT_UNTIL: Final = datetime(2025, 10, 15, 12, tzinfo=UTC)

# Progress is reported per chunk of runs; much smaller chunks cost time, much larger ones make the bar jump.
RUNS_PER_CHUNK: Final = 20_000

# How far ahead of the clock there is room for events.
MONTHS_AHEAD: Final = 3


@dataclass(frozen=True)
class Size:
    """How much `generate` makes: exact numbers of rows, except that events come out within a fifth.

    `runs` reach back `months` calendar months, the current one included, events `event_months`: the
    application drops old partitions, so older runs have no events. `events_per_run` is over all runs.
    """

    projects: int
    workflows: int
    runs: int
    events_per_run: float
    months: int = 12
    event_months: int = 4

    def __post_init__(self) -> None:
        if not 1 <= self.projects <= self.workflows:
            raise ConfigurationError(
                f"{self.projects} projects and {self.workflows} workflows do not fit together",
                hint="Ask for at least one project and for at least as many workflows as projects.",
            )
        if self.runs < 0 or self.events_per_run < 0:
            raise ConfigurationError("The number of runs or events is negative", hint="Use 0 for none.")
        if self.months < 2 or not 1 <= self.event_months <= self.months:
            raise ConfigurationError(
                f"Runs of {self.months} months with events of {self.event_months} months cannot be made",
                hint="Use at least 2 months, and events for at least 1 month and no more than those.",
            )

    @classmethod
    def demo(cls) -> Self:
        """About a million events."""
        return cls(projects=1_000, workflows=20_000, runs=200_000, events_per_run=5.0)

    @classmethod
    def small(cls) -> Self:
        """Everything of each kind, in well under a second."""
        return cls(projects=10, workflows=60, runs=300, events_per_run=6.7)


def install_schema(conn: Connection) -> None:
    """Create the application's tables with indexes, foreign keys and partitions for events from now on.

    Raises: ConfigurationError if the first schema of the search_path has such a table already.
    """
    taken = conn.scalar(text("select to_regclass(quote_ident(current_schema()) || '.workflow_definitions')"))
    if taken is not None:
        raise ConfigurationError(
            f"There is a table {taken} already",
            hint="Install the sample application into an empty schema that comes first in the search_path.",
        )
    _run_file(conn, "schema.sql")
    _run_file(conn, "indexes.sql")
    _make_room_for_events(conn, datetime.now(UTC), MONTHS_AHEAD)


def generate(
    conn: Connection,
    size: Size,
    seed: int = 1,
    until: datetime = DEFAULT_UNTIL,
    progress: Progress | None = None,
) -> None:
    """Fill the empty tables with data that ends at `until`; the same arguments give the same rows and ids.

    Drops and rebuilds indexes and foreign keys for speed, so it holds ACCESS EXCLUSIVE locks until the
    transaction ends; on a connection in autocommit it works too, but slower. `progress` gets (stage, done,
    total) as it goes: projects and workflows, runs, events (counted in runs), jobs, indexes.

    Raises: ConfigurationError if the tables are missing or not empty, or `until` has no time zone.
    """
    report = progress or _ignore_progress
    if until.tzinfo is None:
        raise ConfigurationError("until has no time zone", hint="Pass an aware datetime.")
    _refuse_unless_empty(conn)
    since = _month_start(until, size.months - 1)
    events_since = _month_start(until, size.event_months - 1)

    _run_file(conn, "load_begin.sql")
    _run_file(conn, "sample_functions.sql")
    conn.execute(
        _SET_INPUT,
        {
            "seed": seed,
            "projects": size.projects,
            "workflows": size.workflows,
            "runs": size.runs,
            "events_per_run": size.events_per_run,
            "since": since,
            "events_since": events_since,
            "until": until,
        },
    )
    _make_room_for_events(conn, events_since, size.event_months)
    _make_room_for_events(conn, datetime.now(UTC), MONTHS_AHEAD)
    _run_stage(conn, "workflows", "sample_workflows.sql", size.workflows, report)
    _run_stage(conn, "runs", "sample_runs.sql", size.runs, report)
    report("events", 0, size.runs)
    for first in range(1, size.runs + 1, RUNS_PER_CHUNK):
        last = min(first + RUNS_PER_CHUNK - 1, size.runs)
        conn.execute(_SET_CHUNK, {"first": first, "last": last})
        _run_file(conn, "sample_events.sql")
        report("events", last, size.runs)
    _run_stage(conn, "jobs", "sample_jobs.sql", size.runs, report)
    _run_stage(conn, "indexes", "indexes.sql", 1, report)
    _run_file(conn, "load_end.sql")


def receive_webhook(
    conn: Connection, slug: str, *, headers: Mapping[str, str] | None = None, body: str = "{}"
) -> UUID:
    """Do what the webhook route does: find the workflow by its slug and start a run; returns the run's id."""
    workflow_id = conn.scalar(_write("route"), {"slug": slug})
    if workflow_id is None:
        raise _unknown("workflow with the slug", slug)
    return start_run(conn, workflow_id, headers=headers, body=body)


def start_run(
    conn: Connection, workflow_id: UUID, *, headers: Mapping[str, str] | None = None, body: str = "{}"
) -> UUID:
    """Insert a running run and its first event; returns the run's id."""
    run_id: UUID | None = conn.scalar(_write("insert_run"), {"workflow_id": workflow_id})
    if run_id is None:
        raise _unknown("workflow", workflow_id)
    _log(conn, run_id, "run_started", {"headers": dict(headers or {}), "body": body})
    return run_id


def start_step(conn: Connection, run_id: UUID, node_id: str, *, node_type: str = "http_call") -> None:
    """Insert the step_started of one node."""
    _log(conn, run_id, "step_started", {"node": {"id": node_id, "type": node_type}})


def record_attempt(
    conn: Connection,
    run_id: UUID,
    node_id: str,
    *,
    node_type: str = "http_call",
    attempt: int = 1,
    succeeded: bool = True,
    next_node: str | None = None,
) -> None:
    """Insert what one attempt leaves: http_attempted if it is a call, then step_succeeded or step_failed."""
    node = {"id": node_id, "type": node_type}
    if node_type == "http_call":
        status = 200 if succeeded else 503
        _log(conn, run_id, "http_attempted", {"node": node, "attempt": attempt, "status": status})
    if succeeded:
        _log(conn, run_id, "step_succeeded", {"node": node, "attempt": attempt, "next": next_node})
    else:
        _log(conn, run_id, "step_failed", {"node": node, "attempt": attempt, "error": "Error: HTTP 503"})


def complete_run(conn: Connection, run_id: UUID, status: FinalStatus = "succeeded") -> None:
    """Insert run_completed and update the run, which the application does in one transaction."""
    _log(conn, run_id, "run_completed", {"status": status})
    if conn.execute(_write("complete_run"), {"run_id": run_id, "status": status}).rowcount == 0:
        raise _unknown("run", run_id)


def rename_workflow(conn: Connection, workflow_id: UUID, name: str) -> None:
    """Update a workflow in place, as the editor does with a draft, through the view `workflows`."""
    if conn.execute(_write("rename_workflow"), {"workflow_id": workflow_id, "name": name}).rowcount == 0:
        raise _unknown("workflow", workflow_id)


def publish_version(conn: Connection, workflow_id: UUID) -> UUID:
    """Insert the next version of a workflow, published, and archive the given one; returns the new id."""
    new_id: UUID | None = conn.scalar(_write("insert_version"), {"workflow_id": workflow_id})
    if new_id is None:
        raise _unknown("workflow", workflow_id)
    conn.execute(_write("archive_workflow"), {"workflow_id": workflow_id})
    return new_id


def delete_workflow(conn: Connection, workflow_id: UUID) -> None:
    """Delete a workflow through the view `workflows`; its runs, events and jobs go by cascade."""
    if conn.execute(_write("delete_workflow"), {"workflow_id": workflow_id}).rowcount == 0:
        raise _unknown("workflow", workflow_id)


def enqueue_job(conn: Connection, run_id: UUID, msg_id: int) -> UUID:
    """Insert the job_tracking row of a queue message for a run; returns its id."""
    job_id: UUID = conn.execute(_write("enqueue_job"), {"run_id": run_id, "msg_id": msg_id}).scalar_one()
    return job_id


def finish_job(conn: Connection, job_id: UUID, *, error: str | None = None) -> None:
    """Update a job as completed or, given an error, as failed and moved to the dead letter queue."""
    if conn.execute(_write("finish_job"), {"job_id": job_id, "error": error}).rowcount == 0:
        raise _unknown("job", job_id)


_SET_INPUT: Final = text("""
    insert into pg_temp.sample_input
        (seed, projects, workflows, runs, events_per_run, since, events_since, until)
    values (:seed, :projects, :workflows, :runs, :events_per_run, :since, :events_since, :until)
""")
_SET_CHUNK: Final = text("update pg_temp.sample_input set first_run = :first, last_run = :last")
_MAKE_ROOM: Final = text("select create_workflow_events_partitions(:first, :months)")
_HAS_ROWS: Final[Mapping[str, TextClause]] = {
    "projects": text("select exists (select from projects)"),
    "workflow_definitions": text("select exists (select from workflow_definitions)"),
    "queue_config": text("select exists (select from queue_config)"),
}


def _run_file(conn: Connection, name: str) -> None:
    # Without this option a `%` in the file would be taken for a parameter.
    conn.exec_driver_sql(read(f"meshhook/app/{name}"), None, {"no_parameters": True})


def _write(name: str) -> TextClause:
    return text(entries("meshhook/app/writes.sql")[name])


def _run_stage(conn: Connection, stage: str, name: str, total: int, report: Progress) -> None:
    report(stage, 0, total)
    _run_file(conn, name)
    report(stage, total, total)


def _ignore_progress(_stage: str, _done: int, _total: int) -> None:
    return


def _refuse_unless_empty(conn: Connection) -> None:
    if conn.scalar(text("select to_regclass('workflow_definitions')")) is None:
        raise ConfigurationError(
            "The sample application is not in the search_path", hint="Call install_schema(conn) first."
        )
    for table, has_rows in _HAS_ROWS.items():
        if conn.scalar(has_rows):
            raise ConfigurationError(
                f"Table {table} is not empty", hint="Generate into a freshly installed schema."
            )


def _make_room_for_events(conn: Connection, first: datetime, months: int) -> None:
    conn.execute(_MAKE_ROOM, {"first": first.astimezone(UTC).date(), "months": months})


def _month_start(until: datetime, months_back: int) -> datetime:
    # The last run ends before `until`, which may itself be the first instant of a month.
    last = (until - timedelta(minutes=5)).astimezone(UTC)
    month = last.year * 12 + last.month - 1 - months_back
    return datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC)


def _log(conn: Connection, run_id: UUID, kind: str, payload: Mapping[str, Any]) -> None:
    conn.execute(_write("insert_event"), {"run_id": run_id, "type": kind, "payload": json.dumps(payload)})


def _unknown(what: str, value: object) -> MeshcacheError:
    return MeshcacheError(f"There is no {what} {value}", hint="Was it deleted meanwhile?")
