\set ECHO none
\set own_database async_parked
\i test/own_database.sql
-- An async projection that fails is parked at the event to blame; what comes before it is done, others go on.
SELECT plan(25);

CREATE TABLE aspk_sum (key text PRIMARY KEY, n int DEFAULT 0 CHECK (n < 100), u int CONSTRAINT aspk_u UNIQUE);
CREATE TABLE aspk_other (account text PRIMARY KEY, n int DEFAULT 0);
SELECT eventsource.create_projection('aspk_sum', '{aspk}', jsonb_build_object('added', $$ n = row.n + (event.data->>'n')::int, u = (event.data->>'u')::int $$), mode => 'async') AS done,
	eventsource.create_projection('aspk_other', '{aspk}', '{"added": "n = row.n + 1"}', '{"account": "''all''"}') AS done \gset
SELECT results_eq($$ SELECT mode, settings, lag, lag_seconds BETWEEN 0 AND 60, max_lag_seconds, status, error FROM eventsource.projections WHERE target = 'aspk_sum'::regclass $$,
	$$ SELECT 'async', NULL::jsonb, eventsource.watermark() - position, true, 60::float8, 'current', NULL::text FROM eventsource.projections WHERE target = 'aspk_sum'::regclass $$,
	'the view');

-- 30 events, the 17th is bad.
SELECT count(*) AS n FROM eventsource.append_events((SELECT jsonb_agg(jsonb_build_object('stream', 'aspk-' || i % 3, 'type', 'added',
	'data', jsonb_build_object('n', CASE i WHEN 17 THEN 'x' ELSE '1' END))) FROM generate_series(1, 30) i)) \gset
SELECT position AS bad FROM eventsource.events WHERE category = 'aspk' AND data ->> 'n' = 'x' \gset
SELECT pg_temp.same_rows($$ SELECT projection, events, status, error FROM eventsource.run_projections() WHERE projection::text LIKE 'aspk%' $$,
	$$ VALUES ('aspk_other', 30, 'current', NULL), ('aspk_sum', 16, 'parked', 'invalid input syntax for type integer: "x"') $$,
	'one is parked, the other goes on');
SELECT is((SELECT sum(n) FROM aspk_sum), 16::bigint, 'what comes before the bad event is done');
SELECT results_eq($$ SELECT position < failed_position, failed_position, sqlstate, status, error, failed_at <= now() FROM eventsource.projections WHERE target = 'aspk_sum'::regclass $$,
	format($$ VALUES (true, %s::bigint, '22P02', 'parked', 'invalid input syntax for type integer: "x"', true) $$, :bad), 'the view tells why');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('aspk_sum') $$, 'it is verified up to its cursor');
SELECT results_eq($$ SELECT events, status, error FROM eventsource.run_projections('aspk_sum') $$,
	$$ VALUES (0::bigint, 'parked', 'invalid input syntax for type integer: "x"') $$, 'it stands still');
SELECT is(eventsource.resume_projection('aspk_sum'), true, 'resumed');
SELECT is((SELECT status FROM eventsource.projections WHERE target = 'aspk_sum'::regclass), 'current', 'in the view');
SELECT results_eq($$ SELECT events, status FROM eventsource.run_projections('aspk_sum') $$, $$ VALUES (0::bigint, 'parked') $$, 'and parked again at the same event');
SELECT is((SELECT failed_position FROM eventsource.projections WHERE target = 'aspk_sum'::regclass), :bad::bigint, 'the same');

-- A correction comes after the event; a correction does not help who never gets there, new rules do.
SELECT is(eventsource.create_projection('aspk_sum', '{aspk}', jsonb_build_object('added',
	$$ n = row.n + CASE WHEN event.data->>'n' ~ '^\d+$' THEN (event.data->>'n')::int ELSE 0 END, u = (event.data->>'u')::int $$), mode => 'async'), 2::bigint, 'mended rules');
SELECT results_eq($$ SELECT status, error, lag FROM eventsource.projections WHERE target = 'aspk_sum'::regclass $$, $$ VALUES ('current', NULL::text, 1::bigint) $$,
	'not parked any more, and all but its own definition done');
SELECT is((SELECT sum(n) FROM aspk_sum), 29::bigint, 'all that count');

-- Constraints: CHECK after each event, UNIQUE where rows are written.
SELECT count(*) AS n FROM eventsource.append('aspk-1', 'added', '{"n": "100"}') \gset
SELECT pg_temp.same_rows($$ SELECT status, error FROM eventsource.run_projections('aspk_sum') $$,
	$$ VALUES ('parked', 'new row for projection public.aspk_sum violates check constraint "aspk_sum_n_check"') $$, 'a CHECK');
SELECT count(*) AS n FROM eventsource.void_event((SELECT max(position) FROM eventsource.events WHERE category = 'aspk'), 'r', 'a') \gset
SELECT is(eventsource.rebuild_projection('aspk_sum'), 0::bigint, 'a rebuild passes over a voided event');
SELECT results_eq($$ SELECT events, status FROM eventsource.run_projections('aspk_sum') $$, $$ VALUES (0::bigint, 'current') $$, 'and ends the parking');
SELECT count(*) AS n FROM eventsource.append_events('[{"stream": "aspk-0", "type": "added", "data": {"n": "0", "u": 7}},
	{"stream": "aspk-1", "type": "added", "data": {"n": "0", "u": 8}}, {"stream": "aspk-2", "type": "added", "data": {"n": "0", "u": 8}}]') \gset
SELECT max(position) AS bad FROM eventsource.events WHERE category = 'aspk' \gset
SELECT pg_temp.same_rows($$ SELECT events, status, error FROM eventsource.run_projections('aspk_sum') $$,
	$$ VALUES (2, 'parked', 'duplicate key value violates unique constraint "aspk_u"') $$, 'a UNIQUE');
SELECT results_eq($$ SELECT failed_position, detail FROM eventsource.projections WHERE target = 'aspk_sum'::regclass $$,
	format($$ VALUES (%s::bigint, 'Key (u)=(8) already exists.') $$, :bad), 'at the event that brought it');

-- Who may not read the table is not told what was in its row.
CREATE ROLE aspk_reader;
SELECT eventsource.grant_reader('aspk_reader') \gset
SET ROLE aspk_reader;
SELECT results_eq($$ SELECT status, sqlstate, error, detail FROM eventsource.projections WHERE target = 'aspk_sum'::regclass $$,
	$$ VALUES ('parked', '23505', NULL::text, NULL::text) $$, 'not who may not read the table');
SELECT pg_temp.refusal('SELECT * FROM eventsource.run_projections()') ~ '^42501' AS refused,
	pg_temp.refusal($$ SELECT eventsource.resume_projection('aspk_sum') $$) ~ '^42501' AS refused_too \gset
RESET ROLE;
SELECT ok(:'refused' AND :'refused_too', 'a reader runs nothing');
SELECT eventsource.drop_projection('aspk_sum'), eventsource.drop_projection('aspk_other') \gset

-- What is parked without an event: the table is not what it was.
CREATE TABLE aspk_broken (key text PRIMARY KEY, n int DEFAULT 0);
SELECT eventsource.create_projection('aspk_broken', '{aspk}', '{"added": "n = row.n + 1"}', mode => 'async') AS done \gset
ALTER TABLE aspk_broken ENABLE ROW LEVEL SECURITY;
SELECT count(*) AS n FROM eventsource.append('aspk-1', 'added', '{"n": "1"}') \gset
SELECT pg_temp.same_rows($$ SELECT events, status, error FROM eventsource.run_projections('aspk_broken') $$,
	$$ VALUES (0, 'parked', 'table public.aspk_broken can no longer be the target of projection public.aspk_broken') $$, 'a table that cannot be written');
SELECT is((SELECT failed_position FROM eventsource.projections WHERE target = 'aspk_broken'::regclass), NULL::bigint, 'at no event');
ALTER TABLE aspk_broken DISABLE ROW LEVEL SECURITY;
SELECT is(eventsource.resume_projection('aspk_broken'), true, 'undone and resumed');
SELECT pg_temp.same_rows($$ SELECT events, status FROM eventsource.run_projections('aspk_broken') $$, $$ VALUES (1, 'current') $$, 'it goes on');
SELECT eventsource.drop_projection('aspk_broken') \gset
SELECT is_empty($$ SELECT * FROM eventsource.projection_cursor c FULL JOIN eventsource.projection_failure f USING (name) WHERE name ~ 'aspk' $$, 'nothing is left');
DROP TABLE aspk_sum, aspk_other, aspk_broken;
DROP OWNED BY aspk_reader;
DROP ROLE aspk_reader;
\i test/own_database_end.sql
