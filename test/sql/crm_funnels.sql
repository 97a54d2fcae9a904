\set own_database crm_funnels
\i test/own_database.sql
-- Funnels and attribution: order, skipped stages, windows, no events at all; shares that add up, to the cent.
CREATE EXTENSION eventsource_crm;
SELECT crm.install() \g /dev/null
SELECT plan(108);
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';

-- ---- window_funnel ----

-- Events "a@0 b@10": a letter and a second; stages are the letters of "steps".
CREATE FUNCTION pg_temp.wf(events text, steps text, seconds integer DEFAULT 10000, mode text DEFAULT '') RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
	result integer;
BEGIN
	EXECUTE format($q$ SELECT eventsource.window_funnel(make_interval(secs => %s), %L, to_timestamp(split_part(x.e, '@', 2)::float8), VARIADIC ARRAY[%s]) FROM unnest(string_to_array(%L, ' ')) WITH ORDINALITY x (e, n) $q$,
		seconds, mode, (SELECT string_agg(format('split_part(x.e, ''@'', 1) = %L', s), ', ') FROM unnest(string_to_array(steps, NULL)) s), events) INTO result;
	RETURN result;
END
$$;
SELECT is(pg_temp.wf('a@0 b@1 c@2 d@3 e@4 f@5 g@6 h@7 i@8', 'a'), 1, 'one stage');
SELECT is(pg_temp.wf('a@0 b@1 c@2 d@3 e@4 f@5 g@6 h@7 i@8', 'ab'), 2, 'two');
SELECT is(pg_temp.wf('a@0 b@1 c@2 d@3 e@4 f@5 g@6 h@7 i@8', 'abci'), 4, 'others in between do not matter');
SELECT is(pg_temp.wf('d@3 e@4 f@5 g@6 h@7', 'defgh', 2), 3, 'a window of 2 s reaches 3 stages');
SELECT is(pg_temp.wf('d@3 e@4 f@5 g@6 h@7', 'defgh', 3), 4, 'of 3 s four');
SELECT is(pg_temp.wf('d@3 e@4 f@5 g@6 h@7', 'defgh', 4), 5, 'of exactly 4 s all five');
SELECT is(pg_temp.wf('a@0 i@8', 'ia'), 1, 'in order');
SELECT is(pg_temp.wf('a@0 b@20 a@30 b@35 c@36', 'abc', 10), 3, 'another beginning counts');
SELECT is(pg_temp.wf('b@5 a@0', 'ab'), 2, 'by time, not by input');
SELECT is(pg_temp.wf('x@0', 'ab'), 0, 'nothing');
SELECT is((SELECT eventsource.window_funnel('1 hour', '', now(), true) WHERE false), 0, 'no events');
SELECT is(pg_temp.wf('a@0 b@10 c@20 d@30 e@40 f@50 f@51 g@60', 'abcdefg', mode => 'strict_deduplication'), 6, 'strict_deduplication: a repeated stage ends it');
SELECT is(pg_temp.wf('a@0 b@10 c@20 d@30 e@40 f@50 f@51 g@60', 'abcdefg'), 7, 'and does not otherwise');
SELECT is(pg_temp.wf('a@1 d@2 b@3 c@4', 'abc', mode => 'strict_order'), 1, 'strict_order: something else in between ends it');
SELECT is(pg_temp.wf('a@1 a@2 b@3 b@4 c@5 c@6', 'abc', mode => 'strict_order'), 3, 'stages may repeat');
SELECT is(pg_temp.wf('a@1 a@2 b@3 b@4 d@5 c@6 c@7', 'abc', mode => 'strict_order'), 2, 'a > b > d > c stops at d');
SELECT is(pg_temp.wf('c@1 c@2 b@3 b@4 a@5 a@6', 'abc', mode => 'strict_order'), 1, 'what comes before the first stage does not matter');
SELECT is(pg_temp.wf('a@1 c@2 b@3', 'abc', 10, 'strict_order'), 1, 'a stage that comes too early ends it');
SELECT is(pg_temp.wf('a@1 c@2 b@3 c@4', 'abc', 10, 'strict_order,allow_reentry'), 3, 'but not with allow_reentry');
SELECT is(pg_temp.wf('a@0 b@1 c@1 d@1 e@2', 'abcde'), 5, 'equal times count');
SELECT is(pg_temp.wf('a@0 b@1 c@1 d@1 e@2', 'abcde', mode => 'strict_increase'), 2, 'not with strict_increase');
SELECT is(pg_temp.wf('e@2', 'eee'), 3, 'one event is all stages that it is');
SELECT is(pg_temp.wf('e@2', 'eee', mode => 'strict_increase'), 1, 'not with strict_increase');
SELECT is(pg_temp.wf('e@2', 'eee', mode => 'strict_once'), 1, 'nor with strict_once');
SELECT is(pg_temp.wf('s@0 a@1 b@2 a@3 z@4', 'sabaz', mode => 'strict_once'), 5, 'which takes each event once');
SELECT pg_temp.refused($$ SELECT pg_temp.wf('a@0', 'a', mode => 'loose') $$, '22023 mode "loose" is unknown', 'modes are known');

-- ---- the funnel of the documents ----

SELECT is((SELECT string_agg(stage || ': ' || event_types, ', ' ORDER BY step_number) FROM crm.funnel_stages WHERE funnel_id = 'purchase'),
	'awareness: PageViewed > ProductViewed, consideration: ProductCompared > ReviewRead, intent: ItemAddedToCart > CartCreated, checkout: CheckoutStarted > CheckoutStepCompleted, purchase: OrderPlaced > PaymentSucceeded', 'five stages');
CREATE FUNCTION pg_temp.view(customer text, type text, at timestamptz, data jsonb DEFAULT '{}', session text DEFAULT NULL) RETURNS void LANGUAGE sql AS $$
	SELECT eventsource.append('visit-' || coalesce(session, customer), type, CASE type WHEN 'PageViewed' THEN '{"pageUrl": "/"}' WHEN 'ProductViewed' THEN '{"productId": "pen"}'
		WHEN 'ProductCompared' THEN '{"productIds": ["pen", "ink"]}' ELSE '{}' END::jsonb || CASE WHEN customer IS NULL THEN '{}' ELSE jsonb_build_object('customerId', customer) END || data, occurred_at => at)
$$;
CREATE FUNCTION pg_temp.order_of(customer text, id text, total numeric, at timestamptz, currency text DEFAULT 'EUR') RETURNS void LANGUAGE sql AS $$
	SELECT crm.place_order(customer, jsonb_build_array(jsonb_build_object('productId', 'pen', 'quantity', 1, 'price', total)), currency, order_id => id, occurred_at => at)
$$;
-- all: goes all the way; skip: leaves out a stage; lone: orders only; slow: takes two days; shy: only looks.
SELECT pg_temp.view('all', 'PageViewed', '2026-01-01 10:00'), pg_temp.view('all', 'ProductViewed', '2026-01-01 10:05'), pg_temp.view('all', 'ProductCompared', '2026-01-01 10:10') \g /dev/null
SELECT crm.add_to_cart('ka', 'pen', 1, 10, 'EUR', 'all', occurred_at => '2026-01-01 10:20'), crm.start_checkout('ka', occurred_at => '2026-01-01 10:30') \g /dev/null
SELECT pg_temp.order_of('all', 'oa', 10, '2026-01-01 10:40') \g /dev/null
SELECT pg_temp.view('skip', 'PageViewed', '2026-01-01 10:00') \g /dev/null
SELECT crm.add_to_cart('ks', 'pen', 1, 10, 'EUR', 'skip', occurred_at => '2026-01-01 11:00') \g /dev/null
SELECT pg_temp.order_of('lone', 'ol', 10, '2026-01-01 10:00') \g /dev/null
SELECT pg_temp.view('slow', 'PageViewed', '2026-01-01 10:00'), pg_temp.view('slow', 'ProductCompared', '2026-01-03 10:00') \g /dev/null
SELECT pg_temp.view('shy', 'PageViewed', '2026-01-01 10:00'), pg_temp.view('shy', 'PageViewed', '2026-01-01 12:00') \g /dev/null
SELECT is((SELECT string_agg(concat_ws(' ', event_type, unique_users, pct_conversion, pct_of_previous), ', ' ORDER BY step_number) FROM crm.funnel('purchase')),
	'awareness 4 1.0000, consideration 2 0.5000 0.5000, intent 1 0.2500 0.5000, checkout 1 0.2500 1.0000, purchase 1 0.2500 1.0000', 'a lone order is no conversion, and who skips a stage has not reached the next');
SELECT is((SELECT string_agg(event_type || ' ' || unique_users, ', ' ORDER BY step_number) FROM crm.funnel('purchase', mode => 'any')), 'awareness 4, consideration 2, intent 2, checkout 1, purchase 2', 'unless one asks for it');
SELECT is((SELECT string_agg(event_type || ' ' || unique_users, ', ' ORDER BY step_number) FROM crm.funnel('purchase', period => '1 day')), 'awareness 4, consideration 1, intent 1, checkout 1, purchase 1', 'within a day');
SELECT is((SELECT unique_users FROM crm.funnel('purchase', period => '35 minutes') WHERE step_number = 5), 1::bigint, 'exactly thirty-five minutes from the last view are within thirty-five');
SELECT is((SELECT unique_users FROM crm.funnel('purchase', period => '34 minutes 59.999999 seconds') WHERE step_number = 5), 0::bigint, 'and not within less');
SELECT is((SELECT string_agg(unique_users::text, ' ' ORDER BY step_number) FROM crm.funnel('purchase', '2026-01-01', '2026-01-01 10:10')), '4 0 0 0 0', 'bounds hold, the end is not in it');
SELECT is((SELECT median_time_from_previous FROM crm.funnel('purchase') WHERE step_number = 2), (interval '10 minutes' + interval '2 days') / 2, 'the median of ten minutes and two days');
SELECT pg_temp.refused($$ SELECT * FROM crm.funnel('nope') $$, '42704 there is no funnel "nope"', 'a funnel that is not there is not one that nobody went through');
SELECT pg_temp.same_rows($$ SELECT stage, is_reached, event_type, time_in_stage, is_dropoff, is_completed FROM crm.funnel_progress('purchase', 'all') $$, $$ VALUES
	('awareness', true, 'PageViewed', interval '10 minutes', false, true), ('consideration', true, 'ProductCompared', '10 minutes', false, true), ('intent', true, 'ItemAddedToCart', '10 minutes', false, true),
	('checkout', true, 'CheckoutStarted', '10 minutes', false, true), ('purchase', true, 'OrderPlaced', NULL, false, true) $$, 'how far one came: from the first entry of a stage to that of the next');
SELECT pg_temp.same_rows($$ SELECT stage, is_reached, time_in_stage, is_dropoff, is_completed FROM crm.funnel_progress('purchase', 'slow', as_of => '2026-01-04 10:00') $$, $$ VALUES
	('awareness', true, interval '2 days', false, false), ('consideration', true, '1 day', true, false), ('intent', false, NULL, false, false), ('checkout', false, NULL, false, false), ('purchase', false, NULL, false, false) $$,
	'where one stopped, and how long that lasts');
SELECT is((SELECT string_agg(is_reached || ' ' || is_completed, ', ') FROM crm.funnel_progress('purchase', 'lone')), 'false false, false false, false false, false false, false false', 'a lone order completes nothing');
SELECT is((SELECT bool_or(is_completed) FROM crm.funnel_progress('purchase', 'lone', mode => 'any')), true, 'unless one asks for it');
SELECT is((SELECT count(*) FROM crm.funnel_progress('purchase', 'nobody') WHERE is_reached), 0::bigint, 'who did nothing reached nothing, without a crash');
SELECT pg_temp.same_rows($$ SELECT customer_id, stage, next_stage, idle_time FROM crm.funnel_dropoff('purchase', '2026-01-04 10:00') ORDER BY customer_id $$, $$ VALUES
	('shy', 'awareness', 'consideration', interval '3 days'), ('skip', 'awareness', 'consideration', '3 days'), ('slow', 'consideration', 'intent', '1 day') $$, 'who stands where; who has come to the end is not there');
SELECT is((SELECT dropoff_likelihood FROM crm.funnel_dropoff('purchase', '2026-01-04 10:00') WHERE customer_id = 'slow'), NULL, 'nobody to compare with: nothing is said');
SELECT is((SELECT count(*) FROM crm.funnel_dropoff('purchase', '2025-01-01')), 0::bigint, 'an empty history has nobody');
SELECT crm.define_funnel('short', '[{"name": "seen", "events": ["PageViewed"]}, {"name": "bought", "events": ["OrderPlaced"]}]') \g /dev/null
SELECT is((SELECT string_agg(event_type || ' ' || unique_users, ', ' ORDER BY step_number) FROM crm.funnel('short')), 'seen 4, bought 1', 'a funnel of one''s own');
SELECT is((SELECT string_agg(concat_ws(' ', step_number, stage, customer_count, pct_conversion, pct_of_previous, lost_count), ', ' ORDER BY step_number) FROM crm.funnel_conversions WHERE funnel_id = 'short'), '1 seen 4 1.0000, 2 bought 1 0.2500 0.2500 3', 'all funnels in one view');
SELECT is((SELECT string_agg(funnel_id, ' ' ORDER BY funnel_id) FROM (SELECT DISTINCT funnel_id FROM crm.funnel_conversions) f), 'purchase short', 'each of them');
SELECT is((SELECT median_hours_from_previous FROM crm.funnel_conversions WHERE funnel_id = 'purchase' AND step_number = 2), 24.08, 'the median in hours');
SELECT pg_temp.refused($$ SELECT crm.define_funnel('x', '[{"name": "a", "events": ["Nope"]}, {"name": "b", "events": ["OrderPlaced"]}]') $$, '22023 funnel "x" is not valid', 'of event types there are');
SELECT pg_temp.refused($$ SELECT crm.define_funnel('x', '[{"name": "a", "events": ["OrderPlaced"]}, {"name": "b", "events": ["OrderPlaced"]}]') $$, '22023 funnel "x" is not valid', 'each in one stage');
SELECT pg_temp.refused($$ SELECT crm.define_funnel('x', '[{"name": "a", "events": ["OrderPlaced"]}]') $$, '22023 funnel "x" is not valid', 'of which there are two or more');
-- Who came once long ago may still come to an end within a week.
SELECT pg_temp.view('again', 'PageViewed', '2025-01-01'), pg_temp.view('again', 'PageViewed', '2025-03-01 12:00'),
	pg_temp.view('again', 'PageViewed', '2025-03-01 18:00') \g /dev/null
SELECT pg_temp.order_of('again', 'oz', 10, '2025-03-02') \g /dev/null
CREATE FUNCTION pg_temp.counts(period interval, mode text DEFAULT 'strict') RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', unique_users, median_time_from_previous), ', ' ORDER BY step_number)
	  FROM crm.funnel('short', '2025-01-01', '2025-12-31', period, mode)
$$;
SELECT is(pg_temp.counts('7 days'), '1, 1 12:00:00', 'a funnel with a period may begin at any event of its first stage: of equal ones with the earliest');
SELECT is(pg_temp.counts('6 hours'), '1, 1 06:00:00', 'to the last moment');
SELECT is(pg_temp.counts('5:59:59.999999'), '1, 0', 'and no later');
SELECT is(pg_temp.counts(NULL), '1, 1 60 days', 'without one it begins at the first');
SELECT is(pg_temp.counts('7 days', 'any'), '1, 1 12:00:00', 'stages that are skipped change nothing about it');
SELECT is(pg_temp.counts('1 hour', 'any'), '0, 1', 'where they may be, a chain may begin with any');
SELECT pg_temp.same_rows($$ SELECT customer_id, step_number, stage, event_type, entered_at FROM crm.funnel_entries('short', end_at => '2025-12-31', period => '1 day') $$, $$ VALUES
	('again', 1, 'seen', 'PageViewed', '2025-03-01 12:00'::timestamptz), ('again', 2, 'bought', 'OrderPlaced', '2025-03-02') $$, 'and its entries are those');
SELECT throws_ok($$ SELECT * FROM crm.funnel('short', period => '-1 hour') $$, '22023', 'the period of a funnel is negative', 'a period is not negative');
-- Of one time the earlier stage counts first, in whatever order an import told it.
SELECT pg_temp.order_of('same', 'oy', 10, '2024-03-02'), pg_temp.view('same', 'PageViewed', '2024-03-02') \g /dev/null
SELECT is((SELECT string_agg(unique_users::text, ' ' ORDER BY step_number) FROM crm.funnel('short', end_at => '2024-12-31')), '1 1', 'of one time the earlier stage comes first');
SELECT is((SELECT string_agg(unique_users::text, ' ' ORDER BY step_number) FROM crm.funnel('short', end_at => '2024-12-31', period => '0')), '1 1', 'with a period, too');
SELECT is_empty($$ SELECT p, c.customer_id FROM unnest('{NULL,0,30 minutes,6 hours,2 days,1 year}'::interval[]) p
	CROSS JOIN LATERAL (SELECT j.customer_id, eventsource.window_funnel(p, '', j.occurred_at, j.event_type IN ('PageViewed', 'ProductViewed'), j.event_type IN ('ProductCompared', 'ReviewRead'),
			j.event_type IN ('ItemAddedToCart', 'CartCreated'), j.event_type IN ('CheckoutStarted', 'CheckoutStepCompleted'), j.event_type IN ('OrderPlaced', 'PaymentSucceeded')) AS level
		  FROM crm.journeys j WHERE j.customer_id IS NOT NULL GROUP BY j.customer_id) c
	 WHERE c.level <> (SELECT count(*) FROM crm.funnel_entries('purchase', period => p, of_customer => c.customer_id)) $$, 'every customer comes as far as window_funnel says');
SELECT alike(pg_temp.refusal(format('SELECT crm.define_funnel(''x'', %L)', (SELECT jsonb_agg(jsonb_build_object('name', n, 'events', jsonb_build_array('Type' || n))) FROM generate_series(1, 65) n))),
	'22023: %a funnel has two stages or more, and 64 at most;%', 'there are 64 stages at most');
SELECT eventsource.register_event_type('VoucherPrinted', category => 'visit') \g /dev/null
SELECT lives_ok($$ SELECT crm.define_funnel('own', '[{"name": "a", "events": ["PageViewed"]}, {"name": "b", "events": ["VoucherPrinted"]}]') $$, 'event types of one''s own are in journeys, and so in funnels');
-- A stranger who says later who he is.
SELECT pg_temp.view(NULL, 'PageViewed', '2026-01-05 10:00', session => 'anon') \g /dev/null
SELECT is((SELECT count(*) FROM crm.journeys WHERE customer_id = 'late'), 0::bigint, 'a stranger is not known');
SELECT pg_temp.view('late', 'ProductViewed', '2026-01-05 10:01', session => 'anon') \g /dev/null
SELECT is((SELECT count(*) FROM crm.journeys WHERE customer_id = 'late'), 2::bigint, 'and then known from the beginning of the visit');
SELECT is((SELECT concat_ws(' ', customer_id, event_count, product_count, duration) FROM crm.sessions WHERE session_id = 'anon'), 'late 2 1 00:01:00', 'as the session says');
SELECT crm.register_customer('late@example.com', '1', customer_id => 'late', occurred_at => '2026-01-01') \g /dev/null
SELECT pg_temp.view(NULL, 'PageViewed', '2026-01-05 10:02', session => 'anon') \g /dev/null
SELECT is((SELECT last_seen_at FROM crm.customer_360 WHERE customer_id = 'late'), '2026-01-05 10:02'::timestamptz, 'and customer_360: seen last in the same visit, without a name');

SELECT pg_temp.view('ses', 'PageViewed', '2026-06-01 10:00'), pg_temp.view('ses', 'PageViewed', '2026-06-01 10:30', session => 'ses2'), pg_temp.view('ses', 'ProductViewed', '2026-06-01 11:00:00.000001') \g /dev/null
SELECT is((SELECT string_agg(concat_ws(' ', session_number, event_count, duration), ', ' ORDER BY session_number) FROM crm.sessions(of_customer => 'ses')), '1 2 00:30:00, 2 1 00:00:00', 'a rest of exactly half an hour ends no session, whatever a program calls it; more does');
SELECT is((SELECT count(*) FROM crm.sessions('31 minutes', 'ses')), 1::bigint, 'with a longer rest it is one');
SELECT is((SELECT count(*) FROM crm.sessions(of_customer => 'ses', end_at => '2026-06-01 10:00')), 0::bigint, 'of what occurred before an end');
SELECT pg_temp.refused($$ SELECT * FROM crm.sessions('0') $$, '22023 a session ends after some time', 'a session ends some time');

-- ---- retention, flows ----

SELECT pg_temp.view(c, t, at, session => c || n) FROM (VALUES ('r1', 1, 'PageViewed', '2027-01-01 00:00'::timestamptz), ('r1', 2, 'ProductViewed', '2027-01-08 00:00'), ('r1', 3, 'ProductViewed', '2027-01-14 23:59:59'), ('r1', 4, 'ProductViewed', '2027-01-15 00:00'),
	('r2', 1, 'PageViewed', '2027-01-02 00:00'), ('r2', 2, 'ProductViewed', '2027-01-08 23:59:59'), ('r3', 1, 'PageViewed', '2027-01-03'), ('r4', 1, 'PageViewed', '2027-01-04'), ('r4', 2, 'ProductViewed', '2027-01-18')) x (c, n, t, at) \g /dev/null
SELECT is((SELECT string_agg(concat_ws(' ', period_number, unique_users, pct_users), ', ') FROM crm.retention('PageViewed', 'ProductViewed', periods => 3, start_at => '2027-01-01')),
	'0 4 1.0000, 1 1 0.2500, 2 2 0.5000, 3 0 0.0000', 'who comes back: a week later to the second, each counted once a period');
SELECT is((SELECT string_agg(unique_users::text, ' ') FROM crm.retention('ReviewRead', 'PageViewed', periods => 1)), '0 0', 'nobody is no crash');
SELECT pg_temp.refused($$ SELECT * FROM crm.retention('PageViewed', 'PageViewed', '0') $$, '22023 there must be periods, and each must be longer than nothing', 'a period is longer than nothing');
SELECT is((SELECT string_agg(event_path || ': ' || unique_users, ', ') FROM crm.flows('PageViewed', 1, start_at => '2027-01-01')), 'PageViewed > ProductViewed: 3, PageViewed: 1', 'what people do next');
SELECT is((SELECT string_agg(event_path || ': ' || unique_users, ', ') FROM crm.flows('ProductViewed', 2, 'backward', start_at => '2027-01-18')), 'PageViewed > ProductViewed: 1', 'and what came before');
SELECT pg_temp.refused($$ SELECT * FROM crm.flows('PageViewed', direction => 'up') $$, '22023 there is no way "up" of 3 steps', 'one way or the other');
SELECT pg_temp.refused($$ SELECT * FROM crm.flows('PageView') $$, '42704 there is no event type "PageView" of visits, carts, orders, messages or customers', 'a type that is misspelt is not one that nobody did');
SELECT pg_temp.refused($$ SELECT * FROM crm.retention('PageViewed', 'PageView') $$, '42704 there is no event type "PageView" of visits, carts, orders, messages or customers', 'nor in a retention');
SELECT pg_temp.refused($$ SELECT * FROM crm.attribution(conversion_type => 'OrderPlacd') $$, '42704 there is no event type "OrderPlacd" of visits, carts, orders, messages or customers', 'nor in an attribution');
SELECT pg_temp.refused($$ SELECT * FROM crm.funnel_progress('purchases', 'c1') $$, '42704 there is no funnel "purchases"', 'nor is a funnel');

-- ---- attribution ----

-- Touches "email/spring@2026-02-01 web/-@..." of a customer, each a visit.
CREATE FUNCTION pg_temp.touched(customer text, touches text) RETURNS void LANGUAGE sql AS $$
	SELECT count(pg_temp.view(customer, 'PageViewed', split_part(t, '@', 2)::timestamptz, jsonb_strip_nulls(jsonb_build_object('channel', split_part(split_part(t, '@', 1), '/', 1),
			'campaignId', nullif(split_part(split_part(t, '@', 1), '/', 2), '-'))), customer || n)) FROM unnest(string_to_array(touches, ' ')) WITH ORDINALITY x (t, n)
$$;
CREATE FUNCTION pg_temp.credits(order_id text, model text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(trim_scale(credit) || ':' || trim_scale(value), ' ' ORDER BY touch_index) FROM crm.attribution(model) WHERE conversion_stream = 'order-' || order_id
$$;
SELECT pg_temp.touched('one', 'email/spring@2026-02-10'), pg_temp.touched('two', 'email/spring@2026-02-10 paid-ad/-@2026-02-12'), pg_temp.touched('three', 'social/-@2026-02-03 email/spring@2026-02-10 web/-@2026-02-17') \g /dev/null
SELECT pg_temp.order_of('one', 'one', 100, '2026-02-17'), pg_temp.order_of('two', 'two', 100, '2026-02-17'), pg_temp.order_of('three', 'three', 100, '2026-02-17'), pg_temp.order_of('none', 'none', 99.99, '2026-02-17') \g /dev/null
SELECT is(pg_temp.credits('one', 'first_touch'), '100:100', 'one touch: first');
SELECT is(pg_temp.credits('one', 'position_based'), '100:100', 'by position, under its own name');
SELECT is(pg_temp.credits('two', 'first_touch'), '100:100 0:0', 'two touches: first');
SELECT is(pg_temp.credits('two', 'last_touch'), '0:0 100:100', 'last');
SELECT is(pg_temp.credits('two', 'linear'), '50:50 50:50', 'linear');
SELECT is(pg_temp.credits('two', 'position_based'), '50:50 50:50', 'by position half each: nothing is lost');
SELECT is(pg_temp.credits('three', 'linear'), '33.333333:33.33 33.333333:33.33 33.333334:33.34', 'three: what rounding leaves goes to the last');
SELECT is(pg_temp.credits('three', 'position_based'), '40:40 20:20 40:40', '40/20/40');
SELECT is(pg_temp.credits('three', 'position-based'), '40:40 20:20 40:40', 'also by the documents'' spelling');
SELECT is(pg_temp.credits('three', 'time_decay'), '14.285714:14.29 28.571429:28.57 57.142857:57.14', 'half as much for each seven days: 1/7, 2/7, 4/7');
SELECT is((SELECT round(credit, 2) FROM crm.attribution('time_decay', half_life => '14 days') WHERE conversion_stream = 'order-three' AND touch_index = 3), round((100 / (0.5 + 0.5 ^ 0.5 + 1))::numeric, 2), 'with another half-life');
SELECT is((SELECT channel || ' ' || credit::int || ' ' || value || ' ' || path_length FROM crm.attribution('time_decay') WHERE conversion_stream = 'order-none'), 'direct 100 99.99 0', 'no touches: direct, and no crash');
SELECT is_empty($$ SELECT m.model, a.conversion_stream FROM crm.attribution_models() m, crm.attribution(m.model) a, crm.orders o WHERE 'order-' || o.order_id = a.conversion_stream
	GROUP BY m.model, a.conversion_stream, o.total HAVING sum(a.credit) <> 100 OR sum(a.value) <> o.total $$, 'by every model, credits add up to 100, and values to the order, exactly');
SELECT pg_temp.touched('old', 'email/spring@2026-01-18T00:00:00 social/-@2026-01-17T23:59:59.999999') \g /dev/null
SELECT pg_temp.order_of('old', 'old', 10, '2026-02-17') \g /dev/null
SELECT is((SELECT string_agg(channel, ' ') FROM crm.attribution() WHERE conversion_stream = 'order-old'), 'email', 'a touch of exactly 30 days ago counts, an older one does not');
SELECT is((SELECT string_agg(channel, ' ' ORDER BY touch_index) FROM crm.attribution(lookback => '31 days') WHERE conversion_stream = 'order-old'), 'social email', 'unless one looks back further');
SELECT is((SELECT string_agg(channel, ' ' ORDER BY touch_index) FROM crm.attribution(excluded_channels => '{web}') WHERE conversion_stream = 'order-three'), 'social email', 'channels may be left out');
SELECT is((SELECT count(*) FROM crm.attribution() WHERE touched_at > converted_at), 0::bigint, 'nothing after the conversion led to it');
SELECT pg_temp.refused($$ SELECT * FROM crm.attribution('shapley') $$, '22023 model "shapley" is unknown', 'models are known');
SELECT pg_temp.refused($$ SELECT * FROM crm.attribution('time_decay', half_life => '0') $$, '22023 half_life must be above zero', 'a half-life is above zero');
SELECT is((SELECT concat_ws(' | ', channel_transformed_path, campaign_transformed_path, path_length, cv_total_revenue) FROM crm.paths_to_conversion WHERE cv_id = 'order-three'), 'social > email > web | spring | 3 | 100', 'the path, as text');
SELECT is((SELECT concat_ws(' ', first_touch_attribution, last_touch_attribution, linear_attribution, time_decay_attribution, position_based_attribution, cv_total_revenue) FROM crm.channel_attributions WHERE cv_id = 'order-three' AND source_index = 2),
	'0.00 0.00 33.33 28.57 20.00 100.00', 'all models side by side');
SELECT is((SELECT concat_ws(' ', in_n_conversion_paths, attributed_conversions, attributed_revenue, touch_count) FROM crm.attribution_overview WHERE attribution_type = 'linear' AND path_type = 'campaign' AND touch_point = 'spring'),
	'4 2.833333 193.33 4', 'what a campaign is worth: all of one, half of two, a third of three, all of what is old') ;
SELECT is((SELECT sum(attributed_revenue) FROM crm.attribution_overview WHERE attribution_type = 'time_decay' AND path_type = 'channel'), (SELECT sum(total) FROM crm.orders), 'channels add up to what was ordered');
-- A click in an e-mail and the visit that it leads to are one touch.
SELECT eventsource.append('message-m1', 'MessageSent', '{"customerId": "cl", "channel": "email", "campaignId": "spring"}', occurred_at => '2026-02-10') \g /dev/null
SELECT is((crm.record_message_event('m1', 'MessageClicked', '{"pageUrl": "https://example.com/pens?utm_source=mail&to=cl@example.com"}', occurred_at => '2026-02-10 10:00')).version, 2::bigint, 'a link with a query was clicked');
SELECT is((SELECT data->>'pageUrl' FROM eventsource.events WHERE stream = 'message-m1' AND version = 2), 'https://example.com/pens', 'which is not kept');
SELECT pg_temp.view('cl', 'PageViewed', '2026-02-10 10:01', '{"channel": "email", "campaignId": "spring"}', 'cl'), pg_temp.view('cl', 'ProductViewed', '2026-02-10 10:02', '{"channel": "email", "campaignId": "spring"}', 'cl'),
	pg_temp.view('cl', 'PageViewed', '2026-02-10 10:05', '{"channel": "social"}', 'cl') \g /dev/null
SELECT is((SELECT string_agg(event_type || ' ' || channel, ', ' ORDER BY touched_at) FROM crm.touchpoints WHERE customer_id = 'cl'), 'MessageClicked email, PageViewed social', 'a click and its visit are one touch, another channel is another');
SELECT is_empty($$ SELECT v.key FROM eventsource.verify_projection('crm.journey_event') v $$, 'journeys equal their replay');
\i test/own_database_end.sql
