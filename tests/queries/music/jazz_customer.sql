-- Customers who have bought jazz.
-- Shape: EXISTS within EXISTS.
-- name: jazz_customer
-- key: "CustomerId"
select c."CustomerId", c."Email"
from music."Customer" as c
where exists (
    select from music."Invoice" as i
    where i."CustomerId" = c."CustomerId" and exists (
        select from music."InvoiceLine" as l inner join music."Track" as t on t."TrackId" = l."TrackId"
        where l."InvoiceId" = i."InvoiceId" and t."GenreId" = 2
    )
)
