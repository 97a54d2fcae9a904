\set ECHO none
\i test/helpers.sql
-- Runs of one key beside each other; what stops a run in its middle; what is too late, and what is tried again.
BEGIN;
SELECT no_plan();

CREATE SCHEMA due_runs;
CREATE TABLE due_runs.said (n serial, stream text, step int, attempt int);
-- Does and decides what the event's data say.
CREATE FUNCTION due_runs.ask(e eventsource.events, call jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO due_runs.said (stream, step, attempt) VALUES (e.stream, (call->>'step')::int, (call->>'attempt')::int);
	IF e.data ? 'run' THEN
		EXECUTE e.data->>'run';
	END IF;
	RETURN e.data->'decide';
END
$$;
CREATE FUNCTION pg_temp.call(more jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
	SELECT '{"call": "due_runs.ask(eventsource.events,jsonb)"}' || more
$$;
CREATE FUNCTION pg_temp.react(name text, steps jsonb, key text DEFAULT NULL, settings jsonb DEFAULT NULL) RETURNS void LANGUAGE sql AS $$
	SELECT eventsource.create_reaction(name, replace(name, '_', ''), 'happened', action => jsonb_build_object('steps', steps),
		key => key, settings => settings)
$$;
CREATE FUNCTION pg_temp.happen(stream text, data jsonb DEFAULT '{}', ago interval DEFAULT '0') RETURNS void LANGUAGE sql AS $$
	SELECT eventsource.append(stream, 'happened', data, occurred_at => now() - ago)
$$;
CREATE FUNCTION pg_temp.due(max_rows int DEFAULT 100) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(work || ' ' || count, ', ' ORDER BY work), '-') FROM eventsource.run_due(max_rows)
$$;
-- The runs of a reaction, in the order of their events.
CREATE FUNCTION pg_temp.runs(name text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', j.state, j.step, j.error_code, regexp_replace(j.finish_reason, '\d+ was', 'N was')), ', ' ORDER BY j.id)
	  FROM eventsource.job j WHERE j.reaction = name AND j.queue = '$reaction' AND j.step > 0
$$;
CREATE FUNCTION pg_temp.jobs(q text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', j.payload->>'n', j.state), ', ' ORDER BY j.id) FROM eventsource.job j WHERE j.queue = q
$$;
CREATE FUNCTION pg_temp.work(q text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	done bigint;
BEGIN
	SELECT c.job_id INTO done FROM eventsource.claim(q) c;
	PERFORM eventsource.complete(done);
	RETURN done;
END
$$;
CREATE FUNCTION pg_temp.types(stream text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(type, ' ' ORDER BY version) FROM eventsource.read_stream(stream)
$$;

-- ---- two runs of one key ----

-- A run that has done what would have to be made good goes on, and so does the later one. Neither takes
-- away from the other what it waits for.
SELECT pg_temp.react('runs_two', jsonb_build_array(
	'{"append": "reserved", "stream": "''runstwox-1''", "compensate": {"append": "released", "stream": "''runstwox-1''"}}'::jsonb,
	'{"enqueue": "runs_two", "payload": "jsonb_build_object(''n'', event.data->''n'')"}'::jsonb), '''k''');
SELECT pg_temp.happen('runstwo-1', '{"n": 1}');
SELECT is(pg_temp.due(), 'steps 2', 'the first has reserved, and waits for its message');
SELECT pg_temp.happen('runstwo-2', '{"n": 2}');
SELECT is(pg_temp.runs('runs_two'), 'scheduled 2, available 1', 'a later one is another run');
SELECT is(pg_temp.due(), 'steps 2', 'which does the same');
SELECT is(pg_temp.jobs('runs_two'), '1 available, 2 available', 'each has its own message');
SELECT is(pg_temp.work('runs_two') < pg_temp.work('runs_two'), true, 'both are sent');
SELECT is(pg_temp.due(), 'steps 2', 'both runs go on');
SELECT is(pg_temp.runs('runs_two'), 'done 2, done 2', 'to their end');
SELECT is(pg_temp.types('runstwox-1'), 'reserved reserved', 'nothing is made good');

-- The message of a call.
SELECT pg_temp.react('runs_sent', jsonb_build_array(
	'{"append": "reserved", "stream": "''runssentx-1''", "compensate": {"append": "released", "stream": "''runssentx-1''"}}'::jsonb,
	pg_temp.call(), pg_temp.call()), '''k''');
SELECT pg_temp.happen('runssent-1', '{"decide": {"send": {"queue": "runs_sent", "payload": {"n": 1}}}}');
SELECT pg_temp.due(2) IS NOT NULL AS ok \gset
SELECT pg_temp.happen('runssent-2', '{"decide": {"send": {"queue": "runs_sent", "payload": {"n": 2}}}}');
SELECT is(pg_temp.due(), 'steps 2', 'a call sends');
SELECT is(pg_temp.jobs('runs_sent'), '1 available, 2 available', 'beside the other');
SELECT pg_temp.happen('runssent-3', '{"decide": {"send": {"queue": "runs_sent", "payload": {"n": 3}}}}');
SELECT is(pg_temp.due(), 'steps 2', 'and a third');
SELECT count(pg_temp.work('runs_sent')) AS ok FROM generate_series(1, 3) \gset
SELECT pg_temp.due() IS NOT NULL AS ok \gset
SELECT count(pg_temp.work('runs_sent')) AS ok FROM generate_series(1, 3) \gset
SELECT pg_temp.due() IS NOT NULL AS ok \gset
SELECT is(pg_temp.runs('runs_sent'), 'done 3, done 3, done 3', 'all come to their end');

-- One that has done nothing of the kind is replaced, and so is its message.
SELECT pg_temp.react('runs_one', jsonb_build_array(
	'{"enqueue": "runs_one", "payload": "jsonb_build_object(''n'', event.data->''n'')"}'::jsonb), '''k''');
SELECT pg_temp.happen('runsone-1', '{"n": 1}');
SELECT pg_temp.due() IS NOT NULL AS ok \gset
SELECT pg_temp.happen('runsone-2', '{"n": 2}');
SELECT pg_temp.due() IS NOT NULL AS ok \gset
SELECT is(pg_temp.jobs('runs_one'), '2 available', 'a message that is waited for by the run that was replaced is, too');
SELECT pg_temp.work('runs_one') IS NOT NULL AS ok \gset
SELECT pg_temp.due() IS NOT NULL AS ok \gset
SELECT is(pg_temp.runs('runs_one'), 'done 1', 'one run, at its end');

-- What is cancelled by key is what has it: not a run that goes on without.
SELECT pg_temp.happen('runstwo-3', '{"n": 3}');
SELECT pg_temp.due() IS NOT NULL AS ok \gset
SELECT pg_temp.happen('runstwo-4', '{"n": 4}');
SELECT eventsource.create_reaction('runs_stop', 'runstwo', 'stopped', action => '{"cancel": "runs_two"}', key => '''k''') > 0 AS ok \gset
SELECT eventsource.append('runstwo-4', 'stopped') IS NOT NULL AS ok \gset
SELECT pg_temp.due() IS NOT NULL AS ok \gset
SELECT matches(pg_temp.runs('runs_two'), '^done 2, done 2, discarded 2 STEP_GIVEN_UP step 2: job N was cancelled: .*, cancelled 1 ', 'its message has it, while nobody else sends under it');
SELECT is(pg_temp.types('runstwox-1'), 'reserved reserved reserved released', 'and the run is made good');

-- ---- what stops a run in its middle ----

SELECT pg_temp.react('runs_void', jsonb_build_array(
	'{"append": "reserved", "stream": "''runsvoidx-1''", "compensate": {"append": "released", "stream": "''runsvoidx-1''"}}'::jsonb,
	pg_temp.call('{"compensate": {"call": "due_runs.ask(eventsource.events,jsonb)"}}'), pg_temp.call('{"wait": "1 microsecond"}')));
SELECT pg_temp.happen('runsvoid-1');
SELECT is(pg_temp.due(2), 'steps 2', 'two steps are done');
SELECT eventsource.void_event(position, 'mistake', 'me') IS NOT NULL AS ok FROM eventsource.read_stream('runsvoid-1') LIMIT 1 \gset
SELECT is(pg_temp.due(), 'steps 3', 'its event is void');
SELECT is(pg_temp.runs('runs_void'), 'discarded 3 STOPPED its event does not count any more', 'the run is given up');
SELECT is(pg_temp.types('runsvoidx-1'), 'reserved released', 'and made good');
SELECT is(string_agg(step::text, ' ' ORDER BY n), '2 -2', 'also by a call') FROM due_runs.said WHERE stream = 'runsvoid-1';

-- ---- what is too late ----

-- A run is late as a whole, or not at all: what was begun in time is tried again, and goes on.
SELECT pg_temp.react('runs_late', jsonb_build_array(pg_temp.call(), pg_temp.call('{"wait": "1 microsecond"}')), NULL, '{"past": "cap", "max_past": "2 seconds"}');
CREATE SEQUENCE due_runs.tries;
SELECT eventsource.create_reaction('runs_old', 'runslate', 'happened', action => '{"call": "due_runs.ask(eventsource.events,jsonb)"}',
	run_at => 'event.occurred_at', settings => '{"past": "cap", "max_past": "1 hour"}') > 0 AS ok \gset
SELECT pg_temp.happen('runslate-old', '{}', '2 hours');
-- Each of the three calls loses a race three times, a second each.
SELECT pg_temp.happen('runslate-1', $${"run": "DO $x$ BEGIN IF nextval('due_runs.tries') % 4 <> 0 THEN RAISE serialization_failure; END IF; END $x$"}$$);
DO $$
BEGIN
	FOR i IN 1 .. 2000 LOOP
		PERFORM pg_temp.due();
		EXIT WHEN pg_temp.runs('runs_late') NOT LIKE '%scheduled%' AND pg_temp.runs('runs_late') NOT LIKE '%available%';
		PERFORM pg_sleep(0.01);
	END LOOP;
END
$$;
SELECT is(pg_temp.runs('runs_late'), 'done 2, done 2', 'what was begun in time goes on to its end');
SELECT is(last_value, 12::bigint, 'however late it is by then') FROM due_runs.tries;
SELECT matches(pg_temp.runs('runs_old'), '^done 1 skipped: it was due at .*, and that is too late, done 1$', 'what was not is not');
-- ---- deferred triggers ----

-- They are of the caller, and must not be run by what a reaction calls, with the rights of its definer.
CREATE TABLE due_runs.theirs (a int);
CREATE FUNCTION due_runs.fire() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO due_runs.said (stream) VALUES ('fired');
	RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER fire AFTER INSERT ON due_runs.theirs DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION due_runs.fire();
SELECT pg_temp.react('runs_fire', jsonb_build_array(pg_temp.call()));
SELECT pg_temp.react('runs_calm', '[{"append": "noted", "stream": "''runscalmx-1''"}]');
SELECT pg_temp.happen('runsfire-1', '{"run": "SET CONSTRAINTS ALL IMMEDIATE"}');
SELECT pg_temp.happen('runscalm-1');
INSERT INTO due_runs.theirs VALUES (1);
SELECT matches(pg_temp.due(), '^postponed \d, steps 1$', 'while deferred triggers wait nothing is called');
SELECT is(pg_temp.runs('runs_fire') || ', ' || pg_temp.runs('runs_calm'), 'available 1, done 1', 'what is no call is performed');
SELECT is((SELECT count(*) FROM due_runs.said WHERE stream IN ('fired', 'runsfire-1')), 0::bigint, 'they were not run');
SET CONSTRAINTS ALL IMMEDIATE;
SELECT is(pg_temp.due(), 'steps 1', 'it is when they have run');
SELECT is(pg_temp.runs('runs_fire'), 'done 1', 'no attempt was used up');

-- ---- lost races ----

-- Of a timeout, too, so many in a row are a failure.
CREATE FUNCTION due_runs.race(n bigint) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE serialization_failure; END $$;
SELECT eventsource.create_state_machine('runs_wait', '{"create": {"asked": "OPEN"}, "states": {
	"OPEN": {"on": {"lapsed": "CLOSED"}, "after": {"1 minute": {"type": "lapsed", "guard": "due_runs.race(event.version)"}}}, "CLOSED": {"type": "final"}}}') > 0 AS ok \gset
SELECT eventsource.create_category('runswait', 'runs_wait') IS NOT NULL AS ok \gset
SELECT eventsource.append('runswait-1', 'asked', occurred_at => now() - interval '1 hour') IS NOT NULL AS ok \gset
DO $$
BEGIN
	FOR i IN 1 .. 1000 LOOP
		PERFORM pg_temp.due();
		EXIT WHEN (SELECT payload->>'postponed' = '3' FROM eventsource.job WHERE stream = 'runswait-1');
		PERFORM pg_sleep(0.01);
	END LOOP;
END
$$;
SELECT is(row(payload->>'postponed', payload->>'state', attempts - attempts_before, error_code)::text, '(3,OPEN,0,)', 'lost races of a timeout are counted')
  FROM eventsource.job WHERE stream = 'runswait-1';

-- ---- time ----

-- A wait is as long whoever performs the step: wherever he is, a day has 24 hours.
SELECT pg_temp.react('runs_zone' || n, jsonb_build_array('{"enqueue": "runs_zone"}'::jsonb, pg_temp.call(jsonb_build_object('wait', n || ' months'))))
  FROM unnest('{2,4,6,8,10}'::int[]) n;
SELECT pg_temp.happen('runszone' || n || '-1') FROM unnest('{2,4,6,8,10}'::int[]) n;
SET timezone = 'Europe/Berlin';
SELECT pg_temp.due() IS NOT NULL AS ok \gset
SELECT count(eventsource.complete(job_id)) AS ok FROM eventsource.claim('runs_zone', 10) \gset
SELECT is(pg_temp.due(), 'steps 5', 'five wait for months');
SELECT is(string_agg((j.run_at = (m.finished_at AT TIME ZONE 'UTC' + replace(j.reaction, 'runs_zone', '')::int * interval '1 month') AT TIME ZONE 'UTC')::text, ' '),
	'true true true true true', 'in UTC')
  FROM eventsource.job j JOIN eventsource.job m ON m.reaction = j.reaction AND m.queue = 'runs_zone' WHERE j.queue = '$reaction' AND j.step = 2;
RESET timezone;
SELECT pg_temp.react('runs_ever', jsonb_build_array(pg_temp.call()));
SELECT pg_temp.happen('runsever-1', '{"decide": {"retry": "1001 years"}}');
SELECT is(pg_temp.due(), 'failed 1', 'nothing waits for ever');
SELECT is(error_code, '22023', 'and says so') FROM eventsource.job WHERE stream = 'runsever-1';

SELECT is(pg_get_function_arguments('eventsource.run_due(integer)'::regprocedure), 'max_rows integer DEFAULT 100', 'few rows at a time');
SELECT * FROM finish();
ROLLBACK;
