-- Integrations: what programs of others are told of customers.  Each has a
-- subscription of its own; what it was told is recorded beside, and not with the
-- customer, so that nothing is told of having been told.

CREATE FUNCTION crm.put_integrations() RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_table('integration_delivery', $table$
		integration_id text,
		version        bigint,
		customer_id    text,
		action         text,
		event_position bigint,
		is_delivered   boolean NOT NULL DEFAULT false,
		error_code     text,
		delivered_at   timestamptz,
		PRIMARY KEY (integration_id, version)
	$table$);
	COMMENT ON TABLE crm.integration_delivery IS 'Private: what integrations were told, a projection. Read the view integration_deliveries.';
	RETURN crm.put_projection('crm.integration_delivery', 'integration',
		jsonb_build_object('ThirdPartyIntegrationSynced', $rule$ customer_id = event.data->>'customerId',
			action = event.data->>'action', event_position = (event.data->>'eventPosition')::bigint,
			is_delivered = coalesce((event.data->>'succeeded')::boolean, true),
			error_code = event.data->>'errorCode', delivered_at = event.occurred_at $rule$),
				'{"integration_id": "event.key", "version": "event.version"}');
END
$$;
COMMENT ON FUNCTION crm.put_integrations() IS 'Private, for install(): table and projection of integrations.';

CREATE FUNCTION crm.put_integration_views() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_view('integration_deliveries', 'What programs of others were told, one row per attempt.', jsonb_build_object(
			'integration_id', 'The integration; its stream is integration-<integration_id>.',
			'version', 'Place in its history: 1, 2 ...',
			'customer_id', 'Of whom.',
			'action', 'upsert, subscribe, unsubscribe, add-to-segment, remove-from-segment or delete.',
			'event_position', 'Event that led to it.',
			'is_delivered', 'True if it worked.',
			'error_code', 'Why not.',
			'delivered_at', 'When.'), $view$
		SELECT d.integration_id, d.version, d.customer_id, d.action, d.event_position, d.is_delivered, d.error_code, d.delivered_at
		  FROM crm.integration_delivery d
		 WHERE eventsource.may_read_category('integration') $view$);
	PERFORM crm.put_view('integrations', 'Integrations, one row each.', jsonb_build_object(
			'integration_id', 'The integration.',
			'position_lag', 'How many positions of the log it is behind.',
			'parked_count', 'Events that were set aside since it cannot be told of them.',
			'delivered_count', 'Deliveries that worked.',
			'failed_count', 'Deliveries that did not.',
			'last_delivered_at', 'When the last one worked.'), $view$
		SELECT substr(s.name, 5) AS integration_id, s.lag AS position_lag, s.parked AS parked_count,
			   (SELECT count(*) FROM crm.integration_delivery d WHERE d.integration_id = substr(s.name, 5) AND d.is_delivered) AS delivered_count,
			   (SELECT count(*) FROM crm.integration_delivery d WHERE d.integration_id = substr(s.name, 5) AND NOT d.is_delivered) AS failed_count,
			   (SELECT max(d.delivered_at) FROM crm.integration_delivery d WHERE d.integration_id = substr(s.name, 5)
				   AND d.is_delivered) AS last_delivered_at
		  FROM eventsource.subscriptions s
		 WHERE s.name LIKE 'crm\_%' AND eventsource.may_read_category('integration') $view$);
END
$$;
COMMENT ON FUNCTION crm.put_integration_views() IS 'Private, for install(): views of integrations.';

-- Only what matters to a list of contacts, and only consent to marketing by e-mail.
CREATE FUNCTION crm.integration_actions() RETURNS TABLE (event_type text, fields jsonb, action text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	VALUES
		('CustomerCreated', '{}'::jsonb, 'upsert'),
		('CustomerEmailUpdated', '{}', 'upsert'),
		('CustomerNameUpdated', '{}', 'upsert'),
		('CustomerReactivated', '{}', 'upsert'),
		('CustomerSegmentAdded', '{}', 'add-to-segment'),
		('CustomerSegmentRemoved', '{}', 'remove-from-segment'),
		('CustomerDeactivated', '{}', 'unsubscribe'),
		('CustomerDataDeleted', '{}', 'delete'),
		('ConsentGranted', '{"purpose": "marketing", "channel": "email"}', 'subscribe'),
		('ConsentRenewed', '{"purpose": "marketing", "channel": "email"}', 'subscribe'),
		('ConsentRevoked', '{"purpose": "marketing", "channel": "email"}', 'unsubscribe'),
		('ConsentExpired', '{"purpose": "marketing", "channel": "email"}', 'unsubscribe')
$$;
COMMENT ON FUNCTION crm.integration_actions() IS
	'Private: which events of customers integrations are told of (those whose data has fields), and what they are to do.';

CREATE FUNCTION crm.create_integration(integration_id text, consumers regrole DEFAULT NULL, from_position bigint DEFAULT 0) RETURNS bigint
	LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT eventsource.create_subscription('crm_' || integration_id, '{customer}',
		(SELECT string_agg(format('event.type IN (%s)', f.types) || CASE WHEN f.fields <> '{}' THEN format(' AND event.data @> %L', f.fields)
			ELSE '' END, ' OR ' ORDER BY f.fields)
		   FROM (SELECT a.fields, string_agg(quote_literal(a.event_type), ', ' ORDER BY a.event_type) AS types FROM crm.integration_actions() a
				  GROUP BY a.fields) f),
		from_position => from_position, consumers => consumers)
$$;
COMMENT ON FUNCTION crm.create_integration(text, regrole, bigint) IS
	'Lets a program of others follow customers: contacts, consent to marketing by e-mail, segments, erasures. It calls poll_integration() and ack_integration(), or nack_integration(). consumers: the role that it has. from_position: after which it begins; 0: with the first customer. For admins of the CRM (grant_admin). Errors: 42501; those of eventsource.create_subscription().';

CREATE FUNCTION crm.drop_integration(integration_id text) RETURNS void
	LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT eventsource.drop_subscription('crm_' || integration_id)
$$;
COMMENT ON FUNCTION crm.drop_integration(text) IS
	'Ends an integration: it is told nothing any more. What it was told is kept. For admins of the CRM (grant_admin). Errors: 42501; those of eventsource.drop_subscription().';

CREATE FUNCTION crm.poll_integration(integration_id text, max_count integer DEFAULT 100, consumer text DEFAULT NULL)
	RETURNS TABLE (event_position bigint, customer_id text, action text, email text, first_name text, last_name text, segment_id text,
				   is_subscribed boolean, occurred_at timestamptz)
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT crm.expect_personal_data('the contacts of an integration');
	SELECT e."position", e.key, CASE WHEN crm.is_known_customer(e.key) THEN a.action ELSE 'delete' END,
		   CASE WHEN c.status <> 'deleted' THEN c.email END, CASE WHEN c.status <> 'deleted' THEN c.first_name END,
		   CASE WHEN c.status <> 'deleted' THEN c.last_name END, e.data->>'segmentId',
		   coalesce(c.status <> 'deleted' AND c.status <> 'deactivated' AND crm.has_consent(e.key, 'marketing', 'email'), false), e.occurred_at
	  FROM eventsource.poll('crm_' || integration_id, max_count, consumer) e
	  LEFT JOIN crm.integration_actions() a ON a.event_type = e.type
	  LEFT JOIN crm.customers c ON c.customer_id = e.key
	 ORDER BY e."position"
$$;
COMMENT ON FUNCTION crm.poll_integration(text, integer, text) IS
	'What an integration is to be told next, in order, lent as eventsource.poll() does: action is upsert, subscribe, unsubscribe, add-to-segment, remove-from-segment or delete; the contact is as it is now. is_subscribed: whether there is consent to marketing by e-mail now; a contact that has none is not to be written to. Errors: 42501 for who may not see personal data; those of eventsource.poll().';

CREATE FUNCTION crm.is_known_customer(customer_id text) RETURNS boolean
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT NOT eventsource.may_read_category('customer') OR EXISTS (SELECT FROM crm.customers c WHERE c.customer_id = is_known_customer.customer_id
																	   AND c.status <> 'deleted')
$$;
COMMENT ON FUNCTION crm.is_known_customer(text) IS
	'Private, for integrations: false for a customer who is erased; in mode hard there is no row of him.';

CREATE FUNCTION crm.record_integration(integration_id text, action text, event_position bigint, customer_id text, succeeded boolean,
		error_code text DEFAULT NULL, error_message text DEFAULT NULL) RETURNS void
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	-- Nothing is recorded about who is erased: what was told of him is told without him.
	SELECT eventsource.append('integration-' || integration_id, 'ThirdPartyIntegrationSynced',
		jsonb_strip_nulls(jsonb_build_object('integration', integration_id, 'action', action,
		'customerId', CASE WHEN crm.is_known_customer(record_integration.customer_id) THEN customer_id END, 'eventPosition', event_position,
		'succeeded', succeeded, 'errorCode', error_code,
		'errorMessage', CASE WHEN crm.is_known_customer(record_integration.customer_id) THEN error_message END)))
$$;
COMMENT ON FUNCTION crm.record_integration(text, text, bigint, text, boolean, text, text) IS
	'Private, for commands: records what an integration was told.';

-- What was lent before this event, and is done with it: what comes before it in the log, but for customers whose
-- events wait behind one that was set aside; of one that was redriven, what waited behind it.
CREATE FUNCTION crm.told_before(integration_id text, event_position bigint) RETURNS TABLE (told_position bigint, customer_id text, action text)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	its CONSTANT text := (SELECT e.stream FROM eventsource.events e WHERE e."position" = told_before.event_position);
	after CONSTANT bigint := (SELECT s."position" FROM eventsource.subscription_partitions s WHERE s.subscription = 'crm_'
		|| told_before.integration_id);
BEGIN
	RETURN QUERY
	WITH held AS (
		SELECT p.stream, min(p."position") AS from_position
		  FROM eventsource.parked_events p
		 WHERE p.subscription = 'crm_' || told_before.integration_id AND p.is_stream_held
		 GROUP BY p.stream
	)
	SELECT e."position", e.key, CASE WHEN crm.is_known_customer(e.key) THEN a.action ELSE 'delete' END
	  FROM eventsource.events e
	  JOIN crm.integration_actions() a ON a.event_type = e.type AND e.data @> a.fields
	 WHERE e.category = 'customer' AND e."position" > after AND e."position" < told_before.event_position
	   AND NOT EXISTS (SELECT FROM held h WHERE h.stream = e.stream AND h.from_position <= e."position")
	   AND NOT EXISTS (SELECT FROM held h WHERE h.stream = its)
	 UNION ALL
	SELECT e."position", e.key, CASE WHEN crm.is_known_customer(e.key) THEN a.action ELSE 'delete' END
	  FROM eventsource.events e
	  JOIN crm.integration_actions() a ON a.event_type = e.type AND e.data @> a.fields
	  JOIN held h ON h.stream = e.stream AND h.from_position <= e."position"
	 WHERE e.stream = its AND e."position" < told_before.event_position
	   AND NOT EXISTS (SELECT FROM crm.integration_deliveries d
						WHERE d.integration_id = told_before.integration_id AND d.event_position = e."position" AND d.is_delivered)
	 ORDER BY 1;
END
$$;
COMMENT ON FUNCTION crm.told_before(text, bigint) IS
	'Private, for ack_integration(): the events that are acknowledged together with one, without it.';

CREATE FUNCTION crm.ack_integration(integration_id text, event_position bigint, action text, customer_id text, consumer text DEFAULT NULL)
	RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
	PERFORM crm.record_integration(integration_id, t.action, t.told_position, t.customer_id, true)
		FROM crm.told_before(integration_id, event_position) t;
	PERFORM crm.record_integration(integration_id, action, event_position, customer_id, true);
	PERFORM eventsource.ack('crm_' || integration_id, event_position, consumer);
END
$$;
COMMENT ON FUNCTION crm.ack_integration(text, bigint, text, text, text) IS
	'Says that an integration was told of all up to this event, and records each of them: this one as action and customer_id say, those before it as poll_integration() would now. Errors: those of eventsource.ack().';

CREATE FUNCTION crm.nack_integration(integration_id text, event_position bigint, action text, customer_id text, error_code text,
		error_message text DEFAULT NULL, consumer text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.record_integration(integration_id, action, event_position, customer_id, false, error_code, error_message);
	PERFORM eventsource.nack('crm_' || integration_id, event_position, error_code, consumer);
END
$$;
COMMENT ON FUNCTION crm.nack_integration(text, bigint, text, text, text, text, text) IS
	'Says that an integration could not be told: it is tried again, or set aside, as eventsource.nack() does; recorded. Errors: those of eventsource.nack().';
