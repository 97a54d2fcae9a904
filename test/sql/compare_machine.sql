\set ECHO none
\i test/helpers.sql
-- compare_machine: what another state machine would make of the same events.
BEGIN;
SELECT plan(41);

CREATE TABLE deal (id text PRIMARY KEY, calls int NOT NULL DEFAULT 0, offers int NOT NULL DEFAULT 0, state text);
SELECT eventsource.create_projection('deal', '{deal}', jsonb_build_object(
	'called', 'calls = row.calls + 1, state = event.to_state',
	'offered', 'offers = row.offers + (event.data->>''n'')::int, state = event.to_state',
	'lost', '{"set": "state = event.to_state, calls = 0"}'::jsonb, '*', 'state = event.to_state')) AS version \gset
SELECT $$ {"create": {"opened": "NEW"},
	"states": {"NEW": {"on": {"called": "WARM", "lost": {"target": "LOST", "reason": "optional"}}},
			   "WARM": {"on": {"called": "WARM", "offered": "OFFER", "lost": {"target": "LOST", "reason": "optional"}}},
			   "OFFER": {"on": {"won": "WON", "called": "OFFER", "lost": {"target": "LOST", "reason": "optional"}}},
			   "LOST": {"on": {"revived": "NEW"}},
			   "WON": {"type": "final"}},
	"on": {"noted": {}}, "reasons": {"price": {"label": "Too dear"}, "other": {}}} $$ AS present \gset
SELECT eventsource.create_state_machine('deal', :'present') AS version, eventsource.create_category('deal', 'deal', context => 'deal') AS version \gset

-- Some hundred streams that go every legal way, chosen by a hash.
CREATE FUNCTION walk(stream text, steps int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	choices text[];
	chosen text;
BEGIN
	PERFORM eventsource.append(stream, 'opened');
	FOR i IN 1..steps LOOP
		choices := ARRAY(SELECT t.type FROM eventsource.allowed_transitions(stream) t ORDER BY t.type COLLATE "C");
		EXIT WHEN choices = '{}';
		chosen := choices[1 + ('x' || substr(md5(stream || i), 1, 6))::bit(24)::int % cardinality(choices)];
		PERFORM eventsource.append(stream, chosen, jsonb_build_object('n', i % 3),
			reason => CASE WHEN chosen = 'lost' AND i % 2 = 0 THEN 'price' END,
			occurred_at => '2026-01-01 00:00Z'::timestamptz + i * interval '1 day');
	END LOOP;
END
$$;
SELECT count(walk('deal-' || i, i % 15)) FROM generate_series(1, 150) i \gset

-- The slow twin: a category with the machine in force, in which every event is appended anew.
CREATE TABLE twin (id text PRIMARY KEY, calls int NOT NULL DEFAULT 0, offers int NOT NULL DEFAULT 0, state text);
CREATE FUNCTION twin(definition jsonb)
	RETURNS TABLE (key text, version bigint, proposed_from text, proposed_state text, refused text) LANGUAGE plpgsql AS $$
DECLARE
	e record;
	twin text;
BEGIN
	PERFORM eventsource.create_state_machine('twin', definition);
	PERFORM eventsource.create_category('twin', 'twin', context => 'twin');
	FOR e IN SELECT * FROM eventsource.events WHERE category = 'deal' ORDER BY position LOOP
		twin := 'twin-' || e.key;
		proposed_from := eventsource.current_state(twin);
		proposed_state := NULL;
		refused := NULL;
		BEGIN
			SELECT a.state INTO proposed_state FROM eventsource.append(twin, e.type, e.data - 'filled', e.reason, occurred_at => e.occurred_at) a;
		EXCEPTION WHEN OTHERS THEN
			refused := SQLSTATE;
		END;
		IF proposed_state IS DISTINCT FROM e.to_state THEN
			key := e.key;
			version := e.version;
			RETURN NEXT;
		END IF;
	END LOOP;
END
$$;
CREATE FUNCTION pg_temp.as_twin(definition jsonb, at_least int, description text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	SET CONSTRAINTS ALL IMMEDIATE;
	CREATE TEMP TABLE found AS
		SELECT split_part(stream, '-', 2) AS key, version, proposed_from, proposed_state, sqlstate
		  FROM eventsource.compare_machine('deal', definition, all_differences => true);
	BEGIN
		CREATE TEMP TABLE wanted AS SELECT * FROM twin(definition);
		RETURN NEXT cmp_ok(count(*), '>=', at_least::bigint, description || ': there is something to find') FROM wanted;
		RETURN NEXT is_empty('(TABLE found EXCEPT ALL TABLE wanted) UNION ALL (TABLE wanted EXCEPT ALL TABLE found)', description || ': as if appended anew');
		RETURN NEXT pg_temp.same_rows(
			format('SELECT split_part(stream, ''-'', 2), version FROM eventsource.compare_machine(''deal'', %L) ORDER BY 1, 2', definition),
			'SELECT key, min(version) FROM wanted GROUP BY key ORDER BY key COLLATE "C"', description || ': the first of each stream');
	END;
	DROP TABLE found, wanted;
END
$$;

SELECT is_empty(format('SELECT * FROM eventsource.compare_machine(''deal'', %L, true)', :'present'), 'the machine as it is makes no difference');
SAVEPOINT twin;
SELECT eventsource.create_projection('twin', '{twin}', (SELECT rules FROM eventsource.projections WHERE target = 'deal'::regclass)) AS version \gset
SAVEPOINT one;
SELECT pg_temp.as_twin(jsonb_set(:'present', '{states,WARM,on}', '{"offered": "OFFER", "lost": "LOST"}'), 20, 'an edge less');
ROLLBACK TO one;
SELECT pg_temp.as_twin(jsonb_set(:'present', '{states,OFFER,on,called}', '"WARM"'), 10, 'another target');
ROLLBACK TO one;
SELECT pg_temp.as_twin(jsonb_set(:'present', '{states,WARM,on,lost}', '{"target": "LOST", "reason": "required"}'), 10, 'a reason required');
ROLLBACK TO one;
SELECT pg_temp.as_twin(jsonb_set(:'present', '{states,WARM,on,offered}', '{"target": "OFFER", "guard": "row.calls >= 3"}'), 20, 'a guard over the context');
ROLLBACK TO one;
SELECT pg_temp.as_twin(jsonb_set(:'present', '{states,WARM,on,offered}', '[{"target": "OFFER", "guard": "row.offers = 0"}, {"target": "WARM"}]'), 5, 'candidates by the context');
ROLLBACK TO one;
SELECT pg_temp.as_twin(jsonb_set(:'present', '{states,NEW,on,called}', '{"target": "WARM", "guard": "10 / (event.data->>''n'')::int > 5"}'), 10, 'a guard that raises an error');
ROLLBACK TO one;
SELECT pg_temp.as_twin(jsonb_set(:'present', '{create}', '{"registered": "NEW", "opened": "WARM"}'), 100, 'another beginning');
ROLLBACK TO twin;

-- What a row says.
SELECT jsonb_set(:'present', '{states,WARM,on,lost}', '{"target": "LOST", "reasons": ["other"]}') AS other \gset
SELECT pg_temp.same_rows(
	format($$ SELECT DISTINCT from_state, to_state, proposed_from, proposed_state, sqlstate, problem FROM eventsource.compare_machine('deal', %L) ORDER BY sqlstate $$, :'other'),
	$$ VALUES ('WARM', 'LOST', 'WARM', NULL, 'ZE003', 'event type "lost" requires a reason in state "WARM"'), ('WARM', 'LOST', 'WARM', NULL, 'ZE004', 'reason "price" is not allowed for event type "lost" in state "WARM"') $$,
	'the error that the append would have raised');
SELECT pg_temp.same_rows(
	format($$ SELECT c.stream, c.version, c.event_position, c.type FROM eventsource.compare_machine('deal', %L) c ORDER BY c.stream $$, :'other'),
	$$ SELECT DISTINCT ON (e.stream) e.stream, e.version, e.position, e.type FROM eventsource.events e
		WHERE category = 'deal' AND type = 'lost' AND from_state = 'WARM' ORDER BY e.stream, e.version $$, 'and the event');
SELECT is(count(*), (SELECT count(DISTINCT c.stream) FROM eventsource.compare_machine('deal', :'other', true) c JOIN eventsource.events e ON e.position = c.event_position AND e.reason = 'price'),
	'a filter picks what is told of') FROM eventsource.compare_machine('deal', :'other', filter => 'event.reason = ''price''');
SELECT is(count(*), (SELECT count(*) FROM eventsource.compare_machine('deal', :'other', true) c JOIN eventsource.events e ON e.position = c.event_position AND e.occurred_at >= '2026-01-05 00:00Z'),
	'so does a time') FROM eventsource.compare_machine('deal', :'other', true, since => '2026-01-05 00:00Z', basis => 'occurred');
SAVEPOINT reading;
SET TRANSACTION READ ONLY;
SET LOCAL work_mem = '64kB';
SELECT isnt_empty(format($$ SELECT * FROM eventsource.compare_machine('deal', %L) $$, :'other'), 'works in a read-only transaction');
ROLLBACK TO reading;

-- A category that had no machine: what could not have been.
SELECT count(*) FROM (VALUES (eventsource.append('loose-1', 'opened')), (eventsource.append('loose-1', 'called')), (eventsource.append('loose-2', 'called'))) v \gset
SELECT pg_temp.same_rows(format($$ SELECT stream, version, to_state, sqlstate FROM eventsource.compare_machine('loose', %L, true) $$, :'present'),
	$$ VALUES ('loose-2', 1::bigint, NULL::text, 'ZE002') $$, 'where there was no machine, refusals count');
SELECT is_empty(format($$ SELECT * FROM eventsource.compare_machine('nothing', %L) $$, :'present'), 'a category without events');

-- What the database filled in is not held against an event.
SELECT $$ {"initial": "A", "states": {"A": {"on": {"go": {"target": "A", "fill": {"filled": "'x'"}}, "end": "B"}}, "B": {"type": "final"}}} $$ AS filling \gset
SELECT eventsource.create_state_machine('filling', :'filling') AS version, eventsource.create_category('filling', 'filling') AS version \gset
SELECT position AS filled FROM eventsource.append('filling-1', 'go', '{"n": 1}') \gset
SELECT is(data->>'filled', 'x', 'a value was filled in') FROM eventsource.events WHERE position = :filled;
SELECT is_empty(format($$ SELECT * FROM eventsource.compare_machine('filling', %L) $$, :'filling'), 'the same machine would fill it in again');

-- Corrections: what is known now is judged, and the corrections themselves are not.
SELECT $$ {"create": {"opened": "NEW"}, "states": {"NEW": {"on": {"paid": {"target": "PAID", "guard": "(event.data->>'n')::int > 0"}}},
	"PAID": {"on": {"paid": "PAID", "sent": "SENT"}}, "SENT": {"type": "final"}}, "on": {"noted": {}}} $$ AS shop \gset
SELECT eventsource.create_state_machine('fixed', :'shop') AS version, eventsource.create_category('fixed', 'fixed') AS version \gset
SELECT count(*) FROM (SELECT eventsource.append('fixed-1', t, d::jsonb) FROM (VALUES (1, 'opened', '{}'), (2, 'paid', '{"n": 1}'), (3, 'noted', '{}'), (4, 'paid', '{"n": 2}'), (5, 'noted', '{}')) v (i, t, d) ORDER BY i) e \gset
SELECT version FROM eventsource.correct_event((SELECT position FROM eventsource.events WHERE stream = 'fixed-1' AND version = 4), '{"n": 50}', 'typo', 'agent:joe') \gset
SELECT version FROM eventsource.void_event((SELECT position FROM eventsource.events WHERE stream = 'fixed-1' AND version = 2), 'not paid', 'agent:joe') \gset
SELECT is_empty(format('SELECT * FROM eventsource.compare_machine(''fixed'', %L, true)', :'shop'), 'a corrected stream is legal under its machine');
SELECT pg_temp.same_rows(format('SELECT version, type, sqlstate FROM eventsource.compare_machine(''fixed'', %L, true)', replace(:'shop', '> 0', '< 50')),
	$$ VALUES (4::bigint, 'paid', 'ZE005'), (5, 'noted', NULL) $$, 'data as corrected, voided events not at all');

-- Guards have the caller's rights.
CREATE ROLE machine_comparer;
SELECT eventsource.grant_reader('machine_comparer') IS NULL AS granted \gset
CREATE SCHEMA compared_by AUTHORIZATION machine_comparer;
SET LOCAL ROLE machine_comparer;
CREATE FUNCTION compared_by.is_me(text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN current_user = 'machine_comparer'; END $$;
CREATE FUNCTION compared_by.become(text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('role', session_user, false); RETURN true; END $$;
SELECT is_empty(format('SELECT * FROM eventsource.compare_machine(''fixed'', %L, true)', replace(:'shop', '(event.data->>''n'')::int > 0', 'compared_by.is_me(event.type)')), 'guards have the caller''s rights');
SELECT is(array_agg(DISTINCT problem), '{"cannot set parameter \"role\" within security-restricted operation"}', 'and no others')
	FROM eventsource.compare_machine('fixed', replace(:'shop', '(event.data->>''n'')::int > 0', 'compared_by.become(event.type)')::jsonb);
RESET ROLE;

-- A tracked table.
CREATE TABLE tracked (id int PRIMARY KEY, status text, note text);
SELECT $$ {"create": {"made": "NEW"}, "states": {"NEW": {"on": {"warmed": "WARM"}}, "WARM": {"on": {"cooled": "NEW", "won": "WON"}}, "WON": {"type": "final"}}} $$ AS tracked \gset
SELECT eventsource.create_state_machine('tracked', :'tracked') AS version,
	eventsource.track_table('tracked', 'tracked', state_column => 'status', state_machine => 'tracked', on_violation => 'record') AS version \gset
INSERT INTO tracked VALUES (1, 'NEW'), (2, 'NEW'), (3, 'NEW');
UPDATE tracked SET status = 'WARM' WHERE id < 3;
UPDATE tracked SET note = 'x';
UPDATE tracked SET status = 'WON';
DELETE FROM tracked WHERE id = 1;
INSERT INTO tracked VALUES (1, 'NEW');
SELECT is_empty(format('SELECT * FROM eventsource.compare_machine(''tracked'', %L, true)', :'tracked'), 'captured changes, a violation, a row deleted and inserted again');
SELECT pg_temp.same_rows(format('SELECT stream, version, proposed_from, proposed_state, sqlstate FROM eventsource.compare_machine(''tracked'', %L, true) ORDER BY 1, 2',
		jsonb_set(jsonb_set(:'tracked', '{states,WON}', '{"on": {"lost": "WARM"}}'), '{states,NEW,on,warmed}', '"WON"')),
	$$ VALUES ('tracked-1', 2::bigint, 'NEW', 'WON', NULL), ('tracked-1', 3, 'WON', 'WON', NULL), ('tracked-1', 4, 'WON', NULL, 'ZE002'),
		('tracked-2', 2, 'NEW', 'WON', NULL), ('tracked-2', 3, 'WON', 'WON', NULL), ('tracked-2', 4, 'WON', NULL, 'ZE002') $$,
	'changes that are no step pass, steps are judged');
SELECT pg_temp.same_rows(format('SELECT stream, version, proposed_from, proposed_state, sqlstate FROM eventsource.compare_machine(''tracked'', %L, true) ORDER BY 1, 2',
		:'tracked'::jsonb #- '{states,WARM,on,won}' #- '{states,WON}'),
	$$ VALUES ('tracked-1', 4::bigint, 'WARM', NULL, 'ZE006'), ('tracked-2', 4, 'WARM', NULL, 'ZE006'), ('tracked-3', 3, 'NEW', NULL, 'ZE002') $$,
	'a step that it does not know, and a state');

-- Refusals.
SELECT matches(pg_temp.refusal($$ SELECT eventsource.compare_machine('deal', '{"initial": "A", "states": {"A": {"on": {"x": "B", "y": {"target": "A", "guard": "row.nothing = 1"}}}}}') $$),
	'(?s)^ZE011: definition of state machine "deal" is not valid\nDETAIL: .*"B".*\n.*nothing.*\nHINT: ', 'all problems of the definition at once');
SELECT pg_temp.refuses($$ SELECT eventsource.compare_machine('deal', NULL) $$, '22004', 'compare_machine needs a category and a definition', 'null');
SET LOCAL ROLE machine_comparer;
SELECT pg_temp.refuses(format('SELECT eventsource.compare_machine(''deal'', %L)', :'other'), '42501', 'permission denied for table deal', 'guards would see the context''s rows');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
