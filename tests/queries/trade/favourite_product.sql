-- What a customer has ordered most of.
-- Shape: DISTINCT ON over a grouped sub-select.
-- name: favourite_product
-- key: customer_id
-- coverage: complete
select distinct on (x.customer_id) x.customer_id, x.product_id, p.product_name, x.quantity
from (
    select o.customer_id, d.product_id, sum(d.quantity) as quantity
    from trade.orders as o inner join trade.order_details as d on d.order_id = o.order_id
    where o.customer_id is not null
    group by o.customer_id, d.product_id
) as x
inner join trade.products as p on p.product_id = x.product_id
order by x.customer_id, x.quantity desc, x.product_id
