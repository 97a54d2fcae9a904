-- The second act of "make demo", in a database with eventsource_crm: somebody browses,
-- leaves a cart alone, opts in to text messages, and buys through the link in an e-mail.
-- What then stands in each view.
\set VERBOSITY default
\pset null ''
\pset footer off
\pset border 1
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';

\echo
\echo '--- Zoe registers, with consent to marketing by e-mail, and proves her address'
\echo
SELECT id, verification_token AS token FROM crm.register_customer('zoe@example.com', terms_version => '2026-01', first_name => 'Zoe', phone => '+1 212 555 0100',
	marketing_consent => true, ip_address => '203.0.113.9', customer_id => 'zoe', occurred_at => now() - interval '1 day') \gset
SELECT stream, state FROM crm.verify_email('zoe', :'token', occurred_at => now() - interval '23 hours');

\echo '--- She comes by a link of a friend, looks at two pens, and puts one into a cart'
\echo
SELECT stream, version FROM eventsource.append_events(jsonb_build_array(
	jsonb_build_object('stream', 'visit-s1', 'type', 'PageViewed', 'data', '{"pageUrl": "/pens", "customerId": "zoe", "channel": "social"}'::jsonb, 'occurred_at', now() - interval '150 minutes'),
	jsonb_build_object('stream', 'visit-s1', 'type', 'ProductViewed', 'data', '{"productId": "fountain-pen", "customerId": "zoe", "price": 129}'::jsonb, 'occurred_at', now() - interval '149 minutes'),
	jsonb_build_object('stream', 'visit-s1', 'type', 'ProductCompared', 'data', '{"productIds": ["fountain-pen", "ballpoint"], "customerId": "zoe"}'::jsonb, 'occurred_at', now() - interval '147 minutes')));
SELECT stream, state FROM crm.add_to_cart('k1', 'fountain-pen', quantity => 1, price => 129.00, currency => 'EUR', customer_id => 'zoe', product_category => 'pens', occurred_at => now() - interval '145 minutes');

\echo '--- A campaign: whoever leaves a cart of 50 or more alone is written to, unless an order came'
\echo
SELECT crm.create_campaign('cart-reminder', '{"event": "CartAbandoned", "conditions": {"totalValue": {"$gte": 50}}}',
	'[{"type": "send-email", "config": {"templateId": "still-yours"}}]', exits => '{OrderPlaced}') AS version;

\echo '--- An hour later nobody has come back: the state machine says so, the campaign sends'
\echo
SELECT work, count FROM eventsource.run_due();
SELECT work, count FROM eventsource.run_due();
SELECT type, occurred_at > now() - interval '86 minutes' AS an_hour_later, data->'totalValue' AS total_value FROM eventsource.events WHERE stream = 'cart-k1' AND type = 'CartAbandoned';
SELECT job_id, attempt, message_id, recipient, template_id FROM crm.claim_messages('email') \gset
SELECT stream, state FROM crm.complete_message(:'message_id', :job_id, 'provider-17', attempt => :attempt);

\echo '--- She opts in to text messages, and follows the link in the e-mail'
\echo
SELECT stream, version FROM crm.grant_consent('zoe', 'marketing', 'sms', consent_method => 'popup', notice_version => '2026-01', ip_address => '203.0.113.9');
SELECT state FROM crm.record_message_event(:'message_id', 'MessageClicked', '{"pageUrl": "/cart"}');
SELECT stream, version FROM eventsource.append('visit-s2', 'PageViewed', '{"pageUrl": "/cart", "customerId": "zoe", "channel": "email", "campaignId": "cart-reminder"}');
SELECT state FROM crm.start_checkout('k1');
SELECT state FROM crm.complete_checkout_step('k1', 'shipping');

\echo '--- and buys'
\echo
SELECT crm.place_order('zoe', '[{"productId": "fountain-pen", "quantity": 1, "price": 129.00, "category": "pens"}]', 'EUR', shipping => 4.90, order_id => 'o1', cart_id => 'k1', channel => 'email', campaign_id => 'cart-reminder');
SELECT state FROM crm.initiate_payment('o1', 'p1', 'paypal');
SELECT state FROM crm.record_payment('o1', 'p1', transaction_id => 'ch_17');
SELECT work, count FROM eventsource.run_due();

\echo '--- When did she consent to SMS? From where, and by which notice?'
\echo
SELECT purpose, channel, granted_at > now() - interval '1 hour' AS just_now, consent_method, notice_version, ip_address FROM crm.consent_history WHERE customer_id = 'zoe' ORDER BY version;

\echo '--- Why did we send her this?'
\echo
SELECT channel, template_id, campaign_id, status, decision - 'at' AS decision FROM crm.messages WHERE customer_id = 'zoe';

\echo '--- What happened, in order'
\echo
SELECT event_type, stream, channel, campaign_id, amount FROM crm.journeys WHERE customer_id = 'zoe' AND category <> 'customer' ORDER BY event_position;

\echo '--- How far she came, and what led her there'
\echo
SELECT step_number, stage, event_type, is_completed FROM crm.funnel_progress('purchase', 'zoe');
SELECT model, string_agg(channel || ' ' || value, ', ' ORDER BY touch_index) AS shares FROM crm.attribution_models() m, crm.attribution(m.model) GROUP BY model, m.display_order ORDER BY m.display_order;

\echo '--- The campaign, the order, the ledger, and all of her'
\echo
SELECT campaign_id, run_count, completed_run_count, sent_count, clicked_count FROM crm.campaigns;
SELECT order_id, status, payment_status, total, currency, channel FROM crm.orders;
SELECT kind, amount, currency, reference FROM crm.ledger_entries;
SELECT customer_id, consents, segments, affinities, order_count, lifetime_value, message_count FROM crm.customer_360;
