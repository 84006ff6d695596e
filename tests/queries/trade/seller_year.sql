-- An employee's orders and sales by year.
-- Shape: view with GROUP BY in a join, an expression in the key.
-- name: seller_year
-- key: employee_id, year
-- coverage: complete
select
    o.employee_id, date_part('year', o.order_date)::integer as year, count(*) as orders,
    round(sum(t.subtotal), 2) as sales
from trade.orders as o
inner join trade.order_subtotals as t on t.order_id = o.order_id
where o.employee_id is not null and date_part('year', o.order_date) is not null
group by o.employee_id, date_part('year', o.order_date)
