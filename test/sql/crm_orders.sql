\set own_database crm_orders
\i test/own_database.sql
-- Carts, orders, payments, refunds and the ledger: what may happen, to the cent, and what follows by itself.
CREATE EXTENSION eventsource_crm;
SELECT crm.install() \g /dev/null
SELECT plan(112);
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';

CREATE FUNCTION pg_temp.detail(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	said text;
BEGIN
	EXECUTE command;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS said = PG_EXCEPTION_DETAIL;
	RETURN said;
END
$$;
-- An order of 49.90, and what it has come to.
CREATE FUNCTION pg_temp.ordered(id text, at timestamptz DEFAULT '2026-01-01', cart text DEFAULT NULL, wanted text DEFAULT 'pending-payment') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM crm.place_order('ada', '[{"productId": "pen", "quantity": 2, "price": 19.95, "category": "pens"}, {"productId": "ink", "quantity": 1, "price": 3.50, "category": "consumables"}]',
		'EUR', tax => 1.51, shipping => 4.99, order_id => id, cart_id => cart, occurred_at => at);
	IF wanted <> 'pending-payment' THEN
		PERFORM crm.record_payment(id, 'p1', 49.90, 'ch_1', occurred_at => at + interval '1 minute');
	END IF;
	IF wanted IN ('in-transit', 'completed') THEN
		PERFORM crm.ship_order(id, occurred_at => at + interval '1 day');
	END IF;
	IF wanted = 'completed' THEN
		PERFORM crm.deliver_order(id, occurred_at => at + interval '3 days');
	END IF;
	RETURN id;
END
$$;
CREATE FUNCTION pg_temp.types(stream text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(e.type, ' ' ORDER BY e.version) FROM eventsource.events e WHERE e.stream = types.stream
$$;

-- ---- carts ----

SELECT crm.add_to_cart('k1', 'pen', 2, 19.95, 'EUR', 'ada', 'Fountain pen', 'pens', occurred_at => '2026-01-01 10:00') \g /dev/null
SELECT crm.add_to_cart('k1', 'ink', 1, 3.50, 'EUR', occurred_at => '2026-01-01 10:10') \g /dev/null
SELECT crm.add_to_cart('k1', 'pen', 1, 18.00, 'EUR', occurred_at => '2026-01-01 10:20') \g /dev/null
SELECT is((SELECT concat_ws(' ', customer_id, status, item_count, total_value, currency) FROM crm.carts WHERE cart_id = 'k1'), 'ada open 4 57.50 EUR', 'a cart: the last price of a product holds for all of it');
SELECT crm.remove_from_cart('k1', 'pen', 2, occurred_at => '2026-01-01 10:30') \g /dev/null
SELECT is((SELECT item_count || ' ' || total_value FROM crm.carts WHERE cart_id = 'k1'), '2 21.50', 'less of it');
SELECT is((SELECT string_agg(concat_ws(' ', product_id, product_category, quantity, price), ', ' ORDER BY product_id) FROM crm.cart_items WHERE cart_id = 'k1'), 'ink 1 3.50, pen pens 1 18.00', 'what lies in it');
SELECT is(pg_temp.outcome($$ SELECT crm.remove_from_cart('k1', 'pen', 2) $$), 'ZE005 item_is_there', 'nobody takes out what is not in it');
SELECT is(pg_temp.outcome($$ SELECT crm.add_to_cart('k1', 'nib', 1, 2, 'USD') $$), 'ZE005 one_currency', 'a cart has one currency');
SELECT is(pg_temp.outcome($$ SELECT crm.add_to_cart('k1', 'nib', 0, 2, 'EUR') $$), 'ZE007', 'nothing of a thing is no item');
SELECT is((SELECT string_agg(to_char(run_at, 'HH24:MI'), ' ') FROM eventsource.jobs WHERE queue = '$timeout' AND stream = 'cart-k1' AND state IN ('scheduled', 'available')), '11:30', 'it is left alone an hour after the last change');
SELECT eventsource.run_due() \g /dev/null
SELECT is((SELECT data || jsonb_build_object('at', to_char(occurred_at, 'HH24:MI')) FROM eventsource.events WHERE stream = 'cart-k1' AND type = 'CartAbandoned'),
	'{"at": "11:30", "items": [{"price": 3.50, "category": null, "quantity": 1, "productId": "ink"}, {"price": 18.00, "category": "pens", "quantity": 1, "productId": "pen", "productName": "Fountain pen"}], "currency": "EUR", "customerId": "ada", "timeInCart": 5400.000000, "totalValue": 21.50}'::jsonb #- '{items,0,category}',
	'the database says what lay in it');
SELECT eventsource.run_due() \g /dev/null
SELECT is((SELECT count(*) FROM eventsource.events WHERE stream = 'cart-k1' AND type = 'CartAbandoned'), 1::bigint, 'once: whoever looks again finds nothing new');
SELECT is((SELECT count(*) FROM crm.abandoned_carts WHERE cart_id = 'k1' AND total_value = 21.50), 1::bigint, 'it is listed');
SELECT crm.add_to_cart('k1', 'ink', 1, 3.50, 'EUR', occurred_at => '2026-01-02 10:00') \g /dev/null
SELECT is((SELECT status || ' ' || is_abandoned FROM crm.carts WHERE cart_id = 'k1'), 'open false', 'somebody came back');
SELECT eventsource.run_due() \g /dev/null
SELECT is((SELECT abandonment_count FROM crm.carts WHERE cart_id = 'k1'), 2, 'and left it alone again: another episode');
SELECT crm.start_checkout('k1', occurred_at => '2026-01-03 10:00') \g /dev/null
SELECT is((SELECT data FROM eventsource.events WHERE stream = 'cart-k1' AND type = 'CheckoutStarted'), '{"currency": "EUR", "cartValue": 25.00, "itemCount": 3}'::jsonb, 'a checkout has the cart''s value');
SELECT crm.complete_checkout_step('k1', 'shipping', occurred_at => '2026-01-03 10:05') \g /dev/null
SELECT eventsource.run_due() \g /dev/null
SELECT is((SELECT data - 'customerId' || jsonb_build_object('at', to_char(occurred_at, 'HH24:MI')) FROM eventsource.events WHERE stream = 'cart-k1' AND type = 'CheckoutAbandoned'),
	'{"at": "11:05", "currency": "EUR", "abandonedValue": 25.00, "lastCompletedStep": "shipping", "timeInCheckout": 3900.000000}'::jsonb, 'a checkout is left alone, too');
SELECT crm.add_to_cart('empty', 'ink', 1, 3.50, 'EUR', occurred_at => '2026-01-01') \g /dev/null
SELECT crm.remove_from_cart('empty', 'ink', 1, occurred_at => '2026-01-01') \g /dev/null
SELECT eventsource.run_due() \g /dev/null
SELECT is((SELECT status FROM crm.carts WHERE cart_id = 'empty'), 'open', 'an empty cart is not left alone');
SELECT is(pg_temp.outcome($$ SELECT crm.start_checkout('empty') $$), 'ZE005 cart_is_not_empty', 'nor paid for');

-- ---- placing an order ----

SELECT pg_temp.ordered('o1', '2026-01-04', 'k1') \g /dev/null
SELECT is((SELECT concat_ws(' ', status, payment_status, shipping_status, subtotal, tax, shipping, total) FROM crm.orders WHERE order_id = 'o1'), 'pending-payment unpaid none 43.40 1.51 4.99 49.90', 'sums are the database''s');
SELECT is((SELECT status || ' ' || order_id FROM crm.carts WHERE cart_id = 'k1'), 'ordered o1', 'its cart is ordered');
SELECT is(pg_temp.outcome($$ SELECT crm.add_to_cart('k1', 'pen', 1, 1, 'EUR') $$), 'ZE002', 'and closed');
SELECT is(pg_temp.outcome($$ SELECT pg_temp.ordered('o1') $$), 'ZE002', 'an order is placed once');
SELECT is(pg_temp.outcome($$ SELECT eventsource.append('order-x', 'OrderPlaced', '{"customerId": "ada", "items": [{"productId": "pen", "quantity": 1, "price": 1}], "subtotal": 1, "tax": 0, "shipping": 0, "total": 1.01, "currency": "EUR"}') $$),
	'ZE005 total_adds_up', 'its total adds up');
SELECT is(pg_temp.outcome($$ SELECT eventsource.append('order-x', 'OrderPlaced', '{"customerId": "ada", "items": [{"productId": "pen", "quantity": 2, "price": 0.5}, {"productId": "ink", "quantity": 1, "price": 0.1}], "subtotal": 1.11, "tax": 0, "shipping": 0, "total": 1.11, "currency": "EUR"}') $$),
	'ZE005 items_add_up', 'and so do its items, by whatever door, to the cent');
SELECT is(pg_temp.outcome($$ SELECT crm.place_order('ada', '[]', 'EUR') $$), 'ZE007', 'nothing is no order');
SELECT is(pg_temp.detail($$ SELECT crm.place_order('ada', '[]', 'EUR') $$), '/items: must have at least 1 elements (minItems)', 'and that is all that is said');
SELECT is(pg_temp.outcome($$ SELECT crm.place_order('ada', '[{"productId": "pen", "quantity": 1, "price": 1}]', 'Euro') $$), 'ZE007', 'currencies are codes');
SELECT is((SELECT string_agg(product_id || ' ' || quantity || ' ' || amount, ', ' ORDER BY product_id) FROM crm.order_items WHERE order_id = 'o1'), 'ink 1 3.50, pen 2 39.90', 'its items');
SELECT is((SELECT DISTINCT subject FROM eventsource.events WHERE stream = 'order-o1'), 'customer-ada', 'it is about its customer');

-- ---- payments ----

SELECT is(pg_temp.outcome($$ SELECT crm.initiate_payment('o1', 'p1', 'cash') $$), 'ZE007', 'methods are those of the documents');
SELECT is(pg_temp.outcome($$ SELECT crm.initiate_payment('o1', 'p1', 'paypal', 49.91) $$), 'ZE005 no_more_than_is_owed', 'no cent more than is owed');
SELECT crm.initiate_payment('o1', 'p1', 'paypal', occurred_at => '2026-01-04 00:01') \g /dev/null
SELECT is((SELECT amount || ' ' || status || ' ' || payment_method FROM crm.payments WHERE order_id = 'o1'), '49.90 initiated paypal', 'a payment begins');
SELECT is(pg_temp.outcome($$ SELECT crm.initiate_payment('o1', 'p1', 'paypal') $$), 'ZE005 payment_is_new', 'once');
SELECT is(pg_temp.outcome($$ SELECT eventsource.append('order-o1', 'PaymentSucceeded', '{"customerId": "ada", "paymentId": "p1", "amount": 49.90, "currency": "USD"}') $$), 'ZE005 same_currency', 'in the order''s currency');
SELECT is(pg_temp.outcome($$ SELECT eventsource.append('order-o1', 'PaymentSucceeded', '{"customerId": "bob", "paymentId": "p1", "amount": 49.90, "currency": "EUR"}') $$), 'ZE005 same_customer', 'by who ordered');
SELECT is((crm.record_payment('o1', 'p1', occurred_at => '2026-01-04 00:02')).state, 'confirmed', 'it is paid');
SELECT is(pg_temp.types('order-o1'), 'OrderPlaced PaymentInitiated PaymentSucceeded OrderConfirmed', 'and confirmed by that');
SELECT is((SELECT payment_status || ' ' || (confirmation_number = 'C-' || (SELECT position FROM eventsource.events WHERE stream = 'order-o1' AND type = 'PaymentSucceeded')) FROM crm.orders WHERE order_id = 'o1'),
	'paid true', 'with a number that is the same at every replay');
SELECT is((SELECT data->>'estimatedDelivery' FROM eventsource.events WHERE stream = 'order-o1' AND type = 'OrderConfirmed'), '2026-01-09', 'and the day when it is expected to arrive, by setting delivery_term');
SELECT is((crm.record_payment('o1', 'p1', occurred_at => '2026-01-04 00:02')).is_duplicate, true, 'told again it is the same payment');
SELECT is(pg_temp.types('order-o1'), 'OrderPlaced PaymentInitiated PaymentSucceeded OrderConfirmed', 'and is not confirmed again');
SELECT is(pg_temp.outcome($$ SELECT eventsource.append('order-o1', 'PaymentSucceeded', '{"customerId": "ada", "paymentId": "p2", "amount": 49.90, "currency": "EUR"}') $$), 'ZE002', 'what is paid is not paid again');
SELECT is(pg_temp.outcome($$ SELECT eventsource.append('order-o1', 'OrderConfirmed', '{"customerId": "ada", "confirmationNumber": "X"}') $$), 'ZE005 not_confirmed_yet', 'nor confirmed');
SELECT pg_temp.ordered('parts') \g /dev/null
SELECT is((crm.record_payment('parts', 'a', 40, occurred_at => '2026-01-02')).state, 'pending-payment', 'a part does not pay it');
SELECT is(pg_temp.outcome($$ SELECT crm.record_payment('parts', 'b', 9.91) $$), 'ZE005 no_more_than_is_owed', 'no cent too much');
SELECT is((crm.record_payment('parts', 'b', 9.90, occurred_at => '2026-01-02')).state, 'confirmed', 'the last part does');
SELECT crm.ship_order('o1', '1Z', 'UPS', occurred_at => '2026-01-05') \g /dev/null
SELECT crm.deliver_order('o1', 'A. L.', occurred_at => '2026-01-07') \g /dev/null
SELECT is(pg_temp.outcome($$ SELECT eventsource.append('order-o1', 'PaymentSucceeded', '{"customerId": "ada", "paymentId": "p9", "amount": 1, "currency": "EUR"}') $$), 'ZE002', 'a late payment does not bring a completed order back');
SELECT is((SELECT string_agg(status || ' ' || coalesce(duration::text, '-'), ', ' ORDER BY entered_at) FROM crm.order_state_visits WHERE order_id = 'o1' AND NOT is_current),
	'pending-payment 00:02:00, confirmed 23:58:00, in-transit 2 days', 'times in a status end when it is left');
SELECT is((SELECT duration >= '0' FROM crm.order_state_visits WHERE order_id = 'o1' AND is_current), true, 'until now where it lasts');
CREATE FUNCTION pg_temp.plan(query text) RETURNS text LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
	line text;
	lines text := '';
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		lines := lines || line || E'\n';
	END LOOP;
	RETURN lines;
END
$$;
SELECT matches(pg_temp.plan($$ SELECT * FROM crm.order_state_visits WHERE order_id = 'o1' $$), 'order_visit_pkey.*Index Cond: \(order_id = ''o1''::text\)', 'one order is read by its key');

-- ---- failures and retries ----

SELECT pg_temp.ordered('f1', '2026-02-01') \g /dev/null
SELECT crm.initiate_payment('f1', 'p1', 'credit-card', occurred_at => '2026-02-01 00:00') \g /dev/null
SELECT is((crm.fail_payment('f1', 'p1', 'TIMEOUT', occurred_at => '2026-02-01 00:10')).state, 'payment-failed', 'a payment fails');
SELECT is((SELECT data - 'customerId' FROM eventsource.events WHERE stream = 'order-f1' AND type = 'RetryScheduled'),
	'{"attempt": 1, "paymentId": "p1", "maxAttempts": 3, "retryAt": "2026-02-01T00:15:00.000000Z"}'::jsonb, 'and is tried again 300 seconds later');
SELECT eventsource.run_due() \g /dev/null
SELECT is((SELECT payload FROM eventsource.jobs WHERE queue = 'crm_payment'), '{"attempt": 1, "order_id": "f1", "payment_id": "p1"}'::jsonb, 'by a job');
SELECT is((crm.retry_payment('f1', 'p1', occurred_at => '2026-02-01 00:15')).state, 'pending-payment', 'first retry');
SELECT is((crm.fail_payment('f1', 'p1', 'TIMEOUT', occurred_at => '2026-02-01 00:16')).state, 'payment-failed', 'fails');
SELECT is(pg_temp.outcome($$ SELECT eventsource.append('order-f1', 'PaymentRetried', '{"customerId": "ada", "paymentId": "p1", "attempt": 1}') $$), 'ZE005 attempt_is_next', 'nobody counts it as the first again');
SELECT crm.retry_payment('f1', 'p1', occurred_at => '2026-02-01 00:21') \g /dev/null
SELECT crm.fail_payment('f1', 'p1', 'TIMEOUT', occurred_at => '2026-02-01 00:22') \g /dev/null
SELECT is((SELECT string_agg(data->>'attempt', ' ' ORDER BY version) FROM eventsource.events WHERE stream = 'order-f1' AND type = 'RetryScheduled'), '1 2 3', 'the third failure still leads to the third retry');
SELECT crm.retry_payment('f1', 'p1', occurred_at => '2026-02-01 00:27') \g /dev/null
SELECT crm.fail_payment('f1', 'p1', 'TIMEOUT', occurred_at => '2026-02-01 00:28') \g /dev/null
SELECT is((SELECT count(*) FROM eventsource.events WHERE stream = 'order-f1' AND type = 'RetryScheduled'), 3::bigint, 'the fourth to none');
SELECT is((SELECT string_agg((data->>'attempt') || (data->>'givenUp'), ' ' ORDER BY version) FROM eventsource.events WHERE stream = 'order-f1' AND type = 'PaymentFailed'), '1false 2false 3false 4true', 'it is given up');
SELECT is(pg_temp.outcome($$ SELECT crm.retry_payment('f1', 'p1') $$), 'ZE005 attempts_left', 'and not tried a fourth time');
SELECT is((crm.initiate_payment('f1', 'p2', 'paypal', occurred_at => '2026-02-01 01:00')).state, 'pending-payment', 'another way to pay is open');
SELECT crm.record_payment('f1', 'p2', occurred_at => '2026-02-01 01:01') \g /dev/null
SELECT is((SELECT status || ' ' || failed_payment_count || ' ' || coalesce(last_error_code, '-') FROM crm.orders WHERE order_id = 'f1'), 'confirmed 4 -', 'and works');
SELECT pg_temp.ordered('f2', '2026-02-01') \g /dev/null
SELECT crm.initiate_payment('f2', 'p1', 'credit-card', occurred_at => '2026-02-01') \g /dev/null
SELECT crm.fail_payment('f2', 'p1', 'CARD_DECLINED', error_message => 'Card of Ada Lovelace declined', occurred_at => '2026-02-01') \g /dev/null
SELECT is(pg_temp.types('order-f2'), 'OrderPlaced PaymentInitiated PaymentFailed', 'what cannot help is not tried again');
SELECT is((SELECT error_code || ': ' || message FROM crm.payment_failures WHERE order_id = 'f2'), 'CARD_DECLINED: Your card was declined. Please try another one.', 'and said kindly');
SELECT is((SELECT string_agg(error_code || ' ' || n, ', ' ORDER BY error_code) FROM (SELECT error_code, count(*) n FROM crm.payment_failures GROUP BY 1) x), 'CARD_DECLINED 1, TIMEOUT 4', 'failures are counted by code');
SELECT crm.set_setting('payment_backoff_factor', '1000000') \g /dev/null
SELECT crm.install() \g /dev/null
SELECT pg_temp.ordered('f9', '2026-02-01') \g /dev/null
SELECT crm.initiate_payment('f9', 'p1', 'credit-card', occurred_at => '2026-02-01 00:00') \g /dev/null
SELECT crm.fail_payment('f9', 'p1', 'TIMEOUT', occurred_at => '2026-02-01 00:00') \g /dev/null
SELECT crm.retry_payment('f9', 'p1', occurred_at => '2026-02-01 00:05') \g /dev/null
SELECT crm.fail_payment('f9', 'p1', 'TIMEOUT', occurred_at => '2026-02-01 00:00') \g /dev/null
SELECT crm.retry_payment('f9', 'p1', occurred_at => '2026-02-01 00:05') \g /dev/null
SELECT crm.fail_payment('f9', 'p1', 'TIMEOUT', occurred_at => '2026-02-01 00:00') \g /dev/null
SELECT is((SELECT string_agg(data->>'retryAt', ' ' ORDER BY version) FROM eventsource.events WHERE stream = 'order-f9' AND type = 'RetryScheduled'),
	'2026-02-01T00:05:00.000000Z 2026-03-03T00:00:00.000000Z 2026-03-03T00:00:00.000000Z', 'a back-off is a month at most');
SELECT crm.set_setting('payment_backoff_factor', NULL) \g /dev/null
SELECT crm.install() \g /dev/null
SELECT pg_temp.ordered('f3', '2036-02-01') \g /dev/null
SELECT crm.initiate_payment('f3', 'p1', 'credit-card', occurred_at => '2036-02-01') \g /dev/null
SELECT crm.fail_payment('f3', 'p1', 'TIMEOUT', occurred_at => '2036-02-01') \g /dev/null
SELECT is((SELECT state FROM eventsource.jobs WHERE reaction = 'crm_retry_payment' AND stream = 'order-f3'), 'scheduled', 'a retry waits');
SELECT crm.cancel_order('f3', occurred_at => '2036-02-01') \g /dev/null
SELECT is((SELECT state FROM eventsource.jobs WHERE reaction = 'crm_retry_payment' AND stream = 'order-f3'), 'cancelled', 'but not for an order that was cancelled');

-- ---- cancelling ----

SELECT is((crm.cancel_order(pg_temp.ordered('c1'), occurred_at => '2026-01-02')).state, 'cancelled', 'what is not paid can be cancelled');
SELECT is((crm.cancel_order(pg_temp.ordered('c2', wanted => 'confirmed'), occurred_at => '2026-01-02')).state, 'cancelled', 'what is confirmed, too');
SELECT is(pg_temp.outcome($$ SELECT crm.cancel_order(pg_temp.ordered('c3', wanted => 'in-transit')) $$), 'ZE002', 'what is on its way cannot');
SELECT is(pg_temp.outcome($$ SELECT crm.cancel_order(pg_temp.ordered('c4', wanted => 'completed')) $$), 'ZE002', 'nor what arrived');
SELECT is(pg_temp.outcome($$ SELECT crm.ship_order('c1') $$), 'ZE002', 'what is cancelled is not sent');
SELECT is((crm.record_payment('c1', 'late', 49.90, occurred_at => '2026-01-03')).state, 'cancelled', 'money that comes late is there all the same');
SELECT is((crm.initiate_refund('c1', 'r1', 'customer-request', occurred_at => '2026-01-03')).state, 'cancelled', 'and is to be paid back');
SELECT is((crm.complete_refund('c1', 'r1', occurred_at => '2026-01-04')).state, 'refunded', 'all of it');
SELECT crm.add_to_cart('k2', 'pen', 1, 10, 'EUR', occurred_at => '2026-01-01') \g /dev/null
SELECT crm.cancel_order(pg_temp.ordered('c5', cart => 'k2'), occurred_at => '2026-01-02') \g /dev/null
SELECT is((SELECT status FROM crm.carts WHERE cart_id = 'k2'), 'open', 'the cart of an order that was cancelled is open again');

-- ---- refunds ----

SELECT pg_temp.ordered('r1', '2026-03-01', wanted => 'confirmed') \g /dev/null
SELECT is(pg_temp.outcome($$ SELECT crm.initiate_refund('r1', 'a', 'bored') $$), 'ZE007', 'reasons are those of the documents');
SELECT is(pg_temp.outcome($$ SELECT crm.initiate_refund('r1', 'a', 'other', 49.91) $$), 'ZE005 no_more_than_was_paid', 'no cent more than was paid');
SELECT is(pg_temp.outcome($$ SELECT crm.initiate_refund('r1', 'a', 'other', 0) $$), 'ZE005 refund_is_something', 'nothing is no refund');
SELECT is(pg_temp.outcome($$ SELECT crm.initiate_refund('r1', 'a', 'customer-request', 49.89, '["pen"]', occurred_at => '2026-03-02') $$), 'done', 'a part is');
SELECT is(pg_temp.outcome($$ SELECT crm.initiate_refund('r1', 'b', 'other', 0.02) $$), 'ZE005 no_more_than_was_paid', 'what is reserved counts');
SELECT is(pg_temp.outcome($$ SELECT crm.initiate_refund('r1', 'a', 'other', 0.01) $$), 'ZE005 refund_is_new', 'a refund is begun once');
SELECT is(pg_temp.outcome($$ SELECT crm.initiate_refund('r1', 'b', 'other', 0.01, occurred_at => '2026-03-02') $$), 'done', 'to the last cent');
SELECT is(pg_temp.outcome($$ SELECT crm.complete_refund('r1', 'nope') $$), '42704', 'one that is not there,');
SELECT is(pg_temp.outcome(command), '42704', 'refused: ' || command) FROM (VALUES
	('SELECT crm.initiate_refund(''nope'', ''a'', ''other'')'), ('SELECT crm.fail_refund(''nope'', ''a'', ''TIMEOUT'')'),
	('SELECT crm.fail_payment(''r1'', ''nope'', ''TIMEOUT'')'), ('SELECT crm.retry_payment(''nope'', ''p'')'),
	('SELECT crm.record_payment(''nope'', ''p'', 1)'), ('SELECT crm.record_payment(''r1'', ''nope'')'),
	('SELECT crm.initiate_payment(''nope'', ''p'', ''paypal'')'), ('SELECT crm.ship_order(''nope'')'), ('SELECT crm.cancel_order(''nope'')')) v (command);
SELECT is((SELECT refunded_amount || ' ' || open_refund_amount FROM crm.orders WHERE order_id = 'r1'), '0 49.90', 'pays nothing');
SELECT crm.complete_refund('r1', 'a', 're_1', occurred_at => '2026-03-03') \g /dev/null
SELECT is((SELECT payment_status || ' ' || refunded_amount || ' ' || net_amount FROM crm.orders WHERE order_id = 'r1'), 'partly-refunded 49.89 0.01', 'it is paid');
SELECT is(pg_temp.outcome($$ SELECT crm.complete_refund('r1', 'a') $$), 'ZE005 refund_is_open', 'once');
SELECT crm.fail_refund('r1', 'b', 'TIMEOUT', occurred_at => '2026-03-03') \g /dev/null
SELECT is((SELECT open_refund_amount FROM crm.orders WHERE order_id = 'r1'), 0::numeric, 'what failed is not reserved any more');
SELECT is(pg_temp.outcome($$ SELECT crm.initiate_refund('r1', 'c', 'other') $$), 'done', 'and can be paid back another time');
SELECT is((SELECT string_agg(refund_id || ' ' || status || ' ' || refund_type || ' ' || amount, ', ' ORDER BY refund_id) FROM crm.refunds WHERE order_id = 'r1'),
	'a completed partial 49.89, b failed full 0.01, c initiated full 0.01', 'refunds');
SELECT is(pg_temp.outcome($$ SELECT crm.initiate_refund('o1', 'a', 'customer-request') $$), 'ZE005 reason_holds_after_delivery', 'after the delivery the wish is not enough');
SELECT is(pg_temp.outcome($$ SELECT crm.initiate_refund('o1', 'a', 'quality-issue') $$), 'done', 'a fault is');
SELECT is((crm.complete_refund('o1', 'a')).state, 'refunded', 'and then the order is refunded');
SELECT is(pg_temp.outcome($$ SELECT crm.initiate_refund('f2', 'a', 'other', 1) $$), 'ZE005 no_more_than_was_paid', 'what was not paid is not paid back');

-- ---- the ledger ----

SELECT is((SELECT string_agg(kind || ' ' || amount || ' ' || reference, ', ' ORDER BY version) FROM crm.ledger_entries WHERE order_id = 'r1'), 'charge 49.90 payment p1, refund -49.89 refund a', 'payments and refunds are posted');
SELECT crm.post_to_ledger('ada', 'credit', 10, 'EUR') \g /dev/null
SELECT crm.post_to_ledger('ada', 'adjustment', -0.01, 'EUR', 'Counted twice') \g /dev/null
SELECT crm.post_to_ledger('ada', 'charge', 100, 'USD') \g /dev/null
SELECT is((SELECT string_agg(currency || ' ' || (balance = crm.balance('ada', currency)), ', ' ORDER BY currency) FROM crm.account_balances WHERE account_id = 'ada'), 'EUR true, USD true', 'a balance per currency');
SELECT is(crm.balance('ada', 'EUR'), (SELECT sum(net_amount) - 10 - 0.01 FROM crm.orders), 'which is the sum of what happened');
SELECT pg_temp.refuses($$ SELECT crm.balance('ada', 'EUR', now(), 'booked') $$, '22023', 'unknown basis "booked"', 'by a time that there is');
SELECT is(pg_temp.outcome($$ SELECT crm.post_to_ledger('ada', 'adjustment', 1, 'EUR') $$), 'ZE007', 'an adjustment says why');
SELECT is(pg_temp.outcome($$ SELECT crm.post_to_ledger('ada', 'charge', -1, 'EUR') $$), 'ZE007', 'a charge is above zero');
SELECT is_empty($$ SELECT * FROM crm.reconcile() $$, 'orders, entries, balances and replay agree');
SELECT eventsource.append('account-ada', 'ChargePosted', '{"amount": 5, "currency": "EUR", "orderId": "o1"}') \g /dev/null
SELECT is((SELECT string_agg(problem || ' ' || (found - expected), ', ') FROM crm.reconcile()), 'charges less refunds differ from the orders 5.00', 'what no order knows of is found');
SELECT is((SELECT string_agg(concat_ws(' ', order_count, lifetime_value, average_order_value), ', ') FROM crm.customer_purchases WHERE customer_id = 'ada' AND currency = 'EUR'),
	(SELECT concat_ws(' ', count(*), sum(paid_amount - refunded_amount), round(sum(paid_amount - refunded_amount) / count(*), 2)) FROM crm.orders WHERE net_amount > 0), 'what a customer bought, net of refunds');
SELECT is_empty($$ SELECT t, v.key FROM unnest('{crm.cart,crm.purchase,crm.order_line,crm.payment,crm.payment_failure,crm.refund,crm.ledger_entry}'::regclass[]) t, eventsource.verify_projection(t) v $$, 'all of it equals its replay');
\i test/own_database_end.sql
