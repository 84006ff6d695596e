-- What a customer has paid, how often, and when last.
-- Shape: LEFT JOIN LATERAL over a partitioned table.
-- name: customer_account
-- key: customer_id
-- coverage: complete
select c.customer_id, c.last_name, p.payments, p.paid, p.last_payment
from rental.customer as c
left join lateral (
    select count(*) as payments, sum(p.amount) as paid, max(p.payment_date) as last_payment
    from rental.payment as p
    where p.customer_id = c.customer_id
) as p on true
