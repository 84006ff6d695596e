-- What writes the rows of one cached view. Composed by render.py.

-- part: fill
create function meshcache.{function}({array_parameters})
returns integer
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $fill$
declare
    v_keys record;
    v_filled integer;
    v_own boolean;
begin
    if meshcache._begin_fill({view_id}, false) is not null then
        return 0;
    end if;
    -- A key that somebody else is filling is left to them. The locks are taken one statement before the
    -- snapshot.
    select {array_aggregates} into v_keys
    from (
        select distinct {u_keys} from unnest({array_names}) as u ({keys}) where {u_known} limit {key_limit}
    ) as k
    where pg_try_advisory_xact_lock(hashtextextended(row({k_keys})::text, {view_id}));
    with filled as (
        insert into meshcache_data.{name} as c ({columns}, _filled_in, _filled_by, _filled_at, _expires_at)
        -- Two keys may be two spellings of one: equal by the column's collation, different by the parameter's.
        select distinct on ({s_keys})
            {s_columns}, pg_current_snapshot(), pg_current_xact_id(), statement_timestamp(), {expires_at}
        from unnest({v_arrays}) as k ({keys})
        cross join lateral ({of_key}) as s
        where s._of_key = 1 and {may_fill}
        {on_conflict}
        returning c.xmin = c._filled_by::xid as own
    )
    select count(*), bool_and(f.own) into v_filled, v_own from filled as f;
    {check_own}
    return v_filled;
end
$fill$

-- part: of_key
-- A key that has two rows in the source is never cached: nothing says which of them to serve.
select s.*, count(*) over () as _of_key from meshcache.{source} as s where {s_is_k}

-- part: check_own
-- In a savepoint (or a block with an exception handler) rows get the xid of the subtransaction and could
-- never be told from rows that a dump brought along.
if not v_own then
    raise exception using
        errcode = 'MC004', message = 'a fill cannot run inside a savepoint',
        hint = 'Call it as a statement of its own.';
end if;

-- part: may_fill
-- Transactions that were prepared before a crash are older than the epoch, and their marks are gone.
exists (
    select from meshcache_data.epoch as e
    where e.xmin = e.opened_by::xid and e.tableoid = e.table_oid
        and e.opened_by <= pg_snapshot_xmin(pg_current_snapshot())
)

-- part: is_current
-- A name is looked up when its lock is there: what began by one definition, and waited while it was replaced, goes on
-- with the table of the next. Its snapshot is from after the wait and sees that.
exists (
    select from meshcache.cached_view as v where v.id = {view_id} and v.generation = {generation}
)

-- part: on_conflict
on conflict ({keys}) do update set
    {assignments},
    _filled_in = excluded._filled_in, _filled_by = excluded._filled_by,
    _filled_at = excluded._filled_at, _expires_at = excluded._expires_at
where pg_snapshot_xmax(c._filled_in) <= pg_snapshot_xmax(excluded._filled_in)
    and pg_snapshot_xmin(c._filled_in) <= pg_snapshot_xmin(excluded._filled_in)

-- part: refresh
create function meshcache.{function}()
returns bigint
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $refresh$
begin
    if meshcache._begin_fill({view_id}, true) is not null then
        return null;
    end if;
    return meshcache.{fill_all}();
end
$refresh$

-- part: fill_all_complete
-- Every key in one snapshot, and the row that says so in the same statement. Null when an older transaction
-- than the epoch is still open. The caller holds the view's refresh lock.
create function meshcache.{function}()
returns bigint
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $refresh$
declare
    v_is_empty boolean;
    v_filled bigint;
begin
    {fill_table}
    if v_filled is null then
        return null;
    end if;
    -- A row written by this very (sub)transaction: its xmin is what a restored copy cannot have.
    update meshcache_data.view_state as v set written_as = v.xmin where v.view_id = {view_id};
    {remove_others}
    return v_filled;
end
$refresh$

-- part: fill_table
-- Under the refresh lock nobody else writes to the table, so one without pages stays without a row: to
-- look for each key in it first takes a quarter of the time of a fill.
v_is_empty := pg_relation_size({table}::regclass) = 0;
if v_is_empty then
    {into_nothing}
else
    {over_rows}
end if;

-- part: remove_others
if not v_is_empty then
    delete from meshcache_data.{name} as c where c._filled_by <> pg_current_xact_id();
end if;

-- part: all_complete
with moment as materialized (
    select pg_current_snapshot() as snapshot, pg_current_xact_id() as xid where {may_fill}
),
filled as (
    insert into meshcache_data.{name} as c ({columns}, _filled_in, _filled_by, _filled_at, _expires_at)
    select {s_columns}, moment.snapshot, moment.xid, statement_timestamp(), {expires_at}
    from moment cross join meshcache.{source} as s
    {on_conflict}
    returning 1
),
stated as (
    insert into meshcache_data.view_state as v (view_id, complete_in, complete_by, table_oid)
    select {view_id}, moment.snapshot, moment.xid, {table}::regclass from moment
    on conflict (view_id) do update set
        complete_in = excluded.complete_in, complete_by = excluded.complete_by, written_as = null,
        table_oid = excluded.table_oid, refreshed_at = excluded.refreshed_at
    returning 1
)
select case when exists (select from stated) then (select count(*) from filled) end into v_filled;

-- part: fill_all_on_demand
-- Every key of the source. The caller holds the view's refresh lock.
create function meshcache.{function}()
returns bigint
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $refresh$
declare
    v_is_empty boolean;
    v_filled bigint;
    v_own boolean;
begin
    {fill_table}
    {check_own}
    if v_filled = 0 and not ({may_fill}) then
        return null;
    end if;
    {remove_others}
    return v_filled;
end
$refresh$

-- part: all_on_demand
with filled as (
    insert into meshcache_data.{name} as c ({columns}, _filled_in, _filled_by, _filled_at, _expires_at)
    select {s_columns}, moment.snapshot, moment.xid, statement_timestamp(), {expires_at}
    from (select pg_current_snapshot() as snapshot, pg_current_xact_id() as xid where {may_fill} offset 0) as moment
    cross join meshcache.{source} as s
    -- A null can be asked for by nobody.
    where {s_known}
    {on_conflict}
    returning c.xmin = c._filled_by::xid as own
)
select count(*), bool_and(f.own) into v_filled, v_own from filled as f;

-- part: resolve_complete
-- Refills what is stale or new and removes what the source no longer has, in one snapshot. By their places in the table
-- as this statement sees it: joined with it, they would be looked for once per row where the planner knows of none.
create function meshcache.{function}(p_refill boolean)
returns bigint
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $resolve$
declare
    v_rows bigint;
begin
    if meshcache._begin_fill({view_id}, true) is not null then
        return null;
    end if;
    if {usable} is not true then
        v_rows := meshcache.{fill_all}();
        if v_rows is null and not p_refill then
            -- Too early to fill: closing the view is what lets its marks go.
            delete from meshcache_data.view_state as v where v.view_id = {view_id};
            return 0;
        end if;
        return v_rows;
    end if;
    -- Null when the view stopped being usable, or was replaced, since the statement before: nothing may be concluded
    -- then.
    with filled as (
        insert into meshcache_data.{name} as c ({columns}, _filled_in, _filled_by, _filled_at, _expires_at)
        select {s_columns}, pg_current_snapshot(), pg_current_xact_id(), statement_timestamp(), {expires_at}
        from meshcache.{stale} as s
        where {is_current}
        {on_conflict}
        returning {c_keys}
    ),
    -- Only what is marked or expired may have to go: to look at every row of a large view takes as long as to fill it.
    removed as (
        delete from meshcache_data.{name} as c
        where {usable} and {is_current} and c.ctid = any(array(
            select max(k._row) from (
                select {o_keys}, o._row from meshcache.{outdated} as o
                union all
                select {f_keys}, null from filled as f
            ) as k
            group by {k_keys}
            having bool_and(k._row is not null)
        ))
        returning 1
    )
    select case when {usable} and {is_current} then (select count(*) from filled) + (select count(*) from removed) end
    into v_rows;
    return v_rows;
end
$resolve$

-- part: resolve_on_demand
-- The sweep removes stale rows, by their places as above, and the next reader fills them again; a refresh recomputes
-- them at once.
create function meshcache.{function}(p_refill boolean)
returns bigint
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $resolve$
declare
    v_rows bigint := 0;
    v_removed bigint;
begin
    if meshcache._begin_fill({view_id}, true) is not null then
        return null;
    end if;
    if p_refill then
        insert into meshcache_data.{name} as c ({columns}, _filled_in, _filled_by, _filled_at, _expires_at)
        select {s_columns}, pg_current_snapshot(), pg_current_xact_id(), statement_timestamp(), {expires_at}
        from (select {o_keys} from meshcache.{outdated} as o offset 0) as k
        cross join lateral ({of_key}) as s
        where s._of_key = 1 and {may_fill}
        {on_conflict};
        get diagnostics v_rows = row_count;
    end if;
    delete from meshcache_data.{name} as c
    where {is_current} and c.ctid = any(array(select o._row from meshcache.{outdated} as o));
    get diagnostics v_removed = row_count;
    -- The table is locked by now, so that this stays as it is.
    return case when {is_current} then v_rows + v_removed end;
end
$resolve$
