-- Everybody that the shop knows, customers and staff.
-- Shape: UNION ALL, a constant in the key.
-- name: person
-- key: kind, id
-- coverage: complete
select 'customer' as kind, c.customer_id as id, c.first_name, c.last_name, a.phone
from rental.customer as c inner join rental.address as a on a.address_id = c.address_id
union all
select 'staff', s.staff_id, s.first_name, s.last_name, a.phone
from rental.staff as s inner join rental.address as a on a.address_id = s.address_id
