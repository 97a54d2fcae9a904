\set ECHO none
\i test/helpers.sql
-- compare_projection: what other rules would make of the same events.
BEGIN;
SELECT plan(41);

CREATE TABLE score (id text PRIMARY KEY, points int NOT NULL DEFAULT 0, n int NOT NULL DEFAULT 0);
\set present '{"opened": "points = row.points + 10, n = row.n + 1", "visited": "points = row.points + 5, n = row.n + 1", "gone": "DELETE"}'
\set other '{"opened": "points = row.points + 10, n = row.n + 1", "visited": "points = row.points + CASE WHEN row.n >= 3 THEN 7 ELSE 5 END, n = row.n + 1", "gone": "DELETE"}'
SELECT eventsource.create_projection('score', '{compared}', :'present') AS version \gset
SELECT count(*) FROM (SELECT eventsource.append('compared-' || i % 40,
		(ARRAY['opened', 'visited', 'visited', 'visited', 'visited', 'gone'])[1 + (i * 7 + i / 40 * i % 5) % 6],
		jsonb_build_object('n', i, 'agent', 'a' || i % 3000), occurred_at => '2026-01-01 00:00Z'::timestamptz + i * interval '1 hour')
	FROM generate_series(1, 1200) i) e \gset
CREATE TABLE before AS TABLE score;

SELECT is_empty($$ SELECT * FROM eventsource.compare_projection('score', (SELECT rules FROM eventsource.projections WHERE target = 'score'::regclass)) $$,
	'the rules as they are make no difference');

-- The slow twin: both folds as window functions over lives, which end with "gone".
CREATE FUNCTION twin(since int, until int)
	RETURNS TABLE (id text, current_points int, proposed_points int, event_position bigint) LANGUAGE sql AS $$
	WITH e AS (
		SELECT key, version, position, type,
			   count(*) FILTER (WHERE type = 'gone') OVER (PARTITION BY key ORDER BY version) AS life
		  FROM eventsource.events
		 WHERE category = 'compared' AND (data->>'n')::int BETWEEN since AND until
	), f AS (
		SELECT *, count(*) FILTER (WHERE type <> 'gone') OVER (PARTITION BY key, life ORDER BY version) AS n FROM e
	), g AS (
		SELECT *,
			   sum(CASE type WHEN 'opened' THEN 10 WHEN 'visited' THEN 5 ELSE 0 END) OVER w AS a,
			   sum(CASE type WHEN 'opened' THEN 10 WHEN 'visited' THEN CASE WHEN n > 3 THEN 7 ELSE 5 END ELSE 0 END) OVER w AS b
		  FROM f WINDOW w AS (PARTITION BY key, life ORDER BY version)
	), last AS (
		SELECT DISTINCT ON (key) key, type, a, b FROM g ORDER BY key, version DESC
	)
	SELECT l.key, l.a::int, l.b::int,
		   (SELECT min(g.position) FROM g WHERE g.key = l.key
				AND g.version > coalesce((SELECT max(h.version) FROM g h WHERE h.key = l.key AND (h.a = h.b OR h.type = 'gone')), 0))
	  FROM last l WHERE l.type <> 'gone' AND l.a <> l.b
$$;
SELECT cmp_ok(count(*), '>', 5::bigint, 'other rules do') FROM eventsource.compare_projection('score', :'other');
SELECT pg_temp.same_rows(
	format($$ SELECT row_key->>'id', current->'points', proposed->'points', event_position FROM eventsource.compare_projection('score', %L) ORDER BY 1 $$, :'other'),
	$$ SELECT id, current_points, proposed_points, event_position FROM twin(1, 1200) ORDER BY id COLLATE "C" $$,
	'the rows that differ, and where they parted, as in plain SQL');
SELECT pg_temp.same_rows(
	format($$ SELECT row_key, current FROM eventsource.compare_projection('score', %L) ORDER BY row_key $$, :'other'),
	format($$ SELECT jsonb_build_object('id', id), to_jsonb(s) FROM score s WHERE id IN (SELECT id FROM twin(1, 1200)) ORDER BY 1 $$),
	'current is what the table holds');
-- The same rules in a projection of their own.
CREATE TABLE twin_score (LIKE score INCLUDING ALL);
SELECT eventsource.create_projection('twin_score', '{compared}', :'other') AS version \gset
SELECT pg_temp.same_rows(
	format($$ SELECT row_key->>'id', proposed FROM eventsource.compare_projection('score', %L) ORDER BY 1 $$, :'other'),
	$$ SELECT t.id, to_jsonb(t) FROM twin_score t LEFT JOIN score s USING (id) WHERE s IS DISTINCT FROM (t.id, t.points, t.n)::score ORDER BY t.id COLLATE "C" $$,
	'proposed is what create_projection would make');
SELECT eventsource.drop_projection('twin_score') \g /dev/null

-- Rows that only one side has.
SELECT pg_temp.same_rows(
	$$ SELECT row_key->>'id', current IS NULL, event_position FROM eventsource.compare_projection('score',
		'{"opened": "points = row.points + 10, n = row.n + 1", "visited": "points = row.points + 5, n = row.n + 1"}') WHERE current IS NULL ORDER BY 1 $$,
	$$ SELECT key, true, min(position) FROM eventsource.events e
		WHERE category = 'compared' AND type = 'gone' AND key NOT IN (SELECT id FROM score)
		  AND EXISTS (SELECT FROM eventsource.events f WHERE f.stream = e.stream AND f.version < e.version AND f.type <> 'gone')
		GROUP BY key ORDER BY key COLLATE "C" $$,
	'a row that would still be there parted when it went');
SELECT is(count(*) FILTER (WHERE proposed IS NULL), (SELECT count(*) FROM score), 'one that would not be there')
	FROM eventsource.compare_projection('score', '{"nothing": "n = 1"}');

-- A part of history.
SELECT pg_temp.same_rows(
	format($$ SELECT row_key->>'id', current->'points', proposed->'points', event_position FROM eventsource.compare_projection('score', %L,
		filter => '(event.data->>''n'')::int BETWEEN 200 AND 700') ORDER BY 1 $$, :'other'),
	$$ SELECT id, current_points, proposed_points, event_position FROM twin(200, 700) ORDER BY id COLLATE "C" $$,
	'with a filter, both sides fold what it takes');
SELECT pg_temp.same_rows(
	format($$ SELECT row_key->>'id', current->'points', proposed->'points', event_position FROM eventsource.compare_projection('score', %L,
		since => '2026-01-01 00:00Z'::timestamptz + interval '200 hours', until => '2026-01-01 00:00Z'::timestamptz + interval '701 hours', basis => 'occurred') ORDER BY 1 $$, :'other'),
	$$ SELECT id, current_points, proposed_points, event_position FROM twin(200, 700) ORDER BY id COLLATE "C" $$,
	'between two moments of business time');
SELECT is_empty(format($$ SELECT * FROM eventsource.compare_projection('score', %L, until => '2026-01-01 00:00Z') $$, :'other'),
	'nothing was recorded before 2026 began') WHERE now() > '2026-01-01 00:00Z';
SELECT is(count(*), (SELECT count(*) FROM twin(1, 1200)), 'infinite times take all')
	FROM eventsource.compare_projection('score', :'other', since => '-infinity', until => 'infinity');

-- Touching nothing.
SAVEPOINT reading;
SET TRANSACTION READ ONLY;
SELECT isnt_empty(format($$ SELECT * FROM eventsource.compare_projection('score', %L) $$, :'other'), 'works in a read-only transaction');
ROLLBACK TO reading;
SELECT is_empty($$ (TABLE score EXCEPT ALL TABLE before) UNION ALL (TABLE before EXCEPT ALL TABLE score) $$, 'the table is as it was');
SELECT is(rules, :'present'::jsonb, 'and its definition') FROM eventsource.projections WHERE target = 'score'::regclass;
SELECT is(count(*), 0::bigint, 'no lock that keeps a writer out')
	FROM pg_locks WHERE relation = 'before'::regclass AND mode NOT IN ('AccessShareLock', 'AccessExclusiveLock', 'RowExclusiveLock');

-- Rows that several streams share: all at once, or in as many parts as memory asks for.
CREATE TABLE per_agent (agent text PRIMARY KEY, points int NOT NULL DEFAULT 0, pad text NOT NULL DEFAULT repeat('x', 500));
SELECT eventsource.create_projection('per_agent', '{compared}', '{"visited": "points = row.points + 5", "opened": "points = row.points + 10"}',
	key => $$ {"agent": "event.data->>'agent'"} $$, mode => 'inline') AS version \gset
\set agent_rules '{"visited": "points = row.points + 5 + (event.position % 2)::int", "opened": "points = row.points + 10"}'
CREATE VIEW agent_twin AS
	SELECT data->>'agent' AS agent, sum(CASE type WHEN 'opened' THEN 10 ELSE 5 END) AS a,
		   sum(CASE type WHEN 'opened' THEN 10 ELSE 5 + position % 2 END) AS b,
		   min(position) FILTER (WHERE type = 'visited' AND position % 2 = 1) AS parted
	  FROM eventsource.events WHERE category = 'compared' AND type IN ('opened', 'visited') GROUP BY 1;
SELECT cmp_ok(count(*), '>', 300::bigint, 'many keys differ') FROM agent_twin WHERE a <> b;
SELECT pg_temp.same_rows(
	format($$ SELECT row_key->>'agent', current->'points', proposed->'points', event_position FROM eventsource.compare_projection('per_agent', %L) ORDER BY 1 $$, :'agent_rules'),
	$$ SELECT agent, a, b, parted FROM agent_twin WHERE a <> b ORDER BY agent COLLATE "C" $$,
	'shared rows, key as it is defined now');
SET LOCAL work_mem = '64kB';
SET LOCAL hash_mem_multiplier = 1;
SELECT pg_temp.same_rows(
	format($$ SELECT row_key->>'agent', current->'points', proposed->'points', event_position FROM eventsource.compare_projection('per_agent', %L) ORDER BY 1 $$, :'agent_rules'),
	$$ SELECT agent, a, b, parted FROM agent_twin WHERE a <> b ORDER BY agent COLLATE "C" $$,
	'the same in little memory');
SELECT pg_temp.same_rows(
	format($$ SELECT row_key->>'id', current->'points', proposed->'points', event_position FROM eventsource.compare_projection('score', %L) ORDER BY 1 $$, :'other'),
	$$ SELECT id, current_points, proposed_points, event_position FROM twin(1, 1200) ORDER BY id COLLATE "C" $$,
	'and rows of one stream');
RESET work_mem;
RESET hash_mem_multiplier;

-- Another key, and several rows per event.
SELECT pg_temp.same_rows(
	$$ SELECT count(*) FILTER (WHERE proposed IS NULL), count(*) FILTER (WHERE current IS NULL) FROM eventsource.compare_projection('per_agent',
		'{"visited": "points = row.points + 5", "opened": "points = row.points + 10"}', key => '{"agent": "event.key"}') $$,
	$$ SELECT (SELECT count(*) FROM per_agent), count(DISTINCT key) FROM eventsource.events WHERE category = 'compared' AND type IN ('opened', 'visited') $$,
	'another key: all rows go, others come');
CREATE TABLE line (id text, item text, n int NOT NULL DEFAULT 0, PRIMARY KEY (id, item));
SELECT eventsource.create_projection('line', '{basket}', '{"bought": "n = row.n + 1"}',
	key => '{"id": "event.key", "item": "item"}', each => 'jsonb_array_elements_text(event.data)') AS version \gset
SELECT position AS first FROM eventsource.append('basket-1', 'bought', '["a", "b"]') \gset
SELECT position AS second FROM eventsource.append('basket-1', 'bought', '["b", "c"]') \gset
SELECT pg_temp.same_rows(
	$$ SELECT row_key->>'item', current->'n', proposed->'n', event_position FROM eventsource.compare_projection('line', '{"bought": {"set": "n = row.n + 1", "where": "row.n = 0"}}') $$,
	format($$ VALUES ('b', '2'::jsonb, '1'::jsonb, %s::bigint) $$, :second), 'each stays as it is defined now');
SELECT pg_temp.same_rows(
	$$ SELECT row_key->>'item', current->'n', proposed->'n', event_position FROM eventsource.compare_projection('line', '{"bought": "n = row.n + 1"}',
		each => 'jsonb_array_elements_text(event.data - 0)') ORDER BY 1 $$,
	format($$ VALUES ('a', '1'::jsonb, NULL::jsonb, %s::bigint), ('b', '2', '1', %s) $$, :first, :second), 'or is another');

-- Corrections count on both sides.
CREATE TABLE corrected (id text PRIMARY KEY, points int NOT NULL DEFAULT 0, n int NOT NULL DEFAULT 0);
SELECT eventsource.create_projection('corrected', '{corrected}', '{"*": "points = row.points + (event.data->>''p'')::int, n = row.n + 1"}') AS version \gset
SELECT position AS c1 FROM eventsource.append('corrected-1', 'seen', '{"p": 1}') \gset
SELECT position AS c2 FROM eventsource.append('corrected-1', 'seen', '{"p": 10}') \gset
SELECT position AS c3 FROM eventsource.append('corrected-1', 'seen', '{"p": 100}') \gset
SELECT version AS v FROM eventsource.correct_event(:c1, '{"p": 2}', 'typo', 'agent:joe') \gset
SELECT version AS v FROM eventsource.void_event(:c2, 'twice', 'agent:joe') \gset
SELECT pg_temp.same_rows($$ SELECT current, proposed, event_position FROM eventsource.compare_projection('corrected', '{"*": "points = row.points + 2 * (event.data->>''p'')::int, n = row.n + 1"}') $$,
	format($$ SELECT to_jsonb(c), jsonb_build_object('id', '1', 'n', 2, 'points', 204), %s::bigint FROM corrected c $$, :c1), 'a corrected event counts as corrected, a voided one not');
SELECT is_empty($$ SELECT * FROM eventsource.compare_projection('corrected', '{"*": "n = row.n + 7"}', filter => 'event.type <> ''seen''') $$,
	'corrections themselves never fold');

-- Data that was moved out of line, through the sort.
CREATE TABLE long_data (id text PRIMARY KEY, n int NOT NULL DEFAULT 0, sum text);
SELECT eventsource.create_projection('long_data', '{longdata}', '{"written": "n = row.n + length(event.data->>''text'')"}') AS version \gset
SELECT count(*) FROM (SELECT eventsource.append('longdata-' || i % 3, 'written', jsonb_build_object('text', (SELECT string_agg(md5((i * k)::text), '') FROM generate_series(1, 1000) k)))
	FROM generate_series(1, 9) i) e \gset
SELECT pg_temp.same_rows($$ SELECT row_key->>'id', proposed->'n', proposed->>'sum' FROM eventsource.compare_projection('long_data', '{"written": "n = row.n + length(event.data->>''text''), sum = md5(coalesce(row.sum, '''') || (event.data->>''text''))"}') ORDER BY 1 $$,
	$$ SELECT i % 3, 96000, md5(md5(md5(min(t) FILTER (WHERE i <= 3)) || min(t) FILTER (WHERE i > 3 AND i <= 6)) || min(t) FILTER (WHERE i > 6))
		FROM (SELECT i, (SELECT string_agg(md5((i * k)::text), '') FROM generate_series(1, 1000) k) AS t FROM generate_series(1, 9) i) x GROUP BY 1 ORDER BY (i % 3)::text $$,
	'long data');

-- Refusals.
SELECT matches(pg_temp.refusal($$ SELECT eventsource.compare_projection('score', '{"opened": "points = extract(year from now())::int", "visited": "x = 1", "gone": 5}') $$),
	'(?s)^ZE011: invalid projection of table "score"\nDETAIL: rule "gone": .*\nrule "opened": .*now.*\nrule "visited": .*"x".*\nHINT: ', 'all problems of the rules at once');
SELECT pg_temp.refuses($$ SELECT eventsource.compare_projection('score', '[]') $$, 'ZE011', 'invalid projection of table "score"', 'rules must be an object');
SELECT pg_temp.refuses($$ SELECT eventsource.compare_projection('score', NULL) $$, '22004', 'compare_projection needs a table and rules', 'and not null');
SELECT pg_temp.refuses($$ SELECT eventsource.compare_projection('before', '{"a": "n = 1"}') $$, '42809', 'before is not a projection', 'a table that is no projection');
SELECT pg_temp.refuses($$ SELECT eventsource.compare_projection('score', '{"gone": "DELETE"}', filter => 'row.n = 1') $$, 'ZE011', '"filter" is no valid expression', 'a filter knows the event alone');
SELECT pg_temp.refuses($$ SELECT eventsource.compare_projection('score', '{"gone": "DELETE"}', basis => 'felt') $$, '22023', 'unknown basis "felt"', 'an unknown basis');
SELECT alike(pg_temp.refusal($$ SELECT eventsource.compare_projection('score', '{"gone": "n = 1 / row.n"}') $$), '22012: division by zero%', 'an error of a rule is told as it is');
CREATE FUNCTION pg_temp.context_of(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	context text;
BEGIN
	EXECUTE command;
	RETURN 'not refused';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT;
	RETURN context;
END
$$;
SELECT matches(pg_temp.context_of($$ SELECT eventsource.compare_projection('score', '{"gone": "n = 1 / row.n"}') $$),
	'event "gone" of stream "compared-\d+" \(version \d+\) in projection public.score \(as proposed\)', 'with the event, and whose rules');

-- Whose rights.
CREATE ROLE compare_owner;
CREATE ROLE compare_reader;
SELECT eventsource.grant_reader('compare_reader') IS NULL AS granted \gset
CREATE SCHEMA compared_by AUTHORIZATION compare_reader;
CREATE TABLE named (id text PRIMARY KEY, who text);
SELECT eventsource.create_projection('named', '{compared}', '{"gone": "who = ''nobody''"}') AS version \gset
SET LOCAL ROLE compare_reader;
CREATE FUNCTION compared_by.who(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN current_user; END $$;
CREATE FUNCTION compared_by.become(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN set_config('role', session_user, false); END $$;
CREATE FUNCTION compared_by.done(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS
	$$ BEGIN RETURN (SELECT what || ' ' || (done BETWEEN 0 AND total AND rate >= 0 AND (eta IS NULL) = (done = 0)) || ' ' || total FROM eventsource.progress WHERE pid = pg_backend_pid()); END $$;
SELECT pg_temp.refuses($$ SELECT eventsource.compare_projection('named', '{"gone": "who = compared_by.who(event.type)"}') $$, '42501',
	'permission denied for table named', 'its rows are for those who may read the table');
RESET ROLE;
GRANT SELECT ON named TO compare_reader;
GRANT pg_read_all_stats TO compare_reader;
SET LOCAL ROLE compare_reader;
SELECT is(array_agg(DISTINCT proposed->>'who'), '{compare_reader}', 'proposed expressions have the caller''s rights')
	FROM eventsource.compare_projection('named', '{"gone": "who = compared_by.who(event.type)"}');
SELECT alike(pg_temp.refusal($$ SELECT eventsource.compare_projection('named', '{"gone": "who = compared_by.become(event.type)"}') $$),
	'42501: cannot set parameter "role" within security-restricted operation%', 'and cannot take others');
SELECT is(count(*), 0::bigint, 'a filter likewise') FROM eventsource.compare_projection('named', '{"gone": "who = ''x''"}', filter => 'compared_by.who(event.type) <> ''compare_reader''');
SELECT is(array_agg(DISTINCT proposed->>'who'), ARRAY['compare_projection of public.named true ' || (SELECT count(*) FROM eventsource.events WHERE category = 'compared')],
	'progress is there to see')
	FROM eventsource.compare_projection('named', '{"gone": "who = compared_by.done(event.type)"}');
SELECT pg_stat_clear_snapshot() \g /dev/null
SELECT is_empty('TABLE eventsource.progress', 'and gone when the work is done');
RESET ROLE;
ALTER TABLE named ENABLE ROW LEVEL SECURITY;
SET LOCAL ROLE compare_reader;
SELECT pg_temp.refuses($$ SELECT eventsource.compare_projection('named', '{"gone": "who = ''x''"}') $$, '42501',
	'row security of table named applies to you', 'row security refuses');
RESET ROLE;
SELECT isnt_empty($$ SELECT * FROM eventsource.compare_projection('named', '{"gone": "who = ''x''"}') $$, 'but not to whom it does not apply');

SELECT * FROM finish();
ROLLBACK;
