-- What came in each month, over all stores.
-- Shape: the key is an expression alone, flush.
-- name: month_takings
-- key: month
-- coverage: complete
-- flush: rental.payment
select to_char(p.payment_date, 'YYYY-MM') as month, sum(p.amount) as paid
from rental.payment as p
-- Of an infinite date there is no month.
where to_char(p.payment_date, 'YYYY-MM') is not null
group by to_char(p.payment_date, 'YYYY-MM')
