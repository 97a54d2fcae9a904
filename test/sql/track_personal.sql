\set ECHO none
\i test/helpers.sql
-- track_table(pii, subject): personal columns of a tracked table are cut out of its events, read by right, and erased.
BEGIN;
SELECT plan(60);

CREATE TABLE tpers (id int PRIMARY KEY, customer int, email text, born date, ip inet, profile jsonb, n int, plan text, why text, state text, visits int DEFAULT 0);
CREATE FUNCTION pg_temp.shown(name text) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT format('%s %s %s', e.version, e.type, e.data -> 'changed') FROM eventsource.events e WHERE e.stream = name ORDER BY e.version
$$;
CREATE FUNCTION pg_temp.stored(name text, n bigint) RETURNS jsonb LANGUAGE sql AS $$
	SELECT s.data FROM eventsource.events e JOIN eventsource.event s USING (position) WHERE e.stream = name AND e.version = n
$$;
CREATE FUNCTION pg_temp.as_reader(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	SET LOCAL ROLE tp_reader;
	RETURN QUERY EXECUTE query;
	RESET ROLE;
END
$$;
CREATE FUNCTION pg_temp.track(pii jsonb) RETURNS bigint LANGUAGE sql AS $$
	SELECT eventsource.track_table('tpers', 'tpers', pii => pii, subject => $s$'customer-' || row.customer$s$)
$$;
CREATE ROLE tp_reader;
SELECT eventsource.grant_reader('tp_reader') \g /dev/null
GRANT SELECT ON tpers TO tp_reader;

-- ---- what can be declared ----

SELECT is(pg_temp.refusal($$SELECT eventsource.track_table('tpers', 'tpers', reason_column => 'why', ignore => '{visits}',
	pii => '{"id": "hash", "why": "null", "visits": "null", "nothing": "hash", "email": "secret", "born": "hash", "ip": "redact"}')$$), $$ZE011: table "tpers" cannot be tracked like this
DETAIL: pii: column "email" needs a strategy: hash, mask_ip, redact, null or keep
pii: column "visits" is not captured
pii: there is no column "nothing"
pii: column "id" is part of the key, which names the stream
pii: column "born" is of type date, which has no word for what is hidden: its strategy can only be null
pii: column "ip" is an address: its strategy can be mask_ip or null
pii: column "why" holds the state, the reason or the actor, which stand beside the data
HINT: Nothing was changed. Mend all of it and try again.$$, 'all that is wrong is listed');
SELECT throws_like($$SELECT eventsource.track_table('tpers', 'tpers', pii => '{"email": "hash"}', subject => 'row.email')$$, '%cannot be tracked%', 'nobody is named by what can be erased');
SELECT throws_like($$SELECT eventsource.track_table('tpers', 'tpers', subject => 'row.nothing')$$, '%cannot be tracked%', 'a subject is an expression over the row');
SELECT throws_like($$SELECT eventsource.track_table('tpers', 'tpers', pii => '["email"]')$$, '%cannot be tracked%', 'an object of columns');

-- ---- what is captured ----

INSERT INTO tpers (id, customer, email, plan) VALUES (7, 17, 'old@example.com', 'gold'), (8, 18, 'eve@example.com', 'iron');
SELECT is(pg_temp.track('{"email": "hash", "born": "null", "ip": "mask_ip", "profile": "null", "n": "null"}'), 1::bigint, 'defined');
INSERT INTO tpers (id, customer, email, born, ip, profile, n, plan) VALUES (1, 11, 'ann@example.com', '1970-05-01', '10.1.2.3/24', '{"a": [1]}', 5, 'gold');
UPDATE tpers SET email = 'anna@example.com', plan = 'silver', profile = 'null' WHERE id = 1;
UPDATE tpers SET email = NULL, born = NULL WHERE id = 1;
UPDATE tpers SET email = 'ann@new.example.com', n = 6 WHERE id = 1;
SELECT pg_temp.same_rows($$SELECT pg_temp.shown('tpers-1')$$, $$VALUES
	('1 tpers_created {"n": {"new": 5}, "id": {"new": 1}, "ip": {"new": "10.1.2.3/24"}, "born": {"new": "1970-05-01"}, "plan": {"new": "gold"}, "email": {"new": "ann@example.com"}, "visits": {"new": 0}, "profile": {"new": {"a": [1]}}, "customer": {"new": 11}}'),
	('2 tpers_updated {"plan": {"new": "silver", "old": "gold"}, "email": {"new": "anna@example.com", "old": "ann@example.com"}, "profile": {"new": null, "old": {"a": [1]}, "json_null": ["new"]}}'),
	('3 tpers_updated {"born": {"new": null, "old": "1970-05-01"}, "email": {"new": null, "old": "anna@example.com"}}'),
	('4 tpers_updated {"n": {"new": 6, "old": 5}, "email": {"new": "ann@new.example.com", "old": null}}')$$, 'who has the right sees all');
SELECT is(pg_temp.stored('tpers-1', 1), '{"changed": {"n": {"new": null}, "id": {"new": 1}, "ip": {"new": null}, "born": {"new": null}, "plan": {"new": "gold"}, "email": {"new": null}, "visits": {"new": 0}, "profile": {"new": null}, "customer": {"new": 11}}}', 'of what is personal the place stays alone');
SELECT is(pg_temp.stored('tpers-1', 2), '{"changed": {"plan": {"new": "silver", "old": "gold"}, "email": {"new": null, "old": null}, "profile": {"new": null, "old": null, "json_null": ["new"]}}}', 'old and new');
SELECT pg_temp.same_rows($$SELECT DISTINCT subject FROM eventsource.events WHERE stream = 'tpers-1'$$, $$VALUES ('customer-11')$$, 'whom it is about');
SELECT is((SELECT DISTINCT subject FROM eventsource.vault v JOIN eventsource.events e USING (position, subject) WHERE e.stream = 'tpers-1'), 'customer-11', 'and so in the vault');
SELECT pg_temp.same_rows($$SELECT pg_temp.as_reader('SELECT data -> ''changed'' ->> ''email'' FROM eventsource.events WHERE stream = ''tpers-1''')$$,
	$$VALUES ('{"new": "***"}'), ('{"new": "***", "old": "***"}'), ('{"new": null, "old": "***"}'), ('{"new": "***", "old": null}')$$, 'who has not sees masks');
SELECT is((SELECT pg_temp.as_reader($$SELECT format('%s %s', data #>> '{changed,ip,new}', data #> '{changed,born}') FROM eventsource.events WHERE stream = 'tpers-1' AND version = 1$$)), '10.1.0.0 {"new": null}', 'of an address its network, of a date nothing');

-- ---- the past of the table ----

SELECT is((SELECT r::text FROM eventsource.as_of(NULL::tpers, 'infinity', '1') r), '(1,11,ann@new.example.com,,10.1.2.3/24,null,6,silver,,,0)', 'as_of');
SELECT is((SELECT pg_temp.as_reader($$SELECT r::text FROM eventsource.as_of(NULL::tpers, 'infinity', '1') r$$)), '(1,11,***,,10.1.0.0,null,,silver,,,0)', 'masked');
SELECT is((SELECT pg_temp.as_reader($$SELECT r::text FROM eventsource.as_of(NULL::tpers, 'infinity') r$$)), '(1,11,***,,10.1.0.0,null,,silver,,,0)', 'all rows, too');
SELECT is((SELECT count(*) FROM eventsource.as_of(NULL::tpers, 'infinity') r WHERE r = (SELECT t FROM tpers t WHERE id = 1)), 1::bigint, 'as the table is');
SELECT is((SELECT string_agg(h.changed ->> 'email', ' ' ORDER BY h.version) FROM eventsource.row_history('tpers', '1') h),
	'{"new": "ann@example.com"} {"new": "anna@example.com", "old": "ann@example.com"} {"new": null, "old": "anna@example.com"} {"new": "ann@new.example.com", "old": null}', 'row_history');
SELECT is((SELECT pg_temp.as_reader($$SELECT string_agg(h.changed ->> 'email', ' ' ORDER BY h.version) FROM eventsource.row_history('tpers', '1') h$$)),
	'{"new": "***"} {"new": "***", "old": "***"} {"new": null, "old": "***"} {"new": "***", "old": null}', 'masked');
SELECT is((SELECT string_agg(coalesce(p.value, '-'), ' ' ORDER BY p.version) FROM eventsource.attribute_periods('tpers', 'email', '1') p), 'ann@example.com anna@example.com - ann@new.example.com', 'attribute_periods');
SELECT is((SELECT pg_temp.as_reader($$SELECT string_agg(coalesce(p.value, '-'), ' ' ORDER BY p.version) FROM eventsource.attribute_periods('tpers', 'email', '1') p$$)), '*** - ***', 'masked');
SELECT is((SELECT row_data ->> 'email' FROM eventsource.replay('tpers-1')), 'ann@new.example.com', 'replay');
SELECT is((SELECT pg_temp.as_reader($$SELECT row_data ->> 'email' FROM eventsource.replay('tpers-1')$$)), '***', 'masked');
SELECT eventsource.set_snapshot_policy('tpers', 2) \g /dev/null
UPDATE tpers SET visits = visits + 1 WHERE id = 1;
UPDATE tpers SET visits = visits + 1 WHERE id = 1;
SELECT is((SELECT row_data ->> 'email' FROM eventsource.replay('tpers-1')), 'ann@new.example.com', 'from a snapshot');
SELECT is((SELECT pg_temp.as_reader($$SELECT row_data ->> 'email' FROM eventsource.replay('tpers-1')$$)), '***', 'which shows nobody more');

-- ---- rows from before, and of somebody else ----

SELECT is(eventsource.backfill('tpers'), 2::bigint, 'backfill');
SELECT is((SELECT string_agg(subject || ' ' || (data #>> '{changed,email,new}'), ', ' ORDER BY stream) FROM eventsource.events WHERE category = 'tpers' AND is_synthetic), 'customer-17 old@example.com, customer-18 eve@example.com', 'by the same rules');
SELECT is(pg_temp.stored('tpers-7', 1) #>> '{changed,email}', '{"new": null}', 'cut out');
UPDATE tpers SET customer = 19, email = 'fay@example.com' WHERE id = 8;
SELECT is((SELECT subject || ' ' || (data ->> 'changed') FROM eventsource.events WHERE stream = 'tpers-8' AND version = 2), 'customer-19 {"email": {"new": "fay@example.com", "old": null}, "customer": {"new": 19, "old": 18}}', 'what was another''s is not told about the next');
UPDATE tpers SET id = 9, customer = 18 WHERE id = 8;
SELECT is((SELECT string_agg(stream || ' ' || subject || ' ' || type, ', ' ORDER BY position) FROM eventsource.events WHERE stream IN ('tpers-8', 'tpers-9') AND version + (stream = 'tpers-9')::int * 9 > 2),
	'tpers-8 customer-19 tpers_deleted, tpers-9 customer-19 tpers_created, tpers-9 customer-18 tpers_updated', 'a new key');

SELECT throws_like($$SELECT eventsource.correct_event(position, '{"changed": {"email": {"new": "x", "old": "ann@example.com"}, "plan": {"new": "silver", "old": "gold"}, "profile": {"new": null, "old": {"a": [1]}, "json_null": ["new"]}}}', 'typo', 'agent:joe') FROM eventsource.events WHERE stream = 'tpers-1' AND version = 2$$,
	'"changed" of a captured event cannot be corrected', 'what the table held is not corrected here, personal or not');
SELECT eventsource.correct_event(position, data || '{"note": "seen"}', 'typo', 'agent:joe') FROM eventsource.events WHERE stream = 'tpers-1' AND version = 2 \g /dev/null
SELECT is((SELECT pg_temp.as_reader($$SELECT string_agg(h.changed ->> 'email', ' ' ORDER BY h.version) FROM eventsource.row_history('tpers', '1') h WHERE h.version = 2$$)), '{"new": "***", "old": "***"}', 'a correction is masked, too');
SELECT is((SELECT s.data FROM eventsource.event s WHERE s.metadata ->> 'corrects' = (SELECT position::text FROM eventsource.events WHERE stream = 'tpers-1' AND version = 2)), '{"note": "seen", "changed": {"plan": {"new": "silver", "old": "gold"}, "email": {"new": null, "old": null}, "profile": {"new": null, "old": null, "json_null": ["new"]}}}', 'and cut out');

-- ---- who reads them by expressions ----

SELECT alike(pg_temp.refusal($$SELECT eventsource.create_state_machine('tpers', '{"initial": "A", "states": {"A": {"on": {"tpers_updated": {"target": "B", "guard": "event.data->''changed''->''email''->>''new'' IS NULL"}}}, "B": {"type": "final"}}}')$$), 'ZE011%personal field "changed.email.new" is not seen by guards%', 'a guard may not ask');
SELECT eventsource.create_state_machine('tpers', '{"initial": "A", "states": {"A": {"on": {"tpers_updated": {"target": "B", "guard": "event.data->''changed''->''plan''->>''new'' IS NULL"}}}, "B": {"type": "final"}}}') \g /dev/null
SELECT alike(pg_temp.refusal($$SELECT pg_temp.track('{"plan": "null"}')$$), 'ZE011%state machine "tpers"%personal field "changed.plan.new" is not seen by guards%', 'whichever was first');
CREATE TABLE tpers_mail (key text PRIMARY KEY, email text);
SELECT eventsource.create_projection('tpers_mail', '{tpers}', $${"tpers_created": "email = event.data->'changed'->'email'->>'new'", "tpers_updated": "email = coalesce(event.data->'changed'->'email'->>'new', row.email)"}$$) \g /dev/null
SELECT is((SELECT string_agg(column_name, ',') FROM eventsource.personal_columns('tpers_mail')), 'email', 'what a projection makes of them is personal');
UPDATE tpers SET email = 'ann@third.example.com' WHERE id = 1;
SELECT is((SELECT string_agg(key || ' ' || email, ', ' ORDER BY key) FROM tpers_mail), '1 ann@third.example.com, 7 old@example.com, 8 fay@example.com, 9 fay@example.com', 'folds see them');

-- ---- erased ----

CREATE TEMP TABLE told AS SELECT t.target, t.affected FROM eventsource.erase_subject('customer-11', 'anonymize', 'gdpr-request', 'dpo:ann') t;
SELECT is((SELECT affected FROM told WHERE target LIKE 'rows of tracked%'), 1::bigint, 'erasing says that the row is left to its owner');
SELECT is((SELECT email FROM tpers WHERE id = 1), 'ann@third.example.com', 'as it is');
SELECT is((SELECT r.email ~ '^[0-9a-f]{64}$' AND r.born IS NULL AND r.ip = '10.1.0.0' AND r.profile = 'null' AND r.n IS NULL AND r.plan = 'silver' FROM eventsource.as_of(NULL::tpers, 'infinity', '1') r), true, 'the past is that of nobody');
SELECT is((SELECT count(DISTINCT p.value) FROM eventsource.attribute_periods('tpers', 'email', '1') p WHERE p.value IS NOT NULL), 4::bigint, 'in which what differed differs');
SELECT is((SELECT email ~ '^[0-9a-f]{64}$' FROM tpers_mail WHERE key = '1'), true, 'projections follow');
SELECT is_empty($$SELECT * FROM eventsource.verify_projection('tpers_mail')$$, 'and replay to the same');
SELECT is((SELECT email FROM tpers_mail WHERE key = '7'), 'old@example.com', 'others stay');
DELETE FROM tpers WHERE id = 9;
SELECT is((SELECT affected FROM eventsource.erase_subject('customer-18', 'hard', 'gdpr-request', 'dpo:ann') WHERE target LIKE 'rows of tracked%'), 0::bigint, 'a row that is gone is nobody''s');
SELECT is_empty($$SELECT * FROM eventsource.verify_log() WHERE status = 'tampered'$$, 'the log verifies');
SELECT is_empty($$SELECT * FROM eventsource.verify_chain()$$, 'and its chain');
SELECT is((SELECT r.email || ' ' || r.plan FROM eventsource.as_of(NULL::tpers, 'infinity', '7') r), 'old@example.com gold', 'what is of others can be read');

-- ---- another definition ----

SELECT is((SELECT personal_columns FROM eventsource.tracked_tables WHERE category = 'tpers'), '{email,born,ip,profile,n}'::name[], 'the view tells');
SELECT eventsource.track_table('tpers', 'tpers', subject => 'customer') \g /dev/null
UPDATE tpers SET email = 'new@example.com' WHERE id = 7;
SELECT is((SELECT subject FROM eventsource.events WHERE stream = 'tpers-7' ORDER BY version DESC LIMIT 1), '17', 'a column names the subject');
SELECT is(pg_temp.stored('tpers-7', 2), '{"changed": {"email": {"new": null, "old": null}}}', 'who says nothing of it leaves personal what was');
SELECT eventsource.track_table('tpers', 'tpers', pii => '{"n": "null"}', subject => 'customer') \g /dev/null
UPDATE tpers SET email = 'open@example.com' WHERE id = 7;
SELECT is(pg_temp.stored('tpers-7', 3), '{"changed": {"email": {"new": "open@example.com", "old": "new@example.com"}}}', 'else it is what he says');
SELECT is((SELECT pg_temp.as_reader($$SELECT string_agg(h.changed ->> 'email', ' ' ORDER BY h.version) FROM eventsource.row_history('tpers', '7') h$$)),
	'{"new": "***"} {"new": "***", "old": "***"} {"new": "open@example.com", "old": "new@example.com"}', 'events from before stay as they are');
ALTER TABLE tpers RENAME COLUMN n TO number;
UPDATE tpers SET number = 3 WHERE id = 7;
SELECT is(pg_temp.stored('tpers-7', 4), '{"changed": {"number": {"new": null, "old": null}}}', 'a column stays personal when it is renamed');
CREATE TABLE tphist (id int PRIMARY KEY, customer int, email text);
INSERT INTO tphist VALUES (1, 11, 'ann@example.com'), (2, 12, 'bob@example.com');
SELECT eventsource.track_table('tphist', 'tphist', pii => '{"email": "hash"}', subject => 'customer'),
	eventsource.backfill('tphist', history => $$VALUES ('1', now() - interval '1 day', 'noted', '{"email": "ann@old.example.com", "n": 1}'::jsonb, 'agent:joe', NULL), ('3', now() - interval '1 hour', 'noted', '{"n": 1}', 'agent:joe', NULL)$$) \g /dev/null
SELECT pg_temp.same_rows($$SELECT e.stream, e.subject, e.data, s.data FROM eventsource.events e JOIN eventsource.event s USING (position) WHERE e.category = 'tphist' AND e.stream <> 'tphist-2' ORDER BY e.stream, e.version$$, $$VALUES
	('tphist-1', '11', '{"n": 1, "email": "ann@old.example.com"}'::jsonb, '{"n": 1}'::jsonb),
	('tphist-1', '11', '{"changed": {"id": {"new": 1}, "email": {"new": "ann@example.com"}, "customer": {"new": 11}}}', '{"changed": {"id": {"new": 1}, "email": {"new": null}, "customer": {"new": 11}}}'),
	('tphist-3', 'tphist-3', '{"n": 1}', '{"n": 1}')$$, 'a history: what is called as a personal column is, and is about whom the row is');

-- ---- what is computed from a personal column ----

CREATE TABLE tpgen (id int PRIMARY KEY, email text, n int, low text GENERATED ALWAYS AS (lower(email)) STORED, twice int GENERATED ALWAYS AS (n * 2) STORED);
SELECT throws_like($$SELECT eventsource.track_table('tpgen', 'tpgen', pii => '{"email": "hash"}')$$, '%cannot be tracked%', 'would tell it');
SELECT throws_like($$SELECT eventsource.track_table('tpgen', 'tpgen', pii => '{"email": "hash"}', ignore => '{low}', subject => 'low')$$, '%cannot be tracked%', 'as a subject, too');
SELECT is(eventsource.track_table('tpgen', 'tpgen', pii => '{"email": "hash", "low": "redact"}'), 1::bigint, 'if it is personal, too, it does not');
INSERT INTO tpgen (id, email, n) VALUES (1, 'Ann@example.com', 2);
SELECT is(eventsource.track_table('tpgen', 'tpgen', pii => '{"email": "hash"}', ignore => '{low}'), 2::bigint, 'nor if it is not captured');
ALTER TABLE tpgen ADD COLUMN host text GENERATED ALWAYS AS (split_part(email, '@', 2)) STORED;
INSERT INTO tpgen (id, email, n) VALUES (2, 'Bob@example.com', 3);
SELECT pg_temp.same_rows($$SELECT pg_temp.stored('tpgen-' || k, 1) -> 'changed' FROM generate_series(1, 2) k$$, $$VALUES
	('{"n": {"new": 2}, "id": {"new": 1}, "low": {"new": null}, "email": {"new": null}, "twice": {"new": 4}}'::jsonb),
	('{"n": {"new": 3}, "id": {"new": 2}, "email": {"new": null}, "twice": {"new": 6}}')$$, 'one that comes later is not captured');
SELECT is((SELECT low FROM eventsource.as_of(NULL::tpgen, 'infinity', '1')), 'ann@example.com', 'and the past is there');
SELECT * FROM finish();
ROLLBACK;
