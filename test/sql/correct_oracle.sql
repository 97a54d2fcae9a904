\set ECHO none
\i test/helpers.sql
-- Corrections of random histories, against plain SQL over the log: the last correction of each event replaces its
-- data or leaves it out; what is left is folded by GROUP BY, and stepped through the machine by a table of edges.
BEGIN;
SELECT plan(9);
SELECT setseed(0.42) IS NULL AS done \gset

-- The log as corrected.
CREATE TEMP VIEW effective AS
SELECT e.position, e.stream, e.key, e.version, e.type, CASE WHEN c.type = 'event_corrected' THEN c.data ELSE e.data END AS data
FROM eventsource.events e
LEFT JOIN LATERAL (SELECT x.type, x.data FROM eventsource.events x
	WHERE x.stream = e.stream AND x.type IN ('event_corrected', 'event_voided') AND x.metadata -> 'corrects' = to_jsonb(e.position)
	ORDER BY x.position DESC LIMIT 1) c ON true
WHERE e.category IN ('corrfold', 'corrstep') AND e.type NOT IN ('event_corrected', 'event_voided') AND c.type IS DISTINCT FROM 'event_voided';

-- ---- folds ----

CREATE TABLE corr_sum (key text PRIMARY KEY, n int NOT NULL DEFAULT 0, total numeric NOT NULL DEFAULT 0, last text);
CREATE TABLE corr_shared (agent text PRIMARY KEY, n int NOT NULL DEFAULT 0, trail text NOT NULL DEFAULT '');
CREATE TABLE corr_line (key text, item text, n int NOT NULL DEFAULT 0, PRIMARY KEY (key, item));
CREATE TABLE corr_event (at bigint PRIMARY KEY, data jsonb);
SELECT eventsource.create_projection('corr_sum', ARRAY['corrfold'], jsonb_build_object(
	'*', $$n = row.n + 1, total = row.total + coalesce((event.data->>'amount')::numeric, 0), last = event.type$$)),
eventsource.create_projection('corr_shared', ARRAY['corrfold'], jsonb_build_object(
	'done', $$n = row.n + 1, trail = row.trail || (event.data->>'amount')$$, 'cleared', 'DELETE'),
	key => jsonb_build_object('agent', $$event.data->>'agent'$$), mode => 'inline'),
eventsource.create_projection('corr_line', ARRAY['corrfold'], jsonb_build_object('done', 'n = row.n + 1'),
	key => jsonb_build_object('key', 'event.key', 'item', $$item #>> '{}'$$), each => $$jsonb_array_elements(event.data->'items')$$),
eventsource.create_projection('corr_event', ARRAY['corrfold'], jsonb_build_object('*', 'data = event.data'),
	key => jsonb_build_object('at', 'event.position')) \g /dev/null

CREATE FUNCTION pg_temp.random_data() RETURNS jsonb LANGUAGE sql VOLATILE AS $$
	SELECT jsonb_build_object('agent', (ARRAY['joe', 'ann', 'bob'])[1 + floor(random() * 3)], 'amount', floor(random() * 10),
		'items', (SELECT coalesce(jsonb_agg(floor(random() * 3)), '[]') FROM generate_series(1, floor(random() * 3)::int)))
$$;
-- Rows that differ from what plain SQL makes of the log.
CREATE FUNCTION pg_temp.fold_differences() RETURNS bigint LANGUAGE sql AS $$
	SELECT (SELECT count(*) FROM corr_sum t FULL JOIN (SELECT key, count(*)::int AS n, sum(coalesce((data->>'amount')::numeric, 0)) AS total,
			(array_agg(type ORDER BY position DESC))[1] AS last FROM effective WHERE stream LIKE 'corrfold%' GROUP BY key) o ON to_jsonb(o) = to_jsonb(t)
			WHERE o IS NULL OR t IS NULL)
		+ (SELECT count(*) FROM corr_shared t FULL JOIN (SELECT e.data->>'agent' AS agent, count(*)::int AS n, string_agg(e.data->>'amount', '' ORDER BY e.position) AS trail
			FROM effective e WHERE stream LIKE 'corrfold%' AND type = 'done' AND NOT EXISTS (SELECT FROM effective d
				WHERE d.stream LIKE 'corrfold%' AND d.type = 'cleared' AND d.data->>'agent' = e.data->>'agent' AND d.position > e.position)
			GROUP BY 1) o ON to_jsonb(o) = to_jsonb(t) WHERE o IS NULL OR t IS NULL)
		+ (SELECT count(*) FROM corr_line t FULL JOIN (SELECT key, i AS item, count(*)::int AS n
			FROM effective, jsonb_array_elements_text(data->'items') i WHERE stream LIKE 'corrfold%' AND type = 'done' GROUP BY 1, 2) o ON to_jsonb(o) = to_jsonb(t)
			WHERE o IS NULL OR t IS NULL)
		+ (SELECT count(*) FROM corr_event t FULL JOIN (SELECT position AS at, data FROM effective WHERE stream LIKE 'corrfold%') o ON to_jsonb(o) = to_jsonb(t)
			WHERE o IS NULL OR t IS NULL)
$$;
CREATE TEMP TABLE tally (what text, n int);
DO $$
DECLARE
	target bigint;
BEGIN
	FOR i IN 1..300 LOOP
		SELECT e.position INTO target FROM eventsource.events e
		WHERE e.category = 'corrfold' AND e.type IN ('done', 'cleared') ORDER BY random() LIMIT 1;
		IF i <= 20 OR random() < 0.4 THEN
			PERFORM eventsource.append('corrfold-' || floor(random() * 4), CASE WHEN random() < 0.1 THEN 'cleared' ELSE 'done' END, pg_temp.random_data());
		ELSIF random() < 0.6 THEN
			PERFORM eventsource.correct_event(target, pg_temp.random_data(), 'r', 'a');
		ELSE
			BEGIN
				PERFORM eventsource.void_event(target, 'r', 'a');
			EXCEPTION WHEN object_not_in_prerequisite_state THEN
				INSERT INTO tally VALUES ('voided already', 1);
			END;
		END IF;
		IF i % 50 = 0 THEN
			INSERT INTO tally VALUES ('differences', pg_temp.fold_differences());
		END IF;
	END LOOP;
END
$$;
SELECT is(sum(n), 0::bigint, 'projections are what plain SQL makes of the log, after every fifty events') FROM tally WHERE what = 'differences';
SELECT ok(count(*) > 5, 'some events were voided twice') FROM tally WHERE what = 'voided already';
SELECT is_empty($$ SELECT p.target, v.* FROM eventsource.projections p, eventsource.verify_projection(p.target) v WHERE 'corrfold' = ANY (p.category) $$, 'verify_projection agrees');
SELECT is((SELECT sum(eventsource.rebuild_projection(p.target)) FROM eventsource.projections p WHERE 'corrfold' = ANY (p.category)), 0::numeric, 'a rebuild finds nothing to do');
SELECT is((SELECT count(*) FROM eventsource.corrections WHERE stream LIKE 'corrfold%' AND is_current AND kind = 'corrected'
	AND data_after = (SELECT e.data FROM effective e WHERE e.position = corrections.position)),
	(SELECT count(*) FROM effective e JOIN eventsource.events o USING (position) WHERE e.stream LIKE 'corrfold%'
		AND EXISTS (SELECT FROM eventsource.events c WHERE c.metadata -> 'corrects' = to_jsonb(e.position) AND c.stream = e.stream)),
	'the view shows the last correction of each event as current');

-- ---- states ----

SELECT eventsource.create_state_machine('corrstep', $$ {"initial": "A", "states": {
	"A": {"on": {"go": [{"target": "B", "guard": "(event.data->>'amount')::numeric >= 5"}, "C"], "hop": "B"}},
	"B": {"on": {"go": "C", "back": "A", "sit": "B"}},
	"C": {"on": {"go": "A", "back": "B", "sit": "C", "end": "D"}},
	"D": {"on": {"back": "A"}}}, "on": {"note": {}}} $$) AS done, eventsource.create_category('corrstep', 'corrstep') AS done \gset
CREATE TABLE corr_trail (key text PRIMARY KEY, trail text NOT NULL DEFAULT '');
SELECT eventsource.create_projection('corr_trail', ARRAY['corrstep'], jsonb_build_object(
	'*', $$trail = row.trail || coalesce(event.from_state, '-') || event.to_state$$)) AS done \gset
CREATE TEMP TABLE edge (at text, type text, big boolean, leads text);
INSERT INTO edge VALUES ('A', 'go', true, 'B'), ('A', 'go', false, 'C'), ('A', 'hop', NULL, 'B'), ('B', 'go', NULL, 'C'), ('B', 'back', NULL, 'A'),
	('B', 'sit', NULL, 'B'), ('C', 'go', NULL, 'A'), ('C', 'back', NULL, 'B'), ('C', 'sit', NULL, 'C'), ('C', 'end', NULL, 'D'), ('D', 'back', NULL, 'A');

-- The states through which a stream goes, as an array of {position, from, to}; NULL if it cannot. One event may be replaced or left out.
CREATE FUNCTION pg_temp.states(name text, target bigint DEFAULT 0, new_data jsonb DEFAULT NULL) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	e record;
	state text;
	next text;
	result jsonb := '[]';
BEGIN
	FOR e IN SELECT o.position, o.type, CASE WHEN o.position = target THEN new_data ELSE f.data END AS data
			   FROM eventsource.events o LEFT JOIN effective f USING (position)
			  WHERE o.stream = name AND o.type NOT IN ('event_corrected', 'event_voided') ORDER BY o.version LOOP
		CONTINUE WHEN e.data IS NULL;
		next := CASE WHEN e.type = 'note' THEN coalesce(state, 'A') ELSE (SELECT leads FROM edge WHERE at = coalesce(state, 'A') AND type = e.type
				 AND coalesce(big = ((e.data->>'amount')::numeric >= 5), true)) END;
		IF next IS NULL THEN
			RETURN NULL;
		END IF;
		result := result || jsonb_build_object('position', e.position, 'from', state, 'to', next);
		state := next;
	END LOOP;
	RETURN result;
END
$$;
-- Is a correction legal? Every other event must lead where it led, or leave the state alone as it did.
CREATE FUNCTION pg_temp.is_legal(name text, target bigint, new_data jsonb) RETURNS boolean LANGUAGE sql AS $$
	SELECT pg_temp.states(name, target, new_data) IS NOT NULL AND NOT EXISTS (
		SELECT FROM jsonb_array_elements(pg_temp.states(name)) b, jsonb_array_elements(pg_temp.states(name, target, new_data)) a
		WHERE a->'position' = b->'position' AND (a->>'position')::bigint <> target AND a->>'to' <> b->>'to'
			AND NOT (b->>'from' IS NOT DISTINCT FROM b->>'to' AND a->>'from' IS NOT DISTINCT FROM a->>'to'))
$$;
DO $$
DECLARE
	target record;
	new_data jsonb;
	expected boolean;
	done boolean;
	name text;
	states jsonb;
BEGIN
	FOR i IN 1..400 LOOP
		name := 'corrstep-' || floor(random() * 12);
		BEGIN
			IF i <= 50 OR random() < 0.4 THEN
				PERFORM eventsource.append(name, (ARRAY['go', 'go', 'hop', 'back', 'sit', 'end', 'note', 'note'])[1 + floor(random() * 8)], pg_temp.random_data());
				CONTINUE;
			END IF;
			SELECT e.position, e.stream INTO target FROM eventsource.events e
			WHERE e.stream = name AND e.type NOT IN ('event_corrected', 'event_voided') ORDER BY e.version + 20 * random() DESC LIMIT 1;
			CONTINUE WHEN target IS NULL;
			IF random() < 0.5 THEN
				new_data := pg_temp.random_data();
			ELSE
				new_data := NULL;
				CONTINUE WHEN NOT EXISTS (SELECT FROM effective e WHERE e.position = target.position);
			END IF;
			expected := pg_temp.is_legal(target.stream, target.position, new_data);
			done := false;
			IF new_data IS NULL THEN
				PERFORM eventsource.void_event(target.position, 'r', 'a');
			ELSE
				PERFORM eventsource.correct_event(target.position, new_data, 'r', 'a');
			END IF;
			done := true;
		EXCEPTION WHEN SQLSTATE 'ZE002' OR SQLSTATE 'ZE006' THEN
			CONTINUE WHEN done IS NULL;
		END;
		INSERT INTO tally VALUES (format('legal %s, done %s', expected, done), 1);
		states := pg_temp.states(name);
		INSERT INTO tally VALUES ('state', (eventsource.current_state(name) IS DISTINCT FROM states->-1->>'to')::int);
		INSERT INTO tally VALUES ('trail', ((SELECT trail FROM corr_trail WHERE key = split_part(name, '-', 2))
			IS DISTINCT FROM (SELECT string_agg(coalesce(s->>'from', '-') || (s->>'to'), '' ORDER BY n) FROM jsonb_array_elements(states) WITH ORDINALITY AS j (s, n)))::int);
		INSERT INTO tally VALUES ('transitions', ((SELECT string_agg(position || coalesce(from_state, '-') || to_state, ',' ORDER BY version) FROM eventsource.transitions WHERE stream = name)
			IS DISTINCT FROM (SELECT string_agg((s->>'position') || coalesce(s->>'from', '-') || (s->>'to'), ',' ORDER BY n) FROM jsonb_array_elements(states) WITH ORDINALITY AS j (s, n)
				WHERE s->>'from' IS DISTINCT FROM s->>'to'))::int);
		INSERT INTO tally VALUES ('periods', ((SELECT string_agg(state || entered_position, ',' ORDER BY entered_version) FROM eventsource.state_periods WHERE stream = name)
			IS DISTINCT FROM (SELECT string_agg((s->>'to') || (s->>'position'), ',' ORDER BY n) FROM jsonb_array_elements(states) WITH ORDINALITY AS j (s, n)
				WHERE s->>'from' IS DISTINCT FROM s->>'to'))::int);
		INSERT INTO tally VALUES ('state_at', (eventsource.state_at(name, 'infinity', 'occurred') IS DISTINCT FROM states->-1->>'to')::int);
		done := NULL;
	END LOOP;
END
$$;
SELECT pg_temp.same_rows($$ SELECT what, sum(n), count(*) > 20 FROM tally WHERE what IN ('state', 'trail', 'transitions', 'periods', 'state_at') GROUP BY what ORDER BY what $$,
	$$ VALUES ('periods', 0, true), ('state', 0, true), ('state_at', 0, true), ('trail', 0, true), ('transitions', 0, true) $$,
	'states are what a table of edges makes of the log as corrected');
SELECT pg_temp.same_rows($$ SELECT what, count(*) > 5 FROM tally WHERE what LIKE 'legal%' GROUP BY what ORDER BY what $$,
	$$ VALUES ('legal f, done f', true), ('legal t, done t', true) $$, 'what is refused, and only that, is illegal by it, too');
SELECT is_empty('SELECT * FROM eventsource.verify_transitions()', 'verify_transitions finds nothing');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('corr_trail') $$, 'nor verify_projection');
SELECT * FROM finish();
ROLLBACK;
