-- Audiobooks with who wrote them; names beyond ASCII.
-- Shape: non-ASCII and spaced identifiers, left join.
-- name: audiobook
-- key: "Nr"
-- coverage: complete
select h."Nr", k."Name" as "Künstler", h."Länge (min)", h."gelesen von" as "Sprecher:in"
from music."Hörbuch" as h left join music."Artist" as k on k."ArtistId" = h."Künstler"
