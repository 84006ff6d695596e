-- An album with its tracks as JSON and its playing time.
-- Shape: LATERAL with jsonb_agg, USING.
-- name: album_page
-- key: "AlbumId"
-- coverage: complete
select al."AlbumId", al."Title", ar."Name" as "Artist", t."Tracks", t."Seconds"
from music."Album" as al
inner join music."Artist" as ar using ("ArtistId")
cross join lateral (
    select
        jsonb_agg(jsonb_build_object('name', t."Name", 'price', t."UnitPrice") order by t."TrackId") as "Tracks",
        sum(t."Milliseconds") / 1000 as "Seconds"
    from music."Track" as t
    where t."AlbumId" = al."AlbumId"
) as t
