-- Invoices whose total is not that of their lines.
-- Shape: HAVING that compares with an aggregate, left join.
-- name: wrong_invoice
-- key: "InvoiceId"
-- coverage: complete
select i."InvoiceId", i."Total", coalesce(sum(l."UnitPrice" * l."Quantity"), 0) as "Lines"
from music."Invoice" as i
left join music."InvoiceLine" as l on l."InvoiceId" = i."InvoiceId"
group by i."InvoiceId", i."Total"
having i."Total" <> coalesce(sum(l."UnitPrice" * l."Quantity"), 0)
