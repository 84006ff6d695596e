-- What each store has earned, and who manages it.
-- Shape: a view in a CTE, GROUP BY, joins to the parents.
-- name: store_takings
-- key: store_id
-- coverage: complete
with taken as (
    select s.store_id, sum(s.amount) as amount, count(distinct s.film_id) as films
    from rental.sale as s
    group by s.store_id
)
select st.store_id, m.first_name || ' ' || m.last_name as manager, c.city, t.amount, t.films
from rental.store as st
inner join rental.staff as m on m.staff_id = st.manager_staff_id
inner join rental.address as a on a.address_id = st.address_id
inner join rental.city as c on c.city_id = a.city_id
left join taken as t on t.store_id = st.store_id
