-- One entry of the workflow list: the workflow without its graph, the number of its nodes, its runs by status
-- and its last run.
-- name: workflow_card
-- key: id
-- coverage: complete
-- tenant: project_id
-- index: project_id, updated_at desc, id
select
    d.id as id,
    d.project_id as project_id,
    p.name as project_name,
    d.slug as slug,
    d.version as version,
    d.name as name,
    d.description as description,
    d.status as status,
    d.user_id as user_id,
    -- Strict and silent: no row fails, and no count is made up, where nodes is missing or is not an array.
    coalesce(
        jsonb_path_query_first(d.definition, 'strict $.nodes.size()', '{}', true)::integer, 0
    ) as node_count,
    runs.run_count as run_count,
    runs.running_count as running_count,
    runs.succeeded_count as succeeded_count,
    runs.failed_count as failed_count,
    runs.paused_count as paused_count,
    runs.canceled_count as canceled_count,
    last_run.id as last_run_id,
    last_run.status as last_run_status,
    last_run.created_at as last_run_at,
    d.created_at as created_at,
    d.updated_at as updated_at
from workflow_definitions as d
inner join projects as p on p.id = d.project_id
-- Lateral, one index range per workflow: a grouped subquery would aggregate all runs for one key or project.
cross join lateral (
    select
        count(*) as run_count,
        count(*) filter (where r.status = 'running') as running_count,
        count(*) filter (where r.status = 'succeeded') as succeeded_count,
        count(*) filter (where r.status = 'failed') as failed_count,
        count(*) filter (where r.status = 'paused') as paused_count,
        count(*) filter (where r.status = 'canceled') as canceled_count
    from workflow_runs as r
    where r.workflow_id = d.id
) as runs
left join lateral (
    select
        r.id,
        r.status,
        r.created_at
    from workflow_runs as r
    where r.workflow_id = d.id
    order by r.created_at desc, r.id desc
    limit 1
) as last_run on true
