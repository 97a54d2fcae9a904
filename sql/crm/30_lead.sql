-- Leads: the lifecycle as a state machine, and the tables that their events fold
-- into.  Eight states; thirteen ways between them, each with its event.  Moves back
-- and into the bin give a reason.  The event is the trigger (deal_collapsed), the
-- reason the cause (financing); which codes there are, 32_lead_reason.sql says.

-- "restricted" is what flags make of a channel.  The days of a timeout count from
-- the import where there was one: what nobody recorded is no inactivity.
CREATE FUNCTION crm.lead_machine() RETURNS jsonb
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $fn$
DECLARE
	attempts CONSTANT numeric := crm.setting('lead_attempts');
	no_response CONSTANT text := crm.setting('lead_no_response_after');
	no_progress CONSTANT text := crm.setting('lead_no_progress_after');
	-- Days are of 24 hours, as those of timeouts.
	since CONSTANT text := $$event.occurred_at AT TIME ZONE 'UTC' >= greatest(row.state_since, row.imported_at) AT TIME ZONE 'UTC' + interval %L$$;
	restricted CONSTANT text := (
		SELECT format('(%s)', string_agg(format('row.flags ? %L AND event.data->>''channel'' IN (%s)', f.flag,
				(SELECT string_agg(quote_literal(c), ', ') FROM unnest(f.forbids) c)), ' OR ' ORDER BY f.display_order))
		  FROM crm.lead_flag_rules() f);
	-- What an edge says of reasons: its codes; where all were retired, any that there is, or none.
	takes CONSTANT jsonb := (
		SELECT jsonb_object_agg(e.event_type, jsonb_build_object('reason',
						CASE WHEN e.is_required THEN 'required' WHEN r.codes IS NULL THEN 'forbidden' ELSE 'optional' END)
					|| CASE WHEN r.codes IS NULL THEN '{}' ELSE jsonb_build_object('reasons', r.codes) END)
		  FROM crm.lead_reason_events() e
		  LEFT JOIN (SELECT x.event_type, jsonb_agg(x.reason ORDER BY x.reason COLLATE "C") AS codes
					   FROM crm.lead_event_reasons x WHERE NOT x.is_retired GROUP BY x.event_type) r ON r.event_type = e.event_type);
	attempt CONSTANT jsonb := takes->'contact_attempted' || jsonb_build_object('guard', jsonb_build_array(
			jsonb_build_object('not_by_a_program', format('NOT %s OR event.actor NOT LIKE ''system:%%''', restricted)),
			jsonb_build_object('restricted_needs_reason', format('NOT %s OR event.reason IS NOT NULL', restricted))));
	trash CONSTANT jsonb := takes->'bogus_contact_detected' || '{"target": "TRASHED", "kind": "backward"}';
BEGIN
	RETURN jsonb_build_object(
		'description', 'From the first contact to the closing',
		'initial', 'NEW',
		'create', jsonb_build_object(
			'contact_form_submission', 'NEW',
			'lead_imported', (SELECT jsonb_agg(jsonb_build_object('target', s.state,
								'guard', jsonb_build_object('state_is_known', format('event.data->>''state'' = %L', s.state)))
									ORDER BY s.display_order)
								FROM crm.lead_states() s)),
		'states', jsonb_build_object(
			'NEW', jsonb_build_object('on', jsonb_build_object(
				'contact_attempted', attempt || '{"target": "CONTACTING", "kind": "forward"}',
				'bogus_contact_detected', trash)),
			'CONTACTING', jsonb_build_object('on', jsonb_build_object(
				'motivation_confirmed', '{"target": "QUALIFIED", "kind": "forward"}'::jsonb,
				'timeout_21d_no_response', jsonb_build_object('target', 'ARCHIVED', 'kind', 'backward', 'guard', jsonb_build_array(
					jsonb_build_object('enough_attempts', format('row.contact_attempts >= %s', attempts)),
					jsonb_build_object('long_enough', format(since, no_response)))),
				'bogus_contact_detected', trash), 'after', jsonb_build_object(no_response, 'timeout_21d_no_response')),
			'QUALIFIED', jsonb_build_object('on', jsonb_build_object(
				'buyer_agreement_signed', '{"target": "COMMITTED", "kind": "forward"}'::jsonb,
				'timeout_180d_no_progress', jsonb_build_object('target', 'ARCHIVED', 'kind', 'backward',
					'guard', jsonb_build_object('long_enough', format(since, no_progress)))),
				'after', jsonb_build_object(no_progress, 'timeout_180d_no_progress')),
			'COMMITTED', jsonb_build_object('on', jsonb_build_object(
				'contract_executed', '{"target": "IN_CONTRACT", "kind": "forward"}'::jsonb,
				'deal_collapsed', takes->'deal_collapsed' || '{"target": "QUALIFIED", "kind": "backward",
					"label": "The deal fell through before a contract", "fill": {"agent_id": "row.agent_id"}}')),
			'IN_CONTRACT', jsonb_build_object('on', jsonb_build_object(
				'closing_complete', '{"target": "CLOSED", "kind": "forward"}'::jsonb,
				'contract_voided', takes->'contract_voided' || '{"target": "QUALIFIED", "kind": "backward", "label": "The contract was voided",
					"fill": {"agent_id": "row.agent_id"}}')),
			'CLOSED', '{"type": "final", "description": "A repeat deal is a new lead"}'::jsonb,
			'ARCHIVED', '{"on": {"lead_re_engaged": {"target": "CONTACTING", "kind": "forward"}}}'::jsonb,
			'TRASHED', '{"on": {"contact_info_updated": {"target": "NEW", "kind": "forward"}}}'::jsonb),
		'on', jsonb_build_object(
			'contact_attempted', attempt,
			'contact_received', '{"reason": "forbidden"}'::jsonb,
			'lead_engaged', '{"reason": "forbidden"}'::jsonb,
			'contact_info_updated', '{"reason": "forbidden"}'::jsonb,
			'note_added', '{"reason": "forbidden"}'::jsonb,
			'flag_set', takes->'flag_set'
				|| jsonb_build_object('guard', jsonb_build_object('flag_is_not_set', 'NOT row.flags ? (event.data->>''flag'')')),
			'flag_cleared', takes->'flag_cleared'
				|| jsonb_build_object('guard', jsonb_build_object('flag_is_set', 'row.flags ? (event.data->>''flag'')')),
			'lead_assigned', takes->'lead_assigned' || jsonb_build_object(
				'guard', jsonb_build_object('another_agent', 'event.data->>''agent_id'' IS DISTINCT FROM row.agent_id'),
				'fill', jsonb_build_object('from_agent_id', 'row.agent_id'))),
		'reasons', (SELECT jsonb_object_agg(r.reason, jsonb_build_object('category', r.reason_category, 'label', r.reason_label))
					  FROM crm.lead_reasons r WHERE NOT r.is_retired));
END
$fn$;
COMMENT ON FUNCTION crm.lead_machine() IS 'Private, for put_lead_machine(): the lifecycle of a lead, with its reason codes and terms.';

CREATE FUNCTION crm.make_leads() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_table('lead', $table$
		lead_id           text PRIMARY KEY,
		name              text,
		email             text,
		phone             text,
		source            text,
		property          text,
		state             text,
		previous_state    text,
		state_since       timestamptz,
		agent_id          text,
		assigned_at       timestamptz,
		intake_at         timestamptz,
		first_outreach_at timestamptz,
		contact_attempts  integer NOT NULL DEFAULT 0,
		last_contact_at   timestamptz,
		last_response_at  timestamptz,
		demotions         integer NOT NULL DEFAULT 0,
		flags             jsonb NOT NULL DEFAULT '{}',
		legacy_status     text,
		is_backfilled     boolean NOT NULL DEFAULT false,
		imported_at       timestamptz,
		updated_at        timestamptz,
		version           bigint
	$table$);
	COMMENT ON TABLE crm.lead IS 'Private: leads as they are now, a projection. Read the view leads.';
	CREATE INDEX IF NOT EXISTS lead_state_idx ON crm.lead (state, state_since);

	PERFORM crm.put_table('lead_visit', $table$
		lead_id      text,
		version      bigint,
		state        text,
		from_state   text,
		event_type   text,
		reason       text,
		actor        text,
		agent_id     text,
		entered_at   timestamptz,
		is_synthetic boolean NOT NULL DEFAULT false,
		PRIMARY KEY (lead_id, version)
	$table$);
	COMMENT ON TABLE crm.lead_visit IS 'Private: entries of leads into states, a projection. Read the view lead_state_visits.';

	PERFORM crm.put_table('lead_assignment', $table$
		lead_id       text,
		version       bigint,
		agent_id      text,
		from_agent_id text,
		reason        text,
		actor         text,
		assigned_at   timestamptz,
		PRIMARY KEY (lead_id, version)
	$table$);
	COMMENT ON TABLE crm.lead_assignment IS 'Private: changes of agent, a projection. Read the view lead_assignments.';

	PERFORM crm.put_table('lead_flag_change', $table$
		lead_id    text,
		version    bigint,
		flag       text,
		is_set     boolean NOT NULL DEFAULT false,
		reason     text,
		actor      text,
		changed_at timestamptz,
		PRIMARY KEY (lead_id, version, flag)
	$table$);
	COMMENT ON TABLE crm.lead_flag_change IS 'Private: flags set and cleared, a projection. Read the view lead_flags.';

	PERFORM crm.put_table('lead_contact', $table$
		lead_id      text,
		version      bigint,
		channel      text,
		direction    text,
		outcome      text,
		reason       text,
		actor        text,
		contacted_at timestamptz,
		PRIMARY KEY (lead_id, version)
	$table$);
	COMMENT ON TABLE crm.lead_contact IS 'Private: the contact log, a projection. Read the view lead_contacts.';

	PERFORM crm.put_table('lead_signal', $table$
		lead_id     text,
		version     bigint,
		signal      text,
		signaled_at timestamptz,
		PRIMARY KEY (lead_id, version)
	$table$);
	COMMENT ON TABLE crm.lead_signal IS 'Private: signals of interest, a projection. Read the view lead_temperatures.';
END
$$;
COMMENT ON FUNCTION crm.make_leads() IS 'Private, for install(): tables of leads.';

-- One row per lead, and one per event of a kind, so that intervals are read off
-- two rows in order and no event needs to touch two.
CREATE FUNCTION crm.put_leads() RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	changed integer;
	key CONSTANT jsonb := '{"lead_id": "event.key", "version": "event.version"}';
	always CONSTANT text := $rule$ state = event.to_state, updated_at = event.occurred_at, version = event.version,
		previous_state = CASE WHEN event.to_state IS DISTINCT FROM event.from_state THEN event.from_state ELSE row.previous_state END,
		state_since = CASE WHEN event.to_state IS DISTINCT FROM event.from_state THEN event.occurred_at ELSE row.state_since END $rule$;
BEGIN
	changed := crm.put_projection('crm.lead', 'lead', (
			SELECT jsonb_object_agg(rule.type, concat_ws(', ', rule.set, always)) FROM (SELECT * FROM (VALUES
				('*', NULL),
				('contact_form_submission', $rule$ name = event.data->>'name', email = event.data->>'email', phone = event.data->>'phone',
					source = event.data->>'source', property = event.data->>'property', intake_at = event.occurred_at $rule$),
				('lead_imported', $rule$ name = event.data->>'name', email = event.data->>'email', phone = event.data->>'phone',
					source = event.data->>'source', agent_id = event.data->>'agent_id', flags = coalesce(event.data->'flags', '{}'),
					legacy_status = event.data->>'legacy_status', intake_at = (event.data->>'created_at')::timestamptz, is_backfilled = true,
					imported_at = event.recorded_at,
					assigned_at = CASE WHEN event.data->>'agent_id' IS NOT NULL THEN event.occurred_at END $rule$),
				-- A field that is given as null is taken away, one that is not given stays.
				('contact_info_updated', $rule$
					name = CASE WHEN event.data ? 'name' THEN event.data->>'name' ELSE row.name END,
					email = CASE WHEN event.data ? 'email' THEN event.data->>'email' ELSE row.email END,
					phone = CASE WHEN event.data ? 'phone' THEN event.data->>'phone' ELSE row.phone END,
					contact_attempts = CASE WHEN event.to_state = event.from_state THEN row.contact_attempts ELSE 0 END $rule$),
				('contact_attempted', $rule$ contact_attempts = row.contact_attempts + 1, last_contact_at = event.occurred_at,
					first_outreach_at = coalesce(row.first_outreach_at, event.occurred_at) $rule$),
				('contact_received', $rule$ last_contact_at = event.occurred_at, last_response_at = event.occurred_at $rule$),
				('lead_re_engaged', $rule$ contact_attempts = 0 $rule$),
				('lead_assigned', $rule$ agent_id = event.data->>'agent_id', assigned_at = event.occurred_at $rule$),
				('flag_set',
					$rule$ flags = row.flags || jsonb_build_object(event.data->>'flag', jsonb_build_object('version', event.version)) $rule$),
				('flag_cleared', $rule$ flags = row.flags - (event.data->>'flag') $rule$)
				) told (type, set)
				 UNION ALL SELECT c.event_type, $rule$ demotions = row.demotions + 1 $rule$ FROM crm.lead_collapse_events() c) rule))
		+ crm.put_projection('crm.lead_visit', 'lead', jsonb_build_object('*', jsonb_build_object(
			'where', 'event.to_state IS DISTINCT FROM event.from_state',
			'set', $rule$ state = event.to_state, from_state = event.from_state, event_type = event.type, reason = event.reason, actor = event.actor,
				agent_id = event.data->>'agent_id', entered_at = event.occurred_at,
				is_synthetic = event.is_synthetic OR coalesce(event.metadata->>'import' = 'true', false) $rule$)), key)
		+ crm.put_projection('crm.lead_assignment', 'lead', jsonb_build_object(
			'lead_assigned', $rule$ agent_id = event.data->>'agent_id', from_agent_id = event.data->>'from_agent_id', reason = event.reason,
				actor = event.actor, assigned_at = event.occurred_at $rule$,
			'lead_imported', jsonb_build_object('where', $rule$ event.data->>'agent_id' IS NOT NULL $rule$,
				'set', $rule$ agent_id = event.data->>'agent_id', actor = event.actor, assigned_at = event.occurred_at $rule$)), key)
		+ crm.put_projection('crm.lead_flag_change', 'lead', jsonb_build_object(
			'flag_set', $rule$ is_set = true, reason = event.reason, actor = event.actor, changed_at = event.occurred_at $rule$,
			'flag_cleared', $rule$ is_set = false, reason = event.reason, actor = event.actor, changed_at = event.occurred_at $rule$,
			'lead_imported', jsonb_build_object('each', $rule$ jsonb_object_keys(event.data->'flags') $rule$, 'key', key || '{"flag": "item"}',
				'set', $rule$ is_set = true, actor = event.actor, changed_at = event.occurred_at $rule$)),
			key || jsonb_build_object('flag', $rule$ event.data->>'flag' $rule$))
		+ crm.put_projection('crm.lead_contact', 'lead', jsonb_build_object(
			'contact_attempted', $rule$ channel = event.data->>'channel', direction = 'outbound', outcome = event.data->>'outcome',
				reason = event.reason, actor = event.actor, contacted_at = event.occurred_at $rule$,
			'contact_received', $rule$ channel = event.data->>'channel', direction = 'inbound', actor = event.actor,
				contacted_at = event.occurred_at $rule$), key)
		+ crm.put_projection('crm.lead_signal', 'lead', jsonb_build_object(
			'lead_engaged', $rule$ signal = event.data->>'signal', signaled_at = event.occurred_at $rule$,
			'contact_received', $rule$ signal = 'replied', signaled_at = event.occurred_at $rule$), key)
		+ crm.put_lead_reasons() + crm.put_lead_machine();
	-- Of an earlier version.
	IF EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = 'crm.lead'::regclass AND a.attname = 'sixth_attempt_at') THEN
		ALTER TABLE crm.lead DROP COLUMN sixth_attempt_at;
	END IF;
	RETURN changed;
END
$$;
COMMENT ON FUNCTION crm.put_leads() IS 'Private, for install(): projections, reason codes and state machine of leads.';
