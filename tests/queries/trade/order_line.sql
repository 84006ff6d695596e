-- One line of an order, with product and category.
-- Shape: composite key, links to the parents.
-- name: order_line
-- key: order_id, product_id
-- coverage: complete
select
    d.order_id, d.product_id, p.product_name, c.category_name, d.quantity,
    round(d.unit_price * d.quantity * (1 - d.discount), 2) as price
from trade.order_details as d
inner join trade.products as p on p.product_id = d.product_id
left join trade.categories as c on c.category_id = p.category_id
