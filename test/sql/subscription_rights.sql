\set ECHO none
\i test/helpers.sql
-- Who may poll, acknowledge, redrive, define and drop; with whose rights a filter runs; the tables of progress.
SELECT count(eventsource.append('subr-1', 'x', to_jsonb(n))) AS done FROM generate_series(1, 3) n \gset
BEGIN;
SELECT plan(66);

CREATE ROLE sub_owner;
CREATE ROLE sub_other;
CREATE ROLE sub_team;
CREATE ROLE sub_consumer IN ROLE sub_team;
CREATE ROLE sub_reader;
SELECT eventsource.grant_admin('sub_owner') IS NULL AS done \gset
SELECT eventsource.grant_admin('sub_other') IS NULL AS done \gset
SELECT eventsource.grant_reader('sub_consumer') IS NULL AS done \gset
SELECT eventsource.grant_reader('sub_reader') IS NULL AS done \gset

CREATE FUNCTION pg_temp.as_role(role text, command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', role);
	BEGIN
		EXECUTE command;
		RAISE 'undo' USING ERRCODE = 'ZZ999';
	EXCEPTION WHEN SQLSTATE 'ZZ999' THEN
		RESET ROLE;
		RETURN 'done';
	WHEN OTHERS THEN
		RESET ROLE;
		RETURN SQLSTATE;
	END;
END
$$;

SET LOCAL ROLE sub_owner;
SELECT eventsource.create_subscription('rights', ARRAY['subr'], consumers => 'sub_team', max_attempts => 1) AS done \gset
SELECT eventsource.nack('rights', (SELECT min(position) FROM eventsource.events WHERE category = 'subr'), 'bad') IS NULL AS done \gset
RESET ROLE;

CREATE TEMP TABLE command (kind text, command text);
INSERT INTO command VALUES
	('consume', $$ SELECT * FROM eventsource.poll('rights') $$),
	('consume', $$ SELECT eventsource.wait_for_events('rights', '0') $$),
	('consume', $$ SELECT eventsource.redrive('rights', p.position) FROM eventsource.parked_events p WHERE p.subscription = 'rights' $$),
	('consume', $$ SELECT eventsource.discard('rights', p.position, 'x') FROM eventsource.parked_events p WHERE p.subscription = 'rights' $$),
	('consume', $$ SELECT eventsource.redrive('rights', p.position), (SELECT eventsource.ack('rights', position, 'c') FROM eventsource.poll('rights', 1, 'c')) FROM eventsource.parked_events p WHERE p.subscription = 'rights' $$),
	('own', $$ SELECT eventsource.reset_subscription('rights') $$),
	('own', $$ SELECT eventsource.create_subscription('rights', ARRAY['subr']) $$),
	('own', $$ SELECT eventsource.drop_subscription('rights') $$),
	('read', $$ SELECT * FROM eventsource.subscriptions $$),
	('read', $$ SELECT * FROM eventsource.subscription_partitions $$),
	('read', $$ SELECT * FROM eventsource.parked_events $$);

SELECT is(pg_temp.as_role(role, command), CASE WHEN role = 'sub_owner' OR kind = 'read' OR kind = 'consume' AND role = 'sub_consumer' THEN 'done' ELSE '42501' END, role || ':' || command)
  FROM unnest(ARRAY['sub_owner', 'sub_other', 'sub_consumer', 'sub_reader']) AS role, command;
SELECT pg_temp.refuses($$ SET LOCAL ROLE sub_other; SELECT eventsource.poll('rights') $$, '42501', 'permission denied for subscription "rights"', 'an administrator who is no consumer');
RESET ROLE;
SELECT pg_temp.refuses($$ SET LOCAL ROLE sub_other; SELECT eventsource.drop_subscription('rights') $$, '42501', 'must be owner of subscription "rights"', 'and not the owner');
RESET ROLE;

-- Whom the owner lets in is known by more than the name.
ALTER ROLE sub_team RENAME TO sub_renamed;
SELECT is(pg_temp.as_role('sub_consumer', $$ SELECT * FROM eventsource.poll('rights') $$), 'done', 'a renamed role is the same');
CREATE ROLE sub_team;
GRANT sub_team TO sub_reader;
SELECT is(pg_temp.as_role('sub_reader', $$ SELECT * FROM eventsource.poll('rights') $$), '42501', 'one that took its name is not');

-- A filter has the rights of who defined it, whoever polls.
GRANT USAGE ON SCHEMA public TO PUBLIC;
CREATE FUNCTION public.sub_check(integer) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN IF current_user <> 'sub_owner' THEN RAISE 'as %', current_user; END IF; RETURN true; END $$;
SET LOCAL ROLE sub_owner;
SELECT eventsource.create_subscription('spy', ARRAY['subr'], 'public.sub_check(event.version::int)', consumers => 'sub_renamed') AS done \gset
RESET ROLE;
SELECT is(pg_temp.as_role('sub_consumer', $$ SELECT * FROM eventsource.poll('spy') $$), 'done', 'polled by a consumer');
SELECT is((SELECT count(*) FROM eventsource.poll('spy')), 3::bigint, 'and by a superuser');
SELECT is(error, NULL, 'looked at in the view') FROM eventsource.subscriptions WHERE name = 'spy';

-- Its owner may be gone.
CREATE ROLE sub_gone;
SELECT eventsource.grant_admin('sub_gone') IS NULL AS done \gset
SET LOCAL ROLE sub_gone;
SELECT eventsource.create_subscription('orphan', ARRAY['subr'], 'event.version > 1', consumers => 'sub_renamed') AS done \gset
RESET ROLE;
DROP OWNED BY sub_gone;
DROP ROLE sub_gone;
SELECT pg_temp.refuses($$ SELECT eventsource.poll('orphan') $$, '42704', 'owner of subscription "orphan" does not exist any more', 'a filter has nobody''s rights then');
SELECT is(error, 'owner of subscription "orphan" does not exist any more', 'and the view tells') FROM eventsource.subscriptions WHERE name = 'orphan';
SELECT is(pg_temp.as_role('sub_other', $$ SELECT eventsource.drop_subscription('orphan') $$), 'done', 'any administrator may drop it');
SELECT is(pg_temp.as_role('sub_other', $$ SELECT * FROM eventsource.poll('orphan') $$), '42501', 'but not poll');
SELECT is(eventsource.create_subscription('orphan', ARRAY['subr'], 'event.version > 1') * 100 + (SELECT count(*) FROM eventsource.poll('orphan')), 202::bigint, 'or define it anew');

-- Nobody writes progress by hand.
SELECT pg_temp.refuses(command, 'ZE001', split_part(command, ' ', 1) || ' on "eventsource.' || t || '" is not allowed', command)
  FROM unnest(ARRAY['subscription_cursor', 'subscription_parked']) AS t,
	unnest(ARRAY[format('DELETE FROM eventsource.%I', t), format('UPDATE eventsource.%I SET position = 0', t), format('TRUNCATE eventsource.%I', t)]) AS command;
SELECT is(pg_temp.as_role(role, format('SELECT * FROM eventsource.%I', t)), '42501', role || ' does not read ' || t)
  FROM unnest(ARRAY['sub_owner', 'sub_reader']) AS role, unnest(ARRAY['subscription_cursor', 'subscription_parked']) AS t;

SELECT * FROM finish();
ROLLBACK;
