-- The lines of an order that cost at least as much as any other of it.
-- Shape: >= ALL of a correlated sub-select.
-- name: dearest_line
-- key: order_id, product_id
select d.order_id, d.product_id, d.unit_price * d.quantity as price
from trade.order_details as d
where d.unit_price * d.quantity >= all (
    select x.unit_price * x.quantity from trade.order_details as x where x.order_id = d.order_id
)
