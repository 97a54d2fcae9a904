-- Who may do what.  Rights add up: a writer reads, an admin writes.  What only the owner of
-- the extension can do, an admin does through functions that have the owner's rights; so
-- none of those takes an expression, a name of a function, or anything else that is code.

CREATE FUNCTION crm.grant_views(role regrole, is_grant boolean DEFAULT true) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v regclass;
BEGIN
	FOR v IN SELECT c.oid FROM pg_class c WHERE c.relnamespace = 'crm'::regnamespace AND c.relkind = 'v' LOOP
		EXECUTE format(CASE WHEN is_grant THEN 'GRANT SELECT ON %s TO %s' ELSE 'REVOKE SELECT ON %s FROM %s' END, v, role);
	END LOOP;
END
$$;
COMMENT ON FUNCTION crm.grant_views(regrole, boolean) IS 'Private, for grant_reader() and revoke_reader(): SELECT on all views of the CRM.';

CREATE FUNCTION crm.reader_functions() RETURNS name[]
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT ARRAY['attribution', 'attribution_models', 'balance', 'campaign_examples', 'can_contact',
		'catalogue', 'channel_rule_defaults', 'choose_channels', 'clv_summary', 'customer_metrics',
		'enum_of', 'event_type_aliases', 'event_type_definitions', 'expect_journey_types', 'export_customer', 'fields', 'flows',
		'frequency_cap_defaults', 'funnel', 'funnel_defaults', 'funnel_dropoff', 'funnel_entries',
		'funnel_progress', 'funnel_steps', 'has_consent', 'is_known_customer', 'journey_categories', 'json_time',
		'lead_channels', 'lead_collapse_events', 'lead_flag_rules',
		'lead_owner_at', 'lead_reason_defaults', 'lead_reason_events', 'lead_sentence', 'lead_signals',
		'lead_state_at', 'lead_states',
		'masked', 'may_contact_lead',
		'metrics_of_customers', 'paid_orders',
		'payment_error_message', 'personal_visits',
		'quiet_until', 'recipient', 'reconcile', 'resolve_identity', 'retention', 'retention_defaults', 'rfm', 'rfm_segment_rules', 'segment_changes',
		'segment_defaults', 'sessions', 'setting', 'setting_defaults', 'touches_of_conversions',
		'unknown_journey_types', 'view_keys', 'visitor_id']::name[]
$$;
COMMENT ON FUNCTION crm.reader_functions() IS 'Private, for grant_reader(): what readers call.';

CREATE FUNCTION crm.writer_functions() RETURNS name[]
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT ARRAY['ack_integration', 'add_lead_note', 'add_to_cart', 'add_to_segment', 'append_import', 'append_to_cart', 'append_to_lead',
		'append_to_order', 'assign_lead', 'backfill_lead', 'cancel_order', 'change_email', 'claim_messages', 'clear_lead_flag',
		'close_customer', 'common_properties', 'complete_checkout_step', 'complete_message', 'complete_refund', 'consent_expiry',
		'create_lead', 'deactivate_customer', 'deliver_order', 'discard_message', 'email_key', 'email_key_rule', 'erase_customer',
		'expect_customer', 'expect_found',
		'expect_free_address', 'expect_given_up',
		'expect_installed', 'expect_job',
		'expect_lead', 'expect_log_columns',
		'expect_new_snapshots', 'expect_personal_data',
		'fail_message', 'fail_payment',
		'fail_refund', 'grant_consent',
		'import_batch', 'import_channel',
		'import_event', 'import_log',
		'import_note', 'import_one',
		'import_rows', 'imported_data',
		'imported_properties', 'initiate_payment', 'initiate_refund', 'intake', 'intake_one', 'intake_time', 'integration_actions',
		'is_refusal', 'link_identity', 'log_contact', 'log_lines', 'nack_integration', 'new_token', 'pause_campaign',
		'pause_campaigns', 'place_order', 'poll_integration', 'post_to_ledger', 'posthog_call', 'reactivate_customer',
		'reason_not_to_send', 'recalculate_segments', 'recheck_messages', 'record_delivery', 'record_integration',
		'record_message_event', 'record_payment', 'record_signal', 'redrive_message', 'register_customer', 'remove_from_cart',
		'remove_from_segment', 'render_message', 'renew_consent', 'request_erasure', 'resume_campaign', 'resume_campaigns',
		'retry_payment', 'revert_erasure', 'revoke_consent', 'send_message', 'set_lead_flag', 'ship_order', 'skip_message',
		'start_checkout', 'stored_token_hash', 'take_traits', 'tick_leads', 'token_hash', 'told_before', 'transition_lead',
		'trigger_campaign', 'try_timestamptz', 'update_preferences', 'update_profile', 'verify_email']::name[]
$$;
COMMENT ON FUNCTION crm.writer_functions() IS 'Private, for grant_writer(): what writers call, besides.';

CREATE FUNCTION crm.admin_functions() RETURNS name[]
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT ARRAY['admin_campaign', 'campaign_condition', 'campaign_triggers', 'category_condition', 'check_campaign_step', 'create_campaign',
				 'create_example_campaigns', 'create_integration', 'define_funnel', 'define_lead_reason', 'define_segment',
				 'drop_integration', 'drop_segment', 'end_campaign', 'expect_other_reasons', 'install', 'put_own_lead_machine',
				 'default_currency_pattern', 'quiet_hours_pattern', 'retire_lead_reason', 'set_channel_rule',
				 'set_frequency_cap', 'set_setting']::name[]
$$;
COMMENT ON FUNCTION crm.admin_functions() IS 'Private, for grant_admin(): what admins call, besides.';

CREATE FUNCTION crm.definition_categories() RETURNS text[]
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT ARRAY['crm_rule', 'crm_setting', 'funnel']
$$;
COMMENT ON FUNCTION crm.definition_categories() IS 'Private, for grant_writer(): categories that hold definitions alone, which admins append to.';

CREATE FUNCTION crm.grant_functions(role regrole, names name[], is_grant boolean DEFAULT true) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	f regprocedure;
BEGIN
	FOR f IN SELECT p.oid FROM pg_proc p WHERE p.pronamespace = 'crm'::regnamespace AND p.proname = ANY (names) LOOP
		EXECUTE format(CASE WHEN is_grant THEN 'GRANT EXECUTE ON ROUTINE %s TO %s' ELSE 'REVOKE EXECUTE ON ROUTINE %s FROM %s' END, f, role);
	END LOOP;
END
$$;
COMMENT ON FUNCTION crm.grant_functions(regrole, name[], boolean) IS
	'Private, for grant_reader() and its kin: gives EXECUTE on all functions of these names, or takes it back.';

-- What a role was given it is given again: a view that was made anew has lost who may read
-- it, and another version of the extension has functions that nobody was given.
CREATE FUNCTION crm.grant_again() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	r record;
BEGIN
	FOR r IN SELECT a.grantee::regrole AS role, p.proname AS mark
			   FROM pg_proc p, aclexplode(p.proacl) a
			  -- tools/upgrade-script.pl sees that no version drops these.
			  WHERE p.pronamespace = 'crm'::regnamespace AND p.proname IN ('masked', 'token_hash', 'admin_campaign')
				AND a.grantee NOT IN (0, p.proowner) LOOP
		CASE r.mark
			WHEN 'masked' THEN
				PERFORM crm.grant_views(r.role), crm.grant_functions(r.role, crm.reader_functions());
				-- Categories of which an earlier version knew nothing.
				IF EXISTS (SELECT c.category FROM crm.catalogue() c EXCEPT SELECT l.category FROM eventsource.category_rights_list() l
																			WHERE l.role = r.role AND NOT l.is_write) THEN
					PERFORM eventsource.grant_reader(r.role, ARRAY(SELECT DISTINCT c.category FROM crm.catalogue() c));
				END IF;
			WHEN 'token_hash' THEN PERFORM crm.grant_functions(r.role, crm.writer_functions());
			ELSE PERFORM crm.grant_functions(r.role, crm.admin_functions());
		END CASE;
	END LOOP;
END
$$;
COMMENT ON FUNCTION crm.grant_again() IS 'Private, for install(): readers, writers and admins have what they should have now.';

-- Who reads certain categories is refused by his first query of a session unless the
-- library is there before it is planned, and a BI tool does not ask twice.
CREATE FUNCTION crm.preload_library() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	here CONSTANT oid := (SELECT d.oid FROM pg_database d WHERE d.datname = current_database());
	set_here CONSTANT text := (SELECT split_part(c, '=', 2) FROM pg_db_role_setting s, unnest(s.setconfig) c WHERE s.setdatabase = here
								  AND s.setrole = 0 AND c LIKE 'session_preload_libraries=%');
	libraries CONSTANT text[] :=
		regexp_split_to_array(replace(coalesce(set_here, (SELECT g.reset_val FROM pg_settings g WHERE g.name = 'session_preload_libraries'), ''), '"',
			''), ' *, *');
BEGIN
	IF NOT 'eventsource' = ANY (libraries || regexp_split_to_array((SELECT g.setting FROM pg_settings g WHERE g.name = 'shared_preload_libraries'),
		' *, *')) THEN
		EXECUTE format('ALTER DATABASE %I SET session_preload_libraries = %s', current_database(),
			(SELECT string_agg(quote_literal(l), ', ' ORDER BY n)
			   FROM unnest(array_remove(libraries, '') || '{eventsource}') WITH ORDINALITY x (l, n)));
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
	PERFORM crm.grant_reader(role);
	PERFORM eventsource.grant_writer(role,
		ARRAY(SELECT DISTINCT c.category FROM crm.catalogue() c WHERE c.category <> ALL (crm.definition_categories() || '{campaign}')));
	PERFORM crm.grant_functions(role, crm.writer_functions());
END
$$;
COMMENT ON FUNCTION crm.grant_writer(regrole) IS
	'Lets a role call the commands of the CRM, and append to its categories; and read, as grant_reader() does. It defines nothing: see grant_admin(). Errors: 42501 unless the owner of the extension calls it.';

CREATE FUNCTION crm.grant_admin(role regrole) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.grant_writer(role);
	PERFORM eventsource.grant_writer(role, crm.definition_categories());
	PERFORM crm.grant_functions(role, crm.admin_functions());
END
$$;
COMMENT ON FUNCTION crm.grant_admin(regrole) IS
	'Lets a role define campaigns (but for expressions of its own: trigger "where"), segments, funnels, integrations, settings, channel rules, caps and reason codes of leads, and call install(); and write, as grant_writer() does. It defines nothing outside the CRM, erases nobody, sees no personal data, and gives no rights to others. Errors: 42501 unless the owner of the extension calls it.';

CREATE FUNCTION crm.revoke_admin(role regrole) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM eventsource.revoke_writer(role, crm.definition_categories());
	PERFORM crm.grant_functions(role, crm.admin_functions(), false);
END
$$;
COMMENT ON FUNCTION crm.revoke_admin(regrole) IS
	'Takes back from a role what grant_admin() adds to the rights of a writer, which it keeps. What it inherits it keeps, too. Errors: 42501 unless the owner of the extension calls it.';

CREATE FUNCTION crm.revoke_writer(role regrole) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.revoke_admin(role);
	PERFORM eventsource.revoke_writer(role, ARRAY(SELECT DISTINCT c.category FROM crm.catalogue() c));
	PERFORM crm.grant_functions(role, crm.writer_functions(), false);
END
$$;
COMMENT ON FUNCTION crm.revoke_writer(regrole) IS
	'Takes back from a role the right to write to the CRM, and to define; it goes on reading. What it inherits, or was given by eventsource.grant_writer() for every category, it keeps. Errors: 42501 unless the owner of the extension calls it.';

CREATE FUNCTION crm.revoke_reader(role regrole) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.revoke_writer(role);
	PERFORM crm.grant_views(role, false), crm.grant_functions(role, crm.reader_functions(), false);
	EXECUTE format('REVOKE USAGE ON SCHEMA crm FROM %s', role);
	PERFORM eventsource.revoke_reader(role, ARRAY(SELECT DISTINCT c.category FROM crm.catalogue() c));
END
$$;
COMMENT ON FUNCTION crm.revoke_reader(regrole) IS
	'Takes back from a role the right to read the CRM, and all that stands on it. What it inherits, or was given by eventsource.grant_reader() for other categories or all, it keeps. Errors: 42501 unless the owner of the extension calls it.';
