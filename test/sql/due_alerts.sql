\set ECHO none
\i test/helpers.sql
-- Alerts: of the dead letters that are kept, the look at the last hour reads no others.
BEGIN;
SELECT plan(6);

SELECT eventsource.create_queue('duealerts', max_attempts => 1, max_dead_per_hour => 5) > 0 AS ok \gset
SELECT count(eventsource.enqueue('duealerts', '{}')) AS ok FROM generate_series(1, 1000) n \gset
SELECT count(eventsource.fail(job_id, 'X', worker => 'w')) AS ok FROM eventsource.claim('duealerts', 1000, worker => 'w') \gset
-- Hours pass.
SELECT eventsource.allow_maintenance('a test makes jobs older') \g /dev/null
ALTER TABLE eventsource.job DISABLE TRIGGER ALL;
UPDATE eventsource.job SET finished_at = finished_at - interval '2 hours' WHERE queue = 'duealerts';
ALTER TABLE eventsource.job ENABLE TRIGGER ALL;

CREATE FUNCTION pg_temp.fetched() RETURNS bigint LANGUAGE sql AS $$
	SELECT idx_tup_fetch + seq_tup_read FROM pg_stat_xact_all_tables WHERE relid = 'eventsource.job'::regclass
$$;
SELECT pg_temp.fetched() AS before \gset
SELECT is(count(*), 0::bigint, 'an hour later they are not alarming') FROM eventsource.run_due() WHERE work = 'alerts';
SELECT ok(pg_temp.fetched() - :before < 100, 'nor looked at');
SELECT count(eventsource.enqueue('duealerts', '{}')) AS ok FROM generate_series(1, 6) n \gset
SELECT count(eventsource.fail(job_id, 'X', worker => 'w')) AS ok FROM eventsource.claim('duealerts', 1000, worker => 'w') \gset
SELECT is(count, 1::bigint, 'more of them are') FROM eventsource.run_due() WHERE work = 'alerts';
SELECT is(dead_letters || ' ' || cardinality(sample), '6 6', 'these, and no others') FROM eventsource.alerts WHERE queue = 'duealerts';
SELECT eventsource.create_queue('dueone', max_attempts => 1, max_dead_per_hour => 0) > 0 AS ok \gset
SELECT is(count(*), 0::bigint, 'a queue that bears none: none is given up') FROM eventsource.run_due() WHERE work = 'alerts';
SELECT eventsource.enqueue('dueone') AS ok \gset
SELECT eventsource.fail(job_id, 'REJECTED', worker => 'w') AS ok FROM eventsource.claim('dueone', worker => 'w') \gset
SELECT count(*) AS ok FROM eventsource.run_due() \gset
SELECT is(dead_letters, 1::bigint, 'the first one raises an alert') FROM eventsource.alerts WHERE queue = 'dueone' AND closed_at IS NULL;
SELECT * FROM finish();
ROLLBACK;
