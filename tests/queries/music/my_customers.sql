-- The customers of whoever asks.
-- Shape: current_setting(), the session decides.
-- name: my_customers
-- key: "CustomerId"
select c."CustomerId", c."LastName" from music."Customer" as c
where c."SupportRepId" = current_setting('music.employee')::integer
