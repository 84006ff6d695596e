-- An order with customer, seller and shipper, and whether it was late.
-- Shape: inner join and left joins over two schemas, a table with an inheritance child.
-- name: order_head
-- key: order_id
-- coverage: complete
-- tenant: customer_id
select
    o.order_id, o.customer_id, c.company_name, e.first_name || ' ' || e.last_name as seller,
    s.company_name as shipper, o.shipped_date > o.required_date as late
from trade.orders as o
inner join trade.customers as c on c.customer_id = o.customer_id
left join staff.employees as e on e.employee_id = o.employee_id
left join trade.shippers as s on s.shipper_id = o.ship_via
