-- Orders that were archived.
-- Shape: an inheritance child by name.
-- name: archived_order
-- key: order_id
select a.order_id, a.customer_id, a.archived_on from trade.orders_archive as a
