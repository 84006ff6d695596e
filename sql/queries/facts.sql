-- What meshcache_pg/facts.py asks the catalog before dependencies are derived from a view.

-- name: trees
-- The parsed query of a view, and of every view that it reads.
with recursive views (oid) as (
    select cast(:oid as oid)
    union
    select d.refobjid
    from views as v
    inner join pg_rewrite as r on r.ev_class = v.oid
    inner join pg_depend as d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
    inner join pg_class as c on c.oid = d.refobjid and c.relkind = 'v'
    where d.refclassid = 'pg_class'::regclass
)
select v.oid::bigint as oid, r.ev_action::text as tree
from views as v
inner join pg_rewrite as r on r.ev_class = v.oid and r.ev_type = '1';

-- name: relations
-- Columns of relations, those that are never null, and which sets of them no two rows share at any moment: a constraint
-- that is checked late may be broken inside of a transaction, and an index of a table does not know the rows of its
-- inheritance children.
select
    c.oid::bigint as oid, n.nspname as schema, c.relname as name, c.relkind::text as kind,
    coalesce(a.columns, '{}') as columns, coalesce(a.virtual, '{}') as virtual,
    coalesce(a.not_null, '{}') as not_null, coalesce(u.keys, '[]') as unique_keys
from pg_class as c
inner join pg_namespace as n on n.oid = c.relnamespace
left join lateral (
    select
        jsonb_object_agg(a.attnum, a.attname) as columns,
        array_agg(a.attnum::integer) filter (where a.attgenerated = 'v') as virtual,
        array_agg(a.attnum::integer) filter (
            -- Before PostgreSQL 18 an inheritance child may do without; since then rows may wait to be validated.
            where a.attnotnull
                and not exists (
                    with recursive below (oid) as (
                        select c.oid
                        union
                        select i.inhrelid from below as b inner join pg_inherits as i on i.inhparent = b.oid
                    )
                    select from below as b
                    inner join pg_attribute as x on x.attrelid = b.oid and x.attname = a.attname
                    where not x.attnotnull
                )
                and not exists (
                    select from pg_constraint as k
                    where k.conrelid = a.attrelid and k.contype = 'n' and not k.convalidated
                        and a.attnum = any(k.conkey)
                )
        ) as not_null
    from pg_attribute as a
    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
) as a on true
left join lateral (
    select jsonb_agg((i.indkey::smallint[])[0:i.indnkeyatts - 1] order by i.indisprimary desc, i.indexrelid) as keys
    from pg_index as i
    where i.indrelid = c.oid and i.indisunique and i.indimmediate and i.indisvalid
        and i.indpred is null and i.indexprs is null
        and (c.relkind = 'p' or not c.relhassubclass)
        and not exists (
            select from generate_series(0, i.indnkeyatts - 1) as k (place)
            inner join pg_opclass as o on o.oid = i.indclass[k.place]
            inner join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = i.indkey[k.place]
            where not o.opcdefault or i.indcollation[k.place] <> a.attcollation
        )
) as u on true
where c.oid = any(cast(:oids as oid[]));

-- name: families
-- The btree operator family by which values of a type are compared: that of its default class, of its base type, or
-- of the type that it is silently taken for (varchar for text). Arrays and composites cannot be marked: none here.
with recursive bases (oid, base) as (
    select t.oid, t.oid from pg_type as t where t.oid = any(cast(:oids as oid[]))
    union
    select b.oid, t.typbasetype
    from bases as b
    inner join pg_type as t on t.oid = b.base and t.typtype = 'd'
),
scalars as (
    select b.oid, t.oid as base, case t.typtype when 'e' then 'anyenum'::regtype::oid else t.oid end as compared
    from bases as b
    inner join pg_type as t on t.oid = b.base and t.typtype in ('b', 'e') and t.typcategory <> 'A'
)
select s.oid::bigint as oid, coalesce(own.opcfamily, taken.opcfamily)::bigint as family
from scalars as s
left join lateral (
    select o.opcfamily
    from pg_opclass as o
    inner join pg_am as m on m.oid = o.opcmethod and m.amname = 'btree'
    where o.opcdefault and o.opcintype = s.compared
) as own on true
left join lateral (
    select o.opcfamily
    from pg_cast as x
    inner join pg_type as t on t.oid = x.casttarget and t.typispreferred
    inner join pg_opclass as o on o.opcdefault and o.opcintype = t.oid
    inner join pg_am as m on m.oid = o.opcmethod and m.amname = 'btree'
    where x.castsource = s.base and x.castmethod = 'b' and x.castcontext = 'i'
) as taken on own.opcfamily is null
where coalesce(own.opcfamily, taken.opcfamily) is not null;

-- name: equality
-- The btree operator families in which an operator is the equality, where it asks for nothing but its arguments.
select o.oid::bigint as oid, array_agg(p.amopfamily::bigint) as families
from pg_operator as o
inner join pg_proc as f on f.oid = o.oprcode and f.provolatile = 'i'
inner join pg_amop as p on p.amopopr = o.oid and p.amopstrategy = 3
inner join pg_am as m on m.oid = p.amopmethod and m.amname = 'btree'
where o.oid = any(cast(:oids as oid[]))
group by o.oid;

-- name: nondeterministic
-- Collations that take different strings for equal.
select c.oid::bigint from pg_collation as c where not c.collisdeterministic;

-- name: total
-- Built-in functions, of those given, that return a value for whatever values they are given: no null.
select p.oid::bigint
from pg_proc as p
where p.oid = any(cast(:oids as oid[])) and p.pronamespace = 'pg_catalog'::regnamespace
    and p.proname = any(array[
        'count', 'row_number', 'rank', 'dense_rank',
        'lower', 'upper', 'initcap', 'btrim', 'ltrim', 'rtrim', 'replace', 'substr', 'left', 'right',
        'textcat', 'concat', 'md5', 'length', 'octet_length', 'translate', 'lpad', 'rpad',
        'abs', 'ceil', 'ceiling', 'floor', 'round', 'trunc', 'sign', 'mod',
        'date_trunc', 'date', 'timezone', 'timestamp', 'timestamptz', 'date_bin',
        'int2', 'int4', 'int8', 'float4', 'float8', 'numeric', 'text', 'varchar', 'bpchar', 'name',
        'int4pl', 'int4mi', 'int4mul', 'int4div', 'int4mod', 'int8pl', 'int8mi', 'int8mul', 'int8div', 'int8mod',
        'int48pl', 'int84pl', 'int48mi', 'int84mi', 'numeric_add', 'numeric_sub', 'numeric_mul', 'numeric_div',
        'date_pli', 'date_mii', 'timestamp_pl_interval', 'timestamptz_pl_interval',
        'generate_series', 'jsonb_array_elements', 'json_array_elements', 'jsonb_object_keys', 'json_object_keys'
    ]::name[]);
