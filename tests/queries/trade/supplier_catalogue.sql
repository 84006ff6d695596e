-- Suppliers of three products or more, with the names of these.
-- Shape: string_agg, HAVING, join of a view.
-- name: supplier_catalogue
-- key: supplier_id
-- coverage: complete
select s.supplier_id, s.company_name, string_agg(p.product_name, ', ' order by p.product_id) as products
from trade.suppliers as s
inner join trade.products as x on x.supplier_id = s.supplier_id
inner join trade.current_product_list as p on p.product_id = x.product_id
group by s.supplier_id
having count(*) >= 3
