-- After a load and after indexes.sql: statistics, without which the first plans are guesses, and the end of
-- the generator's own tables.
analyze
    projects, secrets, workflow_definitions, workflow_runs, workflow_events, job_tracking, queue_config;

drop table pg_temp.sample_run;
drop table pg_temp.sample_workflow;
drop table pg_temp.sample_input;
