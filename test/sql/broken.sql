\set ECHO none
\set own_database broken
\i test/own_database.sql
-- What was defined once and does not compile any more, since what it needs is gone: it stands in the way of its own
-- events alone, and not of what is defined or appended elsewhere.
SELECT no_plan();

CREATE FUNCTION public.brk_true(n int) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT true';
CREATE FUNCTION public.brk_text(n int) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT 'x' $$;
CREATE FUNCTION public.brk_call(e eventsource.events, call jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT NULL::jsonb';
CREATE FUNCTION public.brk_handle(e eventsource.events) RETURNS void LANGUAGE sql AS 'SELECT';
CREATE FUNCTION public.brk_erase(subject text, mode text) RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint';
CREATE FUNCTION public.brk_up(d jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT d';
CREATE ROLE brk_role;
CREATE TABLE brk_row (key text PRIMARY KEY, n int NOT NULL DEFAULT 0, gone int, spare int);
CREATE TABLE brk_fold (key text PRIMARY KEY, n boolean);
CREATE TABLE brk_track (key text PRIMARY KEY, n int);
SELECT eventsource.create_projection('brk_row', '{brkrow}', '{"a": "n = row.n + 1, gone = 1"}') AS a, eventsource.create_projection('brk_fold', '{brkfold}', '{"a": "n = public.brk_true(1)"}') AS b,
	eventsource.create_state_machine('brk', '{"initial": "A", "create": {"a": "A"}, "states": {"A": {"on": {"b": {"target": "B", "guard": "public.brk_true(1)"}}}, "B": {"type": "final"}}}') AS c,
	eventsource.create_category('brkrow', context => 'brk_row') AS d, eventsource.create_category('brkmachine', 'brk') AS e, eventsource.create_category('brkfold', 'brk', 'brk_fold') AS e2, eventsource.create_category('brksubject', subject => 'public.brk_text(1)') AS f,
	eventsource.create_reaction('brk_row', 'brkrow', 'a', 'row.spare IS NULL', '{"enqueue": "brk"}') AS g,
	eventsource.create_reaction('brk_function', 'brkfun', 'a', 'public.brk_true(1)', '{"enqueue": "brk"}') AS h,
	eventsource.create_reaction('brk_call', 'brkcall', 'a', NULL, '{"call": "public.brk_call"}') AS i,
	eventsource.create_handler('brk', '{brkhandle}', 'public.brk_handle(eventsource.events)') AS j,
	eventsource.create_subscription('brk', '{brksub}', 'public.brk_true(1)') AS k,
	eventsource.register_event_type('a', 'brkup', '{"type": "object"}') AS l, eventsource.register_event_type('a', 'brkup', '{"type": "object", "properties": {"n": {"type": "string"}}}') AS m,
	eventsource.create_upcaster('a', 1, 2, 'public.brk_up(event.data)', 'brkup') AS n,
	eventsource.register_event_type('a', 'brkschema', '{"type": "object"}', subject => 'public.brk_text(1)') AS o,
	eventsource.track_table('brk_track', 'brktrack') AS p, eventsource.register_eraser('public.brk_erase(text, text)') AS q \gset
SELECT eventsource.grant_admin('brk_role') AS v \gset
SET ROLE brk_role;
SELECT eventsource.create_reaction('brk_role', 'brkrole', 'a', 'true', '{"enqueue": "brk"}') AS v, eventsource.create_category('brkrole', subject => 'event.key') AS w \gset
RESET ROLE;
SELECT eventsource.create_reaction('brk_free', 'brkfree', 'a', 'true', '{"append": "b", "stream": "''brkfree2-1''"}') AS v \gset

-- Breaks something, asks for something, and undoes both: 'fine', or what was said.
CREATE FUNCTION pg_temp.when_broken(break text, then_do text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	told text;
	hint text;
BEGIN
	EXECUTE break;
	EXECUTE then_do;
	RAISE SQLSTATE 'UP001' USING MESSAGE = 'fine';
EXCEPTION
	WHEN SQLSTATE 'UP001' THEN
		RETURN 'fine';
	WHEN OTHERS THEN
		GET STACKED DIAGNOSTICS told = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
		RETURN concat_ws(' ', SQLSTATE, told, '/', hint);
END $$;

CREATE TEMP TABLE broken (what text, break text);
INSERT INTO broken VALUES
	('context table', 'DROP TABLE brk_row'),
	('column of a projection', 'ALTER TABLE brk_row DROP COLUMN gone'), ('column that a reaction reads', 'ALTER TABLE brk_row DROP COLUMN spare'),
	('function', 'DROP FUNCTION public.brk_true(int), public.brk_text(int), public.brk_call(eventsource.events, jsonb), public.brk_handle(eventsource.events), public.brk_erase(text, text), public.brk_up(jsonb)'),
	('table under a projection', 'DROP TABLE brk_fold'), ('key of a projection', 'ALTER TABLE brk_fold DROP CONSTRAINT brk_fold_pkey'),
	('key of a context', 'ALTER TABLE brk_row DROP CONSTRAINT brk_row_pkey'),
	('function that raises', $$ CREATE OR REPLACE FUNCTION public.brk_true(n int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS 'BEGIN RAISE EXCEPTION ''no''; END' $$),
	('role', 'DROP OWNED BY brk_role; DROP ROLE brk_role'),
	('tracked table', 'DROP TABLE brk_track');
CREATE TEMP TABLE elsewhere (what text, ask text);
INSERT INTO elsewhere VALUES
	('create_reaction', $$ SELECT eventsource.create_reaction('new', 'brkelse', 'a', 'true', '{"append": "b", "stream": "''brkelse2-1''"}') $$),
	('create_reaction, its events', $$ SELECT eventsource.create_reaction('new', 'brkelse', '*', 'true', '{"enqueue": "q"}'), eventsource.append('brkelse-1', 'a') $$),
	('drop_reaction', $$ SELECT eventsource.drop_reaction('brk_free') $$),
	('create_projection', $$ CREATE TABLE brk_new (key text PRIMARY KEY, n int); SELECT eventsource.create_projection('brk_new', '{brkelse}', '{"a": "n = 1"}'); SELECT eventsource.append('brkelse-1', 'a') $$),
	('async projection', $$ CREATE TABLE brk_new (key text PRIMARY KEY, n int); SELECT eventsource.create_projection('brk_new', '{brkelse}', '{"a": "n = 1"}', mode => 'async') $$),
	('create_category', $$ CREATE TABLE brk_new (key text PRIMARY KEY, n int); SELECT eventsource.create_projection('brk_new', '{brkelse}', '{"a": "n = 1"}'); SELECT eventsource.create_category('brkelse', context => 'brk_new', subject => 'event.key') $$),
	('create_state_machine', $$ SELECT eventsource.create_state_machine('brk2', '{"initial": "A", "create": {"a": "A"}, "states": {"A": {"type": "final"}}}'); SELECT eventsource.create_category('brkelse', 'brk2'); SELECT eventsource.append('brkelse-1', 'a') $$),
	('register_event_type', $$ SELECT eventsource.register_event_type('t', 'brkelse', '{"type": "object"}') $$),
	('register_event_type with personal fields', $$ SELECT eventsource.register_event_type('t', 'brkelse', '{"type": "object", "properties": {"e": {"type": "string"}}}', pii => '{"e": "redact"}'), eventsource.append('brkelse-1', 't', '{"e": "x"}') $$),
	('create_upcaster', $$ SELECT eventsource.register_event_type('t', 'brkelse', '{"type": "object"}'); SELECT eventsource.register_event_type('t', 'brkelse', '{"type": "object", "properties": {"n": {"type": "string"}}}'); SELECT eventsource.create_upcaster('t', 1, 2, 'event.data', 'brkelse') $$),
	('create_subscription', $$ SELECT eventsource.create_subscription('new', '{brkelse}', 'true') $$),
	('create_handler', $$ CREATE FUNCTION public.brk_new(e eventsource.events) RETURNS void LANGUAGE sql AS 'SELECT'; SELECT eventsource.create_handler('new', '{brkelse}', 'public.brk_new(eventsource.events)') $$),
	('track_table', $$ CREATE TABLE brk_new (key text PRIMARY KEY, n text); SELECT eventsource.track_table('brk_new', 'brkelse', pii => '{"n": "redact"}'); INSERT INTO brk_new VALUES ('1', 'x') $$),
	('create_queue', $$ SELECT eventsource.create_queue('new') $$),
	('set_snapshot_policy', $$ SELECT eventsource.set_snapshot_policy('brkelse', 2); SELECT eventsource.append('brkelse-1', 'a'), eventsource.append('brkelse-1', 'a') $$),
	('set_retention', $$ SELECT eventsource.set_retention('brkelse', '1 year', '2 years') $$),
	('append', $$ SELECT eventsource.append('brkelse-1', 'a') $$),
	('append with a reaction', $$ SELECT eventsource.append('brkfree-1', 'a') $$),
	('drop_projection', $$ CREATE TABLE brk_new (key text PRIMARY KEY, n int); SELECT eventsource.create_projection('brk_new', '{brkelse}', '{"a": "n = 1"}'); SELECT eventsource.drop_projection('brk_new') $$),
	('run_due', $$ SELECT eventsource.append('brkfree-1', 'a'); SELECT eventsource.run_due() $$),
	('run_projections', $$ SELECT eventsource.append('brkfree-1', 'a'); SELECT eventsource.run_projections() $$),
	('correct', $$ SELECT eventsource.correct_event((SELECT a."position" FROM eventsource.append('brkelse-1', 'a') a), '{"n": 1}', 'why', 'me') $$),
	('health', $$ SELECT count(*) FROM eventsource.health() $$);
SELECT is(pg_temp.when_broken(b.break, e.ask), 'fine', format('%s gone: %s', b.what, e.what)) FROM broken b, elsewhere e ORDER BY b.what, e.what;


-- ---- where it is used ----

CREATE FUNCTION pg_temp.problems() RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(kind || coalesce(' ' || name, ''), ', ' ORDER BY kind, name), 'none') FROM eventsource.check_definitions()
$$;
SELECT is(pg_temp.problems(), 'none', 'all definitions hold');
SELECT is((SELECT status || ', ' || message FROM eventsource.health() WHERE "check" = 'definitions'), 'healthy, all of them can be compiled', 'so says health');
SELECT count(*) AS n FROM eventsource.append('brkfun-1', 'a') a, eventsource.append('brkcall-1', 'a') b \gset

-- A reaction that its events need refuses them; what it was cannot be left out silently.
BEGIN;
ALTER TABLE brk_row DROP COLUMN spare;
SELECT is(pg_temp.refusal($$ SELECT eventsource.append('brkrow-1', 'a') $$), E'ZE011: reaction "brk_row" cannot be compiled any more\nDETAIL: row has no column "spare".\nHINT: Mend what it needs, define it again with eventsource.create_reaction(), or drop it: SELECT eventsource.drop_reaction(''brk_row'').', 'an event that needs it is refused');
SELECT count(*) AS n FROM eventsource.append('brkrow-1', 'b') \gset
SELECT is((SELECT max(version) FROM eventsource.events WHERE stream = 'brkrow-1'), 1::bigint, 'an event of another type is not');
SELECT is(pg_temp.problems(), 'reaction brk_row', 'it is told');
SELECT matches((SELECT concat_ws(' ', status, value, threshold, message) FROM eventsource.health() WHERE "check" = 'definitions'), '^degraded 1 0 reaction brk_row: reaction "brk_row" cannot be compiled any more: ', 'by health, too');
SELECT eventsource.create_reaction('brk_row', 'brkrow', 'a', 'row.n IS NULL', '{"enqueue": "brk"}') AS v \gset
SELECT is(pg_temp.problems(), 'none', 'it can be defined again');
SELECT count(*) AS n FROM eventsource.append('brkrow-1', 'a') \gset
SELECT is((SELECT count(*) FROM eventsource.job WHERE reaction = 'brk_row'), 1::bigint, 'and reacts');
ROLLBACK;

BEGIN;
DROP FUNCTION public.brk_true(int);
SELECT pg_temp.refuses($$ SELECT eventsource.append('brkfun-1', 'a') $$, 'ZE011', 'reaction "brk_function" cannot be compiled any more', 'a function that is gone');
SELECT matches(pg_temp.refusal($$ SELECT eventsource.append('brkfun-1', 'a') $$), 'or drop it: SELECT eventsource\.drop_reaction\(''brk_function''\)\.', 'what to do is said');
SELECT is(pg_temp.problems(), 'category brkfold, category brkmachine, projection public.brk_fold, reaction brk_function', 'whatever called it is told');
SELECT eventsource.drop_reaction('brk_function') AS v \gset
SELECT is((SELECT version FROM eventsource.append('brkfun-1', 'a')), 2::bigint, 'without the reaction the event is taken');
ROLLBACK;

BEGIN;
DROP TABLE brk_row;
SELECT pg_temp.refuses($$ SELECT eventsource.append('brkrow-1', 'a') $$, '42P01', 'context table public.brk_row of category "brkrow" does not exist', 'a context that is gone');
SELECT is(pg_temp.problems(), 'category brkrow, reaction brk_row', 'it is told with what sees it');
SELECT eventsource.drop_reaction('brk_row') AS v, eventsource.create_category('brkrow') AS w \gset
SELECT is((SELECT version FROM eventsource.append('brkrow-1', 'a')), 1::bigint, 'the category can be declared without');
ROLLBACK;

BEGIN;
DROP OWNED BY brk_role;
DROP ROLE brk_role;
SELECT is(pg_temp.problems(), 'category brkrole, reaction brk_role', 'a role that is gone');
ROLLBACK;

BEGIN;
DROP FUNCTION public.brk_up(jsonb), public.brk_text(int);
SELECT is(pg_temp.problems(), 'category brksubject, event type brkschema-a, upcaster brkup-a, 1 to 2', 'subjects and upcasters');
ROLLBACK;

-- Steps that are due: what cannot be done does not keep the others waiting.
BEGIN;
CREATE FUNCTION public.brk_call2(e eventsource.events, call jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT NULL::jsonb';
SELECT eventsource.create_reaction('brk_call2', 'brkcall', 'a', NULL, '{"call": "public.brk_call2"}') AS v \gset
SELECT count(*) AS n FROM eventsource.append('brkcall-2', 'a') \gset
DROP FUNCTION public.brk_call(eventsource.events, jsonb);
SELECT is(pg_temp.problems(), 'reaction brk_call', 'a function to be called that is gone');
SELECT is((SELECT version FROM eventsource.append('brkcall-3', 'a')), 1::bigint, 'is no matter of who appends');
SELECT count(*) AS n FROM eventsource.run_due() \gset
SELECT is((SELECT string_agg(DISTINCT reaction || ' ' || (state = 'done'), ', ' ORDER BY reaction || ' ' || (state = 'done')) FROM eventsource.job WHERE reaction LIKE 'brk\_call%'), 'brk_call false, brk_call2 true', 'of what is due the rest is done');
ROLLBACK;

-- A field that becomes personal while who reads it is broken: told once that is whole again.
BEGIN;
ALTER FUNCTION public.brk_true(int) RENAME TO brk_true2;
SELECT eventsource.create_reaction('brk_reads', 'brkpii', 'a', 'event.data->>''e'' = ''x'' AND public.brk_true2(1)', '{"enqueue": "brk"}') AS v \gset
ALTER FUNCTION public.brk_true2(int) RENAME TO brk_true;
SELECT eventsource.register_event_type('a', 'brkpii', '{"type": "object", "properties": {"e": {"type": "string"}}}', pii => '{"e": "redact"}') AS v \gset
SELECT is(pg_temp.problems(), 'reaction brk_reads', 'nothing is known of it');
ALTER FUNCTION public.brk_true(int) RENAME TO brk_true2;
SELECT ok(pg_temp.problems() LIKE '%personal fields%', 'what it reads is told');
ROLLBACK;

-- Private to none: every reader may ask.
CREATE ROLE brk_reader;
SELECT eventsource.grant_reader('brk_reader') AS v \gset
SET ROLE brk_reader;
SELECT is(pg_temp.problems(), 'none', 'readers ask as well');
RESET ROLE;

\i test/own_database_end.sql
