-- The dice of the generator. Every random-looking value is a hash of the seed, the name of the draw and the
-- number of the row, so the same seed gives the same rows, ids included, whatever the server, the order of
-- execution or the number of workers. random() gives none of that. All in pg_temp: nothing stays behind.

-- A number in [0, 1). 53 bits of the hash are what a double can hold exactly.
create or replace function pg_temp.sample_draw(p_seed bigint, p_name text, p_n bigint)
returns double precision
language sql
immutable
parallel safe
as $$
    select (hashint8extended(p_n, hashtextextended(p_name, p_seed)) & 9007199254740991)::double precision
        / 9007199254740992
$$;

create or replace function pg_temp.sample_id(p_seed bigint, p_kind text, p_n bigint)
returns uuid
language sql
immutable
parallel safe
as $$
    select md5(p_seed::text || ' ' || p_kind || ' ' || p_n::text)::uuid
$$;

create or replace function pg_temp.sample_word(p_seed bigint, p_name text, p_n bigint, p_words text[])
returns text
language sql
immutable
parallel safe
as $$
    select p_words[1 + floor(pg_temp.sample_draw(p_seed, p_name, p_n) * cardinality(p_words))::integer]
$$;

-- What the node at one place of a workflow is. The events are made without reading the definition back, so
-- both ask here. All versions of a slug share their nodes: p_slug_no is the number of the slug.
create or replace function pg_temp.sample_node_type(
    p_seed bigint,
    p_slug_no bigint,
    p_place integer,
    p_node_count integer
)
returns text
language sql
immutable
parallel safe
as $$
    select case
        when p_place = 1 then 'webhook'
        when p_place = p_node_count then 'terminate'
        else pg_temp.sample_word(p_seed, 'node type', p_slug_no * 64 + p_place, array[
            'http_call', 'http_call', 'http_call', 'http_call', 'http_call',
            'transform', 'transform', 'transform', 'branch', 'delay'
        ])
    end
$$;

create or replace function pg_temp.sample_node_id(
    p_seed bigint,
    p_slug_no bigint,
    p_place integer,
    p_node_count integer
)
returns text
language sql
immutable
parallel safe
as $$
    select case
        when p_place > p_node_count then null
        else pg_temp.sample_node_type(p_seed, p_slug_no, p_place, p_node_count) || '_' || p_place::text
    end
$$;

-- What was asked for, in one row that every following file reads.
drop table if exists pg_temp.sample_input;
create temp table sample_input (
    seed bigint not null,
    projects integer not null,
    workflows integer not null,
    runs bigint not null,
    events_per_run double precision not null,
    since timestamptz not null,
    events_since timestamptz not null,
    until timestamptz not null,
    -- Known only when the runs exist: how many steps a run with events has on average.
    steps_per_run double precision,
    first_run bigint,
    last_run bigint
);
