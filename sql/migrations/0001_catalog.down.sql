-- Dropping the schemas takes the functions along, and with them the triggers on the application's tables.
-- The runner has locked those tables before, one by one and without waiting long.

drop schema if exists meshcache_data cascade;
drop schema meshcache cascade;
