-- Some products, for the front page.
-- Shape: TABLESAMPLE.
-- name: product_sample
-- key: product_id
select p.product_id, p.product_name from trade.products as p tablesample bernoulli (20)
