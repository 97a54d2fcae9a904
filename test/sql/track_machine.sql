\set ECHO none
\i test/helpers.sql
-- A tracked table whose state column follows a state machine.
BEGIN;
SELECT plan(36);

DO $do$ BEGIN PERFORM eventsource.create_state_machine('tkm', $$ {
	"create": {"form": "NEW", "import": "NEW", "walk_in": "CONTACTING"},
	"states": {
		"NEW": {"on": {"contacted": "CONTACTING", "trashed": {"target": "TRASHED", "reasons": ["spam", "dup"]}}},
		"CONTACTING": {"on": {"qualified": "QUALIFIED", "bounced": {"target": "NEW", "reason": "forbidden"},
			"fell": {"target": "TRASHED", "reasons": ["financing"]}, "trashed": {"target": "TRASHED", "reasons": ["spam", "dup"]}}},
		"QUALIFIED": {"on": {"sold": {"target": "SOLD", "guard": {"paid": "(event.data #>> '{changed,amount,new}')::numeric > 0"}},
			"viewed": {}, "checked": [{"target": "CONTACTING", "guard": "event.data #> '{changed,amount}' IS NOT NULL"}, {"target": "NEW"}]}},
		"SOLD": {"type": "final"}, "TRASHED": {"type": "final"}},
	"on": {"assigned": {"reason": "optional", "reasons": ["moved"]}},
	"reasons": {"spam": {}, "dup": {}, "financing": {}, "moved": {}}} $$); END $do$;
CREATE TABLE tkm (id int PRIMARY KEY, status text, agent int, amount numeric, why text);
CREATE FUNCTION pg_temp.last(c text, n int DEFAULT 1) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT h FROM (SELECT format('%s %s: %s -> %s%s %s', e.key, e.type, e.from_state, e.to_state, ' for ' || e.reason,
			(SELECT string_agg(k, ',' ORDER BY k) FROM jsonb_object_keys(e.data -> 'changed') k)) AS h, e.position
		FROM eventsource.events e WHERE e.category = c ORDER BY e.position DESC LIMIT n) x ORDER BY position
$$;

-- Defining.
SELECT matches(pg_temp.refusal($$SELECT eventsource.track_table('tkm', 'tkm', state_column => 'status')$$), 'state_column: category "tkm" follows no state machine', 'a state needs a machine');
SELECT matches(pg_temp.refusal($$SELECT eventsource.track_table('tkm', 'tkm', state_machine => 'tkm')$$), 'say which column holds the state', 'a machine needs a state');
SELECT matches(pg_temp.refusal($$SELECT eventsource.track_table('tkm', 'tkm', state_column => 'status', state_machine => 'tkm',
	states => '{"new": "NEWW"}', event_types => '{"NEW->SOLD": "sold"}')$$),
	'states: "new": "NEWW" is no state of state machine "tkm@1"\nevent_types: "NEW->SOLD": no edge of state machine "tkm@1" leads there by "sold"\nHINT', 'words and edges must be the machine''s');
SELECT matches(pg_temp.refusal($$SELECT eventsource.track_table('tkm', 'tkm', state_column => 'status', state_machine => 'tkm')$$),
	'\nDETAIL: event_types: "->NEW" could be form, import\nHINT', 'what is ambiguous is listed, but for what reasons tell apart');
SELECT lives_ok($$SELECT eventsource.track_table('tkm', 'tkm', state_column => 'status', state_machine => 'tkm', reason_column => 'why',
	states => '{"new": "NEW", "calling": "CONTACTING", "ringing": "CONTACTING", "won": "SOLD"}', event_types => '{"->NEW": "form", "agent": "assigned"}')$$, 'defined');
SELECT is((SELECT state_machine FROM eventsource.categories WHERE name = 'tkm'), 'tkm', 'the category is bound to the machine');

-- Moving.
INSERT INTO tkm VALUES (1, 'new'), (2, 'calling'), (3, 'new');
SELECT pg_temp.same_rows($$SELECT pg_temp.last('tkm', 3)$$, $$VALUES ('1 form:  -> NEW id,status'), ('2 walk_in:  -> CONTACTING id,status'), ('3 form:  -> NEW id,status')$$, 'a row begins with the type that leads there');
UPDATE tkm SET status = 'calling', agent = 7, amount = 5 WHERE id = 1;
SELECT pg_temp.same_rows($$SELECT pg_temp.last('tkm', 2)$$, $$VALUES ('1 contacted: NEW -> CONTACTING amount,status'), ('1 assigned: CONTACTING -> CONTACTING agent')$$, 'the change of state first, then the column');
UPDATE tkm SET status = 'ringing' WHERE id = 1;
SELECT is(pg_temp.last('tkm'), '1 tkm_updated: CONTACTING -> CONTACTING status', 'another word for the same state');
UPDATE tkm SET amount = 6 WHERE id = 1;
SELECT is(pg_temp.last('tkm'), '1 tkm_updated: CONTACTING -> CONTACTING amount', 'what the machine does not know passes');
UPDATE tkm SET status = 'TRASHED', why = 'financing', agent = 8 WHERE id = 1;
SELECT pg_temp.same_rows($$SELECT pg_temp.last('tkm', 2)$$, $$VALUES ('1 fell: CONTACTING -> TRASHED for financing status,why'), ('1 assigned: TRASHED -> TRASHED agent')$$, 'the reason tells which type, and goes only with that');
UPDATE tkm SET status = 'new', why = 'dup' WHERE id = 2;
SELECT is(pg_temp.last('tkm'), '2 bounced: CONTACTING -> NEW status,why', 'no reason where none is taken');
SET LOCAL eventsource.reason = 'dup';
UPDATE tkm SET status = 'TRASHED' WHERE id = 2;
SELECT is(pg_temp.last('tkm'), '2 trashed: NEW -> TRASHED for dup status', 'the setting says why');
SET LOCAL eventsource.reason = '';
DELETE FROM tkm WHERE id = 2;
SELECT is(pg_temp.last('tkm'), '2 tkm_deleted: TRASHED ->  id,status,why', 'a deleted row leaves the machine');
SELECT is(eventsource.current_state('tkm-2'), NULL, 'and has no state');
INSERT INTO tkm VALUES (2, 'new');
SELECT is(pg_temp.last('tkm'), '2 form:  -> NEW id,status', 'it begins anew');
UPDATE tkm SET id = 4, status = 'calling' WHERE id = 2;
SELECT pg_temp.same_rows($$SELECT pg_temp.last('tkm', 3)$$, $$VALUES ('2 tkm_deleted: NEW ->  id,status'), ('4 tkm_created:  -> NEW id,status'), ('4 contacted: NEW -> CONTACTING status')$$, 'no transition hides behind a change of the key');

-- Refusals.
SELECT is(pg_temp.refusal($$UPDATE tkm SET status = 'won' WHERE id = 3$$), 'ZE002: column "status" of table "tkm" cannot go from "new" to "won"
DETAIL: Stream "tkm-3" follows state machine "tkm@1".
HINT: From "new" it can go to: "TRASHED", "calling".', 'an illegal transition, in words of the table');
SELECT is(pg_temp.refusal($$UPDATE tkm SET status = 'TRASHED' WHERE id = 3$$), 'ZE003: event type "trashed" requires a reason in state "NEW"
DETAIL: Stream "tkm-3" follows state machine "tkm@1".
HINT: Reason codes: dup, spam. Set column "why" in the same statement, or: BEGIN; SET LOCAL eventsource.reason = ''dup''; ... COMMIT; or, in the same transaction: SELECT set_config(''eventsource.reason'', ''dup'', true).', 'a reason is missing');
SELECT is(split_part(pg_temp.refusal($$UPDATE tkm SET status = 'TRASHED', why = 'moved' WHERE id = 3$$), E'\n', 1), 'ZE004: reason "moved" is not allowed for event type "trashed" in state "NEW"', 'a reason of another edge');
SELECT is(split_part(pg_temp.refusal($$UPDATE tkm SET status = 'TRASHED' WHERE id = 4$$), E'\n', 1), 'ZE011: several event types could stand for this change of table "tkm"', 'without a reason, two types');
SELECT is(split_part(pg_temp.refusal($$UPDATE tkm SET status = 'nonsense' WHERE id = 3$$), E'\n', 1), 'ZE002: "nonsense" in column "status" of table "tkm" is no state of state machine "tkm@1"', 'no such state');
SELECT is(split_part(pg_temp.refusal($$UPDATE tkm SET status = NULL WHERE id = 3$$), E'\n', 1), 'ZE002: column "status" of table "tkm" must not become null', 'no state');
SELECT is(pg_temp.refusal($$INSERT INTO tkm VALUES (9, 'won')$$), 'ZE002: a row of table "tkm" cannot begin with "status" = "won"
DETAIL: Stream "tkm-9" follows state machine "tkm@1".
HINT: It can begin with: "new", "calling".', 'an illegal beginning');
SELECT is(pg_temp.refusal($$UPDATE tkm SET status = 'TRASHED' WHERE id = 1$$), 'not refused', 'nothing was changed, nothing is refused');
UPDATE tkm SET status = 'QUALIFIED' WHERE id = 4;
SELECT is(split_part(pg_temp.refusal($$UPDATE tkm SET status = 'won' WHERE id = 4$$), E'\n', 1), 'ZE005: event type "sold" is rejected by guard "paid" in state "QUALIFIED"', 'a guard sees what was changed');
SELECT is(split_part(pg_temp.refusal($$UPDATE tkm SET status = 'new', amount = 1 WHERE id = 4$$), E'\n', 1), 'ZE002: event type "checked" leads to state "CONTACTING" here, and not to "NEW"', 'the machine leads elsewhere');
SELECT is((SELECT status || coalesce(amount::text, '') FROM tkm WHERE id = 4), 'QUALIFIED', 'what is refused leaves nothing behind');
UPDATE tkm SET status = 'won', amount = 3 WHERE id = 4;
SELECT is(pg_temp.last('tkm'), '4 sold: QUALIFIED -> SOLD amount,status', 'the guard holds');

-- Views: a deleted row is in no state.
SELECT pg_temp.same_rows($$SELECT key, state, visit, is_current FROM eventsource.state_periods WHERE category = 'tkm' AND key IN ('2', '4') ORDER BY entered_position$$,
	$$VALUES ('2', 'CONTACTING', 1, false), ('2', 'NEW', 1, false), ('2', 'TRASHED', 1, false), ('2', 'NEW', 2, false),
		('4', 'NEW', 1, false), ('4', 'CONTACTING', 1, false), ('4', 'QUALIFIED', 1, false), ('4', 'SOLD', 1, true)$$, 'state_periods end with the row');
SELECT pg_temp.same_rows($$SELECT from_state, to_state, type FROM eventsource.transitions WHERE stream = 'tkm-2' AND to_state IS NULL ORDER BY position$$,
	$$VALUES ('TRASHED', NULL, 'tkm_deleted'), ('NEW', NULL, 'tkm_deleted')$$, 'transitions tell of it');
SELECT is_empty($$SELECT * FROM eventsource.verify_transitions() WHERE stream_name LIKE 'tkm-%'$$, 'the machine agrees with all of it');

-- Recorded violations.
DO $$ BEGIN PERFORM eventsource.track_table('tkm', 'tkm', state_column => 'status', reason_column => 'why', on_violation => 'record',
	states => '{"new": "NEW", "calling": "CONTACTING", "ringing": "CONTACTING", "won": "SOLD"}', event_types => '{"->NEW": "form", "agent": "assigned"}'); END $$;
UPDATE tkm SET status = 'won' WHERE id = 3;
UPDATE tkm SET status = 'new' WHERE id = 4;
UPDATE tkm SET status = 'TRASHED' WHERE id = 4;
INSERT INTO tkm VALUES (9, 'odd');
SELECT pg_temp.same_rows($$SELECT key, type, from_state, to_state, sqlstate, message FROM eventsource.violations WHERE category = 'tkm' ORDER BY position$$,
	$$VALUES ('3', 'tkm_updated', 'NEW', 'SOLD', 'ZE002', 'column "status" of table "tkm" cannot go from "new" to "won"'),
		('4', 'tkm_updated', 'SOLD', 'NEW', 'ZE002', 'column "status" of table "tkm" cannot go from "won" to "new"'),
		('4', 'trashed', 'NEW', 'TRASHED', 'ZE003', 'event type "trashed" requires a reason in state "NEW"'),
		('9', 'tkm_created', NULL, 'odd', 'ZE002', '"odd" in column "status" of table "tkm" is no state of state machine "tkm@1"')$$, 'violations are recorded, and pass');
SELECT is((SELECT count(*) FROM tkm WHERE status IN ('won', 'TRASHED', 'odd')), 4::bigint, 'the table has them');

-- A machine without creating types.
DO $do$ BEGIN PERFORM eventsource.create_state_machine('tkn', '{"initial": "A", "states": {"A": {"on": {"go": "B"}}, "B": {"on": {"back": "A"}}}}'); END $do$;
CREATE TABLE tkn (id int PRIMARY KEY, status text);
INSERT INTO tkn VALUES (1, 'B'), (2, NULL);
DO $$ BEGIN PERFORM eventsource.track_table('tkn', 'tkn', state_column => 'status', state_machine => 'tkn'); END $$;
INSERT INTO tkn VALUES (3, 'A'), (4, 'B'), (5, NULL);
UPDATE tkn SET status = 'A' WHERE id IN (1, 2, 5);
SELECT pg_temp.same_rows($$SELECT pg_temp.last('tkn', 8)$$, $$VALUES ('3 tkn_created:  -> A id,status'), ('4 go:  -> B id,status'), ('5 tkn_created:  ->  id'),
	('1 tkn_created:  -> B id,status'), ('1 back: B -> A status'), ('2 tkn_created:  ->  id'), ('2 tkn_updated:  -> A status'), ('5 tkn_updated:  -> A status')$$,
	'rows begin in the initial state, or one edge on; or in none, and enter later');
SELECT is_empty($$SELECT * FROM eventsource.verify_transitions() WHERE stream_name LIKE 'tkn-%'$$, 'the machine agrees');
SELECT * FROM finish();
ROLLBACK;
