-- The trigger functions of one source table. Parts are separated by "-- part:" lines; render.py repeats the
-- per-mark parts for every mark table and puts them into the functions.

-- part: function
create or replace function meshcache.{function}()
returns trigger
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $mark$
declare
    v_distinct bigint;
begin
    {body}
    perform set_config('meshcache.writing', substr(current_setting('meshcache.writing', true), 2), true);
    return null;
end
$mark$

-- part: row_function
create or replace function meshcache.{function}()
returns trigger
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $mark$
begin
    if tg_op <> 'DELETE' then
        {new_marks}
    end if;
    if tg_op <> 'INSERT' then
        {old_marks}
    end if;
    return null;
end
$mark$

-- part: row_mark
insert into meshcache.{mark_table} ({columns})
select {values} where {values_known} on conflict do nothing;

-- part: row_flush
insert into meshcache.wildcard_mark (source_id) values {views} on conflict do nothing;

-- part: flush
-- Not the wildcard of the table: that would make the rows of every other view on it stale too.
if exists (select from {rows}) then
    insert into meshcache.wildcard_mark (source_id) values {views} on conflict do nothing;
end if;

-- part: truncate_function
create or replace function meshcache.{function}()
returns trigger
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $mark$
begin
    insert into meshcache.wildcard_mark (source_id) values ({source_id}) on conflict do nothing;
    return null;
end
$mark$

-- part: statement_mark
-- One more than the limit is enough to know that it is passed; then one wildcard stands for all of them.
with touched as materialized (
    select distinct {x_columns} from ({touched}) as x where {x_known} limit {limit} + 1
),
marked as (
    insert into meshcache.{mark_table} ({columns}) select {t_columns} from touched as t on conflict do nothing
)
select count(*) into v_distinct from touched;
if v_distinct > {limit} then
    insert into meshcache.wildcard_mark (source_id) values ({source_id}) on conflict do nothing;
end if;

-- part: touched_insert
select {n_columns} from new_rows as n

-- part: touched_delete
select {o_columns} from old_rows as o

-- part: touched_update_all
select {n_columns} from new_rows as n union all select {o_columns} from old_rows as o

-- part: touched_update_keyed
-- Compared as stored (*<>), not by the types' own "=": 1.0 and 1.00, or two spellings of a case-insensitive
-- text, are equal there and different in what a reader sees.
select p.* from old_rows as o
full join new_rows as n on {same_key}
cross join lateral (values ({o_columns}), ({n_columns})) as p ({columns})
where {o_key} is null or {n_key} is null or {o_image} operator(pg_catalog.*<>) {n_image}
