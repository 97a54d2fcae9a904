\set ECHO none
\i test/helpers.sql
-- Upcasters against plain SQL over what is stored: chains, own and general scopes, corrections, versions in between.
BEGIN;
SELECT plan(7);
SELECT setseed(0.42) IS NULL AS n \gset

SELECT count(*) AS n FROM eventsource.append_events((SELECT jsonb_agg(jsonb_build_object(
	'stream', (ARRAY['upo', 'upq', 'upr'])[1 + i % 3] || '-' || i % 17, 'type', (ARRAY['a', 'b'])[1 + (random() < 0.3)::int],
	'schema_version', 1 + floor(random() * 5)::int, 'data', jsonb_build_object('v', i, 'trail', ''))
	ORDER BY i) FROM generate_series(1, 400) i)) \gset
CREATE TABLE upo_sum (key text PRIMARY KEY, trail text NOT NULL DEFAULT '', total bigint NOT NULL DEFAULT 0);
SELECT eventsource.create_projection('upo_sum', '{upo,upq,upr}', jsonb_build_object('*', $$ trail = row.trail || (event.data->>'trail') || ';', total = row.total + (event.data->>'v')::int $$),
	key => jsonb_build_object('key', 'event.stream'), mode => 'inline') AS n \gset

-- General: 2 to 3 to 4; of upq alone: 1 to 2. Type b has none of its own there.
SELECT count(eventsource.create_upcaster('a', n, n + 1, format($$ event.data || jsonb_build_object('v', (event.data->>'v')::int * 3 + %s, 'trail', (event.data->>'trail') || '%s' || event.key) $$, n, n))) AS n FROM generate_series(2, 3) n \gset
SELECT eventsource.create_upcaster('a', 1, 2, $$ event.data || jsonb_build_object('v', -(event.data->>'v')::int, 'trail', 'q' || event.version) $$, 'upq') AS n \gset
SELECT count(*) AS n FROM (SELECT position FROM eventsource.events WHERE category LIKE 'up_' ORDER BY random() LIMIT 60) e,
	LATERAL eventsource.correct_event(e.position, jsonb_build_object('v', e.position % 7, 'trail', 'c'), 'typo', 'joe') c \gset

-- The same in plain SQL, one step after the other.
CREATE FUNCTION pg_temp.plain(category text, key text, type text, version bigint, at int, data jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF type = 'a' AND category = 'upq' AND at = 1 THEN
		RETURN jsonb_build_object('v', -(data->>'v')::int, 'trail', 'q' || version);
	ELSIF type = 'a' AND category <> 'upq' AND at BETWEEN 2 AND 3 THEN
		FOR n IN at .. 3 LOOP
			data := jsonb_build_object('v', (data->>'v')::int * 3 + n, 'trail', (data->>'trail') || n || key);
		END LOOP;
	END IF;
	RETURN data;
END $$;
CREATE TEMP TABLE stored AS
	SELECT e.position, e.stream, e.category, e.key, e.type, e.version, e.schema_version, eventsource.stored_data(e.position) AS data,
		(SELECT eventsource.stored_data(c.correction_position) FROM eventsource.corrections c WHERE c.position = e.position AND c.is_current) AS corrected
	  FROM eventsource.events e WHERE e.category LIKE 'up_' AND e.type IN ('a', 'b');

SELECT is(count(*), 400::bigint, 'as many as there are') FROM stored;
SELECT is((SELECT count(*) FROM stored WHERE corrected IS NOT NULL), 60::bigint, 'some corrected');
SELECT is_empty($$ SELECT s.position FROM stored s JOIN eventsource.events e USING (position)
	WHERE e.data <> pg_temp.plain(s.category, s.key, s.type, s.version, s.schema_version, s.data) $$, 'the view');
SELECT is_empty($$ SELECT s.position FROM stored s JOIN eventsource.events e USING (position)
	WHERE e.is_upcast <> (s.type = 'a' AND CASE s.category WHEN 'upq' THEN s.schema_version = 1 ELSE s.schema_version BETWEEN 2 AND 3 END) $$, 'is_upcast');
SELECT is_empty($$ SELECT e.position, e.data, e.is_upcast FROM eventsource.streams t, LATERAL eventsource.read_stream(t.stream) e
	EXCEPT SELECT e.position, e.data, e.is_upcast FROM eventsource.events e $$, 'read_stream');
SELECT is_empty($$ SELECT stream, string_agg(d->>'trail', ';' ORDER BY version) || ';', sum((d->>'v')::int)
	FROM (SELECT s.stream, s.version, pg_temp.plain(s.category, s.key, s.type, s.version, s.schema_version, coalesce(s.corrected, s.data)) AS d FROM stored s) x GROUP BY stream
	EXCEPT SELECT key, trail, total FROM upo_sum $$, 'a projection, with corrections');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('upo_sum') $$, 'and its replay');
SELECT * FROM finish();
ROLLBACK;
