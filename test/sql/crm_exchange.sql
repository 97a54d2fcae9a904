\set own_database crm_exchange
\i test/own_database.sql
-- Calls of others (identify, track ...), logs as CSV, objects for process mining, metrics by day, and what is configured in one place.
CREATE EXTENSION eventsource_crm;
SELECT crm.install() \g /dev/null
SELECT plan(76);
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE ROLE crm_exchange_app;
SELECT crm.grant_writer('crm_exchange_app'), eventsource.grant_personal_data('crm_exchange_app') \g /dev/null
CREATE FUNCTION pg_temp.took(payload jsonb) RETURNS text LANGUAGE sql AS $$ SELECT string_agg(concat_ws(' ', outcome, stream, error_code, reason), ', ' ORDER BY item_number) FROM crm.intake(payload) $$;

-- ---- identify, track, page ... ----

SET ROLE crm_exchange_app;
SELECT is(pg_temp.took('{"type": "page", "messageId": "p1", "anonymousId": "anon-1", "timestamp": "2026-01-01T10:00:00Z", "name": "Pens", "properties": {"url": "https://example.com/pens?email=ada@example.com#x"}, "context": {"sessionId": "s1", "campaign": {"name": "spring", "medium": "cpc"}, "page": {"referrer": "https://search.example/?q=ada"}}}'), 'taken visit-s1', 'a stranger sees a page');
SELECT is((SELECT data - 'visitorId' FROM eventsource.events WHERE stream = 'visit-s1'), '{"channel": "paid-ad", "pageUrl": "https://example.com/pens", "referrer": "https://search.example/", "pageTitle": "Pens", "sessionId": "s1", "campaignId": "spring"}'::jsonb, 'what stands behind an address is not kept');
SELECT is((SELECT customer_id FROM crm.journeys WHERE stream = 'visit-s1'), NULL, 'nobody knows whose it is');
SELECT is(pg_temp.took('{"type": "track", "event": "Product Viewed", "messageId": "t1", "anonymousId": "anon-1", "timestamp": "2026-01-01T10:01:00Z", "properties": {"product_id": "pen", "session_id": "s1"}}'), 'taken visit-s1', 'and looks at a product');
SELECT is(pg_temp.took('{"type": "identify", "messageId": "i1", "anonymousId": "anon-1", "userId": "ada", "timestamp": "2026-01-01T10:02:00Z", "traits": {"email": "ada@example.com", "firstName": "Ada", "phone": "+1 212", "plan": "gold", "ssn": "078-05-1120"}}'), 'taken customer-ada not kept: plan, ssn', 'then says who she is; what nobody declared is not kept');
SELECT is((SELECT (email, first_name, phone, status, source)::text FROM crm.customers WHERE customer_id = 'ada'), '(ada@example.com,Ada,"+1 212",pending-verification,import)', 'a customer, who has accepted nothing yet');
SELECT is((SELECT count(*) FROM crm.journeys WHERE customer_id = 'ada' AND stream = 'visit-s1'), 3::bigint, 'what the stranger did is hers');
SELECT is((SELECT count(*) FROM eventsource.events WHERE stream = 'visit-s1' AND version < 3 AND data ? 'customerId'), 0::bigint, 'and history is as it was');
SELECT is(pg_temp.took('{"type": "identify", "messageId": "i1", "anonymousId": "anon-1", "userId": "ada", "traits": {"firstName": "Eve"}}'), 'duplicate', 'told again, it is nothing');
SELECT is((SELECT first_name FROM crm.customers WHERE customer_id = 'ada'), 'Ada', 'whatever it says');
SELECT is(pg_temp.took('{"type": "track", "event": "Product Viewed", "messageId": "t1", "anonymousId": "anon-1", "timestamp": "2026-01-01T10:01:00Z", "properties": {"product_id": "pen", "session_id": "s1"}}'), 'duplicate', 'nor is what was taken before anybody knew her');
SELECT is(pg_temp.took('{"type": "identify", "messageId": "i2", "userId": "ada", "timestamp": "2026-01-02T10:02:00Z", "traits": {"firstName": "Ada", "phone": "+1 999", "email": "ADA@example.com"}}'), 'taken customer-ada', 'what is different is recorded');
SELECT is((SELECT string_agg(type, ' ' ORDER BY version) FROM eventsource.events WHERE stream = 'customer-ada'), 'CustomerCreated CustomerPhoneUpdated', 'and nothing else');
SELECT is(pg_temp.took('{"type": "track", "event": "Product Added", "messageId": "t2", "anonymousId": "anon-1", "timestamp": "2026-01-02T11:00:00Z", "properties": {"cart_id": "c1", "product_id": "pen", "price": 20, "quantity": 2, "currency": "EUR"}}'), 'taken cart-c1', 'who is known is known by the anonymous id, too');
SELECT is((SELECT customer_id FROM crm.carts WHERE cart_id = 'c1'), 'ada', 'so the cart is hers');
SELECT is(pg_temp.took('{"type": "track", "event": "Order Completed", "messageId": "t3", "userId": "ada", "timestamp": "2026-01-02T12:00:00Z", "properties": {"order_id": "o1", "cart_id": "c1", "currency": "EUR", "products": [{"product_id": "pen", "quantity": 2, "price": 20}]}}'), 'taken order-o1', 'and the order');
SELECT is(pg_temp.took('{"type": "alias", "messageId": "a1", "previousId": "lovelace@old.example", "userId": "ada"}'), 'taken customer-ada', 'another id of hers');
SELECT is(crm.resolve_identity('lovelace@old.example'), 'ada', 'leads to her');
SELECT is((SELECT count(*) FROM eventsource.events WHERE stream LIKE '%lovelace%' OR data::text LIKE '%lovelace%'), 0::bigint, 'and stands nowhere: its hash does');
SELECT is(pg_temp.took('{"type": "alias", "previousId": "ada", "userId": "countess"}'), 'taken customer-countess', 'a customer may be another one');
SELECT is(crm.resolve_identity('anon-1'), 'countess', 'links are followed');
SELECT is(pg_temp.took('{"type": "alias", "previousId": "countess", "userId": "ada"}'), 'taken customer-countess', 'and a way back leads to where one is');
SELECT isnt(crm.resolve_identity('anon-1'), NULL, 'somewhere');
SELECT is(pg_temp.took('{"type": "screen", "messageId": "s2", "userId": "bob", "name": "Home", "originalTimestamp": "2026-01-01T00:00:00Z", "sentAt": "2026-01-01T00:00:10Z", "receivedAt": "2026-01-05T00:00:10Z"}'), 'taken visit-bob', 'a screen');
SELECT is((SELECT data->>'pageUrl' || ' ' || occurred_at FROM eventsource.events WHERE stream = 'visit-bob'), 'screen:Home 2026-01-05 00:00:00+00', 'by the clock of who received it');
SELECT ok((SELECT outcome = 'taken' FROM crm.intake('{"type": "page", "userId": "bob", "timestamp": "2999-01-01T00:00:00Z", "properties": {"path": "/future"}}')), 'a clock that is ahead');
SELECT cmp_ok((SELECT occurred_at FROM eventsource.events WHERE stream = 'visit-bob' AND version = 2), '<=', now(), 'is not believed');
SELECT is(pg_temp.took('{"batch": [{"type": "identify", "userId": "eve", "traits": {"email": "eve@example.com"}}, {"type": "group", "userId": "eve", "groupId": "acme"}, {"type": "group", "userId": "eve", "groupId": "acme"}]}'), 'taken customer-eve, taken customer-eve, duplicate customer-eve', 'a batch');
SELECT is((SELECT segments FROM crm.customers WHERE customer_id = 'eve'), 'group-acme', 'a group is a segment');
SELECT is(pg_temp.took('[{"type": "track", "event": "Coupon Eaten", "userId": "eve"}, {"type": "page", "userId": "eve"}, {"type": "page", "userId": "eve@example.com"}, {"type": "sing", "userId": "eve"}, {"type": "identify", "userId": "mal", "traits": {"email": "EVE@example.com"}}, {"type": "track", "event": "Product Viewed", "userId": "eve"}]'),
	'refused 42704 event "Coupon Eaten" has no counterpart here, taken visit-eve, refused 22023 an id tells of a person, refused 22023 call "sing" is none, refused 23505 duplicate key value violates unique constraint "customer_email_is_taken", refused ZE007 data does not match version 1 of event type "ProductViewed"', 'each that is refused says why, and the others are taken');
SELECT is((SELECT count(*) FROM crm.intake('{"type": "page"}') WHERE outcome = 'refused' AND error_code = '22023'), 1::bigint, 'of nobody nothing is taken');
SELECT is(pg_temp.took('[{"type": "page", "userId": "eve", "timestamp": "tomorrow"}, {"type": "page", "userId": "eve", "timestamp": "tomorrow 10:00"}, {"type": "page", "userId": "eve", "sentAt": "infinity"}]'),
	'refused 22007 timestamp is no time, refused 22007 timestamp is no time, refused 22007 sentAt is no time', 'a time that is another one tomorrow is none');
SELECT is(pg_temp.took(jsonb_build_object('type', 'identify', 'userId', 'eve', 'traits', jsonb_build_object('email', 'EVE' || chr(173) || '@example.com'))), 'taken customer-eve', 'the same address, written in another way');
SELECT is((SELECT count(*) FROM eventsource.events WHERE stream = 'customer-eve' AND type = 'CustomerEmailUpdated'), 0::bigint, 'is the same');

RESET ROLE;
SELECT crm.set_setting('intake_unknown_events', 'keep') \g /dev/null
SET ROLE crm_exchange_app;
SELECT is(pg_temp.took('{"type": "track", "event": "Coupon Eaten", "messageId": "t9", "userId": "eve", "properties": {"taste": "bitter", "by": "Eve"}}'), 'taken visit-eve kept by its name', 'or it is kept');
RESET ROLE;
SELECT pg_temp.refused($$ SELECT crm.set_setting('intake_unknown_events', 'guess') $$, '22023 invalid value for setting "intake_unknown_events"', 'there is no third way');
SELECT eventsource.revoke_personal_data('crm_exchange_app') \g /dev/null
SET ROLE crm_exchange_app;
SELECT is((SELECT data->'properties' FROM eventsource.events WHERE type = 'CustomTracked'), NULL, 'what it says is personal until somebody knows better');
SELECT pg_temp.refused($$ SELECT * FROM crm.intake('{"type": "identify", "userId": "eve", "traits": {"phone": "1"}}') $$, '42501 permission denied to see the profile that is changed', 'who may not see what there is compares nothing');
RESET ROLE;
SELECT count(*) > 0 AS erased FROM crm.erase_customer('eve') \gset
SELECT is((SELECT count(*) FROM eventsource.events WHERE stream NOT LIKE '$config%' AND data::text ~ 'bitter|eve@example'), 0::bigint, 'and goes with who it tells of');
SELECT is((SELECT string_agg(origin, ' ' ORDER BY origin) FROM crm.identities WHERE customer_id IN ('ada', 'countess')), 'alias alias alias identify', 'ids are listed');

-- ---- objects ----

SELECT is((SELECT string_agg(ocel_object_id || ' ' || ocel_qualifier, ', ' ORDER BY ocel_object_id) FROM crm.ocel_event_object r JOIN crm.ocel_events e ON e.ocel_id = r.ocel_event_id WHERE e.ocel_type = 'OrderPlaced'), 'cart-c1 cart, customer-ada customer, order-o1 order', 'an order is about itself, its customer and its cart');
SELECT is((SELECT string_agg(ocel_target_id, ' ' ORDER BY ocel_target_id) FROM crm.ocel_object_object WHERE ocel_source_id = 'order-o1'), 'cart-c1 customer-ada', 'and belongs to them');
SELECT crm.create_lead('l1'), crm.send_message('ada', 'email', message_class => 'transactional', message_id => 'm1') \g /dev/null
SELECT is((SELECT string_agg(DISTINCT ocel_type, ' ' ORDER BY ocel_type) FROM crm.ocel_objects), 'cart customer lead message order', 'five types of objects');
SELECT is_empty($$ SELECT ocel_event_id, ocel_object_id, ocel_qualifier FROM crm.ocel_event_object GROUP BY 1, 2, 3 HAVING count(*) > 1 $$, 'each relation once');
SELECT is_empty($$ SELECT ocel_event_id FROM crm.ocel_event_object EXCEPT SELECT ocel_id FROM crm.ocel_events $$, 'of events that are there');
SELECT is_empty($$ SELECT ocel_id FROM crm.ocel_events EXCEPT SELECT ocel_event_id FROM crm.ocel_event_object $$, 'and none without');
SELECT is_empty($$ SELECT ocel_target_id FROM crm.ocel_object_object EXCEPT SELECT ocel_id FROM crm.ocel_objects $$, 'what is belonged to is there');

-- ---- a CSV file ----

CREATE TEMP TABLE csv ("case:concept:name" text, "concept:name" text, "time:timestamp" text, "org:resource" text, "costs" text, "name" text);
COPY csv FROM STDIN (FORMAT csv);
1,register request,2010-12-30 11:02:00+01:00,Pete,50,Ada Lovelace
1,examine thoroughly,2010-12-31 10:06:00+01:00,Sue,400,Ada Lovelace
2,register request,2010-12-30 11:32:00+01:00,Mike,50,Bob
2,register request,2010-12-30 11:32:00+01:00,Mike,50,Bob
,decide,2010-12-30 11:32:00+01:00,Mike,50,Bob
2,decide,yesterday,Mike,50,Bob
2,,2010-12-30 11:32:00+01:00,Mike,50,Bob
2,decide,2011-01-05 11:22:00+01:00,,200,Bob
\.
SELECT is((SELECT string_agg(concat_ws(' ', outcome, row_count, row_number, error_code, reason), ', ' ORDER BY row_number NULLS FIRST, outcome DESC) FROM crm.import_log('csv', 'claim', attribute_columns => '{costs}')),
	'taken 5, refused 3, duplicate 0, refused 1 5 22004 no case, refused 1 6 22004 no time, refused 1 7 22004 no activity', 'a log is taken, and each row that is not is said, and why');
SELECT is((SELECT string_agg(type || ' ' || actor || ' ' || (data->>'costs'), ', ' ORDER BY version) FROM eventsource.events WHERE stream = 'claim-2'), 'register request Mike 50, register request Mike 50, decide system:import 200', 'two rows that are the same are two events');
SELECT is((SELECT count(*) FROM eventsource.events WHERE category = 'claim' AND (data ? 'name' OR metadata->>'import' IS DISTINCT FROM 'true')), 0::bigint, 'a column that was not named is not taken');
INSERT INTO csv VALUES ('3', 'register request', '2011-01-06 10:00+01', 'Pete', '50', NULL);
SELECT is((SELECT string_agg(concat_ws(' ', outcome, row_count), ', ') FROM crm.import_log('csv', 'claim', attribute_columns => '{costs}', batch_size => 2) WHERE row_number IS NULL), 'taken 1, duplicate 5, refused 3', 'again: what is new');
SELECT eventsource.register_event_type('decide', 'claim2', '{"type": "object", "properties": {"costs": {"maxLength": 2}}}') \g /dev/null
SELECT is((SELECT string_agg(concat_ws(' ', outcome, row_count, case_id, activity, error_code), ', ') FROM crm.import_log('csv', 'claim2', attribute_columns => '{costs}') WHERE row_number IS NULL OR row_number = 8), 'taken 5, duplicate 0, refused 4, refused 1 2 decide ZE007', 'a row that the rules refuse takes no other along');
SELECT pg_temp.refuses($$ SELECT crm.import_log('csv', 'claim', case_column => 'case') $$, '42703', 'csv has no column "case"', 'a column that is not there is said');
SELECT pg_temp.refuses($$ SELECT crm.import_log('csv', 'claim', resource_column => 'who') $$, '42703', 'csv has no column "who"', 'also that of who did it');
SELECT pg_temp.refuses($$ SELECT crm.import_log('csv', 'claim', case_column => NULL) $$, '42703', 'a log has a case, an activity and a time', 'and one that there must be');
SELECT pg_temp.refuses($$ SELECT crm.import_log('csv', 'claim', batch_size => 0) $$, '22023', 'there are no batches of less than one row', 'nothing is appended in nothing');
SELECT is((SELECT string_agg(concat_ws(' ', outcome, row_count), ', ') FROM crm.import_log('csv', 'claim3', resource_column => NULL, batch_size => 1) WHERE row_number IS NULL), 'taken 6, duplicate 0, refused 3', 'a log where nobody says who did it, row by row');
SET datestyle = 'German, DMY';
SELECT is((SELECT string_agg(concat_ws(' ', outcome, row_count), ', ') FROM crm.import_log('csv', 'claim3', resource_column => NULL) WHERE row_number IS NULL), 'taken 0, duplicate 6, refused 3', 'a line is the same line, however a session writes times');
SET datestyle = 'ISO';
SELECT is((SELECT string_agg(DISTINCT actor, ' ') FROM eventsource.events WHERE category = 'claim3'), 'system:import', 'is taken, too');

-- ---- metrics ----

SELECT crm.record_payment('o1', 'p1', 40), crm.recalculate_segments('ada') \g /dev/null
SELECT is((SELECT string_agg(metric || ' ' || trim_scale(value), ', ' ORDER BY metric) FROM (SELECT metric, sum(value) AS value FROM crm.daily_metrics WHERE metric ~ '^(revenue|net_revenue|orders|leads|segment_members_buyers|messages|customers)' GROUP BY metric) m),
	'customers_erased 1, customers_registered 2, leads_created 1, messages_queued 1, net_revenue_EUR 40, orders_confirmed 1, orders_placed 1, revenue_EUR 40, segment_members_buyers 1', 'leads, messages, orders, money and segments by day');
SELECT is_empty($$ SELECT time, metric FROM crm.daily_metrics GROUP BY 1, 2 HAVING count(*) > 1 $$, 'one value each');

-- ---- what has no field here ----

SELECT crm.set_setting('intake_unknown_events', NULL) \g /dev/null

SELECT is(pg_temp.took('{"type": "track", "event": "Product Viewed", "userId": "bob", "properties": {"product_id": "pen", "brand": "Acme", "coupon": "", "variant": null, "position": 3}}'), 'taken visit-bob not kept: brand, position', 'is said');
SELECT is(pg_temp.took('{"type": "track", "event": "Order Completed", "userId": "bob", "properties": {"order_id": "o7", "currency": "EUR", "total": 37.5, "discount": 2.5, "products": [{"product_id": "pen", "quantity": 2, "price": 20, "brand": "Acme"}]}}'),
	'taken order-o7 not kept: discount, products.brand; total 40 instead of 37.5', 'and money that is not the same');
SELECT is(pg_temp.took('{"type": "track", "event": "Order Completed", "userId": "bob", "properties": {"order_id": "o8", "total": 40, "products": [{"product_id": "pen", "quantity": 2, "price": 20}]}}'),
	'refused 22004 event "Order Completed" says no currency', 'money of no currency is not taken');

-- ---- as PostHog sends them ----

SELECT is(pg_temp.took('{"api_key": "k", "batch": [
	{"event": "$pageview", "uuid": "h1", "distinct_id": "0190-anon", "timestamp": "2026-01-03T10:00:00Z", "properties": {"$current_url": "https://example.com/ink?q=eve@example.com", "$pathname": "/ink", "$referrer": "$direct", "$session_id": "ph1", "$browser": "Firefox", "utm_medium": "cpc", "utm_campaign": "spring", "title": "Ink"}},
	{"event": "$identify", "uuid": "h2", "distinct_id": "gil", "timestamp": "2026-01-03T10:01:00Z", "properties": {"$anon_distinct_id": "0190-anon", "$set": {"email": "gil@example.com", "plan": "gold"}}},
	{"event": "Product Viewed", "uuid": "h3", "distinct_id": "gil", "timestamp": "2026-01-03T10:02:00Z", "properties": {"product_id": "ink", "$session_id": "ph1"}},
	{"event": "$screen", "uuid": "h4", "distinct_id": "0190-anon", "timestamp": "2026-01-03T10:03:00Z", "properties": {"$screen_name": "Home", "$session_id": "ph1"}},
	{"event": "$pageview", "uuid": "h1", "distinct_id": "0190-anon", "properties": {"$current_url": "https://example.com/ink", "$session_id": "ph1"}},
	{"event": "$autocapture", "uuid": "h5", "distinct_id": "gil", "properties": {}}]}'),
	'taken visit-ph1, taken customer-gil not kept: plan, taken visit-ph1, taken visit-ph1, duplicate, refused 42704 event "$autocapture" has no counterpart here', 'its names are known, too');
SELECT pg_temp.same_rows($$ SELECT type, data->>'pageUrl', data->>'pageTitle', data->>'referrer', data->>'channel', data->>'campaignId', data->>'customerId' FROM eventsource.events WHERE stream = 'visit-ph1' ORDER BY version $$, $$ VALUES
	('PageViewed', 'https://example.com/ink', 'Ink', NULL, 'paid-ad', 'spring', NULL), ('VisitorIdentified', NULL, NULL, NULL, NULL, NULL, 'gil'), ('ProductViewed', NULL, NULL, NULL, NULL, NULL, 'gil'), ('PageViewed', 'screen:Home', NULL, NULL, NULL, NULL, 'gil') $$, 'as ours are');
SELECT is(pg_temp.took('[{"event": "$set", "uuid": "h6", "distinct_id": "0191-anon", "properties": {"$set": {"email": "hal@example.com"}}},
	{"event": "$identify", "uuid": "h7", "distinct_id": "hal", "properties": {"$anon_distinct_id": "0191-anon", "$set": {"email": "hal@example.com"}}},
	{"event": "$set", "uuid": "h8", "distinct_id": "hal", "properties": {"$set": {"firstName": "Hal"}}}]'),
	'refused 22023 identify says too little, taken customer-hal, taken customer-hal', '$set of a stranger makes no customer, who could not be identified afterwards');
SELECT is((SELECT string_agg(customer_id || ' ' || first_name, ', ') FROM crm.customers WHERE email = 'hal@example.com'), 'hal Hal', 'there is one, by the id that he has');
SELECT crm.set_setting('intake_unknown_events', 'keep') \g /dev/null
SELECT is(pg_temp.took('{"event": "Pen Chewed", "uuid": "h9", "distinct_id": "0192-anon", "properties": {"$current_url": "https://example.com/?q=eve@example.com", "$session_id": "ph2", "pen": "blue"}}'),
	'taken visit-ph2 kept by its name', 'what nobody knows is kept, if that is wanted');
SELECT is((SELECT data->'properties' FROM eventsource.events WHERE stream = 'visit-ph2'), '{"pen": "blue"}', 'without what PostHog adds of its own');
SELECT crm.set_setting('intake_unknown_events', 'refuse') \g /dev/null
SELECT is(crm.import_event('Order Completed', 'gil', '{"order_id": "o77", "total": "1.234,00", "currency": "EUR", "products": [{"product_id": "pen", "quantity": 1, "price": 20}]}', '2026-02-01 01:10', 'h10'), 'order-o77',
	'a total that is no number is left alone, as it is not kept');
-- ---- in one place ----

SELECT crm.set_setting('cart_abandoned_after', '2 hours'), crm.set_setting('consent_term_marketing', '1 year') \g /dev/null
SELECT cmp_ok(crm.install(), '>', 0, 'settings of machines and folds take effect with install()');
SELECT crm.add_to_cart('k2', 'ink', 1, 5, 'EUR', 'ada', occurred_at => '2026-03-01 10:00Z') \g /dev/null
SELECT is((SELECT run_at FROM eventsource.jobs WHERE stream = 'cart-k2'), '2026-03-01 12:00Z'::timestamptz, 'a cart is left alone after two hours');
SELECT eventsource.append('customer-ada', 'ConsentGranted', '{"purpose": "marketing", "channel": "email"}', occurred_at => '2026-03-01') \g /dev/null
SELECT is((SELECT expires_at FROM crm.consents WHERE customer_id = 'ada'), '2027-03-01 00:00Z'::timestamptz, 'consent that was recorded by hand lasts a year');

-- ---- consent again ----

SELECT crm.revoke_consent('ada', 'marketing', 'email') \g /dev/null
SELECT is((SELECT skip_reason FROM crm.send_message('ada', 'email', message_id => 'm2')), 'no-consent', 'who has taken consent back is not written to');
SELECT crm.grant_consent('ada', 'marketing', 'email') \g /dev/null
SELECT is((SELECT (SELECT status FROM crm.messages WHERE message_id = 'm2') || ' ' || (SELECT is_queued FROM crm.send_message('ada', 'email', message_id => 'm3'))), 'skipped true', 'who consents again gets what is sent from then on, and not what was refused');
\i test/own_database_end.sql
