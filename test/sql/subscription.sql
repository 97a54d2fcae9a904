\set ECHO none
\i test/helpers.sql
-- Subscriptions: definitions, poll and ack, leases, partitions, reset and drop, views.
SELECT count(*) AS done FROM eventsource.append_events((
	SELECT jsonb_agg(jsonb_build_object('stream', 'suba-' || n % 4, 'type', 't' || n % 2, 'data', n) ORDER BY n)
	FROM generate_series(1, 20) AS n)) \gset
SELECT eventsource.append('subb-1', 'x', '0', idempotency_key => 'k') IS NULL AS done \gset

SELECT count(*) AS done FROM eventsource.append_events((
	SELECT jsonb_agg(jsonb_build_object('stream', 'subq-' || n % 3, 'type', 't', 'data', n) ORDER BY o)
	FROM unnest(ARRAY[2, 4, 0, 6]) WITH ORDINALITY AS u (n, o))) \gset
SELECT count(*) AS done FROM eventsource.append_events((
	SELECT jsonb_agg(jsonb_build_object('stream', 'subz-' || n, 'type', 't', 'data', n) ORDER BY n) FROM generate_series(0, 20) AS n)) \gset

-- An idle poll writes nothing, unless it can pass over much.
SELECT eventsource.create_subscription('subidle', ARRAY['subb'], from_position => NULL) AS done \gset
BEGIN;
SELECT count(*) AS idle_got FROM eventsource.poll('subidle') \gset
SELECT pg_current_xact_id_if_assigned() IS NULL AND NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 6 AND pid = pg_backend_pid()) AS idle_wrote_nothing \gset
COMMIT;
SELECT count(*) AS done FROM eventsource.append_events((SELECT jsonb_agg(jsonb_build_object('stream', 'subn-' || n % 100, 'type', 'x')) FROM generate_series(1, 1100) AS n)) \gset
SELECT count(*) AS done FROM eventsource.poll('subidle') \gset
BEGIN;
SELECT plan(112);
SELECT ok(:idle_got = 0 AND :'idle_wrote_nothing', 'an idle poll writes nothing and locks nothing');
SELECT is(position, eventsource.watermark(), 'but passes over much that is not wanted') FROM eventsource.subscription_partitions WHERE subscription = 'subidle';

CREATE FUNCTION pg_temp.poll(name text, max_count integer DEFAULT 100, consumer text DEFAULT NULL,
	lease interval DEFAULT '1 hour', partition integer DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(p.data::text, ' '), '-') FROM eventsource.poll($1, $2, $3, $4, $5) AS p
$$;
CREATE FUNCTION pg_temp.ack(name text, n integer, consumer text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT eventsource.ack($1, (SELECT e.position FROM eventsource.events e WHERE e.category = 'suba' AND e.data = to_jsonb($2)), $3)::text
$$;

-- Definitions.
SELECT is(eventsource.create_subscription('sub1', ARRAY['suba']), 1::bigint, 'the first version');
SELECT pg_temp.refuses(format('SELECT eventsource.create_subscription(%s)', arguments), state, message, 'create_subscription(' || arguments || ')')
FROM (VALUES
	('NULL', '22004', 'name must not be null'),
	('''''', 'ZE011', 'invalid definition of subscription ""'),
	('repeat(''x'', 257)', 'ZE011', 'invalid definition of subscription "' || repeat('x', 257) || '"'),
	('''s'', ARRAY[]::text[]', 'ZE011', 'invalid definition of subscription "s"'),
	('''s'', ARRAY[''a-b'']', 'ZE011', 'invalid definition of subscription "s"'),
	('''s'', ARRAY[''$config'']', 'ZE011', 'invalid definition of subscription "s"'),
	('''s'', ARRAY[NULL]::text[]', 'ZE011', 'invalid definition of subscription "s"'),
	('''s'', filter => ''now() > event.recorded_at''', 'ZE011', 'invalid definition of subscription "s"'),
	('''s'', filter => ''1''', 'ZE011', 'invalid definition of subscription "s"'),
	('''s'', partitions => 0', 'ZE011', 'invalid definition of subscription "s"'),
	('''s'', partitions => 1025', 'ZE011', 'invalid definition of subscription "s"'),
	('''s'', max_attempts => 0', 'ZE011', 'invalid definition of subscription "s"'),
	('''s'', on_poison => ''x''', 'ZE011', 'invalid definition of subscription "s"'),
	('''s'', consumers => 4000000000::oid', 'ZE011', 'invalid definition of subscription "s"'),
	('''s'', retry_delay => ''-1 s''', '22023', 'retry_delay is out of range'),
	('''s'', max_lag => ''0''', '22023', 'max_lag is out of range'),
	('''s'', from_position => -1', '22023', 'position -1 is out of range'),
	('''s'', from_position => 9223372036854775807', '22023', 'position 9223372036854775807 is out of range'),
	('''sub1'', partitions => 2', '55000', 'subscription "sub1" has 1 partition')) AS v (arguments, state, message);
SELECT is(pg_temp.refusal($$ SELECT eventsource.create_subscription('s', ARRAY['a-b', ''], 'x', partitions => 0, on_poison => 'y') $$),
	$want$ZE011: invalid definition of subscription "s"
DETAIL: category: "a-b" has a hyphen; a category is what stands before it
category: a name must not be empty
filter: "x" is not known here (at character 1 of: x). Columns are named as event.column and row.column; text stands in single quotes.
partitions: must be 1 to 1024, not 0
on_poison: must be hold or pass, not "y"
HINT: For example: SELECT eventsource.create_subscription('mailer', ARRAY['order'], $$event.type = 'placed'$$).$want$, 'all that is wrong is listed');

-- poll and ack, by one consumer.
SELECT is(pg_temp.poll('sub1', 3), '1 2 3', 'the first three');
SELECT is(pg_temp.poll('sub1', 5), '1 2 3 4 5', 'what is not acknowledged comes again');
SELECT is(pg_temp.ack('sub1', 2), '', 'the first two are done with');
SELECT is(pg_temp.poll('sub1', 3), '3 4 5', 'the rest comes again');
SELECT is(pg_temp.ack('sub1', 5), '', 'all of it is done with');
SELECT pg_temp.refuses($$ SELECT pg_temp.ack('sub1', 5) $$, '55000', format('event %s is not lent to consumer "%s"',
	(SELECT position FROM eventsource.events WHERE category = 'suba' AND data = '5'), pg_backend_pid() || '.' || (SELECT floor(extract(epoch FROM backend_start - '2000-01-01Z') * 1000000)::bigint FROM pg_stat_activity WHERE pid = pg_backend_pid())), 'what is done with cannot be done again');
SELECT is(pg_temp.poll('sub1', 2), '6 7', 'the next two');
SELECT matches(pg_temp.refusal($$ SELECT pg_temp.ack('sub1', 5) $$), '^55000: event .* is not waiting to be acknowledged', 'nor while others are lent');
SELECT matches(pg_temp.refusal($$ SELECT pg_temp.ack('sub1', 8) $$), '^22023: event .* was not delivered', 'only what was delivered');
SELECT pg_temp.refuses($$ SELECT eventsource.ack('sub1', 0) $$, 'P0002', 'there is no event at position 0', 'only an event');
SELECT pg_temp.refuses($$ SELECT eventsource.ack('sub1', NULL) $$, '22004', 'event_position must not be null', 'and which must be said');
SELECT is(count(*), 2::bigint, 'poll and ack in one command') FROM eventsource.poll('sub1', 2) AS p, eventsource.ack('sub1', p.position);
SELECT is(pg_temp.poll('sub1', NULL), (SELECT string_agg(n::text, ' ') FROM generate_series(8, 20) n), 'all there is');
SELECT is(pg_temp.ack('sub1', 20), '', 'is done with');
SELECT is(pg_temp.poll('sub1'), '-', 'nothing is left');
SELECT pg_temp.same_rows($$ SELECT lag, lag_seconds, parked, max_lag, partitions, on_poison, category, error FROM eventsource.subscriptions WHERE name = 'sub1' $$,
	$$ VALUES (0, 0, 0, interval '1 minute', 1, 'hold', ARRAY['suba'], NULL::text) $$, 'the view says so');
SELECT pg_temp.same_rows($$ SELECT position, consumer, lent_upto, lease_until, pending_position FROM eventsource.subscription_partitions WHERE subscription = 'sub1' $$,
	$$ SELECT eventsource.watermark(), NULL, NULL, NULL, NULL $$, 'the position is at the watermark, over all that was not wanted');

-- Rollback undoes both.
SAVEPOINT a;
SELECT eventsource.reset_subscription('sub1') IS NULL AS done \gset
SAVEPOINT b;
SELECT is(pg_temp.poll('sub1', 2, 'one'), '1 2', 'lent in a savepoint');
ROLLBACK TO b;
SELECT is(pg_temp.poll('sub1', 2, 'two'), '1 2', 'is not lent after its rollback');
SELECT is(pg_temp.ack('sub1', 2, 'two'), '', 'acknowledged in a savepoint');
ROLLBACK TO b;
SELECT is(pg_temp.poll('sub1', 3, 'three'), '1 2 3', 'is not acknowledged after its rollback');
ROLLBACK TO a;

-- What is given back is what poll's columns say.
SELECT pg_temp.same_rows($$ SELECT p FROM eventsource.create_subscription('sub2', ARRAY['subb', 'subx']) c, eventsource.poll('sub2') p $$,
	$$ SELECT e FROM eventsource.events e WHERE category = 'subb' $$, 'events come as the view shows them');

-- Two consumers and leases.
SELECT eventsource.reset_subscription('sub1') IS NULL AS done \gset
SELECT is(pg_temp.poll('sub1', 2, 'one'), '1 2', 'to one');
SELECT is(pg_temp.poll('sub1', 2, 'two'), '-', 'nothing to two');
SELECT is(pg_temp.poll('sub1', 2), '-', 'nor to the session');
SELECT matches(pg_temp.refusal($$ SELECT pg_temp.ack('sub1', 2, 'two') $$), '^55000: event .* is not lent to consumer "two"', 'two has nothing to acknowledge');
SELECT is(pg_temp.ack('sub1', 1, 'one'), '', 'one acknowledges one');
SELECT is(pg_temp.poll('sub1', 2, 'two'), '-', 'still nothing to two');
SELECT is(pg_temp.ack('sub1', 2, 'one'), '', 'one acknowledges all');
SELECT is(pg_temp.poll('sub1', 2, 'two', '1 microsecond'), '3 4', 'now two');
SELECT is(pg_temp.poll('sub1', 2, 'one'), '3', 'whose lease is over: one takes over, one at a time');
SELECT pg_temp.same_rows($$ SELECT consumer, attempts, error FROM eventsource.subscription_partitions WHERE subscription = 'sub1' $$,
	$$ VALUES ('one', 1, 'the lease of consumer "two" ended without a word') $$, 'and who was it is known');
SELECT matches(pg_temp.refusal($$ SELECT pg_temp.ack('sub1', 3, 'two') $$), '^55000: event .* is not lent to consumer "two"', 'two is too late');
SELECT is(pg_temp.ack('sub1', 3, 'one') || pg_temp.poll('sub1', 2, 'one') || pg_temp.ack('sub1', 4, 'one'), '4', 'the batch that failed, to its end');
SELECT is(pg_temp.poll('sub1', 2, 'one', '1 microsecond'), '5 6', 'then by two again');
SELECT is(pg_temp.ack('sub1', 6, 'one'), '', 'a lease that is over, and that nobody took, may be acknowledged');
SELECT pg_temp.refuses($$ SELECT eventsource.poll('sub1', 1, '') $$, '22023', 'name of a consumer must have 1 to 256 bytes', 'a consumer has a name');
SELECT pg_temp.refuses($$ SELECT eventsource.poll('sub1', 0) $$, '22023', 'max_count must be at least 1', 'and asks for something');
SELECT pg_temp.refuses($$ SELECT eventsource.poll('sub1', lease => '0') $$, '22023', 'lease is out of range', 'for a while');
SELECT pg_temp.refuses($$ SELECT eventsource.poll('sub1', partition => 1) $$, '22023', 'subscription "sub1" has no partition 1', 'of a partition there is');
SELECT pg_temp.refuses($$ SELECT eventsource.poll('nosuch') $$, '42704', 'subscription "nosuch" does not exist', 'of a subscription there is');
SELECT pg_temp.refuses($$ SELECT eventsource.poll(NULL) $$, '22004', 'name of a subscription must not be null', 'and which must be said');

-- Partitions: each stream in one, each to one consumer at a time.
SELECT is(eventsource.create_subscription('sub3', ARRAY['suba'], partitions => 4), 1::bigint, 'four partitions');
CREATE TEMP TABLE got AS
SELECT c.consumer, p.* FROM generate_series(1, 5) AS g (n), LATERAL (SELECT 'c' || g.n AS consumer) c, LATERAL eventsource.poll('sub3', 3, c.consumer) AS p;
SELECT is_empty($$ SELECT stream FROM got GROUP BY stream HAVING count(DISTINCT consumer) > 1 $$, 'a stream goes to one consumer');
SELECT is(count(DISTINCT consumer), (SELECT count(DISTINCT (s.id & 1099511627775) % 4) FROM eventsource.stream s WHERE s.name LIKE 'suba-%'), 'each part to another') FROM got;
SELECT is_empty($$ SELECT FROM (SELECT version, lag(version) OVER (PARTITION BY stream ORDER BY position) AS before FROM got) s WHERE version <> coalesce(before, 0) + 1 $$, 'in order, from the start');
SELECT count(eventsource.ack('sub3', last, consumer)) AS done FROM (SELECT consumer, max(position) AS last FROM got GROUP BY consumer) s \gset
SELECT is(eventsource.create_subscription('sub3', ARRAY['suba'], 'event.type = ''t1''', partitions => 4), 2::bigint, 'a new version, with a filter');
CREATE TEMP TABLE rest (position bigint, stream text, type text, data jsonb);
DO $$
DECLARE
	got integer;
BEGIN
	LOOP
		WITH p AS (SELECT * FROM eventsource.poll('sub3', 2, 'c')),
			a AS (SELECT eventsource.ack('sub3', max(position), 'c') FROM p HAVING count(*) > 0),
			i AS (INSERT INTO rest SELECT p.position, p.stream, p.type, p.data FROM p)
		SELECT (SELECT count(*) FROM p) + 0 * (SELECT count(*) FROM a) INTO got;
		EXIT WHEN got = 0;
	END LOOP;
END
$$;
SELECT pg_temp.same_rows($$ SELECT data FROM rest ORDER BY data $$, $$ SELECT e.data FROM eventsource.events e
	WHERE e.category = 'suba' AND e.type = 't1' AND NOT EXISTS (SELECT FROM got g WHERE g.position = e.position) ORDER BY e.data $$, 'goes on where each partition is');
SELECT pg_temp.same_rows($$ SELECT sum(lag), min(position) = max(position) FROM eventsource.subscriptions WHERE name = 'sub3' $$, $$ VALUES (0::numeric, true) $$, 'to the end');
SELECT is(filter, 'event.type = ''t1''', 'the view has the filter') FROM eventsource.subscriptions WHERE name = 'sub3';

-- The least recently served first.
SELECT eventsource.reset_subscription('sub3') IS NULL AS done \gset
SELECT is(count(DISTINCT partition), (SELECT count(*) FROM (SELECT FROM eventsource.stream s JOIN eventsource.events e ON e.stream = s.name
	WHERE e.category = 'suba' AND e.type = 't1' GROUP BY (s.id & 1099511627775) % 4) s), 'everyone gets his turn')
FROM (SELECT n, (SELECT max((s.id & 1099511627775) % 4) FROM eventsource.poll('sub3', 1 + n * 0, 'c') AS p
	JOIN eventsource.stream s ON s.name = p.stream, eventsource.ack('sub3', p.position, 'c')) AS partition FROM generate_series(1, 4) n) s
WHERE partition IS NOT NULL;

-- A filter that fails says so, and the views go on.
SELECT is(eventsource.create_subscription('sub4', ARRAY['subb'], '1 / (event.data #>> ''{}'')::int = 0'), 1::bigint, 'a filter that will fail');
SELECT matches(pg_temp.refusal($$ SELECT eventsource.poll('sub4') $$), '^22012: division by zero', 'fails in poll');
SELECT is(error, 'division by zero', 'and the view tells') FROM eventsource.subscriptions WHERE name = 'sub4';

-- One that fails on a later event: what stands before it comes.
SELECT eventsource.create_subscription('sub7', ARRAY['subq'], '8 / (event.data #>> ''{}'')::int > 0') AS done \gset
SELECT is(error, NULL, 'its next event passes') FROM eventsource.subscriptions WHERE name = 'sub7';
SELECT ok(eventsource.wait_for_events('sub7', '0'), 'and is there');
SELECT is(pg_temp.poll('sub7'), '2 4', 'a batch ends before the event that the filter fails on');
SELECT is(pg_temp.poll('sub7'), '2 4', 'and comes again');
SELECT eventsource.ack('sub7', (SELECT position FROM eventsource.events WHERE category = 'subq' AND data = '4')) IS NULL AS done \gset
SELECT matches(pg_temp.refusal($$ SELECT eventsource.poll('sub7') $$), '^22012: division by zero', 'where it is next it is an error');
SELECT matches(pg_temp.refusal($$ SELECT eventsource.wait_for_events('sub7', '1 hour') $$), '^22012: division by zero', 'also for who waits');
SELECT is(s.error || ' ' || p.error || ' ' || h.status, 'division by zero division by zero degraded', 'and the views tell')
FROM eventsource.subscriptions s, eventsource.subscription_partitions p, eventsource.health() h
WHERE s.name = 'sub7' AND p.subscription = s.name AND h."check" = 'subscription sub7';
SELECT eventsource.create_subscription('sub7', ARRAY['subq'], 'event.data <> ''0''') AS done \gset
SELECT is(pg_temp.poll('sub7'), '6', 'a better filter helps');
SELECT matches(pg_temp.refusal($$ SELECT eventsource.nack('sub7', (SELECT position FROM eventsource.events WHERE category = 'subq' AND data = '0'), 'bad') $$),
	'^22023: subscription "sub7" does not deliver event', 'what the filter leaves out cannot fail');
SELECT matches(pg_temp.refusal($$ SELECT eventsource.ack('sub7', max(event_position)) FROM eventsource.subscription_definitions() $$),
	'^22023: subscription "sub7" does not deliver event', 'definitions are not delivered');

-- With several partitions, the others go on.
SELECT eventsource.create_subscription('sub8', ARRAY['subz'], '8 / (event.data #>> ''{}'')::int >= 0', partitions => 4) AS done \gset
SELECT isnt(pg_temp.poll('sub8', 100, 'c' || n), '-', 'another partition is lent') FROM generate_series(1, 3) n;
SELECT matches(pg_temp.refusal($$ SELECT eventsource.wait_for_events('sub8', '1 hour', 'c4') $$), '^22012: division by zero', 'that of the event is all that is left');
SELECT matches(pg_temp.refusal($$ SELECT eventsource.poll('sub8', 100, 'c4') $$), '^22012: division by zero', 'for poll as well');
SELECT ok(eventsource.wait_for_events('sub8', '0', 'c1'), 'who was lent something goes on');

-- reset and drop.
SELECT is(pg_temp.poll('sub1', 1, 'one'), '7', 'lent');
SELECT eventsource.reset_subscription('sub1', (SELECT position FROM eventsource.events WHERE category = 'suba' AND data = '15')) IS NULL AS done \gset
SELECT matches(pg_temp.refusal($$ SELECT pg_temp.ack('sub1', 7, 'one') $$), '^55000: ', 'a reset takes it back');
SELECT is(pg_temp.poll('sub1'), '16 17 18 19 20', 'and begins where it says');
SELECT matches(pg_temp.refusal($$ SELECT eventsource.reset_subscription('sub1', -1) $$), '^22023: position -1 is out of range', 'a position is at least 0');
SELECT is(eventsource.create_subscription('sub5', ARRAY['suba'], from_position => NULL), 1::bigint, 'from now on');
SELECT is(pg_temp.poll('sub5'), '-', 'nothing yet');
SELECT eventsource.drop_subscription('sub1') IS NULL AS done \gset
SELECT pg_temp.refuses($$ SELECT eventsource.poll('sub1') $$, '42704', 'subscription "sub1" does not exist', 'dropped');
SELECT pg_temp.refuses($$ SELECT eventsource.drop_subscription('sub1') $$, '42704', 'subscription "sub1" does not exist', 'once');
SELECT is_empty($$ SELECT FROM eventsource.subscription_cursor WHERE subscription = 'sub1' $$, 'its progress is gone');
SELECT is(eventsource.create_subscription('sub1', ARRAY['suba'], partitions => 2), 3::bigint, 'and may come again, with other partitions');
SELECT pg_temp.same_rows($$ SELECT type FROM eventsource.events WHERE stream = '$config-subscription.sub1' ORDER BY version $$,
	$$ VALUES ('subscription_defined'), ('subscription_dropped'), ('subscription_defined') $$, 'all of which is in the log');

-- Versions of a row that an old snapshot keeps do not make a consumer slow: it goes on from where the row stood.
SELECT pg_temp.poll('sub3', 1) || pg_temp.poll('sub5') AS done \gset
SELECT idx_scan FROM pg_stat_xact_user_tables WHERE relname = 'subscription_cursor' \gset before_
SELECT count(pg_temp.poll('sub3', 1)) + count(pg_temp.poll('sub5')) AS done FROM generate_series(1, 20) \gset
SELECT ok(idx_scan = :before_idx_scan AND idx_scan > 0, 'no index is asked again') FROM pg_stat_xact_user_tables WHERE relname = 'subscription_cursor';
SELECT eventsource.drop_subscription('sub5') IS NULL AS done \gset
SELECT eventsource.create_subscription('sub6', ARRAY['subb']) + eventsource.create_subscription('sub5', ARRAY['subb']) AS done \gset
SELECT is(pg_temp.poll('sub5') || pg_temp.poll('sub6'), '00', 'nor is the row of another taken for it');

-- wait_for_events.
SELECT ok(eventsource.wait_for_events('sub1', '0'), 'there is something to poll');
SELECT ok(NOT eventsource.wait_for_events('subidle', '30 milliseconds'), 'there is nothing to poll');
SELECT isnt(pg_temp.poll('sub1', 1, 'she', partition => 0), '-', 'one partition is lent') UNION ALL SELECT isnt(pg_temp.poll('sub1', 1, 'she', partition => 1), '-', 'so is the other');
SELECT ok(eventsource.wait_for_events('sub1', '0', 'she') AND NOT eventsource.wait_for_events('sub1', '0'), 'for another consumer than this session');
SELECT throws_ok($$ SET LOCAL transaction_read_only = on; SELECT eventsource.poll('sub1') $$, '25006', NULL, 'poll writes');

SELECT * FROM finish();
ROLLBACK;
SELECT eventsource.drop_subscription('subidle') IS NULL AS done \gset
