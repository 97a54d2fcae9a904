-- Events of others in, ours out: e-commerce events as Segment, RudderStack and
-- PostHog name them, logs in the columns of XES, and XES-style rows of ours.

CREATE FUNCTION crm.import_event(name text, customer_id text, properties jsonb DEFAULT '{}', occurred_at timestamptz DEFAULT NULL, message_id text DEFAULT NULL, anonymous_id text DEFAULT NULL) RETURNS text
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	p CONSTANT jsonb := coalesce(properties, '{}');
	event_type text;
	session CONSTANT text := coalesce(p->>'session_id', anonymous_id, customer_id);
	currency CONSTANT text := coalesce(p->>'currency', 'USD');
	campaign CONSTANT jsonb := jsonb_build_object('campaignId', coalesce(p #>> '{context,campaign,name}', p->>'campaign'), 'channel', crm.import_channel(coalesce(p #>> '{context,campaign,medium}', p->>'channel')));
	stream text;
	data jsonb;
BEGIN
	PERFORM crm.expect_installed();
	SELECT a.type INTO event_type FROM crm.event_type_aliases() a WHERE a.alias = import_event.name AND a.origin = 'segment';
	IF event_type IS NULL THEN
		RAISE undefined_object USING
			MESSAGE = format('event "%s" has no counterpart here', name),
			DETAIL = 'Nothing says what it would be.',
			HINT = format('Known: %s.', (SELECT string_agg(a.alias, ', ' ORDER BY a.alias) FROM crm.event_type_aliases() a WHERE a.origin = 'segment'));
	END IF;
	-- What stands behind the address of a page may tell of a person.
	data := CASE event_type
		WHEN 'PageViewed' THEN jsonb_build_object('pageUrl', coalesce(nullif(regexp_replace(coalesce(p->>'url', p->>'path'), '[?#].*', ''), ''), '/'), 'pageTitle', p->'title', 'referrer', regexp_replace(p->>'referrer', '[?#].*', ''),
			'sessionId', session, 'visitorId', anonymous_id) || campaign
		WHEN 'ProductViewed' THEN jsonb_build_object('productId', coalesce(p->>'product_id', p->>'sku'), 'productName', p->'name', 'productCategory', p->'category', 'price', p->'price', 'currency', p->'currency', 'sessionId', session, 'visitorId', anonymous_id) || campaign
		WHEN 'SearchPerformed' THEN jsonb_build_object('query', p->'query', 'resultsCount', coalesce(p->'results_count', '0'), 'sessionId', session, 'visitorId', anonymous_id)
		WHEN 'ItemAddedToCart' THEN jsonb_build_object('productId', coalesce(p->>'product_id', p->>'sku'), 'productName', p->'name', 'productCategory', p->'category', 'quantity', coalesce(p->'quantity', '1'), 'price', coalesce(p->'price', '0'), 'currency', currency)
		WHEN 'ItemRemovedFromCart' THEN jsonb_build_object('productId', coalesce(p->>'product_id', p->>'sku'), 'quantity', coalesce(p->'quantity', '1'))
		WHEN 'CheckoutStarted' THEN '{}'
		WHEN 'CheckoutStepCompleted' THEN jsonb_build_object('step', (ARRAY['shipping', 'payment', 'review'])[least(greatest((p->>'step')::integer, 1), 3)], 'stepNumber', p->'step')
		WHEN 'OrderPlaced' THEN jsonb_build_object('cartId', p->'cart_id', 'currency', currency, 'tax', coalesce(p->'tax', '0'), 'shipping', coalesce(p->'shipping', '0'),
			'items', (SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('productId', coalesce(i->>'product_id', i->>'sku'), 'productName', i->'name', 'category', i->'category', 'quantity', coalesce(i->'quantity', '1'), 'price', i->'price')))
						FROM jsonb_array_elements(p->'products') i),
			'subtotal', (SELECT sum(coalesce((i->>'quantity')::numeric, 1) * (i->>'price')::numeric) FROM jsonb_array_elements(p->'products') i),
			'total', (SELECT sum(coalesce((i->>'quantity')::numeric, 1) * (i->>'price')::numeric) FROM jsonb_array_elements(p->'products') i) + coalesce((p->>'tax')::numeric, 0) + coalesce((p->>'shipping')::numeric, 0)) || campaign
		WHEN 'OrderCancelled' THEN '{}'
		ELSE jsonb_build_object('refundId', coalesce(p->>'refund_id', 'import-' || (p->>'order_id')), 'amount', coalesce(p->'total', p->'revenue'), 'currency', currency) END;
	stream := CASE WHEN event_type IN ('PageViewed', 'ProductViewed', 'SearchPerformed') THEN 'visit-' || session
		WHEN event_type IN ('ItemAddedToCart', 'ItemRemovedFromCart', 'CheckoutStarted', 'CheckoutStepCompleted') THEN 'cart-' || coalesce(p->>'cart_id', p->>'checkout_id', session)
		ELSE 'order-' || (p->>'order_id') END;
	PERFORM eventsource.append(stream, event_type, jsonb_strip_nulls(data || jsonb_build_object('customerId', customer_id)), occurred_at => occurred_at,
		metadata => '{"import": true}', idempotency_key => message_id, actor => 'system:import');
	RETURN stream;
END
$$;
COMMENT ON FUNCTION crm.import_event(text, text, jsonb, timestamptz, text, text) IS
	'Takes an event of an e-commerce specification (Product Viewed, Product Added, Checkout Started, Order Completed ...; see event_type_aliases()) with its properties, and records it as ours, marked as an import, so that no campaign begins of it; returns the stream. message_id: given again, it is recorded once. anonymous_id: of who is not known. Errors: 42704 unknown name, ZE007 what is needed is missing, ZE002 it does not fit what is there.';

CREATE FUNCTION crm.import_channel(medium text) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE WHEN medium ~* '^e?-?mail' THEN 'email' WHEN medium ~* '\m(sms|text|texts)\M' THEN 'sms' WHEN medium ~* '\mpush' THEN 'push' WHEN medium ~* 'social' THEN 'social'
		WHEN medium ~* '\m(cpc|cpm|ppc|paid|ads?|display|banners?)\M' THEN 'paid-ad' WHEN medium ~* '\m(web|organic|referral)\M' THEN 'web' END
$$;
COMMENT ON FUNCTION crm.import_channel(text) IS 'Our channel for a medium of a campaign, as utm_medium has it; NULL: none.';

-- A log with a case, an activity, a time and a resource, as CSV files of process mining have them.
CREATE FUNCTION crm.import_xes_row(category text, case_id text, activity text, happened_at timestamptz, resource text DEFAULT NULL, attributes jsonb DEFAULT '{}', row_key text DEFAULT NULL) RETURNS boolean
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	result eventsource.appended;
BEGIN
	SELECT * INTO result FROM eventsource.append(category || '-' || case_id, activity, coalesce(attributes, '{}'), actor => resource, occurred_at => happened_at,
		metadata => '{"import": true}', idempotency_key => row_key);
	RETURN NOT result.is_duplicate;
END
$$;
COMMENT ON FUNCTION crm.import_xes_row(text, text, text, timestamptz, text, jsonb, text) IS
	'Takes a row of a log as process mining has them (case:concept:name, concept:name, time:timestamp, org:resource) into a category, marked as an import. row_key: given again, the row is taken once; false: it was there. Errors: those of eventsource.append().';

CREATE FUNCTION crm.put_exchange_views() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_view('xes_events', 'Events as process mining reads them, one row each: leads, carts, orders, messages, campaigns and customers; order by event_position.', jsonb_build_object(
			'case:concept:name', 'The case: the stream.', 'concept:name', 'What happened.', 'time:timestamp', 'When.', 'org:resource', 'Who did it.', 'lifecycle:transition', 'complete: events are points.', 'case:type', 'Category of the stream.',
			'case:subject', 'Whom it is about.', 'state', 'State after it.', 'reason', 'Why, as a code.', 'event_position', 'Place in the log.'), $view$
		SELECT e.stream AS "case:concept:name", e.type AS "concept:name", e.occurred_at AS "time:timestamp", e.actor AS "org:resource", 'complete' AS "lifecycle:transition", e.category AS "case:type",
			   e.subject AS "case:subject", e.to_state AS state, e.reason, e.position AS event_position
		  FROM eventsource.events e
		 WHERE e.category IN ('lead', 'customer', 'visit', 'cart', 'order', 'message', 'campaign_run') $view$);
END
$$;
COMMENT ON FUNCTION crm.put_exchange_views() IS 'Private, for install(): views for programs of others.';
