\set ECHO none
\i test/helpers.sql
-- Jobs that take the place of others of their key; what a job may have at most.
BEGIN;
SELECT plan(31);

CREATE FUNCTION pg_temp.claims(queue text, max_jobs integer DEFAULT 100) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(c.payload::text, ' '), '-') FROM eventsource.claim($1, $2, '1 hour', 'w') AS c
$$;
CREATE FUNCTION pg_temp.tell(queue text) RETURNS TABLE (payload jsonb, state text, attempt integer, finish_reason text)
LANGUAGE sql AS $$
	SELECT j.payload, j.state, j.attempt, j.finish_reason FROM eventsource.jobs j WHERE j.queue = $1
$$;

-- One that nobody was lent stays what it is, but for what it says.
SELECT eventsource.enqueue('jr1', '1', job_key => 'k') AS a \gset
SELECT is(eventsource.enqueue('jr1', '2', job_key => 'k', on_conflict => 'replace', priority => 3, max_attempts => 7), :a::bigint, 'an untried job is replaced in place');
SELECT pg_temp.same_rows($$ SELECT payload, state, priority, max_attempts FROM eventsource.jobs WHERE queue = 'jr1' $$, $$ VALUES ('2'::jsonb, 'available', 3, 7) $$, 'whole');

-- One that was lent may have been done: who was told its id must not take the new one for it.
SELECT is(pg_temp.claims('jr1'), '2', 'it is lent');
SELECT is(eventsource.fail(:a, 'TIMEOUT', retry_at => now(), worker => 'w'), 'available', 'and fails');
SELECT eventsource.enqueue('jr1', '3', job_key => 'k', on_conflict => 'replace') AS b \gset
SELECT ok(:b > :a, 'what replaces it is another job');
SELECT pg_temp.same_rows($$ SELECT * FROM pg_temp.tell('jr1') $$,
	$$ VALUES ('2'::jsonb, 'cancelled', 1, 'replaced'), ('3', 'available', 0, NULL) $$, 'and it is cancelled');
SELECT pg_temp.same_rows($$ SELECT payload, attempt FROM eventsource.claim('jr1', 10, '1 hour', 'w') $$, $$ VALUES ('3'::jsonb, 1) $$, 'the new one is lent, for the first time');
SELECT eventsource.enqueue('jr1', '4', job_key => 'k', on_conflict => 'replace') AS c \gset
SELECT ok(:c > :b, 'what replaces one that is lent is another job, too');
SELECT pg_temp.same_rows($$ SELECT payload, state, job_key FROM eventsource.jobs WHERE queue = 'jr1' AND state <> 'cancelled' $$,
	$$ VALUES ('3'::jsonb, 'claimed', NULL), ('4', 'available', 'k') $$, 'and that only loses its key');
SELECT is(eventsource.enqueue('jr1', '5', job_key => 'k'), :c::bigint, 'keep keeps it');
SELECT is(pg_temp.claims('jr1'), '4', 'as it is');
SELECT is(eventsource.fail(:c, 'TIMEOUT', worker => 'w'), 'scheduled', 'one that waits for its next attempt');
SELECT is(eventsource.enqueue('jr1', '5', job_key => 'k'), :c::bigint, 'is kept, too');
SELECT ok(eventsource.enqueue('jr1', '6', job_key => 'k', on_conflict => 'replace') > :c, 'or replaced by another job');
SELECT eventsource.enqueue('jr1', '7', job_key => 'r') AS r \gset
SELECT eventsource.cancel_job(:r), eventsource.redrive(:r) \g /dev/null
SELECT is(eventsource.enqueue('jr1', '8', job_key => 'r', on_conflict => 'replace'), :r::bigint, 'one that is redriven and was never lent is replaced in place');

-- Order keys: who comes to another one goes behind the jobs that are there.
SELECT eventsource.enqueue('jr2', '1', job_key => 'k', order_key => 'a') AS a \gset
SELECT eventsource.enqueue('jr2', '2', order_key => 'a') AS done \gset
SELECT eventsource.enqueue('jr2', '3', order_key => 'b') AS done \gset
SELECT is(eventsource.enqueue('jr2', '4', job_key => 'k', on_conflict => 'replace', order_key => 'b'), :a::bigint, 'an order key is changed');
SELECT is(pg_temp.claims('jr2'), '2 3', 'the first of either key is lent');
SELECT count(eventsource.complete(job_id, worker => 'w')) AS done FROM eventsource.jobs WHERE queue = 'jr2' AND state = 'claimed' \gset
SELECT is(pg_temp.claims('jr2'), '4', 'and then who came later');
SELECT count(eventsource.enqueue('jr3', to_jsonb(n), job_key => 'k' || n, order_key => 'a')) AS done FROM generate_series(1, 2) n \gset
SELECT is(eventsource.enqueue('jr3', '"1"', job_key => 'k1', on_conflict => 'replace', order_key => 'a') > 0, true, 'with the order key it has');
SELECT is(pg_temp.claims('jr3'), '"1"', 'a job keeps its turn');

-- Those that were marked as behind it are woken.
SELECT count(eventsource.enqueue('jr4', to_jsonb(n), job_key => 'k' || n, order_key => 'crowd')) AS done FROM generate_series(0, 50) n \gset
SELECT is(pg_temp.claims('jr4', 2), '0', 'one of a crowd');
SELECT ok(count(*) > 32, 'the others are marked') FROM eventsource.job WHERE queue = 'jr4' AND waits;
SELECT eventsource.cancel_jobs('jr4', 'k0') AS done \gset
SELECT eventsource.enqueue('jr4', '"else"', job_key => 'k1', on_conflict => 'replace', order_key => 'else', run_at => now() + interval '1 hour') AS done \gset
SELECT is(pg_temp.claims('jr4', 2), '2', 'who is next when the first one leaves is lent');

-- What a job may have.
SELECT pg_temp.refuses(format('SELECT eventsource.enqueue(%s)', arguments), state, message, 'enqueue(' || arguments || ')')
FROM (VALUES
	('''jr5'', max_attempts => 2147483647', '22023', 'max_attempts is out of range'),
	('''jr5'', max_attempts => 1001', '22023', 'max_attempts is out of range'),
	('''jr5'', to_jsonb(repeat(''x'', 1024 * 1024))', '54000', 'the payload of a job is too large')) AS v (arguments, state, message);
SELECT ok(eventsource.enqueue('jr5', to_jsonb(repeat('x', 1024 * 1024 - 100)), max_attempts => 1000) > 0, 'a large one');
SELECT ok(eventsource.create_queue('jr5', max_attempts => 1000) > 0, 'a queue of many attempts');
SELECT pg_temp.refuses($$ SELECT eventsource.create_queue('jr6', max_attempts => 1001) $$, 'ZE011', 'invalid definition of queue "jr6"', 'of more');
SELECT pg_temp.refuses($$ SELECT eventsource.create_reaction('jr', 'jr', 't', action => '{"enqueue": "jr5", "max_attempts": 1001}') $$, 'ZE011', 'definition of reaction "jr" is not valid', 'a reaction neither');
SELECT is(max(max_attempts), 1000, 'the view tells') FROM eventsource.jobs WHERE queue = 'jr5';

SELECT * FROM finish();
ROLLBACK;
