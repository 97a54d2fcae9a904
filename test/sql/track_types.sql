\set ECHO none
\i test/helpers.sql
-- Values of every type go into events and come back as they were.
BEGIN;
SELECT plan(14);
CREATE TYPE tkt_color AS ENUM ('red', 'gr ün', 'b"lue');
CREATE DOMAIN tkt_positive AS int CHECK (VALUE > 0);
CREATE DOMAIN tkt_list AS int[] CHECK (cardinality(VALUE) < 5);
CREATE TYPE tkt_pair AS (a int, b text);
CREATE TYPE tkt_nest AS (p tkt_pair, l tkt_pair[], d tkt_positive, j jsonb, f float8);
CREATE TYPE tkt_range AS RANGE (subtype = float8);
CREATE TABLE tkt (id int PRIMARY KEY,
	b bool, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, n numeric, n2 numeric(10, 2), m money,
	t text, vc varchar(20), bc char(5), nm name, c "char", ba bytea,
	ts timestamp, tz timestamptz, d date, tm time, tmz timetz, iv interval,
	u uuid, ip inet, cd cidr, mac macaddr, bt bit(4), vb varbit, x xml, j json, jb jsonb,
	pt point, pg polygon, ln line, r int4range, mr int4multirange, rt tkt_range, tr tstzrange,
	e tkt_color, dm tkt_positive, dl tkt_list, p tkt_pair, ne tkt_nest, rc regclass, rt2 regtype, o oid,
	ia int[], ta text[], ea tkt_color[], na numeric[], jba jsonb[], pa tkt_pair[], tza timestamptz[], tsv tsvector, tq tsquery, lsn pg_lsn, jp jsonpath);
CREATE TABLE tkt_before (LIKE tkt);

-- Rows that are hard to write down, under settings that print them differently.
INSERT INTO tkt_before (id, b, i2, i4, i8, f4, f8, n, n2, m, t, vc, bc, nm, c, ba, ts, tz, d, tm, tmz, iv, u, ip, cd, mac, bt, vb, x, j, jb, pt, pg, ln,
	r, mr, rt, tr, e, dm, dl, p, ne, rc, rt2, o, ia, ta, ea, na, jba, pa, tza, tsv, tq, lsn, jp) VALUES
(1, true, -32768, 2147483647, -9223372036854775808, 0.1, 0.1::float8 + 0.2, 1.2300, 12345678.90, 92233720368547758.07, E'quo"te \\ \n tab\t ünï ☃', 'it''s', 'ab', 'na me', 'z', '\x00ff0a',
 '2020-02-29 23:59:59.999999', '1999-12-31 23:59:59.123456+00', '0044-03-15 BC', '24:00:00', '12:34:56.7+05:30', '-1 year 2 mons -3 days 04:05:06.789',
 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '::1/64', '10.0.0.0/8', '08:00:2b:01:02:03', '1010', '101', '<a b="c">d &amp;</a>', '{"z": 1,  "a" : [1.0, null]}', '{"z": 1.50, "a": [null, "x"]}',
 '(0.1,1e-300)', '((0,0),(1.5,1),(1,0))', '{1,2,3}', '[1,10)', '{[1,2),[5,9)}', '[0.1,0.30000000000000004)', '["2020-01-01 00:00:00+00",infinity)',
 'gr ün', 5, '{1,2}', '(1,"a,b ""q""")', ROW(ROW(1, NULL)::tkt_pair, ARRAY[ROW(2, 'x')::tkt_pair, NULL], 7, '{"k": 1.0}', '-0'), 'tkt', 'integer', 4294967295,
 '{1,NULL,3}', ARRAY['a,b', NULL, 'NULL', '', '"'], '{red,"gr ün"}', '{1.0,1.00,NaN}', ARRAY['1', '"s"', '{"a": null}']::jsonb[], ARRAY[ROW(1, 'a')::tkt_pair, ROW(NULL, NULL)::tkt_pair],
 '{"2020-01-01 00:00:00+00",infinity}', 'a:1 b:2A', '(a & b) | !c', '16/B374D848', '$.a[*] ? (@ > 1)'),
(2, false, 0, 0, 0, 'NaN', '-Infinity', 'NaN', 0.10, -0.01, '', '', '', '', '', '', 'infinity', '-infinity', 'infinity', '00:00', '00:00+00', '0',
 '00000000-0000-0000-0000-000000000000', '1.2.3.4', '0.0.0.0/0', '00:00:00:00:00:00', '0000', '', 'text only', 'null', 'null', '(NaN,Infinity)', '((0,0))', '{0,-1,5e-324}', 'empty', '{}', 'empty', '(,)',
 'red', 1, '{}', '(,)', ROW(NULL, '{}', NULL, 'null', '-0'), 0, 0, 0, '{}', '{}', '{}', '{}', ARRAY['null', NULL]::jsonb[], '{}', '{}', '', '', '0/0', '$'),
(3, NULL, NULL, NULL, NULL, '1e-45', '-0', 'Infinity', -0.00, 0, repeat('toast ', 100000), 'v', 'abcde', repeat('n', 63), 'A', decode(repeat('00ff', 40000), 'hex'),
 '4713-01-01 00:00:00 BC', '294276-12-31 23:59:59.999999+00', '5874897-12-31', '00:00:00.000001', '23:59:59.999999-15:59', '178000000 years', NULL, 'fe80::1', '::/0', 'ff:ff:ff:ff:ff:ff', '1111', repeat('10', 100)::varbit, NULL,
 (SELECT json_agg(i) FROM generate_series(1, 5000) i), (SELECT jsonb_agg(i) FROM generate_series(1, 5000) i), '(-0,1e308)', '((0,0),(1e-300,1))', '{-1,0,0.1}', '(,5)', NULL, '(,)', 'empty',
 'b"lue', NULL, '{1,NULL}', NULL, NULL, 'pg_class', 'tkt_color[]', 1, '[0:2]={1,2,3}', '{{a,b},{c,NULL}}', NULL, ARRAY[1e131071, 1e-16383]::numeric[], NULL, NULL, NULL, NULL, NULL, NULL, NULL);
DO $$ BEGIN PERFORM eventsource.track_table('tkt', 'tkt'); END $$;
SET LOCAL timezone = 'Asia/Kathmandu';
SET LOCAL datestyle = 'German';
SET LOCAL intervalstyle = 'sql_standard';
SET LOCAL extra_float_digits = -10;
SET LOCAL bytea_output = 'escape';
SET LOCAL xmloption = 'document';
SET LOCAL search_path = eventsource, pg_temp, public;
INSERT INTO public.tkt SELECT * FROM public.tkt_before;
RESET timezone; RESET datestyle; RESET intervalstyle; RESET extra_float_digits; RESET bytea_output; RESET xmloption; RESET search_path;
SET LOCAL timezone = 'America/New_York';

-- By image, column by column; text shows what differs.
CREATE FUNCTION pg_temp.same_rows_as(have text, want text, description text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	r record;
	bad text := '';
	n int := 0;
BEGIN
	FOR r IN EXECUTE format('SELECT h AS h, w AS w FROM (%s) h FULL JOIN %s w USING (id)', have, want) LOOP
		n := n + 1;
		IF NOT (r.h::record *= r.w::record) OR r.h IS NULL OR r.w IS NULL THEN
			SELECT bad || string_agg(format(E'\n%s: %s <> %s', a.key, left(a.value, 200), left(b.value, 200)), '') INTO bad
			  FROM json_each_text(row_to_json(r.h)) a FULL JOIN json_each_text(row_to_json(r.w)) b USING (key)
			 WHERE a.value IS DISTINCT FROM b.value;
			bad := bad || E'\nrow ' || n;
		END IF;
	END LOOP;
	RETURN is(n || bad, '3', description);
END
$$;
SELECT pg_temp.same_rows_as('SELECT * FROM eventsource.as_of(NULL::public.tkt, now() + interval ''1 day'')', 'public.tkt_before', 'every value comes back');
SELECT is((SELECT e.data #> '{changed,jb}' FROM eventsource.events e WHERE stream = 'tkt-2'), '{"new": null, "json_null": ["new"]}', 'a JSON null is told from NULL');
SELECT is((SELECT jsonb_build_array(e.data #> '{changed,i8,new}', e.data #> '{changed,n,new}', e.data #> '{changed,b,new}', e.data #> '{changed,f8,new}', e.data #> '{changed,m,new}') FROM eventsource.events e WHERE stream = 'tkt-1')::text,
	'[-9223372036854775808, 1.2300, true, 0.30000000000000004, 92233720368547758.07]', 'numbers and booleans are those of JSON');
SELECT is((SELECT jsonb_build_array(e.data #> '{changed,tz,new}', e.data #> '{changed,iv,new}', e.data #> '{changed,ba,new}', e.data #> '{changed,e,new}', e.data #> '{changed,rc,new}') FROM eventsource.events e WHERE stream = 'tkt-1')::text,
	'["1999-12-31 23:59:59.123456+00", "-10 mons -3 days +04:05:06.789", "\\x00ff0a", "gr ün", "public.tkt"]', 'other types as text, the same in every session');
SELECT is((SELECT jsonb_build_array(e.data #> '{changed,ia,new}', e.data #> '{changed,p,new}', e.data #> '{changed,ta,new}', e.data #> '{changed,pa,new}') FROM eventsource.events e WHERE stream = 'tkt-1')::text,
	'[[1, null, 3], {"a": 1, "b": "a,b \"q\""}, ["a,b", null, "NULL", "", "\""], [{"a": 1, "b": "a"}, {"a": null, "b": null}]]', 'arrays and composites are those of JSON');
SELECT is((SELECT jsonb_build_array(e.data #> '{changed,ia,new}', e.data #> '{changed,ta,new}', e.data #> '{changed,f8,new}', e.data #> '{changed,n,new}') FROM eventsource.events e WHERE stream = 'tkt-3')::text,
	'["[0:2]={1,2,3}", "{{a,b},{c,NULL}}", "-0", "Infinity"]', 'but what JSON cannot hold');

-- Changed is what differs in its bytes.
UPDATE tkt SET n = 1.23, f8 = f8 WHERE id = 1;
SELECT is((SELECT data ->> 'changed' FROM eventsource.events WHERE stream = 'tkt-1' AND version = 2), '{"n": {"new": 1.23, "old": 1.2300}}', 'equal, but not the same');
UPDATE tkt SET f8 = 0 WHERE id = 3;
SELECT is((SELECT data ->> 'changed' FROM eventsource.events WHERE stream = 'tkt-3' AND version = 2), '{"f8": {"new": 0, "old": "-0"}}', 'zero and minus zero');
UPDATE tkt SET t = t || 'x', jb = jb WHERE id = 3;
SELECT is((SELECT string_agg(k, ',') FROM eventsource.events, jsonb_object_keys(data -> 'changed') k WHERE stream = 'tkt-3' AND version = 3), 't', 'of toasted values, the one that was changed');
UPDATE tkt SET i4 = 1 WHERE id = 3;
SELECT is((SELECT data ->> 'changed' FROM eventsource.events WHERE stream = 'tkt-3' AND version = 4), '{"i4": {"new": 1, "old": null}}', 'none that was not');
UPDATE tkt SET jb = NULL WHERE id = 2;
UPDATE tkt SET jb = 'null' WHERE id = 2;
SELECT results_eq($$SELECT data ->> 'changed' FROM eventsource.read_stream('tkt-2', 2)$$,
	$$VALUES ('{"jb": {"new": null, "old": null, "json_null": ["old"]}}'), ('{"jb": {"new": null, "old": null, "json_null": ["new"]}}')$$, 'JSON null to NULL and back');

-- Later types do not judge what was: a stricter domain, a shorter column, another type.
ALTER DOMAIN tkt_positive ADD CHECK (VALUE > 100) NOT VALID;
ALTER TABLE tkt ALTER COLUMN i4 TYPE text, ALTER COLUMN i2 TYPE bigint;
SELECT results_eq($$SELECT dm::int, i4, i2 FROM eventsource.as_of(NULL::tkt, now() + interval '1 day') WHERE id = 1$$, $$VALUES (5, '2147483647', -32768::bigint)$$, 'the past stays readable');
ALTER TYPE tkt_pair ADD ATTRIBUTE c date;
SELECT results_eq($$SELECT p::text FROM eventsource.as_of(NULL::tkt, now() + interval '1 day') WHERE id = 1$$, $$VALUES ('(1,"a,b ""q""",)')$$, 'a composite that grew');
SELECT is_empty($$SELECT * FROM eventsource.verify_chain()$$, 'the chain');
SELECT * FROM finish();
ROLLBACK;
