-- Events of others in, ours out: e-commerce events as Segment, RudderStack and
-- PostHog name them, and XES-style rows of ours.

-- What is taken of each event; what else there is of it is said.
CREATE FUNCTION crm.imported_properties(event_type text) RETURNS text[]
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT '{session_id,context,campaign,channel,currency}' || CASE event_type
		WHEN 'PageViewed' THEN '{url,path,title,name,referrer}'
		WHEN 'ProductViewed' THEN '{product_id,sku,name,category,price}'
		WHEN 'SearchPerformed' THEN '{query,results_count}'
		WHEN 'ItemAddedToCart' THEN '{cart_id,checkout_id,product_id,sku,name,category,quantity,price}'
		WHEN 'ItemRemovedFromCart' THEN '{cart_id,checkout_id,product_id,sku,name,category,quantity,price}'
		WHEN 'CheckoutStarted' THEN '{cart_id,checkout_id}'
		WHEN 'CheckoutStepCompleted' THEN '{cart_id,checkout_id,step}'
		WHEN 'OrderPlaced' THEN '{order_id,cart_id,products,tax,shipping,total}'
		WHEN 'OrderCancelled' THEN '{order_id}'
		ELSE '{order_id,refund_id,total,revenue}' END::text[]
$$;
COMMENT ON FUNCTION crm.imported_properties(text) IS 'Private, for imports: the properties of an event of others that are kept, for a type of ours.';

-- PostHog's own names of what others have, too.
CREATE FUNCTION crm.common_properties(p jsonb) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT jsonb_strip_nulls(jsonb_build_object('url', coalesce('screen:' || (p->>'$screen_name'), p->>'$current_url'), 'path', p->'$pathname',
				'referrer', nullif(p->'$referrer', '"$direct"'), 'session_id', p->'$session_id',
				'campaign', p->'utm_campaign', 'channel', p->'utm_medium')) || p - '{utm_campaign,utm_medium}'::text[]
$$;
COMMENT ON FUNCTION crm.common_properties(jsonb) IS 'Private, for imports: properties by the names that import_one() knows.';

CREATE FUNCTION crm.import_note(event_type text, p jsonb, data jsonb) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT nullif(concat_ws('; ', 'not kept: ' || string_agg(DISTINCT k.name, ', '),
			-- It is told as it is paid: the rest is a discount, or what is not kept.
			CASE WHEN event_type = 'OrderPlaced' AND jsonb_typeof(p->'total') = 'number' AND p->'total' <> data->'total'
				 THEN format('total %s instead of %s', data->>'total', p->>'total') END), '')
	  FROM (SELECT x.key AS name FROM jsonb_each(p) x
			 WHERE x.key <> ALL (crm.imported_properties(event_type)) AND NOT starts_with(x.key, '$') AND x.value NOT IN ('null', '""')
			 UNION ALL
			SELECT 'products.' || y.key FROM jsonb_array_elements(CASE WHEN event_type = 'OrderPlaced' THEN p->'products' END) i, jsonb_each(i) y
			 WHERE y.key NOT IN ('product_id', 'sku', 'name', 'category', 'quantity', 'price') AND y.value NOT IN ('null', '""')) k
$$;
COMMENT ON FUNCTION crm.import_note(text, jsonb, jsonb) IS
	'Private, for imports: which properties p of an event are not in the data that it became; NULL: all are. What PostHog adds ($...) is not said.';

-- Data of ours; what stands behind the address of a page may tell of a person.
CREATE FUNCTION crm.imported_data(event_type text, p jsonb, session text, visitor text, currency text) RETURNS jsonb
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	campaign CONSTANT jsonb := jsonb_build_object('campaignId', coalesce(p #>> '{context,campaign,name}', p->>'campaign'),
		'channel', crm.import_channel(coalesce(p #>> '{context,campaign,medium}', p->>'channel')));
	visit CONSTANT jsonb := jsonb_build_object('sessionId', session, 'visitorId', visitor);
	product CONSTANT text := coalesce(p->>'product_id', p->>'sku');
	subtotal numeric;
BEGIN
	CASE event_type
		WHEN 'PageViewed' THEN
			RETURN visit || campaign || jsonb_build_object('pageTitle', coalesce(p->'title', p->'name'),
				'referrer', regexp_replace(p->>'referrer', '[?#].*', ''),
				'pageUrl', coalesce(nullif(regexp_replace(coalesce(p->>'url', p->>'path'), '[?#].*', ''), ''), '/'));
		WHEN 'ProductViewed' THEN
			RETURN visit || campaign || jsonb_build_object('productId', product, 'productName', p->'name', 'productCategory', p->'category',
				'price', p->'price', 'currency', p->'currency');
		WHEN 'SearchPerformed' THEN
			RETURN visit || jsonb_build_object('query', p->'query', 'resultsCount', coalesce(p->'results_count', '0'));
		WHEN 'ItemAddedToCart' THEN
			RETURN jsonb_build_object('productId', product, 'productName', p->'name', 'productCategory', p->'category',
				'quantity', coalesce(p->'quantity', '1'), 'price', coalesce(p->'price', '0'), 'currency', currency);
		WHEN 'ItemRemovedFromCart' THEN
			RETURN jsonb_build_object('productId', product, 'quantity', coalesce(p->'quantity', '1'));
		WHEN 'CheckoutStepCompleted' THEN
			RETURN jsonb_build_object('step', (ARRAY['shipping', 'payment', 'review'])[least(greatest((p->>'step')::integer, 1), 3)],
				'stepNumber', p->'step');
		WHEN 'OrderPlaced' THEN
			subtotal := (SELECT sum(coalesce((i->>'quantity')::numeric, 1) * (i->>'price')::numeric) FROM jsonb_array_elements(p->'products') i);
			RETURN campaign || jsonb_build_object('cartId', p->'cart_id', 'currency', currency, 'tax', coalesce(p->'tax', '0'),
				'shipping', coalesce(p->'shipping', '0'), 'subtotal', subtotal,
				'total', subtotal + coalesce((p->>'tax')::numeric, 0) + coalesce((p->>'shipping')::numeric, 0),
				'items',
				(SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('productId', coalesce(i->>'product_id', i->>'sku'), 'productName', i->'name',
									'category', i->'category', 'quantity', coalesce(i->'quantity', '1'), 'price', i->'price')))
							FROM jsonb_array_elements(p->'products') i));
		WHEN 'RefundCompleted' THEN
			RETURN jsonb_build_object('refundId', coalesce(p->>'refund_id', 'import-' || (p->>'order_id')),
				'amount', coalesce(p->'total', p->'revenue'),
				'currency', currency);
		ELSE
			RETURN '{}';
	END CASE;
END
$$;
COMMENT ON FUNCTION crm.imported_data(text, jsonb, text, text, text) IS 'Private, for imports: properties of an event of others as data of ours.';

CREATE FUNCTION crm.import_one(name text, customer_id text, properties jsonb, occurred_at timestamptz, message_id text, anonymous_id text,
		OUT stream text, OUT note text) RETURNS record
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	p CONSTANT jsonb := crm.common_properties(coalesce(properties, '{}'));
	session CONSTANT text := coalesce(p->>'session_id', anonymous_id, customer_id);
	currency CONSTANT text := coalesce(p->>'currency', nullif(crm.setting('default_currency'), ''));
	event_type text;
	data jsonb;
BEGIN
	SELECT a.type INTO event_type FROM crm.event_type_aliases() a WHERE a.alias = import_one.name AND a.origin <> 'documents';
	IF event_type IS NULL THEN
		RAISE undefined_object USING
			MESSAGE = format('event "%s" has no counterpart here', name),
			DETAIL = 'Nothing says what it would be.',
			HINT = format('Known: %s.', (SELECT string_agg(a.alias, ', ' ORDER BY a.alias) FROM crm.event_type_aliases() a
										  WHERE a.origin <> 'documents'));
	ELSIF currency IS NULL AND event_type IN ('ItemAddedToCart', 'OrderPlaced', 'RefundCompleted') THEN
		RAISE null_value_not_allowed USING
			MESSAGE = format('event "%s" says no currency', name),
			DETAIL = 'Money without a currency is nothing, and setting "default_currency" is empty.',
			HINT = 'Have it say its currency, or say what those mean that do not: SELECT crm.set_setting(''default_currency'', ''EUR'').';
	END IF;
	data := crm.imported_data(event_type, p, session, anonymous_id, currency);
	stream := CASE WHEN event_type IN ('PageViewed', 'ProductViewed', 'SearchPerformed') THEN 'visit-' || session
		WHEN event_type IN ('ItemAddedToCart', 'ItemRemovedFromCart', 'CheckoutStarted', 'CheckoutStepCompleted') THEN
			'cart-' || coalesce(p->>'cart_id', p->>'checkout_id', session)
		ELSE 'order-' || (p->>'order_id') END;
	note := crm.import_note(event_type, p, data);
	PERFORM crm.append_import(stream, event_type, jsonb_strip_nulls(data || jsonb_build_object('customerId', customer_id)), occurred_at, message_id);
END
$$;
COMMENT ON FUNCTION crm.import_one(text, text, jsonb, timestamptz, text, text) IS
	'Private, for import_event() and intake(): takes an event, and says what of it was not kept. Errors: those of import_event().';

CREATE FUNCTION crm.import_event(name text, customer_id text, properties jsonb DEFAULT '{}', occurred_at timestamptz DEFAULT NULL,
		message_id text DEFAULT NULL,
		anonymous_id text DEFAULT NULL) RETURNS text
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	taken record;
BEGIN
	PERFORM crm.expect_installed();
	SELECT * INTO taken FROM crm.import_one(name, customer_id, properties, occurred_at, message_id, anonymous_id);
	IF taken.note IS NOT NULL THEN
		RAISE NOTICE USING
			MESSAGE = format('event "%s": %s', name, taken.note),
			DETAIL = 'What has no field here is left out; sums are made of items, tax and shipping.',
			HINT = 'Record what you need of it in a category of your own.';
	END IF;
	RETURN taken.stream;
END
$$;
COMMENT ON FUNCTION crm.import_event(text, text, jsonb, timestamptz, text, text) IS
	'Takes an event of an e-commerce specification (Product Viewed, Product Added, Checkout Started, Order Completed ...; see event_type_aliases()) with its properties, and records it as ours, marked as an import, so that no campaign begins of it; returns the stream. A NOTICE tells which properties are not kept. message_id: given again, it is recorded once. anonymous_id: of who is not known. Money without a currency is of setting default_currency. Errors: 42704 unknown name, 22004 no currency, ZE007 what is needed is missing, ZE002 it does not fit what is there.';

CREATE FUNCTION crm.import_channel(medium text) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE WHEN medium ~* '^e?-?mail' THEN 'email' WHEN medium ~* '\m(sms|text|texts)\M' THEN 'sms' WHEN medium ~* '\mpush' THEN 'push'
		WHEN medium ~* 'social' THEN 'social'
		WHEN medium ~* '\m(cpc|cpm|ppc|paid|ads?|display|banners?)\M' THEN 'paid-ad' WHEN medium ~* '\m(web|organic|referral)\M' THEN 'web' END
$$;
COMMENT ON FUNCTION crm.import_channel(text) IS 'Our channel for a medium of a campaign, as utm_medium has it; NULL: none.';

CREATE FUNCTION crm.put_exchange_views() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_view('xes_events',
		'Events as process mining reads them, one row each: leads, carts, orders, messages, campaigns and customers; order by event_position.',
		jsonb_build_object(
			'case:concept:name', 'The case: the stream.', 'concept:name', 'What happened.', 'time:timestamp', 'When.', 'org:resource', 'Who did it.',
			'lifecycle:transition', 'complete: events are points.', 'case:type', 'Category of the stream.',
			'case:subject', 'Whom it is about.', 'state', 'State after it.', 'reason', 'Why, as a code.', 'event_position', 'Place in the log.'),
				$view$
		SELECT e.stream AS "case:concept:name", e.type AS "concept:name", e.occurred_at AS "time:timestamp", e.actor AS "org:resource",
			   'complete' AS "lifecycle:transition", e.category AS "case:type",
			   e.subject AS "case:subject", e.to_state AS state, e.reason, e.position AS event_position
		  FROM eventsource.events e
		 WHERE e.category IN ('lead', 'customer', 'visit', 'cart', 'order', 'message', 'campaign_run') $view$);
END
$$;
COMMENT ON FUNCTION crm.put_exchange_views() IS 'Private, for install(): views for programs of others.';
