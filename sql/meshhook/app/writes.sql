-- The application's own reads and writes on its write paths, statement by statement as it makes them; the
-- sample application in meshcache_pg/meshhook/sample.py is their only reader.

-- name: route
-- The workflow of an inbound webhook, across all projects and statuses.
select w.id from workflow_definitions as w where w.slug = :slug order by w.version desc limit 1;

-- name: insert_run
-- Nothing is inserted if the workflow is gone.
insert into workflow_runs (project_id, workflow_id, status)
select
    w.project_id,
    w.id,
    'running'
from workflow_definitions as w
where w.id = :workflow_id
returning id;

-- name: insert_event
-- The log only ever grows.
insert into workflow_events (run_id, type, payload)
values (:run_id, :type, cast(:payload as jsonb));

-- name: complete_run
-- In the transaction that logs run_completed.
update workflow_runs
set status = :status, finished_at = now()
where id = :run_id;

-- name: rename_workflow
-- An edit in place, through the view.
update workflows
set name = :name
where id = :workflow_id;

-- name: insert_version
-- The version after the highest one of its slug, which need not be the given one.
insert into workflows (project_id, slug, name, description, status, user_id, version, definition)
select
    w.project_id,
    w.slug,
    w.name,
    w.description,
    'published',
    w.user_id,
    (
        select max(o.version) + 1
        from workflows as o
        where o.project_id = w.project_id and o.slug = w.slug
    ),
    w.definition
from workflows as w
where w.id = :workflow_id
returning id;

-- name: archive_workflow
-- After its next version was inserted.
update workflows
set status = 'archived'
where id = :workflow_id;

-- name: delete_workflow
-- Runs, events and jobs go by cascade.
delete from workflows
where id = :workflow_id;

-- name: enqueue_job
-- One row per queue message.
insert into job_tracking (msg_id, run_id, queue_name)
values (:msg_id, :run_id, 'workflow_jobs')
returning id;

-- name: finish_job
-- Without an error it is completed, with one it goes to the dead letter queue.
update job_tracking
set
    started_at = coalesce(started_at, now()),
    completed_at = case when cast(:error as text) is null then now() end,
    failed_at = case when cast(:error as text) is not null then now() end,
    moved_to_dlq_at = case when cast(:error as text) is not null then now() end,
    error_message = cast(:error as text)
where id = :job_id;
