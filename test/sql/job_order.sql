\set ECHO none
\i test/helpers.sql
-- Jobs of one order key: order, against an oracle in plain SQL; and many that wait behind one.
BEGIN;
SELECT plan(17);

CREATE FUNCTION pg_temp.claims(queue text, max_jobs integer DEFAULT 1) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(c.payload::text, ' '), '-') FROM eventsource.claim($1, $2, '1 hour', 'w') AS c
$$;

-- A crowd of one key in front of others.
SELECT count(eventsource.enqueue('jo1', to_jsonb(n), order_key => 'crowd')) AS done FROM generate_series(1, 300) n \gset
SELECT count(eventsource.enqueue('jo1', to_jsonb(n), order_key => 'k' || n)) AS done FROM generate_series(301, 303) n \gset
SELECT is(pg_temp.claims('jo1'), '1', 'the first one');
SELECT is(pg_temp.claims('jo1', 2), '301 302', 'others behind the crowd');
SELECT ok(count(*) > 250, 'what waits is marked') FROM eventsource.job WHERE queue = 'jo1' AND waits;
SELECT is(pg_temp.claims('jo1', 2), '303', 'the last one');
SELECT is(pg_temp.claims('jo1', 100), '-', 'nothing else');
SELECT eventsource.complete(job_id, worker => 'w') IS NULL AS done FROM eventsource.jobs WHERE queue = 'jo1' AND payload = '1' \gset
SELECT is(pg_temp.claims('jo1', 100), '2', 'then the second one');
SELECT eventsource.fail(job_id, 'BOUNCED', worker => 'w') AS done FROM eventsource.jobs WHERE queue = 'jo1' AND payload = '2' \gset
SELECT is(pg_temp.claims('jo1', 100), '3', 'one that is given up makes room');
SELECT count(eventsource.cancel_job(job_id)) AS done FROM eventsource.jobs WHERE queue = 'jo1' AND payload IN ('4', '5') \gset
SELECT is(pg_temp.claims('jo1', 100), '-', 'one that is cancelled behind it does not');
SELECT eventsource.fail(job_id, 'TIMEOUT', retry_at => now(), worker => 'w') AS done FROM eventsource.jobs WHERE queue = 'jo1' AND payload = '3' \gset
SELECT is(pg_temp.claims('jo1', 100), '3', 'one that failed comes again, before the others');
SELECT eventsource.complete(job_id, worker => 'w') IS NULL AS done FROM eventsource.jobs WHERE queue = 'jo1' AND payload = '3' \gset
SELECT is(pg_temp.claims('jo1', 100), '6', 'and then the next that is left');
SELECT eventsource.complete(job_id, worker => 'w') IS NULL AS done FROM eventsource.jobs WHERE queue = 'jo1' AND payload = '6' \gset

-- What is not lent is not locked, however many are asked for: others may be at it.
SELECT count(eventsource.enqueue('jo3', to_jsonb(n), order_key => 'crowd')) AS done FROM generate_series(1, 270) n \gset
SELECT is(pg_temp.claims('jo3', 1000), '1', 'a crowd, of which many are asked for');
SELECT is(count(*), 13::bigint, 'the walk ended before the last ones') FROM eventsource.job WHERE queue = 'jo3' AND state = 'available' AND NOT waits;
SELECT is(count(*), 0::bigint, 'which are not locked') FROM eventsource.job WHERE queue = 'jo3' AND state = 'available' AND NOT waits AND xmax::text <> '0';

-- Drained: every one of them, in order.
CREATE FUNCTION pg_temp.drain(queue text) RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE
	job eventsource.claimed_job;
	result int[] := '{}';
BEGIN
	LOOP
		SELECT * INTO job FROM eventsource.claim(queue, 1, '1 hour', 'd');
		EXIT WHEN job.job_id IS NULL;
		result := result || (job.payload #>> '{}')::int;
		PERFORM eventsource.complete(job.job_id, worker => 'd');
	END LOOP;
	RETURN result;
END
$$;
SELECT is(pg_temp.drain('jo1'), ARRAY(SELECT generate_series(7, 300)), 'all of the crowd, in order');

-- Dice: after each step, what is claimable is what the oracle says.
CREATE FUNCTION pg_temp.oracle(queue text) RETURNS bigint[] LANGUAGE sql AS $$
	SELECT coalesce(array_agg(j.job_id ORDER BY j.priority DESC, j.run_at, t.turn), '{}')
	  FROM eventsource.jobs j JOIN eventsource.job t ON t.id = j.job_id
	 WHERE j.queue = $1 AND j.state = 'available'
	   AND (j.order_key IS NULL OR NOT EXISTS (
			SELECT FROM eventsource.jobs b JOIN eventsource.job u ON u.id = b.job_id
			 WHERE b.queue = $1 AND b.order_key = j.order_key AND b.job_id <> j.job_id
			   AND (b.state = 'claimed' OR b.state IN ('scheduled', 'available') AND u.turn < t.turn)))
$$;
CREATE FUNCTION pg_temp.dice(steps integer) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	jobs bigint[];
	want bigint[];
	have bigint[];
	n integer;
	id bigint;
	claims integer := 0;
BEGIN
	PERFORM setseed(0.42);
	FOR i IN 1 .. steps LOOP
		n := floor(random() * 10);
		SELECT j.job_id INTO id FROM eventsource.jobs j WHERE j.queue = 'jo2' AND CASE n WHEN 5 THEN j.state = 'claimed' WHEN 6 THEN j.state = 'claimed' WHEN 7 THEN j.state IN ('available', 'claimed') WHEN 8 THEN j.state IN ('discarded', 'cancelled') ELSE false END
		 ORDER BY random() LIMIT 1;
		IF n < 4 THEN
			PERFORM eventsource.enqueue('jo2', to_jsonb(i), priority => floor(random() * 2)::int, order_key => CASE WHEN random() < 0.8 THEN chr(97 + floor(random() * 3)::int) END)
			   FROM generate_series(1, 1 + 40 * (i % 29 = 0)::int);
		ELSIF n = 4 OR n = 9 THEN
			n := 1 + floor(random() * 3);
			want := (pg_temp.oracle('jo2'));
			-- Of one key only the first: another one of it is not claimable besides.
			SELECT array_agg(c.job_id) INTO have FROM eventsource.claim('jo2', n, '1 hour', 'w') c;
			claims := claims + coalesce(cardinality(have), 0);
			IF coalesce(have, '{}') <> want[1:n] THEN
				RETURN format('step %s: claimed %s, not %s', i, have, want[1:n]);
			END IF;
		ELSIF id IS NOT NULL THEN
			CASE n
				WHEN 5 THEN PERFORM eventsource.complete(id, worker => 'w');
				WHEN 6 THEN PERFORM eventsource.fail(id, 'TIMEOUT', retry_at => now(), worker => 'w');
				WHEN 7 THEN PERFORM eventsource.cancel_job(id);
				WHEN 8 THEN PERFORM eventsource.redrive(id);
			END CASE;
		END IF;
	END LOOP;
	RETURN CASE WHEN claims > steps / 10 THEN 'as the oracle says' ELSE format('only %s claims', claims) END;
END
$$;
SELECT is(pg_temp.dice(300), 'as the oracle says', 'dice');
SELECT ok(count(*) > 0, 'some of them were marked') FROM eventsource.job WHERE queue = 'jo2' AND waits;
SELECT count(eventsource.complete(job_id, worker => 'w')) AS done FROM eventsource.jobs WHERE queue = 'jo2' AND state = 'claimed' \gset
SELECT cardinality(pg_temp.drain('jo2')) AS drained \gset
SELECT is(count(*), 0::bigint, 'and all can be drained') FROM eventsource.jobs WHERE queue = 'jo2' AND finished_at IS NULL;

SELECT * FROM finish();
ROLLBACK;
