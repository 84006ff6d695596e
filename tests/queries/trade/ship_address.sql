-- Where orders that are open go to.
-- Shape: a composite type as column, several conditions.
-- name: ship_address
-- key: order_id
-- coverage: complete
select
    o.order_id, row(coalesce(o.ship_city, c.city), coalesce(o.ship_country, c.country))::trade.place as place,
    array[c.contact_name, c.phone] as contact
from trade.orders as o
inner join trade.customers as c using (customer_id)
where o.shipped_date is null
