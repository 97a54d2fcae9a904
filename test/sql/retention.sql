\set ECHO none
\set own_database retention
\i test/own_database.sql
-- How long events are kept: what is archived, what goes, and what is left of it.
SELECT plan(81);
SET eventsource.segment_size = 100;
SET timezone = 'UTC';

-- What may be said.
SELECT pg_temp.refuses($$ SELECT eventsource.set_retention('page-view') $$, 'ZE011', 'retention of category "page-view" is not valid', 'no category');
SELECT pg_temp.refuses($$ SELECT eventsource.set_retention(NULL) $$, '22004', 'category must not be null', 'none at all');
SELECT pg_temp.refuses($$ SELECT eventsource.set_retention('page', '2 days', '1 day') $$, 'ZE011', 'retention of category "page" is not valid', 'gone before it is archived');
SELECT pg_temp.refuses($$ SELECT eventsource.set_retention('page', '-2 days', class => 'odd', audit_types => '{""}') $$, 'ZE011', 'retention of category "page" is not valid', 'nonsense');
SELECT matches(pg_temp.refusal($$ SELECT eventsource.set_retention('page', '-2 days', class => 'odd', audit_types => '{""}') $$),
	'detail: must not be negative.class: must be ordinary, disposable or kept.audit_types: a type has 1 to 256 bytes', 'all of it is listed');
SELECT matches(pg_temp.refusal($$ SELECT eventsource.set_retention('page', total => '200000 years') $$), 'DETAIL: total: must not exceed 10000 years; null is for ever', 'longer than a calendar');
SELECT pg_temp.refuses($$ SELECT eventsource.set_retention('money', total => '7 years', class => 'kept') $$, 'ZE011', 'retention of category "money" is not valid', 'what is kept has no end');
SELECT pg_temp.refuses($$ SELECT eventsource.hold() $$, '22023', 'a hold is on either a stream or a subject', 'a hold on nothing');
SELECT pg_temp.refuses($$ SELECT eventsource.hold('a-1', 'a-1', 'x') $$, '22023', 'a hold is on either a stream or a subject', 'on both');
SELECT pg_temp.refuses($$ SELECT eventsource.hold('a-1') $$, '22004', 'a hold needs a reason', 'without a reason');
SELECT pg_temp.refuses($$ SELECT eventsource.hold('a', reason => 'x') $$, '42602', 'invalid stream name "a"', 'on what is no stream');
SELECT pg_temp.refuses($$ SELECT * FROM eventsource.archive_due(-1) $$, '22023', 'max_segments must not be negative', 'less than nothing');
SELECT is_empty($$ SELECT * FROM eventsource.archive_due() $$, 'nothing was said: nothing is due');

-- Before anything was said about a category: this stays.
SELECT count(eventsource.append('page-early', 'viewed')) AS done FROM generate_series(1, 3) \gset
CREATE TABLE views (key text PRIMARY KEY, n bigint NOT NULL DEFAULT 0);
CREATE TABLE visits (path text PRIMARY KEY, n bigint NOT NULL DEFAULT 0);
SELECT eventsource.create_projection('views', '{page}', '{"viewed": "n = row.n + 1"}') AS done \gset
SELECT eventsource.create_projection('visits', '{page}', '{"viewed": "n = row.n + 1"}', key => '{"path": "coalesce(event.data->>''path'', ''?'')"}', mode => 'inline') AS done \gset
SELECT is(eventsource.set_retention('page', '1 hour', '1 day', 'disposable'), 1::bigint, 'a policy');
SELECT is(eventsource.set_retention('page', '0', '0', 'disposable', consent_types => '{agreed}'), 2::bigint, 'a shorter one');
SELECT is(eventsource.set_retention('order', '0', '0'), 1::bigint, 'of another class');
SELECT is(eventsource.set_retention('money', '0', class => 'kept'), 1::bigint, 'of the third');
SELECT eventsource.set_retention('slow', '1 year', '7 years') AS done \gset
-- What somebody says of a type of this name is not asked for the log's own events.
SELECT eventsource.register_event_type('events_pruned', subject => $$ (1 / (event.data ->> 'events')::int / 0)::text $$) AS done \gset
SELECT pg_temp.same_rows($$ SELECT category, version, is_current, class, detail, total, consent_types FROM eventsource.retention_policies ORDER BY position $$,
	$$ VALUES ('page', 1, true AND false, 'disposable', '1 hour'::interval, '1 day'::interval, '{}'::text[]), ('page', 2, true, 'disposable', '0', '0', '{agreed}'),
		('order', 1, true, 'ordinary', '0', '0', '{}'), ('money', 1, true, 'kept', '0', NULL, '{}'), ('slow', 1, true, 'ordinary', '1 year', '7 years', '{}') $$, 'the view');

-- 20 sessions of 5 events, one with a consent in the middle; orders; money.
SELECT count(eventsource.append('page-' || n % 20, CASE WHEN n = 45 THEN 'agreed' ELSE 'viewed' END, jsonb_build_object('path', '/' || n % 3, 'n', n),
	idempotency_key => CASE WHEN n % 20 = 4 THEN 'k' || n END)) AS done FROM generate_series(0, 99) n \gset
SELECT count(eventsource.append('order-' || n % 4, 'placed', jsonb_build_object('n', n))) AS done FROM generate_series(1, 8) n \gset
SELECT count(eventsource.append('money-1', 'paid', jsonb_build_object('n', n))) AS done FROM generate_series(1, 5) n \gset
-- Up to the end of the second segment; an order that goes on in the third.
SELECT count(eventsource.append('filler-' || n % 3, 'x')) AS done FROM generate_series(1, 200 - (SELECT max(position)::int FROM eventsource.events)) n \gset
SELECT eventsource.append('order-1', 'shipped') IS NULL AS done \gset
SELECT is(max(position), 201::bigint, 'two segments are full') FROM eventsource.events;

CREATE TABLE before_all AS SELECT * FROM eventsource.events;
SELECT is(size, (SELECT count(*) FROM before_all), 'all is sealed') FROM eventsource.seal();
CREATE TABLE proofs AS SELECT b.position, p.* FROM before_all b, eventsource.inclusion_proof(b.position) p;
SELECT eventsource.checkpoint() AS checkpoint \gset
SELECT is(eventsource.hold('page-7', reason => 'case 1'), true, 'a hold on a stream');
SELECT is(eventsource.hold('page-7', reason => 'case 1'), false, 'again');
SELECT is(eventsource.hold('page-none', reason => 'case 0'), true, 'a hold may come before the first event, but says so');
SELECT is(eventsource.release_hold('page-none', reason => 'case 0'), true, 'and be released');
SELECT is(eventsource.hold(subject => 'page-8', reason => 'case 2'), true, 'on a subject');
SELECT is(eventsource.hold('order-2', reason => 'case 3'), true, 'on an order');
SELECT pg_temp.same_rows('SELECT stream, subject, reason FROM eventsource.holds ORDER BY reason', $$ VALUES ('page-7', NULL, 'case 1'), (NULL, 'page-8', 'case 2'), ('order-2', NULL, 'case 3') $$, 'holds');

SELECT pg_temp.same_rows('SELECT lower_bound, upper_bound, state FROM eventsource.segments WHERE lower_bound <= 201', $$ VALUES (1, 101, 'full'), (101, 201, 'full'), (201, 301, 'open') $$, 'segments before');
BEGIN;
SELECT count(*) AS done FROM eventsource.archive_due() \gset
ROLLBACK;
SELECT is_empty($$ SELECT * FROM before_all EXCEPT SELECT * FROM eventsource.events $$, 'rolled back');
SELECT is((SELECT count(*) FROM eventsource.event_summaries), 0::bigint, 'with all it wrote');
SELECT pg_temp.same_rows('SELECT lower_bound, upper_bound, action, CASE action WHEN ''archived'' THEN events END FROM eventsource.archive_due()',
	$$ VALUES (1, 101, 'archived', 100), (101, 201, 'archived', 100), (1, 101, 'pruned', NULL), (101, 201, 'pruned', NULL) $$, 'done');

-- What is left. Oracle: the rules in SQL.
CREATE VIEW expected AS
SELECT b.* FROM before_all b WHERE NOT (
	(b.category = 'page' AND b.stream NOT IN ('page-early', 'page-7', 'page-8')
		AND b.version < coalesce((SELECT min(c.version) FROM before_all c WHERE c.stream = b.stream AND c.type = 'agreed'), 1000))
	OR (b.category = 'order' AND b.stream NOT IN ('order-1', 'order-2')));
SELECT is_empty($$ SELECT position, stream, version, hash, data FROM expected EXCEPT SELECT position, stream, version, hash, data FROM eventsource.events $$, 'nothing too much has gone');
SELECT is_empty($$ SELECT position, stream, version FROM eventsource.events WHERE position <= 201 EXCEPT SELECT position, stream, version FROM expected $$, 'and nothing too little');
SELECT is_empty('SELECT * FROM eventsource.verify_chain()', 'the chain verifies');
SELECT is_empty($$ SELECT * FROM eventsource.verify_chain('page-5') $$, 'of one stream, too');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('views') $$, 'views are what a replay makes of what is left');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('visits') $$, 'so are rows that streams share');
SELECT is((SELECT sum(n) FROM visits), (SELECT count(*)::numeric FROM expected WHERE category = 'page' AND type = 'viewed'), 'counted');
SELECT is((SELECT count(*) FROM views), 4::bigint, 'rows of sessions that are left');

SELECT is_empty($$ SELECT * FROM eventsource.verify_log() $$, 'the log verifies');
SELECT is_empty(format('SELECT * FROM eventsource.verify_log(%L)', :'checkpoint'), 'against a checkpoint from before');
SELECT is((SELECT count(*) FROM eventsource.verify_log(all_events => true) WHERE status = 'pruned'), (SELECT sum(pruned_events)::bigint FROM eventsource.segments), 'which says what has gone');
SELECT is_empty($$ SELECT * FROM proofs EXCEPT SELECT b.position, p.* FROM before_all b, eventsource.inclusion_proof(b.position, (SELECT count(*) FROM before_all)) p $$, 'proofs are what they were, of what has gone too');
SELECT is(p.events, (SELECT count(*) FROM eventsource.events WHERE position > 201), 'and the tree grows on') FROM eventsource.seal() p;
SELECT is_empty(format('SELECT * FROM eventsource.verify_log(%L)', :'checkpoint'), 'from what was sealed');

-- What is known of what has gone.
SELECT pg_temp.same_rows($$ SELECT category, subject, total_events, event_types, consent_history -> 0 -> 'data' ->> 'n', jsonb_array_length(consent_history) FROM eventsource.event_summaries WHERE subject IN ('page-5', 'page-6', 'order-1', 'money-1', 'filler-1') ORDER BY category, subject $$,
	$$ VALUES ('money', 'money-1', 5, '{"paid": 5}'::jsonb, NULL, 0), ('order', 'order-1', 2, '{"placed": 2}', NULL, 0),
		('page', 'page-5', 5, '{"agreed": 1, "viewed": 4}', '45', 1), ('page', 'page-6', 5, '{"viewed": 5}', NULL, 0) $$, 'summaries');
SELECT pg_temp.same_rows($$ SELECT category, subject, total_events, first_event, last_event FROM eventsource.event_summaries ORDER BY category, subject $$,
	$$ SELECT category, subject, count(*), min(occurred_at), max(occurred_at) FROM before_all WHERE position <= 200 AND category IN ('page', 'order', 'money') GROUP BY category, subject ORDER BY category, subject $$, 'all of them');
SELECT pg_temp.same_rows('SELECT lower_bound, state, archived_at IS NOT NULL, pruned_at IS NOT NULL, pruned_events > 0 FROM eventsource.segments WHERE lower_bound <= 201',
	$$ VALUES (1, 'archived', true, true, true), (101, 'archived', true, true, true), (201, 'open', false, false, false) $$, 'segments after');
SELECT is((SELECT sum(pruned_events) FROM eventsource.segments), (SELECT count(*)::numeric FROM (SELECT FROM before_all EXCEPT ALL SELECT FROM expected) x), 'as many as have gone');
SELECT is((SELECT sum(length(hashes)) / 32 FROM eventsource.pruned_leaf), (SELECT sum(pruned_events)::bigint FROM eventsource.segments), 'each left its hash');

-- Streams go on.
SELECT is(eventsource.stream_version('page-1'), 5::bigint, 'a stream that is gone has its version');
SELECT pg_temp.same_rows($$ SELECT version, last_position IS NULL FROM eventsource.streams WHERE stream = 'page-1' $$, $$ VALUES (5, false) $$, 'in the view, too');
SELECT is(version, 6::bigint, 'and goes on') FROM eventsource.append('page-1', 'viewed', '{"path": "/9"}', expected_version => 5);
SELECT is(version, 6::bigint, 'an order, too') FROM eventsource.append('page-2', 'viewed');
SELECT is(version, 6::bigint, 'a key that is no longer kept') FROM eventsource.append('page-4', 'viewed', idempotency_key => 'k4');
SELECT is((SELECT array_agg(version) FROM eventsource.read_stream('page-1')), '{6}', 'what is read of it');
SELECT is((SELECT array_agg(version) FROM eventsource.read_stream('page-5')), '{3,4,5}', 'of one that lost its beginning');
SELECT is_empty('SELECT * FROM eventsource.verify_chain()', 'the chain goes on');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('views') $$, 'so do projections');
SELECT is_empty('SELECT * FROM eventsource.archive_due()', 'nothing more is due');
SELECT is(eventsource.release_hold('order-2', reason => 'closed'), true, 'a hold ends');
SELECT is(eventsource.release_hold('order-2', reason => 'closed'), false, 'once');
SELECT pg_temp.same_rows('SELECT action, events FROM eventsource.archive_due()', $$ VALUES ('pruned', 2) $$, 'and what was held goes');
SELECT is_empty('SELECT * FROM eventsource.verify_chain()', 'the chain verifies still');
SELECT is_empty($$ SELECT * FROM eventsource.check_guards() WHERE NOT is_intact $$, 'guards are where they were');
SELECT is_empty($$ SELECT guard, protects, detail FROM eventsource.check_guards() WHERE NOT is_intact $$, 'all of them');
SELECT pg_temp.refuses('DELETE FROM eventsource.event_1', 'ZE001', 'DELETE on "eventsource.event_1" is not allowed', 'of segments written anew, too');

-- What is archived and what is gone, for whoever reads.
SELECT is_empty($$ SELECT p.stream FROM eventsource.pruned_streams p JOIN eventsource.streams s USING (stream)
	WHERE p.version <> s.version OR p.events_left <> (SELECT count(*) FROM eventsource.events e WHERE e.stream = p.stream) $$, 'streams that lost events');
SELECT pg_temp.same_rows($$ SELECT pruned_events, events_left, category, key FROM eventsource.pruned_streams WHERE stream = 'page-5' $$, $$ VALUES (2, 3, 'page', '5') $$, 'one of them');
SELECT pg_temp.same_rows('SELECT count(*), count(DISTINCT position), count(*) > 0 FROM eventsource.archived_events',
	$$ SELECT count(*), count(*), true FROM eventsource.events e JOIN eventsource.segments s ON s.state = 'archived' AND e.position >= s.lower_bound AND e.position < s.upper_bound $$, 'what is in the archive');
SELECT is(jsonb_path_query_array(eventsource.export_subject('page-5'), '$.event_summaries[*].total_events'), '[5]', 'an export has the summaries');

-- Erasure reaches what summaries hold of a payload.
SELECT pg_temp.same_rows($$ SELECT affected FROM eventsource.erase_subject('page-5', 'hard', 'asked', 'me') WHERE target = 'event summaries' $$, 'VALUES (1)', 'a summary is cleared');
SELECT pg_temp.same_rows($$ SELECT total_events, consent_history -> 0 ->> 'type', consent_history -> 0 ? 'data' FROM eventsource.event_summaries WHERE subject = 'page-5' $$, $$ VALUES (5, 'agreed', false) $$, 'of its payload alone');
SELECT ok('eventsource.summary' = ANY (ARRAY(SELECT table_name FROM eventsource.scrubs_due)), 'its file is to be written anew');
SELECT pg_temp.same_rows($$ SELECT DISTINCT status FROM eventsource.verify_log() $$, $$ VALUES ('redacted') $$, 'the log verifies');

-- What went is said in the log: no more and nothing else is gone.
SELECT pg_temp.same_rows($$ SELECT (data ->> 'lower')::bigint, (data ->> 'pruned')::bigint, events_pruned.said FROM eventsource.events e,
		LATERAL (SELECT sum((o.data ->> 'events')::bigint) AS said FROM eventsource.events o WHERE o.category = '$retention' AND o.data ->> 'lower' = e.data ->> 'lower') events_pruned
	 WHERE e.category = '$retention' AND NOT EXISTS (SELECT FROM eventsource.events n WHERE n.category = '$retention' AND n.data ->> 'lower' = e.data ->> 'lower' AND n.position > e.position) $$,
	$$ SELECT lower_bound, pruned_events, pruned_events::numeric FROM eventsource.segments WHERE pruned_events > 0 $$, 'an account for each segment, and each time');
SELECT pg_temp.same_rows($$ SELECT DISTINCT stream, type, subject, is_synthetic FROM eventsource.events WHERE category = '$retention' $$, $$ VALUES ('$retention-log', 'events_pruned', '$retention-log', false) $$, 'in a stream of the log''s own');
SELECT pg_temp.refuses($$ SELECT eventsource.append('$retention-log', 'events_pruned', '{}') $$, '42939', 'category "$retention" is reserved', 'which nobody else writes');
-- A superuser takes one more, and notes its hash like that of the others.
CREATE PROCEDURE take_away(victim bigint) LANGUAGE plpgsql AS $$
DECLARE
	segment name := (SELECT table_name FROM eventsource.segments WHERE victim >= lower_bound AND victim < upper_bound);
	bit integer := victim % 32;
BEGIN
	PERFORM eventsource.allow_maintenance('to forge');
	EXECUTE format('ALTER TABLE eventsource.%I DISABLE TRIGGER ALL', segment);
	ALTER TABLE eventsource.pruned_leaf DISABLE TRIGGER ALL;
	INSERT INTO eventsource.pruned_leaf VALUES (victim / 32, 0, '') ON CONFLICT DO NOTHING;
	EXECUTE format('UPDATE eventsource.pruned_leaf p SET present = present | (1 << $2), hashes = substr(hashes, 1, n.before) || e.hash || substr(hashes, n.before + 1)
		FROM eventsource.%I e, (SELECT 32 * count(*)::integer AS before FROM eventsource.pruned_leaf, generate_series(0, $2 - 1) i
								 WHERE bucket = $1 / 32 AND present & (1 << i) <> 0) n
		WHERE e.position = $1 AND p.bucket = $1 / 32', segment) USING victim, bit;
	EXECUTE format('DELETE FROM eventsource.%I WHERE position = $1', segment) USING victim;
END $$;
BEGIN;
SELECT max(position) AS victim FROM eventsource.events WHERE stream = 'money-1' AND position <= 200 \gset
CALL take_away(:victim);
SELECT matches((SELECT string_agg(problem, '; ') FROM eventsource.verify_log() WHERE status = 'tampered'),
	'^what is gone between positions 101 and 200 .* is not what retention took out there', 'one more than retention took');
ROLLBACK;
BEGIN;
SELECT max(position) AS victim FROM eventsource.events WHERE stream = 'page-1' \gset
CALL take_away(:victim);
SELECT pg_temp.same_rows($$ SELECT event_position, problem FROM eventsource.verify_log() WHERE status = 'tampered' $$,
	format($$ VALUES (%s::bigint, 'it is gone, but nothing that retention did accounts for it') $$, :victim), 'one where it took nothing');
ROLLBACK;
SELECT pg_temp.same_rows($$ SELECT DISTINCT status FROM eventsource.verify_log() $$, $$ VALUES ('redacted') $$, 'but for that the log verifies');
\i test/own_database_end.sql
