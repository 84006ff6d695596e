-- Rentals that are overdue at this moment.
-- Shape: now().
-- name: overdue_rental
-- key: rental_id
select r.rental_id, c.last_name, f.title
from rental.rental as r
inner join rental.customer as c on c.customer_id = r.customer_id
inner join rental.inventory as i on i.inventory_id = r.inventory_id
inner join rental.film as f on f.film_id = i.film_id
where r.return_date is null and r.rental_date + f.rental_duration * interval '1 day' < now()
