-- The newest rental of each customer.
-- Shape: DISTINCT ON, NATURAL join.
-- name: last_rental
-- key: customer_id
-- coverage: complete
select distinct on (r.customer_id) r.customer_id, r.rental_id, r.rental_date, i.film_id
from rental.rental as r natural join rental.inventory as i
order by r.customer_id, r.rental_date desc, r.rental_id desc
