\set ECHO none
\i test/helpers.sql
-- The tree over the log, computed a second time in SQL as RFC 6962 defines it.
SELECT count(*) AS done FROM generate_series(1, 400) n, eventsource.append('proof-' || n % 9, 'x', jsonb_build_object('n', n)) \gset
BEGIN;
SELECT count(*) AS done FROM generate_series(1, 20) n, eventsource.append('proof-gone', 'x') \gset
ROLLBACK;
-- Seals of many sizes, across the ends of tiles.
SELECT count(*) AS done FROM generate_series(1, 60) n, eventsource.seal(1 + n % 7) \gset
SELECT count(*) AS done FROM generate_series(1, 300) n, eventsource.append('proof-' || n % 9, 'x', jsonb_build_object('n', n)) \gset
SELECT size AS done FROM eventsource.seal() \gset
BEGIN;
SELECT plan(45);

-- MTH(D[n]), PATH(m, D[n]) and PROOF(m, D[n]) of RFC 6962, section 2.1, by their recursions.
CREATE FUNCTION pg_temp.split(n integer) RETURNS integer LANGUAGE sql IMMUTABLE AS
	$$ SELECT max(1 << k) FROM generate_series(0, 30) k WHERE (1 << k) < n $$;
CREATE FUNCTION pg_temp.mth(entries bytea[]) RETURNS bytea LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	n integer := cardinality(entries);
	k integer;
BEGIN
	IF n = 0 THEN RETURN sha256(''); END IF;
	IF n = 1 THEN RETURN sha256('\x00' || entries[1]); END IF;
	k := pg_temp.split(n);
	RETURN sha256('\x01' || pg_temp.mth(entries[1:k]) || pg_temp.mth(entries[k + 1:]));
END
$$;
CREATE FUNCTION pg_temp.path(m integer, entries bytea[]) RETURNS bytea[] LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	n integer := cardinality(entries);
	k integer;
BEGIN
	IF n = 1 THEN RETURN '{}'; END IF;
	k := pg_temp.split(n);
	RETURN CASE WHEN m < k THEN pg_temp.path(m, entries[1:k]) || pg_temp.mth(entries[k + 1:])
		ELSE pg_temp.path(m - k, entries[k + 1:]) || pg_temp.mth(entries[1:k]) END;
END
$$;
CREATE FUNCTION pg_temp.subproof(m integer, entries bytea[], is_whole boolean) RETURNS bytea[] LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	n integer := cardinality(entries);
	k integer;
BEGIN
	IF m = n THEN RETURN CASE WHEN is_whole THEN '{}' ELSE ARRAY[pg_temp.mth(entries)] END; END IF;
	k := pg_temp.split(n);
	RETURN CASE WHEN m <= k THEN pg_temp.subproof(m, entries[1:k], is_whole) || pg_temp.mth(entries[k + 1:])
		ELSE pg_temp.subproof(m - k, entries[k + 1:], false) || pg_temp.mth(entries[1:k]) END;
END
$$;

-- That the twin is right: the roots of the test vectors of Certificate Transparency.
CREATE TEMP TABLE vector (n integer, entry bytea, root bytea);
INSERT INTO vector VALUES
	(1, '', '\x6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d'),
	(2, '\x00', '\xfac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125'),
	(3, '\x10', '\xaeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77'),
	(4, '\x2021', '\xd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7'),
	(5, '\x3031', '\x4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4'),
	(6, '\x40414243', '\x76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef'),
	(7, '\x5051525354555657', '\xddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c'),
	(8, '\x606162636465666768696a6b6c6d6e6f', '\x5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328');
SELECT is_empty($$ SELECT n FROM vector v WHERE root <> pg_temp.mth(ARRAY(SELECT entry FROM vector w WHERE w.n <= v.n ORDER BY n)) $$,
	'the twin computes the known roots');


CREATE TEMP TABLE leaf AS SELECT (row_number() OVER (ORDER BY position) - 1)::integer AS index, position, hash FROM eventsource.events;
ALTER TABLE leaf ADD PRIMARY KEY (index);
CREATE FUNCTION pg_temp.entries(n bigint) RETURNS bytea[] LANGUAGE sql AS
	$$ SELECT coalesce(array_agg(hash ORDER BY index), '{}') FROM leaf WHERE index < n $$;
SELECT size AS n FROM eventsource.seals ORDER BY size DESC LIMIT 1 \gset
SELECT set_config('test.n', :'n', true) \g /dev/null
CREATE TEMP TABLE size AS SELECT n FROM unnest(ARRAY[1, 2, 3, 7, 100, 255, 256, 257, 512, 513]) n;

SELECT is(count(*), :n::bigint, 'every event that is committed is sealed') FROM leaf;
SELECT is(root, pg_temp.mth(pg_temp.entries(:n)), 'under the root of the twin') FROM eventsource.seals WHERE size = :n;
SELECT is_empty($$ SELECT size FROM eventsource.seals WHERE size IN (SELECT size FROM eventsource.seals ORDER BY size LIMIT 3)
	AND root <> pg_temp.mth(pg_temp.entries(size)) $$, 'as those before were');
SELECT ok(count(*) > 60 AND bool_and(s.last_position = l.position), 'seals say up to where they go') FROM eventsource.seals s JOIN leaf l ON l.index = s.size - 1;
SELECT is(count(*), :n::bigint / 256, 'full tiles are stored') FROM eventsource.tile WHERE level = 0;
SELECT is_empty($$ SELECT t.index FROM eventsource.tile t WHERE t.level = 0 AND t.index < 8 AND NOT EXISTS (SELECT FROM
	(SELECT min(l.position), max(l.position), pg_temp.mth(array_agg(l.hash ORDER BY l.index)), string_agg(sha256('\x00' || l.hash), '' ORDER BY l.index)
	   FROM leaf l WHERE l.index / 256 = t.index) l WHERE l = (t.first_position, t.last_position, t.root, t.hashes)) $$, 'with the hashes of their leaves');

-- Checkpoints.
SELECT is(eventsource.checkpoint(), format(E'eventsource/log/%s\n%s\n%s\n', eventsource.log_id(), :n,
	(SELECT encode(root, 'base64') FROM eventsource.seals WHERE size = :n)), 'a checkpoint is three lines');
SELECT is_empty($$ SELECT n FROM size WHERE split_part(eventsource.checkpoint(n), E'\n', 3) <> encode(pg_temp.mth(pg_temp.entries(n)), 'base64') $$,
	'of any size that the log had');
SELECT is(split_part(eventsource.checkpoint(0), E'\n', 3), encode(sha256(''), 'base64'), 'even of none');
SELECT pg_temp.refuses('SELECT eventsource.checkpoint(100000000)', 'ZE012', 'the log has no 100000000 sealed events', 'but none to come');
SELECT pg_temp.refuses('SELECT eventsource.checkpoint(-1)', '22023', 'tree_size must not be negative', 'nor of a negative size');

-- Proofs.
SELECT is_empty($$ SELECT s.n, l.index FROM size s JOIN leaf l ON l.index IN (0, 1, 2, 254, 255, 256, 300, s.n / 2, s.n - 2, s.n - 1) AND l.index < s.n,
	LATERAL (SELECT pg_temp.entries(s.n) AS entries OFFSET 0) e, eventsource.inclusion_proof(l.position, s.n) p
	WHERE (p.leaf_index, p.size, p.hash, p.root, p.proof) IS DISTINCT FROM (l.index::bigint, s.n::bigint, l.hash, pg_temp.mth(entries), pg_temp.path(l.index, entries)) $$,
	'inclusion: the path of the twin');
SELECT is_empty($$ SELECT l.index FROM leaf l, eventsource.inclusion_proof(l.position) p, (SELECT pg_temp.entries(current_setting('test.n')::bigint) AS entries OFFSET 0) e
	WHERE l.index IN (5, 400) AND p.proof <> pg_temp.path(l.index, entries) $$, 'by default in all that is sealed');
SELECT is_empty($$ SELECT a.n, b.n FROM size a JOIN size b ON a.n <= b.n
	WHERE eventsource.consistency_proof(a.n, b.n) <> pg_temp.subproof(a.n, pg_temp.entries(b.n), true) $$, 'consistency: the proof of the twin');
SELECT is_empty($$ SELECT n FROM size WHERE n IN (3, 512) AND eventsource.consistency_proof(n) <> pg_temp.subproof(n, pg_temp.entries(current_setting('test.n')::bigint), true) $$,
	'by default with all that is sealed');
SELECT is(eventsource.consistency_proof(0), '{}', 'what is empty is the beginning of all');
SELECT is(eventsource.consistency_proof(:n), '{}', 'and each tree of itself');
SELECT is(eventsource.consistency_proof(NULL), NULL, 'nothing is known of NULL');
SELECT pg_temp.refuses('SELECT eventsource.consistency_proof(100000000)', 'ZE012', 'the log has no 100000000 sealed events', 'a log that was larger once');
SELECT pg_temp.refuses('SELECT eventsource.consistency_proof(3, 2)', '22023', 'old_size must not be above new_size', 'the old is not the larger');
SELECT pg_temp.refuses(format('SELECT eventsource.inclusion_proof(%s, 10)', (SELECT position FROM leaf WHERE index = 10)), 'P0002',
	format('no event at position %s is in the tree of 10 events', (SELECT position FROM leaf WHERE index = 10)), 'not in a tree that ended before');
SELECT pg_temp.refuses(format('SELECT eventsource.inclusion_proof(%s)', coalesce(p::text, 'NULL')), 'P0002', format('no event at position %s is in the tree of %s events', coalesce(p, 0), current_setting('test.n')),
	'no event: ' || what)
FROM (VALUES (0::bigint, 'zero'), (NULL, 'NULL'), (-1, 'negative'), (9223372036854775807, 'the largest')) v (p, what);

-- What is not final is not sealed.
SELECT eventsource.append('proofopen-1', 'x') IS NULL AS done \gset
SELECT is(events, 0::bigint, 'an event that is not committed is not sealed') FROM eventsource.seal();
SELECT pg_temp.refuses('SELECT eventsource.seal(0)', '22023', 'max_count must be positive', 'none at all is not what one asks for');

-- Verification.
SELECT is_empty($$ SELECT * FROM eventsource.verify_log() $$, 'the log verifies, with what is not sealed yet');
SELECT pg_temp.same_rows($$ SELECT status, count(*) FROM eventsource.verify_log(all_events => true) GROUP BY 1 $$,
	format('VALUES (''ok'', %s)', (SELECT count(*) FROM eventsource.events)), 'each event of it');
SELECT is_empty($$ SELECT v.* FROM size, eventsource.verify_log(eventsource.checkpoint(n)) v WHERE n % 2 = 1 $$, 'and continues what it was');
SELECT is_empty($$ SELECT * FROM eventsource.verify_log(eventsource.checkpoint() || E'\n— example.org AAAA\n') $$, 'a signature does no harm');
SELECT pg_temp.refuses(format('SELECT * FROM eventsource.verify_log(%L)', c), state, message, what)
FROM (SELECT eventsource.checkpoint() AS ok, split_part(eventsource.checkpoint(), E'\n', 3) AS root) o,
	LATERAL (VALUES ('', '22023', 'this is not a checkpoint', 'nothing'),
		(rtrim(ok, E'\n'), '22023', 'this is not a checkpoint', 'cut'),
		(replace(ok, E'\n', E'\r\n'), '22023', 'this is not a checkpoint', 'of another system'),
		(regexp_replace(ok, E'\n(\\d+)\n', E'\n0\\1\n'), '22023', 'this is not a checkpoint', 'a size written otherwise'),
		(replace(ok, root, rtrim(root, '=')), '22023', 'this is not a checkpoint', 'a root that was cut'),
		(replace(ok, eventsource.log_id()::text, gen_random_uuid()::text), 'ZE012', 'the checkpoint is one of another log', 'one of another log'),
		(replace(ok, root, encode(sha256('x'), 'base64')), 'ZE012', 'the log is not the one that the checkpoint was made of', 'another root'),
		(regexp_replace(ok, E'\n(\\d+)\n', E'\n1\\1\n'), 'ZE012', 'the log is not the one that the checkpoint was made of', 'a larger log')
	) v (c, state, message, what);

-- A reader may ask for all of it, and seals nothing.
CREATE ROLE es_proof_reader;
SELECT eventsource.grant_reader('es_proof_reader') IS NULL AS done \gset
GRANT USAGE ON SCHEMA public TO es_proof_reader;
GRANT SELECT ON leaf TO es_proof_reader;
SET LOCAL ROLE es_proof_reader;
SELECT is(count(*), 2::bigint, 'checkpoints and proofs are for readers')
FROM (SELECT eventsource.checkpoint() WHERE (SELECT cardinality(proof) FROM eventsource.inclusion_proof((SELECT min(position) FROM leaf))) > 0
	UNION ALL SELECT cardinality(eventsource.consistency_proof(3))::text) p;
SELECT is_empty($$ SELECT * FROM eventsource.verify_log() $$, 'so is verification');
SELECT ok(count(*) > 700 AND bool_and((line::jsonb ->> 'position') IS NOT NULL OR line::jsonb ? 'log'), 'and the export') FROM eventsource.export_log() line;
SELECT throws_ok('SELECT eventsource.seal()', '42501', NULL, 'but not sealing');
SELECT throws_ok('SELECT hashes FROM eventsource.tile', '42501', NULL, 'nor the tables');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
