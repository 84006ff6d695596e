-- One entry of the runs list: the run with the slug, name and version of its workflow.
-- name: run_card
-- key: id
-- coverage: complete
-- tenant: project_id
-- index: project_id, created_at desc, id desc
-- index: workflow_id, created_at desc, id desc
select
    r.id as id,
    r.project_id as project_id,
    r.workflow_id as workflow_id,
    d.slug as workflow_slug,
    d.name as workflow_name,
    d.version as workflow_version,
    r.status as status,
    r.started_at as started_at,
    r.finished_at as finished_at,
    r.created_at as created_at,
    r.updated_at as updated_at
from workflow_runs as r
inner join workflow_definitions as d on d.id = r.workflow_id
