-- The trigger functions of one source table. Parts are separated by "-- part:" lines; render.py repeats the
-- per-mark parts for every mark table and puts them into the functions.

-- part: function
-- What is touched is found out in a block that only reads, so that its subtransaction needs no xid. Should that fail
-- (a column was renamed or dropped since), the application's statement must not: one wildcard says more than enough.
-- Most statements write one row: for that one nothing has to be collected, joined and made distinct. More than one, or
-- none, is an error of the query for one, and dealt with in a second block. What is evaluated for one row is what a
-- writer pays for: so variables have no defaults, each of which would be evaluated, and the last call is assigned,
-- because PERFORM starts an executor.
create or replace function meshcache.{function}()
returns trigger
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $mark$
declare
    -- Null for one row; else 'many', 'none' or 'unknown'.
    v_rows text;
    v_wildcard boolean;
    v_note text;
    {variables}
    {row_variables}
begin
    begin
        {one_row}
    exception
        when too_many_rows then
            v_rows := 'many';
        when no_data_found then
            v_rows := {no_pair};
        when others then
            v_rows := 'unknown';
    end;
    if v_rows is null and ({row_unmarkable}) is not true then
        {row_writes}
    elsif v_rows = 'many' then
        begin
            {reads}
        exception when others then
            v_wildcard := true;
        end;
        if v_wildcard then
            {wildcard}
        else
            {writes}
        end if;
    elsif v_rows is distinct from 'none' then
        {wildcard}
    end if;
    {flush}
    v_note := set_config('meshcache.writing', substr(current_setting('meshcache.writing', true), 2), true);
    return null;
end
$mark$

-- part: wildcard
insert into meshcache.wildcard_mark (source_id) values ({source_id}) on conflict do nothing;

-- part: one_row
select {values} into strict {targets} from {rows} where {as_declared};

-- part: as_declared
-- What a view reads keeps its type; what only the body of a function reads may be given another one, whose "=" means
-- something else, and whose values a mark has no room for. Then this is an error when the statement is planned anew,
-- and one wildcard says more than enough. It costs nothing later: the planner drops what is never reached.
case when true then true else {same} end

-- part: same_type
array_eq(array[{value}], array[null::{type}])

-- part: row_variable
{value} {type};

-- part: differ_variable
{differ} boolean;

-- part: differ
-- Compared as stored (*<>), not by the types' own "=": 1.0 and 1.00, or two spellings of a case-insensitive text, are
-- equal there and different in what a reader sees.
{o_image} operator(pg_catalog.*<>) {n_image}

-- part: value_differs
-- The same of a type whose "=" means that: to make records takes three times as long.
{o_value} is distinct from {n_value}

-- part: row_write
insert into meshcache.{mark_table} ({columns}) values ({values});

-- part: if
if {condition} then
    {statements}
end if;

-- part: row_function
create or replace function meshcache.{function}()
returns trigger
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $mark$
declare
    v_wildcard boolean := false;
    {variables}
begin
    begin
        if tg_op <> 'DELETE' then
            {new_reads}
        end if;
        if tg_op <> 'INSERT' then
            {old_reads}
        end if;
    exception when others then
        v_wildcard := true;
    end;
    if v_wildcard then
        {wildcard}
    else
        {writes}
    end if;
    {flush}
    return null;
end
$mark$

-- part: row_read
{array} := array_append({array}, {value});

-- part: row_unmarkable
v_wildcard := v_wildcard or not {as_declared} or coalesce({unmarkable}, false);

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
    {wildcard}
    return null;
end
$mark$

-- part: variable
{array} {type}[];

-- part: read
-- One more than the limit is enough to know that it is passed; then one wildcard stands for all of them. So it does for
-- a value that no index row has room for, and for a null where somebody relies on there being none.
select {aggregates}, coalesce(count(*) > {limit}, false) or coalesce(bool_or({unmarkable}), false) or v_wildcard
into {arrays}, v_wildcard
from (select distinct {x_columns} from ({touched}) as x where {x_known} limit {limit} + 1) as t;

-- part: write
insert into meshcache.{mark_table} ({columns})
select {u_columns} from unnest({arrays}) as u ({columns}) where {u_known};

-- part: touched_insert
select {n_columns} from new_rows as n

-- part: touched_delete
select {o_columns} from old_rows as o

-- part: touched_update_all
select {n_columns} from new_rows as n union all select {o_columns} from old_rows as o

-- part: touched_update_keyed
select {p_columns} from old_rows as o
full join new_rows as n on {same_key}
cross join lateral (
    values ({o_columns}, {o_key} is not null), ({n_columns}, {n_key} is not null)
) as p ({columns}, _is_there)
where p._is_there and ({o_key} is null or {n_key} is null or {differ})
