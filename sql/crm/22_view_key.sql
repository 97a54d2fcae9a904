-- Keys of views, which no catalogue knows. For those who make programs of views, and for pg_graphql, which reads
-- them from comments: where setting graphql_comments says so, the comment of a view ends with them.

CREATE FUNCTION crm.view_keys() RETURNS TABLE (view_name text, key_columns text[])
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	VALUES ('abandoned_carts', '{cart_id}'::text[]),
		('account_balances', '{account_id,currency}'),
		('board', '{lead_id}'),
		('board_columns', '{state}'),
		('campaign_runs', '{run_id}'),
		('campaign_steps', '{campaign_id,step_number}'),
		('campaigns', '{campaign_id}'),
		('cart_items', '{cart_id,product_id}'),
		('carts', '{cart_id}'),
		('channel_rules', '{channel,message_class}'),
		('consent_history', '{customer_id,version}'),
		('consents', '{customer_id,purpose,channel}'),
		('customer_360', '{customer_id}'),
		('customer_affinities', '{customer_id,product_category}'),
		('customer_audit_trail', '{customer_id,version,field}'),
		('customer_lifetime_values', '{customer_id,currency}'),
		('customer_purchases', '{customer_id,currency}'),
		('customers', '{customer_id}'),
		('daily_metrics', '{time,metric}'),
		('dead_letters', '{message_id}'),
		('deal_collapse_events', '{lead_id,version}'),
		('event_types', '{event_type}'),
		('frequency_caps', '{cap_id}'),
		('funnel_conversions', '{funnel_id,step_number}'),
		('funnel_dropoffs', '{customer_id}'),
		('funnel_stages', '{funnel_id,step_number}'),
		('identities', '{visitor_id}'),
		('integration_deliveries', '{integration_id,version}'),
		('integrations', '{integration_id}'),
		('journeys', '{event_position}'),
		('lead_assignments', '{lead_id,version}'),
		('lead_bounces', '{lead_id,state}'),
		('lead_contacts', '{lead_id,version}'),
		('lead_flags', '{lead_id,flag,version}'),
		('lead_metrics', '{time,metric}'),
		('lead_reasons', '{reason}'),
		('lead_state_visits', '{lead_id,version}'),
		('lead_temperatures', '{lead_id}'),
		('lead_timeline', '{lead_id,version}'),
		('lead_timeouts', '{lead_id}'),
		('leads', '{lead_id}'),
		('ledger_entries', '{account_id,version}'),
		('messages', '{message_id}'),
		('ocel_events', '{ocel_id}'),
		('ocel_objects', '{ocel_id}'),
		('order_items', '{order_id,product_id}'),
		('order_state_visits', '{order_id,status,visit_number}'),
		('order_timeline', '{order_id,version}'),
		('orders', '{order_id}'),
		('paths_to_conversion', '{cv_id}'),
		('payment_failures', '{order_id,version}'),
		('payments', '{order_id,payment_id}'),
		('preferences', '{customer_id}'),
		('product_affinities', '{customer_id,currency,product_category}'),
		('push_topics', '{customer_id,topic}'),
		('refunds', '{order_id,refund_id}'),
		('segment_history', '{customer_id,segment_id,version}'),
		('segment_members', '{segment_id,customer_id}'),
		('segments', '{segment_id}'),
		('sessions', '{session_id}'),
		('settings', '{setting_name}'),
		('sla_first_contacts', '{lead_id}'),
		('suppressions', '{customer_id,channel,reason}'),
		('touchpoints', '{event_position}')
$$;
COMMENT ON FUNCTION crm.view_keys() IS
	'Which columns tell the rows of a view apart, one row per view: no two rows have the same values in them, and none is NULL. Reports that group by what may be NULL, and views named as process mining names them, have none.';

-- A column called after the key of another view refers to it.
CREATE FUNCTION crm.graphql_directive(name text) RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT format(E'\n@graphql(%s)', jsonb_build_object('primary_key_columns', to_jsonb(k.key_columns), 'foreign_keys', (
			SELECT coalesce(jsonb_agg(jsonb_build_object('local_columns', jsonb_build_array(a.attname), 'foreign_schema', 'crm',
						'foreign_table', f.view_name, 'foreign_columns', to_jsonb(f.key_columns)) ORDER BY a.attnum), '[]')
			  FROM pg_attribute a
			  JOIN crm.view_keys() f ON f.key_columns = ARRAY[a.attname::text]
			 WHERE a.attrelid = to_regclass(format('crm.%I', name)) AND a.attnum > 0 AND NOT a.attisdropped AND f.view_name <> name
			   AND f.view_name IN ('campaign_runs', 'campaigns', 'carts', 'customers', 'integrations', 'leads', 'messages', 'orders', 'segments',
				'sessions'))))
	  FROM crm.view_keys() k WHERE k.view_name = name
$$;
COMMENT ON FUNCTION crm.graphql_directive(text) IS
	'Private, for put_graphql_comments(): the end of a view''s comment that tells pg_graphql its key and what it refers to; NULL where there is no key.';

-- Where they stay as they are nothing is touched.
CREATE FUNCTION crm.put_graphql_comments() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	is_wanted CONSTANT boolean := crm.setting('graphql_comments') = 'on';
	v record;
BEGIN
	FOR v IN SELECT c.oid::regclass AS name, d.is_now, split_part(d.is_now, E'\n@graphql(', 1)
					|| CASE WHEN is_wanted THEN coalesce(crm.graphql_directive(c.relname), '') ELSE '' END AS wanted
			   FROM pg_class c, LATERAL (SELECT obj_description(c.oid, 'pg_class') AS is_now) d
			  WHERE c.relnamespace = 'crm'::regnamespace AND c.relkind = 'v' ORDER BY c.relname LOOP
		IF v.is_now <> v.wanted THEN
			EXECUTE format('COMMENT ON VIEW %s IS %L', v.name, v.wanted);
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION crm.put_graphql_comments() IS
	'Private, for install(): comments of views with or without their keys, as setting graphql_comments says.';
