-- meshcache_data holds what can be rebuilt, and only that. Every table in it is UNLOGGED: after a crash, an
-- immediate stop, a promotion or a restored base backup all of them come back empty together, and "no epoch
-- row" then says "the cache is closed", never "there are no rows".

create or replace function meshcache._ensure_data()
returns void
language plpgsql
security invoker
set search_path = pg_catalog, pg_temp
as $$
begin
    if to_regclass('meshcache_data.epoch') is not null
        and to_regclass('meshcache_data.view_state') is not null
        and to_regclass('meshcache_data.counter') is not null
    then
        return;
    end if;
    -- "If not exists" does not help the second of two who create the same thing at once: it waits, and then fails.
    perform pg_advisory_xact_lock(meshcache._lock_class('open'), 0);
    create schema if not exists meshcache_data;
    -- Looked for first: even a comment that is there already locks its table until the end of the transaction, and that
    -- may be a long one.
    if to_regclass('meshcache_data.epoch') is null then
        create unlogged table if not exists meshcache_data.epoch (
            only_row boolean primary key default true check (only_row),
            id uuid not null default gen_random_uuid(),
            opened_by xid8 not null default pg_current_xact_id(),
            opened_at timestamptz not null default statement_timestamp(),
            table_oid oid not null
        );
        comment on table meshcache_data.epoch is
            'One row while the cache is open. It vanishes with the data; what is held elsewhere carries its id.';
    end if;
    if to_regclass('meshcache_data.view_state') is null then
        create unlogged table if not exists meshcache_data.view_state (
            view_id integer primary key,
            complete_in pg_snapshot not null,
            complete_by xid8 not null,
            written_as xid,
            table_oid oid not null,
            refreshed_at timestamptz not null default statement_timestamp()
        ) with (fillfactor = 50);
        comment on table meshcache_data.view_state is
            'One row per complete cached view that holds every key: its table, and the snapshot of the fill.';
    end if;
    if to_regclass('meshcache_data.counter') is null then
        create unlogged table if not exists meshcache_data.counter (
            view_id integer primary key,
            hits bigint not null default 0,
            misses bigint not null default 0,
            stale bigint not null default 0,
            bypassed bigint not null default 0,
            fills bigint not null default 0
        ) with (fillfactor = 50);
        comment on table meshcache_data.counter is
            'What readers counted in their own processes and flushed in batches; a read itself never writes.';
    end if;
end
$$;
comment on function meshcache._ensure_data() is 'Creates meshcache_data and its bookkeeping tables where they are missing.';
revoke execute on function meshcache._ensure_data() from public;

-- Plans of reads are kept for long, and must probe a mark table by its index however many marks there will be. The
-- planner takes a table without pages for empty for ever and reads the whole of it; of one that has pages, a probe is
-- the cheaper half even while there are no rows. The rows that fetch the pages have no value that anything could
-- equal, and are gone before anybody sees them. ANALYZE makes every session plan anew.
create or replace function meshcache._reserve_pages(p_table regclass)
returns void
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    c_pages constant integer := 16;
    c_rows_per_page constant integer := 300;
    c_no_xid constant xid8 := '0';
begin
    if pg_relation_size(p_table) >= c_pages * current_setting('block_size')::integer then
        return;
    end if;
    execute format('insert into %s (xid) select $1 from generate_series(1, $2)', p_table)
    using c_no_xid, c_pages * c_rows_per_page;
    execute format('delete from %s where xid = $1', p_table) using c_no_xid;
    execute format('analyze %s', p_table);
end
$$;
comment on function meshcache._reserve_pages(regclass) is
'Gives a mark table pages enough for an index probe to be the cheaper plan while it is empty. Cheap when it has them.';
revoke execute on function meshcache._reserve_pages(regclass) from public;

-- A row that this cluster's own opener wrote has xmin = opened_by and the oid of the table it was written to;
-- a row that pg_restore copied in has neither, whatever xids the other cluster had reached.
create or replace function meshcache._is_open()
returns boolean
language plpgsql
stable
security invoker
set search_path = pg_catalog, pg_temp
as $$
begin
    -- Two statements: a missing table in the same one would be an error, whatever comes before it.
    if to_regclass('meshcache_data.epoch') is null then
        return false;
    end if;
    return exists (
        select from meshcache_data.epoch as e
        where e.xmin = e.opened_by::xid and e.tableoid = e.table_oid
    );
end
$$;
comment on function meshcache._is_open() is 'Whether the epoch row exists and was written by this very cluster.';
revoke execute on function meshcache._is_open() from public;

-- Transaction ids name the content of cached rows for as long as they are not handed out again. That happens after a
-- crash, which takes the epoch along, and where a data directory is put back as it was at a clean stop, which a server
-- has to be started for. Null while the cache is closed. Readers of a view call it with their own rights, so everybody
-- may.
create or replace function meshcache._era()
returns text
language plpgsql
stable
parallel safe
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select format('%s %s', e.id, to_char(pg_postmaster_start_time() at time zone 'UTC', 'YYYYMMDDHH24MISSUS'))
        from meshcache_data.epoch as e
        where e.xmin = e.opened_by::xid and e.tableoid = e.table_oid
    );
end
$$;
comment on function meshcache._era() is
'For how long a transaction id names one transaction: a text that is another one after each wipe and each start.';

-- The first half of opening: throws away whatever marks and rows are there. It must be committed before the
-- second half takes its xid: a transaction that found its own mark already present (copied in by pg_restore
-- under the same xid) and so did not write one then has an xid below the epoch's, and no fill is accepted
-- before it has ended.
create or replace function meshcache._purge()
returns boolean
language plpgsql
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    v_table record;
begin
    if not pg_try_advisory_xact_lock(meshcache._lock_class('open'), 0) then
        return false;
    end if;
    perform meshcache._ensure_data();
    -- In a statement of its own: one snapshot for both could be from before somebody else opened the cache, and what
    -- has been filled and marked since would be thrown away under those who rely on it.
    if meshcache._is_open() then
        return false;
    end if;
    delete from meshcache_data.epoch;
    delete from meshcache_data.view_state;
    delete from meshcache.wildcard_mark;
    for v_table in
        select format('meshcache.mark_%s', m.id) as name, true as marks from meshcache.mark_table as m
        union all
        select format('meshcache_data.%I', v.name), false
        from meshcache.cached_view as v where v.kind = 'cached_view'
    loop
        begin
            if to_regclass(v_table.name) is not null then
                execute format('delete from %s', v_table.name);
                if v_table.marks then
                    perform meshcache._reserve_pages(v_table.name::regclass);
                end if;
            end if;
        exception
            when undefined_table or invalid_schema_name then
                -- Dropped at this moment, with all that was in it.
                null;
        end;
    end loop;
    return true;
end
$$;
comment on function meshcache._purge() is
'First half of opening a wiped or restored cache: deletes all marks and rows. Commit before meshcache._open().';
revoke execute on function meshcache._purge() from public;

create or replace function meshcache._open()
returns boolean
language plpgsql
security invoker
set search_path = pg_catalog, pg_temp
as $$
begin
    if not pg_try_advisory_xact_lock(meshcache._lock_class('open'), 0) then
        return false;
    end if;
    if meshcache._is_open() then
        return false;
    end if;
    insert into meshcache_data.epoch (table_oid) values ('meshcache_data.epoch'::regclass);
    return true;
end
$$;
comment on function meshcache._open() is
'Second half of opening: writes the epoch row. Fills are refused until every transaction older than it has ended.';
revoke execute on function meshcache._open() from public;

create or replace procedure meshcache.open_cache()
language plpgsql
security invoker
as $$
begin
    if meshcache._is_open() then
        return;
    end if;
    perform meshcache._purge();
    commit;
    perform meshcache._open();
    commit;
end
$$;
comment on procedure meshcache.open_cache() is
'Opens the cache after a crash or a restore, in two transactions of its own. Does nothing when it is open.';
revoke execute on procedure meshcache.open_cache() from public;
