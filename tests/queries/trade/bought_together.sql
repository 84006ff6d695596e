-- How often two products are in one order.
-- Shape: self join on half of the key, GROUP BY both products.
-- name: bought_together
-- key: product_id, other_id
-- coverage: complete
select a.product_id, b.product_id as other_id, count(*) as orders
from trade.order_details as a
inner join trade.order_details as b on b.order_id = a.order_id and b.product_id > a.product_id
group by a.product_id, b.product_id
