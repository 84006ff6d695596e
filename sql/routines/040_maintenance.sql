-- What writes to the cache: refresh and sweep. Both are procedures that commit between steps, so that any
-- client can call them (psql, pg_cron) and none of their transactions is long. Call them outside a
-- transaction block.

-- A procedure that commits cannot carry a SET clause; this is what it runs at the start of each of its
-- transactions.
create or replace function meshcache._begin_step(p_lock_timeout text default '1s')
returns void
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception using
            errcode = 'MC003',
            message = format(
                'maintenance needs READ COMMITTED, this session has %s', upper(current_setting('transaction_isolation'))
            ),
            hint = 'set default_transaction_isolation = ''read committed''';
    end if;
    perform set_config('lock_timeout', p_lock_timeout, true);
end
$$;
comment on function meshcache._begin_step(text) is 'Start of a maintenance transaction: checks the isolation level, sets lock_timeout locally.';
revoke execute on function meshcache._begin_step(text) from public;

-- Compares triggers and partitions with what was installed. Whatever differs may have let a write through unmarked:
-- what was filled until now becomes stale, and while triggers are missing or disabled nothing is served or filled.
-- Those are left to their owner, who may have reasons; what merely fires in the wrong sessions (after a plain ENABLE
-- TRIGGER) and new partitions are mended here.
create or replace function meshcache._check_source(p_source_id integer)
returns text
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    v_relation regclass;
    v_differs text;
    v_trusted boolean;
begin
    select
        s.relation,
        case
            when c.oid is null then 'dropped'
            when c.relispartition then 'attached to a partitioned table'
            when meshcache._has_foreign_member(s.relation) then 'has a foreign partition'
            when s.children is distinct from meshcache._members(s.relation) then 'partitions changed'
            else (
                select case
                    when bool_or(not m.fires) then 'triggers missing or disabled'
                    when count(*) > 0 then 'triggers enabled otherwise'
                end
                from meshcache._missing_triggers(s.id) as m
            )
        end
    into v_relation, v_differs
    from meshcache.source_table as s
    left join pg_class as c on c.oid = s.relation
    where s.id = p_source_id;
    if v_differs = 'dropped' or (
        v_differs is null and exists (select from meshcache.source_table as s where s.id = p_source_id and s.trusted)
    ) then
        return v_differs;
    end if;
    if v_differs = 'has a foreign partition' then
        -- The application's own statements fail while they are there.
        perform meshcache._drop_triggers(p_source_id);
        update meshcache.source_table as s set children = meshcache._members(s.relation) where s.id = p_source_id;
    end if;
    v_trusted := v_differs is null or v_differs not in ('triggers missing or disabled', 'has a foreign partition');
    update meshcache.source_table as s
    set trusted = v_trusted
    where s.id = p_source_id and s.trusted is distinct from v_trusted;
    insert into meshcache.wildcard_mark (source_id) values (p_source_id) on conflict do nothing;
    if v_differs in ('partitions changed', 'triggers enabled otherwise') then
        -- A partition without triggers is worse than a stale cache: until they are there, readers see that
        -- the noted partitions are not the present ones and go to the source.
        perform meshcache._sync_triggers(p_source_id);
    end if;
    return v_differs;
end
$$;
comment on function meshcache._check_source(integer) is
'Null when triggers and partitions are as installed; else what differs, after a wildcard mark.';
revoke execute on function meshcache._check_source(integer) from public;

-- The same for maintenance: gives way to whoever holds the table, and tells what it could not mend.
create or replace function meshcache._try_check_source(p_source_id integer)
returns text
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
begin
    perform meshcache._begin_step('100ms');
    return meshcache._check_source(p_source_id);
exception
    when lock_not_available then
        return 'partitions changed, table busy';
    when insufficient_privilege then
        return 'partitions changed, not the owner';
end
$$;
comment on function meshcache._try_check_source(integer) is 'meshcache._check_source, with a short wait for locks.';
revoke execute on function meshcache._try_check_source(integer) from public;

-- The sweep's barrier. When it returns, no fill of the view that began before is still running, so every mark
-- below the result is contained in whatever will be filled from now on.
create or replace function meshcache._barrier(p_view_id integer)
returns xid8
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
begin
    begin
        perform pg_advisory_xact_lock(meshcache._lock_class('fill'), p_view_id);
    exception when lock_not_available then
        return null;
    end;
    return pg_snapshot_xmin(pg_current_snapshot());
end
$$;
comment on function meshcache._barrier(integer) is 'Waits for running fills (at most lock_timeout); the xid below which marks may be resolved, or null.';
revoke execute on function meshcache._barrier(integer) from public;

-- The xid up to which about p_batch marks are deleted in one step: a step that is short holds its locks briefly.
create or replace function meshcache._mark_bound(p_below xid8, p_batch integer)
returns xid8
language plpgsql
stable
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    v_mark_id integer;
    v_bound xid8 := p_below;
    v_candidate xid8;
begin
    for v_mark_id in select m.id from meshcache.mark_table as m
    loop
        execute format(
            'select m.xid from meshcache.%I as m where m.xid < $1 order by m.xid offset $2 limit 1',
            format('mark_%s', v_mark_id)
        ) into v_candidate using v_bound, p_batch;
        -- Marks of one transaction go together, so the bound moves past the transaction it falls into.
        if v_candidate is not null then
            v_bound := least(v_bound, (v_candidate::text::numeric + 1)::text::xid8);
        end if;
    end loop;
    return v_bound;
end
$$;
comment on function meshcache._mark_bound(xid8, integer) is 'An xid at or below p_below with about p_batch marks per table under it.';
revoke execute on function meshcache._mark_bound(xid8, integer) from public;

create or replace function meshcache._delete_marks(p_below xid8)
returns bigint
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    v_mark_id integer;
    v_rows bigint;
    v_total bigint := 0;
begin
    for v_mark_id in select m.id from meshcache.mark_table as m
    loop
        execute format('delete from meshcache.%I as m where m.xid < $1', format('mark_%s', v_mark_id)) using p_below;
        get diagnostics v_rows = row_count;
        v_total := v_total + v_rows;
        perform meshcache._reserve_pages(format('meshcache.%I', format('mark_%s', v_mark_id))::regclass);
    end loop;
    delete from meshcache.wildcard_mark as m where m.xid < p_below;
    get diagnostics v_rows = row_count;
    return v_total + v_rows;
end
$$;
comment on function meshcache._delete_marks(xid8) is 'Deletes the marks below an xid. Only the sweep may call it, after every view was resolved.';
revoke execute on function meshcache._delete_marks(xid8) from public;

create or replace function meshcache._close_view(p_view_id integer)
returns boolean
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    v_name text;
begin
    -- Somebody else's refresh would write its state row after this one looked for it.
    if not pg_try_advisory_xact_lock(meshcache._lock_class('refresh'), p_view_id) then
        return false;
    end if;
    select v.name into v_name from meshcache.cached_view as v where v.id = p_view_id;
    -- Dropped while the sweep waited for its table: nothing is left to be closed.
    if v_name is null or to_regclass(format('meshcache_data.%I', v_name)) is null then
        return true;
    end if;
    delete from meshcache_data.view_state as s where s.view_id = p_view_id;
    execute format('delete from meshcache_data.%I', v_name);
    return true;
end
$$;
comment on function meshcache._close_view(integer) is 'Empties a cached view; its readers go to the source until it is filled again. False when it is being refreshed.';
revoke execute on function meshcache._close_view(integer) from public;

create or replace function meshcache._note_problem(p_view_id integer, p_problem text)
returns void
language sql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
update meshcache.cached_view as v set problem = p_problem
where v.id = p_view_id and v.problem is distinct from p_problem;
$$;
comment on function meshcache._note_problem(integer, text) is 'Why a cached view could not be filled, or null when it could.';
revoke execute on function meshcache._note_problem(integer, text) from public;

-- p_mode: stale (only what pending marks and expiry ask for; a complete view that is not populated is filled
-- whole) or all (every key of the source).
create or replace procedure meshcache.refresh(
    p_name text,
    inout p_result jsonb default null,
    p_mode text default 'stale',
    p_max_seconds double precision default 60
)
language plpgsql
security invoker
as $$
declare
    v_view record;
    v_until timestamptz := pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => p_max_seconds);
    v_started timestamptz := pg_catalog.clock_timestamp();
    v_populated boolean;
    v_id integer;
begin
    perform meshcache._begin_step();
    if p_mode not in ('stale', 'all') then
        raise exception using
            errcode = 'MC005', message = pg_catalog.format('no refresh mode "%s"', p_mode), hint = 'Modes: stale, all.';
    end if;
    perform meshcache._view_id(p_name);
    select v.name, v.kind into v_view from meshcache.cached_view as v where v.name = p_name;
    if pg_catalog.to_regclass(pg_catalog.format('meshcache_data.%I', p_name)) is null then
        raise exception using
            errcode = 'MC006', message = pg_catalog.format('%s has no cache table', p_name),
            hint = 'Apply its definition again: meshcache apply PATH';
    end if;
    if v_view.kind = 'rollup' then
        select m.ispopulated into v_populated
        from pg_catalog.pg_matviews as m where m.schemaname = 'meshcache_data' and m.matviewname = p_name;
        execute pg_catalog.format(
            'refresh materialized view %s meshcache_data.%I',
            case when v_populated then 'concurrently' else '' end, p_name
        );
        insert into meshcache.rollup_refresh as r (view_id, refreshed_at, duration)
        values (meshcache._view_id(p_name), v_started, pg_catalog.clock_timestamp() - v_started)
        on conflict (view_id) do update set refreshed_at = excluded.refreshed_at, duration = excluded.duration;
        p_result := pg_catalog.jsonb_build_object('state', 'done');
        return;
    end if;
    call meshcache.open_cache();
    -- Nothing can be filled while a partition is new or gone and the install does not know it.
    foreach v_id in array array(
        select distinct d.source_id from meshcache.dependency as d
        where d.view_id = meshcache._view_id(p_name) order by d.source_id
    )
    loop
        perform meshcache._try_check_source(v_id);
        commit;
    end loop;
    perform meshcache._begin_step();
    perform meshcache._check_view(meshcache._view_id(p_name));
    commit;
    loop
        perform meshcache._begin_step();
        execute pg_catalog.format(
            'select meshcache.%I(%s)',
            pg_catalog.format('_%s_%s', p_name, case p_mode when 'all' then 'refresh' else 'resolve' end),
            case p_mode when 'all' then '' else 'true' end
        ) into p_result;
        commit;
        if p_result is not null then
            perform meshcache._note_problem(meshcache._view_id(p_name), null);
            commit;
            p_result := pg_catalog.jsonb_build_object('state', 'done', 'rows', p_result);
            return;
        end if;
        if pg_catalog.clock_timestamp() > v_until then
            p_result := pg_catalog.jsonb_build_object('state', 'busy');
            return;
        end if;
        perform pg_catalog.pg_sleep(0.05);
        commit;
    end loop;
end
$$;
comment on procedure meshcache.refresh(text, jsonb, text, double precision) is
'Brings a cached view up to date (p_mode stale or all), or refreshes a rollup. Waits up to p_max_seconds for its turn.';
revoke execute on procedure meshcache.refresh(text, jsonb, text, double precision) from public;

create or replace procedure meshcache.sweep(
    inout p_result jsonb default null,
    p_max_seconds double precision default null,
    p_batch integer default 5000
)
language plpgsql
security invoker
as $$
declare
    v_until timestamptz := pg_catalog.clock_timestamp()
    + pg_catalog.make_interval(secs => coalesce(p_max_seconds, 1e9));
    v_sources integer[];
    v_views integer[];
    v_id integer;
    v_view record;
    v_text text;
    v_xid xid8;
    v_horizon xid8;
    v_bound xid8;
    v_count bigint;
    v_marks bigint := 0;
    v_rows bigint := 0;
    v_state text := 'done';
    v_differences jsonb := '{}';
begin
    perform meshcache._begin_step();
    if not pg_catalog.pg_try_advisory_xact_lock(meshcache._lock_class('sweep'), 0) then
        p_result := pg_catalog.jsonb_build_object('state', 'busy');
        return;
    end if;
    commit;
    call meshcache.open_cache();

    v_sources := array(select s.id from meshcache.source_table as s order by s.id);
    foreach v_id in array v_sources
    loop
        v_text := meshcache._try_check_source(v_id);
        if v_text is not null then
            -- Who was busy with it may have dropped it since.
            v_differences := v_differences || coalesce(
                (
                    select pg_catalog.jsonb_build_object(s.relation::text, v_text)
                    from meshcache.source_table as s where s.id = v_id
                ),
                '{}'
            );
        end if;
        commit;
    end loop;

    v_views := array(select v.id from meshcache.cached_view as v where v.kind = 'cached_view' order by v.id);
    foreach v_id in array v_views
    loop
        perform meshcache._begin_step();
        v_text := meshcache._check_view(v_id);
        if v_text is not null then
            v_differences := v_differences || coalesce(
                (
                    select pg_catalog.jsonb_build_object(v.name, v_text)
                    from meshcache.cached_view as v where v.id = v_id
                ),
                '{}'
            );
        end if;
        commit;
    end loop;
    perform meshcache._begin_step();
    v_horizon := pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot());
    commit;
    foreach v_id in array v_views
    loop
        perform meshcache._begin_step();
        v_xid := meshcache._barrier(v_id);
        commit;
        if v_xid is null then
            p_result := pg_catalog.jsonb_build_object('state', 'busy', 'differences', v_differences);
            return;
        end if;
        v_horizon := least(v_horizon, v_xid);
    end loop;
    -- A view that was applied while the barriers were taken may hold rows from before the horizon, and nobody
    -- waited for its fills. One that is applied after this check can only be filled in later snapshots.
    if v_views is distinct from array(
        select v.id from meshcache.cached_view as v where v.kind = 'cached_view' order by v.id
    ) then
        p_result := pg_catalog.jsonb_build_object('state', 'busy', 'differences', v_differences);
        return;
    end if;

    -- Every mark below the horizon is seen by these, and what is filled from now on contains it.
    foreach v_id in array v_views
    loop
        perform meshcache._begin_step();
        select v.name into v_view from meshcache.cached_view as v where v.id = v_id;
        if found and pg_catalog.to_regclass(pg_catalog.format('meshcache_data.%I', v_view.name)) is not null then
            begin
                execute pg_catalog.format('select meshcache.%I(false)', '_' || v_view.name || '_resolve')
                into v_count;
            exception
                when lock_not_available or deadlock_detected then
                    v_count := null;
                when others then
                    -- The definition's own SELECT fails. One broken view must not keep everybody's marks: it is
                    -- emptied, its readers get the source (and see the error there), the others go on.
                    v_text := sqlerrm;
                    v_count := case when meshcache._close_view(v_id) then 0 end;
                    v_differences := v_differences || pg_catalog.jsonb_build_object(v_view.name, v_text);
                    perform meshcache._note_problem(v_id, v_text);
            end;
            if v_count is null then
                p_result := pg_catalog.jsonb_build_object(
                    'state', 'busy', 'rows', v_rows, 'marks', 0, 'differences', v_differences
                );
                return;
            end if;
            v_rows := v_rows + v_count;
            if not v_differences ? v_view.name then
                perform meshcache._note_problem(v_id, null);
            end if;
        end if;
        commit;
    end loop;
    -- In steps, so that none holds its locks for long.
    loop
        perform meshcache._begin_step();
        begin
            v_bound := meshcache._mark_bound(v_horizon, p_batch);
            v_marks := v_marks + meshcache._delete_marks(v_bound);
        exception
            when undefined_table or lock_not_available or deadlock_detected then
                -- A cached view is being dropped, and mark tables with it: the next sweep knows which are left.
                v_state := 'busy';
        end;
        commit;
        exit when v_state = 'busy' or v_bound = v_horizon;
        if pg_catalog.clock_timestamp() > v_until then
            v_state := 'out of time';
            exit;
        end if;
    end loop;
    p_result := pg_catalog.jsonb_build_object(
        'state', v_state, 'rows', v_rows, 'marks', v_marks, 'differences', v_differences
    );
end
$$;
comment on procedure meshcache.sweep(jsonb, double precision, integer) is
'Resolves pending marks and expired rows: refills complete views, removes stale rows of the others, then deletes the marks.';
revoke execute on procedure meshcache.sweep(jsonb, double precision, integer) from public;
