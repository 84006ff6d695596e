-- Pairs of films of the same length and rating.
-- Shape: self join, key of both sides.
-- name: similar_film
-- key: film_id, other_id
-- coverage: complete
select f.film_id, o.film_id as other_id, f.title, o.title as other_title
from rental.film as f
inner join rental.film as o on o.length = f.length and o.rating = f.rating and o.film_id <> f.film_id
