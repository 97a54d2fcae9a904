\set ECHO none
\set own_database export_subject
\i test/own_database.sql
-- What is held about a subject, target by target: export_subject() has it, erase_subject() clears it as
-- docs/personal-data.md says, and a table that neither knows of fails this test.
SELECT plan(38);
SET eventsource.segment_size = 100;
SET timezone = 'UTC';

-- ---- no target is forgotten ----

-- Each table of the extension, and the member of the export that has what is in it about a subject.
CREATE TABLE held (table_name text, member text);
INSERT INTO held VALUES ('event', 'events'), ('stream', 'events'), ('word', 'events'), ('idempotency', 'events'), ('vault', 'events'), ('correction', 'events'),
	('snapshot', 'snapshots'), ('projection_failure', 'failures'), ('subscription_cursor', 'failures'), ('subscription_parked', 'parked_events'),
	('summary', 'event_summaries'), ('job', 'jobs'), ('erased', 'erased'),
	-- Where the log ends and begins, and what proves it: numbers and hashes.
	('alert', NULL), ('stream_segment', NULL), ('segment', NULL), ('segment_category', NULL), ('archive', NULL), ('log', NULL), ('local', NULL), ('projection_cursor', NULL), ('published_watermark', NULL),
	('pruned_head', NULL), ('pruned_leaf', NULL), ('tile', NULL), ('seal', NULL), ('scrub', NULL), ('manifest', NULL);
SELECT is_empty($$ SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'eventsource'::regnamespace AND c.relkind IN ('r', 'p', 'm', 'f') AND NOT c.relispartition
	EXCEPT SELECT table_name FROM held $$, 'each table is held against the export');
SELECT is_empty($$ SELECT table_name FROM held EXCEPT SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'eventsource'::regnamespace $$, 'none is gone');
SELECT is_empty($$ SELECT c.relname || '.' || a.attname FROM held h JOIN pg_class c ON c.relname = h.table_name AND c.relnamespace = 'eventsource'::regnamespace
	JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped WHERE h.member IS NULL AND (a.attname IN ('subject', 'data', 'metadata', 'error', 'row_data', 'fields') OR a.atttypid = 'jsonb'::regtype) AND (h.table_name, a.attname) <> ('segment_category', 'held_up') $$,
	'of those that are not exported none has a payload');
SELECT is_empty($$ SELECT member FROM held WHERE member IS NOT NULL EXCEPT SELECT jsonb_object_keys(eventsource.export_subject('nobody-1')) $$, 'the export has each member');
SELECT is_empty($$ SELECT e.key FROM jsonb_each(eventsource.export_subject('nobody-1')) e WHERE e.value NOT IN ('[]', 'null') AND e.key NOT IN ('subject', 'log') $$, 'of nobody nothing is held');

-- ---- something at each target: of xcust-1, -2 and -3, to be erased in the three modes; xcust-4 stays ----

SELECT eventsource.register_event_type('joined', category => 'xcust', pii => '{"email": "hash"}') AS done \gset
SELECT eventsource.create_category('xorder', subject => $$event.data->>'customer'$$), eventsource.create_category('xold', subject => $$event.data->>'customer'$$) \g /dev/null
CREATE TABLE x_customer (key text PRIMARY KEY, email text, born int, n int NOT NULL DEFAULT 0);
CREATE TABLE x_city (city text PRIMARY KEY, names text NOT NULL DEFAULT '');
CREATE TABLE x_step (at bigint PRIMARY KEY, note text);
CREATE TABLE x_slow (key text PRIMARY KEY, n int NOT NULL DEFAULT 0);
CREATE TABLE x_order (key text PRIMARY KEY, notes text NOT NULL DEFAULT '');
SELECT eventsource.create_projection('x_customer', '{xcust}', '{"joined": "n = row.n + 1, email = event.data->>''email''", "noted": "n = row.n + 1"}'),
	eventsource.create_projection('x_city', '{xcust}', '{"joined": "names = row.names || event.stream || '';''"}', key => '{"city": "event.data->>''city''"}', mode => 'inline'),
	eventsource.create_projection('x_step', '{xorder}', '{"noted": "note = event.data->>''note''"}', key => '{"at": "event.position"}'),
	eventsource.create_projection('x_order', '{xorder}', '{"noted": "notes = row.notes || (event.data->>''note'') || '';''"}'),
	eventsource.create_projection('x_slow', '{xcust}', '{"*": "n = row.n + 1"}', mode => 'async') \g /dev/null
-- One that fails at each of them.
CREATE TABLE x_bad1 (key text PRIMARY KEY, n int); CREATE TABLE x_bad2 (key text PRIMARY KEY, n int); CREATE TABLE x_bad3 (key text PRIMARY KEY, n int);
SELECT eventsource.create_projection(format('x_bad%s', n)::regclass, '{xcust}', jsonb_build_object('noted', format($$ n = (CASE event.stream WHEN 'xcust-%s' THEN event.data->>'note' END)::int $$, n)), mode => 'async')
  FROM generate_series(1, 3) n \g /dev/null
CREATE TABLE x_account (id int PRIMARY KEY, email text, password text);
SELECT eventsource.track_table('x_account', 'xacc', pii => '{"email": "hash"}', ignore => '{password}', subject => $$'xcust-' || row.id$$) \g /dev/null
SELECT eventsource.create_subscription('xsub', '{xcust}', max_attempts => 1) \g /dev/null
SELECT eventsource.set_snapshot_policy('xcust', 2) \g /dev/null
SELECT eventsource.set_retention('xold', '0', consent_types => '{agreed}') \g /dev/null
CREATE TABLE x_mail (customer text);
CREATE FUNCTION x_forget(subject text, mode text) RETURNS bigint LANGUAGE sql AS $$ WITH gone AS (DELETE FROM public.x_mail m WHERE m.customer = x_forget.subject RETURNING 1) SELECT count(*) FROM gone $$;
SELECT eventsource.register_eraser('x_forget(text, text)') \g /dev/null

SELECT eventsource.append('xold-' || n, 'agreed', jsonb_build_object('customer', 'xcust-' || n, 'words', 'I agree ' || n)) FROM generate_series(1, 4) n \g /dev/null
SELECT count(eventsource.append('filler-' || n % 3, 'x')) AS done FROM generate_series(1, 110) n \gset
SELECT size > 0 AS done FROM eventsource.seal() \gset
SELECT eventsource.archive_due() \g /dev/null
SELECT eventsource.append('xcust-' || n, 'joined', jsonb_build_object('email', format('p%s@example.com', n), 'city', 'Rome'), idempotency_key => 'key-' || n),
	eventsource.append('xcust-' || n, 'noted', jsonb_build_object('note', 'secret ' || n)),
	eventsource.append('xorder-' || n, 'noted', jsonb_build_object('customer', 'xcust-' || n, 'note', 'order of ' || n)),
	eventsource.append('xorder-9', 'noted', jsonb_build_object('customer', 'xcust-' || n, 'note', 'shared by ' || n)) FROM generate_series(1, 4) n \g /dev/null
INSERT INTO x_account SELECT n, format('p%s@example.com', n), 'pw' || n FROM generate_series(1, 4) n;
INSERT INTO x_mail SELECT 'xcust-' || n FROM generate_series(1, 4) n;
SELECT count(eventsource.enqueue('x_queue', jsonb_build_object('words', 'job of ' || n), subject => 'xcust-' || n)) AS done FROM generate_series(1, 4) n \gset
SELECT eventsource.run_projections() \g /dev/null
CREATE FUNCTION pg_temp.fail_all() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	p bigint;
BEGIN
	LOOP
		SELECT min(e.position) INTO p FROM eventsource.poll('xsub', 1) e;
		EXIT WHEN p IS NULL;
		PERFORM eventsource.nack('xsub', p, 'cannot bear event ' || p);
	END LOOP;
END $$;
SELECT pg_temp.fail_all() \g /dev/null
SELECT eventsource.hold('xcust-1', reason => 'case 1'), eventsource.request_erasure('xcust-1', 'soft') \g /dev/null

-- ---- the export, member by member ----

CREATE TABLE export AS SELECT eventsource.export_subject('xcust-1') AS e;
CREATE FUNCTION pg_temp.has(path jsonpath) RETURNS text LANGUAGE sql AS $$ SELECT string_agg(v #>> '{}', ', ' ORDER BY v #>> '{}') FROM export, jsonb_path_query(e, path) v $$;
SELECT is(pg_temp.has('$.events[*].stream'), 'xacc-1, xcust-1, xcust-1, xold-1, xorder-1, xorder-9', 'events, in any stream, archived ones too');
SELECT is(pg_temp.has('$.events[*].data.email'), 'p1@example.com', 'with personal fields');
SELECT is(pg_temp.has('$.events[*].idempotency_key'), 'key-1', 'and idempotency keys');
SELECT is(pg_temp.has('$.events[*].data.changed.email.new'), 'p1@example.com', 'the history of a tracked row');
SELECT is(pg_temp.has('$.tracked_rows[*].row_data'), '{"id": 1, "email": "p1@example.com", "password": "pw1"}', 'and the row, with what is not captured');
SELECT is(pg_temp.has('$.projection_rows[*] ? (@.target == "public.x_customer").row_data'), '{"n": 2, "key": "1", "born": null, "email": "p1@example.com"}', 'a row of a stream');
SELECT is(pg_temp.has('$.projection_rows[*] ? (@.target == "public.x_slow").row_data'), '{"n": 2, "key": "1"}', 'of an async projection');
SELECT is(pg_temp.has('$.projection_rows[*] ? (@.target == "public.x_step").row_data.note'), 'order of 1, shared by 1', 'rows of events');
SELECT is(pg_temp.has('$.projection_rows[*] ? (@.target == "public.x_order" && @.is_shared == false).row_data'), '{"key": "1", "notes": "order of 1;"}', 'of a stream that is about the subject alone');
SELECT is(pg_temp.has('$.projection_rows[*] ? (@.is_shared == true).row_key'), '{"city": "Rome"}, {"key": "9"}', 'rows that others are in are named');
SELECT is(pg_temp.has('$.projection_rows[*] ? (@.is_shared == true).row_data ? (@ != null)'), NULL, 'and not shown, as they tell of others');
SELECT is(pg_temp.has('$.snapshots[*].version'), '2, 2', 'snapshots');
SELECT is(pg_temp.has('$.parked_events[*].error') ~ '^cannot bear event \d+', true, 'parked events');
SELECT is(pg_temp.has('$.failures[*].error'), 'invalid input syntax for type integer: "secret 1"', 'what failed at its events');
SELECT is(pg_temp.has('$.event_summaries[*].consent_history[*].data.words'), 'I agree 1', 'summaries');
SELECT is(pg_temp.has('$.holds[*].reason'), 'case 1', 'holds');
SELECT is(pg_temp.has('$.requests[*].status'), 'open', 'requests');
SELECT is(pg_temp.has('$.erasures[*].type'), 'erasure_requested', 'what was recorded about it');
SELECT is(pg_temp.has('$.elsewhere[*]'), 'public.x_forget(pg_catalog.text,pg_catalog.text)', 'who has more of it');
SELECT is_empty($$ SELECT 1 FROM export WHERE e::text ~ 'p[234]@|(of|by|secret|agree) [234]|pw[234]|xcust-[234]' $$, 'and nothing of anybody else');

-- ---- who may see what ----

CREATE ROLE x_dpo; CREATE ROLE x_plain;
SELECT eventsource.grant_eraser('x_dpo', '{hard}'), eventsource.grant_eraser('x_plain', '{hard}'), eventsource.grant_personal_data('x_dpo') \g /dev/null
GRANT SELECT ON x_customer, x_account TO x_plain;
SET ROLE x_plain;
SELECT eventsource.export_subject('xcust-1') AS masked \gset
RESET ROLE;
TRUNCATE export;
INSERT INTO export VALUES (:'masked');
SELECT is(pg_temp.has('$.**.email ? (@.type() == "string")'), '***, ***, ***', 'without the right to personal data columns and fields are masked');
SELECT is(pg_temp.has('$.projection_rows[*] ? (@.target == "public.x_slow").withheld'), 'permission denied for the table', 'what may not be read is said to be there');
SELECT is(pg_temp.has('$.tracked_rows[*].row_data.password'), 'pw1', 'what may, is shown');
ALTER TABLE x_account ENABLE ROW LEVEL SECURITY;
SET ROLE x_plain;
SELECT eventsource.export_subject('xcust-1') AS masked \gset
RESET ROLE;
TRUNCATE export;
INSERT INTO export VALUES (:'masked');
SELECT is(pg_temp.has('$.tracked_rows[*].withheld'), 'row security of the table applies to you', 'row security is not got around');
ALTER TABLE x_account DISABLE ROW LEVEL SECURITY;
UPDATE x_account SET id = 11 WHERE id = 4;
TRUNCATE export;
INSERT INTO export SELECT eventsource.export_subject('xcust-4');
SELECT is(pg_temp.has('$.tracked_rows[*].row_data'), NULL, 'a row that is somebody else''s by now is not shown');

-- ---- what an erasure does at each target, and what the documentation says ----

SELECT eventsource.release_hold('xcust-1', reason => 'case 1') \g /dev/null
CREATE TABLE done AS SELECT m.mode, r.target, r.affected FROM (VALUES ('soft', 1), ('anonymize', 2), ('hard', 3)) m (mode, n), eventsource.erase_subject('none', 'soft', '') r LIMIT 0;
INSERT INTO done SELECT 'soft', r.* FROM eventsource.erase_subject('xcust-1', 'soft', 'r') r;
INSERT INTO done SELECT 'anonymize', r.* FROM eventsource.erase_subject('xcust-2', 'anonymize', 'r') r;
INSERT INTO done SELECT 'hard', r.* FROM eventsource.erase_subject('xcust-3', 'hard', 'r') r;
UPDATE done SET target = 'registered erasers' WHERE target LIKE '%(%';
SELECT is_empty('SELECT target FROM done GROUP BY target HAVING max(affected) = 0', 'this test has something at each target');
\set page `sed -n '/^| target | .soft. /,/^$/p' docs/personal-data.md`
CREATE TABLE page AS SELECT trim(c[2]) AS target, m.mode, trim(c[2 + m.n]) AS cell
  FROM regexp_split_to_table(:'page', '\n') l, string_to_array(l, '|') c, (VALUES ('soft', 1), ('anonymize', 2), ('hard', 3)) m (mode, n)
 WHERE l LIKE '| %' AND l NOT LIKE '| ---%' AND l NOT LIKE '| target |%';
SELECT is_empty('SELECT DISTINCT target FROM done EXCEPT SELECT target FROM page', 'the documentation has each target');
SELECT is_empty('SELECT DISTINCT target FROM page EXCEPT SELECT target FROM done', 'and no other');
SELECT is_empty($$ SELECT p.target, p.mode, p.cell, d.affected FROM page p JOIN done d USING (target, mode) WHERE (p.cell ~ '^stay') <> (d.affected = 0) $$, 'and says of each mode what it does');
TRUNCATE export;
INSERT INTO export SELECT eventsource.export_subject('xcust-3');
SELECT is_empty($$ SELECT 1 FROM export WHERE (e - 'tracked_rows')::text ~ 'p3@|(of|by|secret|agree) 3' $$, 'after a hard one nothing is left but the row of the tracked table');
SELECT is(pg_temp.has('$.tracked_rows[*].row_data.email'), 'p3@example.com', 'which is its owner''s');
SELECT pg_temp.same_rows($$ SELECT what, mode, target, affected FROM eventsource.erasure_report('xcust-1') ORDER BY target COLLATE "C" NULLS FIRST $$,
	$$ SELECT 'erasure_requested', 'soft', NULL, NULL::bigint UNION ALL (SELECT 'erasure_completed', 'soft', replace(target, 'registered erasers', 'public.x_forget(pg_catalog.text,pg_catalog.text)') AS target, affected FROM done WHERE mode = 'soft' ORDER BY replace(target, 'registered erasers', 'public.x_forget(pg_catalog.text,pg_catalog.text)') COLLATE "C") $$, 'the report has each target, erasers of users too');
SELECT is_empty($$ SELECT * FROM eventsource.verify_log() WHERE status = 'tampered' $$, 'the log verifies');
\i test/own_database_end.sql
