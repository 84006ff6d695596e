-- section: Maintenance
-- What moves rows and changes none.

-- case: VACUUM FULL
-- how: alone
-- reads: cache
-- cover: nothing to cover
-- do:
vacuum full loan;

-- case: CLUSTER
-- how: alone
-- reads: cache
-- cover: nothing to cover
-- do:
cluster loan using loan_pkey;

-- case: REINDEX
-- how: alone
-- reads: cache
-- cover: nothing to cover
-- do:
reindex table loan;

-- case: VACUUM FREEZE, ANALYZE
-- how: alone
-- reads: cache
-- cover: nothing to cover
-- do:
vacuum (freeze, analyze) loan;

-- case: VACUUM FULL of a row that is read whole
-- how: alone
-- reads: cache
-- cover: nothing to cover
-- do:
vacuum full doc;

-- case: VACUUM FULL of the catalog
-- how: alone
-- reads: cache
-- cover: nothing to cover
-- do:
vacuum full pg_attribute;

-- case: a column with a default that is read whole, and VACUUM FULL
-- how: alone
-- reads: source
-- cover: readers compare definitions
-- before:
alter table doc add column more integer default 5;
-- do:
vacuum full doc;
