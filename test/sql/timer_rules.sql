\set ECHO none
\i test/helpers.sql
-- Timeouts of state machines: guards, rules of now, new versions, and where events come from.
BEGIN;
SELECT plan(53);

CREATE FUNCTION pg_temp.run_due() RETURNS bigint LANGUAGE sql AS $$
	SELECT coalesce(sum(count), 0) FROM eventsource.run_due() WHERE work = 'timeouts'
$$;
CREATE FUNCTION pg_temp.jobs(name text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', j.payload ->> 'state', j.payload ->> 'after', j.payload ->> 'machine',
			CASE j.state WHEN 'scheduled' THEN to_char(j.run_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') ELSE j.state || coalesce(': ' || j.finish_reason, '') END),
		E'\n' ORDER BY j.run_at, j.job_id)
	  FROM eventsource.jobs j WHERE j.queue = '$timeout' AND j.stream = name
$$;
CREATE FUNCTION pg_temp.history(name text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', e.type, e.to_state, e.reason), ', ' ORDER BY e.version) FROM eventsource.events e WHERE e.stream = name
$$;
CREATE FUNCTION pg_temp.at(name text, type text, at timestamptz, data jsonb DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
	SELECT state FROM eventsource.append(name, type, data, occurred_at => at)
$$;

-- Guards, that see the row; candidates in order; reasons.
CREATE TABLE public.tmr_calls (id text PRIMARY KEY, calls int NOT NULL DEFAULT 0);
SELECT eventsource.create_projection('tmr_calls', '{tmrg}', '{"called": "calls = row.calls + 1"}') IS NULL AS done \gset
SELECT eventsource.create_state_machine('tmrg', '{"initial": "OPEN", "states": {
	"OPEN": {"on": {"begun": {}, "called": {}, "lost": {"target": "LOST", "reasons": ["silence", "price"]}, "kept": {}, "won": "WON"},
		"after": {"1 day": [{"type": "kept", "guard": {"called_often": "row.calls >= 2"}}, {"type": "lost", "reason": "silence", "guard": {"called_once": "row.calls = 1"}}],
			"2 days": {"type": "kept", "guard": "event.occurred_at = ''2020-01-03Z'' AND event.type = ''kept'' AND state = ''OPEN'' AND event.data = ''{}'' AND event.stream = ''tmrg-2''"}}},
	"LOST": {"type": "final"}, "WON": {"type": "final"}}, "reasons": {"silence": {}, "price": {}}}') IS NULL AS done \gset
SELECT eventsource.create_category('tmrg', 'tmrg', 'tmr_calls') IS NULL AS done \gset
SELECT is(pg_temp.at('tmrg-0', 'begun', '2020-01-01Z'), 'OPEN', 'never called');
SELECT is(pg_temp.at('tmrg-1', 'begun', '2020-01-01Z') || pg_temp.at('tmrg-1', 'called', '2020-01-01Z'), 'OPENOPEN', 'called once');
SELECT is(pg_temp.at('tmrg-2', 'begun', '2020-01-01Z') || pg_temp.at('tmrg-2', 'called', '2020-01-01Z') || pg_temp.at('tmrg-2', 'called', '2020-01-01Z'), 'OPENOPENOPEN', 'called twice');
SELECT is(pg_temp.run_due(), 5::bigint, 'due');
SELECT is(pg_temp.history('tmrg-0'), 'begun OPEN', 'no guard holds: nothing');
SELECT is(pg_temp.jobs('tmrg-0'), E'OPEN 1 day tmrg@1 done: guard "called_once" did not hold\nOPEN 2 days tmrg@1 done: guard "kept_guard" did not hold', 'and the job says why');
SELECT is(pg_temp.history('tmrg-1'), 'begun OPEN, called OPEN, lost LOST silence', 'the second candidate, with its reason');
SELECT is(pg_temp.jobs('tmrg-1'), E'OPEN 1 day tmrg@1 done\nOPEN 2 days tmrg@1 cancelled: the stream has left the state', 'the state was left');
SELECT is(pg_temp.history('tmrg-2'), 'begun OPEN, called OPEN, called OPEN, kept OPEN, kept OPEN', 'the first candidate, which stays; and what guards see');
SELECT is(pg_temp.run_due(), 0::bigint, 'a guard is not asked again');

-- Refused by now: by an edge's guard, a constraint, a schema, the state.
SELECT eventsource.create_state_machine('tmrr', '{"initial": "A", "states": {
	"A": {"on": {"begun": {}, "guarded": {"target": "B", "guard": {"said": "event.data ? ''x''"}}, "broken": {"target": "B", "guard": "1 / (event.version - 2) > 0"}, "typed": "B"},
		"after": {"1 day": "guarded", "2 days": "broken", "3 days": "typed"}},
	"B": {"type": "final"}}}') IS NULL AS done \gset
SELECT eventsource.create_category('tmrr', 'tmrr') IS NULL AS done \gset
SELECT eventsource.register_event_type('typed', schema => '{"type": "object", "required": ["n"]}') IS NULL AS done \gset
SELECT is(pg_temp.at('tmrr-1', 'begun', '2020-01-01Z'), 'A', 'a stream whose timeouts the rules refuse');
SELECT is(pg_temp.run_due(), 3::bigint, 'are done');
SELECT is(pg_temp.jobs('tmrr-1'), E'A 1 day tmrr@1 done: ZE005: event type "guarded" is rejected by guard "said" in state "A"\n'
	'A 2 days tmrr@1 done: 22012: division by zero\n'
	'A 3 days tmrr@1 done: ZE007: data does not match version 1 of event type "typed"', 'each with its reason');
SELECT is(pg_temp.history('tmrr-1'), 'begun A', 'and no event');

-- What may be mended is an error, and tried again.
CREATE FUNCTION public.tmr_fine(n bigint) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE insufficient_privilege; END $$;
SELECT eventsource.create_state_machine('tmre', '{"initial": "A", "states": {
	"A": {"on": {"begun": {}, "x": "B"}, "after": {"1 day": {"type": "x", "guard": "public.tmr_fine(event.version)"}}}, "B": {"type": "final"}}}') IS NULL AS done \gset
SELECT eventsource.create_category('tmre', 'tmre') IS NULL AS done \gset
SELECT is(pg_temp.at('tmre-1', 'begun', '2020-01-01Z'), 'A', 'a guard that cannot be asked');
SELECT pg_temp.same_rows($$ SELECT work, count FROM eventsource.run_due() $$, $$ VALUES ('failed'::text, 1::bigint) $$, 'fails');
SELECT is((SELECT array_agg(concat_ws(' ', state, error_code, attempt, run_at > now())) FROM eventsource.jobs WHERE stream = 'tmre-1'), '{"scheduled 42501 1 t"}', 'and is scheduled again');
CREATE OR REPLACE FUNCTION public.tmr_fine(n bigint) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN true; END $$;
SELECT job_id AS job FROM eventsource.jobs WHERE stream = 'tmre-1' \gset
SELECT eventsource.discard(:job, 'mended') IS NULL AS done \gset
SELECT eventsource.redrive(:job) IS NULL AS done \gset
SELECT is(pg_temp.run_due(), 1::bigint, 'when it is mended');
SELECT is((SELECT occurred_at FROM eventsource.events WHERE stream = 'tmre-1' AND type = 'x'), '2020-01-02Z'::timestamptz, 'it happens, with the time at which it was due first');

-- New versions.
SELECT eventsource.create_state_machine('tmrv', '{"initial": "A", "states": {
	"A": {"on": {"begun": {}, "x": "B", "again": "A", "noted": {}}}, "B": {"on": {"y": "C", "z": "A"}, "after": {"1 day": "y"}}, "C": {"type": "final"}}}') IS NULL AS done \gset
SELECT eventsource.create_category('tmrv', 'tmrv') IS NULL AS done \gset
SELECT pg_temp.at('tmrv-' || n, 'begun', '2050-01-01Z') AS s FROM generate_series(1, 3) n \g /dev/null
SELECT pg_temp.at('tmrv-1', 'noted', '2050-01-02Z') || pg_temp.at('tmrv-2', 'again', '2050-01-03Z') || pg_temp.at('tmrv-2', 'noted', '2050-01-04Z')
	|| pg_temp.at('tmrv-3', 'x', '2050-01-05Z') || pg_temp.at('tmrv-4', 'x', '2020-01-01Z') AS s \gset
SELECT eventsource.create_state_machine('tmrv', '{"initial": "A", "states": {
	"A": {"on": {"begun": {}, "x": "B", "again": "A", "noted": {}}, "after": {"5 days": "noted"}},
	"B": {"on": {"z": "A", "y2": "C"}, "after": {"2 days": "y2"}}, "C": {"type": "final"}}}') IS NULL AS done \gset
SELECT is(pg_temp.jobs('tmrv-1'), NULL, 'a state gets a timeout: streams that stand in it have none');
SELECT is(eventsource.schedule_timeouts('tmrv'), 4::bigint, 'before it is scheduled for them');
SELECT is(eventsource.schedule_timeouts('tmrv'), 0::bigint, 'once');
SELECT is(pg_temp.jobs('tmrv-1'), 'A 5 days tmrv@2 2050-01-06 00:00', 'from when the state was entered');
SELECT is(pg_temp.jobs('tmrv-2'), 'A 5 days tmrv@2 2050-01-08 00:00', 'or entered anew');
SELECT is(pg_temp.jobs('tmrv-3'), E'B 1 day tmrv@1 2050-01-06 00:00\nB 2 days tmrv@2 2050-01-07 00:00', 'what the old version scheduled stays');
SELECT is(pg_temp.run_due(), 2::bigint, 'one is due, by both');
SELECT is(pg_temp.jobs('tmrv-4'), E'B 1 day tmrv@1 done: ZE006: event type "y" is unknown to state machine "tmrv@2"\nB 2 days tmrv@2 done', 'the machine of now decides');
SELECT is(eventsource.schedule_timeouts('tmrv'), 0::bigint, 'what was done is not scheduled again');

-- What happened without leaving the state is known by its event; so it is where there is no job of it any more.
SELECT eventsource.create_state_machine('tmrk', '{"initial": "A", "states": {"A": {"on": {"begun": {}, "again": "A", "noted": {}, "x": "B"}}, "B": {"type": "final"}}}') IS NULL AS done \gset
SELECT eventsource.create_category('tmrk', 'tmrk') IS NULL AS done \gset
SELECT pg_temp.at('tmrk-' || n, 'begun', '2020-01-01Z') AS s FROM generate_series(1, 3) n \g /dev/null
SELECT state FROM generate_series(1, 2) n, eventsource.append('tmrk-' || n, 'noted', metadata => '{"timeout": "5 days"}', occurred_at => '2020-01-06Z') \g /dev/null
SELECT is(pg_temp.at('tmrk-2', 'again', '2020-01-07Z'), 'A', 'one enters the state anew');
SELECT eventsource.create_state_machine('tmrk', '{"initial": "A", "states": {"A": {"on": {"begun": {}, "again": "A", "noted": {}, "x": "B"}, "after": {"5 days": "noted", "7 days": "noted"}}, "B": {"type": "final"}}}') IS NULL AS done \gset
SELECT is(eventsource.schedule_timeouts('tmrk'), 5::bigint, 'it is not scheduled again');
SELECT is(pg_temp.jobs('tmrk-1'), 'A 7 days tmrk@2 available', 'where it happened');
SELECT is(pg_temp.jobs('tmrk-2'), E'A 5 days tmrk@2 available\nA 7 days tmrk@2 available', 'but where that was in a visit before');
SELECT is(pg_temp.run_due(), 5::bigint, 'all are due');
SELECT is(eventsource.schedule_timeouts('tmrk'), 0::bigint, 'and not again');

SELECT eventsource.create_state_machine('tmrv', '{"initial": "A", "states": {
	"A": {"on": {"begun": {}, "x": "B", "noted": {}}}, "B": {"on": {"z": "A", "y2": "C"}}, "C": {"type": "final"}}}') IS NULL AS done \gset
SELECT is(pg_temp.at('tmrv-1', 'x', '2050-01-02Z'), 'B', 'a state that has lost its timeouts is left');
SELECT is(pg_temp.jobs('tmrv-1'), 'A 5 days tmrv@2 cancelled: the stream has left the state', 'they are cancelled');
SET LOCAL client_min_messages = error;
SELECT eventsource.create_category('tmrv', NULL) IS NULL AS done \gset
RESET client_min_messages;
SELECT pg_temp.refuses($$ SELECT eventsource.schedule_timeouts('tmrv') $$, '55000', 'category "tmrv" has no state machine', 'no machine, no timeouts');
SELECT is(eventsource.schedule_timeouts(NULL), NULL, 'NULL');

-- A stream that went on under a machine that knows of no timeouts.
SELECT eventsource.create_state_machine('tmrold', '{"initial": "A", "states": {"A": {"on": {"begun": {}, "x": "B"}, "after": {"1 hour": "x"}}, "B": {"on": {"y": "A"}}}}') IS NULL AS done \gset
SELECT eventsource.create_state_machine('tmrnew', '{"initial": "A", "states": {"A": {"on": {"begun": {}, "x": "B"}}, "B": {"on": {"y": "A"}}}}') IS NULL AS done \gset
SELECT eventsource.create_category('tmrsw', 'tmrold') IS NULL AS done \gset
SELECT is(pg_temp.at('tmrsw-1', 'begun', '2020-01-01Z') || pg_temp.at('tmrsw-2', 'begun', '2020-01-01Z') || pg_temp.at('tmrsw-3', 'begun', '2020-01-01Z'), 'AAA', 'by a machine with timeouts');
SELECT eventsource.create_category('tmrsw', 'tmrnew') IS NULL AS done \gset
SELECT is(pg_temp.at('tmrsw-1', 'x', '2020-01-01Z') || pg_temp.at('tmrsw-2', 'x', '2020-01-01Z') || pg_temp.at('tmrsw-2', 'y', '2020-01-01Z'), 'BBA', 'on by another, without');
SELECT is(pg_temp.run_due(), 3::bigint, 'due');
SELECT is((SELECT array_agg(pg_temp.jobs('tmrsw-' || n)) FROM generate_series(1, 3) n), ARRAY['A 1 hour tmrold@1 done: the stream has left the state',
	'A 1 hour tmrold@1 done: the stream has left the state', 'A 1 hour tmrold@1 done'], 'only one is in that visit');

-- One that was cancelled, and is called back.
SELECT eventsource.create_state_machine('tmrb', '{"initial": "A", "states": {"A": {"on": {"begun": {}, "again": "A", "noted": {}, "x": "B"}, "after": {"1 day": "x"}}, "B": {"type": "final"}}}') IS NULL AS done \gset
SELECT eventsource.create_category('tmrb', 'tmrb') IS NULL AS done \gset
SELECT is(pg_temp.at('tmrb-1', 'begun', '2050-01-01Z') || pg_temp.at('tmrb-1', 'noted', '2050-01-02Z') || pg_temp.at('tmrb-1', 'again', '2050-01-03Z'), 'AAA', 'a state that was entered twice');
SELECT job_id AS job FROM eventsource.jobs WHERE stream = 'tmrb-1' AND state = 'cancelled' \gset
SELECT eventsource.redrive(:job) IS NULL AS done \gset
SELECT is(pg_temp.run_due(), 1::bigint, 'the timeout of the first time is called back');
SELECT is(pg_temp.jobs('tmrb-1'), E'A 1 day tmrb@1 done: the stream has left the state\nA 1 day tmrb@1 2050-01-04 00:00', 'in vain');

-- Captured changes, a backfill, copies.
CREATE TABLE public.tmr_lead (id int PRIMARY KEY, status text NOT NULL, since timestamptz);
INSERT INTO public.tmr_lead VALUES (1, 'NEW', '2050-01-01Z'), (2, 'OPEN', '2050-01-01Z');
SELECT eventsource.create_state_machine('tmrl', '{"initial": "NEW", "states": {"NEW": {"on": {"opened": "OPEN"}, "after": {"1 day": "noted"}},
	"OPEN": {"on": {"won": "WON"}, "after": {"2 days": "noted"}}, "WON": {"type": "final"}}, "on": {"noted": {}}}') IS NULL AS done \gset
SELECT eventsource.create_category('tmrl', 'tmrl') IS NULL AS done \gset
SELECT eventsource.track_table('tmr_lead', 'tmrl', state_column => 'status', state_machine => 'tmrl') IS NULL AS done \gset
INSERT INTO public.tmr_lead VALUES (3, 'NEW');
SELECT is((SELECT count(*) FROM eventsource.jobs WHERE stream = 'tmrl-3' AND state = 'scheduled' AND payload ->> 'after' = '1 day'), 1::bigint, 'a captured row');
UPDATE public.tmr_lead SET status = 'OPEN' WHERE id = 3;
SELECT is((SELECT array_agg(payload ->> 'after' || ' ' || state ORDER BY job_id) FROM eventsource.jobs WHERE stream = 'tmrl-3'), '{"1 day cancelled","2 days scheduled"}', 'moves on');
DELETE FROM public.tmr_lead WHERE id = 3;
SELECT is((SELECT array_agg(payload ->> 'after' || ' ' || state ORDER BY job_id) FROM eventsource.jobs WHERE stream = 'tmrl-3'), '{"1 day cancelled","2 days cancelled"}', 'and goes');
SELECT is(eventsource.backfill('tmr_lead', 'since'), 2::bigint, 'a backfill');
SELECT is(pg_temp.jobs('tmrl-1') || ', ' || pg_temp.jobs('tmrl-2'), 'NEW 1 day tmrl@1 2050-01-02 00:00, OPEN 2 days tmrl@1 2050-01-03 00:00', 'counts from its times');

-- Rights.
CREATE ROLE tmr_writer;
SELECT eventsource.grant_writer('tmr_writer') IS NULL AS done \gset
SET LOCAL ROLE tmr_writer;
SELECT throws_ok($$ SELECT eventsource.schedule_timeouts('tmrr') $$, '42501', NULL, 'writers do not schedule');
SELECT is(pg_temp.at('tmrl-9', 'noted', '2050-01-01Z'), 'NEW', 'but their events do');
SELECT is((SELECT count(*) FROM eventsource.jobs WHERE stream = 'tmrl-9'), 1::bigint, 'with the rights of nobody');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
