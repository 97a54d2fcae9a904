\set ECHO none
\i test/helpers.sql
-- Idempotency keys: the same key and content give the first result, other content is refused.
BEGIN;
SELECT plan(44);

CREATE TEMP TABLE first AS
SELECT * FROM eventsource.append('once-1', 'paid', '{"amount": 10, "to": ["a", "b"]}', 'fee', 'agent:joe', '{"try": 1}',
	expected_version => 0, occurred_at => '2020-01-01 00:00+00', idempotency_key => 'k1', schema_version => 2);
SELECT ok(NOT is_duplicate, 'the first append is none') FROM first;

CREATE FUNCTION pg_temp.again(more text) RETURNS text LANGUAGE sql AS $$
	SELECT format('SELECT * FROM eventsource.append(''once-1'', %s)', more)
$$;
SELECT pg_temp.same_rows(pg_temp.again($$ 'paid', '{"amount": 10, "to": ["a", "b"]}', 'fee', 'agent:joe',
		occurred_at => '2020-01-01 00:00+00', idempotency_key => 'k1', schema_version => 2 $$),
	'SELECT position, stream, version, state, true FROM first', 'a repetition gets its result, and is_duplicate');
SELECT is(eventsource.stream_version('once-1'), 1::bigint, 'and appends nothing');
SELECT pg_temp.same_rows(pg_temp.again($$ 'paid', '{"to": ["a", "b"], "amount":10}', 'fee', 'agent:joe',
		occurred_at => '2020-01-01 01:00+01', idempotency_key => 'k1', schema_version => 2 $$),
	'SELECT position, stream, version, state, true FROM first', 'the same content, spelled differently');
SELECT pg_temp.same_rows(pg_temp.again($$ 'paid', '{"amount": 10, "to": ["a", "b"]}', 'fee', 'agent:joe', '{"try": 2}',
		occurred_at => '2020-01-01 00:00+00', idempotency_key => 'k1', schema_version => 2 $$),
	'SELECT position, stream, version, state, true FROM first', 'metadata is not content: a retry may trace itself');
SELECT pg_temp.same_rows(pg_temp.again($$ 'paid', '{"amount": 10, "to": ["a", "b"]}', 'fee', 'agent:joe', expected_version => 0,
		occurred_at => '2020-01-01 00:00+00', idempotency_key => 'k1', schema_version => 2 $$),
	'SELECT position, stream, version, state, true FROM first', 'nor is the expected version, which is stale by then');

-- Other content.
CREATE TEMP TABLE other (what text, type text, data jsonb, reason text, actor text, occurred_at timestamptz, schema_version int);
INSERT INTO other VALUES
	('type', 'refunded', '{"amount": 10, "to": ["a", "b"]}', 'fee', 'agent:joe', '2020-01-01 00:00+00', 2),
	('data', 'paid', '{"amount": 11, "to": ["a", "b"]}', 'fee', 'agent:joe', '2020-01-01 00:00+00', 2),
	('order in data', 'paid', '{"amount": 10, "to": ["b", "a"]}', 'fee', 'agent:joe', '2020-01-01 00:00+00', 2),
	('shape of data', 'paid', '{"amount": "10", "to": ["a", "b"]}', 'fee', 'agent:joe', '2020-01-01 00:00+00', 2),
	('no data', 'paid', NULL, 'fee', 'agent:joe', '2020-01-01 00:00+00', 2),
	('reason', 'paid', '{"amount": 10, "to": ["a", "b"]}', 'tax', 'agent:joe', '2020-01-01 00:00+00', 2),
	('no reason', 'paid', '{"amount": 10, "to": ["a", "b"]}', NULL, 'agent:joe', '2020-01-01 00:00+00', 2),
	('actor', 'paid', '{"amount": 10, "to": ["a", "b"]}', 'fee', 'agent:ann', '2020-01-01 00:00+00', 2),
	('no actor', 'paid', '{"amount": 10, "to": ["a", "b"]}', 'fee', NULL, '2020-01-01 00:00+00', 2),
	('occurred_at', 'paid', '{"amount": 10, "to": ["a", "b"]}', 'fee', 'agent:joe', '2020-01-01 00:00:00.000001+00', 2),
	('no occurred_at', 'paid', '{"amount": 10, "to": ["a", "b"]}', 'fee', 'agent:joe', NULL, 2),
	('schema_version', 'paid', '{"amount": 10, "to": ["a", "b"]}', 'fee', 'agent:joe', '2020-01-01 00:00+00', 3);
SELECT pg_temp.refuses(pg_temp.again(format('%L, %L, %L, %L, occurred_at => %L, schema_version => %L, idempotency_key => %L',
		type, data, reason, actor, occurred_at, schema_version, 'k1')),
	'ZE008', 'idempotency key "k1" was used for another event', 'other content: ' || what)
FROM other;
SELECT is(pg_temp.refusal(pg_temp.again($$ 'x', idempotency_key => 'k1' $$)), concat_ws(E'\n',
	'ZE008: idempotency key "k1" was used for another event',
	'DETAIL: Version 1 of stream "once-1" has this key, with other content.',
	'HINT: Use a new key for a new event; repeat the event unchanged to get its first result.'), 'the error says where');
SELECT is(eventsource.stream_version('once-1'), 1::bigint, 'nothing of that was appended');

-- Two texts must not melt into one: reason and actor are apart.
SELECT lives_ok(pg_temp.again($$ 'x', reason => 'ab', actor => 'c', idempotency_key => 'melt' $$), 'reason ab, actor c');
SELECT pg_temp.refuses(pg_temp.again($$ 'x', reason => 'a', actor => 'bc', idempotency_key => 'melt' $$),
	'ZE008', 'idempotency key "melt" was used for another event', 'is not reason a, actor bc');
SELECT lives_ok(pg_temp.again($$ 'x', reason => 'same', idempotency_key => 'side' $$), 'a word as reason');
SELECT pg_temp.refuses(pg_temp.again($$ 'x', actor => 'same', idempotency_key => 'side' $$),
	'ZE008', 'idempotency key "side" was used for another event', 'is not the same word as actor');

-- Defaults count as what the caller left out, whatever they are at the time.
SET LOCAL eventsource.actor = 'monday';
SELECT is(version, 4::bigint, 'an append under one setting') FROM eventsource.append('once-1', 'x', idempotency_key => 'default');
SET LOCAL eventsource.actor = 'tuesday';
SET LOCAL eventsource.correlation_id = 'c-2';
SELECT ok(is_duplicate, 'is the same under another one') FROM eventsource.append('once-1', 'x', '{}', idempotency_key => 'default');
SET LOCAL eventsource.actor = '';
SET LOCAL eventsource.correlation_id = '';

-- Scope: the stream.
SELECT ok(NOT is_duplicate, 'the same key in another stream is another key')
FROM eventsource.append('once-2', 'paid', idempotency_key => 'k1');
SELECT ok(NOT is_duplicate, 'and so is another key in the same stream')
FROM eventsource.append('once-1', 'paid', '{"amount": 10, "to": ["a", "b"]}', 'fee', 'agent:joe',
	occurred_at => '2020-01-01 00:00+00', idempotency_key => 'K1', schema_version => 2);
SELECT ok(NOT is_duplicate, 'no key, no duplicate') FROM eventsource.append('once-2', 'paid');
SELECT ok(NOT is_duplicate, 'however often') FROM eventsource.append('once-2', 'paid');
SELECT pg_temp.same_rows(
	$$ SELECT version, idempotency_key FROM eventsource.events WHERE stream = 'once-2' ORDER BY version $$,
	$$ VALUES (1, 'k1'), (2, NULL), (3, NULL) $$, 'the view shows the keys');
SELECT pg_temp.same_rows(
	$$ SELECT version, idempotency_key FROM eventsource.read_stream('once-2') $$,
	$$ VALUES (1, 'k1'), (2, NULL), (3, NULL) $$, 'and so does read_stream');

-- Inside one batch.
SELECT pg_temp.same_rows($$
	SELECT stream, version, is_duplicate FROM eventsource.append_events('[
		{"stream": "once-3", "type": "x", "idempotency_key": "a"},
		{"stream": "once-4", "type": "x", "idempotency_key": "a"},
		{"stream": "once-3", "type": "x", "idempotency_key": "a"},
		{"stream": "once-3", "type": "y", "idempotency_key": "b"},
		{"stream": "once-3", "type": "x", "idempotency_key": "a", "expected_version": 0}]')
$$, $$ VALUES ('once-3', 1, false), ('once-4', 1, false), ('once-3', 1, true), ('once-3', 2, false), ('once-3', 1, true) $$,
	'a key repeated inside a batch');
SELECT is(count(DISTINCT position), 3::bigint, 'each duplicate has the position of its first')
FROM eventsource.append_events('[
	{"stream": "once-5", "type": "x", "idempotency_key": "a"},
	{"stream": "once-5", "type": "y"},
	{"stream": "once-6", "type": "x"},
	{"stream": "once-5", "type": "x", "idempotency_key": "a"}]');
SELECT pg_temp.refuses($$
	SELECT eventsource.append_events('[
		{"stream": "once-7", "type": "x", "idempotency_key": "a"},
		{"stream": "once-7", "type": "y", "idempotency_key": "a"}]')
$$, 'ZE008', 'idempotency key "a" was used for another event', 'a conflict inside a batch');
SELECT is(eventsource.stream_version('once-7'), 0::bigint, 'fails the batch');
SELECT ok(bool_and(is_duplicate), 'a whole batch can be repeated')
FROM eventsource.append_events('[
	{"stream": "once-3", "type": "y", "idempotency_key": "b"},
	{"stream": "once-4", "type": "x", "idempotency_key": "a"}]');

-- Through the view.
SELECT position FROM eventsource.append('once-8', 'x', idempotency_key => 'a') \gset once_
INSERT INTO eventsource.events (stream, type, idempotency_key) VALUES ('once-8', 'x', 'a') RETURNING position, version \gset twice_
SELECT is(:'twice_position' || '/' || :'twice_version', :'once_position' || '/1', 'an INSERT of a duplicate returns the first event');
SELECT pg_temp.refuses($$ INSERT INTO eventsource.events (stream, type, idempotency_key) VALUES ('once-8', 'y', 'a') $$,
	'ZE008', 'idempotency key "a" was used for another event', 'an INSERT of other content');
INSERT INTO eventsource.events (stream, type, idempotency_key)
SELECT 'once-8', 'n' || n % 3, n % 3 FROM generate_series(1, 10) AS n;
SELECT is(eventsource.stream_version('once-8'), 4::bigint, 'ten rows under three keys are three events');

-- A key goes with its event.
SAVEPOINT before;
SELECT ok(NOT is_duplicate, 'a key in a savepoint') FROM eventsource.append('once-9', 'x', idempotency_key => 'a');
ROLLBACK TO before;
SELECT ok(NOT is_duplicate, 'is free again after its rollback') FROM eventsource.append('once-9', 'y', idempotency_key => 'a');
SELECT ok(is_duplicate, 'and taken again after that') FROM eventsource.append('once-9', 'y', idempotency_key => 'a');

SELECT is_empty($$ SELECT * FROM eventsource.verify_chain() WHERE stream_name LIKE 'once-%' $$, 'the chain verifies');

SELECT * FROM finish();
ROLLBACK;
