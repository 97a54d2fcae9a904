\set own_database crm_messages
\i test/own_database.sql
-- Messages: who may be sent what, at the documents' boundaries; the queue, and what becomes of messages.
CREATE EXTENSION eventsource_crm;
SELECT crm.install() \g /dev/null
SELECT plan(113);
SET timezone = 'UTC';
SET datestyle = 'ISO';

-- A customer who consents to marketing on these channels; "phone" gives a number.
CREATE FUNCTION pg_temp.customer(id text, channels text[] DEFAULT '{email}', preferences jsonb DEFAULT NULL) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM crm.register_customer(id || '@example.com', '1', phone => CASE WHEN 'sms' = ANY (channels) THEN '1' END, customer_id => id, occurred_at => '2026-01-01');
	PERFORM crm.grant_consent(id, 'marketing', c, occurred_at => '2026-01-01') FROM unnest(channels) c;
	IF preferences IS NOT NULL THEN
		PERFORM crm.update_preferences(id, preferences, occurred_at => '2026-01-01');
	END IF;
END
$$;
-- "yes", or why not.
CREATE FUNCTION pg_temp.may(customer text, channel text, class text DEFAULT 'marketing', topic text DEFAULT NULL, at timestamptz DEFAULT '2026-02-01') RETURNS text LANGUAGE sql AS $$
	SELECT CASE WHEN allowed THEN 'yes' ELSE reasons END FROM crm.can_contact(customer, channel, class, topic, at)
$$;
CREATE FUNCTION pg_temp.sent(customer text, channel text, at timestamptz, class text DEFAULT 'marketing') RETURNS void LANGUAGE sql AS $$
	SELECT eventsource.append('message-' || gen_random_uuid(), 'MessageSent', jsonb_build_object('customerId', customer, 'channel', channel, 'messageClass', class), occurred_at => at)
$$;

-- ---- e-mail ----

SELECT pg_temp.customer('ada') \g /dev/null
SELECT is(pg_temp.may('nobody', 'email'), 'unknown-customer > no-consent', 'nobody gets anything');
SELECT is(pg_temp.may('nobody', 'email', 'transactional'), 'unknown-customer', 'of whatever class');
SELECT is(pg_temp.may('ada', 'fax'), 'unknown-channel', 'nor by fax');
SELECT is(pg_temp.may('ada', 'email'), 'yes', 'who consents gets marketing');
SELECT is(pg_temp.may('ada', 'email', at => '2025-12-31'), 'no-consent', 'not before');
SELECT is(pg_temp.may('ada', 'email', at => '2028-01-01'), 'no-consent', 'not after it has run out');
-- For those below, longer than these tests will be run.
SELECT crm.set_setting('consent_term_marketing', '90 years') \g /dev/null
SELECT is(pg_temp.may('ada', 'email', 'newsletter'), 'unknown-channel', 'a class that nobody knows is refused, and not let through');
SELECT pg_temp.sent('ada', 'email', '2026-02-01 00:00') \g /dev/null
SELECT is(pg_temp.may('ada', 'email', at => '2026-02-07 23:59:59.999999'), 'frequency-cap', 'who has said nothing gets one a week');
SELECT is(pg_temp.may('ada', 'email', at => '2026-02-08 00:00'), 'yes', 'the next one after exactly 168 hours');
SELECT is(pg_temp.may('ada', 'email', 'urgent-marketing', at => '2026-02-02'), 'frequency-cap', 'urgency is no way around the cap');
SELECT is(pg_temp.may('ada', 'email', 'transactional', at => '2026-02-02'), 'yes', 'what is transactional has none');
SELECT pg_temp.sent('ada', 'email', '2026-02-05 00:00', 'transactional') \g /dev/null
SELECT is(pg_temp.may('ada', 'email', at => '2026-02-08 00:00'), 'yes', 'and does not count');
SELECT crm.update_preferences('ada', '{"emailFrequency": "daily"}', occurred_at => '2026-02-01') \g /dev/null
SELECT is(pg_temp.may('ada', 'email', at => '2026-02-01 23:59:59.999999'), 'frequency-cap', 'daily is 24 hours');
SELECT is(pg_temp.may('ada', 'email', at => '2026-02-02 00:00'), 'yes', 'exactly');
SELECT crm.update_preferences('ada', '{"emailFrequency": "never"}', occurred_at => '2026-02-02') \g /dev/null
SELECT is(pg_temp.may('ada', 'email', at => '2027-01-01'), 'frequency-never', 'never is never');
SELECT is(pg_temp.may('ada', 'email', 'urgent-marketing', at => '2027-01-01'), 'frequency-never', 'for what is urgent, too');
SELECT is(pg_temp.may('ada', 'email', 'transactional', at => '2027-01-01'), 'yes', 'but for what is transactional');
SELECT pg_temp.customer('off', preferences => '{"emailEnabled": false}') \g /dev/null
SELECT is(pg_temp.may('off', 'email'), 'channel-disabled', 'a channel that is off is off');
SELECT is(pg_temp.may('off', 'email', 'transactional'), 'yes', 'but transactional e-mail always goes through');
SELECT crm.register_customer('eve@example.com', '1', customer_id => 'eve', occurred_at => '2026-01-01') \g /dev/null
SELECT is(pg_temp.may('eve', 'email'), 'no-consent', 'without consent there is no marketing');
SELECT is(pg_temp.may('eve', 'email', 'transactional'), 'yes', 'and an order is confirmed all the same');

-- ---- text messages ----

SELECT pg_temp.customer('tex', '{email,sms}') \g /dev/null
SELECT is(pg_temp.may('tex', 'sms'), 'channel-rule', 'SMS is dear: no marketing');
SELECT is(pg_temp.may('tex', 'sms', 'urgent-marketing'), 'preference', 'what is urgent, for who wants it');
SELECT crm.update_preferences('tex', '{"smsForPromotions": true}', occurred_at => '2026-01-02') \g /dev/null
SELECT is(pg_temp.may('tex', 'sms', 'urgent-marketing'), 'yes', 'as tex does');
SELECT is(pg_temp.may('tex', 'sms', 'transactional'), 'yes', 'what is transactional, too');
SELECT is(pg_temp.may('ada', 'sms', 'transactional'), 'no-phone', 'not without a number');
SELECT crm.revoke_consent('tex', 'marketing', 'email', occurred_at => '2026-01-03') \g /dev/null
SELECT is(pg_temp.may('tex', 'sms', 'urgent-marketing'), 'yes', 'consent is by channel: that to e-mail is none to SMS, nor the other way round');
SELECT is(pg_temp.may('tex', 'email'), 'no-consent > campaigns-paused', 'campaigns by e-mail are paused by that');
SELECT crm.grant_consent('tex', 'marketing', 'email', occurred_at => '2026-01-04') \g /dev/null
SELECT is(pg_temp.may('tex', 'email'), 'yes', 'until consent is given again');

-- ---- push ----

SELECT pg_temp.customer('pia', '{push}') \g /dev/null
SELECT is(pg_temp.may('pia', 'push', topic => 'pens'), 'topic-not-wanted', 'who chose no categories gets no push');
SELECT crm.update_preferences('pia', '{"pushCategories": ["pens", "ink"]}', occurred_at => '2026-01-02') \g /dev/null
SELECT is(pg_temp.may('pia', 'push', topic => 'pens'), 'yes', 'what was chosen');
SELECT is(pg_temp.may('pia', 'push', topic => 'pen'), 'topic-not-wanted', 'and nothing else');
SELECT is(pg_temp.may('pia', 'push'), 'topic-not-wanted', 'nor what says not what it is');
SELECT crm.update_preferences('pia', '{"pushCategories": ["pens", "Home > Kitchen"]}', occurred_at => '2026-01-03') \g /dev/null
SELECT is(pg_temp.may('pia', 'push', topic => 'Home > Kitchen'), 'yes', 'whatever is in its name');
SELECT pg_temp.sent('pia', 'push', '2026-02-01 00:00') \g /dev/null
SELECT is(pg_temp.may('pia', 'push', topic => 'pens', at => '2026-02-01 00:59:59.999999'), 'frequency-cap', 'one an hour');
SELECT is(pg_temp.may('pia', 'push', topic => 'pens', at => '2026-02-01 01:00'), 'yes', 'the next after exactly one');
SELECT is(pg_temp.may('pia', 'push', 'transactional', at => '2026-02-01 00:10'), 'yes', 'what is transactional has neither cap nor category');

-- ---- which channel ----

SELECT is((SELECT string_agg(channel || ' ' || coalesce(reasons, 'yes'), ', ' ORDER BY display_order) FROM crm.choose_channels('eve', 'transactional')),
	'email yes, sms no-phone > not-a-default, push not-a-default', 'who has said nothing gets the default channels');
SELECT pg_temp.customer('nay', '{email,sms,push}', '{"emailFrequency": "never", "smsEnabled": false, "pushEnabled": false}') \g /dev/null
SELECT is((SELECT count(*) FROM crm.choose_channels('nay') WHERE allowed), 0::bigint, 'who refuses all of them gets none, and not the default');
SELECT is((SELECT string_agg(channel || ' ' || reasons, ', ' ORDER BY display_order) FROM crm.choose_channels('nay')),
	'email frequency-never, sms channel-rule > channel-disabled, push channel-disabled > topic-not-wanted', 'and each is told why');
SELECT is((SELECT string_agg(channel, ' ' ORDER BY display_order) FROM crm.choose_channels('tex', 'urgent-marketing', at => '2026-02-01') WHERE allowed), 'email sms', 'in order of preference');
SELECT is((SELECT count(*) FROM crm.suppressions WHERE customer_id = 'nay'), 3::bigint, 'suppressions are listed');

-- ---- rules and caps are data ----

SELECT crm.set_frequency_cap('sms-daily', 'sms', 2, '1 day', message_class => 'urgent-marketing') \g /dev/null
SELECT pg_temp.sent('tex', 'sms', '2026-02-01 00:00', 'urgent-marketing'), pg_temp.sent('tex', 'sms', '2026-02-01 06:00', 'urgent-marketing') \g /dev/null
SELECT is(pg_temp.may('tex', 'sms', 'urgent-marketing', at => '2026-02-01 23:00'), 'frequency-cap', 'another cap: two a day');
SELECT is(pg_temp.may('tex', 'sms', 'urgent-marketing', at => '2026-02-02 00:00'), 'yes', 'in any 24 hours');
SELECT crm.set_frequency_cap('push-hourly', 'push', NULL) \g /dev/null
SELECT is(pg_temp.may('pia', 'push', topic => 'pens', at => '2026-02-01 00:10'), 'yes', 'a cap that is off');
SELECT crm.set_channel_rule('sms', 'marketing', '{"isAllowed": true}') \g /dev/null
SELECT is(pg_temp.may('tex', 'sms'), 'yes', 'a rule that is changed');
SELECT pg_temp.refused($$ SELECT crm.set_channel_rule('sms', 'marketing', '{"needsPreference": "mood"}') $$, '22023 preference "mood" cannot be asked for', 'one that nothing could fulfil is refused');
SELECT pg_temp.refused($$ SELECT crm.set_channel_rule('sms', 'marketing', '{"isAlowed": true}') $$, 'ZE007 data does not match version 1 of event type "ChannelRuleChanged"', 'as is a mistyped one');
SELECT pg_temp.refused($$ SELECT crm.set_frequency_cap('x', 'sms', 1, '-1 day') $$, '22023 the period of a cap must be longer than nothing', 'and a cap of no time');
SELECT crm.set_setting('email_frequency', 'daily') \g /dev/null
SELECT pg_temp.customer('dee') \g /dev/null
SELECT pg_temp.sent('dee', 'email', '2026-02-01 00:00') \g /dev/null
SELECT is(pg_temp.may('dee', 'email', at => '2026-02-02 00:00'), 'yes', 'the default frequency is a setting');
SELECT pg_temp.refused($$ SELECT crm.set_setting('email_frequency', 'hourly') $$, '22023 invalid value for setting "email_frequency"', 'of three values');
SELECT pg_temp.refused($$ SELECT crm.set_setting('default_channels', 'email,fax') $$, '22023 invalid value for setting "default_channels"', 'channels are those there are');

-- ---- quiet hours ----

SELECT crm.set_setting('quiet_hours', '21:00-08:00') \g /dev/null
SELECT pg_temp.customer('qui', '{email,sms}', '{"smsForPromotions": true, "emailFrequency": "daily", "timezone": "America/New_York"}') \g /dev/null
SELECT is(pg_temp.may('qui', 'sms', 'urgent-marketing', at => '2026-03-01 01:59:59Z'), 'yes', 'a minute to nine in the evening, where she is');
SELECT is(pg_temp.may('qui', 'sms', 'urgent-marketing', at => '2026-03-01 02:00Z'), 'quiet-hours', 'at nine it is quiet');
SELECT is(pg_temp.may('qui', 'sms', 'urgent-marketing', at => '2026-03-01 12:59:59Z'), 'quiet-hours', 'until eight');
SELECT is(pg_temp.may('qui', 'sms', 'urgent-marketing', at => '2026-03-01 13:00Z'), 'yes', 'exclusively');
SELECT is(pg_temp.may('qui', 'sms', 'transactional', at => '2026-03-01 02:00Z'), 'yes', 'but for what is transactional');
SELECT is(pg_temp.may('qui', 'email', at => '2026-03-01 02:00Z'), 'yes', 'and e-mail, which wakes nobody');
SELECT is(crm.quiet_until('2026-03-08 03:00Z', 'America/New_York'), '2026-03-08 12:00Z'::timestamptz, 'in the night of summer time an hour less');
SELECT is(crm.quiet_until('2026-03-01 22:00Z', 'Nowhere/City'), '2026-03-02 08:00Z'::timestamptz, 'a time zone that there is not is the default');
SELECT crm.set_setting('quiet_hours', to_char(now() AT TIME ZONE 'America/New_York' - interval '6 hours', 'HH24:MI-') || to_char(now() AT TIME ZONE 'America/New_York' + interval '6 hours', 'HH24:MI')) \g /dev/null
SELECT is((SELECT is_queued FROM crm.send_message('qui', 'sms', message_class => 'urgent-marketing', message_id => 'q1')), true, 'a message at a quiet hour is queued');
SELECT is((SELECT count(*) FROM crm.claim_messages('sms', 10)), 0::bigint, 'but nobody gets it');
SELECT is((SELECT state || ' ' || error_code || ' ' || (run_at > now()) FROM eventsource.jobs WHERE stream = 'message-q1'), 'scheduled QUIET_HOURS true', 'it waits for their end');
SELECT is(crm.recheck_messages('qui'), 0, 'and is not skipped');
SELECT pg_temp.refused($$ SELECT crm.set_setting('quiet_hours', 'night') $$, '22023 invalid value for setting "quiet_hours"', 'hours are hours');
SELECT pg_temp.refused($$ SELECT crm.set_setting('default_timezone', 'Nowhere/City') $$, '22023 invalid value for setting "default_timezone"', 'and zones zones');
SELECT crm.set_setting('quiet_hours', NULL) \g /dev/null

-- ---- sending ----

SELECT pg_temp.customer('sam') \g /dev/null
SELECT id, is_queued, skip_reason FROM crm.send_message('sam', 'email', 'hello', message_id => 'm1') \gset
SELECT is(:'is_queued'::boolean, true, 'a message is queued');
SELECT is((SELECT state || ' ' || payload FROM eventsource.jobs WHERE queue = 'crm_email' AND stream = 'message-m1'), 'available {"message_id": "m1"}', 'it is a job');
SELECT is((SELECT is_queued FROM crm.send_message('sam', 'email', 'hello', message_id => 'm1')), true, 'asked for again, it is the same');
SELECT is((SELECT count(*) FROM eventsource.jobs WHERE queue = 'crm_email'), 1::bigint, 'and sent once');
SELECT is((SELECT skip_reason FROM crm.send_message('sam', 'email', 'more', message_id => 'm2')), 'frequency-cap', 'what waits counts for the cap');
SELECT is((SELECT status || ' ' || skip_reason || ' ' || (decision->>'caps') FROM crm.messages WHERE message_id = 'm2'), 'skipped frequency-cap email-daily', 'and what was not sent says why');
SELECT is((SELECT decision - 'at' FROM crm.messages WHERE message_id = 'm1'),
	'{"class": "marketing", "status": "pending-verification", "channel": "email", "consent": true, "frequency": "daily"}'::jsonb, 'what was sent does, too');
SELECT job_id, attempt, recipient FROM crm.claim_messages('email', 10) \gset
SELECT is(:'recipient'::text, 'sam@example.com', 'who sends it is told whereto');
SELECT is(crm.fail_message('m1', :job_id, 'TIMEOUT', 'mx.example.com timed out', attempt => :attempt), 'queued', 'what may help is tried again');
SELECT is((SELECT status || ' ' || failure_count || ' ' || error_type FROM crm.messages WHERE message_id = 'm1'), 'queued 1 TIMEOUT', 'and counted');
SELECT is((SELECT error FROM eventsource.jobs WHERE job_id = :job_id), NULL, 'words of the provider are not kept in the job');
SELECT crm.revoke_consent('sam', 'marketing', 'email') \g /dev/null
SELECT is((SELECT status || ' ' || skip_reason FROM crm.messages WHERE message_id = 'm1'), 'skipped no-consent', 'who takes consent back is not sent what waits, from that moment');
SELECT is((SELECT state FROM eventsource.jobs WHERE job_id = :job_id), 'cancelled', 'the job is gone');
SELECT is((SELECT count(*) FROM crm.claim_messages('email', 10)), 0::bigint, 'nobody gets it');

SELECT pg_temp.customer('kim') \g /dev/null
SELECT crm.send_message('kim', 'email', message_id => 'k1') \g /dev/null
-- By the back door, so that no command looks again.
SELECT eventsource.append('customer-kim', 'PreferencesUpdated', '{"preferences": {"emailFrequency": "never"}}') \g /dev/null
SELECT is((SELECT status FROM crm.messages WHERE message_id = 'k1'), 'queued', 'a raw append does not look at what waits');
SELECT is((SELECT count(*) FROM crm.claim_messages('email', 10)), 0::bigint, 'but who sends asks again');
SELECT is((SELECT status || ' ' || skip_reason FROM crm.messages WHERE message_id = 'k1'), 'skipped frequency-never', 'and skips it');

SELECT pg_temp.customer('pat', preferences => '{"emailFrequency": "daily"}') \g /dev/null
SELECT crm.send_message('pat', 'email', message_id => 'p1') \g /dev/null
SELECT crm.update_preferences('pat', '{"emailEnabled": false}') \g /dev/null
SELECT is((SELECT status || ' ' || skip_reason FROM crm.messages WHERE message_id = 'p1'), 'skipped channel-disabled', 'a change of preferences decides anew on what waits');
SELECT crm.send_message('pat', 'email', message_class => 'transactional', message_id => 'p2') \g /dev/null
SELECT crm.deactivate_customer('pat', 'other') \g /dev/null
SELECT is((SELECT status FROM crm.messages WHERE message_id = 'p2'), 'queued', 'what is transactional still goes out');
SELECT job_id, attempt FROM crm.claim_messages('email', 10) \gset
SELECT is((crm.complete_message('p2', :job_id, 'sg-1', attempt => :attempt)).state, 'sent', 'it was sent');
SELECT is((SELECT state || ' ' || result FROM eventsource.jobs WHERE job_id = :job_id), 'done {"provider_message_id": "sg-1"}', 'the job is done');
SELECT pg_temp.refused($$ SELECT crm.complete_message('p2') $$, 'ZE002 event type "MessageSent" is not allowed in state "sent"', 'once');
SELECT throws_ok($$ SELECT crm.complete_message('nope') $$, '42704', 'there is no message "nope"', 'and no other');
SELECT throws_ok($$ SELECT crm.record_message_event('nope', 'MessageDelivered') $$, '42704', 'there is no message "nope"', 'what was not sent does not arrive');
SELECT throws_ok($$ SELECT crm.set_setting('quiet_hours', '22-8') $$, '22023', 'invalid value for setting "quiet_hours"', 'quiet hours have minutes');
SELECT is((crm.record_message_event('p2', 'MessageDelivered')).state, 'delivered', 'it arrived');
SELECT is((crm.record_message_event('p2', 'MessageOpened')).state, 'delivered', 'it was opened');
SELECT is((crm.record_message_event('p2', 'MessageBounced', '{"bounceType": "permanent"}')).state, 'bounced', 'and came back all the same');
SELECT is((SELECT is_email_deliverable FROM crm.customers WHERE customer_id = 'pat'), false, 'then the address takes no mail');
SELECT is(pg_temp.may('pat', 'email', 'transactional'), 'address-invalid', 'not even what is transactional');

SELECT pg_temp.customer('zoe', preferences => '{"emailFrequency": "daily"}') \g /dev/null
SELECT crm.send_message('zoe', 'email', message_id => 'z1') \g /dev/null
SELECT job_id, attempt FROM crm.claim_messages('email', 10) \gset
SELECT is(crm.fail_message('z1', :job_id, 'INVALID_RECIPIENT', attempt => :attempt), 'failed', 'what cannot help is given up');
SELECT is(pg_temp.may('zoe', 'email', 'transactional'), 'address-invalid', 'by its code, and not its words, the address is known to be bad');
SELECT is((SELECT count(*) FROM eventsource.dead_letters WHERE queue = 'crm_email'), 1::bigint, 'and there is a dead letter');
SELECT crm.change_email('zoe', 'zoe@example.org') \g /dev/null
SELECT is(pg_temp.may('zoe', 'email', 'transactional'), 'yes', 'another address may be good');
SELECT pg_temp.refused($$ SELECT crm.record_message_event('m2', 'MessageOpened') $$, 'ZE005 message_was_sent', 'what was not sent is not opened');

-- ---- what the relay says, and when it cannot any more ----

SELECT crm.register_customer('una@example.com', '1', customer_id => 'una'), eventsource.create_queue('crm_email', max_attempts => 1) \g /dev/null
CREATE FUNCTION pg_temp.lent(message text, lease interval DEFAULT '1 minute') RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	PERFORM crm.send_message('una', 'email', message_class => 'transactional', message_id => message);
	RETURN (SELECT c.job_id FROM eventsource.claim('crm_email', 1, lease, 'w') c);
END
$$;
CREATE FUNCTION pg_temp.plan_of(statement text) RETURNS SETOF text LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
	RETURN QUERY EXECUTE 'EXPLAIN ' || statement;
END
$$;
SELECT matches(string_agg(p, E'\n'), 'Index Cond: \(message_id = ', 'the message of a job is found by its key, and not by reading all of them')
  FROM pg_proc f CROSS JOIN LATERAL pg_temp.plan_of(replace(replace(substring(f.prosrc FROM 'SELECT v.message_id, v.customer_id[^;]*'), ' INTO m', ''), 'record_delivery.job_id', '1')) p
 WHERE f.oid = 'crm.record_delivery'::regproc;
SELECT is(crm.record_delivery(pg_temp.lent('u1'), 'failed', 'INVALID_RECIPIENT', '{"status": 554}', 'w', 1), 'discarded', 'a server that refuses us');
SELECT is((SELECT error_type FROM crm.messages WHERE message_id = 'u1') || ' ' || is_email_deliverable, 'REJECTED true', 'says nothing of the address')
  FROM crm.customers WHERE customer_id = 'una';
SELECT pg_temp.lent('u2') AS job_id \gset
SELECT crm.complete_message('u2') \g /dev/null
SELECT pg_temp.refused(format($$ SELECT crm.record_delivery(%s, 'failed', 'TIMEOUT', worker => 'w', attempt => 1) $$, :job_id), '55000 message "u2" is sent',
	'what was said without the job is not unsaid');
SELECT is(crm.record_delivery(:job_id, 'sent', worker => 'w', attempt => 1), 'done', 'who says the same has the job done');
SELECT pg_temp.lent('u3', '0.01 seconds') AS job_id \gset
SELECT pg_sleep_until((SELECT lease_until FROM eventsource.jobs WHERE job_id = :job_id)) \g /dev/null
SELECT is((SELECT count(*) FROM eventsource.claim('crm_email', 1, worker => 'w')), 0::bigint, 'a last lease has ended');
SELECT pg_temp.refused(format($$ SELECT crm.record_delivery(%s, 'skipped', worker => 'w', attempt => 1) $$, :job_id),
	format('55000 job %s is not lent to this worker any more', :job_id), 'who comes then is too late');
SELECT is((SELECT concat_ws(' ', message_id, error_type, is_retryable, failed_at IS NOT NULL) FROM crm.dead_letters WHERE customer_id = 'una' AND message_id <> 'u1'),
	'u3 LEASE_EXPIRED t t', 'but the message is a dead letter');
SELECT is(crm.redrive_message('u3'), 'queued', 'which can be sent again');
SELECT is((SELECT string_agg(type, ' ' ORDER BY version) FROM eventsource.events WHERE stream = 'message-u3') || ' ' || (SELECT count(*) FROM crm.dead_letters WHERE message_id = 'u3'),
	'MessageQueued MessageFailed MessageQueued 0', 'and its history tells');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('crm.message') $$, 'messages equal their replay');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('crm.contact_rule') $$, 'rules do');
\i test/own_database_end.sql
