-- A customer by the name in small letters.
-- Shape: an expression as key, flush of both tables.
-- name: customer_by_name
-- key: name
-- coverage: complete
-- flush: trade.customers, trade.orders
select lower(c.company_name) as name, c.customer_id, (
    select count(*) from trade.orders as o where o.customer_id = c.customer_id
) as orders
from trade.customers as c
