-- name: word
-- key: word
-- coverage: complete
select t.word, array_agg(t.place order by t.id) as places from tag as t where t.word is not null group by t.word
