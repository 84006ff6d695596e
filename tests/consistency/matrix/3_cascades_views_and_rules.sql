-- section: Cascades, views and rules
-- Rows that change although the statement names another table.

-- case: ON DELETE CASCADE, also into another schema
-- fires: item delete, part delete
-- marks: item.id 1; item.owner_id 2; part.item_id 1
-- reads: rows, rows
-- cover: marks
-- do:
delete from item where id = 1;

-- case: ON UPDATE CASCADE, also into another schema
-- fires: item update, part update
-- marks: item.id 1, 10; item.owner_id 2; part.item_id 1, 10
-- reads: rows, rows
-- cover: marks
-- do:
update item set id = 10 where id = 1;

-- case: ON DELETE CASCADE over two tables, SET NULL, SET DEFAULT
-- fires: item delete, loan update, owner delete, part delete
-- marks: item.id 1, 4; item.owner_id 2; loan.id 1, 2; owner.id 2; part.item_id 1, 4
-- reads: rows, rows
-- cover: marks
-- do:
delete from owner where id = 2;

-- case: a cascade from a table that no view reads
-- fires: event delete, item delete, loan update, owner delete, part delete
-- marks: event.run_id 1, 2, 3; item.id 3, 6; item.owner_id 1; loan.id 1; owner.id 1; part.item_id 3, 6
-- reads: rows, rows
-- cover: marks
-- do:
delete from land where id = 1;

-- case: a write to a table that no view reads
-- reads: cache, cache
-- cover: nothing to cover
-- do:
update unread set name = 'new';

-- case: an automatically updatable view
-- fires: item update
-- marks: item.id 1
-- reads: rows, rows
-- cover: marks
-- before:
create view item_list as select i.id, i.name from item as i;
-- do:
update item_list set name = 'new' where id = 1;

-- case: a view with an INSTEAD OF trigger
-- fires: item update
-- marks: item.id 1
-- reads: rows, rows
-- cover: marks
-- before:
create view item_list as select i.id, i.name from item as i;
-- before:
create function instead() returns trigger language plpgsql as $$ begin
    update item set name = new.name where id = new.id;
    return new;
end $$;
-- before:
create trigger instead instead of update on item_list for each row execute function instead();
-- do:
update item_list set name = 'new' where id = 1;

-- case: a rule ON UPDATE DO INSTEAD on another table
-- fires: item update
-- marks: item.id 1
-- reads: rows, rows
-- cover: marks
-- before:
create rule instead as on update to unread do instead update item set name = new.name where id = new.id;
-- do:
update unread set name = 'new';

-- case: a rule ON DELETE DO INSTEAD on the table itself
-- fires: loan update
-- marks: loan.id 1
-- reads: rows, rows
-- cover: marks
-- before:
create rule instead as on delete to loan do instead update loan set keeper_id = 1 where id = old.id;
-- do:
delete from loan where id = 1;

-- case: a rule ON INSERT DO ALSO
-- fires: tag insert
-- marks: tag.word seven
-- reads: rows, rows
-- cover: marks
-- before:
create rule also as on insert to unread do also insert into tag values (new.id, new.name);
-- do:
insert into unread values (7, 'seven');
