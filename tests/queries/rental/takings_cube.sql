-- Takings by store, by staff, and in all.
-- Shape: GROUPING SETS, flush.
-- name: takings_cube
-- key: store, staff
-- coverage: complete
-- flush: rental.payment, rental.customer
select t.* from (
select
    case when grouping(c.store_id) = 0 then c.store_id::text else 'all' end as store,
    case when grouping(p.staff_id) = 0 then p.staff_id::text else 'all' end as staff,
    sum(p.amount) as paid
from rental.payment as p
inner join rental.customer as c on c.customer_id = p.customer_id
group by grouping sets ((c.store_id, p.staff_id), (c.store_id), ())
) as t
where t.store is not null and t.staff is not null
