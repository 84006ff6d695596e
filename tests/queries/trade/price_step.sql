-- The price of a product by quantity.
-- Shape: jsonb_array_elements over a column, a value from JSON in the key.
-- name: price_step
-- key: product_id, from_quantity
-- coverage: complete
select
    p.product_id, (s.step ->> 'from')::integer as from_quantity, (s.step ->> 'price')::numeric as price
from trade.products as p
cross join lateral jsonb_array_elements(p.price_steps) as s (step)
where s.step ->> 'from' is not null
