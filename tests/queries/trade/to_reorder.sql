-- Products that have to be ordered again, and from whom.
-- Shape: conditions on one table, join to the parent.
-- name: to_reorder
-- key: product_id
-- coverage: complete
select p.product_id, p.product_name, s.company_name as supplier, s.phone
from trade.products as p
inner join trade.suppliers as s on s.supplier_id = p.supplier_id
where p.discontinued = 0 and p.units_in_stock + p.units_on_order <= p.reorder_level
