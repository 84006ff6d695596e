-- Whom to call in a town, at customers and suppliers.
-- Shape: UNION ALL with GROUP BY over it, string_agg.
-- name: contact
-- key: city
-- coverage: complete
select
    u.city, count(*) as contacts,
    string_agg(u.contact_name || ' ' || u.phone, ', ' order by u.phone, u.contact_name) as people
from (
    select c.city, c.contact_name, c.phone from trade.customers as c
    union all
    select s.city, s.contact_name, s.phone from trade.suppliers as s
) as u
where u.city is not null
group by u.city
