-- Journeys: what customers did, in order, from all categories; funnels, campaigns,
-- and attribution read it.

CREATE FUNCTION crm.put_journeys() RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	CREATE TABLE IF NOT EXISTS crm.journey_event (
		stream           text,
		version          bigint,
		event_position   bigint,
		category         text,
		type             text,
		customer_id      text,
		session_id       text,
		channel          text,
		campaign_id      text,
		product_id       text,
		product_category text,
		amount           numeric,
		currency         text,
		is_imported      boolean,
		occurred_at      timestamptz,
		PRIMARY KEY (stream, version)
	);
	COMMENT ON TABLE crm.journey_event IS 'Private: what customers did, a projection. Read the view journeys.';
	CREATE INDEX IF NOT EXISTS journey_event_customer_idx ON crm.journey_event (customer_id, occurred_at);
	CREATE INDEX IF NOT EXISTS journey_event_type_idx ON crm.journey_event (type, occurred_at);

	RETURN crm.put_projection('crm.journey_event', '{visit,cart,order,message,customer}'::text[], jsonb_build_object('*', $rule$
			event_position = event.position, category = event.category, type = event.type, occurred_at = event.occurred_at,
			customer_id = coalesce(event.data->>'customerId', CASE WHEN event.category = 'customer' THEN event.key END),
			session_id = CASE WHEN event.category = 'visit' THEN event.key ELSE event.data->>'sessionId' END,
			channel = event.data->>'channel', campaign_id = event.data->>'campaignId', product_id = event.data->>'productId', product_category = event.data->>'productCategory',
			amount = coalesce(event.data->>'amount', event.data->>'total', event.data->>'totalValue', event.data->>'cartValue')::numeric, currency = event.data->>'currency',
			is_imported = event.is_synthetic OR coalesce(event.metadata->>'import' = 'true', false) $rule$),
		'{"stream": "event.stream", "version": "event.version"}');
END
$$;
COMMENT ON FUNCTION crm.put_journeys() IS 'Private, for install(): table and projection of journeys.';

CREATE FUNCTION crm.put_journey_views() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	-- Of a visit, or a cart, whose customer became known later, all is his.
	PERFORM crm.put_view('journeys', 'What customers did, one row per event; order by event_position.', jsonb_build_object(
			'customer_id', 'Who; NULL: not known. Who became known later in a visit or for a cart is known from its beginning.', 'event_position', 'Place in the log.', 'occurred_at', 'When.', 'event_type', 'What happened.', 'category', 'visit, cart, order, message or customer.',
			'stream', 'Stream of the event.', 'version', 'Its version.', 'session_id', 'Session that it happened in.', 'channel', 'Channel that it came by.', 'campaign_id', 'Campaign that it came by.', 'product_id', 'Product that it is about.', 'product_category', 'Category of that.',
			'amount', 'Money that it is about.', 'currency', 'Currency of it.', 'is_imported', 'True if an import told it.'), $view$
		SELECT coalesce(j.customer_id, CASE j.category WHEN 'cart' THEN (SELECT c.customer_id FROM crm.cart c WHERE c.cart_id = substr(j.stream, 6))
					WHEN 'visit' THEN (SELECT v.customer_id FROM crm.journey_event v WHERE v.stream = j.stream AND v.customer_id IS NOT NULL ORDER BY v.version LIMIT 1) END) AS customer_id,
			   j.event_position, j.occurred_at, j.type AS event_type, j.category, j.stream, j.version, j.session_id, j.channel, j.campaign_id, j.product_id, j.product_category, j.amount, j.currency, j.is_imported
		  FROM crm.journey_event j
		 WHERE eventsource.may_read_category(j.category) $view$);

	PERFORM crm.put_view('sessions', 'Visits, one row each.', jsonb_build_object(
			'session_id', 'The session; its stream is visit-<session_id>.', 'customer_id', 'Whose; NULL: not known.', 'started_at', 'When its first event happened.', 'ended_at', 'When its last did.', 'duration', 'In between.',
			'event_count', 'How many events.', 'product_count', 'How many different products were looked at.', 'channel', 'Channel that it came by: that of its first event with one.', 'campaign_id', 'Campaign, likewise.'), $view$
		SELECT j.session_id, (array_agg(j.customer_id ORDER BY j.version) FILTER (WHERE j.customer_id IS NOT NULL))[1] AS customer_id, min(j.occurred_at) AS started_at, max(j.occurred_at) AS ended_at,
			   max(j.occurred_at) - min(j.occurred_at) AS duration, count(*) AS event_count, count(DISTINCT j.product_id) AS product_count,
			   (array_agg(j.channel ORDER BY j.version) FILTER (WHERE j.channel IS NOT NULL))[1] AS channel,
			   (array_agg(j.campaign_id ORDER BY j.version) FILTER (WHERE j.campaign_id IS NOT NULL))[1] AS campaign_id
		  FROM crm.journey_event j
		 WHERE j.category = 'visit' AND eventsource.may_read_category('visit')
		 GROUP BY j.session_id $view$);

	PERFORM crm.put_view('customer_360', 'All about a customer in one row.', jsonb_build_object(
			'customer_id', 'The customer.', 'status', 'Status of the account.', 'email', 'E-mail address; *** for who may not see personal data.', 'first_name', 'First name; *** likewise.', 'last_name', 'Last name; *** likewise.',
			'created_at', 'When the customer registered.', 'consents', 'Consents that hold, as purpose/channel joined by '' > ''.', 'email_frequency', 'How often e-mail is wanted.', 'segments', 'Segments, joined by '' > ''.', 'affinities', 'Categories that most is spent on, joined by '' > ''.',
			'order_count', 'Orders that were paid.', 'lifetime_value', 'What was paid and not paid back, per currency, joined by '' > ''.', 'last_order_at', 'When the last order was paid.', 'open_cart_count', 'Carts that are open, or were left alone.',
			'message_count', 'Messages that went out.', 'last_message_at', 'When the last did.', 'last_seen_at', 'When anything happened last.'), $view$
		SELECT c.customer_id, c.status, c.email, c.first_name, c.last_name, c.created_at,
			   (SELECT string_agg(k.purpose || '/' || k.channel, ' > ' ORDER BY k.purpose, k.channel) FROM crm.consents k WHERE k.customer_id = c.customer_id AND k.is_active) AS consents,
			   p.email_frequency, c.segments, c.affinities, o.order_count, o.lifetime_value, o.last_order_at,
			   (SELECT count(*) FROM crm.cart k WHERE k.customer_id = c.customer_id AND k.status <> 'ordered') AS open_cart_count,
			   m.message_count, m.last_message_at, (SELECT max(j.occurred_at) FROM crm.journey_event j WHERE j.customer_id = c.customer_id) AS last_seen_at
		  FROM crm.customers c
		  LEFT JOIN crm.preferences p ON p.customer_id = c.customer_id
		 CROSS JOIN LATERAL (SELECT coalesce(sum(x.order_count), 0) AS order_count, string_agg(x.lifetime_value || ' ' || x.currency, ' > ' ORDER BY x.currency) AS lifetime_value, max(x.last_order_at) AS last_order_at
							   FROM crm.customer_purchases x WHERE x.customer_id = c.customer_id) o
		 CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE x.is_sent) AS message_count, max(x.sent_at) AS last_message_at FROM crm.messages x WHERE x.customer_id = c.customer_id) m $view$);
END
$$;
COMMENT ON FUNCTION crm.put_journey_views() IS 'Private, for install(): views of journeys.';
