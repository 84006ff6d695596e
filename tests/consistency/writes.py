"""What the application does to its tables, in every form that SQL has for it.

Each write is one statement with the parameters %(a)s, %(b)s (which row), %(t)s (a word) and %(id)s (a new
key); it picks its rows with the functions below, so a schedule is determined by its random numbers alone.
"""

from typing import LiteralString

HELPERS: LiteralString = """
create function pick_project(n integer) returns uuid language sql stable as $$
    select id from projects order by id offset n % greatest((select count(*) from projects), 1) limit 1
$$;
create function pick_workflow(n integer) returns uuid language sql stable as $$
    select id from workflow_definitions
    order by id offset n % greatest((select count(*) from workflow_definitions), 1) limit 1
$$;
create function pick_run(n integer) returns uuid language sql stable as $$
    select id from workflow_runs
    order by id offset n % greatest((select count(*) from workflow_runs), 1) limit 1
$$;
create function pick_event(n integer) returns bigint language sql stable as $$
    select id from workflow_events
    order by id offset n % greatest((select count(*) from workflow_events), 1) limit 1
$$;
"""

# Graphs of at most three nodes: one key each of a cached view, and every key is compared after every step.
SMALLER: LiteralString = """
update workflow_definitions
set definition = jsonb_build_object('nodes', jsonb_path_query_array(definition, '$.nodes[0 to 2]'))
"""

COMMON: dict[str, LiteralString] = {
    "start a run": """
        with r as (
            insert into workflow_runs (id, project_id, workflow_id, status)
            select %(id)s, w.project_id, w.id, 'running' from workflow_definitions as w
            where w.id = pick_workflow(%(a)s)
            returning id
        )
        insert into workflow_events (run_id, type, payload) select r.id, 'run_started', '{}' from r""",
    "insert an event": """
        insert into workflow_events (run_id, type, payload)
        select r.id,
            (array['step_started', 'step_succeeded', 'step_failed', 'http_attempted'])[1 + %(b)s %% 4],
            jsonb_build_object('node', jsonb_build_object('id', 'n' || %(b)s %% 3), 'attempt', %(b)s %% 5)
        from workflow_runs as r where r.id = pick_run(%(a)s)""",
    "insert events of many runs": """
        insert into workflow_events (run_id, type, payload)
        select r.id, 'step_started', '{"node": {"id": "many"}}' from workflow_runs as r""",
    "insert an event into the past": """
        insert into workflow_events (run_id, ts, type, payload)
        select r.id, '2025-09-10 10:00+00', %(t)s, '{}'
        from workflow_runs as r where r.id = pick_run(%(a)s)""",
    "complete a run": """
        update workflow_runs set status = (array['succeeded', 'failed', 'canceled'])[1 + %(b)s %% 3],
            finished_at = now()
        where id = pick_run(%(a)s)""",
    "change every run": "update workflow_runs set status = (array['paused', 'running'])[1 + %(b)s %% 2]",
    "rename a workflow through the view": (
        "update workflows set name = %(t)s, description = nullif(%(b)s %% 3, 0)::text"
        " where id = pick_workflow(%(a)s)"
    ),
    "publish a version": """
        insert into workflows (id, project_id, slug, name, status, version, definition)
        select %(id)s, w.project_id, w.slug, w.name, 'published',
            (
                select max(o.version) + 1 from workflows as o
                where o.project_id = w.project_id and o.slug = w.slug
            ),
            w.definition
        from workflows as w where w.id = pick_workflow(%(a)s)""",
    "create a workflow": """
        insert into workflows (id, project_id, slug, name, definition)
        select %(id)s, p.id, %(t)s, 'made', '{"nodes": [{"id": "n1"}, {"id": "n2"}, {"id": "n1"}]}'
        from projects as p where p.id = pick_project(%(a)s)""",
    "replace the graph": """
        update workflow_definitions
        set definition = jsonb_build_object('nodes', jsonb_build_array(jsonb_build_object('id', %(t)s::text)))
        where id = pick_workflow(%(a)s)""",
    "archive a workflow": "update workflows set status = 'archived' where id = pick_workflow(%(a)s)",
    "change a slug": "update workflow_definitions set slug = %(t)s where id = pick_workflow(%(a)s)",
    "rename a project": "update projects set name = %(t)s where id = pick_project(%(a)s)",
    "create a project": "insert into projects (id, owner, name) values (%(id)s, %(id)s, %(t)s)",
    "move a run": """
        update workflow_runs set workflow_id = pick_workflow(%(b)s)
        where id = pick_run(%(a)s) and pick_workflow(%(b)s) is not null""",
    "move a workflow": """
        update workflow_definitions set project_id = pick_project(%(b)s)
        where id = pick_workflow(%(a)s) and pick_project(%(b)s) is not null""",
    "move an event to another run": """
        update workflow_events set run_id = pick_run(%(b)s)
        where id = pick_event(%(a)s) and pick_run(%(b)s) is not null""",
    "move an event to another partition": """
        update workflow_events set ts = case when ts < '2025-10-01' then now() else '2025-09-20 10:00+00' end
        where id = pick_event(%(a)s)""",
    "change the key of a workflow": (
        "update workflow_definitions set id = %(id)s where id = pick_workflow(%(a)s)"
    ),
    "change the key of a run": "update workflow_runs set id = %(id)s where id = pick_run(%(a)s)",
    "shift the keys of all events": "update workflow_events set id = id + 1000000",
    "touch without a change": "update workflow_definitions set name = name where id = pick_workflow(%(a)s)",
    "touch events without a change": "update workflow_events set payload = payload",
    "respell a payload": """
        update workflow_events set payload = '{"node": {"id": "n0"}, "attempt": 1.0}'
        where id = pick_event(%(a)s)""",
    "insert or update": """
        insert into workflow_definitions (id, project_id, slug, version, name, definition)
        select %(id)s, w.project_id, w.slug, w.version + %(b)s %% 2, %(t)s, '{}'
        from workflow_definitions as w where w.id in (pick_workflow(%(a)s), pick_workflow(%(b)s))
        on conflict (project_id, slug, version) do update set name = excluded.name || '!'""",
    "parent and children in one statement": """
        with w as (
            update workflow_definitions set name = %(t)s where id = pick_workflow(%(a)s) returning id
        ),
        d as (delete from workflow_events where id = pick_event(%(b)s))
        update workflow_runs as r set status = 'paused' from w where r.workflow_id = w.id""",
    "a statement that a block takes back": """
        do $block$
        begin
            update workflow_runs set status = 'failed';
            update projects set name = name || '?';
            raise exception 'taken back';
        exception when raise_exception then
            update workflow_runs set status = 'succeeded'
            where id = (select min(id::text)::uuid from workflow_runs);
        end $block$""",
    "queue a job": """
        insert into job_tracking (msg_id, run_id, queue_name)
        select %(b)s, r.id, 'workflow_jobs' from workflow_runs as r where r.id = pick_run(%(a)s)""",
}

RARE: dict[str, LiteralString] = {
    "delete a workflow through the view": "delete from workflows where id = pick_workflow(%(a)s)",
    "delete a run": "delete from workflow_runs where id = pick_run(%(a)s)",
    "delete a project": "delete from projects where id = pick_project(%(a)s)",
    "delete the events of a run": "delete from workflow_events where run_id = pick_run(%(a)s)",
    "invalidate": "select meshcache.run_card_invalidate(pick_run(%(a)s)) where pick_run(%(a)s) is not null",
    "invalidate a view": "select meshcache.invalidate('run_state')",
    "invalidate a table": "select meshcache.invalidate_source('projects')",
}

# More distinct values in one statement than are marked one by one.
BULK: dict[str, LiteralString] = {
    "more runs than the limit": """
        insert into workflow_runs (id, project_id, workflow_id, status, finished_at)
        select md5(%(id)s::text || n)::uuid, w.project_id, w.id, 'failed', '1999-01-01'
        from workflow_definitions as w cross join generate_series(1, 1100) as n
        where w.id = pick_workflow(%(a)s)""",
    "all of them changed": "update workflow_runs set status = 'canceled'",
}
BULK_END: LiteralString = "delete from workflow_runs where finished_at = '1999-01-01'"

# Session_replication_role switches foreign keys off, so these keep to what cannot break one.
AS_REPLICA: dict[str, LiteralString] = {
    name: COMMON[name]
    for name in (
        "insert an event",
        "complete a run",
        "rename a project",
        "rename a workflow through the view",
        "move an event to another partition",
        "move a run",
        "touch events without a change",
        "insert or update",
    )
}

MERGES: dict[str, LiteralString] = {
    "merge": """
        merge into workflow_runs as r
        using (
            select w.id as workflow_id, w.project_id, row_number() over (order by w.id) as n,
                (select min(o.id::text)::uuid from workflow_runs as o where o.workflow_id = w.id) as run_id
            from workflow_definitions as w
        ) as w
        on r.id = w.run_id
        when matched and (w.n + %(a)s) %% 7 = 0 then delete
        when matched and (w.n + %(a)s) %% 2 = 0 then update set status = 'running', finished_at = null
        when not matched and (w.n + %(a)s) %% 3 = 0 then
            insert (id, project_id, workflow_id, status)
            values (md5(%(id)s::text || w.n)::uuid, w.project_id, w.workflow_id, 'paused')""",
}
