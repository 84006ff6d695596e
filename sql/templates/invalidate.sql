-- Makes the row of one key stale. Composed by render.py.

-- part: invalidate
create function meshcache.{function}({parameters})
returns void
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $invalidate$
begin
    {mark}
end
$invalidate$

-- part: key_mark
insert into meshcache.{mark_table} ({columns}) select {values} where {values_known};

-- part: whole_view
insert into meshcache.wildcard_mark (source_id) values (-{view_id}) on conflict do nothing;
