-- Tracks that nobody has bought.
-- Shape: NOT EXISTS and LEFT JOIN … IS NULL.
-- name: never_sold
-- key: "TrackId"
-- coverage: complete
select t."TrackId", t."Name"
from music."Track" as t
left join music."PlaylistTrack" as pt on pt."TrackId" = t."TrackId" and pt."PlaylistId" = 1
where
    pt."TrackId" is null
    and not exists (select from music."InvoiceLine" as l where l."TrackId" = t."TrackId")
