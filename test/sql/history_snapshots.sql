\set ECHO none
\i test/helpers.sql
-- Snapshots change nothing, and corrections are seen by whoever looks back.
BEGIN;
SELECT plan(36);

CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE thing (id text PRIMARY KEY, n int NOT NULL DEFAULT 0, amount numeric(20,4), doc jsonb, mood mood, tags text[], at timestamptz, twice int GENERATED ALWAYS AS (n * 2) STORED);
CREATE TABLE shared (kind text PRIMARY KEY, n int NOT NULL DEFAULT 0);
CREATE TABLE parts (id text, item text, n int, PRIMARY KEY (id, item));
SELECT eventsource.create_projection('thing', '{snap}', jsonb_build_object(
	'moved', $$n = row.n + 1, amount = (event.data->>'amount')::numeric$$,
	'told', $$doc = event.data->'doc', mood = (event.data->>'mood')::public.mood, tags = array_append(row.tags, event.data->>'mood'), at = event.occurred_at$$,
	'closed', 'DELETE')) AS version \gset
SELECT eventsource.create_projection('shared', '{snap}', jsonb_build_object('moved', 'n = row.n + 1'), key => '{"kind": "event.data->>''kind''"}', mode => 'inline') AS version \gset
SELECT eventsource.create_projection('parts', '{snap}', jsonb_build_object('moved', 'n = coalesce(row.n, 0) + 1',
	'told', jsonb_build_object('set', 'n = 0', 'key', '{"id": "event.key", "item": "event.category"}'::jsonb)),
	key => '{"id": "event.key", "item": "event.data->>''kind''"}') AS version \gset
SELECT eventsource.create_state_machine('snap', '{"initial": "A", "states": {"A": {"on": {"moved": "B"}}, "B": {"on": {"moved": "A"}}}, "on": {"told": {}, "closed": {}}}') AS version \gset
SELECT eventsource.create_category('snap', state_machine => 'snap') AS version \gset
SELECT is(eventsource.set_snapshot_policy('snap', 5), 1::bigint, 'the first version of a policy');

SELECT setseed(0.815) IS NULL AS done \gset
CREATE FUNCTION pg_temp.events(count int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	what float;
BEGIN
	FOR i IN 1..count LOOP
		what := random();
		PERFORM eventsource.append('snap-' || (random() * 5)::int,
			CASE WHEN what < 0.6 THEN 'moved' WHEN what < 0.95 THEN 'told' ELSE 'closed' END,
			jsonb_build_object('amount', (random() * 100)::int || '.50', 'kind', chr(97 + (random() * 3)::int),
				'doc', CASE WHEN random() < 0.3 THEN 'null'::jsonb WHEN random() < 0.5 THEN '{"a": [1, null]}' ELSE '"x"' END,
				'mood', CASE WHEN random() < 0.4 THEN 'sad' WHEN random() < 0.7 THEN 'ok' END),
			occurred_at => timestamptz '2024-01-01' + i * interval '1 hour' + random() * interval '20 hours');
	END LOOP;
END
$$;
SELECT pg_temp.events(200) IS NULL AS done \gset
SELECT pg_temp.same_rows($$ SELECT projection, stream, version FROM eventsource.snapshots ORDER BY 1, 2, 3 $$,
	$$ SELECT p.name, s.stream, v::bigint FROM (VALUES (NULL), ('public.thing')) p (name), eventsource.streams s, generate_series(5, s.version, 5) v
		WHERE s.category = 'snap' ORDER BY 1, 2, 3 $$, 'a snapshot every five events, of the stream and of each row it has');
SELECT is_empty($$ SELECT * FROM eventsource.snapshots WHERE state IS DISTINCT FROM (SELECT e.to_state FROM eventsource.events e WHERE e.position = snapshots.position) $$, 'with its state');

-- Everything that can be asked, at all moments, for a comparison.
CREATE FUNCTION pg_temp.answers() RETURNS TABLE (answer text) LANGUAGE sql AS $$
	WITH told AS (SELECT e.stream, e.recorded_at AS recorded, max(e.occurred_at) OVER (PARTITION BY e.stream ORDER BY e.version) AS occurred
					FROM eventsource.events e WHERE e.category = 'snap'),
	moment AS (SELECT DISTINCT b AS basis, CASE b WHEN 'recorded' THEN recorded ELSE occurred END AS at FROM told, unnest(ARRAY['recorded', 'occurred']) b),
	numbered AS (SELECT *, row_number() OVER (ORDER BY basis, at) AS n FROM moment)
	SELECT m.n || ' ' || x.answer FROM (SELECT * FROM numbered WHERE n % 13 = 3) m, LATERAL (
		SELECT 'as_of ' || a::text FROM generate_series(0, 5) k, eventsource.as_of(NULL::thing, m.at, k::text, m.basis) a
		UNION ALL SELECT 'parts ' || a::text FROM generate_series(0, 5) k, eventsource.as_of(NULL::parts, m.at, k::text, m.basis) a
		UNION ALL SELECT 'replay ' || r::text FROM generate_series(0, 5) k, eventsource.replay('snap-' || k, m.at, m.basis, 'thing') r
		UNION ALL SELECT 'state ' || r::text FROM generate_series(0, 5) k, eventsource.replay('snap-' || k, m.at, m.basis) r) x (answer)
	UNION ALL SELECT 'now ' || r::text FROM generate_series(0, 5) k, eventsource.replay('snap-' || k, target => 'thing') r
$$;
CREATE FUNCTION pg_temp.same_without(description text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	have text[] := ARRAY(SELECT answer FROM pg_temp.answers() ORDER BY 1);
	want text[];
BEGIN
	PERFORM eventsource.drop_snapshots('snap');
	want := ARRAY(SELECT answer FROM pg_temp.answers() ORDER BY 1);
	RETURN is(ARRAY(SELECT unnest(have) EXCEPT ALL SELECT unnest(want)), ARRAY(SELECT unnest(want) EXCEPT ALL SELECT unnest(have)), description);
END
$$;
SELECT ok(count(*) > 100, 'much can be asked') FROM pg_temp.answers();
SAVEPOINT s;
SELECT pg_temp.same_without('without snapshots every answer is the same');
SELECT is_empty($$ SELECT * FROM eventsource.snapshots $$, 'they are gone');
ROLLBACK TO s;
SELECT isnt_empty($$ SELECT * FROM eventsource.snapshots $$, 'and back');
SELECT is_empty($$ SELECT t.id FROM thing t, eventsource.replay('snap-' || t.id, target => 'thing') r WHERE r.row_data - 'at' IS DISTINCT FROM to_jsonb(t) - 'at' $$, 'the last row is the one in the table');
SELECT is_empty($$ SELECT s.stream FROM eventsource.streams s, eventsource.replay(s.stream) r
	WHERE s.category = 'snap' AND (r.state IS DISTINCT FROM s.state OR r.version <> s.version OR r.events <> s.version) $$, 'and the last state that of the stream');

-- They are used: a snapshot made to lie is believed, until something makes it stale.
SELECT version, position, recorded_at FROM eventsource.snapshots WHERE stream = 'snap-3' AND projection IS NOT NULL ORDER BY version DESC LIMIT 1 \gset
SELECT eventsource.allow_maintenance('test') \g /dev/null
ALTER TABLE eventsource.snapshot DISABLE TRIGGER ALL;
UPDATE eventsource.snapshot SET row_data = jsonb_build_object('id', '{"new": "3"}'::jsonb, 'n', '{"new": 4711}'::jsonb) WHERE position = :position AND target <> '';
SELECT is(n, 4711, 'as_of reads them') FROM eventsource.as_of(NULL::thing, :'recorded_at', '3');
SELECT is(row_data->>'n', '4711', 'so does replay') FROM eventsource.replay('snap-3', :'recorded_at', target => 'thing');
SELECT isnt((SELECT n FROM eventsource.as_of(NULL::thing, :'recorded_at') WHERE id = '3'), 4711, 'as_of of a whole table does not');
SELECT is_empty($$ SELECT 1 FROM eventsource.row_history('thing', '3') WHERE row_data->>'n' = '4711' $$, 'nor does row_history');
SAVEPOINT s;
SELECT eventsource.create_projection('thing', '{snap}', jsonb_build_object('moved', $$n = row.n + 2, amount = (event.data->>'amount')::numeric$$)) AS version \gset
SELECT isnt((SELECT n FROM eventsource.as_of(NULL::thing, :'recorded_at', '3')), 4711, 'one of another version of the projection is not used');
ROLLBACK TO s;
ALTER TABLE thing ADD COLUMN extra int DEFAULT 3;
SELECT isnt((SELECT n FROM eventsource.as_of(NULL::thing, :'recorded_at', '3')), 4711, 'nor one from before a column was added');
ROLLBACK TO s;
ALTER TABLE thing ALTER COLUMN n SET DEFAULT 100;
SELECT isnt((SELECT n FROM eventsource.as_of(NULL::thing, :'recorded_at', '3')), 4711, 'nor one that began with another default');
ROLLBACK TO s;
SELECT eventsource.void_event((SELECT min(position) FROM eventsource.events WHERE stream = 'snap-3' AND type = 'told'), 'wrong', 'agent:joe') IS NULL AS done \gset
SELECT isnt((SELECT n FROM eventsource.as_of(NULL::thing, 'infinity', '3')), 4711, 'nor one below which an event was voided');
SELECT is(n, 4711, 'but before that was known it is') FROM eventsource.as_of(NULL::thing, :'recorded_at', '3');
ROLLBACK TO s;
SELECT eventsource.drop_snapshots('snap') > 0 AS done \gset
ALTER TABLE eventsource.snapshot ENABLE ALWAYS TRIGGER guard_row;
ALTER TABLE eventsource.snapshot ENABLE ALWAYS TRIGGER guard_statement;

-- Corrections.
SELECT pg_temp.events(60) IS NULL AS done \gset
SELECT isnt_empty($$ SELECT * FROM eventsource.snapshots $$, 'snapshots are taken again');
SELECT clock_timestamp() AS before \gset
CREATE TEMP TABLE believed AS SELECT * FROM eventsource.as_of(NULL::thing, :'before');
SELECT eventsource.append('snap-9', 'moved', '{"amount": 1, "kind": "a"}', occurred_at => '2025-01-01') IS NULL AS done \gset
SELECT position AS wrong FROM eventsource.append('snap-9', 'told', '{"doc": 1, "mood": "sad"}', occurred_at => '2025-01-02') \gset
SELECT position AS extra FROM eventsource.append('snap-9', 'told', '{"doc": 2}', occurred_at => '2025-01-03') \gset
SELECT clock_timestamp() AS believed \gset
SELECT eventsource.correct_event(:wrong, '{"doc": 10, "mood": "ok"}', 'typo', 'agent:joe') IS NULL AS done \gset
SELECT clock_timestamp() AS corrected \gset
SELECT eventsource.void_event(:extra, 'twice', 'agent:joe') IS NULL AS done \gset
SELECT pg_temp.same_rows(format($$ SELECT doc, mood, tags FROM unnest(ARRAY[%L, %L, 'infinity']::timestamptz[]) WITH ORDINALITY t (at, nth), eventsource.as_of(NULL::thing, t.at, '9') ORDER BY nth $$, :'believed', :'corrected'),
	$$ VALUES ('2'::jsonb, NULL::mood, '{sad,NULL}'::text[]), ('2', NULL, '{ok,NULL}'), ('10', 'ok', '{ok}') $$, 'recorded: what was believed at each moment');
SELECT pg_temp.same_rows($$ SELECT doc, mood, tags FROM unnest(ARRAY['2025-01-01', '2025-01-02', '2025-01-03', 'infinity']::timestamptz[]) WITH ORDINALITY t (at, nth), eventsource.as_of(NULL::thing, t.at, '9', 'occurred') ORDER BY nth $$,
	$$ VALUES (NULL::jsonb, NULL::mood, NULL::text[]), ('10', 'ok', '{ok}'), ('10', 'ok', '{ok}'), ('10', 'ok', '{ok}') $$, 'occurred: by what is known now');
SELECT is_empty(format($$ (TABLE believed EXCEPT SELECT * FROM eventsource.as_of(NULL::thing, %1$L)) UNION ALL (SELECT * FROM eventsource.as_of(NULL::thing, %1$L) EXCEPT TABLE believed) $$, :'before'),
	'the past before them stays as it was');
SELECT pg_temp.same_rows($$ SELECT version, type, row_data->'doc' FROM eventsource.row_history('thing', '9') ORDER BY version $$,
	$$ VALUES (1::bigint, 'moved', 'null'::jsonb), (2, 'told', '10') $$, 'row_history: as corrected');
SELECT pg_temp.same_rows($$ SELECT value, valid_from FROM eventsource.attribute_periods('thing', 'mood', '9', 'occurred') $$,
	$$ VALUES (NULL::text, timestamptz '2025-01-01'), ('ok', '2025-01-02') $$, 'attribute_periods: as corrected');
SELECT pg_temp.same_rows(format($$ SELECT version, events, row_data->'doc' FROM unnest(ARRAY[%L, %L, 'infinity']::timestamptz[]) WITH ORDINALITY t (at, nth), eventsource.replay('snap-9', t.at, target => 'thing') ORDER BY nth $$, :'believed', :'corrected'),
	$$ VALUES (3::bigint, 3::bigint, '2'::jsonb), (4, 3, '2'), (5, 2, '10') $$, 'replay: as known at each moment');
SELECT is_empty($$ SELECT t.id FROM thing t, eventsource.replay('snap-' || t.id, target => 'thing') r WHERE r.row_data - 'at' IS DISTINCT FROM to_jsonb(t) - 'at' $$, 'and at last the row of the table');
SELECT is_empty($$ SELECT s.stream FROM eventsource.streams s WHERE s.category = 'snap' AND s.state IS DISTINCT FROM (SELECT state FROM eventsource.replay(s.stream)) $$, 'and its state');
SELECT eventsource.correct_event(position, data || '{"mood": "ok"}', 'typo', 'agent:joe') IS NULL AS done
  FROM eventsource.events WHERE category = 'snap' AND type = 'told' AND version % 4 = 1 \g /dev/null
SELECT pg_temp.events(60) IS NULL AS done \gset
SELECT pg_temp.same_without('with corrections, too, every answer is the same without snapshots');

-- Policies, and who may set them.
SELECT is(eventsource.set_snapshot_policy('snap', 0), 2::bigint, 'off');
SELECT pg_temp.events(30) IS NULL AS done \gset
SELECT is_empty($$ SELECT * FROM eventsource.snapshots $$, 'none is taken');
SELECT is(eventsource.set_snapshot_policy('snap', 1), 3::bigint, 'one with every event');
SELECT count(*) AS n FROM eventsource.append_events((SELECT jsonb_agg(jsonb_build_object('stream', 'snap-' || n % 2 + 20, 'type', 'moved', 'data', '{"amount": 1, "kind": "a"}'::jsonb)) FROM generate_series(1, 7) n)) \gset
SELECT pg_temp.same_rows($$ SELECT stream, version FROM eventsource.snapshots WHERE stream ~ '-2[01]$' AND projection IS NOT NULL ORDER BY 1 $$,
	$$ VALUES ('snap-20', 3::bigint), ('snap-21', 4) $$, 'of events appended together: the last');
SELECT pg_temp.refuses($$ SELECT eventsource.set_snapshot_policy('snap', -1) $$, '22023', 'a snapshot cannot be taken every -1 events', 'a negative number');
SELECT pg_temp.refuses($$ SELECT eventsource.set_snapshot_policy('$config', 5) $$, '22023', 'this is no name of a category', 'a name that is none');
CREATE FUNCTION pg_temp.fails(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN 1 / (n - n); END $$;
CREATE FUNCTION spoil(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN n; END $$;
CREATE TABLE spoilt (id text PRIMARY KEY, n int NOT NULL DEFAULT 0);
SELECT eventsource.set_snapshot_policy('spoilt', 3) AS version \gset
SELECT eventsource.create_projection('spoilt', '{spoilt}', jsonb_build_object('x', 'n = public.spoil(row.n + 1)', 'y', 'n = 0')) AS version \gset
SELECT eventsource.append('spoilt-1', 'x'), eventsource.append('spoilt-1', 'y') \g /dev/null
CREATE OR REPLACE FUNCTION spoil(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN 1 / 0; END $$;
SET LOCAL client_min_messages = error;
SELECT lives_ok($$ SELECT eventsource.append('spoilt-1', 'y') $$, 'where a fold fails, the append does not');
RESET client_min_messages;
SELECT is(version, 3::bigint, 'it is there') FROM eventsource.streams WHERE stream = 'spoilt-1';

SELECT * FROM finish();
ROLLBACK;
