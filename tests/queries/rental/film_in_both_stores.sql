-- Films that both stores have.
-- Shape: INTERSECT.
-- name: film_in_both_stores
-- key: film_id
-- coverage: complete
select i.film_id from rental.inventory as i where i.store_id = 1
intersect
select i.film_id from rental.inventory as i where i.store_id = 2
