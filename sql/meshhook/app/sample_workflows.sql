-- Projects, their secrets, and workflow definitions in one to four versions each.

insert into projects (id, owner, name, created_at, updated_at)
select
    pg_temp.sample_id(i.seed, 'project', p.n),
    -- Somewhat fewer owners than projects, so that one user's list spans several.
    pg_temp.sample_id(
        i.seed, 'owner', 1 + floor(pg_temp.sample_draw(i.seed, 'owner', p.n) * i.projects * 0.6)::bigint
    ),
    pg_temp.sample_word(i.seed, 'project name', p.n, array[
        'Billing', 'Storefront', 'Onboarding', 'Support desk', 'Warehouse', 'Reporting', 'Mobile', 'Partners'
    ]) || ' ' || p.n,
    d.created_at as created_at,
    d.created_at as updated_at
from pg_temp.sample_input as i
cross join generate_series(1, i.projects) as p (n)
cross join lateral (
    select i.since - interval '300 days' * pg_temp.sample_draw(i.seed, 'project age', p.n) as created_at
) as d
order by p.n;

insert into secrets (id, project_id, key, value_encrypted, created_at, updated_at)
select
    pg_temp.sample_id(i.seed, 'secret', p.n * 4 + k.n),
    pg_temp.sample_id(i.seed, 'project', p.n),
    (array['CRM_TOKEN', 'SMTP_PASSWORD', 'WEBHOOK_SECRET'])[k.n],
    decode(md5('secret ' || i.seed::text || ' ' || p.n || ' ' || k.n), 'hex'),
    i.since as created_at,
    i.since as updated_at
from pg_temp.sample_input as i
cross join generate_series(1, i.projects) as p (n)
cross join lateral generate_series(
    1, 1 + floor(pg_temp.sample_draw(i.seed, 'secrets', p.n) * 3)::integer
) as k (n)
order by p.n, k.n;

insert into queue_config (id, queue_name, max_retry_attempts, created_at, updated_at)
select
    pg_temp.sample_id(i.seed, 'queue', q.n),
    q.queue_name,
    q.retries,
    i.since as created_at,
    i.since as updated_at
from pg_temp.sample_input as i
cross join (values (1, 'workflow_jobs', 5), (2, 'workflow_jobs_dlq', 0)) as q (n, queue_name, retries);

-- One row per definition, with what runs and events need to know of it.
drop table if exists pg_temp.sample_workflow;
create temp table sample_workflow as
with slug as (
    select
        s.n as slug_no,
        -- The first slugs go round all projects, so that none is empty; the rest favours the low numbers:
        -- the largest of 1,000 projects owns about 3 % of all workflows.
        case
            when s.n <= i.projects then s.n
            else 1 + floor(i.projects * power(pg_temp.sample_draw(i.seed, 'slug project', s.n), 2))::integer
        end as project_no,
        (array[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4])[
            1 + floor(pg_temp.sample_draw(i.seed, 'versions', s.n) * 20)::integer
        ] as versions,
        -- Most workflows are short: half have fewer than 8 nodes, one in ten more than 29.
        3 + floor(37 * power(pg_temp.sample_draw(i.seed, 'nodes', s.n), 3))::integer as first_node_count,
        i.since + (i.until - i.since) * (0.45 * pg_temp.sample_draw(i.seed, 'born', s.n)) as first_born,
        pg_temp.sample_word(i.seed, 'verb', s.n, array[
            'sync', 'notify', 'import', 'export', 'enrich', 'archive', 'score', 'route', 'verify', 'refund'
        ]) as verb,
        pg_temp.sample_word(i.seed, 'noun', s.n, array[
            'orders', 'leads', 'invoices', 'tickets', 'contacts', 'payments', 'shipments', 'reviews'
        ]) as noun,
        -- One slug in forty carries no number, so it is likely to exist in several projects.
        pg_temp.sample_draw(i.seed, 'common slug', s.n) < 0.025 as common,
        i.seed,
        i.workflows,
        i.until
    from pg_temp.sample_input as i
    cross join generate_series(1, i.workflows) as s (n)
),

named as (
    select
        s.*,
        s.verb || '-' || s.noun
        || case
            -- Twice in one project is once too many: the slug is unique there.
            when s.common and 1 = row_number() over (
                partition by s.project_no, s.common, s.verb, s.noun
                order by s.slug_no
            ) then ''
            else '-' || s.slug_no::text
        end as slug
    from slug as s
),

version as (
    select
        s.*,
        v.n as version,
        row_number() over (order by s.slug_no, v.n) as n,
        s.first_born + (s.until - s.first_born) * (
            v.n - 1
            -- The first version is as old as its workflow; the others come a while after their turn.
            + case when v.n > 1 then 0.5 else 0 end * pg_temp.sample_draw(s.seed, 'late', s.slug_no * 8 + v.n)
        ) / s.versions as born
    from named as s
    cross join lateral generate_series(1, s.versions) as v (n)
),

-- The last slug may lose its later versions here: the number of rows is what was asked for.
kept as (
    select
        v.*,
        lead(v.born) over w as successor_born,
        least(40, v.first_node_count + v.version - 1) as node_count
    from version as v
    where v.n <= v.workflows
    window w as (partition by v.slug_no order by v.version)
),

judged as (
    select
        k.*,
        case
            when k.successor_born is not null then 'archived'
            -- Not the first, so that the smallest sample has something to run.
            when k.slug_no > 1 and pg_temp.sample_draw(k.seed, 'workflow status', k.slug_no) < 0.13
                then 'draft'
            else 'published'
        end as status
    from kept as k
)

select
    j.n,
    pg_temp.sample_id(j.seed, 'workflow', j.n) as id,
    j.slug_no,
    j.project_no,
    pg_temp.sample_id(j.seed, 'project', j.project_no) as project_id,
    j.slug,
    j.version,
    j.status,
    initcap(j.verb) || ' ' || j.noun as name,
    j.node_count,
    j.born,
    coalesce(j.successor_born, j.until) as retired,
    -- A few workflows fail often: what an error report is looking for.
    case when pg_temp.sample_draw(j.seed, 'flaky', j.slug_no) < 0.03 then 0.4 else 0.04 end as failure_rate,
    -- Drafts have no webhook yet. Whoever has many workflows also runs them more: a fifth of the projects has four
    -- fifths of the runs.
    case
        when j.status <> 'draft' then row_number() over (
            partition by j.status = 'draft'
            order by pg_temp.sample_draw(j.seed, 'popularity', j.n) * power(j.project_no, 0.3), j.n
        )
    end as popularity_rank
from judged as j;

create unique index on pg_temp.sample_workflow (n);
analyze pg_temp.sample_workflow;

insert into workflow_definitions
    (id, project_id, slug, version, name, description, status, user_id, definition, created_at, updated_at)
select
    w.id,
    w.project_id,
    w.slug,
    w.version,
    w.name,
    -- Optional in the editor, so some have none.
    case
        when pg_temp.sample_draw(i.seed, 'description', w.slug_no) < 0.7
            then w.name || ' whenever the webhook /' || w.slug || ' is called.'
    end,
    w.status,
    p.owner,
    jsonb_build_object(
        'nodes', graph.nodes,
        'edges', graph.edges,
        'viewport', jsonb_build_object('x', 0, 'y', 0, 'zoom', 1),
        'settings', jsonb_build_object(
            'timezone', 'UTC',
            'concurrency', 1 + w.slug_no % 8,
            'on_failure', jsonb_build_object('notify', 'owner', 'after_attempts', 5),
            'input', jsonb_build_object(
                'type', 'object',
                'required', jsonb_build_array('customer', 'order'),
                'properties', jsonb_build_object(
                    'customer', jsonb_build_object(
                        'type', 'object',
                        'required', jsonb_build_array('id', 'email'),
                        'properties', jsonb_build_object(
                            'id', jsonb_build_object('type', 'integer', 'description', 'Number in the shop'),
                            'name', jsonb_build_object('type', 'string', 'maxLength', 200),
                            'email', jsonb_build_object('type', 'string', 'format', 'email', 'maxLength', 254)
                        )
                    ),
                    'order', jsonb_build_object(
                        'type', 'object',
                        'properties', jsonb_build_object(
                            'id', jsonb_build_object('type', 'integer', 'description', 'Number of the order'),
                            'total', jsonb_build_object('type', 'integer', 'description', 'Amount in cents'),
                            'currency', jsonb_build_object('type', 'string', 'pattern', '^[A-Z]{3}$')
                        )
                    )
                )
            )
        )
    ),
    w.born,
    -- Archiving is the last update of an old version; the others were edited now and then.
    case
        when w.status = 'archived' then w.retired
        else w.born + (w.retired - w.born) * power(pg_temp.sample_draw(i.seed, 'edited', w.n), 4)
    end
from pg_temp.sample_input as i
cross join pg_temp.sample_workflow as w
inner join projects as p on p.id = w.project_id
cross join lateral (
    select
        jsonb_agg(
            jsonb_build_object(
                'id', node.id,
                'type', node.type,
                'position', jsonb_build_object(
                    'x', 120 + 260 * (node.place % 4), 'y', 80 + 140 * (node.place / 4)
                ),
                'data', jsonb_build_object(
                    'label', initcap(replace(node.type, '_', ' ')) || ' ' || node.place,
                    'config', case node.type
                        when 'webhook' then jsonb_build_object(
                            'path', '/hooks/' || w.slug,
                            'method', 'POST',
                            'signature', jsonb_build_object('header', 'x-signature', 'algorithm', 'sha256')
                        )
                        when 'http_call' then jsonb_build_object(
                            'method', 'POST',
                            'url',
                            'https://api.example.com/v' || w.version || '/' || w.slug || '/' || node.place,
                            'headers', jsonb_build_object('authorization', 'Bearer {{secrets.CRM_TOKEN}}'),
                            'body', '{"customer": {{input.customer.id}}}',
                            'timeout_ms', 10000
                        )
                        when 'transform' then jsonb_build_object(
                            'expression', 'items[?price > `' || node.place || '`].{id: id, price: price}'
                        )
                        when 'branch' then jsonb_build_object(
                            'expression', 'input.order.total > `' || 10 * node.place || '`'
                        )
                        when 'delay' then jsonb_build_object('seconds', 5 * node.place)
                        else jsonb_build_object('status', 'succeeded')
                    end
                )
            ) order by node.place
        ) as nodes,
        jsonb_agg(
            jsonb_build_object('id', 'next_' || node.place, 'source', node.id, 'target', node.following)
            order by node.place
        ) filter (where node.following is not null)
        -- Any step may find that there is nothing more to do.
        || coalesce(
            jsonb_agg(
                jsonb_build_object(
                    'id', 'end_' || node.place, 'source', node.id, 'target', 'terminate_' || w.node_count
                ) order by node.place
            ) filter (where node.place between 2 and w.node_count - 2),
            '[]'
        ) as edges
    from (
        select
            g.place,
            pg_temp.sample_node_type(i.seed, w.slug_no, g.place, w.node_count) as type,
            pg_temp.sample_node_id(i.seed, w.slug_no, g.place, w.node_count) as id,
            pg_temp.sample_node_id(i.seed, w.slug_no, g.place + 1, w.node_count) as following
        from generate_series(1, w.node_count) as g (place)
    ) as node
) as graph
order by w.n;
