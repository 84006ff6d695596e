-- Per queue and hour (UTC): what became of the jobs, how long they waited and how long they ran.
-- name: queue_stats
-- kind: rollup
-- key: queue_name, hour
-- index: hour desc, queue_name
-- refresh_every: 1m
select
    job.queue_name as queue_name,
    job.hour as hour,
    count(*) as job_count,
    count(*) filter (where job.completed_at is not null) as completed_count,
    count(*) filter (where job.failed_at is not null) as failed_count,
    count(*) filter (where job.moved_to_dlq_at is not null) as dead_count,
    count(*) filter (where job.started_at is null and not job.ended) as waiting_count,
    count(*) filter (where job.started_at is not null and not job.ended) as running_count,
    count(*) filter (where job.attempt > 1) as retried_count,
    min(job.enqueued_at) filter (where not job.ended) as oldest_open_at,
    percentile_disc(0.5) within group (order by job.wait_ms) as wait_p50_ms,
    percentile_disc(0.95) within group (order by job.wait_ms) as wait_p95_ms,
    percentile_disc(0.95) within group (order by job.work_ms) as work_p95_ms
from (
    select
        j.queue_name,
        j.attempt,
        j.enqueued_at,
        j.started_at,
        j.completed_at,
        j.failed_at,
        j.moved_to_dlq_at,
        -- Cut in UTC: the plain date_trunc would follow the time zone of whoever refreshes.
        date_trunc('hour', j.enqueued_at at time zone 'UTC') at time zone 'UTC' as hour,
        coalesce(j.completed_at, j.failed_at, j.moved_to_dlq_at) is not null as ended,
        (extract(epoch from j.started_at - j.enqueued_at) * 1000)::bigint as wait_ms,
        (extract(epoch from coalesce(j.completed_at, j.failed_at) - j.started_at) * 1000)::bigint as work_ms
    from job_tracking as j
) as job
group by job.queue_name, job.hour
