-- One job per run that still has events; a failed run's job ended in the dead letter queue.
insert into job_tracking
    (id, msg_id, run_id, queue_name, attempt, enqueued_at, started_at, completed_at, failed_at,
    moved_to_dlq_at, error_message, created_at, updated_at)
select
    pg_temp.sample_id(i.seed, 'job', r.n),
    r.n,
    r.id,
    'workflow_jobs',
    case
        when r.status = 'failed' then 5
        when pg_temp.sample_draw(i.seed, 'job attempt', r.n) < 0.06 then 2
        else 1
    end,
    r.created_at as enqueued_at,
    d.started_at,
    case when r.status in ('succeeded', 'canceled') then d.ended_at end,
    case when r.status = 'failed' then d.ended_at end,
    case when r.status = 'failed' then d.ended_at end,
    case when r.status = 'failed' then 'Error: HTTP 503' end,
    r.created_at as created_at,
    d.ended_at
from pg_temp.sample_input as i
inner join pg_temp.sample_run as r on r.created_at >= i.events_since
cross join lateral (
    select
        r.created_at + r.duration * (0.1 * pg_temp.sample_draw(i.seed, 'job wait', r.n)) as started_at,
        r.created_at + r.duration as ended_at
) as d
order by r.n;
