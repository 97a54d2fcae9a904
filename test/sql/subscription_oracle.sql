\set ECHO none
\i test/helpers.sql
-- A slow twin of poll, ack, nack, redrive and discard in plain SQL goes through the same random calls: each poll
-- must deliver the same. And whatever the calls were, in the end every event is done with once, in order per stream.
SELECT setseed(0.25) IS NULL AS done \gset
SELECT count(*) AS done FROM eventsource.append_events((
	SELECT jsonb_agg(jsonb_build_object('stream', CASE WHEN n % 5 = 0 THEN 'subp-' ELSE 'subo-' END || floor(random() * 5), 'type', 't', 'data', n) ORDER BY n)
	FROM generate_series(1, 150) AS n)) \gset
BEGIN;
SELECT plan(8);

CREATE TEMP TABLE conf (name text, partitions integer, max_attempts integer, holds boolean);
CREATE TEMP TABLE ev (part integer, position bigint PRIMARY KEY, stream text, version bigint);
CREATE TEMP TABLE pt (part integer PRIMARY KEY, position bigint DEFAULT 0, failing bigint DEFAULT 0, attempts integer DEFAULT 0,
	single_upto bigint DEFAULT 0, lane bigint DEFAULT 0, delivered bigint DEFAULT 0, scanned bigint DEFAULT 0, consumer text,
	is_over boolean, is_begun boolean DEFAULT false, served bigint DEFAULT 0);
CREATE TEMP TABLE lane (origin bigint PRIMARY KEY, part integer, stream text, is_parked boolean, is_holding boolean, position bigint,
	failing bigint, attempts integer, single_upto bigint);
CREATE TEMP TABLE lent (part integer, position bigint, consumer text);
CREATE TEMP SEQUENCE turn;
CREATE TEMP TABLE done (n serial, position bigint, how text);

-- What a line (l: its origin, 0: that of the partition) has, in order.
CREATE FUNCTION pg_temp.next_events(p integer, l bigint) RETURNS TABLE (event_position bigint) LANGUAGE sql AS $$
	SELECT e.position FROM ev e, pt c WHERE l = 0 AND c.part = p AND e.part = p AND e.position > c.position
	   AND e.stream NOT IN (SELECT stream FROM lane WHERE is_holding AND part = p)
	 UNION ALL
	SELECT e.position FROM ev e, pt c, lane WHERE lane.origin = l AND c.part = p AND e.stream = lane.stream AND e.position > lane.position
	   AND e.position <= CASE WHEN lane.is_holding THEN c.position ELSE lane.origin END
	 ORDER BY 1
$$;

-- The event that is failing, if it is the next one of its line and had all its attempts.
CREATE FUNCTION pg_temp.twin_park(p integer, l bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	failed bigint;
	tries integer;
	conf conf;
BEGIN
	SELECT * INTO conf FROM conf;
	SELECT failing, attempts INTO failed, tries FROM pt WHERE part = p AND l = 0 UNION ALL SELECT failing, attempts FROM lane WHERE origin = l AND NOT is_parked;
	IF coalesce(failed, 0) = 0 OR tries < conf.max_attempts OR failed IS DISTINCT FROM (SELECT min(event_position) FROM pg_temp.next_events(p, l)) THEN
		RETURN false;
	ELSIF l <> 0 THEN
		UPDATE lane SET is_parked = true WHERE origin = l;
	ELSE
		INSERT INTO lane SELECT failed, p, e.stream, true, conf.holds, failed - 1, failed, tries, failed FROM ev e WHERE e.position = failed;
		UPDATE pt SET position = failed, failing = 0, attempts = 0 WHERE part = p;
	END IF;
	RETURN true;
END
$$;

CREATE FUNCTION pg_temp.twin_fail(p integer, l bigint, failed bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	max_attempts integer := (SELECT c.max_attempts FROM conf c);
BEGIN
	DELETE FROM lent WHERE part = p;
	UPDATE pt SET lane = 0, delivered = 0, scanned = 0, consumer = NULL WHERE part = p;
	IF l = 0 THEN
		UPDATE pt SET attempts = least(CASE WHEN failing = failed THEN attempts ELSE 0 END + 1, max_attempts), failing = failed,
			single_upto = greatest(single_upto, failed) WHERE part = p;
	ELSE
		UPDATE lane SET attempts = least(CASE WHEN failing = failed THEN attempts ELSE 0 END + 1, max_attempts), failing = failed,
			single_upto = greatest(single_upto, failed) WHERE origin = l;
	END IF;
	PERFORM pg_temp.twin_park(p, l);
END
$$;

CREATE FUNCTION pg_temp.twin_expire(p integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	c pt;
BEGIN
	SELECT * INTO c FROM pt WHERE part = p;
	UPDATE pt SET single_upto = greatest(single_upto, delivered) WHERE part = p AND c.lane = 0;
	UPDATE lane SET single_upto = greatest(single_upto, c.delivered) WHERE origin = c.lane;
	PERFORM pg_temp.twin_fail(p, c.lane, (SELECT min(event_position) FROM pg_temp.next_events(p, c.lane)));
END
$$;

CREATE FUNCTION pg_temp.twin_poll(who text, n integer, short boolean, only_part integer) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
	c pt;
	l record;
	got bigint[];
	want integer;
BEGIN
	FOR c IN SELECT * FROM pt WHERE part = only_part OR only_part IS NULL ORDER BY consumer IS NOT DISTINCT FROM who DESC, served, part LOOP
		CONTINUE WHEN c.delivered <> 0 AND c.consumer <> who AND NOT c.is_over;
		IF c.delivered <> 0 AND c.is_over THEN
			PERFORM pg_temp.twin_expire(c.part);
			SELECT * INTO c FROM pt WHERE part = c.part;
		END IF;
		IF c.delivered <> 0 AND c.lane = 0 AND c.is_begun AND EXISTS (SELECT FROM lane WHERE part = c.part AND NOT is_parked) THEN
			DELETE FROM lent WHERE part = c.part;
			UPDATE pt SET delivered = 0, scanned = 0, consumer = NULL WHERE part = c.part RETURNING * INTO c;
		END IF;
		FOR l IN SELECT * FROM (SELECT lane.origin, lane.position, lane.single_upto, 1 AS kind FROM lane WHERE part = c.part AND NOT is_parked
				 UNION ALL SELECT 0, c.position, c.single_upto, 2) AS lines
				 ORDER BY c.delivered <> 0 AND origin = c.lane DESC, kind, origin LOOP
			WHILE c.delivered = 0 AND pg_temp.twin_park(c.part, l.origin) LOOP
				SELECT position INTO l.position FROM pt WHERE part = c.part;
			END LOOP;
			CONTINUE WHEN l.origin <> 0 AND (SELECT is_parked FROM lane WHERE origin = l.origin);
			want := CASE WHEN l.position < l.single_upto THEN 1 ELSE n END;
			SELECT array_agg(event_position ORDER BY event_position) INTO got FROM (SELECT * FROM pg_temp.next_events(c.part, l.origin) LIMIT want) s;
			IF got IS NOT NULL THEN
				UPDATE pt SET lane = l.origin, delivered = got[cardinality(got)], consumer = who, is_over = short, is_begun = false, served = nextval('turn'),
					scanned = CASE WHEN cardinality(got) = want THEN got[cardinality(got)] WHEN l.origin = 0 THEN eventsource.watermark() ELSE 0 END
				 WHERE part = c.part;
				DELETE FROM lent WHERE part = c.part;
				INSERT INTO lent SELECT c.part, unnest(got), who;
				RETURN got;
			ELSIF l.origin <> 0 THEN
				DELETE FROM lane WHERE origin = l.origin;
			ELSIF eventsource.watermark() - c.position >= 1000 THEN
				UPDATE pt SET position = eventsource.watermark() WHERE part = c.part;
			END IF;
		END LOOP;
	END LOOP;
	RETURN NULL;
END
$$;

CREATE FUNCTION pg_temp.twin_ack(p integer, acked bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	c pt;
BEGIN
	SELECT * INTO c FROM pt WHERE part = p;
	INSERT INTO done (position, how) SELECT position, 'ack' FROM lent WHERE part = p AND position <= acked ORDER BY 1;
	DELETE FROM lent WHERE part = p AND position <= acked;
	IF c.lane = 0 THEN
		UPDATE pt SET position = CASE WHEN acked = delivered THEN scanned ELSE acked END WHERE part = p;
		UPDATE pt SET failing = 0, attempts = 0 WHERE part = p AND failing <= position;
	ELSE
		UPDATE lane SET position = acked WHERE origin = c.lane;
		UPDATE lane SET failing = 0, attempts = 0 WHERE origin = c.lane AND failing <= position;
	END IF;
	IF acked = c.delivered THEN
		UPDATE pt SET lane = 0, delivered = 0, scanned = 0, consumer = NULL WHERE part = p;
	ELSE
		UPDATE pt SET is_begun = true WHERE part = p;
	END IF;
END
$$;

-- Random calls, each to both; what differed.
CREATE FUNCTION pg_temp.play(name text, steps integer, calm boolean) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	op float;
	who text;
	n integer;
	short boolean;
	only_part integer;
	got bigint[];
	twin bigint[];
	e record;
BEGIN
	FOR step IN 1 .. steps LOOP
		op := random();
		IF op < 0.45 THEN
			who := 'c' || floor(random() * 3);
			n := 1 + floor(random() * 8);
			short := NOT calm AND random() < 0.15;
			only_part := CASE WHEN random() < 0.3 THEN floor(random() * (SELECT partitions FROM conf)) END;
			SELECT array_agg(p.position) INTO got FROM eventsource.poll(name, n, who, CASE WHEN short THEN interval '1 microsecond' ELSE '1 day' END, only_part) AS p;
			twin := pg_temp.twin_poll(who, n, short, only_part);
			IF got IS DISTINCT FROM twin THEN
				RETURN NEXT format('step %s: poll(%s, %s, %s): %s, twin %s', step, who, n, only_part, got, twin);
				RETURN;
			END IF;
		ELSIF op < 0.8 OR calm THEN
			SELECT l.* INTO e FROM lent l ORDER BY random() LIMIT 1;
			CONTINUE WHEN e IS NULL;
			PERFORM eventsource.ack(name, e.position, e.consumer);
			PERFORM pg_temp.twin_ack(e.part, e.position);
		ELSIF op < 0.9 THEN
			SELECT l.* INTO e FROM lent l ORDER BY random() LIMIT 1;
			CONTINUE WHEN e IS NULL;
			PERFORM eventsource.nack(name, e.position, 'bad', e.consumer);
			PERFORM pg_temp.twin_fail(e.part, (SELECT c.lane FROM pt c WHERE c.part = e.part), e.position);
		ELSE
			SELECT l.* INTO e FROM lane l WHERE is_parked ORDER BY random() LIMIT 1;
			CONTINUE WHEN e IS NULL;
			IF random() < 0.7 THEN
				PERFORM eventsource.redrive(name, e.failing);
				UPDATE lane SET is_parked = false, failing = 0, attempts = 0 WHERE origin = e.origin;
			ELSE
				PERFORM eventsource.discard(name, e.failing, 'why not');
				UPDATE lane SET is_parked = false, failing = 0, attempts = 0, position = e.failing WHERE origin = e.origin;
				INSERT INTO done (position, how) VALUES (e.failing, 'discard');
			END IF;
		END IF;
	END LOOP;
END
$$;

-- A subscription of one kind from beginning to end: what is wrong with it.
CREATE FUNCTION pg_temp.story(parts integer, attempts integer, poison text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	name text := format('oracle %s %s %s', parts, attempts, poison);
BEGIN
	DELETE FROM conf; DELETE FROM ev; DELETE FROM pt; DELETE FROM lane; DELETE FROM lent; DELETE FROM done;
	INSERT INTO conf VALUES (name, parts, attempts, poison = 'hold');
	INSERT INTO pt (part) SELECT g FROM generate_series(0, parts - 1) g;
	INSERT INTO ev SELECT (s.id & 1099511627775) % parts, e.position, e.stream, e.version
	  FROM eventsource.events e JOIN eventsource.stream s ON s.name = e.stream WHERE e.category = 'subo' AND e.data <> '7';
	PERFORM eventsource.create_subscription(name, ARRAY['subo'], $f$event.data <> '7'$f$, partitions => parts,
		max_attempts => attempts, on_poison => poison);
	RETURN QUERY SELECT pg_temp.play(name, 250, false);
	FOR i IN 1 .. 2000 LOOP
		RETURN QUERY SELECT pg_temp.play(name, 5, true);
		PERFORM eventsource.redrive(name, l.failing) FROM lane l WHERE is_parked;
		UPDATE lane SET is_parked = false, failing = 0, attempts = 0 WHERE is_parked;
		EXIT WHEN NOT EXISTS (SELECT FROM ev WHERE position NOT IN (SELECT position FROM done)) AND NOT EXISTS (SELECT FROM lent);
	END LOOP;
	RETURN QUERY SELECT format('event %s: done %s times', ev.position, count(done.position)) FROM ev LEFT JOIN done USING (position)
	  GROUP BY ev.position HAVING count(done.position) <> 1;
	RETURN QUERY SELECT format('event %s was not wanted', position) FROM done WHERE position NOT IN (SELECT position FROM ev);
	IF poison = 'hold' THEN
		RETURN QUERY SELECT format('stream %s: version %s after %s', stream, version, before)
		  FROM (SELECT stream, version, lag(version) OVER (PARTITION BY stream ORDER BY n) AS before FROM done JOIN ev USING (position)) s
		 WHERE version < before;
	END IF;
	PERFORM eventsource.poll(name) FROM generate_series(0, parts * 2);
	RETURN QUERY SELECT format('parked at the end: %s', p.position) FROM eventsource.parked_events p WHERE p.subscription = name;
	RETURN QUERY SELECT format('lag at the end: %s', s.lag) FROM eventsource.subscriptions s WHERE s.name = format('oracle %s %s %s', parts, attempts, poison) AND s.lag <> 0;
END
$$;

SELECT is_empty(format('SELECT * FROM pg_temp.story(%s, %s, %L) LIMIT 10', partitions, attempts, on_poison), format('%s partitions, %s attempts, %s', partitions, attempts, on_poison))
  FROM (VALUES (1), (3)) p (partitions), (VALUES (1), (3)) a (attempts), (VALUES ('hold'), ('pass')) o (on_poison);

SELECT * FROM finish();
ROLLBACK;
