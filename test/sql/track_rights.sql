\set ECHO none
\i test/helpers.sql
-- Who may track a table, who may write one, and what nobody can forge.
BEGIN;
SELECT plan(23);
CREATE ROLE tkrt_app;
CREATE ROLE tkrt_owner;
CREATE ROLE tkrt_admin;
CREATE SCHEMA tkrt;
GRANT ALL ON SCHEMA tkrt TO tkrt_owner;
GRANT USAGE ON SCHEMA tkrt TO tkrt_app, tkrt_admin;
DO $$ BEGIN PERFORM eventsource.grant_admin('tkrt_admin'); END $$;
SET LOCAL ROLE tkrt_owner;
CREATE TABLE tkrt.t (id int PRIMARY KEY, n int);
CREATE TABLE tkrt.p (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
GRANT SELECT, INSERT, UPDATE, DELETE ON tkrt.t TO tkrt_app;
SELECT throws_ok($$SELECT eventsource.track_table('tkrt.t', 'tkrt')$$, '42501', NULL, 'an owner without the rights of an admin');
SET LOCAL ROLE tkrt_admin;
SELECT pg_temp.refuses($$SELECT eventsource.track_table('tkrt.t', 'tkrt')$$, '42501', 'must be owner of table t', 'an admin who does not own the table');
RESET ROLE;
GRANT tkrt_owner TO tkrt_admin;
SET LOCAL ROLE tkrt_admin;
SELECT lives_ok($$SELECT eventsource.track_table('tkrt.t', 'tkrt')$$, 'both');
SELECT lives_ok($$SELECT eventsource.track_table('tkrt.p', 'tkrp')$$, 'a partitioned table');

-- The application needs no more rights than before.
SET LOCAL ROLE tkrt_app;
SELECT lives_ok($$INSERT INTO tkrt.t VALUES (1, 1), (2, 2)$$, 'the application inserts');
SELECT lives_ok($$UPDATE tkrt.t SET n = 3$$, 'updates');
SELECT lives_ok($$DELETE FROM tkrt.t WHERE id = 2$$, 'and deletes');
SELECT throws_ok($$SELECT count(*) FROM eventsource.events$$, '42501', NULL, 'without any right on the log');
SELECT throws_ok($$SELECT eventsource.append('tkrt-1', 'forged')$$, '42501', NULL, 'nor to append');
SELECT throws_ok($$CREATE TEMP TABLE x (id int); CREATE TRIGGER x AFTER INSERT ON x FOR EACH ROW EXECUTE FUNCTION eventsource.capture('tkrt')$$, '42501', NULL, 'or to capture');
RESET ROLE;
SELECT pg_temp.same_rows($$SELECT e.stream, e.type, e.recorded_by, e.actor FROM eventsource.events e WHERE category = 'tkrt' ORDER BY position$$,
	format($$VALUES ('tkrt-1', 'tkrt_created', %1$L, %1$L), ('tkrt-2', 'tkrt_created', %1$L, %1$L), ('tkrt-1', 'tkrt_updated', %1$L, %1$L),
		('tkrt-2', 'tkrt_updated', %1$L, %1$L), ('tkrt-2', 'tkrt_deleted', %1$L, %1$L)$$, session_user), 'all was captured, by the role of the session');

-- The owner of a tracked table goes on with it.
SET LOCAL ROLE tkrt_owner;
SELECT lives_ok($$CREATE TABLE tkrt.p1 PARTITION OF tkrt.p FOR VALUES FROM (0) TO (10)$$, 'the owner makes partitions');
SELECT lives_ok($$CREATE TABLE tkrt.p2 (id int NOT NULL PRIMARY KEY, n int); ALTER TABLE tkrt.p ATTACH PARTITION tkrt.p2 FOR VALUES FROM (10) TO (20)$$, 'and attaches them');
SELECT lives_ok($$INSERT INTO tkrt.p VALUES (1, 1), (11, 1); UPDATE tkrt.p SET id = 12 WHERE id = 1; TRUNCATE tkrt.p$$, 'writes them');
SELECT lives_ok($$ALTER TABLE tkrt.t ADD COLUMN more text$$, 'and alters his table');
SET LOCAL ROLE tkrt_app;
SELECT lives_ok($$UPDATE tkrt.t SET n = 4$$, 'which the application writes on');
RESET ROLE;
SELECT is((SELECT data ->> 'owner' FROM eventsource.events WHERE stream = '$config-tracking.tkrt' AND type = 'tracking_renewed'), 'tkrt_owner', 'the definition stays the owner''s');

-- A trigger that somebody who could made on another table.
CREATE TABLE tkrt.forged (id int PRIMARY KEY, n int);
CREATE TRIGGER forged AFTER INSERT ON tkrt.forged FOR EACH ROW EXECUTE FUNCTION eventsource.capture('tkrt');
SELECT pg_temp.refuses($$INSERT INTO tkrt.forged VALUES (1, 1)$$, 'ZE011', 'table "forged" is not the tracked table of category "tkrt"', 'a forged trigger does not write');
DROP TRIGGER forged ON tkrt.forged;
CREATE TRIGGER forged_truncate BEFORE TRUNCATE ON tkrt.forged FOR EACH STATEMENT EXECUTE FUNCTION eventsource.capture('tkrt');
INSERT INTO tkrt.forged VALUES (1, 1);
TRUNCATE tkrt.forged;
CREATE TRIGGER forged BEFORE INSERT ON tkrt.forged FOR EACH ROW EXECUTE FUNCTION eventsource.capture('tkrt');
SELECT pg_temp.refuses($$INSERT INTO tkrt.forged VALUES (1, 1)$$, '39P01', 'eventsource.capture() must be fired AFTER the row', 'one that fires before');
SELECT is((SELECT count(*) FROM eventsource.events WHERE category = 'tkrt'), 6::bigint, 'nothing was forged');
SELECT throws_ok($$SELECT eventsource.capture()$$, '39P01', NULL, 'not to be called');

-- Untracking.
SET LOCAL ROLE tkrt_admin;
SELECT lives_ok($$SELECT eventsource.untrack_table('tkrt.t')$$, 'untracked by who tracked it');
SELECT pg_temp.refuses($$SELECT eventsource.untrack_table('tkrt.t')$$, '42809', 'table "t" is not tracked', 'once');
RESET ROLE;
SELECT * FROM finish();
ROLLBACK;
