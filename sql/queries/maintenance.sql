-- What meshcache_pg/maintenance.py runs. Procedures commit between their steps: call them in autocommit mode.

-- name: refresh
-- Brings a cached view up to date, or refreshes a rollup.
call meshcache.refresh(:name, null, :mode, :max_seconds);

-- name: sweep
-- Resolves pending marks and expired rows.
call meshcache.sweep(null, :max_seconds, :batch);

-- name: open_cache
-- Opens the cache again after a crash or a restore.
call meshcache.open_cache();

-- name: lock_timeout
-- The longest wait for a lock, for the whole session.
select set_config('lock_timeout', :timeout, false);

-- name: invalidate
-- Makes a whole cached view stale.
select meshcache.invalidate(:name);

-- name: due_rollups
-- Rollups that were never refreshed, or whose interval has passed.
select v.name
from meshcache.cached_view as v
left join meshcache.rollup_refresh as r on r.view_id = v.id
left join pg_matviews as m on m.schemaname = 'meshcache_data' and m.matviewname = v.name
where v.kind = 'rollup'
    and (
        r.refreshed_at is null or m.ispopulated is not true
        or r.refreshed_at + v.refresh_every <= statement_timestamp()
    )
order by v.name;

-- name: fill_timeouts
-- The limits of what is done on the way of a read, for this transaction only.
select
    set_config('statement_timeout', cast(:statement_ms as text), true),
    set_config('lock_timeout', cast(:lock_ms as text), true);

-- name: add_counts
-- Flushes what this process has counted.
select meshcache.add_counts(cast(:counts as jsonb));
