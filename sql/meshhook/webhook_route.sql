-- Which workflow an inbound webhook starts: for each slug the definition with the highest version, across
-- all projects and statuses.
-- name: webhook_route
-- key: slug
-- coverage: complete
-- tenant: project_id
select distinct on (d.slug)
    d.slug as slug,
    d.id as workflow_id,
    d.project_id as project_id,
    d.version as version
from workflow_definitions as d
-- A slug is unique only within a project, so two definitions can have the same highest version. The
-- application's own query leaves open which of them it gets; a cached row has to be the same every time. The
-- older one wins: creating a workflow must not take over a route that another project already has.
order by d.slug, d.version desc, d.created_at, d.id
