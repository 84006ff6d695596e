-- section: Statements
-- What an application does to its rows.

-- case: INSERT
-- fires: item insert
-- marks: item.id 7; item.owner_id 1
-- reads: rows, rows
-- cover: marks
-- do:
insert into item (id, owner_id, name) values (7, 1, 'new');

-- case: INSERT … SELECT
-- fires: loan insert
-- marks: loan.id 11, 12, 13
-- reads: rows, rows
-- cover: marks
-- do:
insert into loan select id + 10, owner_id, keeper_id from loan;

-- case: UPDATE
-- fires: item update
-- marks: item.id 1
-- reads: rows, rows
-- cover: marks
-- do:
update item set name = 'new' where id = 1;

-- case: UPDATE of a column that no view reads
-- fires: item update
-- reads: cache, cache
-- cover: nothing to cover
-- do:
update item set note = 'new';

-- case: UPDATE that changes no value
-- fires: item update
-- reads: cache, cache
-- cover: nothing to cover
-- do:
update item set name = name;

-- case: UPDATE that finds no row
-- fires: item update
-- reads: cache, cache
-- cover: nothing to cover
-- do:
update item set name = 'new' where id = 99;

-- case: UPDATE … FROM
-- fires: item update
-- marks: item.id 3, 6
-- reads: rows, rows
-- cover: marks
-- do:
update item set name = o.name from owner as o where o.id = item.owner_id and o.id = 1;

-- case: UPDATE that moves a row to another parent
-- fires: item update
-- marks: item.id 3; item.owner_id 1, 2
-- reads: rows, rows
-- cover: marks
-- do:
update item set owner_id = 2 where id = 3;

-- case: UPDATE of the primary key
-- fires: loan update
-- marks: loan.id 3, 30
-- reads: rows, rows
-- cover: marks
-- do:
update loan set id = 30 where id = 3;

-- case: DELETE
-- fires: loan delete
-- marks: loan.id 1
-- reads: rows, rows
-- cover: marks
-- do:
delete from loan where id = 1;

-- case: DELETE … USING
-- fires: loan delete
-- marks: loan.id 1
-- reads: rows, rows
-- cover: marks
-- do:
delete from loan using owner where owner.id = loan.owner_id and owner.name = 'one';

-- case: INSERT … ON CONFLICT DO UPDATE
-- fires: owner insert, owner update
-- marks: owner.id 1, 5
-- reads: rows, rows
-- cover: marks
-- do:
insert into owner (id, name) values (1, 'again'), (5, 'five') on conflict (id) do update set name =
    excluded.name;

-- case: INSERT … ON CONFLICT DO NOTHING
-- fires: owner insert
-- marks: owner.id 5
-- reads: rows, rows
-- cover: marks
-- do:
insert into owner (id, name) values (1, 'again'), (5, 'five') on conflict do nothing;

-- case: MERGE
-- since: 15
-- fires: item delete, loan update, owner delete, owner insert, owner update
-- marks: owner.id 1, 4, 6
-- reads: rows, rows
-- cover: marks
-- before:
delete from loan;
-- do:
merge into owner as o using (values (1, 'one!'), (4, null), (6, 'six')) as s (id, name) on o.id = s.id
when matched and s.name is null then delete
when matched then update set name = s.name
when not matched then insert (id, name) values (s.id, s.name);

-- case: MERGE … RETURNING
-- since: 17
-- fires: owner update
-- marks: owner.id 1
-- reads: rows, rows
-- cover: marks
-- do:
merge into owner as o using (values (1, 'one!')) as s (id, name) on o.id = s.id when matched then update set
    name = s.name returning o.id;

-- case: a data-modifying CTE
-- fires: owner update, part delete, part insert
-- marks: owner.id 1; part.item_id 1, 2
-- reads: rows, rows
-- cover: marks
-- do:
with moved as (delete from elsewhere.part where item_id = 1 returning name), named as (update owner set name =
    'new' where id = 1) insert into elsewhere.part (item_id, name) select 2, name from moved;

-- case: several statements in one string
-- fires: item update, owner update
-- marks: item.id 1; owner.id 2
-- reads: rows, rows
-- cover: marks
-- do:
update item set name = 'a' where id = 1;
update owner set name = 'b' where id = 2;

-- case: COPY
-- fires: item insert
-- marks: item.id 8, 9; item.owner_id 1
-- reads: rows, rows
-- cover: marks
-- copy: item (id, owner_id, name) from stdin
8,1,eight
9,,nine

-- case: COPY, binary
-- fires: loan insert
-- marks: loan.id 8, 9
-- reads: rows, rows
-- cover: marks
-- copy: loan from stdin with (format binary)
-- types: int4, int4, int4
8,1,2
9,,3

-- case: COPY with FREEZE, after TRUNCATE
-- locks: readers wait
-- fires: tag insert, tag truncate
-- marks: tag *; tag.word new
-- reads: source, source
-- cover: marks
-- do:
truncate tag;
-- copy: tag (id, word) from stdin with (freeze)
8,new

-- case: 1,000 distinct values in one statement
-- fires: loan insert
-- marks: loan.id (1000 values)
-- reads: rows, rows
-- cover: marks
-- do:
insert into loan select n, 1, 2 from generate_series(1001, 2000) as n;

-- case: more than 1,000 distinct values in one statement
-- fires: loan insert
-- marks: loan *
-- reads: source, source
-- cover: marks
-- do:
insert into loan select n, 1, 2 from generate_series(1001, 2001) as n;

-- case: TRUNCATE
-- locks: readers wait
-- fires: loan truncate
-- marks: loan *
-- reads: source, source
-- cover: marks
-- do:
truncate loan;

-- case: TRUNCATE … CASCADE
-- locks: readers wait
-- fires: item truncate, part truncate
-- marks: item *; part *
-- reads: source, source
-- cover: marks
-- do:
truncate item cascade;

-- case: null in a marked column
-- fires: tag insert
-- reads: cache, cache
-- cover: nothing to cover
-- do:
insert into tag values (5, null, null);

-- case: null becomes a value
-- fires: tag update
-- marks: tag.word c
-- reads: rows, rows
-- cover: marks
-- do:
update tag set word = 'c' where id = 4;

-- case: a composite value
-- fires: tag update
-- marks: tag.word b
-- reads: rows, rows
-- cover: marks
-- do:
update tag set place.town = 'Bern' where id = 3;

-- case: an identity column
-- fires: part insert
-- marks: part.item_id 1
-- reads: rows, rows
-- cover: marks
-- do:
insert into elsewhere.part (item_id, name) values (1, 'new');

-- case: a stored generated column
-- fires: item update
-- marks: item.id 1
-- reads: rows, rows
-- cover: marks
-- do:
update item set size = 5 where id = 1;

-- case: a column that only a BEFORE trigger changes
-- fires: item update
-- marks: item.id 1
-- reads: rows, rows
-- cover: marks
-- before:
create function named() returns trigger language plpgsql as $$ begin
    new.name = 'by the trigger';
    return new;
end $$;
-- before:
create trigger named before update on item for each row execute function named();
-- do:
update item set note = 'x' where id = 1;

-- case: a BEFORE trigger that lets nothing through
-- fires: item update
-- reads: cache, cache
-- cover: nothing to cover
-- before:
create function no() returns trigger language plpgsql as 'begin return null;
end';
-- before:
create trigger no before update on item for each row execute function no();
-- do:
update item set name = 'x';
