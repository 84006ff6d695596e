-- Everybody's way up to the top.
-- Shape: WITH RECURSIVE, array, flush.
-- name: org_tree
-- key: "EmployeeId"
-- coverage: complete
-- flush: music."Employee"
with recursive tree as (
    select e."EmployeeId", array[e."LastName"::text] as "Way", 1 as "Depth"
    from music."Employee" as e where e."ReportsTo" is null
    union all
    select e."EmployeeId", t."Way" || e."LastName", t."Depth" + 1
    from music."Employee" as e inner join tree as t on t."EmployeeId" = e."ReportsTo"
)
select t."EmployeeId", t."Depth", t."Way" from tree as t where t."EmployeeId" is not null
