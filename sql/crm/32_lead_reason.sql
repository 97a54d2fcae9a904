-- Reason codes of leads.  A brokerage has its own: it adds codes, gives others other
-- words, and retires what it does not want, by events of streams crm_rule-lead_reason:<code>.
-- The state machine takes them from here, and is made anew with each change.  What was
-- recorded stays as it is: machines do not judge the past, and a code that is retired keeps its words.

CREATE FUNCTION crm.put_lead_reasons() RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	changed integer;
BEGIN
	PERFORM crm.put_table('lead_reason', $table$
		code        text PRIMARY KEY,
		category    text,
		label       text,
		phrase      text,
		event_types jsonb,
		is_retired  boolean NOT NULL DEFAULT false,
		changed_at  timestamptz,
		changed_by  text
	$table$);
	COMMENT ON TABLE crm.lead_reason IS 'Private: reason codes of leads that were changed, a projection. Read the view lead_reasons.';
	changed := crm.put_projection('crm.lead_reason', 'crm_rule', jsonb_build_object(
			'LeadReasonDefined', $rule$ category = event.data->>'category', label = event.data->>'label', phrase = event.data->>'phrase',
				event_types = event.data->'eventTypes', is_retired = false, changed_at = event.occurred_at, changed_by = event.actor $rule$,
			'LeadReasonRetired', $rule$ is_retired = true, changed_at = event.occurred_at, changed_by = event.actor $rule$),
			$key$ {"code": "event.data->>'code'"} $key$);

	PERFORM crm.put_view('lead_reasons', 'The reason codes of leads, one row each. Changed by define_lead_reason() and retire_lead_reason().',
			jsonb_build_object(
			'reason', 'The code.',
			'reason_category', 'What it counts as in reports.',
			'reason_label', 'The reason in words, for reports and forms.',
			'phrase', 'The same as it stands in a sentence, after "because".',
			'is_default', 'True if it was not changed.',
			'is_retired', 'True if it is not taken any more; what was recorded with it stays.',
			'changed_at', 'When it was changed last.',
			'changed_by', 'Actor who did.'), $view$
		SELECT coalesce(c.code, d.code) AS reason, coalesce(c.category, d.category) AS reason_category, coalesce(c.label, d.label) AS reason_label,
			   coalesce(c.phrase, d.phrase) AS phrase, c.code IS NULL AS is_default, coalesce(c.is_retired, false) AS is_retired,
			   c.changed_at, c.changed_by
		  FROM crm.lead_reason_defaults() d
		  FULL JOIN crm.lead_reason c ON c.code = d.code
		 WHERE coalesce(c.label, d.label) IS NOT NULL $view$);

	PERFORM crm.put_view('lead_event_reasons', 'Which reason codes an event of a lead takes, one row per event and code: what a form offers.',
			jsonb_build_object(
			'event_type', 'The event.',
			'is_required', 'True if it needs a reason.',
			'reason', 'A code that it takes.',
			'reason_category', 'What it counts as in reports.',
			'reason_label', 'The reason in words.',
			'is_retired', 'True if it is not taken any more.'), $view$
		SELECT e.event_type, e.is_required, r.reason, r.reason_category, r.reason_label, r.is_retired
		  FROM crm.lead_reasons r
		  LEFT JOIN crm.lead_reason c ON c.code = r.reason
		  LEFT JOIN crm.lead_reason_defaults() d ON d.code = r.reason
		  JOIN crm.lead_reason_events() e ON coalesce(c.event_types, to_jsonb(d.event_types)) ? e.event_type $view$);
	RETURN changed;
END
$$;
COMMENT ON FUNCTION crm.put_lead_reasons() IS 'Private, for install(): reason codes of leads; the state machine is made of them.';

-- Its view tells when timeouts are due, so both are of the same terms: those of the last time that this was called.
CREATE FUNCTION crm.put_lead_machine() RETURNS integer
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	changed CONSTANT integer := crm.put_state_machine('crm_lead', crm.lead_machine());
BEGIN
	PERFORM crm.put_view('lead_timeouts',
			'Leads whose time runs, one row each: when tick_leads() archives them unless something happens.', jsonb_build_object(
			'lead_id', 'The lead.',
			'state', 'State that it is in.',
			'event_type', 'Event that will be recorded.',
			'due_at',
			'From when, by settings lead_no_response_after and lead_attempts in CONTACTING (whichever is later) and lead_no_progress_after in QUALIFIED, as they were at the last install(); a day has 24 hours. Of a lead from before the time counts from its import: what nobody recorded is no inactivity.',
			'updated_at', 'When its last event happened.'), format($view$
		SELECT l.lead_id, l.state, t.event_type,
			   greatest((greatest(l.state_since, l.imported_at) AT TIME ZONE 'UTC' + t.term) AT TIME ZONE 'UTC', a.contacted_at) AS due_at,
			   l.updated_at
		  FROM crm.lead l
		  JOIN (VALUES ('CONTACTING', 'timeout_21d_no_response', interval %L, %s), ('QUALIFIED', 'timeout_180d_no_progress', interval %L, 0))
			   t (state, event_type, term, attempts) ON t.state = l.state AND l.contact_attempts >= t.attempts
		  -- The attempt that made it enough.
		  LEFT JOIN LATERAL (
			SELECT c.contacted_at FROM crm.lead_contact c
			 WHERE c.lead_id = l.lead_id AND c.direction = 'outbound' AND t.attempts > 0
			 ORDER BY c.version DESC OFFSET l.contact_attempts - t.attempts LIMIT 1) a ON true
		 WHERE eventsource.may_read_category('lead')
		   AND NOT EXISTS (SELECT FROM eventsource.erased_subjects x WHERE x.subject = 'lead-' || l.lead_id) $view$,
			crm.setting('lead_no_response_after')::interval, ceil(crm.setting('lead_attempts')::numeric),
			crm.setting('lead_no_progress_after')::interval));
	RETURN changed;
END
$$;
COMMENT ON FUNCTION crm.put_lead_machine() IS
	'Private, for install(): the state machine of leads, with the reason codes and the terms that settings say, and when its timeouts are due.';

CREATE FUNCTION crm.lead_terms_in_force() RETURNS jsonb
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT jsonb_object_agg(s.key, s.value->'after')
	  FROM eventsource.state_machines m, jsonb_each(m.definition->'states') s
	 WHERE m.name = 'crm_lead' AND m.is_current AND s.value ? 'after'
$$;
COMMENT ON FUNCTION crm.lead_terms_in_force() IS 'Private, for commands about reason codes: the timeouts of leads as the state machine has them.';

-- With the owner's rights, so that an admin of the CRM may call it; it takes no arguments.
CREATE FUNCTION crm.put_own_lead_machine() RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET client_min_messages = warning
	SET intervalstyle = postgres SET datestyle = 'ISO, MDY' SET extra_float_digits = 1 AS $$
DECLARE
	before CONSTANT jsonb := crm.lead_terms_in_force();
BEGIN
	-- All leads are gone through only if their terms are others.
	IF crm.put_lead_machine() > 0 AND before IS DISTINCT FROM crm.lead_terms_in_force() THEN
		PERFORM eventsource.schedule_timeouts('lead');
	END IF;
	PERFORM crm.put_graphql_comments();
END
$$;
COMMENT ON FUNCTION crm.put_own_lead_machine() IS
	'Private, for commands about reason codes: the state machine of leads as it should be now.';

CREATE FUNCTION crm.expect_other_reasons(reason text, event_types text[]) RETURNS void
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	bare text;
BEGIN
	SELECT string_agg(e.event_type, ', ' ORDER BY e.display_order) INTO bare
	  FROM crm.lead_reason_events() e
	 WHERE e.is_required AND e.event_type <> ALL (event_types)
	   AND NOT EXISTS (SELECT FROM crm.lead_event_reasons r
						WHERE r.event_type = e.event_type AND r.reason <> expect_other_reasons.reason AND NOT r.is_retired);
	IF bare IS NOT NULL THEN
		RAISE object_not_in_prerequisite_state USING
			MESSAGE = format('reason "%s" is the last that %s takes', reason, bare),
			DETAIL = 'An event that needs a reason cannot be without one.',
			HINT = 'Define another code for it first: define_lead_reason().';
	END IF;
END
$$;
COMMENT ON FUNCTION crm.expect_other_reasons(text, text[]) IS
	'Private, for commands about reason codes: if one goes on with these events alone, each event that needs a reason has one. Errors: 55000.';

-- One after the other, and not beside install(): each makes the machine of what the one before has left.
CREATE FUNCTION crm.define_lead_reason(reason text, label text DEFAULT NULL, category text DEFAULT NULL, event_types text[] DEFAULT NULL,
		phrase text DEFAULT NULL, actor text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	was record;
	is_known boolean;
BEGIN
	PERFORM crm.expect_installed();
	PERFORM eventsource.lock_stream('crm_setting-install');
	SELECT r.* INTO was FROM crm.lead_reasons r WHERE r.reason = define_lead_reason.reason;
	is_known := FOUND;
	IF NOT is_known AND (label IS NULL OR category IS NULL OR coalesce(cardinality(event_types), 0) = 0) THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('reason "%s" is new, and not told of in full', reason),
			DETAIL = 'A new code has a label, a category that it counts as in reports, and events that take it.',
			HINT = format('Events that take such codes: %s.',
				(SELECT string_agg(e.event_type, ', ' ORDER BY e.display_order) FROM crm.lead_reason_events() e));
	END IF;
	IF event_types IS NOT NULL THEN
		PERFORM crm.expect_other_reasons(reason, event_types);
	END IF;
	PERFORM eventsource.append('crm_rule-lead_reason:' || reason, 'LeadReasonDefined', jsonb_build_object(
				'code', reason, 'label', coalesce(label, was.reason_label), 'category', coalesce(category, was.reason_category),
				'phrase', coalesce(phrase, was.phrase, 'of ' || replace(reason, '_', ' ')),
				'eventTypes', coalesce(to_jsonb(event_types), (
					SELECT jsonb_agg(e.event_type ORDER BY e.event_type) FROM crm.lead_event_reasons e WHERE e.reason = define_lead_reason.reason))),
			actor => actor);
	PERFORM crm.put_own_lead_machine();
END
$$;
COMMENT ON FUNCTION crm.define_lead_reason(text, text, text, text[], text, text) IS
	'Adds a reason code of leads, or gives one other words; what is NULL stays as it is, and a code that was retired holds again. label: in words; category: what it counts as in reports; event_types: the events that take it, of deal_collapsed, contract_voided, bogus_contact_detected, lead_assigned, contact_attempted, flag_set and flag_cleared; phrase: as it stands after "because". Holds at once, for all that is appended from then on; reports call what was recorded before by the new words, too. It is an event. For admins of the CRM. Errors: 22023 a new code without label, category or events, ZE007 bad code or unknown event, 55000 an event that needs a reason would have none.';

CREATE FUNCTION crm.retire_lead_reason(reason text, actor text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.expect_installed();
	PERFORM eventsource.lock_stream('crm_setting-install');
	PERFORM crm.expect_found(EXISTS (SELECT FROM crm.lead_reasons r WHERE r.reason = retire_lead_reason.reason AND NOT r.is_retired),
							 format('reason "%s" that holds', reason), 'lead_reasons');
	PERFORM crm.expect_other_reasons(reason, '{}');
	PERFORM eventsource.append('crm_rule-lead_reason:' || reason, 'LeadReasonRetired', jsonb_build_object('code', reason), actor => actor);
	PERFORM crm.put_own_lead_machine();
END
$$;
COMMENT ON FUNCTION crm.retire_lead_reason(text, text) IS
	'A reason code of leads is not taken any more, from now on. What was recorded with it stays, and reports tell of it as before; define_lead_reason() makes it hold again. It is an event. For admins of the CRM. Errors: 42704 no such code, or retired already, 55000 an event that needs a reason would have none.';
