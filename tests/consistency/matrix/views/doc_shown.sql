-- name: doc_shown
-- key: id
select d.id, d.title from doc_list as d
