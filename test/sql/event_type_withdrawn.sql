\set ECHO none
\i test/helpers.sql
-- Event types that are withdrawn: what is stored stays what it was, new events have no registration.
BEGIN;
SELECT plan(38);

CREATE FUNCTION pg_temp.last(name text) RETURNS text LANGUAGE sql AS $$
	SELECT format('v%s %s %s', e.schema_version, e.data, e.subject) FROM eventsource.events e WHERE e.stream = name ORDER BY e.version DESC LIMIT 1
$$;
SELECT eventsource.create_category('closed', strict => true), eventsource.create_category('open'),
eventsource.register_event_type('paid', schema => '{"required": ["euros"]}'),
eventsource.register_event_type('paid', schema => '{"required": ["cents"]}', compatibility => 'none', subject => $$ 'who-' || (event.data->>'cents') $$),
eventsource.register_event_type('paied', 'closed') \g /dev/null
SELECT eventsource.append('closed-1', 'paid', '{"euros": 1}', schema_version => 1), eventsource.append('open-1', 'paid', '{"euros": 2}', schema_version => 1) \g /dev/null
SELECT eventsource.create_upcaster('paid', 1, 2, $$ jsonb_build_object('cents', (event.data->>'euros')::int * 100) $$) \g /dev/null
SELECT is(pg_temp.last('open-1'), 'v1 {"cents": 200} open-1', 'registered, with an upcaster');
SELECT lives_ok($$ SELECT eventsource.withdraw_event_type('paid') $$, 'withdrawn');

-- What is stored.
SELECT is(pg_temp.last('open-1'), 'v1 {"cents": 200} open-1', 'stored events are read as before');
SELECT is_empty('SELECT * FROM eventsource.verify_upcasters()', 'upcasters verify');
SELECT throws_ok(format('SELECT eventsource.correct_event(%s::bigint, ''{}'', ''wrong'', ''joe'')', position), 'ZE007', NULL, 'corrections must match the version of their event')
FROM eventsource.events WHERE stream = 'open-1';
SELECT lives_ok(format('SELECT eventsource.correct_event(%s::bigint, ''{"euros": 3}'', ''wrong'', ''joe'')', position), 'as it was')
FROM eventsource.events WHERE stream = 'open-1';

-- What is new.
SELECT pg_temp.refuses($$ SELECT eventsource.append('closed-1', 'paid', '{"cents": 1}') $$, 'ZE006', 'event type "paid" is not registered any more', 'a strict category refuses it');
SELECT matches(pg_temp.refusal($$ SELECT eventsource.append('closed-1', 'paid', '{"cents": 1}') $$), 'HINT: Registered are: "paied"\.$', 'and names what is registered');
SELECT is((SELECT sqlstate FROM eventsource.can_append('closed-1', 'paid', '{"cents": 1}')), 'ZE006', 'can_append says so');
SELECT lives_ok($$ SELECT eventsource.append('open-2', 'paid', '{"any": "thing"}') $$, 'elsewhere any data will do');
SELECT is(pg_temp.last('open-2'), 'v2 {"any": "thing"} open-2', 'at the latest version, about whom the category says');
SELECT throws_ok($$ SELECT eventsource.append('open-2', 'paid', '{"any": "thing"}', schema_version => 9) $$, 'ZE006', NULL, 'or at one that there was');
SELECT lives_ok($$ SELECT eventsource.append('open-2', 'paid', '{"euros": 4}', schema_version => 1) $$, 'such as an old one');
SELECT is(pg_temp.last('open-2'), 'v1 {"cents": 400} open-2', 'is upcast');
SELECT lives_ok($$ SET LOCAL eventsource.unregistered_types = warn; SET LOCAL client_min_messages = error; SELECT eventsource.append('open-2', 'paid', '{}') $$, 'with a warning where that is asked for');
RESET eventsource.unregistered_types;
SET LOCAL client_min_messages = warning;

-- What is shown.
SELECT pg_temp.same_rows($$ SELECT version, is_latest, is_withdrawn FROM eventsource.event_type_versions WHERE type = 'paid' ORDER BY version $$, 'VALUES (1, false, true), (2, true, true)', 'the versions are there');
SELECT pg_temp.same_rows($$ SELECT type, version, is_withdrawn FROM eventsource.event_types ORDER BY type $$, $$ VALUES ('paid', 2, true), ('paied', 1, false) $$, 'as are others');
SELECT ok(eventsource.event_catalog() ~ E'`paid`\n\nVersion 2 [^\n]*\n\nWithdrawn: new events have no registration\\.\n', 'the catalogue says so');
SELECT is((SELECT is_complete FROM eventsource.upcasters), true, 'upcasters are what they were');

-- Again.
SELECT is((SELECT count(*) FROM eventsource.read_stream('$config-event_type.-paid')), 3::bigint, 'it is an event');
SELECT lives_ok($$ SET LOCAL client_min_messages = error; SELECT eventsource.withdraw_event_type('paid') $$, 'withdrawn once more');
SELECT is((SELECT count(*) FROM eventsource.read_stream('$config-event_type.-paid')), 3::bigint, 'nothing happens');
SET LOCAL client_min_messages = warning;
SELECT throws_ok($$ SELECT eventsource.register_event_type('paid', schema => '{"required": ["cents", "more"]}') $$, 'ZE011', NULL, 'registered again it must be compatible');
SELECT is(eventsource.register_event_type('paid', schema => '{"required": ["cents"]}', compatibility => 'none', subject => $$ 'who-' || (event.data->>'cents') $$), 2, 'with the same schema it is the same version');
SELECT pg_temp.same_rows($$ SELECT version, is_latest, is_withdrawn FROM eventsource.event_type_versions WHERE type = 'paid' ORDER BY version $$, 'VALUES (1, false, false), (2, true, false)', 'in force');
SELECT throws_ok($$ SELECT eventsource.append('open-2', 'paid', '{"any": "thing"}') $$, 'ZE007', NULL, 'which it is asked of');
SELECT lives_ok($$ SELECT eventsource.append('closed-1', 'paid', '{"cents": 1}') $$, 'and taken where it is strict');
SELECT lives_ok($$ SELECT eventsource.withdraw_event_type('paid') $$, 'withdrawn anew');
SELECT is(eventsource.register_event_type('paid', schema => '{}'), 3, 'another schema is the next version');

-- Of one category.
SELECT eventsource.register_event_type('sold', schema => '{"required": ["all"]}'), eventsource.register_event_type('sold', 'open', '{"required": ["own"]}') \g /dev/null
SELECT eventsource.withdraw_event_type('sold', 'open') \g /dev/null
SELECT lives_ok($$ SELECT eventsource.append('open-3', 'sold', '{}') $$, 'the registration for all does not take its place');
SELECT is(pg_temp.last('open-3'), 'v1 {} open-3', 'indeed');
SELECT throws_ok($$ SELECT eventsource.append('closed-3', 'sold', '{}') $$, 'ZE007', NULL, 'but stays what it is elsewhere');

-- Personal fields.
SELECT eventsource.register_event_type('moved', 'open', '{"required": ["to"]}', pii => '{"email": "hash"}'), eventsource.withdraw_event_type('moved', 'open') \g /dev/null
SELECT count(*) AS n FROM eventsource.append('open-4', 'moved', '{"email": "joe@example.com"}') \gset
SELECT is(eventsource.stored_data(position)::text ~ 'joe', false, 'are not written in clear') FROM eventsource.events WHERE stream = 'open-4';

-- What is none, and who may not.
SELECT pg_temp.refuses($$ SELECT eventsource.withdraw_event_type('pad') $$, '42704', 'event type "pad" is not registered', 'a type that is not registered');
SELECT pg_temp.refuses($$ SELECT eventsource.withdraw_event_type('paied') $$, '42704', 'event type "paied" is not registered', 'nor for all');
SELECT pg_temp.refuses('SELECT eventsource.withdraw_event_type(NULL)', '22004', 'type must not be null', 'none at all');
SELECT ok('withdraw_event_type' = ANY (eventsource.admin_functions()), 'it is for admins');
SELECT is_empty('SELECT * FROM eventsource.verify_chain()', 'the chain verifies');
SELECT * FROM finish();
ROLLBACK;
