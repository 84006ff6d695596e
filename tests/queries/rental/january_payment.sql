-- The payments of one month.
-- Shape: a partition by name.
-- name: january_payment
-- key: payment_id
select p.payment_id, p.customer_id, p.amount from rental.payment_p2022_01 as p
