-- A customer's spending by year.
-- Shape: a cast and an expression in the key, GROUP BY.
-- name: customer_years
-- key: "CustomerId", "Year"
-- coverage: complete
select i."CustomerId", extract(year from i."InvoiceDate")::integer as "Year", sum(i."Total") as "Spent"
from music."Invoice" as i
where extract(year from i."InvoiceDate") is not null
group by 1, 2
