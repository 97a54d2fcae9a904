-- setup.sql: readers of the log, side by side on the same events: ours, and the two
-- that are written again and again because they look right. take_<reader>() delivers
-- a page and returns the last position of it, NULL if there was nothing. Used by
-- test/t/027_torture.pl.

CREATE SCHEMA torture;

-- How far each reader came. The xid is the second reader's, which goes by both.
CREATE TABLE torture.checkpoint (
	reader   text PRIMARY KEY,
	position bigint NOT NULL DEFAULT 0,
	xid      bigint NOT NULL DEFAULT 0
);

-- What each acted on, in this order: written in the transaction that moves the
-- checkpoint, so that what is here was delivered once per committed checkpoint.
CREATE TABLE torture.delivered (
	n        bigserial PRIMARY KEY,
	reader   text NOT NULL,
	position bigint NOT NULL,
	stream   text NOT NULL,
	version  bigint NOT NULL,
	at       timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Ours.
CREATE FUNCTION torture.take_read_all(page_size int DEFAULT 50) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	last bigint;
BEGIN
	SELECT c.position INTO last FROM torture.checkpoint c WHERE c.reader = 'read_all' FOR UPDATE;
	WITH page AS (
		INSERT INTO torture.delivered (reader, position, stream, version)
		SELECT 'read_all', e.position, e.stream, e.version FROM eventsource.read_all(last, page_size) e
		RETURNING delivered.position)
	SELECT max(p.position) INTO last FROM page p;
	UPDATE torture.checkpoint c SET position = last WHERE c.reader = 'read_all' AND last IS NOT NULL;
	RETURN last;
END
$$;

-- Subscriptions, whose consumers share the work: one transaction polls, acts and
-- acknowledges.
SELECT eventsource.create_subscription('together', partitions => 4);
CREATE FUNCTION torture.take_together(page_size int DEFAULT 50) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	last bigint;
BEGIN
	WITH page AS (
		INSERT INTO torture.delivered (reader, position, stream, version)
		SELECT 'together', e.position, e.stream, e.version FROM eventsource.poll('together', page_size) e
		RETURNING delivered.position)
	SELECT max(p.position) INTO last FROM page p;
	IF last IS NOT NULL THEN
		PERFORM eventsource.ack('together', last);
	END IF;
	RETURN last;
END
$$;

-- Or one transaction borrows, and another, later, acts and acknowledges. Meanwhile
-- the consumer may be gone, or so late that its events went to another: whoever
-- that happens to must not act.
SELECT eventsource.create_subscription('apart', partitions => 3, max_attempts => 1000000);
CREATE TABLE torture.borrowed (consumer text, n bigint, position bigint, stream text, version bigint);
CREATE FUNCTION torture.borrow(me text, patience interval) RETURNS bigint LANGUAGE sql AS $$
	WITH page AS (
		INSERT INTO torture.borrowed
		SELECT me, e.ordinality, e.position, e.stream, e.version
		  FROM eventsource.poll('apart', 20, me, patience) WITH ORDINALITY AS e
		RETURNING 1)
	SELECT count(*) FROM page
$$;

-- So many of what was borrowed, from the first on; what is left, -1 if it came too late.
CREATE FUNCTION torture.settle(me text, events bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	last bigint;
BEGIN
	WITH page AS (
		DELETE FROM torture.borrowed b WHERE b.consumer = me AND b.n <= events RETURNING b.*),
	kept AS (
		INSERT INTO torture.delivered (reader, position, stream, version)
		SELECT 'apart', p.position, p.stream, p.version FROM page p ORDER BY p.n)
	SELECT p.position INTO last FROM page p ORDER BY p.n DESC LIMIT 1;
	IF last IS NOT NULL THEN
		PERFORM eventsource.ack('apart', last, me);
	END IF;
	RETURN (SELECT count(*) FROM torture.borrowed b WHERE b.consumer = me);
EXCEPTION WHEN object_not_in_prerequisite_state THEN
	RETURN -1;
END
$$;
CREATE FUNCTION torture.give_up(me text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM eventsource.nack('apart', min(b.position), 'given up', me) FROM torture.borrowed b
	 WHERE b.consumer = me HAVING count(*) > 0;
EXCEPTION WHEN object_not_in_prerequisite_state THEN
	NULL;
END
$$;
CREATE FUNCTION torture.take_apart(page_size int DEFAULT 50) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	got bigint := torture.borrow('the last', '1 hour');
	left_over bigint := torture.settle('the last', got);
BEGIN
	RETURN nullif(got, 0);
END
$$;

-- A consumer that some events are poison for, most of the time; those are parked,
-- their streams wait, and somebody redrives them, or gives them up.
SELECT eventsource.create_subscription('holding', partitions => 2, max_attempts => 2, on_poison => 'hold');
CREATE TABLE torture.discarded (position bigint);
CREATE FUNCTION torture.take_holding(page_size int DEFAULT 50) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	e record;
	last bigint;
BEGIN
	FOR e IN SELECT p.position, p.stream, p.version FROM eventsource.poll('holding', page_size) p LOOP
		IF page_size <= 50 AND e.position % 17 = 0 AND random() < 0.8 THEN
			IF last IS NOT NULL THEN
				PERFORM eventsource.ack('holding', last);
			END IF;
			PERFORM eventsource.nack('holding', e.position, 'poison');
			RETURN e.position;
		END IF;
		INSERT INTO torture.delivered (reader, position, stream, version) VALUES ('holding', e.position, e.stream, e.version);
		last := e.position;
	END LOOP;
	IF last IS NOT NULL THEN
		PERFORM eventsource.ack('holding', last);
	END IF;
	RETURN last;
END
$$;

-- Some parked events, or all of them; how many.
CREATE FUNCTION torture.redrive(most int, may_discard boolean) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	parked bigint;
	n bigint := 0;
BEGIN
	FOR parked IN SELECT p.position FROM eventsource.parked_events p
				   WHERE p.subscription = 'holding' AND p.state = 'parked' ORDER BY random() LIMIT most LOOP
		IF may_discard AND random() < 0.2 THEN
			INSERT INTO torture.discarded VALUES (parked);
			PERFORM eventsource.discard('holding', parked, 'the dice fell so');
		ELSE
			PERFORM eventsource.redrive('holding', parked);
		END IF;
		n := n + 1;
	END LOOP;
	RETURN n;
END
$$;

-- "Everything after the last one I saw."
CREATE FUNCTION torture.take_position(page_size int DEFAULT 50) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	last bigint;
BEGIN
	SELECT c.position INTO last FROM torture.checkpoint c WHERE c.reader = 'position' FOR UPDATE;
	WITH page AS (
		INSERT INTO torture.delivered (reader, position, stream, version)
		SELECT 'position', e.position, e.stream, e.version FROM eventsource.events e
		 WHERE e.position > last ORDER BY e.position LIMIT page_size
		RETURNING delivered.position)
	SELECT max(p.position) INTO last FROM page p;
	UPDATE torture.checkpoint c SET position = last WHERE c.reader = 'position' AND last IS NOT NULL;
	RETURN last;
END
$$;

-- "Only what is older than every transaction that still runs", in the order of
-- their ids, without which it would skip as well.
CREATE FUNCTION torture.take_xid(page_size int DEFAULT 50) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	c torture.checkpoint;
	last record;
BEGIN
	SELECT * INTO c FROM torture.checkpoint k WHERE k.reader = 'xid' FOR UPDATE;
	WITH next AS MATERIALIZED (
		SELECT e.xmin::text::bigint AS xid, e.position FROM eventsource.event e
		 WHERE (e.xmin::text::bigint, e.position) > (c.xid, c.position)
		   AND e.xmin::text::bigint < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
		 ORDER BY 1, 2 LIMIT page_size),
	page AS (
		INSERT INTO torture.delivered (reader, position, stream, version)
		SELECT 'xid', n.position, e.stream, e.version FROM next n JOIN eventsource.events e USING (position)
		 ORDER BY n.xid, n.position)
	SELECT n.xid, n.position INTO last FROM next n ORDER BY 1 DESC, 2 DESC LIMIT 1;
	UPDATE torture.checkpoint k SET xid = last.xid, position = last.position
	 WHERE k.reader = 'xid' AND last.position IS NOT NULL;
	RETURN last.position;
END
$$;

-- What a reader made of the log: a row of counts, all but the first two of which
-- are faults. Subscriptions are not given definitions, nor what was discarded.
CREATE FUNCTION torture.judge(reader text)
	RETURNS TABLE (committed bigint, delivered bigint, skipped bigint, twice bigint, unknown bigint, out_of_order bigint)
	LANGUAGE sql AS $$
WITH got AS MATERIALIZED (
	SELECT d.*, lag(d.version) OVER (PARTITION BY d.stream ORDER BY d.n) AS before
	  FROM torture.delivered d WHERE d.reader = judge.reader),
log AS MATERIALIZED (
	SELECT e.position FROM eventsource.events e
	 WHERE (judge.reader NOT IN ('together', 'apart', 'holding') OR e.category <> '$config')
	   AND (judge.reader <> 'holding' OR e.position NOT IN (SELECT d.position FROM torture.discarded d)))
SELECT (SELECT count(*) FROM log),
	   (SELECT count(*) FROM got),
	   (SELECT count(*) FROM (SELECT position FROM log EXCEPT SELECT position FROM got) s),
	   (SELECT count(*) - count(DISTINCT position) FROM got),
	   (SELECT count(*) FROM (SELECT position FROM got EXCEPT SELECT position FROM log) u),
	   (SELECT count(*) FROM got WHERE version <= before)
$$;
