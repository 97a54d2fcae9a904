\set ECHO none
\i test/helpers.sql
-- Expected versions: NULL any, 0 the stream must not exist, n its current version.
BEGIN;
SELECT plan(27);

SELECT is(version, 1::bigint, '0: a stream that does not exist') FROM eventsource.append('expected-1', 'x', expected_version => 0);
SELECT is(version, 2::bigint, '1: a stream at version 1') FROM eventsource.append('expected-1', 'x', expected_version => 1);
SELECT is(version, 3::bigint, 'NULL: any') FROM eventsource.append('expected-1', 'x', expected_version => NULL);
SELECT is(version, 1::bigint, 'NULL: also a stream that does not exist') FROM eventsource.append('expected-2', 'x');

SELECT pg_temp.refuses(format($$ SELECT eventsource.append('expected-1', 'x', expected_version => %s) $$, expected),
	'40001', 'wrong expected version for stream "expected-1"', expected || ' of a stream at version 3')
FROM unnest(ARRAY[0, 1, 2, 4, 9223372036854775807]) AS expected;
SELECT is(pg_temp.refusal($$ SELECT eventsource.append('expected-1', 'x', expected_version => 2) $$), concat_ws(E'\n',
	'40001: wrong expected version for stream "expected-1"',
	'DETAIL: Expected version 2, but the stream is at version 3.',
	'HINT: Read the stream again, decide again, and retry the transaction.'), 'the error says both versions');
SELECT pg_temp.refuses($$ SELECT eventsource.append('expected-3', 'x', expected_version => 1) $$,
	'40001', 'wrong expected version for stream "expected-3"', '1 of a stream that does not exist');
SELECT is(eventsource.stream_version('expected-1'), 3::bigint, 'the losers wrote nothing');
SELECT is(eventsource.stream_version('expected-3'), 0::bigint, 'and made no stream');
SELECT is(version, 4::bigint, 'after a refusal the right version passes') FROM eventsource.append('expected-1', 'x', expected_version => 3);

-- In a batch each event is checked against those before it.
SELECT pg_temp.same_rows($$
	SELECT stream, version FROM eventsource.append_events('[
		{"stream": "expected-4", "type": "x", "expected_version": 0},
		{"stream": "expected-5", "type": "x", "expected_version": 0},
		{"stream": "expected-4", "type": "x", "expected_version": 1},
		{"stream": "expected-5", "type": "x", "expected_version": 1},
		{"stream": "expected-4", "type": "x"},
		{"stream": "expected-4", "type": "x", "expected_version": 3}]')
$$, $$ VALUES ('expected-4', 1), ('expected-5', 1), ('expected-4', 2), ('expected-5', 2), ('expected-4', 3), ('expected-4', 4) $$,
	'a batch counts its own events');
SELECT is(split_part(pg_temp.refusal($$
	SELECT eventsource.append_events('[
		{"stream": "expected-6", "type": "x", "expected_version": 0},
		{"stream": "expected-6", "type": "x", "expected_version": 0}]')
$$), E'\n', 2), 'DETAIL: Expected version 0, but the stream is at version 1.', 'and refuses what they made wrong');
SELECT is(eventsource.stream_version('expected-6'), 0::bigint, 'as a whole');
SELECT pg_temp.refuses($$
	SELECT eventsource.append_events('[
		{"stream": "expected-1", "type": "x", "expected_version": 4},
		{"stream": "expected-4", "type": "x", "expected_version": 3}]')
$$, '40001', 'wrong expected version for stream "expected-4"', 'one wrong version fails all streams');
SELECT is(eventsource.stream_version('expected-1'), 4::bigint, 'as the other stream shows');

-- In an INSERT the column version is the expected version + 1.
INSERT INTO eventsource.events (stream, type, version)
VALUES ('expected-7', 'x', 1), ('expected-7', 'x', 2), ('expected-7', 'x', NULL), ('expected-7', 'x', 4);
SELECT is(eventsource.stream_version('expected-7'), 4::bigint, 'an INSERT that knows its versions');
SELECT is(split_part(pg_temp.refusal($$
	INSERT INTO eventsource.events (stream, type, version) VALUES ('expected-7', 'x', 6)
$$), E'\n', 2), 'DETAIL: Expected version 5, but the stream is at version 4.', 'a version that would leave a gap');
SELECT pg_temp.refuses($$ INSERT INTO eventsource.events (stream, type, version) VALUES ('expected-7', 'x', 4) $$,
	'40001', 'wrong expected version for stream "expected-7"', 'a version that is taken');
SELECT pg_temp.refuses($$ INSERT INTO eventsource.events (stream, type, version) VALUES ('expected-7', 'x', 5), ('expected-7', 'x', 5) $$,
	'40001', 'wrong expected version for stream "expected-7"', 'a version taken by the same INSERT');
SELECT pg_temp.refuses(format($$ INSERT INTO eventsource.events (stream, type, version) VALUES ('expected-8', 'x', %s) $$, version),
	'22023', 'version must be 1 or greater', 'version ' || version)
FROM unnest(ARRAY[0, -1]) AS version;
SELECT is(eventsource.stream_version('expected-7'), 4::bigint, 'the losers wrote nothing');

SELECT pg_temp.same_rows(
	$$ SELECT stream, version FROM eventsource.events WHERE category = 'expected' ORDER BY 1, 2 $$,
	$$ SELECT 'expected-' || s, v FROM (VALUES (1, 4), (2, 1), (4, 4), (5, 2), (7, 4)) AS t (s, n), generate_series(1, n) AS v ORDER BY 1, 2 $$,
	'every stream has versions 1 to n');

SELECT * FROM finish();
ROLLBACK;
