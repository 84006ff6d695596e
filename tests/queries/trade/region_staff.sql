-- Who works in a region, and what they have sold there to how many customers.
-- Shape: links up the tree, three deep.
-- name: region_staff
-- key: region_id
-- coverage: complete
select
    r.region_id, r.region_description, string_agg(distinct e.last_name, ', ') as employees,
    count(distinct o.customer_id) as customers
from staff.region as r
left join staff.territories as t on t.region_id = r.region_id
left join staff.employee_territories as et on et.territory_id = t.territory_id
left join staff.employees as e on e.employee_id = et.employee_id
left join trade.orders as o on o.employee_id = e.employee_id
group by r.region_id
