-- A playlist with the number of tracks and its length.
-- Shape: GROUP BY over left joins of a table of pairs, interval.
-- name: playlist_card
-- key: "PlaylistId"
-- coverage: complete
select
    p."PlaylistId", p."Name", count(t."TrackId") as "Tracks",
    coalesce(sum(t."Milliseconds"), 0) * interval '1 millisecond' as "Length",
    count(distinct t."GenreId") as "Genres"
from music."Playlist" as p
left join music."PlaylistTrack" as pt on pt."PlaylistId" = p."PlaylistId"
left join music."Track" as t on t."TrackId" = pt."TrackId"
group by p."PlaylistId", p."Name"
