-- What only looks, and the counters that readers flush now and then.

create or replace function meshcache.add_counts(p_counts jsonb)
returns void
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if to_regclass('meshcache_data.counter') is null then
        return;
    end if;
    insert into meshcache_data.counter as c (view_id, hits, misses, stale, bypassed, fills)
    select v.id, x.hit, x.miss, x.stale, x.bypass, x.fills
    from jsonb_to_recordset(p_counts) as x (
        name text, hit bigint, miss bigint, stale bigint, bypass bigint, fills bigint
    )
    inner join meshcache.cached_view as v on v.name = x.name
    order by v.id
    on conflict (view_id) do update set
        hits = c.hits + excluded.hits, misses = c.misses + excluded.misses, stale = c.stale + excluded.stale,
        bypassed = c.bypassed + excluded.bypassed, fills = c.fills + excluded.fills;
end
$$;
comment on function meshcache.add_counts(jsonb) is
'Adds what a reader has counted in its own process: [{name, hit, miss, stale, bypass, fills}, ...].';
revoke execute on function meshcache.add_counts(jsonb) from public;

-- What it returns has grown.
drop function if exists meshcache.stats();
create or replace function meshcache.stats()
returns table (
    name text,
    kind text,
    coverage text,
    populated boolean,
    rows bigint,
    bytes bigint,
    hits bigint,
    misses bigint,
    stale bigint,
    bypassed bigint,
    fills bigint,
    hit_ratio numeric,
    pending_marks bigint,
    expired bigint,
    oldest_filled_at timestamptz,
    refreshed_at timestamptz,
    problem text
)
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v_view record;
    v_table regclass;
    v_mark_id integer;
    v_count bigint;
begin
    for v_view in select v.id, v.name, v.kind, v.coverage, v.problem from meshcache.cached_view as v order by v.name
    loop
        name := v_view.name;
        kind := v_view.kind;
        coverage := v_view.coverage;
        problem := v_view.problem;
        v_table := to_regclass(format('meshcache_data.%I', v_view.name));
        rows := 0;
        expired := 0;
        oldest_filled_at := null;
        refreshed_at := null;
        pending_marks := 0;
        hits := 0;
        misses := 0;
        stale := 0;
        bypassed := 0;
        fills := 0;
        populated := false;
        bytes := coalesce(pg_total_relation_size(v_table), 0);
        if v_table is not null and v_view.kind = 'rollup' then
            select m.ispopulated into populated
            from pg_matviews as m where m.schemaname = 'meshcache_data' and m.matviewname = v_view.name;
            if populated then
                execute format('select count(*) from %s', v_table) into rows;
            end if;
            select r.refreshed_at, r.refreshed_at into refreshed_at, oldest_filled_at
            from meshcache.rollup_refresh as r where r.view_id = v_view.id;
        elsif v_table is not null then
            execute format(
                'select count(*), count(*) filter (where c._expires_at <= statement_timestamp()), min(c._filled_at) '
                || 'from %s as c',
                v_table
            ) into rows, expired, oldest_filled_at;
            if v_view.coverage = 'complete' then
                select s.refreshed_at, s.xmin = s.written_as and s.table_oid = v_table into refreshed_at, populated
                from meshcache_data.view_state as s where s.view_id = v_view.id;
                populated := coalesce(populated, false);
            else
                populated := meshcache._is_open();
            end if;
            select c.hits, c.misses, c.stale, c.bypassed, c.fills into hits, misses, stale, bypassed, fills
            from meshcache_data.counter as c where c.view_id = v_view.id;
        end if;
        for v_mark_id in
            select distinct d.mark_id from meshcache.dependency as d
            where d.view_id = v_view.id and d.mark_id is not null
        loop
            execute format('select count(*) from meshcache.%I', format('mark_%s', v_mark_id)) into v_count;
            pending_marks := pending_marks + v_count;
        end loop;
        select pending_marks + count(*) into pending_marks
        from meshcache.wildcard_mark as w
        where w.source_id = -v_view.id
            or w.source_id in (select d.source_id from meshcache.dependency as d where d.view_id = v_view.id);
        hits := coalesce(hits, 0);
        misses := coalesce(misses, 0);
        stale := coalesce(stale, 0);
        bypassed := coalesce(bypassed, 0);
        fills := coalesce(fills, 0);
        hit_ratio := round(hits::numeric / nullif(hits + misses + stale + bypassed, 0), 4);
        return next;
    end loop;
end
$$;
comment on function meshcache.stats() is 'One row per cached view and rollup: size, reads by origin, pending marks, age.';
revoke execute on function meshcache.stats() from public;
