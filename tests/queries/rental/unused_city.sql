-- Cities without an address.
-- Shape: EXCEPT inside of IN, join.
-- name: unused_city
-- key: city_id
-- coverage: complete
select c.city_id, c.city, co.country
from rental.city as c
inner join rental.country as co using (country_id)
where c.city_id in (
    select x.city_id from rental.city as x
    except
    select a.city_id from rental.address as a
)
