-- Events as object-centric process mining reads them (OCEL 2.0): an event is about
-- several objects, an order of its customer and of the cart that it came from.

CREATE FUNCTION crm.put_ocel_views() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_view('ocel_event_object', 'Which objects events are about (OCEL 2.0: event_object), one row per event and object.',
		jsonb_build_object(
			'ocel_event_id', 'The event.',
			'ocel_object_id', 'The object: customer-<id>, cart-<id>, order-<id>, message-<id> or lead-<id>.',
			'ocel_qualifier', 'What it is to the event: customer, cart, order, message or lead.'), $view$
		SELECT e.position::text AS ocel_event_id, o.id AS ocel_object_id, o.qualifier AS ocel_qualifier
		  FROM eventsource.events e
		 CROSS JOIN LATERAL (VALUES
			(1, CASE WHEN e.category <> 'visit' THEN e.stream END, e.category), (2, 'customer-' || (e.data->>'customerId'), 'customer'),
			(3, 'cart-' || (e.data->>'cartId'), 'cart'), (4, 'order-' || (e.data->>'orderId'), 'order')) o (n, id, qualifier)
		 WHERE e.category IN ('lead', 'customer', 'visit', 'cart', 'order', 'message') AND o.id IS NOT NULL AND (o.n = 1 OR o.id <> e.stream) $view$);

	PERFORM crm.put_view('ocel_events',
		'Events of object-centric process mining (OCEL 2.0: event), one row each; order by event_position. Visits of strangers are about no object, and are left out.',
		jsonb_build_object(
			'ocel_id', 'The event.',
			'ocel_type', 'What happened.',
			'ocel_time', 'When.',
			'resource', 'Who did it.',
			'state', 'State of the stream after it.',
			'reason', 'Why, as a code.',
			'event_position', 'Place in the log.'), $view$
		SELECT e.position::text AS ocel_id, e.type AS ocel_type, e.occurred_at AS ocel_time, e.actor AS resource, e.to_state AS state, e.reason,
			   e.position AS event_position
		  FROM eventsource.events e
		 WHERE e.category IN ('lead', 'customer', 'cart', 'order', 'message') OR e.category = 'visit' AND e.data->>'customerId' IS NOT NULL $view$);

	PERFORM crm.put_view('ocel_objects',
		'Objects of object-centric process mining (OCEL 2.0: object), one row each: all that ocel_event_object names.', jsonb_build_object(
			'ocel_id', 'The object.', 'ocel_type', 'customer, cart, order, message or lead.'), $view$
		SELECT DISTINCT r.ocel_object_id AS ocel_id, split_part(r.ocel_object_id, '-', 1) AS ocel_type FROM crm.ocel_event_object r $view$);

	PERFORM crm.put_view('ocel_object_object', 'Objects that belong together (OCEL 2.0: object_object), one row per pair.', jsonb_build_object(
			'ocel_source_id', 'The object.',
			'ocel_target_id', 'What it belongs to.',
			'ocel_qualifier', 'What that is to it: customer or cart.'), $view$
		SELECT 'order-' || o.order_id AS ocel_source_id, 'customer-' || o.customer_id AS ocel_target_id, 'customer' AS ocel_qualifier
		  FROM crm.orders o WHERE o.customer_id IS NOT NULL
		 UNION ALL SELECT 'order-' || o.order_id, 'cart-' || o.cart_id, 'cart' FROM crm.orders o WHERE o.cart_id IS NOT NULL
		 UNION ALL SELECT 'cart-' || c.cart_id, 'customer-' || c.customer_id, 'customer' FROM crm.carts c WHERE c.customer_id IS NOT NULL
		 UNION ALL SELECT 'message-' || m.message_id, 'customer-' || m.customer_id, 'customer' FROM crm.messages m
					WHERE m.customer_id IS NOT NULL $view$);
END
$$;
COMMENT ON FUNCTION crm.put_ocel_views() IS 'Private, for install(): views for object-centric process mining.';
