\set ECHO none
\i test/helpers.sql
-- run_machine: a state machine over any table.
BEGIN;
SELECT plan(21);

SELECT lives_ok($$ SELECT eventsource.create_state_machine('loan', '{
	"create": {"A_SUBMITTED": "SUBMITTED"},
	"states": {
		"SUBMITTED": {"on": {"A_ACCEPTED": "ACCEPTED", "A_DECLINED": {"target": "DECLINED", "reason": "required"}}},
		"ACCEPTED": {"on": {"A_CHECKED": [
			{"target": "DECLINED", "guard": "event.data ? ''bad''"},
			{"target": "APPROVED", "guard": "row.amount < 1000"},
			{"target": "ACCEPTED"}]}},
		"APPROVED": {"type": "final"},
		"DECLINED": {"type": "final"}},
	"on": {"W_CALL": {}}}') $$, 'a machine, bound to no category');

CREATE TEMP TABLE activity (loan int, n int, type text);
CREATE FUNCTION pg_temp.run(VARIADIC types text[]) RETURNS eventsource.machine_run LANGUAGE sql AS $$
	SELECT eventsource.run_machine('loan', type ORDER BY n) FROM unnest(types) WITH ORDINALITY AS t (type, n)
$$;

SELECT is(pg_temp.run('A_SUBMITTED'), ROW('SUBMITTED', 1, NULL, NULL, NULL)::eventsource.machine_run, 'one step');
SELECT is(pg_temp.run('A_SUBMITTED', 'W_CALL', 'W_CALL', 'A_ACCEPTED'),
	ROW('ACCEPTED', 4, NULL, NULL, NULL)::eventsource.machine_run, 'steps that stay count');
SELECT is(pg_temp.run('A_SUBMITTED', 'A_DECLINED'),
	ROW('DECLINED', 2, NULL, NULL, NULL)::eventsource.machine_run, 'reasons are not judged');
SELECT is(pg_temp.run('W_CALL', 'A_SUBMITTED'),
	ROW(NULL, 0, 1, 'W_CALL', 'event type "W_CALL" is not allowed in state (none yet)')::eventsource.machine_run,
	'the first illegal step');
SELECT is(pg_temp.run('A_SUBMITTED', 'A_SUBMITTED', 'A_ACCEPTED'),
	ROW('SUBMITTED', 1, 2, 'A_SUBMITTED', 'event type "A_SUBMITTED" is not allowed in state "SUBMITTED"')::eventsource.machine_run,
	'what comes after it does not count');
SELECT is(pg_temp.run('A_SUBMITTED', 'O_SENT'),
	ROW('SUBMITTED', 1, 2, 'O_SENT', 'event type "O_SENT" is unknown to state machine "loan@1"')::eventsource.machine_run,
	'an unknown type');
SELECT is(pg_temp.run('A_SUBMITTED', NULL),
	ROW('SUBMITTED', 1, 2, NULL, 'the event type is null')::eventsource.machine_run, 'no type');
SELECT is(pg_temp.run('A_SUBMITTED', 'A_ACCEPTED', 'A_CHECKED'),
	ROW(NULL, 3, NULL, NULL, 'guards decide which state it is: "ACCEPTED, APPROVED, DECLINED"')::eventsource.machine_run,
	'guards are not judged: every way is followed');
SELECT is(pg_temp.run('A_SUBMITTED', 'A_ACCEPTED', 'A_CHECKED', 'A_CHECKED', 'W_CALL'),
	ROW(NULL, 5, NULL, NULL, 'guards decide which state it is: "ACCEPTED, APPROVED, DECLINED"')::eventsource.machine_run,
	'on and on');
SELECT is((pg_temp.run('A_SUBMITTED', 'A_ACCEPTED', 'A_CHECKED', 'A_DECLINED')).message,
	'event type "A_DECLINED" is not allowed in state "ACCEPTED, APPROVED, DECLINED"', 'a step that none of them allows');

-- Over groups.
INSERT INTO activity SELECT g, 1, 'A_SUBMITTED' FROM generate_series(1, 100) g;
INSERT INTO activity SELECT g, 2, 'A_ACCEPTED' FROM generate_series(1, 50) g;
INSERT INTO activity SELECT g, 0, 'A_ACCEPTED' FROM generate_series(91, 100) g;
SELECT pg_temp.same_rows($$
	SELECT (run).state, (run).illegal_step, count(*)
	FROM (SELECT loan, eventsource.run_machine('loan', type ORDER BY n) AS run FROM activity GROUP BY loan) r
	GROUP BY 1, 2 ORDER BY 1 NULLS LAST $$, $$
	VALUES ('ACCEPTED', NULL, 50), ('SUBMITTED', NULL, 40), (NULL, 1, 10) $$, 'one run per group');
SELECT is(eventsource.run_machine('loan', type ORDER BY n), NULL, 'no rows, no run') FROM activity WHERE false;
SELECT pg_temp.same_rows($$
	SELECT n, (eventsource.run_machine('loan', type) OVER (ORDER BY n)).state FROM activity WHERE loan = 1 ORDER BY n $$, $$
	VALUES (1, 'SUBMITTED'), (2, 'ACCEPTED') $$, 'as a window function: the state after each event');

-- Errors.
SELECT pg_temp.refuses($$ SELECT eventsource.run_machine(NULL, type) FROM activity $$,
	'22004', 'the name of the state machine must not be null', 'no machine');
SELECT pg_temp.refuses($$ SELECT eventsource.run_machine('nonsense', type) FROM activity $$,
	'42704', 'state machine "nonsense" does not exist', 'an unknown machine');
SELECT pg_temp.refuses($$ SELECT eventsource.run_machine(repeat('m', 10000), type) FROM activity $$,
	'42704', 'state machine "' || repeat('m', 10000) || '" does not exist', 'a name that cannot be one');
SELECT lives_ok($$ SELECT eventsource.create_state_machine('other', '{"initial": "A", "states": {"A": {"type": "final"}}}') $$, 'another');
SELECT pg_temp.refuses($$ SELECT eventsource.run_machine(CASE WHEN n = 1 THEN 'loan' ELSE 'other' END, type ORDER BY n) FROM activity WHERE loan = 1 $$,
	'22023', 'one run cannot follow several state machines', 'two machines in one run');
SELECT throws_ok($$ SELECT eventsource.run_machine_step(NULL, 'loan', 'x') $$, '42883', NULL, 'its parts cannot be called');

-- A machine without creating events starts in its initial state.
SELECT is(eventsource.run_machine('door', type ORDER BY n), ROW('CLOSED', 2, NULL, NULL, NULL)::eventsource.machine_run, 'from the initial state')
FROM (VALUES (1, 'look'), (2, 'close')) t (n, type),
	(SELECT eventsource.create_state_machine('door', '{"initial": "OPEN", "states": {"OPEN": {"on": {"close": "CLOSED"}}, "CLOSED": {"type": "final"}}, "on": {"look": {}}}')) d;

SELECT * FROM finish();
ROLLBACK;
