-- An employee with territories and regions.
-- Shape: left joins down a tree of four tables, DISTINCT in an aggregate.
-- name: employee_area
-- key: employee_id
-- coverage: complete
select
    e.employee_id, e.last_name, array_agg(t.territory_description order by t.territory_id) as territories,
    string_agg(distinct r.region_description, ', ') as regions
from staff.employees as e
left join staff.employee_territories as et on et.employee_id = e.employee_id
left join staff.territories as t on t.territory_id = et.territory_id
left join staff.region as r on r.region_id = t.region_id
group by e.employee_id
