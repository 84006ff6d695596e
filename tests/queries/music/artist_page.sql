-- An artist with the number of albums and tracks, and with what they earned.
-- Shape: two CTEs, one of them read through the other, links over three tables.
-- name: artist_page
-- key: "ArtistId"
-- coverage: complete
with sold as (
    select t."AlbumId", sum(l."UnitPrice" * l."Quantity") as "Earned"
    from music."Track" as t inner join music."InvoiceLine" as l on l."TrackId" = t."TrackId"
    group by t."AlbumId"
),
per_album as (
    select
        al."ArtistId", al."AlbumId", s."Earned",
        (select count(*) from music."Track" as t where t."AlbumId" = al."AlbumId") as "Tracks"
    from music."Album" as al left join sold as s on s."AlbumId" = al."AlbumId"
)
select
    ar."ArtistId", ar."Name", count(p."AlbumId") as "Albums", sum(p."Tracks") as "Tracks",
    coalesce(sum(p."Earned"), 0) as "Earned"
from music."Artist" as ar left join per_album as p on p."ArtistId" = ar."ArtistId"
group by ar."ArtistId"
