-- Products sold below their list price, with the orders.
-- Shape: USING and a comparison across two tables, GROUP BY.
-- name: below_list_price
-- key: product_id
-- coverage: complete
select product_id, p.product_name, count(*) as orders, min(d.unit_price) as lowest
from trade.order_details as d
inner join trade.products as p using (product_id)
where d.unit_price < p.unit_price
group by product_id, p.product_name
