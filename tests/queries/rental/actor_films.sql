-- An actor with the films as JSON.
-- Shape: GROUP BY the primary key, jsonb_agg over left joins, FILTER.
-- name: actor_films
-- key: actor_id
-- coverage: complete
select
    a.actor_id, a.first_name, a.last_name, count(f.film_id) as film_count,
    jsonb_agg(jsonb_build_object('id', f.film_id, 'title', f.title) order by f.film_id)
        filter (where f.film_id is not null) as films
from rental.actor as a
left join rental.film_actor as fa on fa.actor_id = a.actor_id
left join rental.film as f on f.film_id = fa.film_id
group by a.actor_id
