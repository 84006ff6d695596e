-- The five customers who have paid most.
-- Shape: ORDER BY and LIMIT inside, flush.
-- name: best_customers
-- key: customer_id
-- coverage: complete
-- flush: rental.payment
select c.customer_id, c.first_name, c.last_name, b.paid
from (
    select p.customer_id, sum(p.amount) as paid from rental.payment as p
    group by p.customer_id order by paid desc, p.customer_id limit 5
) as b
inner join rental.customer as c on c.customer_id = b.customer_id
