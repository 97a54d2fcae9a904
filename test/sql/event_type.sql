\set ECHO none
\i test/helpers.sql
-- Event types: what can be registered, what is refused, and what the views show.
BEGIN;
SELECT plan(82);

-- The number of definitions of a registration.
CREATE FUNCTION pg_temp.said(name text) RETURNS bigint LANGUAGE sql AS $$
	SELECT count(*) FROM eventsource.read_stream('$config-event_type.' || name)
$$;
CREATE FUNCTION pg_temp.schema(maximum int) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('type', 'object', 'properties', jsonb_build_object('n', jsonb_build_object('maximum', maximum)))
$$;

-- ---- versions ----

SELECT is(eventsource.register_event_type('note', schema => pg_temp.schema(1)), 1, 'the first version is 1');
SELECT is(eventsource.register_event_type('note', schema => pg_temp.schema(1)), 1, 'the same again is the same version');
SELECT is(pg_temp.said('-note'), 1::bigint, 'of which nothing new is said');
SELECT is(eventsource.register_event_type('note', schema => pg_temp.schema(1), description => 'A note', phase => 'contact'), 1, 'the same schema with a description is the same version');
SELECT is(pg_temp.said('-note'), 2::bigint, 'said anew');
SELECT pg_temp.same_rows($$ SELECT version, schema, compatibility, assert_formats, subject, description, phase FROM eventsource.event_types WHERE type = 'note' $$,
	$$ SELECT 1, pg_temp.schema(1), 'backward', false, NULL, 'A note', 'contact' $$, 'what was said last counts');
SELECT is((SELECT count(*) FROM eventsource.event_type_versions WHERE type = 'note'), 1::bigint, 'and is one row');
SELECT is(eventsource.register_event_type('note', schema => '{"properties": {"n": {"maximum": 1.0}}, "type": "object"}'), 1, 'a schema is the same whatever its order and the scale of its numbers');
SELECT is(eventsource.register_event_type('note', schema => pg_temp.schema(2), compatibility => 'none'), 2, 'another schema is the next version');
SELECT is(eventsource.register_event_type('note', version => 1, schema => pg_temp.schema(1), description => 'An old note'), 1, 'an older version may be said anew, too');
SELECT is(eventsource.register_event_type('note', version => 7, schema => pg_temp.schema(7), compatibility => 'none'), 7, 'numbers may be left out');
SELECT is(eventsource.register_event_type('note', version => 8, schema => pg_temp.schema(7), compatibility => 'none'), 8, 'a new number makes a new version of the same schema');
SELECT is(eventsource.register_event_type('note', schema => pg_temp.schema(1), compatibility => 'none'), 9, 'a schema of an earlier version makes a new one');
SELECT is(eventsource.register_event_type('note', compatibility => 'none'), 10, 'a version without schema');
SELECT pg_temp.same_rows($$ SELECT version, is_latest, schema, description FROM eventsource.event_type_versions WHERE type = 'note' ORDER BY version $$,
	$$ VALUES (1, false, pg_temp.schema(1), 'An old note'), (2, false, pg_temp.schema(2), NULL), (7, false, pg_temp.schema(7), NULL),
		(8, false, pg_temp.schema(7), NULL), (9, false, pg_temp.schema(1), NULL), (10, true, NULL, NULL) $$, 'all versions');
SELECT pg_temp.same_rows($$ SELECT type, category, version FROM eventsource.event_types $$, $$ VALUES ('note', NULL, 10) $$, 'the latest');
SELECT is(pg_temp.refusal($$ SELECT eventsource.register_event_type('note', version => 2, schema => '{}') $$), 'ZE011: registration of event type "note" is not valid
DETAIL: version: 2 is registered with another schema; a version never changes, leave version out for a new one
HINT: Nothing was changed. Correct what is listed and define it again.', 'a version is its schema');
SELECT is(pg_temp.refusal($$ SELECT eventsource.register_event_type('note', version => 3, schema => '{}', compatibility => 'none') $$), 'ZE011: registration of event type "note" is not valid
DETAIL: version: must be greater than the latest, which is 10
HINT: Nothing was changed. Correct what is listed and define it again.', 'versions come in order');
SELECT is(eventsource.register_event_type('last', version => 32767), 32767, 'the last version');
SELECT is(split_part(pg_temp.refusal($$ SELECT eventsource.register_event_type('last', schema => '{}', compatibility => 'none') $$), E'\n', 2),
	'DETAIL: version: there are no more than 32767', 'there is none after it');

-- ---- compatibility, as far as it is registering's matter ----

CREATE FUNCTION pg_temp.evolve(name text, mode text, maximum int, number int DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	RETURN 'v' || eventsource.register_event_type(name, schema => pg_temp.schema(maximum), compatibility => mode, version => number);
EXCEPTION WHEN SQLSTATE 'ZE011' THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN (SELECT string_agg((regexp_match(line, '^not (\w+ compatible with version \d+: /properties/n: maximum)'))[1], ', ') FROM regexp_split_to_table(detail, '\n') line);
END
$$;
SELECT is(pg_temp.evolve('grow', 'backward', 5), 'v1', 'the first version is compatible with nothing');
SELECT is(pg_temp.evolve('grow', 'backward', 6), 'v2', 'backward: a wider schema');
SELECT is(pg_temp.evolve('grow', 'backward', 5), 'backward compatible with version 2: /properties/n: maximum', 'not a narrower one');
SELECT is(pg_temp.evolve('grow', 'forward', 7), 'forward compatible with version 2: /properties/n: maximum', 'forward: not a wider one');
SELECT is(pg_temp.evolve('grow', 'forward', 4), 'v3', 'but a narrower one');
SELECT is(pg_temp.evolve('grow', 'full', 6), 'full compatible with version 3: /properties/n: maximum', 'full: neither');
SELECT is(pg_temp.evolve('grow', 'backward', 5), 'v4', 'asks the version before alone');
SELECT is(pg_temp.evolve('grow', 'backward_transitive', 3), 'backward_transitive compatible with version 1: /properties/n: maximum, backward_transitive compatible with version 2: /properties/n: maximum, '
	'backward_transitive compatible with version 3: /properties/n: maximum, backward_transitive compatible with version 4: /properties/n: maximum', 'transitive: all before');
SELECT is(pg_temp.evolve('grow', 'backward_transitive', 6), 'v5', 'that are wider');
SELECT is(pg_temp.evolve('grow', 'forward', 5, 4), 'forward compatible with version 3: /properties/n: maximum', 'a version said anew in another mode is judged by that');
SELECT is(pg_temp.evolve('grow', 'none', 5, 4), 'v4', 'or by none');
SELECT is(pg_temp.evolve('grow', 'full', 5, 1), 'v1', 'the first by nothing');
SELECT pg_temp.same_rows($$ SELECT version, compatibility FROM eventsource.event_type_versions WHERE type = 'grow' ORDER BY version $$,
	$$ VALUES (1, 'full'), (2, 'backward'), (3, 'forward'), (4, 'none'), (5, 'backward_transitive') $$, 'the view tells what was asked for');

-- ---- categories ----

SELECT is(eventsource.register_event_type('note', 'lead', schema => '{"required": ["lead"]}'), 1, 'a category of its own has versions of its own');
SELECT is(eventsource.register_event_type('note', 'lead', schema => '{"required": ["lead"]}'), 1, 'the same again');
SELECT pg_temp.same_rows($$ SELECT type, category, version FROM eventsource.event_types WHERE type = 'note' ORDER BY category NULLS FIRST $$,
	$$ VALUES ('note', NULL, 10), ('note', 'lead', 1) $$, 'both are there');
SELECT is((SELECT array_agg(stream ORDER BY position) FROM eventsource.events WHERE type = 'event_type_registered' AND data->>'category' = 'lead'),
	'{$config-event_type.lead-note}', 'a definition is an event');
SELECT is(eventsource.register_event_type('b-c', 'a'), 1, 'a type with a hyphen');
SELECT is(eventsource.register_event_type('c', 'a'), 1, 'is another');
SELECT is(eventsource.register_event_type('a-c'), 1, 'so is this');
SELECT is(eventsource.register_event_type(E'Ünï "q" ''s\n/.-*', 'Ä.*/ b'), 1, 'names are anything');
SELECT pg_temp.same_rows($$ SELECT type, category FROM eventsource.event_types WHERE type = E'Ünï "q" ''s\n/.-*' $$, $$ VALUES (E'Ünï "q" ''s\n/.-*', 'Ä.*/ b') $$, 'and come back');
SELECT is(eventsource.register_event_type(repeat('t', 256), repeat('c', 256)), 1, 'the longest names');
SELECT is((SELECT a.version FROM eventsource.append(repeat('c', 256) || '-1', repeat('t', 256)) a), 1::bigint, 'are found');

-- ---- what is refused ----

SELECT pg_temp.refuses('SELECT eventsource.register_event_type(NULL)', '22004', 'type must not be null', 'no type');
SELECT is(pg_temp.refusal($$ SELECT eventsource.register_event_type('', 'a-b', '{"type": "strin", "minimum": "x"}', 0, 'sideways', 'upper(1, 2)', repeat('d', 10001), '') $$),
	'ZE011: registration of event type "" is not valid
DETAIL: type: must have 1 to 256 bytes
category: "a-b" has a hyphen; a category is what stands before it
version: must be between 1 and 32767
compatibility: must be none, backward, forward, full, backward_transitive, forward_transitive or full_transitive
schema: /type: "strin" is no type of JSON
schema: /minimum: must be a number, not a string
subject: function upper(integer, integer) does not exist (at character 1 of: upper(1, 2)). No function matches the given name and argument types. You might need to add explicit type casts.
description: has more than 10000 bytes
phase: must have 1 to 256 bytes
HINT: Nothing was changed. Correct what is listed and define it again.', 'everything that is wrong is listed at once');
SELECT throws_ok($$ SELECT eventsource.register_event_type('x', '$config') $$, 'ZE011', NULL, 'a reserved category');
SELECT throws_ok($$ SELECT eventsource.register_event_type('x', '') $$, 'ZE011', NULL, 'an empty category');
SELECT throws_ok($$ SELECT eventsource.register_event_type(repeat('t', 257)) $$, 'ZE011', NULL, 'a long type');
SELECT throws_ok($$ SELECT eventsource.register_event_type('x', version => 32768) $$, 'ZE011', NULL, 'a version that no event can have');
SELECT throws_ok($$ SELECT eventsource.register_event_type('x', schema => 'null') $$, 'ZE011', NULL, 'a schema is no JSON null');
SELECT throws_ok($$ SELECT eventsource.register_event_type('x', schema => '{"$ref": "http://example.com/x"}') $$, 'ZE011', NULL, 'a schema that is elsewhere');
SELECT throws_ok($$ SELECT eventsource.register_event_type('x', subject => 'now()::text') $$, 'ZE011', NULL, 'a subject that is not deterministic');
SELECT is_empty($$ SELECT 1 FROM eventsource.event_types WHERE type IN ('x', '') $$, 'nothing of this was registered');
SELECT is(eventsource.register_event_type('retired', schema => 'false'), 1, 'a schema that nothing matches');
SELECT throws_ok($$ SELECT eventsource.append('lead-1', 'retired') $$, 'ZE007', NULL, 'retires the type');
SELECT is(eventsource.register_event_type('any', schema => 'true', compatibility => NULL), 1, 'a schema that everything matches; compatibility not said');
SELECT is((SELECT compatibility FROM eventsource.event_types WHERE type = 'any'), 'backward', 'is backward');

-- ---- formats ----

SELECT is(eventsource.register_event_type('mail', schema => '{"properties": {"to": {"format": "email"}}}'), 1, 'formats are not asserted by default');
SET eventsource.assert_formats = on;
SELECT is(eventsource.register_event_type('mail', schema => '{"properties": {"to": {"format": "email"}}}'), 1, 'a version keeps what it was registered with');
SELECT is((SELECT a.version FROM eventsource.append('mail-1', 'mail', '{"to": "nobody"}') a), 1::bigint, 'whatever the setting is then');
SELECT is(eventsource.register_event_type('email', schema => '{"properties": {"to": {"format": "email"}}}'), 1, 'asserted');
RESET eventsource.assert_formats;
SELECT throws_ok($$ SELECT eventsource.append('mail-1', 'email', '{"to": "nobody"}') $$, 'ZE007', NULL, 'whatever the setting is then');
SELECT pg_temp.same_rows($$ SELECT type, assert_formats FROM eventsource.event_types WHERE type LIKE '%mail' ORDER BY type $$,
	$$ VALUES ('email', true), ('mail', false) $$, 'the view tells');

-- ---- transactions ----

SAVEPOINT s;
SELECT is(eventsource.register_event_type('gone', schema => 'false'), 1, 'registered');
SELECT throws_ok($$ SELECT eventsource.append('lead-1', 'gone') $$, 'ZE007', NULL, 'holds at once');
ROLLBACK TO s;
SELECT is((SELECT a.version FROM eventsource.append('gone-1', 'gone') a), 1::bigint, 'rolled back: holds no more');
SELECT is(eventsource.register_event_type('gone', schema => '{"required": ["x"]}'), 1, 'registered anew');
SELECT throws_ok($$ SELECT eventsource.append('gone-1', 'gone') $$, 'ZE007', NULL, 'holds');

-- ---- rights ----

CREATE ROLE regress_type_admin;
CREATE ROLE regress_type_writer;
SELECT eventsource.grant_admin('regress_type_admin'), eventsource.grant_writer('regress_type_writer') \g /dev/null
SET ROLE regress_type_writer;
SELECT throws_ok($$ SELECT eventsource.register_event_type('x') $$, '42501', NULL, 'a writer does not register');
SELECT isnt_empty('SELECT 1 FROM eventsource.event_types', 'but sees what is registered');
SELECT isnt_empty('SELECT 1 FROM eventsource.event_type_versions', 'with its versions');
SET ROLE regress_type_admin;
SELECT is(eventsource.register_event_type('x', description => 'By an admin'), 1, 'an admin does');
RESET ROLE;
SELECT pg_temp.same_rows($$ SELECT owner, registered_by = session_user FROM eventsource.event_types WHERE type = 'x' $$, $$ VALUES ('regress_type_admin', true) $$, 'the view tells who');

-- A subject's expression has the rights of who registered it.
CREATE FUNCTION public.type_subject(data jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT current_user || ':' || (data->>'customer') $$;
GRANT EXECUTE ON FUNCTION public.type_subject(jsonb) TO regress_type_admin;
SET ROLE regress_type_admin;
SELECT is(eventsource.register_event_type('x', subject => 'public.type_subject(event.data)'), 1, 'a subject');
RESET ROLE;
SELECT eventsource.append('x-1', 'x', '{"customer": "joe"}') \g /dev/null
SELECT is(subject, 'regress_type_admin:joe', 'has the rights of its owner') FROM eventsource.events WHERE stream = 'x-1';

DROP OWNED BY regress_type_admin;
DROP ROLE regress_type_admin;
SELECT pg_temp.refuses($$ SELECT eventsource.append('x-1', 'x', '{"customer": "joe"}') $$, '42704', 'owner of event type "x" does not exist any more', 'when he is gone, it has none');
SELECT is(eventsource.register_event_type('x', subject => 'public.type_subject(event.data)'), 1, 'until it is registered again');
SELECT lives_ok($$ SELECT eventsource.append('x-1', 'x', '{"customer": "joe"}') $$, 'by another');

SELECT is_empty('SELECT * FROM eventsource.verify_chain()', 'the chain verifies');
SELECT bag_eq('SELECT column_name::text FROM information_schema.columns WHERE table_schema = $$eventsource$$ AND table_name = $$event_types$$',
	$$ SELECT column_name::text FROM information_schema.columns WHERE table_schema = 'eventsource' AND table_name = 'event_type_versions' AND column_name <> 'is_latest' $$,
	'both views have the same columns');
SELECT ok(bool_and(col_description(attrelid, attnum) IS NOT NULL), 'all of them commented') FROM pg_attribute
WHERE attrelid IN ('eventsource.event_types'::regclass, 'eventsource.event_type_versions'::regclass) AND attnum > 0;
SELECT * FROM finish();
ROLLBACK;
