-- Which genres a customer buys.
-- Shape: SELECT DISTINCT over four tables, key of two columns.
-- name: taste
-- key: "CustomerId", "GenreId"
-- coverage: complete
select distinct i."CustomerId", t."GenreId", g."Name"
from music."Invoice" as i
inner join music."InvoiceLine" as l on l."InvoiceId" = i."InvoiceId"
inner join music."Track" as t on t."TrackId" = l."TrackId"
inner join music."Genre" as g on g."GenreId" = t."GenreId"
