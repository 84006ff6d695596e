-- Films of which a copy is on the shelf.
-- Shape: IN over a sub-select with NOT EXISTS.
-- name: film_to_lend
-- key: film_id
select f.film_id, f.title, f.rating
from rental.film as f
where f.film_id in (
    select i.film_id from rental.inventory as i
    where not exists (
        select from rental.rental as r where r.inventory_id = i.inventory_id and r.return_date is null
    )
)
