-- name: card
-- key: id
-- coverage: complete
select i.id, i.owner_id, i.name, i.twice, o.name as owner_name,
    (select string_agg(p.name, ',' order by p.id) from elsewhere.part as p where p.item_id = i.id) as parts
from item as i left join owner as o on o.id = i.owner_id
