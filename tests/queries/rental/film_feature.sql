-- The special features of a film, one row for each.
-- Shape: unnest of an array column, WITH ORDINALITY.
-- name: film_feature
-- key: film_id, place
-- coverage: complete
select f.film_id, u.place, u.feature, f.title
from rental.film as f
cross join lateral unnest(f.special_features) with ordinality as u (feature, place)
