-- part: table
-- A mark table: which values of the marked columns were written by which transaction. Composed by render.py.
-- A transaction may mark the same value twice: to look for the first one costs its writer as much as the mark.
-- vacuum_truncate is off because truncation takes a lock that the application's writes would wait for, and because an
-- empty table of few pages has other plans than this one needs: see meshcache._reserve_pages.
create unlogged table meshcache.{mark_table} (
    {column_definitions},
    xid xid8 not null default pg_catalog.pg_current_xact_id()
) with (vacuum_truncate = false, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000)

-- part: index
create index on meshcache.{mark_table} ({columns}, xid)
