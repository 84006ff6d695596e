-- What meshcache_pg/catalog.py reads: what is declared, and whether its objects are there.

-- name: views
-- All cached views and rollups, with whether every object of theirs exists.
select
    v.id, v.name, v.kind, v.definition, v.definition_hash, v.source_sql, v.key_columns, v.key_proved,
    v.columns, v.column_types, v.json_text, v.coverage, v.tenant_column, v.ttl, v.refresh_every, v.readers,
    v.made_by, v.applied_at,
    to_regclass(format('meshcache.%I', v.name)) is not null
    and to_regclass(format('meshcache.%I', v.name || '_source')) is not null
    and to_regclass(format('meshcache_data.%I', v.name)) is not null
    and to_regclass('meshcache_data.epoch') is not null
    and to_regclass('meshcache_data.view_state') is not null
    and (v.kind = 'rollup' or to_regclass(format('meshcache.%I', v.name || '_hits')) is not null)
    and (v.kind = 'rollup' or to_regclass(format('meshcache.%I', v.name || '_fresh')) is not null)
    and (
        v.coverage is distinct from 'complete' or (
            to_regclass(format('meshcache.%I', v.name || '_quiet')) is not null
            and to_regclass(format('meshcache.%I', v.name || '_stale')) is not null
            and to_regclass(format('meshcache.%I', v.name || '_bypass')) is not null
            and to_regclass(format('meshcache.%I', v.name || '_rows')) is not null
        )
    )
    and (
        v.kind = 'rollup' or (
            select count(distinct p.proname) = case when v.coverage = 'complete' then 12 else 11 end
            from pg_proc as p
            where p.pronamespace = 'meshcache'::regnamespace
                and p.proname in (
                    v.name || '_get', v.name || '_miss', v.name || '_fill', v.name || '_invalidate',
                    '_' || v.name || '_fill_all', '_' || v.name || '_refresh',
                    '_' || v.name || '_resolve', '_' || v.name || '_verify',
                    '_' || v.name || '_usable', '_' || v.name || '_quiet',
                    '_' || v.name || '_pick', '_' || v.name || '_compare'
                )
        )
    ) as whole
from meshcache.cached_view as v
order by v.name;

-- name: table_oid
-- A table or view by its name as written; null where there is none.
select cast(to_regclass(:name) as oid)::bigint;

-- name: readers_of
-- Cached views and rollups that read a table: through views of the application, and as a partition of its parents, too;
-- and what is said to depend on it, because functions read it.
with recursive relatives (oid) as (
    select cast(:oid as oid)
    union
    select i.inhparent from pg_inherits as i inner join relatives as r on r.oid = i.inhrelid
),
readers (oid) as (
    select oid from relatives
    union
    select w.ev_class
    from readers as r
    inner join pg_depend as d on d.refclassid = 'pg_class'::regclass and d.refobjid = r.oid
    inner join pg_rewrite as w on d.classid = 'pg_rewrite'::regclass and w.oid = d.objid
)
select v.name
from meshcache.cached_view as v
where exists (
    select from readers as r
    where r.oid in (
        to_regclass(format('meshcache.%I', v.name || '_source')), to_regclass(format('meshcache.%I', v.name || '_hits'))
    )
)
or exists (
    select from meshcache.dependency as d
    inner join meshcache.source_table as s on s.id = d.source_id
    where d.view_id = v.id and s.relation in (select r.oid from relatives as r)
)
order by v.name;

-- name: dependencies
-- What one cached view depends on.
select
    s.relation::text as source_table, d.kind, m.columns, d.view_columns, d.links, d.matter_columns
from meshcache.dependency as d
inner join meshcache.source_table as s on s.id = d.source_id
left join meshcache.mark_table as m on m.id = d.mark_id
where d.view_id = :view_id
order by d.position;

-- name: damaged_sources
-- Source tables whose triggers or partitions are not as installed.
select s.relation::text as source_table
from meshcache.source_table as s
inner join pg_class as c on c.oid = s.relation
where s.children is distinct from meshcache._members(s.relation)
    or not s.trusted
    or exists (select from meshcache._missing_triggers(s.id))
order by 1;
