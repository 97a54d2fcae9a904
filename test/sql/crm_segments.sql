\set own_database crm_segments
\i test/own_database.sql
-- Segments, affinities, RFM and lifetime value: by the documents' numbers, on one basis, and once.
CREATE EXTENSION eventsource_crm;
SELECT crm.install() \g /dev/null
SELECT plan(57);
SET timezone = 'UTC';
SET datestyle = 'ISO';

SELECT crm.register_customer(c || '@example.com', '1', customer_id => c, occurred_at => '2026-01-01') FROM unnest('{ada,bob,cy,dee,eve,none}'::text[]) c \g /dev/null
-- An order that is paid, and delivered a day later.
CREATE FUNCTION pg_temp.buy(customer text, id text, amount numeric, at timestamptz, category text DEFAULT 'pens', currency text DEFAULT 'EUR') RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM crm.place_order(customer, jsonb_build_array(jsonb_build_object('productId', category, 'quantity', 1, 'price', amount, 'category', category)), currency, order_id => id, occurred_at => at);
	PERFORM crm.record_payment(id, 'p', amount, occurred_at => at);
END
$$;
CREATE FUNCTION pg_temp.segments(customer text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(segment_id, ' ' ORDER BY segment_id) FROM crm.segment_members WHERE customer_id = customer
$$;

-- ---- segments ----

SELECT pg_temp.buy('ada', 'a' || i, 200, '2026-01-01'::timestamptz + i * interval '1 day') FROM generate_series(1, 5) i \g /dev/null
SELECT eventsource.run_due() \g /dev/null
SELECT is(pg_temp.segments('ada'), 'buyers', 'who bought is a buyer; five orders and 1000 are not above 5 and 1000');
SELECT is((SELECT count(*) FROM eventsource.events WHERE stream = 'customer-ada' AND type = 'CustomerSegmentAdded'), 1::bigint, 'said once for five orders');
SELECT pg_temp.buy('ada', 'a6', 0.01, '2026-01-10') \g /dev/null
SELECT eventsource.run_due() \g /dev/null
SELECT is(pg_temp.segments('ada'), 'buyers high-value-customers', 'six and 1000.01 are');
SELECT is((SELECT criteria->>'ltv' || ' ' || (criteria->>'orderFrequency') FROM crm.segment_members WHERE customer_id = 'ada' AND segment_id = 'high-value-customers'), '1000.01 6', 'with what spoke for it');
SELECT eventsource.append('order-a6', 'RefundInitiated', '{"customerId": "ada", "refundId": "r", "amount": 0.01, "currency": "EUR", "reason": "other", "refundType": "full"}') \g /dev/null
SELECT crm.complete_refund('a6', 'r') \g /dev/null
SELECT eventsource.run_due() \g /dev/null
SELECT is(pg_temp.segments('ada'), 'buyers', 'what is paid back does not count: who no longer belongs leaves');
SELECT is((SELECT left_reason || ' ' || is_current FROM crm.segment_history WHERE customer_id = 'ada' AND segment_id = 'high-value-customers'), 'rule false', 'and the stay is over');
SELECT is(crm.recalculate_segments('ada'), 0, 'working it out again changes nothing');
SELECT pg_temp.buy('bob', 'b' || i, 200, '2026-01-01'::timestamptz + i * interval '1 day', currency => CASE WHEN i < 4 THEN 'EUR' ELSE 'USD' END) FROM generate_series(1, 6) i \g /dev/null
SELECT eventsource.run_due() \g /dev/null
SELECT is(pg_temp.segments('bob'), 'buyers', 'euros and dollars are not added up');
SELECT crm.define_segment('lapsed', '$.daysSinceLastOrder > 90 && $.orderFrequency >= 2', 'Lapsed') \g /dev/null
SELECT is((SELECT concat_ws(' ', segment_name, is_default, member_count) FROM crm.segments WHERE segment_id = 'lapsed'), 'Lapsed f 0', 'a segment of one''s own');
SELECT is(crm.recalculate_segments(), 2, 'puts in who belongs');
SELECT is((SELECT data FROM eventsource.events WHERE type = 'SegmentationRecalculated'), '{"segmentCount": 3}'::jsonb, 'and says so');
SELECT is(pg_temp.segments('ada'), 'buyers lapsed', 'by days');
SELECT crm.drop_segment('lapsed') \g /dev/null
SELECT crm.recalculate_segments() \g /dev/null
SELECT is(pg_temp.segments('ada'), 'buyers', 'a segment that is dropped has nobody');
SELECT pg_temp.refused($$ SELECT crm.define_segment('x', '$.ltv >') $$, '22023 invalid rule of segment "x"', 'a rule is one');
SELECT pg_temp.refused($$ SELECT crm.define_segment('x', '$.lvt > 5') $$, '22023 invalid rule of segment "x"', 'of what is known');
SELECT pg_temp.refused($$ SELECT crm.define_segment('x', '$.ltv') $$, '22023 invalid rule of segment "x"', 'and says yes or no');
SELECT is(crm.add_to_segment('cy', 'vip'), true, 'somebody is put in by hand');
SELECT is(crm.add_to_segment('cy', 'vip'), false, 'once');
SELECT pg_temp.refused($$ SELECT eventsource.append('customer-cy', 'CustomerSegmentAdded', '{"segmentId": "vip"}') $$, 'ZE005 not_in_segment', 'by no door twice');
SELECT pg_temp.refused($$ SELECT eventsource.append('customer-cy', 'CustomerSegmentRemoved', '{"segmentId": "nope"}') $$, 'ZE005 in_segment', 'nobody leaves where he was not');
SELECT crm.deactivate_customer('cy', 'other') \g /dev/null
SELECT is(pg_temp.segments('cy'), NULL, 'who closes the account leaves all of them');
SELECT is((SELECT left_reason FROM crm.segment_history WHERE customer_id = 'cy'), 'account-deactivated', 'and that is said');
SELECT is(crm.recalculate_segments('cy'), 0, 'and is not put in again');
SELECT is((SELECT segments FROM crm.customers WHERE customer_id = 'ada'), 'buyers', 'the customer''s row has them');

-- ---- affinities ----

SELECT pg_temp.buy('dee', 'd1', 70, '2026-01-01', 'pens'), pg_temp.buy('dee', 'd2', 30, '2026-01-02', 'ink') \g /dev/null
SELECT eventsource.run_due() \g /dev/null
SELECT is((SELECT string_agg(product_category || ' ' || affinity_score, ', ' ORDER BY product_category) FROM crm.product_affinities WHERE customer_id = 'dee'), 'ink 0.3000, pens 0.7000', 'shares of what was spent');
SELECT is((SELECT affinities FROM crm.customers WHERE customer_id = 'dee'), NULL, '0.7 is not above 0.7');
SELECT pg_temp.buy('dee', 'd3', 1, '2026-01-03', 'pens') \g /dev/null
SELECT eventsource.run_due() \g /dev/null
SELECT is((SELECT affinities FROM crm.customers WHERE customer_id = 'dee'), 'pens', 'more is');
SELECT pg_temp.buy('dee', 'd4', 1, '2026-01-04', 'pens') \g /dev/null
SELECT eventsource.run_due() \g /dev/null
SELECT is((SELECT count(*) FROM eventsource.events WHERE type = 'ProductAffinityDetected' AND stream = 'customer-dee'), 1::bigint, 'said when the line is crossed, and not again');
SELECT pg_temp.buy('dee', 'd5', 50, '2026-01-05', 'ink') \g /dev/null
SELECT eventsource.run_due() \g /dev/null
SELECT is((SELECT affinities FROM crm.customers WHERE customer_id = 'dee'), NULL, 'and the other way round');
-- As product feeds write them.
SELECT crm.register_customer('fay@example.com', '1', customer_id => 'fay', occurred_at => '2026-01-01') IS NOT NULL AS ok \gset
SELECT pg_temp.buy('fay', 'f1', 10, '2026-01-01', 'Home > Kitchen') \g /dev/null
SELECT crm.recalculate_segments('fay') \g /dev/null
SELECT is(crm.recalculate_segments('fay'), 0, 'a category that looks like two is one');
SELECT is((SELECT string_agg(product_category || ': ' || affinity_score, ', ') FROM crm.customer_affinities WHERE customer_id = 'fay'), 'Home > Kitchen: 1.0000', 'and has a row');

-- ---- RFM ----

SELECT is((SELECT concat_ws(' ', frequency, monetary, coalesce(recency_days::text, '-'), coalesce(rfm_score, '-'), segment) FROM crm.rfm() WHERE customer_id = 'none'), '0 0 - - no-orders', 'who bought nothing has no scores, and no 999 days');
SELECT is((SELECT concat_ws(' ', recency_days, frequency, monetary) FROM crm.rfm('2026-01-16') WHERE customer_id = 'ada'), '6.0000 6 1000.01', 'as of a day: before the refund');
SELECT is((SELECT concat_ws(' ', recency_days, frequency, monetary) FROM crm.rfm('2026-01-02 00:00') WHERE customer_id = 'ada'), '0.0000 1 200', 'and before most orders');
SELECT is((SELECT frequency || ' ' || monetary FROM crm.rfm() WHERE customer_id = 'ada'), '5 1000', 'now, net of it');
SELECT is((SELECT string_agg(currency || ' ' || monetary, ', ' ORDER BY currency) FROM crm.rfm() WHERE customer_id = 'bob'), 'EUR 600, USD 600', 'by currency');
-- Ten customers whose n-th bought n times, the last time n days before 1 June.
CREATE TEMP TABLE buyer AS SELECT n, 'n' || lpad(n::text, 2, '0') AS id FROM generate_series(1, 10) n;
SELECT crm.register_customer(id || '@example.com', '1', customer_id => id, occurred_at => '2026-01-01') FROM buyer \g /dev/null
SELECT pg_temp.buy(id, id || '-' || i, 10, '2026-06-01'::timestamptz - (11 - n) * interval '1 day' - (i - 1) * interval '1 minute', currency => 'CHF') FROM buyer, generate_series(1, n) i ORDER BY n, i DESC \g /dev/null
SELECT is((SELECT string_agg(rfm_score, ' ' ORDER BY customer_id) FROM crm.rfm('2026-06-01', 'ntile', 'CHF')), '111 111 222 222 333 333 444 444 555 555', 'quintiles');
SELECT is((SELECT string_agg(rfm_score, ' ' ORDER BY customer_id) FROM crm.rfm('2026-06-01', 'percent_rank', 'CHF')), '111 111 222 222 333 333 444 444 555 555', 'by rank likewise, without ties');
SELECT is((SELECT string_agg(rfm_score, ' ' ORDER BY customer_id) FROM crm.rfm('2026-06-01', 'fixed', 'CHF')), '511 521 531 531 542 542 542 542 542 553', 'by fixed limits: each break begins the next score');
SELECT pg_temp.buy('eve', 'e' || i, 10, '2026-05-22', currency => 'SEK'), pg_temp.buy('none', 'z' || i, 10, '2026-05-22', currency => 'SEK') FROM generate_series(1, 2) i \g /dev/null
SELECT is((SELECT string_agg(concat_ws(' ', customer_id, rfm_score, segment), ', ' ORDER BY customer_id) FROM crm.rfm('2026-06-01', m, 'SEK')), 'eve 521 new-customers, none 521 new-customers',
	'fewer than five have no quintiles: by limits, and not the worst of all (' || m || ')') FROM unnest('{percent_rank,ntile,fixed}'::text[]) m;
SELECT pg_temp.buy(id, id || 'sek' || i, 10, '2026-05-22', currency => 'SEK') FROM buyer, generate_series(1, 2) i WHERE n <= 3 \g /dev/null
SELECT is((SELECT string_agg(rfm_score, ' ') FROM crm.rfm('2026-06-01', 'percent_rank', 'SEK')), '111 111 111 111 111', 'equal customers have equal scores');
SELECT is((SELECT string_agg(rfm_score, ' ' ORDER BY customer_id) FROM crm.rfm('2026-06-01', 'ntile', 'SEK')), '111 222 333 444 555', 'but by ntile, which parts them by customer_id');
SELECT is_empty($$ SELECT * FROM crm.rfm_segments EXCEPT ALL SELECT * FROM crm.rfm() $$, 'the view says the same');
SELECT pg_temp.refused($$ SELECT * FROM crm.rfm(method => 'guess') $$, '22023 method "guess" is unknown', 'methods are three');
CREATE FUNCTION pg_temp.named(r int, f int, m int) RETURNS text LANGUAGE sql AS $$
	SELECT segment FROM crm.rfm_segment_rules() WHERE r BETWEEN min_r AND max_r AND f BETWEEN min_f AND max_f AND m BETWEEN min_m AND max_m ORDER BY priority LIMIT 1
$$;
SELECT is(pg_temp.named(4, 4, 4), 'champions', '444');
SELECT is(pg_temp.named(2, 5, 5), 'at-risk', 'lapsed best customers are at risk, and not loyal');
SELECT is(pg_temp.named(2, 3, 3), 'at-risk', '233');
SELECT is(pg_temp.named(3, 4, 1), 'loyal-customers', '341');
SELECT is(pg_temp.named(4, 2, 5), 'new-customers', '425');
SELECT is(pg_temp.named(3, 3, 3), 'needs-attention', '333');
SELECT is((SELECT count(*) FROM generate_series(1, 5) r, generate_series(1, 5) f, generate_series(1, 5) m WHERE pg_temp.named(r, f, m) IS NULL), 0::bigint, 'all 125 have a name');

-- ---- lifetime value ----

SELECT is((SELECT concat_ws(' ', frequency, recency, t, monetary_value) FROM crm.clv_summary('2026-01-31', 'EUR') WHERE customer_id = 'ada'), '5 8 29 160.0020', 'frequency, recency, T and the mean of the repeat days');
SELECT is((SELECT concat_ws(' ', frequency, recency, t, monetary_value) FROM crm.clv_summary('2026-06-01', 'SEK') WHERE customer_id = 'eve'), '0 0 10 0', 'two orders of one day are one purchase');
SELECT is_empty($$ SELECT t, v.key FROM unnest('{crm.segment,crm.segment_change,crm.customer,crm.journey_event}'::regclass[]) t, eventsource.verify_projection(t) v $$, 'all of it equals its replay');
SELECT throws_ok($$ SELECT crm.drop_segment('nope') $$, '42704', 'there is no segment "nope"', 'what is not there is not dropped');
\i test/own_database_end.sql
