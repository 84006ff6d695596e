-- Tracks with the name of their price.
-- Shape: join with VALUES on a numeric, CASE.
-- name: price_level
-- key: "TrackId"
-- coverage: complete
select t."TrackId", v.level, case when t."Milliseconds" > 240000 then 'long' else 'short' end as "Length"
from music."Track" as t
left join (values (0.99, 'normal'), (1.99, 'high')) as v (price, level) on v.price = t."UnitPrice"
