-- Makes the empty tables ready for a bulk load: without the foreign keys and secondary indexes, which
-- indexes.sql builds afterwards in one pass each. They are found in the catalog, not listed, so that
-- indexes.sql stays the only list of them.

-- For this transaction alone. Compiling the generator's long expressions takes longer than running them, and
-- the defaults for memory are meant for many sessions at once.
select
    set_config('jit', 'off', true),
    set_config('work_mem', '64MB', true),
    set_config('maintenance_work_mem', '128MB', true);

do $$
declare
    v_tables constant regclass[] := array[
        'projects', 'secrets', 'workflow_definitions', 'workflow_runs', 'workflow_events', 'job_tracking',
        'audit_log'
    ]::regclass[];
    v_row record;
begin
    -- A constraint or an index that a partition inherits goes with the one of the parent.
    for v_row in
        select con.conrelid::regclass as table_name, con.conname
        from pg_catalog.pg_constraint con
        where con.contype = 'f' and con.conrelid = any(v_tables) and con.conparentid = 0
    loop
        execute format('alter table %s drop constraint %I', v_row.table_name, v_row.conname);
    end loop;

    for v_row in
        select i.indexrelid::regclass as index_name
        from pg_catalog.pg_index i
        where
            i.indrelid = any(v_tables)
            and not exists (select 1 from pg_catalog.pg_constraint con where con.conindid = i.indexrelid)
    loop
        execute format('drop index %s', v_row.index_name);
    end loop;
end;
$$;
