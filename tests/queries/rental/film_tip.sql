-- A film to recommend, another one each time.
-- Shape: random().
-- name: film_tip
-- key: category_id
select distinct on (fc.category_id) fc.category_id, f.film_id, f.title
from rental.film_category as fc
inner join rental.film as f on f.film_id = fc.film_id
order by fc.category_id, random()
