-- Per workflow and hour (UTC): runs, failures and how long finished runs took.
-- name: workflow_stats
-- kind: rollup
-- key: workflow_id, hour
-- tenant: project_id
-- index: hour desc, workflow_id
-- refresh_every: 5m
select
    d.id as workflow_id,
    run.hour as hour,
    -- Of the workflow, not of the run: one value per key even if a run was filed under another project.
    d.project_id as project_id,
    count(*) as run_count,
    count(*) filter (where run.status = 'succeeded') as succeeded_count,
    count(*) filter (where run.status = 'failed') as failed_count,
    count(run.duration_ms) as finished_count,
    percentile_disc(0.5) within group (order by run.duration_ms) as p50_ms,
    percentile_disc(0.95) within group (order by run.duration_ms) as p95_ms
from (
    select
        r.workflow_id,
        r.status,
        -- Cut in UTC: the plain date_trunc would follow the time zone of whoever refreshes.
        date_trunc('hour', r.created_at at time zone 'UTC') at time zone 'UTC' as hour,
        (extract(epoch from r.finished_at - r.started_at) * 1000)::bigint as duration_ms
    from workflow_runs as r
) as run
inner join workflow_definitions as d on d.id = run.workflow_id
group by d.id, d.project_id, run.hour
