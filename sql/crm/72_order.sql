-- Orders with their payments and refunds: one state machine, three projections.  No
-- more is paid than is owed and no more paid back than was paid, by whatever door it
-- is recorded; money is numeric, in one currency per order.

CREATE FUNCTION crm.order_machine(retries integer, refund_reasons_after_delivery text[]) RETURNS jsonb
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $fn$
DECLARE
	amount CONSTANT text := $$(event.data->>'amount')::numeric$$;
	payment CONSTANT text := $$(row.payments->>(event.data->>'paymentId'))$$;
	refund CONSTANT text := $$(row.refunds->(event.data->>'refundId'))$$;
	customer CONSTANT jsonb := '{"same_customer": "event.data->>''customerId'' = row.customer_id"}';
	currency CONSTANT jsonb := '{"same_currency": "event.data->>''currency'' = row.currency"}';
	owed CONSTANT jsonb := jsonb_build_object('no_more_than_is_owed', amount || ' <= row.total - row.paid');
	payment_is_open CONSTANT jsonb := jsonb_build_object('payment_is_open', format($$coalesce(%s = 'initiated', true)$$, payment));
	plain CONSTANT jsonb := jsonb_build_object('guard', jsonb_build_array(customer));
	initiated CONSTANT jsonb := jsonb_build_object('guard', jsonb_build_array(customer, currency, owed,
		jsonb_build_object('payment_is_new', format($$%s IS NULL$$, payment))), 'target', 'pending-payment');
	-- The part that completes it confirms the order.
	succeeded CONSTANT jsonb := jsonb_build_array(
		jsonb_build_object('target', 'confirmed', 'kind', 'forward',
			'guard',
			jsonb_build_array(customer, currency, payment_is_open, owed, jsonb_build_object('all_is_paid', amount || ' = row.total - row.paid'))),
		jsonb_build_object('target', 'pending-payment', 'guard', jsonb_build_array(customer, currency, payment_is_open, owed)));
	failed CONSTANT jsonb := jsonb_build_object('target', 'payment-failed', 'kind', 'backward',
		'guard', jsonb_build_array(customer, currency, payment_is_open),
		'fill',
		jsonb_build_object('attempt', 'row.failures + 1',
			'givenUp', format($$event.data->>'retryable' <> 'true' OR row.failures + 1 > %s$$, retries)));
	retried CONSTANT jsonb := jsonb_build_object('target', 'pending-payment', 'guard', jsonb_build_array(customer,
		jsonb_build_object('payment_failed', format($$coalesce(%s = 'failed', false)$$, payment)),
		jsonb_build_object('attempts_left', format('row.failures BETWEEN 1 AND %s', retries)),
		jsonb_build_object('attempt_is_next', $$(event.data->>'attempt')::integer = row.failures$$)));
	cancelled CONSTANT jsonb := plain || '{"target": "cancelled", "kind": "backward"}';
	completed CONSTANT jsonb := jsonb_build_object('guard', jsonb_build_array(customer, currency,
		jsonb_build_object('refund_is_open', format($$coalesce(%s->>'status' = 'initiated', false)$$, refund)),
		jsonb_build_object('same_amount', format($$%s = (%s->>'amount')::numeric$$, amount, refund))));
	-- When all of the total is paid back, nothing more can come.
	all_back CONSTANT jsonb := jsonb_build_array(jsonb_build_object('target', 'refunded', 'kind', 'backward',
		'guard', completed->'guard' || jsonb_build_object('all_is_paid_back', 'row.refunded + ' || amount || ' = row.total')), completed);
	refunds CONSTANT jsonb := jsonb_build_object(
		'RefundInitiated', jsonb_build_object('guard', jsonb_build_array(customer, currency,
			jsonb_build_object('refund_is_new', format('%s IS NULL', refund)),
			jsonb_build_object('refund_is_something', amount || ' > 0'),
			jsonb_build_object('no_more_than_was_paid', format('row.refund_reserved + row.refunded + %s <= row.paid', amount)),
			jsonb_build_object('full_is_all', format($$event.data->>'refundType' <> 'full' OR row.refund_reserved + row.refunded + %s = row.paid$$,
				amount)),
			jsonb_build_object('reason_holds_after_delivery', format($$row.delivered_at IS NULL OR event.data->>'reason' = ANY (%L::text[])$$,
				refund_reasons_after_delivery)))),
		'RefundCompleted', completed,
		'RefundFailed', jsonb_build_object('guard', jsonb_build_array(customer,
			jsonb_build_object('refund_is_open', format($$coalesce(%s->>'status' = 'initiated', false)$$, refund)))));
	-- Money that comes after the order was cancelled is there all the same, and can be paid back.
	late CONSTANT jsonb := jsonb_build_object('PaymentSucceeded',
		jsonb_build_object('guard', jsonb_build_array(customer, currency, payment_is_open, owed)),
		'PaymentFailed', jsonb_build_object('guard', jsonb_build_array(customer, currency, payment_is_open),
			'fill', '{"attempt": "row.failures + 1", "givenUp": "true"}'::jsonb));
BEGIN
	RETURN jsonb_build_object(
		'description', 'From the order to the doorstep, and back',
		'initial', 'pending-payment',
		'create', jsonb_build_object('OrderPlaced', jsonb_build_object('target', 'pending-payment', 'guard', jsonb_build_array(
			jsonb_build_object('items_add_up',
				$$eventsource.sum_products(event.data->'items', 'quantity', 'price') = (event.data->>'subtotal')::numeric$$),
			jsonb_build_object('total_adds_up',
				$$(event.data->>'subtotal')::numeric + (event.data->>'tax')::numeric + (event.data->>'shipping')::numeric =
					(event.data->>'total')::numeric$$)))),
		'states', jsonb_build_object(
			'pending-payment',
			jsonb_build_object('on', refunds || jsonb_build_object('PaymentInitiated', initiated, 'PaymentSucceeded', succeeded,
				'PaymentFailed', failed, 'OrderCancelled', cancelled)),
			'payment-failed',
			jsonb_build_object('on', refunds || jsonb_build_object('PaymentInitiated', initiated, 'PaymentRetried', retried,
				'PaymentSucceeded', succeeded, 'PaymentFailed', failed,
				'RetryScheduled',
				jsonb_build_object('guard', jsonb_build_array(customer,
					jsonb_build_object('attempt_is_next', $$(event.data->>'attempt')::integer = row.failures$$))),
				'OrderCancelled', cancelled)),
			'confirmed', jsonb_build_object('on', refunds || jsonb_build_object(
				'OrderConfirmed',
				jsonb_build_object('guard', jsonb_build_array(customer, '{"not_confirmed_yet": "row.confirmation_number IS NULL"}'::jsonb)),
				'OrderShipped', plain || '{"target": "in-transit", "kind": "forward"}', 'OrderCancelled', cancelled)),
			'in-transit',
			jsonb_build_object('on', refunds || jsonb_build_object('OrderDelivered', plain || '{"target": "completed", "kind": "forward"}')),
			'completed', jsonb_build_object('on', refunds || jsonb_build_object('RefundCompleted', all_back)),
			'cancelled', jsonb_build_object('on', refunds || late || jsonb_build_object('RefundCompleted', all_back)),
			'refunded', '{"type": "final"}'::jsonb));
END
$fn$;
COMMENT ON FUNCTION crm.order_machine(integer, text[]) IS 'Private, for install(): the life of an order.';

CREATE FUNCTION crm.make_orders() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_table('purchase', $table$
		order_id            text PRIMARY KEY,
		customer_id         text,
		cart_id             text,
		status              text,
		payment_status      text NOT NULL DEFAULT 'unpaid',
		shipping_status     text NOT NULL DEFAULT 'none',
		currency            text,
		subtotal            numeric,
		tax                 numeric,
		shipping            numeric,
		total               numeric,
		paid                numeric NOT NULL DEFAULT 0,
		refund_reserved     numeric NOT NULL DEFAULT 0,
		refunded            numeric NOT NULL DEFAULT 0,
		failures            integer NOT NULL DEFAULT 0,
		last_error_code     text,
		payments            jsonb NOT NULL DEFAULT '{}',
		refunds             jsonb NOT NULL DEFAULT '{}',
		categories          jsonb NOT NULL DEFAULT '[]',
		channel             text,
		campaign_id         text,
		confirmation_number text,
		placed_at           timestamptz,
		paid_at             timestamptz,
		confirmed_at        timestamptz,
		shipped_at          timestamptz,
		delivered_at        timestamptz,
		cancelled_at        timestamptz,
		updated_at          timestamptz,
		version             bigint,
		CONSTRAINT order_is_not_overpaid CHECK (paid <= total),
		CONSTRAINT refunds_are_not_above_payments CHECK (refund_reserved + refunded <= paid)
	$table$);
	COMMENT ON TABLE crm.purchase IS 'Private: orders as they are now, a projection. Read the view orders.';
	CREATE INDEX IF NOT EXISTS purchase_customer_idx ON crm.purchase (customer_id, placed_at);

	PERFORM crm.put_table('order_line', $table$
		order_id         text,
		product_id       text,
		product_name     text,
		product_category text,
		quantity         integer NOT NULL DEFAULT 0,
		amount           numeric NOT NULL DEFAULT 0,
		PRIMARY KEY (order_id, product_id)
	$table$);
	COMMENT ON TABLE crm.order_line IS 'Private: what was ordered, a projection. Read the view order_items.';

	PERFORM crm.put_table('payment', $table$
		order_id       text,
		payment_id     text,
		customer_id    text,
		status         text,
		method         text,
		provider       text,
		amount         numeric,
		currency       text,
		transaction_id text,
		error_code     text,
		is_retryable   boolean,
		initiated_at   timestamptz,
		succeeded_at   timestamptz,
		failed_at      timestamptz,
		PRIMARY KEY (order_id, payment_id)
	$table$);
	COMMENT ON TABLE crm.payment IS 'Private: payments, a projection. Read the view payments.';

	PERFORM crm.put_table('payment_failure', $table$
		order_id     text,
		version      bigint,
		payment_id   text,
		customer_id  text,
		amount       numeric,
		currency     text,
		error_code   text,
		is_retryable boolean,
		attempt      integer,
		failed_at    timestamptz,
		PRIMARY KEY (order_id, version)
	$table$);
	COMMENT ON TABLE crm.payment_failure IS 'Private: payments that failed, a projection. Read the view payment_failures.';

	PERFORM crm.put_table('refund', $table$
		order_id       text,
		refund_id      text,
		customer_id    text,
		status         text,
		refund_type    text,
		reason         text,
		amount         numeric,
		currency       text,
		transaction_id text,
		error_code     text,
		initiated_at   timestamptz,
		completed_at   timestamptz,
		failed_at      timestamptz,
		PRIMARY KEY (order_id, refund_id)
	$table$);
	COMMENT ON TABLE crm.refund IS 'Private: refunds, a projection. Read the view refunds.';
END
$$;
COMMENT ON FUNCTION crm.make_orders() IS 'Private, for install(): tables of orders.';

CREATE FUNCTION crm.put_orders() RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	amount CONSTANT text := $rule$(event.data->>'amount')::numeric$rule$;
	always CONSTANT text := $rule$ status = event.to_state, updated_at = event.occurred_at, version = event.version $rule$;
	key CONSTANT jsonb := $rule$ {"order_id": "event.key", "payment_id": "event.data->>'paymentId'"} $rule$;
	refund_key CONSTANT jsonb := $rule$ {"order_id": "event.key", "refund_id": "event.data->>'refundId'"} $rule$;
	payment CONSTANT text := $rule$ customer_id = event.data->>'customerId', amount = (event.data->>'amount')::numeric,
		currency = event.data->>'currency' $rule$;
	pays CONSTANT text := $rule$ payments = row.payments || jsonb_build_object(event.data->>'paymentId', %L) $rule$;
	refund_ended CONSTANT text := $rule$ refunds = row.refunds || jsonb_build_object(event.data->>'refundId', (row.refunds->(event.data->>'refundId'))
		|| '{"status": "%s"}'),
		refund_reserved = row.refund_reserved - (row.refunds->(event.data->>'refundId')->>'amount')::numeric $rule$;
BEGIN
	PERFORM crm.put_table('order_visit', $table$
		order_id   text,
		version    bigint,
		status     text,
		event_type text,
		entered_at timestamptz,
		PRIMARY KEY (order_id, version)
	$table$);
	COMMENT ON TABLE crm.order_visit IS 'Private: entries of orders into statuses, a projection. Read the view order_state_visits.';

	RETURN crm.put_projection('crm.purchase', 'order', (
			SELECT jsonb_object_agg(rule.type, concat_ws(', ', rule.set, always)) FROM (VALUES
				('*', NULL),
				('OrderPlaced', $rule$ customer_id = event.data->>'customerId', cart_id = event.data->>'cartId', currency = event.data->>'currency',
					subtotal = (event.data->>'subtotal')::numeric,
					tax = (event.data->>'tax')::numeric, shipping = (event.data->>'shipping')::numeric, total = (event.data->>'total')::numeric,
					categories = jsonb_path_query_array(event.data->'items', '$[*].category'), channel = event.data->>'channel',
					campaign_id = event.data->>'campaignId',
					placed_at = event.occurred_at $rule$),
				('PaymentInitiated', format(pays, 'initiated') || $rule$, payment_status = 'initiated' $rule$),
				('PaymentSucceeded', format(pays, 'succeeded')
					|| format($rule$, paid = row.paid + %1$s,
						payment_status = CASE WHEN row.paid + %1$s = row.total THEN 'paid' ELSE 'partly-paid' END,
					paid_at = CASE WHEN row.paid + %1$s = row.total THEN event.occurred_at END, last_error_code = NULL $rule$, amount)),
				('PaymentFailed', format(pays, 'failed')
					|| $rule$, payment_status = 'failed', failures = row.failures + 1, last_error_code = event.data->>'errorCode' $rule$),
				('PaymentRetried', format(pays, 'initiated') || $rule$, payment_status = 'initiated' $rule$),
				('OrderConfirmed', $rule$ confirmation_number = event.data->>'confirmationNumber', confirmed_at = event.occurred_at $rule$),
				('OrderShipped', $rule$ shipping_status = 'shipped', shipped_at = event.occurred_at $rule$),
				('OrderDelivered', $rule$ shipping_status = 'delivered', delivered_at = event.occurred_at $rule$),
				('OrderCancelled', $rule$ cancelled_at = event.occurred_at $rule$),
				('RefundInitiated',
					format($rule$ refunds = row.refunds
						|| jsonb_build_object(event.data->>'refundId', jsonb_build_object('amount', event.data->'amount', 'status', 'initiated')),
					refund_reserved = row.refund_reserved + %s $rule$, amount)),
				('RefundCompleted', format(refund_ended, 'completed') || format($rule$, refunded = row.refunded + %1$s,
					payment_status = CASE WHEN row.refunded + %1$s = row.paid THEN 'refunded' ELSE 'partly-refunded' END $rule$, amount)),
				('RefundFailed', format(refund_ended, 'failed'))
			) rule (type, set)))
		+ crm.put_projection('crm.order_line', 'order', jsonb_build_object('OrderPlaced', jsonb_build_object(
			'each', $rule$ jsonb_array_elements(event.data->'items') $rule$,
			'key', $rule$ {"order_id": "event.key", "product_id": "item->>'productId'"} $rule$::jsonb,
			'set',
			$rule$ product_name = item->>'productName', product_category = item->>'category', quantity = row.quantity + (item->>'quantity')::integer,
				amount = row.amount + (item->>'quantity')::integer * (item->>'price')::numeric $rule$)),
					$rule$ {"order_id": "event.key", "product_id": "event.type"} $rule$)
		+ crm.put_projection('crm.payment', 'order', jsonb_build_object(
			'PaymentInitiated',
			payment || $rule$, status = 'initiated', method = event.data->>'paymentMethod', provider = event.data->>'paymentProvider',
				initiated_at = event.occurred_at $rule$,
			'PaymentRetried', $rule$ status = 'initiated' $rule$,
			'PaymentSucceeded', payment || $rule$, status = 'succeeded', transaction_id = event.data->>'transactionId',
				succeeded_at = event.occurred_at, error_code = NULL $rule$,
			'PaymentFailed',
			payment || $rule$, status = 'failed', error_code = event.data->>'errorCode', is_retryable = (event.data->>'retryable')::boolean,
				failed_at = event.occurred_at $rule$), key)
		+ crm.put_projection('crm.payment_failure', 'order', jsonb_build_object(
			'PaymentFailed', payment || $rule$, payment_id = event.data->>'paymentId', error_code = event.data->>'errorCode',
				is_retryable = (event.data->>'retryable')::boolean,
				attempt = (event.data->>'attempt')::integer, failed_at = event.occurred_at $rule$),
					'{"order_id": "event.key", "version": "event.version"}')
		+ crm.put_projection('crm.refund', 'order', jsonb_build_object(
			'RefundInitiated',
			payment || $rule$, status = 'initiated', refund_type = event.data->>'refundType', reason = event.data->>'reason',
				initiated_at = event.occurred_at $rule$,
			'RefundCompleted', $rule$ status = 'completed', transaction_id = event.data->>'transactionId', completed_at = event.occurred_at $rule$,
			'RefundFailed', $rule$ status = 'failed', error_code = event.data->>'errorCode', failed_at = event.occurred_at $rule$), refund_key)
		+ crm.put_projection('crm.order_visit', 'order', jsonb_build_object('*', jsonb_build_object(
			'where', 'event.to_state IS DISTINCT FROM event.from_state',
			'set', $rule$ status = event.to_state, event_type = event.type, entered_at = event.occurred_at $rule$)),
				'{"order_id": "event.key", "version": "event.version"}')
		+ crm.put_state_machine('crm_order', crm.order_machine(crm.setting('payment_retries')::numeric::integer,
			string_to_array(replace(crm.setting('refund_reasons_after_delivery'), ' ', ''), ',')));
END
$$;
COMMENT ON FUNCTION crm.put_orders() IS 'Private, for install(): tables, projections and state machine of orders.';
