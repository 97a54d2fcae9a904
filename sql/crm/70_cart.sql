-- Carts: what lies in them, and when they were left alone.  How long without
-- a change that is, a setting says, and the state machine alone looks at it; each time somebody comes back begins anew.

CREATE FUNCTION crm.cart_machine(cart_after text, checkout_after text) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $fn$
	SELECT jsonb_build_object(
		'description', 'From the first item to the order',
		'initial', 'open',
		'create', '{"CartCreated": "open", "ItemAddedToCart": "open", "CartConverted": "ordered"}'::jsonb,
		'states', jsonb_build_object(
			'open', jsonb_build_object('after', jsonb_build_object(cart_after, 'CartAbandoned'), 'on', jsonb_build_object(
				'ItemAddedToCart', added || '{"target": "open"}', 'ItemRemovedFromCart', removed || '{"target": "open"}',
				'CartAbandoned', jsonb_build_object('target', 'abandoned', 'guard', '{"cart_is_not_empty": "row.item_count > 0"}'::jsonb,
					'fill', jsonb_build_object('items', $$jsonb_path_query_array(row.items, '$.*')$$, 'totalValue', 'row.total_value',
						'currency', 'row.currency',
						'customerId', 'row.customer_id', 'timeInCart', 'extract(epoch FROM event.occurred_at - row.created_at)')),
				'CheckoutStarted', started)),
			'checkout', jsonb_build_object('after', jsonb_build_object(checkout_after, 'CheckoutAbandoned'), 'on', jsonb_build_object(
				'ItemAddedToCart', added || '{"target": "open"}', 'ItemRemovedFromCart', removed || '{"target": "open"}',
				'CheckoutStepCompleted', '{"target": "checkout"}'::jsonb,
				'CheckoutAbandoned', jsonb_build_object('target', 'abandoned',
					'fill', jsonb_build_object('abandonedValue', 'row.total_value', 'currency', 'row.currency', 'customerId', 'row.customer_id',
						'lastCompletedStep', 'row.last_step', 'timeInCheckout', 'extract(epoch FROM event.occurred_at - row.checkout_at)')))),
			'abandoned', jsonb_build_object('on', jsonb_build_object(
				'ItemAddedToCart', added || '{"target": "open"}', 'ItemRemovedFromCart', removed || '{"target": "open"}',
				'CheckoutStarted', started)),
			'ordered', '{"on": {"CartReopened": "open"}}'::jsonb),
		'on', '{"CartConverted": "ordered", "CartReopened": {}}'::jsonb)
	  FROM (VALUES ('{"guard": {"one_currency": "coalesce(event.data->>''currency'' = row.currency, true)"}}'::jsonb,
			'{"guard": {"item_is_there":
			"coalesce((row.items->(event.data->>''productId'')->>''quantity'')::integer >= (event.data->>''quantity'')::integer, false)"}}'::jsonb,
			'{"target": "checkout", "guard": {"cart_is_not_empty": "row.item_count > 0"},
			  "fill": {"cartValue": "row.total_value", "itemCount": "row.item_count", "currency": "row.currency"}}'::jsonb)) edge (added, removed,
				started)
$fn$;
COMMENT ON FUNCTION crm.cart_machine(text, text) IS 'Private, for install(): the life of a cart.';

CREATE FUNCTION crm.make_carts() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_table('cart', $table$
		cart_id      text PRIMARY KEY,
		customer_id  text,
		session_id   text,
		source       text,
		status       text,
		currency     text,
		items        jsonb NOT NULL DEFAULT '{}',
		item_count   integer NOT NULL DEFAULT 0,
		total_value  numeric NOT NULL DEFAULT 0,
		last_step    text,
		checkout_at  timestamptz,
		abandoned_at timestamptz,
		abandonments integer NOT NULL DEFAULT 0,
		order_id     text,
		ordered_at   timestamptz,
		created_at   timestamptz,
		updated_at   timestamptz,
		version      bigint
	$table$);
	COMMENT ON TABLE crm.cart IS 'Private: carts as they are now, a projection. Read the view carts.';
	CREATE INDEX IF NOT EXISTS cart_customer_idx ON crm.cart (customer_id);
END
$$;
COMMENT ON FUNCTION crm.make_carts() IS 'Private, for install(): tables of carts.';

CREATE FUNCTION crm.put_carts() RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	always CONSTANT text := $rule$ status = event.to_state, customer_id = coalesce(event.data->>'customerId', row.customer_id),
		updated_at = event.occurred_at,
		created_at = coalesce(row.created_at, event.occurred_at), version = event.version $rule$;
	-- An item that is added at another price has that price from then on.
	old_value CONSTANT text :=
		$rule$ coalesce((row.items->(event.data->>'productId')->>'quantity')::numeric * (row.items->(event.data->>'productId')->>'price')::numeric,
			0) $rule$;
	old_quantity CONSTANT text := $rule$ coalesce((row.items->(event.data->>'productId')->>'quantity')::integer, 0) $rule$;
	changed CONSTANT text := $rule$ (event.data->>'quantity')::integer $rule$;
BEGIN
	RETURN crm.put_projection('crm.cart', 'cart', (
			SELECT jsonb_object_agg(rule.type, concat_ws(', ', rule.set, always)) FROM (VALUES
				('*', NULL),
				('CartCreated', $rule$ session_id = event.data->>'sessionId', source = event.data->>'source' $rule$),
				('ItemAddedToCart', format($rule$ currency = event.data->>'currency', abandoned_at = NULL, checkout_at = NULL, last_step = NULL,
					items = row.items || jsonb_build_object(event.data->>'productId',
						jsonb_strip_nulls(jsonb_build_object('productId', event.data->'productId',
						'productName', coalesce(nullif(event.data->'productName', 'null'), row.items->(event.data->>'productId')->'productName'),
						'category', coalesce(nullif(event.data->'productCategory', 'null'), row.items->(event.data->>'productId')->'category'),
						'quantity', %1$s + %2$s, 'price', event.data->'price'))),
					item_count = row.item_count + %2$s,
					total_value = row.total_value - %3$s + (%1$s + %2$s) * (event.data->>'price')::numeric $rule$, old_quantity, changed, old_value)),
				('ItemRemovedFromCart', format($rule$ abandoned_at = NULL, checkout_at = NULL, last_step = NULL,
					items = CASE WHEN %1$s > %2$s THEN jsonb_set(row.items, ARRAY[event.data->>'productId', 'quantity'], to_jsonb(%1$s - %2$s))
						ELSE row.items - (event.data->>'productId') END,
					item_count = row.item_count - %2$s,
					total_value = row.total_value - %2$s * (row.items->(event.data->>'productId')->>'price')::numeric $rule$, old_quantity, changed)),
				('CheckoutStarted', $rule$ checkout_at = event.occurred_at, last_step = NULL, abandoned_at = NULL $rule$),
				('CheckoutStepCompleted', $rule$ last_step = event.data->>'step' $rule$),
				('CartAbandoned', $rule$ abandoned_at = event.occurred_at, abandonments = row.abandonments + 1 $rule$),
				('CheckoutAbandoned', $rule$ abandoned_at = event.occurred_at, abandonments = row.abandonments + 1 $rule$),
				('CartReopened', $rule$ order_id = NULL, ordered_at = NULL $rule$),
				('CartConverted', $rule$ order_id = event.data->>'orderId', ordered_at = event.occurred_at, abandoned_at = NULL $rule$)
			) rule (type, set)))
		+ crm.put_state_machine('crm_cart', crm.cart_machine(crm.setting('cart_abandoned_after'), crm.setting('checkout_abandoned_after')));
END
$$;
COMMENT ON FUNCTION crm.put_carts() IS 'Private, for install(): table, projection and state machine of carts.';

CREATE FUNCTION crm.put_cart_views() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_view('carts', 'Carts, one row each.', jsonb_build_object(
			'cart_id', 'The cart; its stream is cart-<cart_id>.',
			'customer_id', 'Whose it is; NULL: not known.',
			'session_id', 'Session that it was begun in.',
			'source', 'web, mobile, api or import.',
			'status', 'open, checkout, abandoned or ordered.',
			'is_abandoned', 'True if it is left alone now.',
			'currency', 'Currency of its prices.',
			'item_count', 'How many pieces lie in it, or did when it was ordered.',
			'total_value', 'What they cost.',
			'last_step', 'Last step of the checkout that was done: shipping, payment or review.',
			'created_at', 'When it was begun.',
			'checkout_at', 'When its checkout began; NULL: it did not.',
			'abandoned_at', 'When it was left alone; NULL: it is not.',
			'abandonment_count', 'How often it was left alone.',
			'order_id', 'Order that it became.',
			'ordered_at', 'When.',
			'updated_at', 'When its last event happened.'), $view$
		SELECT c.cart_id, c.customer_id, c.session_id, c.source, c.status, c.status = 'abandoned' AS is_abandoned, c.currency, c.item_count,
			   c.total_value, c.last_step,
			   c.created_at, c.checkout_at, c.abandoned_at, c.abandonments AS abandonment_count, c.order_id, c.ordered_at, c.updated_at
		  FROM crm.cart c
		 WHERE eventsource.may_read_category('cart') $view$);

	PERFORM crm.put_view('cart_items', 'What lies in carts, or lay in them when they were ordered, one row per cart and product.', jsonb_build_object(
			'cart_id', 'The cart.',
			'product_id', 'The product.',
			'product_name', 'Its name.',
			'product_category', 'Its category.',
			'quantity', 'How many.',
			'price', 'Price of one.',
			'currency', 'Currency of it.'), $view$
		SELECT c.cart_id, i.key AS product_id, i.value->>'productName' AS product_name, i.value->>'category' AS product_category,
			   (i.value->>'quantity')::integer AS quantity,
			   (i.value->>'price')::numeric AS price, c.currency
		  FROM crm.cart c
		 CROSS JOIN LATERAL jsonb_each(c.items) i
		 WHERE eventsource.may_read_category('cart') $view$);

	PERFORM crm.put_view('abandoned_carts', 'Carts that are left alone now, one row each.', jsonb_build_object(
			'cart_id', 'The cart.',
			'customer_id', 'Whose it is; NULL: not known.',
			'abandoned_at', 'When it was left alone.',
			'idle_time', 'How long that is ago.',
			'total_value', 'What lies in it costs.',
			'currency', 'Currency of it.',
			'item_count', 'How many pieces lie in it.',
			'last_step', 'Last step of the checkout that was done; NULL: none.'), $view$
		SELECT c.cart_id, c.customer_id, c.abandoned_at, greatest(now() - c.abandoned_at, '0') AS idle_time, c.total_value, c.currency, c.item_count,
			   c.last_step
		  FROM crm.cart c
		 WHERE c.status = 'abandoned' AND eventsource.may_read_category('cart') $view$);
END
$$;
COMMENT ON FUNCTION crm.put_cart_views() IS 'Private, for install(): views of carts.';
