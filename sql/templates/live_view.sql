-- What readers see of one cached view. Composed by render.py.

-- part: rows_view
create view meshcache.{rows} as
-- 1. cached rows that are fresh in this snapshot
select {c_columns}, 'hit'::text as _origin, c._filled_at
from meshcache_data.{name} as c
where {fresh}
union all
-- 2. keys that are stale or new, asked of the source; the arrays let the planner reach them by index
select {s_columns}, 'stale'::text, null::timestamptz
from meshcache.{source} as s
where {usable} and ({candidates})
    and not exists (select from meshcache_data.{name} as c where {same_key} and {fresh})
union all
-- 3. everything, while the view is not populated
select {s_columns}, 'bypass'::text, null::timestamptz
from meshcache.{source} as s
where {usable} is not true

-- part: live_view_complete
create view meshcache.{name} as select {r_columns} from meshcache.{rows} as r

-- part: live_view_on_demand
create view meshcache.{name} as select {s_columns} from meshcache.{source} as s

-- part: get
create function meshcache.{function}({parameters})
returns table ({result}, _origin text, _filled_at timestamptz)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $get$
#variable_conflict use_column
declare
    v_origin text := 'bypass';
begin
    -- A standby cannot read UNLOGGED tables and says so with an error, so it is not asked. Whatever else may
    -- be wrong with the cache (dropped, no rights) is no reason to fail the reader: the source answers.
    if not pg_is_in_recovery() then
        begin
            return query
            select {c_columns}, 'hit'::text, c._filled_at
            from meshcache_data.{name} as c
            where {key_is_parameter} and {fresh};
            if found then
                return;
            end if;
            if {usable} then
                v_origin := case
                    when exists (select from meshcache_data.{name} as c where {key_is_parameter}) then 'stale' else 'miss'
                end;
            end if;
        exception
            when undefined_table or undefined_column or undefined_function or invalid_schema_name
            or insufficient_privilege or wrong_object_type or datatype_mismatch or feature_not_supported
            -- somebody drops or replaces the cache's tables at this moment
            or lock_not_available or deadlock_detected then
                v_origin := 'bypass';
        end;
    end if;
    return query
    select {s_columns}, v_origin, null::timestamptz
    from meshcache.{source} as s
    where {source_key_is_parameter};
end
$get$
