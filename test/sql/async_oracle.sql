\set ECHO none
\set own_database async_oracle
\i test/own_database.sql
-- Async projections of random histories with corrections, followed in steps of random length and then at once, against plain SQL over
-- the log: events up to the cursor, the last correction of each up to the cursor, folded by GROUP BY.
SELECT plan(5);
SELECT setseed(0.7) IS NULL AS done \gset

CREATE TABLE asor_sum (key text PRIMARY KEY, n int NOT NULL DEFAULT 0, total numeric NOT NULL DEFAULT 0, last text);
CREATE TABLE asor_shared (agent text PRIMARY KEY, n int NOT NULL DEFAULT 0, trail text NOT NULL DEFAULT '', latest bigint UNIQUE);
CREATE TABLE asor_line (key text, item text, n int NOT NULL DEFAULT 0, PRIMARY KEY (key, item));
CREATE TABLE asor_trail (key text PRIMARY KEY, trail text NOT NULL DEFAULT '');
SELECT eventsource.create_state_machine('asorstep', $$ {"initial": "A", "states": {
	"A": {"on": {"go": [{"target": "B", "guard": "(event.data->>'amount')::numeric >= 5"}, "C"], "hop": "B"}},
	"B": {"on": {"go": "C", "back": "A", "sit": "B"}},
	"C": {"on": {"go": "A", "back": "B", "sit": "C"}}}, "on": {"note": {}}} $$) AS done, eventsource.create_category('asorstep', 'asorstep') AS done \gset
SELECT eventsource.create_projection('asor_sum', ARRAY['asorfold'], jsonb_build_object(
	'*', $$n = row.n + 1, total = row.total + coalesce((event.data->>'amount')::numeric, 0), last = event.type$$), mode => 'async', settings => '{"max_batch": 3}'),
eventsource.create_projection('asor_shared', ARRAY['asorfold'], jsonb_build_object(
	'done', $$n = row.n + 1, trail = row.trail || (event.data->>'amount'), latest = event.position$$, 'cleared', 'DELETE'),
	key => jsonb_build_object('agent', $$event.data->>'agent'$$), settings => '{"max_batch": 7}'),
eventsource.create_projection('asor_line', ARRAY['asorfold'], jsonb_build_object('done', 'n = row.n + 1'),
	key => jsonb_build_object('key', 'event.key', 'item', $$item #>> '{}'$$), each => $$jsonb_array_elements(event.data->'items')$$, mode => 'async'),
eventsource.create_projection('asor_trail', ARRAY['asorstep'], jsonb_build_object(
	'*', $$trail = row.trail || coalesce(event.from_state, '-') || event.to_state$$), mode => 'async', settings => '{"max_batch": 5}') \g /dev/null

CREATE FUNCTION pg_temp.cursor_of(target regclass) RETURNS bigint LANGUAGE sql STABLE AS $$
	SELECT position FROM eventsource.projection_cursor WHERE name = 'projection.public.' || target $$;
-- The log as corrected up to a position.
CREATE FUNCTION pg_temp.effective(category text, upto bigint) RETURNS TABLE (at bigint, key text, type text, data jsonb) LANGUAGE sql STABLE AS $$
	SELECT e.position, e.key, e.type, CASE WHEN c.type = 'event_corrected' THEN c.data ELSE e.data END
	FROM eventsource.events e
	LEFT JOIN LATERAL (SELECT x.type, x.data FROM eventsource.events x
		WHERE x.stream = e.stream AND x.type IN ('event_corrected', 'event_voided') AND x.metadata -> 'corrects' = to_jsonb(e.position)
			AND x.position <= upto
		ORDER BY x.position DESC LIMIT 1) c ON true
	WHERE e.category = $1 AND e.position <= upto AND e.type NOT IN ('event_corrected', 'event_voided') AND c.type IS DISTINCT FROM 'event_voided'
$$;
CREATE FUNCTION pg_temp.random_data() RETURNS jsonb LANGUAGE sql VOLATILE AS $$
	SELECT jsonb_build_object('agent', (ARRAY['joe', 'ann', 'bob'])[1 + floor(random() * 3)], 'amount', floor(random() * 10),
		'items', (SELECT coalesce(jsonb_agg(floor(random() * 3)), '[]') FROM generate_series(1, floor(random() * 3)::int)))
$$;
CREATE FUNCTION pg_temp.differences() RETURNS bigint LANGUAGE sql AS $$
	SELECT (SELECT count(*) FROM asor_sum t FULL JOIN (SELECT key, count(*)::int AS n, sum(coalesce((data->>'amount')::numeric, 0)) AS total,
			(array_agg(type ORDER BY at DESC))[1] AS last FROM pg_temp.effective('asorfold', pg_temp.cursor_of('asor_sum')) GROUP BY key) o ON to_jsonb(o) = to_jsonb(t)
			WHERE o IS NULL OR t IS NULL)
		+ (WITH e AS (SELECT *, data->>'agent' AS agent FROM pg_temp.effective('asorfold', pg_temp.cursor_of('asor_shared')))
			SELECT count(*) FROM asor_shared t FULL JOIN (SELECT agent, count(*)::int AS n, string_agg(e.data->>'amount', '' ORDER BY e.at) AS trail, max(at) AS latest
			FROM e WHERE type = 'done' AND NOT EXISTS (SELECT FROM e d WHERE d.type = 'cleared' AND d.agent = e.agent AND d.at > e.at)
			GROUP BY 1) o ON to_jsonb(o) = to_jsonb(t) WHERE o IS NULL OR t IS NULL)
		+ (SELECT count(*) FROM asor_line t FULL JOIN (SELECT key, i AS item, count(*)::int AS n
			FROM pg_temp.effective('asorfold', pg_temp.cursor_of('asor_line')), jsonb_array_elements_text(data->'items') i WHERE type = 'done' GROUP BY 1, 2) o
			ON to_jsonb(o) = to_jsonb(t) WHERE o IS NULL OR t IS NULL)
$$;
CREATE TEMP TABLE tally (what text, n int);
CREATE PROCEDURE asor_step(i int) LANGUAGE plpgsql AS $$
DECLARE
	category text := CASE WHEN i % 3 = 0 THEN 'asorstep' ELSE 'asorfold' END;
	name text := category || '-' || floor(random() * 4);
	target bigint := (SELECT e.position FROM eventsource.events e WHERE e.stream = name AND e.type NOT LIKE 'event%' ORDER BY random() LIMIT 1);
BEGIN
	IF target IS NULL OR random() < 0.6 THEN
		PERFORM eventsource.append(name, CASE WHEN category = 'asorstep' THEN (ARRAY['go', 'go', 'hop', 'back', 'sit', 'note'])[1 + floor(random() * 6)]
			WHEN random() < 0.1 THEN 'cleared' ELSE 'done' END, pg_temp.random_data());
	ELSIF random() < 0.6 THEN
		PERFORM eventsource.correct_event(target, pg_temp.random_data(), 'r', 'a');
		INSERT INTO tally VALUES ('corrected ' || category, 1);
	ELSE
		PERFORM eventsource.void_event(target, 'r', 'a');
		INSERT INTO tally VALUES ('voided ' || category, 1);
	END IF;
EXCEPTION WHEN SQLSTATE 'ZE002' OR SQLSTATE 'ZE006' OR object_not_in_prerequisite_state THEN
	NULL;
END
$$;
-- Verification is the second way to compute it, of states as well.
CREATE PROCEDURE asor_run() LANGUAGE plpgsql AS $$
DECLARE
	target regclass := (ARRAY['asor_sum', 'asor_shared', 'asor_line', 'asor_trail'])[1 + floor(random() * 4)];
BEGIN
	INSERT INTO tally SELECT 'run: ' || status, 1 FROM eventsource.run_projections(target, 1 + floor(random() * 12)::bigint);
	INSERT INTO tally VALUES ('differences', pg_temp.differences());
	INSERT INTO tally SELECT 'unverified', count(*) FROM eventsource.verify_projection(target);
END
$$;
DO $$
BEGIN
	FOR i IN 1..300 LOOP
		CALL asor_step(i);
		COMMIT;
		IF i % 4 = 0 THEN
			CALL asor_run();
			COMMIT;
		END IF;
	END LOOP;
	FOR i IN 301..400 LOOP
		CALL asor_step(i);
		COMMIT;
	END LOOP;
	INSERT INTO tally SELECT 'end: ' || status, 1 FROM eventsource.run_projections() WHERE projection::text LIKE 'asor%';
	INSERT INTO tally VALUES ('differences', pg_temp.differences());
	INSERT INTO tally SELECT 'unverified', count(*) FROM eventsource.verify_projection('asor_trail');
END
$$;
SELECT pg_temp.same_rows($$ SELECT what, sum(n) FROM tally WHERE what IN ('differences', 'unverified') GROUP BY what ORDER BY what $$,
	$$ VALUES ('differences', 0), ('unverified', 0) $$, 'rows are what plain SQL makes of the log up to the cursor, after every step');
SELECT pg_temp.same_rows($$ SELECT what, count(*) > 3 FROM tally WHERE what NOT IN ('differences', 'unverified') GROUP BY what ORDER BY what $$,
	$$ VALUES ('corrected asorfold', true), ('corrected asorstep', true), ('end: current', true), ('run: behind', true), ('run: current', true),
		('voided asorfold', true), ('voided asorstep', true) $$, 'there were steps of all kinds, and none failed');
SELECT is((SELECT sum(eventsource.rebuild_projection(t)) FROM unnest('{asor_sum,asor_shared,asor_line,asor_trail}'::regclass[]) t), 0::numeric,
	'a rebuild finds nothing to do');
SELECT is((SELECT count(*) FROM asor_trail), 4::bigint, 'states were followed');
SELECT ok(bool_and(eventsource.drop_projection(t) IS NOT NULL), 'dropped') FROM unnest('{asor_sum,asor_shared,asor_line,asor_trail}'::regclass[]) t;
DROP TABLE asor_sum, asor_shared, asor_line, asor_trail;
DROP PROCEDURE asor_step, asor_run;
\i test/own_database_end.sql
