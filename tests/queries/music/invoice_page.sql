-- An invoice with its lines as an array of rows.
-- Shape: whole rows of a table (an array of a composite type), join.
-- name: invoice_page
-- key: "InvoiceId"
-- coverage: complete
select
    i."InvoiceId", i."InvoiceDate", c."LastName", i."Total",
    array(
        select l from music."InvoiceLine" as l where l."InvoiceId" = i."InvoiceId" order by l."InvoiceLineId"
    ) as "Lines"
from music."Invoice" as i
inner join music."Customer" as c on c."CustomerId" = i."CustomerId"
