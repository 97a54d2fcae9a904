-- Commands: what an application calls.  Each appends; what may happen, the state
-- machine decides, for raw appends and INSERTs alike.

-- The state machine would say so in its own words, which a form cannot show.
CREATE FUNCTION crm.expect_lead(lead_id text) RETURNS void
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT crm.expect_installed();
	-- As expect_customer() does.
	SELECT crm.expect_found(CASE WHEN lead_id IS NOT NULL THEN (eventsource.lock_stream('lead-' || lead_id)).version > 0 END,
		format('lead "%s"', lead_id), 'leads')
$$;
COMMENT ON FUNCTION crm.expect_lead(text) IS
	'Private, for commands about a lead that must be there. Errors: 42704 if it is not, 55000 before install().';

CREATE FUNCTION crm.append_to_lead(lead_id text, type text, data jsonb DEFAULT '{}', reason text DEFAULT NULL,
		actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT crm.expect_lead(lead_id);
	SELECT * FROM eventsource.append('lead-' || lead_id, type, jsonb_strip_nulls(data), reason => reason, actor => actor, occurred_at => occurred_at)
$$;
COMMENT ON FUNCTION crm.append_to_lead(text, text, jsonb, text, text, timestamptz) IS
	'Private, for commands: appends to the stream of a lead that is there; members of data that are null are left out. Errors: 42704 no such lead.';

CREATE FUNCTION crm.create_lead(lead_id text DEFAULT NULL, name text DEFAULT NULL, email text DEFAULT NULL, phone text DEFAULT NULL,
		source text DEFAULT NULL, property text DEFAULT NULL, message text DEFAULT NULL, agent_id text DEFAULT NULL,
		actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL) RETURNS text
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	id CONSTANT text := coalesce(lead_id, gen_random_uuid()::text);
BEGIN
	PERFORM crm.expect_installed();
	IF eventsource.stream_version('lead-' || id) > 0 THEN
		RAISE SQLSTATE 'ZE002' USING
			MESSAGE = format('lead "%s" is there already', id),
			DETAIL = 'An inquiry begins a lead, and nothing was recorded.',
			HINT = 'Give another lead_id, or none; what happens to a lead that is there, log_contact(), transition_lead() and others record.';
	END IF;
	PERFORM eventsource.append('lead-' || id, 'contact_form_submission', jsonb_strip_nulls(jsonb_build_object('name', name, 'email', email,
				'phone', phone, 'source', source, 'property', property, 'message', message)), actor => actor, occurred_at => occurred_at);
	IF agent_id IS NOT NULL THEN
		PERFORM crm.append_to_lead(id, 'lead_assigned', jsonb_build_object('agent_id', agent_id), actor => actor, occurred_at => occurred_at);
	END IF;
	RETURN id;
END
$$;
COMMENT ON FUNCTION crm.create_lead(text, text, text, text, text, text, text, text, text, timestamptz) IS
	'Records an inquiry and, if an agent is given, whose it is, both or neither. Returns the lead; lead_id NULL: a new UUID. Errors: ZE002 if there is such a lead, ZE007 bad data.';

CREATE FUNCTION crm.transition_lead(lead_id text, event_type text, reason text DEFAULT NULL, data jsonb DEFAULT '{}',
		actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL, expected_version bigint DEFAULT NULL,
		idempotency_key text DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT crm.expect_lead(lead_id);
	SELECT * FROM eventsource.append('lead-' || lead_id, event_type, data, reason => reason, actor => actor, expected_version => expected_version,
									 occurred_at => occurred_at, idempotency_key => idempotency_key)
$$;
COMMENT ON FUNCTION crm.transition_lead(text, text, text, jsonb, text, timestamptz, bigint, text) IS
	'Records an event of a lead; its state machine says what follows. Errors: 42704 no such lead (create_lead() and backfill_lead() begin one), ZE002 not in this state, ZE003 reason required, ZE004 unknown reason, ZE005 guard, ZE006 unknown event, ZE007 bad data, 40001 another version.';

CREATE FUNCTION crm.assign_lead(lead_id text, agent_id text, reason text DEFAULT NULL, note text DEFAULT NULL, actor text DEFAULT NULL,
		occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM crm.append_to_lead(lead_id, 'lead_assigned', jsonb_build_object('agent_id', agent_id, 'note', note), reason, actor, occurred_at)
$$;
COMMENT ON FUNCTION crm.assign_lead(text, text, text, text, text, timestamptz) IS
	'Gives a lead to an agent; from whom, the database fills in. Errors: ZE005 another_agent if it is his already, ZE004 unknown reason, 42704 no such lead.';

CREATE FUNCTION crm.log_contact(lead_id text, channel text, direction text DEFAULT 'outbound', outcome text DEFAULT NULL, reason text DEFAULT NULL,
		note text DEFAULT NULL, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF direction IS NULL OR direction NOT IN ('outbound', 'inbound') THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('direction "%s" is unknown', direction),
			DETAIL = 'A contact goes out or comes in.',
			HINT = 'Give outbound or inbound.';
	END IF;
	RETURN crm.append_to_lead(lead_id, CASE direction WHEN 'outbound' THEN 'contact_attempted' ELSE 'contact_received' END,
				jsonb_build_object('channel', channel, 'outcome', outcome, 'note', note), reason, actor, occurred_at);
END
$$;
COMMENT ON FUNCTION crm.log_contact(text, text, text, text, text, text, text, timestamptz) IS
	'Logs an attempt to reach a lead (outbound; the first one stops the SLA and moves a NEW lead to CONTACTING), or that the lead got in touch (inbound). Channels: phone, email, text, in_person, other. Errors: ZE005 restricted_needs_reason or not_by_a_program where a flag forbids the channel, ZE007 bad data, 22023 bad direction.';

CREATE FUNCTION crm.record_signal(lead_id text, signal text, property text DEFAULT NULL, actor text DEFAULT NULL,
		occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM crm.append_to_lead(lead_id, 'lead_engaged', jsonb_build_object('signal', signal, 'property', property), NULL, actor, occurred_at)
$$;
COMMENT ON FUNCTION crm.record_signal(text, text, text, text, timestamptz) IS
	'Records a sign of interest, which counts for the temperature: one of those that settings signal_<name> give points to. Errors: ZE007 another signal.';

CREATE FUNCTION crm.set_lead_flag(lead_id text, flag text, reason text DEFAULT NULL, evidence text DEFAULT NULL, actor text DEFAULT NULL,
		occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM crm.append_to_lead(lead_id, 'flag_set', jsonb_build_object('flag', flag, 'evidence', evidence), reason, actor, occurred_at)
$$;
COMMENT ON FUNCTION crm.set_lead_flag(text, text, text, text, text, timestamptz) IS
	'Says that a lead may not be contacted in some way: unsubscribed, dnc, do_not_email, do_not_text, do_not_call. Errors: ZE005 flag_is_not_set if it is set, ZE007 another flag.';

CREATE FUNCTION crm.clear_lead_flag(lead_id text, flag text, reason text DEFAULT NULL, evidence text DEFAULT NULL, actor text DEFAULT NULL,
		occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM crm.append_to_lead(lead_id, 'flag_cleared', jsonb_build_object('flag', flag, 'evidence', evidence), reason, actor, occurred_at)
$$;
COMMENT ON FUNCTION crm.clear_lead_flag(text, text, text, text, text, timestamptz) IS
	'Ends a flag; when it was set stays known. Errors: ZE005 flag_is_set if it is not set, ZE007 another flag.';

CREATE FUNCTION crm.add_lead_note(lead_id text, note text, actor text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL) RETURNS eventsource.appended
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM crm.append_to_lead(lead_id, 'note_added', jsonb_build_object('text', note), NULL, actor, occurred_at)
$$;
COMMENT ON FUNCTION crm.add_lead_note(text, text, text, timestamptz) IS 'Adds a note; its text counts as personal. Errors: ZE007 empty.';

-- Idempotent by the lead and the key; what a second run finds, it leaves alone.
CREATE FUNCTION crm.backfill_lead(lead_id text, state text, created_at timestamptz, changed_at timestamptz DEFAULT NULL, agent_id text DEFAULT NULL,
		name text DEFAULT NULL, email text DEFAULT NULL, phone text DEFAULT NULL, source text DEFAULT NULL, flags text[] DEFAULT '{}',
		legacy_status text DEFAULT NULL) RETURNS boolean
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	stream CONSTANT text := 'lead-' || lead_id;
BEGIN
	PERFORM crm.expect_installed();
	IF (SELECT s.version FROM eventsource.lock_stream(stream) s) > 0 THEN
		RETURN false;
	END IF;
	PERFORM eventsource.append(stream, 'lead_imported', jsonb_strip_nulls(jsonb_build_object('state', state,
				'created_at', crm.json_time(created_at), 'agent_id', agent_id, 'name', name, 'email', email,
				'phone', phone, 'source', source, 'legacy_status', legacy_status,
				'flags', (SELECT jsonb_object_agg(f.flag, '{}'::jsonb) FROM unnest(flags) f (flag)))),
			actor => 'system:backfill', metadata => '{"import": true}', occurred_at => greatest(changed_at, created_at),
			idempotency_key => 'backfill');
	RETURN true;
END
$$;
COMMENT ON FUNCTION crm.backfill_lead(text, text, timestamptz, timestamptz, text, text, text, text, text, text[], text) IS
	'Brings in a lead of a system before, where it stood: occurred when it last changed there, recorded now, marked as an import and left out of reports. Returns false, and does nothing, if the lead is there: so a run may be repeated. Use it over the old table: SELECT count(*) FILTER (WHERE crm.backfill_lead(...)) FROM old_leads. Errors: ZE007 unknown state or flag.';

-- The timeouts of the state machine archive leads when run_due() or the worker finds
-- them due, and are asked once.  This finds those that they leave: where the last attempt
-- that was needed came later than that, and leads from before.  Each lead is judged again under its
-- lock, so that runs side by side append once, and a late run tells when it was due.
CREATE FUNCTION crm.tick_leads(at timestamptz DEFAULT now(), max_rows integer DEFAULT 1000) RETURNS integer
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	l record;
	archived integer := 0;
BEGIN
	FOR l IN SELECT d.lead_id FROM crm.lead_timeouts d WHERE d.due_at <= at ORDER BY d.due_at, d.lead_id LIMIT max_rows LOOP
		PERFORM eventsource.lock_stream('lead-' || l.lead_id);
		BEGIN
			PERFORM crm.append_to_lead(d.lead_id, d.event_type, actor => 'system:scribe', occurred_at => greatest(d.due_at, d.updated_at))
			   FROM crm.lead_timeouts d
			  WHERE d.lead_id = l.lead_id AND d.due_at <= at;
			archived := archived + FOUND::integer;
		EXCEPTION WHEN SQLSTATE 'ZE009' THEN
			-- Of who was erased nothing is recorded any more; the others go on.
			NULL;
		END;
	END LOOP;
	RETURN archived;
END
$$;
COMMENT ON FUNCTION crm.tick_leads(timestamptz, integer) IS
	'Archives leads whose time is up, see lead_timeouts, and that the timeouts of the state machine left: those with a late sixth attempt, and those from before. At most max_rows, the oldest first. Returns how many. Call it from time to time, by pg_cron, say; the event says when it was due, however late the call.';

CREATE FUNCTION crm.lead_state_at(lead_id text, at timestamptz, basis text DEFAULT 'occurred') RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT eventsource.state_at('lead-' || lead_id, at, basis => basis)
$$;
COMMENT ON FUNCTION crm.lead_state_at(text, timestamptz, text) IS
	'The state that a lead was in; basis occurred: as is known now; recorded: as was known then. NULL: it was not there.';

CREATE FUNCTION crm.lead_owner_at(lead_id text, at timestamptz) RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT a.agent_id FROM crm.lead_assignments a
	 WHERE a.lead_id = lead_owner_at.lead_id AND a.assigned_at <= at AND (a.assigned_until IS NULL OR a.assigned_until > at)
	 ORDER BY a.version DESC LIMIT 1
$$;
COMMENT ON FUNCTION crm.lead_owner_at(text, timestamptz) IS 'Whose a lead was, by when changes occurred; NULL: nobody''s.';

CREATE FUNCTION crm.may_contact_lead(lead_id text, channel text) RETURNS TABLE (allowed boolean, needs_reason boolean, reasons text)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM crm.lead_channels() c WHERE c.channel = may_contact_lead.channel) THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('channel "%s" is unknown', channel),
			DETAIL = 'No flag would stand in its way.',
			HINT = format('Give one of %s.', (SELECT string_agg(c.channel, ', ' ORDER BY c.display_order) FROM crm.lead_channels() c));
	END IF;
	RETURN QUERY
	SELECT count(r.flag) = 0, count(r.flag) > 0, string_agg(r.flag, ' > ' ORDER BY r.flag)
	  FROM crm.leads l
	  LEFT JOIN crm.lead_flags f ON f.lead_id = l.lead_id AND f.is_current
	  LEFT JOIN crm.lead_flag_rules() r ON r.flag = f.flag AND may_contact_lead.channel = ANY (r.forbids)
	 WHERE l.lead_id = may_contact_lead.lead_id
	HAVING count(*) > 0;
END
$$;
COMMENT ON FUNCTION crm.may_contact_lead(text, text) IS
	'May a lead be contacted on a channel (phone, email, text, in_person, other)? allowed: by anybody and any program; needs_reason: by a person who logs a reason; reasons: the flags that stand in the way. No row: no such lead. Errors: 22023 unknown channel.';
