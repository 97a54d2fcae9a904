\set ECHO none
\i test/helpers.sql
-- Foreign keys, triggers of users, and what they see.
BEGIN;
SELECT plan(21);
CREATE TABLE pos (p bigint);
CREATE FUNCTION pg_temp.mark() RETURNS void LANGUAGE sql AS $$ DELETE FROM pos; INSERT INTO pos SELECT coalesce(max(position), 0) FROM eventsource.events $$;
CREATE FUNCTION pg_temp.since(c text) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT format('%s %s', e.stream, replace(e.type, e.category || '_', '')) FROM eventsource.events e WHERE e.category LIKE c AND e.position > (SELECT p FROM pos) ORDER BY e.position
$$;
CREATE TABLE tkca (id int PRIMARY KEY, n int);
CREATE TABLE tkcb (id int PRIMARY KEY, a int REFERENCES tkca ON DELETE CASCADE ON UPDATE CASCADE, n int);
CREATE TABLE tkcc (id int PRIMARY KEY, b int REFERENCES tkcb ON DELETE SET NULL);
CREATE TABLE tkcd (id int PRIMARY KEY, self int REFERENCES tkcd ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED);
DO $$ BEGIN PERFORM eventsource.track_table(t::regclass, t) FROM unnest(ARRAY['tkca', 'tkcb', 'tkcc', 'tkcd']) t; END $$;
INSERT INTO tkca VALUES (1, 1), (2, 1), (3, 1);
INSERT INTO tkcb VALUES (1, 1), (2, 1), (3, 2);
INSERT INTO tkcc VALUES (1, 1), (2, 2), (3, 3);
SELECT pg_temp.mark() \g /dev/null
DELETE FROM tkca WHERE id < 3;
SELECT pg_temp.same_rows($$SELECT pg_temp.since('tkc_')$$, $$VALUES ('tkca-1 deleted'), ('tkca-2 deleted'), ('tkcb-1 deleted'), ('tkcb-2 deleted'), ('tkcb-3 deleted'), ('tkcc-1 updated'), ('tkcc-2 updated'), ('tkcc-3 updated')$$, 'ON DELETE, over three tables, each change once');
INSERT INTO tkcb VALUES (4, 3);
SELECT pg_temp.mark() \g /dev/null
UPDATE tkca SET id = 30;
SELECT pg_temp.same_rows($$SELECT pg_temp.since('tkc_')$$, $$VALUES ('tkca-3 deleted'), ('tkca-30 created'), ('tkcb-4 updated')$$, 'ON UPDATE');
INSERT INTO tkcd VALUES (1, 2), (2, 3), (3, NULL);
SELECT pg_temp.mark() \g /dev/null
DELETE FROM tkcd WHERE id = 3;
SET CONSTRAINTS ALL IMMEDIATE;
SELECT pg_temp.same_rows($$SELECT pg_temp.since('tkc_')$$, $$VALUES ('tkcd-3 deleted'), ('tkcd-2 deleted'), ('tkcd-1 deleted')$$, 'a deferred constraint, of the table itself');
SET CONSTRAINTS ALL DEFERRED;

-- The application reads in the same transaction.
SELECT pg_temp.mark() \g /dev/null
WITH u AS (UPDATE tkca SET n = 2 RETURNING id), i AS (INSERT INTO tkcb VALUES (10, NULL), (11, NULL) RETURNING id)
	SELECT count(*) FROM u, i \g /dev/null
SELECT pg_temp.same_rows($$SELECT pg_temp.since('tkc_') ORDER BY 1$$, $$VALUES ('tkca-30 updated'), ('tkcb-10 created'), ('tkcb-11 created')$$, 'changes in WITH');

-- Triggers of the user: BEFORE changes the row, AFTER looks and appends.
CREATE TABLE tkce (id int PRIMARY KEY, n int, seen bigint, twice int);
CREATE TABLE tkcf (key text PRIMARY KEY, n int NOT NULL DEFAULT 0);
DO $do$ BEGIN PERFORM eventsource.create_projection('tkcf', ARRAY['tkce'], '{"*": "n = row.n + 1"}'); PERFORM eventsource.track_table('tkce', 'tkce'); END $do$;
CREATE FUNCTION pg_temp.before_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.twice := NEW.n * 2; RETURN NEW; END $$;
CREATE TABLE tkcsaw (id int, events bigint, folded int, version bigint);
CREATE FUNCTION tkc_after_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO tkcsaw SELECT NEW.id, (SELECT count(*) FROM eventsource.events WHERE stream = 'tkce-' || NEW.id), (SELECT n FROM tkcf WHERE key = NEW.id::text),
		eventsource.stream_version('tkce-' || NEW.id);
	PERFORM eventsource.append('tkce-' || NEW.id, 'noted');
	RETURN NULL;
END
$$;
CREATE TRIGGER b BEFORE INSERT OR UPDATE ON tkce FOR EACH ROW EXECUTE FUNCTION pg_temp.before_row();
CREATE TRIGGER a AFTER INSERT OR UPDATE ON tkce FOR EACH ROW EXECUTE FUNCTION tkc_after_row();
SELECT pg_temp.mark() \g /dev/null
INSERT INTO tkce VALUES (1, 1), (2, 2);
SELECT pg_temp.same_rows($$SELECT pg_temp.since('tkce')$$, $$VALUES ('tkce-1 created'), ('tkce-1 noted'), ('tkce-2 created'), ('tkce-2 noted')$$, 'an AFTER trigger appends, in order');
SELECT results_eq($$SELECT id, events, folded, version FROM tkcsaw ORDER BY id$$, $$VALUES (1, 1::bigint, 1, 1::bigint), (2, 1, 1, 1)$$, 'and sees the event of its row, and its projection');
SELECT is((SELECT data #>> '{changed,twice,new}' FROM eventsource.events WHERE stream = 'tkce-2' AND version = 1), '4', 'what a BEFORE trigger did is captured');
UPDATE tkce SET n = 3;
SELECT is((SELECT array_agg(n ORDER BY key) FROM tkcf), '{4,4}', 'the projection has it all');
SELECT is_empty($$SELECT * FROM eventsource.verify_projection('tkcf')$$, 'as a replay does');
DROP TRIGGER a ON tkce;

-- A trigger that touches the row again.
CREATE FUNCTION tkc_again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() = 1 THEN
		UPDATE tkce SET seen = coalesce(seen, 0) + 1 WHERE id = NEW.id;
	END IF;
	RETURN NULL;
END
$$;
CREATE TRIGGER a AFTER UPDATE ON tkce FOR EACH ROW EXECUTE FUNCTION tkc_again();
SELECT pg_temp.mark() \g /dev/null
UPDATE tkce SET n = 4;
SELECT pg_temp.same_rows($$SELECT e.stream, string_agg(k, ',' ORDER BY k) FROM eventsource.events e, jsonb_object_keys(e.data -> 'changed') k WHERE e.category = 'tkce' AND e.position > (SELECT p FROM pos) GROUP BY e.stream, e.position ORDER BY e.position$$,
	$$VALUES ('tkce-1', 'n,twice'), ('tkce-1', 'seen'), ('tkce-2', 'n,twice'), ('tkce-2', 'seen')$$, 'touched again by a trigger: two events, in order');

-- One that catches errors, with a subtransaction of its own.
CREATE FUNCTION tkc_catch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	BEGIN
		PERFORM eventsource.append('tkcx-' || NEW.id, 'tried');
		IF NEW.id = 1 THEN
			RAISE division_by_zero;
		END IF;
	EXCEPTION WHEN division_by_zero THEN
	END;
	RETURN NULL;
END
$$;
DROP TRIGGER a ON tkce;
CREATE TRIGGER a AFTER UPDATE ON tkce FOR EACH ROW EXECUTE FUNCTION tkc_catch();
SELECT pg_temp.mark() \g /dev/null
UPDATE tkce SET n = 5;
SELECT pg_temp.same_rows($$SELECT pg_temp.since('tkc%')$$, $$VALUES ('tkce-1 updated'), ('tkce-2 updated'), ('tkcx-2 tried')$$, 'a trigger with a subtransaction');
DROP TRIGGER a ON tkce;

-- A statement inside another.
CREATE FUNCTION tkc_nested(i int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN UPDATE tkca SET n = n + i; RETURN i; END $$;
SELECT pg_temp.mark() \g /dev/null
UPDATE tkce SET seen = 100 + tkc_nested(id);
INSERT INTO eventsource.events (stream, type) SELECT 'tkcx-' || tkc_nested(i), 'by view' FROM generate_series(5, 7) i;
SELECT pg_temp.same_rows($$SELECT pg_temp.since('tkc%')$$, $$VALUES ('tkca-30 updated'), ('tkca-30 updated'), ('tkce-1 updated'), ('tkce-2 updated'), ('tkca-30 updated'), ('tkcx-5 by view'), ('tkca-30 updated'), ('tkcx-6 by view'), ('tkca-30 updated'), ('tkcx-7 by view')$$,
	'nested in an UPDATE, and in an INSERT into the view');

-- Savepoints.
SELECT pg_temp.mark() \g /dev/null
SAVEPOINT a;
UPDATE tkca SET n = 100;
SAVEPOINT b;
UPDATE tkca SET n = 101;
ROLLBACK TO b;
UPDATE tkca SET n = 102;
RELEASE a;
SELECT is((SELECT string_agg(e.data #>> '{changed,n,old}', ' ' ORDER BY position) || ' ' || string_agg(e.data #>> '{changed,n,new}', ' ' ORDER BY position) FROM eventsource.events e WHERE stream = 'tkca-30' AND position > (SELECT p FROM pos)),
	(SELECT e.data #>> '{changed,n,old}' || ' 100 100 102' FROM eventsource.events e WHERE stream = 'tkca-30' AND e.data #>> '{changed,n,new}' = '100'), 'savepoints: what was rolled back is not there');
SELECT is((SELECT count(*) FROM eventsource.read_stream('tkca-30')), eventsource.stream_version('tkca-30'), 'nor are its versions');

-- Inheritance: a child may be tracked, a parent not.
CREATE TABLE tkci (id int PRIMARY KEY, n int);
CREATE TABLE tkcj (PRIMARY KEY (id)) INHERITS (tkci);
SELECT matches(pg_temp.refusal($$SELECT eventsource.track_table('tkci', 'tkci')$$), 'other tables inherit from it', 'a parent');
SELECT lives_ok($$SELECT eventsource.track_table('tkcj', 'tkcj')$$, 'a child');
INSERT INTO tkcj VALUES (1, 1);
SELECT pg_temp.mark() \g /dev/null
UPDATE tkci SET n = 2;
SELECT pg_temp.same_rows($$SELECT pg_temp.since('tkcj')$$, $$VALUES ('tkcj-1 updated')$$, 'written through its parent');

-- Under replica, as a subscriber applies: the triggers are ALWAYS.
SELECT pg_temp.mark() \g /dev/null
SET LOCAL session_replication_role = replica;
UPDATE tkca SET n = 7;
SET LOCAL session_replication_role = origin;
SELECT pg_temp.same_rows($$SELECT pg_temp.since('tkca')$$, $$VALUES ('tkca-30 updated')$$, 'session_replication_role = replica');
SELECT is_empty($$SELECT * FROM eventsource.verify_chain()$$, 'the chain');
SELECT throws_ok($$INSERT INTO tkcb VALUES (99, 999); SET CONSTRAINTS ALL IMMEDIATE$$, '23503', NULL, 'a change that a constraint refuses');
SELECT is(eventsource.stream_version('tkcb-99'), 0::bigint, 'leaves no event');
SELECT * FROM finish();
ROLLBACK;
