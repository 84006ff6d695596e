-- Runs of the workflows that have a webhook. Popularity follows Zipf's law: of 20,000 workflows the first has
-- 7 % of the runs and the first hundredth has half of them.

drop table if exists pg_temp.sample_run;
create temp table sample_run as
with popular as (
    select count(*)::double precision as workflows
    from pg_temp.sample_workflow
    where popularity_rank is not null
),

planned as (
    select
        r.n as draw_no,
        least(
            p.workflows,
            floor(power(p.workflows, pg_temp.sample_draw(i.seed, 'run workflow', r.n)))
        )::bigint as popularity_rank,
        i.seed,
        i.runs,
        i.until
    from pg_temp.sample_input as i
    cross join popular as p
    cross join generate_series(1, i.runs) as r (n)
),

timed as (
    select
        p.draw_no,
        p.seed,
        p.runs,
        w.id as workflow_id,
        w.project_id,
        w.slug_no,
        w.node_count,
        w.failure_rate,
        -- Traffic grows: later moments of a workflow's life are likelier. The longest run takes four minutes,
        -- and five are kept free before the end, so nothing happens after it.
        w.retired - interval '5 minutes' - (w.retired - interval '5 minutes' - w.born) * power(
            pg_temp.sample_draw(p.seed, 'run moment', p.draw_no), 1.6
        ) as created_at,
        interval '1 millisecond' * (
            200 + floor(239000 * power(pg_temp.sample_draw(p.seed, 'run duration', p.draw_no), 8))
        ) as duration
    from planned as p
    inner join pg_temp.sample_workflow as w on w.popularity_rank = p.popularity_rank
),

numbered as (
    select
        t.*,
        row_number() over (order by t.created_at, t.draw_no) as n
    from timed as t
)

select
    d.n,
    pg_temp.sample_id(d.seed, 'run', d.n) as id,
    d.workflow_id,
    d.project_id,
    d.slug_no,
    d.node_count,
    d.created_at,
    d.duration,
    -- Only the newest can still be under way.
    case
        when d.n > d.runs - greatest(3, d.runs / 1000) then 'running'
        when pg_temp.sample_draw(d.seed, 'run failed', d.draw_no) < d.failure_rate then 'failed'
        when pg_temp.sample_draw(d.seed, 'run stopped', d.draw_no) < 0.005 then 'paused'
        when pg_temp.sample_draw(d.seed, 'run stopped', d.draw_no) < 0.02 then 'canceled'
        else 'succeeded'
    end as status
from numbered as d;

create unique index on pg_temp.sample_run (n);
analyze pg_temp.sample_run;

insert into workflow_runs
    (id, project_id, workflow_id, status, started_at, finished_at, created_at, updated_at)
select
    r.id,
    r.project_id,
    r.workflow_id,
    r.status,
    r.created_at as started_at,
    case when r.status not in ('running', 'paused') then r.created_at + r.duration end as finished_at,
    r.created_at as created_at,
    r.created_at + r.duration as updated_at
from pg_temp.sample_run as r
order by r.n;

-- How many steps a run with events must have for the asked number of events. A run adds two events of its own
-- and a step 2.75 on average. Steps are geometric with mean m, cut off at the c steps that the workflow has,
-- so their mean is m * (1 - (1 - 1/m)^c); by number of nodes, since the hot workflows may all be short.
update pg_temp.sample_input as i
set steps_per_run = (
    with recent as (
        select
            r.node_count - 2 as capacity,
            count(*) as runs
        from pg_temp.sample_run as r
        where r.created_at >= i.events_since
        group by r.node_count
    )

    select m.mean
    from (select 1 + 0.05 * s.n as mean from generate_series(0, 800) as s (n)) as m
    cross join lateral (
        select sum(r.runs * (2 + 2.75 * m.mean * (1 - power(1 - 1 / m.mean, r.capacity)))) as events
        from recent as r
    ) as expected
    order by abs(expected.events - i.events_per_run * i.runs), m.mean
    limit 1
);
