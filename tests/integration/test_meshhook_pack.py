"""The SELECTs of the MeshHook pack answer what MeshHook asks, by indexes, and all they depend on is derived.

A dependency that is missing is a wrong row later, so it is looked for in two ways: the columns that the
server says are read, and the rows that change when the application writes.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, text

from meshcache_pg.definition import Definition, load
from meshcache_pg.deriving import complete
from meshcache_pg.meshhook import sample
from meshcache_pg.sql import Identifier, sql_dir
from tests.fixtures.fix_meshhook import Row, all_of, count_of, rows, value

PACK = load([sql_dir() / "meshhook"])
CACHED = [definition for definition in PACK if definition.kind == "cached_view"]
BY_NAME = {definition.name: definition for definition in PACK}

Key = tuple[Any, ...]


def name(definition: Definition) -> str:
    return definition.name


def show(conn: Connection, definition: Definition) -> None:
    """Make the SELECT a view of the same name."""
    body = f"create view {definition.name} as {definition.query}"
    conn.exec_driver_sql(body, None, {"no_parameters": True})


def derived(conn: Connection, definition: Definition) -> Definition:
    """Make the SELECT a view of the same name, and see what it depends on."""
    show(conn, definition)
    schema = value(conn, "select current_schema()")
    oid = value(conn, "select to_regclass(:view)::oid::bigint", view=definition.name)
    found = complete(conn, definition, Identifier(schema, definition.name), oid).definition
    return replace(
        found, depends=tuple(replace(one, table=one.table.split('"')[-2]) for one in found.depends)
    )


def columns_of(row: Row, columns: tuple[str, ...]) -> Key:
    return tuple(row[column] for column in columns)


def test_the_pack_is_complete() -> None:
    found = {one.name: one.coverage if one.kind == "cached_view" else one.kind for one in PACK}
    assert found == {
        "webhook_route": "complete",
        "workflow_card": "complete",
        "run_card": "complete",
        "workflow_definition": "on_demand",
        "node_config": "on_demand",
        "run_state": "on_demand",
        "run_detail": "on_demand",
        "workflow_stats": "rollup",
        "queue_stats": "rollup",
    }
    assert all(definition.description for definition in PACK)


# What the SELECTs return


@pytest.mark.parametrize("definition", PACK, ids=name)
def test_keys_are_unique_and_not_null(sample_data: Connection, definition: Definition) -> None:
    show(sample_data, definition)
    found = rows(sample_data, all_of(definition.name))
    keys = {columns_of(row, definition.key) for row in found}
    assert len(keys) == len(found) > 0
    assert not any(part is None for key in keys for part in key)


@pytest.mark.parametrize(
    ("view", "source"),
    [
        ("workflow_card", "workflow_definitions"),
        ("workflow_definition", "workflow_definitions"),
        ("run_card", "workflow_runs"),
        ("run_state", "workflow_runs"),
        ("run_detail", "workflow_runs"),
    ],
)
def test_no_row_of_the_source_is_lost(sample_data: Connection, view: str, source: str) -> None:
    show(sample_data, BY_NAME[view])
    assert value(sample_data, count_of(view)) == value(sample_data, count_of(source))


@pytest.mark.parametrize("definition", PACK, ids=name)
def test_rows_are_the_same_in_every_session(sample_data: Connection, definition: Definition) -> None:
    show(sample_data, definition)
    # The binary form, because text output of a timestamptz follows the session by design.
    sample_data.exec_driver_sql(
        "create function fingerprint(v anyelement) returns bigint language sql as"
        " $$ select hashtextextended(encode(record_send(v), 'hex'), 0) $$"
    )
    query = f"select sum(fingerprint(v)) from {definition.name} as v"  # noqa: S608 - the pack's own name
    found = []
    for zone, style, hashing in (("UTC", "ISO", "on"), ("Asia/Kathmandu", "German", "off")):
        settings = f"set timezone = '{zone}'; set datestyle = '{style}'; set enable_hashagg = {hashing}"
        sample_data.exec_driver_sql(settings)
        found.append(value(sample_data, query))
    assert found[0] == found[1] is not None


def test_the_highest_version_is_the_route_and_of_equals_the_oldest(sample_data: Connection) -> None:
    show(sample_data, BY_NAME["webhook_route"])
    projects = [row["id"] for row in rows(sample_data, "select id from projects order by id limit 2")]
    insert = """
        insert into workflows (project_id, slug, name, version, definition, status, created_at)
        values (:project, 'shared', 'n', :version, '{}', 'archived', :created) returning id
    """
    days = [datetime(2025, 1, day, tzinfo=UTC) for day in (1, 2, 3)]
    value(sample_data, insert, project=projects[0], version=1, created=days[0])
    younger = value(sample_data, insert, project=projects[0], version=2, created=days[2])
    older = value(sample_data, insert, project=projects[1], version=2, created=days[1])
    route = "select workflow_id, project_id, version from webhook_route where slug = 'shared'"
    assert rows(sample_data, route) == [{"workflow_id": older, "project_id": projects[1], "version": 2}]
    sample.delete_workflow(sample_data, older)
    assert rows(sample_data, route)[0]["workflow_id"] == younger


def test_a_card_counts_runs_by_status_and_knows_the_last(sample_data: Connection) -> None:
    show(sample_data, BY_NAME["workflow_card"])
    runs = rows(sample_data, "select * from workflow_runs order by created_at, id")
    cards = rows(sample_data, all_of("workflow_card"))
    for card in cards:
        mine = [run for run in runs if run["workflow_id"] == card["id"]]
        assert card["run_count"] == len(mine)
        for status in ("running", "succeeded", "failed", "paused", "canceled"):
            assert card[f"{status}_count"] == sum(run["status"] == status for run in mine)
        last = mine[-1] if mine else {}
        assert (card["last_run_id"], card["last_run_status"]) == (last.get("id"), last.get("status"))
    assert any(card["run_count"] == 0 for card in cards)


def replay(log: list[Row]) -> Row:
    """What a worker concludes from a whole event log, the long way round."""
    current = following = None
    types: dict[str, list[str]] = {}
    for event in log:
        if "node" in event["payload"]:
            current = event["payload"]["node"]["id"]
            types.setdefault(current, []).append(event["type"])
        if event["type"] == "step_succeeded":
            following = event["payload"]["next"]
    outcome = {"step_succeeded": "succeeded", "step_failed": "failed"}
    return {
        "event_count": len(log),
        "last_event_id": log[-1]["id"] if log else None,
        "current_node": current,
        "next_node": following,
        "node_states": {
            node: {
                "status": outcome.get(seen[-1], "running"),
                "attempts": sum(one in outcome for one in seen) + (seen[-1] == "http_attempted"),
            }
            for node, seen in types.items()
        },
    }


def test_run_state_is_what_a_replay_of_the_log_gives(sample_data: Connection) -> None:
    show(sample_data, BY_NAME["run_state"])
    show(sample_data, BY_NAME["run_detail"])
    logs: dict[UUID, list[Row]] = {}
    for event in rows(sample_data, "select * from workflow_events order by ts, id"):
        logs.setdefault(event["run_id"], []).append(event)
    details = {row["run_id"]: row for row in rows(sample_data, all_of("run_detail"))}
    states = rows(sample_data, all_of("run_state"))
    assert len(states) > len(logs)
    for state in states:
        expected = replay(logs.get(state["run_id"], []))
        assert {column: state[column] for column in expected} == expected
        assert details[state["run_id"]]["node_states"] == expected["node_states"]


def test_events_of_one_instant_count_in_the_order_of_their_ids(sample_data: Connection) -> None:
    show(sample_data, BY_NAME["run_state"])
    # One transaction, so one now() for all of them.
    run_id = sample.start_run(sample_data, value(sample_data, "select id from workflows limit 1"))
    sample.start_step(sample_data, run_id, "a")
    sample.record_attempt(sample_data, run_id, "a", next_node="b")
    sample.start_step(sample_data, run_id, "b", node_type="transform")
    state = rows(sample_data, "select * from run_state where run_id = :id", id=run_id)[0]
    assert (state["current_node"], state["next_node"]) == ("b", "b")
    assert state["node_states"] == {
        "a": {"status": "succeeded", "attempts": 1},
        "b": {"status": "running", "attempts": 0},
    }


def test_run_detail_has_the_last_50_events_and_nothing_of_their_payloads(sample_data: Connection) -> None:
    show(sample_data, BY_NAME["run_detail"])
    slug = value(sample_data, "select min(slug) from workflows")
    run_id = sample.receive_webhook(sample_data, slug, headers={"authorization": "hush"}, body="hush")
    for attempt in range(1, 31):
        sample.record_attempt(sample_data, run_id, "call", attempt=attempt, succeeded=False)
    detail = rows(sample_data, "select * from run_detail where run_id = :id", id=run_id)[0]
    log = rows(
        sample_data, "select id, ts from workflow_events where run_id = :id order by ts, id", id=run_id
    )
    assert detail["event_count"] == len(log) == 61
    assert [event["id"] for event in detail["recent_events"]] == [event["id"] for event in log[-50:]]
    last = detail["recent_events"][-1]
    assert set(last) == {"id", "ts", "type", "node_id", "attempt"}
    assert (last["node_id"], last["attempt"]) == ("call", 30)
    assert datetime.fromisoformat(last["ts"]) == log[-1]["ts"]
    everything = value(sample_data, "select string_agg(v::text, ' ') from run_detail as v")
    for secret in ("hush", "sha256=", "@example.com", "upstream connect", "idempotency-key"):
        assert secret not in everything


ODD_GRAPHS: list[tuple[Any, int, Row]] = [
    ({}, 0, {}),
    ({"nodes": None}, 0, {}),
    ({"nodes": {"id": "a"}}, 0, {}),
    (["nodes"], 0, {}),
    ({"nodes": ["text", {"type": "no id"}, {"id": None}]}, 3, {}),
    ({"nodes": [{"id": "a", "config": 1}, {"id": "a", "config": 2}]}, 2, {"a": 1}),
    ({"nodes": [{"id": "a", "data": {"config": {"n": 1}}}]}, 1, {"a": {"n": 1}}),
    ({"nodes": [{"id": "a", "data": {"url": "u"}}, {"id": 2}]}, 2, {"a": {"url": "u"}, "2": {}}),
]


@pytest.mark.parametrize(("graph", "count", "configs"), ODD_GRAPHS, ids=json.dumps)
def test_a_graph_that_no_editor_made_breaks_nothing(
    sample_data: Connection, graph: Any, count: int, configs: Row
) -> None:
    show(sample_data, BY_NAME["node_config"])
    show(sample_data, BY_NAME["workflow_card"])
    workflow_id = value(sample_data, "select id from workflows limit 1")
    sample_data.execute(
        text("update workflows set definition = cast(:graph as jsonb) where id = :id"),
        {"graph": json.dumps(graph), "id": workflow_id},
    )
    found = rows(
        sample_data, "select node_id, config from node_config where workflow_id = :id", id=workflow_id
    )
    assert {row["node_id"]: row["config"] for row in found} == configs
    card = rows(sample_data, "select node_count from workflow_card where id = :id", id=workflow_id)
    assert card == [{"node_count": count}]


def test_the_rollups_add_up(sample_data: Connection) -> None:
    show(sample_data, BY_NAME["workflow_stats"])
    show(sample_data, BY_NAME["queue_stats"])
    runs = "select count(*), count(*) filter (where status = 'failed'), count(finished_at) from workflow_runs"
    stats = "select sum(run_count), sum(failed_count), sum(finished_count) from workflow_stats"
    assert [*sample_data.execute(text(runs)).one()] == [*sample_data.execute(text(stats)).one()]
    jobs = "select count(*), count(completed_at), count(moved_to_dlq_at) from job_tracking"
    queue = "select sum(job_count), sum(completed_count), sum(dead_count) from queue_stats"
    assert [*sample_data.execute(text(jobs)).one()] == [*sample_data.execute(text(queue)).one()]
    assert rows(sample_data, "select 1 from workflow_stats where p50_ms > p95_ms or p50_ms < 200") == []


# What the SELECTs depend on


@pytest.mark.parametrize("definition", CACHED, ids=name)
def test_nothing_is_declared_by_hand(definition: Definition) -> None:
    assert definition.depends == ()
    assert definition.flush == ()


@pytest.mark.parametrize("definition", CACHED, ids=name)
def test_every_column_that_is_read_matters_and_no_other(
    sample_data: Connection, definition: Definition
) -> None:
    definition = derived(sample_data, definition)
    read = rows(
        sample_data,
        """
        select distinct c.relname as table_name, a.attname as column_name
        from pg_rewrite w
        join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid
        join pg_class c on d.refclassid = 'pg_class'::regclass and c.oid = d.refobjid
        join pg_attribute a on a.attrelid = c.oid and a.attnum = d.refobjsubid
        where w.ev_class = to_regclass(:view) and c.relkind in ('r', 'p')
        """,
        view=definition.name,
    )
    matter = {(one.table, column) for one in definition.depends for column in one.matter or ()}
    assert {(row["table_name"], row["column_name"]) for row in read} == matter
    assert all(set(one.columns) <= set(one.matter or ()) for one in definition.depends)


@dataclass(frozen=True)
class Moment:
    """The tables that a view depends on, by id, and the view itself, by key."""

    tables: dict[str, dict[Any, Row]]
    view: dict[Key, Row]


def moment(conn: Connection, definition: Definition) -> Moment:
    names = {one.table for one in definition.depends}
    return Moment(
        {table: {row["id"]: row for row in rows(conn, all_of(table))} for table in names},
        {columns_of(row, definition.key): row for row in rows(conn, all_of(definition.name))},
    )


def stale_keys(definition: Definition, before: Moment, after: Moment) -> set[Key]:
    """The keys that the derived dependencies name when the tables go from one moment to the other."""
    keys: set[Key] = set()
    for one in definition.depends:
        matter = one.matter or ()
        old, new = before.tables[one.table], after.tables[one.table]
        written = [
            row
            for mine, other in ((old, new), (new, old))
            for id_, row in mine.items()
            if id_ not in other or columns_of(other[id_], matter) != columns_of(row, matter)
        ]
        values = {columns_of(row, one.columns) for row in written}
        for view in (before.view, after.view):
            keys |= {key for key, row in view.items() if columns_of(row, one.view_columns) in values}
    return keys


def busiest_run(conn: Connection) -> UUID:
    query = "select run_id from workflow_events group by run_id order by count(*) desc, run_id limit 1"
    found: UUID = value(conn, query)
    return found


def busiest_workflow(conn: Connection) -> UUID:
    query = "select workflow_id from workflow_runs group by workflow_id order by count(*) desc, 1 limit 1"
    found: UUID = value(conn, query)
    return found


def written(query: str) -> Callable[[Connection], object]:
    """A write as SQL; `:run` and `:workflow` are the busiest ones."""

    def write(conn: Connection) -> None:
        conn.execute(text(query), {"run": busiest_run(conn), "workflow": busiest_workflow(conn)})

    return write


WRITES: dict[str, Callable[[Connection], object]] = {
    "a run starts": lambda conn: sample.start_run(conn, busiest_workflow(conn)),
    "a step starts": lambda conn: sample.start_step(conn, busiest_run(conn), "http_call_2"),
    "an attempt fails": lambda conn: sample.record_attempt(conn, busiest_run(conn), "n", succeeded=False),
    "a run completes": lambda conn: sample.complete_run(conn, busiest_run(conn), "failed"),
    "a workflow is renamed": lambda conn: sample.rename_workflow(conn, busiest_workflow(conn), "New"),
    "a version is published": lambda conn: sample.publish_version(conn, busiest_workflow(conn)),
    "a workflow is deleted": lambda conn: sample.delete_workflow(conn, busiest_workflow(conn)),
    "a project is renamed": written("update projects set name = name || '!'"),
    "a project is deleted": written(
        "delete from projects where id = (select project_id from workflows where id = :workflow)"
    ),
    "workflows without runs change their ids": written(
        """
        update workflow_definitions d set id = gen_random_uuid()
        where not exists (select from workflow_runs r where r.workflow_id = d.id)
        """
    ),
    "a workflow moves to another project": written(
        """
        update workflows set slug = 'moved', project_id = (
            select p.id from projects p where p.id <> workflows.project_id order by p.id limit 1
        )
        where id = :workflow
        """
    ),
    "a workflow takes the slug of another": written(
        """
        update workflows set version = 99, slug = (
            select o.slug from workflows o where o.id <> :workflow order by o.slug limit 1
        )
        where id = :workflow
        """
    ),
    "a workflow gets older": written("update workflows set created_at = '2000-01-01' where id = :workflow"),
    "a node changes": written(
        """
        update workflows set definition = jsonb_set(definition, '{nodes,1,data,config}', '{}')
        where id = :workflow
        """
    ),
    "a run moves to another workflow": written(
        """
        update workflow_runs set workflow_id = (
            select w.id from workflows w where w.id <> :workflow order by w.id limit 1
        )
        where id = :run
        """
    ),
    "runs move to another project": written(
        """
        update workflow_runs set project_id = (
            select p.id from projects p where p.id <> workflow_runs.project_id order by p.id limit 1
        )
        where workflow_id = :workflow
        """
    ),
    "runs get older": written(
        "update workflow_runs set created_at = created_at - interval '300 days' where workflow_id = :workflow"
    ),
    "an event is rewritten": written(
        """update workflow_events set payload = payload || '{"attempt": 9}' where run_id = :run"""
    ),
    "events move to another run": written(
        """
        update workflow_events set run_id = (
            select e.run_id from workflow_events e where e.run_id <> :run order by e.run_id limit 1
        )
        where run_id = :run
        """
    ),
    "events move to another partition": written(
        "update workflow_events set ts = '2025-07-01Z' where run_id = :run"
    ),
    "events are deleted": written("delete from workflow_events where run_id = :run"),
}


@pytest.mark.parametrize("definition", CACHED, ids=name)
def test_no_row_changes_without_being_named_stale(sample_data: Connection, definition: Definition) -> None:
    definition = derived(sample_data, definition)
    before = moment(sample_data, definition)
    missed, effective = {}, 0
    for title, write in WRITES.items():
        savepoint = sample_data.begin_nested()
        write(sample_data)
        after = moment(sample_data, definition)
        keys = before.view.keys() | after.view.keys()
        changed = {key for key in keys if before.view.get(key) != after.view.get(key)}
        missed[title] = changed - stale_keys(definition, before, after)
        effective += bool(changed)
        savepoint.rollback()
    assert {title: keys for title, keys in missed.items() if keys} == {}
    assert effective >= 5


# How the SELECTs are executed


def scans(plan: Row) -> Iterator[Row]:
    """The nodes of a plan that read a table or an index."""
    if "Relation Name" in plan or "Index Name" in plan:
        yield plan
    for child in plan.get("Plans", []):
        yield from scans(child)


def assert_by_index(conn: Connection, definition: Definition, condition: str, arguments: list[Any]) -> None:
    query = f"explain (format json) select * from {definition.name} where {condition}"  # noqa: S608
    # So few rows are faster read in order; the question is whether an index serves where there are many.
    conn.exec_driver_sql("set enable_seqscan = off")
    plan = conn.exec_driver_sql(query, tuple(arguments)).scalar_one()[0]["Plan"]
    found = list(scans(plan))
    assert found
    for scan in found:
        # A bitmap heap scan reads what the bitmap index scan below it found.
        by_index = scan["Node Type"] == "Bitmap Heap Scan" or "Index Cond" in scan
        assert by_index, json.dumps(plan, indent=1)


@pytest.mark.parametrize("definition", CACHED, ids=name)
def test_one_key_is_found_by_indexes_alone(sample_data: Connection, definition: Definition) -> None:
    show(sample_data, definition)
    row = rows(sample_data, all_of(definition.name).limit(1))[0]
    condition = " and ".join(f"{column} = %s" for column in definition.key)
    assert_by_index(sample_data, definition, condition, list(columns_of(row, definition.key)))


@pytest.mark.parametrize("definition", CACHED, ids=name)
def test_many_keys_are_found_by_indexes_alone(sample_data: Connection, definition: Definition) -> None:
    show(sample_data, definition)
    first = definition.key[0]
    keys = [row[first] for row in rows(sample_data, all_of(definition.name).limit(3))]
    assert_by_index(sample_data, definition, f"{first} = any(%s)", [keys])


@pytest.mark.parametrize("view", ["workflow_card", "workflow_definition", "node_config", "run_card"])
def test_the_list_of_a_project_is_found_by_indexes_alone(sample_data: Connection, view: str) -> None:
    show(sample_data, BY_NAME[view])
    project_id = value(sample_data, "select project_id from workflows limit 1")
    assert_by_index(sample_data, BY_NAME[view], "project_id = %s", [project_id])
