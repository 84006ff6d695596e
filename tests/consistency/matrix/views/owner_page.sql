-- name: owner_page
-- key: id
select o.id, o.name,
    (select string_agg(p.name, ',' order by p.id) from item as i
    inner join elsewhere.part as p on p.item_id = i.id where i.owner_id = o.id) as parts
from owner as o
