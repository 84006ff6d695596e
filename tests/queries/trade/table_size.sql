-- How large the tables are.
-- Shape: system catalogs.
-- name: table_size
-- key: name
select c.relname::text as name, c.relpages from pg_class as c where c.relkind = 'r' and c.relname like 'order%'
