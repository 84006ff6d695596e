-- Where a film stands in the list of the most rented.
-- Shape: window function over everything, flush.
-- name: film_rank
-- key: film_id
-- coverage: complete
-- flush: rental.film, rental.inventory, rental.rental
select f.film_id, f.title, count(r.rental_id) as rentals, rank() over (order by count(r.rental_id) desc) as place
from rental.film as f
left join rental.inventory as i on i.film_id = f.film_id
left join rental.rental as r on r.inventory_id = i.inventory_id
group by f.film_id
