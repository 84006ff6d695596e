-- A customer's invoices with the time since the one before.
-- Shape: lag() partitioned by part of the key.
-- name: invoice_in_turn
-- key: "CustomerId", "InvoiceId"
-- coverage: complete
select
    i."CustomerId", i."InvoiceId", i."Total",
    i."InvoiceDate" - lag(i."InvoiceDate") over turn as "Since"
from music."Invoice" as i
window turn as (partition by i."CustomerId" order by i."InvoiceDate", i."InvoiceId")
