\set ECHO none
\set own_database personal_errors
\i test/own_database.sql
-- Personal fields and who may not see them: what errors, repetitions and stored texts tell, and what code is given.
SELECT plan(20);

CREATE ROLE pe_admin;
CREATE ROLE pe_writer;
CREATE ROLE pe_masked;
SELECT eventsource.grant_admin('pe_admin'), eventsource.grant_writer('pe_admin'), eventsource.grant_writer('pe_writer'), eventsource.grant_admin('pe_masked') \g /dev/null
GRANT CREATE, USAGE ON SCHEMA public TO pe_masked;
CREATE FUNCTION pg_temp.as_role(role text, query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', role);
	RETURN QUERY EXECUTE query;
	RESET ROLE;
END
$$;
CREATE FUNCTION pg_temp.attempt_as(role text, query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	message text;
	detail text;
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', role);
	EXECUTE query;
	RESET ROLE;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
	RETURN message || ' | ' || detail;
END
$$;
SELECT eventsource.register_event_type('joined', 'pe', pii => '{"email": "hash"}') \g /dev/null

-- ---- a repetition tells nobody more than he may see ----

SELECT eventsource.append('pe-1', 'joined', '{"email": "ann@example.com", "plan": "gold"}', idempotency_key => 'k') \g /dev/null
SELECT is(pg_temp.attempt_as('pe_writer', $$SELECT eventsource.append('pe-1', 'joined', '{"email": "ann@example.com", "plan": "gold"}', idempotency_key => 'k')$$), 'done', 'the same again');
SELECT is((SELECT pg_temp.as_role('pe_writer', $$SELECT is_duplicate::text FROM eventsource.append('pe-1', 'joined', '{"email": "bob@example.com", "plan": "gold"}', idempotency_key => 'k')$$)), 'true', 'a guess is answered like the truth');
SELECT alike(pg_temp.attempt_as('pe_writer', $$SELECT eventsource.append('pe-1', 'joined', '{"email": "ann@example.com", "plan": "iron"}', idempotency_key => 'k')$$), '%was used for another event%', 'what is not personal is compared');
SELECT throws_like($$SELECT eventsource.append('pe-1', 'joined', '{"email": "bob@example.com", "plan": "gold"}', idempotency_key => 'k')$$, '%was used for another event%', 'and for who may see them, all of it');
SELECT is((SELECT pg_temp.as_role('pe_writer', $$SELECT is_duplicate::text FROM eventsource.append('pe-1', 'joined', '{"email": "eve@example.com"}', idempotency_key => 'newer')$$)), 'false', 'a new key, a new event');
SELECT is((SELECT pg_temp.as_role('pe_writer', $$SELECT string_agg(is_duplicate::text, ' ') FROM eventsource.append_events('[{"stream": "pe-9", "type": "joined", "data": {"email": "a"}, "idempotency_key": "b"}, {"stream": "pe-9", "type": "joined", "data": {"email": "c"}, "idempotency_key": "b"}]')$$)), 'false true', 'within a batch, too');

-- ---- errors of followers ----

CREATE TABLE pe_number (key text PRIMARY KEY, email text, number int);
SELECT eventsource.create_projection('pe_number', '{pe}', '{"joined": "email = event.data->>''email''", "counted": "number = row.email::int"}', mode => 'async') \g /dev/null
SELECT eventsource.append('pe-1', 'counted') \g /dev/null
SELECT is((SELECT pg_temp.as_role('pe_admin', $$SELECT status || ': ' || error FROM eventsource.run_projections() WHERE projection = 'public.pe_number'::regclass::oid$$)), 'parked: (the error may quote personal fields)', 'who runs it is told what he may see');
SELECT is((SELECT sqlstate || ': ' || error FROM eventsource.projections WHERE target = 'pe_number'::regclass), '22P02: (the error may quote personal fields)', 'what is kept quotes nothing');
SELECT is((SELECT count(*) FROM eventsource.projection_failure f WHERE f::text LIKE '%example.com%'), 0::bigint, 'nor does the table it is kept in');
GRANT SELECT ON pe_number TO pe_admin;
SELECT is((SELECT pg_temp.as_role('pe_admin', $$SELECT substring(h.message FROM 'public.pe_number .*') FROM eventsource.health() h WHERE h."check" = 'sample of projections'$$)), 'public.pe_number could not be compared: (the error may quote personal fields) (22P02)', 'health() neither');
SELECT unalike((SELECT string_agg(x, '') FROM pg_temp.as_role('pe_admin', 'SELECT h::text FROM eventsource.health() h') x), '%example.com%', 'all of it');
SELECT eventsource.resume_projection('pe_number') \g /dev/null
SELECT is((SELECT error FROM eventsource.run_projections() WHERE projection = 'pe_number'::regclass), 'invalid input syntax for type integer: "eve@example.com"', 'who has the right is told');
SELECT is((SELECT error FROM eventsource.projections WHERE target = 'pe_number'::regclass), '(the error may quote personal fields)', 'and nobody after him');

CREATE TABLE pe_plain (key text PRIMARY KEY, n int);
SELECT eventsource.create_projection('pe_plain', '{pe}', '{"tallied": "n = event.type::int"}', mode => 'async') \g /dev/null
SELECT eventsource.append('pe-1', 'tallied') \g /dev/null
SELECT is((SELECT pg_temp.as_role('pe_admin', $$SELECT error FROM eventsource.run_projections() WHERE projection = 'public.pe_plain'::regclass::oid$$)), 'invalid input syntax for type integer: "tallied"', 'where there is nothing personal in reach, all is told');

-- ---- handlers ----

CREATE FUNCTION pe_say(e eventsource.events) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'it says %', e.data ->> 'email'; END $$;
SELECT eventsource.create_handler('pe_clear', '{pe}', 'pe_say(eventsource.events)') \g /dev/null
SELECT pg_temp.as_role('pe_masked', $$SELECT eventsource.create_handler('pe_masked', '{pe}', 'public.pe_say(eventsource.events)')::text$$) \g /dev/null
SELECT is((SELECT string_agg(x, ', ' ORDER BY x) FROM pg_temp.as_role('pe_admin', $$SELECT handler || ': ' || error FROM eventsource.run_projections() WHERE handler LIKE 'pe%'$$) x), 'pe_clear: (the error may quote personal fields), pe_masked: it says ***', 'a handler sees what its definer may');
SELECT eventsource.resume_handler('pe_clear') \g /dev/null
SELECT is((SELECT error FROM eventsource.run_projections() WHERE handler = 'pe_clear'), 'it says ann@example.com', 'and who may see it is told');

-- ---- inline: the row may have what an earlier event had ----

CREATE TABLE pe_row (key text PRIMARY KEY, email text, n int CHECK (n < 5));
SELECT eventsource.create_projection('pe_row', '{perow}', '{"joined": "email = event.data->>''email''", "counted": "n = (event.data->>''n'')::int", "cast": "n = row.email::int"}') \g /dev/null
SELECT eventsource.register_event_type('joined', 'perow', pii => '{"email": "hash"}') \g /dev/null
SELECT eventsource.append('perow-1', 'joined', '{"email": "ann@example.com"}') \g /dev/null
SELECT unalike(pg_temp.attempt_as('pe_writer', $$SELECT eventsource.append('perow-1', 'counted', '{"n": 7}')$$), '%ann@%', 'a CHECK that fails quotes no row');
SELECT unalike(pg_temp.attempt_as('pe_writer', $$SELECT eventsource.append('perow-1', 'cast')$$), '%ann@%', 'nor does a rule that fails');
SELECT is(pg_temp.attempt_as('pe_writer', $$SELECT eventsource.append('perow-1', 'cast')$$), 'a rule of a projection failed on what you may not see | What the error says of values is told to who may see all that the row is made of.', 'which is said');
SELECT throws_like($$SELECT eventsource.append('perow-1', 'cast')$$, '%integer: "ann@example.com"', 'and told to who may see them');

\i test/own_database_end.sql
