-- What meshcache_pg/write_costs.py asks the catalog. Nothing here writes.

-- name: sources
-- Tables by oid: their id as a source if they are one, who else reads them, how many tables are below them, and
-- whether the rows before and after an update can be paired.
select
    c.oid::bigint as oid, s.id, cardinality(meshcache._members(c.oid::regclass)) as members,
    exists (
        select from pg_index as i where i.indrelid = c.oid and i.indisprimary and i.indimmediate
    ) as has_primary_key,
    array(
        select distinct v.name
        from meshcache.dependency as d
        inner join meshcache.cached_view as v on v.id = d.view_id
        where d.source_id = s.id and v.name <> :name
        order by 1
    ) as other_views
from pg_class as c
left join meshcache.source_table as s on s.relation = c.oid
where c.oid = any(cast(:oids as oid[]));

-- name: marks
-- The mark tables of tables, with the other views that read them.
select
    s.relation::oid::bigint as oid, m.id, m.columns,
    array(
        select distinct v.name
        from meshcache.dependency as d
        inner join meshcache.cached_view as v on v.id = d.view_id
        where d.mark_id = m.id and v.name <> :name
        order by 1
    ) as other_views
from meshcache.mark_table as m
inner join meshcache.source_table as s on s.id = m.source_id
where s.relation::oid = any(cast(:oids as oid[]));
