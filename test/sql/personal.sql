\set ECHO none
\i test/helpers.sql
-- Personal fields: cut out of data, kept apart, committed to, shown to who may see them.
BEGIN;
SELECT plan(61);

CREATE FUNCTION pg_temp.stored(n bigint) RETURNS jsonb LANGUAGE sql AS $$ SELECT data FROM eventsource.event WHERE position = n $$;
CREATE FUNCTION pg_temp.kept(n bigint) RETURNS jsonb LANGUAGE sql AS $$ SELECT fields FROM eventsource.vault WHERE position = n $$;
CREATE FUNCTION pg_temp.shown(n bigint) RETURNS jsonb LANGUAGE sql AS $$ SELECT data FROM eventsource.events WHERE position = n $$;
-- What another role sees.
CREATE FUNCTION pg_temp.seen(role regrole, query text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	result jsonb;
BEGIN
	EXECUTE format('SET LOCAL ROLE %s', role);
	EXECUTE query INTO result;
	RESET ROLE;
	RETURN result;
END
$$;

-- The command fails with this SQLSTATE, and its message or detail is like that.
CREATE FUNCTION pg_temp.throws_with(command text, state text, pattern text, description text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	EXECUTE command;
	RETURN fail(description);
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN is((SQLSTATE, concat_ws(E'\n', SQLERRM, detail) LIKE pattern)::text, format('(%s,t)', state), description);
END
$$;

-- ---- what is declared ----

SELECT eventsource.register_event_type('signed_up', pii => '{"email": "hash", "ip": "mask_ip", "address.street": "redact", "phones.*.number": "null", "tags.*": "keep", "born": "null"}') \g /dev/null
SELECT is((SELECT pii ->> 'email' FROM eventsource.event_types WHERE type = 'signed_up'), 'hash', 'what is personal is told');
SELECT eventsource.register_event_type('signed_up', description => 'somebody came') \g /dev/null
SELECT is((SELECT pii ->> 'email' FROM eventsource.event_types WHERE type = 'signed_up'), 'hash', 'who says nothing of it leaves it as it is');
SELECT eventsource.register_event_type('signed_up', schema => '{"type": "object", "properties": {"email": {"type": ["string", "null"]}}}', compatibility => 'none') \g /dev/null
SELECT is((SELECT pii ->> 'email' FROM eventsource.event_types WHERE type = 'signed_up'), 'hash', 'a new version, too');
SELECT pg_temp.throws_with($$ SELECT eventsource.register_event_type('bad', pii => '{"a": "x", "a..b": "null", "": "null", "c": 1}') $$, 'ZE011', '%"a": the strategy must be hash, mask_ip, redact, null or keep%"a..b": a path is%', 'all that is wrong is listed');
SELECT pg_temp.throws_with(format($$ SELECT eventsource.register_event_type('bad', pii => '{"%s": "hash"}') $$, path), 'ZE011', '%is neither JSONPath nor a JSON pointer%', path || ' would name no field')
  FROM (VALUES ('$.email'), ('$'), ('$[0]'), ('/email'), ('phones[*].number'), ('phones[].number')) v (path);
SELECT pg_temp.throws_with($$ SELECT eventsource.register_event_type('bad', pii => '{"a": "null", "a.b": "null"}') $$, 'ZE011', '%"a" and "a.b"%', 'one may not be a part of another');
SELECT pg_temp.throws_with($$ SELECT eventsource.register_event_type('bad', pii => '{"a.*.c": "null", "a.3.c": "null"}') $$, 'ZE011', '%"a.%.c" and "a.%.c"%', 'nor be the same');
SELECT pg_temp.throws_with($$ SELECT eventsource.register_event_type('bad', pii => '["a"]') $$, 'ZE011', '%must be an object%', 'it is an object');

-- ---- cut out ----

SELECT position AS p1 FROM eventsource.append('person-1', 'signed_up', '{"email": "ann@example.com", "plan": "gold", "ip": "10.1.2.3", "address": {"street": "Elm 5", "city": "Ulm"}, "phones": [{"kind": "home", "number": "123"}, {"kind": "work"}, null, {"number": null}], "tags": ["a", null, 7], "born": 1970}') \gset
SELECT is(pg_temp.stored(:p1), '{"plan": "gold", "address": {"city": "Ulm"}, "phones": [{"kind": "home"}, {"kind": "work"}, null, {"number": null}], "tags": [null, null, null]}', 'data lacks the fields; of an element a null stays');
SELECT is(pg_temp.kept(:p1), '{"email": "ann@example.com", "ip": "10.1.2.3", "address.street": "Elm 5", "phones.0.number": "123", "tags.0": "a", "tags.2": 7, "born": 1970}', 'they are kept apart');
SELECT is((SELECT (subject, length(salts), length(commits), state)::text FROM eventsource.vault WHERE position = :p1), '(person-1,224,0,0)', 'with a salt each');
SELECT is(pg_temp.shown(:p1), '{"email": "ann@example.com", "plan": "gold", "ip": "10.1.2.3", "address": {"street": "Elm 5", "city": "Ulm"}, "phones": [{"kind": "home", "number": "123"}, {"kind": "work"}, null, {"number": null}], "tags": ["a", null, 7], "born": 1970}', 'the view puts them back');
SELECT is((SELECT data FROM eventsource.read_stream('person-1')), pg_temp.shown(:p1), 'so do reading functions');
SELECT is(eventsource.stored_data(:p1), pg_temp.stored(:p1), 'stored_data does not');
SELECT position AS p2 FROM eventsource.append('person-1', 'signed_up', '{"plan": "none", "email": null}') \gset
SELECT is((SELECT length(extra) FROM eventsource.event WHERE position = :p2), 0, 'an event without any costs nothing');
SELECT is(pg_temp.kept(:p2), NULL, 'and has no row');
SELECT is(pg_temp.shown(:p2), '{"plan": "none", "email": null}', 'a null is no field');
SELECT is_empty('SELECT * FROM eventsource.verify_chain()', 'the chain verifies');
SELECT pg_temp.throws_with($$ SELECT eventsource.append('person-1', 'signed_up', '{"address": "Elm 5, Ulm"}') $$, 'ZE007', '%stay in the log for good%', 'what stands in the way of a path is refused');
SELECT pg_temp.throws_with($$ SELECT eventsource.append('person-1', 'signed_up', '{"phones": {"number": "123"}}') $$, 'ZE007', '%stay in the log for good%', 'an object where elements should be');
SELECT pg_temp.throws_with($$ SELECT eventsource.append('person-1', 'signed_up', '{"address": [{"street": "Elm 5"}]}') $$, 'ZE007', '%stay in the log for good%', 'elements where an object should be');
SELECT pg_temp.throws_with($$ SELECT eventsource.append('person-1', 'signed_up', '{"email": 7}') $$, 'ZE007', '%email%', 'schemas judge the fields as they are');
SELECT pg_temp.throws_with($$ SELECT eventsource.append('person-1', 'signed_up', jsonb_build_object('tags', (SELECT jsonb_agg(i) FROM generate_series(1, 1001) i))) $$, '54000', '%1000%', 'there may be 1000');

-- ---- every door ----

SELECT position AS p3 FROM eventsource.append_events('[{"stream": "person-2", "type": "signed_up", "data": {"email": "bob@example.com"}}, {"stream": "person-3", "type": "signed_up", "data": {"email": "cy@example.com", "n": 1}}]') ORDER BY position LIMIT 1 \gset
SELECT is((SELECT jsonb_agg(data ORDER BY position) FROM eventsource.event WHERE position IN (:p3, :p3 + 1)), '[{}, {"n": 1}]', 'append_events');
SELECT is((SELECT jsonb_agg(data ORDER BY position) FROM eventsource.events WHERE position IN (:p3, :p3 + 1)), '[{"email": "bob@example.com"}, {"email": "cy@example.com", "n": 1}]', 'each has its own');
INSERT INTO eventsource.events (stream, type, data) VALUES ('person-4', 'signed_up', '{"email": "di@example.com"}') RETURNING position AS p4, data AS returned \gset
SELECT is(pg_temp.stored(:p4), '{}', 'INSERT');
SELECT is(:'returned'::jsonb, '{"email": "di@example.com"}', 'which returns what was given');
SELECT position AS p5 FROM eventsource.correct_event(:p4, '{"email": "dee@example.com", "plan": "new"}', 'typo', 'agent:joe') \gset
SELECT is(pg_temp.stored(:p5), '{"plan": "new"}', 'correct_event');
SELECT is(pg_temp.kept(:p5), '{"email": "dee@example.com"}', 'has a row of its own');
SELECT position AS p6 FROM eventsource.correct_event(:p4, '{"plan": "newer"}', 'typo', 'agent:joe') \gset
SELECT is(pg_temp.kept(:p6), '{"email": "dee@example.com"}', 'and keeps the fields that it says nothing of, as corrected last');
SELECT position AS p7 FROM eventsource.correct_event(:p4, '{"plan": "newer", "email": null}', 'typo', 'agent:joe') \gset
SELECT is(pg_temp.kept(:p7), NULL, 'a null takes one away');
SELECT pg_temp.throws_with(format($$ SELECT eventsource.correct_event(%s, '{"email": 7}', 'typo', 'agent:joe') $$, :p4), 'ZE007', '%email%', 'schemas judge corrections, too');
SELECT is_empty('SELECT * FROM eventsource.verify_chain()', 'the chain verifies after it all');

-- ---- the same again ----

SELECT position AS k1 FROM eventsource.append('person-5', 'signed_up', '{"email": "ed@example.com", "plan": "gold"}', idempotency_key => 'once') \gset
SELECT is((SELECT (position, is_duplicate)::text FROM eventsource.append('person-5', 'signed_up', '{"email": "ed@example.com", "plan": "gold"}', idempotency_key => 'once')), format('(%s,t)', :k1), 'a repetition is known');
SELECT pg_temp.throws_with($$ SELECT eventsource.append('person-5', 'signed_up', '{"email": "eddy@example.com", "plan": "gold"}', idempotency_key => 'once') $$, 'ZE008', '%', 'another value is another event');
SELECT pg_temp.throws_with($$ SELECT eventsource.append('person-5', 'signed_up', '{"plan": "gold"}', idempotency_key => 'once') $$, 'ZE008', '%', 'so is none');
SELECT is((SELECT jsonb_agg(is_duplicate) FROM eventsource.append_events('[{"stream": "person-6", "type": "signed_up", "data": {"email": "fay@example.com"}, "idempotency_key": "k"}, {"stream": "person-6", "type": "signed_up", "data": {"email": "fay@example.com"}, "idempotency_key": "k"}]')), '[false, true]', 'within a batch, too');

-- ---- who sees them ----

CREATE ROLE es_reads;
CREATE ROLE es_sees;
SELECT eventsource.grant_reader('es_reads') \g /dev/null
SELECT eventsource.grant_personal_data('es_sees') \g /dev/null
SELECT is(pg_temp.seen('es_reads', format('SELECT data FROM eventsource.events WHERE position = %s', :p1)), '{"plan": "gold", "ip": "10.1.0.0", "email": "***", "address": {"street": "***", "city": "Ulm"}, "phones": [{"kind": "home"}, {"kind": "work"}, null, {"number": null}], "tags": ["***", null, null]}', 'a reader sees them masked');
SELECT is(pg_temp.seen('es_reads', $$ SELECT jsonb_agg(data ->> 'email') FROM eventsource.read_stream('person-1') $$), '["***", null]', 'by a reading function, too');
SELECT is(pg_temp.seen('es_reads', $$ SELECT jsonb_agg(data ->> 'email') FROM eventsource.events WHERE data ->> 'email' LIKE '%example%' $$), NULL, 'and cannot ask for them');
SELECT is(pg_temp.seen('es_sees', format('SELECT data FROM eventsource.events WHERE position = %s', :p1)), pg_temp.shown(:p1), 'who has the right sees all');
SELECT throws_ok($$ SELECT pg_temp.seen('es_sees', 'SELECT fields FROM eventsource.vault') $$, '42501', NULL, 'but not where they are kept');
SELECT throws_ok($$ SELECT pg_temp.seen('es_reads', 'SELECT to_jsonb(eventsource.personal_data())') $$, '42501', NULL, 'a reader does not get the right by the way');

-- ---- what they are committed to ----

SELECT is((SELECT count(DISTINCT substring(extra FROM 9)) FROM eventsource.event WHERE stream IN (SELECT stream FROM eventsource.vault WHERE fields = '{"email": "fay@example.com"}')), 1::bigint, 'an event commits to its fields');
SELECT position AS c1 FROM eventsource.append('person-7', 'signed_up', '{"email": "fay@example.com"}') \gset
SELECT isnt((SELECT substring(extra FROM 9) FROM eventsource.event WHERE position = :c1), (SELECT substring(e.extra FROM 9) FROM eventsource.event e JOIN eventsource.vault v USING (position) WHERE v.stream = (SELECT id FROM eventsource.stream WHERE name = 'person-6')), 'by random salts: the same values do not look the same');
SELECT is((SELECT count(*) FROM pg_stats WHERE schemaname = 'eventsource' AND tablename = 'vault' AND attname <> 'position'), 0::bigint, 'no statistics of them');

-- ---- what the rules see ----

SELECT eventsource.create_state_machine('member', jsonb_build_object('initial', 'NEW', 'states', jsonb_build_object('NEW', jsonb_build_object('on', jsonb_build_object('joined', jsonb_build_object('target', 'IN', 'guard', $$ event.data::text NOT LIKE '%@%' AND event.data->>'plan' = 'gold' $$))), 'IN', jsonb_build_object('type', 'final')))) \g /dev/null
SELECT eventsource.create_category('member', 'member') \g /dev/null
SELECT eventsource.register_event_type('joined', pii => '{"email": "hash"}', subject => $$ CASE WHEN event.data::text LIKE '%@%' THEN 'seen' ELSE 'nobody' END $$) \g /dev/null
SELECT lives_ok($$ SELECT eventsource.append('member-1', 'joined', '{"email": "gus@example.com", "plan": "gold"}') $$, 'guards do not see them');
SELECT is((SELECT subject FROM eventsource.vault ORDER BY position DESC LIMIT 1), 'nobody', 'nor do subjects');
SELECT is((SELECT allowed FROM eventsource.can_append('member-2', 'joined', '{"email": "gus@example.com", "plan": "gold"}')), true, 'can_append knows it');
CREATE TABLE people (id text PRIMARY KEY, email text, n int DEFAULT 0);
SELECT eventsource.create_projection('people', '{person}', jsonb_build_object('signed_up', $$ email = event.data->>'email', n = row.n + 1 $$)) \g /dev/null
SELECT eventsource.append('person-8', 'signed_up', '{"email": "hal@example.com"}') \g /dev/null
SELECT pg_temp.same_rows('SELECT id, email FROM people WHERE id IN (''1'', ''4'', ''7'', ''8'')', $$ VALUES ('1', NULL), ('4', NULL), ('7', 'fay@example.com'), ('8', 'hal@example.com') $$, 'folds do');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('people') $$, 'and replay to the same');
SELECT is_empty($$ SELECT * FROM eventsource.verify_transitions() $$, 'as machines do');
SELECT eventsource.set_snapshot_policy('person', 1) \g /dev/null
SELECT eventsource.append('person-8', 'signed_up', '{"email": "ida@example.com"}') \g /dev/null
\set snapshots 'SELECT to_jsonb(count(*) || '' '' || count(row_data) || coalesce(max(row_data ->> ''email''), '''')) FROM eventsource.snapshots WHERE projection IS NOT NULL AND stream = ''person-8'''
SELECT is(pg_temp.seen('postgres', :'snapshots'), '"1 1ida@example.com"', 'snapshots hold rows');
SELECT is(pg_temp.seen('es_reads', :'snapshots'), '"1 0"', 'which are for who may read the table');
GRANT SELECT ON people TO es_reads;
SELECT is(pg_temp.seen('es_reads', :'snapshots'), '"1 1ida@example.com"', 'as it is itself');
-- A row that erasing its subject would not find.
SELECT eventsource.allow_maintenance('a test') \g /dev/null
ALTER TABLE eventsource.vault DISABLE TRIGGER ALL;
UPDATE eventsource.vault SET subject = 'somebody else' WHERE position = :p1;
SELECT is((SELECT string_agg(event_position || ' ' || problem, ';') FROM eventsource.verify_log() WHERE status = 'tampered'), :p1 || ' its personal fields are kept as those of another stream or subject', 'whose fields they are is verified');
SELECT * FROM finish();
ROLLBACK;
