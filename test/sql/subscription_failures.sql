\set ECHO none
\i test/helpers.sql
-- Events that fail: counted, tried one at a time, parked; streams that are held or not; redrive and discard.
SELECT count(*) AS done FROM eventsource.append_events((
	SELECT jsonb_agg(jsonb_build_object('stream', 'subf-' || CASE WHEN n % 2 = 1 THEN 'odd' ELSE 'even' END, 'type', 't', 'data', n) ORDER BY n)
	FROM generate_series(1, 12) AS n)) \gset
BEGIN;
SELECT plan(90);

CREATE FUNCTION pg_temp.poll(name text, max_count integer DEFAULT 100, consumer text DEFAULT 'c',
	lease interval DEFAULT '1 hour') RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(p.data::text, ' '), '-') FROM eventsource.poll($1, $2, $3, $4) AS p
$$;
CREATE FUNCTION pg_temp.pos(n integer) RETURNS bigint LANGUAGE sql AS $$
	SELECT e.position FROM eventsource.events e WHERE e.category = 'subf' AND e.data = to_jsonb($1)
$$;
CREATE FUNCTION pg_temp.ack(name text, n integer, consumer text DEFAULT 'c') RETURNS text LANGUAGE sql AS $$
	SELECT eventsource.ack($1, pg_temp.pos($2), $3)::text
$$;
CREATE FUNCTION pg_temp.nack(name text, n integer, error text DEFAULT 'bad', consumer text DEFAULT 'c') RETURNS text LANGUAGE sql AS $$
	SELECT eventsource.nack($1, pg_temp.pos($2), $3, $4)::text
$$;
CREATE FUNCTION pg_temp.parked(name text) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(concat_ws(':', p.data, p.state, p.attempts, p.error), ' ' ORDER BY p.position), '-')
	  FROM eventsource.parked_events p WHERE p.subscription = $1
$$;

-- hold: the stream's later events wait.
SELECT eventsource.create_subscription('hold', ARRAY['subf'], max_attempts => 2) AS done \gset
SELECT is(pg_temp.poll('hold', 4), '1 2 3 4', 'a batch');
SELECT is(pg_temp.nack('hold', 3, 'bad 1'), '', 'of which the third fails');
SELECT pg_temp.same_rows($$ SELECT consumer, failing_position, attempts, error FROM eventsource.subscription_partitions WHERE subscription = 'hold' $$,
	$$ SELECT NULL, pg_temp.pos(3), 1, 'bad 1' $$, 'as the view tells');
SELECT is(pg_temp.poll('hold', 4), '1', 'they come one at a time');
SELECT is(pg_temp.ack('hold', 1) || pg_temp.poll('hold', 4), '2', 'each alone');
SELECT is(pg_temp.ack('hold', 2) || pg_temp.poll('hold', 4), '3', 'the one to blame too');
SELECT is(pg_temp.parked('hold'), '-', 'nothing is parked');
SELECT is(pg_temp.nack('hold', 3, 'bad 2'), '', 'it fails again');
SELECT is(pg_temp.parked('hold'), '3:parked:2:bad 2', 'and is parked');
SELECT is(pg_temp.poll('hold', 4), '4 6 8 10', 'what is not of its stream comes');
SELECT is(parked, 1::bigint, 'the view counts it') FROM eventsource.subscriptions WHERE name = 'hold';
SELECT is(pg_temp.ack('hold', 6), '', 'some is done with');
SELECT matches(pg_temp.refusal($$ SELECT pg_temp.nack('hold', 5) $$), '^55000: event .* is not waiting', 'what waits behind a parked event cannot fail');
SELECT matches(pg_temp.refusal($$ SELECT pg_temp.nack('hold', 3) $$), '^55000: event .* is not waiting', 'nor the parked event itself');
SELECT matches(pg_temp.refusal($$ SELECT eventsource.redrive('hold', pg_temp.pos(5)) $$), '^55000: event .* is not parked', 'nor be redriven');
SELECT eventsource.redrive('hold', pg_temp.pos(3)) IS NULL AS done \gset
SELECT is(pg_temp.parked('hold'), '3:redriven:0', 'redriven');
SELECT is(pg_temp.poll('hold', 4), '3', 'comes alone, before what is left of a batch');
SELECT matches(pg_temp.refusal($$ SELECT pg_temp.ack('hold', 8) $$), '^55000: event .* is not lent to consumer "c"\nDETAIL: The last poll returned redriven', 'of which nothing is lent then');
SELECT matches(pg_temp.refusal($$ SELECT pg_temp.nack('hold', 8) $$), '^55000: event .* is not lent to consumer "c"', 'nor fails');
SELECT is(pg_temp.poll('hold', 4), '3', 'it is again what comes first');
SELECT matches(pg_temp.refusal($$ SELECT pg_temp.ack('hold', 3, 'd') $$), 'DETAIL: Its partition is lent to consumer "c".\nHINT: Give the name', 'for one consumer');
SELECT is(pg_temp.poll('hold', 4, 'd'), '-', 'lent like any');
SELECT is(pg_temp.ack('hold', 3) || pg_temp.parked('hold'), '3:redriven:0', 'while it lasts, it is to be seen');
SELECT is(pg_temp.poll('hold', 1), '5', 'then what waited behind it, in order, up to the cursor');
SELECT is(pg_temp.ack('hold', 5) || pg_temp.parked('hold'), '-', 'no trace is left');
SELECT is(pg_temp.poll('hold', 3) || pg_temp.ack('hold', 8), '7 8 9', 'then the line goes on');
SELECT is(pg_temp.poll('hold', 3), '9 10 11', 'with what is left of a batch');
SELECT is(pg_temp.ack('hold', 9) || pg_temp.poll('hold', 5), '10 11 12', 'and what is newer');
SELECT is(pg_temp.ack('hold', 12) || pg_temp.poll('hold', 5), '-', 'to the end');

-- One who always keeps a remainder gets what is redriven; what is lent and not touched is lent once more.
SELECT eventsource.create_subscription('rest', ARRAY['subf'], max_attempts => 1) AS done \gset
SELECT is(pg_temp.poll('rest', 2) || pg_temp.nack('rest', 1) || pg_temp.poll('rest', 1), '1 22', 'the first fails');
SELECT is(pg_temp.ack('rest', 2) || pg_temp.poll('rest', 3), '4 6 8', 'a batch');
SELECT eventsource.redrive('rest', pg_temp.pos(1)) IS NULL AS done \gset
SELECT is(pg_temp.poll('rest', 3), '4 6 8', 'comes again');
SELECT is(pg_temp.ack('rest', 4) || pg_temp.poll('rest', 3), '1', 'after a part of it what is redriven does');
SELECT is(pg_temp.nack('rest', 1) || pg_temp.parked('rest'), '1:parked:1:bad', 'which fails again');
SELECT is(pg_temp.poll('rest', 3), '6 8 10', 'then the rest, which did not');
SELECT is(attempts, 0, 'no attempt is counted') FROM eventsource.subscription_partitions WHERE subscription = 'rest';

-- A redriven one that fails again; its lane stops where it is.
SELECT eventsource.create_subscription('hold2', ARRAY['subf'], max_attempts => 1) AS done \gset
SELECT is(pg_temp.poll('hold2', 4), '1 2 3 4', 'a batch');
SELECT is(pg_temp.nack('hold2', 1), '', 'whose first fails');
SELECT is(pg_temp.parked('hold2'), '1:parked:1:bad', 'one attempt is all');
SELECT is(pg_temp.poll('hold2'), '2 4 6 8 10 12', 'the other stream');
SELECT is(pg_temp.ack('hold2', 12), '', 'is done with');
SELECT eventsource.redrive('hold2', pg_temp.pos(1)) IS NULL AS done \gset
SELECT is(pg_temp.poll('hold2') || pg_temp.ack('hold2', 1) || pg_temp.poll('hold2', 3), '13 5 7', 'redriven');
SELECT is(pg_temp.nack('hold2', 5), '', 'another one fails');
SELECT is(pg_temp.parked('hold2'), '5:redriven:1:bad', 'not parked before its turn');
SELECT is(pg_temp.poll('hold2', 3) || pg_temp.ack('hold2', 3), '3', 'what is before it comes');
SELECT is(pg_temp.poll('hold2', 3), '-', 'it had all its attempts');
SELECT is(pg_temp.parked('hold2'), '5:parked:1:bad', 'parked');
SELECT is(pg_temp.poll('hold2', 3), '-', 'the lane stands');
SELECT pg_temp.refuses($$ SELECT eventsource.discard('hold2', pg_temp.pos(5), '') $$, '22023', 'reason must not be empty', 'discard needs words');
SELECT pg_temp.refuses($$ SELECT eventsource.discard('hold2', pg_temp.pos(5), NULL) $$, '22004', 'reason must not be null', 'discard needs a reason');
SELECT eventsource.discard('hold2', pg_temp.pos(5), 'hopeless') IS NULL AS done \gset
SELECT is(pg_temp.poll('hold2'), '7 9 11', 'discarded: the rest comes');
SELECT is(pg_temp.nack('hold2', 11) || pg_temp.poll('hold2') || pg_temp.ack('hold2', 7) || pg_temp.poll('hold2') || pg_temp.ack('hold2', 9) || pg_temp.poll('hold2'), '79-', 'one at a time');
SELECT is(pg_temp.parked('hold2'), '11:parked:1:bad', 'the last one parked');
SELECT eventsource.discard('hold2', pg_temp.pos(11), 'hopeless too') IS NULL AS done \gset
SELECT is(pg_temp.parked('hold2'), '-', 'nothing behind it: gone at once');
SELECT matches(pg_temp.refusal($$ SELECT eventsource.discard('hold2', pg_temp.pos(11), 'x') $$), '^55000: event .* is not parked', 'once');
SELECT pg_temp.same_rows($$ SELECT type, data ->> 'reason', (data -> 'position')::bigint FROM eventsource.events WHERE stream = '$config-parking.hold2' ORDER BY version $$,
	$$ VALUES ('event_redriven', NULL, pg_temp.pos(1)), ('event_discarded', 'hopeless', pg_temp.pos(5)), ('event_discarded', 'hopeless too', pg_temp.pos(11)) $$, 'all of it is in the log');

-- A stream is let go while a batch is lent that was chosen without it.
SELECT eventsource.create_subscription('hold3', ARRAY['subf'], max_attempts => 1) AS done \gset
SELECT is(pg_temp.poll('hold3', 1) || pg_temp.nack('hold3', 1), '1', 'the first fails');
SELECT is(pg_temp.poll('hold3', 3), '2 4 6', 'the other stream');
SELECT eventsource.discard('hold3', pg_temp.pos(1), 'x') IS NULL AS done \gset
SELECT is(pg_temp.ack('hold3', 6) || pg_temp.poll('hold3'), '3 5', 'what the batch passed over comes after it');
SELECT is(pg_temp.ack('hold3', 5) || pg_temp.poll('hold3', 3), '7 8 9', 'and then both');

-- pass: only the event itself.
SELECT eventsource.create_subscription('pass', ARRAY['subf'], max_attempts => 1, on_poison => 'pass') AS done \gset
SELECT is(pg_temp.poll('pass', 3) || pg_temp.ack('pass', 1) || pg_temp.nack('pass', 2), '1 2 3', 'the second fails');
SELECT is(pg_temp.poll('pass', 2) || pg_temp.nack('pass', 3), '3 4', 'and the third');
SELECT is(pg_temp.parked('pass'), '2:parked:1:bad 3:parked:1:bad', 'both are parked');
SELECT is(pg_temp.poll('pass', 4), '4 5 6 7', 'the rest of their streams comes');
SELECT is(pg_temp.ack('pass', 7), '', 'and is done with');
SELECT eventsource.redrive('pass', pg_temp.pos(3)) IS NULL AS done \gset
SELECT is(pg_temp.poll('pass') || pg_temp.nack('pass', 3), '3', 'redriven it comes alone');
SELECT is(pg_temp.parked('pass'), '2:parked:1:bad 3:parked:1:bad', 'and may be parked again');
SELECT eventsource.redrive('pass', pg_temp.pos(3)) IS NULL AS done \gset
SELECT is(pg_temp.poll('pass') || pg_temp.ack('pass', 3) || pg_temp.parked('pass'), '32:parked:1:bad', 'or be done with');
SELECT eventsource.discard('pass', pg_temp.pos(2), 'x') IS NULL AS done \gset
SELECT is(pg_temp.parked('pass'), '-', 'discarded it is gone');
SELECT is(pg_temp.poll('pass'), '8 9 10 11 12', 'the line goes on');
SELECT eventsource.create_subscription('pass', ARRAY['subf'], max_attempts => 1) AS done \gset
SELECT is(pg_temp.nack('pass', 8) || pg_temp.poll('pass'), '9 11', 'defined anew it holds');
SELECT eventsource.create_subscription('pass', ARRAY['subf'], max_attempts => 1, on_poison => 'pass') AS done \gset
SELECT is(pg_temp.ack('pass', 11) || pg_temp.poll('pass'), '-', 'what is held stays so when it holds no more');
SELECT eventsource.discard('pass', pg_temp.pos(8), 'x') IS NULL AS done \gset
SELECT is(pg_temp.poll('pass'), '10 12', 'until it is let go');

-- Leases that end; retry_delay; consumers whose transaction, with the poll, is gone.
SELECT eventsource.create_subscription('late', ARRAY['subf'], max_attempts => 2) AS done \gset
SELECT is(pg_temp.poll('late', 3, 'a', '1 microsecond'), '1 2 3', 'a lease');
SELECT is(pg_temp.poll('late', 3, 'b', '1 microsecond'), '1', 'that ended: one at a time');
SELECT is(pg_temp.poll('late', 3, 'b', '1 microsecond'), '2', 'after its attempts the next, still alone');
SELECT is(pg_temp.parked('late'), '1:parked:2:the lease of consumer "b" ended without a word', 'the first is parked');
SELECT is(pg_temp.ack('late', 2, 'b') || pg_temp.poll('late', 3, 'b'), '4', 'until the batch that failed is over');
SELECT is(pg_temp.ack('late', 4, 'b') || pg_temp.poll('late', 3, 'b'), '6 8 10', 'and all goes well again');
SELECT eventsource.create_subscription('gone', ARRAY['subf'], max_attempts => 2) AS done \gset
SELECT is(pg_temp.nack('gone', 1), '', 'without a lease');
SELECT is(pg_temp.nack('gone', 1), '', 'twice');
SELECT is(pg_temp.parked('gone'), '1:parked:2:bad', 'is parked too');
SELECT is(pg_temp.poll('gone', 1, 'other', '1 microsecond') || pg_temp.nack('gone', 2), '2', 'a lease that ended does not matter');
SELECT is(pg_temp.parked('gone'), '1:parked:2:bad 2:parked:2:bad', 'both of which count');
SELECT eventsource.create_subscription('slow', ARRAY['subf'], retry_delay => '1 day') AS done \gset
SELECT is(pg_temp.poll('slow', 2) || pg_temp.nack('slow', 1), '1 2', 'a failure');
SELECT is(pg_temp.poll('slow', 2), '-', 'is not tried again at once');
SELECT ok(NOT eventsource.wait_for_events('slow', '0'), 'nor waited for');
SELECT ok(retry_at > now() + interval '23 hours', 'but later') FROM eventsource.subscription_partitions WHERE subscription = 'slow';
SELECT is(lag > 0 AND lag_seconds >= 0, true, 'it lags') FROM eventsource.subscriptions WHERE name = 'slow';
SELECT eventsource.reset_subscription('slow') IS NULL AS done \gset
SELECT is(pg_temp.poll('slow', 2), '1 2', 'a reset forgets');

SELECT * FROM finish();
ROLLBACK;
