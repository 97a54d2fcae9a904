-- What people and programs read about leads: one row per lead, per event, per
-- visit, per interval.

-- One expression: with a query in it, or a path to set, a call takes longer than all the rest of a row.
CREATE FUNCTION crm.lead_sentence(type text, actor text, data jsonb, reason text, from_state text, to_state text, at timestamptz) RETURNS text
	LANGUAGE sql STABLE
	RETURN CASE type
			WHEN 'contact_form_submission' THEN concat('Inquiry received', ' through ' || (data->>'source'))
			WHEN 'lead_imported' THEN concat('Brought in as ', to_state, ' from the system before', ', where it was "' || (data->>'legacy_status')
				|| '"')
			WHEN 'lead_assigned' THEN CASE WHEN data->>'from_agent_id' IS NULL THEN format('Assigned to %s', initcap(data->>'agent_id'))
				ELSE format('%s handed off to %s', initcap(data->>'from_agent_id'), initcap(data->>'agent_id')) END
			WHEN 'contact_attempted' THEN concat(initcap(regexp_replace(actor, '^[a-z]+:', '')),
				CASE data->>'channel' WHEN 'phone' THEN ' called' WHEN 'email' THEN ' e-mailed' WHEN 'text' THEN ' texted'
				ELSE ' tried to reach the lead' END, ', ' || replace(data->>'outcome', '_', ' '))
			WHEN 'contact_received' THEN concat('The lead answered by ', replace(data->>'channel', '_', ' '))
			WHEN 'lead_engaged' THEN concat('The lead: ', replace(data->>'signal', '_', ' '))
			WHEN 'flag_set' THEN format('%s set %s', initcap(regexp_replace(actor, '^[a-z]+:', '')), data->>'flag')
			WHEN 'flag_cleared' THEN format('%s cleared %s', initcap(regexp_replace(actor, '^[a-z]+:', '')), data->>'flag')
			WHEN 'note_added' THEN format('%s noted: %s', initcap(regexp_replace(actor, '^[a-z]+:', '')), data->>'text')
			WHEN 'timeout_21d_no_response' THEN 'Archived: no answer in time'
			WHEN 'timeout_180d_no_progress' THEN 'Archived: no progress in time'
			ELSE concat(initcap(regexp_replace(actor, '^[a-z]+:', '')), ' recorded ', replace(type, '_', ' '))
		   END
		|| CASE WHEN from_state <> to_state THEN format(' (%s to %s)', from_state, to_state) ELSE '' END
		|| to_char(at, '" on "FMMonth FMDDth')
		|| coalesce(' because ' || reason, '');
COMMENT ON FUNCTION crm.lead_sentence(text, text, jsonb, text, text, text, timestamptz) IS
	'Private, for lead_timeline: an event of a lead in words, with the date in the session''s time zone. reason: in words.';

CREATE FUNCTION crm.put_lead_views() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_view('lead_temperatures', 'How engaged each lead is now: points of what it did of late.', jsonb_build_object(
			'lead_id', 'The lead.', 'score', 'Points of its signals within setting temperature_window.',
			'temperature', 'HOT, WARM or COLD: score from settings temperature_hot and temperature_warm up.',
			'signal_count', 'How many signals count.', 'last_signal_at', 'When the last one was; NULL: none counts.'), $view$
		SELECT l.lead_id, s.score,
			   CASE WHEN s.score >= hot.value::numeric THEN 'HOT' WHEN s.score >= warm.value::numeric THEN 'WARM' ELSE 'COLD' END AS temperature,
			   s.signal_count, s.last_signal_at
		  FROM crm.lead l
		  JOIN crm.settings hot ON hot.setting_name = 'temperature_hot'
		  JOIN crm.settings warm ON warm.setting_name = 'temperature_warm'
		  JOIN crm.settings term ON term.setting_name = 'temperature_window'
		 CROSS JOIN LATERAL (
			SELECT coalesce(sum(points.value::numeric), 0) AS score, count(*) AS signal_count, max(g.signaled_at) AS last_signal_at
			  FROM crm.lead_signal g
			  JOIN crm.settings points ON points.setting_name = 'signal_' || g.signal
			 WHERE g.lead_id = l.lead_id AND g.signaled_at >= (now() AT TIME ZONE 'UTC' - term.value::interval) AT TIME ZONE 'UTC') s
		 WHERE eventsource.may_read_category('lead') $view$);

	PERFORM crm.put_view('sla_first_contacts', 'First contact: one row per lead that came in by an inquiry. Leads from before have none.',
		jsonb_build_object(
			'lead_id', 'The lead.', 'agent_id', 'Whose it is now.', 'intake_at', 'When the inquiry arrived.',
			'due_at', 'Until when it is to be contacted: setting first_contact_sla later, inclusive.',
			'first_outreach_at', 'First attempt to reach it; NULL: none yet.', 'response_time', 'From the inquiry to it; NULL: none yet.',
			'status', 'met, breached, or active while it can still be met.', 'is_breached', 'True if breached.'), $view$
		SELECT l.lead_id, l.agent_id, l.intake_at, due.at AS due_at, l.first_outreach_at,
			   CASE WHEN l.first_outreach_at IS NOT NULL THEN greatest(l.first_outreach_at - l.intake_at, '0') END AS response_time,
			   CASE WHEN l.first_outreach_at <= due.at THEN 'met' WHEN coalesce(l.first_outreach_at, now()) > due.at THEN 'breached'
				ELSE 'active' END AS status,
			   coalesce(l.first_outreach_at, now()) > due.at AS is_breached
		  FROM crm.lead l
		  JOIN crm.settings sla ON sla.setting_name = 'first_contact_sla'
		 CROSS JOIN LATERAL (SELECT (l.intake_at AT TIME ZONE 'UTC' + sla.value::interval) AT TIME ZONE 'UTC' AS at) due
		 WHERE NOT l.is_backfilled AND eventsource.may_read_category('lead') $view$);

	PERFORM crm.put_view('lead_assignments', 'Who had a lead, from when to when: one row per change of agent.', jsonb_build_object(
			'lead_id', 'The lead.',
			'version', 'Version of the event in the lead''s stream.',
			'agent_id', 'Who got it.',
			'from_agent_id', 'Who had it before, as the database knew; NULL: nobody.',
			'assigned_at', 'From when.',
			'assigned_until', 'Until when; NULL: now.',
			'duration', 'How long; until now where it lasts.',
			'reason', 'Code of the reason, if one was given.',
			'reason_label', 'The reason in words.',
			'assigned_by', 'Actor.',
			'is_current', 'True for who has it now.'), $view$
		SELECT a.lead_id, a.version, a.agent_id, a.from_agent_id, a.assigned_at, a.assigned_until,
			   greatest(coalesce(a.assigned_until, now()) - a.assigned_at, '0') AS duration,
			   a.reason, r.reason_label, a.actor AS assigned_by, a.assigned_until IS NULL AS is_current
		  FROM (SELECT x.*, lead(x.assigned_at) OVER (PARTITION BY x.lead_id ORDER BY x.version) AS assigned_until
				  FROM crm.lead_assignment x) a
		  LEFT JOIN crm.lead_reasons r ON r.reason = a.reason
		 WHERE eventsource.may_read_category('lead') $view$);

	PERFORM crm.put_view('lead_flags', 'When a lead might not be contacted in some way: one row per interval.', jsonb_build_object(
			'lead_id', 'The lead.',
			'flag', 'unsubscribed, dnc, do_not_email, do_not_text or do_not_call.',
			'version', 'Version of the event that set it.',
			'set_at', 'From when.',
			'cleared_at', 'Until when; NULL: now.',
			'duration', 'How long; until now where it lasts.',
			'set_by', 'Actor who set it.',
			'set_reason', 'Why, as a code.',
			'cleared_by', 'Actor who cleared it.',
			'cleared_reason', 'Why, as a code.',
			'is_current', 'True while it is set.'), $view$
		SELECT f.lead_id, f.flag, f.version, f.changed_at AS set_at, f.cleared_at,
			   greatest(coalesce(f.cleared_at, now()) - f.changed_at, '0') AS duration,
			   f.actor AS set_by, f.reason AS set_reason, f.cleared_by, f.cleared_reason, f.cleared_at IS NULL AS is_current
		  FROM (SELECT x.*, lead(x.changed_at) OVER w AS cleared_at, lead(x.actor) OVER w AS cleared_by, lead(x.reason) OVER w AS cleared_reason
				  FROM crm.lead_flag_change x WINDOW w AS (PARTITION BY x.lead_id, x.flag ORDER BY x.version)) f
		 WHERE f.is_set AND eventsource.may_read_category('lead') $view$);

	PERFORM crm.put_view('lead_contacts', 'The contact log: one row per attempt to reach a lead and per message of a lead.', jsonb_build_object(
			'lead_id', 'The lead.',
			'version', 'Version of the event.',
			'contacted_at', 'When.',
			'direction', 'outbound: ours; inbound: the lead''s.',
			'channel', 'phone, email, text, in_person or other.',
			'outcome', 'What came of it.',
			'reason', 'Why, where the lead was not to be contacted.',
			'contacted_by', 'Actor.',
			'attempt_number', 'Count of our attempts so far; NULL for what the lead did.',
			'is_first_outreach', 'True for our first attempt.'), $view$
		SELECT c.lead_id, c.version, c.contacted_at, c.direction, c.channel, c.outcome, c.reason, c.actor AS contacted_by,
			   CASE WHEN c.direction = 'outbound' THEN count(*) FILTER (WHERE c.direction = 'outbound') OVER w END AS attempt_number,
			   c.direction = 'outbound' AND count(*) FILTER (WHERE c.direction = 'outbound') OVER w = 1 AS is_first_outreach
		  FROM crm.lead_contact c
		 WHERE eventsource.may_read_category('lead')
		WINDOW w AS (PARTITION BY c.lead_id ORDER BY c.version) $view$);

	PERFORM crm.put_view('lead_state_visits', 'One row per visit of a lead to a state, with how it got there.', jsonb_build_object(
			'lead_id', 'The lead.',
			'version', 'Version of the event that led there.',
			'state', 'The state.',
			'visit_number', 'Which visit of the lead to this state: 1, 2 ...',
			'from_state', 'State before; NULL: it began here.',
			'arrival_path', 'Up to two states before and this one, joined by '' > ''.',
			'arrival_kind', 'new, forward, demoted, reengaged, set_aside, restored or imported.',
			'event_type', 'Event that led there.',
			'reason', 'Its reason, as a code.',
			'reason_category', 'What the reason counts as.',
			'entered_by', 'Actor.',
			'agent_id', 'Whose the lead was when the visit ended, or is.',
			'entered_at', 'From when.',
			'exited_at', 'Until when; NULL: now.',
			'exited_by_event', 'Event that ended the visit.',
			'duration', 'How long; until now where it lasts.',
			'is_current', 'True where the lead is now.',
			'is_demotion', 'True if a deal fell through.',
			'is_reengaged', 'True if it came back from the archive.',
			'is_synthetic', 'True if the visit was told by an import.'), $view$
		SELECT v.lead_id, v.version, v.state, v.visit_number, v.from_state,
			   concat_ws(' > ', v.state_before, v.from_state, v.state) AS arrival_path,
			   CASE WHEN v.event_type = 'lead_imported' THEN 'imported'
					WHEN v.from_state IS NULL THEN 'new'
					WHEN k.event_type IS NOT NULL THEN 'demoted'
					WHEN v.event_type = 'lead_re_engaged' OR v.from_state = 'CONTACTING' AND v.state_before = 'ARCHIVED'
						AND v.state = 'QUALIFIED' THEN 'reengaged'
					WHEN v.state IN ('ARCHIVED', 'TRASHED') THEN 'set_aside'
					WHEN v.from_state = 'TRASHED' THEN 'restored'
					ELSE 'forward' END AS arrival_kind,
			   v.event_type, v.reason, r.reason_category, v.actor AS entered_by, o.agent_id,
			   v.entered_at, CASE WHEN v.exited_by_event IS NOT NULL THEN greatest(v.exited_at, v.entered_at) END AS exited_at, v.exited_by_event,
			   greatest(coalesce(v.exited_at, now()) - v.entered_at, '0') AS duration, v.exited_by_event IS NULL AS is_current,
			   k.event_type IS NOT NULL AS is_demotion,
			   coalesce(v.event_type = 'lead_re_engaged' OR v.from_state = 'CONTACTING' AND v.state_before = 'ARCHIVED' AND v.state = 'QUALIFIED',
				false) AS is_reengaged,
			   v.is_synthetic
		  FROM (SELECT x.*, row_number() OVER (PARTITION BY x.lead_id, x.state ORDER BY x.version) AS visit_number,
					   lag(x.from_state) OVER w AS state_before, lead(x.entered_at) OVER w AS exited_at,
					   lead(x.event_type) OVER w AS exited_by_event, lead(x.version) OVER w AS exit_version
				  FROM crm.lead_visit x WINDOW w AS (PARTITION BY x.lead_id ORDER BY x.version)) v
		  LEFT JOIN crm.lead_reasons r ON r.reason = v.reason
		  LEFT JOIN crm.lead_collapse_events() k ON k.event_type = v.event_type
		  LEFT JOIN LATERAL (
			SELECT a.agent_id FROM crm.lead_assignment a
			 WHERE a.lead_id = v.lead_id AND (v.exit_version IS NULL OR a.version < v.exit_version)
			 ORDER BY a.version DESC LIMIT 1) o ON true
		 WHERE eventsource.may_read_category('lead') $view$);

	PERFORM crm.put_view('leads', 'Leads as they are now, one row each.', jsonb_build_object(
			'lead_id', 'The lead; its stream is lead-<lead_id>.',
			'name', 'Name; *** for who may not see personal data.',
			'email', 'E-mail address; *** likewise.',
			'phone', 'Phone number; *** likewise.',
			'source', 'Where the inquiry came from.',
			'property', 'What it was about.',
			'state', 'State of the lifecycle.',
			'previous_state', 'State before.',
			'state_since', 'Since when.',
			'agent_id', 'Whose it is.',
			'assigned_at', 'Since when.',
			'intake_at', 'When it came in.',
			'first_outreach_at', 'First attempt to reach it.',
			'contact_attempts', 'Attempts since it was last cold.',
			'last_contact_at', 'Last contact, either way.',
			'last_response_at', 'When it last got in touch.',
			'temperature', 'HOT, WARM or COLD.',
			'score', 'Points behind it.',
			'flags', 'Flags that are set, joined by '' > ''; NULL: none.',
			'is_restricted', 'True if any is set.',
			'demotions', 'How often a deal fell through.',
			'is_backfilled', 'True if it was there before its history began.',
			'history_began_at', 'Since when there is a history; before that nothing is known, not: nothing happened.',
			'legacy_status', 'Status it had in the system before.',
			'updated_at', 'When its last event happened.',
			'version', 'Version of that event.'), $view$
		SELECT l.lead_id, crm.masked(l.name) AS name, crm.masked(l.email) AS email, crm.masked(l.phone) AS phone, l.source, l.property,
			   l.state, l.previous_state, l.state_since, l.agent_id, l.assigned_at, l.intake_at, l.first_outreach_at,
			   l.contact_attempts, l.last_contact_at, l.last_response_at, t.temperature, t.score,
			   (SELECT string_agg(f.flag, ' > ' ORDER BY f.flag) FROM jsonb_object_keys(l.flags) f (flag)) AS flags, l.flags <> '{}' AS is_restricted,
			   l.demotions, l.is_backfilled, coalesce(l.imported_at, l.intake_at) AS history_began_at, l.legacy_status, l.updated_at, l.version
		  FROM crm.lead l
		  LEFT JOIN crm.lead_temperatures t ON t.lead_id = l.lead_id
		 WHERE eventsource.may_read_category('lead') $view$);

	PERFORM crm.put_view('board', 'The board: one row per card, in the columns of the lifecycle.', jsonb_build_object(
			'state', 'Column of the board.',
			'display_order', 'Place of the column: 1, 2 ...',
			'lead_id', 'The lead.',
			'name', 'Its name; *** for who may not see personal data.',
			'agent_id', 'Whose it is.',
			'state_since', 'Since when it is in the column.',
			'days_in_state', 'The same in whole days.',
			'temperature', 'HOT, WARM or COLD.',
			'flags', 'Flags that are set, joined by '' > ''.',
			'sla_status', 'First contact: active, met or breached; NULL for leads from before.',
			'arrival_kind', 'How it got into the column; see lead_state_visits.',
			'arrival_path', 'The same as states, joined by '' > ''.'), $view$
		SELECT l.state, s.display_order, l.lead_id, l.name, l.agent_id, l.state_since,
			   floor(extract(epoch FROM greatest(now() - l.state_since, '0')) / 86400)::integer AS days_in_state,
			   l.temperature, l.flags, c.status AS sla_status, v.arrival_kind, v.arrival_path
		  FROM crm.leads l
		  JOIN crm.lead_states() s ON s.state = l.state
		  LEFT JOIN crm.sla_first_contacts c ON c.lead_id = l.lead_id
		  LEFT JOIN crm.lead_state_visits v ON v.lead_id = l.lead_id AND v.is_current $view$);

	PERFORM crm.put_view('lead_timeline', 'Everything that happened to a lead, one row per event; order by version.', jsonb_build_object(
			'lead_id', 'The lead.',
			'version', 'Place in its history: 1, 2 ...',
			'occurred_at', 'When it happened.',
			'recorded_at', 'When it was recorded.',
			'actor', 'Who did it.',
			'actor_type', 'human or system.',
			'event_type', 'What happened.',
			'from_state', 'State before.',
			'to_state', 'State after.',
			'is_transition', 'True if the state changed.',
			'reason', 'Why, as a code.',
			'reason_category', 'What the reason counts as.',
			'detail', 'Data of the event; personal fields as the reader may see them.',
			'sentence', 'The same in words.',
			'is_synthetic', 'True if an import told it.'), $view$
		SELECT l.lead_id, e.version, e.occurred_at, e.recorded_at, e.actor,
			   CASE WHEN e.actor LIKE 'system:%' THEN 'system' ELSE 'human' END AS actor_type,
			   e.type AS event_type, e.from_state, e.to_state, e.from_state IS DISTINCT FROM e.to_state AS is_transition,
			   e.reason, r.reason_category, e.data AS detail,
			   crm.lead_sentence(e.type, e.actor, e.data, coalesce(r.phrase, 'of ' || replace(e.reason, '_', ' ')), e.from_state, e.to_state,
				e.occurred_at) AS sentence,
			   e.is_synthetic OR coalesce(e.metadata->>'import' = 'true', false) AS is_synthetic
		  FROM crm.lead l
		 CROSS JOIN LATERAL eventsource.read_stream('lead-' || l.lead_id) e
		  LEFT JOIN crm.lead_reasons r ON r.reason = e.reason
		 WHERE eventsource.may_read_category('lead') $view$);
END
$$;
COMMENT ON FUNCTION crm.put_lead_views() IS 'Private, for install(): views of leads.';
