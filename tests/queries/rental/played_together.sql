-- How often two actors were in one film.
-- Shape: one table twice, GROUP BY both, names by scalar sub-select.
-- name: played_together
-- key: actor_id, partner_id
-- coverage: complete
select
    a.actor_id, b.actor_id as partner_id, count(*) as films,
    (select p.last_name from rental.actor as p where p.actor_id = b.actor_id) as partner
from rental.film_actor as a
inner join rental.film_actor as b on b.film_id = a.film_id and b.actor_id <> a.actor_id
group by a.actor_id, b.actor_id
