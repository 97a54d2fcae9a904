-- Segments: rules as data, membership as events when somebody crosses the line, in
-- either direction.  They are worked out under the customer's lock.

CREATE FUNCTION crm.segment_defaults() RETURNS TABLE (segment_id text, name text, rule text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $sql$
	VALUES
		('buyers', 'Buyers', '$.orderFrequency >= 1'),
		('high-value-customers', 'High Value Customers', '$.ltv > 1000 && $.orderFrequency > 5')
$sql$;
COMMENT ON FUNCTION crm.segment_defaults() IS 'Private: segments of the documents, unless define_segment() has changed them.';

CREATE FUNCTION crm.put_segments() RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_table('segment', $table$
		segment_id text PRIMARY KEY,
		name       text,
		rule       text,
		is_dropped boolean NOT NULL DEFAULT false,
		defined_at timestamptz,
		defined_by text
	$table$);
	COMMENT ON TABLE crm.segment IS 'Private: segments that were defined, a projection. Read the view segments.';
	PERFORM crm.put_check('crm.segment', 'rule_is_readable', $check$ coalesce(rule::jsonpath IS NOT NULL, true) $check$);

	PERFORM crm.put_table('segment_change', $table$
		customer_id text,
		version     bigint,
		segment_id  text,
		is_added    boolean NOT NULL DEFAULT false,
		reason      text,
		criteria    jsonb,
		actor       text,
		changed_at  timestamptz,
		PRIMARY KEY (customer_id, version)
	$table$);
	COMMENT ON TABLE crm.segment_change IS 'Private: customers who entered and left segments, a projection. Read the view segment_history.';

	RETURN crm.put_projection('crm.segment', 'segment', jsonb_build_object(
			'SegmentDefined', $rule$ name = event.data->>'segmentName', rule = event.data->>'rule', is_dropped = false,
				defined_at = event.occurred_at, defined_by = event.actor $rule$,
			'SegmentDropped', $rule$ is_dropped = true, defined_at = event.occurred_at, defined_by = event.actor $rule$))
		+ crm.put_projection('crm.segment_change', 'customer', jsonb_build_object(
			'CustomerSegmentAdded', $rule$ segment_id = event.data->>'segmentId', is_added = true, criteria = event.data->'criteria',
				actor = event.actor, changed_at = event.occurred_at $rule$,
			'CustomerSegmentRemoved', $rule$ segment_id = event.data->>'segmentId', reason = event.data->>'reason', actor = event.actor,
				changed_at = event.occurred_at $rule$),
			'{"customer_id": "event.key", "version": "event.version"}');
END
$$;
COMMENT ON FUNCTION crm.put_segments() IS 'Private, for install(): tables and projections of segments.';

CREATE FUNCTION crm.put_segment_views() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_view('segment_history', 'Who was in which segment, from when to when: one row per stay.', jsonb_build_object(
			'customer_id', 'The customer.',
			'segment_id', 'The segment.',
			'version', 'Version of the event that began it.',
			'entered_at', 'From when.',
			'left_at', 'Until when; NULL: now.',
			'duration', 'How long; until now where it lasts.',
			'criteria', 'What spoke for it.',
			'left_reason', 'Why it ended.',
			'is_current', 'True while it lasts.'), $view$
		SELECT s.customer_id, s.segment_id, s.version, s.changed_at AS entered_at, s.left_at,
			   greatest(coalesce(s.left_at, now()) - s.changed_at, '0') AS duration, s.criteria, s.left_reason, s.left_at IS NULL AS is_current
		  FROM (SELECT x.*, lead(x.changed_at) OVER w AS left_at, lead(x.reason) OVER w AS left_reason
				  FROM crm.segment_change x WINDOW w AS (PARTITION BY x.customer_id, x.segment_id ORDER BY x.version)) s
		 WHERE s.is_added AND eventsource.may_read_category('customer') $view$);

	PERFORM crm.put_view('customer_affinities', 'What customers are said to like, one row per customer and category of products.', jsonb_build_object(
			'customer_id', 'The customer.',
			'product_category', 'The category.',
			'affinity_score', 'Share of what was spent when it was detected: 0 to 1.'), $view$
		SELECT c.customer_id, a.key AS product_category, (a.value #>> '{}')::numeric AS affinity_score
		  FROM crm.customer c CROSS JOIN LATERAL jsonb_each(c.affinities) a
		 WHERE eventsource.may_read_category('customer') $view$);

	PERFORM crm.put_view('segment_members', 'Who is in which segment now, one row per customer and segment.', jsonb_build_object(
			'segment_id', 'The segment.', 'customer_id', 'The customer.', 'entered_at', 'Since when.', 'criteria', 'What spoke for it.'), $view$
		SELECT h.segment_id, h.customer_id, h.entered_at, h.criteria FROM crm.segment_history h WHERE h.is_current $view$);

	PERFORM crm.put_view('segments', 'Segments, one row each.', jsonb_build_object(
			'segment_id', 'The segment.',
			'segment_name', 'Its name.',
			'rule', 'jsonpath over what customer_metrics() says; NULL: nobody enters or leaves by rule.',
			'is_default', 'True if it is one of the documents and was not changed.',
			'is_dropped', 'True if it is not worked out any more.',
			'member_count', 'How many are in it.'), $view$
		SELECT s.segment_id, s.segment_name, s.rule, s.is_default, s.is_dropped,
			   (SELECT count(*) FROM crm.segment_members m WHERE m.segment_id = s.segment_id) AS member_count
		  FROM (SELECT d.segment_id, d.name AS segment_name, d.rule, true AS is_default, false AS is_dropped
				  FROM crm.segment_defaults() d WHERE NOT EXISTS (SELECT FROM crm.segment x WHERE x.segment_id = d.segment_id)
				 UNION ALL SELECT x.segment_id, x.name, x.rule, false, x.is_dropped FROM crm.segment x
				 UNION ALL SELECT DISTINCT c.segment_id, NULL, NULL, false, false FROM crm.segment_change c
							WHERE NOT EXISTS (SELECT FROM crm.segment x WHERE x.segment_id = c.segment_id)
							  AND NOT EXISTS (SELECT FROM crm.segment_defaults() d WHERE d.segment_id = c.segment_id)) s
		 WHERE eventsource.may_read_category('customer') $view$);

	PERFORM crm.put_view('product_affinities', 'What customers spend on categories of products, one row per customer, currency and category.',
		jsonb_build_object(
			'customer_id', 'The customer.',
			'currency', 'Currency of the amounts.',
			'product_category', 'The category.',
			'amount', 'What was spent on it, in orders that were paid and not paid back in full.',
			'affinity_score', 'The same, of all that was spent: 0 to 1.'), $view$
		SELECT i.customer_id, o.currency, i.product_category, sum(i.amount) AS amount,
			   round(sum(i.amount) / nullif(sum(sum(i.amount)) OVER (PARTITION BY i.customer_id, o.currency), 0), 4) AS affinity_score
		  FROM crm.order_items i
		  JOIN crm.orders o ON o.order_id = i.order_id
		 WHERE o.paid_at IS NOT NULL AND o.net_amount > 0 AND i.product_category IS NOT NULL
		 GROUP BY i.customer_id, o.currency, i.product_category $view$);
END
$$;
COMMENT ON FUNCTION crm.put_segment_views() IS 'Private, for install(): views of segments.';

CREATE FUNCTION crm.metrics_of_customers(of_customers text[]) RETURNS TABLE (customer_id text, status text, metrics jsonb)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT c.customer_id, c.status,
		   jsonb_strip_nulls(jsonb_build_object('currency', p.currency, 'ltv', coalesce(p.lifetime_value, 0),
			'orderFrequency', coalesce(p.order_count, 0),
				'deliveredOrders', coalesce(p.delivered_order_count, 0), 'averageOrderValue', p.average_order_value,
				'daysSinceLastOrder', extract(epoch FROM now() - p.last_order_at) / 86400,
				'status', c.status, 'daysSinceRegistration', extract(epoch FROM now() - c.created_at) / 86400))
	  FROM crm.customers c
	  LEFT JOIN crm.customer_purchases p ON p.customer_id = c.customer_id AND p.customer_id = ANY (of_customers)
	 WHERE c.customer_id = ANY (of_customers);
END
$$;
COMMENT ON FUNCTION crm.metrics_of_customers(text[]) IS 'Private: what customer_metrics() says, of some customers.';

CREATE FUNCTION crm.customer_metrics(customer_id text) RETURNS SETOF jsonb
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT m.metrics FROM crm.metrics_of_customers(ARRAY[customer_metrics.customer_id]) m
$$;
COMMENT ON FUNCTION crm.customer_metrics(text) IS
	'What rules of segments see of a customer, one row per currency that something was bought in: ltv (paid and not paid back), orderFrequency (orders that were paid), deliveredOrders, averageOrderValue, daysSinceLastOrder, daysSinceRegistration, currency, status.';

CREATE FUNCTION crm.define_segment(segment_id text, rule text, name text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	unknown text;
BEGIN
	BEGIN
		PERFORM rule::jsonpath;
		-- A rule that says nothing, or no truth, of an example is a mistake.
		IF jsonb_path_match('{"currency": "EUR", "ltv": 1, "orderFrequency": 1, "deliveredOrders": 1, "averageOrderValue": 1, "daysSinceLastOrder": 1,
			"daysSinceRegistration": 1, "status": "active"}'::jsonb, rule::jsonpath) IS NULL THEN
			RAISE data_exception USING MESSAGE = 'it is neither true nor false of a customer';
		END IF;
	EXCEPTION WHEN data_exception OR syntax_error THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('invalid rule of segment "%s"', segment_id),
			DETAIL = format('"%s": %s.', rule, SQLERRM),
			HINT = 'Give a jsonpath predicate: $.ltv > 1000 && $.orderFrequency > 5.';
	END;
	SELECT string_agg(m[1], ', ') INTO unknown FROM regexp_matches(rule, '\$\.(\w+)', 'g') m
	 WHERE m[1] NOT IN ('currency', 'ltv', 'orderFrequency', 'deliveredOrders', 'averageOrderValue', 'daysSinceLastOrder', 'daysSinceRegistration',
		'status');
	IF unknown IS NOT NULL THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('invalid rule of segment "%s"', segment_id),
			DETAIL = format('Nothing is known of %s.', unknown),
			HINT = 'See crm.customer_metrics() for what is known of customers.';
	END IF;
	PERFORM eventsource.append('segment-' || segment_id, 'SegmentDefined', jsonb_strip_nulls(jsonb_build_object('rule', rule, 'segmentName', name)));
END
$$;
COMMENT ON FUNCTION crm.define_segment(text, text, text) IS
	'Says who belongs to a segment: a jsonpath predicate over what customer_metrics() says; who bought in several currencies belongs to it if it holds for one. recalculate_segments() puts it into effect. Errors: 22023 bad rule.';

CREATE FUNCTION crm.drop_segment(segment_id text) RETURNS void
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT crm.expect_found(EXISTS (SELECT FROM crm.segments s WHERE s.segment_id = drop_segment.segment_id), format('segment "%s"', segment_id),
		'segments');
	SELECT eventsource.append('segment-' || segment_id, 'SegmentDropped')
$$;
COMMENT ON FUNCTION crm.drop_segment(text) IS
	'A segment is not worked out any more; who is in it leaves with the next recalculate_segments(). Errors: 42704 no such segment.';

CREATE FUNCTION crm.add_to_segment(customer_id text, segment_id text, criteria jsonb DEFAULT NULL, actor text DEFAULT NULL) RETURNS boolean
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
	PERFORM crm.expect_customer(customer_id);
	PERFORM eventsource.lock_stream('customer-' || customer_id);
	IF EXISTS (SELECT FROM crm.segment_members m WHERE m.customer_id = add_to_segment.customer_id AND m.segment_id = add_to_segment.segment_id) THEN
		RETURN false;
	END IF;
	PERFORM eventsource.append('customer-' || customer_id, 'CustomerSegmentAdded',
		jsonb_strip_nulls(jsonb_build_object('segmentId', segment_id, 'criteria', criteria,
			'segmentName', (SELECT s.segment_name FROM crm.segments s WHERE s.segment_id = add_to_segment.segment_id))), actor => actor);
	RETURN true;
END
$$;
COMMENT ON FUNCTION crm.add_to_segment(text, text, jsonb, text) IS
	'Puts a customer into a segment; false: was in it. Errors: ZE002 closed or deleted customer, 42704 no such customer.';

CREATE FUNCTION crm.remove_from_segment(customer_id text, segment_id text, reason text DEFAULT NULL, actor text DEFAULT NULL) RETURNS boolean
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
	PERFORM crm.expect_customer(customer_id);
	PERFORM eventsource.lock_stream('customer-' || customer_id);
	IF NOT EXISTS (SELECT FROM crm.segment_members m WHERE m.customer_id = remove_from_segment.customer_id
					  AND m.segment_id = remove_from_segment.segment_id) THEN
		RETURN false;
	END IF;
	PERFORM eventsource.append('customer-' || customer_id, 'CustomerSegmentRemoved',
		jsonb_strip_nulls(jsonb_build_object('segmentId', segment_id, 'reason', reason)), actor => actor);
	RETURN true;
END
$$;
COMMENT ON FUNCTION crm.remove_from_segment(text, text, text, text) IS
	'Takes a customer out of a segment; false: was not in it. Errors: ZE002 deleted customer, 42704 no such customer.';

-- Only who crosses the line leads to an event.  Who belongs to a segment is held against who is
-- in it, of all these customers at once: a query for each took milliseconds for each.  One plan
-- does for one and for all: an index, by key.
CREATE FUNCTION crm.segment_changes(of_customers text[])
	RETURNS TABLE (customer_id text, what text, id text, criteria jsonb, score numeric, belongs boolean, is_dropped boolean)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
	threshold CONSTANT numeric := crm.setting('affinity_threshold');
BEGIN
	RETURN QUERY
	WITH customer AS MATERIALIZED (
		SELECT m.customer_id, m.metrics FROM crm.metrics_of_customers(of_customers) m WHERE m.status NOT IN ('deactivated', 'deleted')
	), known AS MATERIALIZED (
		SELECT DISTINCT c.customer_id FROM customer c
	), rule AS MATERIALIZED (
		SELECT g.segment_id, g.rule::jsonpath AS path, g.is_dropped FROM crm.segments g WHERE g.rule IS NOT NULL OR g.is_dropped
	), fit AS (
		SELECT c.customer_id, r.segment_id, (array_agg(c.metrics ORDER BY c.metrics))[1] AS criteria
		  FROM rule r
		  JOIN customer c ON NOT r.is_dropped AND jsonb_path_match(c.metrics, r.path, silent => true)
		 GROUP BY c.customer_id, r.segment_id
	), member AS (
		SELECT k.customer_id, m.segment_id, r.is_dropped
		  FROM crm.segment_members m
		  JOIN rule r ON r.segment_id = m.segment_id
		  JOIN known k ON k.customer_id = m.customer_id
		 WHERE m.customer_id = ANY (of_customers)
	), liking AS (
		SELECT p.customer_id, p.product_category, max(p.affinity_score) AS score
		  FROM crm.product_affinities p
		  JOIN known k ON k.customer_id = p.customer_id
		 WHERE p.customer_id = ANY (of_customers)
		 GROUP BY p.customer_id, p.product_category
	), said AS (
		SELECT a.customer_id, a.product_category
		  FROM crm.customer_affinities a
		  JOIN known k ON k.customer_id = a.customer_id
		 WHERE a.customer_id = ANY (of_customers)
	)
	SELECT coalesce(f.customer_id, m.customer_id), 'segment', coalesce(f.segment_id, m.segment_id), f.criteria, NULL::numeric, m.customer_id IS NULL,
		   coalesce(m.is_dropped, false)
	  FROM fit f
	  FULL JOIN member m ON m.customer_id = f.customer_id AND m.segment_id = f.segment_id
	 WHERE f.customer_id IS NULL OR m.customer_id IS NULL
	 UNION ALL
	SELECT coalesce(l.customer_id, s.customer_id), 'affinity', coalesce(l.product_category, s.product_category), NULL, coalesce(l.score, 0),
		   s.customer_id IS NULL, false
	  FROM liking l
	  FULL JOIN said s ON s.customer_id = l.customer_id AND s.product_category = l.product_category
	 WHERE (coalesce(l.score, 0) > threshold) <> (s.customer_id IS NOT NULL)
	 ORDER BY 1, 2 DESC, 3;
END
$$;
COMMENT ON FUNCTION crm.segment_changes(text[]) IS 'Private, for recalculate_segments(): which segments and affinities customers enter or leave.';

CREATE FUNCTION crm.recalculate_segments(customer_id text) RETURNS integer
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	s record;
	n integer := 0;
BEGIN
	PERFORM eventsource.lock_stream('customer-' || recalculate_segments.customer_id);
	FOR s IN SELECT * FROM crm.segment_changes(ARRAY[recalculate_segments.customer_id]) LOOP
		IF s.what = 'affinity' THEN
			PERFORM eventsource.append('customer-' || recalculate_segments.customer_id,
						CASE WHEN s.belongs THEN 'ProductAffinityDetected' ELSE 'ProductAffinityEnded' END,
						jsonb_build_object('category', s.id, 'affinityScore', s.score));
			n := n + 1;
		ELSIF s.belongs THEN
			n := n + crm.add_to_segment(recalculate_segments.customer_id, s.id, s.criteria)::integer;
		ELSE
			n := n + crm.remove_from_segment(recalculate_segments.customer_id, s.id,
				CASE WHEN s.is_dropped THEN 'segment-dropped' ELSE 'rule' END)::integer;
		END IF;
	END LOOP;
	RETURN n;
END
$$;
COMMENT ON FUNCTION crm.recalculate_segments(text) IS
	'Works out the segments and affinities of a customer; returns how many changed. It is done by itself, by run_due, when an order is paid, delivered or paid back.';

CREATE FUNCTION crm.recalculate_segments() RETURNS integer
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	n integer;
BEGIN
	-- They alone are locked who enter or leave, and only then.  A thousand at a time are held against the rules:
	-- with all at once the time would grow with the square of them.
	SELECT coalesce(sum(crm.recalculate_segments(c.customer_id)), 0) INTO n
	  FROM (SELECT x.customer_id
			  FROM (SELECT array_agg(k.customer_id) AS ids
					  FROM (SELECT c.customer_id, row_number() OVER () AS number FROM crm.customers c) k
					 GROUP BY k.number / 1000) b,
				   LATERAL crm.segment_changes(b.ids) x
			 GROUP BY x.customer_id
			 ORDER BY x.customer_id COLLATE "C") c;
	PERFORM eventsource.append('segment-all', 'SegmentationRecalculated',
		jsonb_build_object('segmentCount', (SELECT count(*) FROM crm.segments s WHERE NOT s.is_dropped)));
	RETURN n;
END
$$;
COMMENT ON FUNCTION crm.recalculate_segments() IS
	'Works out the segments of all customers: after a rule was changed, and from time to time, for rules that look at days. Returns how many memberships changed.';

CREATE FUNCTION crm.segments_due(event eventsource.events, call jsonb) RETURNS jsonb
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.recalculate_segments(event.data->>'customerId');
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION crm.segments_due(eventsource.events, jsonb) IS 'Private, for reactions: works out the segments of an order''s customer.';
