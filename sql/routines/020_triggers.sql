-- Mark triggers on one source table and on everything below it. The trigger functions meshcache._mark_<id>_*
-- are generated per source table (templates/mark_functions.sql); here they are attached.
--
-- Ordinary sessions fire statement triggers with transition tables: one function call per statement, whatever
-- the number of rows. A statement fires the triggers of the table it names and of no other, so each partition
-- has its own set. Sessions with session_replication_role = replica and the apply workers of logical
-- replication fire neither those nor, for the latter, any statement trigger: they get row triggers that are
-- ENABLE REPLICA.
--
-- Sweeps and refreshes ask for each source table whether all is there. So what they call is written in plpgsql: before
-- PostgreSQL 18 a function in SQL is parsed and planned at each call.

create or replace function meshcache._members(p_relation regclass)
returns oid[]
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        with recursive tree (relation) as (
            select i.inhrelid from pg_inherits as i where i.inhparent = p_relation
            union
            select i.inhrelid from pg_inherits as i inner join tree as t on i.inhparent = t.relation
        )
        select coalesce(array_agg(relation order by relation), '{}') from tree
    );
end
$$;
comment on function meshcache._members(regclass) is 'Partitions and inheritance children at any depth, ordered by oid.';
revoke execute on function meshcache._members(regclass) from public;

-- A foreign table among the partitions is written to elsewhere, where no trigger of ours is; and the server fails
-- statements that route a row to one where statement triggers want to see the rows. So such a table gets no triggers,
-- and nothing that depends on it is cached.
create or replace function meshcache._has_foreign_member(p_relation regclass)
returns boolean
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select exists (select from pg_class as c where c.oid = any(meshcache._members(p_relation)) and c.relkind = 'f')
    );
end
$$;
comment on function meshcache._has_foreign_member(regclass) is
'Whether a foreign table is among the partitions and inheritance children.';
revoke execute on function meshcache._has_foreign_member(regclass) from public;

-- The function of the guard triggers. It says in full what it means and has no search_path of its own, because to set
-- one takes longer than all that it does. (A WHEN clause that does the same takes longer, too: it is read and prepared
-- anew for each statement.)
create or replace function meshcache._guard()
returns trigger
language plpgsql
as $$
declare
    v_note pg_catalog.text;
begin
    v_note := pg_catalog.set_config(
        'meshcache.writing',
        pg_catalog.concat(pg_catalog.current_setting('meshcache.writing', true), '+'),
        true
    );
    return null;
end
$$;
comment on function meshcache._guard() is 'Notes that a statement on a source table is under way.';
revoke execute on function meshcache._guard() from public;

create or replace function meshcache._wanted_triggers(p_source_id integer)
returns table (relation oid, trigger_name text, enabled "char", definition text)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    return query
    with source as (
        select s.id, s.relation::oid as root
        from meshcache.source_table as s
        where s.id = p_source_id and not meshcache._has_foreign_member(s.relation)
    ),
    member as (
        select s.id, s.root as relation from source as s
        union all
        select s.id, c.oid
        from source as s
        cross join unnest(meshcache._members(s.root::regclass)) as m (relation)
        inner join pg_class as c on c.oid = m.relation and c.relkind in ('r', 'p')
    ),
    -- While a statement runs, its transaction sees rows that are not marked yet (in the application's own
    -- triggers, in volatile functions that the statement calls). One "+" per running statement sends its
    -- reads to the source; the function that leaves the marks takes it off again, and so does a rollback.
    guard (event) as (values ('insert'), ('update'), ('delete')),
    -- TRUNCATE is marked before it happens: no trigger of the application may see it done and not yet marked.
    statement (event, moment, transition) as (
        values
        ('insert', 'after', 'referencing new table as new_rows'),
        ('update', 'after', 'referencing old table as old_rows new table as new_rows'),
        ('delete', 'after', 'referencing old table as old_rows'),
        ('truncate', 'before', '')
    )
    select
        m.relation,
        format('meshcache_%s_guard_%s', m.id, g.event),
        'O'::"char",
        format(
            'create trigger %I before %s on %s for each statement execute function meshcache._guard()',
            format('meshcache_%s_guard_%s', m.id, g.event), g.event, m.relation::regclass
        )
    from member as m
    cross join guard as g
    union all
    select
        m.relation,
        format('meshcache_%s_mark_%s', m.id, t.event),
        case when t.event = 'truncate' then 'A' else 'O' end::"char",
        format(
            'create trigger %I %s %s on %s %s for each statement execute function meshcache.%I()',
            format('meshcache_%s_mark_%s', m.id, t.event), t.moment, t.event, m.relation::regclass, t.transition,
            format('_mark_%s_%s', m.id, t.event)
        )
    from member as m
    cross join statement as t
    union all
    -- Not on a partitioned table: the server would clone them to new partitions, whose owner may have no right on the
    -- function, and would drop the clones at DETACH.
    select
        m.relation,
        format('meshcache_%s_mark_row', m.id),
        'R'::"char",
        format(
            'create trigger %I after insert or update or delete on %s for each row execute function meshcache.%I()',
            format('meshcache_%s_mark_row', m.id), m.relation::regclass, format('_mark_%s_row', m.id)
        )
    from member as m
    inner join pg_class as c on c.oid = m.relation
    where c.relkind = 'r';
end
$$;
comment on function meshcache._wanted_triggers(integer) is 'The triggers that a source table and its members should carry.';
revoke execute on function meshcache._wanted_triggers(integer) from public;

create or replace function meshcache._missing_triggers(p_source_id integer)
returns table (relation oid, trigger_name text, enabled "char", definition text, present boolean, fires boolean)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    return query
    select w.relation, w.trigger_name, w.enabled, w.definition, t.oid is not null, coalesce(t.tgenabled <> 'D', false)
    from meshcache._wanted_triggers(p_source_id) as w
    left join pg_trigger as t on t.tgrelid = w.relation and t.tgname = w.trigger_name
    where t.oid is null or t.tgenabled is distinct from w.enabled;
end
$$;
comment on function meshcache._missing_triggers(integer) is 'Triggers that are absent, disabled or enabled for the wrong sessions.';
revoke execute on function meshcache._missing_triggers(integer) from public;

-- Needs: ownership of the tables. Locks: SHARE ROW EXCLUSIVE on each table that lacks a trigger, until
-- commit.
create or replace function meshcache._sync_triggers(p_source_id integer)
returns integer
language plpgsql
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    v_relation regclass;
    v_missing record;
    v_count integer := 0;
begin
    for v_relation in select distinct m.relation::regclass from meshcache._missing_triggers(p_source_id) as m order by 1
    loop
        -- Two who mend at once: the second one looks again when the first one has done it.
        execute format('lock table only %s in share row exclusive mode', v_relation);
        for v_missing in
            select * from meshcache._missing_triggers(p_source_id) as m where m.relation = v_relation
        loop
            if not v_missing.present then
                execute v_missing.definition;
            end if;
            if v_missing.present or v_missing.enabled <> 'O' then
                execute format(
                    'alter table %s enable %s trigger %I',
                    v_missing.relation::regclass,
                    case v_missing.enabled when 'A' then 'always' when 'R' then 'replica' else '' end,
                    v_missing.trigger_name
                );
            end if;
            v_count := v_count + 1;
        end loop;
    end loop;
    update meshcache.source_table as s
    set
        trusted = not meshcache._has_foreign_member(s.relation),
        children = meshcache._members(s.relation),
        -- A partition that is no partitioned table cannot get children; any other member can.
        parents = array(
            select c.oid from pg_class as c
            where c.oid = any(s.relation::oid || meshcache._members(s.relation))
                and not (c.relispartition and c.relkind <> 'p')
            order by c.oid
        )
    where s.id = p_source_id
        and (
            s.children is distinct from meshcache._members(s.relation) or s.parents = '{}'
            or s.trusted = meshcache._has_foreign_member(s.relation)
        );
    -- Whatever was not as it should be may have let a write through, or brought rows along: mending it must not make
    -- old cached rows look right again.
    if found or v_count > 0 then
        insert into meshcache.wildcard_mark (source_id) values (p_source_id) on conflict do nothing;
    end if;
    return v_count;
end
$$;
comment on function meshcache._sync_triggers(integer) is
'Creates or enables the triggers that are missing and notes the partitions. Returns how many it touched.';
revoke execute on function meshcache._sync_triggers(integer) from public;

create or replace function meshcache._drop_triggers(p_source_id integer)
returns void
language plpgsql
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    v_trigger record;
begin
    for v_trigger in
        select t.tgrelid::regclass as relation, t.tgname as name
        from pg_trigger as t
        where t.tgname like format('meshcache\_%s\_%%', p_source_id) and not t.tgisinternal
            and t.tgparentid = 0
            and t.tgfoid in (select p.oid from pg_proc as p where p.pronamespace = 'meshcache'::regnamespace)
    loop
        execute format('drop trigger %I on %s', v_trigger.name, v_trigger.relation);
    end loop;
end
$$;
comment on function meshcache._drop_triggers(integer) is 'Drops every mark trigger of a source table, on it and on its partitions.';
revoke execute on function meshcache._drop_triggers(integer) from public;
