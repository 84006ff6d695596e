-- Categories with more than seven films, with their mean length.
-- Shape: GROUP BY and HAVING over joins.
-- name: big_category
-- key: category_id
-- coverage: complete
select c.category_id, c.name, count(*) as films, round(avg(f.length), 1) as mean_length
from rental.category as c
inner join rental.film_category as fc on fc.category_id = c.category_id
inner join rental.film as f on f.film_id = fc.film_id
group by c.category_id, c.name
having count(*) > 7
