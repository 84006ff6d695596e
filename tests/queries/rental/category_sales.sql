-- Sales by category, from the shop's own summary.
-- Shape: materialized view.
-- name: category_sales
-- key: category
select s.category, s.total_sales from rental.rental_by_category as s
