-- Reports on leads.  Quarters and days are those of UTC.  What an import told is
-- left out: nobody knows how long it took, nor whose it was then.

CREATE FUNCTION crm.put_lead_reports() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM crm.put_view('pipeline_health', 'Where leads are now, and how they got there: a column of demoted leads is not one of fresh ones.',
		jsonb_build_object(
			'state', 'State.',
			'display_order', 'Its place on the board.',
			'agent_id', 'Whose the leads are; NULL: nobody''s.',
			'arrival_kind', 'How they got there; see lead_state_visits.',
			'age_bucket', 'How long they have been there: 0-7 days, 8-30 days, 31-90 days or over 90 days.',
			'age_order', 'Place of the bucket: 1, 2, 3, 4.',
			'lead_count', 'How many leads.',
			'oldest_entered_at', 'Since when the first of them is there.'), $view$
		SELECT v.state, s.display_order, v.agent_id, v.arrival_kind,
			   (ARRAY['0-7 days', '8-30 days', '31-90 days', 'over 90 days'])[b.age_order] AS age_bucket, b.age_order,
			   count(*) AS lead_count, min(v.entered_at) AS oldest_entered_at
		  FROM crm.lead_state_visits v
		  JOIN crm.lead_states() s ON s.state = v.state
		 CROSS JOIN LATERAL (SELECT CASE WHEN v.duration <= '7 days' THEN 1 WHEN v.duration <= '30 days' THEN 2 WHEN v.duration <= '90 days' THEN 3
			ELSE 4 END) b (age_order)
		 WHERE v.is_current
		 GROUP BY v.state, s.display_order, v.agent_id, v.arrival_kind, b.age_order $view$);

	PERFORM crm.put_view('board_columns', 'Columns of the board, one row each; empty ones, too.', jsonb_build_object(
			'state', 'State: the column.',
			'display_order', 'Its place on the board: 1, 2 ...',
			'description', 'What it means.',
			'lead_count', 'How many leads are there now.',
			'unassigned_count', 'Of these, nobody''s.',
			'hot_count', 'Of these, HOT.',
			'restricted_count', 'Of these, with a flag that is set.',
			'sla_breached_count', 'Of these, contacted too late, or not yet and too late now.',
			'demoted_count', 'Of these, there because a deal fell through.',
			'reengaged_count', 'Of these, back from the archive.',
			'oldest_entered_at', 'Since when the first of them is there; NULL: there is none.'), $view$
		SELECT s.state, s.display_order, s.description, count(b.lead_id) AS lead_count,
			   count(b.lead_id) FILTER (WHERE b.agent_id IS NULL) AS unassigned_count, count(*) FILTER (WHERE b.temperature = 'HOT') AS hot_count,
			   count(b.flags) AS restricted_count, count(*) FILTER (WHERE b.sla_status = 'breached') AS sla_breached_count,
			   count(*) FILTER (WHERE b.arrival_kind = 'demoted') AS demoted_count,
			   count(*) FILTER (WHERE b.arrival_kind = 'reengaged') AS reengaged_count,
			   min(b.state_since) AS oldest_entered_at
		  FROM crm.lead_states() s
		  LEFT JOIN crm.board b ON b.state = s.state
		 GROUP BY s.state, s.display_order, s.description $view$);

	PERFORM crm.put_view('lead_bounces', 'Leads that came back to a state they had left, one row per lead and state.', jsonb_build_object(
			'lead_id', 'The lead.', 'state', 'The state.', 'visit_count', 'Visits to it.', 'bounce_count', 'How often it came back: visits but one.',
			'total_duration', 'Time in the state, all visits together.', 'first_entered_at', 'First visit.', 'last_entered_at', 'Last visit.',
			'last_path', 'How the last visit came about, joined by '' > ''.', 'is_there_now', 'True if the lead is there now.'), $view$
		SELECT v.lead_id, v.state, count(*) AS visit_count, count(*) - 1 AS bounce_count, sum(v.duration) AS total_duration,
			   min(v.entered_at) AS first_entered_at, max(v.entered_at) AS last_entered_at,
			   (array_agg(v.arrival_path ORDER BY v.version DESC))[1] AS last_path, bool_or(v.is_current) AS is_there_now
		  FROM crm.lead_state_visits v
		 GROUP BY v.lead_id, v.state
		HAVING count(*) > 1 $view$);

	PERFORM crm.put_view('deal_collapse_events', 'Deals that fell through, one row each.', jsonb_build_object(
			'lead_id', 'The lead.',
			'version', 'Version of the event.',
			'agent_id', 'Whose the lead was then, as the database knew; NULL: nobody''s.',
			'collapsed_at', 'When.',
			'quarter_start', 'First day of the quarter.',
			'quarter', 'The quarter in words.',
			'stage', 'before_contract or after_contract.',
			'event_type', 'deal_collapsed or contract_voided: the trigger.',
			'reason', 'The cause, as a code.',
			'reason_category', 'What it counts as.',
			'reason_label', 'The cause in words.',
			'deal_duration', 'How long the state before had lasted.'), $view$
		SELECT v.lead_id, v.version, v.agent_id, v.entered_at AS collapsed_at, q.start AS quarter_start, to_char(q.start, 'YYYY "Q"Q') AS quarter,
			   k.stage,
			   v.event_type, v.reason, r.reason_category, r.reason_label, greatest(v.entered_at - v.came_at, '0') AS deal_duration
		  FROM (SELECT x.*, lag(x.entered_at) OVER (PARTITION BY x.lead_id ORDER BY x.version) AS came_at FROM crm.lead_visit x) v
		  JOIN crm.lead_collapse_events() k ON k.event_type = v.event_type
		 CROSS JOIN LATERAL (SELECT date_trunc('quarter', v.entered_at AT TIME ZONE 'UTC')::date) q (start)
		  LEFT JOIN crm.lead_reasons r ON r.reason = v.reason
		 WHERE NOT v.is_synthetic AND eventsource.may_read_category('lead') $view$);

	PERFORM crm.put_view('deal_collapses', 'Deals that fell through, by agent, quarter and reason.', jsonb_build_object(
			'agent_id', 'Whose the leads were; NULL: nobody''s.',
			'quarter_start', 'First day of the quarter.',
			'quarter', 'The quarter in words.',
			'reason', 'The cause, as a code.',
			'reason_category', 'What it counts as.',
			'reason_label', 'The cause in words.',
			'collapse_count', 'How many fell through.',
			'before_contract_count', 'Of these, before a contract.',
			'after_contract_count', 'Of these, after it.'), $view$
		SELECT c.agent_id, c.quarter_start, c.quarter, c.reason, c.reason_category, c.reason_label, count(*) AS collapse_count,
			   count(*) FILTER (WHERE c.stage = 'before_contract') AS before_contract_count,
			   count(*) FILTER (WHERE c.stage = 'after_contract') AS after_contract_count
		  FROM crm.deal_collapse_events c
		 GROUP BY c.agent_id, c.quarter_start, c.quarter, c.reason, c.reason_category, c.reason_label $view$);

	PERFORM crm.put_view('collapse_stage_rates', 'How often deals fall through at either stage: of those that entered it in a quarter.',
		jsonb_build_object(
			'stage', 'before_contract: the buyer''s agreement is signed; after_contract: the contract is.',
			'state', 'COMMITTED or IN_CONTRACT.',
			'quarter_start', 'First day of the quarter in which they entered.',
			'quarter', 'The quarter in words.',
			'entered_count', 'How many entered.',
			'collapsed_count', 'How many of these fell through, whenever.',
			'advanced_count', 'How many went on.',
			'open_count', 'How many are still there.',
			'collapse_rate', 'Fell through of all that entered: 0 to 1.'), $view$
		SELECT k.stage, v.state,
			   q.start AS quarter_start, to_char(q.start, 'YYYY "Q"Q') AS quarter, count(*) AS entered_count,
			   count(*) FILTER (WHERE v.exited_by_event = k.event_type) AS collapsed_count,
			   count(*) FILTER (WHERE v.exited_by_event <> k.event_type) AS advanced_count,
			   count(*) FILTER (WHERE v.is_current) AS open_count,
			   round(count(*) FILTER (WHERE v.exited_by_event = k.event_type) / count(*)::numeric, 4) AS collapse_rate
		  FROM crm.lead_state_visits v
		  JOIN crm.lead_collapse_events() k ON k.state = v.state
		 CROSS JOIN LATERAL (SELECT date_trunc('quarter', v.entered_at AT TIME ZONE 'UTC')::date) q (start)
		 WHERE NOT v.is_synthetic
		 GROUP BY k.stage, v.state, q.start $view$);

	PERFORM crm.put_view('lead_metrics', 'Leads by day, for dashboards of time series.', jsonb_build_object(
			'time', 'Start of the day.',
			'metric', 'leads_created, first_contacts_breached, deals_collapsed, deals_closed or leads_archived.',
			'value', 'How many that day.'), $view$
		SELECT date_trunc('day', m.at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS time, m.metric, count(*)::numeric AS value
		  FROM (SELECT l.intake_at, 'leads_created' FROM crm.lead l WHERE NOT l.is_backfilled
				 UNION ALL SELECT c.intake_at, 'first_contacts_breached' FROM crm.sla_first_contacts c WHERE c.is_breached
				 UNION ALL SELECT v.entered_at, CASE WHEN v.state = 'CLOSED' THEN 'deals_closed' WHEN v.state = 'ARCHIVED' THEN 'leads_archived'
							 ELSE 'deals_collapsed' END
							 FROM crm.lead_visit v
							WHERE NOT v.is_synthetic AND (v.state IN ('CLOSED', 'ARCHIVED')
								OR v.event_type IN (SELECT k.event_type FROM crm.lead_collapse_events() k))) m (at, metric)
		 WHERE eventsource.may_read_category('lead')
		 GROUP BY 1, 2 $view$);
END
$$;
COMMENT ON FUNCTION crm.put_lead_reports() IS 'Private, for install(): reports on leads.';
