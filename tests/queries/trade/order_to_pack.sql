-- Orders to pack, for one worker at a time.
-- Shape: FOR UPDATE SKIP LOCKED.
-- name: order_to_pack
-- key: order_id
select o.order_id, o.ship_city from trade.orders as o where o.shipped_date is null for update skip locked
