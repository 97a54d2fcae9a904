\set ECHO none
\i test/helpers.sql
-- Reactions: whose rights they have, who is told what, and personal fields.
BEGIN;
SELECT no_plan();

-- What another role is told.
CREATE FUNCTION pg_temp.as_role(role regrole, command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE format('SET LOCAL ROLE %s', role);
	EXECUTE command INTO result;
	RESET ROLE;
	RETURN result;
EXCEPTION WHEN OTHERS THEN
	RESET ROLE;
	RETURN SQLSTATE || ': ' || SQLERRM;
END
$$;
CREATE FUNCTION pg_temp.lines(command text) RETURNS text LANGUAGE sql AS $$
	SELECT split_part(split_part(pg_temp.refusal(command), E'\nDETAIL: ', 2), E'\nHINT: ', 1)
$$;

CREATE ROLE rcr_admin;
CREATE ROLE rcr_writer;
CREATE ROLE rcr_reader;
SELECT eventsource.grant_admin('rcr_admin') \g /dev/null
SELECT eventsource.grant_writer('rcr_writer', '{rcr}') \g /dev/null
SELECT eventsource.grant_reader('rcr_reader') \g /dev/null

-- ---- who defines ----

SELECT is(pg_temp.as_role('rcr_writer', $$ SELECT eventsource.create_reaction('rcr', 'rcr', 'a', action => '{"enqueue": "q"}')::text $$), '42501: permission denied for function create_reaction', 'no writer');
SELECT is(pg_temp.as_role('rcr_admin', $$ SELECT eventsource.create_reaction('rcr', 'rcr', 'a', action => '{"append": "b", "stream": "''rcrsecret-'' || event.key", "data": "event.data"}')::text $$), '1', 'an admin');
SELECT is(pg_temp.as_role('rcr_reader', $$ SELECT owner FROM eventsource.reactions WHERE name = 'rcr' $$), 'rcr_admin', 'whom readers see');

-- The writer needs no right on what follows, which is the definer's.
SELECT is(pg_temp.as_role('rcr_writer', $$ SELECT stream FROM eventsource.append('rcr-1', 'a', '{"x": 1}') $$), 'rcr-1', 'whoever may append what leads to it');
SELECT pg_temp.same_rows($$ SELECT actor, recorded_by, data FROM eventsource.events WHERE stream = 'rcrsecret-1' $$, $$ VALUES ('reaction:rcr', 'rcr_admin', '{"x": 1}'::jsonb) $$, 'is no author of what follows');
SELECT is(pg_temp.as_role('rcr_writer', $$ SELECT stream FROM eventsource.append('rcrsecret-1', 'a') $$), '42501: permission denied for category "rcrsecret"', 'and could not be');
-- One after the other, recorded by each.
SELECT eventsource.create_reaction('rcr_2', 'rcr', 'a', action => '{"append": "c", "stream": "''rcrsecret-'' || event.key"}') \g /dev/null
SELECT count(*) FROM eventsource.append_events('[{"stream": "rcr-7", "type": "a"}, {"stream": "rcr-8", "type": "a"}]') \g /dev/null
SELECT is((SELECT string_agg(type || ' ' || CASE recorded_by WHEN session_user THEN 'me' ELSE recorded_by END, ', ' ORDER BY position) FROM eventsource.events WHERE stream IN ('rcrsecret-7', 'rcrsecret-8')), 'b rcr_admin, c me, b rcr_admin, c me', 'each is recorded by its definer');
SELECT eventsource.drop_reaction('rcr_2') \g /dev/null

-- Rights are asked for again.
SELECT eventsource.revoke_admin('rcr_admin') \g /dev/null
SELECT eventsource.revoke_writer('rcr_admin') \g /dev/null
SELECT eventsource.grant_writer('rcr_admin', '{rcr}') \g /dev/null
SELECT is(pg_temp.as_role('rcr_writer', $$ SELECT stream FROM eventsource.append('rcr-1', 'a') $$), '42501: reaction "rcr" failed on what you may not see', 'a definer who lost his right');
SELECT pg_temp.refuses($$ SELECT eventsource.append('rcr-1', 'a') $$, '42501', 'permission denied for category "rcrsecret"', 'who may read it is told');
SELECT eventsource.revoke_writer('rcr_admin', '{rcr}') \g /dev/null
SELECT eventsource.grant_admin('rcr_admin') \g /dev/null

-- ---- what errors tell ----

CREATE TABLE rcr_row (key text PRIMARY KEY, v text);
SELECT eventsource.create_projection('rcr_row', '{rcr}', '{"put": "v = event.data->>''v''"}') \g /dev/null
SELECT eventsource.create_category('rcr', context => 'rcr_row') \g /dev/null
SELECT eventsource.create_reaction('rcr_cast', 'rcr', 'look', $$ row.v::int > 0 $$, '{"enqueue": "q"}') \g /dev/null
SELECT * FROM eventsource.append('rcr-5', 'put', '{"v": "secret"}') \g /dev/null
SELECT is(split_part(pg_temp.refusal($$ SELECT eventsource.append('rcr-5', 'look') $$), E'\n', 1), '22P02: invalid input syntax for type integer: "secret"', 'told to who may read it');
SELECT eventsource.create_reaction('rcr_far', 'rcrfar', 'go', action => '{"append": "look", "stream": "''rcr-5''"}') \g /dev/null
CREATE ROLE rcr_far;
SELECT eventsource.grant_writer('rcr_far', '{rcrfar}') \g /dev/null
SELECT is(pg_temp.as_role('rcr_far', $$ SELECT stream FROM eventsource.append('rcrfar-1', 'go') $$), '22P02: reaction "rcr_far" failed on what you may not see', 'and to nobody else');
SELECT eventsource.drop_reaction('rcr_far') \g /dev/null

-- Nothing of what is hidden is in other fields of the error: of a reaction further on, of a constraint, of a definition.
CREATE FUNCTION pg_temp.all_told(role regrole, command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	a text; b text; c text; d text; e text; f text; g text; h text; i text; j text;
BEGIN
	EXECUTE format('SET LOCAL ROLE %s', role);
	EXECUTE command;
	RESET ROLE;
	RETURN 'not refused';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS a = RETURNED_SQLSTATE, b = MESSAGE_TEXT, c = PG_EXCEPTION_DETAIL, d = PG_EXCEPTION_HINT,
		e = PG_EXCEPTION_CONTEXT, f = CONSTRAINT_NAME, g = TABLE_NAME, h = COLUMN_NAME, i = SCHEMA_NAME, j = PG_DATATYPE_NAME;
	RESET ROLE;
	RETURN concat_ws(' | ', a, b, c, d, e, f, g, h, i, j);
END
$$;
CREATE TABLE rcr_note (key text PRIMARY KEY, note text CONSTRAINT rcr_short CHECK (length(note) < 30));
SELECT eventsource.create_projection('rcr_note', '{rcrd}', '{"put": "note = event.data->>''note''", "far": "note = ''hunter2 '' || repeat(''x'', 30)"}') \g /dev/null
SELECT eventsource.create_category('rcrd', context => 'rcr_note') \g /dev/null
SELECT eventsource.create_reaction('rcr_k1', 'rcrc', 'go', action => '{"append": "went", "stream": "''rcrd-'' || event.key"}') \g /dev/null
SELECT eventsource.create_reaction('rcr_k2', 'rcrd', 'went', $$ row.note::jsonb ? 'a' $$, '{"enqueue": "q"}') \g /dev/null
SELECT eventsource.create_reaction('rcr_k3', 'rcrc', 'far', action => '{"append": "far", "stream": "''rcrd-'' || event.key"}') \g /dev/null
SELECT eventsource.create_reaction('rcr_k4', 'rcrc', 'farther', action => '{"append": "farther", "stream": "''rcrd-'' || event.key"}') \g /dev/null
SELECT eventsource.create_reaction('rcr_k5', 'rcrd', 'farther', action => '{"append": "far", "stream": "event.stream"}') \g /dev/null
CREATE ROLE rcr_near;
SELECT eventsource.grant_writer('rcr_near', '{rcrc}') \g /dev/null
SELECT * FROM eventsource.append('rcrd-1', 'put', '{"note": "password: hunter2"}') \g /dev/null
CREATE FUNCTION pg_temp.hides(command text, sqlstate text, message text, test text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	told text := pg_temp.all_told('rcr_near', command);
BEGIN
	RETURN NEXT is(left(told, strpos(told, '.') - 1), sqlstate || ' | ' || message || ' | What the error says is told to who may read the categories that the reaction is about', test);
	RETURN NEXT ok(told !~ 'hunter2|rcr_k2|rcr_k5|rcr_note|rcr_short|rcrd|position', test || ': no more than that');
END
$$;
SELECT pg_temp.hides($$ SELECT eventsource.append('rcrc-1', 'go') $$, '22P02', 'reaction "rcr_k1" failed on what you may not see', 'a reaction further on');
SELECT pg_temp.hides($$ SELECT eventsource.append('rcrc-1', 'far') $$, '23514', 'reaction "rcr_k3" failed on what you may not see', 'a constraint of a projection');
SELECT pg_temp.hides($$ SELECT eventsource.append('rcrc-1', 'farther') $$, '23514', 'what follows from a reaction failed on what you may not see', 'a constraint further on');
SELECT matches(pg_temp.refusal($$ SELECT eventsource.append('rcrc-1', 'far') $$), 'rcr_short', 'who may read it is told');
SELECT matches(pg_temp.refusal($$ SELECT eventsource.append('rcrc-1', 'go') $$), 'json', 'all of it');

-- Whoever reads the row of a table must have been let to.
REVOKE ALL ON rcr_row FROM PUBLIC;
SELECT is(pg_temp.as_role('rcr_admin', $$ SELECT eventsource.create_reaction('rcr_r', 'rcr', 'r', 'row.v IS NOT NULL', '{"enqueue": "q"}')::text $$), '42501: permission denied for table rcr_row', 'no row for who may not read its table');
GRANT SELECT ON rcr_row TO rcr_admin;
SELECT is(pg_temp.as_role('rcr_admin', $$ SELECT eventsource.create_reaction('rcr_r', 'rcr', 'r', 'row.v IS NOT NULL', '{"enqueue": "q"}')::text $$), '1', 'but for who may');

-- ---- whose they are ----

CREATE ROLE rcr_boss;
SELECT eventsource.grant_admin('rcr_boss') \g /dev/null
SELECT is(pg_temp.as_role('rcr_admin', $$ SELECT eventsource.create_reaction('rcr_mine', 'rcro', 'a', action => '{"enqueue": "q"}', key => 'event.key')::text $$), '1', 'one of an admin');
SELECT is(pg_temp.as_role('rcr_boss', $$ SELECT eventsource.create_reaction('rcr_mine', 'rcro', 'a', action => '{"enqueue": "q"}')::text $$), '42501: must be owner of reaction "rcr_mine"', 'is not replaced by another one');
SELECT is(pg_temp.as_role('rcr_boss', $$ SELECT eventsource.drop_reaction('rcr_mine', true)::text $$), '42501: must be owner of reaction "rcr_mine"', 'nor dropped');
SELECT is(pg_temp.as_role('rcr_boss', $$ SELECT eventsource.create_reaction('rcr_yours', 'rcro', 'b', action => '{"cancel": "rcr_mine"}', key => 'event.key')::text $$), '42501: must be owner of reaction "rcr_mine"', 'nor is what it scheduled cancelled');
SELECT is(pg_temp.as_role('rcr_boss', $$ SELECT eventsource.create_reaction('rcr_yours', 'rcro', 'b', action => '{"steps": [{"cancel": ["rcr_mine"]}]}', key => 'event.key')::text $$), '42501: must be owner of reaction "rcr_mine"', 'nor in a step');
GRANT rcr_admin TO rcr_boss;
SELECT is(pg_temp.as_role('rcr_boss', $$ SELECT eventsource.create_reaction('rcr_yours', 'rcro', 'b', action => '{"cancel": "rcr_mine"}', key => 'event.key')::text $$), '1', 'a member of the owner may');
SELECT * FROM eventsource.append('rcro-1', 'a') \g /dev/null
SELECT * FROM eventsource.append('rcro-1', 'b') \g /dev/null
SELECT is((SELECT state FROM eventsource.job WHERE reaction = 'rcr_mine'), 'cancelled', 'and it is cancelled');
REVOKE rcr_admin FROM rcr_boss;
SELECT pg_temp.refuses($$ SELECT eventsource.append('rcro-1', 'b') $$, '42501', 'must be owner of reaction "rcr_mine"', 'rights are asked for again');
SELECT eventsource.create_reaction('rcr_mine', 'rcro', 'a', action => '{"enqueue": "q"}', key => 'event.key') \g /dev/null
SELECT is((SELECT owner::text FROM eventsource.reactions WHERE name = 'rcr_mine'), current_user::text, 'a superuser replaces any, and owns it then');
SELECT is(pg_temp.as_role('rcr_admin', $$ SELECT eventsource.drop_reaction('rcr_mine')::text $$), '42501: must be owner of reaction "rcr_mine"', 'whose it was does not drop it');
SELECT eventsource.drop_reaction('rcr_mine') \g /dev/null
SELECT is(pg_temp.as_role('rcr_admin', $$ SELECT eventsource.create_reaction('rcr_mine', 'rcro', 'a', action => '{"enqueue": "q"}')::text $$), '4', 'the name of one that was dropped is free');
SELECT is(pg_temp.as_role('rcr_boss', $$ SELECT stream FROM eventsource.append('rcro-1', 'b') $$), '42501: must be owner of reaction "rcr_mine"', 'but not what a new owner makes of it');
SELECT eventsource.drop_reaction('rcr_yours') \g /dev/null
-- A role that is gone leaves what it defined to who comes after.
CREATE ROLE rcr_gone;
SELECT eventsource.grant_admin('rcr_gone') \g /dev/null
SELECT is(pg_temp.as_role('rcr_gone', $$ SELECT eventsource.create_reaction('rcr_left', 'rcro', 'c', action => '{"enqueue": "q"}')::text $$), '1', 'one whose definer goes');
DROP OWNED BY rcr_gone;
DROP ROLE rcr_gone;
SELECT is(pg_temp.as_role('rcr_boss', $$ SELECT eventsource.drop_reaction('rcr_left')::text $$), '', 'is dropped by any admin');

-- ---- personal fields ----

SELECT eventsource.register_event_type('ordered', pii => '{"email": "hash"}') \g /dev/null
SELECT is(pg_temp.lines($$ SELECT eventsource.create_reaction('rcr_p', 'rcrp', 'ordered', action => '{"enqueue": "q", "payload": "jsonb_build_object(''to'', event.data->''email'')"}') $$),
	'payload: cannot see personal field "email"; whoever works off the job reads it in the event', 'not in payloads');
SELECT is(pg_temp.lines($$ SELECT eventsource.create_reaction('rcr_p', 'rcrp', '*', $c$ event.data->>'email' <> '' $c$, '{"enqueue": "q"}', key => $c$ event.data->>'email' $c$) $$),
	E'condition: cannot see personal field "email"; whoever works off the job reads it in the event\nkey: cannot see personal field "email"; whoever works off the job reads it in the event', 'nor in conditions and keys');
SELECT eventsource.create_reaction('rcr_p', 'rcrp', 'ordered', action => '{"enqueue": "q"}') \g /dev/null
SELECT * FROM eventsource.append('rcrp-1', 'ordered', '{"email": "joe@example.com", "n": 1}') \g /dev/null
SELECT is((SELECT payload FROM eventsource.job WHERE stream = 'rcrp-1'), '{"n": 1}'::jsonb, 'a payload is without them');
SELECT eventsource.create_reaction('rcr_p2', 'rcrp', 'sent', action => '{"enqueue": "q", "payload": "jsonb_build_object(''to'', event.data->''phone'')"}') \g /dev/null
SELECT is(pg_temp.lines($$ SELECT eventsource.register_event_type('sent', pii => '{"phone": "hash"}') $$), 'pii: reaction "rcr_p2", payload: cannot see personal field "phone"; whoever works off the job reads it in the event', 'nor becomes personal what one reads');
CREATE TABLE rcr_mail (key text PRIMARY KEY, email text);
SELECT eventsource.create_projection('rcr_mail', '{rcrm}', '{"ordered": "email = event.data->>''email''"}') \g /dev/null
SELECT eventsource.create_category('rcrm', context => 'rcr_mail') \g /dev/null
SELECT is(pg_temp.lines($$ SELECT eventsource.create_reaction('rcr_m', 'rcrm', 'b', action => '{"enqueue": "q", "payload": "to_jsonb(row.email)"}') $$), 'payload: cannot see columns of row that are made of personal fields', 'nor columns of row');

SELECT * FROM finish();
ROLLBACK;
