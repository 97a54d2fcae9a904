-- Recency, frequency, monetary value; customer lifetime value.  One basis for all
-- three: orders that were paid, net of what was paid back, in one currency, as of one
-- moment.

CREATE FUNCTION crm.paid_orders(as_of timestamptz DEFAULT now())
	RETURNS TABLE (customer_id text, order_id text, currency text, paid_at timestamptz, net_amount numeric)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT o.customer_id, o.order_id, o.currency, o.paid_at, o.paid_amount - coalesce(sum(r.amount), 0)
	  FROM crm.orders o
	  LEFT JOIN crm.refunds r ON r.order_id = o.order_id AND r.status = 'completed' AND r.completed_at <= as_of
	 WHERE o.paid_at <= as_of
	 GROUP BY o.customer_id, o.order_id, o.currency, o.paid_at, o.paid_amount
	HAVING o.paid_amount > coalesce(sum(r.amount), 0)
$$;
COMMENT ON FUNCTION crm.paid_orders(timestamptz) IS
	'Orders that were paid by then, with what was paid and, by then, not paid back; those of which nothing is left are no purchases.';

CREATE FUNCTION crm.rfm_segment_rules() RETURNS TABLE (priority integer, segment text, min_r integer, max_r integer, min_f integer, max_f integer,
		min_m integer, max_m integer)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $sql$
	VALUES
		(1, 'champions',       4, 5, 4, 5, 4, 5),
		(2, 'at-risk',         1, 2, 3, 5, 3, 5),
		(3, 'loyal-customers', 1, 5, 4, 5, 1, 5),
		(4, 'new-customers',   4, 5, 1, 2, 1, 5),
		(5, 'needs-attention', 1, 5, 1, 5, 1, 5)
$sql$;
COMMENT ON FUNCTION crm.rfm_segment_rules() IS
	'Segments by scores, first match by priority. Lapsed customers come before loyal ones: who bought often, and long ago, is at risk.';

CREATE FUNCTION crm.rfm(as_of timestamptz DEFAULT now(), method text DEFAULT 'percent_rank', in_currency text DEFAULT NULL,
		recency_breaks numeric[] DEFAULT '{30,60,90,180}', frequency_breaks numeric[] DEFAULT '{2,3,5,10}',
		monetary_breaks numeric[] DEFAULT '{50,100,500,1000}')
	RETURNS TABLE (customer_id text, currency text, recency_days numeric, frequency bigint, monetary numeric,
				   r_score integer, f_score integer, m_score integer, rfm_score text, segment text, last_order_at timestamptz)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	IF method IS NULL OR method NOT IN ('percent_rank', 'ntile', 'fixed') THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('method "%s" is unknown', method),
			DETAIL = 'Scores from 1 to 5 are given by rank, by groups of equal size, or by fixed limits.',
			HINT = 'Give percent_rank, ntile or fixed.';
	END IF;
	-- Fewer than five have no quintiles.
	RETURN QUERY
	SELECT s.customer_id, s.currency, s.recency_days, s.frequency, s.monetary, s.r, s.f, s.m, s.r || '' || s.f || s.m, rule.segment, s.last_order_at
	  FROM (SELECT b.customer_id, b.currency, b.last_order_at, b.recency_days, b.frequency, b.monetary,
				   CASE b.method WHEN 'percent_rank' THEN least(1 + floor(5 * percent_rank() OVER (PARTITION BY b.currency ORDER BY b.last_order_at)),
					5)::integer
						WHEN 'ntile' THEN ntile(5) OVER (PARTITION BY b.currency ORDER BY b.last_order_at, b.customer_id)
						ELSE 5 - width_bucket(b.recency_days, rfm.recency_breaks) END AS r,
				   CASE b.method WHEN 'percent_rank' THEN least(1 + floor(5 * percent_rank() OVER (PARTITION BY b.currency ORDER BY b.frequency)),
					5)::integer
						WHEN 'ntile' THEN ntile(5) OVER (PARTITION BY b.currency ORDER BY b.frequency, b.customer_id)
						ELSE 1 + width_bucket(b.frequency::numeric, rfm.frequency_breaks) END AS f,
				   CASE b.method WHEN 'percent_rank' THEN least(1 + floor(5 * percent_rank() OVER (PARTITION BY b.currency ORDER BY b.monetary)),
					5)::integer
						WHEN 'ntile' THEN ntile(5) OVER (PARTITION BY b.currency ORDER BY b.monetary, b.customer_id)
						ELSE 1 + width_bucket(b.monetary, rfm.monetary_breaks) END AS m
			  FROM (SELECT p.customer_id, p.currency,
						   CASE WHEN count(*) OVER (PARTITION BY p.currency) < 5 THEN 'fixed' ELSE rfm.method END AS method,
						   max(p.paid_at) AS last_order_at, round(extract(epoch FROM rfm.as_of - max(p.paid_at)) / 86400, 4) AS recency_days,
						   count(*) AS frequency, sum(p.net_amount) AS monetary
					  FROM crm.paid_orders(rfm.as_of) p
					 WHERE CASE WHEN in_currency IS NULL THEN true ELSE p.currency = in_currency END
					 GROUP BY p.customer_id, p.currency) b) s
	 CROSS JOIN LATERAL (SELECT x.segment FROM crm.rfm_segment_rules() x
						  WHERE s.r BETWEEN x.min_r AND x.max_r AND s.f BETWEEN x.min_f AND x.max_f AND s.m BETWEEN x.min_m AND x.max_m
						  ORDER BY x.priority LIMIT 1) rule
	 UNION ALL
	-- Who bought nothing has no scores: that is not the same as a bad one.
	SELECT c.customer_id, NULL, NULL, 0, 0, NULL, NULL, NULL, NULL, 'no-orders', NULL
	  FROM crm.customers c
	 WHERE c.created_at <= rfm.as_of AND in_currency IS NULL AND c.status <> 'deleted'
	   AND NOT EXISTS (SELECT FROM crm.paid_orders(rfm.as_of) p WHERE p.customer_id = c.customer_id);
END
$$;
COMMENT ON FUNCTION crm.rfm(timestamptz, text, text, numeric[], numeric[], numeric[]) IS
	'Recency, frequency and monetary value of customers as of a moment, one row per customer and currency, with scores from 1 to 5 (5 is best) among those who bought in the currency. method: percent_rank gives equal customers equal scores; ntile makes five groups of a size and parts equal ones by customer_id; fixed goes by the breaks, each of which is the beginning of the next score. Where fewer than five bought in a currency, ranks say nothing, and scores go by the breaks. in_currency NULL: all currencies, and who bought nothing, with NULLs. Errors: 22023 unknown method.';

CREATE FUNCTION crm.clv_summary(period_end timestamptz DEFAULT now(), in_currency text DEFAULT NULL)
	RETURNS TABLE (customer_id text, currency text, frequency bigint, recency integer, t integer, monetary_value numeric)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT d.customer_id, d.currency, count(*) - 1, max(d.day) - min(d.day), (period_end AT TIME ZONE 'UTC')::date - min(d.day),
		   coalesce(round(avg(d.amount) FILTER (WHERE d.day > d.first_day), 4), 0)
	  FROM (SELECT p.customer_id, p.currency, (p.paid_at AT TIME ZONE 'UTC')::date AS day, sum(p.net_amount) AS amount,
				   min(min((p.paid_at AT TIME ZONE 'UTC')::date)) OVER (PARTITION BY p.customer_id, p.currency) AS first_day
			  FROM crm.paid_orders(period_end) p
			 WHERE CASE WHEN in_currency IS NULL THEN true ELSE p.currency = in_currency END
			 GROUP BY p.customer_id, p.currency, (p.paid_at AT TIME ZONE 'UTC')::date) d
	 GROUP BY d.customer_id, d.currency
$$;
COMMENT ON FUNCTION crm.clv_summary(timestamptz, text) IS
	'What models of customer lifetime value (BG/NBD, gamma-gamma) begin with, as package lifetimes has it: frequency: days with repeat purchases; recency: days from the first to the last; t: days from the first to the end of the period; monetary_value: mean of the repeat days, 0 without. Days are those of UTC.';

CREATE FUNCTION crm.put_rfm_views() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_view('rfm_segments',
		'Recency, frequency and monetary value now, one row per customer and currency: rfm() with its defaults, by ranks, or by limits where fewer than five bought in a currency.',
		jsonb_build_object(
			'customer_id', 'The customer.',
			'currency', 'Currency; NULL: bought nothing.',
			'recency_days', 'Days since the last order.',
			'frequency', 'Orders.',
			'monetary', 'What was paid and not paid back.',
			'r_score', '1 to 5; 5: of late.',
			'f_score', '1 to 5; 5: often.',
			'm_score', '1 to 5; 5: much.',
			'rfm_score', 'The three digits.',
			'segment', 'champions, at-risk, loyal-customers, new-customers, needs-attention or no-orders.',
			'last_order_at', 'When the last order was paid.'), $view$
		SELECT r.customer_id, r.currency, r.recency_days, r.frequency, r.monetary, r.r_score, r.f_score, r.m_score, r.rfm_score, r.segment,
			   r.last_order_at FROM crm.rfm() r $view$);
	PERFORM crm.put_view('customer_lifetime_values',
		'What models of lifetime value begin with, as of now, one row per customer and currency; see clv_summary().', jsonb_build_object(
			'customer_id', 'The customer.',
			'currency', 'Currency.',
			'frequency', 'Days with repeat purchases.',
			'recency', 'Days from the first purchase to the last.',
			't', 'Days since the first.',
			'monetary_value', 'Mean of the repeat days.'), $view$
		SELECT c.customer_id, c.currency, c.frequency, c.recency, c.t, c.monetary_value FROM crm.clv_summary() c $view$);
END
$$;
COMMENT ON FUNCTION crm.put_rfm_views() IS 'Private, for install(): views of RFM and lifetime value.';
