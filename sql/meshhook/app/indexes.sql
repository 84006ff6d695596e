-- The other half of schema.sql: every index and foreign key that is not a primary key or a unique
-- constraint. Run after the tables exist, and again after a bulk load has dropped them (load_begin.sql).
-- They make this the well-indexed source that a cache has to beat: each hot read finds its order in an index.

-- A user's projects.
create index projects_owner_idx on projects (owner);

-- The workflow list of a project, newest change first.
create index workflow_definitions_project_id_updated_at_idx
    on workflow_definitions (project_id, updated_at desc);

-- The route of a webhook, in the full order that settles which of several definitions of one slug wins.
create index workflow_definitions_slug_version_idx
    on workflow_definitions (slug, version desc, created_at, id);

-- The runs list of a project.
create index workflow_runs_project_id_created_at_idx
    on workflow_runs (project_id, created_at desc, id desc);

-- Run counts and last run of a workflow; status is included so that both come from the index alone.
create index workflow_runs_workflow_id_created_at_idx
    on workflow_runs (workflow_id, created_at, id) include (status);

-- What is still under way, a small part of all runs.
create index workflow_runs_open_idx on workflow_runs (created_at) where status in ('running', 'paused');

-- The event log of a run in its order; id settles equal timestamps.
create index workflow_events_run_id_ts_idx on workflow_events (run_id, ts, id);

create index job_tracking_run_id_idx on job_tracking (run_id);
create index job_tracking_msg_id_idx on job_tracking (msg_id);
create index job_tracking_queue_name_enqueued_at_idx on job_tracking (queue_name, enqueued_at);

create index audit_log_project_id_created_at_idx on audit_log (project_id, created_at desc);

alter table secrets
    add constraint secrets_project_id_fkey
    foreign key (project_id) references projects (id) on delete cascade;

alter table workflow_definitions
    add constraint workflow_definitions_project_id_fkey
    foreign key (project_id) references projects (id) on delete cascade;

alter table workflow_runs
    add constraint workflow_runs_project_id_fkey
    foreign key (project_id) references projects (id) on delete cascade;

alter table workflow_runs
    add constraint workflow_runs_workflow_id_fkey
    foreign key (workflow_id) references workflow_definitions (id) on delete cascade;

alter table workflow_events
    add constraint workflow_events_run_id_fkey
    foreign key (run_id) references workflow_runs (id) on delete cascade;

alter table job_tracking
    add constraint job_tracking_run_id_fkey
    foreign key (run_id) references workflow_runs (id) on delete cascade;

alter table audit_log
    add constraint audit_log_project_id_fkey
    foreign key (project_id) references projects (id) on delete cascade;
