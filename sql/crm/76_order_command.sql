-- Commands about carts and orders.

CREATE FUNCTION crm.append_to_cart(cart_id text, type text, data jsonb, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL)
	RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT crm.expect_installed();
	SELECT * FROM eventsource.append('cart-' || cart_id, type, jsonb_strip_nulls(data), actor => actor, occurred_at => occurred_at)
$$;
COMMENT ON FUNCTION crm.append_to_cart(text, text, jsonb, text, timestamptz) IS
	'Private, for commands: appends to a cart; members of data that are null are left out.';

CREATE FUNCTION crm.add_to_cart(cart_id text, product_id text, quantity integer, price numeric, currency text, customer_id text DEFAULT NULL,
		product_name text DEFAULT NULL,
		product_category text DEFAULT NULL, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT *
	  FROM crm.append_to_cart(cart_id, 'ItemAddedToCart',
		jsonb_build_object('productId', product_id, 'quantity', quantity, 'price', price, 'currency', currency,
		'customerId', customer_id, 'productName', product_name, 'productCategory', product_category), actor, occurred_at)
$$;
COMMENT ON FUNCTION crm.add_to_cart(text, text, integer, numeric, text, text, text, text, text, timestamptz) IS
	'Puts something into a cart, which begins with it if it is not there; the price is that of one, and holds for all of the product. Errors: ZE005 one_currency, ZE002 ordered already, ZE007 bad data.';

CREATE FUNCTION crm.remove_from_cart(cart_id text, product_id text, quantity integer, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL)
	RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM crm.append_to_cart(cart_id, 'ItemRemovedFromCart', jsonb_build_object('productId', product_id, 'quantity', quantity), actor,
		occurred_at)
$$;
COMMENT ON FUNCTION crm.remove_from_cart(text, text, integer, text, timestamptz) IS
	'Takes something out of a cart. Errors: ZE005 item_is_there if there are not as many in it, ZE002 ordered already.';

CREATE FUNCTION crm.start_checkout(cart_id text, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM crm.append_to_cart(cart_id, 'CheckoutStarted', '{}', actor, occurred_at)
$$;
COMMENT ON FUNCTION crm.start_checkout(text, text, timestamptz) IS
	'Begins the checkout of a cart; what it is worth, the database says. Errors: ZE005 cart_is_not_empty, ZE002.';

CREATE FUNCTION crm.complete_checkout_step(cart_id text, step text, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL)
	RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM crm.append_to_cart(cart_id, 'CheckoutStepCompleted', jsonb_build_object('step', step,
		'stepNumber', CASE step WHEN 'shipping' THEN 1 WHEN 'payment' THEN 2 ELSE 3 END), actor, occurred_at)
$$;
COMMENT ON FUNCTION crm.complete_checkout_step(text, text, text, timestamptz) IS
	'Records a step of the checkout: shipping, payment, review. Errors: ZE002 not in the checkout, ZE007 another step.';

CREATE FUNCTION crm.append_to_order(order_id text, type text, data jsonb, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL,
		idempotency_key text DEFAULT NULL)
	RETURNS eventsource.appended
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	o record;
	result eventsource.appended;
BEGIN
	SELECT v.customer_id, v.currency INTO o FROM crm.orders v WHERE v.order_id = append_to_order.order_id;
	PERFORM crm.expect_found(FOUND, format('order "%s"', order_id), 'orders');
	SELECT * INTO result FROM eventsource.append('order-' || order_id, type, jsonb_strip_nulls(jsonb_build_object('customerId', o.customer_id)
			|| CASE WHEN data ? 'amount' THEN jsonb_build_object('currency', o.currency) ELSE '{}' END || jsonb_strip_nulls(data)),
		actor => actor, occurred_at => occurred_at, idempotency_key => idempotency_key);
	RETURN result;
END
$$;
COMMENT ON FUNCTION crm.append_to_order(text, text, jsonb, text, timestamptz, text) IS
	'Private, for commands: appends to an order, with its customer and its currency unless data has them.';

CREATE FUNCTION crm.place_order(customer_id text, items jsonb, currency text, tax numeric DEFAULT 0, shipping numeric DEFAULT 0,
		order_id text DEFAULT NULL, cart_id text DEFAULT NULL,
		shipping_address jsonb DEFAULT NULL, billing_address jsonb DEFAULT NULL, channel text DEFAULT NULL, campaign_id text DEFAULT NULL,
		actor text DEFAULT NULL,
		occurred_at timestamptz DEFAULT NULL) RETURNS text
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	id CONSTANT text := coalesce(order_id, gen_random_uuid()::text);
	subtotal numeric;
BEGIN
	PERFORM crm.expect_installed();
	IF eventsource.stream_version('order-' || id) > 0 THEN
		RAISE SQLSTATE 'ZE002' USING
			MESSAGE = format('order "%s" is there already', id),
			DETAIL = 'An order is placed once, and nothing was recorded.',
			HINT = 'Give another order_id, or none. If it is the same order, it is placed: see the view crm.orders.';
	END IF;
	-- Of no items the schema has something to say.
	SELECT coalesce(sum((i->>'quantity')::numeric * (i->>'price')::numeric), 0) INTO subtotal
	  FROM jsonb_array_elements(CASE WHEN jsonb_typeof(items) = 'array' THEN items ELSE '[]' END) i;
	PERFORM eventsource.append('order-' || id, 'OrderPlaced',
		jsonb_strip_nulls(jsonb_build_object('customerId', customer_id, 'items', items, 'subtotal', subtotal, 'tax', tax,
			'shipping', shipping, 'total', subtotal + tax + shipping, 'currency', currency, 'cartId', cart_id, 'shippingAddress', shipping_address,
			'billingAddress', billing_address, 'channel', channel, 'campaignId', campaign_id)), actor => actor, occurred_at => occurred_at,
				expected_version => 0);
	RETURN id;
END
$$;
COMMENT ON FUNCTION crm.place_order(text, jsonb, text, numeric, numeric, text, text, jsonb, jsonb, text, text, text, timestamptz) IS
	'Places an order and returns it; items: an array of {"productId", "quantity", "price"} and perhaps "productName" and "category". Sums are the database''s. Its cart, if it came from one, counts as ordered. Errors: ZE002 if the order is there (40001 if it is placed by somebody else at this moment), ZE007 bad data.';

CREATE FUNCTION crm.initiate_payment(order_id text, payment_id text, payment_method text, amount numeric DEFAULT NULL,
		payment_provider text DEFAULT NULL, actor text DEFAULT NULL,
		occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM crm.append_to_order(order_id, 'PaymentInitiated', jsonb_build_object('paymentId', payment_id, 'paymentMethod', payment_method,
		'amount', coalesce(initiate_payment.amount, (SELECT o.total - o.paid_amount FROM crm.orders o WHERE o.order_id = initiate_payment.order_id)),
		'paymentProvider', payment_provider),
		actor, occurred_at)
$$;
COMMENT ON FUNCTION crm.initiate_payment(text, text, text, numeric, text, text, timestamptz) IS
	'Begins a payment of an order; amount NULL: all that is owed. Methods: credit-card, paypal, bank-transfer. Errors: ZE005 no_more_than_is_owed, payment_is_new; ZE002 paid, cancelled or unknown.';

CREATE FUNCTION crm.record_payment(order_id text, payment_id text, amount numeric DEFAULT NULL, transaction_id text DEFAULT NULL,
		actor text DEFAULT NULL,
		occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT crm.expect_found(record_payment.amount IS NOT NULL
							OR EXISTS (SELECT FROM crm.payments p WHERE p.order_id = record_payment.order_id
										  AND p.payment_id = record_payment.payment_id),
							format('payment "%s" of order "%s"', payment_id, order_id), 'payments');
	SELECT * FROM crm.append_to_order(order_id, 'PaymentSucceeded', jsonb_build_object('paymentId', payment_id, 'transactionId', transaction_id,
		'amount',
		coalesce(record_payment.amount,
			(SELECT p.amount FROM crm.payments p WHERE p.order_id = record_payment.order_id AND p.payment_id = record_payment.payment_id))),
		actor, occurred_at, 'paid ' || payment_id)
$$;
COMMENT ON FUNCTION crm.record_payment(text, text, numeric, text, text, timestamptz) IS
	'Records that a payment succeeded; amount NULL: as it was begun. Told again in the same words it is one payment. When all is paid the order is confirmed. Errors: ZE005 no_more_than_is_owed, payment_is_open; ZE002 paid already, 42704 no such order or payment.';

CREATE FUNCTION crm.fail_payment(order_id text, payment_id text, error_code text, is_retryable boolean DEFAULT NULL, error_message text DEFAULT NULL,
		actor text DEFAULT NULL,
		occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT crm.expect_found(EXISTS (SELECT FROM crm.payments p WHERE p.order_id = fail_payment.order_id AND p.payment_id = fail_payment.payment_id),
							format('payment "%s" of order "%s"', payment_id, order_id), 'payments');
	SELECT a.* FROM crm.payments p
	 CROSS JOIN LATERAL crm.append_to_order(p.order_id, 'PaymentFailed',
		jsonb_build_object('paymentId', p.payment_id, 'amount', p.amount, 'errorCode', fail_payment.error_code,
			'errorMessage', fail_payment.error_message,
		'retryable',
		coalesce(fail_payment.is_retryable, (SELECT c.is_retryable FROM eventsource.error_codes c WHERE c.code = fail_payment.error_code), false)),
		fail_payment.actor, fail_payment.occurred_at) a
	 WHERE p.order_id = fail_payment.order_id AND p.payment_id = fail_payment.payment_id
$$;
COMMENT ON FUNCTION crm.fail_payment(text, text, text, boolean, text, text, timestamptz) IS
	'Records that a payment failed; is_retryable NULL: as eventsource.error_codes says of the code, and no if it does not. Which attempt it was the database counts: it is tried again, by a job of queue crm_payment, so often as setting payment_retries says. Errors: ZE005 payment_is_open, ZE002, 42704 no such payment.';

CREATE FUNCTION crm.retry_payment(order_id text, payment_id text, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL)
	RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM crm.append_to_order(order_id, 'PaymentRetried', jsonb_build_object('paymentId', payment_id,
		'attempt', (SELECT o.failed_payment_count FROM crm.orders o WHERE o.order_id = retry_payment.order_id)), actor, occurred_at)
$$;
COMMENT ON FUNCTION crm.retry_payment(text, text, text, timestamptz) IS
	'Says that a payment which failed is being tried again; what came of it, record_payment() or fail_payment() says. Errors: ZE005 attempts_left, payment_failed if it is another payment; ZE002 none failed, 42704 no such order.';

CREATE FUNCTION crm.ship_order(order_id text, tracking_number text DEFAULT NULL, carrier text DEFAULT NULL, estimated_delivery text DEFAULT NULL,
		actor text DEFAULT NULL,
		occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT *
	  FROM crm.append_to_order(order_id, 'OrderShipped',
		jsonb_build_object('trackingNumber', tracking_number, 'carrier', carrier, 'estimatedDelivery', estimated_delivery), actor, occurred_at)
$$;
COMMENT ON FUNCTION crm.ship_order(text, text, text, text, text, timestamptz) IS
	'Records that an order is on its way. Errors: ZE002 not paid, or cancelled.';

CREATE FUNCTION crm.deliver_order(order_id text, signed_by text DEFAULT NULL, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL)
	RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM crm.append_to_order(order_id, 'OrderDelivered', jsonb_build_object('signedBy', signed_by), actor, occurred_at)
$$;
COMMENT ON FUNCTION crm.deliver_order(text, text, text, timestamptz) IS 'Records that an order arrived. Errors: ZE002 not on its way.';

CREATE FUNCTION crm.cancel_order(order_id text, reason text DEFAULT NULL, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL)
	RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM crm.append_to_order(order_id, 'OrderCancelled', jsonb_build_object('reason', reason), actor, occurred_at)
$$;
COMMENT ON FUNCTION crm.cancel_order(text, text, text, timestamptz) IS
	'Cancels an order that is not on its way; what was paid is to be paid back by initiate_refund(). Errors: ZE002 shipped, delivered or cancelled.';

CREATE FUNCTION crm.initiate_refund(order_id text, refund_id text, reason text, amount numeric DEFAULT NULL, items jsonb DEFAULT NULL,
		actor text DEFAULT NULL,
		occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT crm.expect_found(EXISTS (SELECT FROM crm.orders o WHERE o.order_id = initiate_refund.order_id), format('order "%s"', order_id), 'orders');
	SELECT a.* FROM crm.orders o
	 CROSS JOIN LATERAL (SELECT o.paid_amount - o.refunded_amount - o.open_refund_amount) rest (amount)
	 CROSS JOIN LATERAL crm.append_to_order(o.order_id, 'RefundInitiated',
		jsonb_build_object('refundId', refund_id, 'amount', coalesce(initiate_refund.amount, rest.amount),
		'reason', initiate_refund.reason, 'refundType', CASE WHEN coalesce(initiate_refund.amount, rest.amount) = rest.amount THEN 'full'
			ELSE 'partial' END, 'items', initiate_refund.items),
		initiate_refund.actor, initiate_refund.occurred_at) a
	 WHERE o.order_id = initiate_refund.order_id
$$;
COMMENT ON FUNCTION crm.initiate_refund(text, text, text, numeric, jsonb, text, timestamptz) IS
	'Reserves money of an order to be paid back; amount NULL: all that is left. Reasons: customer-request, quality-issue, delivery-failed, other; after the delivery those of setting refund_reasons_after_delivery. Errors: ZE005 no_more_than_was_paid, refund_is_new, reason_holds_after_delivery, refund_is_something; ZE007, 42704 no such order.';

CREATE FUNCTION crm.complete_refund(order_id text, refund_id text, transaction_id text DEFAULT NULL, actor text DEFAULT NULL,
		occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT crm.expect_found(EXISTS (SELECT FROM crm.refunds r WHERE r.order_id = complete_refund.order_id
									   AND r.refund_id = complete_refund.refund_id),
							format('refund "%s" of order "%s"', refund_id, order_id), 'refunds');
	SELECT a.* FROM crm.refunds r
	 CROSS JOIN LATERAL crm.append_to_order(r.order_id, 'RefundCompleted',
		jsonb_build_object('refundId', r.refund_id, 'amount', r.amount, 'transactionId', complete_refund.transaction_id),
		complete_refund.actor, complete_refund.occurred_at) a
	 WHERE r.order_id = complete_refund.order_id AND r.refund_id = complete_refund.refund_id
$$;
COMMENT ON FUNCTION crm.complete_refund(text, text, text, text, timestamptz) IS
	'Records that a refund was paid. Errors: ZE005 refund_is_open if it is paid, or failed; 42704 no such refund.';

CREATE FUNCTION crm.fail_refund(order_id text, refund_id text, error_code text, error_message text DEFAULT NULL, actor text DEFAULT NULL,
		occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT *
	  FROM crm.append_to_order(order_id, 'RefundFailed',
		jsonb_build_object('refundId', refund_id, 'errorCode', error_code, 'errorMessage', error_message), actor, occurred_at)
$$;
COMMENT ON FUNCTION crm.fail_refund(text, text, text, text, text, timestamptz) IS
	'Records that a refund could not be paid; the money may be reserved again. Errors: ZE005 refund_is_open.';
