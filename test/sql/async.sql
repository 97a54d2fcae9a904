\set ECHO none
\set own_database async
\i test/own_database.sql
-- Async projections: defined, filled, brought up to the watermark by run_projections().
SELECT plan(41);

SELECT is_empty('SELECT * FROM eventsource.run_projections()', 'nothing to run in an empty store');
SELECT is_empty('SELECT * FROM eventsource.handlers', 'and no handlers');

CREATE TABLE async_total (account text PRIMARY KEY, n int DEFAULT 0, total numeric DEFAULT 0);
SELECT count(*) AS "before" FROM eventsource.append('asy-1', 'moved', '{"account": "a", "amount": 5}') \gset

SELECT is(eventsource.create_projection('async_total', '{asy}', jsonb_build_object('moved',
	$$ n = row.n + 1, total = row.total + (event.data->>'amount')::numeric $$), '{"account": "event.data->>''account''"}'), 1::bigint,
	'rows that streams share: async by default');
SELECT is((SELECT definition ->> 'mode' FROM eventsource.projection_definitions() WHERE name = 'public.async_total'), 'async', 'mode');
SELECT results_eq('SELECT * FROM async_total', $$ VALUES ('a', 1, 5::numeric) $$, 'filled from the events that there are');

SELECT count(*) AS "appended" FROM eventsource.append('asy-1', 'moved', '{"account": "a", "amount": 7}') \gset
SELECT count(*) AS "appended" FROM eventsource.append('asy-2', 'moved', '{"account": "b", "amount": 1}') \gset
SELECT results_eq('SELECT * FROM async_total', $$ VALUES ('a', 1, 5::numeric) $$, 'appends do not write it');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('async_total') $$, 'it is what the events up to its cursor make of it');
SELECT results_eq($$ SELECT projection, handler, events, event_position = eventsource.watermark(), status, error FROM eventsource.run_projections('async_total') $$,
	$$ VALUES ('async_total'::regclass, NULL::text, 2::bigint, true, 'current', NULL::text) $$, 'run_projections: two events');
SELECT results_eq('SELECT * FROM async_total ORDER BY account', $$ VALUES ('a', 2, 12::numeric), ('b', 1, 1) $$, 'folded');
SELECT results_eq($$ SELECT events, status FROM eventsource.run_projections('async_total') $$, $$ VALUES (0::bigint, 'current') $$, 'nothing is left');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('async_total') $$, 'verified');

-- max_events
SELECT count(*) AS "appended" FROM eventsource.append_events('[{"stream": "asy-1", "type": "moved", "data": {"account": "a", "amount": 1}},
	{"stream": "asy-3", "type": "moved", "data": {"account": "c", "amount": 1}},
	{"stream": "asy-3", "type": "noted"},
	{"stream": "asy-2", "type": "moved", "data": {"account": "a", "amount": 1}}]') \gset
SELECT results_eq($$ SELECT events, status FROM eventsource.run_projections('async_total', 2) $$, $$ VALUES (2::bigint, 'behind') $$, 'no further than asked');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('async_total') $$, 'and verified up to there');
SELECT results_eq('SELECT * FROM async_total ORDER BY account', $$ VALUES ('a', 3, 13::numeric), ('b', 1, 1), ('c', 1, 1) $$, 'two of four');
SELECT results_eq($$ SELECT events, status FROM eventsource.run_projections('async_total') $$, $$ VALUES (2::bigint, 'current') $$, 'the rest');
SELECT results_eq('SELECT * FROM async_total ORDER BY account', $$ VALUES ('a', 4, 14::numeric), ('b', 1, 1), ('c', 1, 1) $$, 'all');

-- Own appends are not final; ROLLBACK undoes rows and cursor together.
BEGIN;
SELECT count(*) AS "appended" FROM eventsource.append('asy-1', 'moved', '{"account": "a", "amount": 1}') \gset
SELECT results_eq($$ SELECT events, status FROM eventsource.run_projections('async_total') $$, $$ VALUES (0::bigint, 'current') $$, 'what the transaction appended comes later');
COMMIT;
BEGIN;
SELECT results_eq($$ SELECT events, status FROM eventsource.run_projections('async_total') $$, $$ VALUES (1::bigint, 'current') $$, 'now');
ROLLBACK;
SELECT is((SELECT n FROM async_total WHERE account = 'a'), 4, 'rolled back');
SELECT results_eq($$ SELECT events, status FROM eventsource.run_projections('async_total') $$, $$ VALUES (1::bigint, 'current') $$, 'the cursor as well');
SELECT is((SELECT n FROM async_total WHERE account = 'a'), 5, 'once');

-- Rebuild
SELECT count(*) AS "appended" FROM eventsource.append('asy-1', 'moved', '{"account": "a", "amount": 1}') \gset
SELECT is(eventsource.rebuild_projection('async_total', '{"account": "a"}'), 0::bigint, 'rebuilding one key leaves the cursor where it is');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('async_total') $$, 'verified');
SELECT is(eventsource.rebuild_projection('async_total'), 1::bigint, 'rebuilding goes on to the watermark');
SELECT results_eq($$ SELECT events, status FROM eventsource.run_projections('async_total') $$, $$ VALUES (0::bigint, 'current') $$, 'with the cursor');
SELECT is((SELECT n FROM async_total WHERE account = 'a'), 6, 'each event once');

-- Errors
SELECT pg_temp.refuses($$ SELECT * FROM eventsource.run_projections('pg_class') $$, '42809', 'pg_class is not a projection', 'no projection');
SELECT pg_temp.refuses($$ SELECT * FROM eventsource.run_projections(NULL, 0) $$, '22023', 'max_events must be 1 at least', 'no events');
SELECT is(eventsource.resume_projection('async_total'), false, 'resume: it was not parked');

-- Redefinition
SELECT is(eventsource.create_projection('async_total', '{asy}', jsonb_build_object('moved', $$ n = row.n + 2 $$),
	'{"account": "event.data->>''account''"}', settings => '{"interval": "1 minute", "max_batch": 2, "max_lag": "1 hour"}'), 2::bigint, 'a new version');
SELECT results_eq('SELECT * FROM async_total ORDER BY account', $$ VALUES ('a', 12, 0::numeric), ('b', 2, 0), ('c', 2, 0) $$, 'rebuilt');
SELECT is(eventsource.create_projection('async_total', '{asy}', jsonb_build_object('moved', $$ n = row.n + 2 $$),
	'{"account": "event.data->>''account''"}', 'inline'), 3::bigint, 'inline');
SELECT count(*) AS "appended" FROM eventsource.append('asy-1', 'moved', '{"account": "a", "amount": 1}') \gset
SELECT is((SELECT n FROM async_total WHERE account = 'a'), 14, 'at once');
SELECT is(eventsource.create_projection('async_total', '{asy}', jsonb_build_object('moved', $$ n = row.n + 1 $$),
	'{"account": "event.data->>''account''"}', 'async'), 4::bigint, 'async again');
SELECT count(*) AS "appended" FROM eventsource.append('asy-1', 'moved', '{"account": "a", "amount": 1}') \gset
SELECT results_eq($$ SELECT events, status FROM eventsource.run_projections('async_total') $$, $$ VALUES (1::bigint, 'current') $$, 'it follows');
SELECT is((SELECT n FROM async_total WHERE account = 'a'), 8, 'each event once');
SELECT pg_temp.refuses($$ SELECT eventsource.create_projection('async_total', '{asy}', '{"moved": "n = 1"}', mode => 'inline', settings => '{"max_batch": 2}') $$,
	'ZE011', 'invalid projection of table "public.async_total"', 'settings of an inline one');
SELECT is(split_part(split_part(pg_temp.refusal($$ SELECT eventsource.create_projection('async_total', '{asy}', '{"moved": "n = 1"}', mode => 'async',
	settings => '{"max_batch": 1.5, "interval": "1 month", "max_lag": 5, "more": 1}') $$), 'DETAIL: ', 2), E'\nHINT', 1),
	E'settings: there is no "more"; there are interval, max_batch and max_lag\nsettings: max_lag must be a length of time like "5 s", without months\n'
	'settings: interval must be a length of time like "5 s", without months\nsettings: max_batch must be a number from 1 to 1000000', 'wrong settings');

-- A category's context is there when the event is.
CREATE TABLE async_row (key text PRIMARY KEY, n int DEFAULT 0);
SELECT eventsource.create_projection('async_row', '{asyctx}', '{"*": "n = row.n + 1"}', mode => 'async') AS done,
	eventsource.create_state_machine('asyctx', '{"initial": "A", "states": {"A": {"on": {"go": {"target": "B", "guard": "true"}}}, "B": {"type": "final"}}}') AS done \gset
SELECT is(split_part(split_part(pg_temp.refusal($$ SELECT eventsource.create_category('asyctx', 'asyctx', 'async_row') $$), 'DETAIL: ', 2), E'\nHINT', 1),
	'It is async: its rows come later than the events.', 'no context');
SELECT eventsource.create_projection('async_row', '{asyctx}', '{"*": "n = row.n + 1"}') AS done, eventsource.create_category('asyctx', 'asyctx', 'async_row') AS done \gset
SELECT pg_temp.refuses($$ SELECT eventsource.create_projection('async_row', '{asyctx}', '{"*": "n = row.n + 1"}', mode => 'async') $$,
	'2BP01', 'projection public.async_row is the context of category "asyctx"', 'nor becomes a context async');
SELECT eventsource.create_category('asyctx') AS done, eventsource.drop_projection('async_row') \gset
DROP TABLE async_row;
SELECT eventsource.drop_projection('async_total');
SELECT is_empty($$ SELECT * FROM eventsource.projection_cursor WHERE name ~ 'async_total' $$, 'dropped: its cursor, too');
DROP TABLE async_total;
\i test/own_database_end.sql
