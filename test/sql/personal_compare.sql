\set ECHO none
\i test/helpers.sql
-- Personal fields, and who tries other rules, or reads masked views by way of functions and plans.
BEGIN;
SELECT plan(25);

CREATE ROLE es_stats;
CREATE ROLE es_trusted;
SELECT eventsource.grant_reader('es_stats'), eventsource.grant_reader('es_trusted'), eventsource.grant_personal_data('es_trusted') \g /dev/null
-- What a role is told, or is refused with.
CREATE FUNCTION pg_temp.as_role(role regrole, command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE format('SET LOCAL ROLE %s', role);
	BEGIN
		EXECUTE format('SELECT string_agg(r::text, '' '') FROM (%s) r', command) INTO result;
	EXCEPTION WHEN OTHERS THEN
		DECLARE
			detail text;
		BEGIN
			GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
			result := SQLSTATE || ': ' || SQLERRM || ' ' || detail;
		END;
	END;
	RESET ROLE;
	RETURN result;
END
$$;
CREATE FUNCTION pg_temp.machine(guard text, fill jsonb DEFAULT NULL) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_strip_nulls(jsonb_build_object('initial', 'OPEN', 'create', '{"opened": "OPEN"}'::jsonb, 'states', jsonb_build_object(
		'OPEN', jsonb_build_object('on', jsonb_build_object('shut', jsonb_build_object('target', 'DONE', 'guard', guard, 'fill', fill))), 'DONE', jsonb_build_object('type', 'final'))))
$$;
CREATE FUNCTION pg_temp.try_machine(role regrole, guard text, fill jsonb DEFAULT NULL, filter text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT pg_temp.as_role(role, format('SELECT * FROM eventsource.compare_machine(''pdesk'', %L, true, %L)', pg_temp.machine(guard, fill), filter))
$$;
CREATE FUNCTION pg_temp.try_rules(role regrole, target text, rules jsonb, key jsonb DEFAULT NULL, filter text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT pg_temp.as_role(role, format('SELECT row_key, current, proposed FROM eventsource.compare_projection(%L, %L, %L, %L)', target, rules, key, filter))
$$;

SELECT eventsource.register_event_type('opened', category => 'pdesk', pii => '{"email": "hash", "age": "null", "home.street": "redact"}'),
	eventsource.register_event_type('shut', category => 'pdesk', pii => '{"email": "hash"}') \g /dev/null
CREATE TABLE pdesk (key text PRIMARY KEY, email text, age int, n int NOT NULL DEFAULT 0);
CREATE TABLE ptown (city text PRIMARY KEY, last text, n int NOT NULL DEFAULT 0);
SELECT eventsource.create_projection('pdesk', '{pdesk}', '{"opened": "email = event.data->>''email'', age = (event.data->>''age'')::int, n = row.n + 1", "*": "n = row.n + 1"}'),
	eventsource.create_projection('ptown', '{pdesk}', '{"opened": "last = event.data->>''email'', n = row.n + 1"}', key => '{"city": "event.data->''home''->>''city''"}', mode => 'inline') \g /dev/null
SELECT eventsource.create_state_machine('pdesk', pg_temp.machine('row.n > 0')) \g /dev/null
SELECT eventsource.create_category('pdesk', state_machine => 'pdesk', context => 'pdesk') \g /dev/null
SELECT eventsource.append('pdesk-1', 'opened', '{"email": "ann@secret", "age": 33, "plan": "x", "home": {"street": "Secret 5", "city": "Ulm"}}') \g /dev/null
SELECT eventsource.append('pdesk-1', 'shut', '{"email": "ann2@secret", "by": "joe"}') \g /dev/null
SELECT eventsource.append('pdesk-2', 'opened', '{"email": "bob@secret", "age": 44, "home": {"street": "Secret 6", "city": "Ulm"}}') \g /dev/null
SELECT eventsource.correct_event(position, '{"email": "eve@secret", "age": 55, "home": {"street": "Secret 7", "city": "Bonn"}}', 'typo', 'agent:joe')
  FROM eventsource.events WHERE stream = 'pdesk-2' \g /dev/null

-- ---- compare_machine ----

GRANT SELECT ON pdesk, ptown TO es_stats, es_trusted;
SELECT is(pg_temp.try_machine('es_stats', $$row.email <> 'ann@secret'$$), 'ZE011: definition of state machine "pdesk" is not valid states.OPEN.on.shut.guard, "shut_guard": reads a column of row that is made of personal fields', 'a proposed guard sees no personal column');
SELECT is(pg_temp.try_machine('es_trusted', 'row.age::text::int > 0'), 'ZE011: definition of state machine "pdesk" is not valid states.OPEN.on.shut.guard, "shut_guard": reads a column of row that is made of personal fields', 'whoever asks, as it could not be defined');
SELECT is(pg_temp.try_machine('es_stats', 'true', '{"by": "row.email"}'), 'ZE011: definition of state machine "pdesk" is not valid states.OPEN.on.shut.fill, "by": reads a column of row that is made of personal fields', 'nor does fill');
SELECT alike(pg_temp.try_machine('es_stats', $$event.data->>'email' = 'x'$$), 'ZE011:%personal field "email" is not seen by guards', 'nor of the event');
SELECT is(pg_temp.try_machine('es_stats', 'event.data::text::int > 0'), '(pdesk-1,2,' || (SELECT position FROM eventsource.events WHERE stream = 'pdesk-1' AND version = 2) || ',shut,OPEN,DONE,OPEN,,22P02,"invalid input syntax for type integer: ""{""by"": ""joe""}""")', 'an error quotes what is not personal');
SELECT is(pg_temp.try_machine('es_stats', 'row.n > 5'), '(pdesk-1,2,' || (SELECT position FROM eventsource.events WHERE stream = 'pdesk-1' AND version = 2) || ',shut,OPEN,DONE,OPEN,,ZE005,"event type ""shut"" is rejected by guard ""shut_guard"" in state ""OPEN""")', 'what may be asked for is answered');
SELECT is(pg_temp.try_machine(role::regrole, 'row.n > 5', filter => $$event.data->>'email' LIKE '%secret'$$), NULL, 'a filter sees no personal field: ' || role) FROM unnest(ARRAY['es_stats', 'es_trusted']) role;
SELECT unalike(pg_temp.try_machine('es_stats', 'row.n > 5', filter => 'event.data::text::int > 0'), '%secret%', 'nor do its errors quote one');

-- ---- compare_projection ----

SELECT unalike(pg_temp.try_rules('es_stats', 'pdesk', '{"*": "email = event.data::text, n = 7"}'), '%ecret%', 'rules to try: masked data');
SELECT alike(pg_temp.try_rules('es_trusted', 'pdesk', '{"*": "email = event.data::text, n = 7"}'), '%ann@secret%Secret 7%', 'but for who may see it, corrected');
SELECT is(pg_temp.try_rules('es_stats', 'pdesk', '{"*": "n = 7"}'), '("{""key"": ""1""}","{""n"": 2, ""age"": null, ""key"": ""1"", ""email"": ""***""}","{""n"": 7, ""age"": null, ""key"": ""1"", ""email"": null}") ("{""key"": ""2""}","{""n"": 1, ""age"": null, ""key"": ""2"", ""email"": ""***""}","{""n"": 7, ""age"": null, ""key"": ""2"", ""email"": null}")', 'and masked rows of the rules as they are');
SELECT is(pg_temp.try_rules('es_stats', 'pdesk', '{"opened": "n = event.data::text::int"}'), '22P02: a rule of a projection failed on what you may not see What the error says of values is told to who may see all that the row is made of.', 'errors do not quote it');
SELECT is(pg_temp.try_rules('es_stats', 'pdesk', '{"*": "n = 7"}', filter => $$event.data->>'email' ~ 'secret'$$), NULL, 'filters do not see it');
SELECT is(pg_temp.try_rules('es_stats', 'pdesk', '{"*": "n = 7"}', filter => $$(event.data->>'age')::int > 50$$), NULL, 'of any type');
SELECT alike(pg_temp.try_rules('es_trusted', 'pdesk', '{"*": "n = 7"}', filter => $$event.data->>'email' ~ 'eve'$$), '("{""key"": ""2""}"%', 'who may, filters by it');
SELECT unalike(pg_temp.try_rules('es_stats', 'ptown', '{"opened": "last = event.data->>''email'' || (event.data->''home''->>''street''), n = 9"}'), '%ecret%', 'rows that streams share: masked');
SELECT unalike(pg_temp.try_rules('es_stats', 'ptown', '{"opened": "n = 9"}', '{"city": "coalesce(event.data->''home''->>''street'', ''?'')"}'), '%ecret%', 'and keys');
SELECT unalike(pg_temp.try_rules('es_stats', 'ptown', '{"opened": "last = item, n = 9"}', '{"city": "item"}'), '%ecret%', 'no row');

-- ---- masked views, whichever way to them ----

SELECT eventsource.create_masked_view('pdesk', 'pdesk_masked') \g /dev/null
GRANT SELECT ON pdesk_masked TO es_stats, es_trusted;
CREATE FUNCTION by_sql() RETURNS SETOF text LANGUAGE sql STABLE AS $$ SELECT email FROM public.pdesk_masked ORDER BY key $$;
CREATE FUNCTION by_body() RETURNS SETOF text LANGUAGE sql STABLE BEGIN ATOMIC SELECT email FROM public.pdesk_masked ORDER BY key; END;
CREATE FUNCTION by_plpgsql() RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY SELECT email FROM public.pdesk_masked ORDER BY key; END $$;
CREATE FUNCTION by_definer() RETURNS SETOF text LANGUAGE sql STABLE SECURITY DEFINER AS $$ SELECT email FROM public.pdesk_masked ORDER BY key $$;
ALTER FUNCTION by_definer() OWNER TO es_stats;
CREATE VIEW pdesk_above AS SELECT email FROM pdesk_masked ORDER BY key;
GRANT SELECT ON pdesk_above TO es_stats, es_trusted;
-- Plans that were made, and used, by who may see it; and the other way round.
SET LOCAL plan_cache_mode = force_generic_plan;
PREPARE told AS SELECT string_agg(email, ' ' ORDER BY key) FROM pdesk_masked;
CREATE TEMP TABLE seen (n serial, way text, role text, told text);
GRANT ALL ON seen, seen_n_seq TO PUBLIC;
CREATE FUNCTION pg_temp.look(role text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', role);
	INSERT INTO seen (way, role, told) SELECT 'sql', role, string_agg(x, ' ') FROM by_sql() x;
	INSERT INTO seen (way, role, told) SELECT 'body', role, string_agg(x, ' ') FROM by_body() x;
	INSERT INTO seen (way, role, told) SELECT 'plpgsql', role, string_agg(x, ' ') FROM by_plpgsql() x;
	INSERT INTO seen (way, role, told) SELECT 'definer', role, string_agg(x, ' ') FROM by_definer() x;
	INSERT INTO seen (way, role, told) SELECT 'view', role, string_agg(email, ' ') FROM pdesk_above;
	INSERT INTO seen (way, role, told) SELECT 'where', role, string_agg(key, ' ' ORDER BY key) FROM pdesk_masked WHERE email LIKE '%secret';
	RESET ROLE;
END
$$;
SELECT pg_temp.look(role) FROM unnest(ARRAY['es_trusted', 'es_stats', 'es_trusted', 'es_stats']) WITH ORDINALITY r (role, n) ORDER BY n \g /dev/null
SELECT results_eq($$ SELECT DISTINCT role || ' by ' || way || ': ' || coalesce(told, '-') FROM seen ORDER BY 1 $$, ARRAY[
	'es_stats by body: *** ***', 'es_stats by definer: *** ***', 'es_stats by plpgsql: *** ***', 'es_stats by sql: *** ***', 'es_stats by view: *** ***', 'es_stats by where: -',
	'es_trusted by body: ann@secret eve@secret', 'es_trusted by definer: *** ***', 'es_trusted by plpgsql: ann@secret eve@secret', 'es_trusted by sql: ann@secret eve@secret',
	'es_trusted by view: ann@secret eve@secret', 'es_trusted by where: 1 2'], 'functions and views of others, their plans used again: by who asks');
SET LOCAL ROLE es_trusted;
EXECUTE told \gset trusted_
DECLARE c CURSOR FOR SELECT email FROM pdesk_masked ORDER BY key;
FETCH c \gset first_
SET LOCAL ROLE es_stats;
EXECUTE told \gset stats_
FETCH c \gset second_
SET LOCAL ROLE es_trusted;
EXECUTE told \gset again_
RESET ROLE;
SELECT is(:'trusted_string_agg'::text, 'ann@secret eve@secret', 'a prepared plan shows it to who may see it');
SELECT is(:'stats_string_agg'::text, '*** ***', 'and masks it to the next');
SELECT is(:'again_string_agg'::text, 'ann@secret eve@secret', 'and so on');
SELECT is(:'first_email'::text, 'ann@secret', 'a cursor, too');

-- What a caller's own function is given, wherever the planner would put it.
CREATE FUNCTION spy(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN RAISE WARNING 'spied %', $1; RETURN true; END $$;
SELECT is(pg_temp.as_role('es_stats', 'SELECT count(*) FROM pdesk_masked WHERE CASE WHEN spy(email) THEN email::int > 0 END'), '22P02: invalid input syntax for type integer: "***" ', 'conditions of a caller are given what he sees');

SELECT * FROM finish();
ROLLBACK;
