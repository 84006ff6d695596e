-- A film by its number.
-- Shape: plain lookup.
-- name: film_lookup
-- key: film_id
select f.film_id, f.title, f.release_year, f.rating, f.rental_rate, f.length from rental.film as f
