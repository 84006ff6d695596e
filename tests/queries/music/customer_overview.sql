-- A customer with the one who supports them and the newest invoice.
-- Shape: LEFT JOIN LATERAL with ORDER BY and LIMIT inside, carried column.
-- name: customer_overview
-- key: "CustomerId"
-- coverage: complete
select
    c."CustomerId", c."FirstName" || ' ' || c."LastName" as "Customer", e."LastName" as "Support",
    i."InvoiceId" as "LastInvoice", i."Total" as "LastTotal"
from music."Customer" as c
left join music."Employee" as e on e."EmployeeId" = c."SupportRepId"
left join lateral (
    select i."InvoiceId", i."Total" from music."Invoice" as i
    where i."CustomerId" = c."CustomerId"
    order by i."InvoiceDate" desc, i."InvoiceId" desc limit 1
) as i on true
