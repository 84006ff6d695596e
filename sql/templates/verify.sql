-- Compares what the cache would serve with the source, in one statement and so in one snapshot. Composed by
-- render.py. Rows are compared as stored, and by their text where the stored form differs (a jsonb or numeric
-- may have two).

-- part: complete
create function meshcache.{function}(p_share double precision, p_limit integer)
returns jsonb
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $verify$
declare
    v_result jsonb;
begin
    with compared as (
        select
            jsonb_build_object({key_object}) as key,
            case
                when {s_key} is null then 'not in the source'
                when {c_key} is null then 'missing in the cache'
                when row({columns})::record operator(pg_catalog.*<>) row({s_columns})::record
                    and row({columns})::text <> row({s_columns})::text then 'differs'
            end as problem,
            c._origin
        from (select * from meshcache.{rows} as c offset 0) as c
        full join (select * from meshcache.{source} as s offset 0) as s on {same_key}
        where p_share >= 1 or random() < p_share
    ),
    numbered as (
        select key, problem, row_number() over () as n from compared where problem is not null
    )
    select jsonb_build_object(
        'compared', (select count(*) from compared),
        'cached', (select count(*) from compared where _origin = 'hit'),
        'different', (select count(*) from numbered),
        'differences', coalesce(
            (select jsonb_agg(jsonb_build_object('key', key, 'problem', problem)) from numbered where n <= p_limit),
            '[]'
        )
    ) into v_result;
    return v_result;
end
$verify$

-- part: on_demand
create function meshcache.{function}(p_share double precision, p_limit integer)
returns jsonb
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $verify$
declare
    v_result jsonb;
begin
    with compared as (
        select
            jsonb_build_object({key_object}) as key,
            case
                when {s_key} is null then 'not in the source'
                when row({columns})::record operator(pg_catalog.*<>) row({s_columns})::record
                    and row({columns})::text <> row({s_columns})::text then 'differs'
            end as problem
        from (
            select c.* from meshcache.{fresh_rows} as c where p_share >= 1 or random() < p_share offset 0
        ) as c
        left join lateral (select * from meshcache.{source} as s where {same_key} offset 0) as s on true
    ),
    numbered as (
        select key, problem, row_number() over () as n from compared where problem is not null
    )
    select jsonb_build_object(
        'compared', (select count(*) from compared),
        'cached', (select count(*) from compared),
        'different', (select count(*) from numbered),
        'differences', coalesce(
            (select jsonb_agg(jsonb_build_object('key', key, 'problem', problem)) from numbered where n <= p_limit),
            '[]'
        )
    ) into v_result;
    return v_result;
end
$verify$

-- part: pick
-- A few keys for a comparison on a running system, as text: from pending marks (the newest first), from the cache, or
-- from the source those that are not cached. It reads some pages of each table, however large that is; the planner
-- would rather read the whole of a middle-sized one than look up a thousand places.
create function meshcache.{function}(p_from text, p_limit integer)
returns setof text[]
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $pick$
declare
    v_tids tid[];
    v_share real;
    v_table regclass;
begin
    if p_from = 'cached' then
        v_tids := meshcache._random_tids({cache_table}::regclass);
        return query
        select array[{c_keys}]
        from meshcache_data.{name} as c where c.ctid = any(v_tids) order by random() limit p_limit;
    elsif p_from = 'marked' then
        {marked}
        null;
    else
        {uncached}
        null;
    end if;
end
$pick$

-- part: newest_marks
-- Values of pending marks, carried along the links; a link may lead to many, so each mark leads to a few.
(
    select {values}
    from (
        select m.* from meshcache.{mark_table} as m tablesample system (v_share) order by m.xid desc limit p_limit * 4
    ) as m {joins}
    where {known}
    limit p_limit * 16
) as v ({view_columns})

-- part: marked_key
v_share := meshcache._sample_share({mark_table_name}::regclass);
return query
select array[{v_keys}] from {newest_marks} order by random() limit p_limit;

-- part: marked_row
-- The value says which rows, and not which keys.
v_share := meshcache._sample_share({mark_table_name}::regclass);
return query
select array[{s_keys}]
from (select v.* from {newest_marks} order by random() limit 4) as v
cross join lateral (select s.* from meshcache.{source} as s where {s_is_v} limit p_limit) as s
order by random() limit p_limit;

-- part: uncached
v_table := meshcache._random_part({source_id});
if v_table is not null then
    v_tids := meshcache._random_tids(v_table);
    return query execute format({statement}, v_table) using v_tids, p_limit;
end if;

-- part: uncached_key
-- OFFSET keeps the look into the cache a probe by key; joined, it might read all of it.
select array[{v_keys}]
from (select {values} from {table} as m where m.ctid = any($1) and {known} offset 0) as v ({view_columns})
where not exists (select from meshcache_data.{name} as c where {c_is_v} offset 0)
order by random() limit $2

-- part: uncached_row
select array[{s_keys}]
from (
    select {values} from {table} as m where m.ctid = any($1) and {known} order by random() limit 4
) as v ({view_columns})
cross join lateral (select s.* from meshcache.{source} as s where {s_is_v} limit $2) as s
where not exists (select from meshcache_data.{name} as c where {c_is_s} offset 0)
limit $2

-- part: compare
-- Some keys, each asked of the source and of every way to read the cache: one statement, one snapshot. Volatile, so
-- that the snapshot is taken after the tables are locked: a TRUNCATE in between would show an empty source.
create function meshcache.{function}({parameters})
returns jsonb
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $compare$
declare
    v_result jsonb;
begin
    with asked as materialized (
        select u._compared_n, {typed_keys} from unnest({arrays}) with ordinality as u ({keys}, _compared_n)
    ),
    answers as materialized (
        select
            k._compared_n, a._compared_by, a._origin, p._problem,
            case when p._problem = 'differs' then (
                select jsonb_object_agg(x.name, x.pair)
                from (values {each_column}) as x (name, differs, pair)
                where x.differs
            ) end as _columns
        from asked as k
        left join lateral (select * from meshcache.{source} as s where {s_is_k} offset 0) as s on true
        left join lateral (select * from meshcache.{hits} as h where {h_is_k} offset 0) as h on true
        left join lateral (select * from meshcache.{get}({k_keys}) as g offset 0) as g on true
        {live_join}
        cross join lateral (
            select 'hits', 'hit', {h_columns}
            union all
            select 'get', g._origin, {g_columns}
            {live_answer}
        ) as a (_compared_by, _origin, {names})
        cross join lateral (
            select case
                -- The cached rows are not all rows; the other ways to read must have them.
                when {a_key} is null and {s_key} is null or {a_key} is null and a._compared_by = 'hits' then null
                when {a_key} is null then 'missing in the cache'
                when {s_key} is null then 'not in the source'
                when row({a_columns})::record operator(pg_catalog.*<>) row({s_columns})::record
                    and row({a_columns})::text <> row({s_columns})::text then 'differs'
            end as _problem
        ) as p
    ),
    wrong as (
        select
            w._compared_n,
            jsonb_agg(
                jsonb_build_object('reader', w._compared_by, 'problem', w._problem, 'columns', w._columns)
                order by w._compared_by
            ) as answers
        from answers as w
        where w._problem is not null
        group by w._compared_n
    ),
    shown as (
        select jsonb_build_object(
            'key', jsonb_build_object({key_object}),
            'key_text', array[{k_texts}],
            'answers', w.answers,
            'filled_in', c._filled_in::text,
            'filled_by', c._filled_by::text,
            'filled_at', c._filled_at,
            'marks', coalesce((select jsonb_agg(to_jsonb(m)) from ({marks}) as m), '[]')
        ) as difference
        from (select w.* from wrong as w order by w._compared_n limit {limit}) as w
        inner join asked as k on w._compared_n = k._compared_n
        left join lateral (
            select {c_stored}, c._filled_in, c._filled_by, c._filled_at
            from meshcache_data.{name} as c where {c_is_k}
            union all
            select {s_stored}, null, null, null from meshcache.{source} as s where {s_is_k}
            limit 1
        ) as c on true
    )
    select jsonb_build_object(
        'snapshot', pg_current_snapshot()::text,
        'compared', (select count(*) from asked),
        'origins', (
            select jsonb_object_agg(o.origin, o.number)
            from (
                select coalesce(g._origin, 'absent') as origin, count(*) as number
                from answers as g where g._compared_by = 'get' group by 1
            ) as o
        ),
        'different', (select count(*) from wrong),
        'differences', coalesce((select jsonb_agg(s.difference) from shown as s), '[]')
    ) into v_result;
    return v_result;
end
$compare$

-- part: live_join
left join lateral (select * from meshcache.{rows} as r where {r_is_k} offset 0) as r on true

-- part: live_answer
union all
select 'live', r._origin, {r_columns}

-- part: each_column
(
    {text},
    row({a_column})::record operator(pg_catalog.*<>) row({s_column})::record
        and row({a_column})::text <> row({s_column})::text,
    case when {with_values} then jsonb_build_object('cache', {a_column}, 'source', {s_column}) end
)

-- part: marks_of
-- The marks that the row of this key depends on, and whether its fill had seen them.
(
    select
        (select t.relation::text from meshcache.source_table as t where t.id = {source_id}) as source,
        {columns}::text[] as columns, m.xid::text as xid,
        coalesce(m.xid <> c._filled_by and pg_visible_in_snapshot(m.xid, c._filled_in), false) as in_fill
    from meshcache.{mark_table} as m {joins}
    where {match}
    order by m.xid desc
    limit 10
)
union all

-- part: wildcards_of
(
    select
        (select t.relation::text from meshcache.source_table as t where t.id = w.source_id), null::text[], w.xid::text,
        coalesce(w.xid <> c._filled_by and pg_visible_in_snapshot(w.xid, c._filled_in), false)
    from meshcache.wildcard_mark as w
    where w.source_id = any({sources})
    order by w.xid desc
    limit 10
)
