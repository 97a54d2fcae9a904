\set ECHO none
\i test/helpers.sql
-- Names of streams, and the words of an event: what they may hold, and how long they may be.
BEGIN;
SELECT plan(44);

-- Stream names.
CREATE TEMP TABLE good (stream text, category text, key text);
INSERT INTO good VALUES
	('names-1', 'names', '1'),
	('n-1', 'n', '1'),
	('names-with-hyphens', 'names', 'with-hyphens'),
	('names--', 'names', '-'),
	('names- ', 'names', ' '),
	('Names-1', 'Names', '1'),
	(' names-1', ' names', '1'),
	('nämes-ключ', 'nämes', 'ключ'),
	('名前-🙂', '名前', '🙂'),
	(E'names-\n\t''"\\', 'names', E'\n\t''"\\'),
	('names-$1', 'names', '$1'),
	('names$-1', 'names$', '1'),
	('names-%s%n', 'names', '%s%n'),
	(repeat('c', 256) || '-' || repeat('k', 767), repeat('c', 256), repeat('k', 767)),
	('名' || repeat('ñ', 126) || '-1', '名' || repeat('ñ', 126), '1');
SELECT lives_ok(format('SELECT eventsource.append(%L, %L)', stream, 'named'), 'a name of ' || octet_length(stream) || ' bytes')
FROM good;
SELECT set_eq(
	$$ SELECT e.stream, e.category, e.key FROM eventsource.events e WHERE e.type = 'named' $$,
	'SELECT stream, category, key FROM good', 'all read back, split at the first hyphen');
SELECT is(eventsource.stream_version(repeat('c', 256) || '-' || repeat('k', 767)), 1::bigint,
	'the longest name has 1024 bytes, its category 256');

SELECT pg_temp.refuses(format('SELECT eventsource.append(%L, %L)', stream, 'x'),
	'42602', format('invalid stream name "%s"', stream), format('"%s" is no name', stream))
FROM unnest(ARRAY['', '-', 'names', '-1', 'names-']) AS stream;
SELECT pg_temp.refuses(format('SELECT eventsource.append(%L, %L)', repeat('c', 257) || '-1', 'x'),
	'42602', format('invalid stream name "%s"', repeat('c', 100)), 'a category of 257 bytes');
SELECT is(convert_from(convert_to(split_part(pg_temp.refusal(format('SELECT eventsource.append(%L, %L)', 'x' || repeat('é', 80), 'x')),
		E'\n', 1), 'UTF8'), 'UTF8'),
	format('42602: invalid stream name "x%s"', repeat('é', 49)), 'a name in an error is never cut within a character');
SELECT pg_temp.refuses(format('SELECT eventsource.append(%L, %L)', 'names-' || repeat('k', 1019), 'x'),
	'42622', 'stream name is too long', 'a name of 1025 bytes');
SELECT pg_temp.refuses(format('SELECT eventsource.append(%L, %L)', 'names-' || repeat('é', 510), 'x'),
	'42622', 'stream name is too long', 'bytes count, not characters');
SELECT pg_temp.refuses(format('SELECT eventsource.%s(%L)', f, 'names'),
	'42602', 'invalid stream name "names"', f || ' refuses such names too')
FROM unnest(ARRAY['read_stream', 'stream_version', 'lock_stream', 'verify_chain']) AS f;

-- Categories of the log itself.
SELECT pg_temp.refuses($$ SELECT eventsource.append('$config-machine.x', 'x') $$,
	'42939', 'category "$config" is reserved', 'definitions are not appended by hand');
SELECT pg_temp.refuses($$ SELECT eventsource.append_events('[{"stream": "$-1", "type": "x"}]') $$,
	'42939', 'category "$" is reserved', 'nor in a batch, in any category that begins with a dollar');
SELECT pg_temp.refuses($$ INSERT INTO eventsource.events (stream, type) VALUES ('$secret-1', 'x') $$,
	'42939', 'category "$secret" is reserved', 'nor through the view');

-- Words.
SELECT lives_ok(format('SELECT eventsource.append(%L, %L, reason => %L, actor => %L, idempotency_key => %L)',
	'names-2', repeat('t', 256), repeat('ü', 128), repeat('a', 256), repeat('k', 1024)), 'the longest words');
SELECT pg_temp.same_rows(
	$$ SELECT type, reason, actor, idempotency_key FROM eventsource.events WHERE stream = 'names-2' $$,
	$$ VALUES (repeat('t', 256), repeat('ü', 128), repeat('a', 256), repeat('k', 1024)) $$, 'come back whole');
SELECT pg_temp.refuses(format('SELECT eventsource.append(stream => %L, %s)', 'names-3',
		(SELECT string_agg(format('%s => %L', argument, CASE a WHEN argument THEN v.word ELSE 'x' END), ', ')
		 FROM unnest(ARRAY['type', a]) WITH ORDINALITY AS u (argument, n) WHERE n = 2 OR a <> 'type')),
	v.state, a || v.message, a || ': ' || octet_length(v.word) || ' bytes')
FROM unnest(ARRAY['type', 'reason', 'actor', 'idempotency_key']) AS a,
	LATERAL (VALUES ('', '22023', ' must not be empty'),
		(repeat('w', CASE a WHEN 'idempotency_key' THEN 1025 ELSE 257 END), '42622', ' is too long')) AS v (word, state, message);
SELECT is(eventsource.stream_version('names-3'), 0::bigint, 'and nothing of that was appended');

SELECT * FROM finish();
ROLLBACK;
