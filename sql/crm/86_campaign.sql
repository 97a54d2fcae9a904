-- Campaigns: definitions are events, and each is a reaction of the log: its waits are
-- jobs that run_due() does, exactly, once, and never at a replay.  Whether a message
-- may be sent is asked when it is sent.
--
-- Nobody but the owner appends to the category: install() makes reactions of what stands
-- there, with his rights.  Others do it through functions that have them.

CREATE FUNCTION crm.put_campaigns() RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	always CONSTANT text := $rule$ changed_at = event.occurred_at, changed_by = event.actor $rule$;
	run CONSTANT text := $rule$ customer_id = event.data->>'customerId', campaign_id = event.data->>'campaignId' $rule$;
BEGIN
	PERFORM crm.put_table('campaign', $table$
		campaign_id      text PRIMARY KEY,
		status           text,
		campaign_version integer NOT NULL DEFAULT 0,
		definition       jsonb,
		definitions      jsonb NOT NULL DEFAULT '{}',
		changed_at       timestamptz,
		changed_by       text
	$table$);
	COMMENT ON TABLE crm.campaign IS 'Private: campaigns as they are now, a projection. Read the view campaigns.';

	PERFORM crm.put_table('campaign_run', $table$
		run_id           text PRIMARY KEY,
		campaign_id      text,
		campaign_version integer,
		customer_id      text,
		event_position   bigint,
		steps_done       integer NOT NULL DEFAULT 0,
		last_action      text,
		last_outcome     text,
		started_at       timestamptz,
		last_step_at     timestamptz,
		ended_at         timestamptz,
		end_reason       text
	$table$);
	COMMENT ON TABLE crm.campaign_run IS 'Private: customers in campaigns, a projection. Read the view campaign_runs.';
	CREATE INDEX IF NOT EXISTS campaign_run_customer_idx ON crm.campaign_run (customer_id, campaign_id);
	CREATE INDEX IF NOT EXISTS campaign_run_campaign_idx ON crm.campaign_run (campaign_id);

	RETURN crm.put_projection('crm.campaign', 'campaign', jsonb_build_object(
			'CampaignDefined', always || $rule$, status = 'running', campaign_version = row.campaign_version + 1, definition = event.data,
				definitions = row.definitions || jsonb_build_object((row.campaign_version + 1)::text, event.data) $rule$,
			'CampaignSuspended', always || $rule$, status = 'paused' $rule$, 'CampaignContinued', always || $rule$, status = 'running' $rule$,
			'CampaignEnded', always || $rule$, status = 'ended' $rule$))
		+ crm.put_projection('crm.campaign_run', 'campaign_run', jsonb_build_object(
			'CampaignRunStarted',
			run || $rule$, campaign_version = (event.data->>'campaignVersion')::integer, event_position = (event.data->>'eventPosition')::bigint,
				started_at = event.occurred_at $rule$,
			'CampaignStepDone',
			run || $rule$, steps_done = row.steps_done + 1, last_action = event.data->>'action', last_outcome = event.data->>'outcome',
				last_step_at = event.occurred_at $rule$,
			'CampaignRunEnded', run || $rule$, ended_at = event.occurred_at, end_reason = event.data->>'reason' $rule$));
END
$$;
COMMENT ON FUNCTION crm.put_campaigns() IS 'Private, for install(): tables and projections of campaigns.';

CREATE FUNCTION crm.put_campaign_views() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_view('campaigns', 'Campaigns, one row each.', jsonb_build_object(
			'campaign_id', 'The campaign.',
			'status', 'running, paused or ended.',
			'campaign_version', 'Version of its definition.',
			'trigger', 'What puts customers into it.',
			'message_class', 'Class of its messages, unless a step says.',
			'exits', 'Events that end it for a customer, joined by '' > ''.',
			'step_count', 'How many steps, waits included.',
			'description', 'What it is for.',
			'run_count', 'How many entered it.',
			'active_run_count', 'How many are in it.',
			'completed_run_count', 'How many came to its end.',
			'sent_count', 'Messages that went out.',
			'skipped_count', 'Messages that were not sent.',
			'clicked_count', 'Messages of which a link was followed.',
			'changed_at', 'When it was changed last.',
			'changed_by', 'Actor who did.'), $view$
		SELECT c.campaign_id, c.status, c.campaign_version, c.definition->'trigger' AS trigger, c.definition->>'messageClass' AS message_class,
			   (SELECT string_agg(x, ' > ')
				  FROM jsonb_array_elements_text(CASE jsonb_typeof(c.definition->'exits') WHEN 'array' THEN c.definition->'exits' ELSE '[]' END) x)
				  AS exits,
			   jsonb_array_length(c.definition->'steps') AS step_count, c.definition->>'description' AS description,
			   -- Counted only for who asks.
			   (SELECT count(*) FROM crm.campaign_run x WHERE x.campaign_id = c.campaign_id) AS run_count,
			   (SELECT count(*) FROM crm.campaign_run x WHERE x.campaign_id = c.campaign_id AND x.ended_at IS NULL) AS active_run_count,
			   (SELECT count(*) FROM crm.campaign_run x WHERE x.campaign_id = c.campaign_id AND x.end_reason = 'completed') AS completed_run_count,
			   (SELECT count(x.sent_at) FROM crm.message x WHERE x.campaign_id = c.campaign_id) AS sent_count,
			   (SELECT count(x.skipped_at) FROM crm.message x WHERE x.campaign_id = c.campaign_id) AS skipped_count,
			   (SELECT count(x.clicked_at) FROM crm.message x WHERE x.campaign_id = c.campaign_id) AS clicked_count, c.changed_at, c.changed_by
		  FROM crm.campaign c
		 WHERE eventsource.may_read_category('campaign') $view$);

	PERFORM crm.put_view('campaign_steps', 'Steps of campaigns, one row each.', jsonb_build_object(
			'campaign_id', 'The campaign.',
			'step_number', 'Place of the step: 1, 2 ...',
			'action', 'send-email, send-sms, send-push, add-to-segment or wait.',
			'config', 'What it says.'), $view$
		SELECT c.campaign_id, s.n::integer AS step_number, s.step->>'type' AS action, s.step->'config' AS config
		  FROM crm.campaign c
		 CROSS JOIN LATERAL jsonb_array_elements(c.definition->'steps') WITH ORDINALITY s (step, n)
		 WHERE eventsource.may_read_category('campaign') $view$);

	PERFORM crm.put_view('campaign_runs', 'Customers in campaigns, one row per entry.', jsonb_build_object(
			'run_id', 'The run.',
			'campaign_id', 'The campaign.',
			'campaign_version', 'Version of its definition that it goes by.',
			'customer_id', 'The customer.',
			'event_position', 'Event that led to it.',
			'status', 'active, completed or left.',
			'is_active', 'True while it lasts.',
			'steps_done', 'Steps that were done, waits not counted.',
			'last_action', 'What was done last.',
			'last_outcome', 'What came of it.',
			'started_at', 'When it began.',
			'last_step_at', 'When the last step was done.',
			'ended_at', 'When it ended.',
			'end_reason', 'completed, or why it was left.'), $view$
		SELECT r.run_id, r.campaign_id, r.campaign_version, r.customer_id, r.event_position,
			   CASE WHEN r.ended_at IS NULL THEN 'active' WHEN r.end_reason = 'completed' THEN 'completed' ELSE 'left' END AS status,
			   r.ended_at IS NULL AS is_active,
			   r.steps_done, r.last_action, r.last_outcome, r.started_at, r.last_step_at, r.ended_at, r.end_reason
		  FROM crm.campaign_run r
		 WHERE eventsource.may_read_category('campaign_run') $view$);
END
$$;
COMMENT ON FUNCTION crm.put_campaign_views() IS 'Private, for install(): views of campaigns.';

CREATE FUNCTION crm.category_condition(wanted jsonb) RETURNS text
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	one CONSTANT jsonb := CASE jsonb_typeof(wanted) WHEN 'object' THEN coalesce(wanted->'$eq', wanted->'$ne') ELSE wanted END;
	several CONSTANT jsonb := CASE WHEN jsonb_typeof(wanted->'$in') = 'array' THEN wanted->'$in' END;
BEGIN
	IF one IS NULL = (several IS NULL) OR one IS NOT NULL AND jsonb_typeof(one) <> 'string' OR jsonb_typeof(wanted) = 'object'
		AND (SELECT count(*) FROM jsonb_object_keys(wanted)) <> 1 THEN
		RAISE invalid_parameter_value USING
			MESSAGE = 'the condition on "productCategory" is none',
			DETAIL = format('It says %s.', wanted),
			HINT = 'Give a category, or one of $eq, $ne (a category) and $in (an array).';
	END IF;
	RETURN CASE
		WHEN several IS NOT NULL THEN format('coalesce(row.categories ?| %L::text[], false)', ARRAY(SELECT jsonb_array_elements_text(several)))
		WHEN wanted ? '$ne' THEN format('NOT coalesce(row.categories ? %L, false)', one #>> '{}')
		ELSE format('coalesce(row.categories ? %L, false)', one #>> '{}') END;
END
$$;
COMMENT ON FUNCTION crm.category_condition(jsonb) IS
	'Private, for campaign_condition(): is something of a category in the order, as an expression? Errors: 22023 another condition.';

-- {"totalValue": {"$gte": 50}, "productCategory": "consumables"} as an expression.
CREATE FUNCTION crm.campaign_condition(event_type text, conditions jsonb) RETURNS text
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	c record;
	ops jsonb;
	o record;
	field text;
	parts text[] := '{}';
BEGIN
	FOR c IN SELECT * FROM jsonb_each(conditions) LOOP
		-- Of an order it is known what was bought, whatever the event says.
		IF c.key = 'productCategory' AND EXISTS (SELECT FROM crm.catalogue() t WHERE t.type = event_type AND t.category = 'order') THEN
			parts := parts || crm.category_condition(c.value);
			CONTINUE;
		END IF;
		IF NOT EXISTS (SELECT FROM crm.event_type_definitions() d WHERE d.type = event_type AND d.schema->'properties' ? c.key) THEN
			RAISE invalid_parameter_value USING
				MESSAGE = format('event type "%s" has no field "%s"', event_type, c.key),
				DETAIL = 'A condition on it would never hold.',
				HINT = format('Its fields: %s.',
					(SELECT string_agg(k, ', ' ORDER BY k) FROM crm.event_type_definitions() d, jsonb_object_keys(d.schema->'properties') k
					  WHERE d.type = event_type));
		END IF;
		ops := CASE jsonb_typeof(c.value) WHEN 'object' THEN c.value ELSE jsonb_build_object('$eq', c.value) END;
		FOR o IN SELECT * FROM jsonb_each(ops) LOOP
			field := format('(event.data->%L)', c.key);
			IF o.key IN ('$gt', '$gte', '$lt', '$lte') AND jsonb_typeof(o.value) = 'number' THEN
				parts := parts || format('coalesce((event.data->>%L)::numeric %s %s, false)', c.key,
					CASE o.key WHEN '$gt' THEN '>' WHEN '$gte' THEN '>=' WHEN '$lt' THEN '<' ELSE '<=' END, o.value);
			ELSIF o.key = '$eq' THEN
				parts := parts || format('coalesce(%s = %L::jsonb, false)', field, o.value);
			ELSIF o.key = '$ne' THEN
				parts := parts || format('coalesce(%s <> %L::jsonb, true)', field, o.value);
			ELSIF o.key = '$in' AND jsonb_typeof(o.value) = 'array' THEN
				parts := parts || format('coalesce(%L::jsonb @> jsonb_build_array(%s), false)', o.value, field);
			ELSE
				RAISE invalid_parameter_value USING
					MESSAGE = format('condition "%s" on "%s" is none', o.key, c.key),
					DETAIL = format('It says %s.', o.value),
					HINT = 'Conditions are a value, or $eq, $ne, $in (an array), $gt, $gte, $lt, $lte (a number).';
			END IF;
		END LOOP;
	END LOOP;
	RETURN array_to_string(parts, ' AND ');
END
$$;
COMMENT ON FUNCTION crm.campaign_condition(text, jsonb) IS
	'Private, for create_campaign(): conditions on fields of an event as an expression. Errors: 22023 unknown field or operator.';

CREATE FUNCTION crm.check_campaign_step(step jsonb) RETURNS text
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	kind CONSTANT text := step->>'type';
	config CONSTANT jsonb := coalesce(step->'config', '{}');
	unknown text;
BEGIN
	IF kind IS NULL OR kind NOT IN ('send-email', 'send-sms', 'send-push', 'add-to-segment', 'wait') THEN
		RETURN format('action "%s" is unknown', kind);
	END IF;
	SELECT string_agg(k, ', ') INTO unknown FROM jsonb_object_keys(config) k
	 WHERE NOT k = ANY (CASE kind WHEN 'wait' THEN '{duration}' WHEN 'add-to-segment' THEN '{segmentId}'
						ELSE '{templateId,personalization,message,title,body,messageClass,topic}' END::text[]);
	IF unknown IS NOT NULL THEN
		RETURN format('%s knows nothing of %s', kind, unknown);
	ELSIF kind = 'wait' THEN
		BEGIN
			IF (config->>'duration')::interval > '0' THEN
				RETURN NULL;
			END IF;
		EXCEPTION WHEN data_exception THEN
			NULL;
		END;
		RETURN format('wait needs a duration above zero, and not "%s"', config->>'duration');
	ELSIF kind = 'add-to-segment' AND config->>'segmentId' IS NULL THEN
		RETURN 'add-to-segment needs a segmentId';
	ELSIF kind LIKE 'send-%' AND config->>'templateId' IS NULL AND config->>'message' IS NULL AND config->>'title' IS NULL THEN
		RETURN format('%s needs a templateId, a message or a title', kind);
	ELSIF config->>'messageClass' NOT IN ('transactional', 'marketing', 'urgent-marketing') THEN
		RETURN format('message class "%s" is unknown', config->>'messageClass');
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION crm.check_campaign_step(jsonb) IS 'Private, for create_campaign(): what is wrong with a step; NULL: nothing.';

-- Each action is a call of the function that does it, after the waits before it.
CREATE FUNCTION crm.campaign_reaction_steps(steps jsonb) RETURNS jsonb
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	call CONSTANT jsonb := '{"call": "crm.run_campaign_step(eventsource.events,jsonb)"}';
	result jsonb := jsonb_build_array(call);
	wait interval := '0';
	s jsonb;
BEGIN
	FOR s IN SELECT x FROM jsonb_array_elements(steps) WITH ORDINALITY t (x, n) ORDER BY n LOOP
		IF s->>'type' = 'wait' THEN
			wait := wait + (s #>> '{config,duration}')::interval;
		ELSE
			result := result || (call || CASE WHEN wait = '0' THEN '{}' ELSE jsonb_build_object('wait', wait) END);
			wait := '0';
		END IF;
	END LOOP;
	RETURN result;
END
$$;
COMMENT ON FUNCTION crm.campaign_reaction_steps(jsonb) IS
	'Private, for create_campaign(): the steps of its reaction: one that enters, one per action.';

CREATE FUNCTION crm.campaign_triggers(trigger jsonb) RETURNS TABLE (type text, category text, condition text, key text)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	types text[] := CASE WHEN trigger ? 'event' THEN ARRAY[trigger->>'event'] ELSE
		ARRAY(SELECT jsonb_array_elements_text(x.step->'events') FROM crm.funnel_steps(trigger->>'funnel') x WHERE x.name = trigger->>'stage') END;
	t text;
	home text;
BEGIN
	FOREACH t IN ARRAY types LOOP
		SELECT c.category INTO home FROM crm.catalogue() c WHERE c.type = t;
		IF home IS NULL OR NOT home = ANY (crm.journey_categories()) THEN
			RAISE invalid_parameter_value USING
				MESSAGE = format('event type "%s" cannot trigger a campaign', t),
				DETAIL = 'It is none of visits, carts, orders, messages or customers.',
				HINT = 'The view crm.event_types lists event types.';
		END IF;
		RETURN QUERY SELECT t, home,
			nullif(concat_ws(' AND ', nullif(crm.campaign_condition(t, coalesce(trigger->'conditions', '{}')), ''), '(' || (trigger->>'where')
				|| ')'), ''),
			CASE
				WHEN trigger ? 'idle' THEN CASE home WHEN 'customer' THEN 'event.key'
				WHEN 'cart' THEN $e$ coalesce(event.data->>'customerId', row.customer_id) $e$ ELSE $e$ event.data->>'customerId' $e$ END
				ELSE 'event.stream' END;
	END LOOP;
END
$$;
COMMENT ON FUNCTION crm.campaign_triggers(jsonb) IS
	'Private, for create_campaign(): the events that lead into it. Errors: 22023 unknown event, field or condition.';

CREATE FUNCTION crm.put_campaign_reactions(campaign_id text, version integer, trigger jsonb, steps jsonb) RETURNS integer
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	t record;
	changed integer := 0;
BEGIN
	FOR t IN SELECT x.*, row_number() OVER () AS n FROM crm.campaign_triggers(trigger) x LOOP
		changed := changed + crm.put_reaction(format('campaign_%s.%s.%s', campaign_id, version, t.n), t.category, t.type,
					jsonb_build_object('steps', crm.campaign_reaction_steps(steps)),
					t.condition, t.key, run_at => format('event.occurred_at + %L::interval', coalesce((trigger->>'idle')::interval, '0')));
	END LOOP;
	RETURN changed + crm.put_reaction(format('campaign_%s.%s.0', campaign_id, version), 'campaign', 'CampaignTriggered',
				jsonb_build_object('steps', crm.campaign_reaction_steps(steps)),
				format('event.key = %L', campaign_id));
END
$$;
COMMENT ON FUNCTION crm.put_campaign_reactions(text, integer, jsonb, jsonb) IS
	'Private, for create_campaign() and install(): the reactions of a campaign; returns how many were not there.';

-- A definition is an event, and whoever writes to the category can record one.  What
-- install() defines has the rights of who installs, so it brings up to date what
-- create_campaign() has defined, and an expression of others not even then.
CREATE FUNCTION crm.put_campaign_reactions(known jsonb) RETURNS integer
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	c record;
	changed integer := 0;
BEGIN
	FOR c IN SELECT x.campaign_id, x.campaign_version, x.definition->'trigger' AS trigger, x.definition->'steps' AS steps,
					known->>format('campaign_%s.%s.0', x.campaign_id, x.campaign_version) AS definer
			   FROM crm.campaign x WHERE x.status <> 'ended' ORDER BY x.campaign_id LOOP
		IF c.definer IS NOT NULL
			AND (NOT c.trigger ? 'where' OR EXISTS (SELECT FROM pg_roles r WHERE r.rolname = c.definer AND (r.rolsuper OR r.rolname = current_user)))
			THEN
			changed := changed + crm.put_campaign_reactions(c.campaign_id, c.campaign_version, c.trigger, c.steps);
		ELSIF NOT EXISTS (SELECT FROM eventsource.reactions r WHERE r.name = format('campaign_%s.%s.0', c.campaign_id, c.campaign_version)) THEN
			RAISE WARNING USING
				MESSAGE = format('campaign "%s" does nothing', c.campaign_id),
				DETAIL = 'It was recorded by no create_campaign(), or has an expression that was somebody else''s.',
				HINT = 'Look at it, and call crm.create_campaign() or crm.end_campaign().';
		END IF;
	END LOOP;
	RETURN changed;
END
$$;
COMMENT ON FUNCTION crm.put_campaign_reactions(jsonb) IS
	'Private, for install(): the reactions of campaigns as they should be; known: those that there were, with who defined them. Tells of campaigns that have none.';

CREATE FUNCTION crm.put_campaign(campaign_id text, trigger jsonb, steps jsonb, message_class text, exits text[], description text) RETURNS integer
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET intervalstyle = postgres SET datestyle = 'ISO, MDY'
		SET extra_float_digits = 1 AS $$
#variable_conflict use_variable
DECLARE
	problems text;
	version integer;
	idle interval;
	data jsonb;
BEGIN
	SELECT string_agg(p.problem, '; ') INTO problems FROM (
		SELECT format('step %s: %s', s.n, crm.check_campaign_step(s.step)) AS problem FROM jsonb_array_elements(steps) WITH ORDINALITY s (step, n)
		 WHERE crm.check_campaign_step(s.step) IS NOT NULL
		 UNION ALL SELECT format('exit "%s" is no event type of visits, carts, orders, messages or customers', x)
					 FROM crm.unknown_journey_types(exits) x
		 UNION ALL SELECT 'it does nothing but wait' WHERE NOT jsonb_path_exists(steps, '$[*] ? (@.type != "wait")')
		 -- Each message would lead to the next one.
		 UNION ALL SELECT format('%s is what a campaign that sends makes happen itself: only a trigger with "once": "customer" ends',
			string_agg(t, ', '))
					 FROM (SELECT trigger->>'event' UNION ALL SELECT unnest(string_to_array(f.event_types, ' > ')) FROM crm.funnel_stages f
															   WHERE f.funnel_id = trigger->>'funnel' AND f.stage = trigger->>'stage') x (t)
					WHERE t IN ('MessageQueued', 'MessageSent', 'MessageSkipped', 'MessageFailed', 'MessageDelivered')
					  AND trigger->>'once' IS DISTINCT FROM 'customer'
					  AND jsonb_path_exists(steps, '$[*] ? (@.type starts with "send-")') HAVING count(*) > 0
		 UNION ALL SELECT 'a campaign has a name of letters, digits, - and _' WHERE campaign_id !~ '^[A-Za-z0-9_-]{1,60}$'
		 UNION ALL SELECT format('message class "%s" is unknown', message_class) WHERE message_class IS NULL
					   OR message_class NOT IN ('transactional', 'marketing', 'urgent-marketing')
		 UNION ALL SELECT format('trigger knows nothing of %s', k) FROM jsonb_object_keys(trigger) k
					WHERE k NOT IN ('event', 'conditions', 'where', 'idle', 'funnel', 'stage', 'once', 'condition')
		 UNION ALL SELECT 'trigger needs an event, or a funnel, a stage and idle' WHERE NOT trigger ? 'event' AND NOT trigger ?& '{funnel,stage,idle}'
		 UNION ALL SELECT format('there is no stage "%s" in funnel "%s"', trigger->>'stage', trigger->>'funnel') WHERE trigger ? 'funnel'
				   AND NOT EXISTS (SELECT FROM crm.funnel_stages f WHERE f.funnel_id = trigger->>'funnel' AND f.stage = trigger->>'stage')
		 UNION ALL SELECT format('condition "%s" is unknown', trigger->>'condition')
					WHERE trigger->>'condition' NOT IN ('viewed-multiple-products-no-cart', 'started-checkout-not-completed')) p;
	BEGIN
		idle := (trigger->>'idle')::interval;
		IF idle <= '0' THEN
			problems := concat_ws('; ', problems, 'idle must be above zero');
		END IF;
	EXCEPTION WHEN data_exception THEN
		problems := concat_ws('; ', problems, format('idle "%s" is no interval', trigger->>'idle'));
	END;
	IF problems IS NOT NULL THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('campaign "%s" is not valid', campaign_id),
			DETAIL = problems || '.',
			HINT = 'Nothing was changed. Correct what is listed and create it again.';
	END IF;
	data := jsonb_strip_nulls(jsonb_build_object('trigger', trigger, 'steps', steps, 'messageClass', message_class, 'exits', to_jsonb(exits),
		'description', description));
	PERFORM eventsource.lock_stream('campaign-' || campaign_id);
	SELECT c.campaign_version INTO version FROM crm.campaign c WHERE c.campaign_id = put_campaign.campaign_id AND c.definition = data
	   AND c.status = 'running';
	IF FOUND THEN
		RETURN version;
	END IF;
	SELECT coalesce(max(c.campaign_version), 0) + 1 INTO version FROM crm.campaign c WHERE c.campaign_id = put_campaign.campaign_id;
	PERFORM crm.drop_campaign_reactions(campaign_id);
	PERFORM eventsource.append('campaign-' || campaign_id, 'CampaignDefined', data);
	PERFORM crm.put_campaign_reactions(campaign_id, version, trigger, steps);
	RETURN version;
END
$$;
COMMENT ON FUNCTION crm.put_campaign(text, jsonb, jsonb, text, text[], text) IS
	'Private, for create_campaign(): does it, with the rights of who calls; who may execute it may give expressions of his own.';

-- With the owner's rights, as reactions are his: so no expression is taken but those we ship.
CREATE FUNCTION crm.admin_campaign(campaign_id text, trigger jsonb, steps jsonb, message_class text, exits text[], description text) RETURNS integer
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF trigger->>'where' NOT IN (SELECT e.trigger->>'where' FROM crm.campaign_examples() e WHERE e.trigger ? 'where') THEN
		RAISE insufficient_privilege USING
			MESSAGE = format('permission denied to give campaign "%s" an expression', campaign_id),
			DETAIL = 'It would be evaluated with the rights of the owner of the extension.',
			HINT = 'Say it with "conditions", or let the owner create the campaign.';
	END IF;
	RETURN crm.put_campaign(campaign_id, trigger, steps, message_class, exits, description);
END
$$;
COMMENT ON FUNCTION crm.admin_campaign(text, jsonb, jsonb, text, text[], text) IS
	'Private, for create_campaign(): does it for admins of the CRM, with the rights of the owner. Errors: 42501 an expression.';

CREATE FUNCTION crm.create_campaign(campaign_id text, trigger jsonb, steps jsonb, message_class text DEFAULT 'marketing', exits text[] DEFAULT NULL,
		description text DEFAULT NULL) RETURNS integer
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF has_function_privilege('crm.put_campaign(text, jsonb, jsonb, text, text[], text)', 'EXECUTE') THEN
		RETURN crm.put_campaign(campaign_id, trigger, steps, message_class, exits, description);
	END IF;
	RETURN crm.admin_campaign(campaign_id, trigger, steps, message_class, exits, description);
END
$$;
COMMENT ON FUNCTION crm.create_campaign(text, jsonb, jsonb, text, text[], text) IS
	'Defines a campaign, or a new version of it (who is in it goes on by the old one), and returns the version. trigger: {"event": type, "conditions": {field: value or {"$gte": n, ...}}, "where": expression over event, state and row} or {"funnel": name, "stage": name}; with "idle": interval, when the customer did nothing in the funnel (or: none of these events) for so long; "condition": viewed-multiple-products-no-cart or started-checkout-not-completed; "once": "customer". steps: an array of {"type": send-email, send-sms, send-push, add-to-segment or wait, "config": {"templateId", "message", "personalization", "messageClass", "topic"; "segmentId"; "duration"}}. exits: events that end it for the customer. For admins of the CRM (grant_admin), but for "where", which is the owner''s: it would be evaluated with his rights; those of campaign_examples() anybody may use. Errors: 22023 with all that is wrong, 42501, ZE011.';

CREATE FUNCTION crm.drop_campaign_reactions(campaign_id text) RETURNS void
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT eventsource.drop_reaction(r.name) FROM eventsource.reactions r
	 WHERE substring(r.name FROM '^campaign_(.+)\.\d+\.\d+$') = drop_campaign_reactions.campaign_id
$$;
COMMENT ON FUNCTION crm.drop_campaign_reactions(text) IS 'Private: nobody enters a campaign any more; who is in it goes on.';

CREATE FUNCTION crm.pause_campaign(campaign_id text, reason text DEFAULT NULL, actor text DEFAULT NULL) RETURNS void
	LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT crm.expect_found(EXISTS (SELECT FROM crm.campaigns c WHERE c.campaign_id = pause_campaign.campaign_id),
		format('campaign "%s"', campaign_id), 'campaigns');
	SELECT eventsource.append('campaign-' || c.campaign_id, 'CampaignSuspended',
		jsonb_strip_nulls(jsonb_build_object('reason', pause_campaign.reason)), actor => pause_campaign.actor)
	  FROM crm.campaigns c WHERE c.campaign_id = pause_campaign.campaign_id AND c.status = 'running'
$$;
COMMENT ON FUNCTION crm.pause_campaign(text, text, text) IS
	'A campaign rests: customers enter it, but what is due waits for resume_campaign(). One that is not running is left as it is. Errors: 42704 no such campaign.';

CREATE FUNCTION crm.resume_campaign(campaign_id text, reason text DEFAULT NULL, actor text DEFAULT NULL) RETURNS void
	LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT crm.expect_found(EXISTS (SELECT FROM crm.campaigns c WHERE c.campaign_id = resume_campaign.campaign_id),
		format('campaign "%s"', campaign_id), 'campaigns');
	SELECT eventsource.append('campaign-' || c.campaign_id, 'CampaignContinued',
		jsonb_strip_nulls(jsonb_build_object('reason', resume_campaign.reason)), actor => resume_campaign.actor)
	  FROM crm.campaigns c WHERE c.campaign_id = resume_campaign.campaign_id AND c.status = 'paused'
$$;
COMMENT ON FUNCTION crm.resume_campaign(text, text, text) IS
	'A campaign that rested goes on; what was due meanwhile is done within setting campaign_retry. Errors: 42704 no such campaign.';

CREATE FUNCTION crm.end_campaign(campaign_id text, reason text DEFAULT NULL, actor text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.expect_found(EXISTS (SELECT FROM crm.campaigns c WHERE c.campaign_id = end_campaign.campaign_id),
		format('campaign "%s"', campaign_id), 'campaigns');
	PERFORM crm.drop_campaign_reactions(campaign_id);
	PERFORM eventsource.append('campaign-' || campaign_id, 'CampaignEnded', jsonb_strip_nulls(jsonb_build_object('reason', reason)), actor => actor);
END
$$;
COMMENT ON FUNCTION crm.end_campaign(text, text, text) IS
	'A campaign is over: nobody enters it, and who is in it leaves at the next step. create_campaign() begins it anew. For admins of the CRM (grant_admin). Errors: 42704 no such campaign, 42501.';

CREATE FUNCTION crm.trigger_campaign(campaign_id text, customer_id text, data jsonb DEFAULT NULL, actor text DEFAULT NULL,
		idempotency_key text DEFAULT NULL) RETURNS bigint
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	result eventsource.appended;
BEGIN
	IF NOT EXISTS (SELECT FROM crm.campaigns c WHERE c.campaign_id = trigger_campaign.campaign_id AND c.status <> 'ended') THEN
		RAISE undefined_object USING
			MESSAGE = format('there is no campaign "%s"', campaign_id),
			DETAIL = 'It was not created, or it was ended.',
			HINT = 'The view crm.campaigns lists those there are.';
	END IF;
	PERFORM crm.expect_customer(customer_id);
	SELECT * INTO result
	  FROM eventsource.append('campaign-' || campaign_id, 'CampaignTriggered',
		jsonb_strip_nulls(jsonb_build_object('customerId', customer_id, 'data', data)),
												 actor => actor, idempotency_key => idempotency_key);
	RETURN result."position";
END
$$;
COMMENT ON FUNCTION crm.trigger_campaign(text, text, jsonb, text, text) IS
	'Puts a customer into a campaign by hand; returns the position of the event, which its run is called after. Errors: 42704 no such campaign, or no such customer.';
