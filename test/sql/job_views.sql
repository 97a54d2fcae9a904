\set ECHO none
\i test/helpers.sql
-- The views of jobs: who sees what is asked no more often than needed, and dead letters have an index.
BEGIN;
SELECT plan(12);

CREATE ROLE jobviews_reader;
CREATE ROLE jobviews_worker;
GRANT USAGE ON SCHEMA eventsource TO jobviews_reader;
SELECT eventsource.grant_reader('jobviews_reader', ARRAY['jobviews']), eventsource.grant_reader('jobviews_worker', ARRAY['else']) \g /dev/null
SELECT eventsource.create_queue('jobviews', max_attempts => 1, workers => 'jobviews_worker') > 0 AS ok \gset
SELECT count(eventsource.enqueue('jobviews', to_jsonb(n), order_key => 'k' || n, job_key => 'k' || n, stream => 'jobviews-' || n)) AS ok FROM generate_series(1, 100) n \gset
SELECT count(eventsource.fail(job_id, 'X', 'what it said', worker => 'w')) AS ok FROM eventsource.claim('jobviews', 60, worker => 'w') \gset

-- Calls of a function in this transaction.
SET track_functions = 'all';
CREATE FUNCTION pg_temp.calls(name text) RETURNS bigint LANGUAGE sql AS $$
	SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_xact_user_functions WHERE schemaname = 'eventsource' AND funcname = name
$$;
CREATE FUNCTION pg_temp.calls_by(role text, query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	reads bigint := pg_temp.calls('reads_everything');
	works bigint := pg_temp.calls('may_work_in');
	rows bigint;
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', role);
	EXECUTE query;
	GET DIAGNOSTICS rows = ROW_COUNT;
	RESET ROLE;
	RETURN format('%s rows, %s and %s calls', rows, pg_temp.calls('reads_everything') - reads, pg_temp.calls('may_work_in') - works);
END
$$;
SELECT is(pg_temp.calls_by('postgres', $$ SELECT * FROM eventsource.jobs WHERE queue = 'jobviews' $$), '100 rows, 1 and 0 calls', 'who reads everything');
SELECT is(pg_temp.calls_by('jobviews_worker', $$ SELECT * FROM eventsource.jobs WHERE queue = 'jobviews' $$), '100 rows, 1 and 100 calls', 'who works in the queue');
SELECT is(pg_temp.calls_by('jobviews_reader', $$ SELECT * FROM eventsource.jobs WHERE queue = 'jobviews' $$), '100 rows, 1 and 100 calls', 'who reads the category');
SELECT is(pg_temp.calls_by('postgres', $$ SELECT * FROM eventsource.dead_letters WHERE queue = 'jobviews' $$), '60 rows, 1 and 0 calls', 'dead letters');
SELECT is(pg_temp.calls_by('jobviews_worker', $$ SELECT * FROM eventsource.dead_letters WHERE queue = 'jobviews' $$), '60 rows, 1 and 60 calls', 'alike');
SELECT is(pg_temp.calls_by('jobviews_reader', $$ SELECT * FROM eventsource.dead_letters WHERE queue = 'jobviews' $$), '60 rows, 1 and 60 calls', 'alike again');

-- Both views say the same of a dead letter, to everybody.
CREATE FUNCTION pg_temp.differing(role text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	n bigint;
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', role);
	SELECT count(*) INTO n FROM eventsource.jobs j FULL JOIN eventsource.dead_letters d USING (job_id)
	 WHERE coalesce(j.queue, d.queue) = 'jobviews' AND coalesce(j.state, 'discarded') = 'discarded'
	   AND (d.job_id IS NULL OR (to_jsonb(d) - 'discarded_at' - 'reason') - ARRAY(SELECT k FROM jsonb_object_keys(to_jsonb(j)) k) <> '{}'
			OR NOT to_jsonb(j) @> (to_jsonb(d) - 'discarded_at' - 'reason'));
	RESET ROLE;
	RETURN n;
END
$$;
SELECT is(pg_temp.differing('postgres'), 0::bigint, 'both views are of one mind');
SELECT is(pg_temp.differing('jobviews_worker'), 0::bigint, 'also for a worker');
SELECT is(pg_temp.differing('jobviews_reader'), 0::bigint, 'and a reader');
SET ROLE jobviews_reader;
SELECT is(row(count(*), count(payload), count(error), count(order_key), count(job_key), count(worker))::text, '(60,0,0,0,0,0)', 'who sees neither payloads nor errors')
  FROM eventsource.dead_letters WHERE queue = 'jobviews';
RESET ROLE;

-- Found by an index, however many jobs are kept.
CREATE FUNCTION pg_temp.plan_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	plan text := '';
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		plan := plan || line || E'\n';
	END LOOP;
	RETURN plan;
END
$$;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SELECT matches(pg_temp.plan_of($$ SELECT * FROM eventsource.dead_letters WHERE queue = 'jobviews' AND discarded_at > now() - interval '1 hour' $$),
	'Index Scan using job_dead_idx on job j\s+Index Cond: \(\(queue = ''jobviews''::text\) AND \(finished_at >', 'dead letters of a queue, since then');
SELECT matches(pg_temp.plan_of('SELECT * FROM eventsource.queue_metrics'), 'CTE n\s+->  Result', 'the clock is read once for all queues, whatever the plan');
SELECT * FROM finish();
ROLLBACK;
