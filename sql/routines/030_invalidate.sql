-- Invalidation is a mark like any other: it belongs to the transaction that calls it, waits for nobody, and
-- holds against fills that are under way.

create or replace function meshcache.invalidate_source(p_relation regclass)
returns void
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_source_id integer;
begin
    select s.id into v_source_id from meshcache.source_table as s where s.relation = p_relation;
    if v_source_id is null then
        raise exception using
            errcode = 'MC002',
            message = format('no cached view depends on %s', p_relation),
            hint = 'Tables with mark triggers are listed in meshcache.source_table.';
    end if;
    insert into meshcache.wildcard_mark (source_id) values (v_source_id) on conflict do nothing;
end
$$;
comment on function meshcache.invalidate_source(regclass) is
'Makes every cached row that depends on the table stale. Call it in the transaction of a change that fires no trigger.';
revoke execute on function meshcache.invalidate_source(regclass) from public;

create or replace function meshcache._view_id(p_name text)
returns integer
language plpgsql
stable
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    v_id integer;
begin
    select v.id into v_id from meshcache.cached_view as v where v.name = p_name;
    if v_id is null then
        raise exception using
            errcode = 'MC001',
            message = format('no cached view or rollup is named "%s"', p_name),
            hint = 'meshcache list shows the names.';
    end if;
    return v_id;
end
$$;
comment on function meshcache._view_id(text) is 'The id of a cached view or rollup; raises MC001 when there is none.';
revoke execute on function meshcache._view_id(text) from public;

create or replace function meshcache.invalidate(p_name text)
returns void
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into meshcache.wildcard_mark (source_id) values (-meshcache._view_id(p_name)) on conflict do nothing;
end
$$;
comment on function meshcache.invalidate(text) is 'Makes every row of one cached view stale.';
revoke execute on function meshcache.invalidate(text) from public;
