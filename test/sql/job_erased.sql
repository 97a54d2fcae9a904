\set ECHO none
\i test/helpers.sql
-- Jobs about subjects that are erased.
BEGIN;
SELECT plan(29);

CREATE FUNCTION pg_temp.job(id bigint) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', j.state, j.payload::text, j.result::text, j.error, j.job_key, j.order_key, j.finish_reason, j.lease_until IS NOT NULL) FROM eventsource.jobs j WHERE j.job_id = $1
$$;
SELECT eventsource.create_category('jeorder', subject => $$event.data->>'customer'$$) AS done \gset
SELECT eventsource.append('jec-1', 'seen') IS NULL AS done \gset
SELECT eventsource.append('jec-2', 'seen') IS NULL AS done \gset
SELECT eventsource.append('jeorder-1', 'placed', '{"customer": "jec-1"}') IS NULL AS done \gset
SELECT eventsource.enqueue('je1', '"a"', subject => 'jec-1', job_key => 'ka', order_key => 'o') AS a \gset
SELECT eventsource.enqueue('je1', '"b"', subject => 'jec-2', order_key => 'o') AS b \gset
SELECT eventsource.enqueue('je1', '"c"', stream => 'jec-1') AS c \gset
SELECT eventsource.enqueue('je1', '"d"', stream => 'jeorder-1') AS d \gset
SELECT eventsource.enqueue('je1', '"e"', stream => 'jeorder-1', subject => 'jec-2') AS e \gset
SELECT eventsource.enqueue('je1', '"f"') AS f \gset
SELECT count(*) AS done FROM eventsource.claim('je1', 10, '1 hour', 'w') \gset
SELECT is(state, CASE job_id WHEN :b THEN 'available' ELSE 'claimed' END, 'claimed, but one behind another') FROM eventsource.jobs WHERE job_id = :b;
SELECT eventsource.fail(:c, 'TIMEOUT', 'jec-1 does not answer', worker => 'w') AS done \gset
SELECT eventsource.enqueue('je1', '"g"', subject => 'jec-1', run_at => now() + interval '1 day') AS g \gset
SELECT eventsource.enqueue('je2', '"h"', subject => 'jec-1') AS h \gset
SELECT count(*) AS done FROM eventsource.claim('je2', 10, '1 hour', 'w') \gset
SELECT eventsource.complete(:h, '{"sent": "jec-1"}', 'w') IS NULL AS done \gset
SELECT eventsource.enqueue('je2', '"i"', subject => 'jec-1', job_key => 'ki') AS i \gset
SELECT eventsource.discard(:i, 'because of jec-1') IS NULL AS done \gset

-- What the subject's export has.
SELECT is((SELECT string_agg(j ->> 'payload', ' ' ORDER BY (j ->> 'job_id')::bigint) FROM jsonb_array_elements(eventsource.export_subject('jec-1') -> 'jobs') j), 'a c d g h i', 'its jobs are exported');

-- Softly.
SELECT is(affected, 4::bigint, 'jobs that are not finished') FROM eventsource.erase_subject('jec-1', 'soft', 'asked') WHERE target = 'jobs';
SELECT is(pg_temp.job(:a), 'cancelled "a" ka o subject deactivated f', 'of the subject');
SELECT is(pg_temp.job(:c), 'cancelled "c" jec-1 does not answer subject deactivated f', 'of its stream');
SELECT is(pg_temp.job(:d), 'cancelled "d" subject deactivated f', 'of a stream with events about it');
SELECT is(pg_temp.job(:e), 'claimed "e" t', 'not if it is about another subject');
SELECT is(pg_temp.job(:f), 'claimed "f" t', 'nor about none');
SELECT is(pg_temp.job(:h), 'done "h" {"sent": "jec-1"} f', 'what is finished stays');
SELECT is(payload, '"b"', 'who waited behind one need not any more') FROM eventsource.claim('je1', 10, '1 hour', 'w');
SELECT pg_temp.refuses($$ SELECT eventsource.enqueue('je1', subject => 'jec-1') $$, 'ZE009', 'subject "jec-1" is erased', 'no other jobs about it');
SELECT pg_temp.refuses($$ SELECT eventsource.enqueue('je1', stream => 'jec-1') $$, 'ZE009', 'subject "jec-1" is erased', 'nor about its stream');
SELECT ok(eventsource.enqueue('je1', stream => 'jec-1', subject => 'jec-2') > 0, 'unless about another subject');
SELECT pg_temp.refuses(format('SELECT eventsource.complete(%s, worker => %L)', :a, 'w'), '55000', format('job %s is not lent to worker "w"', :a), 'its worker is told');
SELECT pg_temp.refuses(format('SELECT eventsource.redrive(%s)', :a), 'ZE009', 'subject "jec-1" is erased', 'it cannot be redriven');
SELECT count(*) AS done FROM eventsource.revert_erasure('jec-1', 'asked') \gset
SELECT is(pg_temp.job(:g), 'cancelled "g" subject deactivated f', 'reverting does not bring them back');
SELECT is(eventsource.redrive(:g)::text, '', 'but they can be redriven');

-- For good.
SELECT is(affected, 6::bigint, 'all that there are') FROM eventsource.erase_subject('jec-1', 'hard', 'asked') WHERE target = 'jobs';
SELECT is(pg_temp.job(id), want, 'nothing is left: ' || n) FROM (VALUES
	('a', :a, 'cancelled {} subject erased f'), ('c', :c, 'cancelled {} subject erased f'), ('d', :d, 'cancelled {} subject erased f'),
	('g', :g, 'cancelled {} subject erased f'), ('h', :h, 'done {} subject erased f'), ('i', :i, 'discarded {} subject erased f')) v (n, id, want);
SELECT is(pg_temp.job(:e), 'claimed "e" t', 'of others it is');
SELECT pg_temp.refuses(format('SELECT eventsource.redrive(%s)', :g), 'ZE009', format('what job %s was about is erased', :g), 'there is nothing to redrive');
SELECT ok(EXISTS (SELECT FROM eventsource.scrubs_due s WHERE s::text ~ 'eventsource\.job'), 'what is in the table''s files is to be scrubbed');

-- Of a subject about whom there are jobs alone.
SELECT eventsource.enqueue('je1', '"j"', subject => 'jec-9') AS j \gset
SELECT is(affected, 1::bigint, 'nothing else is known') FROM eventsource.erase_subject('jec-9', 'anonymize', 'asked') WHERE target = 'jobs';
SELECT is(pg_temp.job(:j), 'cancelled {} subject erased f', 'and nothing is left');

SELECT * FROM finish();
ROLLBACK;
