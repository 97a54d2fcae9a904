\set own_database crm_not_repeated_messages
\i test/own_database.sql
-- Faults of the documents' code about messages, campaigns and integrations, by their numbers in docs/checklist.md: each is tried, and not repeated.
CREATE EXTENSION eventsource_crm;
SELECT crm.install() \g /dev/null
-- Longer than these tests will be run, whatever they say of 2026.
SELECT crm.set_setting('consent_term_marketing', '90 years') \g /dev/null
SELECT plan(47);
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';

CREATE FUNCTION pg_temp.problem(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	EXECUTE command;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN SQLSTATE || ' ' || detail;
END
$$;
-- Messages of a customer in order: channel, template, and why one was not sent.
CREATE FUNCTION pg_temp.messages(customer text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', channel, coalesce(template_id, content->>'message', content->>'title'), skip_reason), ', ' ORDER BY coalesce(queued_at, skipped_at), message_id) FROM crm.messages WHERE customer_id = customer
$$;
CREATE FUNCTION pg_temp.may(customer text, channel text, class text DEFAULT 'marketing', at timestamptz DEFAULT '2026-02-01', topic text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT CASE WHEN allowed THEN 'yes' ELSE reasons END FROM crm.can_contact(customer, channel, class, topic, at)
$$;
CREATE FUNCTION pg_temp.sent(customer text, channel text, at timestamptz, class text DEFAULT 'marketing') RETURNS void LANGUAGE sql AS $$
	SELECT eventsource.append('message-' || gen_random_uuid(), 'MessageSent', jsonb_build_object('customerId', customer, 'channel', channel, 'messageClass', class), occurred_at => at)
$$;
-- Who has said yes to marketing by e-mail alone; to all channels; to nothing; and who refuses all.
SELECT crm.register_customer(c || '@example.com', '1', phone => '1', customer_id => c, occurred_at => '2026-01-01') FROM unnest('{mail,all,none,nay,cart,late,shop}'::text[]) c \g /dev/null
SELECT crm.grant_consent(c, 'marketing', 'email', occurred_at => '2026-01-01') FROM unnest('{mail,all,nay,cart,late,shop}'::text[]) c \g /dev/null
SELECT crm.grant_consent(c, 'marketing', k, occurred_at => '2026-01-01') FROM unnest('{all,nay}'::text[]) c, unnest('{sms,push}'::text[]) k \g /dev/null
SELECT crm.update_preferences('all', '{"smsForPromotions": true, "pushCategories": ["pens"], "emailFrequency": "daily"}', occurred_at => '2026-01-01'),
	crm.update_preferences('nay', '{"emailFrequency": "never", "smsEnabled": false, "pushEnabled": false}', occurred_at => '2026-01-01') \g /dev/null

-- ---- consent, classes, channels ----

SELECT is(pg_temp.may('none', 'email', 'transactional'), 'yes', 'X31: an order is confirmed to who consents to no marketing');
SELECT is(pg_temp.may('mail', 'sms', 'urgent-marketing'), 'no-consent > preference', 'X31: consent to e-mail is none to SMS');
SELECT is(pg_temp.may('mail', 'push', topic => 'pens'), 'no-consent > topic-not-wanted', 'X31: nor to push');
SELECT is((SELECT string_agg(channel || ' ' || allowed, ', ' ORDER BY display_order) FROM crm.choose_channels('nay')), 'email false, sms false, push false', 'X33: who refuses everything is not sent by the default channels');
SELECT is((SELECT string_agg(channel, ' ') FROM crm.choose_channels('mail', at => '2026-02-01') WHERE allowed), 'email', 'X33: who has said nothing is');
SELECT is(pg_temp.may('nay', 'email', 'urgent-marketing'), 'frequency-never', 'X34: urgency is no way around "never"');
SELECT pg_temp.sent('mail', 'email', '2026-02-01') \g /dev/null
SELECT is(pg_temp.may('mail', 'email', 'urgent-marketing', '2026-02-02'), 'frequency-cap', 'X34: nor around the cap');
SELECT is(pg_temp.may('mail', 'email', 'newsletter', '2026-03-01'), 'unknown-channel', 'X34: a class that nobody knows is not let through');
SELECT crm.update_preferences('late', '{"emailEnabled": false}', occurred_at => '2026-01-01') \g /dev/null
SELECT is(pg_temp.may('late', 'email', 'transactional'), 'yes', 'X34: e-mail that is switched off still brings what is transactional');
SELECT is(pg_temp.problem($$ SELECT crm.update_preferences('late', '{"emailFrequency": "hourly"}') $$) LIKE 'ZE007%', true, 'X34: a frequency that nobody knows cannot be said');
SELECT pg_temp.sent('all', 'push', '2026-02-01') \g /dev/null
SELECT is(pg_temp.may('all', 'push', at => '2026-02-01 00:30', topic => 'pens'), 'frequency-cap', 'X35: marketing by push comes once an hour');
SELECT is(pg_temp.may('all', 'push', 'transactional', '2026-02-01 00:30'), 'yes', 'X35: what is transactional has no cap, and no category to be in');
SELECT is(pg_temp.may('all', 'push', at => '2026-02-02', topic => 'marketing'), 'topic-not-wanted', 'X35: a class is no category');

-- ---- definitions ----

SELECT is(pg_temp.problem($$ SELECT crm.create_campaign('x', '{"event": "CartAbandoned"}', '[{"type": "send-fax"}]') $$), '22023 step 1: action "send-fax" is unknown.', 'X38: an action that nobody does is refused when it is defined');
SELECT is(pg_temp.problem($$ SELECT crm.create_campaign('x', '{"event": "CartAbandoned", "conditions": {"cartValue": {"$gte": 50}}}', '[{"type": "send-email", "config": {"templateId": "t"}}]') $$),
	'22023 A condition on it would never hold.', 'X39: as is a condition on a field that the event does not have');
SELECT is_empty($$ SELECT alias FROM crm.event_type_aliases() WHERE origin = 'documents' AND alias IN (SELECT event_type FROM crm.event_types) $$, 'X40: one name for one fact');
SELECT is((SELECT string_agg(alias || ' = ' || type, ', ' ORDER BY alias) FROM crm.event_type_aliases() WHERE alias IN ('EmailSent', 'ReminderSent', 'CustomerPreferencesUpdated')),
	'CustomerPreferencesUpdated = PreferencesUpdated, EmailSent = MessageSent, ReminderSent = MessageSent', 'X40: the others are other names of it');
SELECT is((SELECT count(*) FROM eventsource.state_machine_timeouts WHERE state_machine = 'crm_cart' AND is_current AND type = 'CartAbandoned' AND after = '60 minutes'), 1::bigint, 'X41: when a cart is left alone is said once: after an hour');

-- ---- steps ----

SELECT crm.create_example_campaigns('{welcome-verification,abandoned-cart-v2,order-confirmation,shipping-notification}') \g /dev/null
SELECT crm.add_to_cart('k1', 'pen', 1, 50, 'EUR', 'cart', occurred_at => now() - interval '61 minutes'), crm.add_to_cart('k0', 'pen', 1, 49.99, 'EUR', 'late', occurred_at => now() - interval '61 minutes') \g /dev/null
CALL pg_temp.run_due();
SELECT is((SELECT string_agg(key || ' ' || (occurred_at - (SELECT max(e.occurred_at) FROM eventsource.events e WHERE e.stream = a.stream AND e.type = 'ItemAddedToCart')), ', ' ORDER BY key) FROM eventsource.events a WHERE type = 'CartAbandoned'),
	'k0 01:00:00, k1 01:00:00', 'X42: a cart that is left alone is said to be that once');
SELECT is((SELECT string_agg(customer_id, ' ') FROM crm.campaign_runs WHERE campaign_id = 'abandoned-cart-v2'), 'cart', 'X39: a campaign from 50 up begins at 50');
SELECT is(pg_temp.messages('cart'), NULL, 'X37: a wait waits: nothing is sent at once');
SELECT is((SELECT round(extract(epoch FROM run_at - now()) / 60) FROM eventsource.jobs WHERE reaction LIKE 'campaign\_abandoned-cart-v2.%' AND state = 'scheduled'), 60::numeric, 'X41: the reminder is an hour later');
CALL pg_temp.run_due();
SELECT is((SELECT count(*) FROM eventsource.events WHERE type = 'CartAbandoned'), 2::bigint, 'X42: who looks again finds nothing new');
SELECT crm.create_campaign('quick', '{"event": "CheckoutStarted"}', '[{"type": "wait", "config": {"duration": "300 milliseconds"}}, {"type": "send-email", "config": {"templateId": "reminder"}}, {"type": "wait", "config": {"duration": "1 day"}}, {"type": "send-sms", "config": {"message": "Last call", "messageClass": "urgent-marketing"}}]', exits => '{OrderPlaced}') \g /dev/null
SELECT crm.add_to_cart('k2', 'pen', 1, 10, 'EUR', 'shop'), crm.start_checkout('k2'), crm.add_to_cart('k3', 'pen', 1, 10, 'EUR', 'all'), crm.start_checkout('k3'), crm.add_to_cart('k4', 'pen', 1, 10, 'EUR', 'mail'), crm.start_checkout('k4') \g /dev/null
SELECT count(*) AS done FROM eventsource.run_due() \gset
SELECT crm.place_order('shop', '[{"productId": "pen", "quantity": 1, "price": 10}]', 'EUR', order_id => 'o1', cart_id => 'k2') \g /dev/null
SELECT crm.revoke_consent('mail', 'marketing', 'email') \g /dev/null
CALL pg_temp.run_due();
SELECT is(pg_temp.messages('shop'), NULL, 'X42: who ordered meanwhile is not reminded');
SELECT is((SELECT skip_reason FROM crm.messages WHERE customer_id = 'mail' AND template_id = 'reminder'), 'no-consent', 'X31: consent is asked for when something is sent, and not when a campaign begins');
SELECT is((SELECT steps_done || ' ' || status FROM crm.campaign_runs WHERE customer_id = 'all' AND campaign_id = 'quick'), '1 active', 'X37: one step is done, the next one waits: the run knows which');
SELECT is((SELECT message_id FROM crm.messages WHERE customer_id = 'all' AND template_id = 'reminder'), 'quick.' || (SELECT position FROM eventsource.events WHERE stream = 'cart-k3' AND type = 'CheckoutStarted') || '.1',
	'X32: a message is called after campaign, event and step, and not after the clock');
SELECT (crm.send_message('all', 'email', 'reminder', message_id => message_id)).is_queued FROM crm.messages WHERE customer_id = 'all' AND template_id = 'reminder' \g /dev/null
SELECT is((SELECT count(*) FROM eventsource.jobs j JOIN crm.messages m ON j.stream = 'message-' || m.message_id WHERE m.customer_id = 'all' AND m.template_id = 'reminder'), 1::bigint, 'X32: sent again it is the same');
SELECT is((SELECT skip_reason FROM crm.send_message('all', 'email', 'another')), 'frequency-cap', 'X36: what is about to be sent counts: it is in the log before it is handed out');
SELECT is((SELECT count(*) FROM crm.claim_messages('email', 10) WHERE template_id = 'reminder'), 1::bigint, 'X36: who sends takes it');
SELECT is((SELECT count(*) FROM crm.claim_messages('email', 10) WHERE template_id = 'reminder'), 0::bigint, 'X36: and nobody else meanwhile');

-- ---- once, by one trigger ----

CALL pg_temp.run_due();
SELECT crm.register_customer('hi@example.com', '1', customer_id => 'hi') \g /dev/null
CALL pg_temp.run_due();
SELECT is(pg_temp.messages('hi'), 'email welcome-verification', 'X44: who registers is welcomed without consent to marketing, and once');
SELECT crm.initiate_payment('o1', 'p', 'paypal'), crm.record_payment('o1', 'p') \g /dev/null
SELECT (crm.record_payment('o1', 'p')).is_duplicate AS again \gset
CALL pg_temp.run_due();
SELECT is((SELECT count(*) FROM eventsource.events WHERE stream = 'order-o1' AND type = 'OrderConfirmed') || :'again', '1t', 'X45: a payment that is told twice confirms once');
SELECT is(pg_temp.messages('shop'), 'email order-confirmation', 'X45: one e-mail confirms an order');
SELECT crm.ship_order('o1') \g /dev/null
CALL pg_temp.run_due();
SELECT is(pg_temp.messages('shop'), 'email order-confirmation, email order-shipped, push Your order has shipped!', 'X38: a push is sent, and not left out');

SELECT crm.create_campaign('refill', '{"event": "OrderDelivered", "conditions": {"productCategory": "consumables"}}', '[{"type": "add-to-segment", "config": {"segmentId": "refill"}}]'),
	crm.create_campaign('either', '{"event": "OrderDelivered", "conditions": {"productCategory": {"$in": ["paper", "pens"]}}}', '[{"type": "add-to-segment", "config": {"segmentId": "either"}}]'),
	crm.create_campaign('other', '{"event": "OrderDelivered", "conditions": {"productCategory": {"$ne": "pens"}}}', '[{"type": "add-to-segment", "config": {"segmentId": "other"}}]') \g /dev/null
SELECT crm.place_order('hi', '[{"productId": "pen", "quantity": 1, "price": 10, "category": "pens"}, {"productId": "ink", "quantity": 1, "price": 3, "category": "consumables"}]', 'EUR', order_id => 'o2'), crm.record_payment('o2', 'p', 13),
	crm.ship_order('o2'), crm.deliver_order('o2'), crm.deliver_order('o1') \g /dev/null
CALL pg_temp.run_due();
SELECT is((SELECT string_agg(campaign_id || ' ' || customer_id, ', ' ORDER BY campaign_id, customer_id) FROM crm.campaign_runs WHERE campaign_id IN ('refill', 'either', 'other')), 'either hi, other shop, refill hi',
	'X39: a condition on the category of what was delivered holds where something of it was in the order');
SELECT is(pg_temp.problem($$ SELECT crm.create_campaign('x', '{"event": "OrderDelivered", "conditions": {"productCategory": {"$gte": 5}}}', '[{"type": "send-email", "config": {"templateId": "t"}}]') $$), '22023 It says {"$gte": 5}.', 'X39: and one that is none is refused');

-- ---- cross-sell and idleness ----

SELECT is((SELECT trigger->>'event' FROM crm.campaign_examples() WHERE campaign_id = 'post-purchase-cross-sell'), 'OrderDelivered', 'X51: the cross-sell begins with an event that happens');
SELECT is(pg_temp.problem($$ SELECT crm.create_campaign('x', '{"funnel": "purchase", "stage": "checkout"}', '[{"type": "send-email", "config": {"templateId": "t"}}]') $$), '22023 trigger needs an event, or a funnel, a stage and idle.', 'X51: a trigger by idleness says how long');
SELECT crm.create_campaign('idle', '{"funnel": "purchase", "stage": "awareness", "idle": "30 minutes"}', '[{"type": "add-to-segment", "config": {"segmentId": "idle"}}]') \g /dev/null
SELECT eventsource.append('visit-hi', 'ProductViewed', '{"productId": "pen", "customerId": "hi"}', occurred_at => now() - i * interval '31 minutes') FROM generate_series(2, 1, -1) i \g /dev/null
CALL pg_temp.run_due();
CALL pg_temp.run_due();
SELECT is((SELECT count(*) FROM crm.campaign_runs WHERE campaign_id = 'idle' AND customer_id = 'hi'), 1::bigint, 'X51: however often one looks, an episode leads into it once');

-- ---- programs of others ----

SELECT crm.create_integration('sendgrid') \g /dev/null
SELECT is((SELECT count(*) FROM crm.poll_integration('sendgrid') WHERE action NOT IN ('upsert', 'subscribe', 'unsubscribe', 'add-to-segment', 'remove-from-segment', 'delete')), 0::bigint, 'X43: what was not meant for it is not told');
SELECT is((SELECT string_agg(action || ' ' || is_subscribed, ', ' ORDER BY event_position) FROM crm.poll_integration('sendgrid') WHERE customer_id = 'none'), 'upsert false', 'X77: a contact without consent is told as one that is not to be written to');
SELECT max(event_position) AS last, count(*) AS told FROM crm.poll_integration('sendgrid', 1000) \gset
SELECT crm.ack_integration('sendgrid', :last, 'upsert', 'hi') \g /dev/null
SELECT is((SELECT count(*) FROM crm.poll_integration('sendgrid')), 0::bigint, 'X43: that it was told is nothing to tell of: no loop');
SELECT is((SELECT DISTINCT category FROM eventsource.events WHERE type = 'ThirdPartyIntegrationSynced'), 'integration', 'X43: and is not in the customer''s stream');
SELECT is((SELECT count(*) FROM crm.integration_deliveries), :told::bigint, 'X43: all that was told is recorded, and nothing else');
SELECT crm.change_email('all', 'all@example.org'), crm.revoke_consent('all', 'marketing', 'email') \g /dev/null
SELECT count(*) AS done FROM crm.erase_customer('late') \gset
SELECT is((SELECT string_agg(DISTINCT customer_id || ' ' || action || coalesce(' ' || email, ''), ', ') FROM crm.poll_integration('sendgrid', 1000)),
	'all unsubscribe all@example.org, all upsert all@example.org, late delete', 'X77: new addresses, revocations and erasures are told');
SELECT is((SELECT count(*) FROM eventsource.jobs WHERE queue = '$reaction' AND error_code IS NOT NULL), 0::bigint, 'nothing has failed');
\i test/own_database_end.sql
