-- A territory by its number as text.
-- Shape: a cast of the key that leaves the value, join to the parent.
-- name: territory_label
-- key: territory
-- coverage: complete
select t.territory_id::text as territory, t.territory_description || ', ' || r.region_description as label
from staff.territories as t
inner join staff.region as r on r.region_id = t.region_id
