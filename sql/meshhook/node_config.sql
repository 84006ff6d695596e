-- The settings of one node of a workflow, so that a worker need not load and search the whole graph.
-- name: node_config
-- key: workflow_id, node_id
-- coverage: on_demand
-- tenant: project_id
-- ttl: 24h
select
    d.id as workflow_id,
    node.node_id as node_id,
    d.project_id as project_id,
    node.node_type as node_type,
    node.label as label,
    node.config as config
from workflow_definitions as d
cross join lateral (
    -- A graph may repeat a node id: the first in the array counts. What has no id is not a node.
    select distinct on (n.node ->> 'id')
        n.node ->> 'id' as node_id,
        n.node ->> 'type' as node_type,
        n.node #>> '{data,label}' as label,
        -- The editor keeps settings under data, nested or flat; hand-written graphs put config at the node.
        coalesce(n.node #> '{data,config}', n.node -> 'config', n.node -> 'data', '{}'::jsonb) as config
    -- Strict and silent: no node, and no error, where nodes is missing or is not an array.
    from jsonb_path_query(d.definition, 'strict $.nodes[*]', '{}', true) with ordinality as n (node, place)
    where n.node ->> 'id' is not null
    order by n.node ->> 'id', n.place
) as node
