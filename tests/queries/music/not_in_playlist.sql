-- Tracks that are in no playlist, asked the other way.
-- Shape: NOT IN over a whole table.
-- name: not_in_playlist
-- key: "TrackId"
select t."TrackId", t."Name" from music."Track" as t
where t."TrackId" not in (select pt."TrackId" from music."PlaylistTrack" as pt)
