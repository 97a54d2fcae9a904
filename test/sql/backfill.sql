\set ECHO none
\i test/helpers.sql
-- backfill(): genesis events for rows that were there before, and events from an old history.
BEGIN;
SELECT plan(46);

CREATE TABLE public.bf_lead (id int PRIMARY KEY, name text, status text NOT NULL DEFAULT 'NEW', created_at timestamptz);
INSERT INTO public.bf_lead SELECT n, 'Lead ' || n, (ARRAY['NEW', 'OPEN', 'WON'])[1 + n % 3], timestamptz '2026-01-01' + n * interval '1 day'
  FROM generate_series(1, 30) n;
SELECT eventsource.create_state_machine('bf', '{"initial": "NEW", "states": {
	"NEW": {"on": {"opened": "OPEN"}}, "OPEN": {"on": {"won": "WON", "lost": {"target": "LOST", "reason": "required"}}},
	"WON": {"type": "final"}, "LOST": {"type": "final"}}, "on": {"noted": {}}}') AS done \gset
SELECT eventsource.create_category('bf', 'bf') AS done \gset
SELECT pg_temp.refuses($$ SELECT eventsource.backfill('bf_lead') $$, '42809', 'bf_lead is not a tracked table', 'first the table is tracked');
SELECT eventsource.track_table('bf_lead', 'bf', state_column => 'status', state_machine => 'bf') AS done \gset
SELECT pg_temp.refuses($$ SELECT eventsource.backfill(NULL) $$, '42809', 'this relation is not a tracked table', 'of no table there is nothing to fill in');
SELECT pg_temp.refuses($$ SELECT eventsource.backfill('bf_lead', max_rows => 0) $$, '22023', 'a backfill must be allowed one row at least', 'no rows are not a backfill');
SELECT pg_temp.refuses($$ CALL eventsource.backfill_in_batches('bf_lead') $$, '2D000', 'backfill_in_batches cannot run inside a transaction block', 'no batches in a transaction');
SELECT matches(pg_temp.refusal($$ SELECT eventsource.backfill('bf_lead', 'row.nothing') $$), '^ZE011', 'a time that is not there');
SELECT matches(pg_temp.refusal($$ SELECT eventsource.backfill('bf_lead', 'now()') $$), '^ZE011', 'the clock is no expression over the row');

-- A row that is touched first has its genesis from what it was.
UPDATE bf_lead SET status = 'OPEN' WHERE id = 3;
SELECT pg_temp.same_rows($$ SELECT version, type, from_state, to_state, is_synthetic, data->'changed'->'status' FROM eventsource.events WHERE stream = 'bf-3' ORDER BY version $$,
	$$ VALUES (1, 'bf_created', NULL::text, 'NEW', true, '{"new": "NEW"}'::jsonb), (2, 'opened', 'NEW', 'OPEN', false, '{"new": "OPEN", "old": "NEW"}') $$,
	'a change before the backfill begins the stream by itself');

-- In pieces, then the rest, then nothing.
SELECT cmp_ok(eventsource.backfill('bf_lead', 'created_at', max_rows => 10), '>=', 10::bigint, 'a limited backfill does a piece');
SELECT eventsource.backfill('bf_lead', 'created_at') AS done \gset
SELECT is(eventsource.backfill('bf_lead'), 0::bigint, 'a second one finds nothing to do');
SELECT is((SELECT count(*) FROM eventsource.streams WHERE category = 'bf'), 30::bigint, 'every row has its stream');
SELECT is((SELECT count(*) FROM eventsource.events WHERE category = 'bf' AND NOT is_synthetic), 1::bigint, 'all but the one change are synthetic');
SELECT is_empty($$ SELECT l.*, e.* FROM bf_lead l FULL JOIN eventsource.events e ON e.stream = 'bf-' || l.id
	 WHERE e.category = 'bf' AND e.is_synthetic AND l.id <> 3
	   AND (e.version, e.type, e.to_state, e.occurred_at, e.data->'changed'->'name'->>'new', e.data->'changed'->'id'->'new')
		   IS DISTINCT FROM (1, 'bf_created', l.status, l.created_at, l.name, to_jsonb(l.id)) $$,
	'version 1, in the state and with the values of the row, at the time of its column');
SELECT is_empty($$ SELECT FROM eventsource.events WHERE category = 'bf' AND is_synthetic AND (recorded_at < now() - interval '1 hour' OR from_state IS NOT NULL) $$,
	'recorded when it was recorded, from no state');
SELECT is_empty($$ SELECT * FROM eventsource.verify_transitions() $$, 'a genesis may enter any state');
SELECT is_empty($$ SELECT * FROM eventsource.verify_chain() $$, 'the chain holds');
SELECT is_empty($$ (TABLE bf_lead EXCEPT SELECT * FROM eventsource.as_of(NULL::bf_lead, clock_timestamp()))
	UNION ALL (SELECT * FROM eventsource.as_of(NULL::bf_lead, clock_timestamp()) EXCEPT TABLE bf_lead) $$, 'as of now, the history is the table');
SELECT is((SELECT count(*) FROM eventsource.as_of(NULL::bf_lead, '2026-01-11', basis => 'occurred')), 9::bigint,
	'by business time, rows come when they came; the one that began by itself knows no better than now');

-- Durations are not made up.
SELECT pg_temp.same_rows($$ SELECT state, visit, entered_at, exited_at IS NULL AS open, duration, arrival_path, is_current, begins_synthetic FROM eventsource.state_periods WHERE stream = 'bf-2' $$,
	$$ VALUES ('WON', 1, NULL::timestamptz, true, NULL::interval, 'no history before > WON', true, true) $$, 'a state that was there before began nobody knows when');
SELECT pg_temp.same_rows($$ SELECT from_state, to_state, duration, is_synthetic FROM eventsource.transitions WHERE stream IN ('bf-2', 'bf-3') $$,
	$$ VALUES ('NEW', 'OPEN', NULL::interval, false) $$, 'and no transition led there, nor does the first real one know how long it lasted');
SET LOCAL eventsource.include_synthetic = on;
SELECT pg_temp.same_rows($$ SELECT state, entered_at, arrival_path, begins_synthetic FROM eventsource.state_periods WHERE stream = 'bf-2' $$,
	$$ VALUES ('WON', timestamptz '2026-01-03', 'no history before > WON', true) $$, 'unless one asks for what the backfill said');
SELECT is((SELECT count(*) FROM eventsource.transitions WHERE category = 'bf' AND is_synthetic), 30::bigint, 'then transitions has them, too');
SELECT is((SELECT duration IS NOT NULL FROM eventsource.transitions WHERE stream = 'bf-3' AND type = 'opened'), true, 'with durations');
RESET eventsource.include_synthetic;

-- It goes on from there.
UPDATE bf_lead SET status = 'WON' WHERE id = 1;
SELECT is((SELECT array_agg(version || type || coalesce(from_state, '-') || to_state ORDER BY version) FROM eventsource.events WHERE stream = 'bf-1'),
	ARRAY['1bf_created-OPEN', '2wonOPENWON'], 'the next change is version 2');
SELECT matches(pg_temp.refusal($$ UPDATE bf_lead SET status = 'NEW' WHERE id = 1 $$), '^ZE002', 'under the rules');

-- Streams that exist are left alone, whoever began them.
INSERT INTO bf_lead VALUES (31, 'Later', 'NEW', NULL);
SELECT is(eventsource.backfill('bf_lead'), 0::bigint, 'a captured row needs no genesis');

-- An expression.
CREATE TABLE public.bf_item (a text, b int, at date, PRIMARY KEY (a, b));
INSERT INTO bf_item VALUES ('x,y', 1, '2026-02-01'), ('z', 2, NULL);
SELECT eventsource.track_table('bf_item', 'bfitem') AS done \gset
SELECT pg_temp.refuses($$ SELECT eventsource.backfill('bf_item', 'row.b') $$, 'ZE011', '"occurred_at" is no valid expression', 'a number is no time');
SELECT is(eventsource.backfill('bf_item', $$row.at + interval '12 hours'$$), 2::bigint, 'a composite key');
SELECT is((SELECT occurred_at AT TIME ZONE 'UTC' FROM eventsource.events WHERE stream = 'bfitem-x\,y,1'), '2026-02-01 12:00', 'the time is an expression over the row');
SELECT is((SELECT occurred_at = recorded_at FROM eventsource.events WHERE stream = 'bfitem-z,2'), true, 'without one it is now');

-- An old history.
CREATE TABLE public.bf_deal (id bigint PRIMARY KEY, status text);
CREATE TABLE public.bf_audit (deal bigint, at timestamptz, what text, note text, who text, why text);
INSERT INTO bf_deal VALUES (1, 'WON'), (2, 'LOST'), (3, 'OPEN');
INSERT INTO bf_audit VALUES (1, '2026-03-01', 'noted', 'first', 'agent:joe', NULL), (1, '2026-03-02', 'opened', NULL, 'agent:joe', NULL),
	(1, '2026-03-03', 'won', NULL, 'agent:ryan', NULL), (2, '2026-03-01', 'opened', NULL, 'agent:joe', NULL),
	(2, '2026-03-09', 'lost', 'too dear', NULL, 'price'), (9, '2026-02-09', 'opened', 'its row is gone', NULL, NULL);
SELECT eventsource.create_category('bfdeal', 'bf') AS done \gset
SELECT eventsource.track_table('bf_deal', 'bfdeal', state_column => 'status', state_machine => 'bf') AS done \gset
SET LOCAL search_path = public, pg_temp, pg_catalog;
SELECT is(eventsource.backfill('bf_deal', history => $$ SELECT deal, at, what, jsonb_strip_nulls(jsonb_build_object('note', note)), who, why FROM bf_audit $$),
	4::bigint, 'a history and the rows without one');
SELECT pg_temp.same_rows($$ SELECT key, version, type, to_state, actor, reason, occurred_at::date, data->>'note', is_synthetic FROM eventsource.events WHERE category = 'bfdeal' AND key IN ('1', '2') ORDER BY key, version $$,
	$$ VALUES ('1', 1, 'noted', 'NEW', 'agent:joe', NULL, '2026-03-01'::date, 'first', false), ('1', 2, 'opened', 'OPEN', 'agent:joe', NULL, '2026-03-02', NULL, false),
		('1', 3, 'won', 'WON', 'agent:ryan', NULL, '2026-03-03', NULL, false), ('1', 4, 'bfdeal_created', 'WON', session_user::text, NULL, current_date, NULL, true),
		('2', 1, 'opened', 'OPEN', 'agent:joe', NULL, '2026-03-01', NULL, false), ('2', 2, 'lost', 'LOST', session_user::text, 'price', '2026-03-09', 'too dear', false),
		('2', 3, 'bfdeal_created', 'LOST', session_user::text, NULL, current_date, NULL, true) $$, 'what the old table knew comes first, then the row as it is');
SELECT is((SELECT bool_and(metadata = '{"backfilled": true}') FROM eventsource.events WHERE category = 'bfdeal' AND NOT is_synthetic), true, 'and says where it came from');
SELECT is((SELECT duration FROM eventsource.state_periods WHERE stream = 'bfdeal-1' AND state = 'OPEN'), interval '1 day', 'its times are known, and so are durations');
SELECT is((SELECT array_agg(type) FROM eventsource.events WHERE stream = 'bfdeal-9'), ARRAY['opened'], 'a history without a row ends there');
SELECT is((SELECT array_agg(type || to_state) FROM eventsource.events WHERE stream = 'bfdeal-3'), ARRAY['bfdeal_createdOPEN'], 'a row without history has its genesis');
SELECT is(eventsource.backfill('bf_deal', history => $$ SELECT deal, at, what, NULL, who, why FROM bf_audit $$), 0::bigint, 'again: nothing to do');
SELECT is_empty($$ SELECT * FROM eventsource.verify_transitions() $$, 'all of it is legal');
SELECT is_empty($$ (TABLE bf_deal EXCEPT SELECT * FROM eventsource.as_of(NULL::bf_deal, clock_timestamp()))
	UNION ALL (SELECT * FROM eventsource.as_of(NULL::bf_deal, clock_timestamp()) EXCEPT TABLE bf_deal) $$, 'and ends in the table');

-- More of it than is fetched or written at once.
CREATE TABLE public.bf_many (id int PRIMARY KEY, status text);
INSERT INTO bf_many SELECT n, CASE WHEN n % 2 = 0 THEN 'NEW' ELSE 'OPEN' END FROM generate_series(1, 1203) n;
SELECT eventsource.track_table('bf_many', 'bfmany', state_column => 'status', state_machine => 'bf') AS done \gset
SELECT is(eventsource.backfill('bf_many', history => $$ SELECT id, timestamptz '2026-01-01' + n * interval '1 hour', CASE n WHEN 0 THEN 'noted' ELSE 'opened' END,
		jsonb_build_object('long', repeat(id || ' ', 30)), NULL, NULL FROM bf_many, generate_series(0, 1) n WHERE n = 0 OR id % 2 = 1 $$),
	1203::bigint, 'a long history');
SELECT is_empty($$ SELECT b.id, e.version, e.type, e.data FROM bf_many b JOIN eventsource.events e ON e.stream = 'bfmany-' || b.id
	 WHERE e.data IS DISTINCT FROM CASE WHEN e.type = 'bfmany_created' THEN jsonb_build_object('changed', jsonb_build_object('id', jsonb_build_object('new', b.id),
		   'status', jsonb_build_object('new', b.status))) ELSE jsonb_build_object('long', repeat(b.id || ' ', 30)) END $$, 'each event says what it was given');
SELECT is((SELECT count(*) FROM eventsource.events WHERE category = 'bfmany'), (1203 + 602 + 1203)::bigint, 'none is missing');
SELECT is_empty($$ (TABLE bf_many EXCEPT SELECT * FROM eventsource.as_of(NULL::bf_many, clock_timestamp()))
	UNION ALL (SELECT * FROM eventsource.as_of(NULL::bf_many, clock_timestamp()) EXCEPT TABLE bf_many) $$, 'nor is a row');
SELECT is_empty($$ SELECT * FROM eventsource.verify_chain() $$, 'and the chain holds');

-- The image after a history is of its column's time, too.
CREATE TABLE public.bf_dated (id int PRIMARY KEY, status text, seen timestamptz);
INSERT INTO bf_dated VALUES (1, 'OPEN', '2026-04-01');
SELECT eventsource.track_table('bf_dated', 'bfdated', state_column => 'status', state_machine => 'bf') AS done \gset
SELECT is(eventsource.backfill('bf_dated', 'seen', history => $$ SELECT 1, timestamptz '2026-03-01', 'opened', NULL, NULL, NULL $$), 1::bigint, 'a history and a time');
SELECT is((SELECT array_agg(id) FROM eventsource.as_of(NULL::bf_dated, '2026-04-02', basis => 'occurred')), ARRAY[1], 'the row is there from that time on');

-- A history that lies.
CREATE TABLE public.bf_lie (id bigint PRIMARY KEY, status text);
INSERT INTO bf_lie VALUES (1, 'WON');
SELECT eventsource.create_category('bflie', 'bf') AS done \gset
SELECT eventsource.track_table('bf_lie', 'bflie', state_column => 'status', state_machine => 'bf') AS done \gset
SELECT matches(pg_temp.refusal($$ SELECT eventsource.backfill('bf_lie', history => 'SELECT 1, now(), ''won'', NULL, NULL, NULL') $$), '^ZE002: .*\nDETAIL: .+\nHINT: .+', 'an illegal history is refused');
SELECT matches(pg_temp.refusal($$ SELECT eventsource.backfill('bf_lie', history => 'SELECT 1, now(), ''lost'', NULL, NULL, NULL WHERE false UNION ALL SELECT 1, now(), ''opened'', NULL, NULL, NULL') $$),
	'^ZE002: history of "bflie-1" does not end where its row is\nDETAIL: The last event leads to state OPEN, but the row is in state WON.\nHINT: .+', 'one that ends elsewhere, too');
SELECT is((SELECT count(*) FROM eventsource.events WHERE category = 'bflie'), 0::bigint, 'and leaves nothing behind');
SELECT matches(pg_temp.refusal($$ SELECT eventsource.backfill('bf_lie', history => 'DELETE FROM bf_lie RETURNING 1, 2, 3, 4, 5, 6') $$), '^42601', 'a statement that changes things is no history');
SELECT is((SELECT count(*) FROM bf_lie), 1::bigint, 'and is not run');
SELECT matches(pg_temp.refusal($$ SELECT eventsource.backfill('bf_lie', history => 'SELECT 1, now()') $$), '^42P10', 'a history has six columns');

-- Whose it is.
CREATE ROLE bf_other;
SELECT eventsource.grant_admin('bf_other') AS done \gset
SET LOCAL ROLE bf_other;
SELECT pg_temp.refuses($$ SELECT eventsource.backfill('bf_lie') $$, '42501', 'must be owner of table bf_lie', 'a stranger says nothing about the table');
RESET ROLE;
SELECT is(eventsource.backfill('bf_lie'), 1::bigint, 'its owner does');

SELECT * FROM finish();
ROLLBACK;
