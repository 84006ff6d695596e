-- What meshcache_pg/health.py asks. Nothing here writes.

-- name: stats
-- One row per cached view and rollup.
select
    s.name, s.kind, s.coverage, s.populated, s.rows, s.bytes, s.hits, s.misses, s.stale, s.bypassed, s.fills,
    s.hit_ratio::double precision as hit_ratio, s.pending_marks, s.expired, s.oldest_filled_at, s.refreshed_at,
    s.problem,
    extract(epoch from statement_timestamp() - s.oldest_filled_at)::double precision as oldest_age_seconds
from meshcache.stats() as s;

-- name: epoch
-- Whether the cache is open, and since when; no row while it is closed.
select e.id, e.opened_at
from meshcache_data.epoch as e
where e.xmin = e.opened_by::xid and e.tableoid = e.table_oid;

-- name: limits
-- For this transaction alone: it may not write, nor keep the server busy or wait for long. The statements are large and
-- run on few rows, so compiling them would take longer than running them.
select
    set_config('transaction_read_only', 'on', true),
    set_config('statement_timeout', cast(:statement_ms as text), true),
    set_config('lock_timeout', cast(:lock_ms as text), true),
    set_config('jit', 'off', true);
