\set ECHO none
\set own_database due_errors
\i test/own_database.sql
-- What errors and reasons of called functions tell: nothing personal is kept, and what is kept is for who has
-- the rights of who defined the reaction.
SELECT plan(19);

CREATE ROLE de_boss;
CREATE ROLE de_mate;
GRANT de_boss TO de_mate;
CREATE ROLE de_reader;
CREATE ROLE de_worker;
SELECT eventsource.grant_admin('de_boss'), eventsource.grant_writer('de_boss'), eventsource.grant_reader('de_mate'), eventsource.grant_reader('de_reader'), eventsource.grant_reader('de_worker') \g /dev/null
CREATE FUNCTION pg_temp.as_role(role text, query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', role);
	RETURN QUERY EXECUTE query;
	RESET ROLE;
END
$$;
CREATE SCHEMA de;
GRANT USAGE ON SCHEMA de TO de_boss;
CREATE FUNCTION de.ask(e eventsource.events, call jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF e.data ? 'skip' THEN
		RETURN jsonb_build_object('skip', e.data->>'skip');
	END IF;
	RETURN to_jsonb((e.data->>'email')::int);
END
$$;
CREATE FUNCTION pg_temp.job(stream text) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' | ', state, error_code, error, finish_reason) FROM eventsource.job j WHERE j.stream = $1 AND queue = '$reaction'
$$;
CREATE FUNCTION pg_temp.seen(role text, stream text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(x, '') FROM pg_temp.as_role($1, format($q$SELECT concat_ws(' | ', state, error_code, error, finish_reason) FROM eventsource.jobs WHERE stream = %L AND queue = '$reaction'$q$, $2)) x
$$;
SELECT eventsource.set_error_code('22P02', false) \g /dev/null
SELECT eventsource.create_reaction('de_clear', 'declear', 'joined', action => '{"call": "de.ask(eventsource.events,jsonb)"}', run_at => 'event.occurred_at') \g /dev/null
SELECT pg_temp.as_role('de_boss', $$SELECT eventsource.create_reaction('de_masked', 'demasked', 'joined', action => '{"call": "de.ask(eventsource.events,jsonb)"}', run_at => 'event.occurred_at')::text$$) \g /dev/null

-- ---- nothing personal is declared ----

SELECT eventsource.append('declear-1', 'joined', '{"email": "one@example.com"}'), eventsource.append('demasked-1', 'joined', '{"email": "one@example.com"}') \g /dev/null
SELECT count(*) FROM eventsource.run_due() \g /dev/null
SELECT is(pg_temp.job('declear-1'), 'discarded | 22P02 | invalid input syntax for type integer: "one@example.com"', 'an error is kept');
SELECT is(pg_temp.seen('de_reader', 'declear-1'), 'discarded | 22P02', 'who reads everything is told its code alone');
SELECT is(pg_temp.seen('de_boss', 'declear-1'), 'discarded | 22P02', 'other admins, too');
SELECT is(pg_temp.seen('de_boss', 'demasked-1'), 'discarded | 22P02 | invalid input syntax for type integer: "one@example.com"', 'who defined the reaction is told');
SELECT is(pg_temp.seen('de_mate', 'demasked-1'), 'discarded | 22P02 | invalid input syntax for type integer: "one@example.com"', 'and who has his rights');
SELECT is((SELECT string_agg(x, '') FROM pg_temp.as_role('de_reader', $$SELECT coalesce(error, 'nothing') FROM eventsource.dead_letters WHERE stream = 'demasked-1'$$) x), 'nothing', 'dead letters tell no more');

-- ---- something is ----

SELECT eventsource.register_event_type('joined', 'declear', pii => '{"email": "hash"}'), eventsource.register_event_type('joined', 'demasked', pii => '{"email": "hash"}') \g /dev/null
SELECT eventsource.append('declear-2', 'joined', '{"email": "two@example.com"}'), eventsource.append('demasked-2', 'joined', '{"email": "two@example.com"}') \g /dev/null
SELECT count(*) FROM eventsource.run_due() \g /dev/null
SELECT is(pg_temp.job('declear-2'), 'discarded | 22P02 | (the error may quote personal fields)', 'what may quote personal fields is not kept');
SELECT is(pg_temp.job('demasked-2'), 'discarded | 22P02 | invalid input syntax for type integer: "***"', 'what cannot is');
SELECT is((SELECT count(*) FROM eventsource.job j WHERE j::text LIKE '%two@example.com%'), 0::bigint, 'no column has it');

-- ---- reasons ----

SELECT eventsource.append('declear-3', 'joined', '{"skip": "no consent of Joe"}') \g /dev/null
SELECT count(*) FROM eventsource.run_due() \g /dev/null
SELECT is(pg_temp.job('declear-3'), 'done | skipped: no consent of Joe', 'a reason is kept');
SELECT is(pg_temp.seen('de_reader', 'declear-3'), 'done', 'but not shown to everybody');

-- What a worker says of a job is for who works in its queue; of the run there is told to its definer.
SELECT eventsource.create_reaction('de_steps', 'desteps', 'joined', action => '{"steps": [{"enqueue": "de_mail", "max_attempts": 1}]}') \g /dev/null
SELECT eventsource.append('desteps-1', 'joined') \g /dev/null
SELECT count(*) FROM eventsource.run_due() \g /dev/null
SELECT eventsource.fail(job_id, 'BOUNCED', 'joe@example.com is no more') FROM eventsource.claim('de_mail') \g /dev/null
SELECT count(*) FROM eventsource.run_due() \g /dev/null
SELECT ok(pg_temp.job('desteps-1') ~ '^discarded \| STEP_GIVEN_UP \| step 1: job \d+ was discarded: BOUNCED \| step 1: job \d+ was discarded: BOUNCED$', 'a run knows the code alone of why its job was given up');
SELECT is(pg_temp.seen('de_reader', 'desteps-1'), 'discarded | STEP_GIVEN_UP', 'a reader that it was');

-- ---- erasure ----

SELECT eventsource.append('declear-4', 'joined', '{"skip": "Joe is on holiday", "email": "joe@example.com"}') \g /dev/null
SELECT count(*) FROM eventsource.run_due() \g /dev/null
SELECT eventsource.erase_subject('demasked-1', 'hard', 'gdpr-request', 'me'), eventsource.erase_subject('declear-4', 'anonymize', 'gdpr-request', 'me') \g /dev/null
SELECT is(pg_temp.job('demasked-1'), 'discarded | 22P02 | subject erased', 'with whom it is about errors go');
SELECT is(pg_temp.job('declear-4'), 'done | subject erased', 'and reasons');
SELECT is((SELECT count(*) FROM eventsource.job j WHERE j::text LIKE '%one@example.com%' AND j.stream = 'demasked-1'), 0::bigint, 'nothing is left');

-- ---- timeouts ----

SELECT eventsource.create_state_machine('de_wait', '{"create": {"asked": "OPEN"}, "states": {
	"OPEN": {"on": {"lapsed": "CLOSED"}, "after": {"1 minute": "lapsed"}}, "CLOSED": {"type": "final"}}}'),
	eventsource.create_category('dewait', 'de_wait'), eventsource.register_event_type('asked', 'dewait', pii => '{"email": "hash"}') \g /dev/null
CREATE TABLE de_row (key text PRIMARY KEY, email text, n int);
SELECT eventsource.create_projection('de_row', '{dewait}', '{"asked": "email = event.data->>''email''", "lapsed": "n = row.email::int"}') \g /dev/null
SELECT eventsource.append('dewait-1', 'asked', '{"email": "ann@example.com"}', occurred_at => now() - interval '1 hour') \g /dev/null
SELECT is((SELECT string_agg(work || ' ' || count, ', ') FROM eventsource.run_due()), 'timeouts 1', 'a timeout that a projection stands in the way of');
SELECT is((SELECT finish_reason FROM eventsource.job WHERE stream = 'dewait-1'), '22P02: (the error may quote personal fields)', 'says why, without values');
SELECT is((SELECT count(*) FROM eventsource.job j WHERE j::text LIKE '%ann@example.com%'), 0::bigint, 'no column has them');

SELECT * FROM finish();
\i test/own_database_end.sql
