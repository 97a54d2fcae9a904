\set own_database crm_integrations
\i test/own_database.sql
-- Integrations, erasure, events of others in and ours out.
CREATE EXTENSION eventsource_crm;
SELECT crm.install() \g /dev/null
-- Longer than these tests will be run, whatever they say of 2026.
SELECT crm.set_setting('consent_term_marketing', '90 years') \g /dev/null
SELECT plan(64);
SET timezone = 'UTC';
SET datestyle = 'ISO';

SELECT crm.register_customer('ada@example.com', '1', first_name => 'Ada', phone => '+1 212', marketing_consent => true, ip_address => '203.0.113.9', customer_id => 'ada', occurred_at => '2026-01-01') \g /dev/null
SELECT crm.register_customer('bob@example.com', '1', customer_id => 'bob', occurred_at => '2026-01-01') \g /dev/null

-- ---- integrations ----

SELECT crm.create_integration('sendgrid') \g /dev/null
SELECT crm.create_integration('other') \g /dev/null
CREATE FUNCTION pg_temp.polled(name text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', customer_id, action, email, segment_id, CASE WHEN is_subscribed THEN 'subscribed' END), ', ' ORDER BY event_position) FROM crm.poll_integration(name)
$$;
SELECT is(pg_temp.polled('sendgrid'), 'ada upsert ada@example.com subscribed, ada subscribe ada@example.com subscribed, bob upsert bob@example.com', 'contacts, with whether they may be written to');
SELECT is(pg_temp.polled('sendgrid'), pg_temp.polled('sendgrid'), 'until it is acknowledged');
SELECT crm.ack_integration('sendgrid', (SELECT max(event_position) FROM crm.poll_integration('sendgrid')), 'upsert', 'bob') \g /dev/null
SELECT is(pg_temp.polled('sendgrid'), NULL, 'then there is nothing more');
SELECT is((SELECT string_agg(concat_ws(' ', integration_id, customer_id, action, is_delivered), ', ' ORDER BY version) FROM crm.integration_deliveries),
	'sendgrid ada upsert t, sendgrid ada subscribe t, sendgrid bob upsert t', 'all that it was told is recorded, not the last of it alone');
SELECT is_empty($$ SELECT d.event_position FROM crm.integration_deliveries d LEFT JOIN eventsource.events e ON e.position = d.event_position AND e.key = d.customer_id WHERE e.position IS NULL $$,
	'each with the event that led to it');
SELECT is((SELECT count(*) FROM eventsource.events WHERE category = 'customer' AND type = 'ThirdPartyIntegrationSynced'), 0::bigint, 'but not with the customer: nothing is told of having been told');
SELECT is(left(pg_temp.polled('other'), 10), 'ada upsert', 'another integration has its own place');
SELECT crm.grant_consent('ada', 'marketing', 'sms'), crm.grant_consent('ada', 'analytics', 'email'), crm.update_preferences('ada', '{"timezone": "UTC"}') \g /dev/null
SELECT is(pg_temp.polled('sendgrid'), NULL, 'other consents and preferences are no matter of it');
SELECT crm.change_email('ada', 'ada@example.org') \g /dev/null
SELECT crm.add_to_segment('ada', 'vip') \g /dev/null
SELECT crm.revoke_consent('ada', 'marketing', 'email') \g /dev/null
SELECT is(pg_temp.polled('sendgrid'), 'ada upsert ada@example.org, ada add-to-segment ada@example.org vip, ada unsubscribe ada@example.org', 'a new address, a segment, and that consent is gone');
SELECT event_position FROM crm.poll_integration('sendgrid') ORDER BY 1 LIMIT 1 \gset
SELECT crm.nack_integration('sendgrid', :event_position, 'upsert', 'ada', 'RATE_LIMIT', 'ada@example.org: too many') \g /dev/null
SELECT is((SELECT string_agg(concat_ws(' ', action, is_delivered, error_code), ', ' ORDER BY version) FROM crm.integration_deliveries), 'upsert t, subscribe t, upsert t, upsert f RATE_LIMIT', 'failures are recorded, too');
SELECT is(left(pg_temp.polled('sendgrid'), 10), 'ada upsert', 'and it comes again');
-- What follows one that failed comes one by one.
CREATE FUNCTION pg_temp.tell_all(name text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	last record;
BEGIN
	FOR i IN 1 .. 20 LOOP
		SELECT * INTO last FROM crm.poll_integration(name) p ORDER BY p.event_position DESC LIMIT 1;
		IF last.event_position IS NULL THEN
			RETURN;
		END IF;
		PERFORM crm.ack_integration(name, last.event_position, last.action, last.customer_id);
	END LOOP;
	RAISE 'there is always more';
END
$$;
SELECT pg_temp.tell_all('sendgrid') \g /dev/null
SELECT is((SELECT concat_ws(' ', delivered_count, failed_count) FROM crm.integrations WHERE integration_id = 'sendgrid'), '6 1', 'counted');

-- What was set aside, and what waits behind it, was not told; what was redriven was.
SELECT crm.change_email('ada', 'ada@example.net'), crm.add_to_segment('bob', 'new') \g /dev/null
SELECT min(event_position) AS bad FROM crm.poll_integration('sendgrid') \gset
CREATE FUNCTION pg_temp.fail(name text, bad bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 5 LOOP
		PERFORM crm.nack_integration(name, bad, 'upsert', 'ada', 'REJECTED');
		PERFORM crm.poll_integration(name);
	END LOOP;
END
$$;
SELECT pg_temp.fail('sendgrid', :bad) \g /dev/null
SELECT crm.remove_from_segment('ada', 'vip'), crm.add_to_segment('bob', 'vip') \g /dev/null
SELECT is((SELECT string_agg(state || ' ' || attempts, ', ') FROM eventsource.parked_events WHERE subscription = 'crm_sendgrid'), 'parked 5', 'one that fails again and again is set aside');
SELECT pg_temp.tell_all('sendgrid') \g /dev/null
SELECT is((SELECT string_agg(concat_ws(' ', customer_id, action), ', ' ORDER BY version) FROM crm.integration_deliveries WHERE is_delivered AND event_position >= :bad), 'bob add-to-segment, bob add-to-segment', 'of whom nothing was told, nothing is recorded');
SELECT eventsource.redrive('crm_sendgrid', :bad) \g /dev/null
SELECT is(pg_temp.polled('sendgrid'), 'ada upsert ada@example.net', 'it is tried once more');
SELECT crm.ack_integration('sendgrid', :bad, 'upsert', 'ada') \g /dev/null
SELECT is(pg_temp.polled('sendgrid'), 'ada remove-from-segment ada@example.net vip', 'and then what waited');
SELECT pg_temp.tell_all('sendgrid') \g /dev/null
SELECT is((SELECT string_agg(concat_ws(' ', customer_id, action), ', ' ORDER BY version) FROM crm.integration_deliveries WHERE is_delivered AND event_position >= :bad),
	'bob add-to-segment, bob add-to-segment, ada upsert, ada remove-from-segment', 'all of it is recorded');
SELECT is((SELECT count(*) - count(DISTINCT event_position) FROM crm.integration_deliveries WHERE is_delivered), 0::bigint, 'once');
SELECT is((SELECT count(*) FROM crm.integration_deliveries WHERE is_delivered), (SELECT count(*) FROM eventsource.events e JOIN crm.integration_actions() a ON a.event_type = e.type AND e.data @> a.fields WHERE e.category = 'customer'), 'and nothing is missing');

SELECT crm.create_integration('late', from_position => NULL) \g /dev/null
SELECT crm.change_email('ada', 'ada@example.com') \g /dev/null
SELECT min(event_position) AS bad FROM crm.poll_integration('late') \gset
SELECT pg_temp.fail('late', :bad) \g /dev/null
SELECT eventsource.redrive('crm_late', :bad) \g /dev/null
SELECT pg_temp.tell_all('late') \g /dev/null
SELECT is((SELECT array_agg(event_position) FROM crm.integration_deliveries WHERE is_delivered AND integration_id = 'late'), ARRAY[:bad::bigint], 'what was before it began is not said to have been told');
SELECT crm.drop_integration('late'), pg_temp.tell_all('sendgrid') \g /dev/null

-- ---- who may not see whom it is about ----

CREATE ROLE crm_integrations_blind;
SELECT crm.grant_writer('crm_integrations_blind'), crm.create_integration('blind', 'crm_integrations_blind') \g /dev/null
SET ROLE crm_integrations_blind;
SELECT pg_temp.refuses($$ SELECT * FROM crm.poll_integration('blind') $$, '42501', 'permission denied to see the contacts of an integration', 'no list of contacts gets ***');
SELECT pg_temp.refuses($$ SELECT crm.update_profile('bob', '{"firstName": "B"}') $$, '42501', 'permission denied to see the profile that is changed', 'nor is anything compared with it');
RESET ROLE;
SELECT eventsource.grant_personal_data('crm_integrations_blind') \g /dev/null
SET ROLE crm_integrations_blind;
SELECT ok((SELECT count(*) > 0 FROM crm.poll_integration('blind') WHERE email LIKE '%@example%'), 'who may, gets it');
SELECT pg_temp.refused($$ SELECT crm.poll_integration('sendgrid') $$, '42501 permission denied for subscription "crm_sendgrid"', 'of its own integration alone');
SELECT lives_ok($$ SELECT crm.ack_integration('blind', (SELECT max(event_position) FROM crm.poll_integration('blind')), 'upsert', 'bob') $$, 'and acknowledges, with the rights of a writer');
RESET ROLE;
SELECT is((SELECT count(*) FROM crm.integration_deliveries WHERE integration_id = 'blind'), (SELECT count(*) FROM crm.integration_deliveries WHERE integration_id = 'sendgrid' AND is_delivered), 'all of it');

-- ---- erasure ----

SELECT crm.place_order('ada', '[{"productId": "pen", "quantity": 1, "price": 10}]', 'EUR', order_id => 'o1', shipping_address => '{"city": "Ulm"}') \g /dev/null
SELECT crm.record_payment('o1', 'p1', 10) \g /dev/null
SELECT crm.send_message('ada', 'email', message_class => 'transactional', message_id => 'm1') \g /dev/null
SELECT crm.request_erasure('ada', actor => 'ada') > 0 AS requested \gset
SELECT is(:'requested'::boolean, true, 'a request opens a case');
SELECT is((SELECT subject || ' ' || mode || ' ' || status FROM eventsource.erasure_requests), 'customer-ada anonymize open', 'with a deadline');
SELECT pg_temp.refused($$ SELECT crm.request_erasure('ada') $$, '55000 erasure of subject "customer-ada" was requested already', 'once');
SELECT is((SELECT count(*) FROM eventsource.events WHERE stream = 'customer-ada' AND type = 'CustomerDataDeletionRequested'), 1::bigint, 'and what was refused left nothing');
SELECT count(*) AS known FROM eventsource.subject_events('customer-ada') \gset
SELECT target, affected FROM crm.erase_customer('ada', actor => 'dpo') \g /dev/null
SELECT is((SELECT (data->>'eventsAnonymized')::bigint >= :known AND data->>'deletionType' = 'anonymize' FROM eventsource.events WHERE stream = 'customer-ada' AND type = 'CustomerDataDeleted'), true, 'how much there was is said');
SELECT is((SELECT status FROM crm.customers WHERE customer_id = 'ada'), 'deleted', 'the customer is deleted');
SELECT is((SELECT concat_ws(' ', first_name, phone) FROM crm.customers WHERE customer_id = 'ada'), '', 'name and number are gone');
SELECT is((SELECT count(*) FROM eventsource.events WHERE stream NOT LIKE '$config%' AND data::text ~ 'ada@example|"Ada"|Ulm|203\.0\.113\.9|1 212'), 0::bigint, 'and so they are everywhere in the log');
SELECT is((SELECT data->>'ipAddress' FROM eventsource.events WHERE stream = 'customer-ada' AND version = 1), '203.0.0.0', 'the network stays');
SELECT is((SELECT status || ' ' || net_amount FROM crm.orders WHERE order_id = 'o1'), 'confirmed 10', 'what was bought stays');
SELECT is((SELECT status || ' ' || skip_reason FROM crm.messages WHERE message_id = 'm1'), 'skipped erased', 'what waited is not sent');
SELECT is((SELECT count(*) FROM crm.segment_members WHERE customer_id = 'ada'), 0::bigint, 'no segment has her');
SELECT is((SELECT count(*) FROM crm.consents WHERE customer_id = 'ada' AND is_active), 0::bigint, 'no consent holds');
SELECT is(crm.has_consent('ada', 'analytics', 'email'), false, 'of whatever purpose');
SELECT is((SELECT reasons FROM crm.can_contact('ada', 'email', 'transactional')), 'erased', 'nobody writes to her');
SELECT pg_temp.refused($$ SELECT crm.erase_customer('ada') $$, 'ZE009 subject "customer-ada" is erased', 'who is erased is not erased again');
SELECT pg_temp.refused($$ SELECT crm.grant_consent('ada', 'marketing', 'email') $$, 'ZE009 subject "customer-ada" is erased', 'nothing is recorded of her any more');
SELECT lives_ok($$ SELECT crm.register_customer('ada@example.org', '1', customer_id => 'ada2') $$, 'her address is free');
SELECT is((SELECT string_agg(DISTINCT action, ' ') FROM crm.poll_integration('sendgrid') WHERE customer_id = 'ada'), 'delete', 'programs of others are told to forget her');
SELECT is((SELECT count(email) FROM crm.poll_integration('sendgrid') WHERE customer_id = 'ada'), 0::bigint, 'without being told her address');
SELECT lives_ok($$ SELECT crm.ack_integration('sendgrid', (SELECT max(event_position) FROM crm.poll_integration('sendgrid')), 'delete', 'ada') $$, 'and that is recorded, without her');
SELECT is_empty($$ SELECT * FROM eventsource.verify_chain('customer-ada') $$, 'the chain holds');

-- ---- events of others in ----

SELECT is(crm.import_event('Product Viewed', 'bob', '{"product_id": "pen", "name": "Pen", "price": 19.95, "currency": "USD", "session_id": "s9", "context": {"campaign": {"name": "spring", "medium": "cpc"}}}', '2026-02-01', 'seg-1'), 'visit-s9', 'a product was viewed');
SELECT is(crm.import_event('Product Viewed', 'bob', '{"product_id": "pen", "name": "Pen", "price": 19.95, "currency": "USD", "session_id": "s9", "context": {"campaign": {"name": "spring", "medium": "cpc"}}}', '2026-02-01', 'seg-1'), 'visit-s9', 'told again');
SELECT is((SELECT string_agg(event_type || ' ' || channel || ' ' || campaign_id || ' ' || is_imported, ', ') FROM crm.journeys WHERE customer_id = 'bob' AND category = 'visit'), 'ProductViewed paid-ad spring true', 'it is there once');
SELECT pg_temp.refuses($$ SELECT crm.import_event('Product Added', 'bob', '{"cart_id": "c8", "product_id": "pen", "price": 19.95}') $$, '22004', 'event "Product Added" says no currency', 'money without a currency is not guessed');
SELECT pg_temp.refuses($$ SELECT crm.set_setting('default_currency', 'euro') $$, '22023', 'invalid value for setting "default_currency"', 'a currency has three letters');
SELECT crm.set_setting('default_currency', 'USD') \g /dev/null
SELECT is(crm.import_event('Product Added', 'bob', '{"cart_id": "c9", "product_id": "pen", "quantity": 2, "price": 19.95, "category": "pens"}', '2026-02-01 01:00'), 'cart-c9', 'put into a cart');
SELECT is(crm.import_event('Checkout Started', 'bob', '{"cart_id": "c9", "value": 39.90}', '2026-02-01 01:05'), 'cart-c9', 'a checkout');
SELECT is(crm.import_event('Checkout Step Completed', 'bob', '{"cart_id": "c9", "step": 1}', '2026-02-01 01:06'), 'cart-c9', 'its first step');
SELECT is(crm.import_event('Order Completed', 'bob', '{"order_id": "o9", "cart_id": "c9", "tax": 2.10, "shipping": 5, "products": [{"product_id": "pen", "quantity": 2, "price": 19.95, "category": "pens"}]}', '2026-02-01 01:10'), 'order-o9', 'and the order');
SELECT is((SELECT concat_ws(' ', customer_id, status, total, currency) FROM crm.orders WHERE order_id = 'o9'), 'bob pending-payment 47.00 USD', 'which is ours now');
SELECT is(crm.import_event('Order Cancelled', 'bob', '{"order_id": "o9"}', '2026-02-02'), 'order-o9', 'and is cancelled');
SELECT pg_temp.refused($$ SELECT crm.import_event('Coupon Eaten', 'bob') $$, '42704 event "Coupon Eaten" has no counterpart here', 'what nobody knows is not guessed');
SELECT is((SELECT string_agg(coalesce(crm.import_channel(m), '-'), ' ' ORDER BY n) FROM unnest('{broadcast,readers,contextual,paid-social,cpc,display_ad,E-Mail,sms,organic}'::text[]) WITH ORDINALITY x (m, n)),
	'- - - social paid-ad - email sms web', 'a medium is a word, not what is in one');
SELECT is((SELECT string_agg(type, ' ' ORDER BY version) FROM eventsource.events WHERE stream = 'cart-c9'), 'ItemAddedToCart CheckoutStarted CheckoutStepCompleted', 'imports lead to nothing');

-- ---- ours out ----

SELECT pg_temp.same_rows($$ SELECT "case:concept:name", "concept:name", "time:timestamp", "org:resource", "lifecycle:transition" FROM crm.xes_events WHERE "case:concept:name" = 'cart-c9' ORDER BY event_position LIMIT 2 $$, $$ VALUES
	('cart-c9', 'ItemAddedToCart', '2026-02-01 01:00+00'::timestamptz, 'system:import', 'complete'), ('cart-c9', 'CheckoutStarted', '2026-02-01 01:05+00', 'system:import', 'complete') $$, 'our events as process mining reads them');
SELECT is((SELECT eventsource.to_cloudevent(e)->>'type' FROM eventsource.events e WHERE e.stream = 'order-o9' AND e.version = 1), 'OrderPlaced', 'and as CloudEvents');
\i test/own_database_end.sql
