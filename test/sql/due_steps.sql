\set ECHO none
\i test/helpers.sql
-- Runs of several steps: order, waits, what is waited for, compensation.
BEGIN;
SELECT no_plan();

CREATE SCHEMA due_steps;
CREATE TABLE due_steps.said (n serial, step int, call jsonb);
-- Decides what the event's data have under the step's number.
CREATE FUNCTION due_steps.ask(e eventsource.events, call jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO due_steps.said (step, call) VALUES ((call->>'step')::int, call);
	IF e.data->(call->>'step') = '"fail"' THEN
		RAISE EXCEPTION 'no such luck';
	END IF;
	RETURN e.data->(call->>'step');
END
$$;
-- Its errors are for good.
CREATE FUNCTION pg_temp.react(name text, steps jsonb, key text DEFAULT NULL) RETURNS void LANGUAGE sql AS $$
	SELECT eventsource.create_reaction(name, name, 'happened', action => jsonb_build_object('steps', steps), key => key)
$$;
CREATE FUNCTION pg_temp.call(more jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
	SELECT '{"call": "due_steps.ask(eventsource.events,jsonb)"}' || more
$$;
CREATE FUNCTION pg_temp.happen(stream text, data jsonb DEFAULT '{}') RETURNS void LANGUAGE sql AS $$
	SELECT eventsource.append(stream, 'happened', data)
$$;
CREATE FUNCTION pg_temp.due() RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(work || ' ' || count, ', ' ORDER BY work), '-') FROM eventsource.run_due()
$$;
CREATE FUNCTION pg_temp.run(stream text) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', j.state, 'step ' || j.step, j.error_code, j.finish_reason)
	  FROM eventsource.job j WHERE j.stream = $1 AND j.queue = '$reaction' AND j.step > 0 ORDER BY j.id DESC LIMIT 1
$$;
CREATE FUNCTION pg_temp.types(stream text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(type, ' ' ORDER BY version) FROM eventsource.read_stream(stream)
$$;
-- Claims and completes what is in a queue; the time at which it ended.
CREATE FUNCTION pg_temp.work(queue text, result jsonb DEFAULT NULL) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	done bigint;
BEGIN
	SELECT c.job_id INTO done FROM eventsource.claim(queue) c;
	PERFORM eventsource.complete(done, result);
	RETURN done;
END
$$;

-- Without waits, all at once.
SELECT pg_temp.react('steps1', jsonb_build_array(
	'{"append": "one", "stream": "''steps1x-'' || event.key"}'::jsonb,
	'{"append": "two", "stream": "''steps1x-'' || event.key"}'::jsonb, pg_temp.call()));
SELECT pg_temp.happen('steps1-a');
SELECT is(pg_temp.types('steps1x-a'), NULL, 'nothing at once');
SELECT is(pg_temp.due(), 'steps 3', 'three steps');
SELECT is(pg_temp.types('steps1x-a'), 'one two', 'in order');
SELECT is(pg_temp.run('steps1-a'), 'done step 3', 'and done');
SELECT is(string_agg(DISTINCT metadata->>'causation_id', ''), (SELECT position::text FROM eventsource.read_stream('steps1-a')),
	'the event is their cause') FROM eventsource.read_stream('steps1x-a');

-- A wait is counted from the end of the step before, which is that of its job.
SELECT pg_temp.react('steps2', jsonb_build_array('{"enqueue": "steps_mail", "payload": "event.data"}'::jsonb,
	pg_temp.call('{"wait": "3 days"}')));
SELECT pg_temp.happen('steps2-a', '{"a": 1}');
SELECT is(pg_temp.due(), 'steps 1', 'the message is enqueued');
SELECT is(pg_temp.run('steps2-a'), 'scheduled step 1', 'and waited for');
SELECT is(pg_temp.due(), '-', 'as long as it takes');
SELECT pg_temp.work('steps_mail') AS job \gset
SELECT is(pg_temp.due(), 'steps 1', 'when it is done the run goes on');
SELECT is(j.run_at, m.finished_at + interval '3 days', 'three days after that, to the microsecond')
  FROM eventsource.job j, eventsource.job m WHERE j.stream = 'steps2-a' AND j.step = 2 AND m.id = :job;
SELECT is(pg_temp.run('steps2-a'), 'scheduled step 2', 'at its second step');

-- Decisions about steps.
SELECT pg_temp.react('steps3', jsonb_build_array(pg_temp.call(), pg_temp.call(), pg_temp.call('{"wait": "1 hour"}')));
SELECT pg_temp.happen('steps3-skip', '{"1": {"skip": "enough"}}');
SELECT pg_temp.happen('steps3-end', '{"1": {"end": true}}');
SELECT pg_temp.happen('steps3-next', '{"1": {"next": 3, "wait": "0"}, "3": {"end": true}}');
SELECT pg_temp.happen('steps3-wait', '{"1": {"wait": "2 days"}}');
SELECT pg_temp.happen('steps3-send', '{"1": {"send": {"queue": "steps_send", "payload": {"x": 1}, "order_key": "k", "priority": 3}, "next": 3, "wait": "0"}}');
SELECT pg_temp.happen('steps3-last', '{"1": {"send": {"queue": "steps_last"}, "end": true}}');
SELECT pg_temp.due() IS NOT NULL AS ok \gset
SELECT is(string_agg(s || ': ' || pg_temp.run('steps3-' || s), E'\n' ORDER BY s),
	'end: done step 1
last: scheduled step 1
next: done step 3
send: scheduled step 1
skip: done step 1 skipped: enough
wait: scheduled step 2', 'decisions') FROM unnest('{skip,end,next,wait,send,last}'::text[]) s;
SELECT ok(run_at BETWEEN clock_timestamp() + interval '47 hours' AND clock_timestamp() + interval '2 days', 'a wait that was decided')
  FROM eventsource.job WHERE stream = 'steps3-wait';
SELECT is(row(payload, order_key, priority, reaction, step, subject)::text, '("{""x"": 1}",k,3,steps3,1,steps3-send)', 'a message that was decided')
  FROM eventsource.job WHERE queue = 'steps_send';
SELECT pg_temp.work('steps_send', '{"sent": "ok"}') AS job \gset
SELECT pg_temp.work('steps_last') AS last \gset
SELECT pg_temp.due() IS NOT NULL AS ok \gset
SELECT is(pg_temp.run('steps3-send'), 'done step 3', 'when it is done, the step that was decided');
SELECT is(pg_temp.run('steps3-last'), 'done step 1', 'or the end');
SELECT is(call->'result', '{"sent": "ok"}', 'which is told its result')
  FROM due_steps.said WHERE call->>'key' IS NULL AND (call->>'sent')::bigint = :job;

-- Who goes back, or tries again, does so a second later at the earliest.
SELECT pg_temp.happen('steps3-back', '{"2": {"next": 1, "wait": "0"}}');
SELECT pg_temp.happen('steps3-again', '{"1": {"retry": "0"}}');
SELECT clock_timestamp() AS before \gset
SELECT is(pg_temp.due(), 'steps 3', 'one goes back, one tries again');
SELECT is(string_agg(step || ' ' || (run_at BETWEEN :'before'::timestamptz + interval '1 second' AND clock_timestamp() + interval '1 second'), ', ' ORDER BY stream), '1 true, 1 true',
	'not at once, but soon') FROM eventsource.job WHERE stream IN ('steps3-back', 'steps3-again');
-- Soon is no matter of what follows.
SELECT count(eventsource.cancel_job(id)) AS ok FROM eventsource.job WHERE stream IN ('steps3-back', 'steps3-again') AND state = 'scheduled' \gset
SELECT is(:ok, 2, 'both wait for it');

-- A step that is given up: what was completed is compensated, the last first.
SELECT eventsource.set_error_code('P0001', false) IS NOT NULL AS ok \gset
SELECT pg_temp.react('steps4', jsonb_build_array(
	'{"append": "reserved", "stream": "''steps4x-'' || event.key", "compensate": {"append": "released", "stream": "''steps4x-'' || event.key"}}'::jsonb,
	'{"append": "noted", "stream": "''steps4x-'' || event.key"}'::jsonb,
	'{"append": "charged", "stream": "''steps4x-'' || event.key", "compensate": {"append": "refunded", "stream": "''steps4x-'' || event.key"}}'::jsonb,
	pg_temp.call('{"compensate": {"append": "never", "stream": "''steps4x-'' || event.key"}}')));
SELECT pg_temp.happen('steps4-good');
SELECT pg_temp.happen('steps4-bad', '{"4": "fail"}');
SELECT is(pg_temp.due(), 'failed 1, steps 9', 'one is given up');
SELECT is(pg_temp.types('steps4x-good'), 'reserved noted charged', 'all is well');
SELECT is(pg_temp.types('steps4x-bad'), 'reserved noted charged refunded released', 'or made good, in reverse');
SELECT is(pg_temp.run('steps4-bad'), 'discarded step 4 P0001', 'the run is a dead letter');
SELECT is(string_agg(step || ' ' || state, ', ' ORDER BY id), '-3 done, -1 done', 'a job for each compensation')
  FROM eventsource.job WHERE stream = 'steps4-bad' AND step < 0;

-- Who redrives all passes over what is over.
SELECT pg_temp.refuses($$ SELECT eventsource.redrive_all(NULL) $$, '22004', 'queue and max_jobs are needed', 'a queue is needed to redrive all of it');
SELECT is(eventsource.redrive_all('$reaction', 'TIMEOUT')::text, '(0,0)', 'what failed otherwise is not redriven');
SELECT is(eventsource.redrive_all('$reaction', 'P0001')::text, '(0,1)', 'a run that was made good is passed over, and counted');

-- A message that is given up gives up the run.
SELECT pg_temp.react('steps5', jsonb_build_array(
	'{"append": "reserved", "stream": "''steps5x-'' || event.key", "compensate": {"append": "released", "stream": "''steps5x-'' || event.key"}}'::jsonb,
	'{"enqueue": "steps_pay", "max_attempts": 1}'::jsonb, pg_temp.call()));
SELECT pg_temp.happen('steps5-dead');
SELECT pg_temp.due() IS NOT NULL AS ok \gset
SELECT eventsource.fail(job_id, 'REJECTED', 'card') IS NOT NULL AS ok FROM eventsource.claim('steps_pay') \gset
SELECT pg_temp.happen('steps5-gone');
SELECT pg_temp.due() IS NOT NULL AS ok \gset
SELECT eventsource.cancel_job(job_id, 'by hand') IS NOT NULL AS ok FROM eventsource.jobs WHERE queue = 'steps_pay' AND stream = 'steps5-gone' \gset
SELECT pg_temp.due() IS NOT NULL AS ok \gset
SELECT ok(pg_temp.run('steps5-dead') ~ '^discarded step 2 STEP_GIVEN_UP step 2: job \d+ was discarded: REJECTED$', 'by a worker');
SELECT ok(pg_temp.run('steps5-gone') ~ '^discarded step 2 STEP_GIVEN_UP step 2: job \d+ was cancelled: by hand$', 'or by an operator');
SELECT is(pg_temp.types('steps5x-dead') || ', ' || pg_temp.types('steps5x-gone'), 'reserved released, reserved released', 'and is made good');

-- So does who discards the run itself; who cancels it does not.
SELECT pg_temp.react('steps6', jsonb_build_array(
	'{"append": "reserved", "stream": "''steps6x-'' || event.key", "compensate": {"append": "released", "stream": "''steps6x-'' || event.key"}}'::jsonb,
	pg_temp.call('{"wait": "1 day"}')));
SELECT pg_temp.happen('steps6-discarded');
SELECT pg_temp.happen('steps6-cancelled');
SELECT pg_temp.due() IS NOT NULL AS ok \gset
SELECT eventsource.discard(job_id, 'hopeless') IS NOT NULL AS ok FROM eventsource.jobs WHERE stream = 'steps6-discarded' \gset
SELECT eventsource.cancel_job(job_id) IS NOT NULL AS ok FROM eventsource.jobs WHERE stream = 'steps6-cancelled' \gset
SELECT pg_temp.due() IS NOT NULL AS ok \gset
SELECT is(pg_temp.types('steps6x-discarded') || ', ' || pg_temp.types('steps6x-cancelled'), 'reserved released, reserved', 'discarded by hand');

-- A compensation that fails keeps the others waiting no longer than that.
SELECT pg_temp.react('steps7', jsonb_build_array(
	'{"append": "reserved", "stream": "''steps7x-'' || event.key", "compensate": {"append": "released", "stream": "''steps7x-'' || event.key"}}'::jsonb,
	pg_temp.call(jsonb_build_object('compensate', pg_temp.call())), pg_temp.call()));
SELECT pg_temp.happen('steps7-a', '{"-2": "fail", "3": "fail"}');
SELECT is(pg_temp.due(), 'failed 2, steps 3', 'a compensation fails');
SELECT is(pg_temp.types('steps7x-a'), 'reserved released', 'the next one is done');

-- Redriven: what was made good is not made good again, and nothing builds on it; the rest goes on.
SELECT pg_temp.react('steps8', jsonb_build_array(
	'{"enqueue": "steps_pay8", "compensate": {"enqueue": "steps_refund8"}}'::jsonb,
	'{"enqueue": "steps_ship8", "max_attempts": 1, "compensate": {"enqueue": "steps_return8"}}'::jsonb, pg_temp.call()));
CREATE FUNCTION pg_temp.jobs(queue text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(j.state, ' ' ORDER BY j.id) FROM eventsource.job j WHERE j.queue = $1
$$;
CREATE FUNCTION pg_temp.run_id(stream text) RETURNS bigint LANGUAGE sql AS $$
	SELECT max(j.id) FROM eventsource.job j WHERE j.stream = $1 AND j.queue = '$reaction' AND j.step > 0
$$;
SELECT pg_temp.happen('steps8-a');
SELECT pg_temp.due() IS NOT NULL AS ok \gset
SELECT pg_temp.work('steps_pay8') AS job \gset
SELECT pg_temp.due() IS NOT NULL AS ok \gset
SELECT eventsource.fail(job_id, 'REJECTED') IS NOT NULL AS ok FROM eventsource.claim('steps_ship8') \gset
SELECT pg_temp.due() IS NOT NULL AS ok \gset
SELECT is(pg_temp.jobs('steps_refund8') || ', ' || pg_temp.run('steps8-a'), 'available, ' || pg_temp.run('steps8-a'), 'a refund');
SELECT pg_temp.work('steps_refund8') AS job \gset
SELECT pg_temp.due() IS NOT NULL AS ok \gset
SELECT pg_temp.refuses(format('SELECT eventsource.redrive(%s)', pg_temp.run_id('steps8-a')), '55000',
	format('what job %s had done is compensated', pg_temp.run_id('steps8-a')), 'a run that was made good is not redriven');
SELECT pg_temp.due() IS NOT NULL AS ok \gset
SELECT is(pg_temp.jobs('steps_refund8') || ', ' || pg_temp.jobs('steps_pay8') || ', ' || pg_temp.jobs('steps_ship8'), 'done, done, discarded', 'there is one refund');
-- Nor is what it waited for: it would be done after all was made good.
CREATE FUNCTION pg_temp.sent_id(queue text) RETURNS bigint LANGUAGE sql AS $$
	SELECT max(j.id) FROM eventsource.job j WHERE j.queue = $1
$$;
SELECT pg_temp.refuses(format('SELECT eventsource.redrive(%s)', pg_temp.sent_id('steps_ship8')), '55000',
	format('the run that sent job %s is finished', pg_temp.sent_id('steps_ship8')), 'nor is the job that it waited for');
SELECT matches(pg_temp.refusal(format('SELECT eventsource.redrive(%s)', pg_temp.sent_id('steps_ship8'))),
	'HINT: Its steps were made good\. Append the event', 'and the hint says what can be done');
SELECT matches(pg_temp.refusal(format('SELECT eventsource.discard(%s, ''x'')', pg_temp.run_id('steps8-a'))),
	'is finished\nDETAIL: It is discarded, and its steps were made good\.\nHINT: It cannot be redriven', 'who discards it again is not told to redrive it');
-- One that had nothing to make good is, and waits for the same job again; then it is made good as others are, once.
SELECT pg_temp.react('steps9', jsonb_build_array('{"enqueue": "steps_pay9", "max_attempts": 1, "compensate": {"enqueue": "steps_refund9"}}'::jsonb,
	pg_temp.call()));
SELECT pg_temp.happen('steps9-a', '{"2": "fail"}');
SELECT pg_temp.due() IS NOT NULL AS ok \gset
SELECT eventsource.fail(job_id, 'REJECTED') IS NOT NULL AS ok FROM eventsource.claim('steps_pay9') \gset
SELECT pg_temp.due() IS NOT NULL AS ok \gset
SELECT ok(pg_temp.run('steps9-a') LIKE 'discarded step 1 STEP_GIVEN_UP %', 'given up at its first step');
SELECT pg_temp.sent_id('steps_pay9') AS pay9 \gset
SELECT pg_temp.refuses(format('SELECT eventsource.redrive(%s)', :pay9), '55000', format('the run that sent job %s is finished', :pay9),
	'what it waited for is not redriven alone');
SELECT matches(pg_temp.refusal(format('SELECT eventsource.redrive(%s)', :pay9)),
	format('HINT: Redrive the run, .*: SELECT eventsource\.redrive\(%s\)', pg_temp.run_id('steps9-a')), 'the hint says what is');
SELECT eventsource.redrive(pg_temp.run_id('steps9-a')) IS NOT NULL AS ok \gset
SELECT is(pg_temp.due(), '-', 'redriven');
SELECT is(pg_temp.run('steps9-a') || ', ' || pg_temp.jobs('steps_pay9'), 'scheduled step 1 STEP_GIVEN_UP, available', 'it waits for the same job');
SELECT is(string_agg(stream || ' ' || type, ', ' ORDER BY position), format('$job-%s job_redriven, $job-%s job_redriven', pg_temp.run_id('steps9-a'), :pay9), 'both are recorded')
  FROM eventsource.events WHERE stream IN ('$job-' || pg_temp.run_id('steps9-a'), '$job-' || :pay9);
SELECT matches(pg_temp.refusal(format('SELECT eventsource.redrive(%s)', pg_temp.run_id('steps9-a'))),
	'is not given up\nDETAIL: It is scheduled\.\nHINT: It goes on by itself when the job that it waits for is finished', 'once');
SELECT is(pg_temp.work('steps_pay9'), :pay9::bigint, 'it is lent with its id');
SELECT pg_temp.due() IS NOT NULL AS ok \gset
SELECT is(pg_temp.run('steps9-a') || ', ' || pg_temp.jobs('steps_refund9'), 'discarded step 2 P0001, available', 'what it did then is made good');
-- A compensation that was given up itself is done when it is redriven.
SELECT eventsource.discard(job_id, 'by hand') IS NOT NULL AS ok FROM eventsource.jobs WHERE queue = 'steps_refund9' \gset
SELECT pg_temp.due() IS NOT NULL AS ok \gset
SELECT is(string_agg(step || ' ' || state || ' ' || error_code, ', '), '-1 discarded STEP_GIVEN_UP', 'a compensation is given up')
  FROM eventsource.job WHERE stream = 'steps9-a' AND queue = '$reaction' AND step < 0;
SELECT eventsource.redrive(id) IS NOT NULL AS ok FROM eventsource.job WHERE stream = 'steps9-a' AND queue = '$reaction' AND step < 0 \gset
SELECT pg_temp.due() IS NOT NULL AS ok \gset
SELECT is(pg_temp.jobs('steps_refund9'), 'available', 'redriven, it is sent again');
SELECT pg_temp.work('steps_refund9') AS job \gset
SELECT is(pg_temp.due(), 'steps 1', 'which it waited for');
SELECT is(state, 'done', 'to its end') FROM eventsource.job WHERE stream = 'steps9-a' AND queue = '$reaction' AND step < 0;

-- Redriven before its run was told that it was given up, or gave up for it: that one waits on.
CREATE FUNCTION pg_temp.fail(queue text) RETURNS bigint LANGUAGE sql AS $$
	SELECT job_id FROM (SELECT job_id, eventsource.fail(job_id, 'REJECTED') FROM eventsource.claim(queue)) f
$$;
SELECT pg_temp.happen('steps9-b', '{}');
SELECT pg_temp.due() IS NOT NULL AS ok \gset
SELECT pg_temp.fail('steps_pay9') AS job \gset
SELECT eventsource.redrive(:job) IS NOT NULL AS ok \gset
SELECT is(pg_temp.due(), '-', 'a job is redriven at once: its run waits on');
SELECT pg_temp.fail('steps_pay9') = :job AS ok \gset
SELECT ok(:'ok', 'it is lent again');
SELECT eventsource.redrive(:job) IS NOT NULL AS ok \gset
SELECT pg_temp.work('steps_pay9') = :job AS ok \gset
SELECT pg_temp.due() IS NOT NULL AS ok \gset
SELECT is(pg_temp.run('steps9-b'), 'done step 2', 'and the run comes to its end');
SELECT pg_temp.happen('steps9-c', '{}');
SELECT pg_temp.due() IS NOT NULL AS ok \gset
SELECT pg_temp.happen('steps9-d', '{}');
SELECT pg_temp.fail('steps_pay9') AS job \gset
SELECT is(string_agg(work || ' ' || count, ', '), 'steps 1', 'another is performed first') FROM eventsource.run_due(1);
SELECT is(state || ' ' || (payload->>'waited'), 'available discarded', 'a run that was told, and is about to be given up')
  FROM eventsource.job WHERE id = pg_temp.run_id('steps9-c');
SELECT eventsource.redrive(:job) IS NOT NULL AS ok \gset
SELECT is(pg_temp.due(), '-', 'waits again');
SELECT count(pg_temp.work('steps_pay9')) AS ok FROM generate_series(1, 2) \gset
SELECT pg_temp.due() IS NOT NULL AS ok \gset
SELECT is(pg_temp.run('steps9-c') || ', ' || pg_temp.run('steps9-d'), 'done step 2, done step 2', 'and comes to its end, too');

-- Who ends a run by hand ends what it waits for, also what is claimed: it must not be done after what was made good.
SELECT pg_temp.react('steps10', jsonb_build_array(
	'{"append": "reserved", "stream": "''steps10x-'' || event.key", "compensate": {"append": "released", "stream": "''steps10x-'' || event.key"}}'::jsonb,
	'{"enqueue": "steps_pay10"}'::jsonb), $$'k-' || event.key$$);
SELECT pg_temp.happen('steps10-discarded');
SELECT pg_temp.due() IS NOT NULL AS ok \gset
SELECT job_id AS pay10 FROM eventsource.claim('steps_pay10', worker => 'w') \gset
SELECT pg_temp.happen('steps10-' || s) FROM unnest('{cancelled,key,done}'::text[]) s;
SELECT pg_temp.due() IS NOT NULL AS ok \gset
SELECT eventsource.discard(pg_temp.run_id('steps10-discarded'), 'hopeless') IS NOT NULL AS ok \gset
SELECT eventsource.cancel_job(pg_temp.run_id('steps10-cancelled')) IS NOT NULL AS ok \gset
SELECT is(eventsource.cancel_jobs('$reaction', 'reaction:steps10:k-key', 'stopped'), 1, 'also by its key');
SELECT is(string_agg(concat_ws(' ', j.stream || ':', j.state, replace(j.finish_reason, pg_temp.run_id(j.stream)::text, 'N')), E'\n' ORDER BY j.stream),
	'steps10-cancelled: cancelled run N was cancelled
steps10-discarded: cancelled run N was discarded: hopeless
steps10-done: available
steps10-key: cancelled run N was cancelled: stopped', 'at once, with the reason') FROM eventsource.job j WHERE queue = 'steps_pay10';
SELECT is(string_agg(type || ' ' || (data->>'queue'), ', '), 'job_cancelled steps_pay10', 'and an event') FROM eventsource.read_stream('$job-' || :pay10);
SELECT pg_temp.refuses(format('SELECT eventsource.complete(%s, worker => %L)', :pay10, 'w'), '55000', format('job %s is not lent to worker "w"', :pay10), 'its worker is told');
SELECT pg_temp.due() IS NOT NULL AS ok \gset
SELECT is(pg_temp.types('steps10x-discarded') || ', ' || pg_temp.types('steps10x-cancelled'), 'reserved released, reserved', 'made good as ever');
SELECT pg_temp.refuses(format('SELECT eventsource.redrive(%s)', :pay10), '55000', format('the run that sent job %s is finished', :pay10), 'it cannot be redriven');
-- Redriven, a run that was cancelled waits for the same job; one whose job was done meanwhile goes on from there.
SELECT eventsource.redrive(pg_temp.run_id('steps10-cancelled')) IS NOT NULL AS ok \gset
SELECT count(pg_temp.work('steps_pay10')) AS ok FROM generate_series(1, 2) \gset
SELECT is(:ok, 2, 'both jobs are done');
SELECT eventsource.cancel_job(pg_temp.run_id('steps10-done')) IS NOT NULL AS ok \gset
SELECT eventsource.redrive(pg_temp.run_id('steps10-done')) IS NOT NULL AS ok \gset
SELECT pg_temp.due() IS NOT NULL AS ok \gset
SELECT is(string_agg(format('%s: %s, %s', s, pg_temp.run('steps10-' || s), (SELECT string_agg(state, ' ') FROM eventsource.job WHERE queue = 'steps_pay10' AND stream = 'steps10-' || s)), E'\n' ORDER BY s),
	'cancelled: done step 2, done
done: done step 2, done', 'and nothing is sent twice') FROM unnest('{cancelled,done}'::text[]) s;

-- A step that is to be tried again says when.
SELECT pg_temp.react('steps11', jsonb_build_array('{"append": "one", "stream": "event.data->>''s''"}'::jsonb));
SELECT pg_temp.happen('steps11-a', '{"s": "not a stream!"}');
SELECT is(pg_temp.due(), 'failed 1', 'a step fails');
SELECT matches(pg_temp.refusal(format('SELECT eventsource.redrive(%s)', pg_temp.run_id('steps11-a'))),
	'HINT: It is tried again by itself at ' || extract(year FROM now()), 'who redrives it is told when it is tried again');
SELECT eventsource.cancel_job(pg_temp.run_id('steps11-a')) IS NOT NULL AS ok \gset
SELECT eventsource.redrive(pg_temp.run_id('steps11-a')) IS NOT NULL AS ok \gset
SELECT is(pg_temp.due(), 'failed 1', 'cancelled and redriven, it is tried now');

-- What was cancelled was not made good: it goes on.
SELECT eventsource.redrive(pg_temp.run_id('steps6-cancelled')) IS NOT NULL AS ok \gset
SELECT is(pg_temp.due(), 'steps 1', 'a cancelled run goes on');
SELECT is(pg_temp.run('steps6-cancelled') || ', ' || pg_temp.types('steps6x-cancelled'), 'done step 2, reserved', 'to its end');

SELECT * FROM finish();
ROLLBACK;
