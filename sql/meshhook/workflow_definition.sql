-- One workflow with its whole graph and the name of its project: what the editor opens.
-- name: workflow_definition
-- key: id
-- coverage: on_demand
-- tenant: project_id
-- json_text: definition
-- ttl: 24h
select
    d.id as id,
    d.project_id as project_id,
    p.name as project_name,
    d.slug as slug,
    d.version as version,
    d.name as name,
    d.description as description,
    d.status as status,
    d.user_id as user_id,
    d.definition as definition,
    d.created_at as created_at,
    d.updated_at as updated_at
from workflow_definitions as d
inner join projects as p on p.id = d.project_id
