\set ECHO none
\i test/helpers.sql
BEGIN;
SELECT no_plan();

-- The lines of an invalid definition.
CREATE FUNCTION pg_temp.problems(name text, category text, type text, condition text, action jsonb, run_at text, key text, settings jsonb)
	RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	lines text;
BEGIN
	PERFORM eventsource.create_reaction(name, category, type, condition, action, run_at, key, settings);
	RETURN 'fine';
EXCEPTION WHEN SQLSTATE 'ZE011' THEN
	GET STACKED DIAGNOSTICS lines = PG_EXCEPTION_DETAIL;
	RETURN lines;
END
$$;
CREATE FUNCTION pg_temp.action_problems(action jsonb) RETURNS text LANGUAGE sql AS
	$$ SELECT pg_temp.problems('rcx', 'rcx', 't', NULL, action, NULL, NULL, NULL) $$;

SELECT pg_temp.refuses($$ SELECT eventsource.create_reaction('rcx', 'rcx', 't') $$, '22004', 'action must not be null', 'no action');
SELECT pg_temp.refuses($$ SELECT eventsource.create_reaction('a:b', 'rcx', 't', action => '{"enqueue": "q"}') $$, 'ZE011', 'name of a reaction is not valid', 'no colon in names');
SELECT is(pg_temp.action_problems('[]'), 'action: must be an object');
SELECT is(pg_temp.action_problems('{}'), 'action: must have one of enqueue, append, cancel, call and steps');
SELECT is(pg_temp.action_problems('{"enqueue": "q", "append": "t"}'), 'action: must have one of enqueue, append, cancel, call and steps');
SELECT is(pg_temp.action_problems('{"enqueue": "$reaction"}'), 'action.enqueue: queues whose names begin with $ are the log''s own');
SELECT is(pg_temp.action_problems('{"enqueue": 1, "stream": "1", "priority": 1.5, "max_attempts": 0}'), E'action.stream: there is no such member of enqueue\naction.enqueue: must be a name of 1 to 256 bytes\naction.priority: must be a whole number from -2147483648 to 2147483647\naction.max_attempts: must be a whole number from 1 to 1000');
SELECT is(pg_temp.action_problems('{"append": "t"}'), 'action.stream: must be given: an expression for the stream to append to');
SELECT is(pg_temp.action_problems('{"append": "t", "stream": "''$config-x''"}'), 'stream: "$config" is not a category to append to');
SELECT is(pg_temp.action_problems('{"cancel": "rcx"}'), 'key: must be given, since what is cancelled is what has the same key');
SELECT is(pg_temp.problems('rcx', 'rcx', 't', NULL, '{"cancel": ["rcx", "rcx_none"]}', NULL, 'event.key', NULL), 'cancel: there is no reaction "rcx_none"');
SELECT eventsource.create_reaction('rcx_keyless', 'rcx', 't', action => '{"enqueue": "q"}', run_at => 'event.occurred_at') AS v \gset
SELECT is(pg_temp.problems('rcx', 'rcx', 't', NULL, '{"cancel": ["rcx", "rcx_keyless"]}', NULL, 'event.key', NULL), 'cancel: reaction "rcx_keyless" has no key, and what is cancelled is what has the same key; define it with a key first', 'what has no key is never met');
SELECT is(pg_temp.problems('rcx', 'rcx', 't', NULL, '{"steps": [{"enqueue": "q"}, {"cancel": "rcx_keyless"}]}', NULL, 'event.key', NULL), 'cancel: reaction "rcx_keyless" has no key, and what is cancelled is what has the same key; define it with a key first', 'nor in a step');
SELECT eventsource.create_reaction('rcx_keyless', 'rcx', 't', action => '{"enqueue": "q"}', run_at => 'event.occurred_at', key => 'event.key') AS v \gset
SELECT is(pg_temp.problems('rcx_stop', 'rcx', 'u', NULL, '{"cancel": "rcx_keyless"}', NULL, 'event.key', NULL), 'fine', 'with a key it is');
SELECT eventsource.drop_reaction('rcx_keyless', cancel_jobs => false) \g /dev/null
SELECT is(pg_temp.problems('rcx_stop', 'rcx', 'u', NULL, '{"cancel": "rcx_keyless"}', NULL, 'event.key', NULL), 'fine', 'also what it had scheduled before it was dropped');
SELECT eventsource.drop_reaction('rcx_stop') \g /dev/null
SELECT is(pg_temp.problems('rcx', 'rcx', 't', NULL, '{"enqueue": "q"}', NULL, key, NULL), problem, 'key: ' || key) FROM (VALUES
	($$ event.data->'cart' $$, 'key: must be text, not jsonb; take it out of event.data with ->>, or cast it: (...)::text'),
	($$ (event.data->>'n')::int $$, 'key: must be text, not integer; take it out of event.data with ->>, or cast it: (...)::text')) v (key, problem);
SELECT matches(pg_temp.problems('rcx', 'rcx', 't', NULL, '{"enqueue": "q"}', NULL, 'event.no_such', NULL), '^key: event has no column "no_such"[^\n]*$', 'what is no key at all is told once');
SELECT matches(pg_temp.problems('rcx', 'rcx', 't', NULL, '{"enqueue": "q"}', $$ interval '1 hour' $$, NULL, NULL), 'run_at: the expression is of type interval, wanted is timestamp with time zone .*Say since when: event.occurred_at \+ \(...\)', 'a length of time is not a time');
SELECT is(pg_temp.problems('rcx_key', 'rcx', 't', NULL, '{"enqueue": "q"}', NULL, key, NULL), 'fine', 'key: ' || key) FROM unnest(ARRAY[
	$$ event.data->>'cart' $$, $$ (event.data->'cart')::text $$, $$ (event.data->>'cart')::varchar $$, $$ (event.data->>'cart')::varchar(20) $$,
	$$ (event.data->>'cart')::char(3) $$, $$ (event.data->>'cart')::name $$, $$ 'all' $$, 'NULL']) key;
SELECT eventsource.drop_reaction('rcx_key') \g /dev/null
SELECT is(pg_temp.action_problems('{"steps": []}'), 'action.steps: must be an array of 1 to 100 actions');
SELECT is(pg_temp.action_problems('{"steps": [{"enqueue": "q", "wait": "-1 day", "compensate": {"cancel": "x"}}]}'), E'action.steps[1].wait: must be a length of time like "3 days"\naction.steps[1].compensate: can be enqueue, append or call');
SELECT is(pg_temp.problems('rcx', 'rc-x', '', NULL, '{"enqueue": "q"}', NULL, NULL, NULL), E'category: "rc-x" has a hyphen; a category is what stands before it\ntype: must have 1 to 256 bytes; * is every type');
SELECT is(pg_temp.problems('rcx', 'rcx', 't', 'row.a > 1', '{"enqueue": "q", "payload": "now()"}', '5', 'event.nope', '{"past": "cap", "on_conflict": "x", "imports": 1, "foo": 1}') ~
	'^condition: .*\nkey: .*\nrun_at: .*\nsettings.foo: there is no such setting.*\nsettings.imports: must be true or false\nsettings.on_conflict: must be "replace" or "keep"\nsettings.max_past: must be given.*\naction.payload: ', true, 'all problems at once');
SELECT is(pg_temp.problems('rcx', 'rcx', 't', NULL, '{"enqueue": "q"}', NULL, NULL, '{"max_past": "1 day"}'), 'settings.max_past: is for past "cap" or "skip"');

-- Types that machines do not know.
SELECT eventsource.create_state_machine('rcx_m', '{"initial": "A", "states": {"A": {"on": {"go": "B"}}, "B": {"type": "final"}}}') AS v \gset
SELECT eventsource.create_category('rcxm', 'rcx_m') AS v \gset
SELECT is(pg_temp.problems('rcx', 'rcxm', 'og', NULL, '{"append": "oh", "stream": "event.category || ''-7''"}', NULL, NULL, NULL), E'type: the state machine of category "rcxm" does not know type "og"\nappend: the state machine of category "rcxm" does not know type "oh"');

-- Ways round.
SELECT is(pg_temp.problems('rcx_self', 'rcx', 't', NULL, '{"append": "t", "stream": "event.stream"}', NULL, NULL, NULL), 'action: what it appends leads back to it: rcx_self -> rcx_self; if conditions end that, say settings {"allow_cycle": true}', 'to itself');
SELECT is(pg_temp.problems('rcx_a', 'rcx', 'a', NULL, '{"append": "b", "stream": "''rcy-'' || event.key"}', NULL, NULL, NULL), 'fine');
SELECT is(pg_temp.problems('rcx_b', 'rcy', '*', NULL, '{"steps": [{"enqueue": "q", "compensate": {"append": "c", "stream": "format(''rcz-%s'', event.key)"}}]}', NULL, NULL, NULL), 'fine');
SELECT is(pg_temp.problems('rcx_c', 'rcz', 'c', NULL, '{"append": "a", "stream": "concat(''rcx'', ''-'', event.key)"}', NULL, NULL, NULL), 'action: what it appends leads back to it: rcx_c -> rcx_a -> rcx_b -> rcx_c; if conditions end that, say settings {"allow_cycle": true}', 'over others');
SELECT is(pg_temp.problems('rcx_c', 'rcz', 'c', NULL, '{"append": "a", "stream": "''rcq-'' || event.key"}', NULL, NULL, NULL), 'fine', 'not where the category is another one');
SELECT matches(pg_temp.problems('rcx_c', 'rcz', 'c', NULL, '{"append": "a", "stream": "event.data->>''to''"}', NULL, NULL, NULL), 'rcx_c -> rcx_a', 'a category that is not known is any');
SELECT is(pg_temp.problems('rcx_c', 'rcz', 'c', NULL, '{"append": "a", "stream": "event.data->>''to''"}', NULL, NULL, '{"allow_cycle": true}'), 'fine', 'unless it is allowed');
SELECT eventsource.drop_reaction('rcx_c') \g /dev/null

-- Depth.
SELECT eventsource.create_reaction('rcx_deep', 'rcdeep', 'n', $$ (event.data->>'n')::int > 0 $$,
	'{"append": "n", "stream": "event.stream", "data": "jsonb_build_object(''n'', (event.data->>''n'')::int - 1)"}', settings => '{"allow_cycle": true}') AS v \gset
SELECT * FROM eventsource.append('rcdeep-1', 'n', '{"n": 16}') \g /dev/null
SELECT is((SELECT max(version) FROM eventsource.events WHERE stream = 'rcdeep-1'), 17::bigint, 'sixteen times');
SELECT pg_temp.refuses($$ SELECT eventsource.append('rcdeep-2', 'n', '{"n": 17}') $$, '54001', 'reactions caused each other more than 16 times', 'and no further');
SELECT matches(pg_temp.refusal($$ SELECT eventsource.append('rcdeep-2', 'n', '{"n": 17}') $$), 'DETAIL: The way was: ("rcx_deep" -> ){16}"rcx_deep"\.', 'with the way');

-- ---- what is due later ----

SELECT eventsource.create_reaction('rcx_rem', 'rcart', 'added', action => '{"enqueue": "rcx_mail"}', run_at => $$ event.occurred_at + interval '1 hour' $$, key => 'event.key') AS v \gset
SELECT eventsource.create_reaction('rcx_ord', 'rcart', 'ordered', action => '{"cancel": ["rcx_rem"]}', key => 'event.key') AS v \gset
SELECT * FROM eventsource.append('rcart-1', 'added', '{"n": 1}', occurred_at => '2040-01-01 00:00+00') \g /dev/null
SELECT pg_temp.same_rows($$ SELECT queue, state, run_at = '2040-01-01 01:00+00', payload, job_key, reaction, step, stream FROM eventsource.job WHERE reaction = 'rcx_rem' $$,
	$$ VALUES ('$reaction', 'scheduled', true, '{"key": "1"}'::jsonb, 'reaction:rcx_rem:1', 'rcx_rem', 1, 'rcart-1') $$, 'scheduled');
SELECT * FROM eventsource.append('rcart-1', 'added', '{"n": 2}', occurred_at => '2040-01-02 00:00+00') \g /dev/null
SELECT pg_temp.same_rows($$ SELECT state, run_at = '2040-01-02 01:00+00' FROM eventsource.job WHERE reaction = 'rcx_rem' $$, $$ VALUES ('scheduled', true) $$, 'replaced by a later one with its key');
SELECT * FROM eventsource.append('rcart-2', 'added', occurred_at => '2040-01-02 00:00+00') \g /dev/null
SELECT * FROM eventsource.append('rcart-1', 'ordered') \g /dev/null
SELECT pg_temp.same_rows($$ SELECT stream, state, finish_reason FROM eventsource.job WHERE reaction = 'rcx_rem' ORDER BY stream $$,
	$$ VALUES ('rcart-1', 'cancelled', 'cancelled by reaction "rcx_ord"'), ('rcart-2', 'scheduled', NULL) $$, 'cancelled by key');
SELECT count(*) FROM eventsource.append_events('[{"stream": "rcart-3", "type": "added"}, {"stream": "rcart-3", "type": "ordered"}, {"stream": "rcart-4", "type": "ordered"}, {"stream": "rcart-4", "type": "added"}]') \g /dev/null
SELECT pg_temp.same_rows($$ SELECT stream, state FROM eventsource.job WHERE reaction = 'rcx_rem' AND stream > 'rcart-2' ORDER BY stream $$,
	$$ VALUES ('rcart-3', 'cancelled'), ('rcart-4', 'scheduled') $$, 'in the order of the events, also in a batch');
SELECT eventsource.create_reaction('rcx_when', 'rcwhen', 'a', action => '{"enqueue": "rcx_mail"}', run_at => $$ (event.data->>'at')::timestamptz $$) AS v \gset
SELECT count(*) FROM eventsource.append_events('[{"stream": "rcwhen-1", "type": "a"}, {"stream": "rcwhen-1", "type": "a", "data": {"at": "2030-01-01Z"}}]') \g /dev/null
SELECT is((SELECT count(*) FROM eventsource.job WHERE reaction = 'rcx_when'), 1::bigint, 'no time, nothing to do');
SELECT eventsource.create_reaction('rcx_steps', 'rcwhen', 'b', action => '{"steps": [{"enqueue": "a"}, {"wait": "1 day", "enqueue": "b"}]}') AS v \gset
SELECT * FROM eventsource.append('rcwhen-1', 'b') \g /dev/null
SELECT pg_temp.same_rows($$ SELECT queue, state, step, job_key FROM eventsource.job WHERE reaction = 'rcx_steps' $$, $$ VALUES ('$reaction', 'available', 1, NULL::text) $$, 'steps begin at once, by run_due');
SELECT eventsource.create_reaction('rcx_long', 'rclong', 'a', action => '{"enqueue": "q"}', key => $$ event.data->>'k' $$) AS v \gset
SELECT pg_temp.refuses($$ SELECT eventsource.append('rclong-1', 'a', jsonb_build_object('k', repeat('x', 1025))) $$, '42622', 'key of reaction "rcx_long" is too long', 'keys have their limit');

-- ---- calls ----

CREATE FUNCTION rcx_call(e eventsource.events, call jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '{}'::jsonb $$;
CREATE FUNCTION rcx_other(e eventsource.events) RETURNS jsonb LANGUAGE sql AS $$ SELECT '{}'::jsonb $$;
SELECT eventsource.create_reaction('rcx_call', 'rcwhen', 'c', action => '{"call": "public.rcx_call"}') AS v \gset
SELECT * FROM eventsource.append('rcwhen-1', 'c') \g /dev/null
SELECT is((SELECT queue FROM eventsource.job WHERE reaction = 'rcx_call'), '$reaction', 'calls are for run_due');
SELECT is(pg_temp.refusal($$ SELECT eventsource.create_reaction('rcx_call', 'rcwhen', 'c', action => '{"call": "public.rcx_other"}') $$) ~ '^42883', true, 'a function of another shape');
SELECT is(pg_temp.refusal($$ SELECT eventsource.create_reaction('rcx_call', 'rcwhen', 'c', action => '{"call": "rcx_call"}') $$) ~ '^42883', true, 'a function without its schema');

-- ---- the view, dropping ----

SELECT pg_temp.same_rows($$ SELECT name, category, type, condition, action, run_at, key, settings, version, owner = current_user FROM eventsource.reactions WHERE name = 'rcx_ord' $$,
	$$ VALUES ('rcx_ord', 'rcart', 'ordered', NULL::text, '{"cancel": ["rcx_rem"]}'::jsonb, NULL::text, 'event.key', NULL::jsonb, 1::bigint, true) $$, 'the view');
SELECT eventsource.drop_reaction('rcx_rem', cancel_jobs => true) \g /dev/null
SELECT is((SELECT count(*) FROM eventsource.reactions WHERE name = 'rcx_rem'), 0::bigint, 'dropped');
SELECT is((SELECT count(*) FROM eventsource.job WHERE reaction = 'rcx_rem' AND state = 'scheduled'), 0::bigint, 'and what it had scheduled');
SELECT * FROM eventsource.append('rcart-9', 'added') \g /dev/null
SELECT is((SELECT count(*) FROM eventsource.job WHERE stream = 'rcart-9'), 0::bigint, 'does nothing any more');
SELECT pg_temp.refuses($$ SELECT eventsource.drop_reaction('rcx_rem') $$, '42704', 'there is no reaction "rcx_rem"', 'not twice');
SELECT is(eventsource.create_reaction('rcx_rem', 'rcart', 'added', action => '{"enqueue": "q"}'), 3::bigint, 'defined again');

SELECT * FROM finish();
ROLLBACK;
