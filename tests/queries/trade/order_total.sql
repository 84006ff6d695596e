-- What an order comes to, with and without freight.
-- Shape: view with GROUP BY, left join, coalesce.
-- name: order_total
-- key: order_id
-- coverage: complete
select
    o.order_id, round(coalesce(t.subtotal, 0), 2) as goods, round(coalesce(t.subtotal, 0) + o.freight, 2) as total
from trade.orders as o left join trade.order_subtotals as t on t.order_id = o.order_id
