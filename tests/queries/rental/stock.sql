-- How many copies of a film a store has, and how many of them are out.
-- Shape: key of two columns, FILTER with NOT EXISTS.
-- name: stock
-- key: film_id, store_id
-- coverage: complete
-- tenant: store_id
select
    i.film_id, i.store_id, count(*) as copies,
    count(*) filter (where not exists (
        select from rental.rental as r where r.inventory_id = i.inventory_id and r.return_date is null
    )) as in_stock
from rental.inventory as i
group by i.film_id, i.store_id
