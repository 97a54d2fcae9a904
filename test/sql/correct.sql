\set ECHO none
\i test/helpers.sql
-- Corrections: an event says what another one should have said, or that it does not count. Both stay in the
-- log; what folds or replays does so as corrected; a correction that the machine would refuse is refused.
BEGIN;
SELECT plan(117);

-- Positions are not the same in every run: where a message names one, it says N.
CREATE FUNCTION pg_temp.refusal_n(command text) RETURNS text LANGUAGE sql AS $$
	SELECT regexp_replace(pg_temp.refusal(command), 'position \d+', 'position N', 'g')
$$;
CREATE FUNCTION pg_temp.at(name text, n bigint) RETURNS bigint LANGUAGE sql AS $$
	SELECT e.position FROM eventsource.events e WHERE e.stream = name AND e.version = n
$$;
-- What is wrong anywhere in the streams of this file: nothing, ever.
CREATE FUNCTION pg_temp.problems() RETURNS SETOF text LANGUAGE sql AS $$
	SELECT 'chain: ' || p::text FROM eventsource.verify_chain() p
	UNION ALL SELECT 'transitions: ' || p::text FROM eventsource.verify_transitions() p
	UNION ALL SELECT r.target || ': ' || p::text
	FROM eventsource.projections r, eventsource.verify_projection(r.target) p WHERE r.name LIKE 'public.corr%' AND r.target IS NOT NULL
$$;

SELECT eventsource.create_state_machine('corr', $$ {"initial": "NEW", "create": {"opened": "NEW"},
	"states": {"NEW": {"on": {"contacted": "CONTACTED", "dropped": {"target": "DROPPED", "reasons": ["bogus"]}}},
		"CONTACTED": {"on": {"qualified": [{"target": "BIG", "guard": {"big enough": "(event.data->>'amount')::numeric >= 10"}}, "SMALL"],
							 "dropped": "DROPPED"}},
		"SMALL": {"on": {"grown": "BIG"}},
		"BIG": {"on": {"closed": {"target": "CLOSED", "guard": {"four steps": "row.n >= 4"}}}},
		"DROPPED": {"on": {"reopened": "NEW"}},
		"CLOSED": {"type": "final"}},
	"on": {"note_added": {}, "assigned": {"fill": {"from_agent": "row.agent"}}},
	"reasons": {"bogus": {"label": "Bogus"}}} $$) AS defined \gset
CREATE TABLE corr_lead (key text PRIMARY KEY, n int NOT NULL DEFAULT 0, state text, agent text, amount numeric CHECK (amount < 1000));
CREATE TABLE corr_agent (agent text PRIMARY KEY, n int NOT NULL DEFAULT 0, leads text NOT NULL DEFAULT '');
CREATE TABLE corr_step (at bigint PRIMARY KEY, from_state text, to_state text, data jsonb);
SELECT eventsource.create_projection('corr_lead', ARRAY['corrlead'], jsonb_build_object(
	'*', 'n = row.n + 1, state = event.to_state',
	'assigned', $$n = row.n + 1, state = event.to_state, agent = event.data->>'agent'$$,
	'qualified', $$n = row.n + 1, state = event.to_state, amount = (event.data->>'amount')::numeric$$)) AS defined,
eventsource.create_projection('corr_agent', ARRAY['corrlead'], jsonb_build_object('assigned', $$n = row.n + 1, leads = row.leads || event.key$$),
	key => jsonb_build_object('agent', $$event.data->>'agent'$$), mode => 'inline') AS defined,
eventsource.create_projection('corr_step', ARRAY['corrlead'], jsonb_build_object('*', 'from_state = event.from_state, to_state = event.to_state, data = event.data'),
	key => jsonb_build_object('at', 'event.position')) AS defined \gset
SELECT eventsource.create_category('corrlead', 'corr', context => 'corr_lead') AS defined \gset

SELECT eventsource.append('corrlead-1', t, d) FROM (VALUES (1, 'opened', '{}'::jsonb), (2, 'assigned', '{"agent": "joe"}'),
	(3, 'contacted', '{}'), (4, 'assigned', '{"agent": "ann"}'), (5, 'qualified', '{"amount": 50}'), (6, 'note_added', '{"note": "x"}')) AS v (n, t, d)
ORDER BY n \g /dev/null

-- ---- data ----

SELECT is(a.version || ' ' || a.state || ' ' || a.is_duplicate || ' ' || (a.position = pg_temp.at('corrlead-1', 7)), '7 BIG false true', 'a correction is an event of the stream')
FROM eventsource.correct_event(pg_temp.at('corrlead-1', 2), '{"agent": "bob"}', 'typing_error', 'agent:joe') a;
SELECT is(e.type || ' ' || e.data || ' ' || (e.metadata = jsonb_build_object('corrects', pg_temp.at('corrlead-1', 2))) || ' ' || e.reason || ' ' || e.actor || ' ' || e.from_state || ' ' || e.to_state,
	'event_corrected {"agent": "bob", "from_agent": null} true typing_error agent:joe BIG BIG', 'it says which event it corrects, how, why and who; filled in values stay')
FROM eventsource.read_stream('corrlead-1', 7) e;
SELECT is(data, '{"agent": "joe", "from_agent": null}', 'what it corrects stays in the log') FROM eventsource.events WHERE stream = 'corrlead-1' AND version = 2;
SELECT pg_temp.same_rows('SELECT * FROM corr_agent ORDER BY agent', $$ VALUES ('ann', 1, '1'), ('bob', 1, '1') $$, 'a shared row loses its last event, another is made');
SELECT pg_temp.same_rows('SELECT * FROM corr_lead', $$ VALUES ('1', 6, 'BIG', 'ann', 50) $$, 'the rule * does not fire for a correction');
SELECT eventsource.correct_event(pg_temp.at('corrlead-1', 4), '{"agent": "bob", "from_agent": "bob"}', 'typing_error', 'agent:joe') \g /dev/null
SELECT pg_temp.same_rows('SELECT * FROM corr_agent ORDER BY agent', $$ VALUES ('bob', 2, '11') $$, 'two events meet in one row');
SELECT is(data, '{"agent": "bob", "from_agent": "bob"}', 'a value that the database fills in can be corrected') FROM eventsource.read_stream('corrlead-1', 8);
SELECT eventsource.correct_event(pg_temp.at('corrlead-1', 2), '{"agent": "eve"}', 'typing_error', 'agent:joe') \g /dev/null
SELECT pg_temp.same_rows('SELECT * FROM corr_agent ORDER BY agent', $$ VALUES ('bob', 1, '1'), ('eve', 1, '1') $$, 'of two corrections the last one counts');
SELECT is_empty('SELECT * FROM pg_temp.problems()', 'all is well');

-- ---- states ----

SELECT is(state, 'SMALL', 'corrected data may take another edge, if nothing changed the state since')
FROM eventsource.correct_event(pg_temp.at('corrlead-1', 5), '{"amount": 5}', 'typing_error', 'agent:joe');
SELECT pg_temp.same_rows('SELECT * FROM corr_lead', $$ VALUES ('1', 6, 'SMALL', 'bob', 5) $$, 'the row follows, the note after it stays in the new state');
SELECT is(eventsource.current_state('corrlead-1'), 'SMALL', 'current_state too');
SELECT is(pg_temp.refusal($$ SELECT eventsource.append('corrlead-1', 'closed') $$) LIKE 'ZE002: event type "closed" is not allowed in state "SMALL"%', true, 'the next event goes on from there');
SELECT eventsource.append('corrlead-1', 'grown') \g /dev/null
SELECT pg_temp.same_rows($$ SELECT version, from_state, to_state FROM eventsource.transitions WHERE stream = 'corrlead-1' ORDER BY version $$,
	$$ VALUES (1, NULL, 'NEW'), (3, 'NEW', 'CONTACTED'), (5, 'CONTACTED', 'SMALL'), (11, 'SMALL', 'BIG') $$, 'transitions as corrected');
SELECT pg_temp.same_rows($$ SELECT state, visit, entered_version, arrival_path, is_current FROM eventsource.state_periods WHERE stream = 'corrlead-1' ORDER BY entered_version $$,
	$$ VALUES ('NEW', 1, 1, 'NEW', false), ('CONTACTED', 1, 3, 'NEW > CONTACTED', false), ('SMALL', 1, 5, 'NEW > CONTACTED > SMALL', false), ('BIG', 1, 11, 'CONTACTED > SMALL > BIG', true) $$,
	'periods as corrected');
SELECT is_empty('SELECT * FROM pg_temp.problems()', 'all is well');

SELECT is(pg_temp.refusal_n($$ SELECT eventsource.correct_event(pg_temp.at('corrlead-1', 5), '{"amount": 20}', 'r', 'a') $$),
	E'ZE002: correction would make stream "corrlead-1" illegal: event type "grown" is not allowed in state "BIG"\nDETAIL: The first illegal event would be "grown", version 11 at position N. Stream "corrlead-1" follows state machine "corr@1".\nHINT: Correct or void that event first.',
	'what comes after must be legal still');
SELECT is(pg_temp.refusal_n($$ SELECT eventsource.void_event(pg_temp.at('corrlead-1', 3), 'r', 'a') $$),
	E'ZE002: correction would make stream "corrlead-1" illegal: event type "qualified" is not allowed in state "NEW"\nDETAIL: The first illegal event would be "qualified", version 5 at position N. Stream "corrlead-1" follows state machine "corr@1".\nHINT: Correct or void that event first.',
	'also where an event is voided');
SELECT is(pg_temp.refusal_n($$ SELECT eventsource.void_event(pg_temp.at('corrlead-1', 1), 'r', 'a') $$),
	E'ZE002: correction would make stream "corrlead-1" illegal: event type "assigned" cannot start a stream\nDETAIL: The first illegal event would be "assigned", version 2 at position N. Stream "corrlead-1" follows state machine "corr@1".\nHINT: Correct or void that event first.',
	'the first event holds the others');
SELECT is(pg_temp.refusal_n($$ SELECT eventsource.correct_event(pg_temp.at('corrlead-1', 5), '{"amount": 5000}', 'r', 'a') $$) LIKE '%"grown" is not allowed%', true, 'the machine speaks first');

-- A row guard: closed needs four events before it, as corrected.
SELECT eventsource.append('corrlead-1', 'closed') \g /dev/null
SELECT eventsource.void_event(pg_temp.at('corrlead-1', 6), 'r', 'a'), eventsource.void_event(pg_temp.at('corrlead-1', 4), 'r', 'a') \g /dev/null
SELECT pg_temp.same_rows('SELECT * FROM corr_lead', $$ VALUES ('1', 6, 'CLOSED', 'eve', 5) $$, 'voided events are not counted');
SELECT pg_temp.same_rows('SELECT * FROM corr_agent ORDER BY agent', $$ VALUES ('eve', 1, '1') $$, 'nor their agents');
SELECT eventsource.void_event(pg_temp.at('corrlead-1', 2), 'r', 'a') \g /dev/null
SELECT is((SELECT n FROM corr_lead), 5, 'four are enough');
SELECT is(pg_temp.refusal($$ SELECT eventsource.void_event(pg_temp.at('corrlead-1', 2), 'r', 'a') $$) LIKE '55000: event at position % is voided already%HINT: %', true, 'what is voided cannot be voided');
SELECT eventsource.correct_event(pg_temp.at('corrlead-1', 6), '{"note": "y"}', 'r', 'a') \g /dev/null
SELECT is((SELECT n FROM corr_lead), 6, 'new data restores a voided event');
SELECT is_empty('SELECT * FROM pg_temp.problems()', 'all is well');

SELECT eventsource.append('corrlead-2', t, d) FROM (VALUES (1, 'opened', '{}'::jsonb), (2, 'note_added', '{}'), (3, 'contacted', '{}'),
	(4, 'qualified', '{"amount": 50}'), (5, 'closed', '{}')) AS v (n, t, d) ORDER BY n \g /dev/null
SELECT is(pg_temp.refusal_n($$ SELECT eventsource.void_event(pg_temp.at('corrlead-2', 2), 'r', 'a') $$),
	E'ZE005: correction would make stream "corrlead-2" illegal: event type "closed" is rejected by guard "four steps" in state "BIG"\nDETAIL: The first illegal event would be "closed", version 5 at position N. Stream "corrlead-2" follows state machine "corr@1". The guard is: row.n >= 4\nHINT: Correct or void that event first.',
	'guards see the row as corrected');
SELECT throws_like($$ SELECT eventsource.correct_event(pg_temp.at('corrlead-2', 4), '{"amount": 1000}', 'r', 'a') $$, '%violates check constraint "corr_lead_amount_check"',
	'constraints of a projection hold');
SELECT is(state, 'BIG', 'the last event voided: the state is what it was before') FROM eventsource.void_event(pg_temp.at('corrlead-2', 5), 'too_early', 'agent:joe');
SELECT is(state, 'CLOSED', 'and it can be restored') FROM eventsource.correct_event(pg_temp.at('corrlead-2', 5), '{}', 'not_too_early', 'agent:joe');
SELECT is(pg_temp.refusal_n($$ SELECT eventsource.append('corrlead-2', 'note_added') $$), 'not refused', 'notes can still be added');
SELECT is(state, 'BIG', 'a note does not hold the state') FROM eventsource.void_event(pg_temp.at('corrlead-2', 5), 'too_early', 'agent:joe');
SELECT pg_temp.same_rows($$ SELECT version, from_state, to_state FROM eventsource.transitions WHERE stream = 'corrlead-2' ORDER BY version $$,
	$$ VALUES (1, NULL, 'NEW'), (3, 'NEW', 'CONTACTED'), (4, 'CONTACTED', 'BIG') $$, 'nor does it enter one');
SELECT is((SELECT state || n FROM corr_lead WHERE key = '2'), 'BIG5', 'in the row, too');
SELECT pg_temp.same_rows($$ SELECT e.version, s.from_state, s.to_state, s.data FROM corr_step s JOIN eventsource.events e ON e.position = s.at WHERE e.stream = 'corrlead-2' ORDER BY 1 $$,
	$$ VALUES (1, NULL, 'NEW', '{}'::jsonb), (2, 'NEW', 'NEW', '{}'), (3, 'NEW', 'CONTACTED', '{}'), (4, 'CONTACTED', 'BIG', '{"amount": 50}'), (8, 'BIG', 'BIG', '{}') $$,
	'a fold sees states as corrected');
SELECT is_empty('SELECT * FROM pg_temp.problems()', 'all is well');

-- The only event: the stream starts anew.
SELECT eventsource.append('corrlead-3', 'opened') \g /dev/null
SELECT is(a.state, NULL, 'the only event voided: the stream has no state') FROM eventsource.void_event(pg_temp.at('corrlead-3', 1), 'wrong_lead', 'agent:joe') a;
SELECT is_empty($$ SELECT FROM corr_lead WHERE key = '3' $$, 'and no row');
SELECT is(pg_temp.refusal($$ SELECT eventsource.append('corrlead-3', 'contacted') $$) LIKE 'ZE002: event type "contacted" cannot start a stream%', true, 'only a creating event can come next');
SELECT is(version || state, '3NEW', 'and does') FROM eventsource.append('corrlead-3', 'opened');
SELECT is(pg_temp.refusal($$ SELECT eventsource.correct_event(pg_temp.at('corrlead-3', 1), '{}', 'r', 'a') $$) LIKE 'ZE002: correction would make stream "corrlead-3" illegal: event type "opened" is not allowed in state "NEW"%', true,
	'then the first one cannot come back');
SELECT is_empty('SELECT * FROM pg_temp.problems()', 'all is well');

-- A reason that another edge does not take.
SELECT eventsource.append('corrlead-4', 'opened'), eventsource.append('corrlead-4', 'contacted'), eventsource.append('corrlead-4', 'dropped'), eventsource.append('corrlead-4', 'reopened') \g /dev/null
SELECT is(pg_temp.refusal($$ SELECT eventsource.void_event(pg_temp.at('corrlead-4', 2), 'r', 'a') $$) LIKE 'ZE003: correction would make stream "corrlead-4" illegal: event type "dropped" requires a reason%', true,
	'an edge that needs a reason');
SELECT is(pg_temp.refusal($$ SELECT eventsource.void_event(pg_temp.at('corrlead-4', 3), 'r', 'a') $$) LIKE 'ZE002: %"reopened" is not allowed in state "CONTACTED"%', true, 'the event after it');
SELECT is(state, 'DROPPED', 'from the end on') FROM eventsource.void_event(pg_temp.at('corrlead-4', 4), 'r', 'a');
SELECT is(state, 'CONTACTED', 'one by one') FROM eventsource.void_event(pg_temp.at('corrlead-4', 3), 'r', 'a');
SELECT is(state, 'NEW', 'to the first') FROM eventsource.void_event(pg_temp.at('corrlead-4', 2), 'r', 'a');
SELECT is(state, 'CONTACTED', 'and back') FROM eventsource.correct_event(pg_temp.at('corrlead-4', 2), '{}', 'r', 'a');
SELECT is_empty('SELECT * FROM pg_temp.problems()', 'all is well');

-- An event on the way that would lead elsewhere.
SELECT eventsource.create_state_machine('corrdoor', '{"initial": "A", "states": {"A": {"on": {"go": "B", "jump": "C"}}, "B": {"on": {"go": "C", "jump": "A"}}, "C": {"on": {"go": "A", "stay": "C"}}}}') AS defined,
	eventsource.create_category('corrdoor', 'corrdoor') AS defined \gset
SELECT eventsource.append('corrdoor-1', 'go'), eventsource.append('corrdoor-1', 'go'), eventsource.append('corrdoor-1', 'stay') \g /dev/null
SELECT is(pg_temp.refusal_n($$ SELECT eventsource.void_event(pg_temp.at('corrdoor-1', 1), 'r', 'a') $$),
	E'ZE002: correction would lead stream "corrdoor-1" elsewhere\nDETAIL: Event "go", version 2 at position N, would go from (none) to "B" by state machine "corrdoor@1"; it went from "B" to "C".\nHINT: Correct or void that event first.',
	'another event must lead where it led');
SELECT is(pg_temp.refusal($$ SELECT eventsource.void_event(pg_temp.at('corrdoor-1', 2), 'r', 'a') $$) LIKE 'ZE002: %"stay" is not allowed in state "B"%', true, 'a state that an edge names is not left alone');
SELECT eventsource.append('corrdoor-2', 'jump'), eventsource.append('corrdoor-2', 'stay'), eventsource.append('corrdoor-2', 'go'), eventsource.append('corrdoor-2', 'jump') \g /dev/null
SELECT eventsource.append('corrdoor-3', 'go'), eventsource.append('corrdoor-3', 'jump'), eventsource.append('corrdoor-3', 'jump') \g /dev/null
SELECT is(pg_temp.refusal($$ SELECT eventsource.void_event(pg_temp.at('corrdoor-3', 2), 'r', 'a') $$) LIKE 'ZE002: correction would lead stream "corrdoor-3" elsewhere%', true, 'also at the end');
-- A later version of the machine judges what it allowed, and knows the state that is left.
SET LOCAL client_min_messages = error;
SELECT eventsource.create_state_machine('corrdoor', '{"initial": "A", "states": {"A": {"on": {"go": "D", "jump": "A"}}, "D": {"on": {"go": "A", "jump": "D"}}}}') AS defined \gset
SELECT is(pg_temp.refusal_n($$ SELECT eventsource.void_event(pg_temp.at('corrdoor-2', 4), 'r', 'a') $$), 'not refused', 'history is judged by the machine that it had');
SELECT is(pg_temp.refusal_n($$ SELECT eventsource.void_event(pg_temp.at('corrdoor-2', 3), 'r', 'a') $$),
	E'ZE002: correction would leave stream "corrdoor-2" in state "C"\nDETAIL: State machine "corrdoor@2" does not have this state any more.\nHINT: Define the machine again with this state, and edges that lead out of it.',
	'no state that is no more');
SELECT is_empty('SELECT * FROM pg_temp.problems()', 'all is well');

-- A category that has a machine for some time only.
SELECT eventsource.append('corrloose-1', 'go') \g /dev/null
SELECT eventsource.create_category('corrloose', 'corrdoor') AS defined \gset
SELECT eventsource.append('corrloose-1', 'go'), eventsource.append('corrloose-1', 'jump') \g /dev/null
SELECT is(a.state, 'D', 'before there was a machine') FROM eventsource.void_event(pg_temp.at('corrloose-1', 1), 'r', 'a') a;
SELECT eventsource.create_category('corrloose') AS defined \gset
SELECT eventsource.append('corrloose-1', 'anything') \g /dev/null
SELECT is(a.state, NULL, 'while there was one') FROM eventsource.void_event(pg_temp.at('corrloose-1', 3), 'r', 'a') a;
SELECT is(a.state, NULL, 'and after') FROM eventsource.correct_event(pg_temp.at('corrloose-1', 5), '{"x": 1}', 'r', 'a') a;
SELECT eventsource.create_category('corrloose', 'corrdoor') AS defined \gset
SELECT is(a.state, 'D', 'and again') FROM eventsource.append('corrloose-1', 'go') a;
SELECT is_empty('SELECT * FROM pg_temp.problems()', 'all is well');

-- ---- what was believed when ----

SELECT eventsource.append('corrlead-5', 'opened', occurred_at => '2020-01-01'), eventsource.append('corrlead-5', 'contacted', occurred_at => '2020-02-01'),
	eventsource.append('corrlead-5', 'qualified', '{"amount": 50}', occurred_at => '2020-03-01') \g /dev/null
SELECT clock_timestamp() AS before \gset
SELECT eventsource.void_event(pg_temp.at('corrlead-5', 3), 'r', 'a') \g /dev/null
SELECT is(eventsource.state_at('corrlead-5', :'before'), 'BIG', 'state_at recorded: as believed then');
SELECT is(eventsource.state_at('corrlead-5', clock_timestamp()), 'CONTACTED', 'and now');
SELECT is((SELECT state FROM eventsource.as_of(NULL::corr_lead, :'before') WHERE key = '5'), 'BIG', 'as_of recorded: the row as believed then');
SELECT is((SELECT state FROM eventsource.as_of(NULL::corr_lead, clock_timestamp()) WHERE key = '5'), 'CONTACTED', 'and now');
SELECT is((SELECT state FROM eventsource.as_of(NULL::corr_lead, '2020-03-15', basis => 'occurred') WHERE key = '5'), 'CONTACTED', 'as_of occurred: as known now');
SELECT is(eventsource.state_at('corrlead-5', '2020-01-15', 'occurred'), 'NEW', 'state_at occurred: before it');
SELECT is(eventsource.state_at('corrlead-5', '2020-03-15', 'occurred'), 'CONTACTED', 'state_at occurred: as known now');
SELECT eventsource.append('corrlead-5', 'qualified', '{"amount": 1}', occurred_at => '2020-02-15') \g /dev/null
SELECT pg_temp.same_rows($$ SELECT state, entered_at = '2020-02-15', duration FROM eventsource.state_periods WHERE stream = 'corrlead-5' ORDER BY entered_version $$,
	$$ VALUES ('NEW', false, '31 days'::interval), ('CONTACTED', false, '14 days'), ('SMALL', true, NULL) $$, 'periods read as if the voided event had not been');

SELECT pg_temp.same_rows($$ SELECT version, type, kind, data_before, data_after, reason, actor, is_current, corrected_at > '2020-01-01', correction_position > position
	FROM eventsource.corrections WHERE stream = 'corrlead-2' ORDER BY correction_position $$,
	$$ VALUES (5, 'closed', 'voided', '{}'::jsonb, NULL::jsonb, 'too_early', 'agent:joe', false, true, true),
		(5, 'closed', 'corrected', NULL, '{}', 'not_too_early', 'agent:joe', false, true, true),
		(5, 'closed', 'voided', '{}', NULL, 'too_early', 'agent:joe', true, true, true) $$, 'the view shows each correction');

-- ---- refusals ----

SELECT pg_temp.refuses('SELECT eventsource.correct_event(' || args || ')', state, message, args) FROM (VALUES
	('NULL, ''{}'', ''r'', ''a''', '22004', 'event_position must not be null'),
	('1, NULL, ''r'', ''a''', '22004', 'data must not be null'),
	('1, ''{}'', NULL, ''a''', '22004', 'reason must not be null'),
	('1, ''{}'', ''r'', NULL', '22004', 'actor must not be null'),
	('1, ''{}'', '''', ''a''', '22004', 'reason must not be empty'),
	('1, ''{}'', ''r'', ''''', '22004', 'actor must not be empty'),
	('1, ''[]'', ''r'', ''a''', '22023', 'data must be an object'),
	('1, ''1'', ''r'', ''a''', '22023', 'data must be an object'),
	('0, ''{}'', ''r'', ''a''', 'P0002', 'there is no event at position 0'),
	('-1, ''{}'', ''r'', ''a''', 'P0002', 'there is no event at position -1'),
	('9223372036854775807, ''{}'', ''r'', ''a''', 'P0002', 'there is no event at position 9223372036854775807'),
	('pg_temp.at(''corrlead-1'', 1), ''{}'', repeat(''r'', 257), ''a''', '42622', 'reason is too long'),
	('pg_temp.at(''corrlead-1'', 1), ''{}'', ''r'', repeat(''a'', 257)', '42622', 'actor is too long'),
	('pg_temp.at(''corrlead-1'', 7), ''{}'', ''r'', ''a''', '22023', 'a correction cannot be corrected itself'),
	('(SELECT position FROM eventsource.events WHERE category = ''$config'' LIMIT 1), ''{}'', ''r'', ''a''', '42939', NULL)) AS v (args, state, message)
WHERE message IS NOT NULL;
SELECT is(pg_temp.refusal($$ SELECT eventsource.correct_event((SELECT position FROM eventsource.events WHERE stream = '$config-state_machine.corr'), '{}', 'r', 'a') $$)
	LIKE E'42939: event of stream "$config-state\\_machine.corr" cannot be corrected%DETAIL: %HINT: %', true, 'definitions are not corrected');
SELECT is(pg_temp.refusal($$ SELECT eventsource.void_event(pg_temp.at('corrlead-1', 7), 'r', 'a') $$)
	LIKE '22023: %HINT: Correct the event at position ' || pg_temp.at('corrlead-1', 2) || ' again: its last correction counts.', true, 'the hint names the event to correct');
SELECT pg_temp.refuses('SELECT eventsource.void_event(1, NULL, ''a'')', '22004', 'reason must not be null', 'void: no reason');
SELECT pg_temp.refuses('SELECT eventsource.void_event(1, ''r'', NULL)', '22004', 'actor must not be null', 'void: no actor');
SELECT pg_temp.refuses('SELECT eventsource.void_event(NULL, ''r'', ''a'')', '22004', 'event_position must not be null', 'void: no position');

-- An event of the same type by append() is an ordinary event.
SELECT eventsource.append('corrplain-1', 'event_voided', jsonb_build_object('corrects', 1), metadata => jsonb_build_object('corrects', pg_temp.at('corrlead-1', 2))) \g /dev/null
SELECT is_empty($$ SELECT FROM eventsource.corrections WHERE stream = 'corrplain-1' $$, 'an ordinary event of that type corrects nothing');
SELECT lives_ok($$ SELECT eventsource.correct_event(pg_temp.at('corrplain-1', 1), '{"x": 1}', 'r', 'a') $$, 'and can be corrected itself');
-- Appended, and corrected, in one statement and in one transaction.
SELECT is((SELECT count(*) FROM (SELECT eventsource.void_event((eventsource.append('corrlead-' || i, 'opened')).position, 'r', 'a') FROM generate_series(100, 104) i) x), 5::bigint, 'in one statement');
SELECT is_empty($$ SELECT FROM corr_lead WHERE key::int >= 100 $$, 'no rows are left');
-- What a tracked table held is told by the table; the rest of a captured event can be corrected.
SELECT eventsource.create_state_machine('corrrow', '{"initial": "NEW", "create": {"corrrow_created": "NEW"},
	"states": {"NEW": {"on": {"started": "OPEN"}}, "OPEN": {"on": {"ended": "DONE"}}, "DONE": {"type": "final"}}, "on": {"note_added": {}, "corrrow_updated": {}}}') AS defined \gset
CREATE TABLE corr_row (id int PRIMARY KEY, status text, txt text);
SELECT eventsource.track_table('corr_row', 'corrrow', state_column => 'status', state_machine => 'corrrow') \g /dev/null
INSERT INTO corr_row VALUES (1, 'NEW', 'a');
UPDATE corr_row SET status = 'OPEN';
SELECT eventsource.append('corrrow-1', 'note_added') \g /dev/null
UPDATE corr_row SET status = 'DONE';
SELECT pg_temp.refuses($$ SELECT eventsource.void_event(pg_temp.at('corrrow-1', 2), 'r', 'a') $$, '0A000', 'a captured event cannot be voided', 'a captured event voided');
SELECT pg_temp.refuses($$ SELECT eventsource.correct_event(pg_temp.at('corrrow-1', 2), '{"changed": {}}', 'r', 'a') $$, '0A000', '"changed" of a captured event cannot be corrected', 'other changes');
SELECT pg_temp.refuses($$ SELECT eventsource.correct_event(pg_temp.at('corrrow-1', 2), '{}', 'r', 'a') $$, '0A000', '"changed" of a captured event cannot be corrected', 'no changes');
SELECT pg_temp.refuses($$ SELECT eventsource.correct_event(position, data || '{"key_changed_from": "7"}', 'r', 'a') FROM eventsource.events WHERE position = pg_temp.at('corrrow-1', 2) $$,
	'0A000', '"key_changed_from" of a captured event cannot be corrected', 'another row before');
SELECT pg_temp.refuses($$ SELECT eventsource.correct_event(position, data || '{"key_changed_to": "7"}', 'r', 'a') FROM eventsource.events WHERE position = pg_temp.at('corrrow-1', 2) $$,
	'0A000', '"key_changed_to" of a captured event cannot be corrected', 'another row after');
SELECT lives_ok($$ SELECT eventsource.correct_event(position, data || '{"by": "phone"}', 'r', 'a') FROM eventsource.events WHERE stream = 'corrrow-1' AND version = 2 $$, 'what is beside them');
SELECT is(state, 'DONE', 'an appended event of the stream can be voided') FROM eventsource.void_event(pg_temp.at('corrrow-1', 3), 'r', 'a');
DELETE FROM corr_row;
SELECT is(a.state, NULL, 'after the row was deleted') FROM eventsource.events e, eventsource.correct_event(e.position, e.data || '{"by": "mail"}', 'r', 'a') a
WHERE e.stream = 'corrrow-1' AND e.version = 2;
SELECT is_empty('SELECT * FROM pg_temp.problems()', 'all is well');

-- A rolled back correction leaves nothing; nor can an expression correct while an event is decided.
SAVEPOINT before;
SELECT eventsource.void_event(pg_temp.at('corrlead-2', 8), 'r', 'a') \g /dev/null
ROLLBACK TO before;
SELECT is((SELECT n FROM corr_lead WHERE key = '2'), 5, 'rolled back');
CREATE FUNCTION corr_nested(n bigint) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
	BEGIN RETURN (eventsource.void_event(n, 'r', 'a')).version; END $$;
SELECT pg_temp.at('corrlead-1', 1) AS target \gset
CREATE TABLE corr_nest (key text PRIMARY KEY, n text);
SELECT eventsource.create_projection('corr_nest', ARRAY['corrnest'], jsonb_build_object('x',
	$q$ n = CASE WHEN event.data ? 'nest' THEN public.corr_nested((event.data->>'nest')::bigint) END $q$)) \g /dev/null
SELECT throws_like(format($$ SELECT eventsource.append('corrnest-1', 'x', '{"nest": %s}') $$, :target),
	'cannot append while another event is being decided', 'no correction inside of an append');
SELECT eventsource.append('corrnest-1', 'x') \g /dev/null
SELECT throws_like(format($$ SELECT eventsource.correct_event(pg_temp.at('corrnest-1', 1), '{"nest": %s}', 'r', 'a') $$, :target),
	'cannot append while another event is being decided', 'nor inside of a correction');
SAVEPOINT before;
SET TRANSACTION READ ONLY;
SELECT throws_like('SELECT eventsource.correct_event(1, ''{}'', ''r'', ''a'')', 'cannot execute eventsource.correct_event() in a read-only transaction', 'read only');
SELECT throws_like('SELECT eventsource.void_event(1, ''r'', ''a'')', 'cannot execute eventsource.void_event() in a read-only transaction', 'read only: void');
ROLLBACK TO before;

-- The subject follows; other expressions of the category do not see a correction as an event of its own.
SELECT eventsource.create_category('corrcart', subject => $$CASE event.type WHEN 'filled' THEN event.data->>'customer' END$$) AS defined \gset
CREATE TABLE corr_customer (customer text PRIMARY KEY, n int NOT NULL DEFAULT 0);
SELECT eventsource.create_projection('corr_customer', ARRAY['corrcart'], jsonb_build_object('filled', 'n = row.n + 1'),
	key => jsonb_build_object('customer', 'event.subject'), mode => 'inline') AS defined \gset
SELECT eventsource.append('corrcart-1', 'filled', '{"customer": "ann"}') \g /dev/null
SELECT eventsource.correct_event(pg_temp.at('corrcart-1', 1), '{"customer": "bob"}', 'r', 'a') \g /dev/null
SELECT pg_temp.same_rows('SELECT * FROM corr_customer', $$ VALUES ('bob', 1) $$, 'the subject as corrected');
SELECT pg_temp.same_rows($$ SELECT version, subject FROM eventsource.events WHERE stream = 'corrcart-1' ORDER BY version $$, $$ VALUES (1, 'ann'), (2, 'bob') $$, 'is the correction''s own');
SELECT is_empty('SELECT * FROM pg_temp.problems()', 'all is well');


-- The machine is taken away, and given back: a correction meanwhile leaves it as any event does.
SELECT eventsource.create_state_machine('corrlost', '{"initial": "A", "states": {"A": {"on": {"go": [{"target": "B", "guard": "event.data->>''to'' = ''B''"}, "C"]}},
	"B": {"type": "final"}, "C": {"type": "final"}}}') AS v, eventsource.create_category('corrlost', 'corrlost') AS w \gset
SELECT position AS first FROM eventsource.append('corrlost-1', 'go', '{"to": "B"}') \gset
SELECT position AS second FROM eventsource.append('corrlost-2', 'go', '{"to": "B"}') \gset
SET LOCAL client_min_messages = error;
SELECT eventsource.create_category('corrlost') AS v \gset
RESET client_min_messages;
SELECT count(eventsource.append('corrlost-2', 'any')) AS n \gset
SELECT count(eventsource.correct_event(:first, '{"to": "B", "n": 1}', 'typo', 'agent:joe')) AS n \gset
SELECT eventsource.create_category('corrlost', 'corrlost') AS v \gset
SELECT count(eventsource.append('corrlost-1', 'go')) AS n \gset
SELECT is_empty($$ SELECT * FROM eventsource.verify_transitions('corrlost-1') $$, 'a correction without a machine is no break in the states');
SELECT is(state, 'C', 'what came before it can be corrected alone') FROM eventsource.correct_event(:first, '{"to": "C"}', 'typo', 'agent:joe');
SELECT pg_temp.same_rows($$ SELECT version, from_state, to_state FROM eventsource.transitions WHERE stream = 'corrlost-1' ORDER BY version $$,
	$$ VALUES (1, NULL, 'C'), (3, NULL, 'C') $$, 'and so it is shown');
SELECT is_empty($$ SELECT * FROM eventsource.verify_transitions('corrlost-1') $$, 'and is no break either');
SELECT is(state, NULL, 'nor is an event that had no machine') FROM eventsource.correct_event(:second, '{"to": "C"}', 'typo', 'agent:joe');
SELECT is_empty($$ SELECT * FROM eventsource.verify_transitions('corrlost-2') $$, 'before which the state is another');
SELECT eventsource.create_category('corrback', 'corrdoor') AS v \gset
SELECT count(eventsource.append('corrback-1', 'jump')) AS n \gset
SET LOCAL client_min_messages = error;
SELECT eventsource.create_category('corrback') AS v \gset
SELECT count(eventsource.append('corrback-1', 'any')) AS n \gset
SELECT eventsource.create_category('corrback', 'corrdoor') AS v \gset
SELECT count(eventsource.append('corrback-1', 'go')) AS n \gset
RESET client_min_messages;
SELECT is(state, 'D', 'an event that had no machine is voided') FROM eventsource.void_event((SELECT position FROM eventsource.events WHERE stream = 'corrback-1' AND type = 'any'), 'typo', 'agent:joe');
SELECT is_empty($$ SELECT * FROM eventsource.verify_transitions('corrback-1') $$, 'which does not undo that there was none');
SELECT * FROM finish();
ROLLBACK;
