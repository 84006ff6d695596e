-- Where a run stands, so that a worker need not replay its event log at every tick: the node of the last step
-- event, the node that the last success names as next, and status and attempts of every node so far.
-- name: run_state
-- key: run_id
-- coverage: on_demand
-- tenant: project_id
-- ttl: 1h
select
    r.id as run_id,
    r.project_id as project_id,
    r.workflow_id as workflow_id,
    r.status as status,
    log.event_count as event_count,
    log.last_event_id as last_event_id,
    log.last_event_at as last_event_at,
    log.current_node as current_node,
    log.next_node as next_node,
    log.node_states as node_states
from workflow_runs as r
-- An aggregate without group by: a run without events has a row too.
cross join lateral (
    select
        count(*) as event_count,
        (array_agg(e.id order by e.ts desc, e.id desc))[1] as last_event_id,
        max(e.ts) as last_event_at,
        (
            array_agg(e.node_id order by e.ts desc, e.id desc) filter (where e.node_id is not null)
        )[1] as current_node,
        (
            array_agg(e.next_node order by e.ts desc, e.id desc) filter (where e.type = 'step_succeeded')
        )[1] as next_node,
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
            w.payload ->> 'next' as next_node,
            count(*) filter (where w.type in ('step_succeeded', 'step_failed')) over (
                partition by w.payload #>> '{node,id}'
                order by w.ts, w.id
            ) as outcomes
        from workflow_events as w
        where w.run_id = r.id
    ) as e
) as log
