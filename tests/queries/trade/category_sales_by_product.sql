-- What a category has sold, with the best product.
-- Shape: CTE read twice, DISTINCT ON in a sub-select.
-- name: category_sales_by_product
-- key: category_id
-- coverage: complete
with sold as (
    select p.category_id, p.product_id, p.product_name, sum(d.quantity) as quantity
    from trade.products as p inner join trade.order_details as d on d.product_id = p.product_id
    group by p.category_id, p.product_id
)
select
    c.category_id, c.category_name, (select sum(s.quantity) from sold as s where s.category_id = c.category_id) as sold,
    b.product_name as best
from trade.categories as c
left join (
    select distinct on (s.category_id) s.category_id, s.product_name
    from sold as s order by s.category_id, s.quantity desc, s.product_id
) as b on b.category_id = c.category_id
