\set ECHO none
\i test/helpers.sql
-- Who may define, append and look, and with whose rights expressions run.
BEGIN;
SELECT plan(24);

CREATE ROLE es_test_reader;
CREATE ROLE es_test_writer;
CREATE ROLE es_test_admin;
CREATE ROLE es_test_nobody;
GRANT USAGE ON SCHEMA eventsource TO es_test_nobody;
SELECT eventsource.grant_reader('es_test_reader'), eventsource.grant_writer('es_test_writer'), eventsource.grant_admin('es_test_admin')
\g /dev/null

CREATE FUNCTION pg_temp.as_role(role text, statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', role);
	EXECUTE statement;
	RESET ROLE;
	RETURN 'allowed';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END
$$;
CREATE FUNCTION pg_temp.define(name text) RETURNS text LANGUAGE sql AS $$
	SELECT format('SELECT eventsource.create_state_machine(%L, %L)', name,
		'{"initial": "A", "states": {"A": {"type": "final"}}, "on": {"x": {"guard": "true"}}}') $$;

SELECT is(pg_temp.as_role('es_test_nobody', pg_temp.define('m')), '42501', 'nobody defines a machine');
SELECT is(pg_temp.as_role('es_test_reader', pg_temp.define('m')), '42501', 'no reader does');
SELECT is(pg_temp.as_role('es_test_writer', pg_temp.define('m')), '42501', 'no writer does');
SELECT is(pg_temp.as_role('es_test_admin', pg_temp.define('m')), 'allowed', 'an admin does');
SELECT is(owner, 'es_test_admin', 'and owns it') FROM eventsource.state_machines WHERE name = 'm';
SELECT is(pg_temp.as_role('es_test_writer', $$ SELECT eventsource.create_category('c', 'm') $$), '42501', 'no writer declares a category');
SELECT is(pg_temp.as_role('es_test_admin', $$ SELECT eventsource.create_category('c', 'm') $$), 'allowed', 'an admin does');
SELECT is(pg_temp.as_role('es_test_reader', $$ SELECT eventsource.append('c-1', 'x') $$), '42501', 'no reader appends');
SELECT is(pg_temp.as_role('es_test_writer', $$ SELECT eventsource.append('c-1', 'x') $$), 'allowed', 'a writer does');
SELECT is(pg_temp.as_role('es_test_writer', $$ SELECT eventsource.append('c-1', 'y') $$), 'ZE006', 'within the rules');

-- Everything there is to look at.
SELECT is(pg_temp.as_role('es_test_reader', format('SELECT * FROM %s', v)), 'allowed', 'a reader reads ' || v)
FROM unnest('{state_machines,state_machine_transitions,reason_codes,categories,transitions,state_periods}'::text[]) v (name),
	LATERAL (SELECT 'eventsource.' || name) q (v);
SELECT is(pg_temp.as_role('es_test_reader', $$ SELECT eventsource.current_state('c-1'), eventsource.state_at('c-1', now()),
	eventsource.can_append('c-1', 'x'), eventsource.state_machine_diagram('m'), (SELECT count(*) FROM eventsource.allowed_transitions('c-1')),
	(SELECT count(*) FROM eventsource.verify_transitions()), eventsource.run_machine('m', 'x') $$), 'allowed', 'a reader asks');
SELECT is(pg_temp.as_role('es_test_nobody', $$ SELECT eventsource.current_state('c-1') $$), '42501', 'nobody else does');
SELECT is(pg_temp.as_role('es_test_nobody', $$ SELECT * FROM eventsource.transitions $$), '42501', 'nor reads');

-- A guard runs with the rights of who defined it, not of who appends.
CREATE SCHEMA es_test;
GRANT USAGE, CREATE ON SCHEMA es_test TO es_test_admin;
SET LOCAL ROLE es_test_admin;
CREATE FUNCTION es_test.who() RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN current_user; END';
SELECT eventsource.create_state_machine('who', '{"initial": "A", "states": {"A": {"type": "final"}}, "on": {"x": {"fill": {"who": "es_test.who()"}}}}'),
	eventsource.create_category('who', 'who') \g /dev/null
RESET ROLE;
SELECT lives_ok($$ SELECT eventsource.append('who-1', 'x') $$, 'a superuser appends');
SELECT is(data->>'who', 'es_test_admin', 'and the expression runs as its owner') FROM eventsource.events WHERE stream = 'who-1';

-- An owner who is gone leaves no rights behind.
DROP FUNCTION es_test.who();
SELECT eventsource.create_state_machine('gone', '{"initial": "A", "states": {"A": {"type": "final"}}, "on": {"x": {"guard": "true"}}}') \g /dev/null
CREATE ROLE es_test_gone;
SELECT eventsource.grant_admin('es_test_gone') \g /dev/null
SET LOCAL ROLE es_test_gone;
SELECT eventsource.create_state_machine('gone', '{"initial": "A", "states": {"A": {"type": "final"}}, "on": {"x": {"guard": "true"}}}'),
	eventsource.create_category('gone', 'gone') \g /dev/null
RESET ROLE;
DROP OWNED BY es_test_gone;
DROP ROLE es_test_gone;
SELECT pg_temp.refuses($$ SELECT eventsource.append('gone-1', 'x') $$, '42704', 'owner of state machine "gone" does not exist any more', 'its expressions are not run with the rights of another');
SELECT lives_ok($$ SELECT eventsource.create_state_machine('gone', '{"initial": "A", "states": {"A": {"type": "final"}}, "on": {"x": {"guard": "true"}}}') $$, 'until somebody else defines it');
SELECT lives_ok($$ SELECT eventsource.append('gone-1', 'x') $$, 'who answers for it');

SELECT * FROM finish();
ROLLBACK;
