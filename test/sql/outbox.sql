\set ECHO none
\set own_database outbox
\i test/own_database.sql
-- What the outside reads: ids, the view outbox, CloudEvents; what cannot be published here.
SELECT plan(68);

CREATE FUNCTION pg_temp.ce(n bigint) RETURNS jsonb LANGUAGE sql AS $$
	SELECT eventsource.to_cloudevent(e) FROM eventsource.events e WHERE e.position = n
$$;
CREATE FUNCTION pg_temp.as_role(role name, query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', role);
	EXECUTE query INTO result;
	RESET ROLE;
	RETURN result;
END
$$;
CREATE FUNCTION pg_temp.plan_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	line text;
	result text := '';
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		result := result || line || E'\n';
	END LOOP;
	RETURN result;
END
$$;

SELECT pg_temp.refuses('SELECT eventsource.event_id(1)', '55000', 'the event log has no identity', 'a log without events has no ids');
SELECT is((SELECT count(*) FROM eventsource.outbox), 0::bigint, 'and an empty outbox');

-- ---- events of all kinds ----

SELECT eventsource.register_event_type('signed_up', pii => '{"email": "redact"}', schema => '{"type": "object"}') AS done \gset
SELECT eventsource.register_event_type('placed', category => 'obx', schema => '{"type": "object", "required": ["n"]}') AS done \gset
SELECT eventsource.register_event_type('bare') AS done \gset
SELECT position AS p1 FROM eventsource.append('obx-1-2', 'placed', '{"n": 1}', actor => 'agent:joe', reason => 'asked',
	metadata => '{"correlation_id": "c 1", "causation_id": 17, "more": true}', occurred_at => '2021-02-03 04:05:06.000789+01') \gset
SELECT position AS p2 FROM eventsource.append('obx-1-2', 'bare', '{}', metadata => '{"correlation_id": {"a": 1}, "causation_id": ""}') \gset
SELECT position AS p3 FROM eventsource.append(U&'ob\00E4 %/y-\4E2D', E'odd\ttype\u0085', '[1, null]', actor => E'a\x01\x7fb', occurred_at => '20000-01-01') \gset
SELECT position AS p4 FROM eventsource.append('obperson-1', 'signed_up', '{"email": "ann@example.com", "plan": "gold"}', occurred_at => '0044-03-15 BC') \gset
SELECT position AS p5 FROM eventsource.append('obx--', 'other', 'null') \gset
SELECT count(*) AS done FROM eventsource.append_events((SELECT jsonb_agg(jsonb_build_object('stream', 'obmany-' || i % 50, 'type', 't' || i % 20, 'data', jsonb_build_object('n', i))) FROM generate_series(1, 3000) i)) \gset
SELECT count(*) AS done FROM eventsource.correct_event(:p1, '{"n": 2}', 'typo', 'agent:ann') \gset
SELECT count(*) AS events FROM eventsource.events WHERE category <> '$config' \gset

-- ---- ids ----

SELECT is(replace(eventsource.event_id(:p1)::text, '-', ''), overlay(substr(replace(eventsource.log_id()::text, '-', ''), 1, 16) PLACING '8' FROM 13) || lpad(to_hex((1::bigint << 63) | :p1), 16, '0'),
	'half the log''s id, half the position');
SELECT is((SELECT count(DISTINCT id) FROM eventsource.outbox), :events::bigint, 'each event has its own');
SELECT is_empty($$ SELECT FROM eventsource.outbox WHERE eventsource.event_position(id) <> position $$, 'which leads to it');
SELECT is_empty($$ SELECT FROM (SELECT id, lag(id) OVER (ORDER BY position) AS before FROM eventsource.outbox) o WHERE id <= before $$, 'they sort as positions do');
SELECT ok(eventsource.event_id(:p1)::text ~ '^.{14}8.{4}[89ab]', 'UUIDs of version 8');
SELECT is(eventsource.event_position(eventsource.log_id()), NULL, 'the log''s own id is none of an event');
SELECT is(eventsource.event_position('00000000-0000-0000-0000-000000000000'), NULL, 'nor is nothing');
SELECT is(eventsource.event_position(overlay(eventsource.event_id(:p1)::text PLACING CASE left(eventsource.log_id()::text, 1) WHEN '0' THEN '1' ELSE '0' END FROM 1 FOR 1)::uuid), NULL, 'nor one of another log');
SELECT is(eventsource.event_position(eventsource.event_id(4611686018427387903)), 4611686018427387903, 'up to the largest position');
SELECT pg_temp.refuses(format('SELECT eventsource.event_id(%s)', p), '22023', format('position %s is out of range', p), 'no position: ' || p)
  FROM unnest('{0,-1,4611686018427387904,-9223372036854775808}'::bigint[]) p;
SELECT is(eventsource.event_id(NULL), NULL, 'of nothing nothing');

-- ---- the view ----

SELECT pg_temp.same_rows($$ SELECT aggregatetype, aggregateid, type, payload, position, stream, version, subject, schema_version, metadata, actor, reason, occurred_at, recorded_at FROM eventsource.outbox ORDER BY position $$,
	$$ SELECT category, key, type, data, position, stream, version, subject, schema_version, metadata, actor, reason, occurred_at, recorded_at FROM eventsource.events WHERE category <> '$config' ORDER BY position $$,
	'the events but definitions, each once');
SELECT pg_temp.same_rows($$ SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = 'eventsource' AND table_name = 'outbox' ORDER BY ordinal_position LIMIT 5 $$,
	$$ VALUES ('id', 'uuid'), ('aggregatetype', 'text'), ('aggregateid', 'text'), ('type', 'text'), ('payload', 'jsonb') $$, 'begins with Debezium''s columns');
SELECT throws_ok($$ INSERT INTO eventsource.outbox (type) VALUES ('x') $$, '55000', NULL, 'it is for reading');
SELECT pg_temp.same_rows($$ SELECT position FROM eventsource.outbox WHERE aggregatetype = 'obx' AND type = 'placed' $$, format('VALUES (%s::bigint)', :p1), 'filtered');
ANALYZE eventsource.event, eventsource.stream, eventsource.word;
SET enable_seqscan = off;
SELECT alike(pg_temp.plan_of($$ SELECT * FROM eventsource.outbox WHERE aggregatetype = 'obx' $$), '%Index Cond: (stream = s.id)%', 'a category is found by its streams');
SELECT alike(pg_temp.plan_of($$ SELECT * FROM eventsource.outbox WHERE stream = 'obx-1-2' $$), '%Index Cond: (stream = s.id)%', 'so is a stream');
SELECT alike(pg_temp.plan_of(format('SELECT * FROM eventsource.outbox WHERE position > %s AND type = $$placed$$ ORDER BY position LIMIT 100', :p2)), '%Index Cond: ("position" > %', 'a position by itself');
SELECT alike(pg_temp.plan_of(format('SELECT * FROM eventsource.outbox WHERE position = eventsource.event_position(%L)', eventsource.event_id(:p2))), '%Index Cond: ("position" = %', 'an id by its position');
RESET enable_seqscan;
BEGIN;
SELECT eventsource.allow_maintenance('test') \g /dev/null
SELECT format('CREATE INDEX ON eventsource.%I (type)', table_name) FROM eventsource.segments \gexec
SET LOCAL enable_seqscan = off;
SELECT alike(pg_temp.plan_of($$ SELECT * FROM eventsource.outbox WHERE type = 'placed' $$), '%Index Cond: (type = t.id)%', 'a type, where segments have an index of it');
ROLLBACK;

-- ---- rights ----

CREATE ROLE ob_reads;
CREATE ROLE ob_sees;
CREATE ROLE ob_some;
CREATE ROLE ob_none;
SELECT eventsource.grant_reader('ob_reads'), eventsource.grant_reader('ob_sees'), eventsource.grant_personal_data('ob_sees'), eventsource.grant_reader('ob_some', '{obperson}') \g /dev/null
SELECT is(pg_temp.as_role(role, $$ SELECT payload ->> 'email' FROM eventsource.outbox WHERE aggregatetype = 'obperson' $$),
	pg_temp.as_role(role, $$ SELECT data ->> 'email' FROM eventsource.events WHERE category = 'obperson' $$), 'personal fields as in events: ' || role)
  FROM unnest('{ob_reads,ob_sees,ob_some}'::name[]) role;
SELECT isnt(pg_temp.as_role('ob_reads', $$ SELECT payload ->> 'email' FROM eventsource.outbox WHERE aggregatetype = 'obperson' $$), 'ann@example.com', 'masked for a reader');
SELECT is(pg_temp.as_role('ob_sees', $$ SELECT payload ->> 'email' FROM eventsource.outbox WHERE aggregatetype = 'obperson' $$), 'ann@example.com', 'shown to who may see them');
SELECT isnt(pg_temp.as_role('ob_reads', format($$ SELECT eventsource.to_cloudevent(e) -> 'data' ->> 'email' FROM eventsource.events e WHERE position = %s $$, :p4)), 'ann@example.com', 'masked in a CloudEvent');
SELECT is(pg_temp.as_role('ob_sees', format($$ SELECT eventsource.to_cloudevent(e) -> 'data' ->> 'email' FROM eventsource.events e WHERE position = %s $$, :p4)), 'ann@example.com', 'or shown');
SELECT is(pg_temp.as_role('ob_some', $$ SELECT string_agg(DISTINCT aggregatetype, ' ') FROM eventsource.outbox $$), 'obperson', 'a limited reader has his categories');
SELECT throws_ok(format($$ SELECT pg_temp.as_role('ob_none', %L) $$, q), '42501', NULL, 'not for everybody: ' || q)
  FROM unnest(ARRAY['SELECT count(*) FROM eventsource.outbox', 'SELECT eventsource.event_id(1)']) q;
SELECT throws_ok(format($$ SELECT pg_temp.as_role('ob_sees', %L) $$, q), '42501', NULL, 'not for readers: ' || q)
  FROM unnest(ARRAY['SELECT eventsource.start_publishing()', 'SELECT eventsource.stop_publishing()', 'SELECT eventsource.publish()']) q;

-- ---- CloudEvents ----

SELECT is(pg_temp.ce(:p1) - 'recordedtime', jsonb_build_object('specversion', '1.0', 'id', eventsource.event_id(:p1), 'source', 'urn:uuid:' || eventsource.log_id() || '#obx',
	'type', 'placed', 'subject', 'obx-1-2', 'time', '2021-02-03T03:05:06.000789Z', 'datacontenttype', 'application/json', 'data', '{"n": 1}'::jsonb,
	'dataschema', 'urn:uuid:' || eventsource.log_id() || '#obx/placed/1', 'stream', 'obx-1-2', 'partitionkey', 'obx-1-2', 'streamversion', '1', 'sequence', lpad(:'p1', 19, '0'),
	'actor', 'agent:joe', 'reason', 'asked', 'schemaversion', 1, 'correlationid', 'c 1', 'causationid', '17'), 'all that it has');
SELECT ok(pg_temp.ce(:p1) ->> 'recordedtime' ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$', 'and when it was recorded');
SELECT is((pg_temp.ce(:p1) ->> 'recordedtime')::timestamptz, (SELECT recorded_at FROM eventsource.events WHERE position = :p1), 'exactly');
SELECT is(pg_temp.ce(:p2) ?| '{correlationid,causationid,dataschema,reason,tostate,issynthetic}', false, 'no attribute without a value that fits it; no schema, no dataschema');
SELECT is(pg_temp.ce(:p3) ->> 'source', 'urn:uuid:' || eventsource.log_id() || '#ob%C3%A4%20%25%2Fy', 'the source is a URI');
SELECT is(pg_temp.ce(:p3) ->> 'actor', U&'a\FFFD\FFFDb', 'control characters are none of an attribute');
SELECT is(pg_temp.ce(:p3) ->> 'type', U&'odd\FFFDtype\FFFD', 'of the type neither');
SELECT is(pg_temp.ce(:p3) ->> 'stream', U&'ob\00E4 %/y-\4E2D', 'others stay');
SELECT is(pg_temp.ce(:p3) ? 'time', false, 'a year of five digits has no time');
SELECT is(pg_temp.ce(:p4) ? 'time', false, 'nor has one before Christ');
SELECT is(pg_temp.ce(:p3) -> 'data', '[1, null]', 'data is what it is');
SELECT is(pg_temp.ce(:p4) ->> 'dataschema', 'urn:uuid:' || eventsource.log_id() || '#/signed_up/1', 'a schema for all categories');
SELECT is((SELECT string_agg(DISTINCT k, ' ' ORDER BY k) FROM eventsource.read_all(0, NULL) e, jsonb_object_keys(eventsource.to_cloudevent(e)) k WHERE k !~ '^[a-z0-9]{1,20}$'), NULL, 'names are lower-case letters and digits');
SELECT is(eventsource.to_cloudevent(NULL), NULL, 'of nothing nothing');
SELECT pg_temp.refuses($$ SELECT eventsource.to_cloudevent(jsonb_populate_record(NULL::eventsource.events, '{"position": 3, "stream": "x-1"}')) $$, '22004', 'this is no event of the log', 'nor of what is no event');
SELECT pg_temp.refuses($$ SELECT eventsource.to_cloudevent(jsonb_populate_record(NULL::eventsource.events, '{"position": 0, "stream": "x-1", "category": "x", "version": 1, "type": "t"}')) $$, '22023', 'position 0 is out of range', 'or is at no position');

-- An upcaster makes it another version.
SELECT eventsource.register_event_type('placed', category => 'obx', schema => '{"type": "object", "required": ["n", "m"]}', compatibility => 'none') AS done \gset
SELECT eventsource.create_upcaster('placed', 1, 2, $$ event.data || '{"m": 1}' $$, category => 'obx') AS done \gset
SELECT is(pg_temp.ce(:p1) -> 'data', '{"n": 1, "m": 1}', 'upcast');
SELECT is((pg_temp.ce(:p1) ->> 'schemaversion') || ' ' || (pg_temp.ce(:p1) ->> 'dataschema'), '2 urn:uuid:' || eventsource.log_id() || '#obx/placed/2', 'and said to be of that version');

SELECT eventsource.register_event_type('placed', category => 'obx', schema => '{"type": "object", "required": ["n", "m", "o"]}', compatibility => 'none') AS done \gset
SELECT is((pg_temp.ce(:p1) ->> 'schemaversion') || ' ' || (pg_temp.ce(:p1) ->> 'dataschema'), '2 urn:uuid:' || eventsource.log_id() || '#obx/placed/2', 'also where they do not reach the latest');

-- ---- publishing, as far as it goes without wal_level = logical ----

SELECT pg_temp.refuses('SELECT eventsource.start_publishing()', '55000', 'events cannot be published while wal_level is "replica"', 'nobody could decode it');
SELECT is((SELECT count(*) FROM eventsource.publications), 0::bigint, 'and nothing was started');
SELECT pg_temp.refuses('SELECT eventsource.start_publishing(' || arguments || ')', state, message, 'start_publishing(' || arguments || ')')
FROM (VALUES
	('prefix => NULL', '22004', 'prefix must not be null'),
	('prefix => ''''', 'ZE011', 'invalid definition of publication ""'),
	('''{a-b}''', 'ZE011', 'invalid definition of publication "eventsource"'),
	('filter => ''1''', 'ZE011', 'invalid definition of publication "eventsource"'),
	('filter => $$ event.data ->> ''email'' = ''x'' $$', 'ZE011', 'invalid definition of publication "eventsource"'),
	('from_position => -1', '22023', 'position -1 is out of range')) AS v (arguments, state, message);
SELECT pg_temp.refuses('SELECT eventsource.publish(0)', '22023', 'max_events must be 1 at least', 'no events');
SELECT pg_temp.refuses('SELECT eventsource.publish()', '42704', 'there is no publication "eventsource"', 'nothing to publish');
SELECT pg_temp.refuses('SELECT eventsource.stop_publishing(''x'')', '42704', 'there is no publication "x"', 'nothing to stop');
\i test/own_database_end.sql
