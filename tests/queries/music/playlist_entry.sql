-- The tracks of a playlist with their place in it and the time until then.
-- Shape: window functions partitioned by part of the key, running sum.
-- name: playlist_entry
-- key: "PlaylistId", "TrackId"
-- coverage: complete
select
    pt."PlaylistId", pt."TrackId", t."Name", row_number() over list as "Place",
    sum(t."Milliseconds") over list as "Until"
from music."PlaylistTrack" as pt
inner join music."Track" as t on t."TrackId" = pt."TrackId"
window list as (partition by pt."PlaylistId" order by t."Name", t."TrackId")
