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
