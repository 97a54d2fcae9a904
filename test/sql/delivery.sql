\set ECHO none
\i test/helpers.sql
BEGIN;
SELECT plan(38);

SELECT eventsource.append('delivery_order-1', 'placed') IS NULL AS done \gset

-- A job, claimed by "me".
CREATE FUNCTION pg_temp.lend() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	job bigint;
BEGIN
	PERFORM eventsource.enqueue('delivery_test', '{"stream": "delivery-1", "metadata": {"a": 1}}', max_attempts => 2);
	SELECT c.job_id INTO STRICT job FROM eventsource.claim('delivery_test', worker => 'me') c;
	RETURN job;
END
$$;
CREATE FUNCTION pg_temp.story(job bigint, of_category text DEFAULT 'delivery') RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(e.type || ' ' || (e.data - 'job_id')::text, ', ' ORDER BY e.version), 'nothing')
		|| ': ' || (SELECT j.state FROM eventsource.jobs j WHERE j.job_id = job)
	  FROM eventsource.events e WHERE e.stream = of_category || '-' || job
$$;

-- What was sent.
SELECT pg_temp.lend() AS job \gset
SELECT is(eventsource.record_delivery(:job, 'sent', details => '{"status": 200}', worker => 'me', attempt => 1, queue => 'delivery_test', event_position => 1),
	'done', 'a delivery ends the job');
SELECT is(pg_temp.story(:job), 'MessageSent {"queue": "delivery_test", "attempt": 1, "details": {"status": 200}}: done', 'and is an event');
SELECT is((SELECT metadata FROM eventsource.events WHERE stream = 'delivery-' || :job), '{"causation_id": 1}', 'with its cause; the payload has no say');
SELECT is((SELECT data->>'job_id' FROM eventsource.events WHERE stream = 'delivery-' || :job), :'job', 'about the job');
SELECT is((SELECT result FROM eventsource.jobs WHERE job_id = :job), '{"status": 200}', 'which has the details as its result');
SELECT is(eventsource.record_delivery(:job, 'sent', details => '{"status": 200}', worker => 'me', attempt => 1, queue => 'delivery_test', event_position => 1),
	'recorded', 'told again, it changes nothing');
SELECT is(pg_temp.story(:job), 'MessageSent {"queue": "delivery_test", "attempt": 1, "details": {"status": 200}}: done', 'indeed');
SELECT throws_ok(format('SELECT eventsource.record_delivery(%s, %L, %L, worker => %L, attempt => 1)', :job, 'failed', 'TIMEOUT', 'me'), 'ZE008', NULL,
	'told otherwise, it is refused');

-- What failed.
SELECT pg_temp.lend() AS job \gset
SELECT is(eventsource.record_delivery(:job, 'failed', 'TIMEOUT', worker => 'me', attempt => 1, message => 'too late', retry_after => '1 hour'),
	'scheduled', 'what failed is tried again');
SELECT is(pg_temp.story(:job), 'MessageFailed {"attempt": 1, "details": {}, "error_code": "TIMEOUT"}: scheduled', 'and is an event');
SELECT is((SELECT error FROM eventsource.jobs WHERE job_id = :job), 'too late', 'the message is kept with the job alone');
SELECT ok((SELECT run_at > now() + '59 minutes' FROM eventsource.jobs WHERE job_id = :job), 'not before it is told');
SELECT pg_temp.lend() AS job \gset
SELECT is(eventsource.record_delivery(:job, 'failed', 'BAD_REQUEST', worker => 'me', attempt => 1), 'discarded', 'or given up, as the code says');
SELECT is(pg_temp.story(:job), 'MessageFailed {"attempt": 1, "details": {}, "error_code": "BAD_REQUEST"}: discarded', 'which is an event, too');

-- What is not to be sent.
SELECT pg_temp.lend() AS job \gset
SELECT throws_ok(format('SELECT eventsource.record_delivery(%s, %L, %L, worker => %L, attempt => 1)', :job, 'skipped', 'TIMEOUT', 'me'), '22023', NULL, 'what was skipped has no error');
SELECT is(eventsource.record_delivery(:job, 'skipped', details => '{"reason": "no-consent"}', worker => 'me', attempt => 1), 'done', 'what is not to be sent ends the job, too');
SELECT is(pg_temp.story(:job), 'MessageSkipped {"attempt": 1, "details": {"reason": "no-consent"}}: done', 'and is an event of its own');

-- Whose the job is not.
SELECT pg_temp.lend() AS job \gset
SELECT throws_ok(format('SELECT eventsource.record_delivery(%s, %L, worker => %L, attempt => 1)', :job, 'sent', 'you'), '55000', NULL, 'another worker is refused');
SELECT throws_ok(format('SELECT eventsource.record_delivery(%s, %L, worker => %L, attempt => 2)', :job, 'sent', 'me'), '55000', NULL, 'another attempt, too');
SELECT throws_ok(format('SELECT eventsource.record_delivery(%s, %L, worker => %L, attempt => 1)', 1000000000000, 'sent', 'me'), '55000', NULL, 'and a job that is none');
SELECT is(pg_temp.story(:job), 'nothing: claimed', 'nothing is recorded of them');

-- Who may append to the stream cannot take the attempt beforehand.
SELECT throws_ok(format('SELECT eventsource.append(%L, %L, idempotency_key => %L)', 'delivery-' || :job, 'MessageSent', 'delivery:1'), '42939',
	'idempotency keys that begin with "delivery:" are reserved', 'its key is reserved');
SELECT eventsource.append('taken-' || :job, 'MessageSent', idempotency_key => 'attempt-1') IS NULL AS done \gset
SELECT is(eventsource.record_delivery(:job, 'failed', 'TIMEOUT', worker => 'me', attempt => 1, category => 'taken'), 'scheduled', 'another key is in nobody''s way');
SELECT is((SELECT idempotency_key FROM eventsource.events WHERE stream = 'taken-' || :job AND version = 2), 'delivery:1', 'the key');
SELECT pg_temp.lend() AS job \gset

-- Another category.
SELECT is(eventsource.record_delivery(:job, 'sent', worker => 'me', attempt => 1, category => 'letters'), 'done', 'another category');
SELECT is(pg_temp.story(:job, 'letters'), 'MessageSent {"attempt": 1, "details": {}}: done', 'has the event');

-- Wrong arguments.
SELECT pg_temp.lend() AS job \gset
PREPARE wrong (text, text, jsonb, int, text, interval) AS
	SELECT eventsource.record_delivery(:job, $1, $2, $3, 'me', $4, category => $5, retry_after => $6);
SELECT throws_ok($$EXECUTE wrong (NULL, NULL, NULL, 1, 'delivery', NULL)$$, '22004', NULL, 'an outcome is needed');
SELECT throws_ok($$EXECUTE wrong ('sent', NULL, NULL, NULL, 'delivery', NULL)$$, '22004', NULL, 'an attempt, too');
SELECT throws_ok($$EXECUTE wrong ('lost', NULL, NULL, 1, 'delivery', NULL)$$, '22023', NULL, 'one that exists');
SELECT throws_ok($$EXECUTE wrong ('sent', 'TIMEOUT', NULL, 1, 'delivery', NULL)$$, '22023', NULL, 'what was sent has no error');
SELECT throws_ok($$EXECUTE wrong ('failed', NULL, NULL, 1, 'delivery', NULL)$$, '22023', NULL, 'what failed has one');
SELECT throws_ok($$EXECUTE wrong ('sent', NULL, NULL, 1, 'delivery', '1 hour')$$, '22023', NULL, 'what was sent is not tried again');
SELECT throws_ok($$EXECUTE wrong ('sent', NULL, '[1]', 1, 'delivery', NULL)$$, '22023', NULL, 'details are an object');
SELECT throws_ok(format($$EXECUTE wrong ('sent', NULL, %L, 1, 'delivery', NULL)$$, jsonb_build_object('a', repeat('x', 8192))), '22023', NULL, 'of bounded size');
SELECT throws_ok($$EXECUTE wrong ('sent', NULL, NULL, 1, 'order-1', NULL)$$, '22023', NULL, 'a category is none of streams');
SELECT throws_ok($$EXECUTE wrong ('sent', NULL, NULL, 1, '$config', NULL)$$, '22023', NULL, 'nor one of the log''s own');

-- Who may.
CREATE ROLE delivery_writer;
SELECT eventsource.grant_writer('delivery_writer', '{delivery}') IS NULL AS done \gset
SET ROLE delivery_writer;
SELECT throws_ok($$EXECUTE wrong ('sent', NULL, NULL, 1, 'delivery', NULL)$$, '42501', NULL, 'who may append but not work the queue is refused');
SELECT throws_ok($$EXECUTE wrong ('sent', NULL, NULL, 1, 'letters', NULL)$$, '42501', NULL, 'and who may not append to the category');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
