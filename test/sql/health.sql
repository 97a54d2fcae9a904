\set ECHO none
\i test/helpers.sql
-- health(): what is wrong is said, by whoever asks; nothing else is.
BEGIN;
SELECT plan(37);

CREATE ROLE es_health_reader;
CREATE SCHEMA health;
SELECT eventsource.grant_reader('es_health_reader') IS NULL AS done \gset
GRANT USAGE ON SCHEMA health TO es_health_reader;

CREATE FUNCTION pg_temp.status_of(name text) RETURNS text LANGUAGE sql AS $$
	SELECT h.status FROM eventsource.health() h WHERE h."check" = name
$$;
CREATE FUNCTION pg_temp.message_of(name text) RETURNS text LANGUAGE sql AS $$
	SELECT h.message FROM eventsource.health() h WHERE h."check" = name
$$;

SELECT is_empty($$ SELECT * FROM eventsource.health() WHERE status <> 'healthy' $$, 'a store in order is healthy');
SELECT results_eq($$ SELECT status, degraded, message FROM eventsource.health_status $$,
	$$ VALUES ('healthy', 0::bigint, '') $$, 'in one row as well');

-- The feed.
SELECT position AS done FROM eventsource.append('health-1', 'made') \gset
SELECT is(pg_temp.status_of('feed lag'), 'healthy', 'an open appender is no fault as such');
SET LOCAL eventsource.max_feed_lag = 0;
SELECT is(pg_temp.status_of('feed lag'), 'degraded', 'one that is open for too long is');
SELECT ok(pg_temp.message_of('feed lag') LIKE '%held by process ' || pg_backend_pid() || ' %', 'and named');
SET LOCAL ROLE es_health_reader;
SELECT is(pg_temp.status_of('feed lag'), 'degraded', 'to a plain reader, too');
SELECT ok(value > 0, 'with its age') FROM eventsource.metrics WHERE metric = 'feed_lag_seconds';
RESET ROLE;
RESET eventsource.max_feed_lag;

-- A projection beside its events.
CREATE TABLE health.counter (key text PRIMARY KEY, n bigint NOT NULL DEFAULT 0, at timestamptz);
SELECT eventsource.create_projection('health.counter', '{health}',
	'{"made": "n = row.n + 1, at = event.occurred_at", "gone": "DELETE"}') IS NULL AS done \gset
SELECT count(*) AS done FROM generate_series(1, 200) i, eventsource.append('health-' || i % 4, 'made') \gset
SELECT eventsource.append('health-gone', 'made') IS NULL AS done \gset
SELECT eventsource.append('health-gone', 'gone') IS NULL AS done \gset
SELECT is(pg_temp.status_of('sample of projections'), 'healthy', 'rows that are what their events make');

CREATE TABLE health.line (key text, number bigint, at timestamptz, PRIMARY KEY (key, number));
SELECT eventsource.create_projection('health.line', '{healthline}', '{"made": "at = event.occurred_at"}', '{"key": "event.key", "number": "event.version"}') IS NULL AS done \gset
SELECT eventsource.append('healthline-a', 'made') IS NULL AS done \gset
SELECT is(pg_temp.status_of('sample of projections'), 'healthy', 'a table with several rows of a stream is left out');
SELECT eventsource.drop_projection('health.line') IS NULL AS done \gset
DROP TABLE health.line;

-- Whoever asks runs no code of who owns a table: domains and casts of his.
SAVEPOINT trapped;
CREATE ROLE es_health_owner;
SELECT eventsource.grant_admin('es_health_owner') IS NULL AS done \gset
GRANT USAGE, CREATE ON SCHEMA health TO es_health_owner;
CREATE TABLE health.loot (who text);
GRANT INSERT ON health.loot TO es_health_owner;
SET LOCAL ROLE es_health_owner;
CREATE FUNCTION health.rob() RETURNS boolean LANGUAGE sql AS $$ INSERT INTO health.loot VALUES (current_user) RETURNING true $$;
CREATE FUNCTION health.is_key(value text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN health.rob(); END $$;
CREATE DOMAIN health.trap_key AS varchar(20) CHECK (health.is_key(VALUE));
CREATE TABLE health.trap (key health.trap_key PRIMARY KEY, n bigint NOT NULL DEFAULT 0);
SELECT eventsource.create_projection('health.trap', '{healthtrap}', '{"made": "n = row.n + 1"}') IS NULL AS done \gset
CREATE FUNCTION health.as_text(it health.trap) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM health.rob(); RETURN it.n; END $$;
CREATE CAST (health.trap AS text) WITH FUNCTION health.as_text(health.trap);
CREATE TYPE health.letter AS ENUM ('a', 'b');
CREATE TABLE health.letters (key health.letter PRIMARY KEY, n bigint NOT NULL DEFAULT 0);
SELECT eventsource.create_projection('health.letters', '{healthtrap}', '{"made": "n = row.n + 1"}') IS NULL AS done \gset
SELECT eventsource.append('healthtrap-a', 'made') IS NULL AS done \gset
RESET ROLE;
SELECT is(pg_temp.status_of('sample of projections'), 'healthy', 'a table with traps');
SELECT ok(pg_temp.message_of('sample of projections') LIKE '5 row(s) folded anew; 1 projection(s) left out%', 'its rows, too; not those with a key of an own type');
SELECT is((SELECT string_agg(DISTINCT who, ',') FROM health.loot), 'es_health_owner', 'have caught its owner alone');
ALTER TABLE health.trap DISABLE TRIGGER USER;
UPDATE health.trap SET n = 7;
SELECT is(pg_temp.status_of('sample of projections'), 'degraded', 'a difference there');
ROLLBACK TO trapped;

SAVEPOINT guarded;
ALTER TABLE health.counter DISABLE TRIGGER USER;
SELECT is(pg_temp.status_of('guards'), 'degraded', 'a guard that is off');
SELECT ok(pg_temp.message_of('guards') LIKE 'trigger %, health.counter: is not ENABLE ALWAYS%', 'is named');
SAVEPOINT whole;
UPDATE health.counter SET n = n + 1 WHERE key = '2';
SELECT is(pg_temp.status_of('sample of projections'), 'degraded', 'a row that was changed behind its back');
SELECT ok(pg_temp.message_of('sample of projections') LIKE '%health.counter differs at ''2''%', 'is named');
SET LOCAL ROLE es_health_reader;
SELECT is(pg_temp.status_of('sample of projections'), 'healthy', 'not to one who may not read the table');
SELECT ok(pg_temp.message_of('sample of projections') ~ '[1-9][0-9]* projection\(s\) left out', 'who is told so');
RESET ROLE;
ROLLBACK TO whole;
DELETE FROM health.counter;
SELECT is(pg_temp.status_of('sample of projections'), 'degraded', 'rows that are missing');
ROLLBACK TO whole;
INSERT INTO health.counter (key) SELECT 'forged' || i FROM generate_series(1, 100) i;
SELECT is(pg_temp.status_of('sample of projections'), 'degraded', 'rows that no event made');
ROLLBACK TO whole;
SET LOCAL eventsource.health_sample = 0;
SELECT ok(pg_temp.message_of('sample of projections') LIKE '0 row(s) folded anew%', 'no sample, if it is not wanted');
RESET eventsource.health_sample;

-- Subscriptions.
SAVEPOINT subscribed;
SELECT eventsource.create_subscription('health', from_position => 0, max_lag => '1 hour') IS NULL AS done \gset
SELECT is(pg_temp.status_of('subscription health'), 'healthy', 'a subscription with time to spare');
SELECT eventsource.create_subscription('health', max_lag => '1 microsecond') IS NULL AS done \gset
SELECT is(pg_temp.status_of('subscription health'), (SELECT CASE WHEN s.lag > 0 THEN 'degraded' ELSE 'healthy' END
		FROM eventsource.subscriptions s WHERE s.name = 'health'), 'one that is late');
SELECT is((SELECT count(*) FROM eventsource.metrics WHERE metric LIKE 'subscription%{health}'), 3::bigint, 'has metrics');
SELECT is(pg_temp.status_of('parked events'), 'healthy', 'nothing is parked');
ROLLBACK TO subscribed;

-- Jobs: leases that ended, alerts, what is due.
SAVEPOINT jobs;
SELECT results_eq($$ SELECT "check", status, value FROM eventsource.health() WHERE "check" IN ('dead letters', 'leases of jobs', 'what is due') ORDER BY 1 $$,
	$$ VALUES ('dead letters', 'healthy', 0::numeric), ('leases of jobs', 'healthy', 0), ('what is due', 'healthy', 0) $$, 'no jobs');
SELECT eventsource.create_queue('health', max_dead_per_hour => 1) AS done \gset
SELECT count(eventsource.enqueue('health', to_jsonb(n))) AS done FROM generate_series(1, 3) n \gset
SELECT count(*) AS done FROM eventsource.claim('health', 1, '1 microsecond', 'w') \gset
SELECT is(pg_temp.message_of('leases of jobs'), '1 have ended, and neither a worker nor run_due() has looked after them', 'a lease that ended');
SELECT is(pg_temp.status_of('leases of jobs'), 'healthy', 'just now');
SELECT count(eventsource.fail(job_id, 'REJECTED', worker => 'w')) AS done FROM eventsource.claim('health', 2, '1 hour', 'w') \gset
SELECT is(pg_temp.message_of('dead letters'), '2 job(s) given up within the last hour; no alert is open', 'dead letters');
SELECT count(*) AS done FROM eventsource.run_due() \gset
SELECT is(pg_temp.status_of('dead letters'), 'degraded', 'an alert');
SELECT is(pg_temp.message_of('leases of jobs'), 'none has ended that nobody has looked after', 'run_due() has looked');
SELECT results_eq($$ SELECT metric, value FROM eventsource.metrics WHERE metric IN ('jobs_lost', 'dead_letters_last_hour', 'job_alerts', 'due_lag_seconds') ORDER BY 1 $$,
	$$ VALUES ('dead_letters_last_hour', 2::numeric), ('due_lag_seconds', 0), ('job_alerts', 1), ('jobs_lost', 0) $$, 'metrics');
ROLLBACK TO jobs;

-- The worker: not without preloading.
SELECT ok(CASE WHEN EXISTS (SELECT FROM eventsource.workers WHERE database = current_database())
	THEN pg_temp.status_of('worker') IS NOT NULL ELSE pg_temp.status_of('worker') IS NULL END, 'a row for a worker that is meant to be');

-- The log's own guards.
ROLLBACK TO guarded;
SELECT eventsource.allow_maintenance('test') \g /dev/null
DROP TRIGGER guard_statement ON eventsource.word;
SELECT ok(pg_temp.message_of('guards') LIKE '%statement guard, eventsource.word: is missing%', 'a guard that is gone');
SELECT results_eq($$ SELECT status, message LIKE '%statement guard, eventsource.word: is missing%' FROM eventsource.health_status $$,
	$$ VALUES ('degraded', true) $$, 'shows in the one row');

-- One check that fails takes no other along.
ALTER FUNCTION eventsource.check_guards() RENAME TO no_check_guards;
SELECT results_eq($$ SELECT status, count(*) FROM eventsource.health() WHERE status <> 'healthy' GROUP BY 1 $$,
	$$ VALUES ('unknown', 1::bigint) $$, 'a check that cannot be made');

SELECT * FROM finish();
ROLLBACK;
