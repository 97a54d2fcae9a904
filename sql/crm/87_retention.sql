-- Who comes back, and what people do next.

CREATE FUNCTION crm.retention(first_type text, return_type text, period interval DEFAULT '7 days', periods integer DEFAULT 8,
		start_at timestamptz DEFAULT '-infinity', end_at timestamptz DEFAULT 'infinity')
	RETURNS TABLE (period_number integer, unique_users bigint, pct_users numeric)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	IF retention.period <= '0' OR retention.periods < 1 THEN
		RAISE invalid_parameter_value USING
			MESSAGE = 'there must be periods, and each must be longer than nothing',
			DETAIL = format('There are %s of %s.', retention.periods, retention.period),
			HINT = 'For example period => ''7 days'', periods => 8.';
	END IF;
	PERFORM crm.expect_journey_types(first_type, return_type);
	RETURN QUERY
	WITH began AS MATERIALIZED (
		SELECT j.customer_id, min(j.occurred_at) AS at FROM crm.journeys j
		 WHERE j.event_type = first_type AND j.customer_id IS NOT NULL AND j.occurred_at >= start_at AND j.occurred_at < end_at GROUP BY j.customer_id
	), came AS (
		SELECT DISTINCT b.customer_id, floor(extract(epoch FROM j.occurred_at - b.at) / extract(epoch FROM retention.period))::integer AS n
		  FROM began b JOIN crm.journeys j ON j.customer_id = b.customer_id
		 WHERE j.event_type = return_type AND j.occurred_at > b.at
		   AND extract(epoch FROM j.occurred_at - b.at) < extract(epoch FROM retention.period) * (retention.periods + 1)
	)
	SELECT k.n, CASE k.n WHEN 0 THEN (SELECT count(*) FROM began) ELSE count(c.customer_id) END,
		   round(CASE k.n WHEN 0 THEN (SELECT count(*) FROM began) ELSE count(c.customer_id) END / nullif((SELECT count(*) FROM began), 0)::numeric,
			4)
	  FROM generate_series(0, retention.periods) k (n)
	  LEFT JOIN came c ON c.n = k.n
	 GROUP BY k.n
	 ORDER BY k.n;
END
$$;
COMMENT ON FUNCTION crm.retention(text, text, interval, integer, timestamptz, timestamptz) IS
	'Of the customers whose first event of one type occurred from start_at until before end_at (period 0), how many have an event of another in the first, second ... period after: one row per period; the first begins one period later, inclusive. Errors: 22023 no periods, 42704 unknown event type.';

CREATE FUNCTION crm.flows(first_type text, steps integer DEFAULT 3, direction text DEFAULT 'forward', start_at timestamptz DEFAULT '-infinity',
		end_at timestamptz DEFAULT 'infinity')
	RETURNS TABLE (event_path text, unique_users bigint)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	IF direction IS NULL OR direction NOT IN ('forward', 'backward') OR steps < 1 THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('there is no way "%s" of %s steps', direction, steps),
			DETAIL = 'A flow goes on from an event, or leads to it.',
			HINT = 'Give forward or backward, and one step or more.';
	END IF;
	PERFORM crm.expect_journey_types(first_type);
	RETURN QUERY
	SELECT p.path, count(*)
	  FROM (SELECT f.customer_id, string_agg(x.event_type, ' > ' ORDER BY x.occurred_at, x.event_position) AS path
			  FROM (SELECT DISTINCT ON (j.customer_id) j.customer_id, j.occurred_at, j.event_position FROM crm.journeys j
					 WHERE j.event_type = first_type AND j.customer_id IS NOT NULL AND j.occurred_at >= start_at AND j.occurred_at < end_at
					 ORDER BY j.customer_id, j.occurred_at, j.event_position) f
			 CROSS JOIN LATERAL (
				SELECT j.event_type, j.occurred_at, j.event_position FROM crm.journeys j
				 WHERE j.customer_id = f.customer_id
				   AND CASE direction WHEN 'forward' THEN (j.occurred_at, j.event_position) >= (f.occurred_at, f.event_position)
					ELSE (j.occurred_at, j.event_position) <= (f.occurred_at, f.event_position) END
				 ORDER BY CASE direction WHEN 'forward' THEN extract(epoch FROM j.occurred_at) ELSE - extract(epoch FROM j.occurred_at) END,
						  CASE direction WHEN 'forward' THEN j.event_position ELSE - j.event_position END
				 LIMIT steps + 1) x
			 GROUP BY f.customer_id) p
	 GROUP BY p.path
	 ORDER BY 2 DESC, 1;
END
$$;
COMMENT ON FUNCTION crm.flows(text, integer, text, timestamptz, timestamptz) IS
	'What customers did after (or, backward, before) their first event of a type: paths of so many steps, joined by '' > '', with how many took them, most first. Errors: 22023 another direction, 42704 unknown event type.';
