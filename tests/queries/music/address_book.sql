-- Everybody's mail address and what they are to the store.
-- Shape: UNION, text key, a CTE with VALUES.
-- name: address_book
-- key: "Email"
-- coverage: complete
with role (code, name) as (values ('c', 'customer'), ('e', 'employee'))
select p."Email", r.name as "Role", p."LastName"
from (
    select c."Email", 'c' as code, c."LastName" from music."Customer" as c
    union
    select e."Email", 'e', e."LastName" from music."Employee" as e where e."Email" is not null
) as p
inner join role as r on r.code = p.code
