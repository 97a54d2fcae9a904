\set ECHO none
\i test/helpers.sql
-- Timeouts of state machines: scheduled, cancelled, executed.
BEGIN;
SELECT plan(59);

CREATE FUNCTION pg_temp.run_due() RETURNS bigint LANGUAGE sql AS $$
	SELECT coalesce(sum(count), 0) FROM eventsource.run_due() WHERE work = 'timeouts'
$$;
-- The timeouts of a stream that are not finished, as "length due".
CREATE FUNCTION pg_temp.waiting(name text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', j.payload ->> 'state', j.payload ->> 'after', to_char(j.run_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')), ', ' ORDER BY j.run_at, j.job_id)
	  FROM eventsource.jobs j WHERE j.queue = '$timeout' AND j.stream = name AND j.state IN ('scheduled', 'available', 'claimed')
$$;
-- The finished ones, as "length state: reason", in order of due time.
CREATE FUNCTION pg_temp.finished(name text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', j.payload ->> 'state', j.payload ->> 'after', j.state || coalesce(': ' || j.finish_reason, '')), ', ' ORDER BY j.run_at, j.job_id)
	  FROM eventsource.jobs j WHERE j.queue = '$timeout' AND j.stream = name AND j.state NOT IN ('scheduled', 'available', 'claimed')
$$;
CREATE FUNCTION pg_temp.history(name text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', e.type, e.to_state, to_char(e.occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')), ', ' ORDER BY e.version)
	  FROM eventsource.events e WHERE e.stream = name
$$;
CREATE FUNCTION pg_temp.at(name text, type text, at timestamptz, data jsonb DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
	SELECT state FROM eventsource.append(name, type, data, occurred_at => at)
$$;

SELECT eventsource.create_state_machine('tmr', '{"create": {"asked": "ASKED"}, "states": {
	"ASKED": {"on": {"answered": "ANSWERED", "no_response": "CLOSED", "asked_again": "ASKED", "reminded": {}},
		"after": {"7 days": "reminded", "21 days": "no_response"}},
	"ANSWERED": {"on": {"reopened": "ASKED", "done": "CLOSED"}},
	"CLOSED": {"type": "final"}}, "on": {"noted": {}}}') IS NULL AS done \gset
SELECT eventsource.create_category('tmr', 'tmr') IS NULL AS done \gset

-- Entering, staying, coming anew, leaving.
SELECT is(pg_temp.at('tmr-1', 'asked', '2050-01-01 10:00Z'), 'ASKED', 'a stream is created');
SELECT is(pg_temp.waiting('tmr-1'), 'ASKED 7 days 2050-01-08 10:00:00, ASKED 21 days 2050-01-22 10:00:00', 'its timeouts are scheduled, on occurred_at');
SELECT is((SELECT array_agg(j.job_key || ' ' || j.state || ' ' || j.subject || ' ' || (j.event_position = e.position)::text ORDER BY j.run_at)
		FROM eventsource.jobs j JOIN eventsource.events e ON e.stream = j.stream WHERE j.stream = 'tmr-1'),
	ARRAY['timeout:tmr-1:1:7 days scheduled tmr-1 true', 'timeout:tmr-1:1:21 days scheduled tmr-1 true'], 'as jobs with a key');
SELECT is((SELECT payload FROM eventsource.jobs WHERE stream = 'tmr-1' AND payload ->> 'after' = '21 days'),
	'{"state": "ASKED", "entered_version": 1, "after": "21 days", "due": "2050-01-22T10:00:00+00:00", "machine": "tmr@1"}', 'which say what they are');
SELECT is(pg_temp.at('tmr-1', 'noted', '2050-01-03Z') || pg_temp.at('tmr-1', 'reminded', '2050-01-04Z'), 'ASKEDASKED', 'events that stay');
SELECT is(pg_temp.waiting('tmr-1'), 'ASKED 7 days 2050-01-08 10:00:00, ASKED 21 days 2050-01-22 10:00:00', 'change no timeout');
SELECT is(pg_temp.at('tmr-1', 'asked_again', '2050-01-05Z'), 'ASKED', 'the state is entered anew');
SELECT is(pg_temp.waiting('tmr-1'), 'ASKED 7 days 2050-01-12 00:00:00, ASKED 21 days 2050-01-26 00:00:00', 'its timeouts begin anew');
SELECT is(pg_temp.finished('tmr-1'), 'ASKED 7 days cancelled: the stream has left the state, ASKED 21 days cancelled: the stream has left the state', 'and those before are cancelled');
SELECT is(pg_temp.at('tmr-1', 'answered', '2050-01-06Z'), 'ANSWERED', 'the state is left');
SELECT is(pg_temp.waiting('tmr-1'), NULL, 'nothing waits any more');

-- Batches, the view.
SELECT is((SELECT count(*) FROM eventsource.append_events('[{"stream": "tmr-2", "type": "asked"}, {"stream": "tmr-3", "type": "asked", "occurred_at": "2050-01-01Z"},
	{"stream": "tmr-2", "type": "answered"}, {"stream": "tmr-3", "type": "noted"}]')), 4::bigint, 'many events');
SELECT is((SELECT count(*) FROM eventsource.jobs WHERE stream = 'tmr-2'), 0::bigint, 'a state that was entered and left in one batch leaves nothing');
SELECT is(pg_temp.waiting('tmr-3'), 'ASKED 7 days 2050-01-08 00:00:00, ASKED 21 days 2050-01-22 00:00:00', 'one in which a stream is left has its timeouts');
INSERT INTO eventsource.events (stream, type, occurred_at)
	VALUES ('tmr-3', 'answered', '2050-01-02Z'), ('tmr-3', 'reopened', '2050-01-03Z'), ('tmr-4', 'asked', '2050-01-04Z');
SELECT is(pg_temp.waiting('tmr-3'), 'ASKED 7 days 2050-01-10 00:00:00, ASKED 21 days 2050-01-24 00:00:00', 'INSERT: the last visit counts');
SELECT is(pg_temp.waiting('tmr-4'), 'ASKED 7 days 2050-01-11 00:00:00, ASKED 21 days 2050-01-25 00:00:00', 'and of each stream');
SELECT is(pg_temp.at('tmr-4', 'answered', '2050-03-01Z') || pg_temp.at('tmr-4', 'reopened', '2050-02-01Z'), 'ANSWEREDASKED', 'a clock that went back');
SELECT is(pg_temp.waiting('tmr-4'), 'ASKED 7 days 2050-03-08 00:00:00, ASKED 21 days 2050-03-22 00:00:00', 'durations never count from before the event before');

-- Savepoints.
SAVEPOINT s;
SELECT is(pg_temp.at('tmr-5', 'asked', '2050-01-01Z'), 'ASKED', 'in a savepoint');
SELECT is(pg_temp.at('tmr-4', 'answered', '2050-01-01Z'), 'ANSWERED', 'one enters, one leaves');
ROLLBACK TO s;
SELECT is(pg_temp.waiting('tmr-5'), NULL, 'rolled back: there is no job');
SELECT is(pg_temp.waiting('tmr-4'), 'ASKED 7 days 2050-03-08 00:00:00, ASKED 21 days 2050-03-22 00:00:00', 'nor was one cancelled');

-- The calendar, in UTC.
SELECT eventsource.create_state_machine('tmrcal', '{"create": {"begun": "A"}, "states": {"A": {"on": {"x": "B"},
	"after": {"1 day": "noted", "1 month": "noted", "1 year": "noted"}}, "B": {"type": "final"}}, "on": {"noted": {}}}') IS NULL AS done \gset
SELECT eventsource.create_category('tmrcal', 'tmrcal') IS NULL AS done \gset
SELECT is(pg_temp.at('tmrcal-leap', 'begun', '2048-02-29 12:00Z'), 'A', 'on a 29 February');
SELECT is(pg_temp.waiting('tmrcal-leap'), 'A 1 day 2048-03-01 12:00:00, A 1 month 2048-03-29 12:00:00, A 1 year 2049-02-28 12:00:00', 'a year on');
SELECT is(pg_temp.at('tmrcal-end', 'begun', '2048-01-31 12:00Z'), 'A', 'at the end of a month');
SELECT is(pg_temp.waiting('tmrcal-end'), 'A 1 day 2048-02-01 12:00:00, A 1 month 2048-02-29 12:00:00, A 1 year 2049-01-31 12:00:00', 'a month on');
SET LOCAL timezone = 'Europe/Berlin';
SELECT is(pg_temp.at('tmrcal-dst', 'begun', '2030-03-30 12:00Z'), 'A', 'before the clocks change, in Berlin');
RESET timezone;
SELECT is(pg_temp.waiting('tmrcal-dst'), 'A 1 day 2030-03-31 12:00:00, A 1 month 2030-04-30 12:00:00, A 1 year 2031-03-30 12:00:00', 'a day has 24 hours');
SELECT is(pg_temp.at('tmrcal-end-of-time', 'begun', '294270-01-01Z'), 'A', 'shortly before the end of time');
SELECT is(pg_temp.waiting('tmrcal-end-of-time'), NULL, 'nothing is due');

-- What is due.
SELECT is(pg_temp.at('tmr-10', 'asked', '2020-01-01 10:00Z'), 'ASKED', 'long ago');
SELECT is(pg_temp.at('tmr-11', 'asked', '2020-01-01 09:00Z') || pg_temp.at('tmr-11', 'noted', '2020-01-10Z'), 'ASKEDASKED', 'and one with a note');
SELECT is(pg_temp.run_due(), 4::bigint, 'is all due');
SELECT is(pg_temp.history('tmr-10'), 'asked ASKED 2020-01-01 10:00:00, reminded ASKED 2020-01-08 10:00:00, no_response CLOSED 2020-01-22 10:00:00', 'in order, with the time at which it was due');
SELECT is(pg_temp.history('tmr-11'), 'asked ASKED 2020-01-01 09:00:00, noted ASKED 2020-01-10 00:00:00, reminded ASKED 2020-01-10 00:00:00, no_response CLOSED 2020-01-22 09:00:00',
	'but not before the event before');
SELECT is((SELECT ARRAY[e.actor, e.metadata ->> 'timeout', (e.metadata ->> 'causation_id' = f.position::text)::text, (e.recorded_at > '2025-01-01')::text] FROM eventsource.events e
	JOIN eventsource.events f ON f.stream = e.stream AND f.version = 1 WHERE e.stream = 'tmr-10' AND e.version = 3), '{system:timeout,"21 days",true,true}', 'who, and why');
SELECT is(pg_temp.finished('tmr-10'), 'ASKED 7 days done, ASKED 21 days done', 'the jobs are done');
SELECT is((SELECT result FROM eventsource.jobs WHERE stream = 'tmr-10' AND payload ->> 'after' = '21 days'),
	(SELECT jsonb_build_object('position', position, 'version', version) FROM eventsource.events WHERE stream = 'tmr-10' AND version = 3), 'with their events as result');
SELECT is(pg_temp.run_due(), 0::bigint, 'nothing is done twice');
-- Exactly at due, and a moment before.
SELECT is((SELECT state FROM eventsource.append('tmr-12', 'asked', occurred_at => now() - interval '7 days')), 'ASKED', 'due as this transaction began');
SELECT is((SELECT state FROM eventsource.append('tmr-13', 'asked', occurred_at => clock_timestamp() - interval '7 days' + interval '1 hour')), 'ASKED', 'due in an hour');
SELECT is(pg_temp.run_due(), 1::bigint, 'one is due');
SELECT is((SELECT array_agg(stream || ' ' || (occurred_at = now())::text) FROM eventsource.events WHERE type = 'reminded' AND stream IN ('tmr-12', 'tmr-13')), '{"tmr-12 true"}', 'that one');

-- Settings of who calls do not matter.
SELECT set_config('eventsource.reason', 'because', true), set_config('eventsource.actor', 'me', true), set_config('eventsource.correlation_id', 'mine', true) \gset set_
SELECT is((SELECT state FROM eventsource.append('tmr-14', 'asked', metadata => '{"correlation_id": "c14"}', occurred_at => '2020-01-01Z')), 'ASKED', 'another');
SELECT is(pg_temp.run_due(), 2::bigint, 'executed with settings');
SELECT is((SELECT array_agg(concat_ws(' ', actor, reason, metadata ->> 'correlation_id')) FROM eventsource.events WHERE stream = 'tmr-14' AND version > 1),
	'{system:timeout c14,system:timeout c14}', 'the correlation goes on, settings do not');
SELECT set_config('eventsource.reason', '', true), set_config('eventsource.actor', '', true), set_config('eventsource.correlation_id', '', true) \gset set_

-- Corrections.
SELECT is(pg_temp.at('tmr-20', 'asked', '2050-01-01Z') || pg_temp.at('tmr-20', 'answered', '2050-01-02Z'), 'ASKEDANSWERED', 'answered, by mistake');
SELECT is((SELECT state FROM eventsource.void_event((SELECT position FROM eventsource.events WHERE stream = 'tmr-20' AND version = 2), 'mistake', 'agent:joe')), 'ASKED', 'which is voided');
SELECT is((SELECT array_agg(concat_ws(' ', payload ->> 'after', payload ->> 'entered_version', run_at - payload_at) ORDER BY run_at) FROM eventsource.jobs j,
	LATERAL (SELECT e.occurred_at AS payload_at FROM eventsource.events e WHERE e.position = j.event_position) e WHERE stream = 'tmr-20' AND state = 'scheduled'),
	'{7 days 3 @ 7 days,21 days 3 @ 21 days}', 'the state is entered by the correction');
SELECT is((SELECT state FROM eventsource.correct_event((SELECT position FROM eventsource.events WHERE stream = 'tmr-20' AND version = 1), '{"how": "by mail"}', 'more', 'agent:joe')), 'ASKED', 'another correction');
SELECT is((SELECT count(*) FROM eventsource.jobs WHERE stream = 'tmr-20' AND state = 'scheduled' AND payload ->> 'entered_version' = '3'), 2::bigint, 'that does not move it leaves the timeouts alone');

-- A chain of states catches up after an outage; a cycle does so once.
SELECT eventsource.create_state_machine('tmrring', '{"initial": "A", "states": {
	"A": {"on": {"begun": {}, "ab": "B"}, "after": {"1 hour": "ab"}}, "B": {"on": {"bc": "C"}, "after": {"1 hour": "bc"}},
	"C": {"on": {"ca": "A"}, "after": {"1 hour": "ca"}}}}') IS NULL AS done \gset
SELECT eventsource.create_category('tmrring', 'tmrring') IS NULL AS done \gset
SELECT is(pg_temp.at('tmrring-1', 'begun', '2020-01-01Z'), 'A', 'a ring of timeouts, long ago');
SELECT is(pg_temp.run_due() + pg_temp.run_due() + pg_temp.run_due(), 3::bigint, 'goes round');
SELECT is(pg_temp.history('tmrring-1'), 'begun A 2020-01-01 00:00:00, ab B 2020-01-01 01:00:00, bc C 2020-01-01 02:00:00, ca A 2020-01-01 03:00:00', 'with the times at which it was due');
SELECT is(pg_temp.run_due(), 0::bigint, 'once');
SELECT is((SELECT run_at BETWEEN clock_timestamp() + interval '59 minutes' AND clock_timestamp() + interval '1 hour' FROM eventsource.jobs WHERE stream = 'tmrring-1' AND state = 'scheduled'), true,
	'a state that it came through counts from now');

-- A change of state looks at what waits, not at all jobs that the stream ever had.
SELECT eventsource.create_state_machine('tmri', '{"initial": "A", "states": {
	"A": {"on": {"begun": {}, "x": "B"}, "after": {"1 day": "x"}}, "B": {"on": {"y": "A"}, "after": {"1 day": "y"}}}}') IS NULL AS done \gset
SELECT eventsource.create_category('tmri', 'tmri') IS NULL AS done \gset
CREATE FUNCTION pg_temp.jobs_read() RETURNS bigint LANGUAGE sql AS $$
	SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables WHERE relid = 'eventsource.job'::regclass
$$;
SELECT eventsource.append('tmri-1', 'begun') IS NULL AS done \gset
SELECT count(eventsource.enqueue('tmri', stream => 'tmri-1')) AS jobs FROM generate_series(1, 3000) \gset
SELECT pg_temp.jobs_read() AS before \gset
SELECT is((eventsource.append('tmri-1', 'x')).state || (eventsource.append('tmri-1', 'y')).state, 'BA', 'a stream with many jobs changes its state');
SELECT cmp_ok(pg_temp.jobs_read() - :before, '<', 20::bigint, 'few of them are read');
SELECT is((SELECT array_agg(problem) FROM eventsource.verify_transitions() WHERE stream_name LIKE 'tmr%'), NULL, 'the log is as the machines say');

SELECT * FROM finish();
ROLLBACK;
