-- An employee with the boss, the boss's boss, and how many report to them.
-- Shape: one table four times (self joins and a sub-select).
-- name: chain_of_command
-- key: "EmployeeId"
-- coverage: complete
select
    e."EmployeeId", e."LastName", b."LastName" as "Boss", bb."LastName" as "BossOfBoss",
    (select count(*) from music."Employee" as r where r."ReportsTo" = e."EmployeeId") as "Reports"
from music."Employee" as e
left join music."Employee" as b on b."EmployeeId" = e."ReportsTo"
left join music."Employee" as bb on bb."EmployeeId" = b."ReportsTo"
