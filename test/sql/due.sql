\set ECHO none
\i test/helpers.sql
-- run_due(): calls and what they decide, order, errors, the past, alerts and leases.
BEGIN;
SELECT no_plan();

CREATE SCHEMA due_test;
CREATE TABLE due_test.said (n serial, stream text, call jsonb, note text);
-- Does what the event's data say.
CREATE FUNCTION due_test.ask(e eventsource.events, call jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO due_test.said (stream, call, note) VALUES (e.stream, call, e.data->>'note');
	IF e.data ? 'run' THEN
		EXECUTE e.data->>'run';
	END IF;
	RETURN e.data->'decide';
END
$$;
CREATE FUNCTION pg_temp.happen(stream text, data jsonb DEFAULT '{}', ago interval DEFAULT '0') RETURNS void LANGUAGE sql AS $$
	SELECT eventsource.append(stream, 'happened', data, occurred_at => now() - ago)
$$;
CREATE FUNCTION pg_temp.due() RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(work || ' ' || count, ', ' ORDER BY work), '-') FROM eventsource.run_due()
$$;
-- How the run of a stream stands.
CREATE FUNCTION pg_temp.run(stream text) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', j.state, 'step ' || j.step, j.error_code, j.finish_reason)
	  FROM eventsource.job j WHERE j.stream = $1 AND j.queue = '$reaction' AND j.step > 0 ORDER BY j.id DESC LIMIT 1
$$;

-- Arguments.
SELECT pg_temp.refuses('SELECT eventsource.run_due(0)', '22023', 'max_rows must be 1 or more', 'no rows');
SELECT pg_temp.refuses('SELECT eventsource.run_due(NULL)', '22023', 'max_rows must be 1 or more', 'null rows');
SELECT is(pg_temp.due(), '-', 'nothing is due');

-- A call.
SELECT eventsource.create_reaction('due1', 'due1', 'happened', action => '{"call": "due_test.ask(eventsource.events,jsonb)"}',
	run_at => $$ event.occurred_at + interval '1 hour' $$, key => 'event.key') > 0 AS ok \gset
SELECT pg_temp.happen('due1-soon');
SELECT pg_temp.happen('due1-a', '{"note": "a"}', '2 hours');
SELECT is(pg_temp.due(), 'steps 1', 'what is due is done');
SELECT is(pg_temp.due(), '-', 'once');
SELECT is(pg_temp.run('due1-a'), 'done step 1', 'it is done');
SELECT is(pg_temp.run('due1-soon'), 'scheduled step 1', 'what is not due waits');
SELECT is(note, 'a', 'the function sees the event') FROM due_test.said WHERE stream = 'due1-a';
SELECT is(call - '{job_id,due_at,scheduled_at}'::text[], '{"reaction": "due1", "version": 1, "step": 1, "attempt": 1, "key": "a"}',
	'and what there is to know of the run') FROM due_test.said;
SELECT is((call->>'due_at')::timestamptz, now() - interval '1 hour', 'when it was due') FROM due_test.said;

-- Decisions.
CREATE TEMP TABLE decision (n serial, decide text, due text, run text, error text);
INSERT INTO decision (decide, due, run, error) VALUES
	('null', 'steps 1', 'done step 1', NULL),
	('{}', 'steps 1', 'done step 1', NULL),
	('{"end": true}', 'steps 1', 'done step 1', NULL),
	('{"skip": "no consent"}', 'steps 1', 'done step 1 skipped: no consent', NULL),
	('{"wait": "1 day"}', 'steps 1', 'done step 1', NULL),
	('{"retry": "1 day"}', 'steps 1', 'scheduled step 1', NULL),
	('{"send": {"queue": "due_mail"}}', 'steps 1', 'scheduled step 1', NULL),
	('[]', 'failed 1', 'scheduled step 1 22023', 'It returned an array: a decision is an object, or null.'),
	('"skip"', 'failed 1', 'scheduled step 1 22023', NULL),
	('{"skipp": "x"}', 'failed 1', 'scheduled step 1 22023', NULL),
	('{"skip": 1}', 'failed 1', 'scheduled step 1 22023', NULL),
	('{"skip": "x", "end": true}', 'failed 1', 'scheduled step 1 22023', NULL),
	('{"skip": "x", "send": {"queue": "due_mail"}}', 'failed 1', 'scheduled step 1 22023', NULL),
	('{"end": false}', 'failed 1', 'scheduled step 1 22023', NULL),
	('{"retry": "-1 day"}', 'failed 1', 'scheduled step 1 22023', NULL),
	('{"retry": "soon"}', 'failed 1', 'scheduled step 1 22007', NULL),
	('{"wait": 1}', 'failed 1', 'scheduled step 1 22023', NULL),
	('{"next": 0}', 'failed 1', 'scheduled step 1 22023', NULL),
	('{"next": 2}', 'failed 1', 'scheduled step 1 22023', NULL),
	('{"next": 1, "end": true}', 'failed 1', 'scheduled step 1 22023', NULL),
	('{"send": {}}', 'failed 1', 'scheduled step 1 22023', NULL),
	('{"send": "mail"}', 'failed 1', 'scheduled step 1 22023', NULL),
	('{"send": {"queue": "due_mail", "que": 1}}', 'failed 1', 'scheduled step 1 22023', NULL),
	('{"send": {"queue": "$reaction"}}', 'failed 1', 'scheduled step 1 22023', NULL),
	('{"send": {"queue": "due_mail", "max_attempts": 0}}', 'failed 1', 'scheduled step 1 22023', NULL);
CREATE TEMP TABLE decided (n int, due text);
DO $$
DECLARE
	d record;
BEGIN
	FOR d IN SELECT * FROM decision ORDER BY n LOOP
		PERFORM pg_temp.happen('due1-d' || d.n, jsonb_build_object('decide', d.decide::jsonb), '2 hours');
		INSERT INTO decided VALUES (d.n, pg_temp.due());
	END LOOP;
END
$$;
SELECT is(e.due || '; ' || pg_temp.run('due1-d' || d.n), d.due || '; ' || d.run, 'decision ' || d.decide)
  FROM decision d JOIN decided e USING (n) ORDER BY n;
SELECT is((SELECT count(*) FROM due_test.said WHERE stream LIKE 'due1-d%'), 7::bigint, 'what fails leaves nothing');
SELECT ok(run_at BETWEEN clock_timestamp() + interval '23 hours' AND clock_timestamp() + interval '1 day', 'retry: after that long')
  FROM eventsource.job WHERE stream = 'due1-d6';
SELECT ok(run_at BETWEEN clock_timestamp() + interval '4 minutes' AND clock_timestamp() + interval '6 minutes',
	'what failed is tried again after the back-off') FROM eventsource.job WHERE stream = 'due1-d8';

-- A message that was sent is waited for.
SELECT is(state || ' ' || coalesce(run_at::text, 'for no time'), 'scheduled for no time', 'who has sent waits') FROM eventsource.jobs WHERE stream = 'due1-d7' AND queue = '$reaction';
SELECT is(row(stream, reaction, step, state)::text, '(due1-d7,due1,1,available)', 'the message knows what it is of')
  FROM eventsource.jobs WHERE queue = 'due_mail';
SELECT eventsource.complete(job_id) IS NOT NULL AS ok FROM eventsource.claim('due_mail') \gset
SELECT is(pg_temp.due(), 'steps 1', 'when it is done');
SELECT is(pg_temp.run('due1-d7'), 'done step 1', 'so is the run');

-- Errors are of the job, and stop no other.
SELECT pg_temp.happen('due1-e1', '{"run": "SELECT 1/0"}', '2 hours');
SELECT pg_temp.happen('due1-e2', '{"run": "SELECT eventsource.run_due()"}', '2 hours');
SELECT pg_temp.happen('due1-e3', '{"run": "DO $x$ BEGIN RAISE serialization_failure; END $x$"}', '2 hours');
SELECT pg_temp.happen('due1-e4', '{}', '2 hours');
SELECT is(pg_temp.due(), 'failed 2, postponed 1, steps 1', 'one fails, others do not');
SELECT is(pg_temp.run('due1-e1'), 'scheduled step 1 22012', 'an error is kept');
SELECT is(error, 'division by zero', 'with its message') FROM eventsource.job WHERE stream = 'due1-e1';
SELECT is(pg_temp.run('due1-e2'), 'scheduled step 1 55000', 'run_due() is not for who is called by it');
SELECT is(row(attempts - attempts_before, error_code, run_at < clock_timestamp() + interval '2 seconds')::text, '(0,,t)', 'a lost race is tried again soon, and counts for nothing')
  FROM eventsource.job WHERE stream = 'due1-e3';
SELECT eventsource.set_error_code('P0001', false) IS NOT NULL AS ok \gset
SELECT pg_temp.happen('due1-e5', '{"run": "DO $x$ BEGIN RAISE EXCEPTION ''no''; END $x$"}', '2 hours');
SELECT is(pg_temp.due(), 'failed 1', 'what need not be tried again');
SELECT is(pg_temp.run('due1-e5'), 'discarded step 1 P0001', 'is given up at once');

-- What it appends is in the name of the definer, and caused by the event.
CREATE ROLE due_boss;
CREATE ROLE due_clerk;
SELECT eventsource.grant_admin('due_boss') IS NOT NULL AS ok, eventsource.grant_admin('due_clerk') IS NOT NULL AS ok2 \gset
GRANT ALL ON SCHEMA due_test TO due_boss;
GRANT ALL ON ALL TABLES IN SCHEMA due_test TO due_boss;
GRANT ALL ON ALL SEQUENCES IN SCHEMA due_test TO due_boss;
SET ROLE due_boss;
SELECT eventsource.create_reaction('due2', 'due2', 'happened', action => '{"call": "due_test.ask(eventsource.events,jsonb)"}',
	run_at => 'event.occurred_at') > 0 AS ok \gset
RESET ROLE;
SET eventsource.actor = 'agent:joe';
SELECT pg_temp.happen('due2-a', jsonb_build_object('run', $$ SELECT eventsource.append('note-due2', 'noted',
	jsonb_build_object('user', current_user, 'path', current_setting('search_path'), 'zone', current_setting('timezone'))) $$));
SELECT pg_temp.happen('due2-b', '{"run": "CREATE TEMP TABLE mine (a int)"}');
SELECT pg_temp.happen('due2-c', '{"run": "SET ROLE postgres"}');
SET ROLE due_clerk;
SELECT is(pg_temp.due(), 'failed 2, steps 1', 'an admin runs what others defined');
RESET ROLE;
RESET eventsource.actor;
SELECT is(row(recorded_by, actor, data->>'user', data->>'path', data->>'zone')::text,
	'(due_boss,due_boss,due_boss,"pg_catalog, pg_temp",UTC)', 'a call has the rights of who defined the reaction')
  FROM eventsource.read_stream('note-due2');
SELECT is(e.metadata->>'causation_id', c.position::text, 'what it appends has the event for its cause')
  FROM eventsource.read_stream('note-due2') e, eventsource.read_stream('due2-a') c;
SELECT is(pg_temp.run('due2-b'), 'scheduled step 1 42501', 'nothing that outlives it');
SELECT ok(pg_temp.run('due2-c') ~ '^scheduled step 1 (42501|0A000|0L000)', 'and no other role');

-- In order.
DELETE FROM due_test.said;
SELECT pg_temp.happen('due1-o' || n, '{}', make_interval(hours => n)) FROM (VALUES (3), (5), (2), (4)) v (n);
SELECT is((SELECT count FROM eventsource.run_due(2) WHERE work = 'steps'), 2::bigint, 'so many at most');
SELECT is((SELECT count FROM eventsource.run_due(2) WHERE work = 'steps'), 2::bigint, 'and the others next time');
SELECT is(string_agg(stream, ' ' ORDER BY n), 'due1-o5 due1-o4 due1-o3 due1-o2', 'what was due first comes first') FROM due_test.said;

-- The past.
SELECT eventsource.create_reaction('due3' || past, 'due3' || past, 'happened', action => '{"call": "due_test.ask(eventsource.events,jsonb)"}',
	run_at => $$ event.occurred_at + interval '1 hour' $$, settings => jsonb_build_object('past', past) || more)
  FROM (VALUES ('run', '{}'::jsonb), ('skip', '{}'), ('cap', '{"max_past": "2 hours"}')) v (past, more) \g /dev/null
SELECT pg_temp.happen('due3' || past || '-' || hours, '{}', make_interval(hours => hours))
  FROM unnest('{run,skip,cap}'::text[]) past, unnest('{2,9}'::int[]) hours;
SELECT pg_temp.due() IS NOT NULL AS ok \gset
SELECT is(string_agg(s || ': ' || regexp_replace(coalesce(pg_temp.run(s), 'none'), ' at .*,', ' at .,'), E'\n' ORDER BY s),
	'due3cap-2: done step 1
due3cap-9: done step 1 skipped: it was due at ., and that is too late
due3run-2: done step 1
due3run-9: done step 1
due3skip-2: done step 1 skipped: it was due at ., before it was scheduled
due3skip-9: done step 1 skipped: it was due at ., before it was scheduled', 'what was due in the past')
  FROM (SELECT 'due3' || past || '-' || hours FROM unnest('{run,skip,cap}'::text[]) past, unnest('{2,9}'::int[]) hours) v (s);

-- An event that does not count any more.
SELECT eventsource.create_reaction('due4', 'due4', 'happened', action => '{"call": "due_test.ask(eventsource.events,jsonb)"}',
	run_at => 'event.occurred_at') > 0 AS ok \gset
SELECT pg_temp.happen('due4-void');
SELECT eventsource.void_event(position, 'mistake', 'me') IS NOT NULL AS ok FROM eventsource.read_stream('due4-void') LIMIT 1 \gset
SELECT is(pg_temp.due(), 'steps 1', 'a run whose event was voided');
SELECT is(pg_temp.run('due4-void'), 'cancelled step 1 its event does not count any more', 'is cancelled');
-- Leases of users' queues.
SELECT eventsource.create_queue('due_lent', max_attempts => 2, lease => '1 microsecond') > 0 AS ok \gset
SELECT eventsource.enqueue('due_lent') AS lent \gset
SELECT count(*) AS n FROM eventsource.claim('due_lent') \gset
SELECT is(pg_temp.due(), 'leases 1', 'a lease has ended');
SELECT is(state, 'available', 'it can be claimed again') FROM eventsource.jobs WHERE job_id = :lent;
SELECT count(*) AS n FROM eventsource.claim('due_lent') \gset
SELECT is(pg_temp.due(), 'leases 1', 'and again');
SELECT is(row(state, error_code)::text, '(discarded,LEASE_EXPIRED)', 'until its attempts are used up')
  FROM eventsource.jobs WHERE job_id = :lent;

-- Alerts.
SELECT eventsource.create_queue('due_dead', max_attempts => 1, max_dead_per_hour => 20) > 0 AS ok \gset
CREATE FUNCTION pg_temp.die(n integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM eventsource.enqueue('due_dead') FROM generate_series(1, n);
	PERFORM eventsource.fail(job_id, 'TIMEOUT') FROM eventsource.claim('due_dead', n);
END
$$;
SELECT pg_temp.die(20);
SELECT is(pg_temp.due(), '-', 'so many dead letters are none too many');
SELECT pg_temp.die(1);
SELECT is(pg_temp.due(), 'alerts 1', 'one more raises an alert');
SELECT pg_temp.die(5);
SELECT is(pg_temp.due(), '-', 'one, however many there are');
SELECT is(row(queue, dead_letters, cardinality(sample), closed_at, closed_by)::text, '(due_dead,21,10,,)', 'with a sample')
  FROM eventsource.alerts;
SELECT is((SELECT count(*) FROM eventsource.alerts a, unnest(a.sample) s JOIN eventsource.dead_letters d ON d.job_id = s), 10::bigint,
	'of dead letters');
SELECT pg_temp.refuses('SELECT eventsource.close_alert(0)', '42704', 'there is no alert 0', 'an unknown alert');
SELECT id AS alert FROM eventsource.alerts \gset
SET ROLE due_clerk;
SELECT pg_temp.refuses(format('SELECT eventsource.close_alert(%s)', :alert), '42501', 'permission denied for queue "due_dead"', 'an alert is closed by who works there');
RESET ROLE;
SELECT ok(eventsource.close_alert(:alert), 'it is closed');
SELECT ok(NOT eventsource.close_alert(:alert), 'once');
SELECT is(pg_temp.due(), '-', 'what was dead then raises no other');
SELECT pg_temp.die(21);
SELECT is(pg_temp.due(), 'alerts 1', 'what comes after does');
SELECT eventsource.create_queue('due_dead', max_attempts => 1, max_dead_per_hour => 50) > 0 AS ok \gset
SELECT is(pg_temp.due(), 'alerts 1', 'when there are not too many any more');
SELECT is(count(*) FILTER (WHERE closed_at IS NULL) || ' ' || count(closed_by), '0 1', 'it is closed by itself') FROM eventsource.alerts;

-- What is kept no longer is forgotten.
SELECT eventsource.create_queue('due_dead', keep => '0') > 0 AS ok \gset
SELECT is(pg_temp.due(), 'forgotten 47', 'finished jobs are forgotten');
SELECT is(count(*), 0::bigint, 'all') FROM eventsource.jobs WHERE queue = 'due_dead';
SELECT count(eventsource.enqueue('due_dead')) AS n FROM generate_series(1, 1500) \gset
SELECT count(eventsource.complete(job_id, worker => 'w')) AS n FROM eventsource.claim('due_dead', 1500, worker => 'w') \gset
SELECT is(count, 1500::bigint, 'as many as there are, though few are performed') FROM eventsource.run_due(10) WHERE work = 'forgotten';
SELECT is(count(*), 0::bigint, 'and closed alerts') FROM eventsource.alerts WHERE queue = 'due_dead';
SELECT * FROM finish();
ROLLBACK;
