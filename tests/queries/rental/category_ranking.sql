-- Where a film stands within its category.
-- Shape: window function partitioned by the key, key of two columns.
-- name: category_ranking
-- key: category_id, film_id
-- coverage: complete
select
    fc.category_id, f.film_id, f.title,
    rank() over w as place, f.rental_rate - lag(f.rental_rate) over w as step
from rental.film_category as fc
inner join rental.film as f on f.film_id = fc.film_id
window w as (partition by fc.category_id order by f.rental_rate desc, f.film_id)
