-- Funnels: how far customers come, in order, and where they stop.  A stage is a set of
-- event types.  Stages that are skipped do not count unless one asks for it.

CREATE FUNCTION crm.funnel_defaults() RETURNS TABLE (funnel_id text, steps jsonb)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $sql$
	VALUES ('purchase', '[{"name": "awareness", "events": ["PageViewed", "ProductViewed"]}, {"name": "consideration", "events": ["ProductCompared", "ReviewRead"]},
		{"name": "intent", "events": ["ItemAddedToCart", "CartCreated"]}, {"name": "checkout", "events": ["CheckoutStarted", "CheckoutStepCompleted"]},
		{"name": "purchase", "events": ["OrderPlaced", "PaymentSucceeded"]}]'::jsonb)
$sql$;
COMMENT ON FUNCTION crm.funnel_defaults() IS 'Private: the funnel of the documents, unless define_funnel() has changed it.';

CREATE FUNCTION crm.put_funnels() RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_table('funnel_definition', $table$
		funnel_id  text PRIMARY KEY,
		steps      jsonb,
		defined_at timestamptz,
		defined_by text
	$table$);
	COMMENT ON TABLE crm.funnel_definition IS 'Private: funnels that were defined, a projection. Read the view funnel_stages.';
	RETURN crm.put_projection('crm.funnel_definition', 'funnel', jsonb_build_object('FunnelDefined', $rule$ steps = event.data->'steps', defined_at = event.occurred_at, defined_by = event.actor $rule$));
END
$$;
COMMENT ON FUNCTION crm.put_funnels() IS 'Private, for install(): table and projection of funnels.';

CREATE FUNCTION crm.put_funnel_views() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_view('funnel_stages', 'Funnels, one row per stage.', jsonb_build_object(
			'funnel_id', 'The funnel.', 'step_number', 'Place of the stage: 1, 2 ...', 'stage', 'Its name.', 'event_types', 'Events that reach it, joined by '' > ''.', 'is_default', 'True if it is the documents'' and was not changed.'), $view$
		SELECT f.funnel_id, s.n::integer AS step_number, s.step->>'name' AS stage, (SELECT string_agg(t, ' > ') FROM jsonb_array_elements_text(s.step->'events') t) AS event_types, f.is_default
		  FROM (SELECT d.funnel_id, d.steps, true AS is_default FROM crm.funnel_defaults() d WHERE NOT EXISTS (SELECT FROM crm.funnel_definition x WHERE x.funnel_id = d.funnel_id)
				 UNION ALL SELECT x.funnel_id, x.steps, false FROM crm.funnel_definition x) f
		 CROSS JOIN LATERAL jsonb_array_elements(f.steps) WITH ORDINALITY s (step, n) $view$);

	PERFORM crm.put_view('funnel_conversions', 'How far customers come in each funnel, one row per stage: function funnel() with its defaults.', jsonb_build_object(
			'funnel_id', 'The funnel.', 'step_number', 'Place of the stage: 1, 2 ...', 'stage', 'Its name.', 'customer_count', 'How many reached it, after the one before.', 'pct_conversion', 'Of those who reached the first stage: 0 to 1; NULL: nobody did.',
			'pct_of_previous', 'Of those who reached the stage before; NULL: nobody did, or there is none.', 'lost_count', 'How many reached the stage before and not this one; NULL: there is none before.', 'median_hours_from_previous', 'Median time from the stage before, in hours.'), $view$
		SELECT f.funnel_id, s.step_number, s.event_type AS stage, s.unique_users AS customer_count, s.pct_conversion, s.pct_of_previous,
			   lag(s.unique_users) OVER (PARTITION BY f.funnel_id ORDER BY s.step_number) - s.unique_users AS lost_count,
			   round(extract(epoch FROM s.median_time_from_previous) / 3600, 2) AS median_hours_from_previous
		  FROM (SELECT DISTINCT x.funnel_id FROM crm.funnel_stages x) f
		 CROSS JOIN LATERAL crm.funnel(f.funnel_id) s $view$);

	PERFORM crm.put_view('funnel_dropoffs', 'Where customers of funnel purchase stand who have not come to its end, one row each.', jsonb_build_object(
			'customer_id', 'The customer.', 'stage', 'Last stage that was reached.', 'next_stage', 'The one that was not.', 'last_activity_at', 'When the last stage was reached.', 'idle_time', 'How long that is ago.',
			'dropoff_likelihood', 'Of those who stood there and were idle for as long, how many did not go on: 0 to 1; NULL: there were none.'), $view$
		SELECT d.customer_id, d.stage, d.next_stage, d.last_activity_at, d.idle_time, d.dropoff_likelihood FROM crm.funnel_dropoff('purchase') d $view$);
END
$$;
COMMENT ON FUNCTION crm.put_funnel_views() IS 'Private, for install(): views of funnels.';

CREATE FUNCTION crm.funnel_steps(funnel_id text) RETURNS TABLE (n integer, name text, step jsonb)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN QUERY
	SELECT f.step_number, f.stage, jsonb_build_object('name', f.stage, 'events', to_jsonb(string_to_array(f.event_types, ' > ')))
	  FROM crm.funnel_stages f WHERE f.funnel_id = funnel_steps.funnel_id ORDER BY f.step_number;
	IF NOT FOUND THEN
		RAISE undefined_object USING
			MESSAGE = format('there is no funnel "%s"', funnel_id),
			DETAIL = 'Nobody has defined it, and it is none of the documents''.',
			HINT = 'The view crm.funnel_stages lists those there are.';
	END IF;
END
$$;
COMMENT ON FUNCTION crm.funnel_steps(text) IS 'Private: the stages of a funnel. Errors: 42704 there is none.';

CREATE FUNCTION crm.define_funnel(funnel_id text, steps jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	problems text;
BEGIN
	SELECT string_agg(p.problem, '; ') INTO problems FROM (
		SELECT 'a funnel has two stages or more' AS problem WHERE jsonb_typeof(steps) <> 'array' OR jsonb_array_length(steps) < 2
		 UNION ALL SELECT format('stage %s has no name or no events', s.n) FROM jsonb_array_elements(steps) WITH ORDINALITY s (step, n)
					WHERE s.step->>'name' IS NULL OR jsonb_typeof(s.step->'events') IS DISTINCT FROM 'array' OR s.step->'events' = '[]'
		 UNION ALL SELECT format('event type "%s" is in two stages', t) FROM jsonb_path_query(steps, '$[*].events[*]') x (v), LATERAL (SELECT x.v #>> '{}') y (t) GROUP BY t HAVING count(*) > 1
		 UNION ALL SELECT format('there is no event type "%s" of visits, carts, orders, messages or customers', x.v #>> '{}') FROM jsonb_path_query(steps, '$[*].events[*]') x (v)
					WHERE NOT EXISTS (SELECT FROM crm.catalogue() c WHERE c.type = x.v #>> '{}' AND c.category IN ('visit', 'cart', 'order', 'message', 'customer'))) p;
	IF problems IS NOT NULL THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('funnel "%s" is not valid', funnel_id),
			DETAIL = problems || '.',
			HINT = 'Give an array of {"name": text, "events": [event types]}.';
	END IF;
	PERFORM eventsource.append('funnel-' || funnel_id, 'FunnelDefined', jsonb_build_object('steps', steps));
END
$$;
COMMENT ON FUNCTION crm.define_funnel(text, jsonb) IS
	'Defines a funnel: stages in order, each with the event types that reach it. It is an event. Errors: 22023 with all that is wrong.';

-- When each customer reached each stage: the first event of it after the stage before.
-- In mode any, stages may be skipped, and the first event of a later one counts.
CREATE FUNCTION crm.funnel_entries(funnel_id text, start_at timestamptz DEFAULT '-infinity', end_at timestamptz DEFAULT 'infinity', mode text DEFAULT 'strict', customer_id text DEFAULT NULL)
	RETURNS TABLE (customer_id_reached text, step_number integer, stage text, event_type text, entered_at timestamptz, event_position bigint)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	stages jsonb;
	m record;
	stands integer := 0;
	who text;
BEGIN
	IF mode IS NULL OR mode NOT IN ('strict', 'any') THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('mode "%s" is unknown', mode),
			DETAIL = 'Stages come one after the other, or may be skipped.',
			HINT = 'Give strict or any.';
	END IF;
	SELECT jsonb_object_agg(t.type, jsonb_build_array(s.n, s.name)) INTO stages
	  FROM crm.funnel_steps(funnel_entries.funnel_id) s, jsonb_array_elements_text(s.step->'events') t (type);
	FOR m IN SELECT j.customer_id, j.occurred_at, j.event_position, j.event_type, (stages->j.event_type->>0)::integer AS n
			   FROM crm.journeys j
			  WHERE CASE WHEN funnel_entries.customer_id IS NULL THEN j.customer_id IS NOT NULL ELSE j.customer_id = funnel_entries.customer_id END
				AND j.event_type = ANY (ARRAY(SELECT jsonb_object_keys(stages))) AND j.occurred_at >= start_at AND j.occurred_at < end_at
			  ORDER BY j.customer_id, j.occurred_at, j.event_position LOOP
		IF who IS DISTINCT FROM m.customer_id THEN
			who := m.customer_id;
			stands := 0;
		END IF;
		IF m.n = stands + 1 OR mode = 'any' AND m.n > stands THEN
			stands := m.n;
			customer_id_reached := who;
			step_number := m.n;
			stage := stages->m.event_type->>1;
			event_type := m.event_type;
			entered_at := m.occurred_at;
			event_position := m.event_position;
			RETURN NEXT;
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION crm.funnel_entries(text, timestamptz, timestamptz, text, text) IS
	'When customers reached the stages of a funnel, by what occurred from start_at until before end_at, one row per customer and stage. mode strict: each stage after the one before; any: stages may be skipped. Errors: 22023 unknown mode.';

CREATE FUNCTION crm.funnel(funnel_id text, start_at timestamptz DEFAULT '-infinity', end_at timestamptz DEFAULT 'infinity', period interval DEFAULT NULL, mode text DEFAULT 'strict')
	RETURNS TABLE (step_number integer, event_type text, unique_users bigint, pct_conversion numeric, pct_of_previous numeric, median_time_from_previous interval)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	WITH entry AS (
		SELECT e.*, e.entered_at - lag(e.entered_at) OVER w AS since, first_value(e.entered_at) OVER w AS began_at
		  FROM crm.funnel_entries(funnel.funnel_id, start_at, end_at, mode) e
		WINDOW w AS (PARTITION BY e.customer_id_reached ORDER BY e.step_number)
	), counted AS (
		SELECT s.n, s.name, count(e.customer_id_reached) AS users, percentile_cont(0.5) WITHIN GROUP (ORDER BY e.since) AS median
		  FROM crm.funnel_steps(funnel.funnel_id) s
		  LEFT JOIN entry e ON e.step_number = s.n AND coalesce(e.entered_at <= e.began_at + period, true)
		 GROUP BY s.n, s.name
	)
	SELECT c.n, c.name, c.users, round(c.users / nullif(first_value(c.users) OVER w, 0)::numeric, 4), round(c.users / nullif(lag(c.users) OVER w, 0)::numeric, 4), c.median
	  FROM counted c
	WINDOW w AS (ORDER BY c.n)
$$;
COMMENT ON FUNCTION crm.funnel(text, timestamptz, timestamptz, interval, text) IS
	'How many customers reached each stage of a funnel: one row per stage, with shares of the first and of the one before (0 to 1; NULL: there were none), and the median time from the stage before. period: no later than so long after the first stage, inclusive. Only customers who are known count.';

CREATE FUNCTION crm.funnel_progress(funnel_id text, customer_id text, start_at timestamptz DEFAULT '-infinity', end_at timestamptz DEFAULT 'infinity', mode text DEFAULT 'strict', as_of timestamptz DEFAULT now())
	RETURNS TABLE (step_number integer, stage text, is_reached boolean, event_type text, entered_at timestamptz, left_at timestamptz, time_in_stage interval, is_dropoff boolean, is_completed boolean)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	WITH entry AS MATERIALIZED (
		SELECT e.* FROM crm.funnel_entries(funnel_progress.funnel_id, start_at, end_at, mode, coalesce(funnel_progress.customer_id, '')) e
	)
	SELECT x.n, x.name, x.entered_at IS NOT NULL, x.event_type, x.entered_at, x.next_at,
		   CASE WHEN x.entered_at IS NOT NULL AND NOT (x.n = x.last_n) THEN greatest(coalesce(x.next_at, as_of) - x.entered_at, '0') END,
		   x.entered_at IS NOT NULL AND x.next_at IS NULL AND x.n < x.last_n, bool_or(x.n = x.last_n AND x.entered_at IS NOT NULL) OVER ()
	  FROM (SELECT s.n, s.name, e.event_type, e.entered_at, max(s.n) OVER () AS last_n, (SELECT min(f.entered_at) FROM entry f WHERE f.step_number > s.n) AS next_at
			  FROM crm.funnel_steps(funnel_progress.funnel_id) s
			  LEFT JOIN entry e ON e.step_number = s.n) x
	 ORDER BY x.n
$$;
COMMENT ON FUNCTION crm.funnel_progress(text, text, timestamptz, timestamptz, text, timestamptz) IS
	'How far a customer came in a funnel: one row per stage, with how long it lasted (until the next was reached, or as_of; of the last one, nothing), where it stopped (is_dropoff) and whether all is done (is_completed). A customer without events has reached nothing.';

CREATE FUNCTION crm.funnel_dropoff(funnel_id text, as_of timestamptz DEFAULT now()) RETURNS TABLE (customer_id text, stage text, next_stage text, last_activity_at timestamptz, idle_time interval, dropoff_likelihood numeric)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	WITH entry AS (
		SELECT e.customer_id_reached AS customer_id, e.step_number AS n, e.entered_at, lead(e.entered_at) OVER w AS next_at
		  FROM crm.funnel_entries(funnel_dropoff.funnel_id, end_at => as_of) e
		WINDOW w AS (PARTITION BY e.customer_id_reached ORDER BY e.step_number)
	), ranked AS (
		-- Of those who were idle there for longer than this one is, whoever went on did so late.
		SELECT e.*, count(*) OVER longer AS others, count(e.next_at) OVER longer AS went_on
		  FROM entry e
		WINDOW longer AS (PARTITION BY e.n ORDER BY coalesce(e.next_at, as_of) - e.entered_at DESC GROUPS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
	)
	SELECT r.customer_id, s.name, x.name, r.entered_at, as_of - r.entered_at, round(1 - r.went_on::numeric / nullif(r.others, 0), 4)
	  FROM ranked r
	  JOIN crm.funnel_steps(funnel_dropoff.funnel_id) s ON s.n = r.n
	  JOIN crm.funnel_steps(funnel_dropoff.funnel_id) x ON x.n = r.n + 1
	 WHERE r.next_at IS NULL
$$;
COMMENT ON FUNCTION crm.funnel_dropoff(text, timestamptz) IS
	'Who stands where in a funnel and has not come to its end, one row per customer, with how likely it is that he stays there: of the others who stood there idle for longer, the share that did not go on; NULL: there were none.';
