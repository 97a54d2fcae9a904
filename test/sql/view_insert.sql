\set ECHO none
\i test/helpers.sql
-- INSERT and COPY into the view eventsource.events append.
BEGIN;
SELECT plan(58);

-- Each writable column.
INSERT INTO eventsource.events (stream, type, data, reason, actor, metadata, version, occurred_at, idempotency_key, schema_version)
VALUES ('view-1', 'full', '{"a": 1}', 'because', 'agent:joe', '{"channel": "web"}', 1, '2001-02-03 04:05:06.789+00', 'once', 7);
INSERT INTO eventsource.events (stream, type) VALUES ('view-1', 'bare');
INSERT INTO eventsource.events (stream, type, data, reason, actor, metadata, version, occurred_at, idempotency_key, schema_version)
VALUES ('view-1', 'null', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
SELECT pg_temp.same_rows($$
	SELECT version, type, data, reason, actor, metadata, occurred_at = '2001-02-03 04:05:06.789+00', occurred_at = recorded_at, idempotency_key, schema_version
	FROM eventsource.events WHERE stream = 'view-1' ORDER BY version
$$, $$ VALUES
	(1, 'full', '{"a": 1}'::jsonb, 'because', 'agent:joe', '{"channel": "web"}'::jsonb, true, false, 'once', 7),
	(2, 'bare', '{}', NULL, session_user, '{}', false, true, NULL, 1),
	(3, 'null', '{}', NULL, session_user, '{}', false, true, NULL, 1) $$, 'the writable columns, left out, and NULL');

-- RETURNING.
INSERT INTO eventsource.events (stream, type) VALUES ('view-2', 'x') RETURNING position, stream, version, coalesce(to_state, 'no state') AS to_state \gset row_
SELECT is(concat_ws(' ', :'row_version', :'row_stream', :'row_to_state'), '1 view-2 no state', 'RETURNING has stream, version and state');
INSERT INTO eventsource.events AS e (stream, type, data) VALUES ('returning-1', 'x', '{"n": 1}') RETURNING e::text AS whole \gset row_
SELECT is(:'row_whole', (SELECT e::text FROM eventsource.events e WHERE stream = 'returning-1'), 'RETURNING has the whole event');
SELECT is(:'row_position'::bigint, (SELECT e.position FROM eventsource.events e WHERE stream = 'view-2'), 'and the position');
SELECT pg_temp.same_rows($$
	WITH added AS (
		INSERT INTO eventsource.events (stream, type) SELECT 'view-' || 3 + n % 2, 'x' FROM generate_series(1, 5) AS n
		RETURNING stream, version)
	SELECT * FROM added
$$, $$ VALUES ('view-4', 1), ('view-3', 1), ('view-4', 2), ('view-3', 2), ('view-4', 3) $$,
	'row by row, in a data-modifying CTE');

-- Every other column is refused, not ignored.
SELECT pg_temp.refuses(format('INSERT INTO eventsource.events (stream, type, %I) VALUES (%L, %L, %s)', col, 'view-5', 'x', value),
	'ZE001', format('column "%s" of eventsource.events cannot be written', col), 'column ' || col)
FROM (VALUES ('position', '1'), ('category', '''view'''), ('key', '''5'''), ('subject', '''view-5'''), ('recorded_by', 'session_user'),
	('from_state', '''NEW'''), ('to_state', '''NEW'''), ('is_synthetic', 'false'), ('is_synthetic', 'true'), ('recorded_at', 'now()'),
	('hash', '''\x00''')) AS v (col, value);
SELECT pg_temp.refuses($$ INSERT INTO eventsource.events SELECT * FROM eventsource.events WHERE stream = 'view-1' $$,
	'ZE001', 'column "position" of eventsource.events cannot be written', 'whole rows');
SELECT pg_temp.refuses($$ INSERT INTO eventsource.events DEFAULT VALUES $$, '22004', 'stream must not be null', 'no stream');
SELECT pg_temp.refuses($$ INSERT INTO eventsource.events (stream) VALUES ('view-5') $$, '22004', 'type must not be null', 'no type');
SELECT pg_temp.refuses($$ INSERT INTO eventsource.events (stream, type, schema_version) VALUES ('view-5', 'x', 0) $$,
	'22023', 'schema_version is out of range', 'schema_version 0');
SELECT pg_temp.refuses($$ INSERT INTO eventsource.events (stream, type, data) VALUES ('view-5', 'x', '{}'), ('view-5', '', '{}') $$,
	'22023', 'type must not be empty', 'one bad row');
SELECT is(eventsource.stream_version('view-5'), 0::bigint, 'all or nothing');

-- ON CONFLICT is PostgreSQL's to refuse or ignore; the version is taken anyway.
SELECT pg_temp.refuses($$ INSERT INTO eventsource.events (stream, type, version) VALUES ('view-1', 'x', 1) ON CONFLICT DO NOTHING $$,
	'40001', 'wrong expected version for stream "view-1"', 'ON CONFLICT DO NOTHING hides no conflict');

-- Many rows: more than are written at once.
WITH added AS (
	INSERT INTO eventsource.events (stream, type, data) SELECT 'view-many.' || n % 3, 'x', to_jsonb(n) FROM generate_series(1, 3500) AS n
	RETURNING position, stream, version, data)
SELECT ok(count(*) = 3500 AND count(DISTINCT position) = 3500 AND bool_and(version = (data::bigint + 2) / 3), 'INSERT ... SELECT of 3500 rows')
FROM added;
SELECT ok(count(*) = 3500 AND bool_and(version = (data::bigint + 2) / 3), 'all are there')
FROM eventsource.events WHERE stream LIKE 'view-many.%';
SELECT lives_ok($$ INSERT INTO eventsource.events (stream, type) SELECT 'view-none', 'x' WHERE false $$, 'no row at all');
SELECT lives_ok($$ INSERT INTO eventsource.events (stream, type, data)
	SELECT 'view-big', 'x', jsonb_build_object('n', n, 'text', repeat('0123456789', 30000)) FROM generate_series(1, 60) AS n $$,
	'more bytes than are held back');
SELECT ok(count(*) = 60 AND sum(length(data ->> 'text')) = 60 * 300000, 'come back whole') FROM eventsource.events WHERE stream = 'view-big';
SELECT pg_temp.refuses($$ INSERT INTO eventsource.events (stream, type)
	SELECT 'view-late', CASE WHEN n < 2500 THEN 'x' ELSE '' END FROM generate_series(1, 2500) AS n $$,
	'22023', 'type must not be empty', 'an error in row 2500');
SELECT is(eventsource.stream_version('view-late'), 0::bigint, 'undoes what was written before it');
INSERT INTO eventsource.events (stream, type) SELECT 'view-s.' || n, 'x' FROM generate_series(1, 1500) AS n;
SELECT is(count(*), 1500::bigint, 'more streams than there may be stream locks') FROM eventsource.streams WHERE stream LIKE 'view-s.%';

-- COPY.
COPY eventsource.events (stream, type, data, actor, version) FROM STDIN;
view-copy	opened	{"a": 1}	agent:joe	1
view-copy	noted	[]	\N	\N
view-copy.2	opened	\N	\N	1
\.
COPY eventsource.events (stream, type, occurred_at) FROM STDIN (FORMAT csv, HEADER);
stream,type,occurred_at
view-copy,"a, ""quoted"" type",2020-01-01T00:00:00Z
\.
SELECT pg_temp.same_rows($$
	SELECT stream, version, type, data, actor, occurred_at = '2020-01-01 00:00+00'
	FROM eventsource.events WHERE stream LIKE 'view-copy%' ORDER BY position
$$, $$ VALUES ('view-copy', 1, 'opened', '{"a": 1}'::jsonb, 'agent:joe', false), ('view-copy', 2, 'noted', '[]', session_user, false),
	('view-copy.2', 1, 'opened', '{}', session_user, false), ('view-copy', 3, 'a, "quoted" type', '{}', session_user, true) $$,
	'COPY as text and as CSV');
COPY eventsource.events (stream, type, data) FROM PROGRAM 'seq -f "view-seq.1	x	%.0f" 1 2500';
SELECT ok(count(*) = 2500 AND bool_and(version = data::bigint), 'COPY of 2500 rows') FROM eventsource.events WHERE stream = 'view-seq.1';
SELECT pg_temp.refuses($$ COPY eventsource.events (stream, type, version) FROM PROGRAM 'printf "view-p	x	1\nview-p	x	3\n"' $$,
	'40001', 'wrong expected version for stream "view-p"', 'COPY of a wrong version');
SELECT pg_temp.refuses($$ COPY eventsource.events (stream, type, recorded_by) FROM PROGRAM 'printf "view-p	x	me\n"' $$,
	'ZE001', 'column "recorded_by" of eventsource.events cannot be written', 'COPY of a forged column');
SELECT is(eventsource.stream_version('view-p'), 0::bigint, 'all or nothing');

-- Appends inside an INSERT.
CREATE FUNCTION pg_temp.echo(stream text, type text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM eventsource.append(stream, 'echo of ' || type);
	RETURN type;
END
$$;
INSERT INTO eventsource.events (stream, type) SELECT 'view-6', pg_temp.echo('view-6', 'n' || n) FROM generate_series(1, 3) AS n;
SELECT pg_temp.same_rows($$ SELECT version, type FROM eventsource.events WHERE stream = 'view-6' ORDER BY position $$,
	$$ VALUES (1, 'echo of n1'), (2, 'n1'), (3, 'echo of n2'), (4, 'n2'), (5, 'echo of n3'), (6, 'n3') $$,
	'a function that appends to the stream that an INSERT is writing to');
SELECT eventsource.append('view-7', 'x', idempotency_key => 'once') IS NULL AS ignored \gset
INSERT INTO eventsource.events (stream, type, idempotency_key)
SELECT 'view-7', CASE n WHEN 1 THEN 'x' ELSE pg_temp.echo('view-7', 'n' || n) END, CASE n WHEN 1 THEN 'once' END
FROM generate_series(1, 3) AS n;
SELECT pg_temp.same_rows($$ SELECT version, type FROM eventsource.events WHERE stream = 'view-7' ORDER BY position $$,
	$$ VALUES (1, 'x'), (2, 'echo of n2'), (3, 'n2'), (4, 'echo of n3'), (5, 'n3') $$,
	'also after a row that was a duplicate');
CREATE FUNCTION pg_temp.nested(stream text, type text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO eventsource.events (stream, type) VALUES (stream, 'nested in ' || type);
	RETURN type;
END
$$;
INSERT INTO eventsource.events (stream, type) SELECT 'view-8', pg_temp.nested('view-8', 'n' || n) FROM generate_series(1, 2) AS n;
SELECT pg_temp.same_rows($$ SELECT version, type FROM eventsource.events WHERE stream = 'view-8' ORDER BY position $$,
	$$ VALUES (1, 'nested in n1'), (2, 'n1'), (3, 'nested in n2'), (4, 'n2') $$,
	'an INSERT inside an INSERT');
SELECT pg_temp.same_rows($$
	WITH a AS (INSERT INTO eventsource.events (stream, type) VALUES ('view-9', 'a') RETURNING stream),
		b AS (INSERT INTO eventsource.events (stream, type) SELECT stream, 'b' FROM a RETURNING stream)
	SELECT version FROM b, LATERAL eventsource.append(b.stream, 'c')
$$, $$ VALUES (3) $$, 'two INSERTs and an append in one statement');
SELECT is(eventsource.stream_version('view-9'), 3::bigint, 'are three events');

-- Exception blocks around and inside.
CREATE FUNCTION pg_temp.try(stream text, fail boolean) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO eventsource.events (stream, type) VALUES (stream, 'tried');
	PERFORM eventsource.append(stream, 'tried');
	IF fail THEN
		RAISE division_by_zero;
	END IF;
	RETURN 'kept';
EXCEPTION WHEN division_by_zero THEN
	RETURN 'undone';
END
$$;
SELECT is(pg_temp.try('view-10', true), 'undone', 'an exception block that fails');
SELECT is(eventsource.stream_version('view-10'), 0::bigint, 'takes its events with it');
SELECT is(pg_temp.try('view-10', false), 'kept', 'one that succeeds');
SELECT is(eventsource.stream_version('view-10'), 2::bigint, 'keeps them');
SELECT lives_ok($$ INSERT INTO eventsource.events (stream, type) SELECT 'view-10', pg_temp.try('view-10', true) $$,
	'a failing block inside an INSERT, before its first row');
SELECT is(eventsource.stream_version('view-10'), 3::bigint, 'leaves the INSERT''s own event');
SELECT pg_temp.refuses($$ INSERT INTO eventsource.events (stream, type) SELECT 'view-11', pg_temp.try('view-11', false) FROM generate_series(1, 2) $$,
	'0A000', 'cannot append inside a subtransaction of a statement that is itself inserting into eventsource.events',
	'a block that appends between two rows of an INSERT');
SELECT is(eventsource.stream_version('view-11'), 0::bigint, 'fails the whole');
SELECT lives_ok($$ SELECT eventsource.append('view-12', 'x', idempotency_key => 'once') $$, 'an event with a key');
INSERT INTO eventsource.events (stream, type, idempotency_key)
SELECT 'view-12', CASE n WHEN 1 THEN 'x' ELSE pg_temp.try('view-13', true) END, CASE n WHEN 1 THEN 'once' END FROM generate_series(1, 2) AS n;
SELECT pg_temp.same_rows($$ SELECT stream, version, type FROM eventsource.events WHERE stream IN ('view-12', 'view-13') OR stream IS NULL ORDER BY 1, 2 $$,
	$$ VALUES ('view-12', 1, 'x'), ('view-12', 2, 'undone') $$, 'what a block undid between two rows stays undone');

-- A trigger of the user's that appends.
CREATE TABLE pg_temp.source (id int, name text);
CREATE FUNCTION pg_temp.follow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO eventsource.events (stream, type, data) VALUES ('view-t.' || new.id, 'changed', to_jsonb(new));
	RETURN NULL;
END
$$;
CREATE TRIGGER follow AFTER INSERT OR UPDATE ON pg_temp.source FOR EACH ROW EXECUTE FUNCTION pg_temp.follow();
INSERT INTO pg_temp.source VALUES (1, 'one'), (2, 'two');
UPDATE pg_temp.source SET name = upper(name);
SELECT pg_temp.same_rows($$ SELECT stream, version, data ->> 'name' FROM eventsource.events WHERE stream LIKE 'view-t.%' ORDER BY 1, 2 $$,
	$$ VALUES ('view-t.1', 1, 'one'), ('view-t.1', 2, 'ONE'), ('view-t.2', 1, 'two'), ('view-t.2', 2, 'TWO') $$,
	'a trigger that inserts into the view');

-- The rest of DML.
SELECT pg_temp.refuses($$ UPDATE eventsource.events SET data = '{}' WHERE stream = 'view-1' $$,
	'ZE001', 'UPDATE on "eventsource.events" is not allowed', 'UPDATE');
SELECT pg_temp.refuses($$ UPDATE eventsource.events SET data = '{}' WHERE false $$,
	'ZE001', 'UPDATE on "eventsource.events" is not allowed', 'UPDATE that matches no row');
SELECT pg_temp.refuses($$ DELETE FROM eventsource.events WHERE stream = 'view-1' $$,
	'ZE001', 'DELETE on "eventsource.events" is not allowed', 'DELETE');
SELECT pg_temp.refuses($$ DELETE FROM eventsource.events WHERE stream = 'no such-stream' $$,
	'ZE001', 'DELETE on "eventsource.events" is not allowed', 'DELETE that matches no row');
SELECT throws_ok($$ TRUNCATE eventsource.events $$, '42809', '"events" is not a table', 'TRUNCATE');

SELECT is_empty($$ SELECT * FROM eventsource.verify_chain() WHERE stream_name LIKE 'view-%' $$, 'the chain verifies');
SELECT * FROM finish();
ROLLBACK;
