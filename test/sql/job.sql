\set ECHO none
\i test/helpers.sql
-- Jobs: enqueue, claim, complete, fail, heartbeat, keys, order, priorities, the view.
BEGIN;
SELECT plan(76);

CREATE FUNCTION pg_temp.claims(queue text, max_jobs integer DEFAULT 100, worker text DEFAULT 'w', lease interval DEFAULT '1 hour')
	RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(c.payload::text, ' '), '-') FROM eventsource.claim($1, $2, $4, $3) AS c
$$;
CREATE FUNCTION pg_temp.id(queue text, payload text) RETURNS bigint LANGUAGE sql AS $$
	SELECT j.job_id FROM eventsource.jobs j WHERE j.queue = $1 AND j.payload = to_jsonb($2)
$$;
CREATE FUNCTION pg_temp.state(job_id bigint) RETURNS text LANGUAGE sql AS $$
	SELECT j.state FROM eventsource.jobs j WHERE j.job_id = $1
$$;

-- Arguments.
SELECT pg_temp.refuses(format('SELECT eventsource.enqueue(%s)', arguments), state, message, 'enqueue(' || arguments || ')')
FROM (VALUES
	('NULL', '22004', 'queue must not be null'),
	('''q'', NULL', '22004', 'payload must not be null'),
	('''q'', priority => NULL', '22004', 'priority must not be null'),
	('''q'', on_conflict => NULL', '22004', 'on_conflict must not be null'),
	('''''', '22023', 'no queue can be named so'),
	('''$reaction''', '22023', 'no queue can be named so'),
	('repeat(''x'', 257)', '22023', 'no queue can be named so'),
	('E''a\nb''', '22023', 'no queue can be named so'),
	('''q'', run_at => ''infinity''', '22023', 'run_at is out of range'),
	('''q'', job_key => ''''', '22023', 'job_key is out of range'),
	('''q'', job_key => repeat(''x'', 1025)', '22023', 'job_key is out of range'),
	('''q'', job_key => ''reaction:x''', '22023', 'job_key must not begin with "reaction:"'),
	('''q'', job_key => ''timeout:x''', '22023', 'job_key must not begin with "timeout:"'),
	('''q'', on_conflict => ''x''', '22023', 'unknown on_conflict'),
	('''q'', order_key => ''''', '22023', 'order_key is out of range'),
	('''q'', max_attempts => 0', '22023', 'max_attempts is out of range'),
	('''q'', stream => ''nohyphen''', '42602', 'invalid stream name "nohyphen"'),
	('''q'', subject => ''''', '22023', 'subject is out of range')) AS v (arguments, state, message);
SELECT pg_temp.refuses(format('SELECT eventsource.claim(%s)', arguments), state, message, 'claim(' || arguments || ')')
FROM (VALUES
	('NULL', '22004', 'queue must not be null'),
	('''q'', NULL', '22004', 'max_jobs must not be null'),
	('''q'', 0', '22023', 'max_jobs is out of range'),
	('''q'', 10001', '22023', 'max_jobs is out of range'),
	('''q'', 1, ''0''', '22023', 'lease is out of range'),
	('''q'', 1, ''200 years''', '22023', 'lease is out of range'),
	('''q'', 1, NULL, ''''', '22023', 'worker is out of range')) AS v (arguments, state, message);

-- From one state to the other.
SELECT ok(eventsource.enqueue('job1', '"a"') > 0, 'enqueue returns an id');
SELECT is(state, 'available', 'it is available') FROM eventsource.jobs WHERE queue = 'job1';
SELECT is(pg_temp.claims('other'), '-', 'not in another queue');
SELECT is(pg_temp.claims('job1'), '"a"', 'it is claimed');
SELECT is(pg_temp.claims('job1', worker => 'v'), '-', 'once');
SELECT pg_temp.same_rows($$ SELECT state, attempt, max_attempts, worker, claimed_by, lease_until > now() FROM eventsource.jobs WHERE queue = 'job1' $$,
	$$ VALUES ('claimed', 1, 3, 'w', current_user, true) $$, 'the view tells');
SELECT pg_temp.refuses(format('SELECT eventsource.complete(%s, worker => %L)', pg_temp.id('job1', 'a'), 'v'), '55000',
	format('job %s is not lent to worker "v"', pg_temp.id('job1', 'a')), 'another worker cannot complete it');
SELECT pg_temp.refuses(format('SELECT eventsource.complete(%s, worker => %L, attempt => 2)', pg_temp.id('job1', 'a'), 'w'), '55000',
	format('attempt 2 at job %s is not lent to worker "w"', pg_temp.id('job1', 'a')), 'nor another attempt');
SELECT is(eventsource.heartbeat(pg_temp.id('job1', 'a'), '2 hours', 'w') > now() + interval '119 minutes', true, 'a heartbeat puts the end off');
SELECT is(eventsource.fail(pg_temp.id('job1', 'a'), 'TIMEOUT', 'no answer', worker => 'w'), 'scheduled', 'it fails');
SELECT pg_temp.same_rows($$ SELECT state, attempt, worker, error_code, error, run_at BETWEEN now() + interval '269 s' AND now() + interval '335 s' FROM eventsource.jobs WHERE queue = 'job1' $$,
	$$ VALUES ('scheduled', 1, NULL, 'TIMEOUT', 'no answer', true) $$, 'and is due after the base of the backoff, more or less');
SELECT is(pg_temp.claims('job1'), '-', 'not before');
SELECT eventsource.enqueue('job1', '"b"', max_attempts => 2) AS b \gset
SELECT is(pg_temp.claims('job1'), '"b"', 'another one');
SELECT is(eventsource.fail(:b, 'whatever', retry_at => now() - interval '1 s', worker => 'w'), 'available', 'it can be due at once');
SELECT is(pg_temp.claims('job1'), '"b"', 'and is claimed again');
SELECT is(eventsource.fail(:b, 'whatever', repeat('ä', 2000), worker => 'w'), 'discarded', 'with the last attempt it is given up');
SELECT pg_temp.same_rows(format('SELECT state, error_code, length(error), finished_at IS NOT NULL, lease_until IS NULL FROM eventsource.jobs WHERE job_id = %s', :b),
	$$ VALUES ('discarded', 'whatever', 1000, true, true) $$, 'a dead letter, its message cut');
SELECT eventsource.enqueue('job1', '"c"') AS c \gset
SELECT is(pg_temp.claims('job1'), '"c"', 'another one');
SELECT is(eventsource.fail(:c, 'BOUNCED', worker => 'w'), 'discarded', 'what is no use is not tried again');
SELECT eventsource.enqueue('job1', '"d"') AS d \gset
SELECT is(pg_temp.claims('job1'), '"d"', 'another one');
SELECT is(eventsource.complete(:d, '{"id": 7}', 'w', 1)::text, '', 'it is completed');
SELECT pg_temp.same_rows(format('SELECT state, result, worker FROM eventsource.jobs WHERE job_id = %s', :d), $$ VALUES ('done', '{"id": 7}'::jsonb, 'w') $$, 'with its result');
SELECT pg_temp.refuses(format('SELECT eventsource.complete(%s, worker => %L)', :d, 'w'), '55000', format('job %s is not lent to worker "w"', :d), 'once');

-- Leases.
SELECT eventsource.enqueue('job2', '"a"', max_attempts => 2) AS a \gset
SELECT is(pg_temp.claims('job2', lease => '1 microsecond'), '"a"', 'lent for a moment');
SELECT is(pg_temp.state(:a), 'available', 'it is available again');
SELECT is(pg_temp.claims('job2', worker => 'v', lease => '1 microsecond'), '"a"', 'to another one');
SELECT is(error_code, 'LEASE_EXPIRED', 'that the lease ended is told') FROM eventsource.jobs WHERE job_id = :a;
SELECT pg_temp.refuses(format('SELECT eventsource.complete(%s, worker => %L)', :a, 'w'), '55000', format('job %s is not lent to worker "w"', :a), 'the first one is late');
SELECT is(pg_temp.state(:a), 'claimed', 'a lost one without attempts left is not available');
SELECT is(pg_temp.claims('job2'), '-', 'nor lent');
SELECT is(state || ' ' || error_code, 'discarded LEASE_EXPIRED', 'but given up') FROM eventsource.jobs WHERE job_id = :a;

-- Order, priority, time.
SELECT count(eventsource.enqueue('job3', to_jsonb(n), priority => n % 2)) AS done FROM generate_series(1, 4) AS n \gset
SELECT is(pg_temp.claims('job3', 3), '1 3 2', 'priorities first, then the order of enqueueing');
SELECT count(eventsource.enqueue('job4', to_jsonb(n), order_key => chr(97 + n % 2))) AS done FROM generate_series(1, 6) AS n \gset
SELECT is(pg_temp.claims('job4'), '1 2', 'one of each order key');
SELECT is(pg_temp.claims('job4', worker => 'v'), '-', 'as long as it is at work');
SELECT eventsource.complete(job_id, worker => 'w') IS NULL AS done FROM eventsource.jobs WHERE queue = 'job4' AND payload = '2' \gset
SELECT is(pg_temp.claims('job4'), '4', 'then the next one of the key');
SELECT is(eventsource.fail(job_id, 'TIMEOUT', worker => 'w'), 'scheduled', 'one that fails') FROM eventsource.jobs WHERE queue = 'job4' AND payload = '1';
SELECT is(pg_temp.claims('job4'), '-', 'holds those behind it');
SELECT ok(eventsource.enqueue('job5', '1', run_at => now() + interval '1 hour') > 0, 'one for later');
SELECT is(state, 'scheduled', 'is scheduled') FROM eventsource.jobs WHERE queue = 'job5';
SELECT is(pg_temp.claims('job5'), '-', 'and not claimed');

-- More than a hundred given up within an hour, in a queue that was not created: one alert.
CREATE FUNCTION pg_temp.give_up(n integer) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM eventsource.enqueue('job6') FROM generate_series(1, n);
	PERFORM eventsource.fail(job_id, 'REJECTED', worker => 'w') FROM eventsource.claim('job6', n, '1 hour', 'w');
	RETURN (SELECT coalesce(sum(count), 0)::text FROM eventsource.run_due() WHERE work = 'alerts');
END
$$;
SELECT is(pg_temp.give_up(100), '0', 'a hundred dead letters raise no alert');
SELECT is(pg_temp.give_up(1), '1', 'one more does');
SELECT is(pg_temp.give_up(50), '0', 'and none of the others');
SELECT pg_temp.same_rows($$ SELECT queue, dead_letters, cardinality(sample), sample <@ ARRAY(SELECT job_id FROM eventsource.dead_letters WHERE queue = 'job6') FROM eventsource.alerts WHERE queue = 'job6' AND closed_at IS NULL $$,
	$$ VALUES ('job6', 101::bigint, 10, true) $$, 'it is the only one, with a sample of ten');

-- A claim of some jobs alone.
SELECT eventsource.enqueue('job_ids', to_jsonb(n), order_key => CASE WHEN n > 3 THEN 'o' END) FROM generate_series(1, 5) n \g /dev/null
CREATE FUNCTION pg_temp.claims_of(payloads int[], queue text DEFAULT 'job_ids') RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(c.payload::text, ' '), '-')
	  FROM eventsource.claim(queue, 10, worker => 'w', job_ids => ARRAY(SELECT j.job_id FROM eventsource.jobs j WHERE j.queue = 'job_ids' AND j.payload = ANY (SELECT to_jsonb(p) FROM unnest(payloads) p))) c
$$;
SELECT is(pg_temp.claims_of('{3,2}'), '2 3', 'of some jobs these alone are lent, in their order');
SELECT is(pg_temp.claims_of('{3,5}'), '-', 'but not what is lent, nor what is behind another one');
SELECT is(pg_temp.claims_of('{1}', 'job1') || pg_temp.claims_of('{}'), '--', 'nor what is in another queue; of none, none');
SELECT is(pg_temp.claims('job_ids'), '1 4', 'the others are left');

-- Behind a long queue they are looked up one by one, and nothing is read that comes before.
SELECT eventsource.enqueue('job_far', to_jsonb(n)) FROM generate_series(1, 3000) n \g /dev/null
SELECT array_agg(job_id) AS far FROM eventsource.jobs WHERE queue = 'job_far' AND payload IN ('2998', '3000') \gset
CREATE FUNCTION pg_temp.jobs_read() RETURNS bigint LANGUAGE sql AS $$
	SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables WHERE relid = 'eventsource.job'::regclass
$$;
SELECT pg_temp.jobs_read() AS before \gset
SELECT string_agg(payload::text, ' ') AS lent FROM eventsource.claim('job_far', 10, job_ids => :'far') \gset
SELECT is(:'lent'::text, '2998 3000', 'two of the last are lent');
SELECT cmp_ok(pg_temp.jobs_read() - :before, '<', 50::bigint, 'without a walk along the queue');
SELECT pg_temp.refuses($$ SELECT eventsource.claim('job_far', job_ids => array_fill(1::bigint, '{10001}')) $$, '22023', 'job_ids are too many', 'there is an end to it');

SELECT * FROM finish();
ROLLBACK;
