\set ECHO none
\set own_database personal_copies
\i test/own_database.sql
-- Copies of personal fields stay about whom they were: erasing him reaches them, and what corrects them.
SELECT plan(13);

SELECT eventsource.register_event_type('seen', 'pcpa', pii => '{"email": "hash"}', subject => $$event.data->>'customer'$$) \g /dev/null
SELECT eventsource.append('pcpa-1', 'seen', '{"email": "ann@example.com", "customer": "c-1", "n": 1}'),
	eventsource.append('pcpa-1', 'seen', '{"email": "bob@example.com", "customer": "c-2", "n": 2}'),
	eventsource.append('pcpa-2', 'seen', '{"email": "eve@example.com", "n": 3}'),
	eventsource.append('pcpa-2', 'noted', '{"n": 4}') \g /dev/null
SELECT eventsource.correct_event(position, '{"customer": "c-1", "n": 5}', 'typo', 'agent:joe') FROM eventsource.events WHERE stream = 'pcpa-1' AND version = 1 \g /dev/null
SELECT eventsource.copy_category('pcpa', 'pcpb') \g /dev/null
SELECT pg_temp.same_rows($$SELECT key, subject, data FROM eventsource.events WHERE category = 'pcpb' ORDER BY position$$, $$VALUES
	('1', 'c-1', '{"n": 5, "email": "ann@example.com", "customer": "c-1"}'::jsonb), ('1', 'c-2', '{"n": 2, "email": "bob@example.com", "customer": "c-2"}'),
	('2', 'pcpa-2', '{"n": 3, "email": "eve@example.com"}'), ('2', 'pcpb-2', '{"n": 4}')$$, 'about whom they were; what is personal of nobody is about its stream');
SELECT is((SELECT string_agg(v.subject, ' ' ORDER BY v.position) FROM eventsource.vault v JOIN eventsource.events e USING (position) WHERE e.category = 'pcpb'), 'c-1 c-2 pcpa-2', 'in the vault, too');

-- A correction of the original is carried over, one of a copy is its own.
SELECT eventsource.correct_event(position, '{"email": "anna@example.com", "customer": "c-1", "n": 6}', 'typo', 'agent:joe') FROM eventsource.events WHERE stream = 'pcpa-1' AND version = 1 \g /dev/null
SELECT eventsource.copy_category('pcpa', 'pcpb') \g /dev/null
SELECT eventsource.correct_event(position, '{"email": "eva@example.com", "n": 7}', 'typo', 'agent:joe') FROM eventsource.events WHERE stream = 'pcpb-2' AND version = 1 \g /dev/null
SELECT pg_temp.same_rows($$SELECT h.stream, h.subject FROM eventsource.events h JOIN eventsource.vault v USING (position) WHERE h.type = 'event_corrected' AND h.category = 'pcpb' ORDER BY h.position$$, $$VALUES ('pcpb-1', 'c-1'), ('pcpb-2', 'pcpa-2')$$, 'corrections are about the same');
SELECT is((SELECT subject FROM eventsource.read_stream('pcpb-2') WHERE version = 1), 'pcpa-2', 'as read');
SELECT eventsource.correct_event(position, '{"email": "bob@example.com", "customer": "c-3", "n": 2}', 'typo', 'agent:joe') FROM eventsource.events WHERE stream = 'pcpa-1' AND version = 2 \g /dev/null
SELECT is((SELECT h.subject FROM eventsource.events h WHERE h.type = 'event_corrected' ORDER BY h.position DESC LIMIT 1), 'c-3', 'a correction by the rules of a type says anew whom it is about');

SELECT is((SELECT affected FROM eventsource.erase_subject('c-1', 'hard', 'gdpr-request', 'dpo:ann') WHERE target = 'personal fields'), 5::bigint, 'erasing reaches originals, copies and corrections');
SELECT is((SELECT affected > 0 FROM eventsource.erase_subject('pcpa-2', 'anonymize', 'gdpr-request', 'dpo:ann') WHERE target = 'personal fields'), true, 'of a subject that is a stream');
SELECT is_empty($$SELECT e.position, e.stream, e.data FROM eventsource.events e WHERE e.category IN ('pcpa', 'pcpb') AND e.data::text ~ 'ann|eve|eva'$$, 'nothing is left');
SELECT is((SELECT string_agg(e.data ->> 'email', ' ' ORDER BY e.position) FROM eventsource.events e WHERE e.category IN ('pcpa', 'pcpb') AND e.data::text ~ 'bob'), 'bob@example.com bob@example.com bob@example.com', 'of others all');
SELECT eventsource.erase_subject('c-2', 'soft', 'gdpr-request', 'dpo:ann') \g /dev/null
SELECT is(eventsource.copy_category('pcpa', 'pcpc') > 0, true, 'what is left of who was erased is copied');
SELECT pg_temp.same_rows($$SELECT stream, subject, data - 'email' FROM eventsource.events WHERE category = 'pcpc' ORDER BY position$$,
	$$VALUES ('pcpc-1', 'c-3', '{"n": 2, "customer": "c-3"}'::jsonb), ('pcpc-2', 'pcpc-2', '{"n": 3}'), ('pcpc-2', 'pcpc-2', '{"n": 4}')$$, 'about nobody who is erased');
SELECT is_empty($$SELECT * FROM eventsource.verify_chain()$$, 'the chain verifies');
SELECT is_empty($$SELECT * FROM eventsource.verify_log() WHERE status = 'tampered'$$, 'and the log');
\i test/own_database_end.sql
