-- The conditions that decide whether a cached row may be served. "c" is the cached row. Composed by
-- render.py.

-- part: no_mark
-- Stale exactly if a mark is visible to this reader that the fill did not see, or that the fill's own
-- transaction wrote after it.
not exists (
    select from meshcache.{mark_table} as m {joins}
    where {match} and (m.xid = c._filled_by or not pg_catalog.pg_visible_in_snapshot(m.xid, c._filled_in))
)

-- part: probe
-- The same for reads of a few rows. OFFSET keeps it from becoming a join: a plan made while there are few marks, and
-- kept, would join all of them.
not exists (
    select from meshcache.{mark_table} as m
    where {match} and (m.xid = c._filled_by or not pg_catalog.pg_visible_in_snapshot(m.xid, c._filled_in))
    offset 0
)

-- part: probe_linked
-- Through links there are two ways, from the marks to the key and from the key to the marks. Which of them is the
-- shorter is not known when the plan is made, so the number of marks decides when it runs.
not case
    when (select count(*) <= {few} from (select from meshcache.{mark_table} limit {few} + 1) as n)
        then exists (
            select from (
                select m.* from meshcache.{mark_table} as m
                where m.xid = c._filled_by or not pg_catalog.pg_visible_in_snapshot(m.xid, c._filled_in)
                offset 0
            ) as m {joins}
            where {match}
        )
    else exists (
        select from {first_link} as {first_alias} {other_joins}
        where {match}
            and exists (
                select from meshcache.{mark_table} as m
                where {first_alias}.{from_column} = m.{column}
                    and (m.xid = c._filled_by or not pg_catalog.pg_visible_in_snapshot(m.xid, c._filled_in))
                offset 0
            )
        offset 0
    )
end

-- part: no_wildcard
not exists (
    select from meshcache.wildcard_mark as w
    where w.source_id = any({sources})
        and (w.xid = c._filled_by or not pg_catalog.pg_visible_in_snapshot(w.xid, c._filled_in))
)

-- part: not_expired
c._expires_at > pg_catalog.statement_timestamp()

-- part: link
inner join {link} as {alias} on {alias}.{from_column} = {previous}

-- part: session
-- A transaction in the middle of a statement on a source table has not left its marks yet; a session in
-- replica mode leaves them row by row.
coalesce(pg_catalog.current_setting('meshcache.writing', true), '') = ''
and pg_catalog.current_setting('session_replication_role') <> 'replica'

-- part: same_children
-- Nothing fires when a partition is attached, detached or dropped: the reader compares them with those of the install.
(
    select t.trusted and t.children = array(
        select distinct i.inhrelid from pg_catalog.pg_inherits as i
        where i.inhparent = any(t.parents) {not_detaching}
        order by i.inhrelid
    )
    from meshcache.source_table as t
    where t.id = {source_id}
)

-- part: not_detaching
and not i.inhdetachpending

-- part: no_relatives
-- Nor when an ordinary table becomes a parent or a partition, whose statements then fire other tables' triggers.
not exists (
    select from meshcache.source_table as t
    inner join pg_catalog.pg_class as r on r.oid = t.relation
    where t.id = any({plain}) and (r.relhassubclass or r.relispartition or not t.trusted)
)

-- part: usable
(select meshcache.{function}())

-- part: same_definitions
-- Nor when a function or a view that the SELECT rests on is replaced, or a row that it reads whole gets a column. The
-- same query as meshcache._rests_on_as, with those of its parts that can have an answer here.
(
    select v.rests_on_as = array({versions} order by 1)
    from meshcache.cached_view as v
    where v.id = {view_id}
)

-- part: versions_of_functions
select 'function ' || p.xmin::text from pg_catalog.pg_proc as p where p.oid = any(v.rests_on)

-- part: versions_of_relations
select 'view ' || r.xmin::text from pg_catalog.pg_rewrite as r where r.ev_class = any(v.rests_on)
union all
select 'column ' || a.xmin::text
from pg_catalog.pg_attribute as a where a.attrelid = any(v.rests_on) and a.attnum > 0
union all
select 'expression ' || d.xmin::text from pg_catalog.pg_attrdef as d where d.adrelid = any(v.rests_on)

-- part: versions_of_labels
select 'label ' || e.xmin::text from pg_catalog.pg_enum as e where e.enumtypid = any(v.rests_on)

-- part: usable_complete
-- A snapshot from before the view was replaced sees the row that says so of the table of then, and nothing of what is
-- in the table of now: a row counts for its own table alone.
(
    select true from meshcache_data.view_state as v
    where v.view_id = {view_id} and v.xmin = v.written_as and v.table_oid = {table}::regclass
        and {session}
        and not exists (
            select from meshcache.wildcard_mark as w
            where w.source_id = any({sources})
                and (w.xid = v.complete_by or not pg_catalog.pg_visible_in_snapshot(w.xid, v.complete_in))
        )
)

-- part: usable_on_demand
(
    select true from meshcache_data.epoch as e
    where e.xmin = e.opened_by::xid and e.tableoid = e.table_oid
        and {session}
)

-- part: fresh_complete
{usable} and {tests}

-- part: fresh_on_demand
{usable} and c.xmin = c._filled_by::xid and {tests}

-- part: not_filled
-- Only marks that the last whole fill did not contain can ask for anything.
inner join meshcache_data.view_state as v
    on v.view_id = {view_id}
    and (m.xid = v.complete_by or not pg_catalog.pg_visible_in_snapshot(m.xid, v.complete_in))

-- part: marked_values
array(
    select {value} from meshcache.{mark_table} as m
    {not_filled}
    {joins}
)

-- part: is_marked
s.{column} = any(coalesce((select m.{array} from marked as m), '{{}}'))

-- part: pending
exists (
    select from meshcache.{mark_table} as m
    {not_filled}
)

-- part: pending_expired
exists (select from meshcache_data.{name} as c where c._expires_at <= pg_catalog.statement_timestamp())

-- part: expired
array(
    select c.{key} from meshcache_data.{name} as c where c._expires_at <= pg_catalog.statement_timestamp()
)
