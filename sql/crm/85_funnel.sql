-- Funnels: how far customers come, in order, and where they stop.  A stage is a set of
-- event types.  Stages that are skipped do not count unless one asks for it.

CREATE FUNCTION crm.funnel_defaults() RETURNS TABLE (funnel_id text, steps jsonb)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $sql$
	VALUES ('purchase',
		'[{"name": "awareness", "events": ["PageViewed", "ProductViewed"]}, {"name": "consideration", "events": ["ProductCompared", "ReviewRead"]},
		{"name": "intent", "events": ["ItemAddedToCart", "CartCreated"]},
		{"name": "checkout", "events": ["CheckoutStarted", "CheckoutStepCompleted"]},
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
	RETURN crm.put_projection('crm.funnel_definition', 'funnel',
		jsonb_build_object('FunnelDefined', $rule$ steps = event.data->'steps', defined_at = event.occurred_at, defined_by = event.actor $rule$));
END
$$;
COMMENT ON FUNCTION crm.put_funnels() IS 'Private, for install(): table and projection of funnels.';

CREATE FUNCTION crm.put_funnel_views() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_view('funnel_stages', 'Funnels, one row per stage.', jsonb_build_object(
			'funnel_id', 'The funnel.',
			'step_number', 'Place of the stage: 1, 2 ...',
			'stage', 'Its name.',
			'event_types', 'Events that reach it, joined by '' > ''.',
			'is_default', 'True if it is the documents'' and was not changed.'), $view$
		SELECT f.funnel_id, s.n::integer AS step_number, s.step->>'name' AS stage,
			   (SELECT string_agg(t, ' > ') FROM jsonb_array_elements_text(s.step->'events') t) AS event_types, f.is_default
		  FROM (SELECT d.funnel_id, d.steps, true AS is_default FROM crm.funnel_defaults() d
				 WHERE NOT EXISTS (SELECT FROM crm.funnel_definition x WHERE x.funnel_id = d.funnel_id)
				 UNION ALL SELECT x.funnel_id, x.steps, false FROM crm.funnel_definition x) f
		 CROSS JOIN LATERAL jsonb_array_elements(f.steps) WITH ORDINALITY s (step, n) $view$);

	PERFORM crm.put_view('funnel_conversions', 'How far customers come in each funnel, one row per stage: function funnel() with its defaults.',
		jsonb_build_object(
			'funnel_id', 'The funnel.',
			'step_number', 'Place of the stage: 1, 2 ...',
			'stage', 'Its name.',
			'customer_count', 'How many reached it, after the one before.',
			'pct_conversion', 'Of those who reached the first stage: 0 to 1; NULL: nobody did.',
			'pct_of_previous', 'Of those who reached the stage before; NULL: nobody did, or there is none.',
			'lost_count', 'How many reached the stage before and not this one; NULL: there is none before.',
			'median_hours_from_previous', 'Median time from the stage before, in hours.'), $view$
		SELECT f.funnel_id, s.step_number, s.event_type AS stage, s.unique_users AS customer_count, s.pct_conversion, s.pct_of_previous,
			   lag(s.unique_users) OVER (PARTITION BY f.funnel_id ORDER BY s.step_number) - s.unique_users AS lost_count,
			   round(extract(epoch FROM s.median_time_from_previous) / 3600, 2) AS median_hours_from_previous
		  FROM (SELECT DISTINCT x.funnel_id FROM crm.funnel_stages x) f
		 CROSS JOIN LATERAL crm.funnel(f.funnel_id) s $view$);

	PERFORM crm.put_view('funnel_dropoffs', 'Where customers of funnel purchase stand who have not come to its end, one row each.',
		jsonb_build_object(
			'customer_id', 'The customer.',
			'stage', 'Last stage that was reached.',
			'next_stage', 'The one that was not.',
			'last_activity_at', 'When the last stage was reached.',
			'idle_time', 'How long that is ago.',
			'dropoff_likelihood', 'Of those who stood there and were idle for as long, how many did not go on: 0 to 1; NULL: there were none.'),
				$view$
		SELECT d.customer_id, d.stage, d.next_stage, d.last_activity_at, d.idle_time, d.dropoff_likelihood
		  FROM crm.funnel_dropoff('purchase') d $view$);
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
			DETAIL = 'Nobody has defined it, and it is none that install() brings.',
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
		SELECT 'a funnel has two stages or more, and 64 at most' AS problem
		 WHERE CASE WHEN jsonb_typeof(steps) = 'array' THEN jsonb_array_length(steps) NOT BETWEEN 2 AND 64 ELSE true END
		 UNION ALL SELECT format('stage %s has no name or no events', s.n) FROM jsonb_array_elements(steps) WITH ORDINALITY s (step, n)
					WHERE s.step->>'name' IS NULL OR jsonb_typeof(s.step->'events') IS DISTINCT FROM 'array' OR s.step->'events' = '[]'
		 UNION ALL SELECT format('event type "%s" is in two stages', t) FROM jsonb_path_query(steps, '$[*].events[*]') x (v),
			LATERAL (SELECT x.v #>> '{}') y (t) GROUP BY t HAVING count(*) > 1
		 UNION ALL SELECT format('there is no event type "%s" of visits, carts, orders, messages or customers', t)
					 FROM crm.unknown_journey_types(ARRAY(SELECT x.v #>> '{}' FROM jsonb_path_query(steps, '$[*].events[*]') x (v))) t) p;
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

-- How far each customer comes is window_funnel()'s to say; when, a walk over the same events,
-- from the first beginning that leads as far.  In mode any, stages may be skipped: a chain
-- begins anywhere and goes on with the first event of any later stage.
CREATE FUNCTION crm.funnel_entries(funnel_id text, start_at timestamptz DEFAULT '-infinity', end_at timestamptz DEFAULT 'infinity',
		mode text DEFAULT 'strict', of_customer text DEFAULT NULL, period interval DEFAULT NULL)
	RETURNS TABLE (customer_id text, step_number integer, stage text, event_type text, entered_at timestamptz, event_position bigint)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan AS $$
#variable_conflict use_column
DECLARE
	stages text[];
	depth integer;
	step_of jsonb;
	is_free CONSTANT boolean := mode = 'any';
	who text;
	steps integer[];
	at timestamptz[];
	types text[];
	places bigint[];
	level integer;
	next_of integer[];
	following integer[];
	chain integer[];
	i integer;
BEGIN
	IF mode IS NULL OR mode NOT IN ('strict', 'any') THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('mode "%s" is unknown', mode),
			DETAIL = 'Stages come one after the other, or may be skipped.',
			HINT = 'Give strict or any.';
	ELSIF period < '0' THEN
		RAISE invalid_parameter_value USING
			MESSAGE = 'the period of a funnel is negative',
			DETAIL = format('All stages are to come within %s from the first one.', period),
			HINT = 'Give zero or more, or NULL for no limit.';
	END IF;
	stages := ARRAY(SELECT s.name FROM crm.funnel_steps(funnel_entries.funnel_id) s ORDER BY s.n);
	depth := cardinality(stages);
	SELECT jsonb_object_agg(t.type, s.n) INTO step_of
	  FROM crm.funnel_steps(funnel_entries.funnel_id) s, jsonb_array_elements_text(s.step->'events') t (type);
	-- The arrays are in the order of the subquery.
	FOR who, steps, at, types, places, level IN
		SELECT e.customer_id, array_agg(e.n), array_agg(e.occurred_at), array_agg(e.event_type), array_agg(e.event_position),
			   CASE WHEN is_free THEN max(e.n) ELSE eventsource.window_funnel(period, '', e.occurred_at, VARIADIC e.conditions) END
		  FROM (SELECT j.customer_id, j.occurred_at, j.event_type, j.event_position, s.n, s.conditions
				  FROM crm.journeys j
				  JOIN (SELECT t.key AS event_type, t.value::integer AS n,
							   ARRAY(SELECT x = t.value::integer FROM generate_series(1, depth) x ORDER BY x) AS conditions
						  FROM jsonb_each_text(step_of) t) s ON s.event_type = j.event_type
				 WHERE CASE WHEN of_customer IS NULL THEN j.customer_id IS NOT NULL ELSE j.customer_id = of_customer END
				   AND j.event_type = ANY (ARRAY(SELECT jsonb_object_keys(step_of))) AND j.occurred_at >= start_at AND j.occurred_at < end_at
				 ORDER BY j.customer_id, j.occurred_at, s.n, j.event_position) e
		 GROUP BY e.customer_id LOOP
		CONTINUE WHEN level = 0;
		-- From behind: where a chain goes on from each event.
		next_of := array_fill(NULL::integer, ARRAY[depth + 1]);
		following := array_fill(NULL::integer, ARRAY[cardinality(steps)]);
		FOR k IN REVERSE cardinality(steps) .. 1 LOOP
			IF is_free THEN
				following[k] := (SELECT min(x) FROM unnest(next_of[steps[k] + 1 :]) x);
			ELSE
				following[k] := next_of[steps[k] + 1];
			END IF;
			next_of[steps[k]] := k;
		END LOOP;
		FOR k IN 1 .. cardinality(steps) LOOP
			CONTINUE WHEN steps[k] > 1 AND NOT is_free;
			chain := '{}';
			i := k;
			WHILE i IS NOT NULL AND coalesce(at[i] <= at[k] + period, true) LOOP
				chain := chain || i;
				i := following[i];
			END LOOP;
			EXIT WHEN steps[chain[cardinality(chain)]] = level;
		END LOOP;
		FOREACH i IN ARRAY chain LOOP
			customer_id := who;
			step_number := steps[i];
			stage := stages[steps[i]];
			event_type := types[i];
			entered_at := at[i];
			event_position := places[i];
			RETURN NEXT;
		END LOOP;
	END LOOP;
END
$$;
COMMENT ON FUNCTION crm.funnel_entries(text, timestamptz, timestamptz, text, text, interval) IS
	'When customers reached the stages of a funnel, by what occurred from start_at until before end_at, one row per customer and stage; of_customer NULL: of all who are known. Each counts by one chain of events: that which gets furthest (eventsource.window_funnel() says how far), of those the one that begins first. Of one time, earlier stages come first. period: a chain lasts no longer, its last moment included; NULL: as long as it likes. mode strict: each stage after the one before; any: stages may be skipped, the first ones, too. Errors: 22023 unknown mode, negative period, 42704 no such funnel.';

CREATE FUNCTION crm.funnel(funnel_id text, start_at timestamptz DEFAULT '-infinity', end_at timestamptz DEFAULT 'infinity',
		period interval DEFAULT NULL, mode text DEFAULT 'strict')
	RETURNS TABLE (step_number integer, event_type text, unique_users bigint, pct_conversion numeric, pct_of_previous numeric,
		median_time_from_previous interval)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	WITH entry AS (
		SELECT e.customer_id, e.step_number, e.entered_at - lag(e.entered_at) OVER (PARTITION BY e.customer_id ORDER BY e.step_number) AS since
		  FROM crm.funnel_entries(funnel.funnel_id, start_at, end_at, mode, period => period) e
	), counted AS (
		SELECT s.n, s.name, count(e.customer_id) AS users, percentile_cont(0.5) WITHIN GROUP (ORDER BY e.since) AS median
		  FROM crm.funnel_steps(funnel.funnel_id) s
		  LEFT JOIN entry e ON e.step_number = s.n
		 GROUP BY s.n, s.name
	)
	SELECT c.n, c.name, c.users, round(c.users / nullif(first_value(c.users) OVER w, 0)::numeric, 4),
		   round(c.users / nullif(lag(c.users) OVER w, 0)::numeric, 4), c.median
	  FROM counted c
	WINDOW w AS (ORDER BY c.n)
$$;
COMMENT ON FUNCTION crm.funnel(text, timestamptz, timestamptz, interval, text) IS
	'How many customers reached each stage of a funnel: one row per stage, with shares of the first and of the one before (0 to 1; NULL: there were none), and the median time from the stage before. period: all stages come within it, its last moment included, whenever the first one is; counts are those of eventsource.window_funnel(), and the times those of the chain that got furthest, of several the first: see funnel_entries(). Only customers who are known count. Errors: 22023 unknown mode, negative period, 42704 no such funnel.';

CREATE FUNCTION crm.funnel_progress(funnel_id text, customer_id text, start_at timestamptz DEFAULT '-infinity', end_at timestamptz DEFAULT 'infinity',
		mode text DEFAULT 'strict', as_of timestamptz DEFAULT now())
	RETURNS TABLE (step_number integer, stage text, is_reached boolean, event_type text, entered_at timestamptz, left_at timestamptz,
		time_in_stage interval, is_dropoff boolean, is_completed boolean)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	WITH entry AS MATERIALIZED (
		SELECT e.* FROM crm.funnel_entries(funnel_progress.funnel_id, start_at, end_at, mode, coalesce(funnel_progress.customer_id, '')) e
	)
	SELECT x.n, x.name, x.entered_at IS NOT NULL, x.event_type, x.entered_at, x.next_at,
		   CASE WHEN x.entered_at IS NOT NULL AND NOT (x.n = x.last_n) THEN greatest(coalesce(x.next_at, as_of) - x.entered_at, '0') END,
		   x.entered_at IS NOT NULL AND x.next_at IS NULL AND x.n < x.last_n, bool_or(x.n = x.last_n AND x.entered_at IS NOT NULL) OVER ()
	  FROM (SELECT s.n, s.name, e.event_type, e.entered_at, max(s.n) OVER () AS last_n,
			  (SELECT min(f.entered_at) FROM entry f WHERE f.step_number > s.n) AS next_at
			  FROM crm.funnel_steps(funnel_progress.funnel_id) s
			  LEFT JOIN entry e ON e.step_number = s.n) x
	 ORDER BY x.n
$$;
COMMENT ON FUNCTION crm.funnel_progress(text, text, timestamptz, timestamptz, text, timestamptz) IS
	'How far a customer came in a funnel: one row per stage, with how long it lasted (until the next was reached, or as_of; of the last one, nothing), where it stopped (is_dropoff) and whether all is done (is_completed). A customer without events has reached nothing.';

CREATE FUNCTION crm.funnel_dropoff(funnel_id text, as_of timestamptz DEFAULT now())
	RETURNS TABLE (customer_id text, stage text, next_stage text, last_activity_at timestamptz, idle_time interval, dropoff_likelihood numeric)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	WITH entry AS (
		SELECT e.customer_id, e.step_number AS n, e.entered_at, lead(e.entered_at) OVER w AS next_at
		  FROM crm.funnel_entries(funnel_dropoff.funnel_id, end_at => as_of) e
		WINDOW w AS (PARTITION BY e.customer_id ORDER BY e.step_number)
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
