\set ECHO none
\i test/helpers.sql
-- The past of projections: as_of, row_history, attribute_periods, replay, beside the same in plain SQL.
BEGIN;
SELECT plan(46);

CREATE TABLE account (id int PRIMARY KEY, balance numeric NOT NULL DEFAULT 0, note text);
CREATE TABLE total (kind text PRIMARY KEY, n int NOT NULL DEFAULT 0, amount numeric NOT NULL DEFAULT 0);
CREATE TABLE part (account int, item text, n int, PRIMARY KEY (account, item));
CREATE TABLE entry (position bigint PRIMARY KEY, account text, amount numeric);
SELECT eventsource.create_projection('account', '{hist}', jsonb_build_object(
	'moved', $$balance = row.balance + (event.data->>'amount')::numeric$$,
	'noted', $$note = event.data->>'note'$$,
	'closed', 'DELETE')) AS version \gset
SELECT eventsource.create_projection('total', '{hist}', jsonb_build_object(
	'moved', $$n = row.n + 1, amount = row.amount + (event.data->>'amount')::numeric$$),
	key => '{"kind": "event.data->>''kind''"}', mode => 'inline') AS version \gset
SELECT eventsource.create_projection('part', '{hist}', jsonb_build_object(
	'moved', $$n = coalesce(row.n, 0) + 1$$), key => '{"account": "event.key::int", "item": "event.data->>''kind''"}') AS version \gset
SELECT eventsource.create_projection('entry', '{hist}', jsonb_build_object(
	'moved', $$account = event.key, amount = (event.data->>'amount')::numeric$$), key => '{"position": "event.position"}') AS version \gset

-- Random events; business time goes back now and then.
SELECT setseed(0.4711) IS NULL AS done \gset
DO $$
DECLARE
	what float;
BEGIN
	FOR i IN 1..400 LOOP
		what := random();
		PERFORM eventsource.append('hist-' || (random() * 12)::int,
			CASE WHEN what < 0.6 THEN 'moved' WHEN what < 0.9 THEN 'noted' ELSE 'closed' END,
			jsonb_build_object('amount', (random() * 100)::int, 'kind', chr(97 + (random() * 3)::int), 'note', (random() * 3)::int),
			occurred_at => timestamptz '2024-01-01' + i * interval '1 hour' + random() * interval '20 hours');
	END LOOP;
END
$$;

-- The events as they are at a moment, by both clocks, without the functions under test.
CREATE TEMP VIEW told AS
SELECT e.position, e.version, e.key::int AS id, e.type, e.data, e.recorded_at AS recorded,
	   max(e.occurred_at) OVER (PARTITION BY e.stream ORDER BY e.version) AS occurred
  FROM eventsource.events e WHERE e.category = 'hist';
CREATE TEMP TABLE moment AS
SELECT * FROM (SELECT row_number() OVER (ORDER BY position) AS n, recorded, occurred FROM told) m WHERE n % 23 = 5 OR n = 400;

CREATE FUNCTION pg_temp.until(at timestamptz, basis text) RETURNS SETOF told LANGUAGE sql AS $$
	SELECT * FROM told WHERE CASE basis WHEN 'recorded' THEN recorded ELSE occurred END <= at
$$;
CREATE FUNCTION pg_temp.accounts(at timestamptz, basis text) RETURNS SETOF account LANGUAGE sql AS $$
	SELECT e.id, coalesce(sum((e.data->>'amount')::numeric) FILTER (WHERE e.type = 'moved'), 0),
		   (array_agg(e.data->>'note' ORDER BY e.version DESC) FILTER (WHERE e.type = 'noted'))[1]
	  FROM pg_temp.until(at, basis) e
	 WHERE e.version > coalesce((SELECT max(c.version) FROM pg_temp.until(at, basis) c WHERE c.id = e.id AND c.type = 'closed'), 0)
	 GROUP BY e.id
$$;
CREATE FUNCTION pg_temp.totals(at timestamptz, basis text) RETURNS SETOF total LANGUAGE sql AS $$
	SELECT e.data->>'kind', count(*)::int, sum((e.data->>'amount')::numeric) FROM pg_temp.until(at, basis) e WHERE e.type = 'moved' GROUP BY 1
$$;
CREATE FUNCTION pg_temp.lines(at timestamptz, basis text) RETURNS SETOF part LANGUAGE sql AS $$
	SELECT e.id, e.data->>'kind', count(*)::int FROM pg_temp.until(at, basis) e WHERE e.type = 'moved' GROUP BY 1, 2
$$;
CREATE FUNCTION pg_temp.entries(at timestamptz, basis text) RETURNS SETOF entry LANGUAGE sql AS $$
	SELECT e.position, e.id::text, (e.data->>'amount')::numeric FROM pg_temp.until(at, basis) e WHERE e.type = 'moved'
$$;

-- Rows that only one of two queries gives, at all moments.
CREATE FUNCTION pg_temp.differences(have text, want text, basis text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	m moment;
	n bigint;
	total bigint := 0;
BEGIN
	FOR m IN SELECT * FROM moment LOOP
		EXECUTE format('SELECT count(*) FROM ((%1$s EXCEPT ALL %2$s) UNION ALL (%2$s EXCEPT ALL %1$s)) x',
			replace(have, '$2', quote_literal(basis)), replace(want, '$2', quote_literal(basis)))
			INTO n USING CASE basis WHEN 'recorded' THEN m.recorded ELSE m.occurred END;
		total := total + n;
	END LOOP;
	RETURN total;
END
$$;

SELECT is(pg_temp.differences('SELECT * FROM eventsource.as_of(NULL::account, $1, basis => $2)', 'SELECT * FROM pg_temp.accounts($1, $2)', b), 0::bigint, 'rows of a stream: ' || b)
  FROM unnest(ARRAY['recorded', 'occurred']) b;
SELECT is(pg_temp.differences('SELECT * FROM eventsource.as_of(NULL::total, $1, basis => $2)', 'SELECT * FROM pg_temp.totals($1, $2)', b), 0::bigint, 'rows that streams share: ' || b)
  FROM unnest(ARRAY['recorded', 'occurred']) b;
SELECT is(pg_temp.differences('SELECT * FROM eventsource.as_of(NULL::part, $1, basis => $2)', 'SELECT * FROM pg_temp.lines($1, $2)', b), 0::bigint, 'several rows of a stream: ' || b)
  FROM unnest(ARRAY['recorded', 'occurred']) b;
SELECT is(pg_temp.differences('SELECT * FROM eventsource.as_of(NULL::entry, $1, basis => $2)', 'SELECT * FROM pg_temp.entries($1, $2)', b), 0::bigint, 'rows of an event: ' || b)
  FROM unnest(ARRAY['recorded', 'occurred']) b;
SELECT is(pg_temp.differences($$SELECT * FROM eventsource.as_of(NULL::account, $1, '7', $2)$$, 'SELECT * FROM pg_temp.accounts($1, $2) WHERE id = 7', b), 0::bigint, 'one row of a stream: ' || b)
  FROM unnest(ARRAY['recorded', 'occurred']) b;
SELECT is(pg_temp.differences($$SELECT * FROM eventsource.as_of(NULL::total, $1, 'b', $2)$$, $$SELECT * FROM pg_temp.totals($1, $2) WHERE kind = 'b'$$, b), 0::bigint, 'one shared row: ' || b)
  FROM unnest(ARRAY['recorded', 'occurred']) b;
SELECT is(pg_temp.differences($$SELECT * FROM eventsource.as_of(NULL::part, $1, '7', $2)$$, 'SELECT * FROM pg_temp.lines($1, $2) WHERE account = 7', b), 0::bigint, 'the rows of one stream: ' || b)
  FROM unnest(ARRAY['recorded', 'occurred']) b;
SELECT is(pg_temp.differences($$SELECT a.* FROM (VALUES (3), (7)) v (k), eventsource.as_of(NULL::account, $1, v.k::text, $2) a$$,
	'SELECT * FROM pg_temp.accounts($1, $2) WHERE id IN (3, 7)', 'recorded'), 0::bigint, 'beside other tables');
SET LOCAL work_mem = '64kB';
SELECT is(pg_temp.differences('SELECT * FROM eventsource.as_of(NULL::account, $1, basis => $2)', 'SELECT * FROM pg_temp.accounts($1, $2)', 'occurred'), 0::bigint, 'sorted on disk');
RESET work_mem;
SELECT is_empty($$ (TABLE account EXCEPT ALL SELECT * FROM eventsource.as_of(NULL::account, 'infinity'))
	UNION ALL (SELECT * FROM eventsource.as_of(NULL::account, 'infinity') EXCEPT ALL TABLE account) $$, 'at the end of time: the table');
SELECT is_empty($$ SELECT * FROM eventsource.as_of(NULL::account, '-infinity') $$, 'at its beginning: nothing');
SELECT is_empty($$ SELECT * FROM eventsource.as_of(NULL::account, now(), 'no such') $$, 'a key that never was');
SELECT is((SELECT count(*) FROM eventsource.as_of(NULL::entry, 'infinity', (SELECT max(position)::text FROM entry))), 1::bigint, 'a key that is a position');

-- One row, event by event.
SELECT is_empty($$ (SELECT (row_data->>'id')::int, (row_data->>'balance')::numeric, row_data->>'note' FROM eventsource.row_history('account', '7')
	 WHERE valid_to IS NULL AND row_data IS NOT NULL) EXCEPT SELECT * FROM account WHERE id = 7 $$, 'row_history ends with the row there is');
SELECT is_empty($$ SELECT h.version, a.balance, a.note FROM eventsource.row_history('account', '7') h
	  CROSS JOIN LATERAL pg_temp.accounts(h.valid_from, 'recorded') a
	  WHERE a.id = 7 AND (h.row_data->>'balance')::numeric IS DISTINCT FROM a.balance OR a.id = 7 AND h.row_data->>'note' IS DISTINCT FROM a.note $$,
	'and at each event with the row after it');
SELECT results_eq($$ SELECT version, event_position, valid_from FROM eventsource.row_history('account', '7') WHERE operation <> 'delete' $$,
	$$ SELECT version, position, recorded FROM told WHERE id = 7 AND type <> 'closed' ORDER BY version $$, 'one row per event');
SELECT is_empty($$ SELECT 1 FROM (SELECT valid_to, lead(valid_from) OVER (ORDER BY version) AS next FROM eventsource.row_history('account', '7')) x
	WHERE valid_to IS DISTINCT FROM next $$, 'each holds until the next');
SELECT eventsource.append('hist-100', 'moved', '{"amount": 5, "kind": "z"}', actor => 'agent:joe', occurred_at => '2024-01-01') IS NULL AS done \gset
SELECT eventsource.append('hist-100', 'noted', '{"note": "hello"}', reason => 'why', occurred_at => '2024-03-01') IS NULL AS done \gset
SELECT eventsource.append('hist-100', 'noted', '{"note": "hello"}', occurred_at => '2024-02-01') IS NULL AS done \gset
SELECT eventsource.append('hist-100', 'other', occurred_at => '2024-03-01') IS NULL AS done \gset
SELECT eventsource.append('hist-100', 'closed', occurred_at => '2024-04-01') IS NULL AS done \gset
SELECT pg_temp.same_rows($$ SELECT version, type, operation, changed, row_data, reason, is_synthetic, valid_from = occurred, valid_to = least(next, 'infinity') FROM
	eventsource.row_history('account', '100', 'occurred') h JOIN (SELECT version, occurred, lead(occurred) OVER (ORDER BY version) AS next FROM told WHERE id = 100 AND type <> 'other') t USING (version) ORDER BY version $$,
	$$ VALUES (1::bigint, 'moved', 'insert', '{"id": {"new": 100}, "balance": {"new": 5}}'::jsonb, '{"id": 100, "balance": 5, "note": null}'::jsonb, NULL::text, false, true, true),
		(2, 'noted', 'update', '{"note": {"old": null, "new": "hello"}}', '{"id": 100, "balance": 5, "note": "hello"}', 'why', false, true, true),
		(3, 'noted', 'update', '{}', '{"id": 100, "balance": 5, "note": "hello"}', NULL, false, true, true),
		(5, 'closed', 'delete', '{"id": {"old": 100}, "balance": {"old": 5}, "note": {"old": "hello"}}', NULL, NULL, false, true, NULL) $$, 'what each did');

-- Periods of a column.
SELECT pg_temp.same_rows($$ SELECT row_key, value, valid_from, valid_to, actor = 'agent:joe', reason, type, version, is_current, begins_synthetic
	FROM eventsource.attribute_periods('account', 'note', '100', 'occurred') $$,
	$$ VALUES ('100', NULL, timestamptz '2024-01-01', timestamptz '2024-03-01', true, NULL, 'moved', 1::bigint, false, false),
		('100', 'hello', '2024-03-01', '2024-04-01', false, 'why', 'noted', 2, false, false) $$, 'equal values are one period, and a deletion ends it');
CREATE TEMP VIEW periods AS
WITH seen AS (
	SELECT h.id::text AS row_key, h.version, h.valid_from, h.operation, h.note,
		   lag(h.note) OVER w AS before, lag(h.operation) OVER w AS operation_before
	  FROM (SELECT k.id, r.version, r.valid_from, r.operation, r.row_data->>'note' AS note
			  FROM generate_series(0, 12) k (id), eventsource.row_history('account', k.id::text, 'occurred') r) h
	WINDOW w AS (PARTITION BY h.id ORDER BY h.version)),
starts AS (
	SELECT * FROM seen WHERE operation = 'insert' OR operation = 'delete' OR note IS DISTINCT FROM before)
SELECT * FROM (SELECT row_key, note AS value, valid_from, lead(valid_from) OVER (PARTITION BY row_key ORDER BY version) AS valid_to, version, operation FROM starts) x
 WHERE operation <> 'delete';
SELECT is_empty($$ (SELECT row_key, value, valid_from, valid_to, version FROM periods EXCEPT ALL
	  SELECT row_key, value, valid_from, valid_to, version FROM eventsource.attribute_periods('account', 'note', basis => 'occurred') WHERE row_key <> '100')
	UNION ALL (SELECT row_key, value, valid_from, valid_to, version FROM eventsource.attribute_periods('account', 'note', basis => 'occurred') WHERE row_key <> '100' EXCEPT ALL
	  SELECT row_key, value, valid_from, valid_to, version FROM periods) $$, 'beside a window function over the rows');
SELECT is_empty($$ SELECT 1 FROM eventsource.attribute_periods('account', 'balance') WHERE is_current IS DISTINCT FROM (valid_to IS NULL) $$, 'what lasts is current');
SELECT is_empty($$ (SELECT row_key::int, value::numeric FROM eventsource.attribute_periods('account', 'balance') WHERE is_current
	EXCEPT SELECT id, balance FROM account) $$, 'and is what the table says');

-- The state and the row of a stream.
SELECT pg_temp.same_rows($$ SELECT stream_name, version, state, row_data, events FROM eventsource.replay('hist-100', '2024-03-15', 'occurred', 'account') $$,
	$$ VALUES ('hist-100', 4::bigint, NULL::text, '{"id": 100, "balance": 5, "note": "hello"}'::jsonb, 4::bigint) $$, 'replay at a moment');
SELECT is_empty($$ SELECT * FROM eventsource.replay('hist-100', '2023-01-01', 'occurred') $$, 'before the stream: nothing');
SELECT is_empty($$ SELECT a.id FROM account a, eventsource.replay('hist-' || a.id, target => 'account') r
	WHERE r.row_data IS DISTINCT FROM to_jsonb(a) OR r.events <> r.version $$, 'replay of all: the rows of the table');

-- A column that comes later.
ALTER TABLE account ADD COLUMN extra int DEFAULT 7;
SELECT is(a, ROW(100, 5, 'hello', 7)::account, 'has its default in the past, as a new fold would give it')
  FROM eventsource.as_of(NULL::account, '2024-03-15', '100', 'occurred') a;

-- Refusals.
CREATE TABLE plain (id int);
CREATE TYPE pair AS (a int, b int);
SELECT pg_temp.refuses($$ SELECT * FROM eventsource.as_of(NULL::plain, now()) $$, '42809', 'plain has no past to tell', 'an ordinary table');
SELECT pg_temp.refuses($$ SELECT * FROM eventsource.as_of(NULL::pair, now()) $$, '42809', 'pair has no past to tell', 'a type of no table');
SELECT pg_temp.refuses($$ SELECT eventsource.as_of(1, now()) $$, '42809', 'as_of needs to know the table', 'a number');
SELECT pg_temp.refuses($$ SELECT * FROM eventsource.as_of(NULL::account, NULL) $$, '22004', 'as_of needs a moment', 'no moment');
SELECT pg_temp.refuses($$ SELECT * FROM eventsource.as_of(NULL::account, now(), basis => 'guessed') $$, '22023', 'unknown basis "guessed"', 'a third clock');
SELECT pg_temp.refuses($$ SELECT * FROM eventsource.row_history('total', 'a') $$, '42809', 'row_history needs a table that has one row per stream', 'the history of a shared row');
SELECT pg_temp.refuses($$ SELECT * FROM eventsource.attribute_periods('account', 'none') $$, '42703', 'column "none" does not exist', 'an unknown column');
SELECT pg_temp.refuses($$ SELECT * FROM eventsource.replay('other-1', target => 'account') $$, '22023', 'events of category "other" make no rows of account', 'a stream of another category');
CREATE ROLE hist_reader;
SELECT eventsource.grant_reader('hist_reader') IS NULL AS done \gset
GRANT SELECT (id, note) ON account TO hist_reader;
SET LOCAL ROLE hist_reader;
SELECT pg_temp.refuses($$ SELECT * FROM eventsource.as_of(NULL::account, now()) $$, '42501', 'permission denied for table account', 'a row with a column one may not see');
SELECT isnt_empty($$ SELECT * FROM eventsource.attribute_periods('account', 'note') $$, 'a column that one may');
RESET ROLE;
GRANT SELECT ON account TO hist_reader;
ALTER TABLE account ENABLE ROW LEVEL SECURITY;
SET LOCAL ROLE hist_reader;
SELECT pg_temp.refuses($$ SELECT * FROM eventsource.as_of(NULL::account, now()) $$, '42501', 'row security applies to table account', 'row security');
RESET ROLE;
SELECT isnt_empty($$ SELECT * FROM eventsource.as_of(NULL::account, 'infinity') $$, 'but not to its owner');

-- Events that find no row and make none tell nothing of it.
CREATE TABLE hist_gone (id text PRIMARY KEY, n int NOT NULL DEFAULT 0, note text);
SELECT eventsource.create_projection('hist_gone', '{histgone}', '{"made": "n = 1, note = repeat(''x'', event.version::int * 400)", "gone": "DELETE", "more": {"set": "n = row.n + 1", "missing": "skip"}}') AS version \gset
SELECT count(eventsource.append('histgone-1', type)) AS n FROM unnest('{gone,made,gone,more,made,gone,more,gone}'::text[]) type \gset
SELECT pg_temp.same_rows($$ SELECT version, operation, type, row_data->'n', valid_to IS NULL FROM eventsource.row_history('hist_gone', '1') $$,
	$$ VALUES (2, 'insert', 'made', '1', false), (3, 'delete', 'gone', NULL, false), (5, 'insert', 'made', '1', false), (6, 'delete', 'gone', NULL, true) $$, 'a row that was deleted and not there');

SELECT * FROM finish();
ROLLBACK;
