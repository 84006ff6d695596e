-- Tracks that are in playlist 1 and in playlist 2, but not in 3.
-- Shape: INTERSECT and EXCEPT.
-- name: shared_track
-- key: "TrackId"
-- coverage: complete
select a."TrackId" from music."PlaylistTrack" as a where a."PlaylistId" = 1
intersect
select b."TrackId" from music."PlaylistTrack" as b where b."PlaylistId" = 2
except
select c."TrackId" from music."PlaylistTrack" as c where c."PlaylistId" = 3
