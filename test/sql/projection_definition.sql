\set ECHO none
\i test/helpers.sql
-- create_projection tells all that is wrong at once, and leaves nothing behind.
BEGIN;
SELECT plan(56);

CREATE TABLE good (id text PRIMARY KEY, a int, b text);
CREATE TABLE wide (x text, y int, a int, PRIMARY KEY (x, y));

-- DETAIL of the refusal, a line per problem.
CREATE FUNCTION pg_temp.problems(command text) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT regexp_split_to_table(split_part(split_part(pg_temp.refusal(command), E'\nDETAIL: ', 2), E'\nHINT: ', 1), E'\n')
$$;

-- Arguments.
SELECT is(left(pg_temp.refusal($$ SELECT eventsource.create_projection(NULL, '{a}', '{"t": "a = 1"}') $$), 5), '22004', 'no target');
SELECT is(left(pg_temp.refusal($$ SELECT eventsource.create_projection('good', NULL, '{"t": "a = 1"}') $$), 5), '22004', 'no category');
SELECT is(left(pg_temp.refusal($$ SELECT eventsource.create_projection('good', '{a}', NULL) $$), 5), '22004', 'no rules');
SELECT pg_temp.refuses($$ SELECT eventsource.create_projection('good', '{}', '{"t": "a = 1"}') $$, 'ZE011',
	'invalid projection of table "good"', 'no category in the list');
SELECT pg_temp.same_rows($$ SELECT * FROM pg_temp.problems($x$ SELECT eventsource.create_projection('good', '{"",a-b,$config,c,c,NULL}', '{"t": "a = 1"}', mode => 'lazy', settings => '{"x": 1}') $x$) $$,
	$$ VALUES ('category: a name must not be empty'), ('category: "a-b" has a hyphen; a category is what stands before it'),
		('category: "$config" is eventsource''s own'), ('category: "c" is named twice'), ('category: a category must not be null'),
		('mode: must be inline or async, not "lazy"'), ('settings: there is no "x"; there are interval, max_batch and max_lag') $$,
	'names of categories, mode, settings');

-- Rules.
SELECT pg_temp.same_rows($$ SELECT * FROM pg_temp.problems($x$ SELECT eventsource.create_projection('good', '{a}', '[]') $x$) $$,
	$$ VALUES ('rules: must be an object from event types to rules') $$, 'rules that are no object');
SELECT pg_temp.same_rows($$ SELECT * FROM pg_temp.problems($x$ SELECT eventsource.create_projection('good', '{a}', '{}') $x$) $$,
	$$ VALUES ('rules: must name at least one event type, or "*"') $$, 'no rule');
SELECT pg_temp.same_rows($$ SELECT * FROM pg_temp.problems($x$ SELECT eventsource.create_projection('good', '{a}', $y$ {
		"one": "a = nothing(1), b = 2", "two": 5, "three": {"set": "a = row.zzz", "where": "event.data", "missing": "maybe", "colour": 1},
		"four": {"where": "true"}, "five": {"set": "a = 1", "each": "1", "key": {"b": "event.key"}}, "six": {"set": ["a"], "key": []},
		"": "a = 1", "seven": "id = '1'", "*": "a = now()"} $y$) $x$) $$,
	$$ VALUES ('rule "": an event type has 1 to 256 bytes'),
		('rule "*": set: the expression is of type timestamp with time zone, wanted is integer (at character 5 of: a = now()). Cast it: (...)::type.'),
		('rule "one": set: function nothing(integer) does not exist (at character 5 of: a = nothing(1), b = 2). No function matches the given name and argument types. You might need to add explicit type casts.'),
		('rule "six": key must be an object from columns to expressions, not an array'), ('rule "six": set must be a string, not an array'),
		('rule "two": must be a SET list, "DELETE" or an object, not a number'),
		('rule "five": each: "each" must be a set-returning function. For instance: jsonb_array_elements(event.data->''items'').'),
		('rule "five": key has no expression for column "id"'), ('rule "five": key "b" is no column of the primary key'),
		('rule "four": says nothing to set; "DELETE" would delete the row'),
		('rule "seven": column "id" belongs to the primary key: say it in "key"'),
		('rule "three": unknown key "colour" (there are set, key, where, each, missing)'),
		('rule "three": where: the expression is of type jsonb, wanted is boolean (at character 1 of: event.data). Cast it: (...)::type.'),
		('rule "three": set: row has no column "zzz" (at character 5 of: a = row.zzz). row has id, a, b.'),
		('rule "three": missing must be create, skip or error, not "maybe"') $$,
	'every problem of every rule');
SELECT pg_temp.same_rows($$ SELECT * FROM pg_temp.problems($x$ SELECT eventsource.create_projection('wide', '{a}', '{"t": "a = 1"}') $x$) $$,
	$$ VALUES ('rule "t": the primary key has 2 columns: "key" must give an expression for each') $$, 'a wide key must be said');
SELECT pg_temp.same_rows($$ SELECT * FROM pg_temp.problems($x$ SELECT eventsource.create_projection('wide', '{a}', '{"t": "a = 1"}', key => '{"x": "event.data->>''x''", "y": "event.position::int"}', mode => 'inline') $x$) $$,
	$$ VALUES ('rule "t": the key of a row that several streams share cannot depend on event.position or event.hash: it is locked before they are known') $$,
	'a shared key is known before the position');
SELECT pg_temp.same_rows($$ SELECT * FROM pg_temp.problems($x$ SELECT eventsource.create_projection('good', '{a}', '{"t": "a = 1"}', key => '{"id": "row.a::text"}') $x$) $$,
	$$ VALUES ('rule "t": key "id": there is no "row" here (at character 1 of: row.a::text)') $$, 'a key does not depend on the row it finds');
SELECT is(count(*), 0::bigint, 'nothing of all that was defined') FROM eventsource.projections;

-- Tables that cannot be targets.
CREATE SCHEMA faulty;
CREATE TABLE faulty.parent (id text PRIMARY KEY);
CREATE VIEW faulty.a_view AS SELECT * FROM good;
CREATE TABLE faulty.partitioned (id text PRIMARY KEY, a int) PARTITION BY HASH (id);
CREATE TABLE faulty.a_partition PARTITION OF faulty.partitioned FOR VALUES WITH (MODULUS 1, REMAINDER 0);
CREATE TEMP TABLE temporary (id text PRIMARY KEY, a int);
CREATE UNLOGGED TABLE faulty.unlogged (id text PRIMARY KEY, a int);
CREATE TABLE faulty.inherited (id text PRIMARY KEY, a int);
CREATE TABLE faulty.heir (PRIMARY KEY (id)) INHERITS (faulty.inherited);
CREATE TABLE faulty.secured (id text PRIMARY KEY, a int);
ALTER TABLE faulty.secured ENABLE ROW LEVEL SECURITY;
CREATE TABLE faulty.ruled (id text PRIMARY KEY, a int);
CREATE RULE quiet AS ON DELETE TO faulty.ruled DO INSTEAD NOTHING;
CREATE TABLE faulty.keyless (id text, a int);
CREATE TABLE faulty.unique_only (id text UNIQUE NOT NULL, a int);
CREATE TABLE faulty.late_key (id text PRIMARY KEY DEFERRABLE, a int);
CREATE TABLE faulty.late_unique (id text PRIMARY KEY, a int CONSTRAINT late UNIQUE DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE faulty.referring (id text PRIMARY KEY, a text REFERENCES faulty.parent);
CREATE FUNCTION faulty.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TABLE faulty.triggered (id text PRIMARY KEY, a int);
CREATE TRIGGER own BEFORE UPDATE ON faulty.triggered FOR EACH ROW EXECUTE FUNCTION faulty.nothing();
CREATE TABLE faulty.identity (id text PRIMARY KEY, a int GENERATED BY DEFAULT AS IDENTITY);
CREATE TABLE faulty.numbered (id text PRIMARY KEY, a serial);
CREATE TABLE faulty.timed (id text PRIMARY KEY, a int, at timestamptz DEFAULT now(), u uuid DEFAULT gen_random_uuid());
SELECT current_setting('server_version_num')::int >= 180000 AS has_periods \gset
\if :has_periods
CREATE TABLE faulty.period (id int4range, during int4range, a int, PRIMARY KEY (id, during WITHOUT OVERLAPS));
\else
CREATE TABLE faulty.period (LIKE faulty.keyless);
\endif

SELECT is((SELECT string_agg(p, '; ') FROM pg_temp.problems(format(
	$$ SELECT eventsource.create_projection(%L, '{a}', '{"t": "a = NULL"}') $$, target)) p), problem, target || ' is refused')
FROM (VALUES
	('faulty.a_view', 'the target is not an ordinary table (partitioned tables, views and foreign tables cannot be folded into)'),
	('faulty.partitioned', 'the target is not an ordinary table (partitioned tables, views and foreign tables cannot be folded into)'),
	('faulty.a_partition', 'the table inherits, is inherited from, or is a partition'),
	('temporary', 'the table is temporary: it would be gone with this session, the events are not'),
	('faulty.unlogged', 'the table is unlogged: it would be empty after a crash, the events are not'),
	('faulty.inherited', 'the table inherits, is inherited from, or is a partition'),
	('faulty.heir', 'the table inherits, is inherited from, or is a partition'),
	('faulty.secured', 'the table has row level security: rows would be hidden from verification'),
	('faulty.ruled', 'the table has rules: they would be passed by'),
	('faulty.keyless', 'the table has no primary key that is checked at once'),
	('faulty.unique_only', 'the table has no primary key that is checked at once'),
	('faulty.period', CASE WHEN :'has_periods' THEN 'the primary key is no B-tree: it does not find rows by equal keys' ELSE 'the table has no primary key that is checked at once' END),
	('faulty.late_unique', 'constraint "late" is deferrable'),
	('faulty.referring', 'the table has a foreign key: an event cannot wait for other rows'),
	('faulty.parent', 'foreign keys refer to the table: they would not be checked when a fold deletes a row'),
	('faulty.triggered', 'the table has trigger "own": it would be passed by'),
	('faulty.identity', 'column "a" is an identity column: a replay would draw other numbers')) v (target, problem);
SELECT ok(EXISTS (SELECT FROM pg_temp.problems($$ SELECT eventsource.create_projection('faulty.late_key', '{a}', '{"t": "a = 1"}') $$) p WHERE p LIKE '%primary key that is checked at once'),
	'a deferrable key is refused');
SELECT ok(EXISTS (SELECT FROM pg_temp.problems($$ SELECT eventsource.create_projection('faulty.numbered', '{a}', '{"t": "a = 1"}') $$) p WHERE p LIKE 'column "a" has a default that is not deterministic: function nextval(regclass) is not allowed%'),
	'a serial column is refused');
SELECT is(array_agg(split_part(p, '. It', 1)), ARRAY['column "at" has a default that is not deterministic: function now() is not allowed',
	'column "u" has a default that is not deterministic: function gen_random_uuid() is not allowed'], 'defaults are named one by one')
FROM pg_temp.problems($$ SELECT eventsource.create_projection('faulty.timed', '{a}', '{"t": "a = 1"}') $$) p;
SELECT is(left(pg_temp.refusal($$ SELECT eventsource.create_projection('pg_catalog.pg_am', '{a}', '{"t": "amname = ''x''"}') $$), 5), 'ZE011', 'a system table');
SELECT is(left(pg_temp.refusal($$ SELECT eventsource.create_projection('eventsource.log', '{a}', '{"t": "format = 1"}') $$), 5), 'ZE011', 'a table of eventsource''s own');

-- Rights.
CREATE ROLE projection_stranger;
SELECT eventsource.grant_admin('projection_stranger') IS NULL AS granted \gset
SET ROLE projection_stranger;
SELECT pg_temp.refuses($$ SELECT eventsource.create_projection('good', '{a}', '{"t": "a = 1"}') $$, '42501', 'must be owner of table good', 'only an owner defines');
RESET ROLE;
SELECT is(eventsource.create_projection('good', '{a}', '{"t": "a = coalesce(row.a, 0) + 1"}'), 1::bigint, 'the owner does');
SET ROLE projection_stranger;
SELECT pg_temp.refuses($$ SELECT eventsource.drop_projection('good') $$, '42501', 'must be owner of table good', 'only an owner drops');
SELECT pg_temp.refuses($$ SELECT eventsource.rebuild_projection('good') $$, '42501', 'must be owner of table good', 'or rebuilds');
SELECT pg_temp.refuses($$ SELECT * FROM eventsource.verify_projection('good') $$, '42501', 'permission denied for table good', 'who verifies must be able to read');
RESET ROLE;
GRANT SELECT ON good TO projection_stranger;
SET ROLE projection_stranger;
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('good') $$, 'which a grant allows');
RESET ROLE;

-- History there is already; another version; the end.
SELECT is(count(eventsource.append('b-' || i % 3, 't')), 9::bigint, 'history') FROM generate_series(1, 9) i;
CREATE TABLE late (id text PRIMARY KEY, n int DEFAULT 0);
SELECT is(eventsource.create_projection('late', '{b}', '{"t": "n = row.n + 1"}'), 1::bigint, 'a projection made later');
SELECT pg_temp.same_rows('SELECT * FROM late ORDER BY id', $$ VALUES ('0', 3), ('1', 3), ('2', 3) $$, 'has its rows at once');
SELECT is(eventsource.create_projection('late', '{b}', '{"t": "n = row.n + 10"}'), 2::bigint, 'another version of the rules');
SELECT pg_temp.same_rows('SELECT * FROM late ORDER BY id', $$ VALUES ('0', 30), ('1', 30), ('2', 30) $$, 'folds history anew');
SELECT is(count(eventsource.append('b-0', 't')), 1::bigint, 'and what comes');
SELECT is(n, 40, 'by the new rules') FROM late WHERE id = '0';
SELECT eventsource.drop_projection('late') IS NULL AS dropped \gset
SELECT is((SELECT count(*) FROM eventsource.projections WHERE target = 'late'::regclass), 0::bigint, 'a dropped one is gone');
SELECT is(count(eventsource.append('b-0', 't')), 1::bigint, 'events go on');
SELECT is(sum(n), 100::bigint, 'the table stays as it is') FROM late;
UPDATE late SET n = 1 WHERE id = '1';
SELECT pg_temp.refuses($$ SELECT eventsource.drop_projection('late') $$, '42809', 'public.late is not a projection', 'dropping again is an error');
SELECT pg_temp.refuses($$ SELECT eventsource.create_projection('late', '{b}', '{"t": "n = row.n + 10"}') $$, 'ZE011',
	'table public.late already has rows', 'rows that are not the events'' are not overwritten');
UPDATE late SET n = CASE id WHEN '0' THEN 50 ELSE 30 END;
SELECT is(eventsource.create_projection('late', '{b}', '{"t": "n = row.n + 10"}'), 4::bigint, 'unless they are the same');

-- While guards look at it, it stays.
CREATE TABLE ctx (id text PRIMARY KEY, n int DEFAULT 0);
SELECT eventsource.create_projection('ctx', '{c}', '{"t": "n = row.n + 1"}') AS version \gset
SELECT eventsource.create_state_machine('ctx_machine', '{"initial": "ON", "states": {"ON": {"on": {"t": {"target": "ON", "guard": "coalesce(row.n, 0) < 2"}, "off": "OFF"}}, "OFF": {"type": "final"}}}') AS version \gset
SELECT eventsource.create_category('c', state_machine => 'ctx_machine', context => 'ctx') AS version \gset
ALTER TABLE ctx RENAME TO ctx_renamed;
ALTER TABLE ctx_renamed RENAME TO ctx;
SELECT is(count(eventsource.append('c-0', 't')), 2::bigint, 'a guard that counts') FROM generate_series(1, 2);
SELECT is(left(pg_temp.refusal($$ SELECT eventsource.append('c-0', 't') $$), 5), 'ZE005', 'by the row of the projection');
SELECT pg_temp.refuses($$ SELECT eventsource.drop_projection('ctx') $$, '2BP01', 'projection public.ctx is the context of category "c"',
	'a context is not dropped');
SELECT * FROM finish();
ROLLBACK;
