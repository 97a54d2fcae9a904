\set ECHO none
\i test/helpers.sql
-- Jobs by hand: redrive, discard, cancel, keys, dead letters; and the events of it all.
BEGIN;
SELECT plan(59);

CREATE FUNCTION pg_temp.claims(queue text, max_jobs integer DEFAULT 100, worker text DEFAULT 'w')
	RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(c.payload::text || '.' || c.attempt || '/' || c.max_attempts, ' '), '-') FROM eventsource.claim($1, $2, '1 hour', $3) AS c
$$;
CREATE FUNCTION pg_temp.state(job_id bigint) RETURNS text LANGUAGE sql AS $$
	SELECT j.state FROM eventsource.jobs j WHERE j.job_id = $1
$$;
CREATE FUNCTION pg_temp.told(job_id bigint) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(e.type || coalesce(' ' || (e.data ->> 'reason'), ''), ', ' ORDER BY e.version), '-')
	  FROM eventsource.events e WHERE e.stream = '$job-' || $1 AND (e.data ->> 'job_id')::bigint = $1
$$;

-- Keys.
SELECT eventsource.enqueue('jad1', '1', job_key => 'k') AS k \gset
SELECT is(eventsource.enqueue('jad1', '2', job_key => 'k'), :k::bigint, 'keep: the job that has the key');
SELECT is(payload, '1', 'stays as it is') FROM eventsource.jobs WHERE job_id = :k;
SELECT pg_temp.refuses($$ SELECT eventsource.enqueue('jad1', '2', job_key => 'k', on_conflict => 'error') $$, '23505', 'there is a job with key "k" in queue "jad1"', 'error: refused');
SELECT is(eventsource.enqueue('jad1', '3', run_at => now() + interval '1 day', priority => 5, job_key => 'k', on_conflict => 'replace', order_key => 'o', max_attempts => 9, stream => 'jads-1', subject => 'joe'), :k::bigint, 'replace: the job that has the key');
SELECT pg_temp.same_rows(format('SELECT payload, state, priority, order_key, max_attempts, stream, subject FROM eventsource.jobs WHERE job_id = %s', :k),
	$$ VALUES ('3'::jsonb, 'scheduled', 5, 'o', 9, 'jads-1', 'joe') $$, 'becomes what is given');
SELECT isnt(eventsource.enqueue('jad2', '2', job_key => 'k'), :k::bigint, 'a key is one of its queue');
SELECT is(eventsource.enqueue('jad1', '4', job_key => 'k', on_conflict => 'replace'), :k::bigint, 'again');
SELECT is(pg_temp.claims('jad1'), '4.1/3', 'it is claimed');
SELECT is(eventsource.enqueue('jad1', '5', job_key => 'k'), :k::bigint, 'keep: a claimed one, too');
SELECT eventsource.enqueue('jad1', '6', job_key => 'k', on_conflict => 'replace') AS l \gset
SELECT isnt(:l::bigint, :k::bigint, 'replace: beside a claimed one there is another');
SELECT pg_temp.same_rows($$ SELECT payload, state, job_key FROM eventsource.jobs WHERE queue = 'jad1' ORDER BY job_id $$,
	$$ VALUES ('4'::jsonb, 'claimed', NULL), ('6'::jsonb, 'available', 'k') $$, 'which has its key');
SELECT eventsource.complete(:k, worker => 'w') IS NULL AS done \gset
SELECT is(pg_temp.claims('jad1'), '6.1/3', 'the other one is claimed');
SELECT eventsource.complete(:l, worker => 'w') IS NULL AS done \gset
SELECT isnt(eventsource.enqueue('jad1', '7', job_key => 'k'), :l::bigint, 'finished jobs bind no key');
SELECT eventsource.enqueue('jad1', '8', job_key => 'r') AS r \gset
SELECT is(pg_temp.claims('jad1', 2), '7.1/3 8.1/3', 'both');
SELECT eventsource.fail(:r, 'X', retry_at => now(), worker => 'w') AS done \gset
SELECT isnt(eventsource.enqueue('jad1', '9', job_key => 'r', on_conflict => 'replace'), :r::bigint, 'one that failed is replaced by another');
SELECT is(pg_temp.claims('jad1'), '9.1/3', 'with all its attempts');

-- Cancel.
SELECT eventsource.enqueue('jad3', '1', job_key => 'c') AS c \gset
SELECT is(eventsource.cancel_jobs('jad3', 'c', 'changed'), 1, 'cancelled by its key');
SELECT is(pg_temp.state(:c), 'cancelled', 'it is cancelled');
SELECT is(finish_reason, 'changed', 'with the reason') FROM eventsource.jobs WHERE job_id = :c;
SELECT is(pg_temp.told(:c), 'job_cancelled changed', 'and an event');
SELECT is(eventsource.cancel_jobs('jad3', 'c'), 0, 'once');
SELECT pg_temp.refuses(format('SELECT eventsource.cancel_job(%s)', :c), '55000', format('job %s is finished', :c), 'nor by its id');
SELECT pg_temp.refuses('SELECT eventsource.cancel_job(0)', 'P0002', 'there is no job 0', 'one that there never was');
SELECT pg_temp.refuses('SELECT eventsource.cancel_job(NULL)', '22004', 'job_id must not be null', 'it must be said which');
SELECT pg_temp.refuses('SELECT eventsource.cancel_jobs(''q'', NULL)', '22004', 'job_key must not be null', 'here, too');
SELECT pg_temp.refuses('SELECT eventsource.cancel_jobs(''$timeout'', repeat(''x'', 2000))', '22023', 'job_key is out of range', 'a long key');
SELECT eventsource.enqueue('jad3', '2', subject => 'jane') AS d \gset
SELECT is(pg_temp.claims('jad3'), '2.1/3', 'one at work');
SELECT is(eventsource.cancel_job(:d)::text, '', 'is cancelled');
SELECT is(pg_temp.told(:d), 'job_cancelled', 'without a reason');
SELECT is(subject, 'jane', 'the event is about whom the job was about') FROM eventsource.events WHERE stream = '$job-' || :d;
SELECT pg_temp.refuses(format('SELECT eventsource.complete(%s, worker => %L)', :d, 'w'), '55000', format('job %s is not lent to worker "w"', :d), 'its worker is told');

-- Discard and redrive.
SELECT eventsource.enqueue('jad4', '1', order_key => 'o') AS e \gset
SELECT eventsource.enqueue('jad4', '2', order_key => 'o') AS f \gset
SELECT pg_temp.refuses(format('SELECT eventsource.discard(%s, NULL)', :e), '22004', 'reason must not be null', 'discard: why');
SELECT pg_temp.refuses(format('SELECT eventsource.discard(%s, %L)', :e, ''), '22023', 'reason is out of range', 'discard: not empty');
SELECT pg_temp.refuses(format('SELECT eventsource.redrive(%s)', :e), '55000', format('job %s is not given up', :e), 'redrive: what is given up alone');
SELECT is(eventsource.discard(:e, 'no use')::text, '', 'given up');
SELECT pg_temp.same_rows($$ SELECT payload, error_code, reason FROM eventsource.dead_letters WHERE queue = 'jad4' $$, $$ VALUES ('1'::jsonb, NULL, 'no use') $$, 'a dead letter');
SELECT pg_temp.refuses(format('SELECT eventsource.discard(%s, %L)', :e, 'x'), '55000', format('job %s is finished', :e), 'once');
SELECT is(eventsource.redrive(:e)::text, '', 'and driven again');
SELECT is(pg_temp.told(:e), 'job_discarded no use, job_redriven', 'all of it is told');
SELECT is(pg_temp.claims('jad4'), '2.1/3', 'behind the others of its key');
SELECT eventsource.complete(:f, worker => 'w') IS NULL AS done \gset
SELECT is(pg_temp.claims('jad4'), '1.1/3', 'then itself');
SELECT is(eventsource.fail(:e, 'X', retry_at => now(), worker => 'w'), 'available', 'it fails');
SELECT is(pg_temp.claims('jad4'), '1.2/3', 'again');
SELECT is(eventsource.fail(:e, 'BOUNCED', worker => 'w'), 'discarded', 'and is given up');
SELECT is(eventsource.redrive(:e)::text, '', 'and driven again');
SELECT is(pg_temp.claims('jad4'), '1.3/5', 'with as many attempts');
SELECT pg_temp.refuses(format('SELECT eventsource.complete(%s, worker => %L, attempt => 1)', :e, 'w'), '55000', format('attempt 1 at job %s is not lent to worker "w"', :e), 'but another number of them');
SELECT is(eventsource.redrive(:c)::text, '', 'what was cancelled can be driven again');
SELECT is(pg_temp.claims('jad3'), '1.1/3', 'and is claimed');
SELECT eventsource.enqueue('jad5', '1', job_key => 'k') AS g \gset
SELECT eventsource.cancel_job(:g) IS NULL AS done \gset
SELECT eventsource.enqueue('jad5', '2', job_key => 'k') AS h \gset
SELECT pg_temp.refuses(format('SELECT eventsource.redrive(%s)', :g), '23505', 'there is a job with key "k" in queue "jad5"', 'not if another one has taken its key');

-- The table itself.
SELECT pg_temp.refuses(command, 'ZE001', split_part(command, ' ', 1) || ' on "eventsource.job" is not allowed', command)
FROM (VALUES ('UPDATE eventsource.job SET priority = 1'), ('DELETE FROM eventsource.job'), ('TRUNCATE eventsource.job')) v (command);
SELECT pg_temp.refuses($$ INSERT INTO eventsource.job (id, turn, queue, state, priority, run_at, payload, created_at) VALUES (-1, -1, 'q', 'available', 0, now(), '{}', now()) $$,
	'ZE001', 'INSERT on "eventsource.job" is not allowed', 'nobody writes the table, not even a superuser');
SELECT is(count(*), 4::bigint, 'what is there is guarded') FROM eventsource.queue_metrics WHERE queue IN ('jad1', 'jad2', 'jad3', 'jad4');

SELECT ok(pg_temp.refusal('DELETE FROM eventsource.job') LIKE E'%\nDETAIL: Jobs and alerts are changed by functions, which record what they do.\nHINT: Call enqueue()%', 'and is told what to do instead');

-- All of a queue.
SELECT eventsource.enqueue('jad_all', to_jsonb(n), job_key => 'all' || n) AS all_job FROM generate_series(1, 3) n \g /dev/null
SELECT eventsource.discard(job_id, 'test') FROM eventsource.jobs WHERE queue = 'jad_all' \g /dev/null
SELECT eventsource.enqueue('jad_all', '4', job_key => 'all1') AS other \gset
SELECT is(eventsource.redrive_all('jad_all', max_jobs => 1)::text, '(1,1)', 'so many of a queue are redriven; one whose key another has is passed over');
SELECT is(eventsource.redrive_all('jad_all')::text, '(1,1)', 'and the others');
SELECT is((SELECT string_agg(payload::text || ' ' || state, ', ' ORDER BY payload) FROM eventsource.jobs WHERE queue = 'jad_all'), '1 discarded, 2 available, 3 available, 4 available', 'which wait again');

SELECT * FROM finish();
ROLLBACK;
