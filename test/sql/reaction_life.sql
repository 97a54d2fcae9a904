\set ECHO none
\set own_database reaction_life
\i test/own_database.sql
-- Reactions over time: copies of categories, rebuilds, keys that are theirs alone, contexts that change, dropping.
SELECT no_plan();
CREATE FUNCTION pg_temp.jobs(of text) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(stream || ' ' || state || coalesce(' ' || step, ''), ', ' ORDER BY id), 'none') FROM eventsource.job WHERE reaction = of OR queue = of
$$;

-- ---- what happened before, and elsewhere ----

SELECT count(*) AS n FROM eventsource.append_events('[{"stream": "rclold-1", "type": "sold"}, {"stream": "rclold-2", "type": "sold"}]') \gset
SELECT eventsource.create_reaction('rcl_sold', 'rclnew', 'sold', action => '{"enqueue": "rcl_mail"}') AS v, eventsource.create_reaction('rcl_ship', 'rclnew', 'sold', action => $$ {"append": "to_ship", "stream": "'rclship-' || event.key"} $$) AS v2,
	eventsource.create_reaction('rcl_later', 'rclnew', 'sold', action => '{"enqueue": "rcl_mail"}', run_at => $$ event.occurred_at + interval '1 hour' $$, settings => '{"imports": true}') AS v3 \gset
SELECT is(eventsource.copy_category('rclold', 'rclnew'), 2::bigint, 'a copy');
SELECT is(pg_temp.jobs('rcl_sold') || ', ' || pg_temp.jobs('rcl_ship'), 'none, none', 'leads to nothing');
SELECT is((SELECT count(*) FROM eventsource.events WHERE category = 'rclship'), 0::bigint, 'nor appends anything');
SELECT is(pg_temp.jobs('rcl_later'), 'rclnew-1 scheduled 1, rclnew-2 scheduled 1', 'but where a reaction says so');
SELECT count(*) AS n FROM eventsource.append('rclnew-1', 'sold') \gset
SELECT is((SELECT count(*) FROM eventsource.events WHERE category = 'rclship'), 1::bigint, 'what is appended there does');

-- Nothing that reads the log again does anything again.
CREATE TABLE rcl_row (key text PRIMARY KEY, n int NOT NULL DEFAULT 0);
SELECT eventsource.create_projection('rcl_row', '{rclnew}', '{"*": "n = row.n + 1"}') AS v \gset
SELECT count(*) AS jobs FROM eventsource.job \gset
SELECT count(*) AS events FROM eventsource.events \gset
SELECT count(*) AS n FROM eventsource.rebuild_projection('rcl_row') \gset
SELECT count(*) AS n FROM eventsource.verify_projection('rcl_row') \gset
SELECT count(*) AS n FROM eventsource.compare_projection('rcl_row', '{"*": "n = row.n + 2"}') \gset
SELECT count(*) AS n FROM eventsource.as_of(NULL::rcl_row, now()) \gset
SELECT count(*) AS n FROM eventsource.verify_chain() \gset
SELECT is((SELECT count(*) FROM eventsource.job), :jobs::bigint, 'rebuilds, verifications, comparisons and looks into the past enqueue nothing');
SELECT is((SELECT count(*) FROM eventsource.events), :events::bigint, 'and append nothing');

-- ---- keys that are theirs alone ----

SELECT max(position) + 1 AS next FROM eventsource.events \gset
SELECT pg_temp.refuses(format($$ SELECT eventsource.append('rclship-7', 'to_ship', idempotency_key => 'reaction:rcl_ship:%s.1') $$, :next + 1), '42939', 'idempotency keys that begin with "reaction:" are reserved', 'no key of a reaction');
SELECT pg_temp.refuses($$ SELECT count(*) FROM eventsource.append_events('[{"stream": "rclship-7", "type": "to_ship", "idempotency_key": "reaction:rcl_ship:1.1"}]') $$, '42939', 'idempotency keys that begin with "reaction:" are reserved', 'nor in a batch');
SELECT pg_temp.refuses($$ INSERT INTO eventsource.events (stream, type, idempotency_key) VALUES ('rclship-7', 'to_ship', 'reaction:') $$, '42939', 'idempotency keys that begin with "reaction:" are reserved', 'nor in an INSERT');
SELECT pg_temp.refuses($$ SELECT eventsource.append('rclship-7', 'to_ship', idempotency_key => 'timeout:x') $$, '42939', 'idempotency keys that begin with "timeout:" are reserved', 'nor of a timeout');
SELECT is((SELECT is_duplicate FROM eventsource.append('rclship-7', 'to_ship', idempotency_key => 'reactions:1')), false, 'others are free');
SELECT count(*) AS n FROM eventsource.append('rclnew-7', 'sold') \gset
SELECT is((SELECT count(*) FROM eventsource.events WHERE stream = 'rclship-7' AND metadata ? 'reactions'), 1::bigint, 'so what follows is appended');

-- ---- chains over functions ----

-- What a function appends counts, also if it hands on the metadata of its event.
CREATE FUNCTION rcl_again(e eventsource.events, call jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM eventsource.append(e.stream, e.type, metadata => e.metadata);
	RETURN NULL;
END $$;
SELECT eventsource.create_reaction('rcl_again', 'rclagain', 'a', action => '{"call": "public.rcl_again"}') AS v \gset
SELECT count(*) AS n FROM eventsource.append('rclagain-1', 'a', metadata => '{"mine": 1}') \gset
SELECT count(*) AS n FROM generate_series(1, 20), eventsource.run_due(30) \gset
SELECT is((SELECT max(version) FROM eventsource.events WHERE stream = 'rclagain-1'), 17::bigint, 'sixteen times');
SELECT is((SELECT metadata - 'causation_id' FROM eventsource.events WHERE stream = 'rclagain-1' AND version = 3), '{"mine": 1, "reactions": ["rcl_again", "rcl_again"]}', 'metadata that was given, and the way');
SELECT is((SELECT error_code FROM eventsource.job WHERE reaction = 'rcl_again' ORDER BY id DESC LIMIT 1), '54001', 'the next one is refused');

-- ---- contexts ----

CREATE TABLE rcl_ctx (key text PRIMARY KEY, balance int NOT NULL DEFAULT 0);
CREATE TABLE rcl_other (key text PRIMARY KEY, amount int NOT NULL DEFAULT 0);
SELECT eventsource.create_projection('rcl_ctx', '{rclrow}', '{"paid": "balance = row.balance + 1"}') AS v, eventsource.create_projection('rcl_other', '{rclrow}', '{"paid": "amount = row.amount + 1"}') AS v2 \gset
SELECT eventsource.create_category('rclrow', context => 'rcl_ctx') AS v \gset
SELECT eventsource.create_reaction('rcl_ctx', 'rclrow', 'paid', 'row.balance >= 1', '{"enqueue": "rcl_mail", "payload": "to_jsonb(row.balance)"}',
	run_at => $$ event.occurred_at + make_interval(days => row.balance) $$, key => $$ event.key || '/' || row.balance $$) AS v \gset
SELECT matches(pg_temp.refusal($$ SELECT eventsource.create_category('rclrow', context => 'rcl_other') $$), '^ZE011: definition of category "rclrow" is not valid\nDETAIL: reaction "rcl_ctx", condition: .*balance', 'a context that a reaction cannot go on with');
SET client_min_messages = error;
SELECT matches(pg_temp.refusal($$ SELECT eventsource.create_category('rclrow') $$), '^ZE011.*reaction "rcl_ctx", condition', 'nor with none');
SET client_min_messages = warning;
SELECT count(*) AS n FROM eventsource.append_events('[{"stream": "rclrow-1", "type": "paid", "occurred_at": "2040-01-01Z"}, {"stream": "rclrow-1", "type": "paid", "occurred_at": "2040-01-01Z"}, {"stream": "rclrow-1", "type": "paid", "occurred_at": "2040-01-01Z"}]') \gset
SELECT pg_temp.same_rows($$ SELECT job_key, run_at FROM eventsource.job WHERE reaction = 'rcl_ctx' $$,
	$$ VALUES ('reaction:rcl_ctx:1/1', '2040-01-02 00:00Z'::timestamptz), ('reaction:rcl_ctx:1/2', '2040-01-03 00:00Z') $$, 'row in condition, run_at and key');

-- ---- limits ----

SELECT matches(pg_temp.refusal($$ SELECT eventsource.create_reaction('rcl_long', 'rcl', 'a', action => '{"steps": [{"enqueue": "q", "wait": "1001 years"}]}') $$), 'action.steps\[1\].wait: must be a length of time', 'nothing is waited for longer than a thousand years');
SELECT is(eventsource.create_reaction('rcl_long', 'rcl', 'a', action => '{"steps": [{"enqueue": "q", "wait": "1000 years"}]}'), 1::bigint, 'but as long');

-- ---- dropping ----

-- Whoever waited behind what it had scheduled goes on.
SELECT eventsource.create_reaction('rcl_first', 'rclorder', 'a', action => '{"enqueue": "rcl_order", "order_key": "event.key"}') AS v \gset
SELECT count(*) AS n FROM eventsource.append('rclorder-1', 'a') \gset
SELECT eventsource.enqueue('rcl_order', order_key => '1', stream => 'behind-1') AS behind \gset
SELECT job_id AS first FROM eventsource.claim('rcl_order') \gset
SELECT eventsource.fail(:first, 'TIMEOUT', retry_at => now() + interval '1 day') AS v \gset
SELECT is((SELECT count(*) FROM eventsource.claim('rcl_order')), 0::bigint, 'one waits behind the first');
SELECT eventsource.drop_reaction('rcl_first', true) AS v \gset
SELECT is((SELECT job_id FROM eventsource.claim('rcl_order')), :behind::bigint, 'which goes with its reaction');

-- Runs that wait for a job of another reaction's name are told; what makes up for steps that are done is done.
SELECT eventsource.create_reaction('rcl_steps', 'rclrun', 'a', key => 'event.key', action => $$ {"steps": [{"append": "paid", "stream": "'rclpay-' || event.key", "compensate": {"enqueue": "rcl_refund"}}, {"enqueue": "rcl_ship"}]} $$) AS v \gset
SELECT count(*) AS n FROM eventsource.append_events('[{"stream": "rclrun-1", "type": "a"}, {"stream": "rclrun-2", "type": "a"}]') \gset
SELECT count(*) AS n FROM eventsource.run_due() \gset
SELECT is(pg_temp.jobs('rcl_ship'), 'rclrun-1 available 2, rclrun-2 available 2', 'both ship');
SELECT job_id AS shipped FROM eventsource.claim('rcl_ship') \gset
SELECT eventsource.discard(:shipped, 'no such address') AS v \gset
SELECT count(*) AS n FROM eventsource.run_due(1) \gset
SELECT is((SELECT count(*) FROM eventsource.job WHERE reaction = 'rcl_steps' AND step < 0 AND state = 'available'), 1::bigint, 'the first is to be made good');
SELECT is((SELECT job_key FROM eventsource.job WHERE reaction = 'rcl_steps' AND step < 0 LIMIT 1), NULL, 'by what no key reaches');
SELECT eventsource.drop_reaction('rcl_steps', true) AS v \gset
SELECT count(*) AS n FROM eventsource.run_due() \gset
SELECT is(pg_temp.jobs('rcl_refund'), 'rclrun-1 available -1', 'and is, though the reaction was dropped');
SELECT is((SELECT state FROM eventsource.job WHERE stream = 'rclrun-2' AND queue = 'rcl_ship'), 'cancelled', 'the second does not ship any more');
SELECT is((SELECT string_agg(state || coalesce(' ' || finish_reason, ''), ', ') FROM eventsource.job WHERE stream = 'rclrun-2' AND queue = '$reaction'), 'cancelled the reaction was dropped', 'nor goes its run on');

\i test/own_database_end.sql
