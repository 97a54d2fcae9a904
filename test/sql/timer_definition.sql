\set ECHO none
\i test/helpers.sql
-- "after" in the definition of a state machine: what is refused, how it is shown.
BEGIN;
SELECT plan(25);

CREATE FUNCTION pg_temp.problems(definition jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	PERFORM eventsource.create_state_machine('timer_problems', definition);
	RETURN 'good';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN SQLSTATE || E'\n' || detail;
END
$$;

-- A machine whose state A has this "after"; x leads to B, noted stays, only_b is for B.
CREATE FUNCTION pg_temp.with_after(after text) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_set('{"initial": "A", "states": {
			"A": {"on": {"x": "B", "why": {"target": "B", "reasons": ["r1"]}, "why_not": {"target": "B", "reason": "forbidden"}}},
			"B": {"on": {"only_b": "A"}}},
		"on": {"noted": {}}, "reasons": {"r1": {}, "r2": {}}}', '{states,A,after}', after::jsonb)
$$;
CREATE FUNCTION pg_temp.of_after(after text) RETURNS text LANGUAGE sql AS $$ SELECT pg_temp.problems(pg_temp.with_after(after)) $$;

SELECT is(pg_temp.of_after('{"21 days": "x"}'), 'good', 'a type');
SELECT is(pg_temp.of_after('{"P1DT2H": {"type": "x", "guard": "event.version > 3", "label": "l", "description": "d"}}'), 'good', 'an object, a length by ISO 8601');
SELECT is(pg_temp.of_after('{"1 month": [{"type": "x", "guard": {"long": "event.version > 3"}}, "noted"], "90 minutes": "noted", "1.5 hours 3 seconds": "noted"}'),
	'good', 'lists, and several lengths');
SELECT is(pg_temp.of_after('{"1 day": {"type": "why", "reason": "r1"}}'), 'good', 'a reason');
SELECT is(pg_temp.of_after('{}'), 'good', 'nothing');

SELECT is(pg_temp.of_after('"21 days"'), E'ZE011\nstates.A.after: must be an object, not a string', 'no object');
SELECT is(pg_temp.of_after('{"21 dayz": "x", "": "x", "1000": "x", "-1 day": "x", "0 days": "x", "1 day ago": "x", "1 day - 1 hour": "x", "2000 years": "x", "infinity": "x", "today": "x"}'),
	E'ZE011\nstates.A.after: "" is not an interval with a unit, like "21 days"\n'
	'states.A.after: "1000" is not an interval with a unit, like "21 days"\n'
	'states.A.after: "today" is not an interval, like "21 days" or "PT1H30M"\n'
	'states.A.after: "-1 day" is not an interval that a state can last: it has a minus sign\n'
	'states.A.after: "0 days" is not an interval that a state can last: it must be positive\n'
	'states.A.after: "21 dayz" is not an interval, like "21 days" or "PT1H30M"\n'
	'states.A.after: "infinity" is not an interval, like "21 days" or "PT1H30M"\n'
	'states.A.after: "1 day ago" is not an interval that a state can last: it must be positive\n'
	'states.A.after: "2000 years" is longer than 1000 years\n'
	'states.A.after: "1 day - 1 hour" is not an interval that a state can last: it has a minus sign', 'bad intervals, all of them');
SELECT is(pg_temp.of_after(jsonb_build_object(repeat('1 day ', 50), 'x')::text),
	E'ZE011\nstates.A.after: "1 day 1 day 1 day 1 day 1 day 1 day 1 day 1 day 1 day 1 day 1 da..." is longer than 256 bytes', 'a long one');
SELECT is(pg_temp.of_after('{"1 day": "x", "24 hours": "noted"}'),
	E'ZE011\nstates.A.after.24 hours: is as long as states.A.after.1 day; list what happens then under one of them', 'two of one length: a day has 24 hours in UTC');
SELECT is(pg_temp.of_after('{"1 day": "y", "2 days": "only_b", "3 days": "why", "4 days": {"type": "why", "reason": "r2"}, "5 days": {"type": "why_not", "reason": "r1"}, "6 days": {"type": "x", "reason": "r3"}}'),
	E'ZE011\nstates.A.after.1 day: the machine has no event type "y"\n'
	'states.A.after.2 days: event type "only_b" is not allowed in this state\n'
	'states.A.after.3 days: event type "why" requires a reason here: say it as "reason"\n'
	'states.A.after.4 days: event type "why" does not take this reason here\n'
	'states.A.after.5 days: event type "why_not" does not take this reason here\n'
	'states.A.after.6 days: event type "x" does not take this reason here', 'types and reasons that cannot be');
SELECT is(pg_temp.of_after('{"1 day": {"target": "B"}, "2 days": 7, "3 days": [], "4 days": {"type": 1}, "5 days": {"type": ""}, "6 days": [["x"]]}'),
	E'ZE011\nstates.A.after.1 day: unknown key "target"\n'
	'states.A.after.1 day.type: say which event is appended then\n'
	'states.A.after.2 days: must be an event type, an object, or a list of these, not a number\n'
	'states.A.after.3 days: the list of candidates is empty\n'
	'states.A.after.4 days.type: must be a string, not a number\n'
	'states.A.after.5 days.type: a name must not be empty\n'
	'states.A.after.6 days[1]: must be an event type, an object, or a list of these, not an array', 'shapes');
SELECT is(pg_temp.of_after('{"1 day": {"type": "x", "guard": "event.dta IS NULL"}, "2 days": ["x", "noted"], "3 days": {"type": "x", "guard": "now() > event.occurred_at"}, "4 dayz": "x"}')
		~ (E'^ZE011\nstates.A.after: "4 dayz" is not an interval.*\nstates.A.after.2 days\\[2\\]: is never tried, because states.A.after.2 days\\[1\\] has no guard\n'
		'states.A.after.1 day.guard, "x_guard": event has no column "dta".*\nstates.A.after.3 days.guard, "x_guard": '), true, 'guards, with the other problems');
SELECT is(pg_temp.of_after((SELECT jsonb_object_agg(n || ' days', 'x') FROM generate_series(1, 21) n)::text),
	E'ZE011\nstates.A.after: more than 20 timeouts', 'too many');
SELECT is(pg_temp.problems(pg_temp.with_after('{"1 day": "y"}') || '{"initial": "C"}'),
	E'ZE011\ninitial: there is no state "C"\n'
	'states.A: no event leads to this state\nstates.B: no event leads to this state\n'
	'states.A.after.1 day: the machine has no event type "y"', 'with all other problems');
SELECT is(pg_temp.problems(jsonb_set(pg_temp.with_after('{}'), '{states,A,on,x}', '{"target": "B", "after": {}}')),
	E'ZE011\nstates.A.on.x: unknown key "after"', 'an edge has none');
SELECT is(pg_temp.problems('{"initial": "A", "states": {"A": {"on": {"x": "B"}}, "B": {"type": "final", "after": {"1 year": "forgotten"}}}, "on": {"forgotten": {}}}'),
	'good', 'a final state may have one, that stays');
SET LOCAL intervalstyle = 'sql_standard';
SELECT is(pg_temp.of_after('{"1 2:03:04": "x"}'), 'good', 'no setting matters to how a length is read');
RESET intervalstyle;

-- Shown.
SELECT lives_ok($$ SELECT eventsource.create_state_machine('timer_shown', '{"create": {"placed": "PLACED"}, "states": {
	"PLACED": {"on": {"paid": "PAID", "expired": {"target": "GONE", "guard": {"poor": "true"}}, "reminded": {}},
		"after": {"2 days": "reminded", "21 days": [{"type": "noted", "guard": {"loyal": "event.version > 5", "old": "event.version > 2"}, "label": "Kept"}, {"type": "expired", "guard": "event.version > 0"}]}},
	"PAID": {"type": "final"}, "GONE": {"type": "final"}}, "on": {"noted": {}}}') $$, 'a machine to be shown');
SELECT is(eventsource.state_machine_diagram('timer_shown'), $$stateDiagram-v2
    [*] --> PLACED : placed
    PLACED --> PAID : paid
    PLACED --> GONE : expired [poor] (after 21 days [expired_guard])
    PLACED --> PLACED : reminded (after 2 days)
    PLACED --> PLACED : noted (after 21 days [old, loyal])
    PAID --> [*]
    GONE --> [*]
    %% in every state: noted$$, 'mermaid');
SELECT is(eventsource.state_machine_diagram('timer_shown', 'dot'), $$digraph "timer_shown" {
    rankdir=LR;
    node [shape=box, style=rounded];
    "_start" [shape=point, label=""];
    "PLACED" [label="PLACED"];
    "PAID" [label="PAID", peripheries=2];
    "GONE" [label="GONE", peripheries=2];
    "_start" -> "PLACED" [label="placed"];
    "PLACED" -> "PAID" [label="paid"];
    "PLACED" -> "GONE" [label="expired [poor] (after 21 days [expired_guard])"];
    "PLACED" -> "PLACED" [label="reminded (after 2 days)"];
    "PLACED" -> "PLACED" [label="noted (after 21 days [old, loyal])"];
    label="in every state: noted";
}$$, 'dot');
SELECT pg_temp.same_rows($$ SELECT state, after, candidate, type, reason, guard, label FROM eventsource.state_machine_timeouts
	WHERE state_machine = 'timer_shown' ORDER BY after, candidate $$,
	$$ VALUES ('PLACED', interval '2 days', 1, 'reminded', NULL::text, NULL::text, NULL::text),
		('PLACED', '21 days', 1, 'noted', NULL, '(event.version > 2) AND (event.version > 5)', 'Kept'),
		('PLACED', '21 days', 2, 'expired', NULL, 'event.version > 0', NULL) $$, 'the view');
SELECT is((SELECT count(*) FROM eventsource.state_machine_timeouts WHERE state_machine = 'timer_problems' AND version < 6 AND NOT is_current), 7::bigint,
	'of all versions');
SELECT pg_temp.refuses($$ SELECT * FROM eventsource.state_machine_after('{"states": 1}') $$, 'ZE011',
	'this is not the definition of a state machine', 'a definition that is none');
SELECT is_empty($$ SELECT * FROM eventsource.state_machine_after(NULL) $$, 'NULL');
SELECT is((SELECT count(*) FROM eventsource.state_machine_transitions WHERE state_machine = 'timer_shown' AND is_current AND from_state = 'PLACED'), 4::bigint,
	'transitions are as they were');

SELECT * FROM finish();
ROLLBACK;
