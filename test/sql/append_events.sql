\set ECHO none
\i test/helpers.sql
-- append_events(): an array of events, all or nothing.
BEGIN;
SELECT plan(53);

SELECT pg_temp.same_rows($$
	SELECT stream, version, state, is_duplicate FROM eventsource.append_events('[
		{"stream": "batch-b", "type": "first"},
		{"stream": "batch-a", "type": "second"},
		{"stream": "batch-b", "type": "third"},
		{"stream": "batch-c", "type": "fourth"},
		{"stream": "batch-a", "type": "fifth"}]')
$$, $$ VALUES ('batch-b', 1, NULL::text, false), ('batch-a', 1, NULL, false), ('batch-b', 2, NULL, false),
		('batch-c', 1, NULL, false), ('batch-a', 2, NULL, false) $$, 'one row per event, in the order of the array');
SELECT pg_temp.same_rows(
	$$ SELECT type FROM eventsource.events WHERE category = 'batch' ORDER BY position $$,
	$$ VALUES ('first'), ('second'), ('third'), ('fourth'), ('fifth') $$, 'the order of positions too');
CREATE TEMP TABLE returned AS
SELECT * FROM eventsource.append_events('[{"stream": "batch-d", "type": "x"}, {"stream": "batch-e", "type": "x"}, {"stream": "batch-d", "type": "x"}]');
SELECT pg_temp.same_rows('SELECT position, stream, version FROM returned',
	$$ SELECT position, stream, version FROM eventsource.events WHERE stream IN ('batch-d', 'batch-e') ORDER BY position $$,
	'and the result has those positions');
SELECT is_empty($$ SELECT eventsource.append_events('[]') $$, 'an empty array appends nothing');
SELECT is_empty($$ SELECT eventsource.append_events(NULL) $$, 'and so does NULL');

-- Every key, and its defaults.
SELECT lives_ok($$ SELECT eventsource.append_events('[{"stream": "batch-1", "type": "full", "data": {"a": [1, {"b": null}]}, "reason": "because",
	"actor": "agent:joe", "metadata": {"channel": "web"}, "expected_version": 0, "occurred_at": "2001-02-03T04:05:06.789Z",
	"idempotency_key": "once", "schema_version": 7}, {"stream": "batch-1", "type": "bare"},
	{"stream": "batch-1", "type": "null", "data": null, "reason": null, "actor": null, "metadata": null, "expected_version": null,
	 "occurred_at": null, "idempotency_key": null, "schema_version": null}]') $$, 'all keys, none, and nulls');
SELECT pg_temp.same_rows($$
	SELECT type, data, reason, actor, metadata, occurred_at = '2001-02-03 04:05:06.789+00', occurred_at = recorded_at, idempotency_key, schema_version
	FROM eventsource.events WHERE stream = 'batch-1' ORDER BY version
$$, $$ VALUES
	('full', '{"a": [1, {"b": null}]}'::jsonb, 'because', 'agent:joe', '{"channel": "web"}'::jsonb, true, false, 'once', 7),
	('bare', '{}', NULL, session_user, '{}', false, true, NULL, 1),
	('null', '{}', NULL, session_user, '{}', false, true, NULL, 1) $$, 'are stored as append() stores them');
SELECT lives_ok($$ SELECT eventsource.append_events('[{"stream": "batch-2", "type": "x", "data": [1, "two"]}, {"stream": "batch-2", "type": "x", "data": "text"},
	{"stream": "batch-2", "type": "x", "data": 1.50}, {"stream": "batch-2", "type": "x", "data": false}]') $$, 'data of any shape');
SELECT pg_temp.same_rows(
	$$ SELECT data FROM eventsource.events WHERE stream = 'batch-2' ORDER BY version $$,
	$$ VALUES ('[1, "two"]'::jsonb), ('"text"'), ('1.50'), ('false') $$, 'comes back as it was');

-- Shapes that are refused.
SELECT pg_temp.refuses(format('SELECT eventsource.append_events(%L)', events), '22023', 'events must be an array of objects', events || ' is no array')
FROM unnest(ARRAY['{}', '{"stream": "batch-3", "type": "x"}', '1', '"text"', 'null', 'true']) AS events;
SELECT pg_temp.refuses(format('SELECT eventsource.append_events(%L)', events), '22023', 'event 2 of the batch is not an object', events || ' holds something else')
FROM unnest(ARRAY['[{"stream": "batch-3", "type": "x"}, 1]', '[{"stream": "batch-3", "type": "x"}, null]',
	'[{"stream": "batch-3", "type": "x"}, []]', '[{"stream": "batch-3", "type": "x"}, [{"stream": "batch-3", "type": "x"}]]']) AS events;
SELECT pg_temp.refuses($$ SELECT eventsource.append_events('[{"stream": "batch-3", "type": "x"}, {"type": "x"}]') $$,
	'22004', 'stream must not be null', 'no stream');
SELECT pg_temp.refuses($$ SELECT eventsource.append_events('[{"stream": "batch-3", "type": "x"}, {}]') $$,
	'22004', 'stream must not be null', 'nothing at all');
SELECT pg_temp.refuses($$ SELECT eventsource.append_events('[{"stream": "batch-3"}]') $$,
	'22004', 'type must not be null', 'no type');
SELECT is(split_part(pg_temp.refusal(format('SELECT eventsource.append_events(''[{"stream": "batch-3", "type": "x"}, {"stream": "batch-3", "type": "x", %s}]'')', member)),
	E'\nHINT', 1), E'22023: event 2 of the batch is not valid\nDETAIL: ' || detail, member)
FROM (VALUES
	('"version": 1', '"version" must be left out: there is no such argument.'),
	('"position": 1', '"position" must be left out: there is no such argument.'),
	('"recorded_by": "me"', '"recorded_by" must be left out: there is no such argument.'),
	('"Data": {}', '"Data" must be left out: there is no such argument.'),
	('"": {}', '"" must be left out: there is no such argument.'),
	('"type": 1', '"type" must be a string.'),
	('"stream": ["batch-3"]', '"stream" must be a string.'),
	('"reason": {}', '"reason" must be a string.'),
	('"actor": true', '"actor" must be a string.'),
	('"idempotency_key": 7', '"idempotency_key" must be a string.'),
	('"occurred_at": 1700000000', '"occurred_at" must be a string.'),
	('"expected_version": "1"', '"expected_version" must be an integer.'),
	('"expected_version": 0.6', '"expected_version" must be an integer.'),
	('"expected_version": -1', '"expected_version" must be 0 or greater.'),
	('"schema_version": 1.5', '"schema_version" must be an integer.'),
	('"schema_version": 0', '"schema_version" must be between 1 and 32767.'),
	('"schema_version": 32768', '"schema_version" must be between 1 and 32767.')) AS v (member, detail);
SELECT pg_temp.refuses($$ SELECT eventsource.append_events('[{"stream": "batch-3", "type": "x", "metadata": []}]') $$,
	'22023', 'metadata must be an object', 'metadata is an object');
SELECT throws_ok($$ SELECT eventsource.append_events('[{"stream": "batch-3", "type": "x", "occurred_at": "never"}]') $$,
	'22007', 'invalid input syntax for type timestamp with time zone: "never"', 'a time that is none');
SELECT pg_temp.refuses($$ SELECT eventsource.append_events('[{"stream": "batch-3", "type": "x", "occurred_at": "infinity"}]') $$,
	'22008', 'occurred_at must be finite', 'a time that never comes');
SELECT throws_ok($$ SELECT eventsource.append_events('[{"stream": "batch-3", "type": "x", "expected_version": 1e30}]') $$,
	'22003', 'bigint out of range', 'a version out of range');
SELECT pg_temp.refuses($$ SELECT eventsource.append_events('[{"stream": "batch-3", "type": "x"}, {"stream": "batch", "type": "x"}]') $$,
	'42602', 'invalid stream name "batch"', 'a name that is none');
SELECT is(eventsource.stream_version('batch-3'), 0::bigint, 'all or nothing: none of these left anything');

-- Many.
CREATE TEMP TABLE result AS
SELECT * FROM eventsource.append_events((
	SELECT jsonb_agg(jsonb_build_object('stream', 'batch-many.' || n % 7, 'type', 'x', 'data', n) ORDER BY n) FROM generate_series(1, 2500) AS n))
	WITH ORDINALITY AS r ("position", stream, version, state, is_duplicate, n);
SELECT is(count(*), 2500::bigint, 'a batch of 2500 events') FROM result;
SELECT is_empty($$ SELECT FROM result WHERE stream <> 'batch-many.' || n % 7 OR version <> (n + 6) / 7 $$,
	'numbers each stream on its own');
SELECT is_empty($$ SELECT FROM (SELECT position, lag(position) OVER (ORDER BY n) AS before FROM result) AS s WHERE position <= before $$,
	'with growing positions');
SELECT set_eq($$ SELECT e.position, e.stream, e.version, (e.data)::bigint FROM eventsource.events e WHERE e.stream LIKE 'batch-many.%' $$,
	'SELECT position, stream, version, n FROM result', 'and stores what it returned');
SELECT lives_ok($$ SELECT count(*) FROM eventsource.append_events((
	SELECT jsonb_agg(jsonb_build_object('stream', 'batch-wide.' || n, 'type', 'x') ORDER BY n DESC) FROM generate_series(1, 1500) AS n)) $$,
	'a batch of more streams than there may be stream locks');
SELECT is(count(*), 1500::bigint, 'makes them all') FROM eventsource.streams WHERE stream LIKE 'batch-wide.%' AND version = 1;
SELECT is(version, 2::bigint, 'and a single append goes on after it') FROM eventsource.append('batch-wide.1', 'x');
SELECT is_empty($$ SELECT * FROM eventsource.verify_chain() WHERE stream_name LIKE 'batch-%' $$, 'the chain verifies');

SELECT * FROM finish();
ROLLBACK;
