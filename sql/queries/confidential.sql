-- What meshcache_pg/confidential.py asks the catalog.

-- name: row_security
-- Tables, of those given, whose rows are not for everybody.
select c.oid::regclass::text as name
from pg_class as c
where c.oid = any(cast(:oids as oid[])) and c.relrowsecurity
order by 1;

-- name: columns
-- All columns of a table.
select a.attname::text from pg_attribute as a
where a.attrelid = cast(:oid as oid) and a.attnum > 0 and not a.attisdropped
order by a.attnum;
