-- Dropping the schemas takes the functions along, and with them the triggers on the application's tables: this waits
-- for their writers. `meshcache uninstall` does the same with bounded waits and refuses to drop anybody else's views.

drop schema if exists meshcache_data cascade;
drop schema meshcache cascade;

-- Alembic notes the downgrade in its version table, so that one has to be there once more.
create schema meshcache;
create table meshcache.schema_version (
    version_num varchar(32) not null constraint schema_version_pkc primary key
);
insert into meshcache.schema_version (version_num) values ('0001');
