-- A track with album, artist, genre and format.
-- Shape: left joins two deep, inner join, quoted identifiers.
-- name: track_card
-- key: "TrackId"
-- coverage: complete
select
    t."TrackId", t."Name", al."Title" as "Album", ar."Name" as "Artist", g."Name" as "Genre", m."Name" as "Format",
    t."UnitPrice"
from music."Track" as t
inner join music."MediaType" as m on m."MediaTypeId" = t."MediaTypeId"
left join music."Album" as al on al."AlbumId" = t."AlbumId"
left join music."Artist" as ar on ar."ArtistId" = al."ArtistId"
left join music."Genre" as g on g."GenreId" = t."GenreId"
