-- The prologue of every file in test/sql: output that holds assertions only.
\set ECHO none
\set QUIET on
\set ON_ERROR_STOP on
\pset pager off
\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;

-- What a command is refused with: "SQLSTATE: message", DETAIL and HINT, a line each.
CREATE FUNCTION pg_temp.refusal(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	state text;
	message text;
	detail text;
	hint text;
BEGIN
	EXECUTE command;
	RETURN 'not refused';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN state || ': ' || message || E'\nDETAIL: ' || detail || E'\nHINT: ' || hint;
END
$$;

-- Asserts that a command is refused so, and that the error has a DETAIL and a HINT.
CREATE FUNCTION pg_temp.refuses(command text, state text, message text, description text)
	RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	refusal text := pg_temp.refusal(command);
BEGIN
	RETURN is(CASE WHEN refusal ~ '\nDETAIL: .+\nHINT: .+' THEN split_part(refusal, E'\nDETAIL: ', 1) ELSE refusal END,
		state || ': ' || message, description);
END
$$;

-- Asserts that two queries give the same rows in the same order, as text: the log's columns
-- have collation "C", by which results_eq() will not compare them.
CREATE FUNCTION pg_temp.same_rows(have text, want text, description text)
	RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	have_rows text[];
	want_rows text[];
	r record;
BEGIN
	FOR r IN EXECUTE have LOOP
		have_rows := have_rows || r::text;
	END LOOP;
	FOR r IN EXECUTE want LOOP
		want_rows := want_rows || r::text;
	END LOOP;
	RETURN is(have_rows, want_rows, description);
END
$$;
