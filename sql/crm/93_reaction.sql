-- What follows from events by itself: one row per reaction, but for those of campaigns (86_campaign.sql), which are made with
-- them. What is set counts as it is when install() is called.

CREATE FUNCTION crm.to_append(type text, stream text, data text) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT jsonb_build_object('append', type, 'occurred_at', 'event.occurred_at', 'stream', stream, 'data', data)
$$;
COMMENT ON FUNCTION crm.to_append(text, text, text) IS
	'Private, for reactions(): the action that appends an event, at the time of the one that it follows from. stream, data: expressions.';

CREATE FUNCTION crm.reactions() RETURNS TABLE (name text, category text, type text, condition text, action jsonb, key text, run_at text,
		settings jsonb)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $sql$
	SELECT r.name, r.category, r.type, r.condition, r.action, r.key, r.run_at, r.settings
	  FROM (SELECT crm.setting('delivery_term') AS delivery_term, crm.setting('payment_retries')::numeric::integer AS payment_retries,
				   -- Never longer than a month, which no arithmetic of what is set passes.
				   format($expr$ event.occurred_at + %L::interval * least(%s ^ least(row.failures, 20), greatest(%s, 1)) $expr$, b.backoff,
						  crm.setting('payment_backoff_factor')::numeric, round(2592000 / greatest(extract(epoch FROM b.backoff), 1), 4)) AS retry_at
			  FROM (SELECT crm.setting('payment_backoff')::interval AS backoff) b) s
	 CROSS JOIN LATERAL (VALUES
		-- Who takes consent back gets no campaigns on that channel until he gives it again.
		('crm_consent_revoked', 'customer', 'ConsentRevoked',
			$expr$ event.data->>'purpose' = 'marketing' AND NOT row.paused ? (event.data->>'channel') $expr$,
			crm.to_append('CampaignsPaused', 'event.stream',
				$expr$ jsonb_build_object('channel', event.data->'channel', 'reason', 'consent-revoked') $expr$), NULL, NULL, NULL::jsonb),
		('crm_consent_granted', 'customer', 'ConsentGranted',
			$expr$ event.data->>'purpose' = 'marketing' AND row.paused->>(event.data->>'channel') = 'consent-revoked' $expr$,
			crm.to_append('CampaignsResumed', 'event.stream',
				$expr$ jsonb_build_object('channel', event.data->'channel', 'reason', 'consent-granted') $expr$), NULL, NULL, NULL),

		-- A message that is to be sent is a job of its channel's queue.
		('crm_queue_email', 'message', 'MessageQueued', $expr$ event.data->>'channel' = 'email' $expr$,
			$${"enqueue": "crm_email", "payload": " jsonb_build_object('message_id', event.key) "}$$, 'event.key', NULL, NULL),
		('crm_queue_sms', 'message', 'MessageQueued', $expr$ event.data->>'channel' = 'sms' $expr$,
			$${"enqueue": "crm_sms", "payload": " jsonb_build_object('message_id', event.key) "}$$, 'event.key', NULL, NULL),
		('crm_queue_push', 'message', 'MessageQueued', $expr$ event.data->>'channel' = 'push' $expr$,
			$${"enqueue": "crm_push", "payload": " jsonb_build_object('message_id', event.key) "}$$, 'event.key', NULL, NULL),
		('crm_unqueue', 'message', 'MessageSkipped', NULL,
			'{"cancel": ["crm_queue_email", "crm_queue_sms", "crm_queue_push"]}', 'event.key', NULL, NULL),

		-- An address that takes no mail.
		('crm_bounced', 'message', 'MessageBounced',
			$expr$ event.data->>'channel' = 'email' AND event.data->>'bounceType' = 'permanent' $expr$,
			crm.to_append('CustomerEmailInvalidated', $expr$ 'customer-' || (event.data->>'customerId') $expr$,
				$expr$ jsonb_build_object('reason', 'bounced-permanent') $expr$), NULL, NULL, NULL),
		('crm_invalid_recipient', 'message', 'MessageFailed',
			$expr$ event.data->>'channel' = 'email' AND event.data->>'errorType' = 'INVALID_RECIPIENT' $expr$,
			crm.to_append('CustomerEmailInvalidated', $expr$ 'customer-' || (event.data->>'customerId') $expr$,
				$expr$ jsonb_build_object('reason', 'bounced-permanent') $expr$), NULL, NULL, NULL),

		-- A payment that completes an order confirms it, once; one that failed is tried again later, so often.
		('crm_confirm_order', 'order', 'PaymentSucceeded', $expr$ state = 'confirmed' $expr$,
			crm.to_append('OrderConfirmed', 'event.stream',
				format($expr$ jsonb_build_object('customerId', event.data->'customerId', 'confirmationNumber', 'C-' || event.position,
				'estimatedDelivery', to_char(event.occurred_at AT TIME ZONE 'UTC' + %L::interval, 'YYYY-MM-DD')) $expr$, s.delivery_term)),
			NULL, NULL, NULL),
		('crm_schedule_retry', 'order', 'PaymentFailed', $expr$ event.data->>'givenUp' = 'false' $expr$,
			crm.to_append('RetryScheduled', 'event.stream',
				format($expr$ jsonb_build_object('customerId', event.data->'customerId', 'paymentId', event.data->'paymentId',
				'attempt', event.data->'attempt', 'maxAttempts', %s,
				'retryAt', to_char(%s, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')) $expr$, s.payment_retries, s.retry_at)), NULL, NULL, NULL),
		('crm_retry_payment', 'order', 'RetryScheduled', NULL,
			jsonb_build_object('enqueue', 'crm_payment', 'payload',
				$expr$ jsonb_build_object('order_id', event.key, 'payment_id', event.data->'paymentId', 'attempt', event.data->'attempt') $expr$),
			'event.key', $expr$ (event.data->>'retryAt')::timestamptz $expr$, NULL),
		('crm_no_retry_paymentsucceeded', 'order', 'PaymentSucceeded', NULL, '{"cancel": "crm_retry_payment"}', 'event.key', NULL, NULL),
		('crm_no_retry_ordercancelled', 'order', 'OrderCancelled', NULL, '{"cancel": "crm_retry_payment"}', 'event.key', NULL, NULL),
		('crm_no_retry_paymentinitiated', 'order', 'PaymentInitiated', NULL, '{"cancel": "crm_retry_payment"}', 'event.key', NULL, NULL),

		-- A cart that was ordered is not left alone; one whose order is cancelled is a cart again.
		('crm_convert_cart', 'order', 'OrderPlaced', $expr$ event.data->>'cartId' IS NOT NULL $expr$,
			crm.to_append('CartConverted', $expr$ 'cart-' || (event.data->>'cartId') $expr$,
				$expr$ jsonb_build_object('orderId', event.key, 'customerId', event.data->'customerId') $expr$), NULL, NULL, NULL),
		('crm_reopen_cart', 'order', 'OrderCancelled', $expr$ row.cart_id IS NOT NULL $expr$,
			crm.to_append('CartReopened', $expr$ 'cart-' || row.cart_id $expr$,
				$expr$ jsonb_build_object('orderId', event.key, 'customerId', event.data->'customerId') $expr$), NULL, NULL, NULL),

		-- The ledger, also of orders that are imported.
		('crm_charge', 'order', 'PaymentSucceeded', $expr$ (event.data->>'amount')::numeric > 0 $expr$,
			crm.to_append('ChargePosted', $expr$ 'account-' || (event.data->>'customerId') $expr$,
				$expr$ jsonb_build_object('customerId', event.data->'customerId', 'orderId', event.key, 'amount', event.data->'amount',
				'currency', event.data->'currency', 'reference', 'payment ' || (event.data->>'paymentId')) $expr$),
			NULL, NULL, '{"imports": true}'),
		('crm_pay_back', 'order', 'RefundCompleted', NULL,
			crm.to_append('RefundPosted', $expr$ 'account-' || (event.data->>'customerId') $expr$,
				$expr$ jsonb_build_object('customerId', event.data->'customerId', 'orderId', event.key, 'amount', event.data->'amount',
				'currency', event.data->'currency', 'reference', 'refund ' || (event.data->>'refundId')) $expr$),
			NULL, NULL, '{"imports": true}'),

		-- What is bought says where a customer belongs.
		('crm_segments_paymentsucceeded', 'order', 'PaymentSucceeded', NULL, '{"call": "crm.segments_due(eventsource.events,jsonb)"}',
			$expr$ event.data->>'customerId' $expr$, NULL, NULL),
		('crm_segments_orderdelivered', 'order', 'OrderDelivered', NULL, '{"call": "crm.segments_due(eventsource.events,jsonb)"}',
			$expr$ event.data->>'customerId' $expr$, NULL, NULL),
		('crm_segments_refundcompleted', 'order', 'RefundCompleted', NULL, '{"call": "crm.segments_due(eventsource.events,jsonb)"}',
			$expr$ event.data->>'customerId' $expr$, NULL, NULL)
	 ) r (name, category, type, condition, action, key, run_at, settings)
$sql$;
COMMENT ON FUNCTION crm.reactions() IS
	'Private: the reactions of the CRM, as arguments of eventsource.create_reaction(), one row each. Their names begin with crm_.';

CREATE FUNCTION crm.put_reactions() RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	r record;
	changed integer := 0;
BEGIN
	-- What cancels names others, which are there then.
	FOR r IN SELECT * FROM crm.reactions() x ORDER BY x.action ? 'cancel', x.name LOOP
		changed := changed + crm.put_reaction(r.name, r.category, r.type, r.action, r.condition, r.key, r.settings, r.run_at);
	END LOOP;
	-- Those of an earlier version.
	FOR r IN SELECT d.name FROM eventsource.reactions d
			  WHERE d.name LIKE 'crm\_%' AND NOT EXISTS (SELECT FROM crm.reactions() x WHERE x.name = d.name) LOOP
		PERFORM eventsource.drop_reaction(r.name);
		changed := changed + 1;
	END LOOP;
	RETURN changed;
END
$$;
COMMENT ON FUNCTION crm.put_reactions() IS
	'Private, for install(): the reactions as reactions() has them; those that it has no more (their names begin with crm_) are dropped. Returns how many were not so.';
