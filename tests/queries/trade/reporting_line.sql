-- Everybody below an employee.
-- Shape: WITH RECURSIVE.
-- name: reporting_line
-- key: boss_id, employee_id
with recursive line as (
    select e.reports_to as boss_id, e.employee_id from staff.employees as e where e.reports_to is not null
    union
    select l.boss_id, e.employee_id from line as l inner join staff.employees as e on e.reports_to = l.employee_id
)
select l.boss_id, l.employee_id from line as l
