\set ECHO none
\i test/helpers.sql
-- Event types: what appends, corrections and questions make of what is registered.
BEGIN;
SELECT plan(89);

CREATE FUNCTION pg_temp.at(name text, n bigint) RETURNS bigint LANGUAGE sql AS $$
	SELECT e.position FROM eventsource.events e WHERE e.stream = name AND e.version = n
$$;
CREATE FUNCTION pg_temp.last(name text) RETURNS text LANGUAGE sql AS $$
	SELECT format('%s v%s %s', e.type, e.schema_version, e.data) FROM eventsource.read_stream(name, max_count => 1, backward => true) e
$$;

SELECT eventsource.register_event_type('paid', schema => '{"type": "object", "required": ["amount"], "additionalProperties": false,
	"properties": {"amount": {"type": "number", "exclusiveMinimum": 0}, "currency": {"enum": ["EUR", "USD"]}, "lines": {"type": "array", "items": {"required": ["sku"]}}}}'),
eventsource.register_event_type('paid', schema => '{"type": "object", "required": ["amount", "currency"],
	"properties": {"amount": {"type": "integer", "exclusiveMinimum": 0}, "currency": {"enum": ["EUR", "USD"]}}}', compatibility => 'none'),
eventsource.register_event_type('paid', 'loan', schema => '{"required": ["loan"]}') \g /dev/null

-- ---- which schema ----

SELECT lives_ok($$ SELECT eventsource.append('order-1', 'paid', '{"amount": 5, "currency": "EUR"}') $$, 'data that matches the latest version');
SELECT is(pg_temp.last('order-1'), 'paid v2 {"amount": 5, "currency": "EUR"}', 'which the event then has');
SELECT lives_ok($$ SELECT eventsource.append('order-1', 'paid', '{"amount": 0.5}', schema_version => 1) $$, 'data that matches an older version, which it names');
SELECT is(pg_temp.last('order-1'), 'paid v1 {"amount": 0.5}', 'has that one');
SELECT is(pg_temp.refusal($$ SELECT eventsource.append('order-1', 'paid', '{"amount": 0.5}') $$), 'ZE007: data does not match version 2 of event type "paid"
DETAIL: /amount: must be an integer, not a number (type)
(root): must have the property "currency" (required)
HINT: It matches version 1: give schema_version => 1 if that is what it is.', 'every failure is listed, and the version that it matches');
SELECT is(pg_temp.refusal($$ SELECT eventsource.append('order-1', 'paid', '{"lines": [{"sku": 1}, {"secret": 2}], "note": "secret", "currency": "secret", "amount": -1}', schema_version => 1) $$),
	'ZE007: data does not match version 1 of event type "paid"
DETAIL: /note: is not allowed (additionalProperties)
/lines/1: must have the property "sku" (required)
/amount: must be more than 0 (exclusiveMinimum)
/currency: must be one of "EUR", "USD" (enum)
HINT: The schema is in the view eventsource.event_type_versions.', 'no value of the data is in the message');
SELECT is(pg_temp.refusal($$ SELECT eventsource.append('order-1', 'paid', '{}', schema_version => 3) $$), 'ZE006: event type "paid" has no schema version 3
DETAIL: Registered: 1, 2.
HINT: Leave schema_version out for the latest, or register the version with eventsource.register_event_type().', 'a version that is not registered');
SELECT throws_ok($$ SELECT eventsource.append('loan-1', 'paid', '{"amount": 5, "currency": "EUR"}') $$, 'ZE007', NULL, 'a category with a registration of its own goes by that');
SELECT lives_ok($$ SELECT eventsource.append('loan-1', 'paid', '{"loan": 1}') $$, 'alone');
SELECT is(pg_temp.last('loan-1'), 'paid v1 {"loan": 1}', 'and by its versions');
SELECT throws_ok($$ SELECT eventsource.append('loan-1', 'paid', '{"loan": 1}', schema_version => 2) $$, 'ZE006', NULL, 'and by no other');
SELECT lives_ok($$ SELECT eventsource.append('order-1', 'note', '{"any": "thing"}') $$, 'what is not registered is allowed');
SELECT is(pg_temp.last('order-1'), 'note v1 {"any": "thing"}', 'in version 1');
SELECT lives_ok($$ SELECT eventsource.append('order-1', 'note', '{}', schema_version => 12) $$, 'or as it is said');
SELECT is(pg_temp.last('order-1'), 'note v12 {}', 'it is stored');
SELECT throws_ok($$ SELECT eventsource.append('order-1', 'paid', '5') $$, 'ZE007', NULL, 'data that is no object');
SELECT throws_ok($$ SELECT eventsource.append('order-1', 'paid') $$, 'ZE007', NULL, 'no data is {}');

-- The DETAIL has an end.
SELECT eventsource.register_event_type('long', schema => '{"additionalProperties": {"type": "string"}}') \g /dev/null
SELECT is((SELECT octet_length(r) BETWEEN 8000 AND 9500 AND r ~ E'\n\\.\\.\\. and \\d+ more\n' FROM (SELECT pg_temp.refusal(
	$$ SELECT eventsource.append('order-1', 'long', (SELECT jsonb_object_agg(n || repeat('k', 100), n) FROM generate_series(1, 1000) n)) $$)) v (r)), true, 'a long list is cut off');

-- ---- every door ----

SELECT pg_temp.refuses($$ SELECT eventsource.append_events('[{"stream": "order-2", "type": "paid", "data": {"amount": 1, "currency": "EUR"}}, {"stream": "order-3", "type": "paid"}]') $$,
	'ZE007', 'data does not match version 2 of event type "paid"', 'append_events');
SELECT is_empty($$ SELECT 1 FROM eventsource.events WHERE stream IN ('order-2', 'order-3') $$, 'is all or nothing');
SELECT lives_ok($$ SELECT eventsource.append_events('[{"stream": "order-2", "type": "paid", "data": {"amount": 1, "currency": "EUR"}}, {"stream": "order-2", "type": "paid", "schema_version": 1, "data": {"amount": 0.1}}]') $$, 'each by its version');
SELECT throws_ok($$ INSERT INTO eventsource.events (stream, type, data) VALUES ('order-4', 'paid', '{"amount": 0}') $$, 'ZE007', NULL, 'INSERT');
SELECT throws_ok($$ INSERT INTO eventsource.events (stream, type, data, schema_version) VALUES ('order-4', 'paid', '{"amount": 1, "currency": "EUR"}', 3) $$, 'ZE006', NULL, 'INSERT with a version');
SELECT lives_ok($$ INSERT INTO eventsource.events (stream, type, data) VALUES ('order-4', 'paid', '{"amount": 1, "currency": "EUR"}') $$, 'that matches');
COPY eventsource.events (stream, type, data, schema_version) FROM stdin;
order-5	paid	{"amount": 1, "currency": "EUR"}	2
order-5	paid	{"amount": 0.1}	1
\.
SELECT is(pg_temp.last('order-5'), 'paid v1 {"amount": 0.1}', 'COPY');
SAVEPOINT copy;
\set ON_ERROR_STOP off
\set VERBOSITY sqlstate
\echo # ZE007:
COPY eventsource.events (stream, type, data) FROM stdin;
order-6	paid	{"amount": 1, "currency": "EUR"}
order-6	paid	{"amount": 0.1}
\.
\set ON_ERROR_STOP on
\set VERBOSITY default
ROLLBACK TO copy;
SELECT is(pg_temp.last('order-6'), NULL, 'COPY of what does not match is refused');

-- Who asks first.
SELECT is((SELECT a.allowed || ' ' || a.sqlstate || ' ' || a.message FROM eventsource.can_append('order-1', 'paid', '{"amount": 1}') a),
	'false ZE007 data does not match version 2 of event type "paid"', 'can_append');
SELECT is((SELECT a.hint FROM eventsource.can_append('order-1', 'paid', '{"amount": 1}') a), 'It matches version 1: give schema_version => 1 if that is what it is.', 'with a hint');
SELECT matches((SELECT a.detail FROM eventsource.can_append('order-1', 'paid', '{"amount": "1"}') a), '/amount.*\n.*currency|currency.*\n.*/amount', 'and with every failure');
SELECT is((SELECT a.allowed FROM eventsource.can_append('order-1', 'paid', '{"amount": 1, "currency": "EUR"}') a), true, 'what matches');
SELECT is((SELECT a.allowed FROM eventsource.can_append('order-1', 'paid', '{"amount": 1}', schema_version => 1) a), true, 'and what matches the version it names');
SELECT is((SELECT a.sqlstate FROM eventsource.can_append('order-1', 'paid', '{"amount": 1}', schema_version => 9) a), 'ZE006', 'which must be registered');
SELECT is((SELECT a.sqlstate FROM eventsource.can_append('order-1', 'paid', '{"amount": 1}', schema_version => 0) a), '22023', 'and can be one');

-- The same event again, though its schema is another now.
SELECT eventsource.append('order-7', 'ticket', '{"n": 1}', idempotency_key => 'k'), eventsource.register_event_type('ticket', schema => 'false') \g /dev/null
SELECT is((SELECT a.is_duplicate FROM eventsource.append('order-7', 'ticket', '{"n": 1}', idempotency_key => 'k') a), true, 'a repetition is no new event');
SELECT throws_ok($$ SELECT eventsource.append('order-7', 'ticket', '{"n": 1}') $$, 'ZE007', NULL, 'this is one');

-- ---- corrections ----

SELECT throws_ok(format($$ SELECT eventsource.correct_event(%s, '{"amount": 0.5}', 'typo', 'joe') $$, pg_temp.at('order-1', 1)), 'ZE007',
	'data does not match version 2 of event type "paid"', 'what an event should have said must match, too');
SELECT throws_ok(format($$ SELECT eventsource.correct_event(%s, '{"amount": "x"}', 'typo', 'joe') $$, pg_temp.at('order-1', 2)), 'ZE007',
	'data does not match version 1 of event type "paid"', 'the schema of its own version');
SELECT lives_ok(format($$ SELECT eventsource.correct_event(%s, '{"amount": 0.25}', 'typo', 'joe') $$, pg_temp.at('order-1', 2)), 'and no other');
SELECT lives_ok(format($$ SELECT eventsource.correct_event(%s, '[1]'::jsonb->0 || '{}', 'typo', 'joe') WHERE false $$, pg_temp.at('order-1', 3)), 'what has no registration is free');
SELECT lives_ok(format($$ SELECT eventsource.void_event(%s, 'typo', 'joe') $$, pg_temp.at('order-1', 1)), 'voided, it says nothing');
SELECT lives_ok(format($$ SELECT eventsource.correct_event(%s, '{"amount": 6, "currency": "USD"}', 'typo', 'joe') $$, pg_temp.at('order-1', 1)), 'restored');
SELECT eventsource.register_event_type('event_corrected', schema => 'false'), eventsource.register_event_type('event_voided', schema => 'false') \g /dev/null
SELECT lives_ok(format($$ SELECT eventsource.correct_event(%s, '{"amount": 7, "currency": "USD"}', 'typo', 'joe') $$, pg_temp.at('order-1', 1)), 'corrections have no type of their own');
SELECT lives_ok(format($$ SELECT eventsource.void_event(%s, 'typo', 'joe') $$, pg_temp.at('order-1', 1)), 'nor have voids');

-- ---- with a machine ----

SELECT eventsource.create_state_machine('typed', '{"initial": "A", "states": {"A": {"on": {
	"go": {"target": "B", "guard": {"positive": "(event.data->>''n'')::int > 0"}, "fill": {"filled": "event.key", "who": "event.subject"}}}}, "B": {"type": "final"}}, "on": {"note": {}}}'),
eventsource.create_category('typed', 'typed', subject => '''customer-1'''),
eventsource.register_event_type('go', 'typed', schema => '{"required": ["filled", "who"], "properties": {"n": {"maximum": 5}, "filled": {"type": "string"}}}', subject => $$ event.data->>'customer' $$) \g /dev/null
SELECT is((SELECT a.state FROM eventsource.append('typed-1', 'go', '{"n": 1, "customer": "c-7"}') a), 'B', 'what the database fills in is there when the schema is asked');
SELECT is(pg_temp.last('typed-1'), 'go v1 {"n": 1, "who": "c-7", "filled": "1", "customer": "c-7"}', 'the type says whom it is about before');
SELECT is(subject, 'c-7', 'and goes before the category') FROM eventsource.events WHERE stream = 'typed-1';
SELECT throws_ok($$ SELECT eventsource.append('typed-2', 'go', '{"n": 0, "bad": 6}') $$, 'ZE005', NULL, 'where it fills in, guards are asked before the schema');
SELECT throws_ok($$ SELECT eventsource.append('typed-2', 'go', '{"n": 6}') $$, 'ZE007', NULL, 'which is asked then');
SELECT is((SELECT a.sqlstate FROM eventsource.can_append('typed-2', 'go', '{"n": 6}') a), 'ZE007', 'can_append asks both');
SELECT is((SELECT a.allowed || ' ' || a.state FROM eventsource.can_append('typed-2', 'go', '{"n": 5}') a), 'true B', 'with what is filled in');
SELECT eventsource.append('typed-2', 'go', '{"n": 5}'), eventsource.append('typed-2', 'note') \g /dev/null
SELECT pg_temp.same_rows($$ SELECT version, subject FROM eventsource.events WHERE stream = 'typed-2' ORDER BY version $$, $$ VALUES (1, 'typed-2'), (2, 'customer-1') $$,
	'a type''s subject that is NULL means the stream; a type without one leaves it to the category');
SELECT lives_ok(format($$ SELECT eventsource.correct_event(%s, '{"n": 2, "customer": "c-8"}', 'typo', 'joe') $$, pg_temp.at('typed-1', 1)), 'a correction is filled, too');
SELECT is(subject, 'c-8', 'and says whom it is about') FROM eventsource.events WHERE stream = 'typed-1' AND version = 2;
-- What is filled in may say whom it is about.
SELECT eventsource.create_state_machine('visited', '{"initial": "A", "states": {"A": {"on": {"over": "B", "left": {"target": "A", "fill": {"customer": "''c-'' || (event.data->>''n'')"}}}}, "B": {"type": "final"}}}'),
eventsource.create_category('visited', 'visited', subject => $$ event.data->>'customer' $$) \g /dev/null
SELECT eventsource.append('visited-1', 'left', '{"n": 1}'), eventsource.append('visited-1', 'left', '{}') \g /dev/null
SELECT pg_temp.same_rows($$ SELECT version, subject FROM eventsource.events WHERE stream = 'visited-1' ORDER BY version $$, $$ VALUES (1, 'c-1'), (2, 'visited-1') $$, 'what is filled in says whom an event is about');
SELECT lives_ok(format($$ SELECT eventsource.correct_event(%s, '{"n": 1, "customer": "c-2"}', 'typo', 'joe') $$, pg_temp.at('visited-1', 1)), 'a correction may say another one');
SELECT is(subject, 'c-2', 'and then it is about that one') FROM eventsource.events WHERE stream = 'visited-1' AND version = 3;
SELECT count(*) AS erased FROM eventsource.erase_subject('c-2', 'anonymize', 'gdpr-request') \gset
SELECT throws_ok($$ SELECT eventsource.append('visited-1', 'left', '{"n": 2}') $$, 'ZE009', NULL, 'nothing is recorded about who is erased, whoever says that it is about them');
SELECT is_empty('SELECT * FROM eventsource.verify_transitions()', 'history is legal');

-- Where it does not, rules may trust what they look at.
SELECT eventsource.create_state_machine('trusting', '{"initial": "A", "states": {"A": {"on": {"go": {"target": "B", "guard": {"positive": "(event.data->>''n'')::int > 0"}}}}, "B": {"type": "final"}}}'),
eventsource.create_category('trusting', 'trusting'),
eventsource.register_event_type('go', 'trusting', schema => '{"required": ["n"], "properties": {"n": {"type": "integer"}}}', subject => $$ ((event.data->>'n')::int)::text $$) \g /dev/null
SELECT throws_ok($$ SELECT eventsource.append('trusting-1', 'go', '{"n": "x"}') $$, 'ZE007', NULL, 'the schema is asked before guards and subjects');
SELECT is((SELECT a.sqlstate FROM eventsource.can_append('trusting-1', 'go', '{"n": "x"}') a), 'ZE007', 'can_append likewise');
SELECT throws_ok($$ SELECT eventsource.append('trusting-1', 'go', '{"n": 0}') $$, 'ZE005', NULL, 'then the guard');
SELECT is((SELECT a.state FROM eventsource.append('trusting-1', 'go', '{"n": 1}') a), 'B', 'what passes both is appended');
SELECT throws_ok($$ SELECT eventsource.append('trusting-1', 'go', '{"n": "x"}') $$, 'ZE007', NULL, 'before it is looked whether the type is legal at all');

-- ---- strict categories ----

SELECT eventsource.create_category('strict', strict => true), eventsource.create_category('both', 'typed', strict => true) \g /dev/null
SELECT lives_ok($$ SELECT eventsource.append('strict-1', 'paid', '{"amount": 1, "currency": "EUR"}') $$, 'a strict category takes registered types');
SELECT is(pg_temp.refusal($$ SELECT eventsource.append('strict-1', 'piad') $$), 'ZE006: event type "piad" is not registered
DETAIL: Category "strict" is strict: it takes only registered types.
HINT: Registered are: "paid".', 'and no other');
SELECT is(pg_temp.refusal($$ SELECT eventsource.append('strict-1', 'go') $$), 'ZE006: event type "go" is not registered
DETAIL: Category "strict" is strict: it takes only registered types.
HINT: Register it with eventsource.register_event_type().', 'not one that another category has');
SELECT throws_ok($$ SELECT eventsource.append('strict-1', repeat('x', 256)) $$, 'ZE006', NULL, 'a long name');
SELECT is((SELECT a.sqlstate FROM eventsource.can_append('strict-1', 'nothing') a), 'ZE006', 'can_append says so');
SELECT throws_ok($$ SELECT eventsource.append('both-1', 'note') $$, 'ZE006', 'event type "note" is not registered', 'a machine that knows a type does not register it');
SELECT pg_temp.same_rows($$ SELECT type, is_allowed FROM eventsource.allowed_transitions('both-1') ORDER BY type $$, $$ VALUES ('go', false), ('note', false) $$, 'allowed_transitions says so');
SELECT eventsource.register_event_type('note', 'both') \g /dev/null
SELECT pg_temp.same_rows($$ SELECT type, is_allowed FROM eventsource.allowed_transitions('both-1') ORDER BY type $$, $$ VALUES ('go', false), ('note', true) $$, 'registered, it is allowed');
SELECT lives_ok($$ SELECT eventsource.append('both-1', 'note') $$, 'indeed');
SELECT lives_ok(format($$ SELECT eventsource.void_event(%s, 'typo', 'joe') $$, pg_temp.at('strict-1', 1)), 'corrections need no registration');
SELECT eventsource.register_event_type(w) FROM unnest('{abc,abd,acd,xbc,abcd,ab,abcde}'::text[]) w \g /dev/null
SELECT matches(pg_temp.refusal($$ SELECT eventsource.append('strict-1', 'abx') $$), 'HINT: Registered are: "ab", "abc", "abd", "abcd", "acd"\.$', 'the nearest are named, five at most');

-- What the database writes for tracked tables has its types from the table.
CREATE TABLE public.typed_table (id int PRIMARY KEY, n int);
INSERT INTO typed_table VALUES (1, 1);
SELECT eventsource.create_category('tracked', strict => true),
	eventsource.register_event_type(t, 'tracked', 'false', subject => $$ 'nobody' $$) FROM unnest('{tracked_created,tracked_updated,row_created,row_updated}'::text[]) t \g /dev/null
SELECT lives_ok($$ SELECT eventsource.track_table('typed_table', 'tracked') $$, 'a strict category may have a tracked table');
SELECT is((SELECT strict FROM eventsource.categories WHERE name = 'tracked'), true, 'and stays strict');
SELECT is(eventsource.backfill('typed_table'), 1::bigint, 'its rows are filled in');
SELECT lives_ok($$ UPDATE typed_table SET n = 2 $$, 'its changes are events');
SELECT is(array_agg(type || ' v' || schema_version || ' ' || subject ORDER BY version), '{"tracked_created v1 tracked-1","tracked_updated v1 tracked-1"}', 'whatever is registered')
FROM eventsource.events WHERE category = 'tracked';
SELECT throws_ok($$ SELECT eventsource.append('tracked-1', 'tracked_updated') $$, 'ZE007', NULL, 'who appends such events himself is asked');

-- ---- a setting that warns ----

SET eventsource.unregistered_types = warn;
SET client_min_messages = warning;
\echo # two warnings, of "misc" and of "paied":
SELECT is((SELECT a.version FROM eventsource.append('free-1', 'misc') a), 1::bigint, 'unregistered, with a warning');
SELECT is((SELECT a.version FROM eventsource.append('free-1', 'misc') a), 2::bigint, 'once');
SELECT is((SELECT a.version FROM eventsource.append('free-1', 'paied') a), 3::bigint, 'another');
\echo # no more
SELECT throws_ok($$ SELECT eventsource.append('strict-1', 'misc') $$, 'ZE006', NULL, 'strict is strict');
RESET eventsource.unregistered_types;
SELECT throws_ok('SET eventsource.unregistered_types = refuse', '22023', NULL, 'the setting knows two words');

-- ---- beside plain SQL: which registration, which version, does the data match? ----

SELECT setseed(0.5) \g /dev/null
SELECT eventsource.register_event_type('t' || t, CASE WHEN c > 0 THEN 'oracle' || c END,
	CASE WHEN random() < 0.9 THEN jsonb_build_object('properties', jsonb_build_object('n', jsonb_build_object('maximum', (random() * 10)::int))) END, compatibility => 'none')
FROM generate_series(1, 5) t, generate_series(0, 3) c, generate_series(1, 3) WHERE random() < 0.6 \g /dev/null
CREATE TEMP TABLE oracle (category text, type text, version int, n int, want text, have text);
INSERT INTO oracle SELECT 'oracle' || ceil(random() * 4), 't' || ceil(random() * 6), CASE WHEN random() < 0.5 THEN ceil(random() * 4) END, (random() * 10)::int FROM generate_series(1, 500);
CREATE TEMP TABLE known AS SELECT * FROM eventsource.event_type_versions;
UPDATE oracle o SET want = CASE WHEN r.type IS NULL THEN 'v' || coalesce(o.version, 1)
	WHEN v.version IS NULL THEN 'ZE006'
	WHEN v.schema IS NULL OR eventsource.jsonb_matches_schema(v.schema, jsonb_build_object('n', o.n)) THEN 'v' || v.version ELSE 'ZE007' END
FROM oracle q
LEFT JOIN LATERAL (SELECT * FROM known e WHERE e.is_latest AND e.type = q.type AND (e.category = q.category OR e.category IS NULL)
	ORDER BY e.category NULLS LAST LIMIT 1) r ON true
LEFT JOIN known v ON v.type = r.type AND v.category IS NOT DISTINCT FROM r.category AND v.version = coalesce(q.version, r.version)
WHERE q.ctid = o.ctid;
CREATE FUNCTION pg_temp.try(category text, type text, version int, n int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	appended bigint;
BEGIN
	appended := (eventsource.append(category || '-1', type, jsonb_build_object('n', n), schema_version => version)).version;
	RETURN (SELECT 'v' || e.schema_version FROM eventsource.read_stream(category || '-1', appended) e);
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END
$$;
UPDATE oracle SET have = pg_temp.try(category, type, version, n);
SELECT is_empty('SELECT * FROM oracle WHERE have IS DISTINCT FROM want', 'plain SQL agrees');
SELECT is(count(DISTINCT want) > 4, true, 'about all sorts of answers') FROM oracle;
SELECT is_empty('SELECT * FROM eventsource.verify_chain()', 'the chain verifies');
SELECT matches(pg_temp.refusal(format($$ SELECT eventsource.correct_event(%s, '{"amount": 0.5}', 'typo', 'joe') $$, pg_temp.at('order-1', 1))),
	'HINT: A correction has the version of its event', 'data of another version is not what a correction wants');
SELECT * FROM finish();
ROLLBACK;
