\set ECHO none
\i test/helpers.sql
-- Queues: definitions, policies of retries, error codes, who may do what.
BEGIN;
SELECT plan(79);

CREATE FUNCTION pg_temp.claims(queue text, max_jobs integer DEFAULT 100) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(c.payload::text, ' '), '-') FROM eventsource.claim($1, $2, '1 hour', 'w') AS c
$$;

-- Definitions.
SELECT is(eventsource.create_queue('qu1'), 1::bigint, 'the first version');
SELECT pg_temp.same_rows($$ SELECT name, max_attempts, backoff, strategy, jitter, max_backoff, lease, workers, senders, keep, max_dead_per_hour, owner, version FROM eventsource.queues WHERE name = 'qu1' $$,
	$$ VALUES ('qu1', 3, interval '00:05', 'exponential', 0.1, interval '24:00', interval '00:05', NULL, NULL, interval '336:00', 100, current_user, 1) $$, 'with its defaults');
SELECT is(eventsource.create_queue('qu1', max_attempts => 2), 2::bigint, 'the second');
SELECT is(max_attempts, 2, 'it is the one that holds') FROM eventsource.queues WHERE name = 'qu1';
SELECT pg_temp.refuses(format('SELECT eventsource.create_queue(%s)', arguments), state, message, 'create_queue(' || arguments || ')')
FROM (VALUES
	('NULL', '22004', 'name must not be null'),
	('''q'', NULL', '22004', 'max_attempts must not be null'),
	('''q'', backoff => NULL', '22004', 'backoff must not be null'),
	('''q'', keep => NULL', '22004', 'keep must not be null'),
	('''''', 'ZE011', 'invalid definition of queue ""'),
	('''$q''', 'ZE011', 'invalid definition of queue "$q"'),
	('''q'', 0', 'ZE011', 'invalid definition of queue "q"'),
	('''q'', strategy => ''x''', 'ZE011', 'invalid definition of queue "q"'),
	('''q'', jitter => 1.1', 'ZE011', 'invalid definition of queue "q"'),
	('''q'', jitter => ''NaN''', 'ZE011', 'invalid definition of queue "q"'),
	('''q'', jitter => -0.1', 'ZE011', 'invalid definition of queue "q"'),
	('''q'', workers => 4000000000::oid', 'ZE011', 'invalid definition of queue "q"'),
	('''q'', senders => 4000000000::oid', 'ZE011', 'invalid definition of queue "q"'),
	('''q'', max_dead_per_hour => -1', 'ZE011', 'invalid definition of queue "q"'),
	('''q'', backoff => ''-1 s''', '22023', 'backoff is out of range'),
	('''q'', max_backoff => ''-1 s''', '22023', 'max_backoff is out of range'),
	('''q'', lease => ''0''', '22023', 'lease is out of range'),
	('''q'', keep => ''200 years''', '22023', 'keep is out of range')) v (arguments, state, message);
SELECT is(pg_temp.refusal($$ SELECT eventsource.create_queue('$', 0, strategy => 's', jitter => 2) $$),
	$want$ZE011: invalid definition of queue "$"
DETAIL: name: names that begin with $ are the database's own
max_attempts: must be 1 to 1000, not 0
strategy: must be exponential or fixed, not "s"
jitter: must be 0 to 1
HINT: For example: SELECT eventsource.create_queue('mail', max_attempts => 5).$want$, 'all that is wrong is listed');
SELECT pg_temp.refuses($$ SELECT eventsource.drop_queue('nosuch') $$, '42704', 'queue "nosuch" does not exist', 'there is none to drop');
SELECT is(eventsource.drop_queue('qu1')::text, '', 'dropped');
SELECT is(count(*), 0::bigint, 'it is gone') FROM eventsource.queues WHERE name = 'qu1';
SELECT is(eventsource.create_queue('qu1'), 4::bigint, 'and can come again');

-- Error codes.
SELECT pg_temp.same_rows($$ SELECT code, is_retryable FROM eventsource.error_codes WHERE is_built_in ORDER BY code $$,
	$$ VALUES ('BAD_REQUEST', false), ('BOUNCED', false), ('INVALID_RECIPIENT', false), ('LEASE_EXPIRED', true), ('RATE_LIMIT', true), ('REJECTED', false), ('SERVICE_UNAVAILABLE', true), ('TIMEOUT', true) $$, 'codes that are built in');
SELECT is(eventsource.set_error_code('qu_full', false, 'It is full.')::text, '', 'another one');
SELECT is(eventsource.set_error_code('BOUNCED', true)::text, '', 'and one said otherwise');
SELECT pg_temp.same_rows($$ SELECT code, is_retryable, description, is_built_in FROM eventsource.error_codes WHERE code IN ('qu_full', 'BOUNCED') ORDER BY code $$,
	$$ VALUES ('BOUNCED', true, NULL, false), ('qu_full', false, 'It is full.', false) $$, 'the view tells');
SELECT count(eventsource.enqueue('qu2', to_jsonb(n))) AS done FROM generate_series(1, 3) n \gset
SELECT is(pg_temp.claims('qu2'), '1 2 3', 'three jobs');
SELECT is(eventsource.fail(job_id, 'BOUNCED', worker => 'w'), 'scheduled', 'retryable now') FROM eventsource.jobs WHERE queue = 'qu2' AND payload = '1';
SELECT is(eventsource.fail(job_id, 'qu_full', worker => 'w'), 'discarded', 'not retryable') FROM eventsource.jobs WHERE queue = 'qu2' AND payload = '2';
SELECT is(eventsource.fail(job_id, 'nobody knows', worker => 'w'), 'scheduled', 'unknown: retryable') FROM eventsource.jobs WHERE queue = 'qu2' AND payload = '3';
SELECT pg_temp.refuses($$ SELECT eventsource.set_error_code(NULL, true) $$, '22004', 'code must not be null', 'a code');
SELECT pg_temp.refuses($$ SELECT eventsource.set_error_code('x', NULL) $$, '22004', 'is_retryable must not be null', 'and what it means');
SELECT pg_temp.refuses($$ SELECT eventsource.set_error_code(E'a\nb', true) $$, '22023', 'code must not contain control characters', 'of plain characters');

-- Policies: how long after the n-th failure, jitter aside.
CREATE FUNCTION pg_temp.delay(queue text, failures integer) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
	id bigint := eventsource.enqueue(queue, '1', max_attempts => 20);
	result numeric;
BEGIN
	FOR i IN 1 .. failures LOOP
		PERFORM eventsource.claim(queue, 1, '1 hour', 'w');
		PERFORM eventsource.fail(id, 'TIMEOUT', retry_at => CASE WHEN i < failures THEN now() END, worker => 'w');
	END LOOP;
	SELECT extract(epoch FROM j.run_at - clock_timestamp()) INTO result FROM eventsource.jobs j WHERE j.job_id = id;
	PERFORM eventsource.cancel_job(id);
	RETURN round(result);
END
$$;
SELECT eventsource.create_queue('qu_exp', backoff => '100 s', jitter => 0, max_backoff => '1000 s') AS done \gset
SELECT eventsource.create_queue('qu_fix', backoff => '100 s', jitter => 0, strategy => 'fixed') AS done \gset
SELECT eventsource.create_queue('qu_dice', backoff => '100 s', jitter => 0.5, strategy => 'fixed') AS done \gset
SELECT is(pg_temp.delay('qu_exp', n), delay::numeric, format('exponential, failure %s', n)) FROM (VALUES (1, 100), (2, 200), (3, 400), (4, 800), (5, 1000), (19, 1000)) v (n, delay);
SELECT is(pg_temp.delay('qu_fix', n), 100::numeric, format('fixed, failure %s', n)) FROM generate_series(1, 3) n;
SELECT ok(min(d) >= 50 AND max(d) <= 150 AND max(d) - min(d) > 5, 'jitter throws dice, within bounds') FROM (SELECT pg_temp.delay('qu_dice', 1) AS d FROM generate_series(1, 30)) v;

-- Rights.
CREATE ROLE qu_owner;
CREATE ROLE qu_worker;
CREATE ROLE qu_sender;
CREATE ROLE qu_writer;
CREATE ROLE qu_reader;
SELECT eventsource.grant_admin('qu_owner') IS NULL AS done \gset
SELECT eventsource.revoke_writer('qu_owner') IS NULL AS done \gset
SELECT eventsource.grant_functions('qu_owner', '{create_queue,drop_queue}') IS NULL AS done \gset
SELECT eventsource.grant_writer('qu_writer') IS NULL AS done \gset
SELECT count(eventsource.grant_reader(r, '{quc}')) AS done FROM unnest('{qu_worker,qu_sender,qu_reader}'::regrole[]) r \gset
SET ROLE qu_owner;
SELECT eventsource.create_queue('qu_r', workers => 'qu_worker', senders => 'qu_sender') AS done \gset
RESET ROLE;
CREATE FUNCTION pg_temp.as_role(role text, command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', role);
	BEGIN
		EXECUTE command INTO result;
	EXCEPTION WHEN OTHERS THEN
		RESET ROLE;
		RETURN SQLSTATE;
	END;
	RESET ROLE;
	RETURN coalesce(result, '-');
END
$$;
-- What a definition leaves out is told of.
CREATE ROLE "Qu Sender";
SELECT eventsource.create_queue('qu_loss', 5, '10 s', 'fixed', 0.25, '2 h', '1 min', 'qu_worker', '"Qu Sender"', '1 day', 7) AS done \gset
SET client_min_messages = notice;
\echo '# all but the senders:'
SELECT eventsource.create_queue('qu_loss', senders => '"Qu Sender"') AS done \gset
\echo '# nothing:'
SELECT eventsource.create_queue('qu_loss', senders => 'qu_sender', backoff => '20 s') AS done \gset
\echo '# the senders:'
SELECT eventsource.create_queue('qu_loss', workers => 'qu_worker', backoff => '30 s') AS done \gset
SELECT eventsource.drop_queue('qu_loss') AS done \gset
\echo '# nothing, as it was dropped:'
SELECT eventsource.create_queue('qu_loss') AS done \gset
SET client_min_messages = warning;
-- Who may not is told how he may.
SET ROLE qu_reader;
SELECT is(pg_temp.refusal($$ SELECT eventsource.enqueue('qu_r', '1') $$), $want$42501: permission denied for queue "qu_r"
DETAIL: To send to it is for members of its owner and of its role of senders, and for who appends to every category.
HINT: Become a member of that role. If it has none, its owner can define it anew, with all of its settings: eventsource.create_queue('qu_r', ..., senders => ...).$want$, 'a sender');
SELECT is(pg_temp.refusal($$ SELECT eventsource.claim('qu_r') $$), $want$42501: permission denied for queue "qu_r"
DETAIL: To work in it is for members of its owner and of its role of workers.
HINT: Become a member of that role. If it has none, its owner can define it anew, with all of its settings: eventsource.create_queue('qu_r', ..., workers => ...).$want$, 'a worker');
SELECT is(pg_temp.refusal($$ SELECT eventsource.enqueue('qu_undeclared', '1') $$), $want$42501: permission denied for queue "qu_undeclared"
DETAIL: It was not created, and is for roles that append to every category.
HINT: Have it created: eventsource.create_queue('qu_undeclared', senders => ...).$want$, 'where nothing was created');
RESET ROLE;
SELECT is((pg_temp.as_role(role, $$ SELECT 'yes' FROM eventsource.enqueue('qu_r', '1') $$)), enqueues, role || ': enqueue') FROM (VALUES
	('qu_owner', 'yes'), ('qu_worker', '42501'), ('qu_sender', 'yes'), ('qu_writer', 'yes'), ('qu_reader', '42501')) v (role, enqueues);
SELECT is((pg_temp.as_role(role, $$ SELECT 'yes' FROM eventsource.claim('qu_r', 1, '1 hour', 'w') $$)), claims, role || ': claim') FROM (VALUES
	('qu_owner', 'yes'), ('qu_worker', 'yes'), ('qu_sender', '42501'), ('qu_writer', '42501'), ('qu_reader', '42501')) v (role, claims);
SELECT is((pg_temp.as_role(role, $$ SELECT 'yes' FROM eventsource.enqueue('qu_undeclared', '1') $$)), enqueues, role || ': enqueue where nothing was created') FROM (VALUES
	('qu_owner', '42501'), ('qu_sender', '42501'), ('qu_writer', 'yes'), ('qu_reader', '42501')) v (role, enqueues);
SELECT eventsource.enqueue('qu_r', '{"secret": 1}', stream => 'quc-1') AS job \gset
SELECT eventsource.enqueue('qu_r', '{"secret": 2}') AS other \gset
SELECT is((pg_temp.as_role(role, format('SELECT count(*) || coalesce(min(payload::text), %L) FROM eventsource.jobs WHERE job_id IN (%s, %s)', ' nothing', :job, :other))), sees, role || ': the view') FROM (VALUES
	('qu_owner', '2{"secret": 1}'), ('qu_worker', '2{"secret": 1}'), ('qu_sender', '1 nothing'), ('qu_writer', '2{"secret": 1}'), ('qu_reader', '1 nothing')) v (role, sees);
SELECT is((pg_temp.as_role('qu_reader', format('SELECT eventsource.%s', call))), '42501', 'a reader: ' || split_part(call, '(', 1)) FROM (VALUES
	(format('cancel_job(%s)', :job)), (format('discard(%s, %L)', :job, 'x')), (format('redrive(%s)', :job)), ('cancel_jobs(''qu_r'', ''x'')'), ('create_queue(''x'')'), ('set_error_code(''x'', true)')) v (call);
SELECT is((pg_temp.as_role('qu_writer', $$ SELECT eventsource.create_queue('qu_r') $$)), '42501', 'it is its owner''s');
SELECT is((pg_temp.as_role('qu_sender', $$ SELECT eventsource.enqueue('qu_r', stream => 'quc-1') $$)), '42501', 'a sender cannot speak of streams that he cannot append to');
SELECT is((pg_temp.as_role('qu_worker', format($$ SELECT eventsource.complete(%s, worker => 'w')::text FROM eventsource.claim('qu_r', 100, '1 hour', 'w') WHERE job_id = %s $$, :job, :job))), '', 'a worker does its work');

SELECT * FROM finish();
ROLLBACK;
