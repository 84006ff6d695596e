-- What meshcache_pg/underlying.py asks the catalog: on what, beside the rows of tables, the answer of a view rests.

-- name: objects
-- Views of the application that a view reads, functions that it calls, tables of which it reads generated columns: by
-- itself, through its operators and aggregates, and through each other as far as the server records it.
with recursive used (class, object, place) as (
    select 'pg_class'::regclass::oid, cast(:oid as oid), 0
    union
    select x.class, x.object, x.place
    from used as u
    cross join lateral (
        select 'pg_rewrite'::regclass::oid as class, r.oid as object, 0 as place
        from pg_rewrite as r
        inner join pg_class as c on c.oid = r.ev_class and c.relkind = 'v'
        where u.class = 'pg_class'::regclass and r.ev_class = u.object
        union all
        select 'pg_attrdef'::regclass::oid, f.oid, 0
        from pg_attrdef as f
        inner join pg_attribute as a on a.attrelid = f.adrelid and a.attnum = f.adnum and a.attgenerated <> ''
        where u.class = 'pg_class'::regclass and f.adrelid = u.object and f.adnum = u.place
        union all
        select d.refclassid, d.refobjid, d.refobjsubid
        from pg_depend as d
        where d.classid = u.class and d.objid = u.object and d.deptype in ('n', 'a')
            and (u.class <> 'pg_class'::regclass or (u.place > 0 and d.objsubid = u.place))
            and d.refclassid in ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_operator'::regclass)
    ) as x
)
select distinct u.object::bigint as oid, u.class = 'pg_proc'::regclass as is_function
from used as u
left join pg_class as c on u.class = 'pg_class'::regclass and c.oid = u.object
where (u.class = 'pg_proc'::regclass and u.object >= 16384)
    or (c.relkind = 'v' and u.object <> cast(:oid as oid) and u.object >= 16384)
union
select f.adrelid::bigint, false
from used as u
inner join pg_attrdef as f on f.oid = u.object
where u.class = 'pg_attrdef'::regclass
order by 1;

-- name: types
-- Enumerations and composite types among the columns of relations, and inside of the types of these: what their text
-- is can be changed. A composite type is known by the oid of its columns' relation. An array stands between the two
-- searches because the planner takes it for short: it would make room for millions of types, which takes a tenth of a
-- second where work_mem allows it.
with recursive made (oid) as (
    select a.atttypid
    from pg_attribute as a
    where a.attrelid = any(cast(:relations as oid[])) and a.attnum > 0 and not a.attisdropped
    union
    select inner_type.oid
    from made as m
    inner join pg_type as t on t.oid = m.oid
    cross join lateral (
        select t.typelem as oid where t.typelem <> 0
        union all
        select t.typbasetype where t.typbasetype <> 0
        union all
        select r.rngsubtype from pg_range as r where r.rngtypid = t.oid
        union all
        select a.atttypid from pg_attribute as a
        where a.attrelid = t.typrelid and t.typrelid <> 0 and a.attnum > 0 and not a.attisdropped
    ) as inner_type
),
changing (oid, object, is_composite) as (
    select t.oid, case t.typtype when 'c' then t.typrelid else t.oid end, t.typtype = 'c'
    from pg_type as t
    where t.oid = any(array(select m.oid from made as m)) and t.typtype in ('e', 'c') and t.oid >= 16384
),
-- What is made of them has a text of theirs.
wrapped (oid, object, is_composite) as (
    select c.oid, c.object, c.is_composite from changing as c
    union
    select outer_type.oid, w.object, w.is_composite
    from wrapped as w
    inner join lateral (
        select t.oid from pg_type as t where t.typelem = w.oid or t.typbasetype = w.oid
        union all
        select r.rngtypid from pg_range as r where r.rngsubtype = w.oid
        union all
        select c.reltype from pg_attribute as a
        inner join pg_class as c on c.oid = a.attrelid and c.reltype <> 0
        where a.atttypid = w.oid and a.attnum > 0 and not a.attisdropped
    ) as outer_type on true
)
select w.oid::bigint as oid, w.object::bigint as object, w.is_composite, format_type(w.oid, null) as name
from wrapped as w;

-- name: changed
-- Whether any of it is no longer as noted.
select not meshcache._rests_as_noted(:view_id);
