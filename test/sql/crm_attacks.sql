\set own_database crm_attacks
\i test/own_database.sql
-- What a role that writes to the CRM, or a stranger, tries.
SET timezone = 'UTC';
CREATE ROLE crm_attacks_app;
CREATE ROLE crm_attacks_stranger;

-- ---- who was there before the extension ----

CREATE SCHEMA crm AUTHORIZATION crm_attacks_stranger;
SET client_min_messages = warning;
CREATE EXTENSION eventsource_crm CASCADE;
SELECT plan(71);
SELECT throws_ok('SELECT crm.install()', '42501', 'schema crm is not the extension''s alone', 'a schema of somebody else is not taken');
ALTER SCHEMA crm OWNER TO postgres;
CREATE TABLE crm.customer (customer_id text PRIMARY KEY);
ALTER TABLE crm.customer OWNER TO crm_attacks_stranger;
SELECT throws_ok('SELECT crm.install()', '42501', 'schema crm is not the extension''s alone', 'nor a table');
DROP TABLE crm.customer;
SELECT lives_ok('SELECT crm.install()', 'without them it installs');
SELECT crm.grant_admin('crm_attacks_app'), eventsource.grant_writer('crm_attacks_app', '{campaign}') \g /dev/null

-- ---- expressions that a writer gets in ----

CREATE SCHEMA of_app AUTHORIZATION crm_attacks_app;
SET ROLE crm_attacks_app;
CREATE FUNCTION of_app.seize() RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$ BEGIN ALTER ROLE crm_attacks_app CREATEROLE; RETURN true; END $$;
CREATE FUNCTION of_app.is_so(x text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN of_app.seize(); END $$;
CREATE FUNCTION of_app.one() RETURNS numeric LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN of_app.seize()::integer; END $$;
SELECT lives_ok($$ SELECT eventsource.append('campaign-evil', 'CampaignDefined', '{"trigger": {"event": "PageViewed", "where": "of_app.is_so(event.type)"},
	"steps": [{"type": "send-email", "config": {"templateId": "t"}}], "messageClass": "marketing"}') $$, 'a writer records a definition');
SELECT pg_temp.refused($$ SELECT eventsource.append('crm_setting-payment_backoff_factor', 'setting_changed', '{"value": "of_app.one()"}') $$, '22P02 invalid input syntax for type numeric: "of_app.one()"', 'but no setting that is none');
RESET ROLE;
SELECT is(crm.install(), 0, 'install() defines nothing of that');
SELECT is_empty($$ SELECT name FROM eventsource.reactions WHERE name LIKE 'campaign%' $$, 'there is no reaction');
SET ROLE crm_attacks_app;
SELECT lives_ok($$ SELECT eventsource.append('visit-s', 'PageViewed', '{"pageUrl": "/x"}') $$, 'nothing is evaluated');
RESET ROLE;
SELECT ok(NOT rolcreaterole, 'and nobody has become more') FROM pg_roles WHERE rolname = 'crm_attacks_app';
SELECT crm.create_campaign('mine', '{"event": "CartAbandoned", "where": "row.item_count > 1"}', '[{"type": "send-email", "config": {"templateId": "t"}}]') AS version \gset
SELECT is(crm.install(), 0, 'what create_campaign() defined stays');

-- ---- what nothing could read ----

SET ROLE crm_attacks_app;
SELECT pg_temp.refused($$ SELECT eventsource.append('crm_setting-temperature_hot', 'setting_changed', '{"value": "hot"}') $$, '22P02 invalid input syntax for type numeric: "hot"', 'a number is one');
SELECT pg_temp.refused($$ SELECT eventsource.append('crm_setting-temperature_hot', 'setting_changed', '{"value": "-1"}') $$, '23514 setting_is_readable', 'from 0 up');
SELECT pg_temp.refused($$ SELECT eventsource.append('crm_setting-quiet_hours', 'setting_changed', '{"value": "at night"}') $$, '23514 setting_is_readable', 'quiet hours are hours');
SELECT pg_temp.refused($$ SELECT crm.set_setting('payment_retries', 'NaN') $$, '22023 invalid value for setting "payment_retries"', 'NaN is no number to count with');
SELECT pg_temp.refused($$ SELECT crm.set_setting('temperature_window', '1000000 years') $$, '22023 invalid value for setting "temperature_window"', 'nor an age a term');
SELECT pg_temp.refused($$ SELECT eventsource.append('crm_rule-cap:x', 'FrequencyCapChanged', '{"channel": "email", "window": "soon", "max": 1}') $$, '22007 invalid input syntax for type interval: "soon"', 'the window of a cap is an interval');
SELECT pg_temp.refused($$ SELECT eventsource.append('crm_rule-cap:x', 'FrequencyCapChanged', '{"channel": "email", "max": 99999999999}') $$, '22003 value "99999999999" is out of range for type integer', 'its number one that can be counted to');
SELECT pg_temp.refused($$ SELECT eventsource.append('segment-x', 'SegmentDefined', '{"rule": "((("}') $$, '42601 syntax error at end of jsonpath input', 'a rule of a segment can be read');
SELECT pg_temp.refused($$ SELECT eventsource.append('funnel-x', 'FunnelDefined', '{"steps": [{"name": "a", "events": 5}, {"name": "b", "events": ["PageViewed"]}]}') $$, 'ZE007 data does not match version 1 of event type "FunnelDefined"', 'a stage has events');
SELECT pg_temp.refused($$ SELECT eventsource.append('funnel-x', 'FunnelDefined', jsonb_build_object('steps',
	(SELECT jsonb_agg(jsonb_build_object('name', 's' || n, 'events', jsonb_build_array('E' || n))) FROM generate_series(1, 65) n))) $$,
	'ZE007 data does not match version 1 of event type "FunnelDefined"', 'nor is a funnel deeper than can be counted');
SELECT lives_ok($$ SELECT count(temperature) FROM crm.leads $$, 'everything is read as before');
SELECT lives_ok($$ SELECT allowed FROM crm.can_contact('ada', 'email') $$, 'and decided');
RESET ROLE;

-- ---- messages of others ----

SELECT count(r.id) FROM unnest('{ada,bob,cy,dee,eve}'::text[]) c, LATERAL crm.register_customer(c || '@example.com', '1', marketing_consent => true, phone => '+1 212 555 0100', customer_id => c, occurred_at => now() - interval '30 days') r \g /dev/null
SET ROLE crm_attacks_app;
SELECT crm.send_message('ada', 'email', 't', 'transactional', message_id => 'a1') \g /dev/null
SELECT crm.complete_message('a1') \g /dev/null
SELECT is((crm.record_message_event('a1', 'MessageBounced', '{"bounceType": "permanent", "customerId": "bob", "channel": "sms"}')).state, 'bounced', 'a provider says that a message bounced, and whose it was');
SELECT is((SELECT string_agg(customer_id, ' ' ORDER BY customer_id) FROM crm.customers WHERE NOT is_email_deliverable), 'ada', 'it was whose it was');
SELECT crm.send_message('bob', 'email', 't', 'transactional', message_id => 'b1') \g /dev/null
SELECT pg_temp.refused($$ SELECT eventsource.append('message-b1', 'MessageSent', '{"customerId": "cy", "channel": "email"}') $$, 'ZE005 same_customer', 'nor is it moved to another customer');
SELECT pg_temp.refused($$ SELECT eventsource.append('message-b1', 'MessageSent', '{"customerId": "bob", "channel": "sms"}') $$, 'ZE005 same_channel', 'or channel');
SELECT pg_temp.refused($$ SELECT crm.send_message('cy', 'email', 't', 'transactional', message_id => 'b1') $$, '23505 message "b1" is another one', 'what is sent to somebody else is not said to be queued');
SELECT pg_temp.refused($$ SELECT crm.send_message('bob', 'sms', 't', 'transactional', message_id => 'b1') $$, '23505 message "b1" is another one', 'nor on another channel');
RESET ROLE;
SELECT crm.send_message('cy', 'email', 't', 'transactional', message_id => 'c1') \g /dev/null
SELECT job_id AS job_b FROM crm.claim_messages('email', 10, worker => 'w') WHERE message_id = 'b1' \gset
SELECT pg_temp.refused(format($$ SELECT crm.complete_message('c1', %s, worker => 'w') $$, :job_b), format('55000 job %s is not that of message "c1"', :job_b), 'the job of another message is not done with');
SELECT pg_temp.refused(format($$ SELECT crm.fail_message('c1', %s, 'TIMEOUT', worker => 'w') $$, :job_b), format('55000 job %s is not that of message "c1"', :job_b), 'nor failed');
SELECT is((crm.complete_message('b1', :job_b, worker => 'w')).state, 'sent', 'its own is');

-- ---- past the caps ----

SELECT eventsource.append('message-old', 'MessageQueued', '{"customerId": "dee", "channel": "email", "messageClass": "marketing"}', occurred_at => now() - interval '169 hours') \g /dev/null
SELECT is((SELECT count(*) FROM crm.claim_messages('email', 10) WHERE message_id = 'old'), 1::bigint, 'a message that has waited for more than a week is being sent');
SELECT is((crm.send_message('dee', 'email')).skip_reason, 'frequency-cap', 'and no other one goes meanwhile');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pg_temp.refused($$ SELECT crm.send_message('eve', 'email') $$, '0A000 whether a message may be sent cannot be decided in a REPEATABLE READ transaction', 'an old snapshot decides on no message');
SELECT pg_temp.refused($$ SELECT crm.claim_messages('email') $$, '0A000 whether a message may be sent cannot be decided in a REPEATABLE READ transaction', 'and lends none');
ROLLBACK;
SELECT pg_temp.refused($$ SELECT crm.create_campaign('loop', '{"event": "MessageQueued"}', '[{"type": "send-email", "config": {"templateId": "t"}}]') $$, '22023 campaign "loop" is not valid', 'what is sent does not make more be sent');
SELECT lives_ok($$ SELECT crm.create_campaign('once', '{"event": "MessageDelivered", "once": "customer"}', '[{"type": "send-email", "config": {"templateId": "t"}}]') $$, 'but once');
SELECT lives_ok($$ SELECT crm.create_campaign('clicked', '{"event": "MessageClicked"}', '[{"type": "send-email", "config": {"templateId": "t"}}]') $$, 'what a customer does may');
SELECT pg_temp.refused($$ SELECT crm.end_campaign('.*') $$, '42704 there is no campaign ".*"', 'the name of a campaign is no pattern');
SELECT ok(count(*) > 0, 'others go on') FROM eventsource.reactions WHERE name LIKE 'campaign\_clicked%';

-- ---- clocks that are wrong, terms that never end ----

SELECT crm.update_preferences('eve', '{"emailEnabled": true}', occurred_at => '2099-01-01') \g /dev/null
SELECT crm.update_preferences('eve', '{"emailEnabled": false}') \g /dev/null
SELECT is((SELECT is_email_enabled FROM crm.preferences WHERE customer_id = 'eve'), false, 'who opts out is heard, whatever was said of the future');
SELECT crm.revoke_consent('eve', 'marketing', 'email', occurred_at => '2099-01-01') \g /dev/null
SELECT ok(NOT crm.has_consent('eve', 'marketing', 'email'), 'consent ends when its end is recorded');
SELECT lives_ok($$ SELECT crm.grant_consent('eve', 'marketing', 'email') $$, 'and can be given again');
SELECT pg_temp.refused($$ SELECT eventsource.append('customer-eve', 'ConsentGranted', '{"purpose": "marketing", "channel": "sms", "expiresAt": "infinity  "}') $$, 'ZE007 data does not match version 1 of event type "ConsentGranted"', 'no consent is for ever');

-- ---- money ----

SELECT crm.place_order('ada', '[{"productId": "pen", "quantity": 1, "price": 20}]', 'EUR', order_id => 'o1') \g /dev/null
SELECT crm.initiate_payment('o1', 'p1', 'paypal', 10), crm.record_payment('o1', 'p1', 10, 't1'), crm.initiate_payment('o1', 'p2', 'paypal', 10), crm.fail_payment('o1', 'p2', 'TIMEOUT') \g /dev/null
SELECT pg_temp.refused($$ SELECT crm.retry_payment('o1', 'p1') $$, 'ZE005 payment_failed', 'a payment that succeeded is not tried again, and counted twice');
SELECT pg_temp.refused($$ SELECT crm.retry_payment('o1', 'p9') $$, 'ZE005 payment_failed', 'nor one that is not there');
SELECT lives_ok($$ SELECT crm.retry_payment('o1', 'p2') $$, 'one that failed is');

-- ---- programs of others, and who is erased ----

SELECT crm.create_integration('mailer') \g /dev/null
SELECT count(*) FROM crm.erase_customer('cy') \g /dev/null
SELECT max(event_position) AS last FROM crm.poll_integration('mailer', 1000) WHERE action = 'delete' \gset
SELECT lives_ok(format($$ SELECT crm.nack_integration('mailer', %s, 'delete', 'cy', 'TIMEOUT') $$, :last), 'that an erasure could not be told is recorded');
SELECT is((SELECT customer_id FROM crm.integration_deliveries WHERE NOT is_delivered), NULL, 'without whom');

-- ---- an address that is not his ----

SELECT verification_token AS token FROM crm.register_customer('fay@example.com', '1', customer_id => 'fay') \gset
SELECT data->>'tokenHash' AS stored FROM eventsource.events WHERE stream = 'customer-fay' AND type = 'EmailVerificationRequested' \gset
SET ROLE crm_attacks_app;
SELECT pg_temp.refused(format($$ SELECT eventsource.append('customer-fay', 'EmailVerified', '{"tokenHash": "%s"}') $$, :'stored'), 'ZE005 token_is_right', 'what is read in the log proves nothing');
SELECT pg_temp.refused(format($$ SELECT crm.verify_email('fay', '%s') $$, :'stored'), 'ZE005 token_is_right', 'by no door');
SELECT is((crm.verify_email('fay', :'token')).state, 'active', 'the token does');
RESET ROLE;

-- ---- what an erasure leaves ----

SELECT crm.import_event('Products Searched', NULL, '{"query": "a gift from Dee"}', anonymous_id => 'anon7') \g /dev/null
SELECT crm.import_event('Page Viewed', 'dee', '{"url": "/"}', anonymous_id => 'anon7') \g /dev/null
SELECT crm.import_event('Products Searched', NULL, '{"query": "for nobody"}', anonymous_id => 'anon8') \g /dev/null
SELECT is((SELECT affected FROM crm.erase_customer('dee') WHERE target = 'personal fields'), 4::bigint, 'what was searched for before it was known who did goes with the customer');
SELECT is((SELECT string_agg(data->>'query', ', ' ORDER BY position) FROM eventsource.events WHERE type = 'SearchPerformed'), '[redacted], for nobody', 'and nothing of others');

-- ---- jobs that are no messages, and what is said of messages without their jobs ----

CREATE ROLE crm_attacks_sender;
SELECT eventsource.create_queue('crm_email', senders => 'crm_attacks_sender'), eventsource.grant_reader('crm_attacks_sender', '{visit}') \g /dev/null
SET ROLE crm_attacks_sender;
SELECT eventsource.enqueue('crm_email', '{}', priority => 100),
	eventsource.enqueue('crm_email', '{"message_id": "none"}', priority => 100) AS junk \gset
RESET ROLE;
SELECT crm.send_message('eve', 'email', 't', 'transactional', message_id => 'e1') \g /dev/null
BEGIN;
SELECT is((SELECT count(*) FROM crm.claim_messages('email', 10) WHERE message_id = 'e1'), 1::bigint,
	'who may only send jobs does not stop messages by one that is none');
ROLLBACK;
SELECT eventsource.enqueue('crm_email', '{"message_id": "e1"}', stream => 'message-e1', subject => 'customer-eve') AS copy \gset
BEGIN;
SELECT is((SELECT count(*) FROM crm.claim_messages('email', 10) WHERE message_id = 'e1'), 1::bigint, 'nor is a message lent twice by a copy of its job');
SELECT is((SELECT state || ' ' || error_code FROM eventsource.jobs WHERE job_id = :copy), 'discarded BAD_REQUEST', 'which ends');
ROLLBACK;
SELECT eventsource.cancel_job(:copy) \g /dev/null
SELECT count(*) FROM eventsource.claim('crm_email', 10, worker => 'relay') \g /dev/null
SELECT is(crm.record_delivery(:junk, 'failed', 'BAD_REQUEST', worker => 'relay', attempt => 1), 'discarded',
	'nor the relay: it ends as other jobs do');
SELECT job_id AS job_e FROM eventsource.jobs WHERE stream = 'message-e1' AND job_id <> :copy \gset
SET ROLE crm_attacks_app;
SELECT crm.complete_message('e1') \g /dev/null
RESET ROLE;
SELECT pg_temp.refused(format($$ SELECT crm.record_delivery(%s, 'failed', 'TIMEOUT', worker => 'relay', attempt => 1) $$, :job_e), '55000 message "e1" is sent',
	'who has its job is told when something else is said of a message without it');
SELECT is((SELECT status FROM crm.messages WHERE message_id = 'e1'), 'sent', 'and is not said again');
SELECT crm.send_message('eve', 'email', 't', 'transactional', message_id => 'e2'), crm.send_message('eve', 'email', 't', 'transactional', message_id => 'e3')
\g /dev/null
SELECT count(*) FROM eventsource.claim('crm_email', 10, worker => 'relay') \g /dev/null
SELECT is(crm.record_delivery(j.job_id, 'skipped', details => jsonb_build_object('reason', repeat('x', 200)), worker => 'relay', attempt => 1), 'cancelled',
	'a long reason of who declines is cut') FROM eventsource.jobs j WHERE j.stream = 'message-e2';
SELECT is(crm.record_delivery(j.job_id, 'skipped', details => '{"reason": ""}', worker => 'relay', attempt => 1), 'cancelled', 'an empty one is none')
  FROM eventsource.jobs j WHERE j.stream = 'message-e3';

-- ---- calls of others that break ----

SELECT is((SELECT string_agg(concat_ws(' ', i.outcome, i.error_code), ', ' ORDER BY i.item_number)
		FROM crm.intake(jsonb_build_array('{"event": "x", "distinct_id": "a", "properties": "y"}'::jsonb,
		'{"event": "$pageview", "distinct_id": "a", "properties": null}'::jsonb,
		'{"type": "page", "anonymousId": "a", "properties": {"session_id": ""}}'::jsonb,
		jsonb_build_object('type', 'page', 'anonymousId', 'a', 'properties', jsonb_build_object('session_id', repeat('s', 2000))),
		'{"type": "page", "anonymousId": "a"}'::jsonb)) i),
	'refused 22023, taken, refused 42602, refused 42622, taken', 'one of them takes no others along');
CREATE TEMPORARY TABLE long_log AS SELECT * FROM (VALUES
	(repeat('s', 2000), 'PageViewed', '2026-01-01'), ('s1', repeat('x', 300), '2026-01-01'), ('s1', 'PageViewed', '2026-01-01')) l (c, a, t);
SELECT is((SELECT string_agg(concat_ws(' ', i.row_count, i.error_code), ', ')
		FROM crm.import_log('long_log', 'visit', 'c', 'a', 't', NULL, '{}') i),
	'0, 0, 3, 1 42622, 1 42622, 1 ZE007', 'nor does a line of a log');
SELECT crm.set_setting('payment_retries', '2.5') \g /dev/null
SELECT lives_ok('SELECT crm.install()', 'a number of times that is none does not stop install()');

-- ---- locks and plans ----

SELECT is(crm.recalculate_segments(), 0, 'nobody enters or leaves a segment');
BEGIN;
SELECT crm.recalculate_segments() \g /dev/null
-- The log's, and that of segment-all.
SELECT is(count(*), 2::bigint, 'so no customer is locked') FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();
ROLLBACK;
CREATE FUNCTION pg_temp.plan_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	line text;
	plan text := '';
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (VERBOSE, COSTS OFF) ' || query LOOP
		plan := plan || line || E'\n';
	END LOOP;
	RETURN plan;
END
$$;
SELECT unalike(pg_temp.plan_of($$ SELECT 1 FROM crm.campaigns WHERE campaign_id = 'once' AND status = 'running' $$), '%crm.message%', 'to trigger a campaign its messages are not counted');
SELECT unalike(pg_temp.plan_of($$ SELECT * FROM crm.customer_audit_trail WHERE customer_id = 'ada' $$), '%t.customer_id = ''ada''%', 'the trail of one customer is not looked for in those of all');

-- Sums of what a browser says end where the reports of everybody would.
SELECT pg_temp.refused($$ SELECT crm.place_order('ada', '[{"productId": "p", "quantity": 1, "price": 9e131071}]', 'EUR', order_id => 'huge') $$, 'ZE007 data does not match version 1 of event type "OrderPlaced"', 'money ends at a million millions');
SELECT pg_temp.refused($$ SELECT crm.place_order('ada', '[{"productId": "p", "quantity": 2000000, "price": 1}]', 'EUR', order_id => 'huge') $$, 'ZE007 data does not match version 1 of event type "OrderPlaced"', 'and so does what can be bought at once');

\i test/own_database_end.sql
