-- Who may log in.
-- Shape: a column that holds a secret.
-- name: staff_login
-- key: staff_id
select s.staff_id, s.username, s.password from rental.staff as s where s.active
