\set ECHO none
\i test/helpers.sql
-- window_funnel and state_agg: at their boundaries, against twins in plain SQL that try everything, in parallel, and with what nobody would send.
BEGIN;
SELECT plan(104);
SET LOCAL timezone = 'UTC';
SET LOCAL datestyle = 'ISO';
SET LOCAL intervalstyle = 'postgres';

-- ---- window_funnel ----

-- Events "a@0 bc@10": the stages that each is, and a second; "steps": the stages. * is none.
CREATE FUNCTION pg_temp.wf(events text, steps text, seconds numeric DEFAULT 10000, mode text DEFAULT '') RETURNS integer LANGUAGE sql AS $$
	SELECT eventsource.window_funnel(make_interval(secs => seconds::float8), mode, to_timestamp(split_part(e, '@', 2)::float8),
			VARIADIC ARRAY(SELECT position(s IN split_part(e, '@', 1)) > 0 FROM unnest(string_to_array(steps, NULL)) WITH ORDINALITY x (s, n) ORDER BY n))
	  FROM unnest(string_to_array(events, ' ')) e
$$;
SELECT is(pg_temp.wf('a@0 b@1 c@2', 'a'), 1, 'one stage');
SELECT is(pg_temp.wf('a@0 b@1 c@2 d@3', 'abd'), 3, 'what comes in between does not matter');
SELECT is(pg_temp.wf('a@0 b@10', 'ab', 10), 2, 'exactly the period is within it');
SELECT is(pg_temp.wf('a@0 b@10.000001', 'ab', 10), 1, 'and a microsecond more is not');
SELECT is(pg_temp.wf('a@0 b@0', 'ab', 0), 2, 'a period of nothing takes what is at once');
SELECT is(pg_temp.wf('a@0 b@20 a@30 b@35 c@36', 'abc', 10), 3, 'another beginning counts');
SELECT is(pg_temp.wf('a@0 a@5 b@12 c@15', 'abc', 10), 3, 'the one that can go on for longest does');
SELECT is(pg_temp.wf('b@5 a@0', 'ab'), 2, 'by time, not by input');
SELECT is(pg_temp.wf('b@0 a@5', 'ab'), 1, 'in order');
SELECT is(pg_temp.wf('b@0 a@0', 'ab'), 2, 'of equal times the earlier condition is first');
SELECT is(pg_temp.wf('*@0', 'ab'), 0, 'nothing');
SELECT is(pg_temp.wf('b@0 c@1', 'abc'), 0, 'no beginning');
SELECT is((SELECT eventsource.window_funnel('1 hour', '', now(), true) WHERE false), 0, 'no rows');
SELECT is(eventsource.window_funnel('1 hour', '', NULL, true), 0, 'no time, no event');
SELECT is(eventsource.window_funnel('1 hour', '', now(), NULL, true), 0, 'NULL does not hold');
SELECT is(eventsource.window_funnel('1 hour', NULL, now(), true, true, NULL), 2, 'no mode, and one event for two conditions');
SELECT is(eventsource.window_funnel('1 hour', '', now(), VARIADIC '{}'), 0, 'no conditions');
SELECT is(eventsource.window_funnel('1 hour', '', now(), VARIADIC '{{t,t},{t,f}}'), 3, 'an array of arrays is its elements');
SELECT is(eventsource.window_funnel(NULL, '', ts, a, b), 2, 'no period is no limit') FROM (VALUES ('-infinity'::timestamptz, true, false), ('infinity', false, true)) x (ts, a, b);
SELECT is(eventsource.window_funnel('1 year', '', ts, a, b), 1, 'infinity is in no period') FROM (VALUES (now(), true, false), ('infinity', false, true)) x (ts, a, b);
SELECT is(eventsource.window_funnel('1 year', '', ts, a, b), 2, 'but in its own') FROM (VALUES ('infinity'::timestamptz, true, false), ('infinity', false, true)) x (ts, a, b);
SELECT is(eventsource.window_funnel('1 year', '', ts, a, b), 1, 'and nothing is in that of -infinity') FROM (VALUES ('-infinity'::timestamptz, true, false), (now(), false, true)) x (ts, a, b);
SELECT is(eventsource.window_funnel('178000000 years', '', ts, a, b), 2, 'a period beyond the end of time has none') FROM (VALUES (now(), true, false), ('294276-12-31', false, true)) x (ts, a, b);
SELECT is(eventsource.window_funnel('1 second', '', ts, a, b), 1, 'nor is there an error near it') FROM (VALUES ('294276-12-31 23:59:59.9'::timestamptz, true, false), ('infinity', false, true)) x (ts, a, b);
SELECT is(eventsource.window_funnel('1 month', '', ts, a, b), 2, 'a month is one of the calendar') FROM (VALUES ('2026-01-15 10:00'::timestamptz, true, false), ('2026-02-15 10:00', false, true)) x (ts, a, b);
SELECT is(eventsource.window_funnel('1 month', '', ts, a, b), 1, 'to the microsecond') FROM (VALUES ('2026-01-15 10:00'::timestamptz, true, false), ('2026-02-15 10:00:00.000001', false, true)) x (ts, a, b);
SELECT is(eventsource.window_funnel('1 year', '', ts, a, b), 2, 'of 29 February too') FROM (VALUES ('2024-02-29'::timestamptz, true, false), ('2025-02-28', false, true)) x (ts, a, b);
SELECT is(eventsource.window_funnel('1 month', '', ts, a, b), 2, 'who began earlier may go on for longer')
  FROM (VALUES ('2026-01-30 23:00'::timestamptz, true, false), ('2026-01-31 01:00', true, false), ('2026-02-28 12:00', false, true)) x (ts, a, b);
SET LOCAL timezone = 'Europe/Berlin';
SELECT is(eventsource.window_funnel('1 day', '', ts, a, b), 2, 'a day is one of the time zone: of 25 hours in autumn') FROM (VALUES ('2026-10-24 12:00'::timestamptz, true, false), ('2026-10-25 12:00', false, true)) x (ts, a, b);
SELECT is(eventsource.window_funnel('24 hours', '', ts, a, b), 1, 'which are not 24 hours') FROM (VALUES ('2026-10-24 12:00'::timestamptz, true, false), ('2026-10-25 12:00', false, true)) x (ts, a, b);
SET LOCAL timezone = 'UTC';

SELECT is(pg_temp.wf('a@0 b@10 c@20 d@30 e@40 f@50 f@51 g@60', 'abcdefg'), 7, 'a repeated stage does not matter');
SELECT is(pg_temp.wf('a@0 b@10 c@20 d@30 e@40 f@50 f@51 g@60', 'abcdefg', mode => 'strict_deduplication'), 6, 'strict_deduplication: it ends it');
SELECT is(pg_temp.wf('a@0 a@1 b@2', 'ab', mode => 'strict_deduplication'), 2, 'but for the first');
SELECT is(pg_temp.wf('a@0 b@1 b@1 c@2', 'abc', mode => 'strict_deduplication'), 2, 'twice at one time is repeated');
SELECT is(pg_temp.wf('a@1 *@2 b@3 c@4', 'abc', mode => 'strict_order'), 1, 'strict_order: something else in between ends it');
SELECT is(pg_temp.wf('*@0 a@1 b@3 c@4', 'abc', mode => 'strict_order'), 3, 'but not before');
SELECT is(pg_temp.wf('a@1 b@2 *@2 c@4', 'abc', mode => 'strict_order'), 1, 'and what is else counts first at its time');
SELECT is(pg_temp.wf('a@1 a@2 b@3 b@4 c@5 c@6', 'abc', mode => 'strict_order'), 3, 'stages may repeat');
SELECT is(pg_temp.wf('a@1 c@2 b@3 c@4', 'abc', mode => 'strict_order'), 1, 'a stage that comes too early ends it');
SELECT is(pg_temp.wf('a@1 c@2 b@3 c@4', 'abc', mode => 'strict_order, allow_reentry'), 3, 'but not with allow_reentry');
SELECT is(pg_temp.wf('a@0 b@1 c@1 d@1 e@2', 'abcde', mode => 'strict_increase'), 2, 'strict_increase: each later than the one before');
SELECT is(pg_temp.wf('a@0 a@1 b@1', 'ab', mode => 'strict_increase'), 2, 'than some before: a beginning at the same time hides no other');
SELECT is(pg_temp.wf('a@0 b@1 c@2', 'aab', mode => 'strict_increase'), 1, 'one event is two stages, but only one of them at its time');
SELECT is(pg_temp.wf('e@2', 'eee'), 3, 'one event is all stages that it is');
SELECT is(pg_temp.wf('e@2', 'eee', mode => 'strict_once'), 1, 'strict_once: one of them');
SELECT is(pg_temp.wf('e@2 e@2 e@2', 'eeee', mode => 'strict_once'), 3, 'three events are three, also at one time');
SELECT is(pg_temp.wf('ab@2 a@2', 'ab', mode => 'strict_once'), 2, 'whichever is which');
SELECT is(pg_temp.wf('abc@1 ab@1 b@1 c@1', 'abcc', mode => 'strict_once'), 4, 'they are matched');
SELECT is(pg_temp.wf('s@0 a@1 b@2 a@3 z@4', 'sabaz', mode => ' strict_once , strict_increase'), 5, 'modes are joined by commas, spaces do not matter');

SELECT pg_temp.refuses($$ SELECT eventsource.window_funnel('1 h', 'loose', now(), true) $$, '22023', 'mode "loose" is unknown', 'modes are known');
SELECT pg_temp.refuses($$ SELECT eventsource.window_funnel('1 h', 'strict_once,', now(), true) $$, '22023', 'mode "strict_once," is unknown', 'an empty one among others is none');
SELECT pg_temp.refuses($$ SELECT eventsource.window_funnel('1 h', 'strict_on', now(), true) $$, '22023', 'mode "strict_on" is unknown', 'nor is a part of one');
SELECT pg_temp.refuses($$ SELECT eventsource.window_funnel('-1 us', '', now(), true) $$, '22023', 'the period of a funnel is negative', 'a period is not negative');
SELECT pg_temp.refuses($$ SELECT eventsource.window_funnel('1 month -31 days', '', now(), true) $$, '22023', 'the period of a funnel is negative', 'by PostgreSQL''s order of intervals');
SELECT pg_temp.refuses($$ SELECT eventsource.window_funnel('1 h', '', now(), VARIADIC NULL::boolean[]) $$, '22004', 'the conditions of a funnel must not be null', 'there are conditions');
SELECT pg_temp.refuses($$ SELECT eventsource.window_funnel('1 h', '', now(), VARIADIC array_fill(true, '{65}')) $$, '54000', 'a funnel of 65 conditions is too deep', 'up to 64');
SELECT is(eventsource.window_funnel('1 h', '', now(), VARIADIC array_fill(true, '{64}')), 64, 'which are possible');
SELECT is(eventsource.window_funnel('1 h', 'strict_once', now(), VARIADIC array_fill(true, '{64}')), 64, 'also once each') FROM generate_series(1, 64);
SELECT is(eventsource.window_funnel('1 h', 'strict_once', now(), VARIADIC array_fill(true, '{64}')), 63, 'and no more than there are') FROM generate_series(1, 63);
SELECT pg_temp.refuses($$ SELECT eventsource.window_funnel(p, '', now(), true) FROM (VALUES (interval '1 h'), ('2 h')) x (p) $$, '22023', 'the period of a funnel changes from row to row', 'one period in a group');
SELECT pg_temp.refuses($$ SELECT eventsource.window_funnel(p, '', now(), true) FROM (VALUES (interval '1 h'), (NULL)) x (p) $$, '22023', 'the period of a funnel changes from row to row', 'or none');
SELECT pg_temp.refuses($$ SELECT eventsource.window_funnel('1 h', m, now(), true) FROM (VALUES ('strict_once'), ('strict_order')) x (m) $$, '22023', 'the mode of a funnel changes from row to row', 'one mode');
SELECT pg_temp.refuses($$ SELECT eventsource.window_funnel('1 h', '', now(), VARIADIC c) FROM (VALUES ('{t}'::boolean[]), ('{t,t}')) x (c) $$, '22023', 'the number of conditions of a funnel changes from row to row', 'and as many conditions');
SELECT pg_temp.refuses($$ SELECT eventsource.window_funnel('1 h', '', ts, VARIADIC '{t}') FROM generate_series('2026-01-01'::timestamptz, '2026-01-01'::timestamptz + 5000000 * interval '1 ms', '1 ms') ts $$,
	'54000', 'a funnel of more than 5000000 events is too large', 'memory has a limit');
SELECT is((SELECT array_agg(x) FROM (SELECT eventsource.window_funnel('10 s', '', ts, a, b) OVER (ORDER BY n) AS x FROM (VALUES (1, to_timestamp(5), false, true), (2, to_timestamp(0), true, false), (3, to_timestamp(9), false, true)) v (n, ts, a, b)) y),
	'{0,2,2}', 'as a window function, whose rows go on after each result');

-- The twin keeps every chain there is: when it began, when its last event was, which events it took.
CREATE FUNCTION pg_temp.twin(ats timestamptz[], conditions jsonb, period interval, mode text, depth integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
	modes CONSTANT text[] := string_to_array(mode, ',');
	best integer := 0;
	g record;
	had boolean;
BEGIN
	CREATE TEMP TABLE IF NOT EXISTS chain (level integer, began timestamptz, last timestamptz, path integer[]);
	DELETE FROM chain;
	FOR g IN SELECT e.ts, l.level, array_agg(e.n) AS events
			   FROM unnest(ats) WITH ORDINALITY e (ts, n)
			  CROSS JOIN LATERAL (SELECT i AS level FROM generate_series(1, depth) i WHERE (conditions->(e.n::integer - 1)->>(i - 1))::boolean
								  UNION ALL SELECT 0 WHERE NOT coalesce((SELECT bool_or(c::boolean) FROM jsonb_array_elements_text(conditions->(e.n::integer - 1)) c), false)) l
			  GROUP BY e.ts, l.level ORDER BY e.ts, l.level LOOP
		had := EXISTS (SELECT FROM chain c WHERE c.level = g.level);
		EXIT WHEN g.level = 0 AND 'strict_order' = ANY (modes) AND best > 0;
		CONTINUE WHEN g.level = 0;
		EXIT WHEN g.level > 1 AND 'strict_deduplication' = ANY (modes) AND had;
		IF g.level = 1 THEN
			INSERT INTO chain SELECT 1, g.ts, g.ts, ARRAY[n] FROM unnest(g.events) n;
		ELSIF NOT EXISTS (SELECT FROM chain c WHERE c.level = g.level - 1) THEN
			EXIT WHEN 'strict_order' = ANY (modes) AND best > 0 AND NOT 'allow_reentry' = ANY (modes);
		ELSE
			INSERT INTO chain
			SELECT DISTINCT g.level, c.began, g.ts, CASE WHEN 'strict_once' = ANY (modes) THEN c.path || n END
			  FROM chain c, unnest(g.events) n
			 WHERE c.level = g.level - 1 AND g.ts <= c.began + period
			   AND NOT ('strict_increase' = ANY (modes) AND c.last >= g.ts) AND NOT ('strict_once' = ANY (modes) AND n = ANY (c.path));
		END IF;
		best := coalesce((SELECT max(level) FROM chain), 0);
		EXIT WHEN g.level > 1 AND 'strict_deduplication' = ANY (modes) AND cardinality(g.events) > 1 AND EXISTS (SELECT FROM chain c WHERE c.level = g.level);
	END LOOP;
	RETURN best;
END
$$;
CREATE TEMP TABLE mode AS
SELECT array_to_string(ARRAY(SELECT m FROM unnest('{strict_deduplication,strict_order,strict_increase,strict_once,allow_reentry}'::text[]) WITH ORDINALITY x (m, i) WHERE n & (1 << (i::integer - 1)) > 0), ',') AS mode
  FROM generate_series(0, 31) n;
-- Times are few, so that many are equal; in the second family they are about the end of January, and periods are months.
CREATE FUNCTION pg_temp.funnel_differences(cases integer, months boolean) RETURNS TABLE (mode text, difference text) LANGUAGE plpgsql AS $$
DECLARE
	depth integer;
	period interval;
	ats timestamptz[];
	conditions jsonb;
	m record;
	have integer;
	want integer;
BEGIN
	FOR i IN 1 .. cases LOOP
		depth := 1 + floor(random() * 4);
		SELECT array_agg(CASE WHEN months THEN '2026-01-28'::timestamptz + floor(random() * 150) * interval '6 hours' ELSE '2026-01-01'::timestamptz + floor(random() * 6) * interval '1 s' END),
			   jsonb_agg((SELECT jsonb_agg(random() < 0.4) FROM generate_series(1, depth)))
		  INTO ats, conditions FROM generate_series(1, floor(random() * 9)::integer) n;
		period := CASE WHEN months THEN make_interval(months => floor(random() * 2)::integer, days => floor(random() * 3)::integer, hours => floor(random() * 20)::integer) ELSE make_interval(secs => floor(random() * 6)) END;
		FOR m IN SELECT x.mode FROM mode x LOOP
			want := pg_temp.twin(ats, conditions, period, m.mode, depth);
			SELECT eventsource.window_funnel(period, m.mode, e.ts, VARIADIC ARRAY(SELECT c::boolean FROM jsonb_array_elements_text(conditions->(e.n::integer - 1)) WITH ORDINALITY y (c, k) ORDER BY k)) INTO have
			  FROM (SELECT * FROM unnest(ats) WITH ORDINALITY x (ts, n) ORDER BY random()) e;
			IF have IS DISTINCT FROM want THEN
				mode := m.mode;
				difference := format('%s instead of %s: %s %s %s', have, want, period, ats, conditions);
				RETURN NEXT;
			END IF;
		END LOOP;
	END LOOP;
END
$$;
SELECT setseed(0.8) \g /dev/null
SELECT is_empty($$ SELECT * FROM pg_temp.funnel_differences(60, false) $$, 'each combination of modes finds what trying all chains finds');
SELECT is_empty($$ SELECT * FROM pg_temp.funnel_differences(15, true) $$, 'also with months and days');

-- ---- in parallel ----

CREATE TABLE public.aggregates_row AS
SELECT n % 50 AS who, '2026-01-01'::timestamptz + (n * 7919 % 100003) * interval '1 s' AS ts, n % 11 = 0 AS a, n % 13 = 0 AS b, n % 17 = 0 AS c FROM generate_series(1, 40000) n;
ANALYZE public.aggregates_row;
CREATE FUNCTION pg_temp.plan_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	line text;
	plan text := '';
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS off) ' || query LOOP
		plan := plan || line;
	END LOOP;
	RETURN plan;
END
$$;
-- Answers without workers, then with them.
CREATE FUNCTION pg_temp.answers() RETURNS TABLE (mode text, who integer, level integer) LANGUAGE plpgsql AS $$
BEGIN
	FOR mode IN SELECT m.mode FROM mode m LOOP
		RETURN QUERY EXECUTE format('SELECT %1$L, NULL::integer, eventsource.window_funnel(''1 h'', %1$L, ts, a, b, c) FROM public.aggregates_row', mode);
		RETURN QUERY EXECUTE format('SELECT %1$L, who, eventsource.window_funnel(''2 h'', %1$L, ts, a, b, c) FROM public.aggregates_row GROUP BY who', mode);
	END LOOP;
END
$$;
SET LOCAL max_parallel_workers_per_gather = 0;
CREATE TEMP TABLE alone AS SELECT * FROM pg_temp.answers();
SET LOCAL parallel_setup_cost = 0;
SET LOCAL parallel_tuple_cost = 0;
SET LOCAL min_parallel_table_scan_size = 0;
SET LOCAL max_parallel_workers_per_gather = 2;
SELECT matches(pg_temp.plan_of($$ SELECT eventsource.window_funnel('1 h', '', ts, a, b, c) FROM public.aggregates_row $$), 'Finalize Aggregate.*Gather.*Partial Aggregate', 'workers gather, and are put together');
CREATE TEMP TABLE together AS SELECT * FROM pg_temp.answers();
SELECT is((SELECT count(DISTINCT level) FROM alone) > 2, true, 'answers differ by mode and group');
SELECT is_empty($$ (SELECT * FROM alone EXCEPT ALL SELECT * FROM together) UNION ALL (SELECT * FROM together EXCEPT ALL SELECT * FROM alone) $$, 'and workers together answer as one alone does');
SELECT pg_temp.refuses($$ SELECT eventsource.window_funnel(CASE WHEN a THEN interval '1 h' ELSE '2 h' END, '', ts, a) FROM public.aggregates_row $$, '22023', 'the period of a funnel changes from row to row', 'or refuses');
SET LOCAL max_parallel_workers_per_gather = 0;

-- ---- state_agg ----

CREATE TEMP TABLE sample (ts timestamptz, state text);
INSERT INTO sample VALUES ('2026-01-01 00:00', 'START'), ('2026-01-01 00:00:11', 'OK'), ('2026-01-01 00:00:30', 'OK'), ('2026-01-01 00:01', 'ERROR'), ('2026-01-01 00:01:03', 'OK'), ('2026-01-01 00:02', 'STOP');
SELECT eventsource.state_agg(ts, state) AS agg FROM sample \gset
SELECT pg_temp.same_rows(format($$ SELECT * FROM eventsource.state_timeline(%L) $$, :'agg'), $$ VALUES ('START', '2026-01-01 00:00'::timestamptz, '2026-01-01 00:00:11'::timestamptz), ('OK', '2026-01-01 00:00:11', '2026-01-01 00:01'),
	('ERROR', '2026-01-01 00:01', '2026-01-01 00:01:03'), ('OK', '2026-01-01 00:01:03', '2026-01-01 00:02'), ('STOP', '2026-01-01 00:02', '2026-01-01 00:02') $$, 'what the Toolkit''s page shows: states in order, one for each change');
SELECT is(eventsource.duration_in(:'agg', 'OK'), interval '1 min 46 s', 'how long one held');
SELECT is(eventsource.duration_in(:'agg', 'STOP'), interval '0', 'the last one until the last row');
SELECT is(eventsource.duration_in(:'agg', 'nope'), interval '0', 'one that never was');
SELECT is(eventsource.duration_in(:'agg', 'OK', '2026-01-01 00:00:50', '20 s'), interval '17 s', 'within a time');
SELECT is(eventsource.duration_in(:'agg', 'OK', period => '15 s'), interval '4 s', 'from the first row');
SELECT is(eventsource.duration_in(:'agg', 'OK', '2026-01-01 00:01:30'), interval '30 s', 'to the last');
SELECT is(eventsource.duration_in(NULL, 'OK'), NULL, 'of nothing nothing is said');
SELECT pg_temp.same_rows(format($$ SELECT * FROM eventsource.into_values(%L) $$, :'agg'), $$ VALUES ('ERROR', interval '3 s'), ('OK', '1 min 46 s'), ('START', '11 s'), ('STOP', '0') $$, 'each state and how long it held');
SELECT pg_temp.same_rows(format($$ SELECT * FROM eventsource.state_periods(%L, 'OK') $$, :'agg'), $$ VALUES ('2026-01-01 00:00:11'::timestamptz, '2026-01-01 00:01'::timestamptz), ('2026-01-01 00:01:03', '2026-01-01 00:02') $$, 'when one held');
SELECT is(ARRAY(SELECT eventsource.state_at(:'agg'::eventsource.state_period[], t) FROM unnest('{2025-12-31 23:59:59.999999,2026-01-01,2026-01-01 00:00:10.999999,2026-01-01 00:00:11,2026-01-01 00:02,infinity}'::timestamptz[]) t), '{NULL,START,START,OK,STOP,STOP}', 'what was the state: inclusive of when it began');
SELECT pg_temp.same_rows(format($$ SELECT * FROM eventsource.interpolated_state_timeline(%L, '2026-01-01 00:01:50', '1 min') $$, :'agg'), $$ VALUES ('OK', '2026-01-01 00:01:50'::timestamptz, '2026-01-01 00:02'::timestamptz), ('STOP', '2026-01-01 00:02', '2026-01-01 00:02:50') $$, 'the last state holds on');
SELECT is(eventsource.interpolated_duration_in(:'agg', 'STOP', '2026-01-01 00:01:50', '1 min'), interval '50 s', 'so long');
SELECT is(ARRAY(SELECT (p.start_time, p.end_time)::text FROM eventsource.interpolated_state_periods(:'agg', 'NEW', '2025-12-31 23:59:50', '1 min', '{"(NEW,2025-01-01,2025-01-01)"}') p), '{"(\"2025-12-31 23:59:50+00\",\"2026-01-01 00:00:00+00\")"}', 'and what was before holds until the first');
SELECT is(ARRAY(SELECT t::text FROM eventsource.interpolated_state_timeline(NULL, '2026-01-01', '1 day', :'agg') t), '{"(STOP,\"2026-01-01 00:02:00+00\",\"2026-01-02 00:00:00+00\")"}', 'also where nothing came after it');
SELECT is((SELECT eventsource.state_agg(ts, state) FROM sample WHERE false), NULL, 'without rows there is nothing');
SELECT is(eventsource.state_agg(ts, s)::text, '{"(a,\"2026-01-01 00:00:00+00\",\"2026-01-01 00:00:00+00\")"}', 'what is NULL does not count') FROM (VALUES ('2026-01-01'::timestamptz, 'a'), (NULL, 'b'), ('2026-01-02', NULL)) x (ts, s);
SELECT is(eventsource.state_agg(ts, s ORDER BY n)::text, '{"(b,\"2026-01-01 00:00:00+00\",\"2026-01-01 00:00:00+00\")"}', 'of equal times the last counts') FROM (VALUES (1, '2026-01-01'::timestamptz, 'a'), (2, '2026-01-01', 'b')) x (n, ts, s);
SELECT is(eventsource.state_agg(ts, s ORDER BY n DESC)::text, '{"(a,\"2026-01-01 00:00:00+00\",\"2026-01-01 00:00:00+00\")"}', 'in the order that was asked for') FROM (VALUES (1, '2026-01-01'::timestamptz, 'a'), (2, '2026-01-01', 'b')) x (n, ts, s);
SELECT pg_temp.refuses($$ SELECT eventsource.state_agg('infinity', 'a') $$, '22023', 'a state cannot begin at an infinite time', 'a time is one');
SELECT pg_temp.refuses($$ SELECT eventsource.state_agg('2026-01-01'::timestamptz + n * interval '1 s', n || repeat('x', 1000000)) FROM generate_series(1, 270) n $$, '54000', '270 periods of states are too many for one value', 'a value has a limit');
CREATE TEMP TABLE kept AS SELECT eventsource.state_agg(ts, state) AS agg FROM sample;
SELECT is((SELECT agg::text::eventsource.state_period[] FROM kept), (SELECT agg FROM kept), 'it is a value like any other: as text and back');
SELECT is((SELECT array_agg(s ORDER BY n) FROM (SELECT n, eventsource.state_at(eventsource.state_agg(to_timestamp(t), s) OVER (ORDER BY n), to_timestamp(5)) AS s FROM (VALUES (1, 5, 'c'), (2, 1, 'a'), (3, 5, 'd')) v (n, t, s)) y), '{c,c,d}', 'as a window function, whose rows go on after each result');

-- A second is counted for the state whose row came last before it.
CREATE TEMP TABLE tick (run integer, n integer, t integer, state text);
INSERT INTO tick SELECT r, n, floor(random() * 40), chr(97 + floor(random() * 4)::integer) FROM generate_series(1, 60) r, generate_series(1, 1 + r % 20) n;
CREATE TEMP TABLE gathered AS SELECT run, eventsource.state_agg(to_timestamp(t), state ORDER BY n) AS agg, min(t) AS first_t, max(t) AS last_t FROM tick GROUP BY run;
CREATE FUNCTION pg_temp.state_of(run integer, t integer) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT k.state FROM tick k WHERE k.run = state_of.run AND k.t <= state_of.t ORDER BY k.t DESC, k.n DESC LIMIT 1
$$;
CREATE TEMP TABLE second AS SELECT g.run, t, pg_temp.state_of(g.run, t) AS state FROM gathered g, generate_series(-2, 45) t;
SELECT is_empty($$ SELECT s.* FROM second s JOIN gathered g USING (run) WHERE eventsource.state_at(g.agg, to_timestamp(s.t)) IS DISTINCT FROM s.state $$, 'state_at() is what plain SQL says, each second of sixty random histories');
SELECT is_empty($$ SELECT g.run, x.state, w.start_at, w.long FROM gathered g, unnest('{a,b,c,d}'::text[]) x (state), (SELECT a AS start_at, b AS long FROM generate_series(-1, 41, 6) a, generate_series(0, 30, 5) b) w
	WHERE eventsource.duration_in(g.agg, x.state, to_timestamp(w.start_at), make_interval(secs => w.long))
		  <> (SELECT count(*) FROM second s WHERE s.run = g.run AND s.state = x.state AND s.t >= w.start_at AND s.t < w.start_at + w.long AND s.t < g.last_t) * interval '1 s' $$, 'so is duration_in(), within any time');
SELECT is_empty($$ SELECT g.run, v.state FROM gathered g, eventsource.into_values(g.agg) v WHERE v.duration <> (SELECT count(*) FROM second s WHERE s.run = g.run AND s.state = v.state AND s.t < g.last_t) * interval '1 s' $$, 'and into_values()');
SELECT is_empty($$ SELECT g.run, x.state, w.start_at, w.long FROM gathered g, unnest('{a,b,c,d}'::text[]) x (state), (SELECT a AS start_at, b AS long FROM generate_series(-1, 41, 6) a, generate_series(0, 30, 5) b) w
	WHERE w.start_at + w.long <= 46 AND eventsource.interpolated_duration_in(g.agg, x.state, to_timestamp(w.start_at), make_interval(secs => w.long), '{"(b,1960-01-01,1960-01-02)"}')
		  <> (SELECT count(*) FROM second s WHERE s.run = g.run AND coalesce(s.state, 'b') = x.state AND s.t >= w.start_at AND s.t < w.start_at + w.long) * interval '1 s' $$, 'and interpolated_duration_in(), after a state before');
SELECT is_empty($$ SELECT run FROM gathered g, eventsource.state_timeline(g.agg) WITH ORDINALITY a JOIN eventsource.state_timeline(g.agg) WITH ORDINALITY b ON b.ordinality = a.ordinality + 1 WHERE a.end_time <> b.start_time OR a.state = b.state $$,
	'each period ends where the next begins, with another state');
SELECT is(eventsource.state_at(eventsource.state_agg('2026-01-01'::timestamptz + n * interval '1 s', 's' || n * 7919 % 5003), '2026-01-01 05:00:00'), 's' || 18000 * 7919 % 5003, 'thousands of states') FROM generate_series(1, 30000) n;

-- ---- what nobody would send ----

-- An answer or a clean error, the same whatever the order of the rows.
CREATE FUNCTION pg_temp.told(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	EXECUTE query INTO answer;
	RETURN answer;
EXCEPTION WHEN OTHERS THEN
	RETURN CASE WHEN SQLSTATE ~ '^(22|54)' THEN 'refused' ELSE SQLSTATE || SQLERRM END;
END
$$;
CREATE TEMP TABLE odd (n integer, ts timestamptz, holds boolean[], state text);
CREATE TEMP TABLE heard (run integer, query text, answer text, again text);
DO $$
DECLARE
	q text;
	depth integer;
BEGIN
	FOR run IN 1 .. 400 LOOP
		DELETE FROM odd;
		depth := (ARRAY[0, 1, 2, 3, 8, 30, 63, 64, 65])[1 + floor(random() * 9)::integer];
		INSERT INTO odd SELECT n, CASE floor(random() * 12)::integer WHEN 0 THEN NULL WHEN 1 THEN 'infinity' WHEN 2 THEN '-infinity' WHEN 3 THEN '294276-12-31 23:59:59.999999' WHEN 4 THEN '4713-01-01 BC'
					ELSE '2026-01-30'::timestamptz + floor(random() * 20) * interval '7 hours' END,
				CASE WHEN depth = 0 THEN '{}' ELSE (SELECT array_agg(CASE WHEN random() < 0.5 THEN random() < 0.5 WHEN random() < 0.1 THEN NULL ELSE run % 3 = 0 END) FROM generate_series(1, CASE WHEN random() < 0.001 THEN depth + 1 ELSE depth END)) END, chr(97 + n % 5)
		  FROM generate_series(1, (ARRAY[1, 5, 60, 200])[1 + run % 4]) n;
		q := format($q$ SELECT eventsource.window_funnel(%L, %L, ts, VARIADIC holds) FROM (SELECT * FROM odd ORDER BY %%s) o $q$,
			(ARRAY['0', '1 us', '1 day', '1 month', '1 month -2 days', '100000 years', '-1 day', '178000000 years', '1 mon 2147483647 days', NULL])[1 + floor(random() * 10)::integer],
			(SELECT m.mode FROM mode m ORDER BY random() LIMIT 1));
		INSERT INTO heard SELECT run, q, pg_temp.told(format(q, 'n')), pg_temp.told(format(q, 'random()'));
	END LOOP;
END
$$;
SELECT is((SELECT count(*) FROM heard WHERE answer ~ '^[0-9]+$') > 200, true, 'of random input some is answered');
SELECT is((SELECT count(*) FROM heard WHERE answer = 'refused') > 20, true, 'and some refused');
SELECT is_empty($$ SELECT * FROM heard WHERE answer !~ '^([0-9]+|refused)$' OR answer <> again $$, 'nothing else happens, and the order of rows does not matter');
-- Arrays that state_agg never made.
CREATE TEMP TABLE strange AS SELECT a::eventsource.state_period[] AS agg FROM unnest(ARRAY['{}', '{NULL}', '{"(,,)"}', '{"(a,,)","(a,2026-01-01,)","(a,,2026-01-01)"}', '{{"(a,2026-01-01,2026-01-02)"},{"(b,2026-01-05,2026-01-03)"}}',
	'[5:6]={"(a,2026-01-01,2026-01-02)",NULL}', '{"(a,infinity,-infinity)"}', NULL]) a;
SELECT is_empty($$ SELECT * FROM (SELECT agg, pg_temp.told(format('SELECT concat(eventsource.duration_in(%1$L, ''a''), eventsource.duration_in(%1$L, ''a'', ''2026-01-01'', ''1 day''), eventsource.state_at(%1$L::eventsource.state_period[], now()),
	eventsource.interpolated_duration_in(%1$L, ''a'', ''2026-01-01'', ''1 day'', %1$L), (SELECT count(*) FROM eventsource.state_timeline(%1$L)), (SELECT count(*) FROM eventsource.state_periods(%1$L, ''a'')),
	(SELECT count(*) FROM eventsource.into_values(%1$L)), (SELECT count(*) FROM eventsource.interpolated_state_periods(%1$L, ''a'', ''2026-01-01'', NULL)))', agg)) AS told FROM strange) x WHERE told ~ '^[0-9A-Z]{5}[a-z]' $$, 'are read, or refused');

SELECT * FROM finish();
ROLLBACK;
