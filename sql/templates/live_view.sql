-- What readers see of one cached view. Composed by render.py. In views, and for the functions that views call, {name}
-- and the like are what relations are made as; in other functions what they are called later (placing.py).

-- part: usable
-- Whether the view as a whole may be read in this snapshot: null or false where not. A function, because its plan is
-- made once per session; as a part of the views it would be planned with every statement that is not prepared, and
-- with every prepared one of which the server believes that another plan would pay. STABLE: it sees the snapshot of
-- the statement that calls it. Readers of a view call its functions with their own rights, so everybody may.
create function meshcache.{function}()
returns boolean
language plpgsql
stable
parallel safe
security definer
set search_path = pg_catalog, pg_temp
as $usable$
begin
    return {usable};
end
$usable$

-- part: hit_view
-- The cached rows that may be served in this snapshot, for reads of one key that are prepared: what the function for it
-- asks is part of the plan here, because calling a function costs more than that. Behind the columns are the texts of
-- those that are jsonb, where the definition asks for them.
create view meshcache.{view} as
select {c_columns}, c._filled_at{json_text}
from meshcache_data.{name} as c
where {fresh}

-- part: hits_view
-- The same rows for the first rows of a list. Who holds a copy of one asks by _version whether it is still the same;
-- who does not ask for it does not pay for it.
create view meshcache.{view} as
select {c_columns}, c._filled_at, (select meshcache._era()) || ' ' || c._filled_by::text as _version
from meshcache_data.{name} as c
where {fresh}

-- part: fresh_view
-- The same rows for statements over many of them, where the planner may join the marks.
create view meshcache.{fresh_rows} as
select {c_columns}, c._filled_at
from meshcache_data.{name} as c
where {fresh}

-- part: quiet_view
-- All cached rows while nothing was written since the view was filled, and none after that: whoever finds a row here
-- need not look at any other mark.
create view meshcache.{quiet} as
select {c_columns}, c._filled_at
from meshcache_data.{name} as c
where {is_quiet}

-- part: stale_view
-- What a complete view must ask the source for: rows that a pending mark (or expiry) concerns and that are not fresh.
-- One branch per dependency, so that each reaches its rows by an index of its own; in one condition, joined by OR, they
-- would leave the planner to read all rows of a tenant. A row is given by the first branch that it belongs to.
create view meshcache.{stale} as
with marked as materialized (
    select {arrays} where {usable}
)
{branches}

-- part: stale_branch
-- While nothing is pending the source is not even begun with. OFFSET keeps the look at the cached row a probe by key:
-- joined, it would read them all for the sake of a few.
select {s_columns}
from meshcache.{source} as s
where (select pg_catalog.cardinality(m.{first_array}) > 0 from marked as m)
    and {matches} {not_before}
    and not exists (select from meshcache.{hits} as h where {same_key} offset 0)

-- part: no_branch
select {s_columns} from meshcache.{source} as s where false

-- part: bypass_view
-- Every row of the source while a complete view cannot be used, and none while it can.
create view meshcache.{bypass} as
select {s_columns}
from meshcache.{source} as s
where {usable} is not true

-- part: rows_view
create view meshcache.{rows} as
-- 1. cached rows that are fresh in this snapshot
select {h_columns}, 'hit'::text as _origin, h._filled_at
from meshcache.{fresh_rows} as h
union all
-- 2. rows that are stale or new
select {s_columns}, 'stale'::text, null::timestamptz
from meshcache.{stale} as s
union all
-- 3. everything, while the view is not populated
select {s_columns}, 'bypass'::text, null::timestamptz
from meshcache.{bypass} as s

-- part: live_view_complete
create view meshcache.{name} as select {r_columns} from meshcache.{rows} as r

-- part: live_view_on_demand
create view meshcache.{name} as select {s_columns} from meshcache.{source} as s

-- part: get
-- Two statements, so that a hit does not pay for starting up the plan of the source.
create function meshcache.{function}({parameters})
returns table ({result}, _origin text, _filled_at timestamptz)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $get$
#variable_conflict use_column
begin
    -- A standby cannot read UNLOGGED tables and says so with an error, so it is not asked. Whatever else may be wrong
    -- with the cache (dropped, no rights) is no reason to fail the reader: the source answers.
    if not pg_is_in_recovery() then
        begin
            return query
            select {h_columns}, 'hit'::text, h._filled_at from meshcache.{hit} as h where {hit_is_parameter};
            if found then
                return;
            end if;
        exception
            when {unusable} then
                null;
        end;
    end if;
    return query select * from meshcache.{miss}({arguments});
end
$get$

-- part: miss
-- The source's answer for one key, and why the cache had none.
create function meshcache.{miss}({parameters})
returns table ({result}, _origin text, _filled_at timestamptz)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $miss$
#variable_conflict use_column
declare
    v_origin text := 'bypass';
begin
    if not pg_is_in_recovery() then
        begin
            if {usable} then
                v_origin := case
                    when exists (select from meshcache_data.{name} as c where {key_is_parameter}) then 'stale'
                    else 'miss'
                end;
            end if;
        exception
            when {unusable} then
                null;
        end;
    end if;
    return query
    select {s_columns}, v_origin, null::timestamptz
    from meshcache.{source} as s
    where {source_key_is_parameter};
end
$miss$

-- part: unusable
-- Not there, not whole, not ours, or being dropped at this moment by somebody whose lock we would wait for.
undefined_table or undefined_column or undefined_function or invalid_schema_name or insufficient_privilege
or wrong_object_type or datatype_mismatch or feature_not_supported or lock_not_available or deadlock_detected
