-- Journeys: what customers did, in order, from all categories; funnels, campaigns,
-- and attribution read it.

CREATE FUNCTION crm.journey_categories() RETURNS text[]
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT '{visit,cart,order,message,customer}'::text[]
$$;
COMMENT ON FUNCTION crm.journey_categories() IS 'Private: the categories that journeys are made of.';

CREATE FUNCTION crm.put_journeys() RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_table('journey_event', $table$
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
	$table$);
	COMMENT ON TABLE crm.journey_event IS 'Private: what customers did, a projection. Read the view journeys.';
	CREATE INDEX IF NOT EXISTS journey_event_customer_idx ON crm.journey_event (customer_id, occurred_at);
	CREATE INDEX IF NOT EXISTS journey_event_type_idx ON crm.journey_event (type, occurred_at);

	PERFORM crm.put_table('visit_session', $table$
		session_id  text PRIMARY KEY,
		customer_id text,
		channel     text,
		campaign_id text,
		event_count bigint NOT NULL DEFAULT 0,
		started_at  timestamptz,
		ended_at    timestamptz,
		visitor_id  text
	$table$);
	COMMENT ON TABLE crm.visit_session IS 'Private: visits, a projection. Read the view sessions.';
	CREATE INDEX IF NOT EXISTS visit_session_customer_idx ON crm.visit_session (customer_id);
	CREATE INDEX IF NOT EXISTS visit_session_visitor_idx ON crm.visit_session (visitor_id) WHERE customer_id IS NULL;

	RETURN crm.put_projection('crm.visit_session', 'visit',
		jsonb_build_object('*', $rule$ customer_id = coalesce(row.customer_id, event.data->>'customerId'),
			visitor_id = coalesce(row.visitor_id, event.data->>'visitorId'), channel = coalesce(row.channel, event.data->>'channel'),
			campaign_id = CASE WHEN row.channel IS NULL THEN event.data->>'campaignId' ELSE row.campaign_id END,
			event_count = row.event_count + 1, started_at = least(row.started_at, event.occurred_at),
			ended_at = greatest(row.ended_at, event.occurred_at) $rule$))
		+ crm.put_projection('crm.journey_event', crm.journey_categories(), jsonb_build_object('*', $rule$
			event_position = event.position, category = event.category, type = event.type, occurred_at = event.occurred_at,
			customer_id = coalesce(event.data->>'customerId', CASE WHEN event.category = 'customer' THEN event.key END),
			session_id = CASE WHEN event.category = 'visit' THEN event.key ELSE event.data->>'sessionId' END,
			channel = event.data->>'channel', campaign_id = event.data->>'campaignId', product_id = event.data->>'productId',
			product_category = event.data->>'productCategory',
			amount = coalesce(event.data->>'amount', event.data->>'total', event.data->>'totalValue', event.data->>'cartValue')::numeric,
			currency = event.data->>'currency',
			is_imported = event.is_synthetic OR coalesce(event.metadata->>'import' = 'true', false) $rule$),
		'{"stream": "event.stream", "version": "event.version"}');
END
$$;
COMMENT ON FUNCTION crm.put_journeys() IS 'Private, for install(): table and projection of journeys.';

CREATE FUNCTION crm.put_journey_views() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	shown CONSTANT text := 'j.event_position, j.occurred_at, j.type AS event_type, j.category, j.stream, j.version, j.session_id, j.channel, '
		'j.campaign_id, j.product_id, j.product_category, j.amount, j.currency, j.is_imported';
BEGIN
	-- Of a visit, or a cart, whose customer became known later, all is his.  In parts, so that
	-- who asks for a customer has an index.
	PERFORM crm.put_view('journeys', 'What customers did, one row per event; order by event_position.', jsonb_build_object(
			'customer_id', 'Who; NULL: not known. Who became known later in a visit or for a cart is known from its beginning.',
			'event_position', 'Place in the log.',
			'occurred_at', 'When.',
			'event_type', 'What happened.',
			'category', 'visit, cart, order, message or customer.',
			'stream', 'Stream of the event.',
			'version', 'Its version.',
			'session_id', 'Session that it happened in.',
			'channel', 'Channel that it came by.',
			'campaign_id', 'Campaign that it came by.',
			'product_id', 'Product that it is about.',
			'product_category', 'Category of that.',
			'amount', 'Money that it is about.', 'currency', 'Currency of it.', 'is_imported', 'True if an import told it.'), format($view$
		SELECT j.customer_id, %1$s
		  FROM crm.journey_event j
		 WHERE j.customer_id IS NOT NULL AND eventsource.may_read_category(j.category)
		 UNION ALL
		SELECT c.customer_id, %1$s
		  FROM crm.cart c
		  JOIN crm.journey_event j ON j.stream = 'cart-' || c.cart_id
		 WHERE j.customer_id IS NULL AND c.customer_id IS NOT NULL AND eventsource.may_read_category('cart')
		 UNION ALL
		SELECT v.customer_id, %1$s
		  FROM crm.visit_session v
		  JOIN crm.journey_event j ON j.stream = 'visit-' || v.session_id
		 WHERE j.customer_id IS NULL AND v.customer_id IS NOT NULL AND eventsource.may_read_category('visit')
		 UNION ALL
		SELECT NULL, %1$s
		  FROM crm.journey_event j
		 WHERE j.customer_id IS NULL AND eventsource.may_read_category(j.category)
		   AND NOT EXISTS (SELECT FROM crm.cart c WHERE c.customer_id IS NOT NULL AND 'cart-' || c.cart_id = j.stream)
		   AND NOT EXISTS (SELECT FROM crm.visit_session v WHERE v.customer_id IS NOT NULL AND 'visit-' || v.session_id = j.stream)
		$view$, shown));

	PERFORM crm.put_view('sessions', 'Visits, one row each.', jsonb_build_object(
			'session_id', 'The session; its stream is visit-<session_id>.',
			'customer_id', 'Whose; NULL: not known.',
			'started_at', 'When its first event happened.',
			'ended_at', 'When its last did.',
			'duration', 'In between.',
			'event_count', 'How many events.',
			'product_count', 'How many different products were looked at.',
			'channel', 'Channel that it came by: that of its first event with one.',
			'campaign_id', 'Campaign of that event.',
			'visitor_id', 'Hash of the id that a stranger had; see visitor_id().'), $view$
		SELECT v.session_id, v.customer_id, v.started_at, v.ended_at, v.ended_at - v.started_at AS duration, v.event_count,
			   (SELECT count(DISTINCT j.product_id) FROM crm.journey_event j WHERE j.stream = 'visit-' || v.session_id) AS product_count, v.channel,
			   v.campaign_id, v.visitor_id
		  FROM crm.visit_session v
		 WHERE eventsource.may_read_category('visit') $view$);

	PERFORM crm.put_view('customer_360', 'All about a customer in one row.', jsonb_build_object(
			'customer_id', 'The customer.',
			'status', 'Status of the account.',
			'email', 'E-mail address; *** for who may not see personal data.',
			'first_name', 'First name; *** likewise.',
			'last_name', 'Last name; *** likewise.',
			'created_at', 'When the customer registered.',
			'consents', 'Consents that hold, as purpose/channel joined by '' > ''.',
			'email_frequency', 'How often e-mail is wanted.',
			'segments', 'Segments, joined by '' > ''.',
			'affinities', 'Categories that most is spent on, joined by '' > ''.',
			'order_count', 'Orders that were paid.',
			'lifetime_value', 'What was paid and not paid back, per currency, joined by '' > ''.',
			'last_order_at', 'When the last order was paid.',
			'open_cart_count', 'Carts that are open, or were left alone.',
			'message_count', 'Messages that went out.',
			'last_message_at', 'When the last did.',
			'last_seen_at', 'When anything happened last.'), $view$
		SELECT c.customer_id, c.status, c.email, c.first_name, c.last_name, c.created_at,
			   (SELECT string_agg(k.purpose || '/' || k.channel, ' > ' ORDER BY k.purpose, k.channel) FROM crm.consents k
				 WHERE k.customer_id = c.customer_id AND k.is_active) AS consents,
			   p.email_frequency, c.segments, c.affinities, o.order_count, o.lifetime_value, o.last_order_at,
			   (SELECT count(*) FROM crm.carts k WHERE k.customer_id = c.customer_id AND k.status <> 'ordered') AS open_cart_count,
			   m.message_count, m.last_message_at, (SELECT max(j.occurred_at) FROM crm.journeys j WHERE j.customer_id = c.customer_id) AS last_seen_at
		  FROM crm.customers c
		  LEFT JOIN crm.preferences p ON p.customer_id = c.customer_id
		 CROSS JOIN LATERAL (SELECT coalesce(sum(x.order_count), 0) AS order_count,
							   string_agg(x.lifetime_value || ' ' || x.currency, ' > ' ORDER BY x.currency) AS lifetime_value,
							   max(x.last_order_at) AS last_order_at
							   FROM crm.customer_purchases x WHERE x.customer_id = c.customer_id) o
		 CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE x.is_sent) AS message_count, max(x.sent_at) AS last_message_at FROM crm.messages x
							  WHERE x.customer_id = c.customer_id) m $view$);
END
$$;
COMMENT ON FUNCTION crm.put_journey_views() IS 'Private, for install(): views of journeys.';

CREATE FUNCTION crm.unknown_journey_types(types text[]) RETURNS SETOF text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT DISTINCT t
	  FROM unnest(types) t
	 WHERE NOT EXISTS (SELECT FROM crm.catalogue() c WHERE c.type = t AND c.category = ANY (crm.journey_categories()))
	   AND NOT EXISTS (SELECT FROM eventsource.event_types e WHERE e.type = t AND e.category = ANY (crm.journey_categories()))
$$;
COMMENT ON FUNCTION crm.unknown_journey_types(text[]) IS 'Private: which of these event types no journey can have.';

CREATE FUNCTION crm.expect_journey_types(VARIADIC types text[]) RETURNS void
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	unknown text;
BEGIN
	SELECT min(t) INTO unknown FROM crm.unknown_journey_types(types) t;
	IF unknown IS NOT NULL THEN
		RAISE undefined_object USING
			MESSAGE = format('there is no event type "%s" of visits, carts, orders, messages or customers', unknown),
			DETAIL = 'Journeys have none of it, so the answer would be that nobody did it.',
			HINT = 'The view crm.event_types lists event types.';
	END IF;
END
$$;
COMMENT ON FUNCTION crm.expect_journey_types(text[]) IS 'Private, for reports: a type that is misspelt is not one that nobody did. Errors: 42704.';
