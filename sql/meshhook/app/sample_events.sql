-- The event logs of the runs numbered first_run to last_run, each as a worker writes it: run_started; per
-- step step_started, then for a call http_attempted and step_failed or step_succeeded per attempt;
-- run_completed. A run walks its workflow's nodes in order and may finish after any of them.
insert into workflow_events (run_id, ts, type, payload, created_at)
with run as (
    select
        r.*,
        i.seed,
        -- Geometric, so that most logs are short and some are long.
        least(
            r.node_count - 2,
            1 + floor(
                ln(1 - pg_temp.sample_draw(i.seed, 'steps', r.n))
                / ln(1 - 1 / greatest(i.steps_per_run, 1.001))
            )
        )::integer as steps,
        r.status not in ('running', 'paused') as finished
    from pg_temp.sample_run as r
    inner join pg_temp.sample_input as i
        on r.n between i.first_run and i.last_run and r.created_at >= i.events_since
),

-- Step 0 stands for the start of the run, the one after the last for its end.
step as (
    select
        r.*,
        s.no as step_no,
        case
            when s.no between 1 and r.steps
                then pg_temp.sample_node_type(r.seed, r.slug_no, s.no + 1, r.node_count)
        end as node_type,
        case
            when s.no < r.steps then 'succeeded'
            when r.status = 'failed' then 'failed'
            when r.status in ('running', 'canceled') then 'cut off'
            else 'succeeded'
        end as outcome,
        pg_temp.sample_draw(r.seed, 'attempts', r.n * 64 + s.no) as luck
    from run as r
    cross join lateral generate_series(0, r.steps + r.finished::integer) as s (no)
),

tried as (
    select
        s.*,
        case
            when s.node_type <> 'http_call' then 1
            when s.outcome = 'failed' then 5
            when s.luck < 0.86 then 1
            when s.luck < 0.95 then 2
            when s.luck < 0.98 then 3
            when s.luck < 0.993 then 4
            else 5
        end as attempts
    from step as s
),

sized as (
    select
        t.*,
        case
            when t.node_type is null then 1
            -- Without its last event at least, and with its first one always.
            when t.outcome = 'cut off'
                then 1 + floor(
                    t.luck * case when t.node_type = 'http_call' then 2 * t.attempts else 1 end
                )::integer
            when t.node_type = 'http_call' then 1 + 2 * t.attempts
            else 2
        end as events
    from tried as t
),

placed as (
    select
        s.*,
        sum(s.events) over (partition by s.n order by s.step_no) - s.events as events_before,
        sum(s.events) over (partition by s.n) as events_of_run,
        jsonb_build_object(
            'id', pg_temp.sample_node_id(s.seed, s.slug_no, s.step_no + 1, s.node_count), 'type', s.node_type
        ) as node
    from sized as s
),

event as (
    select
        p.*,
        p.events_before + e.no as event_no,
        case
            when p.node_type is null and p.step_no = 0 then 'run_started'
            when p.node_type is null then 'run_completed'
            when e.no = 0 then 'step_started'
            when p.node_type = 'http_call' and e.no % 2 = 1 then 'http_attempted'
            when p.outcome = 'failed' then 'step_failed'
            when p.node_type = 'http_call' and e.no < 2 * p.attempts then 'step_failed'
            else 'step_succeeded'
        end as type,
        case when p.node_type = 'http_call' then (e.no + 1) / 2 else 1 end as attempt,
        case
            when p.outcome = 'failed' or (e.no + 1) / 2 < p.attempts then 503
            else 200
        end as http_status
    from placed as p
    cross join lateral generate_series(0, p.events - 1) as e (no)
)

select
    e.id,
    e.created_at + e.duration * (e.event_no / greatest(1, e.events_of_run - 1)::double precision),
    e.type,
    case e.type
        when 'run_started' then jsonb_build_object(
            'headers', jsonb_build_object(
                'content-type', 'application/json',
                'user-agent', 'shop-webhooks/2.4',
                'x-request-id', md5('request ' || e.seed::text || ' ' || e.n::text),
                'x-signature', 'sha256=' || md5('signature ' || e.seed::text || ' ' || e.n::text)
            ),
            'body',
            '{"customer": {"id": ' || e.n || ', "email": "customer' || e.n || '@example.com"}, '
            || '"order": {"id": ' || e.n * 7 || ', "total": ' || (e.n * 37) % 10000 || ', "currency": "EUR"}}'
        )
        when 'step_started' then jsonb_build_object('node', e.node)
        when 'http_attempted' then jsonb_build_object(
            'node', e.node,
            'attempt', e.attempt,
            'status', e.http_status,
            'request_headers', jsonb_build_object('idempotency-key', 'mh-' || e.id || '-' || e.step_no),
            'response_body', case
                when e.http_status = 200
                    then '{"accepted": true, "reference": "' || md5(e.n::text || ' ' || e.event_no) || '"}'
                else 'upstream connect error or disconnect before headers'
            end
        )
        when 'step_failed' then jsonb_build_object(
            'node', e.node,
            'attempt', e.attempt,
            'error', case
                when e.node_type = 'http_call' then 'Error: HTTP 503'
                else 'Error: expression failed'
            end
        )
        when 'step_succeeded' then jsonb_build_object(
            'node', e.node,
            'attempt', e.attempt,
            'next', case
                when e.step_no = e.steps and e.finished then 'terminate_' || e.node_count
                else pg_temp.sample_node_id(e.seed, e.slug_no, e.step_no + 2, e.node_count)
            end,
            'output', jsonb_build_object('ok', true, 'items', e.n % 9)
        )
        else jsonb_build_object('status', e.status)
    end,
    e.created_at + e.duration * (e.event_no / greatest(1, e.events_of_run - 1)::double precision)
from event as e
order by e.n, e.event_no;
