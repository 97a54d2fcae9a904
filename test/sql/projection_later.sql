\set ECHO none
\i test/helpers.sql
-- What create_projection refuses in a table is refused as well when it comes later: nothing is
-- passed by in silence. Whoever undoes it appends again.
BEGIN;
SELECT plan(30);

CREATE TABLE late (id text PRIMARY KEY, n int DEFAULT 0);
CREATE TABLE parent (id text NOT NULL, n int);
SELECT eventsource.create_projection('late', '{late}', '{"t": "n = row.n + 1", "gone": "DELETE"}') AS version \gset
SELECT is(version, 1::bigint, 'all is well') FROM eventsource.append('late-1', 't');

-- Asserts that an append is refused for a reason, before something is undone and the next one is taken.
CREATE FUNCTION pg_temp.refused_until(command text, undo text, problem text, description text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	refusal text;
BEGIN
	EXECUTE command;
	refusal := pg_temp.refusal($x$ SELECT eventsource.append('late-1', 't') $x$);
	RETURN NEXT is(split_part(refusal, E'\nHINT: ', 1),
		E'ZE011: table public.late can no longer be the target of projection public.late\nDETAIL: ' || problem || '.', description);
	EXECUTE undo;
	RETURN NEXT is(left(pg_temp.refusal($x$ SELECT eventsource.append('late-1', 't') $x$), 11), 'not refused', 'undone');
END
$$;
CREATE FUNCTION noop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
SELECT pg_temp.refused_until('CREATE TABLE child (id text REFERENCES late)', 'DROP TABLE child',
	'foreign keys refer to the table: they would not be checked when a fold deletes a row', 'a foreign key that refers to it');
SELECT pg_temp.refused_until('ALTER TABLE late ADD COLUMN o text REFERENCES late', 'ALTER TABLE late DROP COLUMN o',
	'the table has a foreign key: an event cannot wait for other rows', 'a foreign key of its own');
SELECT pg_temp.refused_until('CREATE TRIGGER mine AFTER INSERT ON late FOR EACH ROW EXECUTE FUNCTION noop()', 'DROP TRIGGER mine ON late',
	'the table has trigger "mine": it would be passed by', 'a trigger');
SELECT pg_temp.refused_until('ALTER TABLE late ENABLE ROW LEVEL SECURITY', 'ALTER TABLE late DISABLE ROW LEVEL SECURITY',
	'the table has row level security: rows would be hidden from verification', 'row level security');
SELECT pg_temp.refused_until('CREATE RULE quiet AS ON DELETE TO late DO INSTEAD NOTHING', 'DROP RULE quiet ON late',
	'the table has rules: they would be passed by', 'a rule');
SELECT pg_temp.refused_until('CREATE TABLE child () INHERITS (late)', 'DROP TABLE child',
	'the table inherits, is inherited from, or is a partition', 'an heir');
SELECT pg_temp.refused_until('ALTER TABLE late INHERIT parent', 'ALTER TABLE late NO INHERIT parent',
	'the table inherits, is inherited from, or is a partition', 'a parent');
SELECT pg_temp.refused_until('ALTER TABLE late ADD CONSTRAINT late_unique UNIQUE (n) DEFERRABLE', 'ALTER TABLE late DROP CONSTRAINT late_unique',
	'constraint "late_unique" is deferrable', 'a constraint that is checked later');
SELECT pg_temp.refused_until('ALTER TABLE late DISABLE TRIGGER eventsource_guard', 'ALTER TABLE late ENABLE ALWAYS TRIGGER eventsource_guard',
	'guard "eventsource_guard" is not enabled ALWAYS: the rows can be changed by hand', 'a guard that is off');
SELECT pg_temp.refused_until('ALTER TABLE late ENABLE TRIGGER eventsource_guard_truncate', 'ALTER TABLE late ENABLE ALWAYS TRIGGER eventsource_guard_truncate',
	'guard "eventsource_guard_truncate" is not enabled ALWAYS: the rows can be changed by hand', 'a guard that is not on ALWAYS');

-- Verification goes on; a rebuild would write.
CREATE TABLE child (id text REFERENCES late);
INSERT INTO child VALUES ('1');
SELECT is(left(pg_temp.refusal($$ SELECT eventsource.append('late-1', 'gone') $$), 5), 'ZE011', 'no row is taken from under a foreign key');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('late') $$, 'verification reads all the same');
SELECT is(left(pg_temp.refusal($$ SELECT eventsource.rebuild_projection('late') $$), 5), 'ZE011', 'a rebuild would write');
DROP TABLE child;
ALTER TABLE late DISABLE TRIGGER ALL;
UPDATE late SET n = 77;
SELECT is(eventsource.rebuild_projection('late'), 1::bigint, 'a rebuild mends what was done without the guard');
DROP TRIGGER eventsource_guard_truncate ON late;
ALTER TABLE late ENABLE ALWAYS TRIGGER eventsource_guard;
SELECT is(pg_temp.refusal($$ SELECT eventsource.append('late-1', 't') $$) LIKE
	'ZE011: table public.late can no longer be the target of projection public.late%a guard is missing%', true, 'a guard that is gone');
SELECT eventsource.drop_projection('late') IS NULL AS dropped \gset
SELECT eventsource.create_projection('late', '{late}', '{"t": "n = row.n + 1", "gone": "DELETE"}') AS version \gset
SELECT is(left(pg_temp.refusal($$ SELECT eventsource.append('late-1', 't') $$), 11), 'not refused', 'defined again, it has both');
SELECT is(left(pg_temp.refusal($$ TRUNCATE late $$), 5), 'ZE010', 'which guard it');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('late') $$, 'nothing was lost meanwhile');
SELECT is(n, 12, 'every event that was taken counts') FROM late;
SELECT * FROM finish();
ROLLBACK;
