\set ECHO none
\i test/helpers.sql
-- Personal fields when a subject is erased: hidden and shown again, replaced by their strategy, gone; what is made
-- of them follows, and the log tells what was taken away lawfully from what was not.
BEGIN;
SELECT plan(38);

CREATE FUNCTION pg_temp.erase(subject text, mode text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(r.target || ' ' || r.affected, ', ' ORDER BY r.target) FROM eventsource.erase_subject(subject, mode, 'gdpr-request', 'dpo:ann') r WHERE r.affected > 0
$$;
CREATE FUNCTION pg_temp.revert(subject text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(r.target || ' ' || r.affected, ', ' ORDER BY r.target) FROM eventsource.revert_erasure(subject, 'reactivated', 'dpo:ann') r WHERE r.affected > 0
$$;
CREATE FUNCTION pg_temp.shown(name text, n bigint) RETURNS jsonb LANGUAGE sql AS $$ SELECT data FROM eventsource.events WHERE stream = name AND version = n $$;
CREATE FUNCTION pg_temp.problems() RETURNS SETOF text LANGUAGE sql AS $$
	SELECT 'chain: ' || p::text FROM eventsource.verify_chain() p
	UNION ALL SELECT 'log: ' || p::text FROM eventsource.verify_log() p WHERE p.status = 'tampered'
	UNION ALL SELECT 'transitions: ' || p::text FROM eventsource.verify_transitions() p
	UNION ALL SELECT r.target || ': ' || p::text
	FROM eventsource.projections r, eventsource.verify_projection(r.target) p WHERE r.name LIKE 'public.ep%' AND r.target IS NOT NULL
$$;

SELECT eventsource.register_event_type('signed_up', category => 'epcust', pii => '{"email": "hash", "ip": "mask_ip", "ip6": "mask_ip", "agent": "redact", "name.first": "null", "born": "hash", "language": "keep"}'),
	eventsource.register_event_type('mailed', category => 'epcust', pii => '{"to.*": "hash"}'),
	eventsource.register_event_type('ordered', category => 'eporder', pii => '{"address": "null"}', subject => $$event.data->>'customer'$$) \g /dev/null
CREATE TABLE ep_customer (key text PRIMARY KEY, email text, first_name text, plan text, n int NOT NULL DEFAULT 0);
SELECT eventsource.create_projection('ep_customer', ARRAY['epcust'], jsonb_build_object('*', 'n = row.n + 1',
	'signed_up', $$n = row.n + 1, email = event.data->>'email', first_name = event.data->'name'->>'first', plan = event.data->>'plan'$$)) AS defined \gset

SELECT eventsource.append('epcust-1', 'signed_up', '{"email": "ann@example.com", "ip": "10.1.2.3", "ip6": "2001:db8:1:2::3", "agent": "Firefox", "name": {"first": "Ann", "title": "Dr"}, "born": 1970, "language": "de", "plan": "gold"}'),
	eventsource.append('epcust-1', 'mailed', '{"to": ["ann@example.com", "bob@example.com"], "n": 1}'),
	eventsource.append('epcust-1', 'signed_up', '{"email": "ann@example.com", "ip": "unknown", "plan": "silver"}'),
	eventsource.append('eporder-1', 'ordered', '{"customer": "epcust-1", "address": "Elm 5", "amount": 5}'),
	eventsource.append('epcust-2', 'signed_up', '{"email": "eve@example.com", "plan": "gold"}') \g /dev/null
SELECT eventsource.correct_event(position, '{"email": "ann.new@example.com", "ip": "10.9.9.9", "plan": "iron"}', 'typing_error', 'agent:joe') FROM eventsource.events WHERE stream = 'epcust-1' AND version = 3 \g /dev/null
CREATE TEMP TABLE before AS SELECT position, stream, version, data, hash FROM eventsource.events WHERE category ~ '^ep';
CREATE TEMP TABLE rows_before AS SELECT * FROM ep_customer;

-- ---- soft ----

SELECT is(pg_temp.erase('epcust-1', 'soft'), 'personal fields 14, projection rows 1', 'soft hides what is personal');
SELECT is(pg_temp.shown('epcust-1', 1), '{"name": {"title": "Dr"}, "plan": "gold"}', 'from everybody');
SELECT is(pg_temp.shown('epcust-1', 2), '{"n": 1, "to": [null, null]}', 'whatever it was');
SELECT is(pg_temp.shown('eporder-1', 1), '{"customer": "epcust-1", "amount": 5}', 'in every stream');
SELECT is(pg_temp.shown('epcust-2', 1), '{"email": "eve@example.com", "plan": "gold"}', 'of nobody else');
SELECT pg_temp.same_rows('SELECT * FROM ep_customer ORDER BY key', $$ VALUES ('1', NULL::text, NULL::text, 'iron', 3), ('2', 'eve@example.com', NULL, 'gold', 1) $$, 'folds see NULL');
SELECT is_empty($$ SELECT jsonb_path_query(eventsource.export_subject('epcust-1'), '$.events.**.email') $$, 'an export has none');
SELECT is_empty('SELECT * FROM pg_temp.problems()', 'all verifies');
SELECT is_empty('SELECT * FROM eventsource.verify_log()', 'and nothing was taken away');
SELECT is(pg_temp.revert('epcust-1'), 'personal fields 14, projection rows 1', 'a reversal shows it again');
SELECT is_empty($$ SELECT position, stream, version, data, hash FROM eventsource.events WHERE category ~ '^ep' EXCEPT SELECT * FROM before $$, 'all of it');
SELECT is_empty('SELECT * FROM ep_customer EXCEPT SELECT * FROM rows_before', 'and in the projections');
SELECT is_empty('SELECT * FROM pg_temp.problems()', 'all verifies');

-- ---- anonymize ----

SELECT is(pg_temp.erase('epcust-1', 'soft'), 'personal fields 14, projection rows 1', 'hidden once more');
SELECT is(pg_temp.erase('epcust-1', 'anonymize'), 'personal fields 13, projection rows 1', 'anonymize replaces what is personal');
SELECT is(pg_temp.shown('epcust-1', 1) - 'email', '{"ip": "10.1.0.0", "ip6": "2001:db8:1::", "agent": "[redacted]", "name": {"title": "Dr"}, "language": "de", "plan": "gold"}', 'each field by its strategy; what is no string has none');
SELECT matches(pg_temp.shown('epcust-1', 1) ->> 'email', '^[0-9a-f]{64}$', 'a keyed hash');
SELECT isnt(pg_temp.shown('epcust-1', 1) ->> 'email', encode(sha256('ann@example.com'), 'hex'), 'which nobody can try values on');
SELECT is(pg_temp.shown('epcust-1', 3) ->> 'email', pg_temp.shown('epcust-1', 1) ->> 'email', 'of equal values it is equal');
SELECT is(pg_temp.shown('epcust-1', 2) -> 'to' ->> 0, pg_temp.shown('epcust-1', 1) ->> 'email', 'in any field');
SELECT isnt(pg_temp.shown('epcust-1', 2) -> 'to' ->> 1, pg_temp.shown('epcust-1', 1) ->> 'email', 'of others it is another');
SELECT is(pg_temp.shown('epcust-1', 3) ->> 'ip', '[redacted]', 'what is no address is redacted');
SELECT is(pg_temp.shown('epcust-1', 4) ->> 'ip', '10.9.0.0', 'a correction''s fields are its event''s');
SELECT is(pg_temp.shown('eporder-1', 1), '{"customer": "epcust-1", "amount": 5}', 'null is nothing');
SELECT is(email, pg_temp.shown('epcust-1', 4) ->> 'email', 'folds see what stands there') FROM ep_customer WHERE key = '1';
SELECT is_empty($$ SELECT * FROM eventsource.vault v WHERE v.fields::text ~ 'ann|Firefox|: 1970|10\.1\.2\.3|Elm' $$, 'nothing of it is kept');
SELECT is_empty('SELECT * FROM pg_temp.problems()', 'all verifies');
SELECT is(count(*) FILTER (WHERE status = 'redacted'), 5::bigint, 'verify_log knows what was redacted') FROM eventsource.verify_log();
SELECT is_empty($$ SELECT position, hash FROM before EXCEPT SELECT position, hash FROM eventsource.events $$, 'every hash stands');

-- ---- hard ----

SELECT is(pg_temp.erase('epcust-1', 'hard'), 'events 5, personal fields 11, projection rows 1', 'hard takes what was left of them, too');
SELECT is_empty($$ SELECT * FROM eventsource.events WHERE subject = 'epcust-1' AND category ~ '^ep' AND data <> '{}' $$, 'with the payload');
SELECT is_empty($$ SELECT f FROM eventsource.vault v, jsonb_each(v.fields) f WHERE v.subject = 'epcust-1' AND f.value <> 'null' $$, 'nothing is in the vault');
SELECT is_empty('SELECT * FROM pg_temp.problems()', 'all verifies');
SELECT is(count(*) FILTER (WHERE status = 'redacted'), 5::bigint, 'verify_log knows that') FROM eventsource.verify_log();
SELECT pg_temp.same_rows('SELECT key FROM ep_customer', $$ VALUES ('2') $$, 'its rows are gone');

-- ---- what the files hold ----

SELECT eventsource.register_event_type('came', category => 'epnull', pii => '{"name": "null"}') \g /dev/null
CREATE TABLE ep_null (key text PRIMARY KEY, name text);
CREATE TABLE ep_count (key text PRIMARY KEY, n int NOT NULL DEFAULT 0);
SELECT eventsource.create_projection('ep_null', ARRAY['epnull'], '{"came": "name = event.data->>''name''"}'), eventsource.create_projection('ep_count', ARRAY['epnull'], '{"*": "n = row.n + 1"}') \g /dev/null
SELECT eventsource.append('epnull-1', 'came', '{"name": "Zoe"}') \g /dev/null
SELECT is(pg_temp.erase('epnull-1', 'soft') || ', ' || pg_temp.erase('epnull-1', 'anonymize'), 'personal fields 1, projection rows 1, personal fields 1', 'a row that a softer erasure has written stays as it is');
SELECT pg_temp.same_rows($$ SELECT table_name FROM eventsource.scrubs_due WHERE table_name ~ 'ep_null|ep_count' $$, $$ VALUES ('public.ep_null') $$, 'what it was is in the file still; of what says nothing personal nothing is');
ALTER TABLE ep_null RENAME TO ep_renamed;
SELECT pg_temp.same_rows($$ SELECT table_name FROM eventsource.scrubs_due WHERE table_name ~ 'ep_null|ep_renamed' $$, $$ VALUES ('public.ep_renamed') $$, 'under another name, too');
SELECT * FROM finish();
ROLLBACK;
