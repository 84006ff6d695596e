-- What a sweep and a refresh of one cached view look at. Composed by render_outdated.py.

-- part: view
-- The cached rows that have to go: those that pending marks name, or that are not whole for another reason, and that
-- are not fresh. A view, so that a refresh that waited while its view was replaced names no mark table that is gone.
-- It can be worked out in one way alone: where the planner believes that a table is empty, because autovacuum saw it
-- so, a join of its choice may read that table once per mark.
create view meshcache.{outdated} as
select {t_keys}, t._row
from (
    {branches}
) as t
cross join lateral (select c.*, c.xmin from meshcache_data.{name} as c where c.ctid = t._row offset 0) as c
where ({fresh}) is not true

-- part: by_index
-- Each value once, but for those that are equal only by the equality of the marked column: others may tell them apart.
select {c_keys}, c._row
from (select distinct {values}, {texts} from meshcache.{mark_table} as m {not_filled} {joins}) as v
cross join lateral (
    select {c_keys}, c.ctid as _row from meshcache_data.{name} as c where {c_is_v} offset 0
) as c

-- part: by_scan
select {c_keys}, c.ctid as _row from meshcache_data.{name} as c where {is_marked}

-- part: probed
-- One probe of the marks for each row; OFFSET keeps it from becoming a join.
exists (select from meshcache.{mark_table} as m {not_filled} where {m_is_c} offset 0)

-- part: among_marked
-- Through links there is no way from the row to its marks by one index. Not a condition of its own, which the planner
-- would make a join of: the values are hashed once, as long as there are not more than work_mem holds.
({column} operator({operator_schema}.{operator}) any (
    select {value} from meshcache.{mark_table} as m {not_filled} {joins}
)) is true

-- part: unmarked
-- What may not be served whatever the marks say.
select {c_keys}, c.ctid as _row from meshcache_data.{name} as c where ({unmarked}) is not true
