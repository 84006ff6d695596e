-- Invoices by country.
-- Shape: GROUP BY a text column, FILTER, percentile.
-- name: country_sales
-- key: "BillingCountry"
-- coverage: complete
select
    i."BillingCountry", count(*) as "Invoices", sum(i."Total") as "Total",
    count(*) filter (where i."Total" > 4) as "Large",
    percentile_disc(0.5) within group (order by i."Total") as "Median"
from music."Invoice" as i
where i."BillingCountry" is not null
group by i."BillingCountry"
