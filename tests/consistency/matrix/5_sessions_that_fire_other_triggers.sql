-- section: Sessions that fire other triggers
-- Replica sessions, workers of logical replication, and triggers that are disabled.

-- case: session_replication_role = replica: INSERT, UPDATE, DELETE
-- fires: loan row
-- marks: loan.id 1, 2, 9
-- reads: source, rows
-- cover: marks
-- do:
set local session_replication_role = replica;
insert into loan values (9, 1, 1);
update loan set keeper_id = 1 where id = 1;
delete from loan where id = 2;

-- case: session_replication_role = replica: COPY into a partitioned table
-- fires: event row
-- marks: event.run_id 5, 6
-- reads: source, rows
-- cover: marks
-- do:
set local session_replication_role = replica;
-- copy: event from stdin
70,1,5,x,1
70,11,6,y,1

-- case: session_replication_role = replica: rows moved between partitions
-- fires: event row
-- marks: event.run_id 3, 9
-- reads: source, rows
-- cover: marks
-- do:
set local session_replication_role = replica;
update event set day = 2, run_id = 9 where day = 10 and id = 2;

-- case: session_replication_role = replica: TRUNCATE
-- locks: readers wait
-- fires: loan truncate
-- marks: loan *
-- reads: source, source
-- cover: marks
-- do:
set local session_replication_role = replica;
truncate loan;

-- case: session_replication_role = replica: DELETE, whose cascade does not happen
-- fires: item row
-- marks: item.id 1; item.owner_id 2
-- reads: source, rows
-- cover: marks
-- do:
set local session_replication_role = replica;
delete from item where id = 1;

-- case: session_replication_role = local
-- fires: loan update
-- marks: loan.id 1
-- reads: rows, rows
-- cover: marks
-- do:
set local session_replication_role = local;
update loan set keeper_id = 1 where id = 1;

-- case: logical replication: INSERT, UPDATE, DELETE
-- how: applied
-- fires: loan row
-- marks: loan.id 1, 2, 9
-- reads: rows
-- cover: marks
-- do:
insert into loan values (9, 1, 1);
update loan set keeper_id = 1 where id = 1;
delete from loan where id = 2;

-- case: logical replication: a row of a partitioned table moves
-- how: applied
-- fires: event row
-- marks: event.run_id 3, 9
-- reads: rows
-- cover: marks
-- do:
update event set day = 2, run_id = 9 where day = 10 and id = 2;

-- case: logical replication: TRUNCATE
-- how: applied
-- fires: loan truncate
-- marks: loan *
-- reads: source
-- cover: marks
-- do:
truncate loan;

-- case: logical replication: the first copy of a table
-- how: applied
-- fires: event row, loan row
-- marks: event.run_id 1, 2, 3; loan.id 1, 2, 3
-- reads: rows
-- cover: marks

-- case: DISABLE TRIGGER of one, and ENABLE again
-- how: alone
-- reads: wrong
-- cover: a call
-- do:
do $$ begin execute format('alter table loan disable trigger meshcache_%s_mark_update', (select s.id from
    meshcache.source_table as s where s.relation = 'loan'::regclass)); end $$;
-- do:
update loan set keeper_id = 1 where id = 1;
-- do:
do $$ begin execute format('alter table loan enable trigger meshcache_%s_mark_update', (select s.id from
    meshcache.source_table as s where s.relation = 'loan'::regclass)); end $$;

-- case: DISABLE TRIGGER of one, left so
-- how: alone
-- reads: wrong
-- cover: a call or the next sweep
-- do:
do $$ begin execute format('alter table loan disable trigger meshcache_%s_mark_update', (select s.id from
    meshcache.source_table as s where s.relation = 'loan'::regclass)); end $$;
-- do:
update loan set keeper_id = 1 where id = 1;

-- case: DISABLE TRIGGER USER, and ENABLE again
-- locks: readers wait
-- reads: wrong, wrong
-- cover: a call or the next sweep
-- do:
alter table loan disable trigger user;
-- do:
update loan set keeper_id = 1 where id = 1;
-- do:
alter table loan enable trigger user;

-- case: DISABLE TRIGGER USER, left so
-- locks: readers wait
-- reads: wrong, wrong
-- cover: a call or the next sweep
-- do:
alter table loan disable trigger user;
-- do:
update loan set keeper_id = 1 where id = 1;

-- case: DISABLE TRIGGER ALL, and ENABLE again
-- locks: readers wait
-- reads: wrong, wrong
-- cover: a call or the next sweep
-- do:
alter table loan disable trigger all;
-- do:
update loan set keeper_id = 1 where id = 1;
-- do:
alter table loan enable trigger all;

-- case: DISABLE TRIGGER USER, with a call of invalidate_source
-- locks: readers wait
-- marks: loan *
-- reads: source, source
-- cover: marks
-- do:
alter table loan disable trigger user;
update loan set keeper_id = 1 where id = 1;
alter table loan enable trigger user;
select meshcache.invalidate_source('loan');

-- case: invalidate_source
-- marks: loan *
-- reads: source, source
-- cover: marks
-- do:
select meshcache.invalidate_source('loan');
