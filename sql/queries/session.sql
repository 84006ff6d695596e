-- What meshcache_pg/session.py asks the catalog about functions and types.

-- name: stable_functions
-- Built-in functions, of those given, that are not immutable. A polymorphic one is as good as what it is given; to_char
-- of what has no time zone asks for the locale only where its pattern does, and the order of an enumeration is fixed.
select
    p.oid::bigint as oid, p.oid::regprocedure::text as name,
    p.provariadic = '"any"'::regtype or exists (
        select from pg_type as t where t.oid = any(p.proargtypes) and t.typtype = 'p'
    ) as polymorphic,
    p.proname ~ 'json' and p.proname !~ 'populate' as writes_json
from pg_proc as p
inner join pg_language as l on l.oid = p.prolang
where p.oid = any(cast(:oids as oid[])) and p.provolatile = 's'
    and (l.lanname in ('internal', 'c') or p.pronamespace = 'pg_catalog'::regnamespace)
    and p.oid <> all(array[
        'to_char(timestamp, text)'::regprocedure, 'to_char(interval, text)'::regprocedure,
        'to_char(numeric, text)'::regprocedure, 'to_char(integer, text)'::regprocedure,
        'to_char(bigint, text)'::regprocedure, 'to_char(double precision, text)'::regprocedure,
        'enum_first(anyenum)'::regprocedure, 'enum_last(anyenum)'::regprocedure,
        'enum_range(anyenum)'::regprocedure, 'enum_range(anyenum, anyenum)'::regprocedure
    ]::oid[]);

-- name: comparisons
-- Operators, of those given, that are not immutable, by their functions' names: a row comparison has nothing else.
select o.oid::bigint as oid, o.oprcode::regprocedure::text as name
from pg_operator as o
inner join pg_proc as p on p.oid = o.oprcode
where o.oid = any(cast(:oids as oid[])) and p.provolatile = 's';

-- name: silent_casts
-- Types that others are turned into without a word, as the session has it: a moment from a date.
select distinct c.casttarget::bigint as oid, format_type(c.casttarget, null) as name
from pg_cast as c
inner join pg_proc as p on p.oid = c.castfunc
where c.castcontext = 'i' and p.provolatile = 's' and c.castsource <> c.casttarget;

-- name: moments_in_paths
-- Whether one of these views may have a JSON path that makes moments of text, which some comparisons do as the session
-- has it. The path of an expression is a constant of bytes; only the printed view shows it.
select exists (
    select from unnest(cast(:oids as oid[])) as v (oid)
    where pg_get_viewdef(v.oid) ~ '[.](datetime|date|time|time_tz|timestamp|timestamp_tz)[(]'
);

-- name: types
-- Types whose text depends on the settings of a session, and those made of them. JSON has its own form of dates. A name
-- of the catalog is qualified or not, as the search_path has it. Multiranges came with PostgreSQL 14. What is made of
-- what is collected once: asked anew for each type, it is a scan of all columns for each.
with recursive made (base, oid) as materialized (
    select t.typelem, t.oid from pg_type as t where t.typelem <> 0
    union all
    select t.typbasetype, t.oid from pg_type as t where t.typbasetype <> 0
    union all
    select r.rngsubtype, x.oid
    from pg_range as r
    cross join unnest(array[r.rngtypid, cast(to_jsonb(r) ->> 'rngmultitypid' as oid)]) as x (oid)
    union all
    select a.atttypid, c.reltype from pg_attribute as a
    inner join pg_class as c on c.oid = a.attrelid and c.reltype <> 0
    where a.attnum > 0 and not a.attisdropped
),
fickle (oid, in_json) as (
    select b.type::regtype::oid, b.in_json
    from (
        values ('timestamptz', true), ('interval', true), ('money', true), ('bytea', true),
        ('date', false), ('timestamp', false), ('regclass', true), ('regproc', true), ('regprocedure', true),
        ('regoper', true), ('regoperator', true), ('regtype', true), ('regconfig', true), ('regdictionary', true),
        ('regcollation', true)
    ) as b (type, in_json)
    union
    select m.oid, f.in_json
    from fickle as f
    inner join made as m on m.base = f.oid
)
select f.oid::bigint as oid, format_type(f.oid, null) as name, bool_or(f.in_json) as in_json
from fickle as f
group by f.oid;
