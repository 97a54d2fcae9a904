\set ECHO none
\i test/helpers.sql
-- Stepping: what a state machine allows, and what it says where it does not.
BEGIN;
SELECT plan(68);

-- A refused statement as text: sqlstate, message, hint, constraint.
CREATE FUNCTION pg_temp.refused(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	message text;
	hint text;
	name text;
BEGIN
	EXECUTE statement;
	RETURN 'allowed';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT, name = CONSTRAINT_NAME;
	RETURN concat_ws(' | ', SQLSTATE, message, hint, nullif(name, ''));
END
$$;

CREATE FUNCTION pg_temp.state_after(stream text, type text, data jsonb DEFAULT '{}', reason text DEFAULT NULL)
RETURNS text LANGUAGE sql AS $$ SELECT a.state FROM eventsource.append($1, $2, $3, $4) a $$;

-- Without "create", the first event steps from the initial state.
SELECT is(eventsource.create_state_machine('door', '{
	"initial": "OPEN",
	"states": {
		"OPEN": {"on": {"close": "CLOSED", "paint": {"reasons": ["ugly", "old"]}, "look": "OPEN", "mend": {"reason": "optional"}}},
		"CLOSED": {"on": {
			"open": {"target": "OPEN", "reason": "optional"},
			"knock": {"reason": "forbidden"},
			"lock": {"target": "LOCKED", "guard": {"has_key": "event.data ? ''key''"}}}},
		"LOCKED": {"type": "final", "on": {"rattle": {}}}},
	"on": {"look": {}, "inspect": {"reason": "required"}, "burn": {"target": "LOCKED"}, "burnish": {}},
	"reasons": {"ugly": {"category": "taste"}, "old": {"category": "age"}, "routine": {}}
}'), 1::bigint, 'a definition has a version');
SELECT is(eventsource.create_category('door', 'door'), 1::bigint, 'so has a category');

SELECT is(pg_temp.state_after('door-1', 'close'), 'CLOSED', 'the first event steps from the initial state');
SELECT is(from_state, NULL, 'but comes from no state')
FROM eventsource.events WHERE stream = 'door-1' AND version = 1;
SELECT is(pg_temp.state_after('door-1', 'open'), 'OPEN', 'an event moves');
SELECT is(from_state || ' ' || to_state, 'CLOSED OPEN', 'and the log says from where to where')
FROM eventsource.events WHERE stream = 'door-1' AND version = 2;
SELECT is(pg_temp.state_after('door-1', 'look'), 'OPEN', 'an edge may lead back to its state');
SELECT is(pg_temp.state_after('door-2', 'look'), 'OPEN', 'a first event that moves nothing leaves the initial state');

SELECT is(pg_temp.refused($$ SELECT eventsource.append('door-1', 'lock') $$),
	'ZE002 | event type "lock" is not allowed in state "OPEN" | Allowed in state "OPEN": look, mend, close, paint, burn, burnish, inspect.',
	'ZE002: the hint lists what is allowed');
SELECT is(pg_temp.refused($$ SELECT eventsource.append('door-9', 'open') $$),
	'ZE002 | event type "open" is not allowed in state "OPEN" | Allowed in state "OPEN": look, mend, close, paint, burn, burnish, inspect.',
	'ZE002: also for the first event');
SELECT is(pg_temp.refused($$ SELECT eventsource.append('door-1', 'opne') $$),
	'ZE006 | event type "opne" is unknown to state machine "door@1" | It knows: look, mend, close, paint, lock, open, knock, rattle, burn, burnish, inspect.',
	'ZE006: the hint lists what is known');
SELECT is(eventsource.stream_version('door-9'), 0::bigint, 'a refused event leaves no stream');
SELECT is(eventsource.stream_version('door-1'), 3::bigint, 'and no version');

-- Reasons.
SELECT is(pg_temp.refused($$ SELECT eventsource.append('door-1', 'paint') $$),
	'ZE003 | event type "paint" requires a reason in state "OPEN" | Reason codes: old, ugly.',
	'ZE003: the hint lists the codes of the edge');
SELECT is(pg_temp.refused($$ SELECT eventsource.append('door-1', 'paint', reason => 'routine') $$),
	'ZE004 | reason "routine" is not allowed for event type "paint" in state "OPEN" | Reason codes: old, ugly.',
	'ZE004: a code of the machine, but not of the edge');
SELECT is(pg_temp.refused($$ SELECT eventsource.append('door-1', 'paint', reason => 'no_such') $$),
	'ZE004 | reason "no_such" is not allowed for event type "paint" in state "OPEN" | Reason codes: old, ugly.',
	'ZE004: no code at all');
SELECT is(pg_temp.state_after('door-1', 'paint', reason => 'old'), 'OPEN', 'a code of the edge passes');
SELECT is(pg_temp.refused($$ SELECT eventsource.append('door-1', 'inspect') $$),
	'ZE003 | event type "inspect" requires a reason in state "OPEN" | Reason codes: old, ugly, routine.',
	'ZE003: an edge without codes takes those of the machine');
SELECT is(pg_temp.state_after('door-1', 'inspect', reason => 'routine'), 'OPEN', 'each of them');
SELECT is(pg_temp.state_after('door-1', 'close', reason => 'ugly'), 'CLOSED', 'a reason is optional where nothing is said');
SELECT is(pg_temp.refused($$ SELECT eventsource.append('door-1', 'open', reason => 'whim') $$),
	'ZE004 | reason "whim" is not allowed for event type "open" in state "CLOSED" | Reason codes: old, ugly, routine.',
	'ZE004: but must be a code even so');
SELECT is(pg_temp.refused($$ SELECT eventsource.append('door-1', 'knock', reason => 'old') $$),
	'ZE004 | event type "knock" takes no reason in state "CLOSED" | Leave the reason out; free text belongs into the data.',
	'ZE004: an edge may forbid reasons');

-- The reason of the session.
SET LOCAL eventsource.reason = 'old';
SELECT is(pg_temp.state_after('door-1', 'knock'), 'CLOSED', 'the setting gives no reason where none is taken');
SELECT is(pg_temp.state_after('door-1', 'open'), 'OPEN', 'it does where one is optional');
SELECT is(pg_temp.state_after('door-1', 'paint'), 'OPEN', 'and where one is required');
SELECT is(pg_temp.state_after('door-1', 'paint', reason => 'ugly'), 'OPEN', 'what the caller says comes first');
SELECT is(pg_temp.state_after('door-1', 'look'), 'OPEN', 'none where nothing is said about reasons');
SELECT is(pg_temp.state_after('door-1', 'burnish'), 'OPEN', 'not for every state, either');
SELECT is(pg_temp.state_after('door-1', 'look', reason => 'routine'), 'OPEN', 'though one can be given there');
SELECT is(array_agg(reason ORDER BY version), '{NULL,old,old,ugly,NULL,NULL,routine}', 'and so the log has it')
FROM (SELECT version, reason FROM eventsource.events WHERE stream = 'door-1' ORDER BY version DESC LIMIT 7) e;
SELECT is_empty($$ SELECT * FROM eventsource.verify_transitions('door-1') $$, 'and a replay agrees');
SELECT pg_temp.same_rows($$ SELECT type, reason, reasons FROM eventsource.allowed_transitions('door-1') ORDER BY type $$,
	$$ VALUES ('burn', 'optional', NULL), ('burnish', 'optional', NULL), ('close', 'optional', NULL),
		('inspect', 'required', '{old,ugly,routine}'), ('look', 'optional', NULL), ('mend', 'optional', '{old,ugly,routine}'),
		('paint', 'required', '{old,ugly}') $$, 'codes are offered where the machine says something about reasons');
SET LOCAL eventsource.reason = 'no_such';
SELECT is(pg_temp.state_after('door-1', 'close'), 'CLOSED', 'a setting that is no code is ignored where a reason is optional');
SELECT is(pg_temp.state_after('door-1', 'open'), 'OPEN', 'here too');
SELECT is(left(pg_temp.refused($$ SELECT eventsource.append('door-1', 'paint') $$), 5), 'ZE004', 'and refused where one is required');
SELECT is(reason, NULL, 'no reason was stored') FROM eventsource.events WHERE stream = 'door-1' ORDER BY version DESC LIMIT 1;
SET LOCAL eventsource.reason = '';
SELECT is(left(pg_temp.refused($$ SELECT eventsource.append('door-1', 'paint') $$), 5), 'ZE003', 'an empty setting is none');

-- Final states.
SELECT is(pg_temp.state_after('door-1', 'close'), 'CLOSED', 'on to the end');
SELECT is(pg_temp.refused($$ SELECT eventsource.append('door-1', 'lock') $$),
	'ZE005 | event type "lock" is rejected by guard "has_key" in state "CLOSED" | Append the event when the guard holds; eventsource.allowed_transitions() shows what is possible now. | has_key',
	'ZE005: the constraint is named after the guard');
SELECT is(pg_temp.state_after('door-1', 'lock', '{"key": 1}'), 'LOCKED', 'a guard that holds lets pass');
SELECT is(pg_temp.refused($$ SELECT eventsource.append('door-1', 'open') $$),
	'ZE002 | event type "open" is not allowed in state "LOCKED" | Allowed in state "LOCKED": rattle, look, burnish, inspect.',
	'nothing leads out of a final state');
SELECT is(pg_temp.state_after('door-1', 'look'), 'LOCKED', 'but what moves nothing is allowed there');
SELECT is(pg_temp.state_after('door-1', 'rattle'), 'LOCKED', 'also what only that state allows');
SELECT is(pg_temp.state_after('door-2', 'burn'), 'LOCKED', 'a root edge may move');

-- With "create", only its types start a stream.
SELECT lives_ok($$ SELECT eventsource.create_state_machine('ticket', '{
	"create": {"opened": "NEW", "imported": [{"target": "DONE", "guard": "event.data ? ''done''"}, "NEW"]},
	"states": {
		"NEW": {"on": {"done": "DONE", "opened": {}}},
		"DONE": {"type": "final"}},
	"on": {"commented": {}}}') $$, 'a machine that says what creates a stream needs no initial state');
SELECT lives_ok($$ SELECT eventsource.create_category('ticket', 'ticket') $$, 'a category for it');
SELECT is(pg_temp.refused($$ SELECT eventsource.append('ticket-1', 'commented') $$),
	'ZE002 | event type "commented" cannot start a stream | A stream starts with: opened, imported.',
	'a root event starts no stream');
SELECT is(pg_temp.refused($$ SELECT eventsource.append('ticket-1', 'done') $$),
	'ZE002 | event type "done" cannot start a stream | A stream starts with: opened, imported.',
	'nor does one of a state');
SELECT is(pg_temp.state_after('ticket-1', 'opened'), 'NEW', 'a creating event does');
SELECT is(pg_temp.state_after('ticket-1', 'opened'), 'NEW', 'it may mean something else later');
SELECT is(pg_temp.refused($$ SELECT eventsource.append('ticket-1', 'imported') $$),
	'ZE002 | event type "imported" is not allowed in state "NEW" | Allowed in state "NEW": opened, done, commented.',
	'or nothing at all');
SELECT is(pg_temp.state_after('ticket-2', 'imported', '{"done": true}'), 'DONE', 'candidates are tried in order');
SELECT is(pg_temp.state_after('ticket-3', 'imported'), 'NEW', 'the first whose guard holds is taken');

-- The same rules for every way in.
SELECT throws_ok($$ INSERT INTO eventsource.events (stream, type) VALUES ('ticket-4', 'opened'), ('ticket-4', 'reopened') $$,
	'ZE006', NULL, 'an INSERT into the view is decided, too');
SELECT throws_ok($$ SELECT eventsource.append_events('[{"stream": "ticket-4", "type": "opened"}, {"stream": "ticket-4", "type": "imported"}]') $$,
	'ZE002', NULL, 'so is a batch, event by event');
SELECT is(eventsource.stream_version('ticket-4'), 0::bigint, 'all or nothing');
SELECT lives_ok($$ SELECT eventsource.append_events('[{"stream": "ticket-4", "type": "opened"}, {"stream": "ticket-4", "type": "done"}]') $$,
	'each event of a batch steps from the one before it');
SELECT is(eventsource.current_state('ticket-4'), 'DONE', 'to the end');

-- Undeclared categories.
SELECT is(pg_temp.state_after('anything-1', 'whatever', reason => 'why not'), NULL, 'a category without machine allows everything');
SELECT is(eventsource.current_state('anything-1'), NULL, 'and has no state');

-- A machine that declares no reasons takes any word.
SELECT lives_ok($$ SELECT eventsource.create_state_machine('plain',
	'{"initial": "A", "states": {"A": {"on": {"go": {"target": "B", "reason": "required"}}}, "B": {"type": "final"}}}') $$,
	'a machine without reasons');
SELECT lives_ok($$ SELECT eventsource.create_category('plain', 'plain') $$, 'a category for it');
SELECT is(pg_temp.refused($$ SELECT eventsource.append('plain-1', 'go') $$),
	'ZE003 | event type "go" requires a reason in state "A" | Any code that says why will do.', 'can require one');
SELECT is(pg_temp.state_after('plain-1', 'go', reason => 'because'), 'B', 'and takes any');
SELECT is(pg_temp.refused($$ SELECT eventsource.append('plain-1', 'go') $$),
	'ZE002 | event type "go" is not allowed in state "B" | State "B" is final: no event is allowed in it.',
	'the end of the end');

-- A stream that began before its category had a machine.
SELECT is(pg_temp.state_after('late-1', 'noted'), NULL, 'a stream without machine');
SELECT is(eventsource.create_category('late', 'ticket'), 1::bigint, 'gets one');
SELECT is(pg_temp.state_after('late-1', 'opened'), 'NEW', 'and is created in its eyes by the next event');

SELECT * FROM finish();
ROLLBACK;
