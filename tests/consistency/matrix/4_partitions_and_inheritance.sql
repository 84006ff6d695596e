-- section: Partitions and inheritance
-- Tables that consist of tables. A statement fires the triggers of the table that it names.

-- case: a statement aimed at the parent
-- fires: event update
-- marks: event.run_id 2
-- reads: rows, rows
-- cover: marks
-- do:
update event set name = 'new' where id = 1;

-- case: a statement aimed at a partition
-- fires: event update
-- marks: event.run_id 2
-- reads: rows, rows
-- cover: marks
-- do:
update event_1 set name = 'new' where id = 1;

-- case: a statement aimed at a partition with partitions
-- fires: event update
-- marks: event.run_id 2
-- reads: rows, rows
-- cover: marks
-- do:
update event_2 set name = 'new' where id = 1;

-- case: a statement aimed at a sub-partition
-- fires: event update
-- marks: event.run_id 2
-- reads: rows, rows
-- cover: marks
-- do:
update event_2_10 set name = 'new' where id = 1;

-- case: a statement aimed at the default partition
-- fires: event update
-- marks: event.run_id 2
-- reads: rows, rows
-- cover: marks
-- do:
update event_rest set name = 'new' where id = 1;

-- case: INSERT through the parent into the default partition
-- fires: event insert
-- marks: event.run_id 7
-- reads: rows, rows
-- cover: marks
-- do:
insert into event values (50, 50, 7, 'new');

-- case: INSERT … ON CONFLICT through the parent
-- fires: event insert, event update
-- marks: event.run_id 2, 9
-- reads: rows, rows
-- cover: marks
-- do:
insert into event values (1, 1, 2, 'new') on conflict (id, day) do update set name = 'again', run_id = 9;

-- case: MERGE through the parent
-- since: 15
-- fires: event insert, event update
-- marks: event.run_id 2, 8, 9
-- reads: rows, rows
-- cover: marks
-- do:
merge into event as e using (values (1, 1), (60, 60)) as s (id, day) on (e.id, e.day) = (s.id, s.day) when
    matched then update set run_id = 8 when not matched then insert (id, day, run_id) values (s.id, s.day, 9);

-- case: UPDATE that moves rows to another partition
-- fires: event update
-- marks: event.run_id 3
-- reads: rows, rows
-- cover: marks
-- do:
update event set day = 2 where day = 10 and id = 2;

-- case: UPDATE aimed at a partition that moves rows within it
-- fires: event update
-- marks: event.run_id 2
-- reads: rows, rows
-- cover: marks
-- do:
update event_2 set day = 11, id = id + 100 where day = 10 and id = 1;

-- case: UPDATE that moves rows to and from the default partition
-- fires: event update
-- marks: event.run_id 1
-- reads: rows, rows
-- cover: marks
-- do:
update event set day = 31 - day, id = id + 200 where day in (1, 30) and id = 3;

-- case: COPY through the parent
-- fires: event insert
-- marks: event.run_id 5, 6
-- reads: rows, rows
-- cover: marks
-- copy: event from stdin
70,1,5,x,1
70,11,6,y,1

-- case: COPY into a partition
-- fires: event insert
-- marks: event.run_id 6
-- reads: rows, rows
-- cover: marks
-- copy: event_2_11 from stdin
70,11,6,y,1

-- case: DELETE aimed at a partition
-- fires: event delete
-- marks: event.run_id 2
-- reads: rows, rows
-- cover: marks
-- do:
delete from event_1 where id = 1;

-- case: TRUNCATE of one partition
-- locks: readers wait
-- fires: event truncate
-- marks: event *
-- reads: source, source
-- cover: marks
-- do:
truncate event_2_10;

-- case: TRUNCATE of the parent
-- locks: readers wait
-- fires: event truncate
-- marks: event *
-- reads: source, source
-- cover: marks
-- do:
truncate event;

-- case: ATTACH PARTITION
-- locks: readers wait
-- reads: source, source
-- cover: readers compare partitions
-- before:
create table new_event (like event);
-- before:
insert into new_event values (90, 20, 1, 'new', 1);
-- do:
alter table event attach partition new_event for values from (20) to (30);

-- case: DETACH PARTITION
-- locks: readers wait
-- reads: source, source
-- cover: readers compare partitions
-- do:
alter table event detach partition event_1;

-- case: DETACH PARTITION … CONCURRENTLY
-- since: 14
-- how: alone
-- reads: source
-- cover: readers compare partitions
-- before:
drop table event_rest;
-- do:
alter table event detach partition event_1 concurrently;

-- case: DROP of a partition
-- locks: readers wait
-- reads: source, source
-- cover: readers compare partitions
-- do:
drop table event_1;

-- case: CREATE of a partition
-- locks: readers wait
-- reads: source, source
-- cover: readers compare partitions
-- do:
create table new_event partition of event for values from (20) to (30);

-- case: a new partition, written before the next sweep
-- how: alone
-- reads: source
-- cover: readers compare partitions
-- do:
create table new_event partition of event for values from (20) to (30);
-- do:
insert into new_event values (90, 20, 1, 'new', 1);

-- case: a new sub-partition
-- locks: readers wait
-- reads: source, source
-- cover: readers compare partitions
-- do:
create table event_2_12 partition of event_2 for values in (12);

-- case: inheritance: a statement aimed at the parent
-- fires: thing update
-- marks: thing.id 2
-- reads: rows, rows
-- cover: marks
-- do:
update thing set name = 'new' where id = 2;

-- case: inheritance: a statement aimed at the child
-- fires: thing update
-- marks: thing.id 3
-- reads: rows, rows
-- cover: marks
-- do:
update special_thing set name = 'new' where id = 3;

-- case: inheritance: ONLY the parent
-- fires: thing update
-- marks: thing.id 2
-- reads: rows, rows
-- cover: marks
-- do:
update only thing set name = 'new' where id = 2;

-- case: inheritance: TRUNCATE of the child
-- locks: readers wait
-- fires: thing truncate
-- marks: thing *
-- reads: source, source
-- cover: marks
-- do:
truncate special_thing;

-- case: inheritance: a new child, written before the next sweep
-- how: alone
-- reads: source
-- cover: readers compare partitions
-- do:
create table more_things () inherits (thing);
-- do:
insert into more_things values (1, 'new');

-- case: inheritance: NO INHERIT
-- locks: readers wait
-- reads: source, source
-- cover: readers compare partitions
-- do:
alter table special_thing no inherit thing;

-- case: a table gets its first child
-- how: alone
-- reads: source
-- cover: readers compare partitions
-- do:
create table more_loans () inherits (loan);
-- do:
insert into more_loans values (9, 1, 1);

-- case: a table becomes a partition
-- how: alone
-- reads: source
-- cover: readers compare partitions
-- do:
create table loans (like loan) partition by range (id);
-- do:
alter table loans attach partition loan for values from (minvalue) to (maxvalue);
-- do:
update loans set keeper_id = 1;
