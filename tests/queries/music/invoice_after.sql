-- The same by the number of the invoice alone.
-- Shape: lag() partitioned by what is not in the key.
-- name: invoice_after
-- key: "InvoiceId"
select
    i."InvoiceId", i."Total",
    i."InvoiceDate" - lag(i."InvoiceDate") over turn as "Since"
from music."Invoice" as i
window turn as (partition by i."CustomerId" order by i."InvoiceDate", i."InvoiceId")
