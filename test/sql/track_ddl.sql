\set ECHO none
\i test/helpers.sql
-- A tracked table that is altered.
BEGIN;
SELECT plan(25);
CREATE FUNCTION pg_temp.last(c text, n int DEFAULT 1) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT h FROM (SELECT format('%s %s %s', e.version, e.type, e.data ->> 'changed') AS h, e.position
		FROM eventsource.events e WHERE e.category = c ORDER BY e.position DESC LIMIT n) x ORDER BY position
$$;
CREATE FUNCTION pg_temp.definitions(c text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(e.type, ' ' ORDER BY e.version) FROM eventsource.read_stream('$config-tracking.' || c) e
$$;
CREATE TABLE tkd (id int PRIMARY KEY, name text, n int, agent int, why text, who text);
DO $$ BEGIN PERFORM eventsource.track_table('tkd', 'tkd', event_types => '{"agent": "assigned"}', reason_column => 'why', actor_column => 'who'); END $$;
INSERT INTO tkd VALUES (1, 'a', 1, 1, 'r', 'w');

ALTER TABLE tkd ADD COLUMN extra text DEFAULT 'given';
UPDATE tkd SET n = 2;
SELECT is(pg_temp.last('tkd'), '2 tkd_updated {"n": {"new": 2, "old": 1}}', 'a column that came, with a default');
SELECT is(pg_temp.definitions('tkd'), 'tracking_defined tracking_renewed', 'the definition is renewed');
UPDATE tkd SET extra = 'new';
SELECT is(pg_temp.last('tkd'), '3 tkd_updated {"extra": {"new": "new", "old": "given"}}', 'it is captured');
SELECT is(pg_temp.definitions('tkd'), 'tracking_defined tracking_renewed', 'once');
ALTER TABLE tkd RENAME COLUMN agent TO owner_id;
UPDATE tkd SET owner_id = 2;
SELECT is(pg_temp.last('tkd'), '4 assigned {"owner_id": {"new": 2, "old": 1}}', 'a column that was renamed keeps its event');
ALTER TABLE tkd RENAME COLUMN id TO key;
UPDATE tkd SET n = 3;
SELECT is(eventsource.stream_version('tkd-1'), 5::bigint, 'so does the key');
ALTER TABLE tkd RENAME COLUMN name TO swap;
ALTER TABLE tkd RENAME COLUMN n TO name;
ALTER TABLE tkd RENAME COLUMN swap TO n;
UPDATE tkd SET n = 'text', name = 4;
SELECT is(pg_temp.last('tkd'), '6 tkd_updated {"n": {"new": "text", "old": "a"}, "name": {"new": 4, "old": 3}}', 'two that changed names');
SELECT results_eq($$SELECT (c ->> 'id')::int, c ->> 'name' FROM eventsource.events e, jsonb_array_elements(e.data -> 'columns') c
	WHERE e.stream = '$config-tracking.tkd' AND e.version = (SELECT max(version) FROM eventsource.events WHERE stream = '$config-tracking.tkd') ORDER BY 1$$,
	$$VALUES (1, 'key'), (2, 'n'), (3, 'name'), (4, 'owner_id'), (5, 'why'), (6, 'who'), (7, 'extra')$$, 'ids stay with columns');
ALTER TABLE tkd DROP COLUMN extra;
ALTER TABLE tkd ADD COLUMN extra int;
UPDATE tkd SET extra = 7;
SELECT is(pg_temp.last('tkd'), '7 tkd_updated {"extra": {"new": 7, "old": null}}', 'dropped, and another of that name');
SELECT is((SELECT (c ->> 'id')::int FROM eventsource.events e, jsonb_array_elements(e.data -> 'columns') c
	WHERE e.stream = '$config-tracking.tkd' AND c ->> 'name' = 'extra' ORDER BY e.version DESC LIMIT 1), 8, 'is another column');
ALTER TABLE tkd ALTER COLUMN name TYPE numeric(10, 2), ALTER COLUMN extra TYPE text;
UPDATE tkd SET name = name + 1;
SELECT is(pg_temp.last('tkd'), '8 tkd_updated {"name": {"new": 5.00, "old": 4.00}}', 'another type');
ALTER TABLE tkd DROP COLUMN why, DROP COLUMN who;
SET LOCAL eventsource.actor = 'setting';
UPDATE tkd SET name = 6;
SELECT is((SELECT actor FROM eventsource.events WHERE stream = 'tkd-1' ORDER BY version DESC LIMIT 1), 'setting', 'without the columns of actor and reason, the settings');
SELECT results_eq($$SELECT reason_column, actor_column, columns FROM eventsource.tracked_tables WHERE category = 'tkd'$$,
	$$VALUES (NULL::name, NULL::name, '{key,n,name,owner_id,extra}'::name[])$$, 'as the view shows it');
ALTER TABLE tkd RENAME TO tkd_renamed;
CREATE SCHEMA tkd_schema;
ALTER TABLE tkd_renamed SET SCHEMA tkd_schema;
CREATE TABLE tkd (id int PRIMARY KEY);
INSERT INTO tkd VALUES (1);
UPDATE tkd_schema.tkd_renamed SET n = 'moved';
SELECT is(pg_temp.last('tkd'), '10 tkd_updated {"n": {"new": "moved", "old": "text"}}', 'renamed and moved, another of its name');
SELECT is((SELECT target::text FROM eventsource.tracked_tables WHERE category = 'tkd'), 'tkd_schema.tkd_renamed', 'the view knows');
ALTER TABLE tkd_schema.tkd_renamed ADD COLUMN g int GENERATED ALWAYS AS (name * 2) STORED;
UPDATE tkd_schema.tkd_renamed SET name = 7;
SELECT is(pg_temp.last('tkd'), '11 tkd_updated {"g": {"new": 14, "old": 12}, "name": {"new": 7.00, "old": 6.00}}', 'a generated column');

-- A column less than capture needs.
ALTER TABLE tkd_schema.tkd_renamed DROP COLUMN key;
SELECT is(split_part(pg_temp.refusal($$UPDATE tkd_schema.tkd_renamed SET n = 'x'$$), E'\n', 1), '42703: a key column of tracked table "tkd_renamed" was dropped', 'the key was dropped');
ALTER TABLE tkd_schema.tkd_renamed ADD PRIMARY KEY (name);
SELECT lives_ok($$SELECT eventsource.track_table('tkd_schema.tkd_renamed', 'tkd')$$, 'tracked by another');
UPDATE tkd_schema.tkd_renamed SET n = 'y';
SELECT is((SELECT stream COLLATE "default" FROM eventsource.events WHERE category = 'tkd' ORDER BY position DESC LIMIT 1), 'tkd-7.00', 'in other streams');

-- Only some columns.
CREATE TABLE tkl (id int PRIMARY KEY, a int, b int);
DO $$ BEGIN PERFORM eventsource.track_table('tkl', 'tkl', columns => '{a}'); END $$;
INSERT INTO tkl VALUES (1, 1, 1);
ALTER TABLE tkl ADD COLUMN c int;
UPDATE tkl SET b = 2, c = 3;
SELECT is(eventsource.stream_version('tkl-1'), 1::bigint, 'a column that was not listed, nor one that came');
-- Rolled back.
SAVEPOINT s;
ALTER TABLE tkl RENAME COLUMN a TO z;
UPDATE tkl SET z = 5;
SELECT is(pg_temp.last('tkl'), '2 tkl_updated {"z": {"new": 5, "old": 1}}', 'renamed');
ROLLBACK TO s;
UPDATE tkl SET a = 6;
SELECT is(pg_temp.last('tkl'), '2 tkl_updated {"a": {"new": 6, "old": 1}}', 'and back');
SELECT is(pg_temp.definitions('tkl'), 'tracking_defined tracking_renewed', 'the definition with it');
-- Dropped, and made again.
DROP TABLE tkl;
SELECT is_empty($$SELECT * FROM eventsource.tracked_tables WHERE category = 'tkl'$$, 'a table that is gone is not listed');
CREATE TABLE tkl (id int PRIMARY KEY, a int);
DO $$ BEGIN PERFORM eventsource.track_table('tkl', 'tkl'); END $$;
INSERT INTO tkl VALUES (1, 1);
SELECT pg_temp.same_rows($$SELECT pg_temp.last('tkl', 2)$$, $$VALUES ('3 tkl_deleted {}'), ('4 tkl_created {"a": {"new": 1}, "id": {"new": 1}}')$$, 'another table in its place: the old row is gone');
SELECT * FROM finish();
ROLLBACK;
