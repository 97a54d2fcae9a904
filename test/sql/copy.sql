\set ECHO none
\set own_database copy
\i test/own_database.sql
-- Copies of categories: each event once, mapped, through the rules of the new category.
SELECT plan(63);
-- Settings of who copies say nothing about what is copied.
SET eventsource.actor = 'copier';
SET eventsource.reason = 'copying';
SET eventsource.correlation_id = 'c-1';

-- As it is.
SELECT count(*) AS n FROM eventsource.append('cpa-1', 'made', '{"a": 1}', 'r1', 'joe', '{"m": 1, "copied_from": "x"}', occurred_at => '2020-02-02 02:02:02+00', idempotency_key => 'k', schema_version => 3) \gset
RESET eventsource.actor;
SELECT count(*) AS n FROM eventsource.append_events((SELECT jsonb_agg(jsonb_build_object('stream', 'cpa-' || i % 3, 'type', 'changed', 'data', jsonb_build_object('n', i), 'actor', 'a' || i % 2)) FROM generate_series(1, 20) i)) \gset
SELECT count(*) AS n FROM eventsource.append('cpother-1', 'made') \gset
SET eventsource.actor = 'copier';
SELECT is(eventsource.copy_category('cpa', 'cpb', max_events => 5), 5::bigint, 'so many events');
SELECT pg_temp.same_rows($$ SELECT from_category, to_category, position, watermark - position = lag, status, mapping, owner, copied_at >= begun_at FROM eventsource.category_copies $$,
	$$ SELECT 'cpa', 'cpb', (SELECT position FROM eventsource.events WHERE category = 'cpa' ORDER BY position OFFSET 4 LIMIT 1), true, 'behind', NULL::jsonb, current_user::text, true $$, 'the view');
SELECT is(eventsource.copy_category('cpa', 'cpb', max_events => 5), 5::bigint, 'it goes on');
SELECT is(eventsource.copy_category('cpa', 'cpb'), 11::bigint, 'the rest');
SELECT is(eventsource.copy_category('cpa', 'cpb'), 0::bigint, 'nothing is left');
SELECT pg_temp.same_rows($$ SELECT status, lag, mapping FROM eventsource.category_copies $$, $$ VALUES ('current', 0::bigint, NULL::jsonb) $$, 'current');
SELECT pg_temp.same_rows(
	$$ SELECT row_number() OVER (ORDER BY position), stream, key, subject, version, type, schema_version, data, metadata, actor, recorded_by, reason, from_state, to_state, is_synthetic, occurred_at, idempotency_key FROM eventsource.events WHERE category = 'cpb' $$,
	$$ SELECT row_number() OVER (ORDER BY position), 'cpb-' || key, key, 'cpb-' || key, version, type, 1, data,
			  metadata || jsonb_build_object('copied_from', jsonb_build_object('position', position, 'stream', stream, 'version', version)),
			  actor, session_user::text, reason, NULL::text, NULL::text, false, occurred_at, NULL::text
		 FROM eventsource.events WHERE category = 'cpa' $$, 'the copy: order, versions, times, actors, reasons, metadata');
SELECT is((SELECT metadata ->> 'm' FROM eventsource.events WHERE category = 'cpb' ORDER BY position LIMIT 1), '1', 'metadata is kept');

-- Writers go on, a transaction that is open is waited for by the watermark, not by us.
SELECT count(*) AS n FROM eventsource.append('cpa-9', 'late') \gset
BEGIN;
SELECT is(eventsource.copy_category('cpa', 'cpb'), 1::bigint, 'it catches up');
ROLLBACK;
SELECT is((SELECT count(*) FROM eventsource.events WHERE stream = 'cpb-9'), 0::bigint, 'rolled back');
BEGIN;
SELECT count(*) AS n FROM eventsource.append('cpa-9', 'of our own') \gset
SELECT is(eventsource.copy_category('cpa', 'cpb'), 1::bigint, 'what we appended ourselves comes later');
COMMIT;
SELECT is(eventsource.copy_category('cpa', 'cpb'), 1::bigint, 'namely now');
SELECT pg_temp.same_rows($$ SELECT version, type FROM eventsource.events WHERE stream = 'cpb-9' $$, $$ VALUES (1::bigint, 'late'), (2, 'of our own') $$, 'each once');

-- What cannot be.
SELECT pg_temp.refuses($$ SELECT eventsource.copy_category('cpother', 'cpb') $$, '55000', 'the copy to category "cpb" has begun already', 'another category');
SELECT pg_temp.refuses($$ SELECT eventsource.copy_category('cpa', 'cpb', '{"made": null}') $$, '55000', 'the copy to category "cpb" has begun already', 'another mapping');
SELECT pg_temp.refuses($$ SELECT eventsource.copy_category('cpa', 'cpother') $$, '55000', 'category "cpother" is not empty', 'a category that is not empty');
SELECT pg_temp.refuses($$ SELECT eventsource.copy_category('cpa', 'cpa') $$, 'ZE011', 'invalid definition of copy of category "cpa" to "cpa"', 'to itself');
SELECT pg_temp.refuses($$ SELECT eventsource.copy_category('$config', 'cpx') $$, 'ZE011', 'invalid definition of copy of category "$config" to "cpx"', 'definitions');
SELECT pg_temp.refuses($$ SELECT eventsource.copy_category('cpa', '$config') $$, 'ZE011', 'invalid definition of copy of category "cpa" to "$config"', 'to definitions');
SELECT pg_temp.refuses($$ SELECT eventsource.copy_category(NULL, 'cpx') $$, '22004', 'from_category must not be null', 'null');
SELECT pg_temp.refuses($$ SELECT eventsource.copy_category('cpa', 'cpx', max_events => 0) $$, '22023', 'a copy must be allowed one event at least', 'no events');
SELECT pg_temp.refuses($$ CALL eventsource.copy_category_in_batches('cpa', 'cpx') $$, '2D000', 'copy_category_in_batches cannot run inside a transaction block', 'batches inside a function');
SELECT pg_temp.refuses($$ SELECT eventsource.drop_category_copy('cpx') $$, '42704', 'there is no copy to category "cpx"', 'dropping what is not there');
SELECT is(pg_temp.refusal($$ SELECT eventsource.copy_category('a-b', 'cpx', '{"t1": 7, "t2": [], "t3": [{"typ": "x"}, {"type": "", "data": 1, "when": "now() > ''2020-01-01''"}], "t4": {"stream": "''a''", "key": "random()::text", "schema_version": 0}, "t5": {"data": "row.a"}, "*": {"when": "event.data"}}') $$),
$$ZE011: invalid definition of copy of category "a-b" to "cpx"
DETAIL: category: "a-b" has a hyphen; a category is what stands before it
"*": when: the expression is of type jsonb, wanted is boolean (at character 1 of: event.data). Cast it: (...)::type.
"t1": must be null, an object or a list of objects, not a number
"t2": must not be an empty list; null drops an event
"t3"[0]: there is no "typ"; there are type, data, stream, key, when and schema_version
"t3"[1]: data: must be a string, an SQL expression
"t3"[1]: type: must be a string of 1 to 256 bytes
"t3"[1]: when: function now() is not allowed (at character 1 of: now() > '2020-01-01'). It is STABLE: its value depends on the session or the moment, not only on its arguments. Use what the event carries, for instance event.occurred_at or event.actor.
"t4": key: function random() is not allowed (at character 1 of: random()::text). It is VOLATILE: two evaluations can give two values. Use what the event carries, for instance event.occurred_at or event.actor.
"t4": schema_version: must be a number from 1 to 32767
"t4": has both stream and key; key is what stands behind the category
"t5": data: there is no "row" here (at character 1 of: row.a)
HINT: Nothing was copied. Mend all of it and try again.$$, 'all that is wrong');
SELECT pg_temp.refuses($$ SELECT eventsource.copy_category('cpa', 'cpx', '[]') $$, 'ZE011', 'invalid definition of copy of category "cpa" to "cpx"', 'a mapping that is no object');
SELECT is((SELECT count(*) FROM eventsource.category_copies WHERE to_category = 'cpx'), 0::bigint, 'nothing was begun');

-- Mapping: renamed, dropped, split, moved, in part; the oracle is plain SQL.
SELECT count(*) AS n FROM eventsource.append_events((SELECT jsonb_agg(jsonb_build_object('stream', 'cpm-' || i % 4, 'type', (ARRAY['ordered', 'noise', 'paid', 'note', 'moved'])[1 + i % 5],
	'data', jsonb_build_object('n', i, 'lines', jsonb_build_array(i, i + 1), 'customer', 'c' || i % 2), 'occurred_at', '2021-01-01T00:00:00Z'::timestamptz + i * interval '1 hour')) FROM generate_series(1, 200) i)) \gset
SELECT count(*) AS n FROM eventsource.correct_event((SELECT position FROM eventsource.events WHERE category = 'cpm' AND type = 'ordered' ORDER BY 1 LIMIT 1), '{"n": 6, "lines": ["x", "y"]}', 'r', 'a') \gset
SELECT count(*) AS n FROM eventsource.correct_event((SELECT position FROM eventsource.events WHERE category = 'cpm' AND type = 'paid' ORDER BY 1 LIMIT 1), '{"customer": "corrected"}', 'r', 'a') \gset
SELECT count(*) AS n FROM eventsource.void_event((SELECT position FROM eventsource.events WHERE category = 'cpm' AND type = 'paid' ORDER BY 1 OFFSET 1 LIMIT 1), 'r', 'a') \gset
CREATE VIEW cpm_corrected AS SELECT e.*, coalesce(c.data, e.data) AS now FROM eventsource.events e
  LEFT JOIN eventsource.events c ON c.category = 'cpm' AND c.type IN ('event_corrected', 'event_voided') AND (c.metadata ->> 'corrects')::bigint = e.position
 WHERE e.category = 'cpm' AND e.type NOT IN ('event_corrected', 'event_voided') AND c.type IS DISTINCT FROM 'event_voided';
SELECT jsonb_build_object(
	'ordered', jsonb_build_array(
		jsonb_build_object('type', 'placed', 'data', $$ event.data - 'lines' $$),
		jsonb_build_object('type', 'line', 'data', $$ jsonb_build_object('line', event.data -> 'lines' -> 0) $$, 'schema_version', 2),
		jsonb_build_object('type', 'line', 'data', $$ jsonb_build_object('line', event.data -> 'lines' -> 1) $$, 'when', $$ (event.data ->> 'n')::int % 2 = 0 $$)),
	'noise', NULL,
	'paid', jsonb_build_object('key', $$ event.data ->> 'customer' $$),
	'moved', jsonb_build_object('stream', $$ 'cpn-' || event.key || '-' || to_char(event.occurred_at, 'HH24') $$),
	'*', jsonb_build_object('type', 'other', 'when', $$ event.version > 3 $$)) AS mapping \gset
CREATE TEMP TABLE expected AS
SELECT e.position, m.* FROM cpm_corrected e CROSS JOIN LATERAL (
	SELECT 1, 'cpn-' || key, 'placed', 1, now - 'lines' WHERE type = 'ordered' UNION ALL
	SELECT 2, 'cpn-' || key, 'line', 2, jsonb_build_object('line', now -> 'lines' -> 0) WHERE type = 'ordered' UNION ALL
	SELECT 3, 'cpn-' || key, 'line', 1, jsonb_build_object('line', now -> 'lines' -> 1) WHERE type = 'ordered' AND (now ->> 'n')::int % 2 = 0 UNION ALL
	SELECT 1, 'cpn-' || (now ->> 'customer'), 'paid', 1, now WHERE type = 'paid' UNION ALL
	SELECT 1, 'cpn-' || key || '-' || to_char(occurred_at AT TIME ZONE 'UTC', 'HH24'), 'moved', 1, now WHERE type = 'moved' UNION ALL
	SELECT 1, 'cpn-' || key, 'other', 1, now WHERE type = 'note' AND version > 3) m (n, stream, type, schema_version, data);
SELECT is(eventsource.copy_category('cpm', 'cpn', :'mapping', 100) + eventsource.copy_category('cpm', 'cpn', :'mapping', 30) + eventsource.copy_category('cpm', 'cpn'),
	(SELECT count(*) FROM expected), 'mapped');
SELECT pg_temp.same_rows(
	$$ SELECT (metadata -> 'copied_from' ->> 'position')::bigint, stream, type, schema_version, data FROM eventsource.events WHERE category = 'cpn' ORDER BY position $$,
	$$ SELECT position, stream, type, schema_version, data FROM expected ORDER BY position, n $$, 'as plain SQL says');
SELECT is((SELECT count(*) FROM eventsource.category_copies WHERE to_category = 'cpn' AND mapping = :'mapping'), 1::bigint, 'the mapping is kept');

-- A call in batches, which may be repeated; dropped.
CALL eventsource.copy_category_in_batches('cpm', 'cpo', '{"noise": null, "moved": null}', 7);
CALL eventsource.copy_category_in_batches('cpm', 'cpo', batch => 7);
SELECT pg_temp.same_rows($$ SELECT key, type, data FROM eventsource.events WHERE category = 'cpo' ORDER BY position $$,
	$$ SELECT key, type, now FROM cpm_corrected WHERE type NOT IN ('noise', 'moved') ORDER BY position $$, 'in batches');
SELECT lives_ok($$ SELECT eventsource.drop_category_copy('cpo') $$, 'dropped');
SELECT is((SELECT count(*) FROM eventsource.category_copies WHERE to_category = 'cpo') + (SELECT count(*) FROM eventsource.projection_cursor WHERE name = 'category_copy.cpo'), 0::bigint, 'and forgotten');
SELECT pg_temp.refuses($$ SELECT eventsource.copy_category('cpm', 'cpo') $$, '55000', 'category "cpo" is not empty', 'a copy is begun once');

-- More new streams than are locked one by one: batches end before that.
SELECT count(*) AS n FROM eventsource.append_events((SELECT jsonb_agg(jsonb_build_object('stream', 'cpw-' || i, 'type', 'made')) FROM generate_series(1, 2500) i)) \gset
CALL eventsource.copy_category_in_batches('cpw', 'cpv');
SELECT pg_temp.same_rows($$ SELECT count(*), count(DISTINCT e.xmin::text) > 3 FROM eventsource.events v JOIN eventsource.event e USING (position) WHERE category = 'cpv' $$, $$ VALUES (2500::bigint, true) $$, 'more than 3 transactions');
SELECT is(eventsource.copy_category('cpw', 'cpu'), 2500::bigint, 'or all in one');

RESET eventsource.reason;
RESET eventsource.correlation_id;

-- The rules of the new category: its machine steps, fills, requires reasons, and refuses.
SELECT eventsource.create_state_machine('cpr_machine', '{"initial": "NEW", "states": {"NEW": {"on": {"opened": "OPEN"}}, "OPEN": {"on": {"closed": {"target": "CLOSED", "reasons": ["done"]}, "noted": {"fill": {"by": "event.actor"}}}}, "CLOSED": {"type": "final"}}, "reasons": {"done": {}}}') > 0 AS n \gset
SELECT count(*) AS n FROM eventsource.create_category('cpr', 'cpr_machine') \gset
SELECT count(*) AS n FROM eventsource.append_events('[{"stream": "cpq-1", "type": "opened", "actor": "joe"}, {"stream": "cpq-1", "type": "noted", "actor": "jane"}, {"stream": "cpq-2", "type": "opened"}, {"stream": "cpq-1", "type": "closed", "reason": "done"}]') \gset
SELECT is(eventsource.copy_category('cpq', 'cpr'), 4::bigint, 'legal');
SELECT pg_temp.same_rows($$ SELECT stream, type, data, from_state, to_state, reason FROM eventsource.events WHERE category = 'cpr' ORDER BY position $$,
	$$ VALUES ('cpr-1', 'opened', '{}', NULL, 'OPEN', NULL), ('cpr-1', 'noted', '{"by": "jane"}', 'OPEN', 'OPEN', NULL), ('cpr-2', 'opened', '{}', NULL, 'OPEN', NULL), ('cpr-1', 'closed', '{}', 'OPEN', 'CLOSED', 'done') $$, 'the machine steps');
SELECT count(*) AS n FROM eventsource.append('cpq-2', 'noted') \gset
SELECT count(*) AS n FROM eventsource.append('cpq-1', 'reopened') \gset
SELECT position AS bad FROM eventsource.events WHERE stream = 'cpq-1' AND type = 'reopened' \gset
SELECT pg_temp.refuses($$ SELECT eventsource.copy_category('cpq', 'cpr') $$, 'ZE006', 'event type "reopened" is unknown to state machine "cpr_machine@1"', 'what it refuses stops the copy');
SELECT is((SELECT count(*) FROM eventsource.events WHERE category = 'cpr'), 4::bigint, 'and what came before it is undone');
SELECT is(eventsource.copy_category('cpq', 'cpr', max_events => 1), 1::bigint, 'but can be had');
CREATE FUNCTION pg_temp.context_of(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	context text;
BEGIN
	EXECUTE command;
	RETURN NULL;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT;
	RETURN split_part(context, E'\n', 1);
END
$$;
SELECT is(pg_temp.context_of($$ SELECT eventsource.copy_category('cpq', 'cpr') $$), format('copy of category "cpq" to "cpr", event at position %s, type "reopened"', :bad), 'the error names it');

-- Expressions that fail on an event.
SELECT count(*) AS n FROM eventsource.append('cpe-1', 'made', '{"a": 1}') \gset
SELECT pg_temp.refuses($$ SELECT eventsource.copy_category('cpe', 'cpf', '{"made": {"key": "event.data ->> ''b''"}}') $$, '22004', 'key of a copied event must not be null', 'null');
SELECT pg_temp.refuses($$ SELECT eventsource.copy_category('cpe', 'cpf', '{"made": {"stream": "''cpe-'' || event.key"}}') $$, '22023', 'stream "cpe-1" is not of category "cpf"', 'another category');
SELECT pg_temp.refuses($$ SELECT eventsource.copy_category('cpe', 'cpf', '{"made": {"stream": "''cpf''"}}') $$, '42602', 'invalid stream name "cpf"', 'no stream');
SELECT is((SELECT count(*) FROM eventsource.category_copies WHERE to_category = 'cpf'), 0::bigint, 'nothing was begun');

-- What an expression calls must not append.
CREATE FUNCTION cpe_append(x jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM eventsource.append('cpf-1', 'slipped in'); RETURN x; END $$;
SELECT pg_temp.refuses($$ SELECT eventsource.copy_category('cpe', 'cpf', '{"made": {"data": "public.cpe_append(event.data)"}}') $$, '2F003', 'cannot append while another event is being decided', 'nothing slips in');

-- Upcast data, in the latest version that the new category has of the type.
SELECT eventsource.register_event_type('sent', NULL, '{"required": ["a"]}') + eventsource.register_event_type('sent', NULL, '{"required": ["b"]}', compatibility => 'none') AS n \gset
SELECT eventsource.register_event_type('sent', 'cpz', '{"required": ["b"]}', 7) AS n \gset
SELECT count(*) AS n FROM eventsource.append('cpy-1', 'sent', '{"a": 1}', schema_version => 1) \gset
SELECT count(*) AS n FROM eventsource.append('cpy-1', 'sent', '{"b": 1}') \gset
SELECT count(*) AS n FROM eventsource.append('cpy-1', 'sent', '{"a": "bad"}', schema_version => 1) \gset
SELECT count(*) AS n FROM eventsource.correct_event((SELECT max(position) FROM eventsource.events WHERE stream = 'cpy-1'), '{"a": 3}', 'typo', 'joe') \gset
SELECT eventsource.create_upcaster('sent', 1, 2, $$ jsonb_build_object('b', (event.data ->> 'a')::int + 1) $$) AS n \gset
SELECT is(eventsource.copy_category('cpy', 'cpz'), 3::bigint, 'three');
SELECT pg_temp.same_rows($$ SELECT schema_version, data FROM eventsource.events WHERE category = 'cpz' ORDER BY position $$,
	$$ VALUES (7, '{"b": 2}'::jsonb), (7, '{"b": 1}'), (7, '{"b": 4}') $$, 'upcast, what was corrected after it was corrected');
SELECT count(*) AS n FROM eventsource.correct_event((SELECT min(position) FROM eventsource.events WHERE stream = 'cpy-1'), '{"a": 10}', 'typo', 'joe') \gset
SELECT is(eventsource.copy_category('cpy', 'cpz'), 0::bigint, 'corrected later');
SELECT pg_temp.same_rows($$ SELECT type, data FROM eventsource.events WHERE category = 'cpz' ORDER BY position DESC LIMIT 1 $$, $$ VALUES ('event_corrected', '{"b": 11}'::jsonb) $$, 'that, too');
SELECT pg_temp.refuses($$ SELECT eventsource.copy_category('cpy', 'cpyy', '{"*": {"data": "''{}''"}}') $$, 'ZE007', 'data does not match version 2 of event type "sent"', 'what does not match the schema');

-- Synthetic events stay so; what a tracked table has written is an event like any other.
CREATE TABLE cpt (id int PRIMARY KEY, a text);
INSERT INTO cpt VALUES (1, 'x');
SELECT eventsource.track_table('cpt', 'cpt') IS NULL AS n \gset
SELECT eventsource.backfill('cpt') AS n \gset
UPDATE cpt SET a = 'y';
SELECT is(eventsource.copy_category('cpt', 'cps'), (SELECT count(*) FROM eventsource.events WHERE category = 'cpt'), 'a tracked table''s events');
SELECT pg_temp.same_rows($$ SELECT key, type, data, is_synthetic FROM eventsource.events WHERE category = 'cps' ORDER BY position $$,
	$$ SELECT key, type, data, is_synthetic FROM eventsource.events WHERE category = 'cpt' ORDER BY position $$, 'as they are');
SELECT is_empty($$ SELECT * FROM eventsource.verify_chain() $$, 'the chain verifies');

-- Restored in part: nothing is copied twice.
BEGIN;
SELECT eventsource.allow_maintenance('test') \g /dev/null
ALTER TABLE eventsource.projection_cursor DISABLE TRIGGER ALL;
DELETE FROM eventsource.projection_cursor WHERE name = 'category_copy.cpz';
SELECT pg_temp.refuses($$ SELECT eventsource.copy_category('cpy', 'cpz') $$, '55000', 'the progress of the copy to category "cpz" is lost', 'no progress');
ROLLBACK;

-- Whose rights.
CREATE ROLE copy_admin;
SELECT eventsource.grant_admin('copy_admin') IS NULL AS n \gset
CREATE ROLE copy_writer;
SELECT eventsource.grant_writer('copy_writer') IS NULL AS n \gset
SET ROLE copy_writer;
SELECT throws_ok($$ SELECT eventsource.copy_category('cpe', 'cpg') $$, '42501', NULL, 'not for a writer');
SELECT is((SELECT count(*) > 0 FROM eventsource.category_copies), true, 'who may look');
SET ROLE copy_admin;
SELECT is(eventsource.copy_category('cpe', 'cpg', '{"made": {"data": "event.data || jsonb_build_object(''b'', 2)"}}'), 1::bigint, 'an admin copies');
RESET ROLE;
SELECT is((SELECT owner FROM eventsource.category_copies WHERE to_category = 'cpg'), 'copy_admin', 'and owns the copy');
SELECT count(*) AS n FROM eventsource.append('cpe-1', 'made') \gset
SELECT eventsource.create_category('cpempty') AS n \gset
SELECT pg_temp.refuses($$ SELECT eventsource.copy_category('cpempyt', 'cpx') $$, '42704', 'there is no category "cpempyt"', 'what is not there is not copied');
SELECT matches(pg_temp.refusal($$ SELECT eventsource.copy_category('cpempyt', 'cpx') $$), 'HINT: There are: "cpempty"', 'and what may be meant is named');
SELECT is(eventsource.copy_category('cpempty', 'cpx'), 0::bigint, 'what is declared is');
DROP OWNED BY copy_admin;
DROP ROLE copy_admin;
SELECT pg_temp.refuses($$ SELECT eventsource.copy_category('cpe', 'cpg') $$, '42704', 'the role that began the copy to category "cpg" is gone', 'whose rights are gone');
DROP OWNED BY copy_writer;
DROP ROLE copy_writer;
\i test/own_database_end.sql
