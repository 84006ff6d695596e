-- The attributes of a product, one row for each.
-- Shape: jsonb_each_text in FROM with a comma.
-- name: product_attribute
-- key: product_id, attribute
-- coverage: complete
select p.product_id, a.key as attribute, a.value, p.product_name
from trade.products as p, jsonb_each_text(p.attributes) as a
where a.key is not null
