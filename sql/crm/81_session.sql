-- Sessions by rest: what somebody did without a pause, whatever a program called it.

CREATE FUNCTION crm.sessions(timeout interval DEFAULT NULL, of_customer text DEFAULT NULL, start_at timestamptz DEFAULT '-infinity',
		end_at timestamptz DEFAULT 'infinity')
	RETURNS TABLE (customer_id text, session_id text, session_number bigint, started_at timestamptz, ended_at timestamptz, duration interval,
				   event_count bigint, product_count bigint, channel text, campaign_id text)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan AS $$
#variable_conflict use_column
DECLARE
	rest CONSTANT interval := coalesce(timeout, crm.setting('session_gap')::interval);
BEGIN
	IF rest <= '0' THEN
		RAISE invalid_parameter_value USING
			MESSAGE = 'a session ends after some time',
			DETAIL = format('The timeout is %s.', rest),
			HINT = 'Without a timeout it is setting session_gap.';
	END IF;
	RETURN QUERY
	SELECT v.customer_id, min(v.session_id), v.n, min(v.occurred_at), max(v.occurred_at), max(v.occurred_at) - min(v.occurred_at), count(*),
		   count(DISTINCT v.product_id),
		   (array_agg(v.channel ORDER BY v.occurred_at, v.event_position) FILTER (WHERE v.channel IS NOT NULL))[1],
		   (array_agg(v.campaign_id ORDER BY v.occurred_at, v.event_position) FILTER (WHERE v.channel IS NOT NULL))[1]
	  FROM (SELECT g.*, count(*) FILTER (WHERE g.begins) OVER (PARTITION BY g.customer_id, g.visitor ORDER BY g.occurred_at, g.event_position) AS n
			  FROM (SELECT j.*, who.visitor,
						   coalesce(j.occurred_at - lag(j.occurred_at) OVER (PARTITION BY j.customer_id, who.visitor ORDER BY j.occurred_at,
							j.event_position) > rest, true) AS begins
					  FROM crm.journeys j
					 CROSS JOIN LATERAL (SELECT CASE WHEN j.customer_id IS NULL THEN j.session_id END) who (visitor)
					 WHERE j.category = 'visit' AND CASE WHEN of_customer IS NULL THEN true ELSE j.customer_id = of_customer END
					   AND j.occurred_at >= start_at AND j.occurred_at < end_at) g) v
	 GROUP BY v.customer_id, v.visitor, v.n
	 ORDER BY 1, 4, 2;
END
$$;
COMMENT ON FUNCTION crm.sessions(interval, text, timestamptz, timestamptz) IS
	'What customers did without resting longer than timeout (NULL: setting session_gap, 30 minutes), one row per session, over all visits whatever their session_id: a rest of exactly the timeout does not end it. of_customer: of this customer alone; NULL: of all. customer_id NULL: a stranger, whose sessions are those of his session_id. Of what occurred from start_at until before end_at. channel and campaign_id: of its first event with a channel. Errors: 22023 no timeout.';
