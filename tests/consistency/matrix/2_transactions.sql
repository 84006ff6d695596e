-- section: Transactions
-- What a transaction does with its statements.

-- case: ROLLBACK TO SAVEPOINT
-- fires: item update
-- marks: item.id 1
-- reads: rows, rows
-- cover: marks
-- do:
update item set name = 'kept' where id = 1;
savepoint s;
update item set name = 'lost' where id = 2;
rollback to s;

-- case: a block with an exception handler
-- fires: item update
-- marks: item.id 2
-- reads: rows, rows
-- cover: marks
-- do:
do $$ begin
    begin update item set name = 'lost' where id = 1; raise exception 'taken back';
    exception when raise_exception then update item set name = 'kept' where id = 2; end;
end $$;

-- case: a deferred constraint trigger that writes, at COMMIT
-- fires: item update, loan update
-- marks: item.id 1; loan.id 1
-- reads: rows, rows
-- cover: marks
-- before:
create function at_the_end() returns trigger language plpgsql as $$ begin
    update item set name = 'at the end' where id = new.id;
    return null;
end $$;
-- before:
create constraint trigger at_the_end after update on loan deferrable initially deferred for each row execute
    function at_the_end();
-- do:
update loan set keeper_id = 1 where id = 1;

-- case: a deferred constraint trigger that writes, SET CONSTRAINTS
-- fires: item update, loan update
-- marks: item.id 1; loan.id 1
-- reads: rows, rows
-- cover: marks
-- before:
create function at_the_end() returns trigger language plpgsql as $$ begin
    update item set name = 'at the end' where id = new.id;
    return null;
end $$;
-- before:
create constraint trigger at_the_end after update on loan deferrable initially deferred for each row execute
    function at_the_end();
-- do:
update loan set keeper_id = 1 where id = 1;
set constraints all immediate;

-- case: PREPARE TRANSACTION with INSERT
-- how: prepared
-- fires: loan insert
-- marks: loan.id 9
-- reads: rows, rows
-- cover: marks
-- do:
insert into loan values (9, 1, 1);

-- case: PREPARE TRANSACTION with UPDATE
-- how: prepared
-- fires: item update
-- marks: item.id 1
-- reads: rows, rows
-- cover: marks
-- do:
update item set name = 'new' where id = 1;

-- case: PREPARE TRANSACTION with DELETE
-- how: prepared
-- fires: part delete
-- marks: part.item_id 1
-- reads: rows, rows
-- cover: marks
-- do:
delete from elsewhere.part where item_id = 1;

-- case: PREPARE TRANSACTION with COPY
-- how: prepared
-- fires: loan insert
-- marks: loan.id 9
-- reads: rows, rows
-- cover: marks
-- copy: loan from stdin
9,1,1

-- case: PREPARE TRANSACTION with a cascade
-- how: prepared
-- fires: item delete, loan update, owner delete, part delete
-- marks: item.id 1, 4; item.owner_id 2; loan.id 1, 2; owner.id 2; part.item_id 1, 4
-- reads: rows, rows
-- cover: marks
-- do:
delete from owner where id = 2;

-- case: PREPARE TRANSACTION with a wildcard
-- how: prepared
-- fires: loan insert
-- marks: loan *
-- reads: source, source
-- cover: marks
-- do:
insert into loan select n, 1, 2 from generate_series(1001, 2001) as n;

-- case: PREPARE TRANSACTION with TRUNCATE
-- how: prepared
-- locks: readers wait
-- fires: loan truncate
-- marks: loan *
-- reads: source, source
-- cover: marks
-- do:
truncate loan;

-- case: NOTIFY
-- reads: cache, cache
-- cover: nothing to cover
-- do:
notify item, 'changed';
