-- Orders by country, and in all.
-- Shape: ROLLUP, flush.
-- name: sales_rollup
-- key: country
-- coverage: complete
-- flush: trade.orders
select t.* from (
select
    case when grouping(o.ship_country) = 1 then 'all' else coalesce(o.ship_country, 'unknown') end as country,
    count(*) as orders, sum(o.freight) as freight
from trade.orders as o
group by rollup (coalesce(o.ship_country, 'unknown'), o.ship_country)
having grouping(coalesce(o.ship_country, 'unknown')) = grouping(o.ship_country)
) as t
where t.country is not null
