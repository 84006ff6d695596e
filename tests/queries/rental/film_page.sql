-- The page of a film: both languages, categories, actors, copies.
-- Shape: inner and left join of one table twice, correlated sub-selects, string_agg.
-- name: film_page
-- key: film_id
-- coverage: complete
select
    f.film_id, f.title, f.description, l.name as language, o.name as original_language,
    (
        select string_agg(c.name, ', ' order by c.name)
        from rental.film_category as fc inner join rental.category as c on c.category_id = fc.category_id
        where fc.film_id = f.film_id
    ) as categories,
    (
        select string_agg(a.first_name || ' ' || a.last_name, ', ' order by a.last_name, a.actor_id)
        from rental.film_actor as fa inner join rental.actor as a on a.actor_id = fa.actor_id
        where fa.film_id = f.film_id
    ) as actors,
    (select count(*) from rental.inventory as i where i.film_id = f.film_id) as copies
from rental.film as f
inner join rental.language as l on l.language_id = f.language_id
left join rental.language as o on o.language_id = f.original_language_id
