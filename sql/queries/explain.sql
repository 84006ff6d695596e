-- What meshcache_pg/explain.py asks the catalog. Nothing here writes, and nothing reads a table of the application.

-- name: dependencies
-- What an applied view depends on, with the oids of its tables.
select
    c.oid::bigint as oid, n.nspname as schema, c.relname as name, d.kind, d.mark_id, m.columns, d.view_columns, d.links,
    d.matter_columns as matter, d.has_children
from meshcache.dependency as d
inner join meshcache.source_table as s on s.id = d.source_id
inner join pg_class as c on c.oid = s.relation
inner join pg_namespace as n on n.oid = c.relnamespace
left join meshcache.mark_table as m on m.id = d.mark_id
where d.view_id = (select v.id from meshcache.cached_view as v where v.name = :name)
order by d.position;

-- name: has_counters
-- Whether reads are counted: meshcache_data can be dropped.
select to_regclass('meshcache_data.counter') is not null;

-- name: counted
-- Reads of a view that were counted, and marks that were written to its mark tables, as the server counts rows. Both
-- are about since it was applied: mark tables that are shared may be older.
select
    c.hits, c.misses + c.stale + c.bypassed as others,
    (
        select coalesce(sum(pg_stat_get_tuples_inserted(
            to_regclass(format('meshcache.mark_%s', m.mark_id))
        )), 0)::bigint
        from (select distinct d.mark_id from meshcache.dependency as d where d.view_id = c.view_id) as m
        where m.mark_id is not null
    ) as marks
from meshcache_data.counter as c
inner join meshcache.cached_view as v on v.id = c.view_id
where v.name = :name;
