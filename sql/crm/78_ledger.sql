-- The ledger: charges, refunds, credits and adjustments of accounts, one per
-- customer.  A balance is the sum of its entries, per currency, kept with them and
-- replayed to prove it.

CREATE FUNCTION crm.put_ledger() RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	signed CONSTANT text := $rule$ CASE WHEN event.type IN ('RefundPosted', 'CreditPosted') THEN - (event.data->>'amount')::numeric
		ELSE (event.data->>'amount')::numeric END $rule$;
BEGIN
	PERFORM crm.put_table('ledger_entry', $table$
		account_id  text,
		version     bigint,
		kind        text,
		amount      numeric,
		currency    text,
		order_id    text,
		reference   text,
		posted_by   text,
		posted_at   timestamptz,
		recorded_at timestamptz,
		PRIMARY KEY (account_id, version)
	$table$);
	COMMENT ON TABLE crm.ledger_entry IS 'Private: entries of the ledger, a projection. Read the view ledger_entries.';

	PERFORM crm.put_table('account_balance', $table$
		account_id  text,
		currency    text,
		balance     numeric NOT NULL DEFAULT 0,
		charged     numeric NOT NULL DEFAULT 0,
		refunded    numeric NOT NULL DEFAULT 0,
		entry_count bigint NOT NULL DEFAULT 0,
		updated_at  timestamptz,
		PRIMARY KEY (account_id, currency)
	$table$);
	COMMENT ON TABLE crm.account_balance IS 'Private: balances, a projection. Read the view account_balances.';

	RETURN crm.put_projection('crm.ledger_entry', 'account',
		jsonb_build_object('*', format($rule$ kind = CASE event.type WHEN 'ChargePosted' THEN 'charge' WHEN 'RefundPosted' THEN 'refund'
				WHEN 'CreditPosted' THEN 'credit' ELSE 'adjustment' END, amount = %s, currency = event.data->>'currency',
					order_id = event.data->>'orderId',
				reference = event.data->>'reference', posted_by = event.actor, posted_at = event.occurred_at, recorded_at = event.recorded_at $rule$,
					signed)),
			'{"account_id": "event.key", "version": "event.version"}')
		+ crm.put_projection('crm.account_balance', 'account',
			jsonb_build_object('*', format($rule$ balance = row.balance + %s, entry_count = row.entry_count + 1, updated_at = event.occurred_at,
				charged = row.charged + CASE WHEN event.type = 'ChargePosted' THEN (event.data->>'amount')::numeric ELSE 0 END,
				refunded = row.refunded + CASE WHEN event.type = 'RefundPosted' THEN (event.data->>'amount')::numeric ELSE 0 END $rule$, signed)),
			'{"account_id": "event.key", "currency": "event.data->>''currency''"}');
END
$$;
COMMENT ON FUNCTION crm.put_ledger() IS 'Private, for install(): tables and projections of the ledger.';

CREATE FUNCTION crm.put_ledger_views() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_view('ledger_entries', 'Entries of the ledger, one row each.', jsonb_build_object(
			'account_id', 'The account: the customer, for orders.',
			'version', 'Place in its history: 1, 2 ...',
			'kind', 'charge, refund, credit or adjustment.',
			'amount', 'What it adds to the balance: refunds and credits are below zero.',
			'currency', 'Currency of it.',
			'order_id', 'Order that it is about; NULL: none.',
			'reference', 'What it goes back to.',
			'posted_by', 'Actor.',
			'posted_at', 'When it happened.',
			'recorded_at', 'When it was recorded.',
			'running_balance', 'Balance of the account in this currency after it.'), $view$
		SELECT l.account_id, l.version, l.kind, l.amount, l.currency, l.order_id, l.reference, l.posted_by, l.posted_at, l.recorded_at,
			   sum(l.amount) OVER (PARTITION BY l.account_id, l.currency ORDER BY l.version) AS running_balance
		  FROM crm.ledger_entry l
		 WHERE eventsource.may_read_category('account') $view$);
	PERFORM crm.put_view('account_balances', 'Balances, one row per account and currency.', jsonb_build_object(
			'account_id', 'The account.',
			'currency', 'The currency.',
			'balance', 'Sum of its entries.',
			'charged_amount', 'Sum of the charges.',
			'refunded_amount', 'Sum of the refunds.',
			'entry_count', 'How many entries.',
			'updated_at', 'When the last one was.'), $view$
		SELECT b.account_id, b.currency, b.balance, b.charged AS charged_amount, b.refunded AS refunded_amount, b.entry_count, b.updated_at
		  FROM crm.account_balance b
		 WHERE eventsource.may_read_category('account') $view$);
END
$$;
COMMENT ON FUNCTION crm.put_ledger_views() IS 'Private, for install(): views of the ledger.';

CREATE FUNCTION crm.post_to_ledger(account_id text, kind text, amount numeric, currency text, note text DEFAULT NULL, order_id text DEFAULT NULL,
		reference text DEFAULT NULL,
		actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL, idempotency_key text DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	type text := CASE kind WHEN 'charge' THEN 'ChargePosted' WHEN 'refund' THEN 'RefundPosted' WHEN 'credit' THEN 'CreditPosted'
		WHEN 'adjustment' THEN 'AdjustmentPosted' END;
	result eventsource.appended;
BEGIN
	IF type IS NULL THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('there is no entry of kind "%s"', kind),
			DETAIL = 'Entries are of four kinds.',
			HINT = 'Give charge, refund, credit or adjustment.';
	END IF;
	SELECT * INTO result
	  FROM eventsource.append('account-' || account_id, type,
		jsonb_strip_nulls(jsonb_build_object('amount', amount, 'currency', currency, 'orderId', order_id,
			'reference', reference, 'note', note)), actor => actor, occurred_at => occurred_at, idempotency_key => idempotency_key);
	RETURN result;
END
$$;
COMMENT ON FUNCTION crm.post_to_ledger(text, text, numeric, text, text, text, text, text, timestamptz, text) IS
	'Posts to an account: charge adds to its balance, refund and credit take from it, adjustment does what its sign says, and needs a note. Payments and refunds of orders are posted by themselves. Errors: ZE007 bad amount or currency, or no note; 22023 another kind.';

CREATE FUNCTION crm.balance(account_id text, currency text, at timestamptz DEFAULT NULL, basis text DEFAULT 'recorded') RETURNS numeric
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF basis IS NULL OR basis NOT IN ('recorded', 'occurred') THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('unknown basis "%s"', basis),
			DETAIL = 'The basis says which time of an entry counts.',
			HINT = 'Give recorded or occurred.';
	END IF;
	RETURN (SELECT coalesce(sum(l.amount), 0) FROM crm.ledger_entries l
			 WHERE l.account_id = balance.account_id AND l.currency = balance.currency
			   AND (at IS NULL OR CASE basis WHEN 'occurred' THEN l.posted_at ELSE l.recorded_at END <= at));
END
$$;
COMMENT ON FUNCTION crm.balance(text, text, timestamptz, text) IS
	'Balance of an account in a currency, now or at a time, by when entries were recorded or occurred; 0 for one without entries. Errors: 22023 another basis.';

CREATE FUNCTION crm.reconcile() RETURNS TABLE (account_id text, currency text, problem text, expected numeric, found numeric, event_position bigint)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT v.key->>'account_id', v.key->>'currency', 'balance differs from the replay', (v.expected->>'balance')::numeric,
		   (v.found->>'balance')::numeric, v.event_position
	  -- Which shows rows of the table; without an argument it has none.
	  FROM eventsource.verify_projection(CASE WHEN has_table_privilege('crm.account_balance', 'SELECT') THEN 'crm.account_balance'::regclass END) v
	 UNION ALL
	SELECT l.account_id, l.currency, 'entries differ from the balance', sum(l.amount), coalesce(max(b.balance), 0), NULL
	  FROM crm.ledger_entries l
	  LEFT JOIN crm.account_balances b ON b.account_id = l.account_id AND b.currency = l.currency
	 GROUP BY l.account_id, l.currency
	HAVING sum(l.amount) IS DISTINCT FROM max(b.balance)
	 UNION ALL
	SELECT coalesce(o.customer_id, b.account_id), coalesce(o.currency, b.currency), 'charges less refunds differ from the orders', coalesce(o.net, 0),
		   coalesce(b.net, 0), NULL
	  FROM (SELECT p.customer_id, p.currency, sum(p.net_amount) AS net FROM crm.orders p GROUP BY p.customer_id, p.currency) o
	  FULL JOIN (SELECT l.account_id, l.currency, sum(l.amount) AS net FROM crm.ledger_entries l
				  WHERE l.kind IN ('charge', 'refund') AND l.order_id IS NOT NULL GROUP BY l.account_id, l.currency) b ON b.account_id = o.customer_id
	   AND b.currency = o.currency
	 WHERE coalesce(o.net, 0) <> coalesce(b.net, 0)
	 ORDER BY 1, 2, 3
$$;
COMMENT ON FUNCTION crm.reconcile() IS
	'Compares balances to their replay, to their entries, and charges and refunds to the orders; one row per difference, with the first event from which they part where that is known. No rows: all is well. Balances are replayed for who may read table crm.account_balance, such as its owner; the rest is compared for every reader.';
