-- What a customer paid in each month.
-- Shape: GROUP BY, an expression in the key, partitioned table.
-- name: customer_months
-- key: customer_id, month
-- coverage: complete
select
    p.customer_id, date_trunc('month', p.payment_date)::date as month, count(*) as payments, sum(p.amount) as paid
from rental.payment as p
group by p.customer_id, date_trunc('month', p.payment_date)
