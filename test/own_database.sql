-- For tests that must commit: a database of their own, so that no other test finds their events. Instead of helpers.sql.
\set ECHO none
\set QUIET on
SET client_min_messages = warning;
SELECT current_database() AS home_database, 'own_' || :'own_database' AS own_database \gset
SELECT array_agg(oid) AS roles_before FROM pg_roles \gset
DROP DATABASE IF EXISTS :"own_database";
CREATE DATABASE :"own_database";
\c :"own_database"
\i test/helpers.sql
CREATE EXTENSION pgtap;
CREATE EXTENSION eventsource;

-- How a command ends: "done", or the SQLSTATE and the name of the guard or constraint that refuses it.
CREATE FUNCTION pg_temp.outcome(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	name text;
BEGIN
	EXECUTE command;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS name = CONSTRAINT_NAME;
	RETURN trim(SQLSTATE || ' ' || name);
END
$$;
-- Asserts by what a command is refused: the SQLSTATE, and the name of a guard or constraint; where there is none, the message.
CREATE FUNCTION pg_temp.refused(command text, refusal text, description text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	name text;
BEGIN
	EXECUTE command;
	RETURN is('done', refusal, description);
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS name = CONSTRAINT_NAME;
	RETURN is(SQLSTATE || ' ' || coalesce(nullif(name, ''), SQLERRM), refusal, description);
END
$$;
-- Does what is due and waits for what comes to be due, until a condition holds: by default, until nothing is to be done within a second.
CREATE PROCEDURE pg_temp.run_due(is_over text DEFAULT $$ NOT EXISTS (
	SELECT FROM eventsource.jobs WHERE queue = '$reaction' AND state IN ('scheduled', 'available') AND run_at < clock_timestamp() + interval '1 second') $$)
LANGUAGE plpgsql AS $$
DECLARE
	until CONSTANT timestamptz := clock_timestamp() + interval '60 seconds';
	done boolean;
BEGIN
	LOOP
		PERFORM eventsource.run_due(1000);
		COMMIT;
		EXECUTE 'SELECT ' || is_over INTO done;
		EXIT WHEN done;
		IF clock_timestamp() > until THEN
			RAISE 'after 60 seconds this does not hold: %', is_over;
		END IF;
		PERFORM pg_sleep(0.05);
	END LOOP;
END
$$;
