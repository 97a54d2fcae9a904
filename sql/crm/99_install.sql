-- install().

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
COMMENT ON FUNCTION crm.expect_own_schema() IS
	'Private, for install(): everything in schema crm belongs to the owner of the extension, or to a superuser. Errors: 42501.';

-- What came into the core together with this version. The core's own version tells nothing of it before a first release.
CREATE FUNCTION crm.expect_core(needed text[] DEFAULT '{"eventsource.claim(text, integer, interval, text, bigint[])",
		"eventsource.check_definitions()",
		"eventsource.window_funnel(interval, text, timestamptz, boolean[])", "eventsource.sum_products(jsonb, text[])"}') RETURNS void
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	missing CONSTANT text := (SELECT string_agg(f, ', ' ORDER BY n) FROM unnest(needed) WITH ORDINALITY x (f, n) WHERE to_regprocedure(f) IS NULL);
BEGIN
	IF missing IS NOT NULL THEN
		RAISE object_not_in_prerequisite_state USING
			MESSAGE = 'eventsource_crm needs a newer eventsource',
			DETAIL = format('It has no %s.', missing),
			HINT =
				'ALTER EXTENSION eventsource UPDATE; where there is no newer version, install the eventsource that came with this eventsource_crm.';
	END IF;
END
$$;
COMMENT ON FUNCTION crm.expect_core(text[]) IS
	'Private, for install(): the functions of eventsource that an earlier build of it had not are there. Errors: 55000.';

-- It has its owner's rights, so that an admin of the CRM may call it; it takes no arguments.
CREATE FUNCTION crm.install() RETURNS integer
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET client_min_messages = warning
	-- What is written of values into definitions is the same in every session.
	SET intervalstyle = postgres SET datestyle = 'ISO, MDY' SET extra_float_digits = 1 AS $$
DECLARE
	of_customer CONSTANT text := $subject$ coalesce('customer-' || (event.data->>'customerId'), event.stream) $subject$;
	campaigns CONSTANT jsonb := (SELECT coalesce(jsonb_object_agg(r.name, r.owner), '{}') FROM eventsource.reactions r
								  WHERE r.name ~ '^campaign_.*\.\d+\.0$');
	grants CONSTANT jsonb := (SELECT coalesce(jsonb_agg(to_jsonb(g)), '[]') FROM crm.view_grants() g);
	changed integer;
BEGIN
	PERFORM eventsource.expect_owner(), crm.expect_core();
	-- One after the other.
	PERFORM eventsource.lock_stream('crm_setting-install');
	PERFORM crm.expect_own_schema();
	PERFORM crm.make_leads(), crm.make_customers(), crm.make_messages(), crm.make_carts(), crm.make_orders();
	changed := crm.put_event_types() + crm.put_settings() + crm.put_leads() + crm.put_customers() + crm.put_messages();
	changed := changed + crm.put_carts() + crm.put_orders() + crm.put_ledger() + crm.put_journeys() + crm.put_identities() + crm.put_segments()
		+ crm.put_funnels() + crm.put_campaigns() + crm.put_integrations();
	PERFORM crm.put_catalogue_views(), crm.put_lead_views(), crm.put_lead_reports(), crm.put_customer_views(), crm.put_message_views(),
		crm.put_dead_letter_views(), crm.put_cart_views(), crm.put_order_views(),
		crm.put_ledger_views(), crm.put_segment_views(), crm.put_journey_views(),
		crm.put_rfm_views(), crm.put_funnel_views(), crm.put_campaign_views(), crm.put_attribution_views(), crm.put_integration_views(),
		crm.put_exchange_views(), crm.put_identity_views(), crm.put_ocel_views(), crm.put_metric_views();
	PERFORM crm.put_graphql_comments();
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
			('identity', NULL, NULL, of_customer),
			('segment', NULL, NULL, NULL),
			('funnel', NULL, NULL, NULL),
			('campaign', NULL, NULL, of_customer),
			('campaign_run', NULL, NULL, of_customer),
			('crm_rule', NULL, NULL, NULL),
			('crm_setting', NULL, NULL, NULL)) c (name, machine, context, subject));
	changed := changed + crm.put_reactions() + crm.put_campaign_reactions(campaigns);
	IF changed > 0 THEN
		-- What is there already has the timeouts of a new version of its machine.
		PERFORM eventsource.schedule_timeouts('lead'), eventsource.schedule_timeouts('cart');
	END IF;
	PERFORM crm.grant_again(), crm.grant_views_again(grants);
	RETURN changed;
END
$$;
COMMENT ON FUNCTION crm.install() IS
	'Makes or brings up to date what belongs to the CRM: event types, categories, state machines, projections, views. Returns how many definitions were new or different; 0 when all was there. Call it after CREATE EXTENSION and ALTER EXTENSION UPDATE; it may be called again. It is done with the rights of who made the extension. For him and admins of the CRM (grant_admin). Errors: 42501 for others, if he is not the owner of eventsource, or if something in schema crm belongs to somebody else; 55000 if eventsource is older than what this version needs; 42710 if a category is in use by others.';

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

-- Nobody calls what he was not given. Where nothing is to be taken nothing is touched: in an update, what was
-- granted since would count as the extension's own, and no dump would have it.
DO $$
DECLARE
	f regprocedure;
BEGIN
	FOR f IN SELECT p.oid FROM pg_proc p
			  WHERE p.pronamespace = 'crm'::regnamespace AND p.proname <> 'expect_installed_again'
				AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = 0) LOOP
		EXECUTE format('REVOKE ALL ON ROUTINE %s FROM PUBLIC', f);
	END LOOP;
END
$$;
