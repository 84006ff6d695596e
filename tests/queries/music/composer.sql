-- Who composed a track, one row for each of them.
-- Shape: a set-returning function in the select list (string_to_table), DISTINCT.
-- name: composer
-- key: "TrackId", "Composer"
-- coverage: complete
select c.* from (
    select distinct t."TrackId", string_to_table(t."Composer"::text, ', ') as "Composer"
    from music."Track" as t
) as c
where c."Composer" is not null
