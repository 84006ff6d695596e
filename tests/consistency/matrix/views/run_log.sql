-- name: run_log
-- key: run_id
-- coverage: complete
select e.run_id, string_agg(e.name, ',' order by e.id, e.day) as names
from event as e where e.run_id is not null group by e.run_id
