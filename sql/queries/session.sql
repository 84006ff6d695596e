-- What meshcache_pg/session.py asks the catalog about functions and types.

-- name: stable_functions
-- Built-in functions, of those given, that are not immutable. A polymorphic one is as good as what it is given; to_char
-- of what has no time zone asks for the locale only where its pattern does, and the order of an enumeration is fixed.
select
    p.oid::bigint as oid, p.oid::regprocedure::text as name,
    p.provariadic = '"any"'::regtype or exists (
        select from pg_type as t where t.oid = any(p.proargtypes) and t.typtype = 'p'
    ) as polymorphic,
    p.proname ~ 'json' as writes_json
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

-- name: types
-- Types whose text depends on the settings of a session, and those made of them. JSON has its own form of dates. What
-- is made of what is one relation, so that it is hashed and not searched again for each type.
with recursive fickle (oid, in_json) as (
    select b.type::regtype::oid, b.in_json
    from (
        values ('timestamptz', true), ('interval', true), ('money', true), ('bytea', true),
        ('date', false), ('timestamp', false)
    ) as b (type, in_json)
    union
    select made.oid, f.in_json
    from fickle as f
    inner join (
        select t.oid, t.typelem as part from pg_type as t where t.typelem <> 0
        union all
        select t.oid, t.typbasetype from pg_type as t where t.typbasetype <> 0
        union all
        select r.rngtypid, r.rngsubtype from pg_range as r
        union all
        select c.reltype, a.atttypid from pg_attribute as a
        inner join pg_class as c on c.oid = a.attrelid and c.reltype <> 0
        where a.attnum > 0 and not a.attisdropped
    ) as made on made.part = f.oid
)
select f.oid::bigint as oid, format_type(f.oid, null) as name, bool_or(f.in_json) as in_json
from fickle as f
group by f.oid;
