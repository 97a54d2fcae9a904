\set ECHO none
\i test/helpers.sql
-- track_table: what is captured, in whose name, and what cannot be tracked.
BEGIN;
SELECT plan(46);

CREATE TABLE trk (id int PRIMARY KEY, name text, agent int, team int, note text, seen timestamptz, why text, who text);
CREATE FUNCTION pg_temp.history(c text) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT format('%s %s %s %s%s%s', e.key, e.version, e.type, e.data -> 'changed',
				  ' by ' || e.actor, ' for ' || e.reason)
	  FROM eventsource.events e WHERE e.category = c ORDER BY e.position
$$;
CREATE FUNCTION pg_temp.last(c text, n int DEFAULT 1) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT h FROM (SELECT h, row_number() OVER () AS i, count(*) OVER () AS c FROM pg_temp.history(c) h) x WHERE i > c - n ORDER BY i
$$;
SET LOCAL eventsource.actor = 'agent:setting';

INSERT INTO trk (id, name) VALUES (1, 'before'), (2, 'untouched'), (3, 'before');
SELECT is(eventsource.track_table('trk', 'trk', event_types => '{"agent": "assigned", "team": "assigned", "note": "noted"}',
	reason_column => 'why', actor_column => 'who', ignore => '{seen}'), 1::bigint, 'the first definition');
SELECT pg_temp.same_rows($$SELECT target, category, key, state_column, reason_column, actor_column, columns, on_violation, owner = current_user
	FROM eventsource.tracked_tables WHERE category = 'trk'$$,
	$$VALUES ('trk'::regclass, 'trk'::text, '{id}'::name[], NULL::name, 'why'::name, 'who'::name,
		'{id,name,agent,team,note,why,who}'::name[], 'refuse'::text, true)$$, 'as the view shows it');

-- One row, one event.
INSERT INTO trk (id, name, who) VALUES (10, 'a', 'agent:joe');
SELECT is(pg_temp.last('trk'), '10 1 trk_created {"id": {"new": 10}, "who": {"new": "agent:joe"}, "name": {"new": "a"}} by agent:joe', 'INSERT');
UPDATE trk SET name = 'b' WHERE id = 10;
SELECT is(pg_temp.last('trk'), '10 2 trk_updated {"name": {"new": "b", "old": "a"}} by agent:setting', 'UPDATE; the setting says who acts');
UPDATE trk SET name = 'c', who = 'agent:ann' WHERE id = 10;
SELECT is(pg_temp.last('trk'), '10 3 trk_updated {"who": {"new": "agent:ann", "old": "agent:joe"}, "name": {"new": "c", "old": "b"}} by agent:ann', 'but the column where it is written');
SET LOCAL eventsource.actor = '';
UPDATE trk SET name = 'd' WHERE id = 10;
SELECT is(pg_temp.last('trk'), '10 4 trk_updated {"name": {"new": "d", "old": "c"}} by agent:ann', 'or where the setting says nothing');
UPDATE trk SET name = 'd', seen = now() WHERE id = 10;
SELECT is(eventsource.stream_version('trk-10'), 4::bigint, 'nothing captured was changed: no event');
UPDATE trk SET agent = 1, note = 'n', team = 2, name = 'e', seen = now(), why = 'moved' WHERE id = 10;
SELECT pg_temp.same_rows($$SELECT pg_temp.last('trk', 2)$$, $$SELECT unnest(ARRAY[
	'10 5 assigned {"why": {"new": "moved", "old": null}, "name": {"new": "e", "old": "d"}, "team": {"new": 2, "old": null}, "agent": {"new": 1, "old": null}} by agent:ann for moved',
	'10 6 noted {"note": {"new": "n", "old": null}} by agent:ann for moved'])$$, 'columns with events of their own, the rest with the first; the reason');
UPDATE trk SET agent = NULL WHERE id = 10;
SELECT is(pg_temp.last('trk'), '10 7 assigned {"agent": {"new": null, "old": 1}} by agent:ann', 'what stands in the reason column from before does not count');
SET LOCAL eventsource.reason = 'because';
UPDATE trk SET agent = 3 WHERE id = 10;
SELECT is(pg_temp.last('trk'), '10 8 assigned {"agent": {"new": 3, "old": null}} by agent:ann for because', 'then the setting does');
SET LOCAL eventsource.reason = '';
DELETE FROM trk WHERE id = 10;
SELECT is(pg_temp.last('trk'), format('10 9 trk_deleted {"id": {"old": 10}, "who": {"old": "agent:ann"}, "why": {"old": "moved"}, "name": {"old": "e"}, "note": {"old": "n"}, "team": {"old": 2}, "agent": {"old": 3}} by %s', session_user), 'DELETE');
INSERT INTO trk (id, name) VALUES (10, 'anew');
SELECT is(pg_temp.last('trk'), format('10 10 trk_created {"id": {"new": 10}, "name": {"new": "anew"}} by %s', session_user), 'and again');
SELECT pg_temp.same_rows($$SELECT DISTINCT recorded_by FROM eventsource.events WHERE category = 'trk'$$, $$SELECT session_user::text$$, 'recorded by the role of the session');
UPDATE trk SET agent = 4, name = 'once' WHERE id = 10;
UPDATE trk SET agent = 5, name = 'twice' WHERE id = 10;
SELECT is(eventsource.stream_version('trk-10'), 12::bigint, 'twice in a transaction');

-- Rows that were there before.
UPDATE trk SET name = 'after' WHERE id = 1;
SELECT pg_temp.same_rows($$SELECT e.version, e.type, e.is_synthetic, e.data -> 'changed' FROM eventsource.read_stream('trk-1') e$$,
	$$VALUES (1::bigint, 'trk_created'::text, true, '{"id": {"new": 1}, "name": {"new": "before"}}'::jsonb),
		(2, 'trk_updated', false, '{"name": {"new": "after", "old": "before"}}')$$, 'a row from before: its genesis first');
DELETE FROM trk WHERE id = 3;
SELECT pg_temp.same_rows($$SELECT e.type, e.is_synthetic FROM eventsource.read_stream('trk-3') e$$,
	$$VALUES ('trk_created'::text, true), ('trk_deleted', false)$$, 'also of one that is deleted');
SELECT is(eventsource.stream_version('trk-2'), 0::bigint, 'what was not touched has no events');

-- A change of the key.
UPDATE trk SET id = 100, name = 'moved', agent = 9 WHERE id = 1;
SELECT pg_temp.same_rows($$SELECT e.stream COLLATE "default", e.version, e.type, e.data FROM eventsource.events e WHERE e.stream IN ('trk-1', 'trk-100') AND e.version + length(e.stream) > 7 ORDER BY e.position$$,
	$$VALUES ('trk-1', 3::bigint, 'trk_deleted'::text, '{"changed": {"id": {"old": 1}, "name": {"old": "after"}}, "key_changed_to": "100"}'::jsonb),
		('trk-100', 1, 'trk_created', '{"changed": {"id": {"new": 100}, "name": {"new": "after"}}, "key_changed_from": "1"}'),
		('trk-100', 2, 'assigned', '{"changed": {"name": {"new": "moved", "old": "after"}, "agent": {"new": 9, "old": null}}}')$$, 'a new key ends one stream and begins another');
UPDATE trk SET id = 101 WHERE id = 100;
SELECT is(eventsource.stream_version('trk-101'), 1::bigint, 'with nothing else changed, one event there');

-- All at once.
SELECT is((SELECT count(*) FROM trk), 3::bigint, 'rows left');
TRUNCATE trk;
SELECT is((SELECT count(*) FROM eventsource.events WHERE category = 'trk' AND type = 'trk_deleted' AND position > (SELECT max(position) FROM eventsource.events WHERE stream = 'trk-101' AND type = 'trk_created')),
	3::bigint, 'TRUNCATE: each row is deleted');
SELECT pg_temp.same_rows($$SELECT type FROM eventsource.read_stream('trk-2')$$, $$VALUES ('trk_created'), ('trk_deleted')$$, 'those from before, too');

-- Untracked, and tracked again.
INSERT INTO trk (id, name, agent) VALUES (20, 'x', 1), (21, 'y', 1), (22, 'z', 1), (23, 'q', 1);
SELECT lives_ok($$SELECT eventsource.untrack_table('trk')$$, 'untrack');
SELECT is_empty($$SELECT * FROM eventsource.tracked_tables WHERE category = 'trk'$$, 'the view does not show it');
SELECT is_empty($$SELECT * FROM pg_trigger WHERE tgrelid = 'trk'::regclass$$, 'no triggers are left');
UPDATE trk SET name = 'unseen', agent = NULL WHERE id = 20;
DELETE FROM trk WHERE id = 21;
DELETE FROM trk WHERE id = 22;
INSERT INTO trk (id, name) VALUES (22, 'other');
SELECT is((SELECT sum(eventsource.stream_version('trk-' || i)) FROM generate_series(20, 23) i), 4::numeric, 'nothing was captured');
SELECT is(eventsource.track_table('trk', 'trk', columns => '{name,agent}'), 3::bigint, 'tracked again, other columns');
SELECT is((SELECT columns FROM eventsource.tracked_tables WHERE category = 'trk'), '{id,name,agent}'::name[], 'the key is captured in any case');
UPDATE trk SET name = 'seen' WHERE id = 20;
SELECT pg_temp.same_rows($$SELECT e.version, e.type, e.is_synthetic, e.data -> 'changed' FROM eventsource.read_stream('trk-20', 2) e$$,
	$$VALUES (2::bigint, 'trk_updated'::text, true, '{"name": {"new": "unseen", "old": "x"}, "agent": {"new": null, "old": 1}}'::jsonb),
		(3, 'trk_updated', false, '{"name": {"new": "seen", "old": "unseen"}}')$$, 'what happened meanwhile, first');
INSERT INTO trk (id, name) VALUES (21, 'back');
SELECT pg_temp.same_rows($$SELECT e.version, e.type, e.is_synthetic FROM eventsource.read_stream('trk-21', 2) e$$,
	$$VALUES (2::bigint, 'trk_deleted'::text, true), (3, 'trk_created', false)$$, 'a row that was deleted meanwhile');
UPDATE trk SET name = 'q2' WHERE id = 23;
SELECT pg_temp.same_rows($$SELECT e.version, e.type, e.is_synthetic FROM eventsource.read_stream('trk-23', 2) e$$,
	$$VALUES (2::bigint, 'trk_updated'::text, false)$$, 'a row that was not touched');

-- Keys.
CREATE TABLE trk2 (a text, b numeric, c text NOT NULL UNIQUE, PRIMARY KEY (b, a));
DO $$ BEGIN PERFORM eventsource.track_table('trk2', 'trk2'); END $$;
INSERT INTO trk2 VALUES ('x,y\z', 1.50, 'c');
SELECT is((SELECT e.key FROM eventsource.events e WHERE category = 'trk2'), '1.50,x\,y\\z', 'several key columns, in the order of the key');
DO $$ BEGIN PERFORM eventsource.untrack_table('trk2'); PERFORM eventsource.track_table('trk2', 'trk3', key => 'c'); END $$;
UPDATE trk2 SET a = '-' WHERE c = 'c';
SELECT is((SELECT string_agg(e.key, ' ') FROM eventsource.events e WHERE category = 'trk3'), 'c c', 'another key than the primary one');

-- What cannot be tracked.
CREATE TABLE trkbad (id int, n int UNIQUE, PRIMARY KEY (id) DEFERRABLE);
SELECT matches(pg_temp.refusal($$SELECT eventsource.track_table('trkbad', 'trkbad', state_column => 'st', event_types => '{"zz": "a", "n": 3, "id": "b"}', ignore => '{id,k}', on_violation => 'maybe')$$),
'^ZE011: table "trkbad" cannot be tracked like this\nDETAIL: the primary key is deferrable: two rows could have one key for a while
state_column: there is no column "st"
ignore: column "id" is the key
ignore: there is no column "k"
event_types: "n": must be the name of an event type
event_types: column "id" is not captured
event_types: "zz" is neither a column nor an edge \(OLD->NEW\)
on_violation: must be ''refuse'' or ''record'', not "maybe"\nHINT', 'all problems at once');
SELECT matches(pg_temp.refusal($$SELECT eventsource.track_table('trkbad', 'trkbad', key => 'n')$$), 'key: column "n" must be NOT NULL', 'a key that may be null');
SELECT matches(pg_temp.refusal($$SELECT eventsource.track_table('trkbad', 'trkbad', key => 'id, zz')$$), 'key: there is no column "zz"', 'a key that is not there');
CREATE TABLE trknokey (id int NOT NULL);
SELECT matches(pg_temp.refusal($$SELECT eventsource.track_table('trknokey', 'trknokey')$$), 'the table has no primary key: name columns that are NOT NULL and unique', 'no key');
SELECT matches(pg_temp.refusal($$SELECT eventsource.track_table('trknokey', 'trknokey', key => 'id')$$), 'key: no unique index that is checked at once has just the columns id', 'no unique key');
CREATE TEMP TABLE trktemp (id int PRIMARY KEY);
SELECT matches(pg_temp.refusal($$SELECT eventsource.track_table('trktemp', 'trktemp')$$), 'the table is temporary', 'temporary');
CREATE UNLOGGED TABLE trkunlogged (id int PRIMARY KEY);
SELECT matches(pg_temp.refusal($$SELECT eventsource.track_table('trkunlogged', 'trkunlogged')$$), 'the table is unlogged', 'unlogged');
CREATE VIEW trkview AS SELECT 1 AS id;
SELECT matches(pg_temp.refusal($$SELECT eventsource.track_table('trkview', 'trkview')$$), 'the target is no table', 'a view');
CREATE TABLE trkproj (key text PRIMARY KEY);
DO $$ BEGIN PERFORM eventsource.create_projection('trkproj', ARRAY['trk'], '{"*": "DELETE"}'); END $$;
SELECT matches(pg_temp.refusal($$SELECT eventsource.track_table('trkproj', 'trkproj')$$), 'the table is a projection', 'a projection');
SELECT matches(pg_temp.refusal($$SELECT eventsource.create_projection('trk', ARRAY['trk'], '{"*": "DELETE"}')$$), 'ZE011.*00_eventsource_capture', 'nor is a tracked table made one');
SELECT matches(pg_temp.refusal($$SELECT eventsource.track_table('eventsource.word', 'trkword')$$), 'the table belongs to the system or to eventsource', 'the log''s own');
SELECT matches(pg_temp.refusal($$SELECT eventsource.track_table('trk', 'trkother')$$), 'the table is tracked as category "trk": untrack it first', 'a table has one category');
SELECT matches(pg_temp.refusal($$SELECT eventsource.track_table('trk2', 'trk')$$), 'category: "trk" is that of table public.trk', 'a category has one table');

-- A second call that forgets what the first one said warns of it.
CREATE TABLE trkwarn (id int PRIMARY KEY, a text, b text);
SELECT eventsource.track_table('trkwarn', 'trkwarn', event_types => '{"a": "a_changed"}', ignore => '{b}') AS done \gset
SELECT eventsource.track_table('trkwarn', 'trkwarn', event_types => '{"a": "a_changed"}', ignore => '{b}') AS done \gset
SELECT eventsource.track_table('trkwarn', 'trkwarn', actor_column => 'b') AS done \gset

SELECT * FROM finish();
ROLLBACK;
