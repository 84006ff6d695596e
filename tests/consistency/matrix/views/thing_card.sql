-- name: thing_card
-- key: id
-- coverage: complete
select t.id, string_agg(t.name, ',' order by t.name) as names from thing as t where t.id is not null group by t.id
