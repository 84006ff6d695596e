"""The demo, the benchmarks and other tests rely on the sample application: its shape and data are facts."""

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from sqlalchemy import ColumnElement, Connection, func, literal_column, select, table, text
from sqlalchemy.exc import IntegrityError

from meshcache_pg.errors import ConfigurationError, MeshcacheError
from meshcache_pg.meshhook import sample
from meshcache_pg.meshhook.sample import DEFAULT_UNTIL, Size, generate, install_schema
from tests.fixtures.fix_db import Database
from tests.fixtures.fix_meshhook import count_of, rows, value

TABLES = ["projects", "secrets", "workflow_definitions", "workflow_runs", "workflow_events", "job_tracking"]


def checksum(conn: Connection, name: str) -> str:
    ordered: ColumnElement[str] = literal_column(f"string_agg({name}::text, ' ' order by {name}::text)")
    return str(value(conn, select(func.md5(ordered)).select_from(table(name))))


# The schema


def test_events_are_kept_by_utc_month_whatever_the_session_says(db: Database) -> None:
    with db.engine().connect() as conn:
        conn.exec_driver_sql("set timezone = 'America/New_York'")
        install_schema(conn)
        value(conn, "select create_workflow_events_partitions('2025-01-31', 2)")
        conn.exec_driver_sql("set timezone = 'UTC'")
        bounds = rows(
            conn,
            """
            select pg_get_expr(c.relpartbound, c.oid) as bound from pg_class c
            where c.relname in ('workflow_events_y2025m01', 'workflow_events_y2025m02') order by c.relname
            """,
        )
    assert [row["bound"] for row in bounds] == [
        "FOR VALUES FROM ('2025-01-01 00:00:00+00') TO ('2025-02-01 00:00:00+00')",
        "FOR VALUES FROM ('2025-02-01 00:00:00+00') TO ('2025-03-01 00:00:00+00')",
    ]


def test_the_workflows_view_checks_the_rights_of_who_asks_where_the_server_can(
    sample_schema: Connection,
) -> None:
    options = value(sample_schema, "select reloptions from pg_class where relname = 'workflows'")
    major = value(sample_schema, "select current_setting('server_version_num')::integer / 10000")
    assert options == (["security_invoker=true"] if major >= 15 else None)


def test_updating_a_row_moves_its_updated_at(sample_data: Connection) -> None:
    before = rows(sample_data, "select id, updated_at from workflows order by id limit 1")[0]
    sample.rename_workflow(sample_data, before["id"], "Renamed")
    after = rows(sample_data, "select name, updated_at from workflows where id = :id", id=before["id"])[0]
    assert after["name"] == "Renamed"
    assert after["updated_at"] > before["updated_at"]


def test_a_status_that_the_application_does_not_know_is_refused(sample_data: Connection) -> None:
    with pytest.raises(IntegrityError, match="workflow_runs_status_check"):
        sample_data.exec_driver_sql("update workflow_runs set status = 'done'")


def test_installing_twice_is_refused_before_anything_is_touched(sample_data: Connection) -> None:
    with pytest.raises(ConfigurationError, match="workflow_definitions already"):
        install_schema(sample_data)
    assert value(sample_data, count_of("workflow_runs")) == Size.small().runs


def test_a_load_leaves_every_index_and_constraint_as_it_found_it(sample_schema: Connection) -> None:
    # 16384 is the first oid that is not the system's own.
    query = """
        select pg_get_indexdef(indexrelid) as object from pg_index where indrelid >= 16384
        union all
        select conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)
        from pg_constraint where conrelid >= 16384
        order by 1
    """
    value(sample_schema, "select create_workflow_events_partitions('2025-07-01', 4)")
    before = rows(sample_schema, query)
    generate(sample_schema, Size.small())
    assert rows(sample_schema, query) == before


# The generator


def test_the_same_seed_gives_the_same_rows_and_another_seed_gives_others(db: Database) -> None:
    found = []
    with db.engine().connect() as conn:
        for schema, seed in (("first", 7), ("second", 7), ("third", 8)):
            conn.exec_driver_sql(f"create schema {schema}; set search_path = {schema}")
            install_schema(conn)
            generate(conn, Size.small(), seed)
            found.append({name: checksum(conn, name) for name in TABLES})
    assert found[0] == found[1]
    assert all(found[0][name] != found[2][name] for name in TABLES)


def test_there_is_as_much_as_was_asked_for(sample_data: Connection) -> None:
    size = Size.small()
    found = {name: value(sample_data, count_of(name)) for name in TABLES}
    assert found["projects"] == size.projects
    assert found["workflow_definitions"] == size.workflows
    assert found["workflow_runs"] == size.runs
    assert found["workflow_events"] == pytest.approx(size.runs * size.events_per_run, rel=0.2)
    assert found["job_tracking"] == value(sample_data, "select count(distinct run_id) from workflow_events")


def test_popularity_is_skewed_and_every_status_of_a_run_occurs(sample_schema: Connection) -> None:
    generate(sample_schema, Size(projects=20, workflows=200, runs=3_000, events_per_run=0))
    hottest_tenth = """
        select sum(n) from (
            select count(*) as n from workflow_runs group by workflow_id order by 1 desc limit 20
        ) t
    """
    assert value(sample_schema, hottest_tenth) > 3_000 / 2
    by_status = rows(sample_schema, "select status, count(*) as n from workflow_runs group by status")
    count = {row["status"]: row["n"] for row in by_status}
    assert set(count) == {"succeeded", "failed", "canceled", "paused", "running"}
    assert count["succeeded"] > 3_000 * 0.8
    assert count["running"] == 3


INCOHERENT = {
    "a run of another project than its workflow, or older than it": """
        select 1 from workflow_runs r join workflow_definitions d on d.id = r.workflow_id
        where r.project_id <> d.project_id or r.created_at < d.created_at""",
    "a finished run without its end, or an open one with it": """
        select 1 from workflow_runs
        where (finished_at is null) <> (status in ('running', 'paused')) or finished_at < started_at""",
    "a log that does not begin with the start of the run": """
        select 1 from workflow_runs r
        join (select distinct on (run_id) * from workflow_events order by run_id, ts, id) e on e.run_id = r.id
        where e.type <> 'run_started' or e.ts <> r.created_at""",
    "a log whose end is not that of the run": """
        select 1 from workflow_runs r
        join (select distinct on (run_id) * from workflow_events order by run_id, ts desc, id desc) e
            on e.run_id = r.id
        where (e.type = 'run_completed') <> (r.finished_at is not null)
            or e.type = 'run_completed' and (e.ts <> r.finished_at or e.payload ->> 'status' <> r.status)""",
    "a failed run without a failed step": """
        select 1 from workflow_runs r join workflow_events s on s.run_id = r.id and s.type = 'run_started'
        where r.status = 'failed'
            and not exists (
                select from workflow_events e where e.run_id = r.id and e.type = 'step_failed'
            )""",
    "a step at a node that its workflow lacks": """
        select 1 from workflow_events e join workflow_runs r on r.id = e.run_id
        join workflow_definitions d on d.id = r.workflow_id
        where e.payload ? 'node' and not d.definition -> 'nodes' @> jsonb_build_array(e.payload -> 'node')""",
    "a step to a node that no edge leads to": """
        select 1 from workflow_events e join workflow_runs r on r.id = e.run_id
        join workflow_definitions d on d.id = r.workflow_id
        where e.type = 'step_succeeded' and not d.definition -> 'edges' @> jsonb_build_array(
            jsonb_build_object('source', e.payload #> '{node,id}', 'target', e.payload -> 'next'))""",
    "an edge from or to nowhere": """
        select 1 from workflow_definitions d, jsonb_array_elements(d.definition -> 'edges') as e (edge)
        where not d.definition -> 'nodes' @> jsonb_build_array(
            jsonb_build_object('id', edge -> 'source'), jsonb_build_object('id', edge -> 'target'))""",
    "a graph of another size than the editor makes": """
        select 1 from workflow_definitions
        where jsonb_array_length(definition -> 'nodes') not between 3 and 40
            or length(definition::text) not between 1300 and 17500""",
    "an old version that is not archived, or the newest one that is": """
        select 1 from workflow_definitions d where (d.status = 'archived') <> exists (
            select from workflow_definitions o
            where o.project_id = d.project_id and o.slug = d.slug and o.version = d.version + 1)""",
}


@pytest.mark.parametrize("query", INCOHERENT.values(), ids=INCOHERENT.keys())
def test_the_data_is_coherent(sample_data: Connection, query: str) -> None:
    assert rows(sample_data, query) == []


def test_nothing_happens_after_the_given_end(sample_schema: Connection) -> None:
    # The first instant of a month is the hardest: there is no partition for that month.
    until = datetime(2024, 3, 1, tzinfo=UTC)
    generate(sample_schema, Size.small(), until=until)
    latest = value(
        sample_schema,
        """
        select greatest(
            (select max(ts) from workflow_events),
            (select max(updated_at) from workflow_runs),
            (select max(updated_at) from workflow_definitions)
        )
        """,
    )
    assert datetime(2024, 2, 1, tzinfo=UTC) < latest <= until


def test_progress_counts_up_to_the_end_of_each_stage(sample_schema: Connection) -> None:
    seen: list[tuple[str, int, int]] = []
    generate(sample_schema, Size.small(), progress=lambda *step: seen.append(step))
    finished = [stage for stage, done, total in seen if done == total]
    assert finished == ["workflows", "runs", "events", "jobs", "indexes"]


def test_generating_into_tables_with_rows_is_refused(sample_data: Connection) -> None:
    with pytest.raises(ConfigurationError, match="projects is not empty"):
        generate(sample_data, Size.small())


def test_generating_without_a_schema_is_refused(db: Database) -> None:
    with db.engine().connect() as conn, pytest.raises(ConfigurationError, match="not in the search_path"):
        generate(conn, Size.small())


def test_a_naive_end_is_refused(sample_schema: Connection) -> None:
    with pytest.raises(ConfigurationError, match="time zone"):
        generate(sample_schema, Size.small(), until=DEFAULT_UNTIL.replace(tzinfo=None))


@pytest.mark.parametrize(
    ("projects", "runs", "event_months", "message"),
    [(2, 1, 1, "do not fit"), (1, -1, 1, "negative"), (1, 1, 13, "cannot be made")],
)
def test_an_impossible_size_is_refused(projects: int, runs: int, event_months: int, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Size(projects=projects, workflows=1, runs=runs, events_per_run=1, event_months=event_months)


# The application's writes


def test_a_run_from_the_webhook_to_its_end(sample_data: Connection) -> None:
    conn = sample_data
    slug = value(conn, "select min(slug) from workflows where status = 'published'")
    run_id = sample.receive_webhook(conn, slug, headers={"x-signature": "s"}, body="{}")
    job_id = sample.enqueue_job(conn, run_id, 1)
    sample.start_step(conn, run_id, "http_call_2")
    sample.record_attempt(conn, run_id, "http_call_2", succeeded=False)
    sample.record_attempt(conn, run_id, "http_call_2", attempt=2, next_node="terminate_3")
    sample.complete_run(conn, run_id)
    sample.finish_job(conn, job_id)
    log = rows(conn, "select type from workflow_events where run_id = :id order by ts, id", id=run_id)
    attempts = ["http_attempted", "step_failed", "http_attempted", "step_succeeded"]
    assert [event["type"] for event in log] == ["run_started", "step_started", *attempts, "run_completed"]
    run = rows(conn, "select status, finished_at from workflow_runs where id = :id", id=run_id)[0]
    assert run["status"] == "succeeded"
    assert run["finished_at"] is not None
    assert value(conn, "select completed_at is not null from job_tracking where id = :id", id=job_id)


def test_publishing_archives_the_old_version_and_deleting_takes_the_runs_along(
    sample_data: Connection,
) -> None:
    conn = sample_data
    old = rows(
        conn,
        """
        select w.id, w.slug, w.version from workflows w join workflow_runs r on r.workflow_id = w.id
        where w.status = 'published' limit 1
        """,
    )[0]
    new_id = sample.publish_version(conn, old["id"])
    new = rows(conn, "select slug, version, status from workflows where id = :id", id=new_id)[0]
    assert new == {"slug": old["slug"], "version": old["version"] + 1, "status": "published"}
    assert value(conn, "select status from workflows where id = :id", id=old["id"]) == "archived"
    sample.delete_workflow(conn, old["id"])
    left = conn.execute(text("select 1 from workflow_runs where workflow_id = :id"), {"id": old["id"]}).all()
    assert left == []


@pytest.mark.parametrize(
    "write",
    [
        lambda conn: sample.receive_webhook(conn, "nowhere"),
        lambda conn: sample.start_run(conn, uuid4()),
        lambda conn: sample.rename_workflow(conn, uuid4(), "x"),
        lambda conn: sample.publish_version(conn, uuid4()),
        lambda conn: sample.delete_workflow(conn, uuid4()),
        lambda conn: sample.finish_job(conn, uuid4()),
    ],
)
def test_a_write_to_something_that_is_gone_says_so(
    sample_schema: Connection, write: Callable[[Connection], object]
) -> None:
    with pytest.raises(MeshcacheError, match="There is no "):
        write(sample_schema)
