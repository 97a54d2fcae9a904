-- Attribution: which touches led to a conversion.  One row per touch; the shares of a
-- conversion add up exactly, what rounding leaves goes to its last touch.

CREATE FUNCTION crm.attribution_models() RETURNS TABLE (model text, display_order integer, description text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $sql$
	VALUES
		('first_touch', 1, 'All to the first touch'),
		('last_touch', 2, 'All to the last touch'),
		('linear', 3, 'The same to each touch'),
		('time_decay', 4, 'Half as much for each half-life that a touch is older than the conversion'),
		('position_based', 5, '40 % to the first, 40 % to the last, 20 % to those between; of two half each')
$sql$;
COMMENT ON FUNCTION crm.attribution_models() IS 'The models of attribution.';

CREATE FUNCTION crm.touches_of_conversions(conversion_type text, lookback interval, start_at timestamptz, end_at timestamptz,
		excluded_channels text[], of_customer text)
	RETURNS TABLE (conversion_position bigint, conversion_stream text, customer_id text, converted_at timestamptz, amount numeric, currency text,
				   touch_index integer, path_length integer, touched_at timestamptz, touch_position bigint, channel text, campaign_id text)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	WITH conversion AS MATERIALIZED (
		SELECT j.* FROM crm.journeys j
		 WHERE CASE WHEN of_customer IS NULL THEN j.customer_id IS NOT NULL ELSE j.customer_id = of_customer END
		   AND j.event_type = conversion_type AND j.occurred_at >= start_at AND j.occurred_at < end_at
	), touch AS MATERIALIZED (
		SELECT p.* FROM crm.touchpoints p
		 WHERE CASE WHEN of_customer IS NULL THEN p.customer_id IS NOT NULL ELSE p.customer_id = of_customer END
		   AND NOT p.channel = ANY (excluded_channels)
	)
	SELECT c.event_position, c.stream, c.customer_id, c.occurred_at, coalesce(c.amount, 0), c.currency,
		   (row_number() OVER (PARTITION BY c.event_position ORDER BY t.touched_at, t.event_position))::integer,
		   (count(t.event_position) OVER (PARTITION BY c.event_position))::integer,
		   t.touched_at, t.event_position, coalesce(t.channel, 'direct'), t.campaign_id
	  FROM conversion c
	  LEFT JOIN touch t ON t.customer_id = c.customer_id AND (t.touched_at, t.event_position) < (c.occurred_at, c.event_position)
	   AND t.touched_at >= c.occurred_at - lookback;
END
$$;
COMMENT ON FUNCTION crm.touches_of_conversions(text, interval, timestamptz, timestamptz, text[], text) IS
	'Private, for attribution(): conversions with the touches before them; one without has the channel direct and a path of 0.';

CREATE FUNCTION crm.attribution(model text DEFAULT 'linear', conversion_type text DEFAULT 'OrderPlaced', lookback interval DEFAULT '30 days',
		half_life interval DEFAULT '7 days',
		start_at timestamptz DEFAULT '-infinity', end_at timestamptz DEFAULT 'infinity', excluded_channels text[] DEFAULT '{}',
		of_customer text DEFAULT NULL)
	RETURNS TABLE (conversion_position bigint, conversion_stream text, customer_id text, converted_at timestamptz, touch_index integer,
				   path_length integer,
				   touched_at timestamptz, channel text, campaign_id text, credit numeric, value numeric, currency text)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	chosen CONSTANT text := replace(attribution.model, '-', '_');
BEGIN
	IF chosen IS NULL OR NOT EXISTS (SELECT FROM crm.attribution_models() m WHERE m.model = chosen) THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('model "%s" is unknown', attribution.model),
			DETAIL = 'Nothing says how it parts the credit.',
			HINT = format('Models are %s.', (SELECT string_agg(m.model, ', ' ORDER BY m.display_order) FROM crm.attribution_models() m));
	ELSIF attribution.half_life <= '0' THEN
		RAISE invalid_parameter_value USING
			MESSAGE = 'half_life must be above zero',
			DETAIL = format('It is %s.', attribution.half_life),
			HINT = 'The documents'' is 7 days.';
	END IF;
	PERFORM crm.expect_journey_types(attribution.conversion_type);
	RETURN QUERY
	WITH weighed AS (
		SELECT t.*, CASE chosen
				WHEN 'first_touch' THEN (t.touch_index = 1)::integer::numeric
				WHEN 'last_touch' THEN (t.touch_index = greatest(t.path_length, 1))::integer::numeric
				WHEN 'linear' THEN 1
				WHEN 'time_decay' THEN coalesce(0.5::float8 ^ (extract(epoch FROM t.converted_at - t.touched_at)::float8 / extract(epoch
					FROM attribution.half_life)::float8), 1)::numeric
				ELSE CASE WHEN t.path_length <= 2 THEN 1 WHEN t.touch_index IN (1, t.path_length) THEN 0.4
					ELSE 0.2 / (t.path_length - 2) END END AS weight
		  FROM crm.touches_of_conversions(attribution.conversion_type, attribution.lookback, attribution.start_at, attribution.end_at,
			attribution.excluded_channels, of_customer) t
	), shared AS (
		SELECT w.*, round(100 * w.weight / nullif(sum(w.weight) OVER c, 0), 6) AS credit,
			   round(w.amount * w.weight / nullif(sum(w.weight) OVER c, 0), 2) AS value
		  FROM weighed w
		WINDOW c AS (PARTITION BY w.conversion_position)
	)
	SELECT s.conversion_position, s.conversion_stream, s.customer_id, s.converted_at, s.touch_index, s.path_length, s.touched_at, s.channel,
		   s.campaign_id,
		   s.credit + CASE WHEN s.touch_index = greatest(s.path_length, 1) THEN 100 - sum(s.credit) OVER c ELSE 0 END,
		   s.value + CASE WHEN s.touch_index = greatest(s.path_length, 1) THEN s.amount - sum(s.value) OVER c ELSE 0 END, s.currency
	  FROM shared s
	WINDOW c AS (PARTITION BY s.conversion_position);
END
$$;
COMMENT ON FUNCTION crm.attribution(text, text, interval, interval, timestamptz, timestamptz, text[], text) IS
	'Parts the credit (0 to 100) and the value of conversions among the touches before them, one row per touch. model: first_touch, last_touch, linear, time_decay, position_based; conversion_type: an event with a customer; lookback: how old a touch may be, inclusive; half_life: for time_decay; start_at, end_at: when conversions occurred, without the end; excluded_channels: touches that do not count; of_customer: of this customer alone; NULL: of all. A conversion without touches is one of channel direct, with a path_length of 0. Errors: 22023 unknown model, bad half_life; 42704 unknown conversion_type.';

CREATE FUNCTION crm.put_attribution_views() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	-- A visit is one touch until it comes by another channel or campaign, and none where it follows
	-- from a click that is one.
	PERFORM crm.put_view('touchpoints', 'Touches, one row each: visits by a channel, and clicks in messages.', jsonb_build_object(
			'customer_id', 'Who was touched; NULL: not known.',
			'event_position', 'Event of it.',
			'touched_at', 'When.',
			'channel', 'email, sms, push, web, social or paid-ad.',
			'campaign_id', 'Campaign.',
			'event_type', 'What happened.',
			'session_id', 'Session that it was in; NULL: a click.'), $view$
		SELECT t.customer_id, t.event_position, t.occurred_at AS touched_at, t.channel, t.campaign_id, t.event_type, t.session_id
		  FROM (SELECT j.*, lag(j.channel) OVER s AS channel_before, lag(j.campaign_id) OVER s AS campaign_before,
				  lag(j.event_position) OVER s IS NULL AS is_first
				  FROM crm.journeys j
				 WHERE j.channel IS NOT NULL AND (j.category = 'visit' OR j.event_type = 'MessageClicked')
				WINDOW s AS (PARTITION BY j.customer_id, j.category,
					CASE WHEN j.category = 'visit' THEN j.session_id ELSE j.stream || '/' || j.version END ORDER BY j.version)) t
		 WHERE (t.is_first OR t.channel IS DISTINCT FROM t.channel_before OR t.campaign_id IS DISTINCT FROM t.campaign_before)
		   AND NOT (t.category = 'visit' AND EXISTS (
				SELECT FROM crm.journey_event k JOIN crm.settings gap ON gap.setting_name = 'session_gap'
				 WHERE k.type = 'MessageClicked' AND k.customer_id = t.customer_id AND k.channel = t.channel
				   AND k.campaign_id IS NOT DISTINCT FROM t.campaign_id
				   AND k.occurred_at <= t.occurred_at AND k.occurred_at > t.occurred_at - gap.value::interval)) $view$);

	PERFORM crm.put_view('paths_to_conversion',
		'Orders as they were placed, paid or not, with the way that led to them within 30 days, one row each.', jsonb_build_object(
			'cv_id', 'The conversion: the stream of the order.',
			'customer_id', 'Who ordered.',
			'cv_tstamp', 'When.',
			'cv_type', 'OrderPlaced.',
			'cv_total_revenue', 'Total of the order.',
			'currency', 'Currency of it.',
			'path_length', 'How many touches; 0: none.',
			'channel_transformed_path', 'Channels of the touches in order, joined by '' > ''.',
			'campaign_transformed_path', 'Campaigns likewise; touches without one are left out.'), $view$
		SELECT t.conversion_stream AS cv_id, t.customer_id, t.converted_at AS cv_tstamp, 'OrderPlaced' AS cv_type, t.amount AS cv_total_revenue,
			   t.currency, max(t.path_length) AS path_length,
			   string_agg(t.channel, ' > ' ORDER BY t.touch_index) AS channel_transformed_path,
			   string_agg(t.campaign_id, ' > ' ORDER BY t.touch_index) AS campaign_transformed_path
		  FROM crm.touches_of_conversions('OrderPlaced', '30 days', '-infinity', 'infinity', '{}', NULL) t
		 GROUP BY t.conversion_position, t.conversion_stream, t.customer_id, t.converted_at, t.amount, t.currency $view$);

	PERFORM crm.put_view('channel_attributions',
		'Value of orders as they were placed, paid or not, by touch and model, one row per touch, within 30 days, with a half-life of 7.',
		jsonb_build_object(
			'cv_id', 'The conversion: the stream of the order.',
			'customer_id', 'Who ordered.',
			'cv_tstamp', 'When.',
			'cv_type', 'OrderPlaced.',
			'cv_total_revenue', 'Total of the order.',
			'currency', 'Currency of it and of the attributions.',
			'channel', 'Channel of the touch; direct: there was none.',
			'campaign_id', 'Its campaign.',
			'source_index', 'Place of the touch: 1, 2 ...',
			'path_length', 'How many touches; 0: none.',
			'first_touch_attribution', 'Value by the first touch.',
			'last_touch_attribution', 'Value by the last touch.',
			'linear_attribution', 'Value in equal parts.',
			'time_decay_attribution', 'Value by age.',
			'position_based_attribution', 'Value by position.'), $view$
		SELECT a.conversion_stream AS cv_id, a.customer_id, a.converted_at AS cv_tstamp, 'OrderPlaced' AS cv_type,
			   sum(a.linear_attribution) OVER (PARTITION BY a.conversion_position) AS cv_total_revenue,
			   a.currency, a.channel, a.campaign_id, a.touch_index AS source_index, a.path_length, a.first_touch_attribution,
			   a.last_touch_attribution, a.linear_attribution, a.time_decay_attribution, a.position_based_attribution
		  FROM (SELECT x.conversion_position, x.conversion_stream, x.customer_id, x.converted_at, x.currency, x.channel, x.campaign_id, x.touch_index,
					   x.path_length,
					   sum(x.value) FILTER (WHERE m.model = 'first_touch') AS first_touch_attribution,
					   sum(x.value) FILTER (WHERE m.model = 'last_touch') AS last_touch_attribution,
					   sum(x.value) FILTER (WHERE m.model = 'linear') AS linear_attribution,
					   sum(x.value) FILTER (WHERE m.model = 'time_decay') AS time_decay_attribution,
					   sum(x.value) FILTER (WHERE m.model = 'position_based') AS position_based_attribution
				  FROM crm.attribution_models() m
				 CROSS JOIN LATERAL crm.attribution(m.model) x
				 GROUP BY x.conversion_position, x.conversion_stream, x.customer_id, x.converted_at, x.currency, x.channel, x.campaign_id,
					x.touch_index, x.path_length) a $view$);

	PERFORM crm.put_view('attribution_overview',
		'What channels and campaigns are worth by orders as they were placed, paid or not, one row per model, touch point and currency. Each model parts all of it, among channels and among campaigns: sum over one of each.',
		jsonb_build_object(
			'attribution_type', 'Model.',
			'path_type', 'channel or campaign.',
			'touch_point', 'The channel, or campaign; none: touches without one.',
			'currency', 'Currency of the revenue.',
			'in_n_conversion_paths', 'Orders that it touched.',
			'attributed_conversions', 'Orders, by their parts.',
			'attributed_revenue', 'Value, by its parts.',
			'touch_count', 'How many touches.'), $view$
		SELECT m.model AS attribution_type, p.path_type, p.touch_point, a.currency, count(DISTINCT a.conversion_position) AS in_n_conversion_paths,
			   round(sum(a.credit) / 100, 6) AS attributed_conversions, sum(a.value) AS attributed_revenue, count(a.touched_at) AS touch_count
		  FROM crm.attribution_models() m
		 CROSS JOIN LATERAL crm.attribution(m.model) a
		 CROSS JOIN LATERAL (VALUES ('channel', a.channel), ('campaign', coalesce(a.campaign_id, 'none'))) p (path_type, touch_point)
		 GROUP BY m.model, p.path_type, p.touch_point, a.currency $view$);
END
$$;
COMMENT ON FUNCTION crm.put_attribution_views() IS 'Private, for install(): views of attribution.';
