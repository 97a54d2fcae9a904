\set ECHO none
\set own_database handler
\i test/own_database.sql
-- Handlers: functions called with each event, in order, each once per committed cursor.
SELECT plan(44);

CREATE TABLE hdl_log (n int GENERATED ALWAYS AS IDENTITY, at bigint, stream text, type text, key text, data jsonb, idempotency_key text, who text, path text);
CREATE FUNCTION hdl_note(e eventsource.events) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF e.data ? 'bad' THEN
		RAISE EXCEPTION 'bad event of %', e.stream USING ERRCODE = 'XX999', DETAIL = 'it says bad';
	END IF;
	INSERT INTO public.hdl_log (at, stream, type, key, data, idempotency_key, who, path)
	VALUES (e.position, e.stream, e.type, e.key, e.data, e.idempotency_key, current_user, current_setting('search_path'));
END $$;
SELECT count(*) AS n FROM eventsource.append('hdl-1', 'first', '{"a": 1}', idempotency_key => 'k1') \gset
SELECT count(*) AS n FROM eventsource.append('hdlother-1', 'first') \gset
SELECT is(eventsource.create_handler('hdl', '{hdl}', 'hdl_note(eventsource.events)'), 1::bigint, 'defined');
SELECT pg_temp.same_rows($$ SELECT name, category, handler, filter, settings, version, is_verifiable, position, status FROM eventsource.handlers WHERE name = 'hdl' $$,
	$$ VALUES ('hdl', '{hdl}'::text[], 'public.hdl_note(eventsource.events)', NULL::text, NULL::jsonb, 1::bigint, false, 0::bigint, 'current') $$, 'the view');
SELECT pg_temp.same_rows($$ SELECT projection, events, status, event_position = eventsource.watermark() FROM eventsource.run_projections() WHERE handler = 'hdl' $$,
	$$ VALUES (NULL::regclass, 1::bigint, 'current', true) $$, 'run');
SELECT pg_temp.same_rows($$ SELECT stream, type, key, data, idempotency_key, who, path FROM hdl_log $$,
	$$ VALUES ('hdl-1', 'first', '1', '{"a": 1}'::jsonb, 'k1', current_user::text, 'pg_catalog, pg_temp') $$, 'called with the event');

-- In order; filter; a new version goes on where the old one stood.
SELECT is(eventsource.create_handler('hdl', '{hdl}', 'hdl_note(eventsource.events)', $$ event.type <> 'quiet' $$, '{"max_batch": 3, "max_lag": "1 hour"}'), 2::bigint, 'again: a new version');
SELECT count(*) AS n FROM eventsource.append_events((SELECT jsonb_agg(jsonb_build_object('stream', 'hdl-' || i % 3, 'type', CASE i % 5 WHEN 0 THEN 'quiet' ELSE 'loud' END)) FROM generate_series(1, 20) i)) \gset
SELECT pg_temp.same_rows($$ SELECT events, status FROM eventsource.run_projections(max_events => 7) WHERE handler = 'hdl' $$, $$ VALUES (7::bigint, 'behind') $$, 'max_events');
SELECT pg_temp.same_rows($$ SELECT events, status FROM eventsource.run_projections() WHERE handler = 'hdl' $$, $$ VALUES (13::bigint, 'current') $$, 'the rest');
SELECT pg_temp.same_rows($$ SELECT at FROM hdl_log ORDER BY n $$,
	$$ SELECT position FROM eventsource.events WHERE category = 'hdl' AND type <> 'quiet' ORDER BY position $$, 'each once, in order, what the filter takes');

-- Corrections come as the events that they are.
SELECT count(*) AS n FROM eventsource.correct_event((SELECT min(at) FROM hdl_log), '{"a": 2}', 'r', 'a') \gset
SELECT count(*) AS n FROM eventsource.run_projections() \gset
SELECT pg_temp.same_rows($$ SELECT type, data FROM hdl_log ORDER BY n DESC LIMIT 1 $$, $$ VALUES ('event_corrected', '{"a": 2}'::jsonb) $$, 'a correction');

-- Rollback undoes what it wrote and its cursor.
SELECT count(*) AS n FROM eventsource.append('hdl-1', 'late') \gset
BEGIN;
SELECT pg_temp.same_rows($$ SELECT events FROM eventsource.run_projections() WHERE handler = 'hdl' $$, $$ VALUES (1::bigint) $$, 'run');
ROLLBACK;
SELECT is((SELECT count(*) FROM hdl_log WHERE type = 'late'), 0::bigint, 'rolled back');
SELECT pg_temp.same_rows($$ SELECT events FROM eventsource.run_projections() WHERE handler = 'hdl' $$, $$ VALUES (1::bigint) $$, 'run again');
SELECT is((SELECT count(*) FROM hdl_log WHERE type = 'late'), 1::bigint, 'once');

-- It fails: parked at the event; resumed; skipped.
SELECT count(*) AS n FROM eventsource.append_events('[{"stream": "hdl-1", "type": "b1"}, {"stream": "hdl-1", "type": "b2", "data": {"bad": 1}}, {"stream": "hdl-1", "type": "b3"}]') \gset
SELECT pg_temp.same_rows($$ SELECT events, status, error FROM eventsource.run_projections() WHERE handler = 'hdl' $$, $$ VALUES (1::bigint, 'parked', 'bad event of hdl-1') $$, 'parked');
SELECT pg_temp.same_rows($$ SELECT status, sqlstate, error, detail, failed_position FROM eventsource.handlers WHERE name = 'hdl' $$,
	$$ SELECT 'parked', 'XX999', 'bad event of hdl-1', 'it says bad', position FROM eventsource.events WHERE category = 'hdl' AND type = 'b2' $$, 'the view tells why');
SELECT is((SELECT count(*) FROM hdl_log WHERE type = 'b1'), 1::bigint, 'what came before is done');
SELECT is(eventsource.resume_handler('hdl'), true, 'resumed');
SELECT pg_temp.same_rows($$ SELECT events, status FROM eventsource.run_projections() WHERE handler = 'hdl' $$, $$ VALUES (0::bigint, 'parked') $$, 'parked again');
SELECT is(eventsource.resume_handler('hdl', skip => true), true, 'skipped');
SELECT pg_temp.same_rows($$ SELECT events, status FROM eventsource.run_projections() WHERE handler = 'hdl' $$, $$ VALUES (1::bigint, 'current') $$, 'goes on with the next');
SELECT is(eventsource.resume_handler('hdl'), false, 'it was not parked');

-- It appends: what it appends comes to it in the next run.
CREATE FUNCTION hdl_answer(e eventsource.events) RETURNS void LANGUAGE sql AS $$ SELECT eventsource.append('hdlanswer-' || e.key, 'answered', jsonb_build_object('to', e.position)) $$;
SELECT is(eventsource.create_handler('hdl answer', '{hdlask,hdlanswer}', 'hdl_answer(eventsource.events)', settings => '{"from_position": null}'), 1::bigint, 'from now on');
SELECT count(*) AS n FROM eventsource.append('hdlask-1', 'asked') \gset
SELECT pg_temp.same_rows($$ SELECT events, status FROM eventsource.run_projections() WHERE handler = 'hdl answer' $$, $$ VALUES (1::bigint, 'current') $$, 'asked');
SELECT pg_temp.same_rows($$ SELECT events, status FROM eventsource.run_projections() WHERE handler = 'hdl answer' $$, $$ VALUES (1::bigint, 'current') $$, 'its own event comes to it');
SELECT is((SELECT count(*) FROM eventsource.events WHERE category = 'hdlanswer'), 2::bigint, 'appended');
SELECT eventsource.drop_handler('hdl answer') \gset

-- It cannot run what runs it.
CREATE FUNCTION hdl_run(e eventsource.events) RETURNS void LANGUAGE sql AS $$ SELECT count(*) FROM eventsource.run_projections() $$;
SELECT eventsource.create_handler('hdl run', '{hdlask}', 'hdl_run(eventsource.events)') AS done \gset
SELECT pg_temp.same_rows($$ SELECT status, error FROM eventsource.run_projections() WHERE handler = 'hdl run' $$,
	$$ VALUES ('parked', 'projections cannot be run by a handler') $$, 'it does not run itself');
SELECT eventsource.drop_handler('hdl run') \gset

-- It says that it was cancelled, and at length: no other is hindered, and not all of it is kept.
CREATE FUNCTION hdl_lie(e eventsource.events) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'no' USING ERRCODE = CASE e.key WHEN '1' THEN 'query_canceled' ELSE 'admin_shutdown' END; END $$;
SELECT eventsource.create_handler('hdl a lie', '{hdlask}', 'hdl_lie(eventsource.events)') AS done, eventsource.create_handler('hdl b', '{hdlask}', 'hdl_note(eventsource.events)') AS done_too \gset
SELECT pg_temp.same_rows($$ SELECT handler, status, error FROM eventsource.run_projections() WHERE handler IN ('hdl a lie', 'hdl b') $$,
	$$ VALUES ('hdl a lie', 'retry', 'no'), ('hdl b', 'current', NULL) $$, 'not cancelled');
CREATE FUNCTION hdl_talk(e eventsource.events) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE '%', repeat('ä', 20000) USING DETAIL = repeat('ö', 20000); END $$;
SELECT eventsource.create_handler('hdl a lie', '{hdlask}', 'hdl_talk(eventsource.events)') AS done \gset
SELECT is((SELECT length(error) FROM eventsource.run_projections() WHERE handler = 'hdl a lie'), 4096, 'a long message');
SELECT pg_temp.same_rows($$ SELECT status, length(error), length(detail) FROM eventsource.handlers WHERE name = 'hdl a lie' $$,
	$$ VALUES ('parked', 4096, 4096) $$, 'is not kept whole');
SELECT eventsource.drop_handler('hdl a lie'), eventsource.drop_handler('hdl b') \gset
CREATE FUNCTION pg_temp.hdl_cancelled() RETURNS text LANGUAGE plpgsql AS $$
BEGIN PERFORM FROM eventsource.run_projections(); RETURN 'no'; EXCEPTION WHEN query_canceled THEN RETURN sqlerrm; END $$;
SET statement_timeout = '1s';
CREATE FUNCTION hdl_wait(e eventsource.events) RETURNS void LANGUAGE sql AS $$ SELECT pg_sleep(600) $$;
SELECT eventsource.create_handler('hdl wait', '{hdlask}', 'hdl_wait(eventsource.events)') AS done \gset
SELECT is(pg_temp.hdl_cancelled(), 'canceling statement due to statement timeout', 'who runs it can be cancelled');
RESET statement_timeout;
SELECT eventsource.drop_handler('hdl wait') \gset

-- It drops itself; one of its name begins where it is told to.
CREATE FUNCTION hdl_once(e eventsource.events) RETURNS void LANGUAGE sql AS $$ SELECT eventsource.drop_handler('hdl once') $$;
SELECT eventsource.create_handler('hdl once', '{hdlask}', 'hdl_once(eventsource.events)') AS done \gset
SELECT count(*) AS n FROM eventsource.run_projections() \gset
SELECT eventsource.create_handler('hdl once', '{hdlask}', 'hdl_once(eventsource.events)', settings => '{"from_position": 1}') AS done \gset
SELECT pg_temp.same_rows($$ SELECT position, status FROM eventsource.handlers WHERE name = 'hdl once' $$, $$ VALUES (1::bigint, 'current') $$, 'made anew after it dropped itself');
SELECT eventsource.drop_handler('hdl once') \gset

-- What it does is over when it returns: nothing waits for the commit of who runs it.
CREATE TABLE hdl_trap (n int);
CREATE FUNCTION hdl_trap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER hdl_trap AFTER INSERT ON hdl_trap DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hdl_trap();
CREATE FUNCTION hdl_trap(e eventsource.events) RETURNS void LANGUAGE sql AS $$ INSERT INTO public.hdl_trap VALUES (1) $$;
SELECT eventsource.create_handler('hdl trap', '{hdlask}', 'hdl_trap(eventsource.events)') AS done \gset
SELECT pg_temp.same_rows($$ SELECT status, error FROM eventsource.run_projections() WHERE handler = 'hdl trap' $$,
	$$ VALUES ('parked', 'cannot fire deferred trigger within security-restricted operation') $$, 'a trap for the commit');
-- Nor does it run what waits for the end of the caller's transaction: it would have the handler's rights.
CREATE FUNCTION hdl_haste(e eventsource.events) RETURNS void LANGUAGE plpgsql AS $$ BEGIN SET CONSTRAINTS ALL IMMEDIATE; END $$;
SELECT eventsource.create_handler('hdl trap', '{hdlask}', 'hdl_haste(eventsource.events)') AS done \gset
BEGIN;
INSERT INTO hdl_trap VALUES (1);
SELECT pg_temp.same_rows($$ SELECT status, error FROM eventsource.run_projections() WHERE handler = 'hdl trap' $$,
	$$ VALUES ('retry', 'deferred triggers of this transaction are still to be run') $$, 'a trap of the caller');
COMMIT;
SELECT pg_temp.same_rows($$ SELECT status, error FROM eventsource.run_projections() WHERE handler = 'hdl trap' $$, $$ VALUES ('current', NULL) $$, 'later');
SELECT eventsource.drop_handler('hdl trap') \gset

-- Errors of definition
SELECT is(split_part(split_part(pg_temp.refusal($$ SELECT eventsource.create_handler('', '{"a-b"}', 'hdl_note(eventsource.events)', 'now() > event.recorded_at', '{"max_batch": 0, "from_position": -1}') $$), 'DETAIL: ', 2), E'\nHINT', 1) ~
	E'^name: must have 1 to 256 bytes\ncategory: "a-b" has a hyphen; a category is what stands before it\nfilter: .*\nsettings: max_batch must be .*\nsettings: from_position must be ', true, 'all problems at once');
SELECT pg_temp.refuses($$ SELECT eventsource.create_handler('x', NULL, 'lower(text)') $$, '42883', 'pg_catalog.lower(pg_catalog.text) cannot be a handler', 'no such handler');
SELECT pg_temp.refuses($$ SELECT eventsource.drop_handler('nobody') $$, '42704', 'there is no handler "nobody"', 'nothing to drop');

-- Rights: those of the definer, whoever runs it.
CREATE ROLE hdl_admin;
SELECT eventsource.grant_admin('hdl_admin') \gset
GRANT CREATE ON SCHEMA public TO hdl_admin;
REVOKE EXECUTE ON FUNCTION hdl_note(eventsource.events) FROM PUBLIC;
SET ROLE hdl_admin;
SELECT pg_temp.refuses($$ SELECT eventsource.create_handler('hdl mine', '{hdlother}', 'hdl_note(eventsource.events)') $$,
	'42501', 'permission denied for function public.hdl_note(eventsource.events)', 'only who may execute it');
CREATE TABLE hdl_mine (who text);
CREATE FUNCTION hdl_mine(e eventsource.events) RETURNS void LANGUAGE sql AS $$ INSERT INTO public.hdl_mine VALUES (current_user) $$;
CREATE FUNCTION hdl_rob(e eventsource.events) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'RESET ROLE'; DELETE FROM public.hdl_log; END $$;
SELECT eventsource.create_handler('hdl mine', '{hdlother}', 'hdl_mine(eventsource.events)') AS done, eventsource.create_handler('hdl rob', '{hdlother}', 'hdl_rob(eventsource.events)') AS done_too \gset
RESET ROLE;
SELECT pg_temp.same_rows($$ SELECT handler, status, error FROM eventsource.run_projections() WHERE handler IN ('hdl mine', 'hdl rob') $$,
	$$ VALUES ('hdl mine', 'current', NULL::text), ('hdl rob', 'parked', 'cannot set parameter "role" within security-restricted operation') $$, 'a superuser runs them');
SELECT is((SELECT string_agg(who, ',') FROM hdl_mine), 'hdl_admin', 'with the definer''s rights');
-- Whoever runs it: what it appends is recorded by its definer, and the settings of that session say nothing about it.
SET ROLE hdl_admin;
CREATE FUNCTION hdl_sign(e eventsource.events) RETURNS void LANGUAGE sql AS $$ SELECT eventsource.append('hdlsigned-1', 'signed') $$;
SELECT eventsource.create_handler('hdl sign', '{hdlask}', 'hdl_sign(eventsource.events)', settings => '{"from_position": null}') AS done \gset
RESET ROLE;
SELECT count(*) AS n FROM eventsource.append('hdlask-2', 'asked') \gset
SET eventsource.actor = 'agent:joe';
SET eventsource.correlation_id = 'c';
SELECT count(*) AS n FROM eventsource.run_projections() \gset
SELECT count(*) AS n FROM eventsource.append('hdlsigned-1', 'by hand') \gset
RESET eventsource.actor;
RESET eventsource.correlation_id;
SELECT pg_temp.same_rows($$ SELECT type, recorded_by, actor, metadata ->> 'correlation_id' FROM eventsource.events WHERE category = 'hdlsigned' ORDER BY position $$,
	$$ VALUES ('signed', 'hdl_admin', 'hdl_admin', NULL), ('by hand', session_user::text, 'agent:joe', 'c') $$, 'who signs');
CREATE FUNCTION hdl_fail(e eventsource.events) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM eventsource.append('hdlsigned-1', 'undone'); RAISE 'failed'; END $$;
ALTER FUNCTION hdl_fail OWNER TO hdl_admin;
SET ROLE hdl_admin;
SELECT eventsource.create_handler('hdl sign', '{hdlask}', 'hdl_fail(eventsource.events)') AS done \gset
RESET ROLE;
SELECT count(*) AS n FROM eventsource.append('hdlask-2', 'asked') \gset
SELECT count(*) AS n FROM eventsource.run_projections() \gset
SELECT count(*) AS n FROM eventsource.append('hdlsigned-1', 'after it failed') \gset
SELECT is((SELECT recorded_by FROM eventsource.events WHERE category = 'hdlsigned' ORDER BY position DESC LIMIT 1), session_user::text, 'also after it failed');
SELECT eventsource.drop_handler('hdl sign') \gset
SELECT eventsource.drop_handler('hdl mine'), eventsource.drop_handler('hdl rob'), eventsource.drop_handler('hdl') \gset
SELECT is_empty($$ SELECT * FROM eventsource.handlers WHERE name LIKE 'hdl%' $$, 'dropped');
SET ROLE hdl_admin;
SELECT eventsource.create_handler('hdl orphan', '{hdlask}', 'hdl_fail(eventsource.events)') AS done \gset
RESET ROLE;
ALTER FUNCTION hdl_fail OWNER TO CURRENT_USER;
DROP OWNED BY hdl_admin;
DROP ROLE hdl_admin;
SELECT count(*) AS n FROM eventsource.run_projections() \gset
SELECT is((SELECT status || ': ' || error FROM eventsource.handlers WHERE name = 'hdl orphan'),
	'parked: the role that defined handler "hdl orphan" is gone', 'where the definer is gone, the owner of the log is told');
\i test/own_database_end.sql
