-- What the answer of a cached view follows from beside the rows of tables: functions and views of the application, the
-- columns of rows that are read whole and of tables that functions read, the expressions of generated columns, types
-- that are turned into text. No trigger fires when one of them changes. Each is a row of the catalog, and a change
-- makes a new version of that row, with another xmin: readers compare (templates/fresh.sql has the same query, because
-- a view must not call functions that its readers have no right on).

create or replace function meshcache._rests_on_as(p_objects oid[])
returns text[]
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select array(
            select 'function ' || p.xmin::text from pg_proc as p where p.oid = any(p_objects)
            union all
            select 'view ' || r.xmin::text from pg_rewrite as r where r.ev_class = any(p_objects)
            union all
            select 'column ' || a.xmin::text from pg_attribute as a where a.attrelid = any(p_objects) and a.attnum > 0
            union all
            select 'expression ' || d.xmin::text from pg_attrdef as d where d.adrelid = any(p_objects)
            union all
            select 'label ' || e.xmin::text from pg_enum as e where e.enumtypid = any(p_objects)
            order by 1
        )
    );
end
$$;
comment on function meshcache._rests_on_as(oid[]) is
'The present versions of functions, views, columns, expressions and enum labels, by the oids of what they belong to.';
revoke execute on function meshcache._rests_on_as(oid[]) from public;

-- Oids are numbers of one database: in a copy that a dump made they mean nothing, or something else. There the catalog
-- table is another one, or the cluster is.
create or replace function meshcache._here()
returns text
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return format(
        '%s %s', (select c.system_identifier from pg_control_system() as c), 'meshcache.cached_view'::regclass::oid
    );
exception
    -- Where a provider has revoked it.
    when insufficient_privilege then
        return format('? %s', 'meshcache.cached_view'::regclass::oid);
end
$$;
comment on function meshcache._here() is 'What tells this database from one that a dump was restored into.';
revoke execute on function meshcache._here() from public;

create or replace function meshcache._rests_as_noted(p_view_id integer)
returns boolean
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select
            v.rests_on = '{}'
            or (v.rests_on_in = meshcache._here() and v.rests_on_as = meshcache._rests_on_as(v.rests_on))
        from meshcache.cached_view as v
        where v.id = p_view_id
    );
end
$$;
comment on function meshcache._rests_as_noted(integer) is
'Whether functions, views and the like that a cached view rests on are as they were when that was noted.';
revoke execute on function meshcache._rests_as_noted(integer) from public;

-- Another text of a function or another column means another answer, but of the same tables: what is cached becomes
-- stale, and that is all. Another text of a view may read other tables, which carry no triggers: only applying the
-- definition again finds that out, and until then readers stay on the source. So they do in a copy.
create or replace function meshcache._check_view(p_view_id integer)
returns text
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    v_noted text[];
    v_present text[];
    v_here boolean;
begin
    if meshcache._rests_as_noted(p_view_id) is not false then
        return null;
    end if;
    -- Somebody who is applying its definition, or another sweep, does the same.
    select v.rests_on_as, meshcache._rests_on_as(v.rests_on), v.rests_on_in = meshcache._here()
    into v_noted, v_present, v_here
    from meshcache.cached_view as v where v.id = p_view_id
    for update skip locked;
    if not found then
        return null;
    end if;
    insert into meshcache.wildcard_mark (source_id) values (-p_view_id) on conflict do nothing;
    if not v_here then
        return 'what it rests on was noted in another database';
    end if;
    if array(select n.version from unnest(v_noted) as n (version) where n.version like 'view %' order by 1)
        <> array(select p.version from unnest(v_present) as p (version) where p.version like 'view %' order by 1)
    then
        return 'a view that it reads was replaced';
    end if;
    update meshcache.cached_view as v set rests_on_as = v_present where v.id = p_view_id;
    return 'what it rests on changed';
end
$$;
comment on function meshcache._check_view(integer) is
'Null when functions, views and the like that a cached view rests on are as noted; else what differs, after a wildcard.';
revoke execute on function meshcache._check_view(integer) from public;
