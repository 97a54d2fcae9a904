\set ECHO none
\set own_database retention_merge
\i test/own_database.sql
-- Archived segments that hold little become one; those that hold nothing go.
SELECT plan(44);
SET eventsource.segment_size = 100;
SET timezone = 'UTC';
SET client_min_messages = warning;

SELECT eventsource.set_retention('page', '0', '0', 'disposable') AS done \gset
SELECT eventsource.set_retention('order', '0', class => 'kept') AS done \gset
SELECT eventsource.register_event_type('signed', category => 'order', pii => '{"email": "hash"}') AS done \gset
CREATE TABLE orders (key text PRIMARY KEY, n bigint NOT NULL DEFAULT 0);
SELECT eventsource.create_projection('orders', '{order}', '{"*": "n = row.n + 1"}') AS done \gset
-- Nine in ten events are pages; notes of some orders are kept out of line.
CREATE PROCEDURE fill(first int, last int) LANGUAGE sql AS $$
	INSERT INTO eventsource.events (stream, type, data)
	SELECT CASE WHEN n % 10 = 0 THEN 'order-' || n % 7 ELSE 'page-' || n % 5 END, CASE WHEN n % 30 = 0 THEN 'signed' ELSE 'placed' END,
		jsonb_build_object('n', n, 'email', n || '@example.com',
			'note', (SELECT string_agg(md5(n || '.' || i), '') FROM generate_series(1, CASE WHEN n % 50 = 0 THEN 200 ELSE 1 END) i))
	  FROM generate_series(first, last) n $$;
CREATE FUNCTION done() RETURNS SETOF text LANGUAGE sql AS $$
	SELECT format('%s..%s %s %s', lower_bound, upper_bound - 1, table_name, state) FROM eventsource.segments WHERE state <> 'open' ORDER BY lower_bound $$;
-- What another (autovacuum, say) still sees is left for later.
CREATE PROCEDURE archive_until(full_segments int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..300 LOOP
		CALL eventsource.archive_due_in_batches();
		EXIT WHEN (SELECT count(*) FROM done()) = full_segments;
		PERFORM pg_sleep(0.1);
		COMMIT;
	END LOOP;
END
$$;
CALL fill(1, 1000);
SELECT size AS old_size FROM eventsource.seal() \gset
SELECT eventsource.checkpoint() AS checkpoint \gset
CREATE TABLE before_all AS SELECT * FROM eventsource.events;
CREATE TABLE proofs AS SELECT b.position, p.* FROM before_all b, eventsource.inclusion_proof(b.position) p WHERE b.position % 20 < 2;
CREATE TABLE tables AS SELECT table_name::text, c.oid, c.relowner, c.relacl FROM eventsource.segments JOIN pg_class c ON c.relname = table_name;
SELECT string_agg(format('ALTER TABLE eventsource.%s ALTER COLUMN data SET STATISTICS 7', table_name), ';') AS done FROM eventsource.segments \gset
SELECT is((SELECT array_agg(d) FROM done() d), (SELECT array_agg(format('%s..%s event_%s full', n, n + 99, n)) FROM generate_series(1, 901, 100) n), 'ten are full');

-- In one transaction nothing is merged; nor where more would be in one than may.
SELECT eventsource.hold('page-1', reason => 'case') AS done \gset
BEGIN;
SELECT is((SELECT array_agg(DISTINCT action ORDER BY action) FROM eventsource.archive_due()), '{archived,pruned}', 'archived and pruned');
SELECT is((SELECT count(*) FROM done()), 10::bigint, 'but left alone');
ROLLBACK;
CALL archive_until(4);
SELECT is((SELECT array_agg(d) FROM done() d), '{1..300 event_1 archived,301..600 event_301 archived,601..900 event_601 archived,901..1000 event_901 archived}', 'three by three, as a fifth is held');
SELECT is_empty($$ SELECT * FROM eventsource.verify_log() $$, 'the log verifies');
SELECT eventsource.release_hold('page-1', reason => 'closed') AS done \gset
CALL archive_until(2);
SELECT is((SELECT array_agg(d) FROM done() d), '{1..900 event_1 archived,901..1000 event_901 archived}', 'as many as fit');

-- What is left is what it was.
CREATE VIEW kept AS SELECT * FROM before_all WHERE category = 'order';
SELECT is_empty($$ (TABLE kept EXCEPT SELECT * FROM eventsource.events) UNION ALL (SELECT * FROM eventsource.events WHERE category IN ('order', 'page') AND position <= 1000 EXCEPT TABLE kept) $$, 'what is left');
SELECT is((SELECT array_agg(position) FROM eventsource.read_all(0, 1000) WHERE category = 'order'), (SELECT array_agg(position ORDER BY position) FROM kept), 'in order, once each');
SELECT is((SELECT array_agg(version) FROM eventsource.read_stream('order-0')), (SELECT array_agg(version ORDER BY version) FROM kept WHERE stream = 'order-0'), 'of a stream');
SELECT is((SELECT array_agg(version) FROM eventsource.read_stream('order-0', backward => true)), (SELECT array_agg(version ORDER BY version DESC) FROM kept WHERE stream = 'order-0'), 'backward');
SELECT is((SELECT array_agg(version) FROM eventsource.read_stream('order-0', 9, 3)), '{9,10,11}', 'from the middle');
SELECT is((SELECT array_agg(version) FROM eventsource.read_stream('order-0', 9, backward => true)), (SELECT array_agg(version ORDER BY version DESC) FROM kept WHERE stream = 'order-0' AND version >= 9), 'and backward');
SELECT is((SELECT max(length(data ->> 'note')) FROM eventsource.events WHERE category = 'order'), 6400, 'out of line, too');
SELECT is_empty('SELECT * FROM eventsource.verify_chain()', 'the chain verifies');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('orders') $$, 'so do projections');
SELECT is_empty($$ SELECT * FROM eventsource.verify_log() $$, 'and the log');
SELECT is_empty(format('SELECT * FROM eventsource.verify_log(%L)', :'checkpoint'), 'against a checkpoint from before');
SELECT is_empty(format('SELECT * FROM proofs EXCEPT SELECT b.position, p.* FROM before_all b, eventsource.inclusion_proof(b.position, %s) p WHERE b.position %% 20 < 2', :old_size), 'proofs are what they were');

-- The tables are what they were.
SELECT is_empty($$ SELECT c.oid, c.relowner, c.relacl FROM eventsource.segments JOIN pg_class c ON c.relname = table_name WHERE state <> 'open'
	EXCEPT SELECT oid, relowner, relacl FROM tables $$, 'the same tables');
SELECT is_empty($$ SELECT * FROM eventsource.check_guards() WHERE NOT is_intact $$, 'guards');
SELECT pg_temp.refuses('DELETE FROM eventsource.event_1', 'ZE001', 'DELETE on "eventsource.event_1" is not allowed', 'guarded');
SELECT is((SELECT string_agg(c.relname || ' ' || pg_get_expr(c.relpartbound, c.oid), ', ' ORDER BY c.oid) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE inhparent = 'eventsource.event'::regclass AND c.relname IN ('event_1', 'event_901')),
	'event_1 FOR VALUES FROM (''1'') TO (''901''), event_901 FOR VALUES FROM (''901'') TO (''1001'')', 'partitions with their bounds');
SELECT is_empty($$ SELECT relname FROM pg_class WHERE relname LIKE 'pg\_temp%' OR relname ~ '^event_[2-8]01' $$, 'nothing is left lying about');
SELECT is((SELECT count(*) FROM eventsource.event WHERE position > 120 AND position <= 350), 23::bigint, 'the planner knows');
SELECT is_empty($$ SELECT lower_bound, events, pruned FROM eventsource.archive
	EXCEPT SELECT g.lower_bound, count(*) FILTER (WHERE b.category <> 'page'), count(*) FILTER (WHERE b.category = 'page')
	  FROM eventsource.segments g JOIN before_all b ON b.position >= g.lower_bound AND b.position < g.upper_bound GROUP BY 1 $$, 'what is written about them');
SELECT is((SELECT sum(total_events) FROM eventsource.event_summaries), (SELECT count(*)::numeric FROM before_all WHERE position <= 1000 AND category IN ('page', 'order')), 'summaries are as they were');

-- Streams go on; the next ones join, which have what was said of those that went, too.
SELECT is(version, (SELECT max(version) + 1 FROM kept WHERE stream = 'order-0'), 'an order goes on') FROM eventsource.append('order-0', 'placed');
SELECT is(version, (SELECT max(version) + 1 FROM before_all WHERE stream = 'page-1'), 'so does a page') FROM eventsource.append('page-1', 'viewed');
CALL fill(1001, 1250);
SELECT * FROM eventsource.erase_subject('order-3', 'hard', 'asked', 'me') \g /dev/null
CALL archive_until(2);
SELECT is((SELECT array_agg(d) FROM done() d), '{1..900 event_1 archived,901..1200 event_901 archived}', 'the next two join the last');
SELECT is((SELECT sum(total_events) FROM eventsource.event_summaries WHERE category = 'page'), (SELECT count(*)::numeric FROM eventsource.verify_log(all_events => true) WHERE status = 'pruned'), 'and is summarised');
SELECT is((SELECT array_agg(DISTINCT status ORDER BY status) FROM eventsource.verify_log(all_events => true)), '{ok,pruned,redacted}', 'the log verifies, what was erased as well');
SELECT is((SELECT count(*) FROM eventsource.events WHERE stream = 'order-3' AND data <> '{}'), 0::bigint, 'it stays erased');
-- An erasure after it.
SELECT isnt(sum(affected), NULL, 'a subject is erased in what was merged') FROM eventsource.erase_subject('order-4', 'hard', 'asked', 'me');
SELECT is_empty($$ SELECT * FROM eventsource.verify_log() WHERE status = 'tampered' $$, 'the log verifies');
SELECT is(size > :old_size, true, 'the tree grows') FROM eventsource.seal();
SELECT is_empty(format('SELECT * FROM eventsource.verify_log(%L) WHERE status = ''tampered''', :'checkpoint'), 'from what it was');

-- What holds nothing goes.
INSERT INTO eventsource.events (stream, type) SELECT 'page-1', 'viewed' FROM generate_series(1, 400);
CALL archive_until(3);
SELECT is((SELECT array_agg(d) FROM done() d), '{1..900 event_1 archived,901..1200 event_901 archived,1201..1600 event_1201 archived}', 'its range is a neighbour''s');
SELECT is(sum(upper_bound - lower_bound), max(upper_bound) - 1::numeric, 'without a hole') FROM eventsource.segments;
SELECT is((SELECT count(*) FROM eventsource.segments WHERE state <> 'open' AND NOT EXISTS (SELECT FROM eventsource.event e WHERE e.position >= lower_bound AND e.position < upper_bound)), 0::bigint, 'none is empty');
SELECT is(version, eventsource.stream_version('page-1') + 1, 'its stream goes on') FROM eventsource.append('page-1', 'viewed');
SELECT is_empty($$ SELECT * FROM eventsource.verify_log() WHERE status = 'tampered' $$, 'the log verifies');
SELECT is_empty(format('SELECT * FROM eventsource.verify_log(%L) WHERE status = ''tampered''', :'checkpoint'), 'against the first checkpoint');
SELECT is_empty($$ SELECT * FROM eventsource.check_guards() WHERE NOT is_intact $$, 'guards');
SELECT is_empty('SELECT * FROM eventsource.archive_due()', 'nothing more is due');
CALL eventsource.archive_due_in_batches();
\i test/own_database_end.sql
