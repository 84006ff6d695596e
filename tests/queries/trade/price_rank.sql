-- How dear a product is within its category.
-- Shape: two windows partitioned by part of the key.
-- name: price_rank
-- key: category_id, product_id
-- coverage: complete
select
    p.category_id, p.product_id, p.product_name,
    dense_rank() over (partition by p.category_id order by p.unit_price desc) as place,
    round(p.unit_price / avg(p.unit_price) over (partition by p.category_id), 3) as of_mean
from trade.products as p
where p.category_id is not null
