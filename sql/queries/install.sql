-- What meshcache_pg/install.py and sources.py ask the catalog and write to it while definitions are applied.

-- name: relation
-- A table by its name as written in a definition, resolved by the search_path; no row when there is none.
select
    c.oid::bigint as oid, n.nspname as schema, c.relname as name,
    c.relkind::text as kind, c.relpersistence::text as persistence,
    pg_has_role(c.relowner, 'USAGE') as owned,
    exists (select from pg_inherits as i where i.inhrelid = c.oid) as is_child,
    c.relkind = 'p' or c.relhassubclass as has_children,
    exists (
        select from pg_class as f
        where f.oid = any(meshcache._members(c.oid::regclass)) and f.relkind = 'f'
    ) as has_foreign_children
from pg_class as c
inner join pg_namespace as n on n.oid = c.relnamespace
where c.oid = to_regclass(:name);

-- name: columns
-- Columns of tables and views in order, with the equality operator of their type's default btree operator class (a type
-- without a class of its own borrows one of pg_catalog) and their collation where it is not the type's own.
select
    a.attrelid::bigint as relation, a.attname as name, format_type(a.atttypid, a.atttypmod) as type,
    t.typtype = 'p' as is_pseudo,
    t.typtype = 'c' or b.typtype = 'c' or coalesce(b.typcategory, t.typcategory) = 'A' as is_plural,
    a.attgenerated = 'v' as is_virtual, a.attnotnull as is_not_null,
    coalesce(e.schema, 'pg_catalog') as operator_schema, coalesce(e.name, '=') as operator_name,
    case when a.attcollation not in (0, t.typcollation) then
        (select format('%I.%I', n.nspname, c.collname)
        from pg_collation as c
        inner join pg_namespace as n on n.oid = c.collnamespace
        where c.oid = a.attcollation)
    end as collation
from pg_attribute as a
inner join pg_type as t on t.oid = a.atttypid
left join pg_type as b on b.oid = t.typbasetype
left join lateral (
    select n.nspname as schema, o.oprname as name
    from pg_opclass as c
    inner join pg_am as m on m.oid = c.opcmethod and m.amname = 'btree'
    inner join pg_amop as p
        on p.amopfamily = c.opcfamily and p.amoplefttype = c.opcintype and p.amoprighttype = c.opcintype
        and p.amopstrategy = 3
    inner join pg_operator as o on o.oid = p.amopopr
    inner join pg_namespace as n on n.oid = o.oprnamespace
    where c.opcdefault and c.opcintype = coalesce(b.oid, t.oid)
) as e on true
where a.attrelid = any(cast(:oids as oid[])) and a.attnum > 0 and not a.attisdropped
order by a.attrelid, a.attnum;

-- name: primary_keys
-- Names of the columns of primary keys in order; no row where a table has none.
select i.indrelid::bigint as relation, a.attname as name
from pg_index as i
cross join unnest(i.indkey::smallint[]) with ordinality as k (attnum, position)
inner join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = k.attnum
where i.indrelid = any(cast(:oids as oid[])) and i.indisprimary and i.indimmediate
order by i.indrelid, k.position;

-- name: read_by_view
-- Every relation that a view reads, through other views, and the columns it reads of each.
with recursive read_by (view_oid, relation, column_number) as (
    select r.ev_class, d.refobjid, d.refobjsubid
    from pg_rewrite as r
    inner join pg_depend as d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
    where r.ev_class = cast(:oid as oid) and d.refclassid = 'pg_class'::regclass and d.refobjid <> r.ev_class
    union
    select r.ev_class, d.refobjid, d.refobjsubid
    from read_by as b
    inner join pg_class as c on c.oid = b.relation and c.relkind = 'v'
    inner join pg_rewrite as r on r.ev_class = c.oid
    inner join pg_depend as d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
    where d.refclassid = 'pg_class'::regclass and d.refobjid <> r.ev_class
)
select
    c.oid::bigint as oid, c.oid::regclass::text as name, c.relkind::text as kind, n.nspname as schema,
    coalesce(array_agg(a.attname::text order by a.attnum) filter (where a.attname is not null), '{}') as columns,
    bool_or(b.column_number < 0) as system_column
from read_by as b
inner join pg_class as c on c.oid = b.relation
inner join pg_namespace as n on n.oid = c.relnamespace
left join pg_attribute as a on a.attrelid = b.relation and a.attnum = b.column_number and b.column_number > 0
group by c.oid, n.nspname
order by 2;

-- name: insert_view
-- A new row of the catalog; the id is what locks, marks and functions refer to, the generation what tells the functions
-- of one definition from those of the next.
insert into meshcache.cached_view (
    name, kind, definition, definition_hash, source_sql, key_columns, key_proved, columns, column_types,
    json_text, coverage, tenant_column, ttl, refresh_every, readers, rests_on, rests_on_as, rests_on_in, made_by
)
values (
    :name, :kind, :definition, :definition_hash, :source_sql, :key_columns, :key_proved, :columns, :column_types,
    :json_text, :coverage, :tenant_column, :ttl, :refresh_every, :readers,
    cast(:rests_on as oid[]), meshcache._rests_on_as(cast(:rests_on as oid[])), meshcache._here(), :made_by
)
on conflict (name) do update set
    generation = cached_view.generation + 1,
    kind = excluded.kind, definition = excluded.definition, definition_hash = excluded.definition_hash,
    source_sql = excluded.source_sql, key_columns = excluded.key_columns, key_proved = excluded.key_proved,
    columns = excluded.columns, column_types = excluded.column_types, json_text = excluded.json_text,
    coverage = excluded.coverage, tenant_column = excluded.tenant_column, ttl = excluded.ttl,
    refresh_every = excluded.refresh_every, readers = excluded.readers, rests_on = excluded.rests_on,
    rests_on_as = excluded.rests_on_as, rests_on_in = excluded.rests_on_in, made_by = excluded.made_by, problem = null,
    applied_at = statement_timestamp()
returning id, generation;

-- name: next_place
-- What insert_view will return for a view that is declared already; no row where it is not.
select v.id, v.generation + 1 as generation from meshcache.cached_view as v where v.name = :name;

-- name: source_sql
-- The SELECT of a view as the server prints it; under a search_path of pg_catalog every name is qualified.
select pg_get_viewdef(cast(:oid as oid), false);

-- name: ensure_source
-- The id of a source table, registered if it is new.
with added as (
    insert into meshcache.source_table (relation) values (cast(:oid as oid)::regclass)
    on conflict (relation) do nothing
    returning id
)
select id from added
union all
select id from meshcache.source_table where relation = cast(:oid as oid)::regclass
limit 1;

-- name: ensure_mark
-- The id of a mark table's catalog row, and the oid of the table, null where it has yet to be made.
with added as (
    insert into meshcache.mark_table (source_id, columns) values (:source_id, :columns)
    on conflict (source_id, columns) do nothing
    returning id
)
select id, null as oid from added
union all
select m.id, to_regclass(format('meshcache.mark_%s', m.id))::oid::bigint
from meshcache.mark_table as m
where m.source_id = :source_id and m.columns = cast(:columns as text[])
limit 1;

-- name: reserve_pages
-- Makes plans probe a new mark table.
select meshcache._reserve_pages(cast(:mark_table as regclass));

-- name: insert_dependency
-- One dependency of a view.
insert into meshcache.dependency (
    view_id, position, source_id, source_name, mark_id, kind, view_columns, links, matter_columns, strict_columns,
    has_children
)
values (
    :view_id, :position, :source_id, :source_name, :mark_id, :kind, :view_columns, cast(:links as jsonb), :matter,
    :strict, :has_children
);

-- name: forget_dependencies
-- What views depend on, before they are declared anew, or dropped.
delete from meshcache.dependency
where view_id in (select v.id from meshcache.cached_view as v where v.name = any(:names));

-- name: forget_state
-- What is known of the content of views whose tables are dropped.
with gone as (select v.id from meshcache.cached_view as v where v.name = any(:names)),
states as (delete from meshcache_data.view_state where view_id in (select g.id from gone as g))
delete from meshcache_data.counter where view_id in (select g.id from gone as g);

-- name: other_relations
-- The names in meshcache_data that these tables and their indexes do not have.
select c.relname as name
from pg_class as c
left join pg_index as i on i.indexrelid = c.oid
left join pg_class as t on t.oid = i.indrelid
where c.relnamespace = to_regnamespace('meshcache_data') and not coalesce(t.relname, c.relname) = any(:names);

-- name: source_marks
-- Everything that the triggers of source tables have to do: their mark tables and the columns that matter.
select
    m.source_id, m.id, to_regclass(format('meshcache.mark_%s', m.id))::oid::bigint as oid, m.columns,
    case when bool_or(d.matter_columns is null) then null else (
        select array_agg(distinct x.name order by x.name)
        from meshcache.dependency as e
        cross join unnest(e.matter_columns) as x (name)
        where e.mark_id = m.id
    ) end as matter,
    coalesce((
        select array_agg(distinct x.name order by x.name)
        from meshcache.dependency as e
        cross join unnest(e.strict_columns) as x (name)
        where e.mark_id = m.id
    ), '{}') as strict
from meshcache.mark_table as m
inner join meshcache.dependency as d on d.mark_id = m.id
where m.source_id = any(:source_ids)
group by m.id
order by m.id;

-- name: source_states
-- All source tables: whether they still exist and are used at all, the views that any change flushes, and
-- whether all triggers are there, and on the present partitions.
select
    s.id, s.relation::oid::bigint as oid, s.relation::text as name, c.oid is not null as present,
    exists (select from meshcache.dependency as d where d.source_id = s.id) as used,
    array(
        select distinct d.view_id from meshcache.dependency as d
        where d.source_id = s.id and d.mark_id is null order by d.view_id
    ) as flush,
    not exists (select from meshcache._missing_triggers(s.id))
    and s.children = meshcache._members(s.relation) as is_watched
from meshcache.source_table as s
left join pg_class as c on c.oid = s.relation
order by s.id;

-- name: unused_marks
-- Mark tables that no view reads any more.
select m.id from meshcache.mark_table as m
where not exists (select from meshcache.dependency as d where d.mark_id = m.id)
order by m.id;

-- name: delete_mark
-- Forgets a mark table.
delete from meshcache.mark_table where id = :id;

-- name: delete_source
-- Forgets a source table.
delete from meshcache.source_table where id = :id;

-- name: delete_view
-- Forgets a cached view or rollup.
delete from meshcache.cached_view where name = :name;

-- name: function_bodies
-- The bodies of functions as stored.
select p.proname as name, p.prosrc as body from pg_proc as p
where p.pronamespace = 'meshcache'::regnamespace and p.proname = any(:names);

-- name: sync_triggers
-- Attaches what is missing.
select meshcache._sync_triggers(:source_id);

-- name: drop_triggers
-- Removes the mark triggers of a source table.
select meshcache._drop_triggers(:source_id);

-- name: there
-- Which of these names are views in schema meshcache, and which are tables or materialized views in meshcache_data.
select c.relname as name, c.relkind::text as kind
from pg_class as c
where c.relname = any(:names) and (
    (c.relnamespace = 'meshcache'::regnamespace and c.relkind = 'v')
    or (c.relnamespace = to_regnamespace('meshcache_data') and c.relkind in ('r', 'm'))
);

-- name: run_in_time
-- Runs DDL while the time lasts.
select meshcache._run_in_time(
    cast(:statements as text[]), cast(:relations as text[]), cast(:left as integer), cast(:longest as integer)
);

-- name: take_turn
-- Waits for whoever else changes definitions.
select meshcache._begin_apply();

-- name: ensure_data
-- Creates meshcache_data and its bookkeeping where they are missing.
select meshcache._ensure_data();

-- name: relation_of
-- Schema and name of a table by its oid.
select n.nspname as schema, c.relname as name
from pg_class as c
inner join pg_namespace as n on n.oid = c.relnamespace
where c.oid = cast(:oid as oid);

-- name: watched_tables
-- Every table that carries mark triggers, partitions included, in one order for all who lock them.
select distinct format('%I.%I', n.nspname, c.relname) as name, t.tgrelid
from pg_trigger as t
inner join pg_proc as p on p.oid = t.tgfoid
inner join pg_class as c on c.oid = t.tgrelid
inner join pg_namespace as n on n.oid = c.relnamespace
where p.pronamespace = 'meshcache'::regnamespace
order by t.tgrelid;

-- name: moved_names
-- Whether table names of a definition now lead to other tables than those that carry its triggers, or these have
-- other names than when it was applied.
select exists (
    select from meshcache.dependency as d
    inner join meshcache.source_table as s on s.id = d.source_id
    where d.view_id = :view_id and to_regclass(d.source_name) is distinct from s.relation
) or count(*) > 0
from unnest(cast(:names as text[])) as w (name)
where to_regclass(w.name) is null
    or not exists (
        select from meshcache.dependency as d
        inner join meshcache.source_table as s on s.id = d.source_id
        where d.view_id = :view_id and s.relation = to_regclass(w.name)
    );

-- name: retyped_marks
-- Columns whose values a view is told by, and which have another type now than their marks.
select s.relation::text as source_table, a.attname as name
from meshcache.dependency as d
inner join meshcache.source_table as s on s.id = d.source_id
inner join meshcache.mark_table as m on m.id = d.mark_id
inner join pg_attribute as k
    on k.attrelid = to_regclass(format('meshcache.mark_%s', m.id)) and k.attname = any(m.columns)
inner join pg_attribute as a on a.attrelid = s.relation and a.attname = k.attname and not a.attisdropped
where d.view_id = :view_id and (a.atttypid, a.atttypmod) is distinct from (k.atttypid, k.atttypmod)
order by 1, 2
limit 1;

-- name: unguarded_sources
-- Whether a source table has become part of a partition or inheritance tree since its view was made.
select count(*) > 0
from meshcache.dependency as d
inner join meshcache.source_table as s on s.id = d.source_id
inner join pg_class as c on c.oid = s.relation
where d.view_id = :view_id and not d.has_children and (c.relhassubclass or c.relispartition);
