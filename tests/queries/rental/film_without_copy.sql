-- Films that no store has.
-- Shape: NOT EXISTS.
-- name: film_without_copy
-- key: film_id
-- coverage: complete
select f.film_id, f.title, f.replacement_cost
from rental.film as f
where not exists (select from rental.inventory as i where i.film_id = f.film_id)
