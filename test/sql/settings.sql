\set ECHO none
\i test/helpers.sql
-- Settings as defaults for writers that pass no arguments, and the views that follow causes.
-- A setting made before the library is loaded counts too.
BEGIN;
SET LOCAL eventsource.actor = 'early';
SELECT eventsource.append('set-early', 'x') IS NULL AS done \gset
COMMIT;
BEGIN;
SELECT plan(31);
SELECT is(actor, 'early', 'a setting made before anything else in a session') FROM eventsource.events WHERE stream = 'set-early';

CREATE FUNCTION pg_temp.last(stream text) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', e.actor, coalesce(e.reason, '-'), e.metadata) FROM eventsource.events e
	WHERE e.stream = $1 ORDER BY e.version DESC LIMIT 1
$$;

SELECT set_eq(
	$$ SELECT name, vartype, context FROM pg_settings WHERE name LIKE 'eventsource.%'
		AND name NOT IN ('eventsource.segment_size', 'eventsource.shared_heads', 'eventsource.assert_formats', 'eventsource.archive_tablespace', 'eventsource.seal_interval', 'eventsource.guard_interval', 'eventsource.call_timeout') AND name NOT LIKE 'eventsource.worker%' $$,
	$$ VALUES ('eventsource.actor', 'string', 'user'), ('eventsource.reason', 'string', 'user'),
		('eventsource.correlation_id', 'string', 'user'), ('eventsource.causation_id', 'string', 'user'), ('eventsource.include_synthetic', 'bool', 'user'), ('eventsource.unregistered_types', 'enum', 'user'),
		('eventsource.max_feed_lag', 'integer', 'user'), ('eventsource.max_seal_lag', 'integer', 'user'), ('eventsource.max_retention_lag', 'integer', 'user'), ('eventsource.health_sample', 'integer', 'user') $$,
	'anybody may set them');
SELECT is(context, 'superuser', 'but not the size of segments') FROM pg_settings WHERE name = 'eventsource.segment_size';
SELECT is(count(*), 4::bigint, 'nor those of the worker') FROM pg_settings WHERE name LIKE 'eventsource.worker%' AND context = 'sighup';
SELECT is(context, 'sighup', 'nor how long a call may take') FROM pg_settings WHERE name = 'eventsource.call_timeout';
SELECT is(context, 'superuser', 'nor whether formats are asserted') FROM pg_settings WHERE name = 'eventsource.assert_formats';
SELECT throws_ok($$ SET LOCAL eventsource.actr = 'x' $$, '42602', 'invalid configuration parameter name "eventsource.actr"', 'a misspelt setting');

-- Unset.
SELECT eventsource.append('set-1', 'x') IS NULL AS done \gset
SELECT is(pg_temp.last('set-1'), session_user || ' - {}', 'no setting: the session user, no reason, no metadata');

-- Set.
SAVEPOINT settings;
SET LOCAL eventsource.actor = 'agent:joe';
SET LOCAL eventsource.reason = 'because';
SET LOCAL eventsource.correlation_id = 'c-1';
SET LOCAL eventsource.causation_id = '17';
SELECT eventsource.append('set-1', 'x') IS NULL AS done \gset
SELECT is(pg_temp.last('set-1'), 'agent:joe because {"causation_id": "17", "correlation_id": "c-1"}', 'append() takes all four');
SELECT count(*) AS done FROM eventsource.append_events('[{"stream": "set-1", "type": "x"}]') \gset
SELECT is(pg_temp.last('set-1'), 'agent:joe because {"causation_id": "17", "correlation_id": "c-1"}', 'append_events() too');
INSERT INTO eventsource.events (stream, type) VALUES ('set-1', 'x');
SELECT is(pg_temp.last('set-1'), 'agent:joe because {"causation_id": "17", "correlation_id": "c-1"}', 'and an INSERT');
COPY eventsource.events (stream, type) FROM STDIN;
set-1	x
\.
SELECT is(pg_temp.last('set-1'), 'agent:joe because {"causation_id": "17", "correlation_id": "c-1"}', 'and COPY');

-- What is said in the call wins.
SELECT eventsource.append('set-1', 'x', reason => 'own', actor => 'me', metadata => '{"correlation_id": "own", "causation_id": null}') IS NULL AS done \gset
SELECT is(pg_temp.last('set-1'), 'me own {"causation_id": null, "correlation_id": "own"}', 'arguments win over settings');
SELECT eventsource.append('set-1', 'x', metadata => '{"correlation_id": "own", "z": [1, {"b": 2}], "a": {"correlation_id": 1}}') IS NULL AS done \gset
SELECT is(pg_temp.last('set-1'),
	'agent:joe because '::text || (jsonb '{"correlation_id": "own", "causation_id": "17", "z": [1, {"b": 2}], "a": {"correlation_id": 1}}')::text,
	'metadata keeps what the caller gave, and gains what is missing');
SELECT eventsource.append('set-1', 'x', metadata => '{}') IS NULL AS done \gset
SELECT is(pg_temp.last('set-1'), 'agent:joe because {"causation_id": "17", "correlation_id": "c-1"}', 'an empty object gains both');

-- '' counts as unset.
SET LOCAL eventsource.actor = '';
SET LOCAL eventsource.reason = '';
SET LOCAL eventsource.correlation_id = '';
SET LOCAL eventsource.causation_id = '';
SELECT eventsource.append('set-1', 'x') IS NULL AS done \gset
SELECT is(pg_temp.last('set-1'), session_user || ' - {}', 'the empty string counts as unset');
SET LOCAL eventsource.causation_id = '9';
SELECT eventsource.append('set-1', 'x') IS NULL AS done \gset
SELECT is(pg_temp.last('set-1'), session_user || ' - {"causation_id": "9"}', 'each by itself');
ROLLBACK TO settings;
SELECT eventsource.append('set-1', 'x') IS NULL AS done \gset
SELECT is(pg_temp.last('set-1'), session_user || ' - {}', 'SET LOCAL ends with its (sub)transaction');

-- Limits hold for settings as for arguments.
SELECT pg_temp.refuses(format($$ SET LOCAL eventsource.%s = %L; SELECT eventsource.append('set-2', 'x') $$, name, repeat('w', 257)),
	'42622', 'eventsource.' || name || ' is too long', name || ' of 257 bytes')
FROM unnest(ARRAY['actor', 'reason']) AS name;
SELECT lives_ok(format($$ SET LOCAL eventsource.correlation_id = %L; SELECT eventsource.append('set-2', 'x') $$, repeat('ü"\', 500)),
	'a long correlation id with quotes');
SELECT is(metadata ->> 'correlation_id', repeat('ü"\', 500), 'comes back whole') FROM eventsource.events WHERE stream = 'set-2';
SET LOCAL eventsource.correlation_id = '';
SELECT lives_ok($$ SET LOCAL eventsource.actor = 'système:é'; SELECT eventsource.append('set-3', 'x') $$, 'an actor in another alphabet');
SELECT is(actor, 'système:é', 'comes back whole') FROM eventsource.events WHERE stream = 'set-3';
SET LOCAL eventsource.actor = '';

-- Chains of causes.
SELECT position FROM eventsource.append('set-order', 'placed', metadata => '{"correlation_id": "set-c"}') \gset a_
SELECT position FROM eventsource.append('set-pay', 'paid',
	metadata => jsonb_build_object('correlation_id', 'set-c', 'causation_id', :a_position)) \gset b_
SET LOCAL eventsource.correlation_id = 'set-c';
SELECT set_config('eventsource.causation_id', :'b_position', true) AS done \gset
SELECT position FROM eventsource.append('set-ship', 'shipped') \gset c_
SELECT position FROM eventsource.append('set-mail', 'mailed') \gset d_
SET LOCAL eventsource.correlation_id = '';
SET LOCAL eventsource.causation_id = '';
SELECT pg_temp.same_rows($$ SELECT stream, version, type, actor, correlation_id FROM eventsource.correlations WHERE correlation_id = 'set-c' ORDER BY position $$,
	$$ SELECT stream, 1, type, session_user, 'set-c' FROM (VALUES ('set-order', 'placed'), ('set-pay', 'paid'), ('set-ship', 'shipped'), ('set-mail', 'mailed')) AS v (stream, type) $$,
	'correlations: all that belongs together');
SELECT pg_temp.same_rows($$ SELECT causation_id FROM eventsource.correlations WHERE correlation_id = 'set-c' ORDER BY position $$,
	format('VALUES (NULL), (%L), (%L), (%L)', :a_position, :b_position, :b_position), 'with their causes');
SELECT is_empty($$ SELECT FROM eventsource.correlations WHERE stream = 'set-3' $$, 'but nothing without a correlation');
SELECT pg_temp.same_rows(
	format('SELECT effect_stream, effect_type, correlation_id FROM eventsource.causations WHERE cause_position = %s ORDER BY effect_position', :b_position),
	$$ VALUES ('set-ship', 'shipped', 'set-c'), ('set-mail', 'mailed', 'set-c') $$, 'causations: forward');
SELECT pg_temp.same_rows(
	format('SELECT cause_stream, cause_type, cause_position FROM eventsource.causations WHERE effect_position = %s', :d_position),
	format('VALUES (%L, %L, %s)', 'set-pay', 'paid', :b_position), 'and back');
SELECT pg_temp.same_rows(format($$
	WITH RECURSIVE chain AS (
		SELECT effect_position, cause_position, 1 AS step FROM eventsource.causations WHERE effect_position = %s
		UNION ALL
		SELECT c.effect_position, c.cause_position, step + 1 FROM chain JOIN eventsource.causations c ON c.effect_position = chain.cause_position)
	SELECT cause_position, step FROM chain
$$, :c_position), format('VALUES (%s, 1), (%s, 2)', :b_position, :a_position), 'to the root');
SELECT eventsource.append('set-4', 'x', metadata => jsonb_build_object('causation_id', cause)) IS NULL AS done
FROM unnest(ARRAY['abc', '', '-1', '1e3', '99999999999999999999', ' 1', '0', NULL]) AS cause \g /dev/null
SELECT is_empty($$ SELECT FROM eventsource.causations WHERE effect_stream = 'set-4' $$, 'a causation_id that is no position causes nothing, and no error');

SELECT * FROM finish();
ROLLBACK;
