-- projections.sql: an inline projection and two that follow the log. Used by
-- test/t/028_killed.pl.

CREATE TABLE counter (key text PRIMARY KEY, n bigint NOT NULL DEFAULT 0, last bigint);
CREATE TABLE mirror (key text PRIMARY KEY, n bigint NOT NULL DEFAULT 0, last bigint);
CREATE TABLE total (type text PRIMARY KEY, n bigint NOT NULL DEFAULT 0, last text);

-- Each event counts for so many.
CREATE FUNCTION torture.define(target regclass, step int) RETURNS bigint LANGUAGE sql AS $$
	SELECT eventsource.create_projection(target, '{order}',
		jsonb_build_object('*', CASE target::text WHEN 'total' THEN format('n = row.n + %s, last = event.stream', step)
												  ELSE format('n = row.n + %s, last = event.version', step) END),
		key => CASE target::text WHEN 'total' THEN '{"type": "event.type"}'::jsonb END,
		mode => CASE target::text WHEN 'counter' THEN 'inline' ELSE 'async' END)
$$;
SELECT torture.define(t, 1) FROM unnest(ARRAY['counter', 'mirror', 'total']::regclass[]) t;

-- Rows that are not the plain sums of all events; none once all have caught up.
CREATE FUNCTION torture.wrong_sums() RETURNS SETOF text LANGUAGE sql AS $$
WITH step AS MATERIALIZED (
	SELECT p.target::text AS name, substring(p.rules ->> '*' FROM 'n [+] ([0-9]+)')::bigint AS n FROM eventsource.projections p),
ev AS MATERIALIZED (SELECT e.* FROM eventsource.events e WHERE e.category = 'order'),
by_stream AS (SELECT e.key, count(*) AS events, max(e.version) AS last FROM ev e GROUP BY 1),
by_type AS (SELECT e.type, count(*) AS events, (array_agg(e.stream ORDER BY e.position DESC))[1] AS last FROM ev e GROUP BY 1)
SELECT format('counter %s: %s, %s', key, c, b) FROM by_stream b FULL JOIN counter c USING (key)
 WHERE (c.n, c.last) IS DISTINCT FROM (b.events * (SELECT n FROM step WHERE name = 'counter'), b.last)
UNION ALL
SELECT format('mirror %s: %s, %s', key, m, b) FROM by_stream b FULL JOIN mirror m USING (key)
 WHERE (m.n, m.last) IS DISTINCT FROM (b.events * (SELECT n FROM step WHERE name = 'mirror'), b.last)
UNION ALL
SELECT format('total %s: %s, %s', type, t, b) FROM by_type b FULL JOIN total t USING (type)
 WHERE (t.n, t.last) IS DISTINCT FROM (b.events * (SELECT n FROM step WHERE name = 'total'), b.last)
$$;
