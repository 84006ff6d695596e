-- A customer's address in one line.
-- Shape: a view of the application (security_invoker) with four tables.
-- name: customer_card
-- key: id
-- coverage: complete
-- tenant: sid
select cl.id, cl.name, cl.address, cl."zip code", cl.city, cl.country, cl.notes, cl.sid
from rental.customer_list as cl
