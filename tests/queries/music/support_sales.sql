-- What the customers of each employee have bought.
-- Shape: correlated sub-selects over two and three tables.
-- name: support_sales
-- key: "EmployeeId"
-- coverage: complete
select
    e."EmployeeId", e."FirstName", e."LastName",
    (select count(*) from music."Customer" as c where c."SupportRepId" = e."EmployeeId") as "Customers",
    (
        select sum(i."Total") from music."Customer" as c, music."Invoice" as i
        where c."SupportRepId" = e."EmployeeId" and i."CustomerId" = c."CustomerId"
    ) as "Sales",
    (
        select count(distinct l."TrackId")
        from music."Customer" as c
        inner join music."Invoice" as i on i."CustomerId" = c."CustomerId"
        inner join music."InvoiceLine" as l on l."InvoiceId" = i."InvoiceId"
        where c."SupportRepId" = e."EmployeeId"
    ) as "Tracks"
from music."Employee" as e
