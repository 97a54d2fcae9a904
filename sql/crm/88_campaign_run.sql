-- What a campaign does when a step is due.

CREATE FUNCTION crm.campaign_customer(event eventsource.events) RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT coalesce(event.data->>'customerId', CASE event.category WHEN 'customer' THEN event.key END, j.customer_id)
	  FROM (SELECT 1) one
	  LEFT JOIN crm.journeys j ON j.stream = event.stream AND j.version = event.version
$$;
COMMENT ON FUNCTION crm.campaign_customer(eventsource.events) IS 'Private, for campaigns: whom an event is about; NULL: nobody who is known.';

-- Why a customer does not enter; NULL: he does.
CREATE FUNCTION crm.campaign_entry_refusal(event eventsource.events, campaign_id text, definition jsonb, customer_id text) RETURNS text
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	trigger CONSTANT jsonb := definition->'trigger';
	types text[];
BEGIN
	IF trigger->>'once' = 'customer' AND EXISTS (SELECT FROM crm.campaign_runs r WHERE r.customer_id = campaign_entry_refusal.customer_id
													AND r.campaign_id = campaign_entry_refusal.campaign_id) THEN
		RETURN 'was in it before';
	END IF;
	IF event.type = 'CampaignTriggered' OR NOT trigger ? 'idle' THEN
		RETURN NULL;
	END IF;
	-- Idle is who has done nothing of the kind since; so of several events the last one leads on.
	types := CASE WHEN trigger ? 'event' THEN ARRAY[trigger->>'event']
		ELSE ARRAY(SELECT jsonb_array_elements_text(f.step->'events') FROM crm.funnel_steps(trigger->>'funnel') f) END;
	IF EXISTS (SELECT FROM crm.journeys j WHERE j.customer_id = campaign_entry_refusal.customer_id AND j.event_type = ANY (types)
				  AND j.event_position > event."position") THEN
		RETURN 'was active since';
	END IF;
	IF trigger->>'condition' = 'viewed-multiple-products-no-cart' AND (
			SELECT count(DISTINCT j.product_id) FROM crm.journeys j
			 WHERE j.customer_id = campaign_entry_refusal.customer_id AND j.event_type = 'ProductViewed' AND j.event_position <= event."position"
			   AND j.occurred_at > event.occurred_at - crm.setting('session_gap')::interval * 8) < 2 THEN
		RETURN 'looked at one product';
	END IF;
	IF trigger->>'condition' IN ('viewed-multiple-products-no-cart', 'started-checkout-not-completed') AND EXISTS (
			SELECT FROM crm.carts c WHERE c.customer_id = campaign_entry_refusal.customer_id AND c.updated_at > event.occurred_at - interval '1 day'
			   AND CASE trigger->>'condition' WHEN 'viewed-multiple-products-no-cart' THEN c.item_count > 0 ELSE c.status = 'ordered' END) THEN
		RETURN CASE trigger->>'condition' WHEN 'viewed-multiple-products-no-cart' THEN 'has a cart' ELSE 'has ordered' END;
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION crm.campaign_entry_refusal(eventsource.events, text, jsonb, text) IS
	'Private, for campaigns: why a customer does not enter a campaign; NULL: he does.';

-- Why a customer leaves; NULL: he stays.
CREATE FUNCTION crm.campaign_exit(event eventsource.events, definition jsonb, customer_id text) RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT coalesce(
		(SELECT CASE c.status WHEN 'deleted' THEN 'erased' WHEN 'deactivated' THEN CASE definition->>'messageClass' WHEN 'transactional' THEN NULL
		   ELSE 'account-closed' END END
		   FROM crm.customers c WHERE c.customer_id = campaign_exit.customer_id),
		(SELECT 'exit: ' || j.event_type FROM crm.journeys j
		  WHERE j.customer_id = campaign_exit.customer_id AND definition->'exits' ? j.event_type AND j.event_position > event."position"
		  ORDER BY j.event_position LIMIT 1))
$$;
COMMENT ON FUNCTION crm.campaign_exit(eventsource.events, jsonb, text) IS 'Private, for campaigns: why a customer leaves a campaign; NULL: he stays.';

CREATE FUNCTION crm.do_campaign_step(step jsonb, campaign_id text, definition jsonb, customer_id text, message_id text) RETURNS text
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	config CONSTANT jsonb := coalesce(step->'config', '{}');
	sent record;
BEGIN
	IF step->>'type' = 'add-to-segment' THEN
		RETURN CASE WHEN crm.add_to_segment(customer_id, config->>'segmentId', jsonb_build_object('campaign', campaign_id)) THEN 'added'
			ELSE 'was in it' END;
	END IF;
	SELECT * INTO sent
	  FROM crm.send_message(customer_id, substr(step->>'type', 6), config->>'templateId',
		coalesce(config->>'messageClass', definition->>'messageClass'),
		topic => config->>'topic', campaign_id => campaign_id, message_id => message_id,
		content => config - '{templateId,messageClass,topic}'::text[]);
	RETURN CASE WHEN sent.is_queued THEN 'queued' ELSE sent.skip_reason END;
END
$$;
COMMENT ON FUNCTION crm.do_campaign_step(jsonb, text, jsonb, text, text) IS 'Private, for campaigns: does a step; returns what came of it.';

CREATE FUNCTION crm.run_campaign_step(event eventsource.events, call jsonb) RETURNS jsonb
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	id CONSTANT text := substring(call->>'reaction' FROM '^campaign_(.+)\.\d+\.\d+$');
	version CONSTANT text := substring(call->>'reaction' FROM '\.(\d+)\.\d+$');
	run CONSTANT text := id || '.' || event."position";
	-- The first step of the reaction enters; the others are the campaign's.
	action CONSTANT integer := (call->>'step')::integer - 1;
	customer CONSTANT text := crm.campaign_customer(event);
	c record;
	definition jsonb;
	step jsonb;
	is_last boolean;
	reason text;
	about jsonb;
BEGIN
	IF customer IS NULL THEN
		RETURN jsonb_build_object('skip', 'nobody knows whom it is about');
	END IF;
	PERFORM eventsource.lock_stream('customer-' || customer);
	IF EXISTS (SELECT FROM crm.customers x WHERE x.customer_id = customer AND x.status = 'deleted') THEN
		RETURN jsonb_build_object('skip', 'erased');
	END IF;
	SELECT x.status, x.definitions->version AS definition INTO c FROM crm.campaign x WHERE x.campaign_id = id;
	definition := c.definition;
	about := jsonb_build_object('customerId', customer, 'campaignId', id);
	IF c.status = 'paused' THEN
		RETURN jsonb_build_object('retry', crm.setting('campaign_retry'));
	END IF;
	IF action = 0 THEN
		reason := CASE WHEN c.status = 'ended' THEN 'campaign-ended' ELSE crm.campaign_entry_refusal(event, id, definition, customer) END;
		IF reason IS NOT NULL THEN
			RETURN jsonb_build_object('skip', reason);
		END IF;
		PERFORM eventsource.append('campaign_run-' || run, 'CampaignRunStarted',
			about || jsonb_build_object('campaignVersion', version::integer, 'eventPosition', event."position"));
	END IF;
	reason := coalesce(CASE WHEN c.status = 'ended' THEN 'campaign-ended' END, crm.campaign_exit(event, definition, customer));
	IF reason IS NOT NULL THEN
		PERFORM eventsource.append('campaign_run-' || run, 'CampaignRunEnded', about || jsonb_build_object('reason', reason));
		RETURN jsonb_build_object('skip', reason);
	END IF;
	IF action > 0 THEN
		SELECT s.step, s.n = s.total INTO step, is_last
		  FROM (SELECT x.step, row_number() OVER (ORDER BY x.n) AS n, count(*) OVER () AS total
				  FROM jsonb_array_elements(definition->'steps') WITH ORDINALITY x (step, n) WHERE x.step->>'type' <> 'wait') s
		 WHERE s.n = action;
		PERFORM eventsource.append('campaign_run-' || run, 'CampaignStepDone',
			about || jsonb_build_object('stepNumber', action, 'action', step->>'type',
					'outcome', crm.do_campaign_step(step, id, definition, customer, run || '.' || action)));
		IF is_last THEN
			PERFORM eventsource.append('campaign_run-' || run, 'CampaignRunEnded', about || '{"reason": "completed"}');
		END IF;
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION crm.run_campaign_step(eventsource.events, jsonb) IS
	'Private, for reactions: a step of a campaign that is due. Everything is asked at this moment: does the campaign run, does the customer stay in it, may the message be sent. A message is called after the campaign, the event and the step, so that it is one however often it is tried.';

-- The campaigns of the documents, to begin with.
CREATE FUNCTION crm.campaign_examples()
	RETURNS TABLE (campaign_id text, trigger jsonb, steps jsonb, message_class text, exits text[], description text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $sql$
	SELECT e.id, e.trigger::jsonb, e.steps::jsonb, e.class, string_to_array(e.exits, ' '), e.description FROM (VALUES
		('welcome-verification', '{"event": "CustomerCreated"}', '[{"type": "send-email", "config": {"templateId": "welcome-verification"}}]',
			'transactional', NULL,
			'Greets who registered, and asks to prove the address'),
		('abandoned-cart-v2', '{"event": "CartAbandoned", "conditions": {"totalValue": {"$gte": 50}}}',
			'[{"type": "wait", "config": {"duration": "1 hour"}},
			  {"type": "send-email", "config": {"templateId": "abandoned-cart-reminder", "personalization": ["cartItems", "discountCode"]}},
			  {"type": "wait", "config": {"duration": "24 hours"}},
			  {"type": "send-email",
				"config": {"templateId": "abandoned-cart-final-offer", "personalization": ["cartItems", "largerDiscountCode"]}}]',
			'marketing', 'OrderPlaced ItemAddedToCart', 'Carts from 50 up that were left alone: a reminder after an hour, a last offer a day later'),
		('payment-failed-recovery', '{"event": "PaymentFailed", "conditions": {"givenUp": true}}',
			'[{"type": "send-email", "config": {"templateId": "payment-failed", "personalization": ["message", "amount"]}}]',
			'transactional', 'PaymentSucceeded OrderCancelled', 'Payments that failed for good'),
		('order-confirmation', '{"event": "OrderConfirmed"}',
			'[{"type": "send-email", "config": {"templateId": "order-confirmation", "personalization": ["orderDetails", "estimatedDelivery"]}}]',
			'transactional', NULL, 'An order is confirmed'),
		('shipping-notification', '{"event": "OrderShipped"}',
			'[{"type": "send-email", "config": {"templateId": "order-shipped", "personalization": ["trackingNumber", "carrier"]}}, {"type": "send-push", "config": {"title": "Your order has shipped!", "body": "Track your delivery"}}]',
			'transactional', NULL, 'An order is on its way'),
		('delivery-review-request', '{"event": "OrderDelivered"}',
			'[{"type": "wait", "config": {"duration": "3 days"}}, {"type": "send-email", "config": {"templateId": "review-request", "personalization": ["products", "reviewLinks"]}}]',
			'marketing', 'ReviewSubmitted RefundInitiated', 'Asks for a review three days after the delivery'),
		('replenishment-campaign', '{"event": "OrderDelivered", "where": "row.categories ? ''consumables''"}',
			'[{"type": "wait", "config": {"duration": "30 days"}}, {"type": "send-email", "config": {"templateId": "reorder-reminder", "personalization": ["products", "subscriptionOption"]}}]',
			'marketing', 'OrderPlaced', 'Consumables run out after thirty days'),
		('abandoned-browse-recovery',
			'{"funnel": "purchase", "stage": "awareness", "idle": "30 minutes", "condition": "viewed-multiple-products-no-cart"}',
			'[{"type": "send-email", "config": {"templateId": "browse-abandonment", "personalization": ["viewedProducts", "recommendations"]}}]',
				'marketing', 'ItemAddedToCart OrderPlaced',
			'Looked at several products and put none into a cart'),
		('checkout-abandonment', '{"funnel": "purchase", "stage": "checkout", "idle": "60 minutes", "condition": "started-checkout-not-completed"}',
			'[{"type": "wait", "config": {"duration": "1 hour"}},
			  {"type": "send-email", "config": {"templateId": "checkout-abandonment", "personalization": ["cartItems", "checkoutLink", "incentive"]}},
			  {"type": "wait", "config": {"duration": "24 hours"}},
			  {"type": "send-sms", "config": {"message": "Complete your order and get 10% off!", "messageClass": "urgent-marketing"}}]',
			'marketing', 'OrderPlaced', 'Began to pay and did not end it'),
		('post-purchase-cross-sell', '{"event": "OrderDelivered"}',
			'[{"type": "wait", "config": {"duration": "7 days"}}, {"type": "send-email", "config": {"templateId": "cross-sell", "personalization": ["purchasedProducts", "recommendations"]}}]',
			'marketing', 'RefundInitiated', 'Goes with what was bought')
	  ) e (id, trigger, steps, class, exits, description)
$sql$;
COMMENT ON FUNCTION crm.campaign_examples() IS 'The campaigns of the documents; create_example_campaigns() defines them.';

CREATE FUNCTION crm.create_example_campaigns(campaign_ids text[] DEFAULT NULL) RETURNS integer
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT count(crm.create_campaign(e.campaign_id, e.trigger, e.steps, e.message_class, e.exits, e.description))::integer
	  FROM crm.campaign_examples() e
	 WHERE campaign_ids IS NULL OR e.campaign_id = ANY (campaign_ids)
$$;
COMMENT ON FUNCTION crm.create_example_campaigns(text[]) IS
	'Defines campaigns of campaign_examples(), by default all of them; returns how many. For admins of the CRM (grant_admin).';
