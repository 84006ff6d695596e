-- The ten tracks that were sold most, with their artists.
-- Shape: LIMIT inside, flush of one table, the others followed.
-- name: best_sellers
-- key: "TrackId"
-- coverage: complete
-- flush: music."InvoiceLine"
select b."TrackId", b."Sold", t."Name", al."Title" as "Album"
from (
    select l."TrackId", sum(l."Quantity") as "Sold" from music."InvoiceLine" as l
    group by l."TrackId" order by 2 desc, 1 limit 10
) as b
inner join music."Track" as t on t."TrackId" = b."TrackId"
left join music."Album" as al on al."AlbumId" = t."AlbumId"
