\set ECHO none
\i test/helpers.sql
-- append(): every argument, its default, and what it refuses.
BEGIN;
SELECT plan(52);

-- The result.
SELECT pg_temp.same_rows(
	$$ SELECT stream, version, state, is_duplicate FROM eventsource.append('append-1', 'opened') $$,
	$$ VALUES ('append-1', 1::bigint, NULL::text, false) $$,
	'the first event of a stream makes version 1');
SELECT is(version, 2::bigint, 'the next one version 2') FROM eventsource.append('append-1', 'noted');
SELECT a.position FROM eventsource.append('append-1', 'noted') AS a \gset third_
SELECT is(e.version, 3::bigint, 'the position is the one of the row in the log')
FROM eventsource.events e WHERE e.position = :third_position;
SELECT ok((SELECT count(DISTINCT position) = 3 AND bool_and(position > 0) FROM eventsource.events WHERE stream = 'append-1'),
	'each event has a position of its own');
SELECT pg_temp.same_rows(
	$$ SELECT version FROM eventsource.events WHERE stream = 'append-1' ORDER BY position $$,
	$$ VALUES (1::bigint), (2), (3) $$,
	'order of versions is order of positions');
SELECT function_returns('eventsource', 'append',
	ARRAY['text', 'text', 'jsonb', 'text', 'text', 'jsonb', 'bigint', 'timestamp with time zone', 'text', 'integer'],
	'eventsource.appended', 'append has the arguments that are promised');

-- Defaults.
SELECT is(e.category, 'append', 'category: what stands before the first hyphen') FROM eventsource.events e WHERE stream = 'append-1' AND version = 1;
SELECT is(e.key, '1', 'key: what stands after it') FROM eventsource.events e WHERE stream = 'append-1' AND version = 1;
SELECT is(e.subject, 'append-1', 'subject: the stream') FROM eventsource.events e WHERE stream = 'append-1' AND version = 1;
SELECT is(e.type, 'opened', 'type as given') FROM eventsource.events e WHERE stream = 'append-1' AND version = 1;
SELECT is(e.schema_version, 1, 'schema_version: 1') FROM eventsource.events e WHERE stream = 'append-1' AND version = 1;
SELECT is(e.data, '{}', 'data: {}') FROM eventsource.events e WHERE stream = 'append-1' AND version = 1;
SELECT is(e.metadata, '{}', 'metadata: {}') FROM eventsource.events e WHERE stream = 'append-1' AND version = 1;
SELECT is(e.actor, session_user::text, 'actor: the session user') FROM eventsource.events e WHERE stream = 'append-1' AND version = 1;
SELECT is(e.recorded_by, session_user::text, 'recorded_by: the session user') FROM eventsource.events e WHERE stream = 'append-1' AND version = 1;
SELECT is(e.reason, NULL, 'reason: none') FROM eventsource.events e WHERE stream = 'append-1' AND version = 1;
SELECT is((e.from_state, e.to_state)::text, '(,)', 'states: none without a machine') FROM eventsource.events e WHERE stream = 'append-1' AND version = 1;
SELECT is(e.is_synthetic, false, 'is_synthetic: false') FROM eventsource.events e WHERE stream = 'append-1' AND version = 1;
SELECT is(e.occurred_at, e.recorded_at, 'occurred_at: recorded_at') FROM eventsource.events e WHERE stream = 'append-1' AND version = 1;
SELECT ok(e.recorded_at BETWEEN now() AND clock_timestamp(), 'recorded_at: the clock at append')
FROM eventsource.events e WHERE stream = 'append-1' AND version = 1;
SELECT is(e.idempotency_key, NULL, 'idempotency_key: none') FROM eventsource.events e WHERE stream = 'append-1' AND version = 1;
SELECT is(length(e.hash), 32, 'the hash has 32 bytes') FROM eventsource.events e WHERE stream = 'append-1' AND version = 1;

-- Each argument, by name and by place.
SELECT lives_ok($$
	SELECT eventsource.append(stream => 'append-2', type => 'opened', data => '{"a": [1, {"b": null}]}', reason => 'because',
		actor => 'agent:joe', metadata => '{"channel": "web"}', expected_version => 0,
		occurred_at => '2001-02-03 04:05:06.789+00', idempotency_key => 'once', schema_version => 7)
$$, 'every argument by name');
SELECT lives_ok($$
	SELECT eventsource.append('append-2', 'closed', '[]', 'why', 'agent:ann', '{"n": 1}', 1, '1999-12-31 23:59:59+00', 'twice', 32767)
$$, 'every argument by place');
SELECT pg_temp.same_rows($$
	SELECT stream, version, type, data, reason, actor, metadata, occurred_at, idempotency_key, schema_version
	FROM eventsource.events WHERE stream = 'append-2' ORDER BY version
$$, $$
	VALUES ('append-2', 1::bigint, 'opened', '{"a": [1, {"b": null}]}'::jsonb, 'because', 'agent:joe', '{"channel": "web"}'::jsonb,
			'2001-02-03 04:05:06.789+00'::timestamptz, 'once', 7),
		('append-2', 2, 'closed', '[]', 'why', 'agent:ann', '{"n": 1}', '1999-12-31 23:59:59+00', 'twice', 32767)
$$, 'everything is stored as given');
SELECT lives_ok($$
	SELECT eventsource.append('append-3', 'opened', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)
$$, 'a NULL argument is its default');
SELECT is((e.data, e.metadata, e.actor, e.reason, e.schema_version, e.occurred_at = e.recorded_at)::text,
	('{}'::jsonb, '{}'::jsonb, session_user, NULL::text, 1, true)::text, 'as the row says')
FROM eventsource.events e WHERE stream = 'append-3';

-- Payloads.
SELECT pg_temp.same_rows($$
	SELECT (a).version FROM (
		SELECT eventsource.append('append-4', 'kept', data) AS a
		FROM unnest(ARRAY['null', '1', '"text"', 'true', '[]', '[null]', '{"": ""}']::jsonb[]) AS data) AS s
$$, $$ SELECT generate_series(1::bigint, 7) $$, 'data may be any JSON');
SELECT pg_temp.same_rows(
	$$ SELECT data FROM eventsource.events WHERE stream = 'append-4' ORDER BY version $$,
	$$ SELECT unnest(ARRAY['null', '1', '"text"', 'true', '[]', '[null]', '{"": ""}']::jsonb[]) $$,
	'and comes back as it was; JSON null is no SQL NULL');
SELECT lives_ok($$
	SELECT eventsource.append('append-5', 'large',
		jsonb_build_object('text', repeat('0123456789', 100000), 'list', to_jsonb(ARRAY(SELECT generate_series(1, 20000)))))
$$, 'a payload of more than a megabyte');
SELECT is(data, jsonb_build_object('text', repeat('0123456789', 100000), 'list', to_jsonb(ARRAY(SELECT generate_series(1, 20000)))),
	'comes back whole')
FROM eventsource.events WHERE stream = 'append-5';

-- Clocks.
SELECT lives_ok($$ SELECT eventsource.append('append-6', 'moved', occurred_at => '2100-01-01') $$, 'occurred_at may lie in the future');
SELECT lives_ok($$ SELECT eventsource.append('append-6', 'moved', occurred_at => '4713-01-02 BC') $$, 'or long ago');
SELECT ok(bool_and(recorded_at >= before), 'recorded_at never decreases within a stream')
FROM (SELECT recorded_at, lag(recorded_at, 1, '-infinity') OVER (ORDER BY version) AS before
	  FROM eventsource.events WHERE stream = 'append-6') AS s;

-- What is missing or out of range.
SELECT pg_temp.refuses($$ SELECT eventsource.append(NULL, 'x') $$,
	'22004', 'stream must not be null', 'no stream');
SELECT pg_temp.refuses($$ SELECT eventsource.append('append-7', NULL) $$,
	'22004', 'type must not be null', 'no type');
SELECT pg_temp.refuses($$ SELECT eventsource.append('append-7', 'x', expected_version => -1) $$,
	'22023', 'expected_version must not be negative', 'expected_version -1');
SELECT pg_temp.refuses($$ SELECT eventsource.append('append-7', 'x', expected_version => -9223372036854775808) $$,
	'22023', 'expected_version must not be negative', 'the least expected_version');
SELECT pg_temp.refuses($$ SELECT eventsource.append('append-7', 'x', schema_version => 0) $$,
	'22023', 'schema_version is out of range', 'schema_version 0');
SELECT pg_temp.refuses($$ SELECT eventsource.append('append-7', 'x', schema_version => -3) $$,
	'22023', 'schema_version is out of range', 'schema_version -3');
SELECT pg_temp.refuses($$ SELECT eventsource.append('append-7', 'x', schema_version => 32768) $$,
	'22023', 'schema_version is out of range', 'schema_version 32768');
SELECT pg_temp.refuses($$ SELECT eventsource.append('append-7', 'x', occurred_at => 'infinity') $$,
	'22008', 'occurred_at must be finite', 'occurred_at infinity');
SELECT pg_temp.refuses($$ SELECT eventsource.append('append-7', 'x', occurred_at => '-infinity') $$,
	'22008', 'occurred_at must be finite', 'occurred_at -infinity');
SELECT pg_temp.refuses(format($$ SELECT eventsource.append('append-7', 'x', metadata => %L) $$, metadata),
	'22023', 'metadata must be an object', 'metadata ' || metadata)
FROM unnest(ARRAY['[]', '1', 'null', '"text"']) AS metadata;
SELECT pg_temp.refuses($$ SELECT eventsource.append('append-7', 'x', jsonb_build_array(repeat('0123456789', 6800000))) $$,
	'54000', 'data is too large', 'more than 64 MB of data');
SELECT pg_temp.refuses($$ SELECT eventsource.append('append-7', 'x', metadata => jsonb_build_object('m', repeat('0123456789', 6800000))) $$,
	'54000', 'metadata is too large', 'more than 64 MB of metadata');
SELECT throws_ok($$
	SET LOCAL transaction_read_only = on;
	SELECT eventsource.append('append-7', 'x')
$$, '25006', 'cannot execute eventsource.append() in a read-only transaction', 'a read-only transaction');
SELECT is_empty($$ SELECT FROM eventsource.events WHERE stream = 'append-7' $$, 'a refused event leaves nothing behind');
SELECT is_empty($$ SELECT FROM eventsource.streams WHERE stream = 'append-7' $$, 'and no stream');

SELECT * FROM finish();
ROLLBACK;
