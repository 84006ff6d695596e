-- The cache table of one cached view. Composed by render.py.

-- part: table
create unlogged table meshcache_data.{name} as
select
    s.*,
    null::pg_snapshot as _filled_in,
    null::xid8 as _filled_by,
    null::timestamptz as _filled_at,
    null::timestamptz as _expires_at
from meshcache.{source} as s
with no data

-- part: shape
-- Room for HOT updates: a fill updates no indexed column. ANALYZE would copy payload values into
-- pg_statistic, which is logged and outlives them. Truncation by vacuum would lock readers out.
alter table meshcache_data.{name}
    {not_null},
    add constraint {key_index} primary key ({keys}),
    set (fillfactor = 80, vacuum_truncate = false)
    {no_statistics}
    {json_text}

-- part: json_text
-- The text of a jsonb column: to send it takes half the time of sending jsonb. Generated, so that no writer can forget
-- it; json, so that clients read it as they read jsonb.
, add column {column} json generated always as (({jsonb}::text)::json) stored,
alter column {column} set statistics 0

-- part: no_statistics
, alter column {column} set statistics 0

-- part: not_null
alter column {column} set not null

-- part: named_not_null
add constraint {constraint} not null {column}

-- part: index
create index {index} on meshcache_data.{name} ({columns})
