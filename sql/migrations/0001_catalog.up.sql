-- The logged catalog: what has been declared and what it depends on. Nothing here changes when the
-- application reads or writes; only plan/apply, migrate and the sweep's fingerprint write to these tables.

create table meshcache.cached_view (
    id integer generated always as identity primary key,
    name text not null unique,
    generation integer not null default 1,
    kind text not null check (kind in ('cached_view', 'rollup')),
    definition text not null,
    definition_hash text not null,
    source_sql text not null,
    key_columns text[] not null,
    key_proved boolean not null,
    columns text[] not null,
    column_types text[] not null,
    json_text text[] not null default '{}',
    coverage text check (coverage in ('complete', 'on_demand')),
    tenant_column text,
    ttl interval,
    refresh_every interval,
    readers text[] not null default '{}',
    rests_on oid[] not null default '{}',
    rests_on_as text[] not null default '{}',
    rests_on_in text not null default '',
    made_by text not null,
    problem text,
    applied_at timestamptz not null default statement_timestamp()
);
comment on table meshcache.cached_view is 'One row per cached view or rollup: its definition and what was derived from it.';
comment on column meshcache.cached_view.generation is
'How often it was applied anew under this id; what fills it stores nothing once it is another than its own.';
comment on column meshcache.cached_view.source_sql is
'The SELECT as the server prints it, every name qualified: what a reader runs when the cache cannot be used.';
comment on column meshcache.cached_view.json_text is
'Its jsonb columns of which the cache table has the text as well: that of the first in _json_1, and so on.';
comment on column meshcache.cached_view.problem is 'Why the last sweep or refresh could not fill it; null while it can.';
comment on column meshcache.cached_view.key_proved is
'Whether tables and SELECT rule out that two rows have one key, or a null in it; else it was looked for in the data.';

comment on column meshcache.cached_view.rests_on is
'What its answer follows from beside the rows of tables: functions, views, rows read whole, generated columns, types.';
comment on column meshcache.cached_view.rests_on_as is
'The versions of these in the catalog when it was applied or last swept. Readers compare them with the present ones.';
comment on column meshcache.cached_view.rests_on_in is
'The cluster and the catalog table in which these oids mean something: a dump takes them along.';

create table meshcache.source_table (
    id integer generated always as identity primary key,
    relation regclass not null unique,
    children oid[] not null default '{}',
    parents oid[] not null default '{}',
    trusted boolean not null default true
);
comment on column meshcache.cached_view.made_by is
'Version and templates that made its objects; plan replaces what another version made.';

comment on table meshcache.source_table is 'The application''s tables that carry mark triggers.';
comment on column meshcache.source_table.children is
'Partitions and inheritance children, at any depth, when the triggers were last installed. Readers compare it with pg_inherits.';
comment on column meshcache.source_table.trusted is
'False while its mark triggers are missing or disabled: nothing that depends on it is served or filled.';
comment on column meshcache.source_table.parents is 'The table itself and those of its children that have children.';

create table meshcache.mark_table (
    id integer generated always as identity primary key,
    source_id integer not null references meshcache.source_table on delete cascade,
    columns text[] not null,
    unique (source_id, columns)
);
comment on table meshcache.mark_table is
'One row per meshcache.mark_<id>: the columns of the source table whose values it collects. Shared by all cached views.';

create table meshcache.dependency (
    view_id integer not null references meshcache.cached_view on delete cascade,
    position integer not null,
    source_id integer not null references meshcache.source_table,
    source_name text not null,
    mark_id integer references meshcache.mark_table,
    kind text not null check (kind in ('key', 'carried', 'linked', 'flush')),
    view_columns text[] not null,
    links jsonb not null default '[]',
    matter_columns text[],
    strict_columns text[] not null default '{}',
    has_children boolean not null,
    primary key (view_id, position)
);
comment on table meshcache.dependency is
'What a row of a cached view depends on: rows of the source table whose marked columns equal view_columns (through links, where given).';
comment on column meshcache.dependency.source_name is
'What the table was called when the view was applied: plan sees that it was renamed, or made anew.';
comment on column meshcache.dependency.matter_columns is 'Columns whose change leaves a mark; null means every column.';

comment on column meshcache.dependency.strict_columns is
'Marked columns that are not null when the view is applied; a null in one of them leaves a wildcard mark.';

create table meshcache.rollup_refresh (
    view_id integer primary key references meshcache.cached_view on delete cascade,
    refreshed_at timestamptz not null,
    duration interval not null
);
comment on table meshcache.rollup_refresh is 'When each rollup was last refreshed: by how much it may lag.';

create table meshcache.routine (
    name text primary key,
    content_hash text not null
);
comment on table meshcache.routine is 'Hashes of the routine files that were last run; a changed file is run again by migrate.';

-- Not in meshcache_data: whoever drops that schema must not touch the tables that the application's own
-- writes insert into, or its transactions would wait for the drop and then fail.
create unlogged table meshcache.wildcard_mark (
    source_id integer not null,
    xid xid8 not null default pg_catalog.pg_current_xact_id(),
    primary key (source_id, xid)
) with (vacuum_truncate = false);
comment on table meshcache.wildcard_mark is
'"Anything in this source table may have changed in this transaction" (TRUNCATE, bulk statements). A negative source_id is a cached view that was invalidated whole.';
