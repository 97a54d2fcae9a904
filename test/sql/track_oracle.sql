\set ECHO none
\i test/helpers.sql
-- Capture against a plain PL/pgSQL audit trigger: the same random changes of two
-- tables, one tracked, one audited, leave the same history.
BEGIN;
SELECT plan(7);

CREATE TABLE audit (n bigint GENERATED ALWAYS AS IDENTITY, tab text, key text, old jsonb, new jsonb);
CREATE FUNCTION audit_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO audit (tab, key, old, new)
	SELECT TG_TABLE_NAME, coalesce(o ->> 'id', n ->> 'id'), o, n
	  FROM (SELECT CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END AS o,
				   CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END AS n) x;
	RETURN NULL;
END
$$;
CREATE FUNCTION audit_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('INSERT INTO audit (tab, key, old) SELECT %L, t.id::text, to_jsonb(t) FROM %I t', TG_TABLE_NAME, TG_TABLE_NAME);
	RETURN NULL;
END
$$;

-- One column is dropped, so that numbers and places differ.
CREATE TABLE oraplain (gone int, id int PRIMARY KEY, a int, b text, c numeric, d jsonb, e int[], g int GENERATED ALWAYS AS (a * 2) STORED);
ALTER TABLE oraplain DROP COLUMN gone;
CREATE TABLE oratrack (LIKE oraplain INCLUDING ALL);
CREATE TABLE orapart (LIKE oraplain INCLUDING ALL EXCLUDING INDEXES, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE orapart_1 PARTITION OF orapart FOR VALUES FROM (0) TO (20);
CREATE TABLE orapart_2 (g2 int, e int[], d jsonb, c numeric, b text, a int, id int NOT NULL, g int GENERATED ALWAYS AS (a * 2) STORED);
ALTER TABLE orapart_2 DROP COLUMN g2;
ALTER TABLE orapart ATTACH PARTITION orapart_2 FOR VALUES FROM (20) TO (1000);
CREATE TABLE oraslow (LIKE oraplain INCLUDING ALL);
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON oraplain FOR EACH ROW EXECUTE FUNCTION audit_row();
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON oraplain FOR EACH STATEMENT EXECUTE FUNCTION audit_truncate();
-- A trigger of the user's makes capture write row by row.
CREATE TRIGGER zz_user AFTER UPDATE ON oraslow FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
ALTER TABLE oraslow DISABLE TRIGGER zz_user;

DO $$ BEGIN PERFORM eventsource.track_table(t::regclass, t) FROM unnest(ARRAY['oratrack', 'orapart', 'oraslow']) t; END $$;

CREATE FUNCTION pg_temp.work(tab text, seed double precision) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	i int;
	dice int;
	k int;
	v text;
BEGIN
	PERFORM setseed(seed);
	FOR i IN 1 .. 400 LOOP
		dice := floor(random() * 12);
		k := floor(random() * 40);
		v := CASE WHEN random() < 0.2 THEN 'NULL' ELSE floor(random() * 5)::text END;
		CASE
		WHEN dice < 3 THEN
			EXECUTE format('INSERT INTO %1$I (id, a, b, c, d) VALUES (%2$s, %3$s, %3$s::text, %3$s + 0.10, to_jsonb(%3$s::int))
				ON CONFLICT (id) DO UPDATE SET a = excluded.a, d = to_jsonb(%2$s)', tab, k, v);
		WHEN dice < 6 THEN
			EXECUTE format('UPDATE %I SET a = %s, e = array_append(e, a) WHERE id %% 7 = %s', tab, v, k % 7);
		WHEN dice = 6 THEN
			EXECUTE format('UPDATE %I SET b = repeat(b || ''%s'', 3), c = c * 1.00 WHERE id BETWEEN %s AND %s', tab, k, k, k + 5);
		WHEN dice = 7 THEN
			EXECUTE format('DELETE FROM %I WHERE id %% 11 = %s', tab, k % 11);
		WHEN dice = 8 THEN
			EXECUTE format('MERGE INTO %1$I t USING (VALUES (%2$s, %3$s), (%2$s + 1, 1)) s (id, a) ON t.id = s.id
				WHEN MATCHED AND t.a IS NULL THEN DELETE WHEN MATCHED THEN UPDATE SET a = s.a WHEN NOT MATCHED THEN INSERT (id, a) VALUES (s.id, s.a)', tab, k, v);
		WHEN dice = 9 THEN
			EXECUTE format('UPDATE %I SET a = a', tab);
		WHEN dice = 10 THEN
			-- Undone: leaves nothing.
			BEGIN
				EXECUTE format('UPDATE %I SET a = 99 WHERE id = %s', tab, k);
				EXECUTE format('DELETE FROM %I WHERE id = %s', tab, k + 1);
				RAISE division_by_zero;
			EXCEPTION WHEN division_by_zero THEN
			END;
		ELSE
			IF random() < 0.05 THEN
				EXECUTE format('TRUNCATE %I', tab);
			ELSE
				EXECUTE format('WITH gone AS (DELETE FROM %1$I WHERE id = %2$s RETURNING id, a)
					UPDATE %1$I SET a = coalesce((SELECT max(a) FROM gone), 0) + 1 WHERE id = %2$s + 2', tab, k);
			END IF;
		END CASE;
	END LOOP;
END
$$;

DO $$ BEGIN PERFORM pg_temp.work(t, s) FROM unnest(ARRAY['oraplain', 'oratrack', 'orapart', 'oraslow']) t, unnest(ARRAY[0.25, 0.5]) s; END $$;
COPY oraplain (id, a, b) FROM STDIN;
101	1	x
102	\N	\N
\.
COPY oratrack (id, a, b) FROM STDIN;
101	1	x
102	\N	\N
\.
COPY orapart (id, a, b) FROM STDIN;
101	1	x
102	\N	\N
\.
COPY oraslow (id, a, b) FROM STDIN;
101	1	x
102	\N	\N
\.

-- What the audit says the events must be, in order for each key.
CREATE TEMP VIEW expected AS
SELECT a.key, row_number() OVER (PARTITION BY a.key ORDER BY a.n) AS version,
	   CASE WHEN a.old IS NULL THEN 'created' WHEN a.new IS NULL THEN 'deleted' ELSE 'updated' END AS what,
	   (SELECT jsonb_object_agg(x.k, CASE
				WHEN a.old IS NULL THEN jsonb_build_object('new', a.new -> x.k)
				WHEN a.new IS NULL THEN jsonb_build_object('old', a.old -> x.k)
				ELSE jsonb_build_object('old', a.old -> x.k, 'new', a.new -> x.k) END)
		  FROM jsonb_object_keys(coalesce(a.new, a.old)) x (k)
		 WHERE CASE WHEN a.old IS NULL THEN a.new -> x.k <> 'null' WHEN a.new IS NULL THEN a.old -> x.k <> 'null'
			   ELSE (a.old -> x.k)::text <> (a.new -> x.k)::text END) AS changed
  FROM audit a
 WHERE a.old::text IS DISTINCT FROM a.new::text;

CREATE FUNCTION pg_temp.captured(c text) RETURNS TABLE (key text, version bigint, what text, changed text) LANGUAGE sql AS $$
	SELECT e.key, e.version, replace(e.type, c || '_', ''), (e.data -> 'changed')::text
	  FROM eventsource.events e WHERE e.category = c ORDER BY e.key COLLATE "C", e.version
$$;
CREATE FUNCTION pg_temp.same_history(c text) RETURNS text LANGUAGE sql AS $$
	SELECT pg_temp.same_rows(format('SELECT * FROM pg_temp.captured(%L)', c),
		'SELECT key, version, what, changed::text FROM expected ORDER BY key COLLATE "C", version', c || ': the same history')
$$;

SELECT ok((SELECT count(*) > 1000 FROM expected), 'the audit has much to say');
SELECT pg_temp.same_history('oratrack');
SELECT pg_temp.same_history('orapart');
SELECT pg_temp.same_history('oraslow');
SELECT results_eq('SELECT * FROM oraplain ORDER BY id', 'SELECT * FROM oratrack ORDER BY id', 'the tables are equal');
SELECT results_eq('SELECT id, a, b, c, d, e, g FROM oraplain ORDER BY id', 'SELECT id, a, b, c, d, e, g FROM orapart ORDER BY id', 'so is the partitioned one');
SELECT is_empty('SELECT * FROM eventsource.verify_chain()', 'the chain');

SELECT * FROM finish();
ROLLBACK;
