-- What has to come back, from whom, and when; whether that is overdue is asked of the live view.
-- Shape: inner joins, interval arithmetic, condition on null.
-- name: open_rental
-- key: rental_id
-- coverage: complete
select
    r.rental_id, c.last_name, a.phone, f.title,
    r.rental_date + f.rental_duration * interval '1 day' as due
from rental.rental as r
inner join rental.customer as c on c.customer_id = r.customer_id
inner join rental.address as a on a.address_id = c.address_id
inner join rental.inventory as i on i.inventory_id = r.inventory_id
inner join rental.film as f on f.film_id = i.film_id
where r.return_date is null
