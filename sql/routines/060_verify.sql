-- Where a comparison on a running system takes its samples from: a few pages, whatever the size of the table.
-- TABLESAMPLE would look at the number of every page; ranges of ctid exist from PostgreSQL 14 on. A list of ctids is
-- read as it is.

create or replace function meshcache._random_tids(p_table regclass)
returns tid[]
language sql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
    with block as (select current_setting('block_size')::integer as bytes),
    pages as (
        select distinct floor(random() * (pg_relation_size(p_table) / b.bytes))::bigint as page
        from block as b cross join generate_series(1, 4)
        where pg_relation_size(p_table) >= b.bytes
    )
    -- The most rows that a page can hold: a header of 24 bytes, then 28 bytes for the shortest row and its pointer.
    select coalesce(array_agg(format('(%s,%s)', p.page, n.item)::tid), '{}'::tid[])
    from pages as p cross join block as b cross join lateral generate_series(1, (b.bytes - 24) / 28) as n (item)
$$;
comment on function meshcache._random_tids(regclass) is
'Every place for a row on four random pages of a table; those without a row are passed over when they are read.';
revoke execute on function meshcache._random_tids(regclass) from public;

-- Marks are few where a sweep runs, and their table has empty pages: of a small one all pages are read.
create or replace function meshcache._sample_share(p_table regclass)
returns real
language sql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
    select least(100, 3200.0 * current_setting('block_size')::integer / greatest(pg_relation_size(p_table), 1))::real
$$;
comment on function meshcache._sample_share(regclass) is
'For TABLESAMPLE SYSTEM: the percentage of a table that is about 32 pages.';
revoke execute on function meshcache._sample_share(regclass) from public;

create or replace function meshcache._random_part(p_source_id integer)
returns regclass
language sql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
    select c.oid::regclass
    from meshcache.source_table as t
    cross join lateral unnest(array_append(t.children, t.relation::oid)) as r (oid)
    inner join pg_class as c on r.oid = c.oid
    where t.id = p_source_id and c.relkind = 'r'
    -- The smallest of exponential variates is this one with a probability that is proportional to its size.
    order by -ln(1 - random()) / greatest(c.relpages, 1)
    limit 1
$$;
comment on function meshcache._random_part(integer) is
'A source table, or one of its partitions or inheritance children: the larger, the more often.';
revoke execute on function meshcache._random_part(integer) from public;
