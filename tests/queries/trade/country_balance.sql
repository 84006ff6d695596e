-- Customers and suppliers by country.
-- Shape: FULL JOIN USING of two grouped sub-selects.
-- name: country_balance
-- key: country
-- coverage: complete
select country, coalesce(c.customers, 0) as customers, coalesce(s.suppliers, 0) as suppliers
from (select x.country, count(*) as customers from trade.customers as x group by x.country) as c
full join (select y.country, count(*) as suppliers from trade.suppliers as y group by y.country) as s using (country)
where country is not null
