-- Albums by how many tracks they have: how many albums of each size there are.
-- Shape: GROUP BY a count, no way to the key.
-- name: album_sizes
-- key: size
select x.size, count(*) as albums
from (select t."AlbumId", count(*) as size from music."Track" as t group by t."AlbumId") as x
group by x.size
