\set ECHO none
\i test/helpers.sql
-- Partitioned tables under capture.
BEGIN;
SELECT plan(19);
CREATE FUNCTION pg_temp.history(c text, after bigint DEFAULT 0) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT format('%s %s %s %s', e.key, e.version, e.type, e.data ->> 'changed') FROM eventsource.events e WHERE e.category = c AND e.position > after ORDER BY e.position
$$;
CREATE TABLE pos (p bigint);
CREATE FUNCTION pg_temp.mark() RETURNS void LANGUAGE sql AS $$ DELETE FROM pos; INSERT INTO pos SELECT coalesce(max(position), 0) FROM eventsource.events $$;
CREATE FUNCTION pg_temp.since(c text) RETURNS SETOF text LANGUAGE sql AS $$ SELECT pg_temp.history(c, (SELECT p FROM pos)) $$;

CREATE TABLE tkp (id int, region text, n int, s text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE tkp_eu PARTITION OF tkp FOR VALUES IN ('eu', 'uk');
CREATE TABLE tkp_us (n int, junk int, s text, region text NOT NULL, id int NOT NULL);
ALTER TABLE tkp_us DROP COLUMN junk;
ALTER TABLE tkp ATTACH PARTITION tkp_us FOR VALUES IN ('us');
CREATE TABLE tkp_as PARTITION OF tkp FOR VALUES IN ('jp', 'in') PARTITION BY LIST (region);
CREATE TABLE tkp_jp PARTITION OF tkp_as FOR VALUES IN ('jp');
CREATE TABLE tkp_in PARTITION OF tkp_as FOR VALUES IN ('in');
CREATE UNIQUE INDEX tkp_key ON tkp (id, region);
DO $$ BEGIN PERFORM eventsource.track_table('tkp', 'tkp'); END $$;
SELECT matches(pg_temp.refusal($$SELECT eventsource.track_table('tkp_eu', 'tkp_eu')$$), 'the table is a partition: track the partitioned table', 'not a partition alone');

INSERT INTO tkp VALUES (1, 'eu', 1, 'a'), (2, 'us', 2, 'b'), (3, 'jp', 3, 'c');
SELECT pg_temp.same_rows($$SELECT pg_temp.history('tkp')$$, $$VALUES ('1,eu 1 tkp_created {"n": {"new": 1}, "s": {"new": "a"}, "id": {"new": 1}, "region": {"new": "eu"}}'),
	('2,us 1 tkp_created {"n": {"new": 2}, "s": {"new": "b"}, "id": {"new": 2}, "region": {"new": "us"}}'),
	('3,jp 1 tkp_created {"n": {"new": 3}, "s": {"new": "c"}, "id": {"new": 3}, "region": {"new": "jp"}}')$$, 'INSERT: columns by name, whatever their number');
SELECT pg_temp.mark() \g /dev/null
UPDATE tkp SET n = n + 1;
SELECT pg_temp.same_rows($$SELECT pg_temp.since('tkp') ORDER BY 1$$, $$VALUES ('1,eu 2 tkp_updated {"n": {"new": 2, "old": 1}}'),
	('2,us 2 tkp_updated {"n": {"new": 3, "old": 2}}'), ('3,jp 2 tkp_updated {"n": {"new": 4, "old": 3}}')$$, 'UPDATE');
SELECT pg_temp.mark() \g /dev/null
UPDATE tkp_us SET s = 'direct';
UPDATE tkp_as SET s = 'between';
SELECT pg_temp.same_rows($$SELECT pg_temp.since('tkp') ORDER BY 1$$, $$VALUES ('2,us 3 tkp_updated {"s": {"new": "direct", "old": "b"}}'), ('3,jp 3 tkp_updated {"s": {"new": "between", "old": "c"}}')$$, 'of a partition itself');

-- A row that moves, here with its key.
SELECT pg_temp.mark() \g /dev/null
UPDATE tkp SET region = 'us', n = 50 WHERE id = 1;
SELECT pg_temp.same_rows($$SELECT pg_temp.since('tkp')$$, $$VALUES ('1,eu 3 tkp_deleted {"n": {"old": 2}, "s": {"old": "a"}, "id": {"old": 1}, "region": {"old": "eu"}}'),
	('1,us 1 tkp_created {"n": {"new": 2}, "s": {"new": "a"}, "id": {"new": 1}, "region": {"new": "us"}}'), ('1,us 2 tkp_updated {"n": {"new": 50, "old": 2}}')$$, 'a move that changes the key');

CREATE TABLE tkq (id int NOT NULL, region text, n int) PARTITION BY LIST (region);
CREATE TABLE tkq_a PARTITION OF tkq FOR VALUES IN ('a');
CREATE TABLE tkq_b (n int, region text, id int NOT NULL);
ALTER TABLE tkq ATTACH PARTITION tkq_b FOR VALUES IN ('b');
CREATE TABLE tkqo (id int PRIMARY KEY);
SELECT matches(pg_temp.refusal($$SELECT eventsource.track_table('tkq', 'tkq', key => 'id')$$), 'no unique index', 'a key that only partitions could hold');
DROP TABLE tkq, tkqo;

CREATE TABLE tkr (id int, half int GENERATED ALWAYS AS IDENTITY, n int, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE tkr_1 PARTITION OF tkr FOR VALUES FROM (0) TO (10);
CREATE TABLE tkr_2 PARTITION OF tkr FOR VALUES FROM (10) TO (20);
DO $$ BEGIN PERFORM eventsource.track_table('tkr', 'tkr'); END $$;
INSERT INTO tkr (id, n) VALUES (1, 1), (2, 2), (3, 3);
SELECT pg_temp.mark() \g /dev/null
UPDATE tkr SET id = id + 10 WHERE id < 3;
SELECT pg_temp.same_rows($$SELECT split_part(h, ' {', 1) FROM pg_temp.since('tkr') h$$, $$VALUES ('1 2 tkr_deleted'), ('11 1 tkr_created'), ('2 2 tkr_deleted'), ('12 1 tkr_created')$$, 'rows that move one after the other');

-- A trigger that keeps the row from coming in.
CREATE FUNCTION pg_temp.keep_out() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER keep_out BEFORE INSERT ON tkr_2 FOR EACH ROW EXECUTE FUNCTION pg_temp.keep_out();
SELECT pg_temp.mark() \g /dev/null
UPDATE tkr SET id = 15 WHERE id = 3;
SELECT pg_temp.same_rows($$SELECT split_part(h, ' {', 1) FROM pg_temp.since('tkr') h$$, $$VALUES ('3 2 tkr_deleted')$$, 'a row that does not arrive is deleted');
SELECT is((SELECT count(*) FROM tkr WHERE id IN (3, 15)), 0::bigint, 'as it is');
DROP TRIGGER keep_out ON tkr_2;

-- Partitions that come later.
CREATE TABLE tkr_3 PARTITION OF tkr FOR VALUES FROM (20) TO (30);
INSERT INTO tkr (id, n) VALUES (20, 1), (4, 4);
SELECT pg_temp.mark() \g /dev/null
UPDATE tkr SET n = 9 WHERE id IN (4, 20);
UPDATE tkr_3 SET n = 10;
UPDATE tkr SET id = 5 WHERE id = 20;
SELECT pg_temp.same_rows($$SELECT split_part(h, ' {', 1) FROM pg_temp.since('tkr') h ORDER BY 1$$, $$VALUES ('20 2 tkr_updated'), ('20 3 tkr_updated'), ('20 4 tkr_deleted'), ('4 2 tkr_updated'), ('5 1 tkr_created')$$, 'a partition that came later');
INSERT INTO tkr (id, n) VALUES (21, 1);
CREATE TABLE tkr_4 (n int, id int NOT NULL, half int NOT NULL);
INSERT INTO tkr_4 VALUES (1, 30, 99), (1, 31, 98);
ALTER TABLE tkr ATTACH PARTITION tkr_4 FOR VALUES FROM (30) TO (40);
UPDATE tkr SET n = 2 WHERE id = 30;
SELECT pg_temp.same_rows($$SELECT h FROM pg_temp.history('tkr') h WHERE h LIKE '30 %'$$, $$VALUES ('30 1 tkr_created {"n": {"new": 1}, "id": {"new": 30}, "half": {"new": 99}}'), ('30 2 tkr_updated {"n": {"new": 2, "old": 1}}')$$, 'one that was attached with rows');
SELECT pg_temp.mark() \g /dev/null
TRUNCATE tkr;
SELECT pg_temp.same_rows($$SELECT split_part(h, ' {', 1) FROM pg_temp.since('tkr') h ORDER BY 1$$, $$VALUES ('11 2 tkr_deleted'), ('12 2 tkr_deleted'), ('21 2 tkr_deleted'), ('30 3 tkr_deleted'), ('31 1 tkr_created'), ('31 2 tkr_deleted'), ('4 3 tkr_deleted'), ('5 2 tkr_deleted')$$, 'TRUNCATE of all');
INSERT INTO tkr (id, n) VALUES (1, 1), (12, 1);
SELECT pg_temp.mark() \g /dev/null
TRUNCATE tkr_1;
SELECT pg_temp.same_rows($$SELECT split_part(h, ' {', 1) FROM pg_temp.since('tkr') h ORDER BY 1$$, $$VALUES ('1 4 tkr_deleted')$$, 'TRUNCATE of one') ;

-- Detached, it is a table like any other.
ALTER TABLE tkr DETACH PARTITION tkr_2;
SELECT pg_temp.mark() \g /dev/null
UPDATE tkr_2 SET n = 5;
TRUNCATE tkr_2;
SELECT is_empty($$SELECT pg_temp.since('tkr')$$, 'a detached partition is not captured');
SELECT lives_ok($$DROP TABLE tkr_2$$, 'and can be dropped');

-- Untracked.
SELECT lives_ok($$SELECT eventsource.untrack_table('tkr')$$, 'untrack');
SELECT is_empty($$SELECT * FROM pg_trigger t WHERE t.tgfoid = 'eventsource.capture'::regproc AND t.tgrelid::regclass::text LIKE 'tkr%'$$, 'no triggers are left');
SELECT lives_ok($$DELETE FROM tkr$$, 'rows go');
SELECT is_empty($$SELECT * FROM eventsource.verify_chain()$$, 'the chain');
SELECT * FROM finish();
ROLLBACK;
