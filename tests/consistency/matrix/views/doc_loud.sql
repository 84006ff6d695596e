-- name: doc_loud
-- key: id
-- coverage: complete
select d.id, loud(d.title) as title from doc as d
