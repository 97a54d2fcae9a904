\set own_database crm_numbers
\i test/own_database.sql
-- The numbers of the documents (item 193 of docs/checklist.md): each is there as data, before anybody has changed one.
CREATE EXTENSION eventsource_crm;
SELECT crm.install() \g /dev/null
SELECT plan(26);
SET timezone = 'UTC';
SET intervalstyle = 'postgres';

CREATE FUNCTION pg_temp.value(name text) RETURNS text LANGUAGE sql AS $$ SELECT s.value FROM crm.settings s WHERE s.setting_name = name AND s.is_default $$;
CREATE FUNCTION pg_temp.waits(campaign text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(s->>'type' || coalesce(' ' || (s #>> '{config,duration}')::interval, ''), ', ' ORDER BY n) FROM crm.campaign_examples() e, jsonb_array_elements(e.steps) WITH ORDINALITY x (s, n) WHERE e.campaign_id = campaign
$$;

-- ---- consent, caps ----

SELECT is(pg_temp.value('consent_term_marketing')::interval, '2 years'::interval, 'consent lasts two years');
SELECT is((SELECT string_agg(cap_id || ' ' || coalesce(period::text, 'ever') || ' ' || max_messages, ', ' ORDER BY cap_id) FROM crm.frequency_caps), 'email-daily 24:00:00 1, email-never ever 0, email-weekly 168:00:00 1, push-hourly 01:00:00 1',
	'24 hours, 168 hours, an hour');
SELECT is(pg_temp.value('email_frequency'), 'weekly', 'weekly unless one says otherwise');
SELECT is(pg_temp.value('verification_term')::interval, '24 hours'::interval, 'a token is good for a day');

-- ---- carts and campaigns ----

SELECT is((SELECT string_agg(type || ' ' || after, ', ' ORDER BY type) FROM eventsource.state_machine_timeouts WHERE state_machine = 'crm_cart' AND is_current), 'CartAbandoned 01:00:00, CheckoutAbandoned 01:00:00', 'a cart is left alone after 60 minutes');
SELECT is((SELECT trigger #> '{conditions,totalValue}' FROM crm.campaign_examples() WHERE campaign_id = 'abandoned-cart-v2'), '{"$gte": 50}'::jsonb, 'carts from 50 up');
SELECT is(pg_temp.waits('abandoned-cart-v2'), 'wait 01:00:00, send-email, wait 24:00:00, send-email', 'an hour, and a day');
SELECT is(pg_temp.waits('checkout-abandonment'), 'wait 01:00:00, send-email, wait 24:00:00, send-sms', 'of checkouts, too');
SELECT is(pg_temp.waits('delivery-review-request') || ', ' || pg_temp.waits('post-purchase-cross-sell') || ', ' || pg_temp.waits('replenishment-campaign'), 'wait 3 days, send-email, wait 7 days, send-email, wait 30 days, send-email', '3, 7 and 30 days');
SELECT is((SELECT string_agg((trigger->>'idle')::interval::text, ' ' ORDER BY campaign_id) FROM crm.campaign_examples() WHERE trigger ? 'idle'), '00:30:00 01:00:00', 'idle for 30 and 60 minutes');
SELECT is(pg_temp.value('session_gap')::interval, '30 minutes'::interval, 'half an hour ends a session');

-- ---- payments ----

SELECT is(pg_temp.value('payment_retries') || ' ' || pg_temp.value('payment_backoff')::interval || ' ' || pg_temp.value('payment_backoff_factor'), '3 00:05:00 1', 'three attempts, 300 seconds apart');

-- ---- segments, scores, attribution ----

SELECT is((SELECT rule FROM crm.segments WHERE segment_id = 'high-value-customers'), '$.ltv > 1000 && $.orderFrequency > 5', '1000 and 5');
SELECT is(pg_temp.value('affinity_threshold')::numeric, 0.7, '0.7');
SELECT is((SELECT string_agg(concat_ws(' ', segment, min_r, max_r, min_f, max_f, min_m, max_m), ', ' ORDER BY priority) FROM crm.rfm_segment_rules() WHERE priority < 5), 'champions 4 5 4 5 4 5, at-risk 1 2 3 5 3 5, loyal-customers 1 5 4 5 1 5, new-customers 4 5 1 2 1 5',
	'cuts at 4, 3 and 2');
SELECT is((SELECT pg_get_expr(proargdefaults, 0) LIKE '%''30 days''::interval%''7 days''::interval%' FROM pg_proc WHERE oid = 'crm.attribution(text,text,interval,interval,timestamptz,timestamptz,text[],text)'::regprocedure), true,
	'30 days of look-back, a half-life of 7 days');

-- ---- dead letters, lag, batches ----

SELECT eventsource.create_queue('crm_sms') \g /dev/null
SELECT is((SELECT max_dead_per_hour FROM eventsource.queues WHERE name = 'crm_sms'), 100, 'more than 100 an hour raise an alert');
SELECT is((SELECT max_attempts FROM eventsource.queues WHERE name = 'crm_sms'), eventsource.queue_attempts('crm_email'), 'attempts end, also in a queue that nobody created');
SELECT is((SELECT threshold FROM eventsource.health() h WHERE h."check" = 'feed lag'), 60::numeric, '60 seconds of lag');
SELECT crm.create_integration('x') \g /dev/null
SELECT is((SELECT max_lag FROM eventsource.subscriptions WHERE name = 'crm_x'), '1 minute'::interval, 'of who follows, too');

-- ---- terms ----

SELECT is((SELECT string_agg(DISTINCT detail::text, ' ') FROM crm.retention_defaults()), '90 days', 'detail for 90 days');
SELECT is((SELECT total FROM crm.retention_defaults() WHERE category = 'order'), '7 years'::interval, 'and seven years');

-- ---- leads ----

SELECT is(pg_temp.value('first_contact_sla')::interval, '5 minutes'::interval, 'the first contact within five minutes');
SELECT is((SELECT string_agg(state || ' ' || type || ' ' || after, ', ' ORDER BY state) FROM eventsource.state_machine_timeouts WHERE state_machine = 'crm_lead' AND is_current), 'CONTACTING timeout_21d_no_response 21 days, QUALIFIED timeout_180d_no_progress 180 days', '21 and 180 days');
SELECT is((SELECT count(*) FROM crm.lead_states()), 8::bigint, 'eight states');
SELECT is((SELECT count(*) FROM eventsource.state_machine_transitions WHERE state_machine = 'crm_lead' AND is_current AND NOT is_root AND from_state IS NOT NULL), 13::bigint, 'thirteen ways between them');
\i test/own_database_end.sql
