\set own_database crm_campaigns
\i test/own_database.sql
-- Campaigns: what they do, when, for whom, and what they leave alone; the examples of the documents.
CREATE EXTENSION eventsource_crm;
SELECT crm.install() \g /dev/null
SELECT plan(60);
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';

SELECT crm.register_customer(c || '@example.com', '1', marketing_consent => true, phone => '1', customer_id => c, occurred_at => now() - interval '30 days')
  FROM unnest('{ada,bob,cy,dee,eve,fay,gus,hal,ivy}'::text[]) c \g /dev/null
SELECT crm.update_preferences(c, '{"emailFrequency": "daily"}') FROM unnest('{ada,bob,cy,dee,eve,fay,gus,hal,ivy}'::text[]) c \g /dev/null
-- Messages of a customer, in order: what was sent, and what was not, and why.
CREATE FUNCTION pg_temp.messages(customer text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(coalesce(template_id, content->>'message', content->>'title') || coalesce(' ' || skip_reason, ''), ', ' ORDER BY coalesce(queued_at, skipped_at)) FROM crm.messages WHERE customer_id = customer
$$;
CREATE FUNCTION pg_temp.run_of(customer text, campaign text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', status, steps_done, last_outcome, nullif(end_reason, 'completed')), ', ' ORDER BY event_position) FROM crm.campaign_runs WHERE customer_id = customer AND campaign_id = campaign
$$;
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

-- ---- what is no campaign ----

SELECT is(pg_temp.problem($$ SELECT crm.create_campaign('x', '{"event": "CartAbandoned"}', '[{"type": "send-fax", "config": {}}, {"type": "wait", "config": {"duration": "soon"}}, {"type": "send-email"}]') $$),
	'22023 step 1: action "send-fax" is unknown; step 2: wait needs a duration above zero, and not "soon"; step 3: send-email needs a templateId, a message or a title.', 'all that is wrong with the steps is said at once');
SELECT is(pg_temp.problem($$ SELECT crm.create_campaign('x', '{"event": "CartAbandoned", "conditions": {"cartValue": {"$gte": 50}}}', '[{"type": "send-email", "config": {"templateId": "t"}}]') $$),
	'22023 A condition on it would never hold.', 'a field that the event does not have is no condition');
SELECT is(pg_temp.problem($$ SELECT crm.create_campaign('x', '{"event": "CartAbandoned", "conditions": {"totalValue": {"$near": 50}}}', '[{"type": "send-email", "config": {"templateId": "t"}}]') $$),
	'22023 It says 50.', 'nor is an operator that nobody knows');
SELECT is(pg_temp.problem($$ SELECT crm.create_campaign('x', '{"event": "CartAbandonned"}', '[{"type": "send-email", "config": {"templateId": "t"}}]') $$),
	'22023 It is none of visits, carts, orders, messages or customers.', 'nor an event');
SELECT is(pg_temp.problem($$ SELECT crm.create_campaign('x', '{"funnel": "purchase", "stage": "afterglow", "idle": "-1 hour"}', '[{"type": "wait", "config": {"duration": "1 hour"}}]', exits => '{Nope}') $$),
	'22023 exit "Nope" is no event type of visits, carts, orders, messages or customers; it does nothing but wait; there is no stage "afterglow" in funnel "purchase"; idle must be above zero.', 'nor a stage');
SELECT is((SELECT count(*) FROM crm.campaigns), 0::bigint, 'nothing of it is there');

-- ---- the examples ----

SELECT is(crm.create_example_campaigns(), 10, 'the campaigns of the documents');
SELECT is(crm.create_example_campaigns(), 10, 'defined again');
SELECT is((SELECT string_agg(DISTINCT campaign_version::text, ' ') FROM crm.campaigns), '1', 'are the same');
SELECT is((SELECT string_agg(action || coalesce(' ' || (config->>'duration'), ''), ', ' ORDER BY step_number) FROM crm.campaign_steps WHERE campaign_id = 'abandoned-cart-v2'),
	'wait 1 hour, send-email, wait 24 hours, send-email', 'steps are data');

-- ---- by an event ----

SELECT crm.add_to_cart('k1', 'pen', 1, 50.00, 'EUR', 'ada', occurred_at => now() - interval '2 hours'), crm.add_to_cart('k2', 'pen', 1, 49.99, 'EUR', 'bob', occurred_at => now() - interval '2 hours') \g /dev/null
CALL pg_temp.run_due();
SELECT is((SELECT string_agg(stream, ' ') FROM eventsource.events WHERE type = 'CartAbandoned'), 'cart-k1 cart-k2', 'two carts are left alone');
SELECT is((SELECT string_agg(customer_id, ' ') FROM crm.campaign_runs WHERE campaign_id = 'abandoned-cart-v2'), 'ada', 'from exactly 50 up');
SELECT is((SELECT extract(epoch FROM run_at - started_at)::numeric(9, 1) FROM eventsource.jobs, crm.campaign_runs WHERE campaign_id = 'abandoned-cart-v2' AND reaction LIKE 'campaign_abandoned-cart-v2%' AND state = 'scheduled'),
	3600.0, 'the reminder waits an hour, and nothing is sent before');
SELECT is(pg_temp.messages('ada'), NULL, 'no e-mail at once');
SELECT eventsource.run_due() \g /dev/null
SELECT is((SELECT count(*) FROM crm.campaign_runs WHERE campaign_id = 'abandoned-cart-v2'), 1::bigint, 'who looks again finds nothing new');

-- ---- steps, exits, one after the other ----

SELECT crm.create_campaign('quick', '{"event": "CartAbandoned"}', '[{"type": "send-email", "config": {"templateId": "one", "personalization": ["cartItems"]}}, {"type": "wait", "config": {"duration": "1 millisecond"}},
	{"type": "add-to-segment", "config": {"segmentId": "reminded"}}, {"type": "wait", "config": {"duration": "1 day"}}, {"type": "send-email", "config": {"templateId": "two"}}]', exits => '{OrderPlaced}') \g /dev/null
SELECT crm.add_to_cart('k3', 'pen', 1, 10, 'EUR', 'cy', occurred_at => now() - interval '2 hours') \g /dev/null
CALL pg_temp.run_due();
SELECT is(pg_temp.run_of('cy', 'quick'), 'active 2 added', 'two steps are done, the third waits');
SELECT is(pg_temp.messages('cy'), 'one', 'one message');
SELECT is((SELECT content FROM crm.messages WHERE template_id = 'one'), '{"personalization": ["cartItems"]}', 'with what its sender is to put in');
SELECT is((SELECT message_id FROM crm.messages WHERE template_id = 'one'), 'quick.' || (SELECT position FROM eventsource.events WHERE stream = 'cart-k3' AND type = 'CartAbandoned') || '.1', 'called after campaign, event and step: a retry is no other message');
SELECT is((SELECT string_agg(segment_id, ' ') FROM crm.segment_members WHERE customer_id = 'cy'), 'reminded', 'and a segment');
SELECT crm.create_campaign('quick', '{"event": "CartAbandoned"}', '[{"type": "wait", "config": {"duration": "1 millisecond"}}, {"type": "send-email", "config": {"templateId": "three"}}]', exits => '{OrderPlaced}') AS version \gset
SELECT is(:version, 2, 'another version');
SELECT is((SELECT campaign_version FROM crm.campaign_runs WHERE customer_id = 'cy' AND campaign_id = 'quick'), 1, 'who is in it goes by the old one');
SELECT crm.add_to_cart('k4', 'pen', 1, 10, 'EUR', 'dee', occurred_at => now() - interval '2 hours') \g /dev/null
CALL pg_temp.run_due();
SELECT is(pg_temp.run_of('dee', 'quick') || ': ' || pg_temp.messages('dee'), 'completed 1 queued: three', 'who comes goes by the new one');
-- eve abandons and orders between two steps.
SELECT crm.create_campaign('slow', '{"event": "CartAbandoned"}', '[{"type": "wait", "config": {"duration": "300 milliseconds"}}, {"type": "send-email", "config": {"templateId": "late"}}]', exits => '{OrderPlaced}') \g /dev/null
SELECT throws_ok(format('SELECT crm.%s_campaign(''nope'')', command), '42704', 'there is no campaign "nope"', command || ' one that is not there')
  FROM unnest('{pause,resume,end}'::text[]) command;
SELECT crm.end_campaign('quick') \g /dev/null
SELECT crm.add_to_cart('k5', 'pen', 1, 10, 'EUR', 'eve', occurred_at => now() - interval '2 hours') \g /dev/null
SELECT eventsource.run_due() \g /dev/null
SELECT eventsource.run_due() \g /dev/null
SELECT is(pg_temp.run_of('eve', 'slow'), 'active 0', 'somebody is in a campaign');
SELECT is(pg_temp.run_of('eve', 'quick'), NULL, 'but not in one that is over');
SELECT crm.place_order('eve', '[{"productId": "pen", "quantity": 1, "price": 10}]', 'EUR', order_id => 'e1', cart_id => 'k5') \g /dev/null
CALL pg_temp.run_due();
SELECT is(pg_temp.run_of('eve', 'slow') || ': ' || coalesce(pg_temp.messages('eve'), '-'), 'left 0 exit: OrderPlaced: -', 'who ordered meanwhile is not reminded');

-- ---- consent and caps when it is sent ----

SELECT crm.add_to_cart('k6', 'pen', 1, 10, 'EUR', 'fay', occurred_at => now() - interval '2 hours') \g /dev/null
SELECT eventsource.run_due() \g /dev/null
SELECT eventsource.run_due() \g /dev/null
SELECT crm.revoke_consent('fay', 'marketing', 'email') \g /dev/null
CALL pg_temp.run_due();
SELECT is(pg_temp.run_of('fay', 'slow') || ': ' || pg_temp.messages('fay'), 'completed 1 no-consent: late no-consent', 'consent that was taken back during a wait counts');
SELECT crm.add_to_cart('k7', 'pen', 1, 10, 'EUR', 'dee', occurred_at => now() - interval '2 hours') \g /dev/null
CALL pg_temp.run_due();
SELECT is(pg_temp.messages('dee'), 'three, late frequency-cap', 'caps hold across campaigns');
SELECT crm.add_to_cart('k8', 'pen', 1, 10, 'EUR', 'gus', occurred_at => now() - interval '2 hours') \g /dev/null
SELECT eventsource.run_due() \g /dev/null
SELECT eventsource.run_due() \g /dev/null
SELECT crm.deactivate_customer('gus', 'other') \g /dev/null
CALL pg_temp.run_due();
SELECT is(pg_temp.run_of('gus', 'slow') || coalesce(pg_temp.messages('gus'), ''), 'left 0 account-closed', 'who closes the account leaves');

-- ---- pause, resume, end ----

SELECT crm.set_setting('campaign_retry', '10 milliseconds') \g /dev/null
SELECT crm.pause_campaign('slow') \g /dev/null
SELECT crm.add_to_cart('k9', 'pen', 1, 10, 'EUR', 'hal', occurred_at => now() - interval '2 hours') \g /dev/null
SELECT eventsource.run_due() \g /dev/null
SELECT eventsource.run_due() \g /dev/null
SELECT is((SELECT status FROM crm.campaigns WHERE campaign_id = 'slow'), 'paused', 'a campaign rests');
SELECT is(pg_temp.run_of('hal', 'slow'), NULL, 'and does nothing');
SELECT is((SELECT count(*) FROM eventsource.jobs WHERE reaction LIKE 'campaign\_slow.%' AND state IN ('scheduled', 'available')), 1::bigint, 'what is due waits');
SELECT crm.resume_campaign('slow') \g /dev/null
CALL pg_temp.run_due();
SELECT is(pg_temp.run_of('hal', 'slow') || ': ' || pg_temp.messages('hal'), 'completed 1 queued: late', 'and goes on');
SELECT crm.pause_campaign('slow'), crm.pause_campaign('slow') \g /dev/null
SELECT is((SELECT count(*) FROM eventsource.events WHERE stream = 'campaign-slow' AND type = 'CampaignSuspended'), 2::bigint, 'what rests is not put to rest again');
SELECT crm.end_campaign('slow', 'summer is over') \g /dev/null
SELECT is((SELECT status || ' ' || run_count || ' ' || completed_run_count || ' ' || active_run_count FROM crm.campaigns WHERE campaign_id = 'slow'), 'ended 5 3 0', 'it is over');
SELECT is((SELECT count(*) FROM eventsource.reactions WHERE name LIKE 'campaign\_slow%'), 0::bigint, 'nobody enters it');

-- ---- by hand; once per customer; orders ----

SELECT crm.create_campaign('hello', '{"event": "EmailVerified", "once": "customer"}', '[{"type": "send-sms", "config": {"message": "Hello!", "messageClass": "transactional"}}]') \g /dev/null
SELECT crm.trigger_campaign('hello', 'ivy', '{"orderId": "o1"}', idempotency_key => 'once') \g /dev/null
SELECT crm.trigger_campaign('hello', 'ivy', '{"orderId": "o1"}', idempotency_key => 'once') \g /dev/null
CALL pg_temp.run_due();
SELECT is(pg_temp.run_of('ivy', 'hello') || ': ' || pg_temp.messages('ivy'), 'completed 1 queued: Hello!', 'by hand, once');
SELECT crm.trigger_campaign('hello', 'ivy') \g /dev/null
CALL pg_temp.run_due();
SELECT is(pg_temp.run_of('ivy', 'hello'), 'completed 1 queued', 'once per customer is once');
SELECT pg_temp.refused($$ SELECT crm.trigger_campaign('nope', 'ivy') $$, '42704 there is no campaign "nope"', 'of what is there');
SELECT crm.place_order('bob', '[{"productId": "pen", "quantity": 1, "price": 10}, {"productId": "ink", "quantity": 1, "price": 1, "category": "consumables"}]', 'EUR', order_id => 'b1') \g /dev/null
SELECT crm.initiate_payment('b1', 'p1', 'paypal'), crm.record_payment('b1', 'p1') \g /dev/null
CALL pg_temp.run_due();
SELECT is(pg_temp.messages('bob'), 'order-confirmation', 'an order is confirmed once');
SELECT crm.revoke_consent('bob', 'marketing', 'email') \g /dev/null
SELECT crm.ship_order('b1') \g /dev/null
CALL pg_temp.run_due();
SELECT is(pg_temp.messages('bob'), 'order-confirmation, order-shipped, Your order has shipped!', 'transactional messages need no consent');
SELECT is((SELECT string_agg(channel, ' ' ORDER BY queued_at) FROM crm.messages WHERE customer_id = 'bob'), 'email email push', 'by e-mail and push');
SELECT crm.deliver_order('b1') \g /dev/null
CALL pg_temp.run_due();
SELECT is((SELECT string_agg(regexp_replace(reaction, '^campaign_(.*)\.1\.1$', '\1') || ' ' || round(extract(epoch FROM run_at - now()) / 86400), ', ' ORDER BY run_at) FROM eventsource.jobs
	WHERE stream = 'order-b1' AND state = 'scheduled'), 'delivery-review-request 3, post-purchase-cross-sell 7, replenishment-campaign 30', 'three campaigns wait for their days');
SELECT crm.place_order('ivy', '[{"productId": "pen", "quantity": 1, "price": 10}]', 'EUR', order_id => 'i1') \g /dev/null
SELECT crm.initiate_payment('i1', 'p1', 'credit-card'), crm.fail_payment('i1', 'p1', 'CARD_DECLINED') \g /dev/null
CALL pg_temp.run_due();
SELECT is(pg_temp.messages('ivy'), 'Hello!, payment-failed', 'a payment that failed for good leads to the recovery');
SELECT crm.register_customer('jo@example.com', '1', customer_id => 'jo') \g /dev/null
CALL pg_temp.run_due();
SELECT is(pg_temp.messages('jo'), 'welcome-verification', 'who registers is greeted, without consent to marketing');

-- ---- by idleness in a funnel ----

SELECT crm.register_customer(c || '@example.com', '1', marketing_consent => true, customer_id => c, occurred_at => now() - interval '30 days') FROM unnest('{v1,v2,v3,v4,v5}'::text[]) c \g /dev/null
CALL pg_temp.run_due();
SELECT eventsource.append('visit-s' || c, 'ProductViewed', jsonb_build_object('productId', p, 'customerId', 'v' || c), occurred_at => now() - make_interval(mins => minutes))
  FROM (VALUES (1, 'pen', 40), (1, 'ink', 30), (2, 'pen', 40), (2, 'pen', 35), (3, 'pen', 40), (3, 'ink', 29), (4, 'pen', 50), (4, 'ink', 45)) x (c, p, minutes) \g /dev/null
SELECT crm.add_to_cart('kv4', 'pen', 1, 10, 'EUR', 'v4', occurred_at => now() - interval '44 minutes') \g /dev/null
CALL pg_temp.run_due();
SELECT is(pg_temp.run_of('v1', 'abandoned-browse-recovery'), 'completed 1 queued', 'several products, and idle for exactly 30 minutes: once, for the last of them');
SELECT is(pg_temp.run_of('v2', 'abandoned-browse-recovery'), NULL, 'one product twice is one');
SELECT is(pg_temp.run_of('v3', 'abandoned-browse-recovery'), NULL, '29 minutes are not 30');
SELECT is(pg_temp.run_of('v4', 'abandoned-browse-recovery'), NULL, 'who put something into a cart went on');
SELECT is((SELECT count(*) FROM eventsource.jobs WHERE reaction LIKE 'campaign_abandoned-browse%' AND stream = 'visit-s3' AND state = 'scheduled'), 1::bigint, 'a job waits for the minute');
CALL pg_temp.run_due();
SELECT is((SELECT count(*) FROM crm.campaign_runs WHERE campaign_id = 'abandoned-browse-recovery'), 1::bigint, 'and nobody enters twice');
SELECT crm.add_to_cart('kv5', 'pen', 1, 10, 'EUR', 'v5', occurred_at => now() - interval '70 minutes'), crm.start_checkout('kv5', occurred_at => now() - interval '60 minutes') \g /dev/null
CALL pg_temp.run_due();
SELECT is(pg_temp.run_of('v5', 'checkout-abandonment'), 'active 0', 'a checkout that was left alone for an hour');
SELECT is((SELECT status FROM crm.carts WHERE cart_id = 'kv5'), 'abandoned', 'as the cart says, too');
SELECT is((SELECT count(*) FROM eventsource.jobs WHERE queue = '$reaction' AND error_code IS NOT NULL), 0::bigint, 'nothing has failed');

-- ---- what they do not do ----

SELECT eventsource.append('customer-old', 'CustomerCreated', '{"email": "old@example.com", "source": "import"}', metadata => '{"import": true}') \g /dev/null
CALL pg_temp.run_due();
SELECT is((SELECT count(*) FROM crm.campaign_runs WHERE customer_id = 'old'), 0::bigint, 'imports lead to no campaign');
SELECT count(*) AS n FROM crm.messages \gset
SELECT eventsource.rebuild_projection(t) FROM unnest('{crm.customer,crm.cart,crm.message,crm.campaign_run}'::regclass[]) t \g /dev/null
CALL pg_temp.run_due();
SELECT is((SELECT count(*) FROM crm.messages), :n::bigint, 'nor does a rebuild');
SELECT is_empty($$ SELECT t, v.key FROM unnest('{crm.campaign,crm.campaign_run,crm.message}'::regclass[]) t, eventsource.verify_projection(t) v $$, 'all of it equals its replay');
\i test/own_database_end.sql
