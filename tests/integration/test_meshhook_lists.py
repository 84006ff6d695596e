"""MeshHook's own list queries, as its pages and PostgREST ask them, are cached views without a word about
dependencies.
"""

import pytest

from meshcache_pg.errors import DefinitionError
from tests.consistency.checker import Checker
from tests.fixtures.fix_cache import apply_definitions, migrate_database, refresh
from tests.fixtures.fix_cache import sweep as sweep_cache
from tests.fixtures.fix_db import Database

# The workflow list page: the view, as it is.
WORKFLOWS = """
-- name: workflow_list
-- key: id
-- coverage: complete
-- tenant: project_id
-- index: project_id, updated_at desc
select w.* from workflows as w
"""

# Runs with the workflow's slug and name, by a plain join.
RUNS = """
-- name: run_list
-- key: id
-- coverage: complete
-- tenant: project_id
select r.*, d.slug as workflow_slug, d.name as workflow_name
from workflow_runs as r inner join workflow_definitions as d on d.id = r.workflow_id
"""

# The same as PostgREST writes it for workflow_runs?select=*,workflow:workflow_definitions(slug,name).
EMBEDDED = """
-- name: run_embedded
-- key: id
-- coverage: complete
-- tenant: project_id
SELECT "workflow_runs".*, row_to_json("workflow_runs_workflow_1".*) AS "workflow"
FROM "workflow_runs"
LEFT JOIN LATERAL (
    SELECT "workflow_definitions_1"."slug", "workflow_definitions_1"."name"
    FROM "workflow_definitions" AS "workflow_definitions_1"
    WHERE "workflow_definitions_1"."id" = "workflow_runs"."workflow_id"
) AS "workflow_runs_workflow_1" ON TRUE
"""

# And for workflow_definitions?select=id,slug,workflow_runs(id,status), to many.
EMBEDDED_RUNS = """
-- name: workflow_embedded
-- key: id
SELECT "workflow_definitions"."id", "workflow_definitions"."slug", COALESCE(
        "workflow_definitions_workflow_runs_1"."workflow_definitions_workflow_runs_1", '[]'
    ) AS "workflow_runs"
FROM "workflow_definitions"
LEFT JOIN LATERAL (
    SELECT json_agg("workflow_definitions_workflow_runs_1") AS "workflow_definitions_workflow_runs_1"
    FROM (
        SELECT "workflow_runs_1"."id", "workflow_runs_1"."status"
        FROM "workflow_runs" AS "workflow_runs_1"
        WHERE "workflow_runs_1"."workflow_id" = "workflow_definitions"."id"
        ORDER BY "workflow_runs_1"."id"
    ) AS "workflow_definitions_workflow_runs_1"
) AS "workflow_definitions_workflow_runs_1" ON TRUE
"""

# A run's log: events of a partitioned table, as one value.
EVENTS = """
-- name: run_log
-- key: run_id
select e.run_id, count(*) as events, jsonb_agg(
    jsonb_build_object('id', e.id, 'type', e.type, 'payload', e.payload, 'at', e.ts at time zone 'UTC')
    order by e.ts, e.id
) as log
from workflow_events as e
group by e.run_id
"""

KINDS = {
    "workflow_list": {"workflow_definitions": "key"},
    "run_list": {"workflow_runs": "key", "workflow_definitions": "carried"},
    "run_embedded": {"workflow_runs": "key", "workflow_definitions": "carried"},
    "workflow_embedded": {"workflow_definitions": "key", "workflow_runs": "key"},
    "run_log": {"workflow_events": "key"},
}

# As the application writes: through its view, in place, and by what cascades.
WRITES = """
update workflows set name = name || '!' where id = (select id from workflows order by id limit 1);
update workflow_definitions set slug = slug || '-b'
where id = (select id from workflows order by id desc limit 1);
update workflow_runs set status = 'failed'
where id = (select r.id from workflow_runs as r order by r.id limit 1);
insert into workflow_runs (project_id, workflow_id, status)
select project_id, id, 'running' from workflow_definitions order by id limit 2;
insert into workflow_events (run_id, ts, type, payload)
select run_id, ts, 'again', '{"n": 1}' from workflow_events order by id limit 3;
update workflow_events set payload = '{}' where id = (select max(id) from workflow_events);
delete from workflow_runs where id = (select r.id from workflow_runs as r order by r.id desc limit 1);
delete from workflows where id = (select id from workflows order by id limit 1);
"""


@pytest.fixture
def meshhook(application: Database) -> Database:
    """MeshHook's tables and data, and the cache's schema."""
    migrate_database(application)
    return application


def test_the_lists_of_meshhook_need_no_depends_lines(meshhook: Database) -> None:
    apply_definitions(meshhook, WORKFLOWS, RUNS, EMBEDDED, EMBEDDED_RUNS, EVENTS)
    connection = meshhook.connect()
    found: dict[str, dict[str, str]] = {}
    for view, table, kind in connection.execute(
        "select v.name, c.relname, d.kind from meshcache.dependency as d"
        " join meshcache.cached_view as v on v.id = d.view_id"
        " join meshcache.source_table as s on s.id = d.source_id join pg_class as c on c.oid = s.relation"
    ):
        found.setdefault(view, {})[table] = kind
    assert found == KINDS
    assert (
        connection.execute("select v.name from meshcache.cached_view as v where not v.key_proved").fetchall()
        == []
    )
    refresh(connection, *KINDS)
    checker = Checker.of(connection)
    checker.assert_exact(connection)
    assert not any(origin.endswith(("miss", "stale", "bypass")) for origin in checker.origins)
    for statement in WRITES.strip().split(";\n"):
        assert connection.execute(statement.encode()).rowcount > 0, statement
        checker.assert_exact(connection)
    assert sweep_cache(connection) == "done"
    checker.assert_exact(connection)


def test_an_embedded_workflow_is_marked_by_its_columns_alone(meshhook: Database) -> None:
    apply_definitions(meshhook, EMBEDDED)
    rows = meshhook.connect().execute(
        "select d.matter_columns from meshcache.dependency as d where d.kind = 'carried'"
    )
    assert rows.fetchall() == [(["id", "name", "slug"],)]


def test_events_as_they_are_would_be_written_in_the_zone_of_whoever_fills(meshhook: Database) -> None:
    whole = (
        "-- name: run_log\n-- key: run_id\n"
        "select e.run_id, json_agg(e order by e.ts) as log from workflow_events as e group by e.run_id"
    )
    with pytest.raises(DefinitionError, match=r"json_agg.* depends on the session's settings"):
        apply_definitions(meshhook, whole)
    apply_definitions(meshhook, whole.replace("-- key", "-- allow: session\n-- key"))
