-- Customers who have never ordered.
-- Shape: LEFT JOIN … IS NULL.
-- name: customer_without_order
-- key: customer_id
-- coverage: complete
select c.customer_id, c.company_name, c.phone
from trade.customers as c left join trade.orders as o on o.customer_id = c.customer_id
where o.order_id is null
