-- name: loan_card
-- key: id
-- coverage: complete
select l.id, l.owner_id, l.keeper_id from loan as l
