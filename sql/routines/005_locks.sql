-- Advisory locks of the cache live in the two-integer key space under these classes (chosen at random; an
-- application that uses the same pair makes a fill or a sweep give up, it can never be made to wait for one).
--   fill     shared by every fill of a view; the sweep takes it exclusively for an instant (its barrier)
--   refresh  shared by fills by key, exclusive for whatever rewrites many rows of the view
--   open     one opener at a time; also whoever creates the data schema
--   sweep    taken for an instant when a sweep begins, so that two that begin at once do not do the same work
--   apply    whoever changes definitions, and with them the trigger functions and mark tables

create or replace function meshcache._lock_class(p_what text)
returns integer
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
    select case p_what
        when 'fill' then 1296257841
        when 'refresh' then 1296257842
        when 'open' then 1296257843
        when 'sweep' then 1296257844
        when 'apply' then 1296257845
    end
$$;
comment on function meshcache._lock_class(text) is 'First key of the cache''s advisory locks.';
revoke execute on function meshcache._lock_class(text) from public;

-- Takes what a fill needs before it takes its snapshot, in the statement before the fill. Returns null when
-- the fill may go on, or else the reason why not: never an error, and never a wait.
create or replace function meshcache._begin_fill(p_view_id integer, p_whole boolean)
returns text
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
begin
    if pg_is_in_recovery() or current_setting('transaction_read_only')::boolean then
        return 'read_only';
    end if;
    -- Under REPEATABLE READ and above the snapshot is older than the locks taken here.
    if current_setting('transaction_isolation') <> 'read committed' then
        return 'isolation';
    end if;
    -- A transaction that has written sees its own changes; what it stored would be wrong after its rollback
    -- to a savepoint, and in a transaction that stays open the row would hold back the sweep.
    if pg_current_xact_id_if_assigned() is not null then
        return 'has_written';
    end if;
    if to_regclass('meshcache_data.epoch') is null or not meshcache._is_open() then
        return 'closed';
    end if;
    if not pg_try_advisory_xact_lock_shared(meshcache._lock_class('fill'), p_view_id) then
        return 'busy';
    end if;
    if p_whole then
        if not pg_try_advisory_xact_lock(meshcache._lock_class('refresh'), p_view_id) then
            return 'busy';
        end if;
    elsif not pg_try_advisory_xact_lock_shared(meshcache._lock_class('refresh'), p_view_id) then
        return 'busy';
    end if;
    return null;
end
$$;
comment on function meshcache._begin_fill(integer, boolean) is
'Null when the calling transaction may fill, else why not: read_only, isolation, has_written, closed or busy.';
revoke execute on function meshcache._begin_fill(integer, boolean) from public;

-- Each statement waits for its lock while there is time left, of p_left_ms for all of them; then what is free is
-- taken, and what another transaction has, prepared ones included, is an error instead of a wait. p_relations has the
-- relation that the statement of the same place takes all for itself, null for none.
create or replace function meshcache._run_in_time(
    p_statements text[], p_relations text[], p_left_ms integer, p_longest_ms integer
)
returns void
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    v_end timestamptz := clock_timestamp() + p_left_ms * interval '1 ms';
    v_left_ms integer;
begin
    for n in 1 .. cardinality(p_statements) loop
        v_left_ms := floor(extract(epoch from v_end - clock_timestamp()) * 1000);
        if v_left_ms <= 0 and exists (
            select from pg_locks as l
            where l.locktype = 'relation' and l.granted and l.pid is distinct from pg_backend_pid()
                and l.database = (select d.oid from pg_database as d where d.datname = current_database())
                and l.relation = to_regclass(p_relations[n])
        ) then
            raise lock_not_available using
                message = format('%s is in use, and there is no time left to wait for it', p_relations[n]),
                hint = 'Try again.';
        end if;
        perform set_config('lock_timeout', least(p_longest_ms, greatest(1, v_left_ms))::text, true);
        execute p_statements[n];
    end loop;
end
$$;
comment on function meshcache._run_in_time(text[], text[], integer, integer) is
'Runs DDL one after the other in one call, with a limit to all waits for locks together.';
revoke execute on function meshcache._run_in_time(text[], text[], integer, integer) from public;

-- The trigger functions of a source table are written anew from all that the catalog asks of it: of two who do so side
-- by side, the second would leave out what the first has added. Taken before anything that readers or writers use, and
-- waited for no longer than lock_timeout.
create or replace function meshcache._begin_apply()
returns void
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
begin
    -- Under REPEATABLE READ and above the catalog would be seen as it was before the wait.
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception using
            errcode = 'MC003',
            message = format(
                'definitions are changed under READ COMMITTED, this transaction has %s',
                upper(current_setting('transaction_isolation'))
            ),
            hint = 'set default_transaction_isolation = ''read committed''';
    end if;
    perform pg_advisory_xact_lock(meshcache._lock_class('apply'), 0);
exception
    when lock_not_available then
        raise exception using
            errcode = 'MC007', message = 'another transaction is changing definitions',
            hint = 'Try again when it has ended.';
end
$$;
comment on function meshcache._begin_apply() is
'Makes a transaction the only one that changes definitions, until it ends; waits at most lock_timeout for its turn.';
revoke execute on function meshcache._begin_apply() from public;
