-- The run page: a run with its workflow, status and attempts of every node, and its last 50 events without
-- their payloads, which carry the headers and bodies of webhooks.
-- name: run_detail
-- key: run_id
-- coverage: on_demand
-- tenant: project_id
-- ttl: 1h
select
    r.id as run_id,
    r.project_id as project_id,
    r.workflow_id as workflow_id,
    d.slug as workflow_slug,
    d.name as workflow_name,
    d.version as workflow_version,
    r.status as status,
    r.started_at as started_at,
    r.finished_at as finished_at,
    r.created_at as created_at,
    r.updated_at as updated_at,
    log.event_count as event_count,
    log.recent_events as recent_events,
    log.node_states as node_states
from workflow_runs as r
inner join workflow_definitions as d on d.id = r.workflow_id
-- An aggregate without group by: a run without events has a row too.
cross join lateral (
    select
        count(*) as event_count,
        coalesce(
            jsonb_agg(
                jsonb_build_object(
                    'id', e.id,
                    -- Written out in UTC: jsonb would spell a timestamptz in the session's time zone.
                    'ts', to_char(e.ts at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                    'type', e.type,
                    'node_id', e.node_id,
                    'attempt', e.attempt
                )
                order by e.ts, e.id
            ) filter (where e.recency <= 50),
            '[]'::jsonb
        ) as recent_events,
        -- Of equal keys a jsonb object keeps the last, so in this order each node keeps its latest state.
        coalesce(
            jsonb_object_agg(
                e.node_id,
                jsonb_build_object(
                    'status', case e.type
                        when 'step_succeeded' then 'succeeded'
                        when 'step_failed' then 'failed'
                        else 'running'
                    end,
                    -- A call that was sent and has no outcome yet is an attempt as well.
                    'attempts', e.outcomes + case when e.type = 'http_attempted' then 1 else 0 end
                )
                order by e.ts, e.id
            ) filter (where e.node_id is not null),
            '{}'::jsonb
        ) as node_states
    from (
        select
            w.id,
            w.ts,
            w.type,
            w.payload #>> '{node,id}' as node_id,
            w.payload -> 'attempt' as attempt,
            row_number() over (order by w.ts desc, w.id desc) as recency,
            count(*) filter (where w.type in ('step_succeeded', 'step_failed')) over (
                partition by w.payload #>> '{node,id}'
                order by w.ts, w.id
            ) as outcomes
        from workflow_events as w
        where w.run_id = r.id
    ) as e
) as log
