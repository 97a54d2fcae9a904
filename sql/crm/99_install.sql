-- install(), and who may do what.

-- Who owns what stands in the schema reads it past all masks, and what is defined on it
-- runs with the rights of who installs.
CREATE FUNCTION crm.expect_own_schema() RETURNS void
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	others text;
BEGIN
	SELECT string_agg(format('%s belongs to %I', o.what, r.rolname), '; ' ORDER BY o.what) INTO others
	  FROM (SELECT 'the schema' AS what, n.nspowner AS owner FROM pg_namespace n WHERE n.oid = 'crm'::regnamespace
			 UNION ALL SELECT c.oid::regclass::text, c.relowner FROM pg_class c WHERE c.relnamespace = 'crm'::regnamespace AND c.relkind <> 'i'
			 UNION ALL SELECT p.oid::regprocedure::text, p.proowner FROM pg_proc p WHERE p.pronamespace = 'crm'::regnamespace) o
	  JOIN pg_roles r ON r.oid = o.owner
	 WHERE NOT r.rolsuper AND r.oid <> (SELECT x.extowner FROM pg_extension x WHERE x.extname = 'eventsource_crm');
	IF others IS NOT NULL THEN
		RAISE insufficient_privilege USING
			MESSAGE = 'schema crm is not the extension''s alone',
			DETAIL = others || '.',
			HINT = 'Drop what is not of eventsource_crm, and give the rest to its owner: ALTER ... OWNER TO.';
	END IF;
END
$$;
COMMENT ON FUNCTION crm.expect_own_schema() IS 'Private, for install(): everything in schema crm belongs to the owner of the extension, or to a superuser. Errors: 42501.';

CREATE FUNCTION crm.install() RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET client_min_messages = warning AS $$
DECLARE
	of_customer CONSTANT text := $subject$ coalesce('customer-' || (event.data->>'customerId'), event.stream) $subject$;
	campaigns CONSTANT jsonb := (SELECT coalesce(jsonb_object_agg(r.name, r.owner), '{}') FROM eventsource.reactions r WHERE r.name ~ '^campaign_.*\.\d+\.0$');
	changed integer;
	role regrole;
BEGIN
	PERFORM eventsource.expect_owner();
	-- One after the other.
	PERFORM eventsource.lock_stream('crm_setting-install');
	PERFORM crm.expect_own_schema();
	PERFORM crm.make_leads(), crm.make_customers(), crm.make_messages(), crm.make_carts(), crm.make_orders();
	changed := crm.put_event_types() + crm.put_settings() + crm.put_leads() + crm.put_customers() + crm.put_messages();
	changed := changed + crm.put_carts() + crm.put_orders() + crm.put_ledger() + crm.put_journeys() + crm.put_segments() + crm.put_funnels() + crm.put_campaigns() + crm.put_integrations();
	PERFORM crm.put_catalogue_views(), crm.put_lead_views(), crm.put_lead_reports(), crm.put_customer_views(), crm.put_message_views(), crm.put_dead_letter_views(), crm.put_cart_views(), crm.put_order_views(),
		crm.put_ledger_views(), crm.put_segment_views(), crm.put_journey_views(),
		crm.put_rfm_views(), crm.put_funnel_views(), crm.put_campaign_views(), crm.put_attribution_views(), crm.put_integration_views(),
		crm.put_exchange_views();
	changed := changed + (
		SELECT sum(crm.put_category(c.name, c.machine, c.context, c.subject)) FROM (VALUES
			('lead', 'crm_lead', 'crm.lead', NULL),
			('customer', 'crm_customer', 'crm.customer', NULL),
			('message', 'crm_message', 'crm.message', of_customer),
			('visit', NULL, NULL, of_customer),
			('cart', 'crm_cart', 'crm.cart', of_customer),
			('order', 'crm_order', 'crm.purchase', of_customer),
			('account', NULL, NULL, $subject$ 'customer-' || event.key $subject$),
			('integration', NULL, NULL, of_customer),
			('segment', NULL, NULL, NULL),
			('funnel', NULL, NULL, NULL),
			('campaign', NULL, NULL, of_customer),
			('campaign_run', NULL, NULL, of_customer),
			('crm_rule', NULL, NULL, NULL),
			('crm_setting', NULL, NULL, NULL)) c (name, machine, context, subject));
	changed := changed + crm.put_customer_reactions() + crm.put_message_reactions() + crm.put_order_reactions() + crm.put_segment_reactions()
		+ crm.put_campaign_reactions(campaigns);
	IF changed > 0 THEN
		-- Leads that are there already have the timeouts of a new version of their machine.
		PERFORM eventsource.schedule_timeouts('lead');
	END IF;
	-- A view that had to be made anew has lost who may read it.
	FOR role IN SELECT a.grantee
				  FROM pg_proc p, aclexplode(p.proacl) a
				 WHERE p.oid = 'crm.masked(text)'::regprocedure AND a.grantee <> p.proowner LOOP
		PERFORM crm.grant_views(role);
	END LOOP;
	RETURN changed;
END
$$;
COMMENT ON FUNCTION crm.install() IS
	'Makes or brings up to date what belongs to the CRM: event types, categories, state machines, projections, views. Returns how many definitions were new or different; 0 when all was there. Call it after CREATE EXTENSION and ALTER EXTENSION UPDATE; it may be called again. Errors: 42501 unless the owner of the extension calls it, or if something in schema crm belongs to somebody else, 42710 if a category is in use by others.';

CREATE FUNCTION crm.grant_views(role regrole) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v regclass;
BEGIN
	FOR v IN SELECT c.oid FROM pg_class c WHERE c.relnamespace = 'crm'::regnamespace AND c.relkind = 'v' LOOP
		EXECUTE format('GRANT SELECT ON %s TO %s', v, role);
	END LOOP;
END
$$;
COMMENT ON FUNCTION crm.grant_views(regrole) IS 'Private, for grant_reader(): SELECT on all views of the CRM.';

CREATE FUNCTION crm.reader_functions() RETURNS name[]
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT ARRAY['attribution', 'attribution_models', 'balance', 'campaign_examples', 'can_contact', 'catalogue', 'channel_rule_defaults', 'choose_channels', 'clv_summary', 'event_type_aliases', 'event_type_definitions', 'fields', 'flows', 'customer_metrics', 'frequency_cap_defaults', 'funnel', 'funnel_defaults', 'funnel_dropoff', 'funnel_entries', 'funnel_progress', 'funnel_steps', 'has_consent', 'lead_owner_at', 'lead_reasons', 'lead_sentence',
				 'lead_state_at', 'lead_states', 'masked', 'may_contact_lead', 'paid_orders', 'payment_error_message', 'quiet_until', 'retention', 'rfm', 'retention_defaults', 'rfm_segment_rules', 'segment_defaults', 'sessions', 'setting', 'setting_defaults', 'touches_of_conversions']::name[]
$$;
COMMENT ON FUNCTION crm.reader_functions() IS 'Private, for grant_reader(): what readers call.';

CREATE FUNCTION crm.writer_functions() RETURNS name[]
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT ARRAY['ack_integration', 'add_lead_note', 'add_to_cart', 'add_to_segment', 'append_to_cart', 'append_to_lead', 'append_to_order', 'assign_lead', 'backfill_lead', 'cancel_order', 'change_email', 'claim_messages', 'clear_lead_flag', 'complete_checkout_step', 'complete_message', 'complete_refund', 'consent_expiry',
				 'create_lead', 'deactivate_customer', 'define_funnel', 'define_segment', 'deliver_order', 'discard_message', 'drop_segment', 'fail_message', 'fail_payment', 'fail_refund', 'erase_customer', 'expect_job', 'expect_new_snapshots', 'grant_consent', 'import_channel', 'import_event', 'import_xes_row', 'initiate_payment', 'initiate_refund', 'log_contact', 'new_token', 'nack_integration', 'pause_campaign', 'pause_campaigns', 'place_order', 'poll_integration', 'post_to_ledger', 'quiet_hours_pattern', 'redrive_message', 'reactivate_customer', 'request_erasure', 'recheck_messages', 'record_message_event', 'recalculate_segments', 'record_integration', 'record_payment', 'record_signal', 'register_customer',
				 'remove_from_cart', 'remove_from_segment', 'renew_consent', 'resume_campaign', 'resume_campaigns', 'retry_payment', 'revoke_consent', 'send_message', 'set_channel_rule', 'set_frequency_cap', 'set_lead_flag', 'set_setting', 'ship_order', 'skip_message', 'start_checkout', 'tick_leads', 'token_hash', 'trigger_campaign', 'transition_lead',
				 'update_preferences', 'update_profile', 'verify_email']::name[]
$$;
COMMENT ON FUNCTION crm.writer_functions() IS 'Private, for grant_writer(): what writers call, besides.';

CREATE FUNCTION crm.grant_functions(role regrole, names name[]) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	f regprocedure;
BEGIN
	FOR f IN SELECT p.oid FROM pg_proc p WHERE p.pronamespace = 'crm'::regnamespace AND p.proname = ANY (names) LOOP
		EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO %s', f, role);
	END LOOP;
END
$$;
COMMENT ON FUNCTION crm.grant_functions(regrole, name[]) IS 'Private, for grant_reader() and grant_writer().';

-- Who reads certain categories is refused by his first query of a session unless the
-- library is there before it is planned, and a BI tool does not ask twice.
CREATE FUNCTION crm.preload_library() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	here CONSTANT oid := (SELECT d.oid FROM pg_database d WHERE d.datname = current_database());
	set_here CONSTANT text := (SELECT split_part(c, '=', 2) FROM pg_db_role_setting s, unnest(s.setconfig) c WHERE s.setdatabase = here AND s.setrole = 0 AND c LIKE 'session_preload_libraries=%');
	libraries CONSTANT text[] := regexp_split_to_array(replace(coalesce(set_here, (SELECT g.reset_val FROM pg_settings g WHERE g.name = 'session_preload_libraries'), ''), '"', ''), ' *, *');
BEGIN
	IF NOT 'eventsource' = ANY (libraries || regexp_split_to_array((SELECT g.setting FROM pg_settings g WHERE g.name = 'shared_preload_libraries'), ' *, *')) THEN
		EXECUTE format('ALTER DATABASE %I SET session_preload_libraries = %s', current_database(),
			(SELECT string_agg(quote_literal(l), ', ' ORDER BY n) FROM unnest(array_remove(libraries, '') || '{eventsource}') WITH ORDINALITY x (l, n)));
	END IF;
EXCEPTION WHEN insufficient_privilege THEN
	RAISE WARNING USING
		MESSAGE = format('sessions of database "%s" do not load eventsource at their start', current_database()),
		DETAIL = 'The first query of a session of a role that may read certain categories alone fails, and so do those of the CRM.',
		HINT = format('A superuser says: ALTER DATABASE %I SET session_preload_libraries = ''eventsource''.', current_database());
END
$$;
COMMENT ON FUNCTION crm.preload_library() IS
	'Private, for grant_reader(): sessions of the database load the library at their start, from the next on.';

CREATE FUNCTION crm.grant_reader(role regrole) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM eventsource.grant_reader(role, ARRAY(SELECT DISTINCT c.category FROM crm.catalogue() c));
	EXECUTE format('GRANT USAGE ON SCHEMA crm TO %s', role);
	PERFORM crm.grant_views(role), crm.grant_functions(role, crm.reader_functions()), crm.preload_library();
END
$$;
COMMENT ON FUNCTION crm.grant_reader(regrole) IS
	'Lets a role read the views of the CRM and its categories, and nothing else of the log; a BI tool, say. Personal data is masked unless eventsource.grant_personal_data() says otherwise. Sets session_preload_libraries of the database, since a session of such a role is to load the library at its start; a warning where the caller may not. Errors: 42501 unless the owner of the extension calls it.';

CREATE FUNCTION crm.grant_writer(role regrole) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM eventsource.grant_writer(role, ARRAY(SELECT DISTINCT c.category FROM crm.catalogue() c));
	PERFORM crm.grant_reader(role), crm.grant_functions(role, crm.writer_functions());
END
$$;
COMMENT ON FUNCTION crm.grant_writer(regrole) IS
	'Lets a role call the commands of the CRM, and append to its categories; and read, as grant_reader() does. Errors: 42501 unless the owner of the extension calls it.';

CREATE FUNCTION crm.put_catalogue_views() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_view('event_types', 'The event types of the CRM, one row each.', jsonb_build_object(
			'event_type', 'Name of the type.', 'category', 'Category of the streams that it happens in.',
			'phase', 'Phase of the customer''s life that it belongs to.', 'description', 'What it says.',
			'schema_version', 'Latest version of its schema; NULL if it is not registered.', 'schema', 'JSON Schema of its data.',
			'personal_fields', 'Fields of its data that are personal, joined by '' > ''; NULL: none.',
			'example', 'Data as it could be.', 'is_registered', 'True if install() registered it as it stands here.'), $view$
		SELECT d.type AS event_type, d.category, d.phase, d.description, e.version AS schema_version, d.schema,
			   (SELECT string_agg(p.key, ' > ' ORDER BY p.key) FROM jsonb_each(d.pii) p) AS personal_fields,
			   d.example, e.schema IS NOT DISTINCT FROM d.schema AND NOT e.is_withdrawn AS is_registered
		  FROM crm.event_type_definitions() d
		  LEFT JOIN eventsource.event_types e ON e.type = d.type AND e.category = d.category $view$);
END
$$;
COMMENT ON FUNCTION crm.put_catalogue_views() IS 'Private, for install().';

-- Nobody calls what he was not given.
DO $$
DECLARE
	f regprocedure;
BEGIN
	FOR f IN SELECT p.oid FROM pg_proc p WHERE p.pronamespace = 'crm'::regnamespace LOOP
		EXECUTE format('REVOKE ALL ON ROUTINE %s FROM PUBLIC', f);
	END LOOP;
END
$$;
