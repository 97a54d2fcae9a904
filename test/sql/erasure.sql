\set ECHO none
\i test/helpers.sql
-- Erasure: a subject is deactivated, or its events become tombstones; projections are folded anew from what is
-- left, the chain verifies, machines accept what happened, and nothing is recorded about it any more.
BEGIN;
SELECT plan(100);

CREATE FUNCTION pg_temp.refusal_n(command text) RETURNS text LANGUAGE sql AS $$
	SELECT regexp_replace(pg_temp.refusal(command), 'position \d+', 'position N', 'g')
$$;
CREATE FUNCTION pg_temp.at(name text, n bigint) RETURNS bigint LANGUAGE sql AS $$
	SELECT e.position FROM eventsource.events e WHERE e.stream = name AND e.version = n
$$;
CREATE FUNCTION pg_temp.erase(subject text, mode text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(r.target || ' ' || r.affected, ', ' ORDER BY r.target) FROM eventsource.erase_subject(subject, mode, 'gdpr-request', 'dpo:ann') r WHERE r.affected > 0
$$;
-- What is wrong anywhere in what this file makes: nothing, ever.
CREATE FUNCTION pg_temp.problems() RETURNS SETOF text LANGUAGE sql AS $$
	SELECT 'chain: ' || p::text FROM eventsource.verify_chain() p
	UNION ALL SELECT 'transitions: ' || p::text FROM eventsource.verify_transitions() p
	UNION ALL SELECT r.target || ': ' || p::text
	FROM eventsource.projections r, eventsource.verify_projection(r.target) p WHERE r.name LIKE 'public.era%' AND r.target IS NOT NULL
$$;

SELECT eventsource.create_state_machine('era', $$ {"initial": "NEW", "create": {"signed_up": "NEW"},
	"states": {"NEW": {"on": {"verified": {"target": "ACTIVE", "guard": {"code": "event.data->>'code' = '42'"}}}},
		"ACTIVE": {"on": {"left": "GONE"}}, "GONE": {"type": "final"}},
	"on": {"ordered": {}, "noted": {}}} $$) AS defined \gset
-- One row per stream, one shared between streams, one per event; and one that follows at its own pace.
CREATE TABLE era_customer (key text PRIMARY KEY, email text, n int NOT NULL DEFAULT 0, state text);
CREATE TABLE era_city (city text PRIMARY KEY, n int NOT NULL DEFAULT 0, total numeric NOT NULL DEFAULT 0);
CREATE TABLE era_step (at bigint PRIMARY KEY, note text);
CREATE TABLE era_slow (city text PRIMARY KEY, names text NOT NULL DEFAULT '');
SELECT eventsource.create_projection('era_customer', ARRAY['eracust'], jsonb_build_object(
	'*', 'n = row.n + 1, state = event.to_state', 'signed_up', $$n = row.n + 1, state = event.to_state, email = event.data->>'email'$$)) AS defined,
eventsource.create_projection('era_city', ARRAY['eracust', 'eraorder'], jsonb_build_object(
	'ordered', $$n = row.n + 1, total = row.total + (event.data->>'amount')::numeric$$), key => jsonb_build_object('city', $$event.data->>'city'$$), mode => 'inline') AS defined,
eventsource.create_projection('era_step', ARRAY['eracust', 'eraorder'], jsonb_build_object('noted', $$note = event.data->>'note'$$), key => jsonb_build_object('at', 'event.position')) AS defined,
eventsource.create_projection('era_slow', ARRAY['eracust'], jsonb_build_object('signed_up', $$names = row.names || (event.data->>'email') || ';'$$),
	key => jsonb_build_object('city', $$event.data->>'city'$$), mode => 'async') AS defined \gset
SELECT eventsource.create_category('eracust', 'era') AS defined, eventsource.create_category('eraorder', subject => $$event.data->>'customer'$$) AS defined \gset

SELECT eventsource.append('eracust-1', 'signed_up', '{"email": "alice@example.com", "city": "Rome"}', idempotency_key => 'alice'),
	eventsource.append('eracust-1', 'verified', '{"code": "42"}', metadata => '{"ip": "10.1.2.3", "correlation_id": "c1"}'),
	eventsource.append('eracust-1', 'ordered', '{"city": "Rome", "amount": 10}'),
	eventsource.append('eracust-1', 'noted', '{"note": "likes alice"}'),
	eventsource.append('eracust-2', 'signed_up', '{"email": "bob@example.com", "city": "Rome"}', idempotency_key => 'bob'),
	eventsource.append('eracust-2', 'ordered', '{"city": "Rome", "amount": 5}'),
	eventsource.append('eraorder-7', 'ordered', '{"customer": "eracust-1", "city": "Oslo", "amount": 100}'),
	eventsource.append('eraorder-7', 'noted', '{"customer": "eracust-2", "note": "of bob"}'),
	eventsource.append('eraorder-7', 'noted', '{"customer": "eracust-1", "note": "of alice"}') \g /dev/null
SELECT eventsource.correct_event(pg_temp.at('eracust-1', 3), '{"city": "Bern", "amount": 11}', 'typing_error', 'agent:joe') \g /dev/null

-- ---- arguments ----

SELECT pg_temp.refuses('SELECT eventsource.erase_subject(NULL, ''hard'', ''r'')', '22004', 'subject must not be null or empty', 'a subject is needed');
SELECT pg_temp.refuses('SELECT eventsource.erase_subject(''eracust-1'', ''gently'', ''r'')', '22023', 'unknown mode "gently"', 'of a known mode');
SELECT pg_temp.refuses('SELECT eventsource.erase_subject(''eracust-1'', ''hard'', '''')', '22004', 'reason must not be null or empty', 'with a reason');
SELECT pg_temp.refuses('SELECT eventsource.erase_subject(''$config-category.x'', ''hard'', ''r'')', '42939', '"$config-category.x" cannot be erased', 'the log''s own streams are nobody');
SELECT pg_temp.refuses('SELECT eventsource.erase_subject(''eracust-99'', ''hard'', ''r'')', 'P0002', 'nothing is known about subject "eracust-99"', 'a slip of the pen is no erasure');
SELECT is_empty('SELECT * FROM eventsource.erased_subjects', 'and leaves no mark');
SELECT pg_temp.refuses('SELECT eventsource.append(''$erasure-eracust-1'', ''erasure_completed'', ''{}'')', '42939', 'category "$erasure" is reserved', 'nobody appends to its streams');

-- ---- requests ----

SELECT isnt(eventsource.request_erasure('eracust-1', 'hard', actor => 'customer'), NULL, 'a case is opened');
SELECT is(pg_temp.refusal_n('SELECT eventsource.request_erasure(''eracust-1'')'), '55000: erasure of subject "eracust-1" was requested already
DETAIL: The request at position N in mode hard is open.
HINT: The view eventsource.erasure_requests shows its deadline.', 'once');
SELECT pg_temp.refuses('SELECT eventsource.request_erasure(''eracust-2'', deadline => NULL)', '22004', 'deadline must not be null', 'with a deadline');
SELECT eventsource.request_erasure('eracust-2', deadline => '-1 day') \g /dev/null
SELECT is(format('%s %s', h.status, h.value), 'degraded 1', 'health() tells that one is overdue') FROM eventsource.health_erasure() h;
SELECT pg_temp.same_rows($$ SELECT subject, mode, reason, actor, status, completed_mode, deadline > requested_at FROM eventsource.erasure_requests ORDER BY position $$,
	$$ VALUES ('eracust-1', 'hard', 'gdpr-request', 'customer', 'open', NULL, true), ('eracust-2', 'anonymize', 'gdpr-request', session_user::text, 'overdue', NULL, false) $$, 'the view shows what is due');
SELECT ok(p.version IS NOT NULL, 'a request stops nobody') FROM eventsource.append('eracust-1', 'noted', '{"note": "still here"}') p;

-- ---- soft ----

SELECT is(pg_temp.erase('eracust-1', 'soft'), NULL, 'soft: a deactivation takes nothing away that is not personal');
SELECT pg_temp.refuses('SELECT eventsource.append(''eracust-1'', ''noted'')', 'ZE009', 'subject "eracust-1" is erased', 'nothing is recorded about it');
SELECT pg_temp.refuses('SELECT eventsource.append(''eraorder-8'', ''noted'', ''{"customer": "eracust-1"}'')', 'ZE009', 'subject "eracust-1" is erased', 'in no stream');
SELECT pg_temp.refuses('INSERT INTO eventsource.events (stream, type) VALUES (''eracust-1'', ''noted'')', 'ZE009', 'subject "eracust-1" is erased', 'by no door');
SELECT is(pg_temp.refusal_n(format('SELECT eventsource.correct_event(%s, ''{"note": "x"}'', ''r'', ''a'')', pg_temp.at('eracust-1', 4))), 'ZE009: subject "eracust-1" is erased
DETAIL: It was deactivated, and nothing is recorded about it.
HINT: eventsource.revert_erasure() restores it.', 'nor as a correction');
SELECT is(c.sqlstate || ' ' || c.message, 'ZE009 subject "eracust-1" is erased', 'can_append knows') FROM eventsource.can_append('eracust-1', 'noted') c;
SELECT ok(p.is_duplicate, 'a repetition gets its result') FROM eventsource.append('eracust-1', 'signed_up', '{"email": "alice@example.com", "city": "Rome"}', idempotency_key => 'alice') p;
SELECT ok(p.version > 0, 'others go on') FROM eventsource.append('eraorder-7', 'noted', '{"customer": "eracust-2", "note": "more"}') p;
SELECT pg_temp.same_rows('SELECT subject, mode FROM eventsource.erased_subjects', $$ VALUES ('eracust-1', 'soft') $$, 'it is listed');
SELECT pg_temp.refuses('SELECT eventsource.erase_subject(''eracust-1'', ''soft'', ''r'')', '55000', 'subject "eracust-1" is erased already', 'once');
SELECT is(status, 'open', 'the case asked for more') FROM eventsource.erasure_requests WHERE subject = 'eracust-1';
SELECT is_empty('SELECT * FROM pg_temp.problems()', 'all verifies');
SELECT eventsource.revert_erasure('eracust-1', 'reactivated', 'dpo:ann') \g /dev/null
SELECT is_empty('SELECT * FROM eventsource.erased_subjects', 'a deactivation can be reverted');
SELECT ok(p.version > 0, 'events are recorded again') FROM eventsource.append('eracust-1', 'noted', '{"note": "back"}') p;
SELECT pg_temp.refuses('SELECT eventsource.revert_erasure(''eracust-1'', ''r'')', '55000', 'erasure of subject "eracust-1" cannot be reverted', 'once');

-- ---- hard ----

SELECT eventsource.set_snapshot_policy('eracust', 2) \g /dev/null
SELECT eventsource.append('eracust-1', 'noted', '{"note": "n"}'), eventsource.append('eracust-1', 'noted', '{"note": "n"}') \g /dev/null
SELECT eventsource.append('eracust-5', 'signed_up', '{"email": "eve@example.com", "city": "Rome"}'), eventsource.append('eracust-5', 'noted', '{"note": "x"}') \g /dev/null
CREATE TEMP TABLE before AS SELECT position, stream, version, type, subject, actor, from_state, to_state, hash, recorded_at, occurred_at FROM eventsource.events WHERE stream ~ '^era';
SELECT pg_temp.same_rows('SELECT * FROM era_city ORDER BY city', $$ VALUES ('Bern', 1, 11), ('Oslo', 1, 100), ('Rome', 1, 5) $$, 'before');
SELECT is(pg_temp.erase('eracust-1', 'hard'), 'events 11, idempotency keys 1, projection rows 9', 'hard: what was cleared where');
SELECT is_empty('SELECT * FROM pg_temp.problems()', 'all verifies: the chain, the transitions, the projections');
SELECT pg_temp.same_rows('SELECT * FROM era_city ORDER BY city', $$ VALUES ('Rome', 1, 5) $$, 'shared rows count what is left');
SELECT pg_temp.same_rows('SELECT key FROM era_customer ORDER BY key', $$ VALUES ('2'), ('5') $$, 'its own row is gone');
SELECT pg_temp.same_rows('SELECT note FROM era_step ORDER BY note', $$ VALUES ('more'), ('of bob'), ('x') $$, 'so are the rows of its events');
SELECT is(array_agg(DISTINCT status), '{redacted}', 'verify_log tells what was erased from what was tampered with') FROM eventsource.verify_log();
SELECT is_empty($$ (SELECT * FROM before EXCEPT SELECT position, stream, version, type, subject, actor, from_state, to_state, hash, recorded_at, occurred_at FROM eventsource.events) $$,
	'all but the payload stays');
SELECT is_empty($$ SELECT * FROM eventsource.events e WHERE subject = 'eracust-1' AND category <> '$erasure' AND (data <> '{}' OR metadata <> '{}') AND NOT metadata ? 'corrects' $$, 'that is gone');
SELECT is_empty($$ SELECT * FROM eventsource.events e WHERE e::text ~ 'alice|10\.1\.2\.3' $$, 'no event says it');
SELECT is_empty($$ SELECT * FROM eventsource.corrections c WHERE c::text ~ 'Bern' $$, 'no correction does');
SELECT isnt_empty($$ SELECT * FROM eventsource.snapshots WHERE stream = 'eracust-5' $$, 'a stream has a snapshot');
SELECT is(pg_temp.erase('eracust-5', 'hard'), 'events 2, projection rows 2, snapshots 2', 'which goes');
SELECT is_empty($$ SELECT * FROM eventsource.snapshots WHERE stream = 'eracust-5' $$, 'all of them');
SELECT is_empty($$ SELECT * FROM eventsource.idempotency WHERE key = 'alice' $$, 'no key');
SELECT is(count(*), 1::bigint, 'others have theirs') FROM eventsource.idempotency WHERE key = 'bob';
SELECT is(eventsource.current_state('eracust-1'), 'ACTIVE', 'the state stays');
SELECT is(eventsource.state_at('eracust-1', 'infinity', 'occurred'), 'ACTIVE', 'at any time');
SELECT pg_temp.refuses('SELECT eventsource.append(''eracust-1'', ''noted'')', 'ZE009', 'subject "eracust-1" is erased', 'nothing is recorded any more');
SELECT pg_temp.refuses('SELECT eventsource.revert_erasure(''eracust-1'', ''r'')', '55000', 'erasure of subject "eracust-1" cannot be reverted', 'this is for good');
SELECT pg_temp.refuses('SELECT eventsource.erase_subject(''eracust-1'', ''anonymize'', ''r'')', '55000', 'subject "eracust-1" is erased already', 'and all that can be done');
SELECT pg_temp.refuses('SELECT eventsource.request_erasure(''eracust-1'')', '55000', 'subject "eracust-1" is erased already', 'or asked for');
SELECT ok(p.version > 0, 'a stream that is about others, too, goes on') FROM eventsource.append('eraorder-7', 'noted', '{"customer": "eracust-2", "note": "later"}') p;
SELECT pg_temp.same_rows($$ SELECT status, completed_mode FROM eventsource.erasure_requests WHERE subject = 'eracust-1' $$, $$ VALUES ('completed', 'hard') $$, 'the case is closed');
SELECT pg_temp.same_rows($$ SELECT what, mode, target, affected, reason, actor FROM eventsource.erasure_report('eracust-1') WHERE affected <> 0 OR affected IS NULL $$, $$ VALUES
	('erasure_requested', 'hard', NULL::text, NULL::bigint, 'gdpr-request', 'customer'), ('erasure_completed', 'hard', 'events', 11, 'gdpr-request', 'dpo:ann'),
	('erasure_completed', 'hard', 'idempotency keys', 1, 'gdpr-request', 'dpo:ann'), ('erasure_completed', 'hard', 'projection rows', 9, 'gdpr-request', 'dpo:ann') $$, 'the report');
SELECT is(eventsource.export_subject('eracust-1') ->> 'erased', 'hard', 'the export knows');
SELECT is(jsonb_path_query_array(eventsource.export_subject('eracust-2'), '$.events[*].data.note')::text, '["of bob", "more", "later"]', 'and has what is about a subject, wherever');
SELECT is_empty('SELECT * FROM pg_temp.problems()', 'all verifies');

-- ---- erasers of users ----

CREATE TABLE era_mail (customer text, address text);
INSERT INTO era_mail VALUES ('eracust-2', 'bob@example.com'), ('eracust-2', 'bob@example.org'), ('eracust-3', 'eve@example.com');
CREATE FUNCTION era_forget(subject text, mode text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE n bigint;
BEGIN
	DELETE FROM public.era_mail WHERE customer = subject;
	GET DIAGNOSTICS n = ROW_COUNT;
	PERFORM eventsource.append('eramail-1', 'forgotten', jsonb_build_object('customer', subject));
	RETURN n;
END $$;
SELECT eventsource.create_category('eramail', subject => $$event.data->>'customer'$$) AS defined \gset
CREATE FUNCTION era_wrong(text) RETURNS bigint LANGUAGE sql AS 'SELECT 1';
SELECT pg_temp.refuses('SELECT eventsource.register_eraser(''era_wrong(text)'')', '42883', 'public.era_wrong(pg_catalog.text) cannot be an eraser', 'an eraser takes subject and mode');
SELECT is(eventsource.register_eraser('era_forget(text, text)'), 1::bigint, 'a function of a user''s takes part');
SELECT pg_temp.same_rows('SELECT eraser, version, owner FROM eventsource.erasers', $$ VALUES ('public.era_forget(pg_catalog.text,pg_catalog.text)', 1::bigint, current_user::text) $$, 'it is listed');
SELECT is(pg_temp.erase('eracust-2', 'hard'), 'events 6, idempotency keys 1, projection rows 5, public.era_forget(pg_catalog.text,pg_catalog.text) 2', 'its count is one of the targets');
SELECT is_empty($$ SELECT * FROM era_mail WHERE customer = 'eracust-2' $$, 'it has cleared its table');
SELECT is(data::text, '{}', 'what it recorded is erased with the rest') FROM eventsource.events WHERE stream = 'eramail-1';
SELECT is(pg_temp.erase('eracust-3', 'hard'), 'events 1, public.era_forget(pg_catalog.text,pg_catalog.text) 1', 'a subject may be known to erasers alone');
ALTER FUNCTION era_forget(text, text) RENAME TO era_forgotten;
SELECT pg_temp.refuses('SELECT * FROM eventsource.erase_subject(''eracust-none'', ''hard'', ''r'')', '42883', 'the function of eraser public.era_forget(pg_catalog.text,pg_catalog.text) is gone', 'its function has to be there');
ALTER FUNCTION era_forgotten(text, text) RENAME TO era_forget;
SELECT eventsource.drop_eraser('era_forget(text, text)') \g /dev/null
SELECT pg_temp.refuses('SELECT eventsource.drop_eraser(''public.era_forget(pg_catalog.text,pg_catalog.text)'')', '42704', 'there is no eraser "public.era_forget(pg_catalog.text,pg_catalog.text)"', 'it takes part no more');
SELECT is_empty('SELECT * FROM eventsource.erasers', 'and is not listed');
SELECT is_empty('SELECT * FROM pg_temp.problems()', 'all verifies');

-- ---- requests that are not met ----

CREATE FUNCTION pg_temp.cases(whose text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', q.mode, q.status, q.completed_mode, q.closed_by, q.closing_reason), ', ' ORDER BY q.position) FROM eventsource.erasure_requests q WHERE q.subject = whose
$$;
SELECT eventsource.request_erasure('eracust-77', 'soft', deadline => '-1 day'), eventsource.request_erasure('eracust-77', 'hard', deadline => '-1 day') \g /dev/null
SELECT is(pg_temp.cases('eracust-77'), 'soft overdue, hard overdue', 'about whom nothing is known, two of them');
SELECT is(h.status || ' ' || h.value, 'degraded 2', 'health() tells') FROM eventsource.health_erasure() h;
SELECT pg_temp.refuses('SELECT eventsource.erase_subject(''eracust-77'', ''hard'', ''r'')', 'P0002', 'nothing is known about subject "eracust-77"', 'they cannot be met');
SELECT pg_temp.refuses('SELECT eventsource.close_erasure_request(''eracust-77'', NULL)', '22004', 'reason must not be null or empty', 'closing them needs a reason');
SELECT pg_temp.refuses('SELECT eventsource.close_erasure_request(NULL, ''r'')', '22004', 'subject must not be null or empty', 'and a subject');
SELECT pg_temp.refuses('SELECT eventsource.close_erasure_request(''$x'', ''r'')', '42939', '"$x" cannot be erased', 'that can be one');
SELECT is(pg_temp.refusal('SELECT eventsource.close_erasure_request(''eracust-78'', ''r'')'), '55000: no erasure of subject "eracust-78" is requested
DETAIL: No request about it was made, or the last one was met or closed.
HINT: The view eventsource.erasure_requests shows all, and their status.', 'and a request');
SELECT eventsource.close_erasure_request('eracust-77', 'not a customer', 'dpo:ann') AS closing \gset
SELECT is(pg_temp.cases('eracust-77'), 'soft closed dpo:ann not a customer, hard closed dpo:ann not a customer', 'both are closed');
SELECT ok(q.closed_at = e.recorded_at AND q.completed_at IS NULL, 'when it was') FROM eventsource.erasure_requests q, eventsource.erasures e WHERE q.subject = 'eracust-77' AND q.mode = 'hard' AND e.position = :closing;
SELECT is(e.data, jsonb_build_object('mode', 'hard', 'request', q.position), 'the event says which') FROM eventsource.erasures e, eventsource.erasure_requests q
 WHERE e.position = :closing AND q.subject = 'eracust-77' AND q.mode = 'hard';
SELECT is(h.status || ' ' || h.message, 'healthy none is open', 'nothing is due') FROM eventsource.health_erasure() h;
SELECT pg_temp.same_rows($$ SELECT what, mode, target, reason, actor FROM eventsource.erasure_report('eracust-77') OFFSET 1 $$, $$ VALUES
	('erasure_requested', 'hard', NULL::text, 'gdpr-request', session_user::text), ('erasure_closed', 'hard', NULL, 'not a customer', 'dpo:ann') $$, 'the report');
SELECT pg_temp.refuses('SELECT eventsource.close_erasure_request(''eracust-77'', ''r'')', '55000', 'no erasure of subject "eracust-77" is requested', 'once');
SELECT isnt(eventsource.request_erasure('eracust-77'), NULL, 'another request may follow');
SELECT eventsource.append('eracust-77', 'signed_up', '{"email": "f@example.com", "city": "Rome"}') \g /dev/null
SELECT is(pg_temp.erase('eracust-77', 'hard'), 'events 1, projection rows 1', 'and be met');
SELECT is(pg_temp.cases('eracust-77'), 'soft closed dpo:ann not a customer, hard closed dpo:ann not a customer, anonymize completed hard', 'which changes nothing of what was closed');
SELECT pg_temp.refuses('SELECT eventsource.close_erasure_request(''eracust-77'', ''r'')', '55000', 'no erasure of subject "eracust-77" is requested', 'what is met cannot be closed');
SELECT eventsource.append('eracust-79', 'signed_up', '{"email": "g@example.com", "city": "Rome"}'), eventsource.request_erasure('eracust-79', 'anonymize'),
	eventsource.close_erasure_request('eracust-79', 'withdrawn'), pg_temp.erase('eracust-79', 'anonymize') \g /dev/null
SELECT ok(NOT e.data ? 'request', 'an erasure names no request that was closed before') FROM eventsource.erasures e WHERE e.subject = 'eracust-79' AND e.type = 'erasure_completed';
SELECT is(pg_temp.cases('eracust-79'), 'anonymize closed ' || session_user || ' withdrawn', 'who is not named, is who is logged in');
SELECT is_empty('SELECT * FROM pg_temp.problems()', 'all verifies');

-- ---- rights ----

CREATE ROLE era_reader; CREATE ROLE era_dpo; CREATE ROLE era_clerk;
SELECT eventsource.grant_reader('era_reader'), eventsource.grant_eraser('era_dpo', '{anonymize,hard}'), eventsource.grant_eraser('era_clerk', '{soft}') \g /dev/null
SELECT pg_temp.refuses('SELECT eventsource.grant_eraser(''era_dpo'', ''{all}'')', '22023', 'unknown mode ''all''', 'modes are known');
SELECT pg_temp.refuses('SELECT eventsource.revoke_eraser(''era_dpo'', ''{hrad}'')', '22023', 'unknown mode in ''{hrad}''', 'to who takes them back, too');
SELECT eventsource.append('eracust-4', 'signed_up', '{"email": "d@example.com", "city": "Rome"}') \g /dev/null
SET ROLE era_reader;
SELECT throws_ok('SELECT eventsource.erase_subject(''eracust-4'', ''soft'', ''r'')', '42501', 'permission denied for function erase_subject', 'a reader erases nothing');
SELECT throws_ok('SELECT eventsource.close_erasure_request(''eracust-4'', ''r'')', '42501', 'permission denied for function close_erasure_request', 'nor closes a case');
SELECT throws_ok('SELECT eventsource.export_subject(''eracust-4'')', '42501', 'permission denied for function export_subject', 'nor exports');
SELECT lives_ok('SELECT * FROM eventsource.erasure_requests', 'but sees what is due');
SET ROLE era_clerk;
SELECT pg_temp.refuses('SELECT eventsource.erase_subject(''eracust-4'', ''hard'', ''r'')', '42501', 'permission denied to erase a subject in mode hard', 'each mode is a right');
SELECT lives_ok('SELECT eventsource.erase_subject(''eracust-4'', ''soft'', ''r'')', 'who has it, may');
SELECT lives_ok('SELECT eventsource.revert_erasure(''eracust-4'', ''r'')', 'and may revert it');
SELECT lives_ok('SELECT eventsource.request_erasure(''eracust-4'', ''hard''), eventsource.close_erasure_request(''eracust-4'', ''r'')', 'cases are everybody''s who erases');
SET ROLE era_dpo;
SELECT pg_temp.refuses('SELECT eventsource.erase_subject(''eracust-4'', ''soft'', ''r'')', '42501', 'permission denied to erase a subject in mode soft', 'the stronger does not give the weaker');
SELECT lives_ok('SELECT eventsource.erase_subject(''eracust-4'', ''hard'', ''r'')', 'another has another');
RESET ROLE;
SELECT is_empty('SELECT * FROM pg_temp.problems()', 'all verifies');
SELECT * FROM finish();
ROLLBACK;

BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT plan(1);
SELECT pg_temp.refuses('SELECT eventsource.erase_subject(''era-1'', ''hard'', ''r'')', '0A000', 'eventsource.erase_subject() needs isolation level READ COMMITTED', 'what is committed while it waits must be seen');
SELECT * FROM finish();
ROLLBACK;

-- A row so wide that what it is about is stored apart.
BEGIN;
SELECT plan(2);
CREATE FUNCTION pg_temp.noise(seed int, length int) RETURNS text LANGUAGE sql AS $$
	SELECT left(string_agg(translate(encode(sha512(n::text::bytea), 'base64'), E'\n', ''), '' ORDER BY n), length) FROM generate_series(seed, seed + 12) n
$$;
SELECT eventsource.create_category('erawide', subject => $$event.data->>'customer'$$) AS defined \gset
SELECT eventsource.append('erawide-1', 'noted', jsonb_build_object('customer', pg_temp.noise(1, 1000)), metadata => jsonb_build_object('note', pg_temp.noise(50, 950))) \g /dev/null
SELECT is((SELECT affected FROM eventsource.erase_subject(pg_temp.noise(1, 1000), 'hard', 'r') WHERE target = 'events'), 1::bigint, 'its event is found');
SELECT is((SELECT data FROM eventsource.events WHERE stream = 'erawide-1'), '{}', 'and cleared');
SELECT * FROM finish();
ROLLBACK;
