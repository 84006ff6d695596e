-- name: doc_image
-- key: id
-- coverage: complete
select d.id, to_jsonb(d) as image from doc as d
