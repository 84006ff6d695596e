-- A customer's orders: how many, how many late, from when to when, which.
-- Shape: GROUP BY a char(5) key, FILTER, array_agg.
-- name: customer_orders
-- key: customer_id
-- coverage: complete
select
    c.customer_id, c.company_name, count(o.order_id) as orders,
    count(*) filter (where o.shipped_date > o.required_date) as late,
    min(o.order_date) as first_order, max(o.order_date) as last_order,
    array_agg(o.order_id order by o.order_id) as order_ids
from trade.customers as c
left join trade.orders as o on o.customer_id = c.customer_id
group by c.customer_id
