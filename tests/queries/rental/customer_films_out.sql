-- The films that a customer has at home.
-- Shape: ARRAY of a sub-select with two joins, CTE around it.
-- name: customer_films_out
-- key: customer_id
with films_out as (
    select r.customer_id, f.film_id, f.title, r.rental_date
    from rental.rental as r
    inner join rental.inventory as i using (inventory_id)
    inner join rental.film as f using (film_id)
    where r.return_date is null
)
select
    c.customer_id, c.first_name, c.last_name,
    array(
        select o.title from films_out as o where o.customer_id = c.customer_id order by o.rental_date, o.film_id
    ) as titles
from rental.customer as c
where c.activebool
