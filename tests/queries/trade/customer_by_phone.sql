-- A customer by the digits of the telephone number.
-- Shape: an expression as key.
-- name: customer_by_phone
-- key: digits
select regexp_replace(c.phone, '\D', '', 'g') as digits, c.customer_id
from trade.customers as c
where c.phone is not null
