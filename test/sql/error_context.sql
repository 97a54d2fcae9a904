\set ECHO none
\i test/helpers.sql
-- Errors that an event causes somewhere inside say in their CONTEXT where: which expression, which event of a batch.
BEGIN;
SELECT plan(34);

-- An error with the lines of its context that are ours.
CREATE FUNCTION pg_temp.failure(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	context text;
BEGIN
	EXECUTE command;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT;
	RETURN concat_ws(E'\n', SQLSTATE, nullif(regexp_replace(context, '\n?(COPY|SQL statement|PL/pgSQL function|SQL function).*', ''), ''));
END
$$;

-- The same of a row that the only event of a stream leaves.
CREATE FUNCTION pg_temp.of_row(state text, projection text, name text) RETURNS text LANGUAGE sql AS $$
	SELECT format(E'%s\nrow of projection public.%s as the event at position %s leaves it', state, projection, position)
	  FROM eventsource.events WHERE stream = name
$$;

SELECT lives_ok($$ SELECT eventsource.create_state_machine('ec', '{
	"initial": "A",
	"states": {"A": {"on": {
		"paid": [{"target": "B", "guard": {"enough": "(event.data->>''amount'')::numeric >= 10"}}, {}],
		"sent": {"target": "B", "guard": "(event.data->>''n'')::int > 0"},
		"filled": {"fill": {"half": "(event.data->>''n'')::int / 2", "share": "100 / (event.data->>''n'')::int"}},
		"named": {"target": "B", "reasons": ["why"], "guard": {"it''s \"so\"": "(event.data->>''n'')::int > 0"}}}},
	"B": {"type": "final"}}}'),
	eventsource.create_category('ec', 'ec'),
	eventsource.create_category('ecsubject', subject => $_$ (event.data->>'n')::int::text $_$) $$, 'a machine');

-- Guards, values filled in, subjects.
SELECT is(pg_temp.failure($$ SELECT eventsource.append('ec-1', 'paid', '{"amount": "lots"}') $$),
	E'22P02\nguard "enough" of state machine "ec@1", on event "paid" of stream "ec-1" (version 1)', 'a guard that fails');
SELECT is(pg_temp.failure($$ SELECT eventsource.append('ec-1', 'sent', '{"n": "x"}') $$),
	E'22P02\nguard "sent_guard" of state machine "ec@1", on event "sent" of stream "ec-1" (version 1)', 'one without a name of its own');
SELECT is(pg_temp.failure($$ SELECT eventsource.append('ec-1', 'named', '{"n": "x"}', 'why') $$),
	E'22P02\nguard "it''s "so"" of state machine "ec@1", on event "named" of stream "ec-1" (version 1)', 'one with a strange name');
SELECT lives_ok($$ SELECT eventsource.append('ec-1', 'filled', '{"n": 4}') $$, 'a value that can be filled in');
SELECT is(pg_temp.failure($$ SELECT eventsource.append('ec-1', 'filled', '{"n": 0}') $$),
	E'22012\nfill "share" of state machine "ec@1", on event "filled" of stream "ec-1" (version 2)', 'one that cannot');
SELECT is(pg_temp.failure($$ SELECT eventsource.append('ec-1', 'filled', '{"n": "x"}') $$),
	E'22P02\nfill "half" of state machine "ec@1", on event "filled" of stream "ec-1" (version 2)', 'another');
SELECT is(pg_temp.failure($$ SELECT eventsource.append('ecsubject-1', 'x', '{"n": "x"}') $$),
	E'22P02\nsubject of category "ecsubject", on event "x" of stream "ecsubject-1" (version 1)', 'a subject that fails');
SELECT is(pg_temp.failure($$ SELECT eventsource.append('ec-1', 'paid', '{"amount": 1}', 'x', expected_version => 7) $$), '40001', 'no expression, no context');
SELECT is(pg_temp.failure($$ SELECT eventsource.append('ec-1', 'sent', '{"n": 0}') $$), 'ZE005', 'a guard that does not hold has not failed');
SELECT is(allowed || ' ' || sqlstate || ': ' || message, 'false 22P02: invalid input syntax for type numeric: "lots"', 'can_append() says it too')
FROM eventsource.can_append('ec-1', 'paid', '{"amount": "lots"}');

-- Batches.
SELECT is(pg_temp.failure(format($$ SELECT eventsource.append_events('[{"stream": "ec-2", "type": "filled", "data": {"n": 1}}, %s, {"stream": "ec-2", "type": "sent"}]') $$, element)),
	wanted, description)
FROM (VALUES
	(1, '{"stream": "ec-2"}', E'22004\nevent 2 of the batch, stream "ec-2"', 'no type'),
	(2, '{"type": "sent"}', E'22004\nevent 2 of the batch, type "sent"', 'no stream'),
	(3, '{}', E'22004\nevent 2 of the batch', 'neither'),
	(4, '{"stream": "ec", "type": "sent"}', E'42602\nevent 2 of the batch, stream "ec", type "sent"', 'no stream''s name'),
	(5, '{"stream": "ec-2", "type": ""}', E'22023\nevent 2 of the batch, stream "ec-2", type ""', 'an empty type'),
	(6, '{"stream": "ec-2", "type": "sent", "metadata": 1}', E'22023\nevent 2 of the batch, stream "ec-2", type "sent"', 'metadata that is none'),
	(7, '{"stream": "ec-2", "type": "sent", "occurred_at": "soon"}', E'22007\nevent 2 of the batch, stream "ec-2", type "sent"', 'a time that is none'),
	(8, '{"stream": "ec-2", "type": "sent", "expected_version": 5}', E'40001\nevent 2 of the batch, stream "ec-2", type "sent"', 'a wrong version'),
	(9, '{"stream": "ec-2", "type": "unknown"}', E'ZE006\nevent 2 of the batch, stream "ec-2", type "unknown"', 'an unknown type'),
	(10, '{"stream": "ec-2", "type": "named", "data": {"n": 1}}', E'ZE003\nevent 2 of the batch, stream "ec-2", type "named"', 'no reason'),
	(11, '{"stream": "ec-2", "type": "sent", "data": {"n": "x"}}',
		E'22P02\nguard "sent_guard" of state machine "ec@1", on event "sent" of stream "ec-2" (version 2)\nevent 2 of the batch, stream "ec-2", type "sent"',
		'a guard that fails')) AS v (n, element, wanted, description) ORDER BY n;
SELECT is(length(pg_temp.failure(format($$ SELECT eventsource.append_events('[{"stream": "%s", "type": "%s"}]') $$, repeat('ä', 5000), repeat('ü', 5000)))),
	length(E'42602\nevent 1 of the batch, stream "", type ""') + 512 + 128, 'names are cut where they would be too long');

-- Constraints of projections.
CREATE TABLE ec (key text PRIMARY KEY, n int CHECK (n > 0));
SELECT lives_ok($$ SELECT eventsource.create_projection('ec', '{ecrow}', '{"set": "n = (event.data->>''n'')::int"}') $$, 'a projection');
SELECT matches(pg_temp.failure($$ SELECT eventsource.append_events('[{"stream": "ecrow-1", "type": "set", "data": {"n": 1}}, {"stream": "ecrow-2", "type": "set", "data": {"n": 0}}]') $$),
	E'^23514\nevent "set" of stream "ecrow-2" .*\nevent 2 of the batch, stream "ecrow-2", type "set"$', 'a CHECK constraint');

-- Rows of an INSERT.
SELECT is(pg_temp.failure($$ INSERT INTO eventsource.events (stream, type) VALUES ('ec-3', 'paid'), ('ec-4', NULL) $$),
	E'22004\ninserted event, stream "ec-4"', 'a row of an INSERT');
SELECT is(pg_temp.failure($$ INSERT INTO eventsource.events (stream, type) VALUES ('ec-3', 'paid'), ('ec-4', 'unknown') $$),
	E'ZE006\ninserted event, stream "ec-4", type "unknown"', 'another');
SELECT is(pg_temp.failure($$ INSERT INTO eventsource.events (stream, type) VALUES ('ec-3', 'paid'), (NULL, NULL) $$),
	E'22004\ninserted event', 'one with nothing in it');

SELECT is(eventsource.stream_version('ec-2'), 0::bigint, 'none of these left anything');
SELECT is(pg_temp.failure($$ SELECT 1 / 0 $$), '22012', 'and errors afterwards are their own');

-- Rules that know the older form alone fail as an upcaster is created.
CREATE TABLE ecsums (key text PRIMARY KEY, n numeric NOT NULL DEFAULT 0);
SELECT eventsource.create_projection('ecsums', '{ecsum}', '{"added": "n = row.n + (event.data->>''a'')::int"}') AS n \gset
SELECT version AS n FROM eventsource.append('ecsum-1', 'added', '{"a": 1}') \gset
SELECT is(pg_temp.failure($$ SELECT eventsource.create_upcaster('added', 1, 2, 'jsonb_build_object(''b'', event.data->''a'')') $$),
	pg_temp.of_row('23502', 'ecsums', 'ecsum-1') || E'\nprojections folded anew by the upcaster of event type "added" from version 1', 'projections that an upcaster folds anew');

-- Rows that are folded anew, or written.
SELECT is(pg_temp.failure(format($$ SELECT eventsource.correct_event(%s::bigint, '{}', 'wrong', 'joe') $$, position)),
	pg_temp.of_row('23502', 'ecsums', 'ecsum-1'), 'a correction that leaves a bad row') FROM eventsource.events WHERE stream = 'ecsum-1';
CREATE TABLE ecnames (key text PRIMARY KEY, name text UNIQUE);
SELECT eventsource.create_projection('ecnames', '{ecname}', '{"named": "name = event.data->>''name''"}') AS n \gset
SELECT version AS n FROM eventsource.append('ecname-1', 'named', '{"name": "a"}') \gset
SELECT version AS n FROM eventsource.append('ecname-2', 'named', '{"name": "b"}') \gset
SELECT matches(pg_temp.failure($$ SELECT eventsource.append('ecname-3', 'named', '{"name": "a"}') $$),
	'^23505\nrow of projection public\.ecnames as the event at position \d+ leaves it$', 'an event that makes a row like another');
SELECT is(pg_temp.failure(format($$ SELECT eventsource.correct_event(%s::bigint, '{"name": "a"}', 'wrong', 'joe') $$, position)),
	pg_temp.of_row('23505', 'ecnames', 'ecname-2'), 'a correction that does') FROM eventsource.events WHERE stream = 'ecname-2';
SELECT * FROM finish();
ROLLBACK;
