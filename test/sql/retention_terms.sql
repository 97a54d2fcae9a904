\set ECHO none
\set own_database retention_terms
\i test/own_database.sql
-- Which terms an event has, and what machines, corrections, snapshots and async projections make of streams that lost events.
SELECT plan(42);
SET eventsource.segment_size = 100;

-- An event keeps the longest term that was in force since it was recorded.
CREATE FUNCTION pg_temp.add(categories text[], tag text) RETURNS bigint LANGUAGE sql AS $$
	SELECT count(eventsource.append(c || '-' || tag, 'made')) FROM unnest(categories) c
$$;
CREATE FUNCTION pg_temp.fill() RETURNS bigint LANGUAGE sql AS $$
	SELECT count(eventsource.append('filler-1', 'x')) FROM generate_series(1, 110)
$$;
CREATE FUNCTION pg_temp.left_of(category text) RETURNS text[] LANGUAGE sql AS $$
	SELECT array_agg(key ORDER BY key) FROM eventsource.events e WHERE e.category = $1
$$;
\set all '{longer,shorter,back,keeper,unkept,ordinary,mixed}'
SELECT pg_temp.add(:'all', 'a') AS done \gset
SELECT eventsource.set_retention('longer', total => '0', class => 'disposable'), eventsource.set_retention('shorter', total => '1 year', class => 'disposable'),
	eventsource.set_retention('back', total => '0', class => 'disposable'), eventsource.set_retention('keeper', total => '0', class => 'disposable'),
	eventsource.set_retention('unkept', class => 'kept'), eventsource.set_retention('ordinary', total => '0'),
	eventsource.set_retention('mixed', total => '0', class => 'disposable', audit_types => '{paid}') AS done \gset
SELECT pg_temp.add(:'all', 'b') AS done \gset
SELECT eventsource.set_retention('longer', total => '1 year', class => 'disposable'), eventsource.set_retention('shorter', total => '0', class => 'disposable'),
	eventsource.set_retention('back', total => '1 year', class => 'disposable'), eventsource.set_retention('keeper', class => 'kept'),
	eventsource.set_retention('unkept', total => '0', class => 'disposable') AS done \gset
SELECT eventsource.set_retention('back', total => '0', class => 'disposable') AS done \gset
SELECT pg_temp.add(:'all', 'c') AS done \gset
SELECT count(eventsource.append('ordinary-d', 'made')), count(eventsource.append('mixed-d', t)) AS done FROM unnest('{made,paid,made}'::text[]) t \gset
SELECT pg_temp.fill() AS done \gset
SELECT eventsource.append('ordinary-d', 'made') IS NULL AS done \gset
SELECT pg_temp.same_rows('SELECT action, events FROM eventsource.archive_due()', $$ VALUES ('pruned', 8) $$, 'what is due');
SELECT is(pg_temp.left_of('longer'), '{a,b,c}', 'a term is lengthened for what is there');
SELECT is(pg_temp.left_of('shorter'), '{a,b}', 'and shortened for what comes');
SELECT is(pg_temp.left_of('back'), '{a,b}', 'a promise in between holds');
SELECT is(pg_temp.left_of('keeper'), '{a,b,c}', 'what is kept now is kept');
SELECT is(pg_temp.left_of('unkept'), '{a,b}', 'what was kept then, too');
SELECT is(pg_temp.left_of('ordinary'), '{a,d,d,d,d}', 'a stream that lives loses nothing');
SELECT is(pg_temp.left_of('mixed'), '{a,d,d}', 'nothing that is kept goes, nor what follows it');
SELECT is(count(*), 0::bigint, 'nothing was archived') FROM eventsource.segments WHERE state = 'archived';
SELECT is(array_agg(category ORDER BY category), '{back,keeper,longer,mixed,ordinary,shorter,unkept}', 'but what goes is summarised') FROM (SELECT DISTINCT category FROM eventsource.event_summaries) c;
SELECT is_empty('SELECT * FROM eventsource.verify_log()', 'the log verifies');

-- A machine goes on from the state that was kept; an async projection is folded anew; snapshots go.
SELECT eventsource.create_state_machine('job', '{"initial": "NEW", "states": {"NEW": {"on": {"started": "RUNNING"}}, "RUNNING": {"on": {"beat": "RUNNING", "ended": "DONE"}}, "DONE": {"type": "final"}}}') AS done \gset
SELECT eventsource.create_category('job', state_machine => 'job') AS done \gset
SELECT eventsource.set_snapshot_policy('job', 2) AS done \gset
SELECT eventsource.set_retention('job', '0', '0', 'disposable') AS done \gset
CREATE TABLE beats (key text PRIMARY KEY, n bigint NOT NULL DEFAULT 0, last bigint);
SELECT eventsource.create_projection('beats', '{job}', '{"beat": "n = row.n + 1, last = (event.data->>''n'')::bigint", "*": "n = row.n"}', mode => 'async') AS done \gset
SELECT eventsource.hold('job-3', reason => 'x') AS done \gset
SELECT count(eventsource.append('job-' || n, 'started')) AS done FROM generate_series(1, 4) n \gset
SELECT count(eventsource.append('job-' || 1 + n % 3, 'beat', jsonb_build_object('n', n))) AS done FROM generate_series(1, 20) n \gset
SELECT position AS corrected FROM eventsource.events WHERE stream = 'job-3' AND version = 3 \gset
SELECT version AS done FROM eventsource.correct_event(:corrected, '{"n": 1000}', 'typo', 'me') \gset
SELECT pg_temp.fill() AS done \gset
SELECT count(*) AS done FROM eventsource.run_projections() \gset
SELECT count(eventsource.append('job-2', 'beat', '{"n": 21}')) AS done \gset
SELECT isnt((SELECT count(*) FROM eventsource.snapshots WHERE category = 'job'), 0::bigint, 'snapshots');
SELECT is((SELECT count(*) FROM beats), 4::bigint, 'rows');
SELECT count(*) AS done FROM eventsource.archive_due() \gset
SELECT pg_temp.same_rows($$ SELECT stream, min(version), max(version) FROM eventsource.events WHERE category = 'job' GROUP BY stream ORDER BY stream $$,
	$$ SELECT 'job-2', 9::bigint, 9::bigint UNION ALL SELECT 'job-3', 1, max(version) FROM eventsource.events WHERE stream = 'job-3' $$, 'what is left of the streams');
SELECT pg_temp.same_rows($$ SELECT stream, version, state FROM eventsource.streams WHERE category = 'job' ORDER BY stream $$,
	$$ VALUES ('job-1', 7, 'RUNNING'), ('job-2', 9, 'RUNNING'), ('job-3', 9, 'RUNNING'), ('job-4', 1, 'RUNNING') $$, 'their states');
SELECT is(eventsource.current_state('job-1'), 'RUNNING', 'asked for one');
SELECT is(eventsource.state_at('job-1', 'infinity'), 'RUNNING', 'at a moment');
SELECT is(eventsource.state_at('job-1', 'infinity', 'occurred'), 'RUNNING', 'by the other clock');
SELECT is(eventsource.state_at('job-1', '2000-01-01'), NULL, 'long before');
SELECT is((SELECT array_agg(DISTINCT stream) FROM eventsource.snapshots WHERE category = 'job'), '{job-3}', 'snapshots of what has gone went with it');
SELECT pg_temp.same_rows('SELECT version, state FROM eventsource.lock_stream(''job-4'')', $$ VALUES (1, 'RUNNING') $$, 'for who locks it');
SELECT is(can.allowed, true, 'for who asks') FROM eventsource.can_append('job-4', 'ended') can;
SELECT is(can.allowed, false, 'what would not be allowed') FROM eventsource.can_append('job-4', 'started') can;
SELECT pg_temp.refuses($$ SELECT eventsource.append('job-4', 'started') $$, 'ZE002', 'event type "started" is not allowed in state "RUNNING"', 'nor is it');
SELECT is(state, 'DONE', 'and goes on from its state') FROM eventsource.append('job-4', 'ended', expected_version => 1);
SELECT is_empty('SELECT * FROM eventsource.verify_transitions()', 'every transition that is left is legal');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('beats') $$, 'the async projection is what is left');
SELECT count(*) AS done FROM eventsource.run_projections() \gset
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('beats') $$, 'and follows on');
SELECT pg_temp.same_rows('SELECT key, n, last FROM beats ORDER BY key', $$ VALUES ('2', 1, 21), ('3', 7, 20), ('4', 0, NULL) $$, 'its rows');
SELECT position AS left_over FROM eventsource.events WHERE stream = 'job-2' \gset
SELECT is(version, 10::bigint, 'what is left is corrected') FROM eventsource.correct_event(:left_over, '{"n": 77}', 'typo', 'me');
SELECT is_empty($$ SELECT * FROM eventsource.verify_transitions() $$, 'legally');
SELECT pg_temp.refuses($$ SELECT eventsource.correct_event((SELECT first_position FROM eventsource.streams WHERE stream = 'job-2'), '{}', 'x', 'me') $$, 'P0002', 'there is no event at position ' || (SELECT first_position FROM eventsource.streams WHERE stream = 'job-2'), 'what has gone is not');
SELECT is_empty('SELECT * FROM eventsource.verify_log()', 'the log verifies');
SELECT is((SELECT count(*) FROM eventsource.replay('job-1')), 0::bigint, 'nothing is left to replay');

-- Tracked tables are told from their events, so these stay.
CREATE TABLE lead (id int PRIMARY KEY, name text);
SELECT eventsource.track_table('lead', 'lead') IS NULL AS done \gset
SELECT eventsource.set_retention('lead', '0', '0', 'disposable') AS done \gset
INSERT INTO lead VALUES (1, 'a'), (2, 'b');
UPDATE lead SET name = 'c';
SELECT pg_temp.fill() AS done \gset
SELECT count(*) AS done FROM eventsource.archive_due() \gset
SELECT is((SELECT count(*) FROM eventsource.events WHERE category = 'lead'), 4::bigint, 'of a tracked table nothing goes');

-- What a subscription owes, behind an event that is parked, stays.
SELECT eventsource.set_retention('mail', '0', '0', 'disposable') AS done \gset
SELECT eventsource.create_subscription('mails', '{mail}', max_attempts => 1) AS done \gset
SELECT count(eventsource.append('mail-' || n % 2, 'sent')) AS done FROM generate_series(1, 6) n \gset
SELECT position AS first FROM eventsource.poll('mails', max_count => 1) \gset
SELECT eventsource.nack('mails', :first, 'broken') IS NULL AS done \gset
SELECT pg_temp.fill() AS done \gset
SELECT count(*) AS done FROM eventsource.archive_due() \gset
SELECT is(pg_temp.left_of('mail'), '{0,0,0,1,1,1}', 'what was not delivered yet');
SELECT max(position) AS last FROM eventsource.poll('mails') \gset
SELECT eventsource.ack('mails', :last) IS NULL AS done \gset
SELECT pg_temp.fill() AS done \gset
SELECT count(*) AS done FROM eventsource.archive_due() \gset
SELECT is(pg_temp.left_of('mail'), '{1,1,1}', 'the stream of a parked event');
SELECT eventsource.redrive('mails', :first) IS NULL AS done \gset
SELECT is(count(*), 1::bigint, 'which is delivered') FROM eventsource.poll('mails', max_count => 10);

-- A constraint that what is left would break: nothing goes.
CREATE TABLE account (key text PRIMARY KEY, balance bigint NOT NULL DEFAULT 0 CONSTRAINT not_below CHECK (balance >= 0));
SELECT eventsource.create_projection('account', '{account}', '{"in": "balance = row.balance + 10", "out": "balance = row.balance - 10"}') AS done \gset
SELECT eventsource.set_retention('account', '0', '0', 'disposable', audit_types => '{out}') AS done \gset
SELECT count(eventsource.append('account-1', t)) AS done FROM unnest('{in,out}'::text[]) t \gset
SELECT pg_temp.fill() AS done \gset
SELECT matches(pg_temp.refusal('SELECT * FROM eventsource.archive_due()'), '^23514: .*not_below', 'the constraint says so');
SELECT is((SELECT count(*) FROM eventsource.events WHERE category = 'account'), 2::bigint, 'and nothing went');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('account') $$, 'the row is what it was');

-- What does not verify is not touched.
SELECT eventsource.set_retention('filler', '0') AS done \gset
SELECT eventsource.set_retention('account', class => 'kept') AS done \gset
SELECT pg_temp.fill() AS done \gset
SELECT pg_temp.same_rows($$ SELECT DISTINCT action FROM eventsource.archive_due() $$, $$ VALUES ('archived') $$, 'all is archived');
\i test/own_database_end.sql
