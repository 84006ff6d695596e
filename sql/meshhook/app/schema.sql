-- The tables of a MeshHook-shaped application: what the MeshHook pack is defined over, for the demo, the
-- tests and the benchmarks. Plain PostgreSQL 13 to 18, no superuser, no extension. Names are unqualified,
-- so everything lands in the first schema of the caller's search_path. indexes.sql completes it: indexes
-- and foreign keys are apart because a bulk load is several times faster without them.

create function update_updated_at_column()
returns trigger
language plpgsql
as $$
begin
    new.updated_at := now();
    return new;
end;
$$;

create table projects (
    id uuid primary key default gen_random_uuid(),
    owner uuid not null,
    name text not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table secrets (
    id uuid primary key default gen_random_uuid(),
    project_id uuid not null,
    key text not null,
    value_encrypted bytea not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint secrets_project_id_key_key unique (project_id, key)
);

create table workflow_definitions (
    id uuid primary key default gen_random_uuid(),
    project_id uuid not null,
    slug text not null,
    version integer not null default 1,
    name text not null,
    description text,
    status text not null default 'draft',
    user_id uuid,
    definition jsonb not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint workflow_definitions_project_id_slug_version_key unique (project_id, slug, version),
    constraint workflow_definitions_status_check check (status in ('draft', 'published', 'archived'))
);

create table workflow_runs (
    id uuid primary key default gen_random_uuid(),
    project_id uuid not null,
    workflow_id uuid not null,
    status text not null,
    started_at timestamptz not null default now(),
    finished_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint workflow_runs_status_check
        check (status in ('running', 'succeeded', 'failed', 'paused', 'canceled'))
);

-- The primary key carries ts because PostgreSQL wants the partition key in every unique constraint.
create table workflow_events (
    id bigserial,
    run_id uuid not null,
    ts timestamptz not null default now(),
    type text not null,
    payload jsonb not null,
    created_at timestamptz not null default now(),
    constraint workflow_events_pkey primary key (id, ts)
) partition by range (ts);

create table job_tracking (
    id uuid primary key default gen_random_uuid(),
    msg_id bigint not null,
    run_id uuid not null,
    queue_name text not null,
    attempt integer not null default 1,
    enqueued_at timestamptz not null default now(),
    started_at timestamptz,
    completed_at timestamptz,
    failed_at timestamptz,
    moved_to_dlq_at timestamptz,
    error_message text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table queue_config (
    id uuid primary key default gen_random_uuid(),
    queue_name text not null constraint queue_config_queue_name_key unique,
    visibility_timeout_seconds integer not null default 30,
    max_retry_attempts integer not null default 5,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table user_settings (
    user_id uuid primary key,
    theme text not null default 'system',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table audit_log (
    id bigserial primary key,
    project_id uuid,
    user_id uuid not null,
    action text not null,
    resource_type text not null,
    resource_id uuid,
    metadata jsonb,
    created_at timestamptz not null default now()
);

create trigger update_projects_updated_at
    before update on projects
    for each row execute function update_updated_at_column();

create trigger update_secrets_updated_at
    before update on secrets
    for each row execute function update_updated_at_column();

create trigger update_workflow_definitions_updated_at
    before update on workflow_definitions
    for each row execute function update_updated_at_column();

create trigger update_workflow_runs_updated_at
    before update on workflow_runs
    for each row execute function update_updated_at_column();

create trigger update_job_tracking_updated_at
    before update on job_tracking
    for each row execute function update_updated_at_column();

create trigger update_queue_config_updated_at
    before update on queue_config
    for each row execute function update_updated_at_column();

create trigger update_user_settings_updated_at
    before update on user_settings
    for each row execute function update_updated_at_column();

-- The application reads and writes workflows through this view; a single table without expressions keeps it
-- auto-updatable.
create view workflows as
select
    id,
    project_id,
    slug,
    name,
    description,
    status,
    user_id,
    version,
    definition,
    created_at,
    updated_at
from workflow_definitions;

-- Before PostgreSQL 15 a view can only run with its owner's rights.
do $$
begin
    if current_setting('server_version_num')::integer >= 150000 then
        execute 'alter view workflows set (security_invoker = true)';
    end if;
end;
$$;

-- Partitions go beside their parent, wherever search_path put it, and their bounds are UTC months, whatever
-- the session's time zone: two sessions must never cut the same month differently.
create function create_workflow_events_partitions(p_first date, p_months integer)
returns integer
language plpgsql
as $$
declare
    v_parent regclass := 'workflow_events'::regclass;
    v_schema text;
    v_month timestamp;
    v_partition text;
    v_created integer := 0;
begin
    select n.nspname into v_schema
    from pg_catalog.pg_class c
    inner join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.oid = v_parent;

    for v_offset in 0 .. p_months - 1 loop
        v_month := date_trunc('month', p_first::timestamp) + make_interval(months => v_offset);
        v_partition := 'workflow_events_y' || to_char(v_month, 'YYYY"m"MM');
        if to_regclass(format('%I.%I', v_schema, v_partition)) is null then
            execute format(
                'create table %I.%I partition of %s for values from (%L) to (%L)',
                v_schema,
                v_partition,
                v_parent,
                v_month at time zone 'UTC',
                (v_month + interval '1 month') at time zone 'UTC'
            );
            v_created := v_created + 1;
        end if;
    end loop;
    return v_created;
end;
$$;

comment on function create_workflow_events_partitions(date, integer) is
    'Creates the monthly partitions of workflow_events that are missing from p_first on; returns how many.';
