\set ECHO none
\set own_database copy_correct
\i test/own_database.sql
-- Corrections of events that are copied already.
SELECT plan(26);
SET eventsource.actor = 'me';

-- Corrected after it was copied: its copies are corrected, too.
SELECT count(*) AS n FROM eventsource.append_events('[{"stream": "cpc-1", "type": "sold", "data": {"a": 1, "b": 2}}, {"stream": "cpc-1", "type": "sold", "data": {"a": 3, "b": 4}}, {"stream": "cpc-2", "type": "sold", "data": {"a": 5, "b": 6}}, {"stream": "cpc-2", "type": "kept", "data": {"c": 7}}]') \gset
SELECT is(eventsource.copy_category('cpc', 'cpd', '{"sold": [{"type": "a", "data": "jsonb_build_object(''a'', event.data -> ''a'')"}, {"type": "b", "data": "jsonb_build_object(''b'', event.data -> ''b'')"}]}', 3), 6::bigint, 'split');
CREATE FUNCTION pg_temp.at(what text, n int) RETURNS bigint LANGUAGE sql AS $$ SELECT position FROM eventsource.events WHERE stream = what ORDER BY version OFFSET n - 1 LIMIT 1 $$;
SELECT count(*) AS n FROM eventsource.correct_event(pg_temp.at('cpc-1', 1), '{"a": 1, "b": 20}', 'typo', 'joe') \gset
SELECT count(*) AS n FROM eventsource.void_event(pg_temp.at('cpc-1', 2), 'never', 'jane') \gset
SELECT count(*) AS n FROM eventsource.correct_event(pg_temp.at('cpc-2', 1), '{"a": 50, "b": 60}', 'first', 'joe') \gset
SELECT count(*) AS n FROM eventsource.correct_event(pg_temp.at('cpc-2', 1), '{"a": 51, "b": 60}', 'second', 'joe') \gset
SELECT count(*) AS n FROM eventsource.correct_event(pg_temp.at('cpc-2', 2), '{"c": 70}', 'before it is copied', 'joe') \gset
SELECT is(eventsource.copy_category('cpc', 'cpd', max_events => 1), 1::bigint, 'corrected before it is copied');
SELECT is(eventsource.copy_category('cpc', 'cpd'), 0::bigint, 'corrections are no events');
SELECT pg_temp.same_rows($$ SELECT stream, version, type, data, reason, actor FROM eventsource.events WHERE category = 'cpd' ORDER BY position $$,
	$$ VALUES ('cpd-1', 1, 'a', '{"a": 1}'::jsonb, NULL, 'me'), ('cpd-1', 2, 'b', '{"b": 2}', NULL, 'me'),
		('cpd-1', 3, 'a', '{"a": 3}', NULL, 'me'), ('cpd-1', 4, 'b', '{"b": 4}', NULL, 'me'),
		('cpd-2', 1, 'a', '{"a": 5}', NULL, 'me'), ('cpd-2', 2, 'b', '{"b": 6}', NULL, 'me'),
		('cpd-2', 3, 'kept', '{"c": 70}', NULL, 'me'),
		('cpd-1', 5, 'event_corrected', '{"b": 20}', 'typo', 'joe'),
		('cpd-1', 6, 'event_voided', '{}', 'never', 'jane'), ('cpd-1', 7, 'event_voided', '{}', 'never', 'jane'),
		('cpd-2', 4, 'event_corrected', '{"a": 51}', 'first', 'joe'), ('cpd-2', 5, 'event_corrected', '{"b": 60}', 'first', 'joe') $$, 'each to what it is now, once');
SELECT count(*) AS n FROM eventsource.correct_event(pg_temp.at('cpc-1', 2), '{"a": 30, "b": 4}', 'after all', 'jane') \gset
SELECT is(eventsource.copy_category('cpc', 'cpd'), 0::bigint, 'restored');
SELECT pg_temp.same_rows($$ SELECT stream, version, type, data, (metadata ->> 'corrects')::bigint - pg_temp.at('cpd-1', 3) FROM eventsource.events WHERE stream = 'cpd-1' AND version > 7 ORDER BY position $$,
	$$ VALUES ('cpd-1', 8, 'event_corrected', '{"a": 30}', 0), ('cpd-1', 9, 'event_corrected', '{"b": 4}', 1) $$, 'both');

-- What the correction would make of it is other events.
SELECT is(eventsource.copy_category('cpc', 'cpk', '{"*": {"key": "event.data ->> ''a''", "when": "event.data ? ''a''"}}'), 3::bigint, 'streams by data');
SELECT count(*) AS n FROM eventsource.correct_event(pg_temp.at('cpc-2', 1), '{"a": 51, "b": 61}', 'same stream', 'joe') \gset
SELECT is(eventsource.copy_category('cpc', 'cpk'), 0::bigint, 'in the same stream');
SELECT is((SELECT data FROM eventsource.events WHERE stream = 'cpk-51' AND version = 2), '{"a": 51, "b": 61}', 'corrected there');
SELECT count(*) AS n FROM eventsource.correct_event(pg_temp.at('cpc-2', 1), '{"a": 52, "b": 61}', 'another stream', 'joe') \gset
SELECT pg_temp.refuses($$ SELECT eventsource.copy_category('cpc', 'cpk') $$, '55000', format('correction of the event at position %s cannot be carried over to its copies', pg_temp.at('cpc-2', 1)), 'in another stream');
SELECT count(*) AS n FROM eventsource.correct_event(pg_temp.at('cpc-2', 1), '{"b": 61}', 'none', 'joe') \gset
SELECT is(eventsource.copy_category('cpc', 'cpk'), 0::bigint, 'in none');
SELECT pg_temp.same_rows($$ SELECT version, type FROM eventsource.events WHERE stream = 'cpk-51' $$, $$ VALUES (1, 'sold'), (2, 'event_corrected'), (3, 'event_voided') $$, 'it does not count');

-- What the machine of the new category fills in needs no correction.
SELECT eventsource.create_state_machine('ccm', '{"initial": "NEW", "states": {"NEW": {"on": {"noted": {"fill": {"by": "event.actor"}}, "ended": "END"}}, "END": {"type": "final"}}}') > 0 AS n \gset
SELECT count(*) AS n FROM eventsource.create_category('ccn', 'ccm') \gset
SELECT count(*) AS n FROM eventsource.append_events('[{"stream": "cco-1", "type": "noted", "data": {"a": 1}}, {"stream": "cco-1", "type": "noted", "data": {"a": 2}}]') \gset
SELECT count(*) AS n FROM eventsource.correct_event(pg_temp.at('cco-1', 1), '{"a": 10}', 'known', 'joe') \gset
SELECT is(eventsource.copy_category('cco', 'ccn', max_events => 1), 1::bigint, 'corrected before it is copied');
SELECT is(eventsource.copy_category('cco', 'ccn'), 1::bigint, 'the correction comes by');
SELECT count(*) AS n FROM eventsource.correct_event(pg_temp.at('cco-1', 2), '{"a": 20}', 'late', 'joe') \gset
SELECT is(eventsource.copy_category('cco', 'ccn'), 0::bigint, 'a late one');
SELECT pg_temp.same_rows($$ SELECT type, data FROM eventsource.events WHERE category = 'ccn' ORDER BY position $$,
	$$ VALUES ('noted', '{"a": 10, "by": "me"}'::jsonb), ('noted', '{"a": 2, "by": "me"}'), ('event_corrected', '{"a": 20, "by": "me"}') $$, 'corrected where it differs');

-- One whose data cannot be mapped as recorded, but as corrected.
SELECT count(*) AS n FROM eventsource.append('ccp-1', 'made', '{"n": "x"}') \gset
SELECT count(*) AS n FROM eventsource.correct_event(pg_temp.at('ccp-1', 1), '{"n": "1"}', 'r', 'joe') \gset
SELECT is(eventsource.copy_category('ccp', 'ccq', '{"made": {"data": "jsonb_build_object(''n'', (event.data ->> ''n'')::int)"}}', 1), 1::bigint, 'mapped as corrected');
SELECT is(eventsource.copy_category('ccp', 'ccq'), 0::bigint, 'the correction comes by');
SELECT pg_temp.same_rows($$ SELECT type, data FROM eventsource.events WHERE category = 'ccq' $$, $$ VALUES ('made', '{"n": 1}') $$, 'once');

-- A stretch after another that was rolled back.
BEGIN;
SELECT count(*) AS n FROM eventsource.correct_event(pg_temp.at('ccp-1', 1), '{"n": "2"}', 'r', 'joe') \gset
COMMIT;
BEGIN;
SELECT is(eventsource.copy_category('ccp', 'ccq'), 0::bigint, 'carried over');
ROLLBACK;
SELECT is(eventsource.copy_category('ccp', 'ccq'), 0::bigint, 'again');
SELECT pg_temp.same_rows($$ SELECT type, data FROM eventsource.events WHERE category = 'ccq' ORDER BY position $$, $$ VALUES ('made', '{"n": 1}'), ('event_corrected', '{"n": 2}') $$, 'once');

-- A late correction, and more behind it than is written at once.
SELECT count(*) AS n FROM eventsource.append('ccr-1', 'made', '{"n": 1}') \gset
SELECT is(eventsource.copy_category('ccr', 'ccs'), 1::bigint, 'one');
SELECT count(*) AS n FROM eventsource.correct_event(pg_temp.at('ccr-1', 1), '{"n": 2}', 'r', 'joe') \gset
SELECT count(eventsource.append('ccr-' || i % 7, 'made', jsonb_build_object('n', i))) AS n FROM generate_series(1, 4100) i \gset
SELECT is(eventsource.copy_category('ccr', 'ccs'), 4100::bigint, 'many behind a correction');

SELECT pg_temp.same_rows($$ SELECT to_category, status FROM eventsource.category_copies ORDER BY 1 $$, $$ VALUES ('ccn', 'current'), ('ccq', 'current'), ('ccs', 'current'), ('cpd', 'behind'), ('cpk', 'current') $$, 'a correction is something to do');
SELECT is_empty($$ SELECT * FROM eventsource.verify_chain() $$, 'the chain verifies');
\i test/own_database_end.sql
