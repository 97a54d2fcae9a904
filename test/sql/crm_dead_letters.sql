\set own_database crm_dead_letters
\i test/own_database.sql
-- Messages that could not be sent: what is tried again and how often, what is given up, seen, sent again, put away, and when somebody is told.
CREATE EXTENSION eventsource_crm;
SELECT crm.install() \g /dev/null
-- Longer than these tests will be run, whatever they say of 2026.
SELECT crm.set_setting('consent_term_marketing', '90 years') \g /dev/null
SELECT plan(34);
SET timezone = 'UTC';

SELECT crm.register_customer(c || '@example.com', '1', marketing_consent => true, customer_id => c, occurred_at => '2026-01-01') FROM unnest('{ada,bob,cy,dee}'::text[]) c \g /dev/null
-- Has a message claimed, and fail.
CREATE FUNCTION pg_temp.failed(message text, code text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	c record;
BEGIN
	SELECT * INTO c FROM crm.claim_messages('email', 100) m WHERE m.message_id = message;
	RETURN crm.fail_message(message, c.job_id, code, attempt => c.attempt);
END
$$;

-- ---- one message ----

SELECT crm.send_message('ada', 'email', 'hello', message_id => 'm1') \g /dev/null
SELECT is_empty('SELECT * FROM crm.dead_letters', 'nothing is given up');
SELECT pg_temp.refused($$ SELECT crm.redrive_message('m1') $$, '55000 message "m1" is not given up', 'what waits is not sent again');
SELECT pg_temp.refused($$ SELECT crm.redrive_message('nope') $$, '55000 message "nope" is not given up', 'nor what is not there');
SELECT is(pg_temp.failed('m1', 'REJECTED'), 'failed', 'a message is given up');
SELECT is((SELECT concat_ws(' ', message_id, customer_id, channel, template_id, error_type, is_retryable, failure_count) FROM crm.dead_letters), 'm1 ada email hello REJECTED f 1', 'it is seen');
SELECT is(crm.redrive_message('m1', 'agent:joe'), 'queued', 'and sent again');
SELECT is_empty('SELECT * FROM crm.dead_letters', 'then it is none any more');
SELECT is((SELECT actor FROM eventsource.events WHERE stream = 'message-m1' ORDER BY version DESC LIMIT 1), 'agent:joe', 'by whom, is recorded');
SELECT pg_temp.refused($$ SELECT crm.redrive_message('m1') $$, '55000 message "m1" is not given up', 'once');
SELECT is((SELECT string_agg(message_id || ' ' || template_id || ' ' || attempt, ', ') FROM crm.claim_messages('email', 10)), 'm1 hello 1', 'who sends it gets the same message, as if for the first time');
SELECT is((crm.complete_message('m1')).state, 'sent', 'it is sent');
SELECT is((SELECT string_agg(type, ' ' ORDER BY version) FROM eventsource.events WHERE stream = 'message-m1'), 'MessageQueued MessageFailed MessageQueued MessageSent', 'all of it is in its history');

-- ---- by the job ----

SELECT crm.send_message('bob', 'email', 'hello', message_id => 'm2') \g /dev/null
SELECT pg_temp.failed('m2', 'REJECTED') \g /dev/null
SELECT eventsource.redrive(job_id) FROM eventsource.jobs WHERE stream = 'message-m2' \g /dev/null
SELECT count(*) AS done FROM crm.claim_messages('email', 10) \gset
SELECT is((SELECT status FROM crm.messages WHERE message_id = 'm2'), 'queued', 'who redrives the job means the message, which is not lost');
SELECT is((SELECT string_agg(message_id, ' ') FROM crm.claim_messages('email', 10)), 'm2', 'and it is lent');
SELECT crm.complete_message('m2') \g /dev/null

-- ---- not any more ----

SELECT crm.send_message('cy', 'email', 'hello', message_id => 'm3') \g /dev/null
SELECT is(pg_temp.failed('m3', 'REJECTED'), 'failed', 'another one is given up');
SELECT crm.revoke_consent('cy', 'marketing', 'email') \g /dev/null
SELECT is(crm.redrive_message('m3'), 'no-consent', 'who has taken consent back is not written to from the dead');
SELECT is((SELECT status || ' ' || skip_reason FROM crm.messages WHERE message_id = 'm3'), 'skipped no-consent', 'it is skipped');
SELECT crm.send_message('dee', 'email', 'hello', message_id => 'm4') \g /dev/null
SELECT pg_temp.failed('m4', 'BOUNCED') \g /dev/null
SELECT is((crm.discard_message('m4', 'called-instead', 'agent:joe')).state, 'skipped', 'one is put away');
SELECT is((SELECT status || ' ' || skip_reason FROM crm.messages WHERE message_id = 'm4'), 'skipped called-instead', 'with a reason');
SELECT pg_temp.refused($$ SELECT crm.discard_message('m4', 'again') $$, '55000 message "m4" is not given up', 'once');
SELECT is_empty('SELECT * FROM crm.dead_letters', 'nothing is left to look at');

-- ---- how often, and what codes say ----

SELECT eventsource.create_queue('crm_email', backoff => '0', jitter => 0) \g /dev/null
SELECT crm.register_customer(c || '@example.com', '1', customer_id => c) FROM unnest('{eve,fay,gus}'::text[]) c \g /dev/null
SELECT crm.send_message('eve', 'email', 'hello', message_class => 'transactional', message_id => 'm5') \g /dev/null
SELECT pg_temp.failed('m5', 'TIMEOUT') AS first \gset
SELECT pg_temp.failed('m5', 'TIMEOUT') AS second \gset
SELECT is(:'first' || ' ' || :'second' || ' ' || pg_temp.failed('m5', 'TIMEOUT'), 'queued queued failed', 'X58: a time-out is tried again, but not for ever: three attempts, and it is given up');
SELECT is((SELECT count(*) FROM eventsource.jobs WHERE stream = 'message-m5'), 1::bigint, 'X58: as one job of one message, whose id is the key for the provider');
SELECT is((SELECT is_email_deliverable FROM crm.customers WHERE customer_id = 'eve'), true, 'a time-out says nothing of the address');
SELECT crm.send_message('fay', 'email', 'hello', message_class => 'transactional', message_id => 'm6') \g /dev/null
SELECT job_id, attempt FROM crm.claim_messages('email', 1) \gset
SELECT is(crm.fail_message('m6', :job_id, 'SERVICE_UNAVAILABLE', 'the invalid recipient list is being rebuilt', attempt => :attempt), 'queued', 'X60: words are not what decides');
SELECT is((SELECT is_email_deliverable FROM crm.customers WHERE customer_id = 'fay'), true, 'X60: nor what makes an address bad');
SELECT is(pg_temp.failed('m6', 'INVALID_RECIPIENT'), 'failed', 'X60: the code is');
SELECT is((SELECT string_agg(data->>'reason', ' ') FROM eventsource.events WHERE stream = 'customer-fay' AND type = 'CustomerEmailInvalidated'), 'bounced-permanent', '176: and that is recorded with the customer');
SELECT is((SELECT channel FROM crm.messages WHERE message_id = 'm6'), 'email', 'X58: the channel is that of the message');

-- ---- a hundred an hour, and one more ----

CREATE FUNCTION pg_temp.give_up(n integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	c record;
BEGIN
	PERFORM crm.send_message('gus', 'email', message_class => 'transactional', message_id => 'g' || gen_random_uuid()) FROM generate_series(1, n);
	FOR c IN SELECT * FROM crm.claim_messages('email', n) LOOP
		PERFORM crm.fail_message(c.message_id, c.job_id, 'REJECTED', attempt => c.attempt);
	END LOOP;
	PERFORM eventsource.run_due();
END
$$;
SELECT count(*) AS dead FROM eventsource.dead_letters WHERE queue = 'crm_email' \gset
SELECT pg_temp.give_up(100 - :dead) \g /dev/null
SELECT is((SELECT count(*) || ' ' || (SELECT count(*) FROM eventsource.alerts) FROM eventsource.dead_letters WHERE queue = 'crm_email'), '100 0', '175: a hundred an hour raise no alert');
SELECT pg_temp.give_up(1) \g /dev/null
SELECT is((SELECT string_agg(concat_ws(' ', queue, dead_letters, cardinality(sample), closed_at), ', ') FROM eventsource.alerts), 'crm_email 101 10', '175: one more does, with a sample of ten, for its channel');
SELECT pg_temp.give_up(5) \g /dev/null
SELECT is((SELECT count(*) FROM eventsource.alerts), 1::bigint, 'X59: and the failures after it none: one alert is open');
SELECT is((SELECT status FROM eventsource.health() h WHERE h."check" = 'dead letters'), 'degraded', '179: health() says so');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('crm.message') $$, 'messages equal their replay');
\i test/own_database_end.sql
