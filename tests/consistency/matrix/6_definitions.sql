-- section: Definitions
-- Changes of tables, and of what a SELECT rests on beside their rows.

-- case: ADD COLUMN
-- locks: readers wait
-- reads: cache, cache
-- cover: nothing to cover
-- do:
alter table loan add column more integer default 5;

-- case: ADD COLUMN to a row that is read whole
-- locks: readers wait
-- reads: source, source
-- cover: readers compare definitions
-- do:
alter table doc add column more integer default 5;

-- case: DROP COLUMN that no view reads
-- locks: readers wait
-- reads: cache, cache
-- cover: nothing to cover
-- do:
alter table owner drop column note;

-- case: DROP COLUMN of a row that is read whole
-- locks: readers wait
-- reads: source, source
-- cover: readers compare definitions
-- do:
alter table doc drop column body;

-- case: DROP COLUMN that a view reads
-- how: refused
-- reads: cache
-- cover: refused by PostgreSQL
-- do:
alter table loan drop column keeper_id;

-- case: RENAME COLUMN that a view reads
-- locks: readers wait
-- reads: cache, cache
-- cover: nothing to cover
-- do:
alter table loan rename column keeper_id to kept_by;

-- case: RENAME COLUMN, and a write before it is applied again
-- locks: readers wait
-- fires: loan update
-- marks: loan *
-- reads: source, source
-- cover: marks
-- do:
alter table loan rename column keeper_id to kept_by;
update loan set kept_by = 1 where id = 1;

-- case: RENAME COLUMN of a row that is read whole
-- locks: readers wait
-- reads: source, source
-- cover: readers compare definitions
-- do:
alter table doc rename column body to text;

-- case: SET DEFAULT
-- locks: readers wait
-- reads: cache, cache
-- cover: nothing to cover
-- do:
alter table loan alter column keeper_id set default 1;

-- case: ALTER TYPE … USING of a column that a view reads
-- how: refused
-- reads: cache
-- cover: refused by PostgreSQL
-- do:
alter table loan alter column keeper_id type bigint using keeper_id + 1;

-- case: ALTER TYPE … USING of a column that no view reads
-- locks: readers wait
-- reads: cache, cache
-- cover: nothing to cover
-- do:
alter table owner alter column note type text using 'new';

-- case: ALTER TYPE … USING in a row that is read whole
-- locks: readers wait
-- reads: source, source
-- cover: readers compare definitions
-- do:
alter table doc alter column body type text using 'new';

-- case: SET EXPRESSION of a stored generated column
-- since: 17
-- locks: readers wait
-- reads: source, source
-- cover: readers compare definitions
-- do:
alter table item alter column twice set expression as (size * 3);

-- case: DROP EXPRESSION of a stored generated column
-- locks: readers wait
-- reads: source, source
-- cover: readers compare definitions
-- do:
alter table item alter column twice drop expression;

-- case: RENAME TO
-- locks: readers wait
-- reads: cache, cache
-- cover: nothing to cover
-- do:
alter table loan rename to lending;

-- case: RENAME TO, and a write
-- locks: readers wait
-- fires: loan update
-- marks: loan.id 1
-- reads: rows, rows
-- cover: marks
-- do:
alter table loan rename to lending;
update lending set keeper_id = 1 where id = 1;

-- case: SET SCHEMA, and a write
-- locks: readers wait
-- fires: loan update
-- marks: loan.id 1
-- reads: rows, rows
-- cover: marks
-- do:
alter table loan set schema elsewhere;
update elsewhere.loan set keeper_id = 1 where id = 1;

-- case: DROP TABLE
-- how: refused
-- reads: cache
-- cover: refused by PostgreSQL
-- do:
drop table loan;

-- case: DROP TABLE … CASCADE
-- locks: readers wait
-- gone: loan_card
-- reads: cache, cache
-- cover: its live views are gone
-- do:
drop table loan cascade;

-- case: REPLACE of a function that the SELECT calls
-- reads: source, source
-- cover: readers compare definitions
-- do:
create or replace function loud(text) returns text immutable language sql as $$ select $1 || '!' $$;

-- case: ALTER FUNCTION of one
-- reads: source, source
-- cover: readers compare definitions
-- do:
alter function loud(text) cost 5;

-- case: REPLACE of a view that the SELECT reads
-- locks: readers wait
-- reads: source, source
-- cover: readers compare definitions
-- do:
create or replace view doc_list as select d.id, d.body as title from doc as d;

-- case: RENAME VALUE of an enumeration that is turned into text
-- reads: source, source
-- cover: readers compare definitions
-- before:
create type mood as enum ('glad', 'sad');
create table mooded (id integer primary key, mood mood);
insert into mooded values (1, 'glad');
-- apply:
-- name: moods
-- key: id
-- coverage: complete
select m.id, m.mood::text as mood from mooded as m
-- do:
alter type mood rename value 'glad' to 'happy';

-- case: a virtual generated column
-- since: 18
-- fires: virtual update
-- marks: virtual.id 1
-- reads: rows, rows
-- cover: marks
-- before:
create table virtual (id integer primary key, size integer, twice integer generated always as (size * 2)
    virtual);
insert into virtual (id, size) values (1, 1), (2, 2);
-- apply:
-- name: virtual_card
-- key: id
-- coverage: complete
select v.id, v.twice from virtual as v
-- do:
update virtual set size = 5 where id = 1;

-- case: SET EXPRESSION of a virtual generated column
-- since: 18
-- locks: readers wait
-- reads: source, source
-- cover: readers compare definitions
-- before:
create table virtual (id integer primary key, size integer, twice integer generated always as (size * 2)
    virtual);
insert into virtual (id, size) values (1, 1), (2, 2);
-- apply:
-- name: virtual_card
-- key: id
-- coverage: complete
select v.id, v.twice from virtual as v
-- do:
alter table virtual alter column twice set expression as (size * 3);

-- case: CREATE INDEX
-- locks: readers wait
-- reads: cache, cache
-- cover: nothing to cover
-- do:
create index on loan (keeper_id);

-- case: CREATE TRIGGER by the application
-- locks: readers wait
-- reads: cache, cache
-- cover: nothing to cover
-- before:
create function mine() returns trigger language plpgsql as 'begin return null; end';
-- do:
create trigger mine after update on loan for each row execute function mine();
