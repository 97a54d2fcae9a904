-- What is read of orders, payments and refunds.

CREATE FUNCTION crm.put_order_views() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_view('orders', 'Orders, one row each.', jsonb_build_object(
			'order_id', 'The order; its stream is order-<order_id>.',
			'customer_id', 'Who ordered.',
			'cart_id', 'Cart that it came from; NULL: none.',
			'status', 'pending-payment, payment-failed, confirmed, in-transit, completed, cancelled or refunded.',
			'payment_status', 'unpaid, initiated, failed, partly-paid, paid, partly-refunded or refunded.',
			'shipping_status', 'none, shipped or delivered.',
			'currency', 'Currency of its amounts.',
			'subtotal', 'Price of the items.',
			'tax', 'Tax.',
			'shipping', 'Price of the shipping.',
			'total', 'Sum of these.',
			'paid_amount', 'What was paid.',
			'refunded_amount', 'What was paid back.',
			'open_refund_amount', 'What is to be paid back and is not yet.',
			'net_amount', 'What was paid and not paid back.',
			'failed_payment_count', 'How often a payment failed.',
			'last_error_code', 'Code of the last failure; NULL: none, or paid since.',
			'channel', 'Channel that the order came by.',
			'campaign_id', 'Campaign that it came by.',
			'confirmation_number', 'Confirmation number.',
			'is_cancellable', 'Can it be cancelled now?',
			'is_refundable', 'Is there money to pay back, and was it not delivered?',
			'placed_at', 'When it was placed.',
			'paid_at', 'When all was paid.',
			'confirmed_at', 'When it was confirmed.',
			'shipped_at', 'When it was sent.',
			'delivered_at', 'When it arrived.',
			'cancelled_at', 'When it was cancelled.',
			'updated_at', 'When its last event happened.'), $view$
		SELECT o.order_id, o.customer_id, o.cart_id, o.status, o.payment_status, o.shipping_status, o.currency, o.subtotal, o.tax, o.shipping,
			   o.total,
			   o.paid AS paid_amount, o.refunded AS refunded_amount, o.refund_reserved AS open_refund_amount, o.paid - o.refunded AS net_amount,
			   o.failures AS failed_payment_count, o.last_error_code, o.channel, o.campaign_id, o.confirmation_number,
			   o.status IN ('pending-payment', 'payment-failed', 'confirmed') AS is_cancellable,
			   o.paid > o.refunded + o.refund_reserved AND o.delivered_at IS NULL AS is_refundable,
			   o.placed_at, o.paid_at, o.confirmed_at, o.shipped_at, o.delivered_at, o.cancelled_at, o.updated_at
		  FROM crm.purchase o
		 WHERE eventsource.may_read_category('order') $view$);

	PERFORM crm.put_view('order_items', 'What was ordered, one row per order and product.', jsonb_build_object(
			'order_id', 'The order.',
			'customer_id', 'Who ordered.',
			'product_id', 'The product.',
			'product_name', 'Its name.',
			'product_category', 'Its category.',
			'quantity', 'How many.',
			'amount', 'What they cost.',
			'currency', 'Currency of it.',
			'placed_at', 'When it was ordered.',
			'is_cancelled', 'True if the order was cancelled.'), $view$
		SELECT l.order_id, o.customer_id, l.product_id, l.product_name, l.product_category, l.quantity, l.amount, o.currency, o.placed_at,
			   o.cancelled_at IS NOT NULL AS is_cancelled
		  FROM crm.order_line l
		  JOIN crm.purchase o ON o.order_id = l.order_id
		 WHERE eventsource.may_read_category('order') $view$);

	PERFORM crm.put_view('payments', 'Payments, one row each.', jsonb_build_object(
			'order_id', 'The order.',
			'payment_id', 'The payment; one that is tried again is the same.',
			'customer_id', 'Who pays.',
			'status', 'initiated, succeeded or failed.',
			'payment_method', 'credit-card, paypal or bank-transfer.',
			'payment_provider', 'Who carries it out.',
			'amount', 'How much.',
			'currency', 'Currency of it.',
			'transaction_id', 'What the provider calls it.',
			'error_code', 'Why it failed last.',
			'is_retryable', 'May it help to try again?',
			'initiated_at', 'When it was begun.',
			'succeeded_at', 'When it succeeded.',
			'failed_at', 'When it failed last.'), $view$
		SELECT p.order_id, p.payment_id, p.customer_id, p.status, p.method AS payment_method, p.provider AS payment_provider, p.amount, p.currency,
			   p.transaction_id,
			   p.error_code, p.is_retryable, p.initiated_at, p.succeeded_at, p.failed_at
		  FROM crm.payment p
		 WHERE eventsource.may_read_category('order') $view$);

	PERFORM crm.put_view('payment_failures', 'Payments that failed, one row per attempt.', jsonb_build_object(
			'order_id', 'The order.',
			'version', 'Version of the event.',
			'payment_id', 'The payment.',
			'customer_id', 'Who pays.',
			'amount', 'How much.',
			'currency', 'Currency of it.',
			'error_code', 'Why.',
			'message', 'The same, as it can be said to a customer.',
			'is_retryable', 'May it help to try again?',
			'attempt', 'Which failure of the order it is: 1, 2 ...',
			'failed_at', 'When.'), $view$
		SELECT f.order_id, f.version, f.payment_id, f.customer_id, f.amount, f.currency, f.error_code,
			   crm.payment_error_message(f.error_code) AS message, f.is_retryable, f.attempt, f.failed_at
		  FROM crm.payment_failure f
		 WHERE eventsource.may_read_category('order') $view$);

	PERFORM crm.put_view('refunds', 'Refunds, one row each.', jsonb_build_object(
			'order_id', 'The order.',
			'refund_id', 'The refund.',
			'customer_id', 'Who gets it.',
			'status', 'initiated, completed or failed.',
			'refund_type', 'full or partial.',
			'reason', 'Why.',
			'amount', 'How much.',
			'currency', 'Currency of it.',
			'transaction_id', 'What the provider calls it.',
			'error_code', 'Why it failed.',
			'initiated_at', 'When it was begun.',
			'completed_at', 'When it was paid.',
			'failed_at', 'When it failed.'), $view$
		SELECT r.order_id, r.refund_id, r.customer_id, r.status, r.refund_type, r.reason, r.amount, r.currency, r.transaction_id, r.error_code,
			   r.initiated_at, r.completed_at, r.failed_at
		  FROM crm.refund r
		 WHERE eventsource.may_read_category('order') $view$);

	PERFORM crm.put_view('order_state_visits', 'One row per visit of an order to a status.', jsonb_build_object(
			'order_id', 'The order.',
			'status', 'The status.',
			'visit_number', 'Which visit of the order to this status: 1, 2 ...',
			'event_type', 'Event that led there.',
			'entered_at', 'From when.',
			'exited_at', 'Until when; NULL: now.',
			'duration', 'How long; until now where it lasts.',
			'is_current', 'True where the order is now.'), $view$
		SELECT v.order_id, v.status, v.visit_number, v.event_type, v.entered_at, v.exited_at,
			   greatest(coalesce(v.exited_at, now()) - v.entered_at, '0') AS duration,
			   v.exited_at IS NULL AS is_current
		  FROM (SELECT x.*, row_number() OVER (PARTITION BY x.order_id, x.status ORDER BY x.version) AS visit_number,
					   lead(x.entered_at) OVER (PARTITION BY x.order_id ORDER BY x.version) AS exited_at
				  FROM (SELECT o.order_id, o.version, o.status, o.event_type,
						  max(o.entered_at) OVER (PARTITION BY o.order_id ORDER BY o.version) AS entered_at
						  FROM crm.order_visit o) x) v
		 WHERE eventsource.may_read_category('order') $view$);

	PERFORM crm.put_view('order_timeline', 'Everything that happened to an order, one row per event; order by version.', jsonb_build_object(
			'order_id', 'The order.',
			'version', 'Place in its history: 1, 2 ...',
			'occurred_at', 'When it happened.',
			'actor', 'Who did it.',
			'event_type', 'What happened.',
			'from_status', 'Status before.',
			'to_status', 'Status after.',
			'amount', 'Money that it is about; NULL: none.',
			'currency', 'Currency of it.',
			'detail', 'Data of the event; personal fields as the reader may see them.'), $view$
		SELECT o.order_id, e.version, e.occurred_at, e.actor, e.type AS event_type, e.from_state AS from_status, e.to_state AS to_status,
			   coalesce(e.data->>'amount', e.data->>'total')::numeric AS amount, e.data->>'currency' AS currency, e.data AS detail
		  FROM crm.purchase o
		 CROSS JOIN LATERAL eventsource.read_stream('order-' || o.order_id) e
		 WHERE eventsource.may_read_category('order') $view$);

	PERFORM crm.put_view('customer_purchases', 'What customers bought, one row per customer and currency; orders that were paid count.',
		jsonb_build_object(
			'customer_id', 'The customer.',
			'currency', 'Currency of the amounts.',
			'order_count', 'Orders that were paid and not paid back in full.',
			'delivered_order_count', 'How many of them arrived.',
			'paid_amount', 'What was paid.',
			'refunded_amount', 'What was paid back.',
			'lifetime_value', 'What was paid and not paid back.',
			'average_order_value', 'The same by order.',
			'first_order_at', 'When the first was paid.',
			'last_order_at', 'When the last was.'), $view$
		SELECT o.customer_id, o.currency, count(*) FILTER (WHERE o.paid > o.refunded) AS order_count,
			   count(*) FILTER (WHERE o.delivered_at IS NOT NULL AND o.paid > o.refunded) AS delivered_order_count,
			   sum(o.paid) AS paid_amount, sum(o.refunded) AS refunded_amount, sum(o.paid - o.refunded) AS lifetime_value,
			   round(sum(o.paid - o.refunded) / nullif(count(*) FILTER (WHERE o.paid > o.refunded), 0), 2) AS average_order_value,
			   min(o.paid_at) FILTER (WHERE o.paid > o.refunded) AS first_order_at, max(o.paid_at) FILTER (WHERE o.paid > o.refunded) AS last_order_at
		  FROM crm.purchase o
		 WHERE o.paid_at IS NOT NULL AND eventsource.may_read_category('order')
		 GROUP BY o.customer_id, o.currency $view$);
END
$$;
COMMENT ON FUNCTION crm.put_order_views() IS 'Private, for install(): views of orders.';

CREATE FUNCTION crm.payment_error_message(error_code text) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE error_code
			WHEN 'CARD_DECLINED' THEN 'Your card was declined. Please try another one.'
			WHEN 'INSUFFICIENT_FUNDS' THEN 'There is not enough money on the account. Please try another way to pay.'
			WHEN 'EXPIRED_CARD' THEN 'Your card has expired. Please use another one.'
			WHEN 'INVALID_CVC' THEN 'The security code was not right. Please enter it again.'
			WHEN 'TIMEOUT' THEN 'Your bank did not answer. We try again.'
			WHEN 'RATE_LIMIT' THEN 'There was a hold-up. We try again.'
			WHEN 'SERVICE_UNAVAILABLE' THEN 'Payments are not possible at the moment. We try again.'
			ELSE 'Your payment did not go through. Please try again, or another way to pay.'
		   END
$$;
COMMENT ON FUNCTION crm.payment_error_message(text) IS 'What a customer can be told of a code of a payment that failed.';
