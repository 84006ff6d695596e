-- Products cheaper than the mean of their category.
-- Shape: correlated scalar sub-select on the same table.
-- name: cheap_product
-- key: product_id
-- coverage: complete
select p.product_id, p.product_name, p.unit_price
from trade.products as p
where p.unit_price < (select avg(x.unit_price) from trade.products as x where x.category_id = p.category_id)
