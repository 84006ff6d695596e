-- How fast a shipper is, and how often late.
-- Shape: FILTER, percentile_cont, dates, left join.
-- name: shipper_record
-- key: shipper_id
-- coverage: complete
select
    s.shipper_id, s.company_name, count(o.shipped_date) as shipped,
    count(*) filter (where o.shipped_date > o.required_date) as late,
    percentile_cont(0.5) within group (order by o.shipped_date - o.order_date) as median_days
from trade.shippers as s
left join trade.orders as o on o.ship_via = s.shipper_id
group by s.shipper_id
