\set ECHO none
\i test/helpers.sql
-- The past of tracked tables, beside copies of the table made at each moment.
BEGIN;
SELECT plan(44);

CREATE TYPE hist_mood AS ENUM ('sad', 'ok', 'it''s "fine"');
CREATE TYPE hist_pair AS (a int, b text);
CREATE DOMAIN hist_small AS int CHECK (VALUE < 1000);
CREATE TABLE hist_lead (id int PRIMARY KEY, status text, agent text, score int, note text, seen timestamptz);
INSERT INTO hist_lead VALUES (901, 'NEW', 'old hand', 1, 'before tracking', '2020-01-01'), (902, 'NEW', 'old hand', 2, NULL, NULL);
SELECT eventsource.track_table('hist_lead', 'histlead') AS version \gset
SELECT eventsource.set_snapshot_policy('histlead', 4) AS version \gset

CREATE TEMP TABLE copy (at timestamptz, id int, row_data jsonb);
CREATE FUNCTION pg_temp.now_recorded() RETURNS timestamptz LANGUAGE sql AS $$
	SELECT max(e.recorded_at) FROM eventsource.events e WHERE e.category = 'histlead'
$$;
-- Random statements; after each, a copy of what the past can tell: the rows that have events.
CREATE FUNCTION pg_temp.changes(count int, columns text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	what float;
	k int;
BEGIN
	FOR i IN 1..count LOOP
		what := random();
		k := (random() * 15)::int;
		IF what < 0.35 THEN
			EXECUTE format('INSERT INTO hist_lead (id, %s) VALUES (%s, %L, %L) ON CONFLICT DO NOTHING', array_to_string(columns[1:2], ', '), k, 's' || i,
				CASE WHEN random() < 0.7 THEN 'agent ' || (random() * 3)::int END);
		ELSIF what < 0.8 THEN
			EXECUTE format('UPDATE hist_lead SET %I = %L, score = %L WHERE id BETWEEN %s AND %s', columns[1 + (random() * 2)::int],
				CASE WHEN random() < 0.7 THEN 'v' || (random() * 3)::int END, CASE WHEN random() < 0.8 THEN i END, k, k + 2);
		ELSIF what < 0.9 THEN
			DELETE FROM hist_lead WHERE id IN (k, k + 1);
		ELSIF what < 0.95 THEN
			UPDATE hist_lead SET id = id + 100 WHERE id = k AND NOT EXISTS (SELECT FROM hist_lead x WHERE x.id = k + 100);
		ELSE
			INSERT INTO hist_lead (id, score) SELECT n, n FROM generate_series(k, k + 3) n ON CONFLICT (id) DO UPDATE SET score = excluded.score;
		END IF;
		DELETE FROM copy WHERE at = (SELECT pg_temp.now_recorded());
		INSERT INTO copy SELECT (SELECT pg_temp.now_recorded()), l.id, to_jsonb(l) FROM hist_lead l WHERE l.id < 900;
	END LOOP;
END
$$;
SELECT setseed(0.123) IS NULL AS done \gset
SELECT pg_temp.changes(90, ARRAY['status', 'agent', 'note']) IS NULL AS done \gset
CREATE FUNCTION pg_temp.differences(changed text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	m timestamptz;
BEGIN
	FOR m IN SELECT at FROM (SELECT at, row_number() OVER (ORDER BY at DESC) AS n FROM (SELECT DISTINCT at FROM copy) x) y WHERE n % 7 = 1 LOOP
		RETURN QUERY EXECUTE format(
			'(SELECT ''missing '' || (%1$s)::text FROM copy WHERE at = $1 EXCEPT ALL SELECT ''missing '' || to_jsonb(a)::text FROM eventsource.as_of(NULL::hist_lead, $1) a WHERE id < 900)
			 UNION ALL (SELECT ''too many '' || to_jsonb(a)::text FROM eventsource.as_of(NULL::hist_lead, $1) a WHERE id < 900 EXCEPT ALL SELECT ''too many '' || (%1$s)::text FROM copy WHERE at = $1)',
			changed) USING m;
	END LOOP;
END
$$;
SELECT ok(count(DISTINCT at) > 40, 'many moments') FROM copy;
SELECT is_empty($$ SELECT pg_temp.differences('row_data') $$, 'at each moment as_of gives the rows of that moment');
SET LOCAL work_mem = '64kB';
SELECT is_empty($$ SELECT pg_temp.differences('row_data') $$, 'in little memory, too');
RESET work_mem;
SELECT is_empty($$ (TABLE hist_lead EXCEPT ALL SELECT * FROM eventsource.as_of(NULL::hist_lead, 'infinity')) EXCEPT SELECT * FROM hist_lead WHERE id > 900 $$, 'at the end: the table, but for what has no history');
SELECT is_empty($$ SELECT * FROM eventsource.as_of(NULL::hist_lead, 'infinity') EXCEPT ALL TABLE hist_lead $$, 'and nothing else');
SELECT is_empty($$ SELECT DISTINCT c.id FROM copy c WHERE c.id % 6 = 1 AND c.row_data IS DISTINCT FROM (SELECT to_jsonb(a) FROM eventsource.as_of(NULL::hist_lead, c.at, c.id::text) a) $$, 'so it does for each key');
SELECT is_empty($$ SELECT DISTINCT c.id FROM copy c, eventsource.replay('histlead-' || c.id, c.at) r
	WHERE c.id % 6 = 2 AND c.row_data IS DISTINCT FROM jsonb_set(r.row_data, '{seen}', r.row_data->'seen') $$, 'and replay for each stream');
SELECT isnt_empty($$ SELECT * FROM eventsource.snapshots WHERE category = 'histlead' AND row_data IS NOT NULL $$, 'with snapshots');
CREATE TEMP TABLE with_snapshots AS SELECT DISTINCT c.at, c.id, a::text AS told FROM copy c, eventsource.as_of(NULL::hist_lead, c.at, c.id::text) a WHERE c.id % 6 = 3
	UNION SELECT c.at, c.id, r::text FROM copy c, eventsource.replay('histlead-' || c.id, c.at, 'occurred') r WHERE c.id % 6 = 3;
SAVEPOINT s;
SELECT eventsource.drop_snapshots() > 0 AS done \gset
SELECT is_empty($$ SELECT * FROM with_snapshots EXCEPT (SELECT c.at, c.id, a::text FROM copy c, eventsource.as_of(NULL::hist_lead, c.at, c.id::text) a WHERE c.id % 6 = 3
	UNION SELECT c.at, c.id, r::text FROM copy c, eventsource.replay('histlead-' || c.id, c.at, 'occurred') r WHERE c.id % 6 = 3) $$, 'without them the same');
ROLLBACK TO s;
SELECT is_empty($$ SELECT h.version FROM generate_series(0, 20) k, eventsource.row_history('hist_lead', k::text) h, copy c
	WHERE c.id = k AND h.valid_from = c.at AND h.row_data IS DISTINCT FROM c.row_data AND h.valid_to IS DISTINCT FROM c.at $$, 'row_history has the same rows');
SELECT is_empty($$ SELECT h.version FROM generate_series(0, 20) k, eventsource.row_history('hist_lead', k::text) h
	JOIN eventsource.events e ON e.position = h.event_position WHERE h.changed IS DISTINCT FROM e.data->'changed' OR h.type <> e.type $$, 'and what changed as it was recorded');
SELECT results_eq($$ SELECT DISTINCT operation FROM generate_series(0, 20) k, eventsource.row_history('hist_lead', k::text) h ORDER BY 1 $$, ARRAY['delete', 'insert', 'update'], 'what happened to rows');

-- Business time: what else happens to a stream moves its clock, too.
SELECT eventsource.append('histlead-' || k, 'noted', occurred_at => '2030-01-01') FROM generate_series(1, 12, 3) k \g /dev/null
SELECT pg_temp.changes(20, ARRAY['status', 'agent', 'note']) IS NULL AS done \gset
CREATE FUNCTION pg_temp.by_key(at timestamptz) RETURNS SETOF hist_lead LANGUAGE sql AS $$
	SELECT a.* FROM eventsource.streams s, eventsource.as_of(NULL::hist_lead, at, s.key, 'occurred') a WHERE s.category = 'histlead'
$$;
SELECT is_empty($$ SELECT t.at, x.* FROM (SELECT DISTINCT at FROM copy UNION VALUES ('2029-12-31'::timestamptz), ('infinity')) t (at), LATERAL (
	(SELECT * FROM eventsource.as_of(NULL::hist_lead, t.at, basis => 'occurred') EXCEPT ALL SELECT * FROM pg_temp.by_key(t.at))
	UNION ALL (SELECT * FROM pg_temp.by_key(t.at) EXCEPT ALL SELECT * FROM eventsource.as_of(NULL::hist_lead, t.at, basis => 'occurred'))) x
	WHERE NOT isfinite(t.at) OR extract(microseconds FROM t.at)::int % 5 = 0 OR t.at > '2029-01-01' $$, 'occurred: the whole is its rows');
SELECT ok(count(*) > 0, 'some of which are of a later day') FROM (SELECT * FROM eventsource.as_of(NULL::hist_lead, 'infinity', basis => 'occurred')
	EXCEPT SELECT * FROM eventsource.as_of(NULL::hist_lead, '2029-12-31', basis => 'occurred')) x;

-- Periods, beside a window function over the events.
CREATE FUNCTION pg_temp.periods(col text) RETURNS TABLE (row_key text, value text, valid_from timestamptz, valid_to timestamptz, version bigint) LANGUAGE sql AS $$
	WITH said AS (
		SELECT e.key, e.version, e.recorded_at, e.data->'changed'->'id' IS NOT NULL AND NOT e.data->'changed'->'id' ? 'new' AS gone,
			   e.data->'changed'->'id' IS NOT NULL AND NOT e.data->'changed'->'id' ? 'old' AS made, e.data->'changed'->col AS change
		  FROM eventsource.events e WHERE e.category = 'histlead'),
	turn AS (SELECT *, lead(recorded_at) OVER (PARTITION BY key ORDER BY version) AS until FROM said WHERE made OR gone OR change IS NOT NULL)
	SELECT key, change->>'new', recorded_at, until, version FROM turn WHERE NOT gone
$$;
SELECT is_empty(format($$ (SELECT row_key, value, valid_from, valid_to, version FROM eventsource.attribute_periods('hist_lead', %1$L) EXCEPT ALL SELECT * FROM pg_temp.periods(%1$L))
	UNION ALL (SELECT * FROM pg_temp.periods(%1$L) EXCEPT ALL SELECT row_key, value, valid_from, valid_to, version FROM eventsource.attribute_periods('hist_lead', %1$L)) $$, c), 'periods of ' || c)
  FROM unnest(ARRAY['status', 'agent', 'score']) c;
SELECT is_empty($$ SELECT l.id FROM hist_lead l WHERE id < 900 AND NOT EXISTS (SELECT FROM eventsource.attribute_periods('hist_lead', 'agent', l.id::text) p
	WHERE p.is_current AND p.value IS NOT DISTINCT FROM l.agent) $$, 'the current one is what the table says');

-- A row from before: its first change begins a history that says so.
UPDATE hist_lead SET agent = 'new hand' WHERE id = 901;
SELECT pg_temp.same_rows($$ SELECT value, is_current, begins_synthetic, type FROM eventsource.attribute_periods('hist_lead', 'agent', '901') ORDER BY version $$,
	$$ VALUES ('old hand', false, true, 'histlead_created'), ('new hand', true, false, 'histlead_updated') $$, 'no history before');
SELECT pg_temp.same_rows($$ SELECT operation, is_synthetic, row_data->>'note' FROM eventsource.row_history('hist_lead', '901') ORDER BY version $$,
	$$ VALUES ('insert', true, 'before tracking'), ('update', false, 'before tracking') $$, 'and its other columns are known');
SELECT is_empty($$ SELECT * FROM eventsource.as_of(NULL::hist_lead, 'infinity', '902') $$, 'of a row that never changed nothing is known');

-- ALTER TABLE: the past in the columns of today.
ALTER TABLE hist_lead RENAME COLUMN agent TO owner;
ALTER TABLE hist_lead DROP COLUMN note;
ALTER TABLE hist_lead ADD COLUMN extra int DEFAULT 7;
ALTER TABLE hist_lead ADD COLUMN remark text;
ALTER TABLE hist_lead RENAME COLUMN status TO agent;
UPDATE copy SET row_data = row_data - 'status' - 'note' - 'agent' || jsonb_build_object('owner', row_data->'agent', 'agent', row_data->'status', 'extra', 7, 'remark', NULL);
SELECT is_empty($$ SELECT pg_temp.differences('row_data') $$, 'columns renamed, dropped and added: rows of the past have them as today');
SELECT pg_temp.changes(60, ARRAY['agent', 'owner', 'remark']) IS NULL AS done \gset
INSERT INTO hist_lead (id, extra) VALUES (60, NULL);
INSERT INTO copy SELECT (SELECT pg_temp.now_recorded()), l.id, to_jsonb(l) FROM hist_lead l WHERE l.id < 900;
SELECT is_empty($$ SELECT pg_temp.differences('row_data') $$, 'and the changes since');
SELECT is_empty($$ SELECT DISTINCT c.id FROM copy c WHERE c.id % 6 = 1 AND c.row_data IS DISTINCT FROM (SELECT to_jsonb(a) FROM eventsource.as_of(NULL::hist_lead, c.at, c.id::text) a) $$, 'by key, too');
SELECT is_empty($$ SELECT l.id FROM hist_lead l WHERE id < 900 AND NOT EXISTS (SELECT FROM eventsource.attribute_periods('hist_lead', 'owner', l.id::text) p
	WHERE p.is_current AND p.value IS NOT DISTINCT FROM l.owner) $$, 'periods follow a renamed column');
SELECT is((SELECT value FROM eventsource.attribute_periods('hist_lead', 'owner', '901') WHERE begins_synthetic), 'old hand', 'back to its old name');
ALTER TABLE hist_lead ALTER COLUMN score TYPE numeric(10, 2), ALTER COLUMN extra TYPE text;
UPDATE hist_lead SET score = 12.34 WHERE id = 901;
SELECT is_empty($$ (SELECT id, score, extra FROM eventsource.as_of(NULL::hist_lead, 'infinity') WHERE id = 60 OR score = 12.34) EXCEPT SELECT id, score, CASE id WHEN 60 THEN extra END FROM hist_lead $$, 'columns of another type');

-- Every type comes back as it was.
CREATE TABLE hist_zoo (
	a int, b text COLLATE "C", flag bool, small smallint, big bigint, num numeric, num2 numeric(12, 3), f4 real, f8 double precision, money money,
	c char(5), v varchar(9), bytes bytea, d date, t time, tz timetz, ts timestamp, tstz timestamptz, iv interval, u uuid, j json, jb jsonb,
	ints int[], texts text[], matrix int[], mood hist_mood, moods hist_mood[], pair hist_pair, pairs hist_pair[], dom hist_small, r int4range, mr int4multirange,
	net inet, cls regclass, p point, bits bit varying, vec tsvector, x xml, n name, twice int GENERATED ALWAYS AS (a * 2) STORED, ident int GENERATED ALWAYS AS IDENTITY,
	PRIMARY KEY (a, b));
ALTER TABLE hist_zoo DROP COLUMN x;
SELECT eventsource.track_table('hist_zoo', 'histzoo') AS version \gset
INSERT INTO hist_zoo (a, b, flag, small, big, num, num2, f4, f8, money, c, v, bytes, d, t, tz, ts, tstz, iv, u, j, jb, ints, texts, matrix, mood, moods, pair, pairs, dom, r, mr, net, cls, p, bits, vec, n) VALUES
	(1, 'x,y\z', true, -3, 9007199254740993, 1.2300, 5, 0.1, 0.1, 12.34, 'ab', 'cd  ', '\x00ff', '2024-02-29', '23:59:59.999999', '12:00+02', '2024-01-01 00:00:00.000001', '2024-06-01 12:00+02', '1 mon -2 days 03:00', '00000000-0000-0000-0000-000000000001',
		'{"a":  1, "a": 2}', '{"b": [1, {"c": null}], "d": 1.0}', '{1,NULL,3}', ARRAY['a,b', 'NULL', NULL, '"'], '{{1,2},{3,4}}', 'it''s "fine"', '{sad,NULL}', ROW(1, 'x'), ARRAY[ROW(2, NULL)::hist_pair, NULL], 999, '[1,5)', '{[1,2),[5,)}', '10.0.0.1/8', 'pg_class', '(1.5,-2)', B'101', 'a:1 b', 'nom'),
	(2, '', NULL, NULL, NULL, 'NaN', NULL, 'NaN', '-Infinity', NULL, '', '', '', 'infinity', '24:00', '00:00-15:59', '-infinity', 'infinity', '0', NULL, 'null', 'null', '{}', '{}', '[2:3]={7,8}', NULL, NULL, ROW(NULL, NULL), NULL, NULL, 'empty', '{}', '::1', NULL, NULL, B'', '', ''),
	(-3, E'tab\tline\n"quote" ü', false, 32767, -9223372036854775808, 1e-20, -0.001, -0.0, 1e308, -0.01, 'abcde', 'äöü', '\x', '0044-03-15 BC', '00:00', '00:00+00', '0001-01-01 BC', '1900-01-01 00:00+00', '-1 year', 'ffffffff-ffff-ffff-ffff-ffffffffffff',
		'"s"', '"s"', '{2147483647}', '{"", " "}', NULL, 'sad', '{}', NULL, '{}', -5, '(,)', '{(,)}', 'fe80::1', 'hist_zoo', '(0,0)', B'1', '''it''''s''', 'N');
INSERT INTO hist_zoo (a, b) VALUES (4, 'nothing');
CREATE FUNCTION pg_temp.zoo_differences() RETURNS SETOF text LANGUAGE sql AS $$
	(SELECT z::text FROM hist_zoo z EXCEPT ALL SELECT z::text FROM eventsource.as_of(NULL::hist_zoo, 'infinity') z)
	UNION ALL (SELECT z::text FROM eventsource.as_of(NULL::hist_zoo, 'infinity') z EXCEPT ALL SELECT z::text FROM hist_zoo z)
$$;
SELECT is_empty('SELECT pg_temp.zoo_differences()', 'inserted');
UPDATE hist_zoo z SET flag = y.flag, small = y.small, big = y.big, num = y.num, f4 = y.f4, f8 = y.f8, money = y.money, c = y.c, v = y.v, bytes = y.bytes, d = y.d, tz = y.tz, iv = y.iv, jb = y.jb, j = y.j, ints = y.ints,
	matrix = y.matrix, pair = y.pair, pairs = y.pairs, r = y.r, mr = y.mr, vec = y.vec FROM hist_zoo y WHERE y.a = CASE z.a WHEN 1 THEN 2 WHEN 2 THEN -3 WHEN -3 THEN 4 ELSE 1 END;
SELECT is_empty('SELECT pg_temp.zoo_differences()', 'updated');
UPDATE hist_zoo SET texts = ARRAY[repeat('long ', 100000)], bytes = decode(repeat('ff00', 50000), 'hex'), a = 5 WHERE a = 4;
SELECT is_empty('SELECT pg_temp.zoo_differences()', 'toasted, and under another key');
SELECT is_empty($$ SELECT a, b FROM hist_zoo z WHERE NOT EXISTS (SELECT FROM eventsource.as_of(NULL::hist_zoo, 'infinity', (SELECT key FROM eventsource.events e
	WHERE e.category = 'histzoo' AND e.data->'changed'->'a'->>'new' = z.a::text LIMIT 1)) x WHERE x::text = z::text) $$, 'by the key as the stream''s name has it');
SET LOCAL timezone = 'Asia/Kathmandu';
SET LOCAL datestyle = 'German';
SET LOCAL intervalstyle = 'sql_standard';
SET LOCAL extra_float_digits = -10;
SELECT is_empty('SELECT pg_temp.zoo_differences()', 'whatever the session''s settings');
SET LOCAL search_path = pg_catalog;
SELECT pg_catalog.count(*) AS n FROM eventsource.as_of(NULL::public.hist_zoo, 'infinity') z WHERE z.mood IS NOT NULL \gset
RESET ALL;
SET client_min_messages = warning;
SELECT is(:n, 2, 'and its search_path');

-- A machine: its states, and both clocks.
CREATE TABLE hist_door (id text PRIMARY KEY, state text, since date);
SELECT eventsource.create_state_machine('hist_door', '{"create": {"histdoor_created": "OPEN"}, "states": {"OPEN": {"on": {"shut": "SHUT"}}, "SHUT": {"on": {"opened": "OPEN"}}}}') AS version \gset
SELECT eventsource.track_table('hist_door', 'histdoor', state_column => 'state', state_machine => 'hist_door') AS version \gset
INSERT INTO hist_door VALUES ('a', 'OPEN');
UPDATE hist_door SET state = 'SHUT';
SELECT eventsource.append('histdoor-b', 'histdoor_created') IS NULL AS done \gset
SELECT pg_temp.same_rows($$ SELECT state, row_data, version, events FROM eventsource.replay('histdoor-a') $$,
	$$ VALUES ('SHUT', '{"id": "a", "state": "SHUT", "since": null}'::jsonb, 2::bigint, 2::bigint) $$, 'the state and the row');
SELECT is_empty($$ SELECT * FROM eventsource.as_of(NULL::hist_door, 'infinity', 'b') $$, 'an event that no row made makes no row');
DELETE FROM hist_door;
SELECT pg_temp.same_rows($$ SELECT state, row_data FROM eventsource.replay('histdoor-a') $$, 'VALUES (NULL, NULL)', 'nor is there one after its deletion');
INSERT INTO hist_door VALUES ('a', 'OPEN', '2024-01-01');
SELECT pg_temp.same_rows($$ SELECT operation, row_data->>'state' FROM eventsource.row_history('hist_door', 'a') ORDER BY version $$,
	$$ VALUES ('insert', 'OPEN'), ('update', 'SHUT'), ('delete', NULL), ('insert', 'OPEN') $$, 'a row that came back');
SELECT eventsource.untrack_table('hist_door') IS NULL AS done \gset
DELETE FROM hist_door;
SELECT is(since, '2024-01-01'::date, 'the history stays when tracking ends') FROM eventsource.as_of(NULL::hist_door, 'infinity', 'a');

-- Partitioned tables.
CREATE TABLE hist_part (id int, kind text, v int, PRIMARY KEY (id, kind)) PARTITION BY LIST (kind);
CREATE TABLE hist_part_a PARTITION OF hist_part FOR VALUES IN ('a');
CREATE TABLE hist_part_b (v int, kind text NOT NULL, id int NOT NULL);
ALTER TABLE hist_part ATTACH PARTITION hist_part_b FOR VALUES IN ('b');
SELECT eventsource.track_table('hist_part', 'histpart') AS version \gset
INSERT INTO hist_part VALUES (1, 'a', 10), (2, 'b', 20);
UPDATE hist_part SET v = v + 1;
UPDATE hist_part SET kind = 'b' WHERE id = 1;
SELECT pg_temp.same_rows($$ SELECT * FROM eventsource.as_of(NULL::hist_part, 'infinity') ORDER BY id $$, $$ VALUES (1, 'b', 11), (2, 'b', 21) $$, 'rows of all partitions');
SELECT pg_temp.refuses($$ SELECT * FROM eventsource.as_of(NULL::hist_part_a, now()) $$, '42809', 'hist_part_a is tracked as a part of another table', 'one partition has no past of its own');

-- Rights.
CREATE ROLE hist_outsider;
SELECT eventsource.grant_reader('hist_outsider') IS NULL AS done \gset
SET LOCAL ROLE hist_outsider;
SELECT pg_temp.refuses($$ SELECT * FROM eventsource.as_of(NULL::hist_lead, now()) $$, '42501', 'permission denied for table hist_lead', 'as_of needs SELECT');
SELECT pg_temp.refuses($$ SELECT * FROM eventsource.row_history('hist_lead', '1') $$, '42501', 'permission denied for table hist_lead', 'so does row_history');
SELECT pg_temp.refuses($$ SELECT * FROM eventsource.attribute_periods('hist_lead', 'owner') $$, '42501', 'permission denied for table hist_lead', 'and attribute_periods');
SELECT pg_temp.refuses($$ SELECT * FROM eventsource.replay('histlead-1') $$, '42501', 'permission denied for table hist_lead', 'and replay');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
