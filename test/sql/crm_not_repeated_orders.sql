\set own_database crm_not_repeated_orders
\i test/own_database.sql
-- Faults of the documents' code about orders, money, segments, funnels and attribution, by their numbers in docs/checklist.md: each is tried, and not repeated.
CREATE EXTENSION eventsource_crm;
SELECT crm.install() \g /dev/null
SELECT plan(50);
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';

CREATE FUNCTION pg_temp.types(stream text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(e.type, ' ' ORDER BY e.version) FROM eventsource.events e WHERE e.stream = types.stream
$$;
CREATE FUNCTION pg_temp.ordered(id text, customer text DEFAULT 'ada', price numeric DEFAULT 10, at timestamptz DEFAULT '2026-01-01', currency text DEFAULT 'EUR') RETURNS text LANGUAGE sql AS $$
	SELECT crm.place_order(customer, jsonb_build_array(jsonb_build_object('productId', 'pen', 'quantity', 1, 'price', price, 'category', 'pens')), currency, order_id => id, occurred_at => at)
$$;
CREATE FUNCTION pg_temp.bought(id text, customer text DEFAULT 'ada', price numeric DEFAULT 10, at timestamptz DEFAULT '2026-01-01', currency text DEFAULT 'EUR') RETURNS void LANGUAGE sql AS $$
	SELECT pg_temp.ordered(id, customer, price, at, currency), crm.record_payment(id, 'p', price, occurred_at => at)
$$;
SELECT crm.register_customer(c || '@example.com', '1', customer_id => c, occurred_at => '2025-12-01') FROM unnest('{ada,bob,cy,dee,eve}'::text[]) c \g /dev/null

-- ---- refunds ----

SELECT pg_temp.bought('d1'), crm.ship_order('d1', occurred_at => '2026-01-02'), crm.deliver_order('d1', occurred_at => '2026-01-03') \g /dev/null
SELECT is(pg_temp.outcome($$ SELECT crm.initiate_refund('d1', 'a', 'quality-issue', 4) $$), 'done', 'X24: what is bad is paid back after the delivery');
SELECT is(pg_temp.outcome($$ SELECT crm.initiate_refund('d1', 'b', 'customer-request', 4) $$), 'ZE005 reason_holds_after_delivery', 'X24: a change of mind is not, by the policy,');
SELECT crm.set_setting('refund_reasons_after_delivery', 'quality-issue,delivery-failed,other,customer-request'), crm.install() \g /dev/null
SELECT is(pg_temp.outcome($$ SELECT crm.initiate_refund('d1', 'b', 'customer-request', 4) $$), 'done', 'X24: which is a setting');
SELECT is(pg_temp.outcome($$ SELECT crm.initiate_refund('d1', 'c', 'other', 2.01) $$), 'ZE005 no_more_than_was_paid', 'X25: refunds do not exceed payments, by no cent');
SELECT crm.complete_refund('d1', 'a', 're_1') \g /dev/null
SELECT is((SELECT payment_status || ' ' || refunded_amount FROM crm.orders WHERE order_id = 'd1'), 'partly-refunded 4', 'X25: a refund is seen in the status');
SELECT is((SELECT data->>'transactionId' FROM eventsource.events WHERE stream = 'order-d1' AND type = 'RefundCompleted'), 're_1', 'X25: it is completed, with the number of the provider');
SELECT is(pg_temp.outcome($$ SELECT eventsource.append('order-d1', 'RefundInitiated', '{"customerId": "ada", "refundId": "z", "amount": 100, "currency": "EUR", "reason": "other", "refundType": "partial"}') $$), 'ZE005 no_more_than_was_paid', 'X25: by no door');
SELECT is(pg_temp.outcome($$ SELECT crm.cancel_order('d1') $$), 'ZE002', 'X25: cancelling and confirming are folded: what was delivered is not cancelled');

-- ---- payments ----

SELECT is(pg_temp.outcome($$ SELECT eventsource.append('order-d1', 'PaymentSucceeded', '{"customerId": "ada", "paymentId": "late", "amount": 10, "currency": "EUR"}') $$), 'ZE002', 'X26: a late payment does not bring a completed order back');
SELECT is((SELECT status FROM crm.orders WHERE order_id = 'd1'), 'completed', 'X26: it stays completed');
SELECT is((SELECT string_agg(status || ' ' || duration, ', ' ORDER BY entered_at) FROM crm.order_state_visits WHERE order_id = 'd1' AND NOT is_current), 'pending-payment 00:00:00, confirmed 1 day, in-transit 1 day',
	'X27: a time in a status ends when the status is left');
SELECT pg_temp.ordered('f1'), crm.initiate_payment('f1', 'p', 'credit-card', occurred_at => '2026-01-01') \g /dev/null
SELECT crm.fail_payment('f1', 'p', 'TIMEOUT', occurred_at => '2026-01-01 01:00'), crm.retry_payment('f1', 'p', occurred_at => '2026-01-01 02:00') \g /dev/null
SELECT is((SELECT count(*) FROM crm.order_state_visits WHERE order_id = 'f1' AND status = 'pending-payment'), 2::bigint, 'X27: a status that is entered again is another visit');
SELECT crm.fail_payment('f1', 'p', 'TIMEOUT', occurred_at => '2026-01-01 03:00'), crm.retry_payment('f1', 'p', occurred_at => '2026-01-01 04:00') \g /dev/null
SELECT crm.fail_payment('f1', 'p', 'TIMEOUT', occurred_at => '2026-01-01 05:00'), crm.retry_payment('f1', 'p', occurred_at => '2026-01-01 06:00'), crm.fail_payment('f1', 'p', 'TIMEOUT', occurred_at => '2026-01-01 07:00') \g /dev/null
SELECT is((SELECT string_agg((data->>'attempt') || '/' || (data->>'maxAttempts'), ' ' ORDER BY version) FROM eventsource.events WHERE stream = 'order-f1' AND type = 'RetryScheduled'), '1/3 2/3 3/3', 'X28: attempts are counted from events: three, and no fourth');
SELECT is((SELECT data->>'givenUp' FROM eventsource.events WHERE stream = 'order-f1' ORDER BY version DESC LIMIT 1), 'true', 'X28: then it is given up');
SELECT crm.set_setting('payment_backoff_factor', '2'), crm.install() \g /dev/null
SELECT pg_temp.ordered('f2'), crm.initiate_payment('f2', 'p', 'credit-card', occurred_at => '2026-01-01') \g /dev/null
SELECT crm.fail_payment('f2', 'p', 'TIMEOUT', occurred_at => '2026-01-01'), crm.retry_payment('f2', 'p', occurred_at => '2026-01-01'), crm.fail_payment('f2', 'p', 'TIMEOUT', occurred_at => '2026-01-01'), crm.retry_payment('f2', 'p', occurred_at => '2026-01-01'),
	crm.fail_payment('f2', 'p', 'TIMEOUT', occurred_at => '2026-01-01') \g /dev/null
SELECT is((SELECT string_agg(to_char((data->>'retryAt')::timestamptz, 'MI:SS'), ' ' ORDER BY version) FROM eventsource.events WHERE stream = 'order-f2' AND type = 'RetryScheduled'), '05:00 10:00 20:00', 'X28: a back-off can be one');
SELECT pg_temp.ordered('m1', 'bob', 0.1), pg_temp.ordered('m2', 'bob', 0.2), pg_temp.ordered('m3', 'bob', 0.3, currency => 'USD') \g /dev/null
SELECT crm.record_payment(o, 'p', a) FROM (VALUES ('m1', 0.1), ('m2', 0.2), ('m3', 0.3)) x (o, a) \g /dev/null
SELECT is((SELECT string_agg(currency || ' ' || balance, ', ' ORDER BY currency) FROM crm.account_balances WHERE account_id = 'bob'), 'EUR 0.3, USD 0.3', 'X29: a tenth and two tenths are three tenths, and currencies are not added up');
SELECT is((SELECT string_agg(DISTINCT currency, ' ') FROM crm.payment_failures WHERE order_id = 'f1'), 'EUR', 'X29: a failure has its currency');
SELECT is(pg_temp.outcome($$ SELECT eventsource.append('order-f2', 'PaymentSucceeded', '{"customerId": "ada", "paymentId": "p", "amount": 10, "currency": "USD"}') $$), 'ZE005 same_currency', 'X29: an order is paid in its currency');
SELECT is(pg_temp.types('order-f2') LIKE 'OrderPlaced PaymentInitiated PaymentFailed%', true, 'X30: a charge that fails is recorded, and so is its beginning');
SELECT is(pg_temp.outcome($$ SELECT crm.initiate_payment('f1', 'p', 'credit-card') $$), 'ZE005 payment_is_new', 'X30: a payment has an identity: it is not begun twice');
SELECT is((crm.record_payment('m1', 'p', 0.1)).is_duplicate, true, 'X30: nor recorded twice');
SELECT eventsource.run_due() \g /dev/null
SELECT is((SELECT count(*) FROM eventsource.jobs WHERE queue = 'crm_payment' AND stream = 'order-f2' AND state IN ('available', 'scheduled')), 1::bigint, 'X30: a charge that is to be tried again is a job, one for its key');

-- ---- segments ----

SELECT pg_temp.bought('s1', 'cy'), pg_temp.bought('s2', 'cy') \g /dev/null
SELECT eventsource.run_due() \g /dev/null
SELECT eventsource.run_due() \g /dev/null
SELECT is((SELECT count(*) FROM eventsource.events WHERE stream = 'customer-cy' AND type = 'CustomerSegmentAdded'), 1::bigint, 'X46: who buys twice before anybody looks is a buyer, once (at once: t/071_crm_races.pl)');
SELECT is(crm.recalculate_segments('cy'), 0, 'X47: worked out again, nothing is said again');
SELECT is((SELECT count(*) FROM eventsource.events WHERE stream = 'customer-cy' AND type = 'ProductAffinityDetected'), 1::bigint, 'X47: an affinity neither');
SELECT crm.initiate_refund(o, 'r', 'other'), crm.complete_refund(o, 'r') FROM unnest('{s1,s2}'::text[]) o \g /dev/null
SELECT eventsource.run_due() \g /dev/null
SELECT is((SELECT count(*) FROM crm.segment_members WHERE customer_id = 'cy'), 0::bigint, 'X47: who belongs no more leaves');
SELECT is((SELECT string_agg(type, ' ' ORDER BY version) FROM eventsource.events WHERE stream = 'customer-cy' AND type ~ 'Segment|Affinity'), 'CustomerSegmentAdded ProductAffinityDetected CustomerSegmentRemoved ProductAffinityEnded', 'X47: and that is said');

-- ---- funnels ----

SELECT pg_temp.ordered('lone', 'dee', at => '2026-03-01') \g /dev/null
SELECT is((SELECT bool_or(is_completed) FROM crm.funnel_progress('purchase', 'dee')), false, 'X48: a lone order completes no funnel');
SELECT is((SELECT string_agg(unique_users || coalesce(' ' || pct_conversion, ''), ', ' ORDER BY step_number) FROM crm.funnel('purchase', '2026-03-01', '2026-03-02')), '0, 0, 0, 0, 0', 'X48: nor is it a conversion');
SELECT eventsource.append('visit-eve', 'PageViewed', '{"pageUrl": "/", "customerId": "eve"}', occurred_at => '2026-03-01 10:00'), eventsource.append('visit-eve', 'ProductViewed', '{"productId": "pen", "customerId": "eve"}', occurred_at => '2026-03-01 10:30'),
	eventsource.append('visit-eve', 'ReviewRead', '{"productId": "pen", "reviewId": "v", "customerId": "eve"}', occurred_at => '2026-03-01 11:00') \g /dev/null
SELECT is((SELECT string_agg(event_type || ' ' || unique_users || ' ' || pct_conversion, ', ' ORDER BY step_number) FROM crm.funnel('purchase', '2026-03-01', '2026-03-02') WHERE unique_users > 0), 'awareness 1 1.0000, consideration 1 1.0000',
	'X48: a rate is one of customers');
SELECT crm.define_funnel('paid', '[{"name": "seen", "events": ["PageViewed"]}, {"name": "paid", "events": ["PaymentSucceeded"]}]') \g /dev/null
SELECT is((SELECT count(*) FROM crm.funnel_progress('paid', 'dee') WHERE is_reached), 0::bigint, 'X48: a funnel can ask for the money');
SELECT is((SELECT count(*) FILTER (WHERE is_reached) || ' ' || count(*) FROM crm.funnel_progress('purchase', 'nobody')), '0 5', 'X49: who did nothing is no crash');
SELECT is((SELECT count(*) FROM crm.funnel_dropoff('purchase', '2000-01-01')), 0::bigint, 'X49: nor is a time when nobody was there');
SELECT is((SELECT next_stage || ' ' || coalesce(dropoff_likelihood::text, 'unknown') FROM crm.funnel_dropoff('purchase', '2026-03-01 12:00') WHERE customer_id = 'eve'), 'intent unknown', 'X49: the next stage is told, and a likelihood that nobody can know is not');
SELECT is((SELECT string_agg(stage || ' ' || is_reached || ' ' || coalesce(time_in_stage::text, '-') || ' ' || is_dropoff, ', ' ORDER BY step_number) FROM crm.funnel_progress('purchase', 'eve', as_of => '2026-03-01 12:00') WHERE step_number <= 3),
	'awareness true 01:00:00 false, consideration true 01:00:00 true, intent false - false', 'X50: the stage where somebody stands has its time, and says that it was not left');

-- ---- scores ----

CREATE FUNCTION pg_temp.named(r int, f int, m int) RETURNS text LANGUAGE sql AS $$
	SELECT segment FROM crm.rfm_segment_rules() WHERE r BETWEEN min_r AND max_r AND f BETWEEN min_f AND max_f AND m BETWEEN min_m AND max_m ORDER BY priority LIMIT 1
$$;
SELECT is(pg_temp.named(1, 5, 5) || ' ' || pg_temp.named(2, 4, 3), 'at-risk at-risk', 'X52: who bought often, and long ago, is at risk, and not loyal');
SELECT is((SELECT concat_ws(' ', frequency, monetary, recency_days::text, segment) FROM crm.rfm('2026-04-01') WHERE customer_id = 'dee'), '0 0 no-orders', 'X53: who has paid for nothing has no recency, and not 999');
SELECT is((SELECT frequency || ' ' || monetary FROM crm.rfm() WHERE customer_id = 'ada'), '1 6', 'X53: how often and how much are of the same orders: those that were paid, net of what was paid back');
SELECT is((SELECT frequency || ' ' || monetary FROM crm.rfm() WHERE customer_id = 'cy'), '0 0', 'X53: one that was paid back whole is no purchase');

-- ---- attribution ----

CREATE FUNCTION pg_temp.touched(customer text, touches text) RETURNS void LANGUAGE sql AS $$
	SELECT count(eventsource.append(format('visit-%s-%s', customer, n), 'PageViewed', jsonb_strip_nulls(jsonb_build_object('pageUrl', '/', 'customerId', customer, 'channel', split_part(split_part(t, '@', 1), '/', 1),
			'campaignId', nullif(split_part(split_part(t, '@', 1), '/', 2), ''))), occurred_at => split_part(t, '@', 2)::timestamptz)) FROM unnest(string_to_array(touches, ' ')) WITH ORDINALITY x (t, n)
$$;
CREATE FUNCTION pg_temp.credits(order_id text, model text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(trim_scale(credit)::text, ' ' ORDER BY touch_index) FROM crm.attribution(model) WHERE conversion_stream = 'order-' || order_id
$$;
SELECT pg_temp.touched('t1', 'email/spring@2026-05-10'), pg_temp.touched('t2', 'email/spring@2026-05-03 email/fall@2026-05-10'), pg_temp.touched('t3', 'web@2026-05-01 web@2026-05-02 social@2026-05-03'), pg_temp.touched('t4', 'email@2026-04-01 web@2026-05-09') \g /dev/null
SELECT pg_temp.ordered('t' || i, 't' || i, 100, '2026-05-10 12:00') FROM generate_series(0, 4) i \g /dev/null
SELECT pg_temp.touched('h', 'email@2026-05-10 web@2026-05-17') \g /dev/null
SELECT pg_temp.ordered('h', 'h', 100, '2026-05-17 00:00:00.000001') \g /dev/null
SELECT is(pg_temp.credits('h', 'time_decay'), '33.333333 66.666667', 'X54: after seven days a touch counts half, and not 1/e');
SELECT is(pg_temp.credits('t2', 'position_based'), '50 50', 'X55: of two touches each has half: nothing is lost');
SELECT is((SELECT count(*) FROM crm.attribution('position_based') WHERE conversion_stream = 'order-t1' AND credit = 100), 1::bigint, 'X55: one has all, and the model is still the one that was asked for');
SELECT is((SELECT string_agg(m.model || ' ' || a.channel || ' ' || a.path_length || ' ' || trim_scale(a.credit), ', ' ORDER BY m.display_order) FROM crm.attribution_models() m, crm.attribution(m.model) a WHERE a.conversion_stream = 'order-t0'),
	'first_touch direct 0 100, last_touch direct 0 100, linear direct 0 100, time_decay direct 0 100, position_based direct 0 100', 'X56: without touches there is a row, and no division by zero');
SELECT is((SELECT count(*) FROM crm.attribution('linear', start_at => '2030-01-01')), 0::bigint, 'X56: without conversions none');
SELECT is((SELECT string_agg(campaign_id || ' ' || trim_scale(credit), ', ' ORDER BY touch_index) FROM crm.attribution('linear') WHERE conversion_stream = 'order-t2'), 'spring 50, fall 50', 'X57: campaigns of one channel are told apart, in each model');
SELECT is((SELECT bool_and(total = 100 AND value = 100) FROM (SELECT sum(a.credit) AS total, sum(a.value) AS value FROM crm.attribution_models() m, crm.attribution(m.model) a WHERE a.conversion_stream ~ '^order-(t|h)' GROUP BY m.model, a.conversion_position) x), true,
	'X57: in each model the parts of a conversion add up exactly');
SELECT is(pg_temp.credits('t3', 'linear'), '33.333333 33.333333 33.333334', 'X57: to the last of them goes what rounding leaves');
SELECT is((SELECT string_agg(touch_point || ' ' || touch_count, ', ' ORDER BY touch_point) FROM crm.attribution_overview WHERE attribution_type = 'last_touch' AND path_type = 'channel' AND currency = 'EUR'), 'direct 0, email 4, social 1, web 4', 'X57: touches are counted in each model');
SELECT is(pg_temp.credits('t4', 'linear'), '100', 'X57: what is older than the look-back does not count');
SELECT is_empty('SELECT * FROM crm.reconcile()', 'the ledger agrees');
\i test/own_database_end.sql
