\set ECHO none
\i test/helpers.sql
-- Streams that go through many segments: heads, histories and appends cross the boundaries. It is the run with
-- segments of 300 positions that puts boundaries there.
SELECT eventsource.append('seg-old', 'first', idempotency_key => 'old') IS NULL AS done \gset
SELECT eventsource.append('seg-dormant', 'only', idempotency_key => 'dormant') IS NULL AS done \gset
-- One long stream, one that has an event now and then, many that end early; single appends, batches and INSERTs.
SELECT count(eventsource.append('seg-long', 't' || n % 3, to_jsonb(n))) AS done FROM generate_series(1, 500) AS n \gset
SELECT eventsource.append('seg-old', 'second') IS NULL AS done \gset
INSERT INTO eventsource.events (stream, type, data) SELECT 'seg-long', 't' || n % 3, to_jsonb(n) FROM generate_series(501, 1700) AS n;
SELECT count(*) AS done FROM eventsource.append_events((
	SELECT jsonb_agg(jsonb_build_object('stream', CASE WHEN n % 4 = 0 THEN 'seg-long' ELSE 'seg-' || n % 50 END, 'type', 'b', 'data', n) ORDER BY n)
	FROM generate_series(1701, 2500) AS n)) \gset
SELECT eventsource.append('seg-old', 'third', expected_version => 2) IS NULL AS done \gset
COPY eventsource.events (stream, type, data) FROM PROGRAM 'seq -f "seg-copy	c	%.0f" 1 700';
BEGIN;
SELECT plan(27);

SELECT is(eventsource.stream_version('seg-long'), 1900::bigint, 'the long stream''s head');
SELECT is(eventsource.stream_version('seg-old'), 3::bigint, 'a stream with an event now and then');
SELECT is(eventsource.stream_version('seg-dormant'), 1::bigint, 'a stream whose only event is long ago');
SELECT pg_temp.same_rows($$ SELECT version FROM eventsource.lock_stream('seg-dormant') $$, 'VALUES (1)', 'its head for who locks it');
SELECT is(version || '/' || is_duplicate, '1/true', 'its key is still known') FROM eventsource.append('seg-dormant', 'only', idempotency_key => 'dormant');
SELECT is(version, 2::bigint, 'and it goes on') FROM eventsource.append('seg-dormant', 'next', expected_version => 1);
SELECT is((SELECT a.position FROM eventsource.append('seg-old', 'first', idempotency_key => 'old') AS a), e.position, 'a duplicate of an event long ago has its position')
FROM eventsource.events e WHERE stream = 'seg-old' AND version = 1;

SELECT pg_temp.same_rows($$ SELECT count(*), min(version), max(version), bool_and(version = n) FROM eventsource.read_stream('seg-long') WITH ORDINALITY
	AS r (position, stream, category, key, subject, version, type, schema_version, data, metadata, actor, recorded_by, reason, from_state, to_state,
		is_synthetic, occurred_at, recorded_at, hash, idempotency_key, is_upcast, n) $$, 'VALUES (1900, 1, 1900, true)', 'read forward');
SELECT pg_temp.same_rows($$ SELECT count(*), min(version), max(version), bool_and(version = 1901 - n) FROM eventsource.read_stream('seg-long', NULL, NULL, true) WITH ORDINALITY
	AS r (position, stream, category, key, subject, version, type, schema_version, data, metadata, actor, recorded_by, reason, from_state, to_state,
		is_synthetic, occurred_at, recorded_at, hash, idempotency_key, is_upcast, n) $$, 'VALUES (1900, 1, 1900, true)', 'read backward');
SELECT is_empty($$
	SELECT f FROM generate_series(1, 1900, 13) AS f
	WHERE (SELECT array_agg(r.version) FROM eventsource.read_stream('seg-long', f, 200) AS r)
		IS DISTINCT FROM (SELECT array_agg(v::bigint) FROM generate_series(f, least(f + 199, 1900)) AS v)
$$, 'slices forward, from everywhere');
SELECT is_empty($$
	SELECT f FROM generate_series(1, 1900, 13) AS f
	WHERE (SELECT array_agg(r.version) FROM eventsource.read_stream('seg-long', f, 200, true) AS r)
		IS DISTINCT FROM (SELECT array_agg(v::bigint) FROM generate_series(1900, greatest(f, 1701), -1) AS v)
$$, 'slices backward, from everywhere');

-- Where a stream is: its first position, and one row per later segment with its first event there.
CREATE TEMP VIEW parts AS
SELECT s.name AS stream, s.first_position, 1::bigint AS first_version FROM eventsource.stream s
UNION ALL
SELECT s.name, p.first_position, p.first_version FROM eventsource.stream_segment p JOIN eventsource.stream s ON s.id = p.stream;
SELECT set_eq($$ SELECT * FROM parts $$, $$
	SELECT DISTINCT ON (e.stream, g.lower_bound) e.stream, e.position, e.version FROM eventsource.events e
	JOIN eventsource.segments g ON e.position >= g.lower_bound AND e.position < g.upper_bound
	ORDER BY e.stream, g.lower_bound, e.position
$$, 'stream_segment says exactly where each stream begins in each segment');
SELECT is_empty($$ SELECT FROM eventsource.stream_segment p WHERE NOT EXISTS (SELECT FROM eventsource.stream s WHERE s.id = p.stream) $$, 'for streams that exist');
SELECT is_empty($$ SELECT FROM eventsource.event e WHERE e.tableoid <> ('eventsource.' || (
	SELECT g.table_name FROM eventsource.segment g WHERE e.position >= g.lower_bound AND e.position < g.upper_bound))::regclass $$, 'each row lies in its segment');

-- A boundary crossed inside a savepoint that is rolled back, and again.
SAVEPOINT s;
SELECT count(eventsource.append('seg-old', 'undone')) AS done FROM generate_series(1, 400) \gset
SELECT is(eventsource.stream_version('seg-old'), 403::bigint, 'several boundaries in a savepoint');
ROLLBACK TO s;
SELECT is(eventsource.stream_version('seg-old'), 3::bigint, 'rolled back');
SELECT is(version, 4::bigint, 'and on') FROM eventsource.append('seg-old', 'fourth', expected_version => 3);
SELECT count(eventsource.append('seg-old', 'kept')) AS done FROM generate_series(1, 400) \gset
SELECT is(eventsource.stream_version('seg-old'), 404::bigint, 'several boundaries again');
SELECT set_eq($$ SELECT * FROM parts $$, $$
	SELECT DISTINCT ON (e.stream, g.lower_bound) e.stream, e.position, e.version FROM eventsource.events e
	JOIN eventsource.segments g ON e.position >= g.lower_bound AND e.position < g.upper_bound
	ORDER BY e.stream, g.lower_bound, e.position
$$, 'no row of what was rolled back stays');
INSERT INTO eventsource.events (stream, type) SELECT 'seg-' || 40 + n % 12, 'wide' FROM generate_series(1, 500) AS n;
SELECT is(count(*), 500::bigint, 'an INSERT over boundaries') FROM eventsource.events WHERE category = 'seg' AND type = 'wide';

-- The whole.
SELECT pg_temp.same_rows($$ SELECT stream, eventsource.stream_version(stream) FROM eventsource.streams WHERE category = 'seg' ORDER BY stream $$,
	$$ SELECT stream, count(*) FROM eventsource.events WHERE category = 'seg' GROUP BY stream ORDER BY stream $$, 'every head is right');
SELECT is_empty($$ (SELECT r FROM eventsource.streams s, eventsource.read_stream(s.stream) AS r WHERE s.category = 'seg'
	EXCEPT ALL SELECT e FROM eventsource.events e WHERE category = 'seg') UNION ALL
	(SELECT e FROM eventsource.events e WHERE category = 'seg'
	EXCEPT ALL SELECT r FROM eventsource.streams s, eventsource.read_stream(s.stream) AS r WHERE s.category = 'seg') $$, 'the functions agree with the view');
SELECT is((SELECT count(*) FROM eventsource.read_category('seg', 0, NULL)), 3204::bigint, 'read_category: what is committed');
SELECT is((SELECT count(*) FROM (SELECT e.position, lag(e.position) OVER () AS before FROM eventsource.read_all(0, NULL) AS e) AS s WHERE position <= before), 0::bigint,
	'read_all: in order over all segments');
SELECT is_empty($$ SELECT stream FROM eventsource.events GROUP BY stream HAVING min(version) <> 1 OR max(version) <> count(*) OR count(DISTINCT version) <> count(*) $$,
	'no stream has a gap or a fork');
SELECT is_empty('SELECT * FROM eventsource.verify_chain()', 'the chain verifies');
SELECT is_empty($$ SELECT * FROM eventsource.verify_chain('seg-long') $$, 'also of one stream');

SELECT * FROM finish();
ROLLBACK;
