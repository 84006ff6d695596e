-- What each genre has sold.
-- Shape: RIGHT JOIN, GROUP BY, link through tracks.
-- name: genre_sales
-- key: "GenreId"
-- coverage: complete
select
    g."GenreId", g."Name", count(distinct t."TrackId") as "Tracks", sum(l."Quantity") as "Sold",
    sum(l."UnitPrice" * l."Quantity") as "Earned"
from music."InvoiceLine" as l
right join music."Track" as t on t."TrackId" = l."TrackId"
right join music."Genre" as g on g."GenreId" = t."GenreId"
group by g."GenreId"
