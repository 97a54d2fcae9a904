-- What install() defines with.  The script of the extension itself makes functions
-- only: definitions are events of the log, and tables that events fold into carry
-- guards, so both are made once, by install(), and are no members of the
-- extension.  A dump has them whole, and a restore, which runs the script again,
-- doubles nothing.  Each of these compares first, and does nothing twice.

CREATE FUNCTION crm.put_event_types() RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	t record;
	changed integer := 0;
BEGIN
	FOR t IN SELECT d.*, e.type IS NOT NULL AS is_known
			   FROM crm.event_type_definitions() d
			   LEFT JOIN eventsource.event_types e ON e.type = d.type AND e.category = d.category
			  WHERE (e.schema, e.pii, e.phase, e.description) IS DISTINCT FROM (d.schema, d.pii, d.phase, d.description)
				 OR e.is_withdrawn
			  ORDER BY d.category, d.type LOOP
		-- What was said before is of a version of its own, and our views read all of them: a
		-- new one may be stricter.
		PERFORM eventsource.register_event_type(t.type, t.category, t.schema, compatibility => CASE WHEN t.is_known THEN 'none' ELSE 'backward' END,
					phase => t.phase, pii => t.pii, description => t.description);
		changed := changed + 1;
	END LOOP;
	RETURN changed;
END
$$;
COMMENT ON FUNCTION crm.put_event_types() IS
	'Private, for install(): registers the catalogue; returns how many types were new or are different. Errors: ZE011.';

-- How a definition is written, in one line or several, is no difference: a table is not folded anew for it.
CREATE FUNCTION crm.in_one_line(definition text) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $sql$
	SELECT regexp_replace(definition, '((?<!\\)\\[nt]|\s)+', ' ', 'g')
$sql$;
COMMENT ON FUNCTION crm.in_one_line(text) IS
	'Private, for install(): a definition, as text of an expression or of JSON, with one blank for each run of white space.';

CREATE FUNCTION crm.put_state_machine(name text, definition jsonb) RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF EXISTS (SELECT FROM eventsource.state_machines m
				WHERE m.name = put_state_machine.name AND m.is_current
				  AND crm.in_one_line(m.definition::text) = crm.in_one_line(put_state_machine.definition::text)) THEN
		RETURN 0;
	END IF;
	PERFORM eventsource.create_state_machine(name, definition);
	RETURN 1;
END
$$;
COMMENT ON FUNCTION crm.put_state_machine(text, jsonb) IS
	'Private, for install(): a state machine as it should be; returns 1 if it was not. Errors: ZE011.';

CREATE FUNCTION crm.put_category(name text, state_machine text, context text, subject text) RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	other text;
BEGIN
	IF EXISTS (SELECT FROM eventsource.categories c
				WHERE c.name = put_category.name AND c.strict
				  AND (c.state_machine, c.context, c.subject) IS NOT DISTINCT FROM (put_category.state_machine, put_category.context,
					put_category.subject)) THEN
		RETURN 0;
	END IF;
	SELECT c.state_machine INTO other FROM eventsource.categories c
	 WHERE c.name = put_category.name AND c.state_machine NOT LIKE 'crm\_%';
	IF other IS NOT NULL THEN
		RAISE duplicate_object USING
			MESSAGE = format('category "%s" is in use', name),
			DETAIL = format('It follows state machine "%s", which is not one of eventsource_crm.', other),
			HINT = 'Install eventsource_crm in a database of its own.';
	END IF;
	PERFORM eventsource.create_category(name, state_machine => state_machine, context => context::regclass,
										strict => true, subject => subject);
	RETURN 1;
END
$$;
COMMENT ON FUNCTION crm.put_category(text, text, text, text) IS
	'Private, for install(): a strict category as it should be; returns 1 if it was not. Errors: 42710 if it follows a machine of others, ZE011.';

CREATE FUNCTION crm.put_projection(target text, category text, rules jsonb, key jsonb DEFAULT NULL) RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN crm.put_projection(target, ARRAY[category], rules, key);
END
$$;
COMMENT ON FUNCTION crm.put_projection(text, text, jsonb, jsonb) IS
	'Private, for install(): an inline projection of one category as it should be; returns 1 if it was not. Errors: ZE011.';

CREATE FUNCTION crm.put_projection(target text, categories text[], rules jsonb, key jsonb DEFAULT NULL) RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	context text;
BEGIN
	IF EXISTS (SELECT FROM eventsource.projections p
				WHERE p.target = put_projection.target::regclass AND p.category = put_projection.categories
				  AND crm.in_one_line(p.rules::text) = crm.in_one_line(put_projection.rules::text)
				  AND p.key IS NOT DISTINCT FROM put_projection.key) THEN
		RETURN 0;
	END IF;
	PERFORM eventsource.create_projection(target::regclass, categories, rules, key => key, mode => 'inline');
	RETURN 1;
-- What an earlier version took, and this one would not have.
EXCEPTION WHEN unique_violation OR check_violation OR not_null_violation OR data_exception THEN
	GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT;
	SELECT format(' It is of stream %s.', e.stream) INTO context FROM eventsource.events e
	 WHERE e."position" = (substring(context FROM 'event at position (\d+)'))::bigint;
	RAISE object_not_in_prerequisite_state USING
		MESSAGE = format('table %s cannot be made of what was recorded', target),
		DETAIL = SQLERRM || '.' || coalesce(context, '')
			|| CASE WHEN target = 'crm.customer' THEN coalesce(' Customers with one address: ' || crm.shared_addresses() || '.', '') ELSE '' END,
		HINT =
			'Nothing was changed. Append events that put it right (another address: CustomerEmailUpdated), or erase who is there twice, and call install() again.';
END
$$;
COMMENT ON FUNCTION crm.put_projection(text, text[], jsonb, jsonb) IS
	'Private, for install(): an inline projection as it should be; returns 1 if it was not. Errors: ZE011, 55000 if events of an earlier version do not fit.';

CREATE FUNCTION crm.shared_addresses() RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT string_agg(k.customers, '; ' ORDER BY k.customers)
	  FROM (SELECT string_agg(c.customer_id, ', ' ORDER BY c.customer_id) AS customers
			  FROM crm.customer c WHERE c.email IS NOT NULL GROUP BY crm.email_key(c.email) HAVING count(*) > 1 ORDER BY 1 LIMIT 20) k
$$;
COMMENT ON FUNCTION crm.shared_addresses() IS
	'Private, for install(): customers of an earlier version whose addresses are the same to this one, at most 20 of them; NULL: none.';

-- What is configured is read by all: a value that nothing can read is refused where it
-- is folded, so by whatever door it comes.
CREATE FUNCTION crm.put_check(target text, name text, condition text) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	was record;
	refused text;
BEGIN
	SELECT obj_description(c.oid, 'pg_constraint') AS condition INTO was FROM pg_constraint c
	 WHERE c.conrelid = put_check.target::regclass AND c.conname = put_check.name;
	IF FOUND AND was.condition IS NOT DISTINCT FROM put_check.condition THEN
		RETURN;
	ELSIF FOUND THEN
		EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', target::regclass, name);
	END IF;
	refused := crm.unreadable_rows(target, condition);
	IF refused IS NOT NULL THEN
		RAISE object_not_in_prerequisite_state USING
			MESSAGE = format('what %s holds cannot be read', target),
			DETAIL = format('An earlier version took it: %s. Constraint %s says what can be read.', refused, name),
			HINT = format('Nothing was changed. %s, and call install() again.', CASE target
				WHEN 'crm.setting' THEN 'Give these settings another value: crm.set_setting()'
				WHEN 'crm.segment' THEN 'Define these segments anew: crm.define_segment()'
				ELSE 'Define these rules anew: crm.set_frequency_cap(), crm.set_channel_rule()' END);
	END IF;
	-- Looked at already.
	EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I CHECK (%s) NOT VALID', target::regclass, name, condition);
	EXECUTE format('COMMENT ON CONSTRAINT %I ON %s IS %L', name, target::regclass, condition);
END
$$;
COMMENT ON FUNCTION crm.put_check(text, text, text) IS
	'Private, for install(): a constraint of a table of ours as it should be. Errors: 55000 if there are rows that it forbids.';

-- A row that cannot even be cast is one more of them, and none is left out for it.
CREATE FUNCTION crm.unreadable_rows(target text, condition text) RETURNS text
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	key CONSTANT name := (SELECT a.attname FROM pg_attribute a WHERE a.attrelid = target::regclass AND a.attnum = 1);
	r record;
	is_readable boolean;
	refused text;
BEGIN
	FOR r IN EXECUTE format('SELECT t.ctid AS place, t.%I::text AS key FROM %s t ORDER BY 2', key, target::regclass) LOOP
		BEGIN
			EXECUTE format('SELECT %s FROM %s WHERE ctid = $1', condition, target::regclass) INTO is_readable USING r.place;
		EXCEPTION WHEN data_exception OR syntax_error THEN
			is_readable := false;
		END;
		IF NOT is_readable THEN
			refused := concat_ws(', ', refused, r.key);
		END IF;
	END LOOP;
	RETURN refused;
END
$$;
COMMENT ON FUNCTION crm.unreadable_rows(text, text) IS
	'Private, for put_check(): rows of a table of definitions, a small one, that a condition does not hold for, by their first column; NULL: none.';

CREATE FUNCTION crm.put_reaction(name text, category text, type text, action jsonb, condition text DEFAULT NULL, key text DEFAULT NULL,
		settings jsonb DEFAULT NULL,
		run_at text DEFAULT NULL) RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF EXISTS (SELECT FROM eventsource.reactions r
				WHERE r.name = put_reaction.name AND r.category = put_reaction.category AND r.type = put_reaction.type
				  AND crm.in_one_line(r.action::text) = crm.in_one_line(put_reaction.action::text)
				  AND (crm.in_one_line(r.condition), crm.in_one_line(r.key), crm.in_one_line(r.run_at)) IS NOT DISTINCT FROM
					  (crm.in_one_line(put_reaction.condition), crm.in_one_line(put_reaction.key), crm.in_one_line(put_reaction.run_at))
				  AND coalesce(r.settings, '{}') = coalesce(put_reaction.settings, '{}')) THEN
		RETURN 0;
	END IF;
	PERFORM eventsource.create_reaction(name, category, type, condition, action, run_at, key, settings);
	RETURN 1;
END
$$;
COMMENT ON FUNCTION crm.put_reaction(text, text, text, jsonb, text, text, jsonb, text) IS
	'Private, for install() and campaigns: a reaction as it should be; returns 1 if it was not. Errors: ZE011.';

-- Beside it a table as it should be is made, under a name that no session has, and compared.
CREATE FUNCTION crm.put_table(name text, columns text) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	wanted CONSTANT text := format('pg_temp.%I', 'crm_table_' || pg_current_xact_id());
	missing text;
	others text;
BEGIN
	IF to_regclass(format('crm.%I', name)) IS NULL THEN
		EXECUTE format('CREATE TABLE crm.%I (%s)', name, columns);
		RETURN;
	END IF;
	EXECUTE format('CREATE TABLE %s (%s)', wanted, columns);
	SELECT string_agg(format('ADD COLUMN %I %s', a.attname, a.type) || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
					  || CASE WHEN d.adbin IS NULL THEN ''
							  ELSE format(CASE WHEN a.attgenerated = '' THEN ' DEFAULT %s' ELSE ' GENERATED ALWAYS AS (%s) STORED' END,
										  pg_get_expr(d.adbin, d.adrelid)) END,
					  ', ' ORDER BY a.attnum) FILTER (WHERE t.attname IS NULL),
		   string_agg(format('%I is %s%s and is to be %s%s', a.attname, t.type, CASE WHEN t.attnotnull THEN ' NOT NULL' ELSE '' END,
							 a.type, CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END), '; ' ORDER BY a.attnum)
			 FILTER (WHERE (t.type, t.attnotnull) <> (a.type, a.attnotnull))
	  INTO missing, others
	  FROM (SELECT *, format_type(x.atttypid, x.atttypmod) AS type FROM pg_attribute x WHERE x.attrelid = wanted::regclass AND x.attnum > 0) a
	  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
	  LEFT JOIN (SELECT *, format_type(x.atttypid, x.atttypmod) AS type FROM pg_attribute x) t
		ON t.attrelid = format('crm.%I', put_table.name)::regclass AND t.attname = a.attname;
	EXECUTE 'DROP TABLE ' || wanted;
	IF others IS NOT NULL THEN
		RAISE datatype_mismatch USING
			MESSAGE = format('table crm.%s has columns that are not as they should be', name),
			DETAIL = others || '.',
			HINT = 'Put them right by ALTER TABLE, and call install() again.';
	END IF;
	IF missing IS NOT NULL THEN
		EXECUTE format('ALTER TABLE crm.%I %s', name, missing);
	END IF;
END
$$;
COMMENT ON FUNCTION crm.put_table(text, text) IS
	'Private, for install(): a table, or the columns that another version of it had not. Errors: 42804 if one that it had is of another type, or NOT NULL and is not to be, or the reverse.';

CREATE FUNCTION crm.drop_view(name text) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	above text;
BEGIN
	FOR above IN SELECT DISTINCT v.relname
				   FROM pg_depend d
				   JOIN pg_rewrite r ON r.oid = d.objid
				   JOIN pg_class v ON v.oid = r.ev_class
				  WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
					AND d.refobjid = format('crm.%I', drop_view.name)::regclass AND v.oid <> d.refobjid
					AND v.relkind = 'v' AND v.relnamespace = 'crm'::regnamespace LOOP
		PERFORM crm.drop_view(above);
	END LOOP;
	EXECUTE format('DROP VIEW IF EXISTS crm.%I', drop_view.name);
END
$$;
COMMENT ON FUNCTION crm.drop_view(text) IS
	'Private, for put_view(): drops a view of ours and those of ours that read it. Errors: 2BP01 if somebody else''s view does.';

-- Made beside, and compared: to replace a view is to wait for all who read it, and to have all wait.
CREATE FUNCTION crm.is_view_so(name text, description text, columns jsonb, query text) RETURNS boolean
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v CONSTANT regclass := to_regclass(format('crm.%I', name));
	wanted CONSTANT text := format('pg_temp.%I', 'crm_view_' || pg_current_xact_id());
	is_so boolean;
BEGIN
	IF v IS NULL THEN
		RETURN false;
	END IF;
	EXECUTE format('CREATE VIEW %s AS %s', wanted, query);
	is_so := pg_get_viewdef(v) = pg_get_viewdef(wanted::regclass)
		-- Keys at its end: put_graphql_comments().
		AND split_part(obj_description(v, 'pg_class'), E'\n@graphql(', 1) IS NOT DISTINCT FROM description
		AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = v AND a.attnum > 0 AND NOT a.attisdropped
						   AND col_description(v, a.attnum) IS DISTINCT FROM columns ->> a.attname);
	EXECUTE 'DROP VIEW ' || wanted;
	RETURN is_so;
END
$$;
COMMENT ON FUNCTION crm.is_view_so(text, text, jsonb, text) IS 'Private, for put_view(): is a view there, as it should be, comments and all?';

CREATE FUNCTION crm.put_view(name text, description text, columns jsonb, query text) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	untold text;
	c record;
BEGIN
	IF crm.is_view_so(name, description, columns, query) THEN
		RETURN;
	END IF;
	BEGIN
		EXECUTE format('CREATE OR REPLACE VIEW crm.%I WITH (security_barrier) AS %s', name, query);
	EXCEPTION WHEN invalid_table_definition THEN
		-- Another version of it had other columns.
		PERFORM crm.drop_view(name);
		EXECUTE format('CREATE VIEW crm.%I WITH (security_barrier) AS %s', name, query);
	END;
	EXECUTE format('COMMENT ON VIEW crm.%I IS %L', name, description);
	FOR c IN SELECT a.attname, put_view.columns ->> a.attname AS description
			   FROM pg_attribute a
			  WHERE a.attrelid = format('crm.%I', put_view.name)::regclass AND a.attnum > 0 AND NOT a.attisdropped LOOP
		IF c.description IS NULL THEN
			untold := concat_ws(', ', untold, c.attname);
		ELSE
			EXECUTE format('COMMENT ON COLUMN crm.%I.%I IS %L', name, c.attname, c.description);
		END IF;
	END LOOP;
	IF untold IS NOT NULL THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('view crm.%s says nothing of columns of its own', name),
			DETAIL = format('Of these: %s.', untold),
			HINT = 'Describe each column of the query in "columns".';
	END IF;
END
$$;
COMMENT ON FUNCTION crm.put_view(text, text, jsonb, text) IS
	'Private, for install(): a view as it should be, each of its columns with a comment. Errors: 22023 if one has none.';

-- The reader asks; what belongs to a person is shown to who may see it.
CREATE FUNCTION crm.masked(value text) RETURNS text
	LANGUAGE sql STABLE
	-- Its names are bound when it is made, and without a setting it is made part of the query.
	RETURN CASE WHEN value IS NULL THEN NULL WHEN eventsource.sees_personal_data() THEN value ELSE '***' END;
COMMENT ON FUNCTION crm.masked(text) IS
	'Private, for views: personal text, *** for who may not see it.';

-- Times inside of events are text, and the same text in every session. Expressions of folds and reactions
-- write it out: they are kept as they were defined, whatever a later version makes of this.
CREATE FUNCTION crm.json_time(at timestamptz) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;
COMMENT ON FUNCTION crm.json_time(timestamptz) IS
	'Private, for commands: a time as it stands in the data of events, in UTC, to the microsecond.';

-- A list that is sent to somebody, or a comparison, is nothing with *** in it.
CREATE FUNCTION crm.expect_personal_data(what text) RETURNS void
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF NOT eventsource.sees_personal_data() THEN
		RAISE insufficient_privilege USING
			MESSAGE = format('permission denied to see %s', what),
			DETAIL = format('That is personal data, which role "%s" may not see; *** is no answer. Nothing was recorded or lent.', current_user),
			HINT = format('Let the owner of the extension call: SELECT eventsource.grant_personal_data(%L).', current_user);
	END IF;
END
$$;
COMMENT ON FUNCTION crm.expect_personal_data(text) IS
	'Private, for commands that need what masks hide. what: the object of "to see". Errors: 42501 without eventsource.grant_personal_data().';

-- Settings are events, too: stream crm_setting-<name>. Every lead on the board asks for some, so
-- the body is parsed when it is made and sets nothing: queries take it in.
CREATE FUNCTION crm.setting_defaults() RETURNS TABLE (name text, type regtype, default_value text, description text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
	VALUES
		('first_contact_sla', 'interval'::regtype, '5 minutes', 'How soon after the intake a lead is to be contacted'),
		('consent_term_marketing', 'interval', '2 years',
			'How long a consent to marketing lasts unless the event says; install() puts it into effect for events that were appended by hand'),
		('consent_term_analytics', 'interval', '2 years',
			'How long a consent to analytics lasts unless the event says; install() puts it into effect for events that were appended by hand'),
		('consent_term_essential', 'interval', '2 years',
			'How long a consent to what is essential lasts unless the event says; install() puts it into effect for events that were appended by hand'),
		('cart_abandoned_after', 'interval', '60 minutes', 'How long without a change until a cart is left alone; install() puts it into effect'),
		('checkout_abandoned_after', 'interval', '60 minutes',
			'How long without a step until a checkout is left alone; install() puts it into effect'),
		('email_frequency', 'text', 'weekly', 'How often who has not said so is sent marketing by e-mail: daily, weekly or never'),
		('quiet_hours', 'text', '', 'When no marketing by sms and push goes out, by the customer''s clock: 21:00-08:00, say; empty: never'),
		('default_timezone', 'text', 'UTC', 'Time zone of who has not said so'),
		('default_currency', 'text', '', 'Currency of events of others that say none, EUR, say; empty: they are refused'),
		('default_channels', 'text', 'email', 'Channels for who has not said anything of preferences, joined by commas'),
		('payment_retries', 'numeric', '3', 'How often a payment that failed is tried again; install() puts it into effect'),
		('payment_backoff', 'interval', '300 seconds', 'How long before the first retry of a payment; install() puts it into effect'),
		('payment_backoff_factor', 'numeric', '1',
			'Times how much longer before each further one: 1 is fixed, 2 doubles; install() puts it into effect'),
		('refund_reasons_after_delivery', 'text', 'quality-issue,delivery-failed,other',
			'Reasons for which what was delivered is paid back; install() puts it into effect'),
		('delivery_term', 'interval', '5 days',
			'How long after the payment an order is expected to arrive, as its confirmation says; install() puts it into effect'),
		('affinity_threshold', 'numeric', '0.7', 'Share of spending above which a category counts as an affinity'),
		('campaign_retry', 'interval', '15 minutes', 'How often what is due in a campaign that rests is looked at'),
		('intake_unknown_events', 'text', 'refuse',
			'What becomes of events of others that have no counterpart here: refuse, or keep as CustomTracked'),
		('graphql_comments', 'text', 'off', 'Whether comments of views tell pg_graphql their keys, on or off; install() puts it into effect'),
		('session_gap', 'interval', '30 minutes', 'How long without an event ends a session'),
		('verification_term', 'interval', '24 hours', 'How long a token that proves an e-mail address is good'),
		('temperature_window', 'interval', '30 days', 'How long a signal of a lead counts for its temperature'),
		('temperature_warm', 'numeric', '30', 'Score from which a lead is WARM'),
		('temperature_hot', 'numeric', '70', 'Score from which a lead is HOT'),
		('lead_no_response_after', 'interval', '21 days',
			'How long a lead stays in CONTACTING until it is archived; install() puts it into effect, and so does a change of reason codes'),
		('lead_attempts', 'numeric', '6',
			'How many attempts to reach a lead there must be before that; install() puts it into effect, and so does a change of reason codes'),
		('lead_no_progress_after', 'interval', '180 days',
			'How long a lead stays in QUALIFIED until it is archived; install() puts it into effect, and so does a change of reason codes')
	 UNION ALL
	SELECT 'signal_' || s.signal, 'numeric', s.points::text,
		   'Points of the signal' || CASE s.signal WHEN 'replied' THEN '; of what the lead sends, too' ELSE '' END
	  FROM crm.lead_signals() s;
	END;
COMMENT ON FUNCTION crm.setting_defaults() IS
	'Private: the settings there are, with their types and defaults.';

CREATE FUNCTION crm.quiet_hours_pattern() RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT '^(([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d)?$'
$$;
COMMENT ON FUNCTION crm.quiet_hours_pattern() IS 'Private: what setting quiet_hours looks like.';

-- Before install() nothing holds: no state machine, no schema, and no field is personal.
CREATE FUNCTION crm.expect_installed() RETURNS void
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF to_regclass('crm.settings') IS NULL THEN
		RAISE object_not_in_prerequisite_state USING
			MESSAGE = 'the CRM is not installed in this database',
			DETAIL = 'CREATE EXTENSION brings its functions; event types, state machines and views are made by install().',
			HINT = 'Let the owner of the extension call: SELECT crm.install().';
	END IF;
END
$$;
COMMENT ON FUNCTION crm.expect_installed() IS 'Private, for commands that read no view of ours. Errors: 55000 before install().';

-- Views call it from ALTER EXTENSION UPDATE until install() has made them again. A function of a view is called by who
-- reads the view, so that this one alone is everybody's; it is IMMUTABLE so that the planner calls it, whatever else is asked.
CREATE FUNCTION crm.expect_installed_again() RETURNS boolean
	LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RAISE object_not_in_prerequisite_state USING
		MESSAGE = 'eventsource_crm was updated, and is not installed again yet',
		DETAIL = 'Its views wait for the rest of the update.',
		HINT = 'Let the owner of the extension call: SELECT crm.install().';
END
$$;
COMMENT ON FUNCTION crm.expect_installed_again() IS 'Private, for views while an update is half done; PUBLIC may call it. Errors: 55000.';

CREATE FUNCTION crm.expect_found(is_found boolean, what text, view_name text) RETURNS void
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF is_found IS NOT TRUE THEN
		RAISE undefined_object USING
			MESSAGE = format('there is no %s', what),
			DETAIL = 'Nothing was recorded.',
			HINT = format('The view crm.%s lists those there are.', view_name);
	END IF;
END
$$;
COMMENT ON FUNCTION crm.expect_found(boolean, text, text) IS 'Private, for commands about something that must be there. Errors: 42704 if it is not.';

CREATE FUNCTION crm.default_currency_pattern() RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$ SELECT '^([A-Z]{3})?$' $$;
COMMENT ON FUNCTION crm.default_currency_pattern() IS 'Private: what setting default_currency looks like.';

CREATE FUNCTION crm.put_settings() RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	changed integer;
BEGIN
	PERFORM crm.put_table('setting', $table$
		name       text PRIMARY KEY,
		value      text,
		changed_at timestamptz,
		changed_by text
	$table$);
	COMMENT ON TABLE crm.setting IS 'Private: settings that were changed, a projection. Read the view settings.';
	PERFORM crm.put_check('crm.setting', 'setting_is_readable', format(
		$check$ CASE WHEN name = ANY (%L) THEN value::interval BETWEEN '0' AND '100 years'
				AND (value::interval > '0' AND value NOT LIKE '%%-%%' AND value !~ '^[0-9. ]*$' OR name NOT LIKE '%%\_after')
			WHEN name = ANY (%L) THEN value::numeric BETWEEN 0 AND 1000000
			WHEN name = 'quiet_hours' THEN value ~ %L WHEN name = 'default_currency' THEN value ~ %L ELSE length(value) <= 1000 END $check$,
		(SELECT array_agg(d.name ORDER BY d.name) FROM crm.setting_defaults() d WHERE d.type = 'interval'::regtype),
		(SELECT array_agg(d.name ORDER BY d.name) FROM crm.setting_defaults() d WHERE d.type = 'numeric'::regtype),
		crm.quiet_hours_pattern(), crm.default_currency_pattern()));
	changed := crm.put_projection('crm.setting', 'crm_setting', jsonb_build_object('setting_changed',
		$rule$ value = event.data->>'value', changed_at = event.occurred_at, changed_by = event.actor $rule$));
	PERFORM crm.put_view('settings', 'What the CRM counts with: caps, terms and weights. Changed by set_setting().', jsonb_build_object(
			'setting_name', 'Name of the setting.', 'value', 'Its value.', 'default_value', 'Its value unless it was changed.',
			'value_type', 'Type of the value.', 'description', 'What it says.', 'is_default', 'True if it was not changed.',
			'changed_at', 'When it was changed last.', 'changed_by', 'Actor who did.'), $view$
		SELECT d.name AS setting_name, coalesce(s.value, d.default_value) AS value, d.default_value, d.type::text AS value_type,
			   d.description, s.value IS NULL AS is_default, s.changed_at, s.changed_by
		  FROM crm.setting_defaults() d
		  LEFT JOIN crm.setting s ON s.name = d.name $view$);
	RETURN changed;
END
$$;
COMMENT ON FUNCTION crm.put_settings() IS 'Private, for install(): the settings.';

CREATE FUNCTION crm.set_setting(setting_name text, value text) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	d record;
BEGIN
	PERFORM crm.expect_installed();
	SELECT * INTO d FROM crm.setting_defaults() s WHERE s.name = setting_name;
	IF NOT FOUND THEN
		RAISE undefined_object USING
			MESSAGE = format('there is no setting "%s"', setting_name),
			DETAIL = 'Nothing reads a setting of this name.',
			HINT = 'The view crm.settings lists those there are.';
	END IF;
	BEGIN
		IF d.type = 'interval'::regtype AND value::interval < '0' OR d.type = 'numeric'::regtype AND value::numeric < 0 THEN
			RAISE numeric_value_out_of_range USING MESSAGE = 'it is negative';
		ELSIF d.type = 'interval'::regtype AND value::interval > '100 years' OR d.type = 'numeric'::regtype AND value::numeric > 1000000 THEN
			RAISE numeric_value_out_of_range USING MESSAGE = 'it is too much';
		ELSIF d.type = 'interval'::regtype AND value ~ '^[0-9. ]*$' THEN
			RAISE data_exception USING MESSAGE = 'it has no unit';
		-- As a state machine waits for so long.
		ELSIF setting_name LIKE '%\_after' AND (value::interval = '0' OR value LIKE '%-%') THEN
			RAISE data_exception USING MESSAGE = 'it is no length';
		ELSIF setting_name = 'email_frequency' AND value NOT IN ('daily', 'weekly', 'never')
			OR setting_name = 'intake_unknown_events' AND value NOT IN ('refuse', 'keep')
			OR setting_name = 'graphql_comments' AND value NOT IN ('on', 'off')
			OR setting_name = 'quiet_hours' AND value !~ crm.quiet_hours_pattern()
			OR setting_name = 'default_currency' AND value !~ crm.default_currency_pattern()
			OR setting_name = 'default_timezone' AND NOT EXISTS (SELECT FROM pg_timezone_names z WHERE z.name = value)
			OR setting_name = 'default_channels' AND replace(value, ' ', '') !~ '^((email|sms|push)(,|$))*$' THEN
			RAISE data_exception USING MESSAGE = 'nothing knows it';
		END IF;
	EXCEPTION WHEN data_exception THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('invalid value for setting "%s"', setting_name),
			DETAIL = format('It is of type %s, and cannot be "%s": %s.', d.type, value, SQLERRM),
			HINT = concat_ws(' ', CASE setting_name
					WHEN 'quiet_hours' THEN 'Give from when until when, for example 21:00-08:00, or nothing.'
					WHEN 'default_currency' THEN 'Give a code of three letters, EUR for example, or nothing.'
					WHEN 'default_timezone' THEN 'The view pg_timezone_names lists names.'
					WHEN 'email_frequency' THEN 'Give daily, weekly or never.'
					WHEN 'default_channels' THEN 'Give email, sms or push, joined by commas.' END,
				format('Its default is "%s".', d.default_value));
	END;
	PERFORM eventsource.append('crm_setting-' || setting_name, 'setting_changed', jsonb_build_object('value', value));
END
$$;
COMMENT ON FUNCTION crm.set_setting(text, text) IS
	'Gives a setting of the CRM another value; NULL: its default. It is an event, so who changed it and when is kept. Errors: 42704 unknown setting, 22023 bad value.';
