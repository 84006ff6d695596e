-- What meshcache_pg/measure_writes.py asks while it measures on temporary copies.

-- name: columns
-- Columns of a table that a statement may write, quoted, in order.
select format('%I', a.attname) as name
from pg_attribute as a
where a.attrelid = cast(:oid as oid) and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
order by a.attnum;

-- name: triggers
-- The statements that give a copy the triggers of routines/020_triggers.sql, as ordinary sessions fire them.
select statement
from (
    values ('insert', 'new table as new_rows'), ('delete', 'old table as old_rows'),
        ('update', 'old table as old_rows new table as new_rows')
) as e (event, transition)
cross join lateral (
    values
    (format(
        'create trigger %I before %s on pg_temp.%I for each statement execute function meshcache._guard()',
        'guard_' || e.event, e.event, cast(:name as text)
    )),
    (format(
        'create trigger %I after %s on pg_temp.%I referencing %s for each statement '
        || 'execute function meshcache.%I()',
        'mark_' || e.event, e.event, cast(:name as text), e.transition,
        format('_mark_%s_%s', cast(:id as bigint), e.event)
    ))
) as s (statement);
