\set ECHO none
\i test/helpers.sql
-- Machines change: versions, what is in force when, and what a rollback undoes.
BEGIN;
SELECT plan(33);

CREATE FUNCTION pg_temp.state_after(stream text, type text) RETURNS text LANGUAGE sql AS $$
	SELECT a.state FROM eventsource.append($1, $2) a $$;
-- A machine on which "go" leads from A to the state given.
CREATE FUNCTION pg_temp.define(target text, guard text DEFAULT 'true') RETURNS bigint LANGUAGE sql AS $$
	SELECT eventsource.create_state_machine('v', jsonb_build_object(
		'initial', 'A',
		'states', jsonb_build_object(
			'A', jsonb_build_object('on', jsonb_build_object('go', jsonb_build_object('target', target, 'guard', guard))),
			target, '{"type": "final"}'::jsonb))) $$;
-- Missing states are a warning; it is seen once, at version 2.

SELECT is(pg_temp.define('B'), 1::bigint, 'version 1');
SELECT is(eventsource.create_category('v', 'v'), 1::bigint, 'bound to a category');
SELECT is(pg_temp.state_after('v-1', 'go'), 'B', 'decides');
SELECT is(pg_temp.define('C'), 2::bigint, 'version 2');
SELECT is(pg_temp.state_after('v-2', 'go'), 'C', 'is in force at once');
SELECT pg_temp.refuses($$ SELECT eventsource.append('v-1', 'go') $$,
	'ZE002', 'state "B" is unknown to state machine "v@2"', 'a stream in a state that is gone takes nothing');
SET LOCAL client_min_messages = error;

SELECT pg_temp.same_rows($$ SELECT name, version, is_current, initial FROM eventsource.state_machines WHERE name = 'v' ORDER BY version $$,
	$$ VALUES ('v', 1, false, 'A'), ('v', 2, true, 'A') $$, 'both versions are there');
SELECT is(definition #>> '{states,A,on,go,target}', 'B', 'as they were given') FROM eventsource.state_machines WHERE name = 'v' AND version = 1;
SELECT is(owner, current_user::text, 'with their owner') FROM eventsource.state_machines WHERE name = 'v' AND version = 1;
SELECT pg_temp.same_rows($$ SELECT version, from_state, type, to_state, guard FROM eventsource.state_machine_transitions
		WHERE state_machine = 'v' ORDER BY version, from_state NULLS FIRST $$,
	$$ VALUES (1, NULL, 'go', 'B', 'true'), (1, 'A', 'go', 'B', 'true'), (2, NULL, 'go', 'C', 'true'), (2, 'A', 'go', 'C', 'true') $$,
	'so are their transitions');

-- A definition that is refused changes nothing.
SELECT throws_ok($$ SELECT pg_temp.define('D', 'nonsense') $$, 'ZE011', NULL, 'a bad definition');
SELECT is(pg_temp.state_after('v-3', 'go'), 'C', 'leaves the good one in force');

-- A rollback takes its definition with it, also from the backend's memory.
SAVEPOINT before;
SELECT is(pg_temp.define('D'), 3::bigint, 'version 3');
SELECT is(pg_temp.state_after('v-4', 'go'), 'D', 'is in force');
ROLLBACK TO before;
SELECT is(pg_temp.state_after('v-4', 'go'), 'C', 'until it is rolled back');
SELECT is(eventsource.stream_version('v-4'), 1::bigint, 'with what it allowed');
SELECT is(pg_temp.define('E'), 3::bigint, 'the next is version 3');
SELECT is(pg_temp.state_after('v-5', 'go'), 'E', 'and in force');
CREATE FUNCTION pg_temp.attempt() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	seen text;
BEGIN
	BEGIN
		PERFORM pg_temp.define('F');
		seen := pg_temp.state_after('v-6', 'go');
		RAISE EXCEPTION 'on purpose';
	EXCEPTION WHEN raise_exception THEN
		RETURN seen || ' ' || pg_temp.state_after('v-6', 'go');
	END;
END
$$;
SELECT is(pg_temp.attempt(), 'F E', 'the same in an exception block');
CREATE FUNCTION pg_temp.attempt_at_once() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_temp.define('F'), 1 / (length(pg_temp.state_after('v-9', 'go')) - 1);
	RETURN 'no error';
EXCEPTION WHEN division_by_zero THEN
	RETURN pg_temp.state_after('v-9', 'go');
END
$$;
SELECT is(pg_temp.attempt_at_once(), 'E', 'and within one command');

-- Events remember the version that allowed them.
SELECT pg_temp.same_rows($$ SELECT s.name, w.word FROM eventsource.event e JOIN eventsource.stream s ON s.id = e.stream
		JOIN eventsource.word w ON w.id = e.machine WHERE s.name LIKE 'v-%' ORDER BY e.position $$,
	$$ VALUES ('v-1', 'v@1'), ('v-2', 'v@2'), ('v-3', 'v@2'), ('v-4', 'v@2'), ('v-5', 'v@3'), ('v-6', 'v@3'), ('v-9', 'v@3') $$,
	'each event has its machine');
SELECT is_empty($$ SELECT * FROM eventsource.verify_transitions() $$, 'and is legal under it');

-- One command that defines and appends sees what it defined.
SELECT is((WITH d AS MATERIALIZED (SELECT pg_temp.define('G')) SELECT pg_temp.state_after('v-7', 'go') FROM d), 'G', 'within one command');

SELECT is(hint, 'Define the machine again with this state, and edges that lead out of it.', 'the way out of a lost state')
FROM eventsource.can_append('v-1', 'go');
SELECT is_empty($$ SELECT * FROM eventsource.allowed_transitions('v-1') $$, 'nothing is possible in it');

-- The functions that take a machine by name use the latest.
SELECT matches(eventsource.state_machine_diagram('v'), 'A --> G : go \[go_guard\]', 'a diagram shows the latest version');
SELECT is((eventsource.run_machine('v', 'go')).state, 'G', 'run_machine runs it');

-- Bound categories are asked before a machine changes.
SELECT throws_ok($$ SELECT pg_temp.define('H', 'row.n > 1') $$, 'ZE011', NULL, 'a guard on "row" is refused while a category has no context');
SELECT matches(pg_temp.refusal($$ SELECT pg_temp.define('H', 'row.n > 1') $$), 'DETAIL: category v: states\.A\.on\.go\.guard, "go_guard": ',
	'the error names the category');
SELECT is(eventsource.create_category('v'), 2::bigint, 'unbound');
SELECT lives_ok($$ SELECT pg_temp.define('H', 'row.n > 1') $$, 'it can be defined');
SELECT throws_ok($$ SELECT eventsource.create_category('v', 'v') $$, 'ZE011', NULL, 'but no longer be bound without a context');
SELECT is(pg_temp.state_after('v-8', 'anything'), NULL, 'the category has no machine now');

SELECT * FROM finish();
ROLLBACK;
