-- What meshcache_pg/calls.py asks the catalog.

-- name: functions
-- Functions, of those given, that are not immutable or that read a table, with those behind the application's own
-- aggregates. `shown` is what their text gives away: that it asks for the session, or a table that it reads.
with recursive called (oid, shown_as) as (
    select f.oid, f.oid from unnest(cast(:oids as oid[])) as f (oid)
    union
    select s.oid, c.shown_as
    from called as c
    inner join pg_aggregate as a on a.aggfnoid = c.oid
    inner join pg_proc as p on p.oid = a.aggfnoid and p.pronamespace <> 'pg_catalog'::regnamespace
    cross join lateral (values (a.aggtransfn::oid), (a.aggfinalfn::oid)) as s (oid)
    where s.oid <> 0
)
select distinct
    p.oid::bigint as oid, c.shown_as::regprocedure::text as text, p.proname::text as name,
    p.pronamespace = 'pg_catalog'::regnamespace as is_built_in,
    p.provolatile = 'v' as is_volatile,
    p.provolatile = 's' as is_stable,
    p.pronamespace <> 'pg_catalog'::regnamespace and l.lanname not in ('internal', 'c') as has_text,
    p.prosrc ~* '\m(current_setting|current_user|session_user|current_role)\M' as asks_session,
    (
        select min(d.refobjid::regclass::text)
        from pg_depend as d
        where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.refclassid = 'pg_class'::regclass
    ) as reads
from called as c
inner join pg_proc as p on p.oid = c.oid
inner join pg_language as l on l.oid = p.prolang
order by 2;

-- name: catalogs
-- System catalogs among relations.
select c.oid::regclass::text
from pg_class as c
inner join pg_namespace as n on n.oid = c.relnamespace
where c.oid = any(cast(:oids as oid[])) and n.nspname in ('pg_catalog', 'information_schema')
order by 1;
