-- A product with supplier, category and what is on the way.
-- Shape: left joins, jsonb operators, casts.
-- name: product_card
-- key: product_id
-- coverage: complete
select
    p.product_id, p.product_name, s.company_name as supplier, s.country, c.category_name,
    p.unit_price::text || ' per ' || p.quantity_per_unit as price, p.attributes ->> 'colour' as colour,
    (p.attributes ->> 'weight')::integer as weight, p.units_in_stock + p.units_on_order as to_come
from trade.products as p
left join trade.suppliers as s on s.supplier_id = p.supplier_id
left join trade.categories as c on c.category_id = p.category_id
where p.discontinued = 0
