-- Gives every second run that is still under way the log of a run that polls: it has asked a partner's API a few
-- hundred times until now. Workers and run pages ask again and again for exactly these, and their logs are long.
-- Five events a second for at most five minutes: all of it lies before the moment the data ends at.
insert into workflow_events (run_id, ts, type, payload, created_at)
select
    r.id,
    r.created_at + interval '0.2 seconds' * e.no,
    t.type,
    case t.type
        when 'step_started' then jsonb_build_object('node', n.node)
        when 'http_attempted' then jsonb_build_object(
            'node', n.node,
            'attempt', 1,
            'status', 202,
            'response_body', '{"ready": false, "poll": ' || e.no || '}'
        )
        else jsonb_build_object(
            'node', n.node, 'attempt', 1, 'next', n.next_id, 'output', jsonb_build_object('ready', false)
        )
    end,
    r.created_at + interval '0.2 seconds' * e.no
from (
    select
        w.id,
        w.created_at,
        row_number() over (order by w.created_at, w.id) as place
    from workflow_runs as w
    where w.status = 'running'
) as r
-- From 300 to 1,500 events; a prime spreads the lengths without chance.
cross join lateral generate_series(1, 300 + 3 * ((r.place * 7919) % 401)) as e (no)
cross join lateral (
    select
        jsonb_build_object('id', 'http_call_' || 2 + (e.no / 3) % 4, 'type', 'http_call') as node,
        'http_call_' || 2 + (e.no / 3 + 1) % 4 as next_id
) as n
cross join lateral (
    select (array['step_started', 'http_attempted', 'step_succeeded'])[1 + (e.no - 1) % 3] as type
) as t
where r.place % 2 = 1
order by r.place, e.no;
